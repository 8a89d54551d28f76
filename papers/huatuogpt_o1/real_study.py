"""What the notebook on the real model asks for: arms at equal tokens, and their answers to real questions.

study = prepare(run); study.power(); study.sat("complex")["PubMedQA"]["right"]
"""

from __future__ import annotations

import json
import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lib.models.checkpoints import place
from lib.training.sft import finetune
from lib.workflow.session import Run
from papers.huatuogpt_o1.real_tuning import ARMS, SETS, read_sat, sit, write_questions, write_tuning_rows
from papers.huatuogpt_o1.records import Record, read_records

BASE = "base"


class Study:
    """One base, one set of records, one order of them: intervals are over questions."""

    def __init__(self, run: Run):
        self.run, self.told = run, run.settings["tuning"]
        self.checkpoint = place(run, self.told["checkpoint"])
        self.template = self.told["loading"].get("chat_template")

    @cached_property
    def rows(self) -> dict[str, Path]:
        """Arm -> its rows, which hold as many tokens as those of the others, or a row less."""
        where = self.told["records"]
        plan = [
            {"records": self.run.source(where["source"]) / where["file"], "arm": arm, "checkpoint": self.checkpoint,
             "chat_template": self.template, "tokens": self.told["tokens"], "longest": self.told["fit"]["max_length"],
             "seed": self.run.seeds[0]}
            for arm in ARMS
        ]  # fmt: skip
        return dict(zip(ARMS, self.run.build_all(write_tuning_rows, plan), strict=True))

    def counts(self, arm: str) -> dict[str, int]:
        """Rows and tokens of an arm, and its rows a step: as many steps in every arm."""
        known = {one: json.loads((self.rows[one] / "count.json").read_text()) for one in ARMS}
        most = min(one["rows"] for one in known.values())
        return {**known[arm], "batch": math.ceil(known[arm]["rows"] / max(1, most // self.told["fit"]["batch"]))}

    def adapter(self, arm: str) -> Path | None:
        """The arm's LoRA adapter; the base has none."""
        if arm == BASE:
            return None
        fit = {**self.told["fit"], "batch": self.counts(arm)["batch"]}
        return self.run.build(
            finetune, checkpoint=self.checkpoint, rows=self.rows[arm] / "rows.jsonl", lora=self.told["lora"], epochs=1.0,
            seed=self.run.seeds[0], dtype=self.told["loading"].get("dtype", "float32"), chat_template=self.template, **fit,
        )  # fmt: skip

    @cached_property
    def questions(self) -> dict[str, Path]:
        """Set -> the questions that are asked of every arm."""
        sources = {SETS[0]: self.run.source("pubmedqa"), SETS[1]: self.run.source("exams") / self.told["exam"]}
        plan = [{"name": name, "source": source, **self.told["questions"]} for name, source in sources.items()]
        return dict(zip(SETS, self.run.build_all(write_questions, plan), strict=True))

    def asked(self, name: str) -> list[Record]:
        return read_records(self.questions[name] / "questions.json")

    def sat(self, arm: str) -> dict[str, dict[str, list]]:
        """Set -> what :func:`real_tuning.sit` found of an arm, or of the base."""
        told: dict[str, Any] = {
            "checkpoint": self.checkpoint,
            "adapter": self.adapter(arm),
            "how": self.told["loading"],
            **self.told["asked"],
        }
        folders = self.run.build_all(sit, [{"questions": self.questions[name], **told} for name in SETS])
        return {name: read_sat(folder) for name, folder in zip(SETS, folders, strict=True)}

    def power(self) -> float:
        """Half of a 95 % interval of a difference of two accuracies over these questions, where a third of the answers differ and
        neither arm is ahead: what cannot be told from none, said before any answer is seen."""
        count = sum(len(self.asked(name)) for name in SETS)
        return float(1.96 * np.sqrt(1 / 3 / count))


def prepare(run: Run) -> Study:
    """The study of a run at its profile."""
    return Study(run)
