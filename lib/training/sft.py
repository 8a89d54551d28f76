"""Supervised fine-tuning of a causal LM: TRL's trainer on pre-encoded rows, full weights or LoRA, packed or padded.

The same call serves a tiny checkpoint on a CPU and QLoRA on a GPU.

    run.build(finetune, checkpoint=base, rows=rows, steps=150, batch=16, learning_rate=1e-3, lora={"rank": 8, ...})
"""

from __future__ import annotations

import gc
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.data.files import one_line
from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.models.dropout import own_masks
from lib.models.lending import lend
from lib.training.chat_encoding import IGNORED, check_positions, encode_file
from lib.training.loop import TrainingError

STATE = "checkpoint"  # what a killed fit leaves behind; the next one goes on from it


def encoded_dataset(rows: Path, tokenizer, *, max_length: int, packing: bool, seed: int):
    """(dataset of input_ids and labels, counts). Packed: best fit decreasing, rows keep their own positions."""
    from datasets import Dataset, disable_progress_bars
    from trl import pack_dataset

    disable_progress_bars()  # they are output on stderr in a notebook

    encoded = encode_file(rows, tokenizer, max_length=max_length)
    listed = {"input_ids": encoded.input_ids, "labels": encoded.labels}
    counts = {"rows": len(encoded.labels), "tokens": encoded.tokens, "shortened": len(encoded.shortened)}
    dataset = Dataset.from_dict(listed)
    if packing:
        dataset = pack_dataset(dataset.shuffle(seed=seed), max_length, "bfd")
    return dataset, {**counts, "sequences": len(dataset)}


def collate(examples: Sequence[dict[str, Any]], *, pad: int) -> dict[str, Tensor]:
    """Rows of :func:`encoded_dataset` as tensors (B, T), padded on the right; packed rows with their own positions.

    Positions that begin again at 0 tell transformers where a dialogue begins: it must not see the one before it in the row.
    TRL flattens a packed batch into one row. Here: rows stay rows. Because: without flash attention the cost of one row
    is quadratic in its length.
    """
    length = max(len(one["input_ids"]) for one in examples)

    def padded(values: Iterable[Sequence[int]], filler: int) -> Tensor:
        return torch.tensor([[*row, *[filler] * (length - len(row))] for row in values])

    batch = {
        "input_ids": padded((one["input_ids"] for one in examples), pad),
        "labels": padded((one["labels"] for one in examples), IGNORED),
    }
    if "seq_lengths" not in examples[0]:
        return {**batch, "attention_mask": padded(([1] * len(one["input_ids"]) for one in examples), 0)}
    positions = padded(([p for size in one["seq_lengths"] for p in range(size)] for one in examples), 0)
    batch["labels"][positions == 0] = IGNORED  # nothing predicts the first token of the next dialogue
    return {**batch, "position_ids": positions}


def _adapter(lora: dict[str, Any] | None, model):
    """PEFT's configuration; ``lora``: rank, targets, and optionally alpha (2 x rank), dropout (0) and parameters.

    Any other key or target is a :class:`TrainingError`: PEFT passes over a target that is not there if another is.
    """
    if lora is None:
        return None
    from peft import LoraConfig

    keys = ("rank", "targets", "alpha", "dropout", "parameters")
    if odd := [*(set(keys[:2]) - set(lora)), *(set(lora) - set(keys))]:
        raise TrainingError(f"lora has a missing or unknown key '{min(odd)}'; its keys are {', '.join(keys)}")
    rank, targets, parameters = lora["rank"], lora["targets"], lora.get("parameters", [])
    if (
        type(rank) is not int
        or rank < 1
        or isinstance(targets, str)
        or not [*targets, *parameters]
        or lora.get("alpha") == 0
    ):
        raise TrainingError(f"lora is {lora}; give a whole rank and an alpha above 0, and a list of targets")
    names = [f".{name}" for name, _ in (*model.named_modules(), *model.named_parameters())]
    for target in (*targets, *parameters):
        if not any(name.endswith(f".{target}") for name in names):
            raise TrainingError(f"the model has no '{target}' for lora; give names of its layers, such as q_proj")
    return LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=lora.get("alpha", 2 * rank), lora_dropout=lora.get("dropout", 0.0),
        target_modules=list(targets), target_parameters=list(parameters) or None,
    )  # fmt: skip


