"""One arithmetic: chosen before torch is imported, told by a fingerprint, the committed results all of one."""

import json
import os
import subprocess
import sys

import pytest
from foreign import FOREIGN

import lib
from lib.workflow import arithmetic, notebooks, paths
from lib.workflow.__main__ import main

SETTINGS = set(lib.THREADS) | set(lib.KERNELS) | set(lib.NUMPY_WITHOUT_AVX512)
TELL = "from lib.workflow import arithmetic as a; print(a.fingerprint(), *sorted(a.operations().items()))"


def _python(code: str, **variables: str) -> str:
    """``code`` in a process of its own, without this one's settings."""
    environment = {key: value for key, value in os.environ.items() if key not in SETTINGS} | variables
    done = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def here():
    return _python(TELL)


@pytest.mark.slow
def test_the_fingerprint_is_the_same_in_every_process_and_whatever_a_scheduler_sets(here):
    assert here.split()[0] == arithmetic.fingerprint() and len(arithmetic.fingerprint()) == 12
    assert _python(TELL) == here
    assert _python(TELL, OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2", OPENBLAS_CORETYPE="Nehalem") == here


@pytest.mark.slow
def test_it_tells_another_arithmetic_and_which_operations(here):
    other = _python(TELL, **FOREIGN)
    assert other.split()[0] != here.split()[0] and other.count("'matmul'") == 1
    if set(lib.arithmetic_settings()) > set(lib.THREADS):  # a processor with AVX2, whose numpy the settings leave alone
        known = arithmetic.operations()
        assert f"('numpy matmul', '{known['numpy matmul']}')" in other and f"'{known['matmul']}'" not in other


def test_computing_it_changes_nothing_of_the_callers():
    import torch

    torch.manual_seed(5)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    arithmetic.operations.cache_clear()
    arithmetic.operations()
    assert torch.equal(torch.random.get_rng_state(), state) and torch.get_num_threads() == threads


def test_importing_lib_sets_the_kernels_and_heeds_who_set_one_himself():
    show = "import lib, os; print({name: os.environ.get(name) for name in lib.arithmetic_settings()} == %s)"
    assert _python(show % "lib.arithmetic_settings()") == "True\n"
    assert _python("import lib, os; print(os.environ['MKL_CBWR'])", MKL_CBWR="AVX2") == "AVX2\n"
    assert _python(show % "lib.THREADS", REPRISE_ARITHMETIC="machine") == "True\n"


@pytest.mark.parametrize("flags", [set(), {"sse4_2", "avx"}])
def test_an_old_or_unknown_processor_keeps_its_own_kernels(monkeypatch, flags):
    monkeypatch.setattr(lib, "_processor", lambda: flags)
    assert lib.arithmetic_settings() == lib.THREADS
    monkeypatch.setattr(lib, "_processor", lambda: lib.NEEDED | {"avx512f"})
    assert set(lib.arithmetic_settings()) == SETTINGS
    monkeypatch.setattr(lib, "_processor", lambda: lib.NEEDED)
    assert set(lib.arithmetic_settings()) == SETTINGS - set(lib.NUMPY_WITHOUT_AVX512)


START = "from lib.workflow.session import start; start('brgsa', 'tab_retrieval', profile='smoke')"


@pytest.mark.slow
def test_a_notebook_in_a_kernel_without_the_settings_says_so_in_a_line_and_goes_on():
    said = _python(START, **FOREIGN)
    assert said.startswith("Note: digits may differ from the committed ones (") and said.count("\n") == 1
    assert "matmul" in said and "ONEDNN_MAX_CPU_ISA set otherwise" in said
    if not arithmetic.different():
        assert _python(START) == ""
        assert _python(f"import numpy, torch; {START}", ATEN_CPU_CAPABILITY="default").count("came before lib") == 1


@pytest.mark.slow
def test_a_runner_hears_the_fingerprint_and_the_notebook_says_nothing(tmp_path):
    assert _python(START, REPRISE_RECORD=str(tmp_path / "record"), **FOREIGN) == ""
    assert (tmp_path / "record").read_text() != arithmetic.committed_fingerprint()


def test_the_command_compares_operation_by_operation(monkeypatch, capsys):
    known = dict(arithmetic.operations())
    monkeypatch.setattr(arithmetic, "committed", lambda: known)
    assert main(["arithmetic"]) == 0
    out = capsys.readouterr().out
    assert "Equal: this machine gives the committed digits." in out and "differs" not in out
    known["bmm"] = "0" * 12
    assert main(["arithmetic"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if "<- differs" in line] == ["bmm"]
    assert out.splitlines()[-1].startswith("Digits will differ")


def test_all_that_is_committed_comes_from_one_arithmetic():
    """The committed operations, every notebook's record, every result of the profile that notebooks show."""
    one = arithmetic.committed_fingerprint()
    for path in sorted(paths.NOTEBOOKS.rglob("*.ipynb")):
        assert notebooks.recorded_arithmetic(path) == one, f"{paths.relative(path)} was run under another arithmetic"
    for path in sorted(paths.PAPERS.glob(f"*/results/*.{paths.SHOWN_PROFILE}.json")):
        told = json.loads(path.read_text())["provenance"]
        assert told["arithmetic"] == one, f"{paths.relative(path)} was measured under another arithmetic"
