"""The claims tables: numbers equal the result files, markers and damaged files are named, nothing else is touched."""

import json
import re

import pytest
import toy_project as toy

from lib.workflow import jobs, papers, paths, report
from lib.workflow.__main__ import main
from lib.workflow.report import ReportError


@pytest.fixture
def project(tmp_path, monkeypatch):
    toy.make(tmp_path, monkeypatch)
    return tmp_path


def _row(claim: str) -> dict[str, str]:
    return next(row for row in report.rows("toy") if row["claim"].split()[0] == claim)


def test_a_row_holds_what_was_compared_and_what_was_measured(project):
    toy.write_result(toy.result())
    row = _row("C1")
    assert row["published"] == "full 80.5" and row["claim"] == "C1 (paper)"
    assert row["effect"] == "+0.021 [+0.010, +0.033], n=5" and row["excess"] == "+0.022 [+0.011, +0.034]"
    assert row["bases"] == "5 of 5"
    assert row["outcome"] == "**direction seen** (miniature, mini)" and row["command"] == "`make run P=toy N=tab_a`"
    assert row["compared"] == "macro AUC: full − plain higher; control: shuffled − plain"


def test_the_command_of_a_claim_names_the_profile_at_which_it_was_judged(project):
    toy.write_result(toy.result(profile="gpu"), profile="gpu")
    assert _row("C1")["command"] == "`make run P=toy N=tab_a PROFILE=gpu`"
    toy.write_result(toy.result())
    assert _row("C1")["command"] == "`make run P=toy N=tab_a`"


def test_a_claim_without_run_or_notebook_says_what_it_would_take(project):
    assert _row("C1")["outcome"] == "not run yet" and _row("C1")["effect"] == "–"
    planned = _row("C2")
    assert planned["outcome"] == "not tested: no notebook yet" and planned["command"] == "–"
    assert "equal within 0.1; positive control: random − 0.5" in planned["compared"]
    facts = toy.paper_facts()
    facts["claims"][1]["needs"] = "the weights of the authors"
    toy.write_yaml(paths.paper("toy") / "paper.yml", facts)
    assert _row("C2")["outcome"] == "not tested: the weights of the authors"


def test_an_opposite_outcome_is_printed_as_large_as_one_that_agrees(project):
    content = toy.result()
    content["claims"]["C1"]["outcome"] = "opposite seen"
    toy.write_result(content)
    assert _row("C1")["outcome"] == "**opposite seen** (miniature, mini)"


def test_profiles_stand_in_one_cell_in_order(project):
    for profile, mean in (("full", 0.9), ("mini", 0.1), ("gpu", 0.5)):
        content = toy.result(profile=profile)
        content["claims"]["C1"]["effect"]["mean"] = mean
        toy.write_result(content, profile=profile)
    assert re.findall(r", (\w+)\)", _row("C1")["outcome"]) == ["mini", "gpu", "full"]
    assert [cell[:6] for cell in _row("C1")["effect"].split("<br>")] == ["+0.100", "+0.500", "+0.900"]


def test_a_check_of_printed_numbers_is_no_verdict(project):
    checks = {"C1": {"outcome": "inconsistent", "why": "80.5 against 81"}}
    toy.write_result(toy.result(claims={}, checks=checks, evidence="printed"))
    row = _row("C1")
    assert row["outcome"] == "inconsistent (printed): 80.5 against 81" and row["effect"] == "–"
    assert "80.5" not in report.readme_tables()


def test_a_claim_that_was_left_unjudged_says_why(project):
    toy.write_result(toy.result(claims={}, declined={"C1": "the base never learnt the exam"}))
    row = report.rows("toy")[0]
    assert (row["outcome"], row["effect"]) == ("not judged (mini): the base never learnt the exam", "–")


@pytest.mark.parametrize(
    "evidence, heading", [("released", "### Released"), ("real", "### Real"), ("miniature", "### Mini")]
)
def test_the_readme_has_a_table_for_each_kind_of_evidence(project, evidence, heading):
    toy.write_result(toy.result(evidence=evidence))
    parts = dict(re.findall(r"(### \w+)(.*?)(?=\n### |\Z)", report.readme_tables(), flags=re.DOTALL))
    assert list(parts) == ["### Released", "### Real", "### Miniatures"]
    for name, text in parts.items():
        assert ("+0.021" in text) == (name.startswith(heading) and evidence != "miniature")
    if evidence == "miniature":
        assert "| [Toy](papers/toy/README.md) | 2 | 1 | 1 | 0 | 0 | 0 |" in parts["### Miniatures"]
        assert "Of 1 tests 1 would still be" in parts["### Miniatures"] and "None yet." in parts["### Real"]


