"""Sign descent under any predictable batch and step-size schedule.

Algorithm: x_{k+1} = x_k - delta_k sign(g_k), b_k samples in g_k. With coordinate smoothness L_i,
F(y) <= F(x) + <grad F(x), y - x> + sum_i L_i (y_i - x_i)^2/2, and E_k (g_{k,i} - G_i)^2 <= sigma_i^2/b_k,

**Upper** bound:

    E sum_k delta_k |grad F(x_k)|_1
        <= Delta + (|L|_1/2) E sum_k delta_k^2 + 2 |sigma|_1 E sum_k delta_k/sqrt(b_k).

(part ``any``), and with unbiased gradients, E_k g_k = grad F(x_k), **half the noise** (part ``unbiased``):

    E sum_k delta_k |grad F(x_k)|_1
        <= Delta + (|L|_1/2) E sum_k delta_k^2 + |sigma|_1 E sum_k delta_k/sqrt(b_k).

The factor 2 is needed without unbiasedness (g is always a little beyond 0), and 1 with it (g a little beyond
0, or 2 G, half and half). Differs from the catalogue, with 2 for unbiased gradients: Cantelli's inequality
for the wrong sign in place of Markov's, as |G| - G sign(g) <= (e sign(G) - s)^2/(2 s), e = g - G.
For a schedule fixed in advance, dividing by sum_k delta_k gives the mean of the 1-norm, ``weighted_mean``.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import SIGN_SGD
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_order import absolute_least
from bstheory.theory.sgd_lemmas import BOUNDED_BELOW, nonnegative_parameter, per_step, produced

SLUG = "sign_sgd_batch_schedule"
ASSUMPTIONS = (
    Assumption(
        name="coordinate_smooth",
        statement="F(y) <= F(x) + <grad F(x), y - x> + sum_i L_i (y_i - x_i)^2/2",
        constants=("L_1",),
    ),
    BOUNDED_BELOW,
    Assumption(name="sign_update", statement="x_{k+1} = x_k - delta_k sign(g_k)"),
    Assumption(
        name="coordinate_variance",
        statement="E_k (g_{k,i} - grad_i F(x_k))^2 <= sigma_i^2/b_k, sigma_i of one sample",
        constants=("noise",),
    ),
    Assumption(
        name="predictable_batch",
        statement="delta_k and b_k are chosen from the past; so is whether step k is taken",
    ),
    Assumption(
        name="unbiased", statement="E[g_k | past] = grad F(x_k); for half the noise, part unbiased, alone"
    ),
)


def derive() -> dict[str, Derivation]:
    """Sign and gradient, conditional mean, coordinate descent lemma, telescope; with bias or without."""
    return {"any": biased(), "unbiased": unbiased()}


def biased() -> Derivation:
    """Factor 2, whatever the mean of g."""
    d = Derivation(SLUG, "Sign descent, any predictable batch schedule")
    declare(d)
    sign_lemma(d)
    return sum_up(d)


def declare(d: Derivation) -> None:
    """Symbols of one step, its sign, and the variance."""
    coordinate = ("coordinate", "step")
    d.symbol("delta", sign="positive", depends=("step",), latex=r"\delta_k", meaning="step size")
    b = d.symbol("b", sign="positive", depends=("step",), latex="b_k", meaning="samples of step k")
    d.define("root_b", "root", b, sign="positive", latex=r"\sqrt{b_k}")
    d.symbol(
        "L_i", sign="nonnegative", depends=("coordinate",), latex="L_i", meaning="smoothness of coordinate i"
    )
    sigma = d.symbol(
        "sigma", sign="positive", depends=("coordinate",), latex=r"\sigma_i", meaning="noise of one sample"
    )
    G = d.symbol("G", depends=coordinate, latex="G", meaning="coordinate of grad F(x_k)")
    g = d.symbol("g", depends=(*coordinate, "draw"), latex="g", meaning="coordinate of g_k")
    move = d.symbol("move", depends=(*coordinate, "draw"), latex=r"\mathrm{sign}(g)", meaning="sign of g")
    d.define("abs_G", "absolute", G, sign="nonnegative", latex="|G|")
    abs_g = d.define("abs_g", "absolute", g, sign="nonnegative", latex="|g|")
    mean_e2 = d.define("mean_e2", "mean", (g - G) ** 2, sign="nonnegative", latex="E_k(g-G)^2")
    d.assume("aligned", move * g - abs_g, relation="==", assumption="sign_update", why="g sign(g) = |g|")
    d.assume("at_most_one", 1 - move, assumption="sign_update", why="sign(g) <= 1")
    d.assume("at_least_minus_one", 1 + move, assumption="sign_update", why="sign(g) >= -1")
    d.assume("variance", sigma**2 / b - mean_e2, assumption="coordinate_variance", why="at most sigma^2/b")


def sign_lemma(d: Derivation) -> None:
    """G sign(g) >= |G| - 2 |g - G|, and E|g - G| <= sigma/sqrt(b)."""
    G, g, move, abs_G, abs_g, root_b, sigma, b, mean_e2 = sp.symbols(
        "G g move abs_G abs_g root_b sigma b mean_e2"
    )
    abs_e = d.define("abs_e", "absolute", g - G, sign="nonnegative", latex="|g-G|")
    mean_e = d.define("mean_e", "mean", abs_e, sign="nonnegative", latex="E_k|g-G|")
    g_above, g_below, _ = d.absolute(abs_g)
    e_above, e_below, e_square = d.absolute(abs_e)
    d.combine("G_above", gap=abs_g + abs_e - G, uses={g_above: 1, e_below: 1}, why="G = g - (g - G)")
    d.combine("G_below", gap=abs_g + abs_e + G, uses={g_below: 1, e_above: 1}, why="the same for -G")
    absolute_least(d, "triangle", abs_G, "G_above", "G_below", why="|G| <= |g| + |g - G|")
    d.combine(
        "sign_lemma",
        gap=G * move - abs_G + 2 * abs_e,
        uses={
            "aligned": 1,
            "triangle": 1,
            (e_above, "at_least_minus_one"): sp.Rational(1, 2),
            (e_below, "at_most_one"): sp.Rational(1, 2),
        },
        why="G sign(g) = |g| - (g - G) sign(g) >= |g| - |g - G|, then the triangle inequality",
    )
    root = d.definition(root_b)
    d.combine(
        "young",
        gap=root_b * (g - G) ** 2 / (2 * sigma) + sigma / (2 * root_b) - abs_e,
        squares=[(root_b / (2 * sigma), abs_e - sigma / root_b)],
        uses={e_square: -root_b / (2 * sigma)},
        why="Young's inequality in place of Jensen's",
    )
    d.apply(
        "young_mean",
        "mean",
        "young",
        {mean_e2: root_b / (2 * sigma), "1": sigma / (2 * root_b), mean_e: -1},
        why="conditional mean",
    )
    d.combine(
        "noise",
        gap=sigma / root_b - mean_e,
        uses={"young_mean": 1, "variance": root_b / (2 * sigma), root: -sigma / (2 * b * root_b)},
        why="E|g - G| <= sigma/sqrt(b)",
    )


def unbiased() -> Derivation:
    """Factor 1 where E_k g = G."""
    d = Derivation(SLUG, "Sign descent with unbiased gradients, any predictable batch schedule")
    declare(d)
    cantelli(d)
    delta, root_b, sigma, G, g, toward, mean_e, mean_e2 = sp.symbols(
        "delta root_b sigma G g toward mean_e mean_e2"
    )
    inner, norm_1, L_1, sigma_1, T_norm, squares, noise = descent(d)
    spread, spread_mean = (
        d.define(name, "coordinates", of / sigma, sign="nonnegative", latex=latex)
        for name, of, latex in (
            ("spread", (g - G) ** 2, r"\sum_ie_i^2/\sigma_i"),
            ("spread_mean", mean_e2, r"\sum_iE_ke_i^2/\sigma_i"),
        )
    )
    side = d.define("side", "coordinates", toward * (g - G), latex=r"\langle\mathrm{sign}\,G,e\rangle")
    side_mean = d.define("side_mean", "coordinates", toward * mean_e)
    d.apply(
        "sign_lemma_sum",
        "coordinates",
        "sign_lemma",
        {inner: 1, norm_1: -1, spread: root_b / 2, side: -1, sigma_1: 1 / (2 * root_b)},
        why="sum over coordinates",
    )
    d.combine(
        "one_step",
        uses={"descent": 1, "curvature": delta**2 / 2, "sign_lemma_sum": delta},
        why="descent along the sign",
    )
    T = {
        name: d.define(f"T_{name}", "steps", of)
        for name, of in (
            ("spread", delta * root_b * spread),
            ("spread_mean", delta * root_b * spread_mean),
            ("side", delta * side),
            ("side_mean", delta * side_mean),
        )
    }
    d.apply(
        "one_step_total",
        "steps",
        "one_step",
        {
            sp.Symbol("T_F"): -1,
            T_norm: -1,
            squares: L_1 / 2,
            T["spread"]: sp.Rational(1, 2),
            T["side"]: -1,
            noise: sigma_1 / 2,
        },
        why="expectation of the sum over steps",
    )
    d.tower("tower_spread", T["spread_mean"], T["spread"], {spread_mean: spread}, why="tower property")
    d.tower("tower_side", T["side_mean"], T["side"], {side_mean: side}, why="tower property")
    d.combine("no_side", gap=toward * mean_e, uses={"unbiased": toward}, relation="==", why="E_k e = 0")
    d.apply("no_side_sum", "coordinates", "no_side", {side_mean: 1}, why="sum over coordinates")
    d.scale("no_side_weighted", "no_side_sum", delta, why="times the step size")
    d.apply("no_side_total", "steps", "no_side_weighted", {T["side_mean"]: 1}, why="sum over steps")
    d.combine(
        "noise",
        gap=sigma / root_b**2 - mean_e2 / sigma,
        uses={"variance": 1 / sigma, d.definition(root_b): -sigma / (root_b**2 * sp.Symbol("b"))},
        why="E_k e^2 <= sigma^2/b",
    )
    d.apply("noise_sum", "coordinates", "noise", {sigma_1: 1 / root_b**2, spread_mean: -1}, why="sum")
    d.scale("noise_weighted", "noise_sum", delta * root_b, why="times the step size")
    d.apply(
        "noise_total", "steps", "noise_weighted", {noise: sigma_1, T["spread_mean"]: -1}, why="sum over steps"
    )
    half = sp.Rational(1, 2)
    return end(
        d,
        T_norm,
        {
            "one_step_total": 1,
            "tower_spread": half,
            "noise_total": half,
            "tower_side": -1,
            "no_side_total": 1,
        },
    )


def cantelli(d: Derivation) -> None:
    """G sign(g) >= |G| - (e sign(G) - s)^2/(2 s), s = sigma/sqrt(b), e = g - G: the step ``sign_lemma``."""
    G, g, move, abs_G, abs_g, root_b, sigma = sp.symbols("G g move abs_G abs_g root_b sigma")
    toward = d.symbol(
        "toward",
        depends=("coordinate", "step"),
        latex=r"\mathrm{sign}(G)",
        meaning="sign of G, 1 where G = 0",
    )
    mean_e = d.define("mean_e", "mean", g - G, latex="E_k(g-G)")
    d.assume("unbiased", mean_e, relation="==", assumption="unbiased", why="E_k g = G")
    rule = {"assumption": "sign_update"}
    d.assume("toward_gradient", toward * G - abs_G, relation="==", why="G sign(G) = |G|", **rule)
    d.assume("toward_square", toward**2 - 1, relation="==", why="sign(G) is 1 or -1", **rule)
    d.assume("toward_at_most_one", 1 - toward, why="sign(G) is 1 or -1", **rule)
    d.assume("toward_at_least_minus_one", 1 + toward, why="sign(G) is 1 or -1", **rule)
    g_above, g_below, _ = d.absolute(abs_g)
    half, agree = sp.Rational(1, 2), toward * move
    up, down = "toward_at_least_minus_one", "toward_at_most_one"
    d.combine(
        "wrong",
        gap=1 - agree,
        uses={("at_most_one", up): half, ("at_least_minus_one", down): half},
        why="both signs lie in [-1, 1]",
    )
    d.combine(
        "right",
        gap=1 + agree,
        uses={("at_least_minus_one", up): half, ("at_most_one", down): half},
        why="both signs lie in [-1, 1]",
    )
    d.combine(
        "wrong_side",
        gap=abs_g - toward * g,
        uses={(up, g_above): half, (down, g_below): half},
        why="|g| >= g sign(G)",
    )
    s, h = sigma / root_b, toward * g
    square = (h - abs_G - s) ** 2
    d.combine(
        "against",
        gap=square - 2 * s * abs_G * (1 - agree),
        uses={
            "right": square / 2,
            "wrong": (h**2 + (abs_G - s) ** 2) / 2,
            "wrong_side": abs_G + s,
        },
        modulo=["toward_square", "aligned"],
        why="where the signs differ, e sign(G) <= -|G|, and (|G| + s)^2 >= 4 |G| s",
    )
    d.combine(
        "sign_lemma",
        gap=G * move - abs_G + root_b * (g - G) ** 2 / (2 * sigma) - toward * (g - G) + sigma / (2 * root_b),
        uses={"against": 1 / (2 * s)},
        modulo=["toward_square", "toward_gradient"],
        why="divide by 2 s",
    )


def descent(d: Derivation) -> tuple[Any, ...]:
    """Coordinate descent lemma along the sign; the sums over coordinates and steps that both forms use."""
    delta, root_b, L_i, sigma, G, move, abs_G = sp.symbols("delta root_b L_i sigma G move abs_G")
    F_prev = d.symbol("F_prev", depends=("step",), latex="F(x_k)", meaning="loss before the step")
    F_next = d.symbol("F_next", depends=("step", "draw"), latex="F(x_{k+1})", meaning="loss after the step")
    F_start = d.symbol("F_start", latex="F(x_0)", meaning="initial loss")
    F_end = d.symbol("F_end", latex=r"E\,F(x_K)", meaning="expected final loss")
    d.symbol("F_star", latex="F_*", meaning="lower bound of F")
    d.chain("F", previous=F_prev, next=F_next, start=F_start, end=F_end)
    inner = d.define("inner", "coordinates", G * move, latex=r"\langle G,\mathrm{sign}(g)\rangle")
    square_latex = r"\sum_iL_i\mathrm{sign}(g_i)^2"
    curved = d.define("curved", "coordinates", L_i * move**2, sign="nonnegative", latex=square_latex)
    L_1 = d.define("L_1", "coordinates", L_i, sign="nonnegative", latex=r"\|L\|_1")
    norm_1 = d.define("norm_1", "coordinates", abs_G, sign="nonnegative", latex=r"\|\nabla F(x_k)\|_1")
    sigma_1 = d.define("sigma_1", "coordinates", sigma, sign="nonnegative", latex=r"\|\sigma\|_1")
    d.assume(
        "descent",
        F_prev - F_next - delta * inner + delta**2 * curved / 2,
        assumption="coordinate_smooth",
        why="coordinate smoothness along x_{k+1} - x_k = -delta sign(g)",
    )
    d.combine(
        "bounded_move",
        gap=L_i - L_i * move**2,
        uses={("at_most_one", "at_least_minus_one"): L_i},
        why="sign(g)^2 <= 1",
    )
    d.apply("curvature", "coordinates", "bounded_move", {L_1: 1, curved: -1}, why="sum over coordinates")
    d.define("T_F", "steps", F_next - F_prev)
    T_norm = d.define(
        "weighted_sum",
        "steps",
        delta * norm_1,
        sign="nonnegative",
        latex=r"E\sum_{k<K}\delta_k\|\nabla F(x_k)\|_1",
    )
    squares = d.define("squares", "steps", delta**2, sign="nonnegative", latex=r"E\sum\delta_k^2")
    noise = d.define(
        "noise_sum_over_steps",
        "steps",
        delta / root_b,
        sign="nonnegative",
        latex=r"E\sum\delta_k b_k^{-1/2}",
    )
    return inner, norm_1, L_1, sigma_1, T_norm, squares, noise


def end(d: Derivation, T_norm: Any, uses: dict[str, Any]) -> Derivation:
    """Telescope the loss and conclude."""
    F_next, F_start, F_star, T_F = sp.symbols("F_next F_start F_star T_F")
    d.telescope("telescope", T_F, "F", why="the loss telescopes")
    d.assume("below_next", F_next - F_star, assumption="bounded_below", why="F >= F_* after every step")
    d.assume("below_start", F_start - F_star, assumption="bounded_below", why="F >= F_* at the start")
    d.at_end("below_end", "below_next", "below_start", "F", why="E F(x_K) >= F_*")
    d.combine("assembled", uses={**uses, "telescope": 1, "below_end": 1}, why="everything together")
    d.conclude("assembled", T_norm, why="as it stands")
    return d


def sum_up(d: Derivation) -> Derivation:
    """Coordinate descent lemma along the sign, added up, with the factor 2."""
    delta, root_b, abs_e, mean_e = sp.symbols("delta root_b abs_e mean_e")
    inner, norm_1, L_1, sigma_1, T_norm, squares, noise = descent(d)
    error_1 = d.define("error_1", "coordinates", abs_e, sign="nonnegative", latex=r"\|g-\nabla F\|_1")
    error_mean = d.define(
        "error_mean", "coordinates", mean_e, sign="nonnegative", latex=r"E_k\|g-\nabla F\|_1"
    )
    d.apply(
        "sign_lemma_sum",
        "coordinates",
        "sign_lemma",
        {inner: 1, norm_1: -1, error_1: 2},
        why="sum over coordinates",
    )
    d.apply("noise_sum", "coordinates", "noise", {sigma_1: 1 / root_b, error_mean: -1}, why="sum")
    d.combine(
        "one_step",
        uses={"descent": 1, "curvature": delta**2 / 2, "sign_lemma_sum": delta},
        why="descent along the sign",
    )
    T_error = d.define("T_error", "steps", delta * error_1, sign="nonnegative")
    T_mean = d.define("T_mean", "steps", delta * error_mean, sign="nonnegative")
    d.apply(
        "one_step_total",
        "steps",
        "one_step",
        {sp.Symbol("T_F"): -1, T_norm: -1, T_error: 2, squares: L_1 / 2},
        why="expectation of the sum over steps",
    )
    d.tower("tower", T_mean, T_error, {error_mean: error_1}, why="tower property")
    d.scale("noise_weighted", "noise_sum", delta, why="times the step size")
    d.apply("noise_total", "steps", "noise_weighted", {noise: sigma_1, T_mean: -1}, why="sum over steps")
    return end(d, T_norm, {"one_step_total": 1, "tower": 2, "noise_total": 2})


@functools.cache
def right_hand_sides() -> tuple[Any, Any]:
    """The produced right-hand sides of ``any`` and ``unbiased``."""
    arguments = "Delta L_1 sigma_1 squares noise_sum_over_steps"
    return produced(biased(), arguments), produced(unbiased(), arguments)


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """The bound on the weighted sum of 1-norms; ``noise`` holds sigma_i, [d] or [..., d]."""
    if batch_size is None:
        raise input_error(
            got="no schedule", rule=f"{SLUG} needs the samples of every step", do="pass schedule=[b_0, ...]"
        )
    L_1, Delta = (np.asarray(constants[name], dtype=float) for name in ("L_1", "Delta"))
    sigma_1 = np.atleast_1d(np.asarray(constants["noise"], dtype=float)).sum(axis=-1)
    delta = per_step(constants["delta"], len(batch_size), "delta")
    squares, noise = (delta**2).sum(axis=-1), (delta / np.sqrt(batch_size)).sum(axis=-1)
    weight = delta.sum(axis=-1)
    total, half = (np.asarray(f(Delta, L_1, sigma_1, squares, noise)) for f in right_hand_sides())
    # At the start sum_i G_i^2/L_i <= 2 Delta, and Cauchy-Schwarz gives |G|_1 <= sqrt(2 |L|_1 Delta).
    trivial = weight * np.sqrt(2 * L_1 * Delta)
    return Evaluation(
        value=total[()],
        trivial_value=np.asarray(trivial)[()],
        parts={
            "weight": weight[()],
            "weighted_mean": (total / weight)[()],
            "unbiased": half[()],
            "unbiased_weighted_mean": (half / weight)[()],
            "noise": np.asarray(2 * sigma_1 * noise)[()],
            "curvature": np.asarray(L_1 * squares / 2)[()],
        },
    )


BOUND = Bound(
    slug=SLUG,
    title="Sign descent under any predictable batch schedule",
    algorithm="x_{k+1} = x_k - delta_k sign(g_k) with b_k samples in g_k",
    quantity="weighted_l1_gradient",
    quantity_latex=r"\mathbb E\sum_{k<K}\delta_k\|\nabla F(x_k)\|_1",
    statement_latex=r"\mathbb E\sum_{k<K}\delta_k\|\nabla F(x_k)\|_1\le\Delta"
    r"+\frac{\|L\|_1}2\,\mathbb E\sum_{k<K}\delta_k^2"
    r"+2\|\sigma\|_1\,\mathbb E\sum_{k<K}\frac{\delta_k}{\sqrt{b_k}},\quad"
    r"\text{with }\|\sigma\|_1\text{ in place of }2\|\sigma\|_1\text{ where }\mathbb E_kg_k=\nabla F(x_k)",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=(
        Parameter(name="delta", meaning="step size, one number or one per step", unit="param"),
        nonnegative_parameter("L_1", "sum of the coordinates' smoothness", "loss/param^2"),
        nonnegative_parameter("noise", "sigma_i of one sample, one per coordinate", "grad*samples^0.5"),
        nonnegative_parameter("Delta", "F(x_0) - F_*", "loss"),
    ),
    derive=derive,
    value=value,
    references=(SIGN_SGD,),
    notes=(
        "The noise term falls with sqrt(b) only: sign descent pays the noise at first order.",
        "The value is that of part any, without unbiasedness; parts hold the other as unbiased.",
        "The trivial value is sqrt(2 |L|_1 Delta) times the weight, the most that the start allows.",
        "The proof takes sigma_i > 0; sigma_i = 0 is its limit.",
    ),
)
