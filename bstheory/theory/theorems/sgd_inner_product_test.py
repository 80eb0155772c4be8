"""SGD under the augmented inner-product test: the rate of the norm test from two weaker conditions.

With tau_k = <g_k, G>/|G|^2 the coefficient of the projection on G = grad F(x_k) (tau_k = 1 where G = 0):

    E_k (tau_k - 1)^2 <= theta^2           (inner-product test),
    E_k |g_k - tau_k G|^2 <= nu^2 |G|^2    (orthogonality test),    eta_k <= 1/((1 + theta^2 + nu^2) L).

The first is E(<g, G> - |G|^2)^2 <= theta^2 |G|^4, divided by |G|^4.

**Upper** bounds. Part ``linear_rate`` (PL, fixed rates): E[F(x_K) - F_*] <= Delta prod (1 - mu eta_k).
Part ``nonconvex`` (predictable rates): E sum_k eta_k |grad F(x_k)|^2 <= 2 Delta.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import sympy as sp

from bstheory.references import BOLLAPRAGADA_ADAPTIVE_SAMPLING
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import exchange_mean
from bstheory.theory.sgd_lemmas import (
    BOUNDED_BELOW,
    FIXED_RATE,
    SMOOTH,
    UNBIASED,
    UPDATE,
    SgdSymbols,
    declare_sgd,
    nonnegative_parameter,
    produced,
)
from bstheory.theory.sgd_rates import PL, gradient_sum, linear_rate, rate_parameters, rate_value

SLUG = "sgd_inner_product_test"
TESTS = (
    Assumption(
        name="inner_product_test",
        statement="E_k (<g_k, G> - |G|^2)^2 <= theta^2 |G|^4, G = grad F(x_k)",
    ),
    Assumption(
        name="orthogonality_test",
        statement="E_k |g_k - (<g_k, G>/|G|^2) G|^2 <= nu^2 |G|^2; where G = 0, E_k |g_k|^2 = 0",
    ),
)
STEP_SIZE = Assumption(name="step_size", statement="eta_k <= 1/((1 + theta^2 + nu^2) L)", constants=("L",))


def derive() -> dict[str, Derivation]:
    """Both parts."""
    with_pl = Derivation(SLUG, "SGD under the augmented inner-product test, linear rate")
    symbols, growth = passed_tests(with_pl, rate="fixed")
    linear_rate(with_pl, symbols, "second_moment_bound", growth)
    without = Derivation(SLUG, "SGD under the augmented inner-product test, nonconvex")
    symbols, growth = passed_tests(without, rate="predictable")
    gradient_sum(without, symbols, "second_moment_bound", growth)
    return {"linear_rate": with_pl, "nonconvex": without}


def passed_tests(d: Derivation, *, rate: str) -> tuple[SgdSymbols, sp.Expr]:
    """E|g|^2 <= (1 + theta^2 + nu^2) |G|^2 by Pythagoras."""
    symbols = declare_sgd(d, rate=rate)
    G, g, square, norm, inner = symbols.G, symbols.g, symbols.square, symbols.norm, symbols.inner
    theta = d.symbol("theta", sign="nonnegative", latex=r"\theta", meaning="inner-product tolerance")
    nu = d.symbol("nu", sign="nonnegative", latex=r"\nu", meaning="orthogonality tolerance")
    tau = d.symbol(
        "tau",
        depends=("step", "draw"),
        latex=r"\tau_k",
        meaning="coefficient of the projection of g_k on grad F(x_k)",
    )
    d.assume(
        "projection", tau * square - inner, relation="==", assumption="inner_product_test", why="what tau is"
    )
    rest = d.define("rest", "coordinates", (g - tau * G) ** 2, sign="nonnegative", latex=r"\|g-\tau G\|^2")
    rest_mean = d.define("rest_mean", "mean", rest, sign="nonnegative", latex=r"E_k\|g-\tau G\|^2")
    spread = d.define("spread", "mean", (tau - 1) ** 2, sign="nonnegative", latex=r"E_k(\tau-1)^2")
    inner_own = d.define("inner_own", "mean", inner, latex=r"E_k\langle g,G\rangle")
    norm_own = d.define("norm_own", "mean", norm, sign="nonnegative", latex=r"E_k\|g\|^2")
    d.assume("inner_product_test", theta**2 - spread, assumption="inner_product_test", why="first test")
    d.assume(
        "orthogonality_test", nu**2 * square - rest_mean, assumption="orthogonality_test", why="second test"
    )
    d.combine("identity", gap=0, relation="==", why="zero, written as |g - tau G|^2 minus its expansion")
    d.apply(
        "pythagoras_raw",
        "coordinates",
        "identity",
        {rest: 1, norm: -1, inner: 2 * tau, square: -(tau**2)},
        why="square of the difference, summed",
    )
    d.combine(
        "pythagoras",
        gap=norm - rest - (tau - 1) ** 2 * square - 2 * inner + square,
        uses={"pythagoras_raw": -1, "projection": 2 * (1 - tau)},
        relation="==",
        why="|g|^2 = |g - tau G|^2 + tau^2 |G|^2 with tau |G|^2 = <g, G>",
    )
    d.apply(
        "pythagoras_mean",
        "mean",
        "pythagoras",
        {norm_own: 1, rest_mean: -1, spread: -square, inner_own: -2, "1": square},
        why="conditional mean; G is known",
    )
    exchange_mean(d, "exchange_inner", inner_own, symbols.inner_mean, why="mean of a sum")
    exchange_mean(d, "exchange_norm", norm_own, symbols.norm_mean, why="mean of a sum")
    growth = 1 + theta**2 + nu**2
    d.combine(
        "second_moment_bound",
        gap=growth * square - symbols.norm_mean,
        uses={
            "pythagoras_mean": -1,
            "inner_product_test": square,
            "orthogonality_test": 1,
            "exchange_inner": -2,
            "exchange_norm": 1,
            "inner_square": -2,
        },
        why="E tau |G|^2 = |G|^2",
    )
    return symbols, growth


@functools.cache
def right_hand_side() -> Any:
    """The produced right-hand side of ``linear_rate``, a function of decay and Delta."""
    return produced(derive()["linear_rate"], "decay Delta")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """F_* + Delta prod (1 - mu eta_k), beside F(x_0)."""
    theta, nu = (np.asarray(constants[name], dtype=float) for name in ("theta", "nu"))
    return rate_value(SLUG, constants, batch_size, 1 + theta**2 + nu**2, right_hand_side())


BOUND = Bound(
    slug=SLUG,
    title="SGD under the augmented inner-product test: linear rate under PL",
    algorithm="SGD, x_{k+1} = x_k - eta_k g_k, batch grown until both tests hold",
    quantity="loss",
    quantity_latex=r"\mathbb E\,F(x_K)",
    statement_latex=r"\mathbb E\,F(x_K)\le F_*+\Delta\prod_{k<K}(1-\mu\eta_k),\qquad"
    r"\mathbb E\sum_{k<K}\eta_k\|\nabla F(x_k)\|^2\le2\Delta",
    kind="upper",
    assumptions=(SMOOTH, BOUNDED_BELOW, PL, UPDATE, UNBIASED, *TESTS, FIXED_RATE, STEP_SIZE),
    parameters=rate_parameters(
        nonnegative_parameter("theta", "inner-product tolerance", "1"),
        nonnegative_parameter("nu", "orthogonality tolerance", "1"),
    ),
    derive=derive,
    value=value,
    references=(BOLLAPRAGADA_ADAPTIVE_SAMPLING,),
    notes=(
        "The inner-product test alone controls the direction only; without the orthogonality test the second "
        "moment is unbounded and no rate follows.",
    ),
)
