"""Many small fits in one pass: the weights of K models of one architecture are stacked and trained by one batched step.

A tiny model spends its time between operations, not in them; K of them in one pass pay for that once. Each member ends
with the weights it would have got alone. Worth it while one member's work is small (performance/stacked_training).

    losses = fit_stacked(models, batch_of_step, language_loss, steps=150, learning_rate=1e-3)      # (150, K)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.training.chat_encoding import IGNORED, Encoded, check_positions, encode, read_rows
from lib.training.loop import TrainingError, epoch_order, train, warmup_cosine

Batch = Mapping[str, Tensor]
CLIP = 1.0  # largest gradient norm of a member


class _Stack(nn.Module):
    """The trained weights of K models, one tensor (K, ...) for each name in ``names``."""

    def __init__(self, names: Sequence[str], weights: Mapping[str, Tensor]):
        super().__init__()
        self.names, self.stacked = names, nn.ParameterList(weights[name] for name in names)

    def forward(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.stacked, strict=True))


def _clip(parameters: Sequence[Tensor]) -> None:
    """Bound the gradient norm of each member by :data:`CLIP`, as ``clip_grad_norm_`` bounds that of one model."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.flatten(1).square().sum(dim=1) for g in gradients]).sum(dim=0).sqrt()  # (K,)
    factor = (CLIP / (norm + 1e-6)).clamp(max=1.0)
    for g in gradients:
        g.mul_(factor.view(-1, *[1] * (g.ndim - 1)))


def fit_stacked(
    models: Sequence[nn.Module],
    batch_of_step: Callable[[int], Batch],
    loss: Callable[[Callable, Batch], Tensor],
    *,
    steps: int,
    learning_rate: float,
    schedule: Callable[[int], float] | None = None,
) -> np.ndarray:
    """Train K models side by side, in place, and return their losses (steps, K).

    ``models``: one architecture, any weights, the same parameters frozen (``requires_grad_(False)``) in each.
    ``batch_of_step(step)``: tensors (K, ...), one slice a member. ``loss(call, batch)``: loss of one member on its slice;
    ``call(...)`` runs that member's model. AdamW, ``schedule(step)`` multiplies the learning rate.
    No dropout: every member would draw the same mask.
    Raises :class:`TrainingError` naming step and member at the first loss that is not finite.
    """
    from torch.func import functional_call, stack_module_state

    skeleton = models[0]
    trained = sorted(name for name, p in skeleton.named_parameters() if p.requires_grad)
    parameters, buffers = stack_module_state(list(models))
    fixed = {name: p.detach() for name, p in parameters.items() if name not in trained}
    stack = _Stack(trained, parameters)
    optimiser = torch.optim.AdamW(stack.parameters(), lr=learning_rate, weight_decay=0.0, fused=True)

    def member_loss(weights: dict, state: dict, batch: Batch) -> Tensor:
        return loss(lambda *args, **kwargs: functional_call(skeleton, (weights, state), args, kwargs), batch)

    every_loss, seen = torch.vmap(member_loss), []

    def loss_of_step(module: nn.Module, step: int) -> Tensor:
        losses = every_loss({**fixed, **module()}, buffers, dict(batch_of_step(step)))  # (K,)
        if not bool(torch.isfinite(losses).all()):
            member = int((~torch.isfinite(losses)).nonzero()[0])
            raise TrainingError(
                f"the loss of member {member} is {losses[member].item()} at step {step} of {steps}; "
                "lower the learning rate or check the data"
            )
        seen.append(losses.detach().cpu().numpy())
        return losses.sum()  # each member's gradient is that of its own loss

    kept = {"schedule": schedule, "machine": Machine(device=next(stack.parameters()).device.type)}
    train(stack, loss_of_step, steps=steps, optimiser=optimiser, clip=_clip, **kept)
    with torch.no_grad():
        for name, values in stack().items():
            for model, value in zip(models, values, strict=True):
                model.get_parameter(name).copy_(value)
    return np.stack(seen)


