"""Derivation, damage, the three forms, and the bound against exact second moments."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.checking import check
from bstheory.errors import InputError
from bstheory.simulation.moments import sgd_moments
from bstheory.theory.theorems.sgd_strongly_convex import BOUND
from tests.theory.damage import assert_damage_is_noticed
from tests.theory.theorems.quadratic import draw_quadratic, exact

CONSTANTS = {"L": 2.0, "mu": 0.5, "sigma_sq": 3.0, "Delta": 4.0, "F_star": -1.0}


def test_proved_and_damage_noticed() -> None:
    certificate = check(BOUND)
    assert certificate.verdict.word == BOUND.declared == "proved", certificate.reason
    assert_damage_is_noticed(dict(certificate.evidence))


def test_constant_batch_is_the_closed_form() -> None:
    eta, b, steps = 0.3, 4, 17
    found = BOUND.evaluate(constants={"eta": eta, **CONSTANTS}, schedule=[b] * steps)
    floor = eta * 2.0 * 3.0 / (2 * 0.5 * b)
    stated = floor + (1 - eta * 0.5) ** steps * (4.0 - floor)
    assert found.parts["floor"] == pytest.approx(floor, rel=1e-12)
    assert found.parts["constant"] == pytest.approx(stated, rel=1e-12)
    assert found.value == pytest.approx(-1.0 + stated, rel=1e-12)


def test_geometric_batches_keep_a_linear_rate() -> None:
    eta, growth, steps = 0.3, 2, 12
    batches = growth ** np.arange(steps)
    found = BOUND.evaluate(constants={"eta": eta, **CONSTANTS}, schedule=batches)
    omega, rho = max(eta * 2.0 * 3.0 / 0.5, 4.0), max(1 - eta * 0.5 / 2, 1 / growth)
    assert found.parts["geometric"] == pytest.approx(omega * rho**steps, rel=1e-12)
    assert found.parts["gap"] <= found.parts["geometric"]


@pytest.mark.parametrize("seed", range(20))
def test_above_exact_moments(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = draw_quadratic(rng)
    h = problem["h"]
    num_steps = int(rng.integers(1, 60))
    eta = rng.uniform(0.01, 1 / h.max(), size=num_steps)
    b = rng.integers(1, 50, size=num_steps)
    measured = exact(problem, eta, b)["loss"]
    constants = {
        "eta": eta, "L": h.max(), "mu": h.min(), "sigma_sq": problem["c"].sum(), "Delta": measured[0]
    }  # fmt: skip
    bound = BOUND.evaluate(constants={**constants, "F_star": 0.0}, schedule=b)
    assert measured[-1] <= bound.value * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_above_exact_moments_with_growing_noise(seed: int) -> None:
    """Var g_i = (c_i + s x_i^2)/b: M_G = 1 + max s/h_i^2."""
    rng = np.random.default_rng(seed)
    problem, s = draw_quadratic(rng), float(rng.uniform(0.1, 2.0))
    h = problem["h"]
    M_G = 1 + (s / h**2).max()
    b = rng.integers(1, 9, size=30)
    eta = np.full(30, 0.9 / (h.max() * M_G))
    path = sgd_moments(**problem, learning_rate=eta, batch_size=b, s=s)
    loss = (h * path).sum(axis=-1) / 2
    constants = {
        "eta": eta, "L": h.max(), "mu": h.min(), "sigma_sq": problem["c"].sum(), "Delta": loss[0],
        "F_star": 0.0, "M_G": M_G,
    }  # fmt: skip
    assert loss[-1] <= BOUND.evaluate(constants=constants, schedule=b).value * (1 + 1e-12)


def test_recursion_is_tight_for_equal_curvatures_at_the_largest_rate() -> None:
    """h = mu = L = 1/eta: a step ends at eta^2 c h/(2 b), exactly the noise term."""
    problem = {"h": np.array([2.0]), "c": np.array([3.0]), "m0": np.array([1.0])}
    measured = exact(problem, np.array([0.5]), np.array([4]))["loss"]
    constants = {"eta": 0.5, "L": 2.0, "mu": 2.0, "sigma_sq": 3.0, "Delta": measured[0], "F_star": 0.0}
    assert BOUND.evaluate(constants=constants, schedule=[4]).value == pytest.approx(measured[1], rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eta": 0.6}, "step_size"),
        ({"mu": 3.0}, "mu is at most L"),
        ({"M_G": 0.5}, "M_G is at least mu_a"),
        ({"sigma_sq": -1.0}, "must be at least 0"),
    ],
)
def test_outside_the_hypotheses(change, message) -> None:
    with pytest.raises(InputError, match=message):
        BOUND.evaluate(constants={"eta": 0.1, **CONSTANTS} | change, schedule=[1, 2])
