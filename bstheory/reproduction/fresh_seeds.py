"""Claims that four seeds left undecided, measured again on seeds of their own.

The repetition is judged apart: adding seeds to an undecided test until it decides would inflate its error.
"""

from __future__ import annotations

import math

import numpy as np

from bstheory.reproduction.arms import FACTORS, grid
from bstheory.reproduction.claim import Finding, Outcomes
from bstheory.reproduction.judging import LARGE, MARGIN, SMALL, Test, at, family, larger, means
from bstheory.training.stacked import Recipe

FRESH_SEEDS = tuple(range(4, 16))
FRESH_FACTORS = FACTORS[1:-1]
PROTOCOL = (
    "five learning rates (factors of two) and twelve fresh seeds for every arm, the rate of a seed chosen by "
    "the other seeds; paired Student tests over seeds, two one-sided ones for a match, Holm over the "
    "statements of a claim; designed after the four-seed claim had been seen, which is not part of it"
)
FRESH = {"seeds": FRESH_SEEDS, "factors": FRESH_FACTORS}


def c5_fresh_recipes() -> list[Recipe]:
    return [r for n in ("adam", "adam_fixed") for r in grid(n, SMALL, **FRESH)]


def judge_c5_fresh(o: Outcomes) -> list[Finding]:
    arms = {n: at(o, n, SMALL, **FRESH) for n in ("adam", "adam_fixed")}
    return larger(
        {
            f"at batch size {SMALL} the fixed half-life beats beta2 = 0.95, on twelve fresh seeds": (
                arms["adam_fixed"].losses - arms["adam"].losses,
                means(half_life=arms["adam"], fixed=arms["adam_fixed"]),
            )
        }
    )


# C4: the exponent of the rate from the two ends of the range.

PAPER_EXPONENT = 0.16  # from the paper's centres, B = 1 to 1024


def c4_fresh_recipes() -> list[Recipe]:
    return [r for b in (SMALL, LARGE) for r in grid("adam", b, **FRESH)]


def judge_c4_fresh(o: Outcomes) -> list[Finding]:
    ends = [at(o, "adam", b, **FRESH) for b in (SMALL, LARGE)]
    slopes = np.log(ends[1].optimal_rates() / ends[0].optimal_rates()) / math.log(LARGE / SMALL)
    of_means = math.log(ends[1].optimal_rate_of_mean() / ends[0].optimal_rate_of_mean())
    numbers = {
        "exponent": float(slopes.mean()),
        "exponent_of_the_mean_curves": of_means / math.log(LARGE / SMALL),
        **means(small=ends[0], large=ends[1]),
    }
    statements = {
        "the tuned learning rate grows more slowly than the square root of the batch size": Test(
            values=0.5 - slopes, numbers=numbers
        ),
        f"it grows faster than B^{PAPER_EXPONENT}, the exponent of the paper's settings": Test(
            values=slopes - PAPER_EXPONENT, numbers=numbers
        ),
    }
    return family(statements)


# The role of momentum and clipping.

EIGHT = FRESH_SEEDS[:8]
MOMENTUM_SMALL_GRID = {"seeds": EIGHT, "factors": FACTORS[1:-2]}
MOMENTUM_LARGE_GRID = {"seeds": EIGHT, "factors": FACTORS[:-2]}
MOMENTUM_SMALL = ("sgd", "sgd_momentum", "sgd_clip", "sgd_momentum_clip", "adam")
MOMENTUM_LARGE = ("sgd", "sgd_half_momentum", "sgd_momentum")


def momentum_recipes() -> list[Recipe]:
    return [r for n in MOMENTUM_SMALL for r in grid(n, SMALL, **MOMENTUM_SMALL_GRID)] + [
        r for n in MOMENTUM_LARGE for r in grid(n, LARGE, **MOMENTUM_LARGE_GRID)
    ]


def judge_momentum(o: Outcomes) -> list[Finding]:
    small = {n: at(o, n, SMALL, **MOMENTUM_SMALL_GRID) for n in MOMENTUM_SMALL}
    large = {n: at(o, n, LARGE, **MOMENTUM_LARGE_GRID) for n in MOMENTUM_LARGE}
    gain = {n: large["sgd"].losses - large[n].losses for n in MOMENTUM_LARGE[1:]}
    at_one = {n: small["sgd"].losses - small[n].losses for n in MOMENTUM_SMALL[1:4]}
    shown = {"batch_size_1": means(**small), "batch_size_64": means(**large)}
    return family(
        {
            f"momentum 0.9 gains more at batch size {LARGE} than at {SMALL}": Test(
                values=gain["sgd_momentum"] - at_one["sgd_momentum"], numbers=shown
            ),
            f"at batch size {LARGE} momentum 0.5 lowers the loss of SGD": Test(
                values=gain["sgd_half_momentum"], numbers=shown
            ),
            f"at batch size {SMALL} momentum 0.9 changes the loss of SGD by less than {MARGIN}": Test(
                values=at_one["sgd_momentum"], margin=MARGIN, numbers=shown
            ),
            f"at batch size {SMALL} clipping at norm 1 lowers the loss of SGD": Test(
                values=at_one["sgd_clip"], numbers=shown
            ),
            f"at batch size {SMALL} SGD with momentum and clipping is within {MARGIN} of Adam": Test(
                values=small["sgd_momentum_clip"].losses - small["adam"].losses, margin=MARGIN, numbers=shown
            ),
        }
    )