def full_precision(model) -> None:
    """Trained weights in fp32 (Aurora, LLaMA-Factory): TRL makes an adapter on a quantised base bf16, where small updates
    are lost."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def trained_weights(model) -> dict[str, Tensor]:
    """Copies of the weights of an adapter that is trained further."""
    return {
        name: one.detach().clone() for name, one in model.named_parameters() if one.requires_grad and "lora_" in name
    }


@torch.no_grad()
def put_back(model, weights: Mapping[str, Tensor]) -> None:
    """The weights as :func:`trained_weights` found them: TRL rounds a resumed adapter on a quantised base to bf16."""
    for name, weight in model.named_parameters():
        if name in weights:
            weight.copy_(weights[name])


@contextmanager
def less_housekeeping() -> Iterator[None]:
    """Around ``trainer.train()``: the same weights and losses to the bit, in half the time for a tiny model.

    torch's deterministic mode fills new tensors before they are written, and TRL makes room for the logits of 32,768 words
    at every step. The trainer has Python look through every object for garbage; those that were there before are left out.
    """
    before = torch.utils.deterministic.fill_uninitialized_memory
    torch.utils.deterministic.fill_uninitialized_memory = False
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        torch.utils.deterministic.fill_uninitialized_memory = before


def _callbacks(folder: Path, tokenizer, keep: Sequence[int]):
    from transformers import TrainerCallback

    class StopAtNaN(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **more):
            if logs and "loss" in logs and not math.isfinite(logs["loss"]):
                raise TrainingError(
                    f"the loss is {logs['loss']} at step {state.global_step} of {state.max_steps}; "
                    "lower the learning rate or check the data"
                )

    class Keep(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **more):
            if state.global_step in keep:
                causal_lm.save(folder / f"step_{state.global_step}", model, tokenizer)

    return [StopAtNaN(), Keep()]


def _last_state(folder: Path) -> str | None:
    from transformers.trainer_utils import get_last_checkpoint

    return get_last_checkpoint(str(folder / STATE)) if (folder / STATE).is_dir() else None


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a model is fine-tuned. Exactly one of ``steps`` and ``epochs``.

    ``batch``: rows of one optimiser step, over all devices; where the machine takes fewer at a time, the rest is accumulated.
    ``warmup``: share of the steps. ``keep``: steps after which a copy goes to ``step_<n>``. Of text rows: ``max_length``, tokens
    of a row; with ``packing`` a row of the batch is a packed sequence of up to so many in which dialogues do not see each other.
    """

    batch: int
    learning_rate: float
    max_length: int | None = None
    steps: int | None = None
    epochs: float | None = None
    schedule: str = "cosine"
    warmup: float = 0.0
    packing: bool = False
    keep: Sequence[int] = ()
    seed: int = 0
    chat_template: str | None = None  # of :data:`causal_lm.CHAT_TEMPLATES`, in the place of the checkpoint's own


