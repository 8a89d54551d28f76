"""Supervised fine-tuning of one base on many row files at once: the stacked counterpart of :mod:`lib.training.sft`.

Same rows, same encoding, same loss as the TRL engine; the members are trained in one batched pass. For tiny bases on a
CPU, where a grid of mixes and seeds would spend its time between operations.

    run.build(finetune_stacked, checkpoint=base, rows=[first, second], seeds=[0, 1], steps=150, batch=16, ...)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lib.models import causal_lm
from lib.training.chat_encoding import Encoded, encode, read_rows
from lib.training.loop import TrainingError
from lib.training.stacked import fit_stacked, language_batches, language_loss


def member(folder: Path, number: int) -> Path:
    """The Hugging Face folder of member ``number``."""
    return folder / f"member_{number}"


def encode_all(files: Sequence[Path], tokenizer, *, max_length: int) -> list[Encoded]:
    """Each file's rows, encoded; a row that occurs again, in a file or between files, is encoded once."""
    texts = [[json.dumps(row, sort_keys=True) for row in read_rows(path)] for path in files]
    different = list(dict.fromkeys(text for one in texts for text in one))
    encoded = encode([json.loads(text) for text in different], tokenizer, max_length=max_length)
    if encoded.shortened:
        raise TrainingError(
            f"{len(encoded.shortened)} rows have more than {max_length} tokens; raise max_length, nothing is cut here"
        )
    place = {text: i for i, text in enumerate(different)}
    return [
        Encoded([encoded.input_ids[place[text]] for text in one], [encoded.labels[place[text]] for text in one])
        for one in texts
    ]


def finetune_stacked(
    folder: Path,
    *,
    checkpoint: Path | Sequence[Path],
    rows: Sequence[Path],
    seeds: Sequence[int],
    batch: int,
    learning_rate: float,
    steps: int,
    max_length: int,
    device: str = "cpu",
) -> None:
    """Write ``member_<k>`` (a Hugging Face folder each), ``losses.json`` (steps x members) and ``counts.json``.

    ``rows[k]``: JSONL of member k, gone through in the order of ``seeds[k]``. ``checkpoint``: one base for all, or one for
    each member. Every member takes ``steps`` steps of ``batch`` rows, cosine schedule to zero, all weights trained.
    """
    import math

    bases = [Path(checkpoint)] * len(rows) if isinstance(checkpoint, (str, Path)) else list(map(Path, checkpoint))
    loaded = [causal_lm.load(base, device=device, attention="eager") for base in bases]
    models, tokenizer = [model.train() for model, _ in loaded], loaded[0][1]
    members = encode_all(rows, tokenizer, max_length=max_length)
    batches = language_batches(members, batch=batch, seeds=seeds, pad=tokenizer.pad_token_id, device=device)
    losses = fit_stacked(
        models, batches, partial(language_loss, window=getattr(models[0].config, "sliding_window", None)), steps=steps,
        learning_rate=learning_rate, schedule=lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)),
    )  # fmt: skip
    for number, model in enumerate(models):
        causal_lm.save(member(folder, number), model, tokenizer)
    counts = [{"rows": len(m.labels), "tokens": m.tokens, "trained": _trained(m)} for m in members]
    (folder / "losses.json").write_text(json.dumps(losses.round(5).tolist()))
    (folder / "counts.json").write_text(json.dumps(counts))


def _trained(encoded: Encoded) -> int:
    return sum(label >= 0 for labels in encoded.labels for label in labels)
