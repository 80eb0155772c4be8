"""The confidence limits: coverage for awkward laws, what a wrong one would look like, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.comparison.compare import _limits
from bstheory.comparison.limits import mean_limits
from bstheory.errors import InputError

LAWS = {
    "rare event": (lambda rng, n: (rng.random(n) < 0.02).astype(float), 0.02),
    "coin": (lambda rng, n: (rng.random(n) < 0.5).astype(float), 0.5),
    "narrow": (lambda rng, n: 0.3 + 0.01 * (rng.random(n) - 0.5), 0.3),
    "nearly full": (lambda rng, n: 1.0 - (rng.random(n) < 0.02), 0.98),
}
REPEATS = 500


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [8, 64])
def test_coverage_is_at_least_as_stated(law: str, n: int) -> None:
    draw, mean = LAWS[law]
    rng = np.random.default_rng(7)
    limits = np.array([mean_limits(draw(rng, n), upper=1.0, error=0.1) for _ in range(REPEATS)])
    # 0.1 plus four standard errors of a frequency over REPEATS repetitions.
    allowed = 0.1 + 4 * np.sqrt(0.1 * 0.9 / REPEATS)
    assert np.mean(limits[:, 0] > mean) <= allowed
    assert np.mean(limits[:, 1] < mean) <= allowed


def test_the_normal_approximation_fails_where_this_limit_holds() -> None:
    # Eight draws of a rare event: all zero with probability 0.85, so a normal interval is the point 0.
    rng = np.random.default_rng(3)
    draw, mean = LAWS["rare event"]
    samples = [draw(rng, 8) for _ in range(400)]
    normal_upper = np.array([x.mean() + 1.2816 * x.std(ddof=1) / np.sqrt(8) for x in samples])
    exact_upper = np.array([mean_limits(x, upper=1.0, error=0.1)[1] for x in samples])
    assert np.mean(normal_upper < mean) > 0.5
    assert np.mean(exact_upper < mean) <= 0.1


def test_the_limits_close_in_on_the_mean() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for n in (32, 256, 2048):
        low, high = mean_limits(rng.beta(30, 70, n), upper=1.0, error=0.01)
        assert low < 0.3 < high
        widths.append(high - low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_units_scale() -> None:
    x = np.random.default_rng(1).random(50)
    low, high = mean_limits(x, upper=1.0, error=0.05)
    assert np.allclose(mean_limits(8.0 * x, upper=8.0, error=0.05), (8 * low, 8 * high), rtol=1e-12)


@pytest.mark.parametrize(
    ("values", "upper", "error", "message"),
    [
        ([0.2, 1.2], 1.0, 0.1, "outside"),
        ([-0.1], 1.0, 0.1, "outside"),
        ([np.nan], 1.0, 0.1, "outside"),
        ([], 1.0, 0.1, "nonempty"),
        ([0.5], 1.0, 0.0, "error"),
        ([0.5], 1.0, 1.0, "error"),
    ],
)
def test_refusals(values: list[float], upper: float, error: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mean_limits(np.array(values), upper=upper, error=error)


def test_all_records_hold_together_at_the_stated_level() -> None:
    """Twenty records: each at the level of all would be wrong somewhere in 1 - 0.9^20 = 88 % of the runs."""
    rng = np.random.default_rng(11)
    repeats, records, level = 400, 20, 0.9
    wrong = 0
    for _ in range(repeats):
        samples = rng.normal(size=(8, records))
        lower, upper, _ = _limits(samples, np.full(records, np.inf), False, False, level)
        wrong += bool(np.any((lower > 0) | (upper < 0)))
    assert wrong / repeats <= 1 - level + 4 * np.sqrt(level * (1 - level) / repeats)
    assert wrong > 0  # the level is used up, so the test could fail
