"""Derivation, damage, value, and the bound against exact second moments."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.checking import check
from bstheory.errors import InputError
from bstheory.theory.theorems.sgd_nonconvex_batch_schedule import BOUND
from tests.theory.damage import assert_damage_is_noticed
from tests.theory.theorems.quadratic import draw_quadratic, exact


def test_proved_and_damage_noticed() -> None:
    certificate = check(BOUND)
    assert certificate.verdict.word == BOUND.declared == "proved", certificate.reason
    assert_damage_is_noticed(dict(certificate.evidence))


def test_value_is_the_statement() -> None:
    L, sigma, delta = 1.5, 2.0, 3.0
    eta, b = np.array([0.1, 0.4, 0.2]), np.array([1, 2, 8])
    room = 2 - L * eta.max()
    stated = 2 * delta / room + L * sigma**2 / room * (eta**2 / b).sum()
    found = BOUND.evaluate(constants={"eta": eta, "L": L, "sigma_sq": sigma**2, "Delta": delta}, schedule=b)
    assert found.value == pytest.approx(stated, rel=1e-12)
    assert found.parts["weighted_mean"] == pytest.approx(stated / eta.sum(), rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_above_exact_moments(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = draw_quadratic(rng)
    L = problem["h"].max()
    num_steps = int(rng.integers(1, 60))
    eta = rng.uniform(0.01, 1.99 / L, size=num_steps)
    b = rng.integers(1, 50, size=num_steps)
    measured = exact(problem, eta, b)
    seen = (eta * measured["sq_gradient"][:-1]).sum()
    constants = {"eta": eta, "L": L, "sigma_sq": problem["c"].sum(), "Delta": measured["loss"][0]}
    assert seen <= BOUND.evaluate(constants=constants, schedule=b).value * (1 + 1e-12)


def test_reached_in_the_limit() -> None:
    """One coordinate of curvature L, one step from the optimum: nothing is lost but F(x_1) itself.

    From theta_0 = 0 with a small rate, E F(x_1) = L eta^2 c/2, which is the bound's whole noise term.
    """
    problem = {"h": np.array([1.0]), "c": np.array([1.0]), "m0": np.array([0.0])}
    eta = np.full(4000, 0.01)
    measured = exact(problem, eta, np.ones(4000, dtype=int))
    seen = (eta * measured["sq_gradient"][:-1]).sum()
    bound = BOUND.evaluate(
        constants={"eta": eta, "L": 1.0, "sigma_sq": 1.0, "Delta": 0.0}, schedule=np.ones(4000, dtype=int)
    )
    assert 0.97 * bound.value < seen < bound.value


def test_vectorised_over_constants() -> None:
    constants = {"eta": 0.1, "L": np.array([1.0, 2.0]), "sigma_sq": 1.0, "Delta": 1.0}
    both = BOUND.evaluate(constants=constants, schedule=[1, 2, 3]).value
    single = [BOUND.evaluate(constants={**constants, "L": L}, schedule=[1, 2, 3]).value for L in (1.0, 2.0)]
    assert both == pytest.approx(single)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eta": 1.0}, "step_size"),
        ({"eta": -0.1}, "must be positive"),
        ({"sigma_sq": -1.0}, "must be at least 0"),
        ({"eta": np.array([0.1, 0.2])}, "one entry for each of the 3 steps"),
    ],
)
def test_outside_the_hypotheses(change, message) -> None:
    constants = {"eta": 0.1, "L": 2.0, "sigma_sq": 1.0, "Delta": 1.0} | change
    with pytest.raises(InputError, match=message):
        BOUND.evaluate(constants=constants, schedule=[1, 2, 3])
