"""Derivation, damage, and each family's bound against its exact sum."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.checking import check
from bstheory.errors import InputError
from bstheory.theory.theorems.sgd_schedule_families import BOUND
from tests.theory.damage import assert_damage_is_noticed

BASE = {"M": 6, "K_min": 10, "K_max": 10, "eta_0": 0.1, "b_0": 8.0, "growth": 2.0, "gamma": 1.2}


def test_proved_and_damage_noticed() -> None:
    certificate = check(BOUND)
    assert certificate.verdict.word == BOUND.declared == "proved", certificate.reason
    assert_damage_is_noticed(dict(certificate.evidence))


def test_value_is_the_statement() -> None:
    two = BOUND.evaluate(constants={**BASE, "family": 2, "K_max": 13}).value
    assert two == pytest.approx(0.1 * 13 / 10 * 2 / (1 * 8 * 6), rel=1e-12)
    three = BOUND.evaluate(constants={**BASE, "family": 3, "K_max": 13}).value
    stated = 0.1 * 13 / (8 * 10) * 0.2 / ((1 - 1.44 / 2) * (1.2**6 - 1))
    assert three == pytest.approx(stated, rel=1e-12)
    one = BOUND.evaluate(constants={**BASE, "family": 1}).value
    assert one == pytest.approx(0.1 / 8 * (1 + np.log(60)) / (2 * (np.sqrt(61) - 1)), rel=1e-12)


@pytest.mark.parametrize("family", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(6))
def test_above_the_exact_sum(family: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    K, M = int(rng.integers(1, 20)), int(rng.integers(2, 12))
    growth = rng.uniform(1.2, 4)
    constants = {
        "family": family, "M": M, "K_min": K, "K_max": K,
        "eta_0": rng.uniform(0.01, 1), "b_0": rng.uniform(1, 9),
        "growth": growth, "gamma": rng.uniform(1.01, 0.99 * growth**0.5), "warmup": int(rng.integers(1, M)),
    }  # fmt: skip
    found = BOUND.evaluate(constants=constants)
    assert found.parts["exact"] <= found.value * (1 + 1e-12)


@pytest.mark.parametrize("family", [2, 3, 4])
def test_above_uneven_phases(family: int) -> None:
    """The worst order of phase lengths between K_min and K_max, by enumeration."""
    import itertools

    constants = {**BASE, "family": family, "M": 5, "K_min": 3, "K_max": 7, "warmup": 2}
    last = {2: 0, 3: 4, 4: 1}[family]  # the phase from which the rate is constant
    rates = 0.1 * 1.2 ** np.minimum(np.arange(5), last)
    batches = 8.0 * 2.0 ** np.arange(5)
    worst = max(
        (np.array(K) * rates**2 / batches).sum() / (np.array(K) * rates).sum()
        for K in itertools.product((3, 7), repeat=5)
    )
    assert worst <= BOUND.evaluate(constants=constants).value


def test_growing_batch_bound_is_tight_for_long_runs() -> None:
    found = BOUND.evaluate(constants={**BASE, "family": 2, "M": 40})
    assert found.parts["exact"] == pytest.approx(found.value, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_constant_batch_has_least_noise(seed: int) -> None:
    b = np.random.default_rng(seed).integers(1, 40, size=12)
    assert (1 / b).sum() >= 12**2 / b.sum()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"growth": 1.0}, "growth > 1"),
        ({"family": 3, "gamma": 1.6}, r"gamma\^2 < growth"),
        ({"K_min": 12}, "K_min is at most K_max"),
        ({"family": 4, "warmup": 6}, "some phases warm up"),
        ({"M": 2.5}, "whole number"),
        ({"family": 5}, "is 1, 2, 3 or 4"),
    ],
)
def test_outside_the_hypotheses(change, message) -> None:
    with pytest.raises(InputError, match=message):
        BOUND.evaluate(constants={**BASE, "family": 2} | change)
