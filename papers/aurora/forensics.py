"""What a printed percentage says about the questions behind it, and what can be scored without reading them.

A percentage printed with two decimals of n questions is a whole number of right answers over n; few numbers of
questions allow a given value. Used by ``aurora/tab3_exams``.

>>> counts_behind(57.53, 3000), counts_behind(57.53, 3018)
([1726], [])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lib.evaluation import EvaluationError
from lib.evaluation.exam_prompts import LETTERS, OPTIONS, Question


def counts_behind(percent: float, questions: int, *, decimals: int = 2) -> list[int]:
    """The numbers of right answers of `questions` that print as `percent`; empty when there is none.

    Both roundings of a half are accepted.
    """
    if questions < 1 or not 0 <= percent <= 100:
        raise EvaluationError(f"{percent} % of {questions} questions; give 0 to 100 % of at least one question.")
    half = 0.5 * 10**-decimals + 1e-9
    low, high = (percent - half) / 100 * questions, (percent + half) / 100 * questions
    return list(range(max(0, int(np.ceil(low - 1e-9))), min(questions, int(np.floor(high + 1e-9))) + 1))


def trivial_baselines(questions: Sequence[Question]) -> pd.Series:
    """Accuracy (%) of rules that read no question: one letter always, the longest and the shortest option.

    Of options of equal length the first counts.
    """
    answers = np.array([question.answer for question in questions])
    lengths = np.array([[len(option) for option in question.options] for question in questions])
    letters = np.array(list(LETTERS[:OPTIONS]))
    found = {f"always {letter}": 100 * float((answers == letter).mean()) for letter in letters}
    found["longest option"] = 100 * float((answers == letters[lengths.argmax(axis=1)]).mean())
    found["shortest option"] = 100 * float((answers == letters[lengths.argmin(axis=1)]).mean())
    return pd.Series(found)
