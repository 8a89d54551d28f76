"""SeqXGPT, the pairs of Fast-DetectGPT and HC3: golden counts of the real files, small files in their layout, bad rows."""

import json

import pytest

from lib.data.files import DataError
from lib.workflow import paths
from papers.llm_detector import audit, hc3, pairs, seqxgpt
from papers.llm_detector.split import crossed

REAL = paths.DATA_ROOT / "llm_detector"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the released files are not here")


# ---------------------------------------------------------------------- the real files, to the row
@real
def test_the_pairs_are_counted_to_the_row():
    texts, counts = pairs.read_pairs(REAL / "gpt3to4")
    assert counts == {"pairs read": 1350, "kept": 1348, "nothing behind the beginning": 2}
    assert len(texts) == 2 * 1348 and crossed(texts) == []
    assert sum(one.generator == "GPT-4" and one.domain == "stories" for one in texts) == 150
    kept, dropped = audit.clean(texts, audit.Rules())
    assert (dropped["read"], dropped["duplicates"], dropped["refusals"], dropped["kept"]) == (2696, 149, 7, len(kept))
    assert dropped["read"] == sum(dropped[key] for key in ("duplicates", "refusals", "too short", "kept"))
    form = audit.count(texts)  # no human text has a line break, two of three machine texts do: a shortcut
    assert form["human"]["line breaks"] == 0 and form["davinci"]["line breaks"] > 0.6


@real
def test_seqxgpt_is_counted_to_the_row():
    documents = seqxgpt.read_documents(REAL / "seqxgpt" / "document")
    assert len(documents) == 1200 and len({one.source for one in documents}) == 1097
    mixed, counts = seqxgpt.read_mixed_documents(REAL / "seqxgpt" / "ood_sentence")
    assert (
        counts == {"read": 1200, "kept": 1117, "source not found": 9, "nothing by the model": 74} and len(mixed) == 1117
    )
    humans = [one for one in mixed if one.generator == "human"]
    assert len(humans) == 200 and all(set(one.labels) == {"human"} for one in humans)
    for one in mixed:  # a human beginning and a machine's end: never back to the human
        assert one.labels == sorted(one.labels, key=("human", "machine").index)


# ---------------------------------------------------------------------- small files in the same layout
def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


HUMAN = "The ship sailed at dawn. Nobody was on the quay. It rained."


def test_a_mixed_document_goes_back_to_its_human_text_and_a_sentence_to_most_of_its_letters(tmp_path):
    cut = HUMAN.index(" Nobody")
    write_lines(tmp_path / "human_lines.jsonl", [{"text": HUMAN, "label": "human"}])
    rows = [
        {"text": HUMAN[:cut] + " The sea was calm. It was cold.", "prompt_len": cut, "label": "gpt2"},
        {"text": HUMAN[: cut + 12] + "x. And so on.", "prompt_len": cut + 12, "label": "gpt2"},
        {"text": "Elsewhere it was dry. And warm.", "prompt_len": 21, "label": "gpt2"},
        {"text": HUMAN[:cut], "prompt_len": cut, "label": "gpt2"},
    ]
    write_lines(tmp_path / "gpt2_lines.jsonl", rows)
    found, counts = seqxgpt.read_mixed_documents(tmp_path)
    assert counts == {"read": 5, "kept": 3, "source not found": 1, "nothing by the model": 1}
    assert {one.source for one in found} == {"human-1"}
    by = {one.id: one for one in found}
    assert by["gpt2-1"].sentences[1] == ("The sea was calm.", "machine")
    assert by["gpt2-2"].labels == ["human", "human", "machine"]  # eleven of fourteen letters of the second are human


def test_sentences_are_cut_where_they_end_and_nothing_is_lost():
    text = 'He said "No." Then 3.5 mg.\n\n- A list\nDr. Who? Yes!'
    spans = seqxgpt.sentences(text)
    assert [text[a:b] for a, b in spans] == ['He said "No."', "Then 3.5 mg.", "- A list", "Dr.", "Who?", "Yes!"]
    assert "".join(text[a:b] for a, b in spans).replace(" ", "") == "".join(text.split())


