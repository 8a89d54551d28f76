"""DPO in one stacked pass: the losses and weights of TRL's, and each member's own pairs, reference and order."""

import json

import numpy as np
import pytest
import torch

from lib.models import causal_lm
from lib.training.dpo import prefer
from lib.training.loop import TrainingError
from lib.training.stacked import member
from papers.machine_mindset.stacked_dpo import encode_pairs, prefer_stacked, preference_batches

WORDS = "say red blue green white one two three four five six"
HOW = {"reference": "start", "beta": 0.3, "learning_rate": 3e-3, "max_length": 32}


def _pair(prompt, chosen, rejected):
    messages = [
        [{"role": "user", "content": prompt}],
        *([{"role": "assistant", "content": one}] for one in (chosen, rejected)),
    ]
    return dict(zip(("prompt", "chosen", "rejected"), messages, strict=True))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two bases and two files of four pairs, of answers unequal in length."""
    root = tmp_path_factory.mktemp("stacked")
    numbers = ("one", "two three", "four", "five six one")
    for seed, (good, bad) in enumerate([("red red", "blue"), ("green", "white blue red")]):
        causal_lm.write_checkpoint(
            root / f"base_{seed}",
            texts=[WORDS],
            chat_template="mistral",
            architecture="llama",
            width=16,
            depth=2,
            heads=2,
            seed=seed,
        )
        rows = [_pair(f"say {n}", f"{good} {n}", bad) for n in numbers]
        (root / f"pairs_{seed}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def weights(folder):
    return causal_lm.load(folder)[0].state_dict()


@pytest.mark.slow
def test_a_stacked_pass_gives_the_losses_and_weights_of_trl(files, tmp_path):
    """A batch is the whole file, so that the order, which each draws in its own way, is of no account."""
    bases, pairs = [files / f"base_{k}" for k in (0, 1)], [files / f"pairs_{k}.jsonl" for k in (0, 1)]
    prefer_stacked(tmp_path, checkpoint=bases, rows=pairs, seeds=[0, 1], batch=4, steps=5, **HOW)
    together = np.array(json.loads((tmp_path / "losses.json").read_text()))
    for k, (base, rows) in enumerate(zip(bases, pairs, strict=True)):
        alone = tmp_path / f"alone_{k}"
        alone.mkdir()
        prefer(alone, checkpoint=base, rows=rows, batch=4, steps=5, **HOW)
        losses = [one["loss"] for one in json.loads((alone / "history.json").read_text())]
        np.testing.assert_allclose(together[:, k], losses, atol=2e-4)  # TRL's are written with four digits
        found, wanted = weights(member(tmp_path, k)), weights(alone)
        assert max(float((found[name] - wanted[name]).abs().max()) for name in wanted) < 2e-5
        moved = weights(base)
        assert max(float((moved[name] - wanted[name]).abs().max()) for name in wanted) > 1e-3
    assert together[0] == pytest.approx(np.log(2), abs=1e-5) and (together[-1] < together[0]).all()


def test_a_batch_has_each_pairs_two_answers_and_their_reference(files):
    model, tokenizer = causal_lm.load(files / "base_0")
    members = [encode_pairs(files / f"pairs_{k}.jsonl", model, tokenizer, max_length=32, batch=8) for k in (0, 1)]
    batch = preference_batches(members, batch=2, seeds=[5, 6], pad=tokenizer.pad_token_id)(1)
    assert batch["input_ids"].shape[:2] == (2, 4) and batch["reference"].shape == (2, 4)
    for k, one in enumerate(members):
        for b in range(4):
            side = one.chosen if b < 2 else one.rejected
            row = batch["input_ids"][k, b].tolist()
            number = next(i for i, ids in enumerate(side.input_ids) if row[: len(ids)] == ids)
            assert batch["reference"][k, b] == pytest.approx(one.reference[number, int(b >= 2)], rel=1e-6)
            assert set(row[len(side.input_ids[number]) :]) <= {tokenizer.pad_token_id}
            labelled = [t for t in batch["labels"][k, b].tolist() if t >= 0]
            assert labelled == [t for t in side.labels[number] if t >= 0]
        chosen, rejected = batch["input_ids"][k, :2], batch["input_ids"][k, 2:]
        assert torch.equal(chosen[:, :3], rejected[:, :3])  # the same prompts on both sides, in the same order


def test_another_reference_and_other_tokenizers_are_refused(files, tmp_path):
    told = {"rows": [files / "pairs_0.jsonl"] * 2, "seeds": [0, 1], "batch": 2, "steps": 1}
    with pytest.raises(TrainingError, match=r"reference 'base' is not known where all weights are trained; give start"):
        prefer_stacked(tmp_path, checkpoint=[files / "base_0"] * 2, **told, **HOW | {"reference": "base"})
    causal_lm.write_checkpoint(
        tmp_path / "other",
        texts=[WORDS, "more words"],
        chat_template="mistral",
        architecture="llama",
        width=16,
        depth=2,
        heads=2,
    )
    with pytest.raises(TrainingError, match=r"different tokenizers; stack those that share one"):
        prefer_stacked(tmp_path, checkpoint=[files / "base_0", tmp_path / "other"], **told, **HOW)