def test_the_readme_says_what_other_seeds_and_arithmetics_did(project):
    toy.write_result(toy.result())
    assert "came out otherwise" not in report.readme_tables()
    one = {
        "toy": {
            "tests": 3,
            "changed": {"C1": ["direction seen", "opposite seen"], "C2": ["undecided", "direction seen"]},
        }
    }
    report.replications().write_text(json.dumps({"seeds": one, "arithmetic": {"toy": {"tests": 3, "changed": {}}}}))
    text = report.readme_tables()
    assert "old processor) 0 of 3 came out otherwise, 0 of them as the opposite. With ten" in text
    assert "other seeds 2 of 3 came out otherwise, 1 of them as the opposite." in text


def test_the_committed_replications_are_those_of_the_committed_outcomes():
    if not report.replications().is_file():
        pytest.skip("never tried")
    for papers_of in json.loads(report.replications().read_text()).values():
        for slug, one in papers_of.items():
            files = [json.loads(file.read_text()) for file in paths.results(slug).glob("*.mini.json")]
            words = {claim: judged["outcome"] for file in files if file["evidence"] == "miniature"
                     for claim, judged in file["claims"].items()}  # fmt: skip
            assert one["tests"] == len(words), f"{slug}: run tests/helpers/replicate.py again"
            for claim, (before, _) in one["changed"].items():
                assert words[claim] == before, f"{slug} {claim}: run tests/helpers/replicate.py again"


def test_a_page_lists_its_data_and_weights_with_their_licences(project):
    facts = toy.experiment_facts()
    files = {"a.bin": "0" * 64}
    facts["sources"] = {
        "weights": {"packages": {"toy-weights==0.1": "0" * 64}, "files": files, "licence": None, "note": "small"},
        "rows": {"github": "group/code", "revision": "0123456789" * 4, "files": files, "licence": "MIT"},
    }
    toy.write_yaml(paths.paper("toy") / "experiments.yml", facts)
    text = report.page_table("toy")
    assert "| weights | toy-weights==0.1 | not found | small |" in text
    assert "| rows | group/code at 01234567 | MIT | – |" in text
    del facts["sources"]
    toy.write_yaml(paths.paper("toy") / "experiments.yml", facts)
    assert "Data and weights" not in report.page_table("toy")


def test_results_of_another_exhibit_do_not_answer(project):
    toy.write_result(toy.result(exhibit="tab_b"), exhibit="tab_b")
    assert _row("C1")["outcome"] == "not run yet"


def test_update_writes_between_the_markers_only_and_once(project):
    toy.write_result(toy.result())
    page = paths.paper("toy") / "README.md"
    before = page.read_text()
    assert report.update() == [project / "README.md", page]
    text = page.read_text()
    assert text.startswith(before[: before.index("<!--")]) and text.endswith("\n<!-- verdicts:end -->\n\nAfter.\n")
    assert "+0.021 [+0.010, +0.033]" in text and "| 2 | 1 | 1 |" in (project / "README.md").read_text()
    assert report.update() == []  # nothing changed, nothing written
    toy.write_result(toy.result(claims={}))
    assert len(report.update()) == 2 and "+0.021" not in page.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "# Toy\n",
        "<!-- verdicts:end -->\n<!-- verdicts:begin -->\n",
        "<!-- verdicts:begin -->\n",
        "<!-- verdicts:begin -->\n<!-- verdicts:begin -->\n<!-- verdicts:end -->\n",
        None,
    ],
)
def test_a_page_without_its_markers_is_named_and_left_alone(project, text):
    page = paths.paper("toy") / "README.md"
    page.write_text(text) if text is not None else page.unlink()
    with pytest.raises(ReportError, match=r"papers/toy/README\.md needs the markers <!-- verdicts:begin -->"):
        report.update()
    assert not page.exists() if text is None else page.read_text() == text


def _without(*keys: str) -> dict:
    content = toy.result()
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    return content


@pytest.mark.parametrize(
    "content",
    [
        '{"slug": "toy", "claims": {',
        "",
        "[1, 2]",
        "null",
        _without("claims"),
        _without("seeds"),
        _without("claims", "C1", "outcome"),
        _without("claims", "C1", "effect", "low"),
        _without("claims", "C1", "excess"),
        toy.result(claims=["C1"]),
        toy.result(checks=None),
    ],
    ids=lambda content: str(content)[:30],
)
def test_a_damaged_result_file_is_named_with_the_remedy(project, content, capsys):
    toy.write_result(content)
    with pytest.raises(ReportError) as caught:
        report.rows("toy")
    message = str(caught.value)
    assert message.startswith("papers/toy/results/tab_a.mini.json is damaged (") and "\n" not in message
    assert message.endswith("delete it and run the notebook again")
    assert main(["tables"]) == 2 and "tab_a.mini.json is damaged" in capsys.readouterr().err


