"""Every corpus in one file: counts that agree, lengths that match, windows of three kinds; the shortcuts that are fitted on it."""

import json
from collections import Counter

import numpy as np
import pytest

from lib.data.files import DataError
from lib.workflow import papers, session
from papers.llm_detector import corpora, hc3, shortcuts
from papers.llm_detector.split import IN_DOMAIN
from papers.llm_detector.texts import read_mixed, read_texts

RNG = np.random.default_rng(0)
WORDS = [f"w{k}" for k in range(60)]


def said(number, mark=""):
    return " ".join(RNG.choice(WORDS, size=number)) + mark


@pytest.fixture
def source(tmp_path):
    """HC3's layout: human answers of one line, machine answers of two."""
    for domain in ("law", "art"):
        rows = [
            {"id": str(k), "question": said(4), "human_answers": [said(12 + k % 3, ".")],
             "x_answers": [f"{said(8)}.\n{said(6)}."], "y_answers": [f"{said(7)}\n{said(9)}"]}
            for k in range(12)
        ]  # fmt: skip
        rows[0]["x_answers"] = [f"As an AI language model, I cannot say that of {domain} in so many words here."]
        hc3.write_hc3(tmp_path / "hc3" / f"{domain}.jsonl", rows)
    return tmp_path / "hc3"


def corpus(tmp_path, source, name="c", **given):
    folder = tmp_path / name
    folder.mkdir()
    told = {"format": "hc3", "rules": {}, "most": 10, "fewest": 5, "cell": None, "seed": 0, **given}
    corpora.write_corpus_texts(folder, source=source, **told)
    return read_texts(folder / "texts.jsonl"), json.loads((folder / "counts.json").read_text())


def test_what_is_read_is_kept_or_counted(tmp_path, source):
    texts, counts = corpus(tmp_path, source)
    assert counts["cleaned"]["refusals"] == 2 and counts["source"]["read"] == 72
    assert counts["source"]["kept"] == counts["cleaned"]["read"] == 72
    left = counts["cleaned"]["duplicates"] + counts["cleaned"]["refusals"] + counts["cleaned"]["too short"]
    assert 72 - left - counts["too short or alone"] - counts["not drawn"] == counts["kept"] == len(texts)
    assert {len(one.text.split()) for one in texts} == {10}


def test_drawn_are_so_many_of_each_writer_and_the_humans_of_their_sources(tmp_path, source):
    texts, counts = corpus(tmp_path, source, cell=4)
    by = Counter((one.domain, one.generator) for one in texts)
    assert {by[domain, g] for domain in ("law", "art") for g in "xy"} == {4} and counts["not drawn"] > 0
    machine = {one.source for one in texts if one.generator != "human"}
    assert machine == {one.source for one in texts if one.generator == "human"}
    assert texts == corpus(tmp_path, source, "again", cell=4)[0]
    assert texts != corpus(tmp_path, source, "other", cell=4, seed=1)[0]


def test_lengths_may_be_exact_or_free_and_nothing_else(tmp_path, source):
    exact, _ = corpus(tmp_path, source, "exact", lengths="exact", most=13)
    assert {len(one.text.split()) for one in exact} == {13}
    free, counts = corpus(tmp_path, source, "free", lengths="free")
    assert counts["too short or alone"] == 0 and len({len(one.text.split()) for one in free}) > 2
    with pytest.raises(DataError, match="cannot be matched by 'evenly'; give versions, exact or free"):
        corpus(tmp_path, source, "wrong", lengths="evenly")
    with pytest.raises(DataError, match="no format 'xml'; give one of hc3, pairs, documents"):
        corpus(tmp_path, source, "format", format="xml")
    with pytest.raises(DataError, match="has no text of 50 words"):
        corpus(tmp_path, source, "long", fewest=50, most=60)


def mixed_files(root):
    """SeqXGPT's layout: ten human texts of eight sentences, and what two models made of their first four."""
    root.mkdir()
    humans = [" ".join(said(9, ".") for _ in range(8)) for _ in range(10)]
    for label in ("human", "gpt2", "llama"):
        rows = []
        for one in humans:
            cut = len(". ".join(one.split(". ")[:4])) + 1
            own = {} if label == "human" else {"prompt_len": cut}
            text = one if label == "human" else f"{one[:cut]} " + " ".join(said(9, ".") for _ in range(5))
            rows.append({"text": text, "label": label, **own})
        (root / f"{label}_lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_windows_are_of_three_kinds_in_equal_sentences(tmp_path):
    (tmp_path / "w").mkdir()
    source = mixed_files(tmp_path / "mixed")
    corpora.write_windows(tmp_path / "w", source=source, sentences=3, words=7, each=6, seed=0)
    found = read_mixed(tmp_path / "w" / "mixed.jsonl")
    kinds = Counter(one.id.rsplit("-", 1)[1] for one in found)
    assert kinds == {"human": 6, "machine": 6, "mixed": 6}
    for one in found:
        kind = one.id.rsplit("-", 1)[1]
        assert len(one.sentences) == 3 and {len(text.split()) for text, _ in one.sentences} == {7}
        assert one.labels == ({"human": ["human"] * 3, "machine": ["machine"] * 3}.get(kind) or sorted(one.labels))
        assert kind != "mixed" or len(set(one.labels)) == 2
    assert Counter(one.generator for one in found if one.id.endswith("machine")) == {"GPT-2": 3, "LLaMA": 3}
    (tmp_path / "s").mkdir()
    corpora.write_sentences(tmp_path / "s", mixed=tmp_path / "w" / "mixed.jsonl")
    single = read_texts(tmp_path / "s" / "texts.jsonl")
    assert [one.label for one in single] == [label for one in found for label in one.labels]
    with pytest.raises(DataError, match="has no 3 sentences of 40 words in a row; ask for fewer"):
        corpora.write_windows(tmp_path / "w", source=source, sentences=3, words=40, each=6, seed=0)


# ---------------------------------------------------------------------- shortcuts
def test_form_tells_in_the_corpus_as_it_is_and_no_longer_when_it_is_evened_out(tmp_path, source, monkeypatch, capsys):
    run = session.Run(
        paper=papers.load_paper("llm_detector"), exhibit="tab_shortcut_audit", profile="real", seeds=[0], claims=[],
        settings={"share": 0.5, "checkpoint": {}, "corpus": {
            "format": "hc3", "source": "files", "rules": {"form": True}, "most": 10, "fewest": 5, "cell": None}},
        evidence="real",
    )  # fmt: skip
    monkeypatch.setattr(session.sources, "fetch", lambda slug, name: source)
    monkeypatch.setattr(session.cache.paths, "CACHE", tmp_path / "cache")
    audit = shortcuts.prepare(run)
    assert audit.counts["cleaned"]["refusals"] == 2
    assert audit.form["as it is"]["x"]["line breaks"] > 0.9 > 0.1 > audit.form["as used"]["x"]["line breaks"]
    area = {version: found.samples("form", IN_DOMAIN)[0] for version, found in audit.found.items()}
    assert area["as it is"] > 0.9 and area["as used"] == area["without marks"] == 0.5
    nulls = audit.found["as used"].nulls(["length", "form"])
    assert nulls == {"length": True, "form": True} and "at chance" in capsys.readouterr().out
    audit.judge("R4")
    assert run.judged["R4"]["effect"]["mean"] > 0.4
