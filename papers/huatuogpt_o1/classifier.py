"""The tiny verifiers that are trained here: sequence classifiers of responses against references, label 1 for right.

The paper's is an 8B model trained on 20,000 judgements; how was not released.

    run.build(train_verifier, judgements=folder, architecture={...}, steps=300, batch=32, learning_rate=2e-3, seed=0)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.streams import stream_seed
from lib.training.loop import epoch_order, train, warmup_cosine
from papers.huatuogpt_o1.judgements import read_judgements
from papers.huatuogpt_o1.verifiers import encode_pairs, load_classifier

CLIP = 1.0


def train_verifier(
    folder: Path,
    *,
    judgements: Path,
    architecture: dict[str, Any],
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
    template: str,
    machine: Machine = CPU,
) -> None:
    """Write a two-label classifier as a Hugging Face folder and ``losses.json``; ``template``: of its prompt."""
    rows, _ = read_judgements(judgements)
    pairs = [(row.response, row.reference) for row in rows]
    initial = folder / "initial"
    causal_lm.write_checkpoint(
        initial, texts=[template, *(text for pair in pairs for text in pair)], chat_template="plain",
        seed=stream_seed(seed, "verifier"), **architecture,
    )  # fmt: skip
    torch.manual_seed(stream_seed(seed, "verifier head"))
    model, tokenizer = load_classifier(initial, device=machine.device)
    for file in initial.iterdir():
        file.unlink()
    initial.rmdir()
    inputs = encode_pairs(tokenizer, pairs, template=template)
    labels = torch.tensor([int(row.right) for row in rows])

    def loss_of_step(module, step: int):
        drawn = torch.from_numpy(epoch_order(count=len(rows), batch=batch, seed=seed, step=step))
        logits = module(**{key: value[drawn].to(machine.device) for key, value in inputs.items()}).logits
        return F.cross_entropy(logits, labels[drawn].to(machine.device))

    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    losses = train(
        model, loss_of_step, steps=steps, optimiser=optimiser, clip=CLIP, schedule=warmup_cosine(steps, warmup=steps // 10),
        machine=machine,
    )  # fmt: skip
    causal_lm.save(folder, model, tokenizer)
    (folder / "losses.json").write_text(json.dumps(losses))
