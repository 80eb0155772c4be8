"""Statements that were changed and whose reason no theorem's own test shows; see ``docs/catalogue.md``."""

from __future__ import annotations

from fractions import Fraction

import pytest

from bstheory.theory.theorems import adam_norm_test_printed, skewness_bias


@pytest.mark.parametrize("beta1", [Fraction(0), Fraction(1, 2), Fraction(9, 10)])
def test_the_sign_change_depends_on_beta1(beta1: Fraction) -> None:
    """Cov(m, v) summed over the common gradients, against the formula without beta1."""
    beta2, skew, second = Fraction(99, 100), Fraction(3), Fraction(2)
    ratio = beta1 * beta2
    partial = (1 - beta1) * (1 - beta2) * skew * sum(ratio**k for k in range(400))
    constants = {"beta1": float(beta1), "beta2": 0.99, "skew": 3.0, "second": 2.0}
    exact = skewness_bias.BOUND.evaluate(constants=constants).parts["critical_mean"]
    assert exact == pytest.approx(float(partial / (2 * second)), rel=1e-12)
    without = float((1 - beta2) * skew / (2 * second))
    factor = float((1 - ratio) / (1 - beta1))
    assert without / exact == pytest.approx(factor, rel=1e-12)
    assert (beta1 == 0) == (abs(without / exact - 1) < 1e-9)


def test_the_printed_third_term_vanishes_with_sigma() -> None:
    """sigma is free in the analysis; 64 (1 + sigma^2) sigma^2/sigma goes to 0, (1 + tau^2) tau^2/sigma does not."""
    fixed = {"alpha": 1e-3, "beta1": 0.9, "beta2": 0.999, "eta": 0.5, "L": 1.0, "K": 10}
    fixed |= {"v0": [1.0, 1.0], "G1": [1.0, 1.0]}

    def c1(sigma: float, L: float) -> float:
        return float(
            adam_norm_test_printed.BOUND.evaluate(constants=fixed | {"sigma": sigma, "L": L}).parts["c1"]
        )

    def square_in_L(sigma: float) -> float:
        return (c1(sigma, 3.0) - 2 * c1(sigma, 2.0) + c1(sigma, 1.0)) / 2

    small, large = square_in_L(0.1), square_in_L(1.0)
    assert small / large == pytest.approx(0.1 * (1 + 0.01) / 2, rel=1e-6)
    tau = 1 + fixed["eta"] ** 2  # tau^2
    lemma = {s: (1 + tau) * tau / s for s in (0.1, 1.0)}
    assert lemma[0.1] > lemma[1.0] and small < large


def test_the_test_that_is_run_does_not_give_the_test_that_is_analysed() -> None:
    """Noise in a coordinate with little gradient: the scalar test passes, the coordinate-wise one does not.

    Then E g_i^2 <= (1 + eta^2) G_i^2, which the printed proof uses in every coordinate, is false.
    """
    G, noise, eta = (Fraction(1), Fraction(1, 10)), (Fraction(0), Fraction(1, 5)), Fraction(1, 5)
    outcomes = [tuple(b + sign * z for b, z in zip(G, noise, strict=True)) for sign in (1, -1)]
    variance = [sum((g[i] - G[i]) ** 2 for g in outcomes) / 2 for i in range(2)]
    assert sum(variance) <= eta**2 * sum(b**2 for b in G)
    assert not all(v <= eta**2 * b**2 for v, b in zip(variance, G, strict=True))
    second = sum(g[1] ** 2 for g in outcomes) / 2
    assert second > (1 + eta**2) * G[1] ** 2
