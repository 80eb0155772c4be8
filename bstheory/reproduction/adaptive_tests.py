"""Which norm test: scalar, coordinate-wise (a quantile) or weighted by 1/sqrt(v), on the tiny model."""

from __future__ import annotations

import math

import numpy as np

from bstheory.reproduction.adaptive_loop import AdaptiveOutcome, KeptRuns, describe
from bstheory.reproduction.arms import HALF_LIFE, centre
from bstheory.reproduction.claim import Finding
from bstheory.reproduction.judging import larger
from bstheory.reproduction.statistics import leave_one_out
from bstheory.schedules.rules import Rule
from bstheory.training.stacked import Recipe

TESTS = ("norm_test", "coordinate", "sqrt_v")
TOLERANCES = (0.5, 1.0, 2.0)
FACTORS = (0.5, 1.0, 2.0)
SEEDS = (0, 1, 2)
ROWS, WORKERS, LARGEST = 1536, 4, 256


def run(kept: KeptRuns, name: str, tolerance: float, factor: float, seed: int) -> AdaptiveOutcome:
    """One closed-loop run from batch size 16, all policies equal."""
    recipe = Recipe(
        optimizer="adam",
        learning_rate=centre("adam", 16) * factor,
        batch_sizes=((16, 1),),
        seed=seed,
        half_life=HALF_LIFE,
    )
    rule = Rule(
        name=name,
        tolerance=tolerance,
        initial=16,
        maximum=LARGEST,
        multiple=WORKERS,
        smoothing=0.9,
        growth_cap=2.0,
    )
    return kept(recipe, rule, rows=ROWS, groups=WORKERS, every_statistic=True)


def tuned(kept: KeptRuns, name: str) -> tuple[np.ndarray, list[AdaptiveOutcome]]:
    """Loss and run per seed at the setting that is best for the other seeds."""
    runs = [[run(kept, name, t, f, s) for s in SEEDS] for t in TOLERANCES for f in FACTORS]
    table = {float(i): [min(x.validation_loss, math.log(256)) for x in row] for i, row in enumerate(runs)}
    losses, which = leave_one_out(table)
    return np.array(losses), [runs[int(i)][k] for k, i in enumerate(which)]


def mean_batches(kept: KeptRuns, name: str) -> np.ndarray:
    """log2 of the mean batch size at tolerance 1 and the middle rate, per seed."""
    return np.log2([ROWS / len(run(kept, name, 1.0, 1.0, s).batch_sizes) for s in SEEDS])


def judge(kept: KeptRuns) -> list[Finding]:
    """Batch sizes at one tolerance, and tuned losses on equal tokens."""
    sizes = {name: mean_batches(kept, name) for name in TESTS}
    shown = {name: float(2 ** x.mean()) for name, x in sizes.items()}
    found = {name: tuned(kept, name) for name in TESTS}
    details = {name: [describe(x) for x in runs] for name, (_, runs) in found.items()}
    losses = {name: value for name, (value, _) in found.items()}
    sized = {"mean_batch_at_tolerance_1": shown}
    return larger(
        {
            "at tolerance 1 the coordinate-wise test asks for larger batches than the scalar one": (
                sizes["coordinate"] - sizes["norm_test"],
                {**sized, "unit": "log2 of the mean batch"},
            ),
            "at tolerance 1 the sqrt(v)-weighted test asks for larger batches than the scalar one": (
                sizes["sqrt_v"] - sizes["norm_test"],
                {**sized, "unit": "log2 of the mean batch"},
            ),
            "tuned, the sqrt(v)-weighted test reaches a lower loss than the scalar one on equal tokens": (
                losses["norm_test"] - losses["sqrt_v"],
                details,
            ),
            "tuned, the scalar test reaches a lower loss than the coordinate-wise one on equal tokens": (
                losses["coordinate"] - losses["norm_test"],
                details,
            ),
        }
    )
