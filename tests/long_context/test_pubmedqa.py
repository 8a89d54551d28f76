"""PubMedQA on small files in its format: what is read, refused, drawn and asked, question by question."""

import copy
import json

import numpy as np
import pytest
import torch
from pairs import at, exhibits, run_cells

from lib.data.files import DataError
from lib.evaluation import EvaluationError
from lib.models import causal_lm, gguf
from lib.workflow import experiments, paths, sources
from lib.workflow.session import Run, SessionError, start
from papers.long_context import asking, pubmedqa, reading
from papers.long_context.questions import Question, counterpart, decisive, of_exam, read_questions, write_questions
from papers.long_context.study import prepare

WORDING = {
    "open": "{context} {asked}",
    "closed": "{asked}",
    "between": " ",
    "conclusion": "{question}",
    "words": "{question} yes or no",
    "letter": "{question} {options}",
    "option": "{letter}. {text}",
}


def row(number, decision="yes", **changes):
    sentences = [
        f"Group {number} was studied.",
        "Aspirin lowered fever in all. Nobody died (p < 0.05). Costs were high.",
    ]
    given = {"QUESTION": f"Does aspirin {number} help?", "CONTEXTS": sentences, "LABELS": ["AIM", "RESULTS"],
             "MESHES": [], "YEAR": "2001", "reasoning_required_pred": "yes", "reasoning_free_pred": "no",
             "final_decision": decision, "LONG_ANSWER": "Aspirin lowered fever."}  # fmt: skip
    return given | changes


@pytest.fixture
def files(tmp_path):
    """Writes both files, the first row after a change, and gives their folder."""

    def written(decided="yes", drop=None, **changes):
        rows = {str(n): row(n, ("yes", "no", "maybe")[n % 3]) for n in range(9)}
        truth = {id: one["final_decision"] for id, one in rows.items() if id != "8"} | {"0": decided}
        rows["0"] = row(0, **changes)
        rows["0"].pop(drop, None)
        (tmp_path / pubmedqa.ROWS).write_text(json.dumps(rows))
        (tmp_path / pubmedqa.TEST).write_text(json.dumps(truth))
        return tmp_path

    return written


# ---------------------------------------------------------------------- reader
def test_the_test_split_is_read_and_its_contexts_cut_into_sentences(files):
    found = pubmedqa.read_test(files())
    assert [one.id for one in found] == list("01234567") and found[1].decision == "no"
    assert pubmedqa.sentences(found[1]) == [
        "Group 1 was studied.", "Aspirin lowered fever in all.", "Nobody died (p < 0.05).", "Costs were high.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": "LONG_ANSWER"}, r"ori_pqal\.json, question 0 lacks 'LONG_ANSWER' .*; add or rename it"),
        ({"answer": 1}, r"question 0 has the key 'answer', which this format does not know"),
        ({"QUESTION": " "}, r"question 0: 'QUESTION' is blank; fetch"),
        ({"CONTEXTS": "one text"}, r"question 0: 'CONTEXTS' is no list of paragraphs; fetch"),
        ({"CONTEXTS": ["text", 3]}, r"question 0: 'CONTEXTS' is a int, not text"),
        ({"final_decision": "perhaps"}, r"question 0: the decision 'perhaps' is none of yes, no, maybe; fetch"),
        ({"decided": "no"}, r"test_ground_truth\.json, question 0 is decided 'no' and 'yes' in ori_pqal\.json; fetch both"),
        ({"decided": 1}, r"test_ground_truth\.json, question 0: the decision 1 is none of"),
    ],
)  # fmt: skip
def test_a_malformed_row_is_named_with_its_remedy(files, change, message):
    with pytest.raises(DataError, match=message):
        pubmedqa.read_test(files(**change))


