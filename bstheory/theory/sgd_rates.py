"""Linear and sublinear rates of SGD where a test bounds the second moment by a multiple of |grad F|^2.

Both functions start from a fact ``growth |grad F|^2 - E|g|^2 >= 0``, growth >= 1, whatever test gave it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.theory.bound import Assumption, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed
from bstheory.theory.sgd_lemmas import SgdSymbols, expect_descent, per_step, sum_descent

HALF = sp.Rational(1, 2)
PL = Assumption(
    name="polyak_lojasiewicz",
    statement="|grad F(x)|^2/2 >= mu (F(x) - F_*) along the path, with mu <= L (PL)",
    constants=("mu", "L"),
)


def linear_rate(d: Derivation, symbols: SgdSymbols, second: str, growth: sp.Expr) -> sp.Expr:
    """E[F(x_k) - F_*] <= prod_j (1 - mu eta_j) (F(x_0) - F_*), for rates fixed in advance.

    Args:
        second: the fact growth |G|^2 - E|g|^2 >= 0.
        growth: 1 plus something visibly nonnegative.

    Returns:
        the produced right-hand side.
    """
    eta, L, F_prev, F_star = symbols.eta, symbols.L, symbols.F_prev, symbols.F_star
    start = symbols.F_start - F_star
    gap_prev, gap_next, inner, norm, square = expect_descent(d, symbols)
    mu = d.symbol("mu", sign="positive", latex=r"\mu", meaning="PL constant")
    decay = fixed(d, "decay", sign="nonnegative", latex=r"\prod_{j<k}(1-\mu\eta_j)", meaning="before step k")
    decay_next = fixed(d, "decay_next", sign="real", latex=r"\prod_{j\le k}(1-\mu\eta_j)", meaning="after it")
    d.chain("decay", previous=decay, next=decay_next, start=1)
    d.assume(
        "decay_recursion",
        decay_next - (1 - mu * eta) * decay,
        relation="==",
        assumption="fixed_schedule",
        why="definition of the product",
    )
    d.assume(
        "pl",
        symbols.square / 2 - mu * (F_prev - F_star),
        assumption="polyak_lojasiewicz",
        why="PL inequality",
    )
    d.assume("mu_below_L", L - mu, assumption="polyak_lojasiewicz", why="mu <= L")
    d.assume("step_size", 1 - eta * growth * L, assumption="step_size", why="eta_k <= 1/(growth L)")
    d.apply("pl_expected", "expected", "pl", {square: HALF, gap_prev: -mu}, why="expectation")
    d.apply("second_expected", "expected", second, {square: growth, norm: -1}, why="expectation")
    d.apply("inner_expected", "expected", "inner_square", {inner: 1, square: -1}, why="expectation")
    d.combine(
        "one_step",
        gap=(1 - mu * eta) * gap_prev - gap_next,
        uses={
            "expected_descent": 1,
            "inner_expected": eta,
            "second_expected": L * eta**2 / 2,
            "step_size": eta * square / 2,
            "pl_expected": eta,
        },
        why="half the gain pays the second moment, the other half gives the rate",
    )
    d.combine(
        "factor",
        gap=1 - mu * eta,
        uses={"step_size": 1, "mu_below_L": eta},
        slack=eta * L * (growth - 1),
        why="1 - mu eta >= 0",
    )
    d.hypothesis("rate_hypothesis", decay * start - gap_prev, why="the rate up to step k")
    d.combine(
        "rate_advanced",
        gap=decay_next * start - gap_next,
        uses={("factor", "rate_hypothesis"): 1, "one_step": 1, "decay_recursion": start},
        why="one more step",
    )
    d.combine("rate_start", gap=start - sp.Symbol("gap_start"), uses={"gap_start_value": -1}, why="k = 0")
    d.induction(
        "rate", "rate_hypothesis", "rate_advanced", "rate_start", ["decay", "gap"], why="induction on steps"
    )
    return d.conclude("rate", gap_prev, why="the linear rate")


def gradient_sum(d: Derivation, symbols: SgdSymbols, second: str, growth: sp.Expr) -> sp.Expr:
    """E sum_k eta_k |grad F(x_k)|^2 <= 2 (F(x_0) - F_*), without PL, for predictable rates."""
    eta, L = symbols.eta, symbols.L
    d.assume("step_size", 1 - eta * growth * L, assumption="step_size", why="eta_k <= 1/(growth L)")
    T_square, T_own = sum_descent(d, symbols, second, [growth * symbols.square])
    d.combine(
        "room",
        gap=eta * symbols.square - L * eta**2 * growth * symbols.square,
        uses={"step_size": eta * symbols.square},
        why="L eta^2 growth <= eta",
    )
    d.apply("room_total", "steps", "room", {T_square: 1, T_own: -L}, why="sum over steps")
    d.combine("assembled", uses={"total": 1, "room_total": HALF}, why="half the gain pays the second moment")
    return d.conclude("assembled", T_square, why="times 2")


def rate_value(
    slug: str, constants: Constants, batch_size: np.ndarray | None, growth: Any, right: Any
) -> Evaluation:
    """E F(x_K) <= F_* + Delta prod (1 - mu eta_k), and the gradient form, after checking step size and mu.

    The number of steps is the length of the schedule; the batches themselves are the test's business.
    ``right`` is the produced right-hand side of part ``linear_rate``, a function of decay and Delta.
    """
    if batch_size is None:
        raise input_error(
            got="no schedule",
            rule=f"{slug} needs the number of steps",
            do="pass schedule=[b_0, ..., b_{K-1}]",
        )
    L, mu, delta, F_star = (np.asarray(constants[n], dtype=float) for n in ("L", "mu", "Delta", "F_star"))
    eta = per_step(constants["eta"], len(batch_size), "eta")
    limit = 1 / (growth * L)
    if np.any(eta > limit[..., None] * (1 + 1e-12)):
        raise input_error(
            got=f"eta up to {np.max(eta):.6g}",
            rule=f"assumption step_size: eta_k <= 1/(growth L) = {np.min(limit):.6g}",
            do="lower eta, or tighten the test",
        )
    if np.any(mu > L):
        raise input_error(
            got=f"mu={np.max(mu)} and L={np.min(L)}",
            rule="assumption polyak_lojasiewicz: mu is at most L",
            do="correct mu or L",
        )
    decay = np.prod(1 - mu[..., None] * eta, axis=-1)
    weight = eta.sum(axis=-1)
    gap = np.asarray(right(decay, delta))
    return Evaluation(
        value=(F_star + gap)[()],
        trivial_value=(F_star + delta + 0 * decay)[()],
        parts={
            "gap": gap[()],
            "decay": decay[()],
            "weighted_sum_bound": (2 * delta + 0 * weight)[()],
            "mean_sq_gradient_bound": (2 * delta / weight)[()],
            "largest_learning_rate": limit[()],
        },
    )


def rate_parameters(*extra: Parameter) -> tuple[Parameter, ...]:
    """Constants of :func:`rate_value`, followed by those of the test."""
    from bstheory.theory.sgd_lemmas import nonnegative_parameter

    return (
        Parameter(name="eta", meaning="learning rate, one number or one per step", unit="param^2/loss"),
        Parameter(name="L", meaning="smoothness", unit="loss/param^2"),
        Parameter(name="mu", meaning="PL constant", unit="loss/param^2"),
        nonnegative_parameter("Delta", "F(x_0) - F_*", "loss"),
        Parameter(
            name="F_star",
            meaning="lower bound of F",
            unit="loss",
            rule="must be a finite number",
            accepts=lambda x: bool(np.all(np.isfinite(np.asarray(x, dtype=float)))),
        ),
        *extra,
    )
