"""Summaries of a split by a chat model, against a server stub on the loopback."""

import pytest
from chat_server import completion, server

from lib.data import ct_rate
from lib.data.chest_ct import world as chest_ct_world
from lib.models import ModelError
from papers.brgsa.chat_summariser import summarise_by_chat


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    chest_ct_world.write_internal(root, split="valid", scans=5, seed=0, shape=(12, 12, 6), spacing=(30, 30, 60))
    return root


def test_a_chat_model_summarises_every_report_once(tree, tmp_path):
    reports = ct_rate.images_by_report(ct_rate.read_reports(ct_rate.reports_path(tree, "valid")))
    (tmp_path / "out").mkdir()
    options = {"tree": tree, "split": "valid", "answers": str(tmp_path / "answers"), "model": "stub"}
    with server(completion("1. There is cardiomegaly.\n2. There is no nodule.")) as (address, received):
        summarise_by_chat(tmp_path / "out", url=address, **options)
        assert len(received) == len(reports) and {r["body"]["model"] for r in received} == {"stub"}
        asked = [r["body"]["messages"][0]["content"] for r in received]
        assert all(text.endswith(report) for text, report in zip(asked, reports, strict=True))
        content = ct_rate.read_training_json(tmp_path / "out" / "training.json")
        assert list(content) == ["val"] and list(content["val"]) == list(reports)
        expected = [{"images": names, "processed_report": ["There is cardiomegaly"]} for names in reports.values()]
        assert list(content["val"].values()) == expected
        (tmp_path / "again").mkdir()
        summarise_by_chat(tmp_path / "again", url=address, **options)
        assert len(received) == len(reports)  # every answer was kept
    written = [(tmp_path / name / "training.json").read_bytes() for name in ("out", "again")]
    assert written[0] == written[1]


def test_a_server_that_gives_up_half_way_is_gone_on_with(tree, tmp_path):
    options = {"tree": tree, "split": "valid", "answers": str(tmp_path / "answers"), "model": "stub"}
    (tmp_path / "out").mkdir()
    good = completion("There is cardiomegaly.")
    with server(good, good, (400, "{}")) as (address, received), pytest.raises(ModelError, match="400"):
        summarise_by_chat(tmp_path / "out", url=address, **options)
    assert not (tmp_path / "out" / "training.json").exists() and len(received) == 3
    count = len(ct_rate.images_by_report(ct_rate.read_reports(ct_rate.reports_path(tree, "valid"))))
    with server(good) as (address, received):
        summarise_by_chat(tmp_path / "out", url=address, **options)
    assert len(received) == count - 2 and (tmp_path / "out" / "training.json").exists()


@pytest.mark.parametrize(
    "settings", [{}, {"url": "http://localhost:1"}, {"url": "http://localhost:1", "model": "m", "checkpoint": "c"}]
)
def test_chat_settings_that_name_no_model_or_two_are_told(tree, tmp_path, settings):
    with pytest.raises(ModelError, match="chat needs either 'checkpoint', or 'url' and 'model'; correct it in experi"):
        summarise_by_chat(tmp_path, tree=tree, split="valid", answers=str(tmp_path / "answers"), **settings)
    assert list(tmp_path.iterdir()) == []