def fit(
    folder: Path,
    model,
    tokenizer,
    dataset,
    batch_of: Callable[[Sequence[Any]], Any],
    *,
    how: Fit,
    machine: Machine,
    peft=None,
) -> tuple[Any, list[float]]:
    """Fine-tune ``model`` on the rows of ``dataset`` and return it and the losses of the steps: the one path of text and of
    image-text models.

    ``batch_of(rows)``: model inputs with ``labels``. ``peft``: configuration of the adapters to put on. Where ``machine`` saves
    its state now and then (below ``folder``), a killed fit resumes, to the bit on one CPU thread. A mixture of experts is tuned
    without load-balancing loss, which TRL would add (no paper here has it in tuning). Raises :class:`TrainingError` for a fit
    that cannot be set up and at the first loss that is not finite.
    """
    from transformers import PrinterCallback, set_seed
    from trl import SFTConfig, SFTTrainer

    if len(given := [n for n in (how.steps, how.epochs) if n is not None]) != 1 or given[0] <= 0:
        raise TrainingError("give either steps or epochs, above 0")
    try:
        accumulated = machine.accumulated(how.batch)
    except ValueError as error:
        raise TrainingError(str(error)) from None
    set_seed(how.seed)
    resumed = trained_weights(model)
    arguments = SFTConfig(
        output_dir=str(folder / STATE), per_device_train_batch_size=machine.at_a_time(how.batch), max_length=how.max_length,
        gradient_accumulation_steps=accumulated, max_steps=how.steps or -1, num_train_epochs=how.epochs or 1,
        learning_rate=how.learning_rate, lr_scheduler_type=how.schedule, warmup_steps=how.warmup, weight_decay=0.0,
        max_grad_norm=1.0, optim="adamw_torch", seed=how.seed, data_seed=how.seed, use_cpu=machine.device == "cpu",
        bf16=machine.precision == "bf16", fp16=machine.precision == "fp16", activation_checkpointing=machine.recompute,
        save_strategy="steps" if machine.checkpoint_every else "no", save_steps=machine.checkpoint_every or 500, save_total_limit=1,
        logging_steps=1, logging_nan_inf_filter=False, report_to=[], disable_tqdm=True, remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True}, router_aux_loss_coef=0.0, dataloader_pin_memory=machine.device != "cpu",
    )  # fmt: skip
    with warnings.catch_warnings():  # the libraries' own calls of each other's old names
        warnings.simplefilter("ignore", FutureWarning)
        try:
            trainer = SFTTrainer(
                model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer, peft_config=peft,
                callbacks=_callbacks(folder, tokenizer, how.keep), data_collator=batch_of,
            )  # fmt: skip
        except (ValueError, TypeError) as error:
            raise TrainingError(f"the fit cannot be set up ({one_line(error)[:200]}); change its settings") from error
        trainer.remove_callback(PrinterCallback)
        full_precision(trainer.model)
        put_back(trainer.model, resumed)
        own_masks(trainer.model)
        with less_housekeeping():
            trainer.train(resume_from_checkpoint=_last_state(folder))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return trainer.accelerator.unwrap_model(trainer.model), losses


def finetune(
    folder: Path,
    *,
    checkpoint: Path | str,
    rows: Path,
    lora: dict[str, Any] | None = None,
    adapter: Path | str | None = None,
    quantisation: str | None = None,
    revision: str | None = None,
    dtype: str = "float32",
    machine: Machine = CPU,
    **settings: Any,
) -> None:
    """Write the tuned causal LM (with ``lora``: its adapter) as a Hugging Face folder, ``losses.json`` and ``counts.json``.

    ``rows``: JSONL of dialogues or documents (:mod:`chat_encoding`). ``adapter``: continue this one. ``settings``: of
    :class:`Fit`, with ``max_length``. Raises what :func:`fit` does.
    """
    how, anew = Fit(**settings), lora is not None and adapter is None  # then the base stays as it is, for the next fit
    told = {"revision": revision, "device": machine.device, "dtype": dtype, "quantisation": quantisation}
    told["chat_template"] = how.chat_template
    with ExitStack() as borrowed:
        model, tokenizer = (
            borrowed.enter_context(lend(checkpoint, **told))
            if anew
            else causal_lm.load(checkpoint, adapter=adapter, trainable=True, **told)
        )
        check_positions(model, how.max_length)
        dataset, counts = encoded_dataset(
            Path(rows), tokenizer, max_length=how.max_length, packing=how.packing, seed=how.seed
        )
        batch_of, peft = partial(collate, pad=tokenizer.pad_token_id), _adapter(lora, model)
        model, losses = fit(folder, model, tokenizer, dataset, batch_of, how=how, machine=machine, peft=peft)
        if os.environ.get("RANK", "0") == "0":
            causal_lm.save(folder, model, tokenizer)
            (folder / "losses.json").write_text(json.dumps(losses))
            (folder / "counts.json").write_text(json.dumps(counts))
        if anew:
            model.unload()
