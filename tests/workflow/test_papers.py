"""paper.yml and experiments.yml: every wrong input names file and key; the ten papers load; numbers come back exactly."""

import ast

import nbformat
import pytest
import toy_project as toy

from lib.workflow import experiments, paths
from lib.workflow.papers import PaperError, load_paper, slugs

SLUGS = {
    "anytasktune",
    "aurora",
    "brgsa",
    "carzero",
    "e3d_gpt",
    "huatuogpt_o1",
    "llm_detector",
    "long_context",
    "machine_mindset",
    "med_mat",
}

# what is put where -> the key the message must name, and a word of it
WRONG_PAPERS = {
    "unknown key": ("colour", "red", "colour", "extra"),
    "no title": ("title", ..., "title", "required"),
    "no authors": ("authors", [], "authors", "at least 1"),
    "year in words": ("year", "last year", "year", "integer"),
    "no claims": ("claims", [], "claims", "at least 1"),
    "claim without arms": ("claims.0.arms", ..., "claims.0.arms", "required"),
    "claim without source": ("claims.0.source", ..., "claims.0.source", "required"),
    "claim nobody said": ("claims.0.source", "rumour", "claims.0.source", "paper"),
    "claim without evidence": ("claims.0.evidence", [], "claims.0.evidence", "at least 1"),
    "claim without control": ("claims.0.control", ..., "claims.0", "needs a control"),
    "control without arms": ("claims.0.control.arms", ..., "claims.0.control.arms", "required"),
    "control without reason": ("claims.0.control.reason", ..., "claims.0.control.reason", "required"),
    "control of one arm": ("claims.0.control.arms.treatment", "plain", "claims.0.control", "with itself"),
    "control that is a constant": ("claims.0.control.arms.treatment", 0.5, "claims.0.control.arms.treatment", "string"),
    "control that is the claim": ("claims.0.control.arms.treatment", "full", "claims.0", "own arms"),
    "equality with a control": ("claims.1.direction", "higher", "claims.1", "needs a control"),
    "equality without positive control": ("claims.1.positive_control", ..., "claims.1", "needs a positive_control"),
    "claim without exhibit": ("claims.0.exhibit", ..., "claims.0.exhibit", "required"),
    "claim id of another form": ("claims.0.id", "first", "claims.0.id", "match"),
    "unknown direction": ("claims.0.direction", "better", "claims.0.direction", "higher"),
    "negative margin": ("claims.0.margin", -0.1, "claims.0.margin", "greater"),
    "equal without margin": ("claims.1.margin", 0.0, "claims.1", "needs a margin"),
    "claim id used twice": ("claims.1.id", "C1", "(top level)", "'C1' is used twice"),
    "citation of no table": ("claims.0.published.0.table", "t9", "(top level)", "cites the table 't9'"),
    "citation of no row": ("claims.0.published.0.row", "best", "(top level)", "cites 'best'"),
    "citation of no column": ("claims.0.published.0.column", "BLEU", "(top level)", "'BLEU'"),
    "number without source": ("published.t1.source", ..., "published.t1.source", "required"),
    "empty source": ("published.t1.source", "", "published.t1.source", "at least 3"),
    "row too short": ("published.t1.rows.full", [80.5], "published.t1", "row 'full' has 1 values for 2 columns"),
    "row too long": ("published.t1.rows.plain", [1, 2, 3], "published.t1", "row 'plain' has 3 values for 2"),
    "number in words": ("published.t1.rows.full.0", "high", "published.t1.rows.full.0", "number"),
    "number not finite": ("published.t1.rows.full.0", float("nan"), "published.t1.rows.full.0", "finite"),
    "resource without licence": ("data.0.licence", ..., "data.0.licence", "required"),
    "slug of another folder": ("slug", "toys", "slug", "not the folder's name 'toy'"),
}
WRONG_EXPERIMENTS = {
    "unknown key": ("experiments.tab_a.epochs", 3, "experiments.tab_a.epochs", "extra"),
    "no question": ("experiments.tab_a.question", ..., "experiments.tab_a.question", "required"),
    "no minutes": ("experiments.tab_a.minutes", ..., "experiments.tab_a.minutes", "required"),
    "negative minutes": ("experiments.tab_a.minutes.mini", -1, "experiments.tab_a.minutes.mini", "greater"),
    "no profiles": ("profiles", {}, "profiles", "at least 1"),
    "minutes of an unknown profile": ("experiments.tab_a.minutes.mimi", 1, "(top level)", "'mimi'"),
    "parameters of an unknown profile": ("experiments.tab_a.parameters.gpu", {"seeds": 3}, "(top level)", "'gpu'"),
    "unknown claim": ("experiments.tab_a.claims.0", "C9", "experiments.tab_a.claims", "no claim 'C9'"),
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    toy.make(tmp_path, monkeypatch)
    return tmp_path


def _error(function, *arguments) -> str:
    with pytest.raises(PaperError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("case", WRONG_PAPERS)
def test_a_wrong_paper_names_file_and_key(project, case):
    keys, value, key, word = WRONG_PAPERS[case]
    facts = toy.paper_facts()
    toy.put(facts, keys, value)
    toy.write_yaml(project / "papers/toy/paper.yml", facts)
    message = _error(load_paper, "toy")
    assert message.startswith(f"papers/toy/paper.yml, key {key}") and word.lower() in message.lower(), message


@pytest.mark.parametrize("case", WRONG_EXPERIMENTS)
def test_a_wrong_experiments_file_names_file_and_key(project, case):
    keys, value, key, word = WRONG_EXPERIMENTS[case]
    facts = toy.experiment_facts()
    toy.put(facts, keys, value)
    toy.write_yaml(project / "papers/toy/experiments.yml", facts)
    message = _error(experiments.load, "toy")
    assert message.startswith(f"papers/toy/experiments.yml, key {key}") and word.lower() in message.lower(), message


def test_what_is_not_yaml_or_not_there_is_named(project):
    path = project / "papers/toy/paper.yml"
    path.write_text("slug: [toy\ntitle: 3")
    assert "papers/toy/paper.yml is not valid YAML" in _error(load_paper, "toy")
    path.write_bytes(b"slug: t\xf6y\n")
    assert "papers/toy/paper.yml is not valid YAML" in _error(load_paper, "toy")
    path.write_text("")
    assert "papers/toy/paper.yml, key (top level)" in _error(load_paper, "toy")
    path.write_text("- a\n- list\n")
    assert "papers/toy/paper.yml, key (top level)" in _error(load_paper, "toy")
    assert "papers/toys/paper.yml does not exist; known papers: toy" in _error(load_paper, "toys")


def test_a_key_written_twice_is_refused_because_yaml_would_keep_the_last(project):
    path = project / "papers/toy/paper.yml"
    text = path.read_text()
    twice = text.replace("      full:\n", "      full:\n      - 1.0\n      - 2.0\n      full:\n")
    assert twice != text
    path.write_text(twice)
    message = _error(load_paper, "toy")
    assert "key 'full' is written twice" in message and "line" in message


def test_several_mistakes_are_counted(project):
    facts = toy.paper_facts()
    facts["year"], facts["colour"] = "soon", "red"
    toy.write_yaml(project / "papers/toy/paper.yml", facts)
    assert "(1 more)" in _error(load_paper, "toy")


def test_numbers_come_back_as_printed_and_unknown_ones_are_named(project):
    paper = load_paper("toy")
    assert paper.number("t1", "full", "AUC") == 80.5 and paper.number("t1", "full", "F1") is None
    assert paper.number("t1", "plain", "AUC") == 79.0 and paper.number("t1", "plain", "F1") == 40
    assert "no published number t1 / full / BLEU" in _error(paper.number, "t1", "full", "BLEU")
    assert "no claim 'C7'; it has C1, C2" in _error(paper.claim, "C7")


def test_a_baseline_may_be_a_number_and_an_integer_is_one(project):
    facts = toy.paper_facts()
    facts["claims"][1]["arms"]["baseline"] = 1
    toy.write_yaml(project / "papers/toy/paper.yml", facts)
    assert load_paper("toy").claim("C2").arms.baseline == 1.0
    assert isinstance(load_paper("toy").claim("C2").arms.baseline, float)


# ---------------------------------------------------------------------- the ten papers
def test_all_ten_papers_are_there():
    assert set(slugs()) == SLUGS


@pytest.mark.parametrize("slug", sorted(SLUGS))
def test_a_paper_loads_and_every_claim_can_fail(slug):
    paper = load_paper(slug)
    assert paper.slug == slug
    for claim in paper.claims:
        assert claim.arms != claim.counterpart.arms, f"{slug} {claim.id}: the control is the claim itself"
        assert claim.arms.treatment != claim.arms.baseline, f"{slug} {claim.id}: an arm against itself"


@pytest.mark.parametrize("slug", sorted(SLUGS))
def test_experiments_judge_the_claims_whose_exhibit_they_are(slug):
    """A claim judged in another notebook than paper.yml names would not reach the tables."""
    if not experiments.has(slug):
        return
    paper = load_paper(slug)
    for exhibit, experiment in experiments.load(slug).experiments.items():
        wrong = [claim for claim in experiment.claims if paper.claim(claim).exhibit != exhibit]
        assert not wrong, f"papers/{slug}/experiments.yml: {exhibit} lists {wrong}, which paper.yml gives to others"


@pytest.mark.parametrize("path", sorted(paths.NOTEBOOKS.glob("*/*.ipynb")), ids=paths.relative)
def test_a_notebook_judges_what_its_experiment_lists(path):
    """Only listed claims are in the notebook's content hash, so an unlisted one could change unnoticed."""
    if not experiments.has(path.parent.name):
        return
    source = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
    judged = {
        call.args[0].value
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        and getattr(call.func, "attr", "").startswith("judge")
        and isinstance(call.args[0], ast.Constant)
    }
    listed = set(experiments.load(path.parent.name).experiments[path.stem].claims)
    assert judged <= listed, f"{paths.relative(path)} judges {judged - listed}, which experiments.yml does not list"
