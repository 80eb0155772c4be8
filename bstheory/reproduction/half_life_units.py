"""Open point: in what is the tuned half-life constant when the model, the sequence or the budget changes?

All settings take 128 tokens a step, so tokens and steps agree and only the named factor moves. Two questions
of the half-life that was tuned in the base setting: what does keeping it in tokens cost against tuning it
again, and is it better than moving it in proportion to the factor (fixed in sequences for the sequence
length, as a share of the run for the training tokens)?

The exponent of the tuned half-life is given as a number and not tested: noise alone pulls it towards 0, so a
flat loss would confirm any law that says it is small.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from bstheory.reproduction.arms import HALF_LIFE, centre
from bstheory.reproduction.claim import Finding, Outcomes
from bstheory.reproduction.judging import MARGIN, Test, family
from bstheory.training.stacked import Recipe

SEEDS = (20, 21, 22, 23, 24)  # of no other claim
MULTIPLIERS = tuple(4.0**k for k in (-2, -1, 0, 1, 2))  # of the anchored half-life
RATES = (0.35, 0.7, 1.4)  # of the centre at batch size 4
SPACING = math.log2(MULTIPLIERS[1] / MULTIPLIERS[0])
STEP = 128  # tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """Model, rows of a step and tokens of a run."""

    model: str = "tiny_study"
    batch_size: int = 4
    tokens: int = 98_304

    @property
    def steps(self) -> int:
        return self.tokens // STEP


BASE = Setting()
AXES: dict[str, tuple[tuple[float, Setting], ...]] = {
    "model width": (
        (0.5, Setting(model="tiny_study_w16")),
        (1.0, BASE),
        (1.5, Setting(model="tiny_study_w48")),
    ),
    "sequence length": (
        (0.25, Setting(model="tiny_study_t8", batch_size=16)),
        (1.0, BASE),
        (4.0, Setting(model="tiny_study_t128", batch_size=1)),
    ),
    "number of training tokens": (
        (0.25, Setting(tokens=BASE.tokens // 4)),
        (1.0, BASE),
        (2.0, Setting(tokens=BASE.tokens * 2)),
    ),
}


def runs(setting: Setting, multiplier: float, rate: float) -> list[Recipe]:
    """One recipe a seed."""
    return [
        Recipe(
            optimizer="adam",
            model=setting.model,
            batch_sizes=((setting.batch_size, setting.steps),),
            learning_rate=centre("adam", BASE.batch_size) * rate,
            half_life=HALF_LIFE * multiplier,
            seed=s,
        )
        for s in SEEDS
    ]


def recipes() -> list[Recipe]:
    settings = dict.fromkeys(s for axis in AXES.values() for _, s in axis)
    return [r for s in settings for m in MULTIPLIERS for f in RATES for r in runs(s, m, f)]


def surface(o: Outcomes, setting: Setting) -> np.ndarray:
    """Losses [half-life, rate, seed]; a diverged run counts as the uniform guess."""
    cells = [[[o[r].validation_loss[-1] for r in runs(setting, m, f)] for f in RATES] for m in MULTIPLIERS]
    return np.minimum(np.array(cells), math.log(256))


def optimum(table: np.ndarray) -> tuple[float, bool]:
    """log2 of the best multiplier (vertex of the three best, mean over seeds), and whether on the edge."""
    profile = table.mean(axis=-1).min(axis=1)
    i = int(np.argmin(profile))
    inner = 0 < i < len(profile) - 1
    shift = 0.0
    if inner:
        a, b, c = profile[i - 1 : i + 2]
        shift = 0.5 * (a - c) / (a - 2 * b + c)
    return math.log2(MULTIPLIERS[0]) + SPACING * (i + shift), not inner


def best_half_life(table: np.ndarray, seed: int) -> int:
    """Index of the half-life that is best for the other seeds, each half-life at its best rate."""
    return int(np.argmin(np.delete(table, seed, axis=-1).mean(axis=-1).min(axis=1)))


def losses(table: np.ndarray, half_lives: list[int]) -> np.ndarray:
    """Per seed: the loss at its half-life, at the rate that is best there for the other seeds."""
    found = []
    for seed, i in enumerate(half_lives):
        rate = int(np.argmin(np.delete(table[i], seed, axis=-1).mean(axis=-1)))
        found.append(table[i, rate, seed])
    return np.array(found)


def judge(o: Outcomes) -> list[Finding]:
    """What keeping the half-life in tokens costs, and whether moving it in proportion is worse."""
    statements: dict[str, Test] = {}
    for name, axis in AXES.items():
        tables = {factor: surface(o, setting) for factor, setting in axis}
        optima = {factor: optimum(table) for factor, table in tables.items()}
        low, high = axis[0][0], axis[-1][0]
        numbers = {
            "exponent_not_tested": (optima[high][0] - optima[low][0]) / math.log2(high / low),
            "tuned_half_life": {str(f): HALF_LIFE * 2**x for f, (x, _) in optima.items()},
            "on_edge": [str(f) for f, (_, edge) in optima.items() if edge],
            "mean_loss": {str(f): t.mean(axis=-1).min(axis=1).tolist() for f, t in tables.items()},
        }
        for factor in (low, high):
            table = tables[factor]
            tuned = [best_half_life(table, seed) for seed in range(len(SEEDS))]
            kept = [best_half_life(tables[1.0], seed) for seed in range(len(SEEDS))]
            text = f"{name} times {factor:g}: keeping the half-life in tokens"
            statements[f"{text} costs less than {MARGIN}"] = Test(
                values=losses(table, kept) - losses(table, tuned), margin=MARGIN, numbers=numbers
            )
            steps = math.log2(factor) / SPACING
            if name != "model width" and steps == round(steps):  # whole steps of the grid only
                moved = [min(max(i + round(steps), 0), len(MULTIPLIERS) - 1) for i in kept]
                statements[f"{text} beats moving it in proportion to the {name}"] = Test(
                    values=losses(table, moved) - losses(table, kept), numbers=numbers
                )
    return family(statements)
