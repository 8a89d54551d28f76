"""Direct preference optimisation of a causal LM through TRL, with the reference model as an explicit choice.

Full weights or LoRA, a new adapter or one that is trained further; the same call serves a tiny checkpoint and a quantised one
on a GPU. With a resumed adapter "the model with its adapter off" is the base and not the model that preferences start from;
``reference`` says which of the two is meant.

    run.build(prefer, checkpoint=base, adapter=tuned, rows=pairs, reference="start", beta=0.1, batch=8, steps=60, ...)
"""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lib.data.files import DataError, check_keys, read_json_lines
from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.models.dropout import own_masks
from lib.training import sft
from lib.training.chat_encoding import check_positions, check_row, turns
from lib.training.loop import TrainingError

REFERENCES = ("base", "start")


def read_pairs(path: Path, tokenizer, *, max_length: int) -> list[dict[str, list[dict[str, str]]]]:
    """Rows ``{"prompt": [messages], "chosen": [message], "rejected": [message]}`` of a JSONL file.

    Raises :class:`~lib.data.files.DataError` naming the line of a pair that is none, that has a blank text or equal answers,
    and :class:`TrainingError` for one longer than ``max_length`` tokens, which TRL would cut without a word.
    """
    rows = []
    for place, row in read_json_lines(path):
        check_keys(row, place, required=("prompt", "chosen", "rejected"))
        for key in row:
            if not isinstance(row[key], list) or not row[key] or (key != "prompt" and len(row[key]) != 1):
                raise DataError(
                    f"{place}: {key!r} is no list of {'messages' if key == 'prompt' else 'one message'}; correct it."
                )
        for key in ("chosen", "rejected"):
            dialogue = {"messages": [*row["prompt"], *row[key]]}
            check_row(dialogue, f"{place}, prompt and {key}")
            if row[key][0]["role"] != "assistant":
                raise DataError(f"{place}: {key!r} is from {row[key][0]['role']!r}, not assistant; correct it.")
            length = sum(len(ids) for turn in turns(dialogue["messages"], tokenizer, place=place) for ids in turn)
            if length > max_length:
                raise TrainingError(f"{place}: prompt and {key} have {length} tokens; raise max_length {max_length}")
        if row["chosen"] == row["rejected"]:
            raise DataError(f"{place} prefers an answer to itself; take the pair out.")
        rows.append(row)
    return rows


@dataclass(frozen=True, kw_only=True)
class Preference:
    """How preferences are trained: sigmoid loss of strength ``beta``, cosine to 0, ``batch`` pairs a step.

    ``reference``: ``start`` is the model as it stands at the start, ``base`` the checkpoint without adapter. Exactly one of
    ``steps`` and ``epochs``.
    """

    reference: str
    beta: float
    batch: int
    learning_rate: float
    max_length: int  # tokens of prompt and answer
    steps: int | None = None
    epochs: float | None = None
    seed: int = 0
    chat_template: str | None = None  # of causal_lm.CHAT_TEMPLATES, in the place of the checkpoint's own

    def check(self) -> None:
        """Raises :class:`TrainingError` for another reference, and unless steps or epochs are given, above 0."""
        if self.reference not in REFERENCES:
            raise TrainingError(f"reference '{self.reference}' is not known; give one of {', '.join(REFERENCES)}")
        if len(given := [n for n in (self.steps, self.epochs) if n is not None]) != 1 or given[0] <= 0:
            raise TrainingError("give either steps or epochs, above 0")


def prefer(
    folder: Path,
    *,
    checkpoint: Path | str,
    rows: Path,
    adapter: Path | str | None = None,
    lora: dict[str, Any] | None = None,
    quantisation: str | None = None,
    dtype: str = "float32",
    machine: Machine = CPU,
    **preference: Any,
) -> None:
    """Write the trained model (its adapter, where it has one) and ``history.json``: loss, accuracy and reward margin a step.

    ``adapter``: train this one further; ``lora``: put on a new one, as in :func:`lib.training.sft.finetune`; neither: all
    weights. ``preference``: of :class:`Preference`. Raises :class:`TrainingError` for settings that do not fit and at a loss
    that is not finite.
    """
    from datasets import Dataset, disable_progress_bars
    from transformers import PrinterCallback, set_seed
    from trl import DPOConfig, DPOTrainer

    how = Preference(**preference)
    how.check()
    load = partial(
        causal_lm.load, checkpoint, device=machine.device, quantisation=quantisation, dtype=dtype, chat_template=how.chat_template
    )  # fmt: skip
    model, tokenizer = load() if adapter is None else load(adapter=adapter, trainable=True)
    check_positions(model, how.max_length)
    disable_progress_bars()  # they are output on stderr in a notebook
    pairs = Dataset.from_list(read_pairs(Path(rows), tokenizer, max_length=how.max_length))
    peft = sft._adapter(lora, model) if adapter is None else None
    # With no reference given TRL takes a copy of the adapter as it is now, or of a new adapter the model without it: in both
    # cases the model at the start. All weights need a second model, and so does the base under a resumed adapter.
    other = load()[0] if (adapter is None and peft is None) or (adapter and how.reference == "base") else None
    exact = sft.trained_weights(model)
    try:
        accumulated = machine.accumulated(how.batch)
    except ValueError as error:
        raise TrainingError(str(error)) from None
    set_seed(how.seed)
    arguments = DPOConfig(
        output_dir=str(folder / sft.STATE), per_device_train_batch_size=machine.at_a_time(how.batch), max_steps=how.steps or -1,
        num_train_epochs=how.epochs or 1, gradient_accumulation_steps=accumulated, beta=how.beta,
        learning_rate=how.learning_rate, lr_scheduler_type="cosine", max_length=how.max_length, optim="adamw_torch", seed=how.seed,
        data_seed=how.seed, use_cpu=machine.device == "cpu", bf16=machine.precision == "bf16", fp16=machine.precision == "fp16",
        save_strategy="no", logging_steps=1, report_to=[], disable_tqdm=True, activation_checkpointing=machine.recompute,
        router_aux_loss_coef=0.0, dataloader_pin_memory=machine.device != "cpu",
    )  # fmt: skip
    with warnings.catch_warnings():  # the libraries' own calls of each other's old names
        warnings.simplefilter("ignore", FutureWarning)
        trainer = DPOTrainer(
            model=model, ref_model=other, args=arguments, train_dataset=pairs, processing_class=tokenizer, peft_config=peft
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        sft.full_precision(trainer.model)
        sft.put_back(trainer.model, exact)  # the copy it refers to has not been rounded
        own_masks(trainer.model)
        with sft.less_housekeeping():
            trainer.train()
    _save(folder, trainer, tokenizer)


def _save(folder: Path, trainer, tokenizer) -> None:
    history = [
        {"loss": entry["loss"], "accuracy": entry["rewards/accuracies"], "margin": entry["rewards/margins"]}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    for step, entry in enumerate(history):
        if not math.isfinite(entry["loss"]):
            raise TrainingError(
                f"the loss is {entry['loss']} at step {step}; lower the learning rate or check the pairs"
            )
    tuned = trainer.accelerator.unwrap_model(trainer.model)
    tuned.save_pretrained(folder, **({"selected_adapters": ["default"]} if hasattr(tuned, "peft_config") else {}))
    tokenizer.save_pretrained(folder)
    (folder / "history.json").write_text(json.dumps(history))