def test_files_that_do_not_belong_together_or_are_cut_off_are_told(files):
    folder = files()
    (folder / pubmedqa.TEST).write_text('{"77": "yes"}')
    with pytest.raises(DataError, match=r"question 77 is not in ori_pqal\.json; fetch both files again"):
        pubmedqa.read_test(folder)
    text = (folder / pubmedqa.ROWS).read_text()
    (folder / pubmedqa.ROWS).write_text(text[:-20])
    with pytest.raises(DataError, match=r"ori_pqal\.json is not JSON .*cut off"):
        pubmedqa.read_test(folder)
    (folder / pubmedqa.ROWS).unlink()
    with pytest.raises(DataError, match=r"ori_pqal\.json does not exist"):
        pubmedqa.read_test(folder)


def test_questions_are_drawn_by_the_seed_with_options_in_every_order(files, tmp_path):
    folder, drawn = files(CONTEXTS=["One sentence alone."]), []
    for seed in (0, 0, 1):
        pubmedqa.draw_questions(tmp_path, source=folder, count=7, seed=seed)
        drawn.append(read_questions(tmp_path / "questions.json"))
    assert drawn[0] == drawn[1] != drawn[2]
    assert {one.id for one in drawn[0]} == set("1234567"), "a context of one sentence has none to leave out"
    truth = {one.id: one.decision for one in pubmedqa.read_test(folder)}
    assert all(one.options[one.right].lower() == truth[one.id] for one in drawn[0])
    assert len({one.options for one in drawn[0]}) > 2 and {one.right for one in drawn[0]} == {0, 1, 2}
    with pytest.raises(DataError, match="has 7 such questions and 8 are asked for; ask for fewer"):
        pubmedqa.draw_questions(tmp_path, source=folder, count=8, seed=0)


# ---------------------------------------------------------------------- the sentence that decides
def question(*sentences, conclusion="Aspirin lowers fever.", asked="Does aspirin help?"):
    return Question("1", asked, sentences, ("Yes", "No"), 0, conclusion)


@pytest.mark.parametrize(
    ("sentences", "place"),
    [
        (("It was a study.", "Fever fell with aspirin.", "Costs rose."), 1),
        (("Aspirin aspirin aspirin.", "Aspirin, and fever."), 1),  # different words count, not how often
        (("We saw fever.", "A fever does help."), 1),  # as many of the conclusion: more of the question
        (("Fever came.", "Fever went."), 0),
        (("None of it.", "It is so."), 0),  # short words and nothing shared
    ],
)
def test_the_decisive_sentence_shares_most_with_the_conclusion(sentences, place):
    assert decisive(question(*sentences)) == place


def test_its_counterpart_is_the_other_sentence_nearest_in_length():
    one = question("A b c d e f g.", "Fever fell with aspirin.", "Two words.", "Five words are in here.")
    assert (decisive(one), counterpart(one)) == (1, 3)
    assert counterpart(question("Short one.", "Aspirin lowers fever in all of them.")) == 0


def test_contexts_differ_in_what_they_say_alone():
    asked = [question(f"Fever aspirin {k}.", f"Other text {k}.", "More here.") for k in range(5)]
    stands = reading.contexts(asked, seed=0)
    assert all(a != b for a, b in zip(stands[reading.OWN], stands[reading.OTHER], strict=True))
    assert sorted(stands[reading.OTHER]) == sorted(stands[reading.OWN]) and stands[reading.NONE] == [[]] * 5
    assert stands[reading.DECISIVE][2] == ["Other text 2.", "More here."]
    assert stands[reading.COUNTERPART][2] == ["Fever aspirin 2.", "More here."]
    assert reading.prompt(asked[0], ["A.", "B."], "letter", WORDING) == "A. B. Does aspirin help? A. Yes\nB. No"
    assert reading.prompt(asked[0], [], "conclusion", WORDING) == "Does aspirin help?"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"right": 2}, "row 1: 'right' is 2, the place of none of its options"),
        ({"right": True}, "row 1: 'right' is True"),
        ({"sentences": ["one"]}, "row 1: 'sentences' is no list of two texts"),
        ({"conclusion": None}, "row 1: 'conclusion' is a NoneType"),
    ],
)
def test_questions_that_cannot_be_asked_are_named(tmp_path, change, message):
    path = tmp_path / "questions.json"
    write_questions(path, [question("a b", "c d")] * 2)
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([rows[0] | change, rows[1]]))
    with pytest.raises(DataError, match=message):
        read_questions(path)
    path.write_text(json.dumps(rows[:1]))
    with pytest.raises(DataError, match="holds one question"):
        read_questions(path)


