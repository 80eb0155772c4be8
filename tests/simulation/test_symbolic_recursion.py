"""The kernels against the textbook recursions, written as symbols and evaluated with 40 digits.

Nothing here uses the package's coefficients: betas, bias corrections and rates are spelt out as in the papers.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy as sp

from bstheory.problems import noisy_quadratic
from bstheory.simulation import SGD, Adam, HeavyBall, RMSProp
from tests.simulation.test_reference import BATCHES, DIM, STEPS, TOLERANCE, kernel_path

x, m, v, h, sigma, z, B, prod1, prod2 = sp.symbols("x m v h sigma z B prod1 prod2")
g = h * x + sigma / sp.sqrt(B) * z  # gradient of h x^2 / 2, mean of B samples
R = sp.Rational


def half_life(tokens: sp.Expr) -> sp.Expr:
    return 2 ** (-B / tokens)


def adam(rate: sp.Expr, beta1: sp.Expr, beta2: sp.Expr, eps: sp.Expr, *, corrected: bool,
         inside: bool, decay: float | sp.Expr = 0) -> dict[str, sp.Expr]:  # fmt: skip
    """(x, m, v, product of beta1, product of beta2) after a step; Kingma and Ba 2015, exact normaliser."""
    m1, v1 = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    p1, p2 = prod1 * beta1, prod2 * beta2
    m_hat, v_hat = (m1 / (1 - p1), v1 / (1 - p2)) if corrected else (m1, v1)
    root = sp.sqrt(v_hat + eps) if inside else sp.sqrt(v_hat) + eps
    return {"x": (1 - rate * decay) * x - rate * m_hat / root, "m": m1, "v": v1, "prod1": p1, "prod2": p2}


CASES = {
    "sgd": (SGD(learning_rate=0.1, learning_rate_rule="sqrt_batch", weight_decay=0.02),
            {"x": (1 - sp.sqrt(B) / 10 * R(2, 100)) * x - sp.sqrt(B) / 10 * g}),
    "heavy ball": (HeavyBall(learning_rate=0.05, beta1=0.9),
                   {"x": x - (R(9, 10) * m + g) / 20, "m": R(9, 10) * m + g}),
    "nesterov": (HeavyBall(learning_rate=0.05, beta1=0.8, nesterov=True),
                 {"x": x - (g + R(4, 5) * (R(4, 5) * m + g)) / 20, "m": R(4, 5) * m + g}),
    "flagship": (RMSProp(learning_rate=0.3, half_life=300.0, eps=1e-3, learning_rate_rule="sqrt_one_minus_beta2"),
                 adam(R(3, 10) * sp.sqrt(1 - half_life(R(300))), R(0), half_life(R(300)), R(1, 1000),
                      corrected=False, inside=True)),
    "adamw": (Adam(learning_rate=0.02, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1),
              adam(R(2, 100), R(9, 10), R(95, 100), R(1, 10**8), decay=R(1, 10), corrected=True, inside=False)),
    "half-lives": (Adam(learning_rate=0.02, half_life1=10.0, half_life=200.0, eps=1e-3, eps_placement="inside"),
                   adam(R(2, 100), half_life(R(10)), half_life(R(200)), R(1, 1000), corrected=True, inside=True)),
}  # fmt: skip
STATE = (x, m, v, prod1, prod2)
SOME = range(0, DIM, 5)  # coordinates that are followed with 40 digits
NOISE = 0.3


def symbolic_path(update: dict[str, sp.Expr], start, curvature, scale, noise) -> list[list[float]]:
    """State after STEPS steps, one row a coordinate, rounded once at the end."""
    step = sp.lambdify([*STATE, h, sigma, z, B], [update.get(s.name, s) for s in STATE], "mpmath")
    rows = []
    with mpmath.workdps(40):
        for i in SOME:
            state = [mpmath.mpf(float(start[i])), mpmath.mpf(0), mpmath.mpf(0), mpmath.mpf(1), mpmath.mpf(1)]
            fixed = (mpmath.mpf(float(curvature[i])), mpmath.mpf(float(scale[i])))
            for k in range(STEPS):
                state = step(*state, *fixed, mpmath.mpf(float(noise[k, i])), mpmath.mpf(int(BATCHES[k])))
            rows.append([float(value) for value in state[:3]])
    return rows


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_the_symbolic_recursion(name: str) -> None:
    optimizer, update = CASES[name]
    curvature = 1 / np.arange(1, DIM + 1)
    problem = noisy_quadratic(curvature, NOISE, x0=np.linspace(-1, 2, DIM))
    noise = np.random.default_rng(7).normal(size=(STEPS, DIM))
    exact = np.array(symbolic_path(update, problem.x0, curvature, np.full(DIM, NOISE), noise))
    found = kernel_path(problem, optimizer, noise, want_sums=False)
    np.testing.assert_allclose(found[0][SOME], exact[:, 0], rtol=TOLERANCE, atol=TOLERANCE)
    if "v" in update:
        np.testing.assert_allclose(found[2][SOME], exact[:, 2], rtol=TOLERANCE, atol=TOLERANCE)


def test_the_comparison_sees_a_wrong_normaliser() -> None:
    """Adam normalised by 1 - beta^k of the current beta, as stock code does, is told apart at once."""
    _, update = CASES["half-lives"]
    stock = Adam(learning_rate=0.02, half_life1=10.0, half_life=200.0, eps=1e-3, eps_placement="inside",
                 bias_correction="stock")  # fmt: skip
    problem = noisy_quadratic(1 / np.arange(1, DIM + 1), NOISE, x0=np.linspace(-1, 2, DIM))
    noise = np.random.default_rng(7).normal(size=(STEPS, DIM))
    exact = np.array(symbolic_path(update, problem.x0, 1 / np.arange(1, DIM + 1), np.full(DIM, NOISE), noise))
    assert np.abs(kernel_path(problem, stock, noise, want_sums=False)[0][SOME] - exact[:, 0]).max() > 1e-6
