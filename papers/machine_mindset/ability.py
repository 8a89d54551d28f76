"""What tuning does to an ability can be asked of a base that has it: without one nothing is tuned.

arms = worth_tuning(study, mixed_arms("energy:I", [0.5]))
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from papers.machine_mindset.arms import Arm
from papers.machine_mindset.study import Study


def worth_tuning(study: Study, arms: Mapping[str, Arm]) -> dict[str, Arm]:
    """``arms``; where verdicts are asked for and a base gives less of its replies to the exam right than the profile's
    ``exam: known``, the untuned base alone: :meth:`Study.judge_ability` will leave the claim unjudged."""
    base = {"untuned_base": arms["untuned_base"]}
    sat = study.sit(base)["untuned_base"]
    knows = min(float(np.mean([a == b for a, b in zip(s["right"], s["generated"], strict=True)])) for s in sat)
    known = knows >= study.settings["exam"]["known"]
    return dict(arms) if known or not study.settings["verdicts"] else base
