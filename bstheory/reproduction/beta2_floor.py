"""Open point: does a floor on beta2 help where a half-life in tokens drives it towards 0 at a large batch?

At batch size 64 the rule anchored at 0.95 gives beta2 = 0.44 when the anchor is batch size 4, and 0.04 when
it is batch size 1. Theory names where a floor should lie: the bounds on Adam's update need
gamma = beta1/sqrt(beta2) < 1, so beta2 above beta1^2.
"""

from __future__ import annotations

import math

import numpy as np

from bstheory.half_life import transfer_beta
from bstheory.reproduction.arms import ANCHOR_BETA2, Tuned, grid, tuned
from bstheory.reproduction.claim import Finding, Outcomes
from bstheory.reproduction.judging import LARGE, MARGIN, Test, family
from bstheory.training.stacked import Recipe

ANCHORED = {
    anchor: transfer_beta(beta=ANCHOR_BETA2, from_batch_size=anchor, to_batch_size=LARGE) for anchor in (1, 4)
}
FLOOR = 0.81  # beta1^2 at beta1 = 0.9
BETA2 = (ANCHORED[1], ANCHORED[4], FLOOR, ANCHOR_BETA2)
ARMS = (*((b1, b2) for b1 in (0.0, 0.9) for b2 in BETA2), *((0.5, b2) for b2 in ANCHORED.values()))
FACTORS = tuple(2.0**k for k in range(-6, 1))


def arm(beta1: float, beta2: float) -> list[Recipe]:
    return grid("adam", LARGE, factors=FACTORS, beta1=beta1, beta2=beta2, half_life=None)


def recipes() -> list[Recipe]:
    return [r for beta1, beta2 in ARMS for r in arm(beta1, beta2)]


def capped(found: Tuned) -> np.ndarray:
    """A diverged run counts as the uniform guess."""
    return np.minimum(found.losses, math.log(256))


def judge(o: Outcomes) -> list[Finding]:
    """Losses at the coefficients that the rule gives against those at two floors."""
    arms = {key: tuned(o, arm(*key)) for key in ARMS}
    loss = {key: capped(found) for key, found in arms.items()}
    penalty = {(b1, b2): loss[b1, b2] - loss[b1, FLOOR] for b1, b2 in ARMS if b1 != 0.5}
    table = {
        f"beta1 {b1:g}, beta2 {b2:.4g}": {
            "loss": float(loss[b1, b2].mean()),
            "learning_rate": float(np.median(arms[b1, b2].rates)),
            "on_edge": arms[b1, b2].on_edge,
        }
        for b1, b2 in ARMS
    }
    numbers = {"table": table}
    statements = {
        f"beta1 = 0.9: a floor of {FLOOR} lowers the loss where the rule gives beta2 = {b2:.2g}": Test(
            values=penalty[0.9, b2], numbers=numbers
        )
        for b2 in ANCHORED.values()
    }
    statements |= {
        f"beta1 = 0.9: a floor of {ANCHOR_BETA2} instead of {FLOOR} changes it by less than {MARGIN}": Test(
            values=penalty[0.9, ANCHOR_BETA2], margin=MARGIN, numbers=numbers
        ),
        f"the floor gains less at beta1 = 0 than at 0.9 where the rule gives {ANCHORED[4]:.2g}": Test(
            values=penalty[0.9, ANCHORED[4]] - penalty[0.0, ANCHORED[4]], numbers=numbers
        ),
        f"beta1 = 0 (no bound is lost): the rule's {ANCHORED[4]:.2g} is within {MARGIN} of the floor": Test(
            values=penalty[0.0, ANCHORED[4]], margin=MARGIN, numbers=numbers
        ),
        f"beta1 = 0.5 (bound lost below 0.25): {ANCHORED[1]:.2g} costs more than {ANCHORED[4]:.2g}": Test(
            values=loss[0.5, ANCHORED[1]] - loss[0.5, ANCHORED[4]], numbers=numbers
        ),
    }
    return family(statements)
