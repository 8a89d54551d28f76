"""Direct preference optimisation of a LoRA adapter through TRL, with the reference model as an explicit choice.

Paper (Aurora, branch dpo): the reference is the model with its adapter switched off, which for a resumed adapter is the
base and not the tuned model. Here ``reference`` says which.

    run.build(prefer, checkpoint=base, adapter=tuned, rows=pairs, reference="base", beta=0.1, ...)
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
from lib.training.chat_encoding import check_positions, check_row, turns
from lib.training.loop import TrainingError
from lib.training.sft import STATE, full_precision, less_housekeeping, put_back, trained_weights

REFERENCES = ("base", "tuned")


def _pairs(path: Path, tokenizer, *, max_length: int):
    """Dataset of ``{"prompt": [messages], "chosen": [message], "rejected": [message]}`` rows, one JSON object a line.

    Raises :class:`~lib.data.files.DataError` naming the line of a pair that is none, that has a blank text or equal answers,
    and :class:`TrainingError` for one longer than ``max_length`` tokens, which TRL would cut without a word.
    """
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()  # they are output on stderr in a notebook

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
    return Dataset.from_list(rows)


@dataclass(frozen=True, kw_only=True)
class Preference:
    """How preferences are trained: sigmoid loss of strength ``beta``, cosine to 0, ``batch`` pairs a step.

    ``reference``: ``base`` is the checkpoint without adapter (what "adapter off" means in the release), ``tuned`` the model
    as it stands at the start.
    """

    reference: str
    beta: float
    batch: int
    learning_rate: float
    epochs: float
    max_length: int  # tokens of prompt and answer
    seed: int = 0


def prefer(
    folder: Path,
    *,
    checkpoint: Path | str,
    adapter: Path | str,
    rows: Path,
    quantisation: str | None = None,
    dtype: str = "float32",
    machine: Machine = CPU,
    **preference: Any,
) -> None:
    """Write the continued adapter and ``history.json``: loss, accuracy and reward margin of each step.

    ``preference``: of :class:`Preference`. Raises :class:`TrainingError` for another reference and at a loss that is not
    finite.
    """
    from transformers import PrinterCallback, set_seed
    from trl import DPOConfig, DPOTrainer

    how = Preference(**preference)
    if how.reference not in REFERENCES:
        raise TrainingError(f"reference '{how.reference}' is not known; give one of {', '.join(REFERENCES)}")
    load = partial(causal_lm.load, checkpoint, device=machine.device, quantisation=quantisation, dtype=dtype)
    model, tokenizer = load(adapter=adapter, trainable=True)
    check_positions(model, how.max_length)
    pairs = _pairs(Path(rows), tokenizer, max_length=how.max_length)
    # with no reference given TRL keeps a copy of the adapter as it is now: that is the tuned model
    other = load()[0] if how.reference == "base" else None
    exact = trained_weights(model)
    try:
        accumulated = machine.accumulated(how.batch)
    except ValueError as error:
        raise TrainingError(str(error)) from None
    set_seed(how.seed)
    arguments = DPOConfig(
        output_dir=str(folder / STATE), per_device_train_batch_size=machine.at_a_time(how.batch), num_train_epochs=how.epochs,
        gradient_accumulation_steps=accumulated, beta=how.beta,
        learning_rate=how.learning_rate, lr_scheduler_type="cosine", max_length=how.max_length, optim="adamw_torch", seed=how.seed,
        data_seed=how.seed, use_cpu=machine.device == "cpu", bf16=machine.precision == "bf16", fp16=machine.precision == "fp16",
        save_strategy="no", logging_steps=1, report_to=[], disable_tqdm=True, activation_checkpointing=machine.recompute,
        router_aux_loss_coef=0.0, dataloader_pin_memory=machine.device != "cpu",
    )  # fmt: skip
    with warnings.catch_warnings():  # the libraries' own calls of each other's old names
        warnings.simplefilter("ignore", FutureWarning)
        trainer = DPOTrainer(
            model=model, ref_model=other, args=arguments, train_dataset=pairs, processing_class=tokenizer
        )
        trainer.remove_callback(PrinterCallback)
        full_precision(trainer.model)
        put_back(trainer.model, exact)  # the copy it refers to has not been rounded
        with less_housekeeping():
            trainer.train()
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
    tuned.save_pretrained(folder, selected_adapters=["default"])
    tokenizer.save_pretrained(folder)
    (folder / "history.json").write_text(json.dumps(history))