def language_loss(call: Callable, batch: Batch, *, window: int | None = None) -> Tensor:
    """Mean next-token loss of ``labels`` (B, T) on ``input_ids`` (B, T), padded on the right.

    Padding needs no mask: a token attends to the left only, and the labels of padding are not counted. ``window``: of
    the sliding layers of a model that has some.
    """
    ids, labels = batch["input_ids"], batch["labels"]
    length = ids.shape[-1]
    future = torch.full((length, length), torch.finfo(torch.float32).min, device=ids.device).triu(1)
    positions = torch.arange(length, device=ids.device)[None]
    # given whole, because the library's own masks look at values, which a batched pass cannot
    mask = future[None, None]
    if window is not None:
        outside = torch.full_like(future, torch.finfo(torch.float32).min).tril(-window)
        mask = {"full_attention": mask, "sliding_attention": mask + outside[None, None]}
    logits = call(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    flat, wanted = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    total = F.cross_entropy(flat, wanted, ignore_index=IGNORED, reduction="sum")
    return total / (wanted != IGNORED).sum()


def language_batches(
    members: Sequence[Encoded], *, batch: int, seeds: Sequence[int], pad: int, device: str = "cpu"
) -> Callable[[int], Batch]:
    """Batches of K members, each from its own rows in its own order, epoch after epoch: (K, ``batch``, T) a step."""

    def batch_of_step(step: int) -> Batch:
        drawn = [
            epoch_order(count=len(rows.labels), batch=batch, seed=seed, step=step)
            for rows, seed in zip(members, seeds, strict=True)
        ]
        length = max(len(rows.input_ids[i]) for rows, chosen in zip(members, drawn, strict=True) for i in chosen)
        shape = (len(members), batch, length)
        ids, labels = np.full(shape, pad, dtype=np.int64), np.full(shape, IGNORED, dtype=np.int64)
        for k, (rows, chosen) in enumerate(zip(members, drawn, strict=True)):
            for b, i in enumerate(chosen):
                ids[k, b, : len(rows.input_ids[i])] = rows.input_ids[i]
                labels[k, b, : len(rows.labels[i])] = rows.labels[i]
        return {"input_ids": torch.from_numpy(ids).to(device), "labels": torch.from_numpy(labels).to(device)}

    return batch_of_step


def member(folder: Path, number: int) -> Path:
    """The Hugging Face folder of member ``number``."""
    return folder / f"member_{number}"


def encode_all(files: Sequence[Path], tokenizer, *, max_length: int) -> list[Encoded]:
    """Each file's rows, encoded; a row that occurs again, in a file or between files, is encoded once."""
    texts = [[json.dumps(row, sort_keys=True) for row in read_rows(path)] for path in files]
    named = {text: f"{path}, line {n}" for path, one in zip(files, texts, strict=True) for n, text in enumerate(one, 1)}
    encoded = encode(list(map(json.loads, named)), tokenizer, max_length=max_length, places=list(named.values()))
    if encoded.shortened:
        raise TrainingError(
            f"{len(encoded.shortened)} rows have more than {max_length} tokens; raise max_length, nothing is cut here"
        )
    place = {text: i for i, text in enumerate(named)}
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
    machine: Machine = CPU,
) -> None:
    """Fine-tune one base on many row files at once: same rows, encoding and loss as :func:`lib.training.sft.finetune`.

    For tiny bases on a CPU, where a grid of mixes and seeds would spend its time between operations. Writes ``member_<k>``
    (a Hugging Face folder each), ``losses.json`` (steps x members) and ``counts.json``.

    ``rows[k]``: JSONL of member k, gone through in the order of ``seeds[k]``. ``checkpoint``: one base for all, or one for
    each member. Every member takes ``steps`` steps of ``batch`` rows, cosine schedule to zero, all weights trained.
    """
    bases = [Path(checkpoint)] * len(rows) if isinstance(checkpoint, (str, Path)) else list(map(Path, checkpoint))
    loaded = [causal_lm.load(base, device=machine.device, attention="eager") for base in bases]
    models, tokenizer = [model.train() for model, _ in loaded], loaded[0][1]
    check_positions(models[0], max_length)
    if any(other.get_vocab() != tokenizer.get_vocab() for _, other in loaded):
        raise TrainingError(
            "the bases have different tokenizers, and rows are encoded once; stack those that share one"
        )
    members = encode_all(rows, tokenizer, max_length=max_length)
    batches = language_batches(members, batch=batch, seeds=seeds, pad=tokenizer.pad_token_id, device=machine.device)
    losses = fit_stacked(
        models, batches, partial(language_loss, window=getattr(models[0].config, "sliding_window", None)), steps=steps,
        learning_rate=learning_rate, schedule=warmup_cosine(steps, warmup=0),
    )  # fmt: skip
    for number, model in enumerate(models):
        causal_lm.save(member(folder, number), model, tokenizer)
    counts = [{"rows": len(m.labels), "tokens": m.tokens, "trained": _trained(m)} for m in members]
    (folder / "losses.json").write_text(json.dumps(losses.round(5).tolist()))
    (folder / "counts.json").write_text(json.dumps(counts))


def _trained(encoded: Encoded) -> int:
    return sum(label >= 0 for labels in encoded.labels for label in labels)
