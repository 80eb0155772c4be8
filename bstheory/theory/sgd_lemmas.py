"""What every SGD theorem begins with: update, unbiased gradient, descent lemma, sums over steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.theory.bound import Assumption, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed, tower_expected

SMOOTH = Assumption(
    name="smooth", statement="F is L-smooth: |grad F(x) - grad F(y)| <= L |x - y|", constants=("L",)
)
BOUNDED_BELOW = Assumption(name="bounded_below", statement="F(x) >= F_* for all x", constants=("F_star",))
UNBIASED = Assumption(name="unbiased", statement="E[g_k | past] = grad F(x_k)")
VARIANCE = Assumption(
    name="variance",
    statement="E[|g_k - grad F(x_k)|^2 | past] <= sigma^2/b_k, sigma^2 of one sample, b_k samples",
    constants=("sigma_sq",),
)
UPDATE = Assumption(name="sgd_update", statement="x_{k+1} = x_k - eta_k g_k")
PREDICTABLE_RATE = Assumption(
    name="predictable_batch",
    statement="eta_k and b_k are chosen from the past, before g_k is drawn; so is whether step k is taken",
)
FIXED_RATE = Assumption(
    name="fixed_schedule", statement="eta_k and b_k are fixed in advance, and so is the number of steps"
)


class SgdSymbols(NamedTuple):
    """The symbols that :func:`declare_sgd` declares; see there."""

    eta: sp.Symbol
    L: sp.Symbol
    G: sp.Symbol
    g: sp.Symbol
    mean_g: sp.Symbol
    mean_g2: sp.Symbol
    inner: sp.Symbol
    norm: sp.Symbol
    inner_mean: sp.Symbol
    norm_mean: sp.Symbol
    square: sp.Symbol
    F_prev: sp.Symbol
    F_next: sp.Symbol
    F_start: sp.Symbol
    F_star: sp.Symbol


def declare_sgd(d: Derivation, *, rate: str, unbiased: bool = True) -> SgdSymbols:
    """Symbols of x_{k+1} = x_k - eta_k g_k, the hypotheses on F, and E[inner] in terms of the gradient.

    Establishes ``descent`` (F_prev - F_next - eta <G, g> + L eta^2 |g|^2/2 >= 0) and, if ``unbiased``,
    ``inner_square`` (sum_i G_i E_k g_i == |G|^2).

    Args:
        rate: ``"predictable"``, ``"fixed"`` (may change with the step, not random) or ``"constant"``.
    """
    per_step, per_coordinate = ("step",), ("coordinate", "step")
    L = d.symbol("L", sign="positive", latex="L", meaning="smoothness")
    options = {"sign": "positive", "latex": r"\eta_k", "meaning": "learning rate of step k"}
    if rate == "fixed":
        eta = fixed(d, "eta", **options)
    elif rate == "constant":
        eta = d.symbol("eta", sign="positive", latex=r"\eta", meaning="learning rate")
    else:
        eta = d.symbol("eta", depends=per_step, **options)
    G = d.symbol("G", depends=per_coordinate, latex="G", meaning="coordinate of grad F(x_k)")
    g = d.symbol("g", depends=(*per_coordinate, "draw"), latex="g", meaning="coordinate of g_k")
    mean_g = d.define("mean_g", "mean", g, latex=r"E_kg")
    mean_g2 = d.define("mean_g2", "mean", g**2, sign="nonnegative", latex=r"E_kg^2")
    F_prev = d.symbol("F_prev", depends=per_step, latex="F(x_k)", meaning="loss before the step")
    F_next = d.symbol("F_next", depends=("step", "draw"), latex="F(x_{k+1})", meaning="loss after the step")
    F_start = d.symbol("F_start", latex="F(x_0)", meaning="initial loss")
    F_end = d.symbol("F_end", latex=r"E\,F(x_K)", meaning="expected final loss")
    F_star = d.symbol("F_star", latex="F_*", meaning="lower bound of F")
    d.chain("F", previous=F_prev, next=F_next, start=F_start, end=F_end)
    inner = d.define("inner", "coordinates", G * g, latex=r"\langle G,g\rangle")
    norm = d.define("norm", "coordinates", g**2, sign="nonnegative", latex=r"\|g\|^2")
    inner_mean = d.define("inner_mean", "coordinates", G * mean_g, latex=r"\langle G,E_kg\rangle")
    norm_mean = d.define("norm_mean", "coordinates", mean_g2, sign="nonnegative", latex=r"E_k\|g\|^2")
    square = d.define("square", "coordinates", G**2, sign="nonnegative", latex=r"\|\nabla F(x_k)\|^2")
    d.assume(
        "descent",
        F_prev - F_next - eta * inner + L * eta**2 * norm / 2,
        assumption="smooth",
        by=["descent_lemma"],
        why="descent lemma along x_{k+1} - x_k = -eta g",
    )
    if unbiased:
        d.assume("unbiased", mean_g - G, relation="==", assumption="unbiased", why="E g = G")
        d.combine(
            "inner_square_coordinate",
            gap=G * mean_g - G**2,
            uses={"unbiased": G},
            relation="==",
            why="times G",
        )
        d.apply(
            "inner_square",
            "coordinates",
            "inner_square_coordinate",
            {inner_mean: 1, square: -1},
            why="sum over coordinates",
        )
    return SgdSymbols(
        eta, L, G, g, mean_g, mean_g2, inner, norm, inner_mean, norm_mean, square,
        F_prev, F_next, F_start, F_star,
    )  # fmt: skip


def second_moment(d: Derivation, symbols: SgdSymbols) -> sp.Symbol:
    """E|g|^2 == |G|^2 + E|g - G|^2, step ``second_moment``; returns the symbol of E|g - G|^2."""
    G, g, mean_g, mean_g2 = symbols.G, symbols.g, symbols.mean_g, symbols.mean_g2
    mean_error = d.define("mean_error", "mean", (g - G) ** 2, sign="nonnegative", latex=r"E_k(g-G)^2")
    variance = d.define(
        "variance", "coordinates", mean_error, sign="nonnegative", latex=r"E_k\|g-\nabla F(x_k)\|^2"
    )
    d.combine(
        "square_split",
        gap=g**2 - (g - G) ** 2 - 2 * G * g + G**2,
        relation="==",
        why="square of a sum",
    )
    d.apply(
        "square_split_mean",
        "mean",
        "square_split",
        {mean_g2: 1, mean_error: -1, mean_g: -2 * G, "1": G**2},
        why="conditional mean; G is known",
    )
    d.combine(
        "second_moment_coordinate",
        gap=mean_g2 - mean_error - G**2,
        uses={"square_split_mean": 1, "unbiased": 2 * G},
        relation="==",
        why="E g = G removes the cross term",
    )
    d.apply(
        "second_moment",
        "coordinates",
        "second_moment_coordinate",
        {symbols.norm_mean: 1, variance: -1, symbols.square: -1},
        why="sum over coordinates",
    )
    return variance


def sum_descent(d: Derivation, symbols: SgdSymbols, second: str, terms: Sequence[sp.Expr]) -> list[sp.Symbol]:
    """Add up the descent lemma over the steps of a run.

    Establishes ``total``: F_start - F_star - E sum (eta |G|^2 - (L/2) eta^2 E|g|^2) >= 0, where the fact
    ``second`` bounds norm_mean: its gap is (sum of ``terms``) - norm_mean.

    Returns:
        the sums: of eta |G|^2 first, then of eta^2 times each term.
    """
    eta, L = symbols.eta, symbols.L
    T_F = d.define("T_F", "steps", symbols.F_next - symbols.F_prev)
    T_inner = d.define("T_inner", "steps", eta * symbols.inner)
    T_norm = d.define("T_norm", "steps", eta**2 * symbols.norm, sign="nonnegative")
    T_inner_mean = d.define("T_inner_mean", "steps", eta * symbols.inner_mean)
    T_norm_mean = d.define("T_norm_mean", "steps", eta**2 * symbols.norm_mean, sign="nonnegative")
    T_square = d.define(
        "weighted_sum",
        "steps",
        eta * symbols.square,
        sign="nonnegative",
        latex=r"E\sum_{k<K}\eta_k\|\nabla F(x_k)\|^2",
    )
    sums = [
        d.define(f"T_second_{index}", "steps", sp.expand(eta**2 * term)) for index, term in enumerate(terms)
    ]
    d.apply(
        "descent_total",
        "steps",
        "descent",
        {T_F: -1, T_inner: -1, T_norm: L / 2},
        why="expectation of the sum over steps",
    )
    d.tower("tower_inner", T_inner_mean, T_inner, {symbols.inner_mean: symbols.inner}, why="tower property")
    d.tower("tower_norm", T_norm_mean, T_norm, {symbols.norm_mean: symbols.norm}, why="tower property")
    d.scale("inner_weighted", "inner_square", eta, why="times the learning rate")
    d.apply("inner_total", "steps", "inner_weighted", {T_inner_mean: 1, T_square: -1}, why="sum over steps")
    d.scale("second_weighted", second, eta**2, why="times the learning rate squared")
    d.apply(
        "second_total",
        "steps",
        "second_weighted",
        {**dict.fromkeys(sums, 1), T_norm_mean: -1},
        why="sum over steps",
    )
    d.telescope("telescope", T_F, "F", why="the loss telescopes")
    d.assume(
        "below_next", symbols.F_next - symbols.F_star, assumption="bounded_below", why="F >= F_* after a step"
    )
    d.assume(
        "below_start", symbols.F_start - symbols.F_star, assumption="bounded_below", why="F >= F_* at first"
    )
    d.at_end("below_end", "below_next", "below_start", "F", why="E F(x_K) >= F_*")
    d.combine(
        "total",
        uses={
            "descent_total": 1,
            "tower_inner": -1,
            "tower_norm": L / 2,
            "inner_total": 1,
            "second_total": L / 2,
            "telescope": 1,
            "below_end": 1,
        },
        why="the descent lemma, added up",
    )
    return [T_square, *sums]


def expect_descent(d: Derivation, symbols: SgdSymbols) -> tuple[sp.Symbol, ...]:
    """The descent lemma in expectation, for a learning rate fixed in advance.

    Establishes ``expected_descent``: E(F_prev - F_*) - E(F_next - F_*) - eta E<G, E_k g> +
    (L/2) eta^2 E|g|^2 >= 0, and the chain ``gap`` with its start.

    Returns:
        E(F_prev - F_*), E(F_next - F_*), E<G, E_k g>, E E_k|g|^2 and E|G|^2.
    """
    eta, L, F_star = symbols.eta, symbols.L, symbols.F_star
    gap_prev = d.define("gap_prev", "expected", symbols.F_prev - F_star, latex=r"E[F(x_k)-F_*]")
    gap_next = d.define("gap_next", "expected", symbols.F_next - F_star, latex=r"E[F(x_{k+1})-F_*]")
    gap_start = d.define("gap_start", "expected", symbols.F_start - F_star, latex=r"F(x_0)-F_*")
    d.chain("gap", previous=gap_prev, next=gap_next, start=gap_start)
    inner = d.define("expected_inner", "expected", symbols.inner)
    norm = d.define("expected_norm", "expected", symbols.norm, sign="nonnegative")
    inner_mean = d.define("expected_inner_mean", "expected", symbols.inner_mean)
    norm_mean = d.define("expected_norm_mean", "expected", symbols.norm_mean, sign="nonnegative")
    square = d.define(
        "expected_square", "expected", symbols.square, sign="nonnegative", latex=r"E\|\nabla F(x_k)\|^2"
    )
    d.apply(
        "descent_expected",
        "expected",
        "descent",
        {gap_prev: 1, gap_next: -1, inner: -eta, norm: L * eta**2 / 2},
        why="expectation; the learning rate is fixed in advance",
    )
    tower_expected(
        d, "tower_inner", inner_mean, inner, {symbols.inner_mean: symbols.inner}, why="tower property"
    )
    tower_expected(d, "tower_norm", norm_mean, norm, {symbols.norm_mean: symbols.norm}, why="tower property")
    d.combine(
        "expected_descent",
        uses={"descent_expected": 1, "tower_inner": -eta, "tower_norm": L * eta**2 / 2},
        why="the descent lemma in expectation",
    )
    d.combine("nothing", gap=0, relation="==", why="zero")
    d.apply(
        "gap_start_value",
        "expected",
        "nothing",
        {gap_start: 1, "1": -(symbols.F_start - F_star)},
        why="the start is not random",
    )
    return gap_prev, gap_next, inner_mean, norm_mean, square


def nonnegative_parameter(name: str, meaning: str, unit: str) -> Parameter:
    """A constant that may be zero, scalar or array."""
    return Parameter(
        name=name,
        meaning=meaning,
        unit=unit,
        rule="must be at least 0",
        accepts=lambda x: bool(np.all(np.asarray(x, dtype=float) >= 0)),
    )


def per_step(values: Any, num_steps: int, name: str) -> np.ndarray:
    """A schedule given as one number or as [..., K]: float64 [..., K].

    Raises:
        InputError: a last axis that is neither 1 nor K.
    """
    array = np.asarray(values, dtype=float)
    if array.ndim == 0 or array.shape[-1] == 1:
        return np.broadcast_to(array.reshape(*array.shape[:-1], 1), (*array.shape[:-1], num_steps))
    if array.shape[-1] != num_steps:
        raise input_error(
            got=f"{name} of shape {array.shape}",
            rule=f"{name} is one number or has one entry for each of the {num_steps} steps",
            do="pass a number, or an array whose last axis is the steps",
        )
    return array


def produced(d: Derivation, arguments: str) -> Any:
    """The right-hand side that the steps produced, as a NumPy function; Delta = F(x_0) - F_*.

    Args:
        arguments: names of the symbols it takes, separated by blanks.
    """
    assert d.claim is not None
    expression = d.closed_form(d.claim[2]).subs({"F_start": sp.Symbol("Delta"), "F_star": 0})
    return sp.lambdify(sp.symbols(arguments), expression, "numpy")
