"""Exam scoring with and without the shared-prefix cache: same answers, measured times, on a real exam's questions.

Used by ``notebooks/performance/exam_scoring.ipynb`` and by the tests.

    measure_exam_scoring(exam, subjects=MEDICAL["MMLU"], shots=5)
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.data.exams import Exam
from lib.evaluation.exam_prompts import ENGLISH, ask, encode_prompts, letter_ids
from lib.evaluation.exams import option_logits, shared_length
from lib.models import causal_lm


@dataclass(frozen=True)
class ExamTiming:
    """Seconds of both paths over the same prompts, their ratio, and how far their logits and answers are apart."""

    questions: int
    tokens: int  # of all prompts together
    shared_tokens: int  # of them, those that the cache saves
    cached_seconds: float
    plain_seconds: float
    ratio: float
    largest_difference: float  # of a logit
    different_answers: int


def tiny_reader(exam: Exam, *, subjects: Sequence[str], width: int, depth: int):
    """(model, tokenizer): a randomly initialised Mixtral whose words are those of the exam."""
    questions = [q for split in exam.questions for q in exam.select(split, subjects=subjects)]
    headers = [ENGLISH.header.format(topic=exam.subjects[subject].name) for subject in subjects]
    with tempfile.TemporaryDirectory() as folder:
        causal_lm.write_checkpoint(
            folder, texts=[*(ask(q, ENGLISH) for q in questions), *headers], chat_template="mistral",
            architecture="mixtral", width=width, depth=depth, key_value_heads=2, num_local_experts=8,
            num_experts_per_tok=2, intermediate_size=width,
        )  # fmt: skip
        return causal_lm.load(folder)


def measure_exam_scoring(
    exam: Exam, *, subjects: Sequence[str], shots: int = 5, width: int = 64, depth: int = 2, batch: int = 32
) -> ExamTiming:
    """Score the test questions of `subjects` on both paths, subject by subject in turn, and compare."""
    model, tokenizer = tiny_reader(exam, subjects=subjects, width=width, depth=depth)
    letters, found, seconds = letter_ids(tokenizer, before=" "), {True: [], False: []}, {True: 0.0, False: 0.0}
    tokens = shared = 0
    for subject in subjects:
        prompts = encode_prompts(
            exam.select("test", subjects=[subject]), tokenizer, exemplars=exam.questions["dev"][subject][:shots],
            topic=exam.subjects[subject].name, wording=ENGLISH, chat=True,
        )  # fmt: skip
        tokens, shared = tokens + sum(map(len, prompts)), shared + shared_length(prompts) * (len(prompts) - 1)
        option_logits(model, prompts[:2], letters=letters)  # what is done once a process stays out of the timing
        for cached in (True, False):
            start = time.perf_counter()
            found[cached].append(option_logits(model, prompts, letters=letters, batch=batch, cached=cached))
            seconds[cached] += time.perf_counter() - start
    fast, plain = (np.concatenate(found[cached]) for cached in (True, False))
    return ExamTiming(
        questions=len(fast), tokens=tokens, shared_tokens=shared, cached_seconds=seconds[True],
        plain_seconds=seconds[False], ratio=seconds[False] / seconds[True],
        largest_difference=float(np.abs(fast - plain).max()),
        different_answers=int((fast.argmax(axis=1) != plain.argmax(axis=1)).sum()),
    )  # fmt: skip