def test_a_bar_in_a_statement_does_not_break_the_table(project):
    facts = toy.paper_facts()
    facts["claims"][0]["statement"] = "P(a|b) is\nlarger."
    toy.write_yaml(paths.paper("toy") / "paper.yml", facts)
    toy.write_result(toy.result())
    lines = report.page_table("toy").splitlines()
    assert len(lines) == 4 and "P(a\\|b) is larger." in lines[2]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def _here(content: dict) -> None:
    path = paths.result("toy", "tab_a", "mini", root=paths.run_root("mini"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _moved(outcome: str, arithmetic: str) -> dict:
    content = toy.result(provenance={"arithmetic": arithmetic})
    content["claims"]["C1"] |= {"outcome": outcome, "effect": {"mean": 0.01, "low": -0.002, "high": 0.022, "n": 5}}
    return content


@pytest.mark.parametrize(
    "outcome, arithmetic, word",
    [("undecided", "there", "same meaning"), ("opposite seen", "there", "differs"), ("undecided", "here", "differs")],
)
def test_a_run_ends_with_its_numbers_beside_the_committed_ones(project, outcome, arithmetic, word):
    chosen = jobs.select("mini")
    toy.write_result(toy.result(provenance={"arithmetic": "here"}))
    assert report.beside(chosen, "mini") == [
        {
            "exhibit": "toy/tab_a",
            "claim": "C1",
            "ours": "direction seen +0.021 [+0.010, +0.033]",
            "here": "–",
            "same": "not run here",
        }
    ]
    _here(_moved(outcome, arithmetic))
    head, line, _, why = report.terminal(chosen, "mini").splitlines()
    assert head.split() == ["exhibit", "claim", "committed", "here", "exhibit", "compared"]
    assert line.split("  ")[0] == "toy/tab_a" and line.endswith(f"{outcome} +0.010 [-0.002, +0.022]  {word}")
    assert why.startswith(word)


def test_equal_numbers_are_the_same_digits_and_need_no_explanation(project):
    content = toy.result(provenance={"arithmetic": "here"})
    toy.write_result(content)
    _here(content)
    assert report.terminal(jobs.select("mini"), "mini").splitlines()[1].endswith("same digits")
    assert len(report.terminal(jobs.select("mini"), "mini").splitlines()) == 2


def test_an_exhibit_without_a_claim_has_a_row_and_one_never_published_says_so(project):
    _here(toy.result(claims={}))
    [row] = report.beside(jobs.select("mini"), "mini")
    assert row["claim"] == "" and row["same"] == "nothing to compare with"


# ---------------------------------------------------------------------- the committed pages
def _between(path, markers) -> str:
    text = path.read_text(encoding="utf-8")
    return text[text.index(markers[0]) + len(markers[0]) : text.index(markers[1])].strip("\n")


def test_the_committed_tables_are_those_of_the_committed_results():
    """`make tables` would change nothing: no number was typed, none is old."""
    for slug in papers.slugs():
        page = _between(paths.paper(slug) / "README.md", report.PAGE)
        assert page == report.page_table(slug), f"papers/{slug}/README.md is not up to date; run `make tables`"
    assert _between(paths.ROOT / "README.md", report.README) == report.readme_tables(), "run `make tables`"


def test_every_number_of_the_tables_stands_in_a_result_file():
    """Read back independently of the report's own code: effects by claim, from the JSON."""
    shown, measured = set(), set()
    for slug in papers.slugs():
        for line in _between(paths.paper(slug) / "README.md", report.PAGE).splitlines()[2:]:
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
            for mean in re.findall(r"([+-]\d+\.\d{3}) \[[^]]*\], n=\d+", line):
                shown.add((slug, cells[0].split()[0], mean))
    for file in paths.PAPERS.glob("*/results/*.json"):
        content = json.loads(file.read_text())
        for claim, judged in content["claims"].items():
            measured.add((content["slug"], claim, f"{judged['effect']['mean']:+.3f}"))
    assert shown == measured


def test_no_generated_world_certifies_anything():
    """A miniature shows a direction: its words never stand beside the name of a data set, a benchmark or a product."""
    for slug in papers.slugs():
        for claim in papers.load_paper(slug).claims:
            if "miniature" in claim.evidence:
                named = r"8B|70B|CT-RATE|RAD-ChestCT|Open-I|PadChest|C-Eval|C?MMLU|CMB|BIMCV|LLaVA|[Ss]tate of the art"
                names = re.findall(named, claim.statement)
                assert not names, f"{slug} {claim.id} names {names}; a miniature cannot test that"
