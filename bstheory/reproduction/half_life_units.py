"""Open point: in what is the tuned half-life constant when the model, the sequence or the budget changes?

All settings take 128 tokens a step, so tokens and steps agree and only the named factor moves. The half-life
of a setting is tuned on one grid in tokens; its exponent along a factor says in what it is constant: 0 where
tokens (or steps) decide, 1 where the factor itself does (sequences for the sequence length, a share of the
run for the training tokens).
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
EXPONENT_MARGIN = 0.25  # a factor of 4 moves the half-life by less than the square root of 2
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


def tuned_half_lives(table: np.ndarray) -> tuple[np.ndarray, list[bool]]:
    """log2 of the best multiplier of each seed (vertex of the three best), and whether on the edge."""
    spacing, low = math.log2(MULTIPLIERS[1] / MULTIPLIERS[0]), math.log2(MULTIPLIERS[0])
    found, edge = [], []
    for seed in range(table.shape[-1]):
        # The rate of a half-life is the one that is best on average over the seeds.
        profile = table[np.arange(len(MULTIPLIERS)), table.mean(axis=-1).argmin(axis=1), seed]
        i = int(np.argmin(profile))
        inner = 0 < i < len(profile) - 1
        shift = 0.0
        if inner:
            a, b, c = profile[i - 1 : i + 2]
            shift = 0.5 * (a - c) / (a - 2 * b + c)
        found.append(low + spacing * (i + shift))
        edge.append(not inner)
    return np.array(found), edge


def chosen(table: np.ndarray, seed: int) -> tuple[int, int]:
    """Half-life and rate that are best for the other seeds."""
    others = np.delete(table, seed, axis=-1).mean(axis=-1)
    i, k = np.unravel_index(int(np.argmin(others)), others.shape)
    return int(i), int(k)


def regrets(table: np.ndarray, base: np.ndarray, shift: int) -> np.ndarray:
    """Per seed: loss at the base setting's half-life, moved by ``shift`` grid points, above the best.

    Both are chosen by the other seeds, and the rate is tuned again at either half-life.
    """
    found = []
    for seed in range(table.shape[-1]):
        i, k = chosen(table, seed)
        j = min(max(chosen(base, seed)[0] + shift, 0), len(MULTIPLIERS) - 1)
        rate = int(np.argmin(np.delete(table[j], seed, axis=-1).mean(axis=-1)))
        found.append(table[j, rate, seed] - table[i, k, seed])
    return np.array(found)


def judge(o: Outcomes) -> list[Finding]:
    """Exponents of the tuned half-life, and what keeping it in tokens costs."""
    statements: dict[str, Test] = {}
    for name, axis in AXES.items():
        tables = {factor: surface(o, setting) for factor, setting in axis}
        optima = {factor: tuned_half_lives(table) for factor, table in tables.items()}
        low, high = axis[0][0], axis[-1][0]
        slopes = (optima[high][0] - optima[low][0]) / math.log2(high / low)
        spacing = math.log2(MULTIPLIERS[1] / MULTIPLIERS[0])
        numbers = {
            "exponent": float(slopes.mean()),
            "tuned_half_life": {str(f): float(HALF_LIFE * 2 ** x.mean()) for f, (x, _) in optima.items()},
            "seeds_on_edge": {str(f): int(sum(edge)) for f, (_, edge) in optima.items()},
            "mean_loss": {str(f): t.mean(axis=-1).min(axis=1).tolist() for f, t in tables.items()},
            "cost_of_moving_it_in_proportion": {  # only factors that are whole steps of the grid
                str(f): float(regrets(tables[f], tables[1.0], round(math.log2(f) / spacing)).mean())
                for f in (low, high)
                if math.log2(f) % spacing == 0
            },
        }
        statements[f"the tuned half-life in tokens grows less than in proportion to the {name}"] = Test(
            values=1 - slopes, numbers=numbers
        )
        statements[
            f"the tuned half-life in tokens does not depend on the {name} (exponent within {EXPONENT_MARGIN})"
        ] = Test(values=slopes, margin=EXPONENT_MARGIN, numbers=numbers)
        for factor in (low, high):
            statements[
                f"{name} times {factor:g}: keeping the half-life in tokens costs less than {MARGIN}"
            ] = Test(values=regrets(tables[factor], tables[1.0], 0), margin=MARGIN, numbers=numbers)
    return family(statements)
