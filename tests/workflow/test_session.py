"""A run knows its paper's folder, and draws from arms and values what the builders of figures say."""

import json

import pytest

from lib import figures
from lib.workflow import paths
from lib.workflow.session import SessionError, one_of, start

DATA = {
    "dots": (
        {"p": {"a_b": [0.1, 0.2], "null": [0.0, 0.1]}},
        {"chance": 0.5, "label": figures.spaced, "control": ["null"]},
    ),
    "lines": ({"p": {"a": [[0.1, 0.2], [0.2, 0.4]]}}, {"at": [1, 2]}),
    "scatter": ({"p": {"a": [[0.1, 0.2], [0.2, 0.4]]}}, {"compare": False}),
    "heat": ({"p": {"row": {"column": [0.1, 0.2]}}}, {"x": "column"}),
    "forest": ({"p": {"a": (0.1, 0.0, 0.2)}}, {"reference": {"": 0.0}}),
    "images": ({"p": {"a": [[0.0, 1.0]]}}, {}),
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRISE_OUT", str(tmp_path))
    return start("brgsa", "tab_cmki_ablation", profile="smoke")


def test_facts_are_the_papers_folder(run):
    assert run.facts == paths.paper("brgsa") and (run.facts / "paper.yml").is_file()


@pytest.mark.parametrize("kind", DATA)
def test_each_kind_of_figure_is_one_call(run, kind, tmp_path, capsys):
    panels, options = DATA[kind]
    getattr(run, kind)("Title", panels, **options)
    written = tmp_path / "figures" / "brgsa" / "tab_cmki_ablation.smoke.json"
    assert json.loads(written.read_text()) == figures.normalise(getattr(figures, kind)("Title", panels, **options))
    assert written.with_suffix(".png").is_file()
    count = len(panels["p"]) if kind != "heat" else 1
    assert f"figure brgsa/tab_cmki_ablation: 1 panels, {count} series" in capsys.readouterr().out


@pytest.mark.parametrize(
    "given, sentence",
    [
        (("tsne", ["umap", "pca"]), "parameter 'dial' is 'tsne'; choose from umap, pca"),
        (("ful", ["full", "nce"]), "parameter 'dial' is 'ful'; did you mean 'full'? choose from full, nce"),
        ((["9:1", "9:2"], ["9:1", "1:9"]), "parameter 'dial' is '9:2'; did you mean '9:1'? choose from 9:1, 1:9"),
        (([], ["a"]), "parameter 'dial' is []; give 1 or more"),
        ((["a"], ["a", "b"], 2), "parameter 'dial' is ['a']; give 2 or more"),
        ((0, range(1, 2001)), "parameter 'dial' is 0; choose from 1 to 2000"),
        ((48, [32, 64]), "parameter 'dial' is 48; choose from 32, 64"),
    ],
)
def test_a_value_outside_its_closed_set_is_named_with_the_choices(given, sentence):
    with pytest.raises(SessionError) as caught:
        one_of(dial=given)
    assert str(caught.value) == sentence
    one_of(
        dial=("umap", ["umap", "pca"]), ends=(["a", "b"], ["a", "b"], 2), points=(5, range(1, 6)), others=([], ["a"], 0)
    )
