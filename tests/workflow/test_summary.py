"""What a run says at its end: each claim's numbers and control, and where the figures are."""

import pytest
import toy_project as toy

from lib.workflow import jobs, paths, summary


@pytest.fixture
def run(tmp_path, monkeypatch):
    toy.make(tmp_path, monkeypatch)

    def write(**changes):
        import json

        content = json.dumps(toy.result(**changes))
        paths.write(paths.result("toy", "tab_a", "mini", root=paths.run_root("mini")), content)
        return summary.claims(jobs.select("mini"), "mini")

    return write


def test_a_claim_is_told_with_effect_control_and_interval(run):
    figure = paths.outcomes("toy", "tab_a", "mini", "png", root=paths.run_root("mini"))
    paths.write(figure, b"")
    assert run().splitlines() == [
        "toy/tab_a",
        "  C1  direction seen (miniature): The full arm is better than the plain one.",
        "      effect +0.021 [+0.010, +0.033], control -0.001 [-0.004, +0.002], "
        "effect - control +0.022 [+0.011, +0.034], n=5",
        "  figure: runs/mini/figures/toy/outcomes/tab_a.mini.png",
    ]


def test_checks_and_what_was_left_unjudged_are_told_and_nothing_is_of_what_did_not_run(run):
    assert summary.claims(jobs.select("mini"), "mini") == ""
    assert "C1  not judged: The full" in run(claims={}, declined={"C1": "never learnt"})
    told = run(claims={}, checks={"C1": {"outcome": "inconsistent", "why": "80 against 81"}})
    assert "inconsistent (printed numbers): The full" in told and "80 against 81" in told


def test_a_committed_result_is_not_taken_for_one_of_this_run(run):
    toy.write_result(toy.result())
    assert summary.claims(jobs.select("mini"), "mini") == ""