# ---------------------------------------------------------------------- asked
TEXTS = ["Does aspirin help Yes No Maybe A B C . ? ( ) < p yes or no Group was studied Aspirin lowered fever in all Nobody died "
         "Costs were high 0 1 2 3 4 5 6 7 8 05", "\n"]  # fmt: skip


@pytest.fixture
def model(tmp_path):
    """A tiny checkpoint whose first layer sees two tokens, as the miniature's bases do."""
    causal_lm.write_checkpoint(
        tmp_path / "model", texts=TEXTS, chat_template="chatml", architecture="ministral", width=16, depth=2, heads=2,
        sliding_window=2, layer_types=["sliding_attention", "full_attention"], max_position_embeddings=120,
    )  # fmt: skip
    return tmp_path / "model"


def test_what_texts_begin_with_is_read_once_and_changes_nothing(model):
    loaded, _ = causal_lm.load(model)
    reader, rng = reading.Prefixes(loaded), np.random.default_rng(0)
    start_of_all = rng.integers(5, 30, size=20).tolist()
    for cut, more in ((20, 5), (12, 9), (20, 1), (0, 7), (20, 1)):
        ids = [*start_of_all[:cut], *rng.integers(5, 30, size=more).tolist()]
        with torch.inference_mode():
            plain = loaded(torch.tensor([ids])).logits[0].log_softmax(-1)
        for keep in (1, more):
            torch.testing.assert_close(reader.logits(ids, keep), plain[-keep:], atol=1e-5, rtol=1e-5)
    replies = [[5], [6], [7, 8, 9]]
    expected = []
    for reply in replies:
        with torch.inference_mode():
            logp = loaded(torch.tensor([[*ids, *reply]])).logits[0].log_softmax(-1)
        expected.append(np.mean([float(logp[len(ids) - 1 + k, token]) for k, token in enumerate(reply)]))
    assert reader.likelihoods(ids, replies) == pytest.approx(expected, abs=1e-5)
    said = reader.reply(ids, end=-1, longest=3)
    plain = loaded.generate(torch.tensor([ids]), max_new_tokens=3, do_sample=False, eos_token_id=None)
    assert said == plain[0, len(ids) :].tolist()
    assert reader.reply(ids, end=said[0], longest=3) == []
    with pytest.raises(EvaluationError, match="have 121 tokens, more than the 120 positions"):
        reader.logits([5] * 121, 1)


def test_every_question_has_a_value_in_every_condition(files, tmp_path, model):
    pubmedqa.draw_questions(tmp_path, source=files(), count=6, seed=0)
    how = {"questions": tmp_path / "questions.json", "wording": WORDING, "longest": 3, "seed": 0}
    reading.ask(tmp_path, model=model, **how)
    found = json.loads((tmp_path / "asked.json").read_text())
    assert {name: list(kinds) for name, kinds in found.items()} == {
        measure: [kind for kind, names in reading.MEASURED.items() if measure in names] for measure in found
    }
    assert all(len(values) == 6 for kinds in found.values() for values in kinds.values())
    assert min(found["nats"][reading.OWN]) > 0
    assert all(value in (0, 1) for mode in reading.MODES for values in found[mode].values() for value in values)


@pytest.mark.parametrize(
    ("reply", "place"),
    [("Yes, it does.", 0), ("Nothing is known", None), ("no", 1), ("It may; maybe not. No.", 2), ("", None)],
)
def test_the_first_option_named_counts(reply, place):
    assert reading.named(reply, ["Yes", "No", "Maybe"]) == place


