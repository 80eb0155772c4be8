"""The best batch-size schedule of SGD on a noisy quadratic, by the exact recursion and its adjoint.

One coordinate: M_{k+1} = (1 - eta_k h)^2 M_k + eta_k^2 c/B_k, final loss sum_i h_i M_{K,i}/2.

At fixed rates the loss is sum_k G_k/B_k plus a constant, where
G_k = (1/2) sum_i h_i c_i eta_k^2 prod_{j>k} (1 - eta_j h_i)^2, so under a token budget B_k is proportional to
sqrt(G_k), with a floor of one sample, exactly by the Lagrange condition. Free rates are found by L-BFGS, the
batches being the best ones for the rates, with the gradient of the adjoint recursion

    a_K = h/2,    a_k = a_{k+1} (1 - eta_k h)^2,
    dF/dB_k = -sum_i a_{k+1} eta_k^2 c/B_k^2,
    dF/deta_k = sum_i a_{k+1} (2 eta_k c/B_k - 2 h (1 - eta_k h) M_k).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.theory.optimal import OptimalSchedule, best_count, whole_numbers

Array = np.ndarray
RATES = np.geomspace(2e-3, 0.97, 20)  # constant rates tried, as fractions of 2/max h


def optimal_for_quadratic(
    problem: Any, budget: float, *, step_cost: float, learning_rate: Any, steps: int | None, max_steps: int
) -> OptimalSchedule:
    """See ``optimal.optimal_batch_schedule``."""
    if problem.params.get("kernel") != "quadratic" or "curvature" not in problem.params:
        raise input_error(
            got=f"problem {problem.name}",
            rule="the exact recursion is known for noisy quadratics",
            do="pass problems.noisy_quadratic(...), or a bound",
        )
    h = np.asarray(problem.params["curvature"], dtype=float)
    c = np.broadcast_to(np.asarray(problem.params["noise"], dtype=float) ** 2, h.shape)
    m0 = np.asarray(problem.x0, dtype=float) ** 2
    if learning_rate is not None and not 0 < float(learning_rate) < 2 / h.max():
        raise input_error(
            got=f"learning_rate={learning_rate}",
            rule=f"SGD is stable below 2/max curvature = {2 / h.max():.6g}",
            do="lower it",
        )
    most = min(max_steps, int(budget / (1 + step_cost)))
    rates = (2 / h.max()) * RATES if learning_rate is None else [learning_rate]

    def constant(count: int) -> tuple[float, int, float]:
        """Best constant batch and rate: value, whole batch, rate."""
        batch = int(budget / count - step_cost)
        found = [(final_loss(h, c, m0, np.full(count, r), np.full(count, batch)), batch, r) for r in rates]
        return min(found)

    constant_count = steps if steps is not None else best_count(lambda k: constant(k)[0], most)
    constant_value, batch, rate = constant(constant_count)
    # A schedule may like another number of steps than the best constant batch does.
    count = constant_count
    if steps is None:
        count = best_count(lambda k: relaxed_at(h, c, m0, k, budget - k * step_cost, rates)[0], most)
    tokens = budget - count * step_cost
    relaxed_value, eta, B = relaxed_at(h, c, m0, count, tokens, rates)
    method = "batch sizes by the Lagrange condition at the given rate"
    if learning_rate is None:
        largest = 0 if steps is not None else most
        relaxed_value, eta, B = climb(h, c, m0, budget, step_cost, count, largest, rates)
        method = (
            "rates by L-BFGS through the recursion and its adjoint, batch sizes by the Lagrange condition"
        )
    rounded = whole_numbers(B)
    value = final_loss(h, c, m0, eta, rounded)
    if not value < constant_value:
        rounded, eta = np.full(constant_count, batch, dtype=np.int64), np.full(constant_count, rate)
        value, method = constant_value, "the constant batch: nothing is better after rounding"
    return OptimalSchedule(
        batch_size=rounded,
        learning_rate=eta,
        value=value,
        constant_batch_size=batch,
        constant_steps=constant_count,
        constant_value=constant_value,
        relaxed_value=relaxed_value,
        cost=float(rounded.sum() + step_cost * len(rounded)),
        method=method,
    )


def final_loss(h: Array, c: Array, m0: Array, eta: Array, B: Array) -> float:
    """**Exact** E F(x_K)."""
    return float((h * second_moments(h, c, m0, eta, B)[-1]).sum() / 2)


def second_moments(h: Array, c: Array, m0: Array, eta: Array, B: Array) -> Array:
    """**Exact** E theta^2 before each step and after the last, [K+1, d]."""
    keep = (1 - np.multiply.outer(eta, h)) ** 2  # [K, d]
    gain = np.multiply.outer(eta**2 / B, c)
    path = np.empty((len(eta) + 1, len(h)))
    path[0] = m0
    for k in range(len(eta)):
        path[k + 1] = keep[k] * path[k] + gain[k]
    return path


def adjoints(h: Array, eta: Array) -> Array:
    """a_{k+1}, [K, d]: derivative of the final loss in M_{k+1}; it does not depend on the batches."""
    keep = (1 - np.multiply.outer(eta, h)) ** 2
    after = np.vstack([keep[1:], np.ones((1, len(h)))])
    return h / 2 * np.cumprod(after[::-1], axis=0)[::-1]


def noise_weights(h: Array, c: Array, eta: Array) -> Array:
    """G_k [K]: the final loss contains sum_k G_k/B_k."""
    return eta**2 * (adjoints(h, eta) @ c)


def shares(weights: Array, tokens: float) -> Array:
    """B_k >= 1 with sum ``tokens`` that minimise sum_k G_k/B_k: max(1, nu sqrt(G_k)).

    Args:
        weights: G_k >= 0, [K], K <= tokens.
    """
    roots = np.sqrt(np.maximum(weights, 0.0))
    if not roots.any():
        return np.full(len(roots), tokens / len(roots))
    order = np.sort(roots)[::-1]
    above = np.cumsum(order)
    # With the j largest above the floor: nu = (tokens - (K - j))/sum of their roots.
    count = np.arange(1, len(roots) + 1)
    nu = (tokens - (len(roots) - count)) / above
    active = np.flatnonzero(nu * order >= 1.0)
    chosen = nu[active[-1]] if active.size else 0.0
    return np.maximum(1.0, chosen * roots)


def relaxed_at(
    h: Array, c: Array, m0: Array, count: int, tokens: float, rates: Any
) -> tuple[float, Array, Array]:
    """Best batches for each constant rate; the best rate."""
    best: tuple[float, Array, Array] | None = None
    for rate in rates:
        eta = np.full(count, float(rate))
        B = shares(noise_weights(h, c, eta), tokens)
        value = final_loss(h, c, m0, eta, B)
        if best is None or value < best[0]:
            best = (value, eta, B)
    assert best is not None
    return best


def loss_and_gradient(h: Array, c: Array, m0: Array, eta: Array, B: Array) -> tuple[float, Array, Array]:
    """Final loss, its gradient in eta [K] and in B [K], by the adjoint recursion."""
    path, a = second_moments(h, c, m0, eta, B), adjoints(h, eta)
    keep = 1 - np.multiply.outer(eta, h)
    by_eta = (a * (2 * np.multiply.outer(eta / B, c) - 2 * h * keep * path[:-1])).sum(axis=1)
    return float((h * path[-1]).sum() / 2), by_eta, -(eta**2) * (a @ c) / B**2


def climb(
    h: Array, c: Array, m0: Array, budget: float, step_cost: float, count: int, most: int, rates: Any
) -> tuple[float, Array, Array]:
    """Descend at ``count`` steps, then at 1.5 times more (or fewer) for as long as that is better.

    ``most`` below ``count`` keeps the number of steps.
    """

    def at(k: int) -> tuple[float, Array, Array]:
        tokens = budget - k * step_cost
        _, eta, _ = relaxed_at(h, c, m0, k, tokens, rates)
        return descend(h, c, m0, eta, tokens)

    best = at(count)
    if most < count:
        return best
    for factor in (1.5, 1 / 1.5):
        k = count
        while True:
            k = max(1, min(most, round(k * factor)))
            if k == len(best[1]):
                break
            found = at(k)
            if not found[0] < best[0]:
                break
            best = found
    return best


def descend(h: Array, c: Array, m0: Array, eta: Array, tokens: float) -> tuple[float, Array, Array]:
    """L-BFGS over eta = (2/max h) sigmoid(u), with the best batches for each eta.

    Where the batches are optimal, the gradient of the loss in eta is the partial one (envelope theorem).
    """
    from scipy import optimize

    top = 2 / h.max()

    def objective(u: Array) -> tuple[float, Array]:
        rate = top / (1 + np.exp(-u))
        batch = shares(noise_weights(h, c, rate), tokens)
        value, by_eta, _ = loss_and_gradient(h, c, m0, rate, batch)
        # On the logarithm of the loss, whose scale does not change with the budget.
        return math.log(value), by_eta * rate * (1 - rate / top) / value

    found = optimize.minimize(
        objective,
        np.log(eta / (top - eta)),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-30, 30)] * len(eta),
        options={"maxiter": 300},
    )
    rate = top / (1 + np.exp(-found.x))
    return math.exp(found.fun), rate, shares(noise_weights(h, c, rate), tokens)
