"""Pieces of the momentum form of flagship 1: a gradient drawn in step j acts in every step n >= j.

Index ``step`` is j and ``later`` is n. W weighs g_j in m_n; ``fade`` is 2^(-(D_n - D_j)/h), ``om`` the root
of the weight that the gradients of steps j..n have in v_n; ``after`` is 1 where n > j.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import sympy as sp

from bstheory.theory import adam_pieces as pieces
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_pairs import equal_sums, relabel

MOVING = (("v_l", "v_next"), ("m_l", "m"), ("P_l", "P"))
PAIR, LATE, LATE_COORDINATE = ("step", "later"), ("later",), ("coordinate", "later", "draw")


def declare(d: Derivation) -> None:
    """Symbols of pairs and of later steps, and the algorithm's recursions in unrolled form."""
    eps, R, g, G, v_next, L, alpha = sp.symbols("eps R g G v_next L alpha")
    for name in ("B", "c"):
        d.symbols[name] = dataclasses.replace(d.symbols[name], fixed=True)
    d.define("P", "root", eps + v_next, sign="positive", latex=r"\sqrt{\varepsilon+v_j}")
    m = d.symbol("m", depends=(*pieces.PER_COORDINATE, "draw"), latex="m_j", meaning="momentum")
    W = d.symbol("W", sign="nonnegative", depends=PAIR, latex="W_{n,j}", meaning="weight of g_j in m_n")
    fade = d.symbol("fade", sign="positive", depends=PAIR, latex=r"2^{-(D_n-D_j)/h}", meaning="from j to n")
    om = d.symbol("om", sign="positive", depends=PAIR, latex=r"\omega_{n,j}", meaning="root of a weight")
    after = d.symbol("after", sign="nonnegative", depends=PAIR, meaning="1 where n > j, else 0")
    lag = d.symbol("lag", sign="nonnegative", depends=PAIR, latex="n-j", meaning="steps between")
    past = d.symbol("past", sign="nonnegative", depends=("coordinate", *PAIR), meaning="part of v_n before j")
    recent = d.symbol(
        "recent", sign="nonnegative", depends=("coordinate", *PAIR, "draw"), meaning="part of v_n from j to n"
    )
    c_l = d.symbol("c_l", sign="positive", depends=LATE, latex="c_n", meaning="1 - beta_n")
    d.define("s_l", "root", c_l, sign="positive", latex=r"\sqrt{c_n}")
    v_l = d.symbol("v_l", sign="nonnegative", depends=LATE_COORDINATE, latex="v_n", meaning="v at n")
    P_l = d.define("P_l", "root", eps + v_l, sign="positive", latex=r"\sqrt{\varepsilon+v_n}")
    G_l = d.symbol("G_l", depends=LATE_COORDINATE, latex="G_n", meaning="gradient at n")
    m_l = d.symbol("m_l", depends=LATE_COORDINATE, latex="m_n", meaning="momentum at n")
    average = d.define("average", "lags", W * g, latex=r"\sum_{j\le n}W_{n,j}g_j")
    weights = d.define("weights", "lags", W, sign="nonnegative", latex=r"\sum_{j\le n}W_{n,j}")
    norm = d.define("norm", "coordinates", m**2 / sp.Symbol("P") ** 2, sign="nonnegative")
    way = d.define("way", "between", sp.Symbol("c") * norm, sign="nonnegative", latex=r"\sum_lc_l|m_l/P_l|^2")
    move = d.define("move", "coordinates", (G_l - G) ** 2, sign="nonnegative", latex=r"\|G_n-G_j\|^2")
    rule = {"assumption": "unrolled"}
    d.assume("unrolled", v_l - past - recent, relation="==", why="v_n, split at step j", **rule)
    d.assume("recent_bounded", R**2 * om**2 - recent, why="weights of j..n times R^2", **rule)
    d.assume("total_bounded", R**2 - past - R**2 * om**2, why="weights add up to at most 1", **rule)
    d.assume("faded", P_l**2 - fade * sp.Symbol("P") ** 2, why="eps + v_n >= fade (eps + v_j)", **rule)
    d.assume("average", m_l - average, relation="==", assumption="momentum", why="m_n is the average")
    d.assume("weights", 1 - weights, assumption="momentum", why="weights add up to at most 1")
    d.assume(
        "after_zero", (1 - after) * (G_l - G), relation="==", assumption="momentum", why="G_n = G_j at n = j"
    )
    d.assume(
        "path",
        after * (L**2 * alpha**2 * lag * way - move),
        assumption="smooth",
        by=["cauchy_schwarz"],
        why="|grad F(x_{n-1}) - grad F(x_{j-1})|^2 <= L^2 (n - j) sum of squared steps between",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """Which algorithm: weights of its momentum and of its steps, as expressions in declared symbols.

    Attributes:
        W: weight of g_j in m_n.
        s, s_l: x_n = x_{n-1} - alpha s m_n/P_n, at step j and at step n.
        c, c_l: their squares.
        kept: what is left of s_l over the bound of the denominator; the left side weighs with kept W.
        gain: weight of g_j^2/P_j^2 in the log-sum lemma.
        error: the lagged lemma costs error om/(4y) g_j^2/P_n^2, established under the name ``one_step``.
        after: 1 where n > j, 0 where n = j.
        twins: symbols at n with their counterparts at j, which the step itself and its norm are made of.
        largest: establishes the largest sums of the schedule; None declares and assumes them.
    """

    W: Any
    s: Any
    s_l: Any
    c: Any
    c_l: Any
    kept: Any
    gain: Any
    error: Any
    after: Any
    one_step: str
    twins: tuple[tuple[str, str], ...]
    largest: Callable[[Derivation, str, sp.Symbol], Any] | None = None


HALF_LIFE = Form(
    W=sp.Symbol("W"),
    s=sp.Symbol("s"),
    s_l=sp.Symbol("s_l"),
    c=sp.Symbol("c"),
    c_l=sp.Symbol("c_l"),
    kept=sp.Symbol("s_l"),
    gain=sp.Symbol("c"),
    error=sp.Symbol("R"),
    after=sp.Symbol("after"),
    one_step="one_step",
    twins=(("c_l", "c"), ("s_l", "s")),
)
USUAL_RHO = sp.Symbol("R") * sp.Symbol("om")


def usual_order(d: Derivation, Z: Any, root_Q: str) -> None:
    """Q <= Z = sqrt(eps + R^2)."""
    over = 1 / (Z + sp.Symbol("Q"))
    d.combine(
        "root_order",
        gap=Z - sp.Symbol("Q"),
        uses={d.definition(Z): over, root_Q: -over, "total_bounded": over},
        why="Q <= sqrt(eps + R^2)",
    )


def lagged_lemma(
    d: Derivation,
    y: Any,
    kappa: Any,
    Z: Any,
    *,
    rho: Any = USUAL_RHO,
    order: Callable[[Derivation, Any, str], None] = usual_order,
) -> None:
    """E_{j-1} G_j g_j/P_n >= kappa G_j^2/Z - rho/(4y) E_{j-1} g_j^2/P_n^2, the step ``one_step``.

    ``order`` establishes ``root_order``: Z - Q >= 0.
    """
    G, g, absG, absg, P, past, recent, eps = sp.symbols("G g absG absg P_l past recent eps")
    Q = d.define("Q", "root", eps + past + rho**2, sign="positive", latex=r"\sqrt{\varepsilon+\tilde v}")
    mean_gP = d.define("mean_gP", "mean", g / P, latex=r"E_{j-1}\frac{g_j}{\sqrt{\varepsilon+v_n}}")
    mean_g2P2 = d.define("mean_g2P2", "mean", g**2 / P**2, sign="nonnegative")
    mean_g = sp.Symbol("mean_g")
    root_P, root_Q = d.definition(P), d.definition(Q)
    G_above, G_below, G_square = pieces.absolutes(d, "absG")
    g_above, g_below, g_square = pieces.absolutes(d, "absg")
    d.combine(
        "bounded_noise",
        gap=Q - rho,
        uses={root_Q: 1 / (Q + rho)},
        slack=(eps + past) / (Q + rho),
        why="R om <= Q",
    )
    d.combine(
        "inverse_root_difference",
        gap=1 / P - 1 / Q - (rho**2 - recent) / (P * Q * (P + Q)),
        relation="==",
        modulo=[root_P, root_Q, "unrolled"],
        why="difference of inverse roots",
        lemma="inverse_root_difference",
    )
    share = 1 / (P * Q * (P + Q))
    d.combine(
        "worst_sign",
        gap=(G * g * (rho**2 - recent) + absG * absg * rho**2) * share,
        uses={
            (G_below, g_below, "recent_bounded"): share / 2,
            (G_above, g_above, "recent_bounded"): share / 2,
        },
        slack=absG * absg * recent * share,
        why="v_n is at most what the almost sure bound gives: one sign only",
    )
    d.combine(
        "young_past",
        gap=y * G**2 / Q + rho * g**2 / (4 * y * P**2) - absG * absg * rho**2 * share,
        uses={
            "bounded_noise": rho * g**2 * (Q**2 + Q * rho + rho**2) / (4 * y * P**2 * Q**3),
            G_square: -y / Q,
            g_square: -(rho**4) / (4 * y * P**2 * Q**3),
        },
        squares=[(y / Q, absG - absg * rho**2 / (2 * y * P * Q))],
        slack=absG * absg * rho**2 / (Q**2 * (P + Q)),
        why="Young's inequality, then R om <= Q",
        lemma="young_past",
    )
    d.combine(
        "pathwise",
        gap=G * g / P - G * g / Q + y * G**2 / Q + rho * g**2 / (4 * y * P**2),
        uses={"worst_sign": 1, "young_past": 1, "inverse_root_difference": G * g},
        why="the pieces together, before taking the conditional mean",
    )
    d.apply(
        "conditional",
        "mean",
        "pathwise",
        {mean_gP: G, mean_g: -G / Q, mean_g2P2: rho / (4 * y), "1": y * G**2 / Q},
        why="conditional expectation given the past of step j; the schedule is fixed, Q and G are known",
    )
    order(d, Z, root_Q)
    d.combine(
        "one_step",
        gap=G * mean_gP - kappa * G**2 / Z + rho * mean_g2P2 / (4 * y),
        uses={"conditional": 1, "unbiased": G / Q, "root_order": kappa * G**2 / (Q * Z)}
        | ({"young_choice": -(G**2) / Q} if "young_choice" in d.steps else {}),
        why="E g = G, and the denominator is bounded",
        lemma="one_step",
    )


def pair_sums(
    d: Derivation, y: Any, kappa: Any, tau: Any, Z: Any, *, form: Form = HALF_LIFE, total_Z: Any = None
) -> None:
    """E sum s_n sum_i G_n m_n/P_n from below by the weighted sum and what errors and drift cost.

    ``total_Z`` is Z kept/s_l, a constant; Z where that is not given.
    """
    G, g, G_l, P_l, om, lag, R, L, alpha = sp.symbols("G g G_l P_l om lag R L alpha")
    W, s_l, c, s, after, error = form.W, form.s_l, form.c, form.s, form.after, form.error
    total_Z = Z if total_Z is None else total_Z
    mean_gP, mean_g2P2, way, move, norm, m, P = sp.symbols("mean_gP mean_g2P2 way move norm m P")
    m_l, average = sp.symbols("m_l average")
    square = d.define("square", "coordinates", G**2, sign="nonnegative", latex=r"\|\nabla F(x_{j-1})\|^2")
    C = {
        name: d.define(name, "coordinates", of, sign="nonnegative" if "noise" in name else "real")
        for name, of in (
            ("cross", G * g / P_l),
            ("cross_mean", G * mean_gP),
            ("noise", g**2 / P_l**2),
            ("noise_mean", mean_g2P2),
            ("shift", (G_l - G) * g / P_l),
            ("full", G_l * g / P_l),
        )
    }
    weight = s_l * W
    T = {
        name: d.define(f"T_{name}", "pairs", of)
        for name, of in (
            ("cross", weight * C["cross"]),
            ("cross_mean", weight * C["cross_mean"]),
            ("noise", weight * om * C["noise"]),
            ("noise_mean", weight * om * C["noise_mean"]),
            ("square", form.kept * W * square),
            ("shift", weight * C["shift"]),
            ("full", weight * C["full"]),
            ("noise_after", weight * after * om * C["noise"]),
        )
    }
    d.apply(
        "one_step_sum",
        "coordinates",
        form.one_step,
        {C["cross_mean"]: 1, square: -kappa / Z, C["noise_mean"]: error * om / (4 * y)},
        why="sum over coordinates",
    )
    d.combine("one_step_weighted", uses={"one_step_sum": weight}, why="times the weights")
    d.apply(
        "one_step_total",
        "pairs",
        "one_step_weighted",
        {T["cross_mean"]: 1, T["square"]: -kappa / total_Z, T["noise_mean"]: error / (4 * y)},
        why="expectation of the sum over pairs",
    )
    for name in ("cross", "noise"):
        equal_sums(d, f"tower_{name}", "pairs_tower", T[f"{name}_mean"], T[name], why="tower property")
    w_hat = d.define("w_hat", "futures", form.kept * W, sign="nonnegative", latex=r"\hat w_j")
    T_w = d.define(
        "weighted_sum",
        "steps",
        w_hat * square,
        sign="nonnegative",
        latex=r"E\sum_j\hat w_j|\nabla F_j|^2",
    )
    equal_sums(d, "weights_total", "pairs_by_step", T_w, T["square"], why="sum over n first")
    rho = R * om
    d.combine(
        "drift",
        gap=(G_l - G) * g / P_l + after * (tau * rho * g**2 / P_l**2 + (G_l - G) ** 2 / (4 * tau * rho)),
        uses={"after_zero": g / P_l},
        squares=[(after / (4 * tau * rho), G_l - G + 2 * tau * rho * g / P_l)],
        why="Young's inequality for the drift of the gradient",
    )
    d.apply(
        "drift_sum",
        "coordinates",
        "drift",
        {C["shift"]: 1, C["noise"]: after * tau * rho, move: after / (4 * tau * rho)},
        why="sum over coordinates",
    )
    kernel = weight * after * lag / om
    d.combine(
        "drift_weighted",
        gap=weight * C["shift"]
        + tau * R * weight * after * om * C["noise"]
        + L**2 * alpha**2 / (4 * tau * R) * kernel * way,
        uses={"drift_sum": weight, "path": weight / (4 * tau * rho)},
        why="smoothness along the path",
    )
    T_way = d.define("T_way", "pairs", kernel * way, sign="nonnegative")
    d.apply(
        "drift_total",
        "pairs",
        "drift_weighted",
        {T["shift"]: 1, T["noise_after"]: tau * R, T_way: L**2 * alpha**2 / (4 * tau * R)},
        why="expectation of the sum over pairs",
    )
    across = d.define("lag_3", "across", kernel, sign="nonnegative")
    T_across = d.define("T_across", "steps", c * norm * across, sign="nonnegative")
    T_norm = d.define("T_norm", "steps", c * norm, sign="nonnegative", latex="T_{norm}")
    equal_sums(
        d,
        "way_total",
        "pairs_across",
        T_way,
        T_across,
        why="sum over the steps between",
        between="way",
        across="lag_3",
    )
    if form.largest is None:
        C_3: Any = d.symbol(
            "C_3", sign="nonnegative", latex="C_3", meaning="largest sum of weights across a step"
        )
        d.assume("C_3", C_3 - across, assumption="lag_constants", why="definition of C_3")
    else:
        C_3 = form.largest(d, "C_3", across)
    d.combine("across_bounded", uses={"C_3": c * norm}, why="times c |m/P|^2")
    d.apply("across_total", "steps", "across_bounded", {T_norm: C_3, T_across: -1}, why="sum over steps")
    # The step itself: sum over n of s_n G_n m_n/P_n.
    inner, inner_l, mixed = (
        d.define(name, "coordinates", of)
        for name, of in (("inner", G * m / P), ("inner_l", G_l * m_l / P_l), ("mixed", G_l * average / P_l))
    )
    T_inner = d.define("T_inner", "steps", s * inner)
    T_inner_l = d.define("T_inner_l", "laters", s_l * inner_l)
    T_mixed = d.define("T_mixed", "laters", s_l * mixed)
    twins = (*form.twins, *MOVING, ("G_l", "G"), ("inner_l", "inner"))
    relabel(d, "same_inner", T_inner_l, T_inner, dict(twins), why="n for j")
    d.combine("mixed_term", uses={"average": G_l / P_l}, relation="==", why="m_n is the average")
    d.apply("mixed_sum", "coordinates", "mixed_term", {inner_l: 1, mixed: -1}, why="sum over coordinates")
    d.scale("mixed_weighted", "mixed_sum", s_l, why="times the weight")
    d.apply("mixed_total", "laters", "mixed_weighted", {T_inner_l: 1, T_mixed: -1}, why="sum over n")
    equal_sums(d, "full_total", "pairs_by_later", T_mixed, T["full"], why="the average is a sum over j")
    d.combine(
        "full_term",
        gap=G_l * g / P_l - G * g / P_l - (G_l - G) * g / P_l,
        relation="==",
        why="the gradient of step j, and its drift",
    )
    d.apply(
        "full_sum",
        "coordinates",
        "full_term",
        {C["full"]: 1, C["cross"]: -1, C["shift"]: -1},
        why="coordinates",
    )
    d.combine("full_weighted", uses={"full_sum": weight}, relation="==", why="times the weights")
    d.apply(
        "full_split",
        "pairs",
        "full_weighted",
        {T["full"]: 1, T["cross"]: -1, T["shift"]: -1},
        why="sum over pairs",
    )


def lag_sums(d: Derivation, *, form: Form = HALF_LIFE) -> dict[str, Any]:
    """Errors, drift and |m/P|^2 against T_gain = E sum_j gain_j sum_i g_j^2/P_j^2: C_A, C_A2 and C_2."""
    g, P, P_l, om, fade, m_l = sp.symbols("g P P_l om fade m_l")
    W, s_l, c_l, after, c = form.W, form.s_l, form.c_l, form.after, form.gain
    noise, T_noise, T_noise_after, T_norm = sp.symbols("noise T_noise T_noise_after T_norm")
    d.combine(
        "faded_noise",
        gap=g**2 / (fade * P**2) - g**2 / P_l**2,
        uses={"faded": g**2 / (fade * P**2 * P_l**2)},
        why="the denominator fades by 2^(-(D_n - D_j)/h) at most",
    )
    plain = d.define("plain", "coordinates", g**2 / P**2, sign="nonnegative")
    gain = d.define("gain_sum", "coordinates", c * g**2 / P**2, sign="nonnegative")
    T_gain = d.define("T_gain", "steps", gain, sign="nonnegative", latex="T_{gain}")
    d.combine("nothing", gap=0, relation="==", why="nothing")
    d.apply("gain_plain", "coordinates", "nothing", {gain: 1, plain: -c}, why="c_j is one number")
    d.apply(
        "faded_sum", "coordinates", "faded_noise", {plain: 1 / fade, noise: -1}, why="sum over coordinates"
    )
    d.combine("second", squares=[(W, g - m_l)], why="a square")
    weighed = d.define("weighed_square", "lags", W * g**2, sign="nonnegative")
    average, weights = sp.symbols("average weights")
    d.apply(
        "second_lags", "lags", "second", {weighed: 1, average: -2 * m_l, weights: m_l**2}, why="sum over j"
    )
    d.combine(
        "jensen",
        gap=weighed / P_l**2 - m_l**2 / P_l**2,
        uses={
            "second_lags": 1 / P_l**2,
            "average": -2 * m_l / P_l**2,
            "weights": m_l**2 / P_l**2,
        },
        why="m_n^2 <= sum_j W g_j^2, as the weights add up to at most 1",
    )
    norm_l, weighed_l = (
        d.define(name, "coordinates", of, sign="nonnegative")
        for name, of in (("norm_l", m_l**2 / P_l**2), ("weighed_l", weighed / P_l**2))
    )
    T_norm_l = d.define("T_norm_l", "laters", c_l * norm_l, sign="nonnegative")
    T_weighed = d.define("T_weighed", "laters", c_l * weighed_l, sign="nonnegative")
    T_second = d.define("T_second", "pairs", c_l * W * noise, sign="nonnegative")
    twins = [pair for pair in form.twins if pair[0] == str(c_l)]
    twins += [*MOVING, ("norm_l", "norm")]
    relabel(d, "same_norm", T_norm_l, T_norm, dict(twins), why="n for j")
    d.apply("jensen_sum", "coordinates", "jensen", {weighed_l: 1, norm_l: -1}, why="sum over coordinates")
    d.combine("jensen_weighted", uses={"jensen_sum": c_l}, why="times c_n")
    d.apply("jensen_total", "laters", "jensen_weighted", {T_weighed: 1, T_norm_l: -1}, why="sum over n")
    equal_sums(d, "second_total", "pairs_by_later", T_weighed, T_second, why="sum over pairs")
    sums = {
        "C_A": (s_l * W * om, T_noise),
        "C_A2": (s_l * W * after * om, T_noise_after),
        "C_2": (c_l * W, T_second),
    }
    constants: dict[str, Any] = {}
    for name, (weight, total) in sums.items():
        constant: Any = None
        if form.largest is None:
            constant = d.symbol(name, sign="nonnegative", meaning="lag constant of the schedule")
        lag = d.define(f"lag_{name}", "futures", weight / fade, sign="nonnegative")
        T_faded = d.define(f"T_faded_{name}", "pairs", weight / fade * plain, sign="nonnegative")
        T_lag = d.define(f"T_lag_{name}", "steps", plain * lag, sign="nonnegative")
        if form.largest is None:
            d.assume(name, constant * c - lag, assumption="lag_constants", why=f"definition of {name}")
        else:
            constant = form.largest(d, name, lag)
        d.combine(f"faded_{name}", uses={"faded_sum": weight}, why="times the weights")
        d.apply(
            f"faded_{name}_total", "pairs", f"faded_{name}", {T_faded: 1, total: -1}, why="sum over pairs"
        )
        equal_sums(d, f"by_step_{name}", "pairs_by_step", T_lag, T_faded, why="sum over n first")
        d.combine(
            f"bounded_{name}",
            gap=constant * gain - plain * lag,
            uses={name: plain, "gain_plain": constant},
            why="the constant of the schedule",
        )
        d.apply(
            f"bounded_{name}_total", "steps", f"bounded_{name}", {T_gain: constant, T_lag: -1}, why="steps"
        )
        d.combine(
            f"lagged_{name}",
            gap=constant * T_gain - total,
            uses={f"faded_{name}_total": 1, f"by_step_{name}": 1, f"bounded_{name}_total": 1},
            why="together",
        )
        constants[name] = constant
    return constants
