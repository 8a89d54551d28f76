"""Stacked tuning of the miniature multimodal model: as single fits, learning a rule, in even passes."""

import copy

import numpy as np
import pytest
import torch

from lib.models.multimodal_lm import MultimodalLM
from lib.training.loop import train
from lib.training.stacked import CLIP, fit_stacked
from papers.med_mat.checkpoints import TinyCheckpoint
from papers.med_mat.fits import tuning
from papers.med_mat.fits.tuning import TOGETHER, Questions, answer_loss, equally_long, letter_scores, passes, tune

WORDS = ["<pad>", "A", "B", "C", "D", *(f"<{i}>" for i in range(17)), "lung", "brain", "normal", "abnormal", "cyst"]
SETTINGS = {"encoder": "convolution", "vocabulary": len(WORDS), "width": 24, "depth": 3}


def _checkpoint() -> TinyCheckpoint:
    torch.manual_seed(0)
    return TinyCheckpoint(MultimodalLM(**SETTINGS), WORDS, SETTINGS)


def _learnable(count: int = 64):
    """Pictures whose brightness decides between A and B."""
    checkpoint = _checkpoint()
    bright = np.arange(count) % 2
    images = (60 + 120 * bright[:, None, None] + np.zeros((count, 32, 32))).astype(np.uint8)
    images += np.random.default_rng(0).integers(0, 20, images.shape, dtype=np.uint8)
    ids, mask, wanted = checkpoint.with_answers(["lung A normal B abnormal"] * count, ["AB"[b] for b in bright])
    return checkpoint.see(images), Questions(ids, mask, wanted), bright


def test_stacked_fits_end_where_single_ones_do():
    features, questions, _ = _learnable()
    draws = [(np.arange(64), np.arange(64)), (np.arange(32), np.arange(32)), (np.arange(8), np.arange(8))]
    together = [_checkpoint().model for _ in draws]
    options = {"steps": 12, "batch": 16, "learning_rate": 2e-3}
    tune(together, [(features, questions)] * 3, draws, seeds=[0, 1, 2], **options)
    for seed, (model, draw) in enumerate(zip(together, draws, strict=True)):
        alone = _checkpoint().model
        tune([alone], [(features, questions)], [draw], seeds=[seed], **options)
        for name, weight in model.state_dict().items():
            torch.testing.assert_close(weight, alone.state_dict()[name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_stacked_pass_is_each_model_alone_in_the_ordinary_loop(monkeypatch):
    """The same rows through one unstacked model and torch's own clipping: losses and weights in single precision."""
    features, questions, _ = _learnable()
    draws = [(np.arange(64), np.arange(64)), (np.arange(40), np.arange(40))]
    seen = []

    def recorded(models, batch_of_step, loss, **how):
        seen.append((batch_of_step, how))
        return fit_stacked(models, batch_of_step, loss, **how)

    monkeypatch.setattr(tuning, "fit_stacked", recorded)
    together = [_checkpoint().model for _ in draws]
    losses = tune(together, [(features, questions)] * 2, draws, steps=8, batch=16, learning_rate=2e-3, seeds=[0, 1])
    ((batch_of_step, how),) = seen
    for k, model in enumerate(together):
        alone = _checkpoint().model
        alone.encoder.requires_grad_(False)
        optimiser = torch.optim.AdamW(alone.parameters(), lr=how["learning_rate"], weight_decay=0.0)

        def loss_of_step(called, step, k=k):
            return answer_loss(called, {name: one[k] for name, one in batch_of_step(step).items()})

        single = train(
            alone, loss_of_step, steps=how["steps"], optimiser=optimiser, clip=CLIP, schedule=how["schedule"]
        )
        np.testing.assert_allclose(losses[:, k], single, rtol=1e-5)
        for (name, mine), other in zip(model.named_parameters(), alone.parameters(), strict=True):
            assert (mine - other).norm() <= 1e-5 * other.norm(), name
        assert losses[-1, k] < 0.9 * losses[0, k]


def test_fits_of_different_bases_side_by_side_end_where_single_ones_do():
    """Other first weights, other pictures and prompts of another length: losses and weights are those of single fits."""
    material, bases = [], []
    for seed, words in enumerate(("lung A normal B abnormal", "A normal B abnormal " + 4 * "lung brain cyst ")):
        torch.manual_seed(seed)
        bases.append(TinyCheckpoint(MultimodalLM(**SETTINGS), WORDS, SETTINGS))
        images = np.random.default_rng(seed).integers(0, 256, (24, 32, 32), dtype=np.uint8)
        ids, mask, wanted = bases[-1].with_answers([words] * 24, ["AB"[i % 2] for i in range(24)])
        material.append((bases[-1].see(images), Questions(ids, mask, wanted)))
    even = equally_long([questions for _, questions in material])
    assert [one.ids.shape[1] for one in even] == [material[1][1].ids.shape[1]] * 2 != [material[0][1].ids.shape[1]] * 2
    draws, options = [(np.arange(24), np.arange(24))] * 2, {"steps": 12, "batch": 16, "learning_rate": 2e-3}
    alone = [copy.deepcopy(one.model) for one in bases]
    padded = [(features, questions) for (features, _), questions in zip(material, even, strict=True)]
    losses = tune([one.model for one in bases], padded, draws, seeds=[3, 4], **options)
    for k, model in enumerate(alone):
        single = tune([model], [material[k]], [draws[k]], seeds=[3 + k], **options)
        np.testing.assert_allclose(losses[:, k], single[:, 0], rtol=1e-4)
        for name, weight in bases[k].model.state_dict().items():
            torch.testing.assert_close(weight, model.state_dict()[name], rtol=1e-4, atol=2e-5, msg=name)
    assert np.abs(losses[:, 0] - losses[:, 1]).max() > 0.01


def test_tuning_learns_a_rule_and_exchanged_pictures_hide_it():
    features, questions, bright = _learnable()
    rows, mixed = np.arange(64), np.random.default_rng(1).permutation(64)
    models = [_checkpoint().model, _checkpoint().model]
    before = models[0].encoder.state_dict()["stack.0.weight"].clone()
    told = {"steps": 60, "batch": 16, "learning_rate": 5e-3, "seeds": [0, 0]}
    tune(models, [(features, questions)] * 2, [(rows, rows), (mixed, rows)], **told)
    letters = [WORDS.index("A"), WORDS.index("B")]
    right = [(letter_scores(m, features, questions, letters=letters).argmax(1) == bright).mean() for m in models]
    assert right[0] > 0.95 and right[1] < 0.8
    assert torch.equal(models[0].encoder.state_dict()["stack.0.weight"], before)  # the encoder stays frozen


@pytest.mark.parametrize("count", [0, 1, 8, TOGETHER, TOGETHER + 1, 42])
def test_every_fit_is_in_one_pass_and_passes_are_even(count):
    parts = passes(count)
    assert [fit for part in parts for fit in part] == list(range(count)) and len(parts) == -(-count // TOGETHER)
    assert not parts or max(map(len, parts)) - min(map(len, parts)) <= 1
