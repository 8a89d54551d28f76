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
    return next(row for row in report.rows("toy") if row["claim"] == claim)


def test_a_row_holds_what_was_printed_and_what_was_measured(project):
    toy.write_result(toy.result())
    row = _row("C1")
    assert row["published"] == "full 80.5"
    assert row["rerun"] == "+0.021 [+0.010, +0.033], n=5 (mini)"
    assert row["null"] == "-0.001 [-0.004, +0.002]"
    assert row["verdict"] == "**holds**" and row["command"] == "`make run P=toy N=tab_a`"
    assert row["test"] == "macro AUC: full − plain higher"


def test_a_claim_without_run_or_notebook_says_so(project):
    assert _row("C1")["verdict"] == "not run yet" and _row("C1")["rerun"] == "–"
    planned = _row("C2")
    assert planned["verdict"] == "no notebook yet" and planned["command"] == "–" and planned["published"] == "not found"


def test_a_contradicted_claim_is_printed_as_large_as_one_that_holds(project):
    content = toy.result()
    content["claims"]["C1"]["verdict"] = "contradicted"
    toy.write_result(content)
    assert _row("C1")["verdict"] == "**contradicted**"


def test_profiles_stand_in_one_cell_in_order(project):
    for profile, mean in (("full", 0.9), ("mini", 0.1), ("gpu", 0.5)):
        content = toy.result(profile=profile)
        content["claims"]["C1"]["difference"]["mean"] = mean
        toy.write_result(content, profile=profile)
    assert re.findall(r"\((\w+)\)", _row("C1")["rerun"]) == ["mini", "gpu", "full"]
    assert [cell[:6] for cell in _row("C1")["rerun"].split("<br>")] == ["+0.100", "+0.500", "+0.900"]


def test_a_recomputed_number_is_not_a_rerun(project):
    toy.write_result(toy.result(claims={}, recomputed={"C1": 0.83762}))
    row = _row("C1")
    assert row["recomputed"] == "0.8376" and row["verdict"] == "recomputed" and row["rerun"] == "–"


def test_results_of_another_exhibit_do_not_answer(project):
    toy.write_result(toy.result(exhibit="tab_b"), exhibit="tab_b")
    assert _row("C1")["verdict"] == "not run yet"


def test_update_writes_between_the_markers_only_and_once(project):
    toy.write_result(toy.result())
    page = paths.paper("toy") / "README.md"
    before = page.read_text()
    assert report.update() == [project / "README.md", page]
    text = page.read_text()
    assert text.startswith(before[: before.index("<!--")]) and text.endswith("\n<!-- verdicts:end -->\n\nAfter.\n")
    assert "+0.021 [+0.010, +0.033]" in text and "+0.021" in (project / "README.md").read_text()
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
        _without("claims", "C1", "verdict"),
        _without("claims", "C1", "difference", "low"),
        _without("claims", "C1", "null"),
        toy.result(claims=["C1"]),
        toy.result(recomputed=None),
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
    lines = report.readme_table().splitlines()
    assert len(lines) == 4 and "P(a\\|b) is larger." in lines[2]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def _here(content: dict) -> None:
    path = paths.result("toy", "tab_a", "mini", root=paths.run_root("mini"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _moved(verdict: str, arithmetic: str) -> dict:
    content = toy.result(provenance={"arithmetic": arithmetic})
    content["claims"]["C1"] |= {"verdict": verdict, "difference": {"mean": 0.01, "low": -0.002, "high": 0.022, "n": 5}}
    return content


@pytest.mark.parametrize(
    "verdict, arithmetic, word",
    [("undecided", "there", "same meaning"), ("contradicted", "there", "differs"), ("undecided", "here", "differs")],
)
def test_a_run_ends_with_its_numbers_beside_the_committed_ones(project, verdict, arithmetic, word):
    chosen = jobs.select("mini")
    toy.write_result(toy.result(provenance={"arithmetic": "here"}))
    assert report.beside(chosen, "mini") == [
        {
            "exhibit": "toy/tab_a",
            "claim": "C1",
            "ours": "holds +0.021 [+0.010, +0.033]",
            "here": "–",
            "same": "not run here",
        }
    ]
    _here(_moved(verdict, arithmetic))
    head, line, _, why = report.terminal(chosen, "mini").splitlines()
    assert head.split() == ["exhibit", "claim", "committed", "here", "exhibit", "compared"]
    assert line.split("  ")[0] == "toy/tab_a" and line.endswith(f"{verdict} +0.010 [-0.002, +0.022]  {word}")
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
    assert _between(paths.ROOT / "README.md", report.README) == report.readme_table(), "run `make tables`"


def test_every_number_of_the_readme_table_stands_in_a_result_file():
    """Read back independently of the report's own code: differences by claim, from the JSON."""
    lines = _between(paths.ROOT / "README.md", report.README).splitlines()
    header = [name.strip() for name in lines[0].strip("|").split("|")]
    shown = set()
    for line in lines[2:]:
        cells = dict(zip(header, re.split(r"(?<!\\)\|", line.strip("|")), strict=True))
        rerun = cells[next(name for name in header if name.startswith("rerun"))]
        where = (cells["paper"].strip(), cells["claim"].strip())
        for mean in re.findall(r"([+-]\d+\.\d{3}) \[[^]]*\], n=\d+ \(\w+\)", rerun):
            shown.add((*where, "rerun", mean))
        for mean in re.findall(r"([+-]\d+\.\d{3}) \[[^]]*\], n=\d+", cells["recomputed"]):
            shown.add((*where, "recomputed", mean))
    measured = set()
    for file in paths.PAPERS.glob("*/results/*.json"):
        content = json.loads(file.read_text())
        short = papers.load_paper(content["slug"]).short
        for claim, judged in content["claims"].items():
            measured.add((short, claim, content["kind"], f"{judged['difference']['mean']:+.3f}"))
    assert shown == measured
