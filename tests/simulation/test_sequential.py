"""The betting test: its level holds for laws it knows nothing of, and it has power."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bstheory.errors import InputError
from bstheory.simulation.sequential import mean_at_most_one, share

LAWS = {
    "exponential": lambda rng, n: rng.exponential(size=n),
    "two_point": lambda rng, n: np.where(rng.random(n) < 0.1, 10.0, 0.0),
    "heavy": lambda rng, n: rng.pareto(1.5, size=n) * 0.5,  # mean 1, infinite variance
    "constant": lambda rng, n: np.ones(n),
}


@pytest.mark.parametrize("law", sorted(LAWS))
def test_false_alarms_stay_below_the_level(law: str) -> None:
    rng, alpha, trials = np.random.default_rng(7), 0.1, 400
    alarms = 0
    for _ in range(trials):
        samples = LAWS[law](rng, 1000)
        alarms += mean_at_most_one(
            lambda a, b, samples=samples: samples[a:b], alpha=alpha, max_samples=1000
        ).rejected
    # the number of alarms is at most Binomial(trials, alpha); its 1 - 1e-4 quantile is the limit
    assert alarms <= stats.binom.ppf(1 - 1e-4, trials, alpha)


@pytest.mark.parametrize("law", ["exponential", "two_point", "constant"])
def test_a_mean_of_1_2_is_found(law: str) -> None:
    rng, found = np.random.default_rng(8), 0
    for _ in range(20):
        samples = 1.2 * LAWS[law](rng, 20_000)
        found += mean_at_most_one(
            lambda a, b, samples=samples: samples[a:b], alpha=1e-3, max_samples=20_000
        ).rejected
    assert found >= 19


def test_levels_of_all_candidates_sum_to_alpha() -> None:
    assert sum(share(0.05, j) for j in range(1, 100_000)) == pytest.approx(0.05, rel=1e-4)


def test_an_infinite_sample_rejects() -> None:
    assert mean_at_most_one(lambda a, b: np.full(b - a, np.inf), alpha=1e-6, max_samples=10).rejected


def test_an_infinite_sample_on_which_nothing_was_staked_wins_nothing() -> None:
    samples = np.array([0.0] * 10 + [np.inf])  # ten zeros: the stake is 0 by then
    assert not mean_at_most_one(lambda a, b: samples[a:b], alpha=1e-3, max_samples=11).rejected


def test_result_does_not_depend_on_blocks() -> None:
    samples = np.random.default_rng(0).exponential(1.1, size=3000)
    one = mean_at_most_one(lambda a, b: samples[a:b], alpha=1e-3, max_samples=3000, first=3000)
    many = mean_at_most_one(lambda a, b: samples[a:b], alpha=1e-3, max_samples=3000, first=7)
    assert one == many


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"alpha": 0.0, "max_samples": 10}, "alpha=0.0"),
        ({"alpha": 0.1, "max_samples": 1}, "at least 2"),
    ],
)
def test_invalid_arguments(arguments, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mean_at_most_one(lambda a, b: np.ones(b - a), **arguments)


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_samples_outside_the_range_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="nonnegative"):
        mean_at_most_one(lambda a, b: np.full(b - a, value), alpha=0.1, max_samples=10)


@pytest.mark.parametrize("quiet", [0, 40])
def test_huge_and_infinite_samples_end_in_a_result(quiet: int) -> None:
    """Samples whose squares are beyond float64 neither raise nor lose the violation."""
    for value in (1e200, np.inf):
        stream = np.r_[np.ones(quiet), np.full(1000, value)]
        found = mean_at_most_one(lambda a, b, s=stream: s[a:b], alpha=0.01, max_samples=500)
        assert found.rejected
        assert found.mean > 1e190 and found.standard_error == np.inf
