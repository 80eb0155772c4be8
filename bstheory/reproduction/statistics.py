"""Paired comparisons of arms over seeds: intervals, superiority, equivalence, and many of them at once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.verdict import Verdict


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Paired difference over seeds.

    Attributes:
        mean, half_width: mean of the n differences and half of the Student interval at ``level``.
        p_above: one-sided p-value of "the mean difference is above zero".
        n, level: sample size and level of the interval.
    """

    mean: float
    half_width: float
    p_above: float
    n: int
    level: float

    @property
    def interval(self) -> tuple[float, float]:
        """Two-sided Student interval."""
        return self.mean - self.half_width, self.mean + self.half_width

    def detectable(self, *, alpha: float = 0.05, power: float = 0.8) -> float | None:
        """Smallest mean difference that a one-sided test at alpha would find with this power, here.

        (t_{1-alpha} + t_power) times the standard error, n - 1 degrees of freedom: the usual approximation of
        the noncentral law. None without a finite standard error.
        """
        return self._errors(1 - alpha, power)

    def resolvable(self, *, alpha: float = 0.05, power: float = 0.8) -> float | None:
        """Smallest margin within which two one-sided tests at alpha would place a true zero with this power.

        (t_{1-alpha} + t_{(1+power)/2}) times the standard error. None without a finite standard error.
        """
        return self._errors(1 - alpha, (1 + power) / 2)

    def _errors(self, *quantiles: float) -> float | None:
        """Sum of Student quantiles times the standard error."""
        from scipy import stats

        if not (math.isfinite(self.mean) and self.half_width > 0):
            return None
        error = self.half_width / stats.t.ppf((1 + self.level) / 2, self.n - 1)
        return float(sum(stats.t.ppf(q, self.n - 1) for q in quantiles) * error)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "mean": self.mean,
            "interval": list(self.interval),
            "p_above": self.p_above,
            "n": self.n,
            "level": self.level,
            "detectable_with_power_0.8": self.detectable(),
        }


def difference(values: Sequence[float], *, level: float = 0.95) -> Difference:
    """Summarise paired differences (one per seed).

    Raises:
        InputError: fewer than two seeds, or a value that is not a number. Infinite values (a diverged arm)
            are allowed; with one sign throughout, the mean is that infinity.
    """
    from scipy import stats

    x = np.asarray(values, dtype=float)
    if x.size < 2 or np.isnan(x).any():
        raise input_error(
            got=f"differences {values}",
            rule="an interval needs at least two seeds and no NaN",
            do="run more seeds",
        )
    if np.isinf(x).any():
        sign = math.inf if (x > 0).all() else -math.inf if (x < 0).all() else math.nan
        # A sign test is all that infinities allow.
        p = 0.5**x.size if sign > 0 else 1 - 0.5**x.size if sign < 0 else 0.5
        return Difference(mean=sign, half_width=0.0, p_above=p, n=x.size, level=level)
    error = float(x.std(ddof=1)) / math.sqrt(x.size)
    if error == 0.0:
        p = 0.0 if x[0] > 0 else 1.0
        return Difference(mean=float(x[0]), half_width=0.0, p_above=p, n=x.size, level=level)
    t = float(x.mean()) / error
    return Difference(
        mean=float(x.mean()),
        half_width=float(stats.t.ppf((1 + level) / 2, x.size - 1)) * error,
        p_above=float(stats.t.sf(t, x.size - 1)),
        n=x.size,
        level=level,
    )


def superiority(found: Difference, *, alpha: float = 0.05) -> Verdict:
    """Is the mean above zero? ``consistent`` at level alpha, ``refuted`` if below it, else ``undecided``."""
    if found.p_above <= alpha:
        return Verdict.CONSISTENT
    if 1 - found.p_above <= alpha:
        return Verdict.REFUTED
    return Verdict.UNDECIDED


def p_within(found: Difference, *, margin: float) -> tuple[float, float]:
    """p-values for and against "|mean| < margin".

    For: the larger of two one-sided tests (mean above -margin, mean below margin). Against: two-sided, that
    the mean lies outside the margin.
    """
    from scipy import stats

    if not margin > 0:
        raise input_error(got=f"margin={margin}", rule="a margin is positive", do="state one beforehand")
    if math.isnan(found.mean):
        return 1.0, 1.0
    if math.isinf(found.mean):  # every seed diverged in one arm: a sign test is all there is
        return 1.0, min(1.0, 2 * 0.5**found.n)
    if found.half_width == 0.0:
        return (0.0, 1.0) if abs(found.mean) < margin else (1.0, 0.0)
    error = found.half_width / float(stats.t.ppf((1 + found.level) / 2, found.n - 1))
    upper, lower = (margin - found.mean) / error, (margin + found.mean) / error
    inside = max(float(stats.t.sf(upper, found.n - 1)), float(stats.t.sf(lower, found.n - 1)))
    outside = min(1.0, 2 * float(stats.t.cdf(min(upper, lower), found.n - 1)))
    return inside, outside


def equivalence(found: Difference, *, margin: float, alpha: float = 0.05) -> Verdict:
    """Two one-sided tests of "|mean| < margin"; ``refuted`` where the interval lies outside the margin."""
    inside, outside = p_within(found, margin=margin)
    if inside <= alpha:
        return Verdict.CONSISTENT
    return Verdict.REFUTED if outside <= alpha else Verdict.UNDECIDED


def holm(p_values: Mapping[str, float], *, alpha: float = 0.05) -> dict[str, float]:
    """Holm's step-down levels: the level at which each hypothesis is to be tested, family-wise alpha."""
    ordered = sorted(p_values, key=lambda name: p_values[name])
    levels, stopped = {}, False
    for i, name in enumerate(ordered):
        level = alpha / (len(ordered) - i)
        levels[name] = 0.0 if stopped else level
        stopped = stopped or p_values[name] > level
    return levels


def leave_one_out(grid: Mapping[float, Sequence[float]]) -> tuple[list[float], list[float]]:
    """Tuned loss per seed without selecting on the reported score.

    Args:
        grid: learning rate -> loss of each seed (same seeds everywhere).

    Returns:
        For each seed, the loss at the learning rate that is best on average over the *other* seeds; and those
        learning rates.
    """
    rates = sorted(grid)
    table = np.array([list(grid[r]) for r in rates], dtype=float)  # [rates, seeds]
    losses, chosen = [], []
    for seed in range(table.shape[1]):
        others = np.delete(table, seed, axis=1).mean(axis=1)
        best = int(np.argmin(others))
        losses.append(float(table[best, seed]))
        chosen.append(rates[best])
    return losses, chosen