def test_a_letter_that_no_option_has_is_no_answer():
    places = {reply: reading._lettered(reply, ["x", "y", "z"]) for reply in ("B", "B. y", "F", "A or C", "")}
    assert places == {"B": 1, "B. y": 1, "F": None, "A or C": None, "": None}


# ---------------------------------------------------------------------- of a run
@pytest.fixture
def cache(tmp_path, monkeypatch):
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


def test_the_profile_real_on_small_files(cache, files, model, monkeypatch):
    folder = files()
    monkeypatch.setattr(sources, "fetch", lambda slug, name: folder)
    build = Run.build  # a checkpoint in the place of a GGUF file and its conversion
    monkeypatch.setattr(
        Run, "build", lambda self, made, **told: told["source"] if made is gguf.convert else build(self, made, **told)
    )
    run = start("long_context", "fig_open_book", profile="real")
    run.settings = copy.deepcopy(run.settings)
    run.settings["checkpoint"]["file"] = "model"
    run.settings["questions"]["count"] = 6
    run.settings["reading"]["wording"] = WORDING
    plan = asking.prepare(run)
    assert plan.mixes(budget="heavy", trend=[]) == plan.marks(budget="heavy", base=64, ratios=[], longest=5) == {}
    assert plan.checks({}) == []
    asked = plan.ask()
    assert asked.about().startswith("6 questions, 4.0 sentences in a context; the commonest right answer, '")
    for claim in run.claims:
        found = asked.contrast(run.paper.claim(claim), resamples=50)
        assert found["n"] == 6 and set(found) == {"effect", "control", "excess", "n"}
    nats = asked.values["nats"]
    found = asked.contrast(run.paper.claim("R1a"), resamples=50)
    assert found["effect"][0] == pytest.approx(np.mean(nats[reading.OWN] - nats[reading.NONE]))
    assert found["control"][0] == pytest.approx(np.mean(nats[reading.OTHER] - nats[reading.NONE]))
    asking.check(run, claims=["R1a"], budget="heavy", trend=[])
    with pytest.raises(SessionError, match=r"the profile 'real' tunes no mixes; give 'trend' as \[\]"):
        asking.check(run, claims=[], budget="heavy", trend=["9:1"])
    with pytest.raises(SessionError, match="parameter 'claims' is 'R1d'"):
        asking.check(run, claims=["R1d"], budget="heavy", trend=[])


@pytest.mark.slow
@at("real", exhibits("long_context", "real"))
def test_a_notebook_runs_at_real_on_small_files(exhibit, files, model, tmp_path):
    told = copy.deepcopy(experiments.load("long_context").profiles["real"])
    told["checkpoint"] = {"source": "smollm2"}
    told["questions"]["count"] = 6
    told["reading"] |= {"wording": WORDING}
    given = {
        "root": tmp_path / "runs",
        "sources": {"smollm2": tmp_path / "model", "pubmedqa": files()},
        "resamples": 20,
    }
    run_cells("long_context", exhibit, "real", settings=told, **given)
    saved = json.loads((tmp_path / f"runs/out/papers/long_context/results/{exhibit}.real.json").read_text())
    assert saved["evidence"] == "real" and saved["numbers"]


def test_an_exam_of_the_world_gives_the_same_form(cache, tmp_path):
    run = start("long_context", "fig_open_book", profile="smoke")
    study = prepare(run)
    of_exam(tmp_path, exam=study.exams[0]["held_out"], size=6)
    found = read_questions(tmp_path / "questions.json")
    assert len(found) == 12 and {len(one.sentences) for one in found} == {6}
    for one in found:
        assert one.options[one.right] == one.conclusion
        assert one.sentences[decisive(one)] == f"{one.question} {one.conclusion}"
    with pytest.raises(DataError, match="has 11 distractors; ask for 2 to 12 passages, not 13"):
        of_exam(tmp_path, exam=study.exams[0]["held_out"], size=13)
