"""Tokens to a target, critical batch sizes, optimal schedules: closed forms, exact recursions, gradients."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.errors import InputError
from bstheory.problems import cosine_sum, noisy_quadratic
from bstheory.simulation.moments import quadratic_loss, sgd_moments
from bstheory.theory import library
from bstheory.theory.optimal import optimal_batch_schedule, whole_numbers
from bstheory.theory.optimal_quadratic import final_loss, loss_and_gradient, noise_weights, shares

SGD = library.get("sgd_nonconvex_batch_schedule")
CONSTANTS = {"eta": 0.1, "L": 1.0, "sigma_sq": 4.0, "Delta": 2.0}
C1, C2 = 2 * 2.0 / (1.9 * 0.1), 0.1 * 4.0 / 1.9


def test_tokens_to_is_the_first_step_that_reaches_the_target() -> None:
    found = SGD.tokens_to(0.05, constants=CONSTANTS, batch_size=8)
    exact = C1 * 8 / (0.05 * 8 - C2)
    assert found.steps == int(np.ceil(exact))
    assert found.tokens == 8 * found.steps and found.value <= 0.05
    with pytest.raises(InputError, match=r"is still 0\.0526"):
        SGD.tokens_to(0.05, constants=CONSTANTS, batch_size=4)


def test_critical_batch_size_is_that_of_the_calculus() -> None:
    closed = library.get("critical_batch_sfo").evaluate(constants={"C1": C1, "C2": C2, "eps": 0.05})
    found = SGD.critical_batch_size(0.05, constants=CONSTANTS)
    assert found.batch_size in (8, 9) and 8 <= closed.parts["critical_batch_size"] <= 9
    assert closed.value <= found.tokens <= 1.01 * closed.value


def test_a_cost_per_step_moves_the_critical_batch_up() -> None:
    cheap, dear = (SGD.critical_batch_size(0.05, constants=CONSTANTS, step_cost=c) for c in (0.0, 100.0))
    assert dear.batch_size > cheap.batch_size
    # K(b) (b + s) with K = C1 b/(e b - C2) is least where e b^2 - 2 C2 b - C2 s = 0.
    best = (C2 + np.sqrt(C2**2 + 0.05 * C2 * 100)) / 0.05
    assert dear.batch_size == pytest.approx(best, rel=0.1)
    with pytest.raises(InputError, match="no batch size up to 4"):
        SGD.critical_batch_size(0.05, constants=CONSTANTS, max_batch_size=4, max_steps=2**12)


def test_bound_without_a_reason_for_a_schedule_gets_even_batches() -> None:
    """sum 1/b_k is least for equal batches, part constant_batch_is_best of sgd_schedule_families."""
    found = optimal_batch_schedule(SGD, 10_000, step_cost=50, constants=CONSTANTS)
    assert found.batch_size.max() - found.batch_size.min() <= 1
    assert found.value <= found.constant_value
    assert found.cost <= 10_000
    # C1/K + C2 K/(D - 50 K) over K.
    count = np.arange(1, 196)
    assert found.relaxed_value == pytest.approx((C1 / count + C2 / (10_000 / count - 50)).min(), rel=1e-3)


def test_bound_with_a_reason_for_a_schedule_gets_one() -> None:
    """Strongly convex: late noise counts more, so batches grow."""
    bound = library.get("sgd_strongly_convex")
    constants = {"eta": 0.2, "L": 1.0, "mu": 0.2, "sigma_sq": 9.0, "Delta": 5.0, "F_star": 0.0}
    found = optimal_batch_schedule(bound, 4000, step_cost=10, constants=constants)
    assert found.value < 0.95 * found.constant_value
    assert found.batch_size[-1] > 2 * found.batch_size[0]
    again = bound.evaluate(constants=constants, schedule=found.batch_size)
    assert again.value == pytest.approx(found.value, rel=1e-12)


PROBLEM = noisy_quadratic(1 / np.arange(1, 9), 1.0, x0=3.0)
H, C, M0 = 1 / np.arange(1.0, 9.0), np.ones(8), np.full(8, 9.0)


def test_gradient_of_the_recursion_is_its_difference_quotient() -> None:
    rng = np.random.default_rng(0)
    eta, B = rng.uniform(0.1, 1.5, size=7), rng.uniform(1, 9, size=7)
    value, by_eta, by_B = loss_and_gradient(H, C, M0, eta, B)
    assert value == pytest.approx(final_loss(H, C, M0, eta, B), rel=1e-12)
    for k in range(7):
        step = 1e-6 * np.eye(7)[k]
        slope = (final_loss(H, C, M0, eta + step, B) - final_loss(H, C, M0, eta - step, B)) / 2e-6
        assert by_eta[k] == pytest.approx(slope, rel=1e-5, abs=1e-8)
        slope = (final_loss(H, C, M0, eta, B + step) - final_loss(H, C, M0, eta, B - step)) / 2e-6
        assert by_B[k] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_final_loss_is_the_simulation_s() -> None:
    eta, B = np.full(20, 0.3), np.arange(1, 21)
    path = sgd_moments(H, C, M0, learning_rate=eta, batch_size=B)
    assert final_loss(H, C, M0, eta, B) == pytest.approx(quadratic_loss(H, path[-1]), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_optimal(seed: int) -> None:
    """No exchange of tokens between two steps lowers sum G/B, and the floor of one sample holds."""
    rng = np.random.default_rng(seed)
    G = rng.uniform(0, 1, size=9) ** 6
    B = shares(G, 40.0)
    assert B.sum() == pytest.approx(40.0) and B.min() >= 1
    for _ in range(200):
        i, j = rng.integers(0, 9, size=2)
        moved = B.copy()
        moved[i] += 1e-3
        moved[j] -= 1e-3
        if moved.min() >= 1:
            assert (G / moved).sum() >= (G / B).sum() * (1 - 1e-12)


def test_schedule_at_a_given_rate_grows_and_wins() -> None:
    found = optimal_batch_schedule(PROBLEM, 2000, step_cost=4, learning_rate=0.3)
    assert np.all(np.diff(found.batch_size) >= 0) and found.batch_size[-1] > 5 * found.batch_size[0]
    assert found.value < 0.8 * found.constant_value
    assert found.cost <= 2000 and found.batch_size.sum() + 4 * len(found.batch_size) == found.cost
    weights = noise_weights(H, C, found.learning_rate)
    ratio = found.batch_size[-20:] / np.sqrt(weights[-20:])  # above the floor, B is proportional to sqrt(G)
    assert ratio.max() < 1.15 * ratio.min()


def test_schedule_with_free_rates_is_better_still() -> None:
    given = optimal_batch_schedule(PROBLEM, 500, step_cost=4, learning_rate=0.3)
    free = optimal_batch_schedule(PROBLEM, 500, step_cost=4)
    assert free.value < given.value
    assert free.learning_rate.max() < 2 / H.max()
    exact = final_loss(H, C, M0, free.learning_rate, free.batch_size)
    assert free.value == pytest.approx(exact, rel=1e-12)


def test_without_a_cost_per_step_many_steps_win() -> None:
    """Two half-steps have less noise than one step, so nothing is gained by few large steps."""
    free = optimal_batch_schedule(PROBLEM, 120)
    few = optimal_batch_schedule(PROBLEM, 120, steps=10)
    assert len(free.batch_size) > 40 and free.value < few.value
    eta, h = 0.5, 1.0
    whole, halves = eta**2 / 2, (eta / 2) ** 2 * (1 + (1 - eta * h / 2) ** 2)  # batches 2 and 1, 1
    assert halves / whole == pytest.approx(1 - eta * h / 2 + (eta * h) ** 2 / 8, rel=1e-12)


def test_rounding_keeps_the_sum() -> None:
    assert whole_numbers(np.array([1.0, 2.5, 3.5, 1.0])).tolist() == [1, 3, 3, 1]
    assert whole_numbers(np.array([1.2, 1.3, 1.4])).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 0.5}, "one step costs at least"),
        ({"budget": 10, "step_cost": -1.0}, "at least 0 tokens"),
        ({"budget": 10, "steps": 11}, "pays for 1 to 10 steps"),
        ({"budget": 10, "learning_rate": 2.5}, "stable below"),
    ],
)
def test_bad_arguments(arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        optimal_batch_schedule(PROBLEM, **arguments)


def test_other_subjects_are_refused() -> None:
    with pytest.raises(InputError, match="noisy quadratics"):
        optimal_batch_schedule(cosine_sum(2, 0.1), 10)
    with pytest.raises(InputError, match="from constants"):
        optimal_batch_schedule(SGD, 10, constants=CONSTANTS, learning_rate=0.1)
    with pytest.raises(InputError, match="needs one number"):
        SGD.tokens_to(0.05, constants={**CONSTANTS, "L": np.array([1.0, 2.0])})
