"""The numbers of the working tree against those of a revision, in a git repository made for the test."""

import json
import subprocess

import pytest
import toy_project as toy
from same_numbers import differences, main

from lib.workflow import paths

NUMBERS = [{"quantity": "AUC", "unit": "", "arm": "full", "values": [0.8, 0.9]}]


def _git(*words: str) -> None:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *words], cwd=paths.ROOT, check=True, capture_output=True)


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """One result and one figure, committed; returns the files."""
    toy.make(tmp_path, monkeypatch)
    result = toy.write_result(toy.result(numbers=NUMBERS, provenance={"commit": "a", "seconds": 1}))
    figure = paths.figure("toy", "tab_a", "mini", "json")
    figure.parent.mkdir(parents=True)
    figure.write_text(json.dumps({"title": "AUC", "panels": [{"x": [1, 2.5]}]}))
    (result.parent / "nested").mkdir()
    (result.parent / "nested" / "other.json").write_text("not looked at")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        _git(*words)
    return result, figure


def _change(path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_equal_numbers_are_counted_and_provenance_and_rounding_do_not_count(committed, capsys):
    result, _ = committed
    assert main(["HEAD"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("2 files with 24 numbers compared with HEAD") and "all are the same" in out
    _change(result, '"commit": "a", "seconds": 1', '"commit": "b", "seconds": 2')
    _change(result, "[0.8, 0.9]", "[0.8000000000000003, 0.9]")
    assert main(["HEAD"]) == 0


@pytest.mark.parametrize(
    "which, old, new, sentence",
    [
        (0, "[0.8, 0.9]", "[0.80001, 0.9]", "tab_a.mini.json: numbers/0/values/0 was 0.8 and is 0.80001"),
        (0, "[0.8, 0.9]", "[0.8]", "numbers/0/values/1 is gone"),
        (0, '"direction seen"', '"undecided"', "claims/C1/outcome was 'direction seen' and is 'undecided'"),
        (1, "2.5", "3.5", "figures/toy/tab_a.mini.json: panels/0/x/1 was 2.5 and is 3.5"),
        (1, "2.5", "true", "panels/0/x/1 was 2.5 and is True"),
    ],
)
def test_each_difference_is_told_and_fails(committed, capsys, which, old, new, sentence):
    _change(committed[which], old, new)
    assert main(["HEAD"]) == 1
    assert sentence in capsys.readouterr().out


def test_coordinates_that_are_a_picture_only_do_not_count():
    def cloud(x):
        return {"panels": [{"series": [{"label": "image", "compare": False, "x": x}]}]}

    assert differences(cloud([1.0, 2.0]), cloud([3.0])) == []
    assert differences(cloud([1.0]), {"panels": [{"series": [{"label": "text", "compare": False}]}]})


def test_files_that_came_or_went_are_told(committed, capsys):
    result, figure = committed
    result.rename(result.with_name("tab_b.mini.json"))
    figure.unlink()
    assert main(["HEAD"]) == 1
    out = capsys.readouterr().out
    assert "tab_a.mini.json is gone" in out and "tab_b.mini.json is new" in out
    assert "figures/toy/tab_a.mini.json is gone" in out


def test_an_unknown_revision_or_a_damaged_file_is_one_sentence(committed, capsys):
    assert main(["nowhere"]) == 2
    committed[0].write_text("{")
    assert main(["HEAD"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "nowhere" in first and "revision" in first and "tab_a.mini.json is not JSON" in second
