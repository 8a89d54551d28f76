"""Stacked tuning of the miniature multimodal model: as single fits, learning a rule, in even passes."""

import numpy as np
import pytest
import torch

from lib.models.multimodal_lm import MultimodalLM
from papers.med_mat.checkpoints import TinyCheckpoint
from papers.med_mat.fits.tuning import TOGETHER, Questions, letter_scores, passes, tune

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
    tune(together, features, questions, draws, seeds=[0, 1, 2], **options)
    for seed, (model, draw) in enumerate(zip(together, draws, strict=True)):
        alone = _checkpoint().model
        tune([alone], features, questions, [draw], seeds=[seed], **options)
        for name, weight in model.state_dict().items():
            torch.testing.assert_close(weight, alone.state_dict()[name], rtol=1e-4, atol=1e-5, msg=name)


def test_tuning_learns_a_rule_and_exchanged_pictures_hide_it():
    features, questions, bright = _learnable()
    rows, mixed = np.arange(64), np.random.default_rng(1).permutation(64)
    models = [_checkpoint().model, _checkpoint().model]
    before = models[0].encoder.state_dict()["stack.0.weight"].clone()
    tune(
        models, features, questions, [(rows, rows), (mixed, rows)], steps=60, batch=16, learning_rate=5e-3, seeds=[0, 0]
    )
    letters = [WORDS.index("A"), WORDS.index("B")]
    right = [(letter_scores(m, features, questions, letters=letters).argmax(1) == bright).mean() for m in models]
    assert right[0] > 0.95 and right[1] < 0.8
    assert torch.equal(models[0].encoder.state_dict()["stack.0.weight"], before)  # the encoder stays frozen


@pytest.mark.parametrize("count", [0, 1, 8, TOGETHER, TOGETHER + 1, 42])
def test_every_fit_is_in_one_pass_and_passes_are_even(count):
    parts = passes(count)
    assert [fit for part in parts for fit in part] == list(range(count)) and len(parts) == -(-count // TOGETHER)
    assert not parts or max(map(len, parts)) - min(map(len, parts)) <= 1
