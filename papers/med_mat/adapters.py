"""Low-rank tuning of a released image-text model on single-image questions.

Paper: LLaVA-1.5 tuned for 5 epochs at 5e-6, batch 32, whether fully or by LoRA not stated. Here: LoRA (PEFT) on the
linear layers of the language model, the vision tower frozen. Because: it is what fits on one GPU, and LLaVA's own recipe
for custom data.

    model = with_adapters(load("llava-hf/llava-1.5-7b-hf", device="cuda"), rank=16, seed=0)
    tune(folder, model, read, questions, answers, steps=470, batch=32, learning_rate=2e-4, seed=0); without_adapters(model)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.machine import CPU, Machine
from lib.models import ModelError
from lib.streams import stream_seed
from lib.training import sft
from lib.training.chat_encoding import IGNORED
from papers.med_mat.checkpoints import ReleasedCheckpoint

_LANGUAGE = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


def with_adapters(checkpoint: ReleasedCheckpoint, *, rank: int, seed: int) -> ReleasedCheckpoint:
    """The same model with fresh low-rank adapters on its language model; everything else is frozen.

    The adapters sit inside ``checkpoint``'s own layers until :func:`without_adapters` takes them off. Raises
    :class:`ModelError` for a model whose language layers have other names.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(stream_seed(seed, "adapters"))
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=_LANGUAGE)
    try:
        with warnings.catch_warnings():  # the libraries' own calls of each other's old names
            warnings.simplefilter("ignore", FutureWarning)
            return ReleasedCheckpoint(get_peft_model(checkpoint.model, config), checkpoint.processor)
    except ValueError as error:
        reason = str(error).splitlines()[0][:200]
        raise ModelError(f"adapters cannot be put on {type(checkpoint.model).__name__} ({reason})") from None


def without_adapters(checkpoint: ReleasedCheckpoint) -> ReleasedCheckpoint:
    """The model that :func:`with_adapters` was given, bit by bit: the adapters and what they learnt are dropped."""
    return ReleasedCheckpoint(checkpoint.model.unload(), checkpoint.processor)


def answer_batch(checkpoint: ReleasedCheckpoint, images: Sequence, questions: Sequence[str], answers: Sequence[str]):
    """Model inputs with ``labels`` that count the answer only (and the end of the turn), whatever the chat form."""
    made = checkpoint.inputs(images, questions, answers)
    asked = checkpoint.inputs(images, questions)["attention_mask"].sum(1)
    said = made["attention_mask"].sum(1) - asked  # padded on the left, so the answer is what comes last
    place = torch.arange(made["input_ids"].shape[1], device=said.device)
    counted = place >= (made["input_ids"].shape[1] - said)[:, None]
    made["labels"] = torch.where(counted, made["input_ids"], IGNORED)
    return made


def tune(
    folder: Path,
    checkpoint: ReleasedCheckpoint,
    read: Callable[[int], np.ndarray],
    questions: Sequence[str],
    answers: Sequence[str],
    *,
    seed: int,
    machine: Machine = CPU,
    **settings: Any,
) -> list[float]:
    """Train the adapters on rows (image ``read(row)``, question, answer) and return the losses of the steps.

    Images are read when their batch is due and not kept; few rows are gone through again epoch by epoch. ``settings``: of
    :class:`lib.training.sft.Fit`; ``folder`` is where a killed fit finds its state.
    """
    from datasets import Dataset

    def batch_of(rows: Sequence[dict[str, int]]):
        places = [one["row"] for one in rows]
        asked, said = ([texts[i] for i in places] for texts in (questions, answers))
        made = answer_batch(checkpoint, [read(i) for i in places], asked, said)
        return made.to("cpu")  # the trainer pins what it is given and moves it, which it cannot on a card already

    dataset = Dataset.from_dict({"row": range(len(questions))})
    how = sft.Fit(seed=seed % 2**32, **settings)  # numpy takes no greater seed
    tokenizer = checkpoint.processor.tokenizer
    checkpoint.model.train()
    _, losses = sft.fit(folder, checkpoint.model, tokenizer, dataset, batch_of, how=how, machine=machine)
    checkpoint.model.eval()
    return losses
