"""What depends on what: the import walk, and a hash that a comment leaves alone and a changed operator does not."""

import ast
import os
import tokenize

import pytest

from lib.workflow import closure, paths
from lib.workflow.closure import SourceError

FILES = {
    "lib/__init__.py": "",
    "lib/models/__init__.py": "",
    "lib/models/bank.py": "SIZE = 3\n",
    "lib/models/vit.py": "from lib.models import bank\n",
    "lib/models/late.py": "def f():\n    import lib.models.vit\n    return lib.models.vit\n",
    "lib/models/lone.py": "import numpy\nimport library_of_somebody\n",
    "lib/training/__init__.py": "from lib.training.loop import train\n",
    "lib/training/loop.py": "train = 1\n",
    "lib/training/contrastive.py": "import lib.models.vit as encoder\n",
    "lib/training/ring_a.py": "import lib.training.ring_b\n",
    "lib/training/ring_b.py": "import lib.training.ring_a\n",
    "papers/__init__.py": "",
    "papers/toy/__init__.py": "",
    "papers/toy/study.py": "from lib.models import bank\nfrom papers.toy.world import herbs\n",
    "papers/toy/world/__init__.py": "",
    "papers/toy/world/herbs.py": "HERBS = 2\n",
    "benchmarks/__init__.py": "",
    "benchmarks/banks.py": "from papers.toy import study as toy\n",
    "tests/helper.py": "from lib.models import bank\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    for name, source in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    return tmp_path


def _names(files) -> set[str]:
    """Paths below the root; those of lib below lib, since most of the cases are about lib alone."""
    return {str(file.relative_to(paths.ROOT)).removeprefix("lib/") for file in files}


TOY = {
    f"papers/{name}.py" for name in ("__init__", "toy/__init__", "toy/study", "toy/world/__init__", "toy/world/herbs")
}
BASE = {"__init__.py", "models/__init__.py"}
TRAINING = {"__init__.py", "training/__init__.py", "training/loop.py"}


@pytest.mark.parametrize(
    "module, expected",
    [
        ("lib.models.bank", BASE | {"models/bank.py"}),
        ("lib.models.vit", BASE | {"models/vit.py", "models/bank.py"}),  # `from package import module`
        ("lib.models.late", BASE | {"models/late.py", "models/vit.py", "models/bank.py"}),  # inside a function
        ("lib.models.lone", BASE | {"models/lone.py"}),  # nobody else's modules
        # `import a.b as c`, two steps; the package's own __init__ runs too, and what it imports
        ("lib.training.contrastive", BASE | TRAINING | {"training/contrastive.py", "models/vit.py", "models/bank.py"}),
        ("lib.training.ring_a", TRAINING | {"training/ring_a.py", "training/ring_b.py"}),
        ("lib.nothing", {"__init__.py"}),
        ("papers.toy.study", BASE | TOY | {"models/bank.py"}),  # a paper, its subfolder, and what it takes from lib
        ("benchmarks.banks", BASE | TOY | {"models/bank.py", "benchmarks/__init__.py", "benchmarks/banks.py"}),
        ("tests.helper", set()),  # in the repository, but not what a result is made of
    ],
)
def test_the_walk_finds_direct_and_indirect_imports(project, module, expected):
    assert _names(closure.modules(module)) == expected


@pytest.mark.parametrize(
    "source, expected",
    [
        ("import numpy as np\nx = 1", set()),
        ("from lib.models.bank import SIZE", BASE | {"models/bank.py"}),
        ("from lib.models import bank, vit", BASE | {"models/bank.py", "models/vit.py"}),
        ("if x:\n    from lib.training.loop import train", TRAINING),
        ("import library_of_somebody.lib.models", set()),
        ("from papers.toy import study as toy", BASE | TOY | {"models/bank.py"}),
        ("from papers_of_somebody import study", set()),
    ],
)
def test_the_walk_of_a_notebook(project, source, expected):
    assert _names(closure.modules_of_source(source)) == expected


def test_a_file_that_is_not_python_is_named(project):
    (project / "lib/models/bank.py").write_text("SIZE = 3\ndef f(:\n")
    with pytest.raises(SourceError, match=r"lib/models/bank.py, line 2 is not Python"):
        closure.modules("lib.models.vit")


SOURCE = '''"""Module."""

import numpy as np


def scale(x, *, factor=2.0):
    """Scaled."""
    y = x * factor  # grows
    if y.any():
        y = y + 1
        print("positive")
    return y
'''
SAME = {
    "comment changed": ("# grows", "# grows with the factor"),
    "comment gone": ("  # grows", ""),
    "docstring changed": ("Scaled.", "`x` times `factor`."),
    "docstring on several lines": ('"""Scaled."""', '"""Scaled.\n\n    More.\n    """'),
    "docstring gone": ('    """Scaled."""\n', ""),
    "module docstring changed": ("Module.", "The module."),
    "blank lines": ("\n\n\n", "\n\n"),
    "blank line inside": ("    if y", "\n    if y"),
    "spaces": ("x * factor", "x  *  factor"),
    "a call on two lines": ('print("positive")', 'print(\n            "positive"\n        )'),
}
OTHER = {
    "operator": ("x * factor", "x / factor"),
    "number": ("2.0", "2.1"),
    "string": ('"positive"', '"negative"'),
    "name": ("y.any", "y.all"),
    "less indented": ('        print("positive")', '    print("positive")'),
    "statement gone": ("        y = y + 1\n", ""),
    "two lines of one": ("    return y", "    return\n    y"),
    "a line broken at an operator": ("y = y + 1", "y = y\n        +1"),
    "string that does something": ('print("positive")', '"positive".join(y)'),
    "f-string": ('"positive"', 'f"positive {y}"'),
    "default": ("*, factor", "factor"),
}


def _hash(project, source: str) -> str:
    ast.parse(source)  # the variants are Python
    file = project / "lib/models/bank.py"
    file.write_text(source)
    os.utime(file, ns=(1, hash(source) % 10**9))  # two writes within one tick of the clock
    return closure.source_hash(closure.modules("lib.models.bank"))


@pytest.mark.parametrize("case", SAME)
def test_a_change_that_does_nothing_leaves_the_hash(project, case):
    old, new = SAME[case]
    assert old in SOURCE
    assert _hash(project, SOURCE) == _hash(project, SOURCE.replace(old, new, 1))


@pytest.mark.parametrize("case", OTHER)
def test_a_change_that_does_something_changes_the_hash(project, case):
    old, new = OTHER[case]
    assert old in SOURCE
    assert _hash(project, SOURCE) != _hash(project, SOURCE.replace(old, new, 1))


def test_strings_standing_first_on_a_line_count_unless_alone(project):
    joined = 'PARTS = [\n    "a",\n    "b",\n]\n"x".join(PARTS)\n'
    assert _hash(project, joined) != _hash(project, joined.replace('"b"', '"c"'))
    assert _hash(project, joined) != _hash(project, joined.replace('"x"', '"y"'))


def test_f_strings_count_to_the_letter(project):
    source = """def f(x):\n    return f"{x:>{len(str(x))}} of {f'{x!r}'}"\n"""
    assert """f"{x:>{len(str(x))}} of {f'{x!r}'}\"""" in [text for _, text in closure._tokens(source)]  # one token
    assert _hash(project, source) != _hash(project, source.replace(" of ", " in "))
    assert _hash(project, source) != _hash(project, source.replace("!r", "!s"))


def test_an_f_string_is_one_token_also_where_python_gives_its_parts(monkeypatch):
    """Python 3.12 gives the parts of an f-string; a notebook that is fresh on 3.11 must be fresh there."""
    source = 'y = f"""a\n{x}b"""\n'
    start, end = 901, 902
    names = {**tokenize.tok_name, start: "FSTRING_START", end: "FSTRING_END"}
    parts = [
        (tokenize.NAME, "y", (1, 0), (1, 1)),
        (tokenize.OP, "=", (1, 2), (1, 3)),
        (start, 'f"""', (1, 4), (1, 8)),
        (903, "a\n", (1, 8), (2, 0)),
        (tokenize.OP, "{", (2, 0), (2, 1)),
        (tokenize.NAME, "x", (2, 1), (2, 2)),
        (tokenize.OP, "}", (2, 2), (2, 3)),
        (903, "b", (2, 3), (2, 4)),
        (end, '"""', (2, 4), (2, 7)),
        (tokenize.NEWLINE, "\n", (2, 7), (2, 8)),
        (tokenize.ENDMARKER, "", (3, 0), (3, 0)),
    ]
    whole = list(closure._tokens(source))
    monkeypatch.setattr(tokenize, "tok_name", {903: "FSTRING_MIDDLE", **names})
    monkeypatch.setattr(tokenize, "generate_tokens", lambda _: [tokenize.TokenInfo(*part, "") for part in parts])
    assert list(closure._tokens(source)) == whole
    assert (tokenize.STRING, 'f"""a\n{x}b"""') in whole


def test_where_a_file_lies_and_the_extra_texts_count(project):
    files = closure.modules("lib.models.vit")
    base = closure.source_hash(files)
    assert base == closure.source_hash(reversed(files))
    assert base != closure.source_hash(files, "a cell") != closure.source_hash(files, "another cell")
    assert base != closure.source_hash(files[:-1])
    (project / "lib/models/vit.py").rename(project / "lib/models/vit2.py")
    assert base != closure.source_hash(closure.modules("lib.models.vit2"))


def test_the_project_imports_absolutely():
    """The walk follows absolute imports only, so there must be no other."""
    for file in sorted(file for package in closure.PACKAGES for file in (paths.ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{paths.relative(file)}, line {node.lineno}"