def test_pairs_that_begin_alike_share_a_source_and_lose_their_beginning(tmp_path):
    one = {"original": ["Once upon a time there was a king who slept."],
           "sampled": ["Once upon a time there was a king.\n\nHe ruled."]}  # fmt: skip
    for model in ("davinci", "gpt-4"):
        (tmp_path / f"writing_{model}.raw_data.json").write_text(json.dumps(one))
    texts, counts = pairs.read_pairs(tmp_path)
    assert counts["kept"] == 2 and len({text.source for text in texts}) == 1
    assert texts[0].question == "Once upon a time there was a" and texts[0].text == "king who slept."
    assert texts[1].text == "king.\n\nHe ruled." and texts[1].generator == "davinci" and texts[1].domain == "stories"


def test_hc3_gives_every_answer_once_and_counts_the_empty_ones(tmp_path):
    rows = [
        {"id": "7", "question": "Why?", "human_answers": ["So.", ""], "chatgpt_answers": ["Because of that."]},
        {"question": "How?", "human_answers": ["Thus."], "chatgpt_answers": [], "bigram_answers": ["In some way."]},
    ]
    hc3.write_hc3(tmp_path / "law.jsonl", rows)
    texts, counts = hc3.read_hc3(tmp_path)
    assert counts == {"read": 5, "kept": 4, "empty": 1}
    assert [(one.generator, one.source, one.domain) for one in texts] == [
        ("human", "law-7", "law"), ("chatgpt", "law-7", "law"), ("human", "law-2", "law"), ("bigram", "law-2", "law"),
    ]  # fmt: skip


# ---------------------------------------------------------------------- bad files
def refusal(call, *words):
    with pytest.raises(DataError) as error:
        call()
    said = str(error.value)
    assert "\n" not in said and all(word in said for word in words), said


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "A text.", "label": "robot"}, ("human_lines.jsonl, line 2", "'robot' is neither human nor one of")),
        ({"text": "  ", "label": "human"}, ("line 2: 'text' is empty", "take the row out")),
        ({"text": "A text.", "label": "gpt2", "prompt_len": 99}, ("line 2: 'prompt_len' is 99", "7 characters")),
        ({"text": "A text.", "label": "gpt2"}, ("line 2: 'prompt_len' is None",)),
        ({"text": "A text."}, ("line 2 lacks 'label'",)),
    ],
)
def test_a_bad_row_of_seqxgpt_is_named(tmp_path, row, words):
    write_lines(tmp_path / "human_lines.jsonl", [{"text": HUMAN, "label": "human"}, row])
    refusal(lambda: seqxgpt.read_mixed_documents(tmp_path), *words)


def test_a_file_that_was_cut_off_is_named(tmp_path):
    write_lines(tmp_path / "human_lines.jsonl", [{"text": HUMAN, "label": "human"}] * 2)
    path = tmp_path / "human_lines.jsonl"
    path.write_text(path.read_text()[:-15])
    refusal(lambda: seqxgpt.read_documents(tmp_path), "human_lines.jsonl, line 2 is not JSON", "fetch")
    (tmp_path / "pubmed_gpt-4.raw_data.json").write_text('{"original": ["a b"], "sam')
    refusal(lambda: pairs.read_pairs(tmp_path), "pubmed_gpt-4.raw_data.json is not JSON")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("xsum_gpt-4", {"original": ["a b"], "sampled": []}, ("'sampled' is no list of texts",)),
        ("xsum_gpt-4", {"original": ["a b"], "sampled": ["a c", "a d"]}, ("1 original and 2 sampled",)),
        ("xsum_gpt-4", {"original": ["a b", ""], "sampled": ["a c", "a"]}, ("row 2: 'original' is empty",)),
        ("xsum_gpt-9", {"original": ["a b"], "sampled": ["a c"]}, ("no known domain and model",)),
    ],
)
def test_a_bad_file_of_pairs_is_named(tmp_path, name, content, words):
    (tmp_path / f"{name}.raw_data.json").write_text(json.dumps(content))
    refusal(lambda: pairs.read_pairs(tmp_path), f"{name}.raw_data.json", *words)


def test_a_bad_row_of_hc3_is_named(tmp_path):
    good = {"id": 1, "question": "Why?", "human_answers": ["So."]}
    write_lines(tmp_path / "law.jsonl", [good, good])
    refusal(lambda: hc3.read_hc3(tmp_path), "law.jsonl, line 2 has the id '1' of line 1")
    write_lines(tmp_path / "law.jsonl", [{"question": "Why?", "answers": []}])
    refusal(lambda: hc3.read_hc3(tmp_path), "line 1 lacks 'human_answers'")
    write_lines(tmp_path / "law.jsonl", [{**good, "chatgpt_answers": "So."}])
    refusal(lambda: hc3.read_hc3(tmp_path), "'chatgpt_answers' is a str; give a list")
