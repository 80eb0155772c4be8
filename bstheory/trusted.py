"""The trusted base: every fact that certificates use without proof, in one short list.

Anything else in a certificate is an identity of rational functions or a sign that can be read off.
``Op`` below stands for any of the positive linear operators of the language:
``mean`` (conditional expectation given the past of a step), ``coordinates`` (sum over i = 1..d) and
``steps`` (expectation of the sum over steps k = 1..K, where {k <= K} is known before draw k).
"""

from __future__ import annotations

from typing import NamedTuple


class TrustedFact(NamedTuple):
    """A named fact: what it says and where it comes from."""

    statement: str
    source: str


TRUSTED: dict[str, TrustedFact] = {
    "assumption": TrustedFact("a hypothesis of the theorem, listed with it", "the theorem's statement"),
    "definition": TrustedFact(
        "a symbol satisfies its defining equation; a root is nonnegative", "definition of the symbol"
    ),
    "linearity": TrustedFact(
        "Op is linear, preserves order, and factors free of its index move out", "finite sums; expectation"
    ),
    "square": TrustedFact("a square is nonnegative", "ordered fields"),
    "absolute_value": TrustedFact(
        "|x| >= x, |x| >= -x, |x|^2 = x^2; y >= x and y >= -x imply y >= |x|", "ordered fields"
    ),
    "maximum": TrustedFact("max(a, b, ...) is at least each argument", "ordered fields"),
    "log_tangent": TrustedFact("ln y <= y - 1 for y > 0", "concavity of the logarithm"),
    "log_quotient": TrustedFact("ln(a/b) = ln a - ln b for a, b > 0", "logarithm"),
    "log_product": TrustedFact("ln(a b) = ln a + ln b for a, b > 0", "logarithm"),
    "log_monotone": TrustedFact("a >= b > 0 implies ln a >= ln b", "logarithm"),
    "exp_series": TrustedFact(
        "e^u = sum_m u^m/m!, and a convergent series of nonnegative terms is nonnegative", "power series"
    ),
    "exponential_kernel": TrustedFact(
        "int_a^b lambda e^(-lambda (b - u)) du = 1 - e^(-lambda (b - a)); integrals add up over "
        "intervals and preserve order",
        "elementary calculus",
    ),
    "gaussian_moments": TrustedFact(
        "for g ~ N(mu, s): E g^4 = mu^4 + 6 mu^2 s + 3 s^2; E e^(a g^2) = (1 - 2 a s)^(-1/2) for mu = 0, "
        "2 a s < 1",
        "Gaussian integrals",
    ),
    "markov": TrustedFact("P(X >= x) <= E X/x for X >= 0, x > 0", "Markov's inequality"),
    "trace_root": TrustedFact(
        "tr X^(1/2) <= (tr A^(-1/2) X + tr A^(1/2))/2 for X >= 0, A > 0, from "
        "0 <= tr (X^(1/2) - A^(1/2)) A^(-1/2) (X^(1/2) - A^(1/2))",
        "cyclic trace, a square",
    ),
    "log_power_of_two": TrustedFact("ln 2^x = x ln 2", "logarithm"),
    "power_product": TrustedFact("2^(x + y) = 2^x 2^y", "powers"),
    "power_monotone": TrustedFact("x >= y implies 2^x >= 2^y", "powers"),
    "tower": TrustedFact(
        "E sum_k Z_k E_{k-1}[X_k] = E sum_k Z_k X_k for Z_k known before draw k", "tower property"
    ),
    "fixed_steps": TrustedFact(
        "a symbol marked fixed is not random and every step is taken, so E[c X] = c E[X] for fixed c, "
        "E[E_{k-1}[X]] = E[X], and E sum_k c_k X_k = sum_k c_k E[X_k]",
        "linearity of expectation; tower property",
    ),
    "exchange": TrustedFact("finite sums and expectations of finite sums may be exchanged", "finite sums"),
    "relabel": TrustedFact(
        "the symbols of step n and of step j are one sequence under two names: a symbol is at n what its "
        "counterpart is at j",
        "reading of the symbols; renaming of a summation index",
    ),
    "telescope": TrustedFact("sum_k (a_k - a_{k-1}) = a_K - a_0", "finite sums"),
    "at_end": TrustedFact("what holds for the state at every step holds for the final state", "induction"),
    "induction": TrustedFact("induction on the step count", "natural numbers"),
    "descent_lemma": TrustedFact(
        "F(y) <= F(x) + <grad F(x), y - x> + (L/2)|y - x|^2 for L-smooth F", "Nesterov 2004, Lemma 1.2.3"
    ),
    "dual_norm": TrustedFact(
        "a norm obeys the triangle inequality, and |<x, y>| <= |x| |y|_* for the dual norm", "normed spaces"
    ),
    "real_arithmetic": TrustedFact(
        "an unsatisfiable system of polynomial constraints has no solution", "the z3 solver, nonlinear reals"
    ),
    "cauchy_schwarz": TrustedFact("(Op[XY])^2 <= Op[X^2] Op[Y^2]", "positive semidefinite forms"),
    "jensen": TrustedFact("phi(Op-average of X) <= Op-average of phi(X) for convex phi", "Jensen 1906"),
    "interval_arithmetic": TrustedFact(
        "a ball computed by Arb contains the exact value, acb_calc encloses integrals of functions analytic "
        "where it verified that; intermediate and mean value theorems; int_A^oo y^-p = A^(1-p)/(p-1)",
        "Johansson, Arb; elementary analysis",
    ),
    "geometric_sum": TrustedFact("(1 - q) sum_{j<n} q^j = 1 - q^n", "finite sums"),
}
