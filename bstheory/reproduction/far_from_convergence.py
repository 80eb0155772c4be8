"""C13: the authors' explanation, that language-model training is far from convergence and so favours small B.

If so, the penalty of a large batch on equal tokens falls as the run gets longer. Measured as the loss at
batch size 64 above that at 4, both with their rates tuned, over an eightfold range of training tokens.
"""

from __future__ import annotations

import itertools

import numpy as np

from bstheory.reproduction.arms import HALF_LIFE, centre, tuned
from bstheory.reproduction.claim import Finding, Outcomes
from bstheory.reproduction.half_life_units import SEEDS
from bstheory.reproduction.judging import LARGE, Test, family
from bstheory.training.stacked import Recipe

SMALL = 4
RATES = (0.175, 0.35, 0.7, 1.4, 2.8)  # of the centre
ROWS = (768, 3072, 6144)


def arm(batch_size: int, rows: int) -> list[Recipe]:
    return [
        Recipe(
            optimizer="adam",
            batch_sizes=((batch_size, rows // batch_size),),
            learning_rate=centre("adam", batch_size) * f,
            half_life=HALF_LIFE,
            seed=s,
        )
        for f in RATES
        for s in SEEDS
    ]


def recipes() -> list[Recipe]:
    return [r for b in (SMALL, LARGE) for rows in ROWS for r in arm(b, rows)]


def judge(o: Outcomes) -> list[Finding]:
    """The penalty of the large batch at three budgets."""
    arms = {(b, rows): tuned(o, arm(b, rows)) for b in (SMALL, LARGE) for rows in ROWS}
    penalty = {rows: arms[LARGE, rows].losses - arms[SMALL, rows].losses for rows in ROWS}
    numbers = {
        "penalty": {str(32 * rows): float(x.mean()) for rows, x in penalty.items()},
        "on_edge": [f"batch size {b}, {32 * rows} tokens" for (b, rows), t in arms.items() if t.on_edge],
        "loss": {
            f"batch size {b}": {str(32 * rows): float(np.mean(arms[b, rows].losses)) for rows in ROWS}
            for b in (SMALL, LARGE)
        },
    }
    text = f"the penalty of batch size {LARGE} against {SMALL} falls from {{:,}} to {{:,}} training tokens"
    return family(
        {
            text.format(32 * a, 32 * b): Test(values=penalty[a] - penalty[b], numbers=numbers)
            for a, b in itertools.pairwise(ROWS)
        }
    )
