"""Base and tuned model under one harness: the released protocol on exams in the real layouts.

n-shot exemplars as chat turns, one forward pass a question, the letters' logits at the last token. The same call serves
the miniature and `full`, where checkpoint, adapter and exam folder are the real ones; C-Eval is scored on val, whose
answers are public, and MMLU is read with all its rows. Used by ``aurora/tab_letter_scoring``.

    run.build(score_letters, checkpoint=base, adapter=adapter, exams=folder, shots=5, seed=0, ...)

>>> accuracy_table([True, False, True, True], groups=["law", "law", "art", "art"])["accuracy"].to_dict()
{'law': 0.5, 'art': 1.0, 'micro': 0.75, 'macro': 0.75}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.data.exams import FOLDERS, GRADED, read_exam
from lib.evaluation import EvaluationError, exam_prompts
from lib.evaluation.exam_prompts import LETTERS, OPTIONS
from lib.evaluation.exams import option_logits
from lib.evaluation.statistics import binomial_interval
from lib.machine import CPU, Machine
from lib.models.lending import lend
from lib.streams import stream

WORDINGS = {"en": exam_prompts.ENGLISH, "zh": exam_prompts.CHINESE}
# In the miniature's world CMMLU is asked in language B. Paper: the README asks the real one with `--lang en` (profile full).
LANGUAGES = {"MMLU": "en", "C-Eval": "zh", "CMMLU": "zh"}


def words() -> list[str]:
    """Texts that hold every word around a question, for a tokenizer that knows only what it was trained on."""
    shown = [WORDINGS[language].header + WORDINGS[language].cue for language in LANGUAGES.values()]
    return [*(text.replace("{topic}", "") for text in shown), "\n".join(f"{letter}." for letter in LETTERS[:OPTIONS])]


def score_letters(
    folder: Path,
    *,
    checkpoint: Path | str,
    exams: Path | str,
    shots: int,
    seed: int,
    batch: int,
    languages: Mapping[str, str] = LANGUAGES,
    chat_template: str | None = "mistral",
    machine: Machine = CPU,
    **loading: Any,
) -> None:
    """Write ``letters.json``: exam -> list of (subject, right or wrong), in file order.

    ``exams``: folder with one folder an exam (``mmlu``, ``ceval``, ``cmmlu``). Exemplars are the dev questions in an order
    drawn by ``seed``, one draw a subject; ``languages``: exam -> en or zh, the words around a question. Dialogues are
    written as the release does, with a beginning-of-text token before every turn, or (``chat_template`` of ``None``) as the
    checkpoint does. ``loading``: adapter, quantisation and dtype of the model. Raises ``EvaluationError`` for a subject with
    too few dev questions.
    """
    if set(languages) != set(FOLDERS) or not set(languages.values()) <= set(WORDINGS):
        raise EvaluationError(f"languages are {dict(languages)}; give en or zh for each of {', '.join(FOLDERS)}.")
    with lend(checkpoint, chat_template=chat_template, device=machine.device, **loading) as (model, tokenizer):
        found = {}
        for name in FOLDERS:
            exam, wording = read_exam(name, Path(exams) / FOLDERS[name]), WORDINGS[languages[name]]
            letters = exam_prompts.letter_ids(tokenizer, before=wording.before_letter)
            found[name] = []
            for number, (subject, about) in enumerate(exam.subjects.items()):
                questions = exam.questions[GRADED[name]][subject]
                dev = exam.questions["dev"][subject]
                if len(dev) < shots:
                    raise EvaluationError(
                        f"{name}, {subject} has {len(dev)} dev questions for {shots} shots; lower shots."
                    )
                order = stream(seed, "exemplars", name, number).permutation(len(dev))[:shots]
                prompts = exam_prompts.encode_prompts(
                    questions,
                    tokenizer,
                    exemplars=[dev[i] for i in order],
                    topic=about.name,
                    wording=wording,
                    chat=True,
                )
                chosen = option_logits(model, prompts, letters=letters, batch=batch).argmax(axis=1)
                found[name] += [[subject, LETTERS[k] == q.answer] for k, q in zip(chosen, questions, strict=True)]
        (folder / "letters.json").write_text(json.dumps(found))


def accuracy_table(correct: Sequence[bool], groups: Sequence[str]) -> pd.DataFrame:
    """Questions, correct answers, accuracy, standard error and 95 % Wilson interval of each group, then the averages.

    ``micro``: over all questions (what the paper prints). ``macro``: mean of the groups' accuracies; its standard
    error combines theirs and its interval is normal, cut to [0, 1].
    """
    hits = np.asarray(correct)
    if len(hits) != len(groups) or not len(hits) or not np.isin(hits, [0, 1]).all():
        raise EvaluationError(
            f"{len(hits)} answers and {len(groups)} groups; give one True or False and one group each."
        )
    rows = {}
    for group in [*dict.fromkeys(groups), "micro"]:
        chosen = hits if group == "micro" else hits[np.asarray(groups) == group]
        share, n = float(chosen.mean()), len(chosen)
        interval = binomial_interval(int(chosen.sum()), n)
        rows[group] = (n, int(chosen.sum()), share, float(np.sqrt(share * (1 - share) / n)), *interval)
    each = np.array([row[2:4] for name, row in rows.items() if name != "micro"])
    mean, error = float(each[:, 0].mean()), float(np.sqrt((each[:, 1] ** 2).sum()) / len(each))
    low, high = np.clip([mean - 1.96 * error, mean + 1.96 * error], 0, 1)
    rows["macro"] = (len(hits), int(hits.sum()), mean, error, float(low), float(high))
    columns = ["questions", "correct", "accuracy", "standard_error", "low", "high"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)
