"""Base and tuned model under one harness: the released protocol on exams in the real layouts.

n-shot exemplars as chat turns, one forward pass a question, the letters' logits at the last token. The same call serves
the miniature and `full`, where checkpoint, adapter and exam folder are the real ones; C-Eval is scored on val, whose
answers are public, and MMLU is read with all its rows. Used by ``aurora/tab_letter_scoring``.

    run.build(score_letters, checkpoint=base, adapter=adapter, exams=folder, shots=5, seed=0, ...)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.exams import FOLDERS, GRADED, read_exam
from lib.evaluation import exam_prompts
from lib.evaluation.exam_prompts import LETTERS, OPTIONS
from lib.evaluation.exams import option_logits
from lib.models import causal_lm

WORDINGS = {"MMLU": exam_prompts.ENGLISH, "C-Eval": exam_prompts.CHINESE, "CMMLU": exam_prompts.CHINESE}


def words() -> list[str]:
    """Texts that hold every word around a question, for a tokenizer that knows only what it was trained on."""
    shown = [wording.header + wording.cue for wording in WORDINGS.values()]
    return [*(text.replace("{topic}", "") for text in shown), "\n".join(f"{letter}." for letter in LETTERS[:OPTIONS])]


def score_letters(
    folder: Path,
    *,
    checkpoint: Path | str,
    exams: Path | str,
    shots: int,
    seed: int,
    batch: int,
    **loading: Any,
) -> None:
    """Write ``letters.json``: exam -> list of (subject, right or wrong), in file order.

    ``exams``: folder with one folder an exam (``mmlu``, ``ceval``, ``cmmlu``). Exemplars are the dev questions in an order
    drawn by ``seed``, one draw a subject. ``loading``: revision, adapter, quantisation, dtype and device of the model.
    """
    model, tokenizer = causal_lm.load(checkpoint, **loading)
    found = {}
    for name in FOLDERS:
        exam, wording = read_exam(name, Path(exams) / FOLDERS[name]), WORDINGS[name]
        letters = exam_prompts.letter_ids(tokenizer, before=wording.before_letter)
        found[name] = []
        for number, (subject, about) in enumerate(exam.subjects.items()):
            questions = exam.questions[GRADED[name]][subject]
            dev = exam.questions["dev"][subject]
            order = np.random.default_rng([seed, number]).permutation(len(dev))[:shots]
            prompts = exam_prompts.encode_prompts(
                questions, tokenizer, exemplars=[dev[i] for i in order], topic=about.name, wording=wording, chat=True
            )
            chosen = option_logits(model, prompts, letters=letters, batch=batch).argmax(axis=1)
            found[name] += [[subject, LETTERS[k] == q.answer] for k, q in zip(chosen, questions, strict=True)]
    (folder / "letters.json").write_text(json.dumps(found))
