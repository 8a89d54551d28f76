"""How often the rule of the verdicts errs: it judges synthetic claims of which the truth is known.

Five replicates a claim, noise with heavy tails (Student's t with three degrees of freedom), and an effect of the base
that all replicates on it share. Used by ``notebooks/performance/error_rates.ipynb`` and by the tests.

    shares("no effect", claims=2000, seed=0)["shown"]       # at most 0.05
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from lib.workflow import verdicts
from lib.workflow.papers import Claim

#: effect of the treatment and of the control, in standard deviations of the noise between replicates
TRUTHS = {
    "no effect": (0.0, 0.0),
    "an effect": (3.0, 0.0),
    "an effect the other way": (-3.0, 0.0),
    "an effect that the control shares": (3.0, 3.0),
}
REPLICATES = 5
BASE = 0.5  # standard deviation of what a base does to an arm, in the same unit

CLAIM = Claim.model_validate(
    {
        "id": "T1",
        "statement": "The treatment is better.",
        "source": "ours",
        "evidence": ["miniature"],
        "quantity": "AUC",
        "direction": "higher",
        "arms": {"treatment": "treatment", "baseline": "baseline"},
        "control": {"arms": {"treatment": "shuffled", "baseline": "baseline"}, "reason": "synthetic"},
        "exhibit": "error_rates",
    }
)


def draw(truth: str, *, bases: int, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], list[int]]:
    """One synthetic claim: what each arm measured in :data:`REPLICATES` replicates, and the base under each.

    Noise of each arm: t with 3 degrees of freedom, scaled to standard deviation 1; of each arm on each base: normal
    with standard deviation :data:`BASE`.
    """
    of_replicate = [i % bases for i in range(REPLICATES)]
    effect, of_control = TRUTHS[truth]
    measured = {}
    for arm, shift in {"treatment": effect, "baseline": 0.0, "shuffled": of_control}.items():
        noise = rng.standard_t(3, REPLICATES) / np.sqrt(3)
        measured[arm] = shift + noise + (BASE * rng.standard_normal(bases))[of_replicate]
    return measured, of_replicate


def shares(truth: str, *, claims: int, seed: int, bases: int = REPLICATES) -> dict[str, float]:
    """Share of each outcome among ``claims`` synthetic claims of one kind in :data:`TRUTHS`, in [0, 1]."""
    rng = np.random.default_rng([seed, list(TRUTHS).index(truth), bases])
    found: Counter[str] = Counter()
    for _ in range(claims):
        measured, of_replicate = draw(truth, bases=bases, rng=rng)
        found[verdicts.judge(CLAIM, measured, bases=of_replicate).outcome] += 1
    return {outcome: found[outcome] / claims for outcome in verdicts.WORDS["miniature"]}
