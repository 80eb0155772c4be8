"""Sign descent under any predictable batch and step-size schedule.

Algorithm: x_{k+1} = x_k - delta_k sign(g_k), b_k samples in g_k. With coordinate smoothness L_i,
F(y) <= F(x) + <grad F(x), y - x> + sum_i L_i (y_i - x_i)^2/2, and E_k (g_{k,i} - G_i)^2 <= sigma_i^2/b_k,

**Upper** bound:

    E sum_k delta_k |grad F(x_k)|_1
        <= Delta + (|L|_1/2) E sum_k delta_k^2 + 2 |sigma|_1 E sum_k delta_k/sqrt(b_k).

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
)


def derive() -> Derivation:
    """Sign and gradient, conditional mean, coordinate descent lemma, telescope."""
    d = Derivation(SLUG, "Sign descent, any predictable batch schedule")
    sign_lemma(d)
    return sum_up(d)


def sign_lemma(d: Derivation) -> None:
    """G sign(g) >= |G| - 2 |g - G|, and E|g - G| <= sigma/sqrt(b)."""
    coordinate = ("coordinate", "step")
    d.symbol("delta", sign="positive", depends=("step",), latex=r"\delta_k", meaning="step size")
    b = d.symbol("b", sign="positive", depends=("step",), latex="b_k", meaning="samples of step k")
    root_b = d.define("root_b", "root", b, sign="positive", latex=r"\sqrt{b_k}")
    d.symbol(
        "L_i", sign="nonnegative", depends=("coordinate",), latex="L_i", meaning="smoothness of coordinate i"
    )
    sigma = d.symbol(
        "sigma", sign="positive", depends=("coordinate",), latex=r"\sigma_i", meaning="noise of one sample"
    )
    G = d.symbol("G", depends=coordinate, latex="G", meaning="coordinate of grad F(x_k)")
    g = d.symbol("g", depends=(*coordinate, "draw"), latex="g", meaning="coordinate of g_k")
    move = d.symbol("move", depends=(*coordinate, "draw"), latex=r"\mathrm{sign}(g)", meaning="sign of g")
    abs_G = d.define("abs_G", "absolute", G, sign="nonnegative", latex="|G|")
    abs_g = d.define("abs_g", "absolute", g, sign="nonnegative", latex="|g|")
    abs_e = d.define("abs_e", "absolute", g - G, sign="nonnegative", latex="|g-G|")
    mean_e = d.define("mean_e", "mean", abs_e, sign="nonnegative", latex="E_k|g-G|")
    mean_e2 = d.define("mean_e2", "mean", (g - G) ** 2, sign="nonnegative", latex="E_k(g-G)^2")
    d.assume("aligned", move * g - abs_g, relation="==", assumption="sign_update", why="g sign(g) = |g|")
    d.assume("at_most_one", 1 - move, assumption="sign_update", why="sign(g) <= 1")
    d.assume("at_least_minus_one", 1 + move, assumption="sign_update", why="sign(g) >= -1")
    d.assume("variance", sigma**2 / b - mean_e2, assumption="coordinate_variance", why="at most sigma^2/b")
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


def sum_up(d: Derivation) -> Derivation:
    """Coordinate descent lemma along the sign, added up."""
    delta, root_b, L_i, sigma, G, move, abs_G, abs_e, mean_e = sp.symbols(
        "delta root_b L_i sigma G move abs_G abs_e mean_e"
    )
    F_prev = d.symbol("F_prev", depends=("step",), latex="F(x_k)", meaning="loss before the step")
    F_next = d.symbol("F_next", depends=("step", "draw"), latex="F(x_{k+1})", meaning="loss after the step")
    F_start = d.symbol("F_start", latex="F(x_0)", meaning="initial loss")
    F_end = d.symbol("F_end", latex=r"E\,F(x_K)", meaning="expected final loss")
    F_star = d.symbol("F_star", latex="F_*", meaning="lower bound of F")
    d.chain("F", previous=F_prev, next=F_next, start=F_start, end=F_end)
    inner = d.define("inner", "coordinates", G * move, latex=r"\langle G,\mathrm{sign}(g)\rangle")
    curved = d.define("curved", "coordinates", L_i * move**2, sign="nonnegative")
    L_1 = d.define("L_1", "coordinates", L_i, sign="nonnegative", latex=r"\|L\|_1")
    norm_1 = d.define("norm_1", "coordinates", abs_G, sign="nonnegative", latex=r"\|\nabla F(x_k)\|_1")
    error_1 = d.define("error_1", "coordinates", abs_e, sign="nonnegative", latex=r"\|g-\nabla F\|_1")
    error_mean = d.define("error_mean", "coordinates", mean_e, sign="nonnegative")
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
    T_F = d.define("T_F", "steps", F_next - F_prev)
    T_norm = d.define(
        "weighted_sum",
        "steps",
        delta * norm_1,
        sign="nonnegative",
        latex=r"E\sum_{k<K}\delta_k\|\nabla F(x_k)\|_1",
    )
    T_error = d.define("T_error", "steps", delta * error_1, sign="nonnegative")
    T_mean = d.define("T_mean", "steps", delta * error_mean, sign="nonnegative")
    squares = d.define("squares", "steps", delta**2, sign="nonnegative", latex=r"E\sum\delta_k^2")
    noise = d.define(
        "noise_sum_over_steps",
        "steps",
        delta / root_b,
        sign="nonnegative",
        latex=r"E\sum\delta_k b_k^{-1/2}",
    )
    d.apply(
        "one_step_total",
        "steps",
        "one_step",
        {T_F: -1, T_norm: -1, T_error: 2, squares: L_1 / 2},
        why="expectation of the sum over steps",
    )
    d.tower("tower", T_mean, T_error, {error_mean: error_1}, why="tower property")
    d.scale("noise_weighted", "noise_sum", delta, why="times the step size")
    d.apply("noise_total", "steps", "noise_weighted", {noise: sigma_1, T_mean: -1}, why="sum over steps")
    d.telescope("telescope", T_F, "F", why="the loss telescopes")
    d.assume("below_next", F_next - F_star, assumption="bounded_below", why="F >= F_* after every step")
    d.assume("below_start", F_start - F_star, assumption="bounded_below", why="F >= F_* at the start")
    d.at_end("below_end", "below_next", "below_start", "F", why="E F(x_K) >= F_*")
    d.combine(
        "assembled",
        uses={"one_step_total": 1, "tower": 2, "noise_total": 2, "telescope": 1, "below_end": 1},
        why="everything together",
    )
    d.conclude("assembled", T_norm, why="as it stands")
    return d


@functools.cache
def right_hand_side() -> Any:
    """The produced right-hand side."""
    return produced(derive(), "Delta L_1 sigma_1 squares noise_sum_over_steps")


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
    total = np.asarray(right_hand_side()(Delta, L_1, sigma_1, squares, noise))
    # At the start sum_i G_i^2/L_i <= 2 Delta, and Cauchy-Schwarz gives |G|_1 <= sqrt(2 |L|_1 Delta).
    trivial = weight * np.sqrt(2 * L_1 * Delta)
    return Evaluation(
        value=total[()],
        trivial_value=np.asarray(trivial)[()],
        parts={
            "weight": weight[()],
            "weighted_mean": (total / weight)[()],
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
    r"+2\|\sigma\|_1\,\mathbb E\sum_{k<K}\frac{\delta_k}{\sqrt{b_k}}",
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
        "The trivial value is sqrt(2 |L|_1 Delta) times the weight, the most that the start allows.",
        "The proof takes sigma_i > 0; sigma_i = 0 is its limit.",
    ),
)
