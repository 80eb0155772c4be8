"""Derivation, damage, and the rate on quadratics with noise along and across the gradient."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.checking import check
from bstheory.errors import InputError
from bstheory.theory.theorems.sgd_inner_product_test import BOUND
from tests.theory.damage import assert_damage_is_noticed

CONSTANTS = {"L": 2.0, "mu": 0.5, "Delta": 3.0, "F_star": 0.0, "theta": 0.9, "nu": 5.84}


def test_proved_and_damage_noticed() -> None:
    certificate = check(BOUND)
    assert certificate.verdict.word == BOUND.declared == "proved", certificate.reason
    assert_damage_is_noticed(dict(certificate.evidence))


def test_value_is_the_statement() -> None:
    limit = 1 / ((1 + 0.9**2 + 5.84**2) * 2.0)
    found = BOUND.evaluate(constants={"eta": limit, **CONSTANTS}, schedule=[1] * 7)
    assert found.value == pytest.approx(3.0 * (1 - 0.5 * limit) ** 7, rel=1e-12)
    assert found.parts["largest_learning_rate"] == pytest.approx(limit, rel=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_above_exact_tree(seed: int) -> None:
    """Two coordinates, g = (1 + theta s) G + nu t G_perp, independent signs s, t: all outcomes."""
    rng = np.random.default_rng(seed)
    theta, nu = rng.uniform(0, 1.5, size=2)
    h = rng.uniform(0.3, 2.0, size=2)
    eta = rng.uniform(0.1, 1.0, size=4) / ((1 + theta**2 + nu**2) * h.max())
    states = rng.normal(size=(1, 2))
    start = (h * states[0] ** 2).sum() / 2
    weighted = 0.0
    for rate in eta:
        gradient = h * states
        weighted += rate * (gradient**2).sum(axis=-1).mean()
        across = np.stack([-gradient[:, 1], gradient[:, 0]], axis=-1)
        states = np.concatenate(
            [states - rate * ((1 + theta * s) * gradient + nu * t * across) for s in (-1, 1) for t in (-1, 1)]
        )
    constants = {
        "L": h.max(), "mu": h.min(), "Delta": start, "F_star": 0.0, "theta": theta, "nu": nu, "eta": eta
    }  # fmt: skip
    bound = BOUND.evaluate(constants=constants, schedule=[1] * 4)
    assert (h * states**2).sum(axis=-1).mean() / 2 <= bound.value * (1 + 1e-12)
    assert weighted <= bound.parts["weighted_sum_bound"] * (1 + 1e-12)


@pytest.mark.parametrize(
    ("change", "message"), [({"eta": 0.5}, "step_size"), ({"nu": -1.0}, "must be at least 0")]
)
def test_outside_the_hypotheses(change, message) -> None:
    with pytest.raises(InputError, match=message):
        BOUND.evaluate(constants={"eta": 0.01, **CONSTANTS} | change, schedule=[1, 2])
