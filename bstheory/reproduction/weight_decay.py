"""Open point: which weight decay stays the same when the batch size changes?

Decoupled decay shrinks a weight by 1 - eta lambda a step. Per token that is (1 - eta lambda)^(1/B): with
rates that go as sqrt(B), it is kept by lambda proportional to sqrt(B), not by a fixed lambda.
"""

from __future__ import annotations

import numpy as np

from bstheory.reproduction.arms import ANCHOR_BATCH_SIZE, HALF_LIFE, SEEDS, centre, constant
from bstheory.reproduction.claim import Finding, Outcomes
from bstheory.reproduction.judging import LARGE, SMALL, larger
from bstheory.reproduction.statistics import difference
from bstheory.training.stacked import Recipe

DECAYS = (0.3, 1.0, 3.0)  # at the anchor
BATCH_SIZES = (SMALL, LARGE)


def by_rule(decay: float, batch_size: int) -> float:
    """The decay per step whose decay per token is that of the anchor; **exact** at the peak rate."""
    anchor = centre("adam", ANCHOR_BATCH_SIZE)
    per_step = -np.expm1(batch_size / ANCHOR_BATCH_SIZE * np.log1p(-anchor * decay))
    return float(per_step / centre("adam", batch_size))


def runs(batch_size: int, decay: float) -> list[Recipe]:
    """One recipe a seed, at the centre of the grid of rates."""
    return [
        Recipe(
            optimizer="adam",
            learning_rate=centre("adam", batch_size),
            batch_sizes=constant(batch_size),
            half_life=HALF_LIFE,
            weight_decay=decay,
            seed=s,
        )
        for s in SEEDS
    ]


def recipes() -> list[Recipe]:
    return [
        r
        for b in BATCH_SIZES
        for decay in (0.0, *DECAYS, *(by_rule(d, b) for d in DECAYS))
        for r in runs(b, decay)
    ]


def penalties(o: Outcomes, batch_size: int, *, rule: bool) -> np.ndarray:
    """Loss above that without decay, [decays, seeds]."""

    def loss(decay: float) -> np.ndarray:
        return np.array([min(o[r].validation_loss[-1], np.log(256)) for r in runs(batch_size, decay)])

    return np.array([loss(by_rule(d, batch_size) if rule else d) - loss(0.0) for d in DECAYS])


def judge(o: Outcomes) -> list[Finding]:
    """How far apart the effect of decay is at the two batch sizes, with and without the rule."""
    effect = {(b, rule): penalties(o, b, rule=rule) for b in BATCH_SIZES for rule in (True, False)}
    apart = {rule: np.abs(effect[SMALL, rule] - effect[LARGE, rule]).mean(axis=0) for rule in (True, False)}
    table = {
        f"batch size {b}, {'per token' if rule else 'fixed'}": {
            str(d): difference(row).to_json() for d, row in zip(DECAYS, values, strict=True)
        }
        for (b, rule), values in effect.items()
    }
    return larger(
        {
            f"the effect of weight decay differs less between batch sizes {SMALL} and {LARGE} when the decay "
            "per token is kept than when lambda is fixed": (
                apart[False] - apart[True],
                {
                    "apart_fixed": float(apart[False].mean()),
                    "apart_per_token": float(apart[True].mean()),
                    "effect": table,
                },
            )
        }
    )
