"""Verifiers: what each passes and fails, on sentences whose truth is known and on the released records."""

import numpy as np
import pytest
from released_files import released

from lib.models import ModelError, causal_lm
from papers.huatuogpt_o1 import record_verifier
from papers.huatuogpt_o1.classifier import train_verifier
from papers.huatuogpt_o1.judgements import draw_judgements, read_judgements, write_judgements
from papers.huatuogpt_o1.records import EXAM, SFT, VERIFIABLE, read_records
from papers.huatuogpt_o1.replies import sections, write_reply
from papers.huatuogpt_o1.verifiers import AliasTable, ChatJudge, ExactMatch, SequenceClassifier, rates
from papers.huatuogpt_o1.world import Sizes, draw_world

SIZES = {"diseases": 8, "findings": 6, "each": 3, "shared": 2, "values": 4}
TEMPLATE = "{reference} : {response}"


class Judge:
    name = "stub"

    def ask(self, prompt):
        return " TRUE." if "Reference answer: flu" in prompt and "grippe" in prompt else "False"


def test_words_names_and_a_judge():
    responses = ["It is Flu.", "It is grippe.", "Not flu, a cold."]
    references = ["flu"] * 3
    assert ExactMatch().verify(responses, references).tolist() == [True, False, True]
    table = AliasTable({"Flu": ("flu", "Grippe")})
    assert table.verify(responses, references).tolist() == [True, True, True]
    assert ChatJudge(Judge()).verify(responses, references).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="3 responses and 1 references"):
        ExactMatch().verify(responses, ["flu"])


def test_rates_count_both_errors():
    found = rates(np.array([1, 1, 0, 1]), np.array([1, 1, 1, 0]))
    assert found == {
        "accuracy": 0.5, "balanced accuracy": pytest.approx(1 / 3), "false positives": 1.0,
        "false negatives": pytest.approx(1 / 3),
    }  # fmt: skip
    with pytest.raises(ValueError, match="all labels are the same"):
        rates(np.ones(3), np.ones(3))


def test_judgements_are_labelled_right():
    world = draw_world(Sizes(**SIZES), seed=0)
    rows, both = draw_judgements(world, count=200, seed=1), world.aliases()
    assert sum(row.right for row in rows) == 100
    said = AliasTable(both).verify([row.response for row in rows], [row.reference for row in rows])
    right = np.array([row.right for row in rows])
    assert said[right].all()  # a right response always names the value
    ruled_out = [row for row, passed in zip(rows, said, strict=True) if passed and not row.right]
    assert ruled_out and all("ot" in row.response or "considered" in row.response for row in ruled_out)
    exact = ExactMatch().verify([row.response for row in rows], [row.reference for row in rows])
    assert rates(exact, right)["false negatives"] == pytest.approx(0.5, abs=0.15)


def test_a_classifier_is_saved_read_and_uses_its_threshold(tmp_path):
    write_judgements(tmp_path / "rows", sizes=SIZES, count=64, seed=0, part="train")
    assert read_judgements(tmp_path / "rows")[0] != []
    fit = {"architecture": {"architecture": "llama", "width": 16, "depth": 1, "heads": 2}, "steps": 60, "batch": 32}
    train_verifier(tmp_path, judgements=tmp_path / "rows", learning_rate=1e-2, seed=0, template=TEMPLATE, **fit)
    rows, _ = read_judgements(tmp_path / "rows")
    judged = [row.response for row in rows], [row.reference for row in rows]
    one = SequenceClassifier(tmp_path, template=TEMPLATE, batch=7)
    p = one.probabilities(*judged)
    assert p.shape == (64,) and ((p > 0) & (p < 1)).all()
    np.testing.assert_allclose(
        p, SequenceClassifier(tmp_path, template=TEMPLATE, batch=64).probabilities(*judged), atol=1e-5
    )
    assert (one.verify(*judged) == (p > 0.4)).all()
    strict = SequenceClassifier(tmp_path, template=TEMPLATE, threshold=1.0)
    assert not strict.verify(*judged).any()


def test_a_folder_that_is_no_classifier(tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded as a classifier"):
        SequenceClassifier(tmp_path)
    causal_lm.write_checkpoint(tmp_path, texts=["a b"], chat_template="plain", architecture="llama", width=16, depth=1)
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="give a checkpoint in safetensors"):
        SequenceClassifier(tmp_path)


def test_the_classifier_of_the_records_never_sees_the_record_it_judges():
    rows = read_records(released("huatuogpt_o1", "records") / "data" / "demo_data.json", EXAM, VERIFIABLE, SFT)[:60]
    pairs = record_verifier.record_pairs(rows)
    assert pairs.right.sum() == 60 and set(pairs.record.tolist()) == set(range(60))
    said = record_verifier.cross_validated(pairs, seed=0)
    own = pairs.record == 5
    flipped = record_verifier.Pairs(
        pairs.responses, pairs.references, pairs.record, np.where(own, ~pairs.right, pairs.right)
    )
    again = record_verifier.cross_validated(flipped, seed=0)
    assert (said[own] == again[own]).all()  # its own labels change nothing
    per = record_verifier.balanced_by_record(said, pairs)
    assert ((per >= 0) & (per <= 1)).all() and len(per) <= 60


@pytest.mark.parametrize(
    "reply",
    [
        "no headers",
        "## Final Response\n\nflu\n\n## Thinking\n\nhm",
        "## Thinking\n\nhm\n\n## Final Response\nflu",  # one line break: the header has two
        write_reply("hm", "flu") + write_reply("hm", "flu"),
        "## Thinking\n\n## Thinking\n\n## Final Response\n\nflu",
    ],
)
def test_a_reply_out_of_format(reply):
    assert sections(reply) is None


def test_a_reply_in_format():
    assert sections(write_reply("hm\n\nwait", "flu")) == ("hm\n\nwait", "flu")
