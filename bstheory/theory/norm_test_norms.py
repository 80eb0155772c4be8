"""Pieces shared by the forms of flagship 2: the decay of sqrt(v), its sum, and the l1 norm."""

from __future__ import annotations

from typing import Any

import sympy as sp

from bstheory.theory.derivation import Derivation
from bstheory.theory.norm_test import Coefficients


def decay(d: Derivation, y: Any) -> None:
    """sqrt(v_{k-1}) >= t_{k-1} sqrt(v_0), t_k the product of the sqrt(beta2).

    Needs t_above and t_below, the two halves of t = y t_prev, and t_zero where the chain does not start at 1.
    """
    q, q_prev, q_start, t, t_prev = sp.symbols("q q_prev q_start t t_prev")
    step = {"root_grows": 1, "t_below": q_start}
    t_0 = d.parse(d.chains["t"]["start"])
    zero = {} if t_0 == 1 else {"t_zero": q_start}
    d.hypothesis("decay_before", q_prev - t_prev * q_start, why="v decays by beta2 at most")
    d.combine("decay_after", gap=q - t * q_start, uses={"decay_before": y, **step}, why="one step later")
    d.combine("decay_start", gap=(1 - t_0) * q_start, uses=zero, why="t_0 = 1")
    d.induction("decay", "decay_before", "decay_after", "decay_start", ["q", "t"], why="induction")
    d.combine("decay_next", gap=q - t * q_start, uses={"decay": y, **step}, why="after every step")


def root_growth(d: Derivation, k: Coefficients) -> None:
    """sqrt(v_k) <= y sqrt(v_{k-1}) + c g^2/(2 y sqrt(v_{k-1})), the step ``root_growth``."""
    g, q, q_prev = sp.symbols("g q q_prev")
    past = k.y * q_prev
    rise = k.c * g**2 / (2 * past)
    over = 1 / (past + rise + q)
    d.combine(
        "root_growth",
        gap=past + rise - q,
        uses={
            d.definition(q): -over,
            d.definition(q_prev): k.y**2 * over,
            "second_moment": -over,
        },
        slack=rise**2 * over,
        why="sqrt(x + h) <= sqrt(x) + h/(2 sqrt(x))",
    )


def root_sum(d: Derivation, k: Coefficients, *, y_bar: Any, z: Any, c_max: Any) -> Any:
    """T = E sum_k sum_i sqrt(vt) <= |sqrt(v_0)|_1 E sum_k t_k + y_bar c_max s/(2 z) S, the step ``roots``.

    Needs ybar_rule (y_bar >= y), z_rule (z = 1 - y_bar), c_rule (c_max >= c). Returns the right side.
    """
    g, q, q_prev, q_start, t, t_prev, growth = sp.symbols("g q q_prev q_start t t_prev s")
    noise, S = sp.symbols("noise S")
    past = k.y * q_prev
    root_growth(d, k)
    names = ("excess_prev", "excess", "excess_start")
    t_0 = d.parse(d.chains["t"]["start"])
    values = (q_prev - t_prev * q_start, q - t * q_start, q_start - t_0 * q_start)
    before, after, start = (d.define(n, "equals", v) for n, v in zip(names, values, strict=True))
    d.chain("excess", previous=before, next=after, start=start)
    d.combine("excess_prev_sign", gap=before, uses={"decay": 1, d.definition(before): 1}, why="decay")
    d.combine("excess_sign", gap=after, uses={"decay_next": 1, d.definition(after): 1}, why="decay")
    none = {d.definition(start): 1} | ({} if t_0 == 1 else {"t_zero": q_start})
    d.combine("excess_none", gap=start, uses=none, relation="==", why="t_0 = 1")
    d.combine(
        "excess_step",
        gap=before - after + c_max * g**2 / (2 * past) - z * before,
        uses={
            "root_growth": 1,
            "c_rule": g**2 / (2 * past),
            ("ybar_rule", "excess_prev_sign"): 1,
            "z_rule": -before,
            d.definition(before): k.y,
            d.definition(after): -1,
            "t_above": q_start,
        },
        why="what exceeds the decay itself decays by y_bar and gains from the gradient",
    )
    sums = {name: d.define(f"{name}s", "coordinates", sp.Symbol(name)) for name in names}
    end = d.symbol("excess_end", meaning="expected excess at the end")
    d.chain("excesses", previous=sums[names[0]], next=sums[names[1]], start=sums[names[2]], end=end)
    d.apply("excess_signs", "coordinates", "excess_sign", {sums["excess"]: 1}, why="sum")
    d.apply("excess_nones", "coordinates", "excess_none", {sums["excess_start"]: 1}, why="sum")
    d.combine("excess_start_sign", gap=sums["excess_start"], uses={"excess_nones": 1}, why="nothing at start")
    d.at_end("excess_end_sign", "excess_signs", "excess_start_sign", "excesses", why="at the end")
    d.apply(
        "excess_sum",
        "coordinates",
        "excess_step",
        {sums["excess_prev"]: 1 - z, sums["excess"]: -1, noise: c_max / 2},
        why="sum over coordinates",
    )
    T_excess = d.define("T_excess", "steps", sums["excess_prev"])
    T_change = d.define("T_excess_change", "steps", sums["excess"] - sums["excess_prev"])
    T_plain = d.define("T_plain", "steps", noise, sign="nonnegative")
    T_plain_mean = d.define("T_plain_mean", "steps", sp.Symbol("noise_mean"), sign="nonnegative")
    d.apply(
        "excess_total",
        "steps",
        "excess_sum",
        {T_change: -1, T_excess: -z, T_plain: c_max / 2},
        why="expectation of the sum over steps",
    )
    d.telescope("telescope_excess", T_change, "excesses", why="the excess telescopes")
    d.tower("tower_plain", T_plain_mean, T_plain, {sp.Symbol("noise_mean"): noise}, why="tower property")
    d.apply("plain_total", "steps", "noise_sum", {S: growth, T_plain_mean: -1}, why="sum over steps")
    roots = d.define("roots_sum", "coordinates", past, sign="positive", latex=r"\sum_i\sqrt{\tilde v_{k,i}}")
    root_start = d.define("root_start", "coordinates", q_start, sign="positive", latex=r"\|\sqrt{v_0}\|_1")
    T_roots = d.define("T_roots", "steps", roots, sign="nonnegative", latex="T")
    T_t = d.define("T_t", "steps", t, sign="nonnegative", latex=r"E\sum_kt_k")
    d.combine(
        "root_split",
        gap=y_bar * before + t * q_start - past,
        uses={
            ("ybar_rule", "excess_prev_sign"): 1,
            d.definition(before): k.y,
            "t_above": q_start,
        },
        why="sqrt(vt) is the decay and the excess",
    )
    d.apply(
        "root_split_sum",
        "coordinates",
        "root_split",
        {sums["excess_prev"]: y_bar, root_start: t, roots: -1},
        why="sum over coordinates",
    )
    d.apply(
        "root_split_total",
        "steps",
        "root_split_sum",
        {T_excess: y_bar, T_t: root_start, T_roots: -1},
        why="expectation of the sum over steps",
    )
    right = root_start * T_t + y_bar * c_max * growth * S / (2 * z)
    d.combine(
        "roots",
        gap=right - T_roots,
        uses={
            "root_split_total": 1,
            "excess_total": y_bar / z,
            "telescope_excess": y_bar / z,
            "excess_end_sign": y_bar / z,
            "excess_nones": -y_bar / z,
            "tower_plain": y_bar * c_max / (2 * z),
            "plain_total": y_bar * c_max / (2 * z),
        },
        why="the sum of the roots",
    )
    return right


def l1_norm(d: Derivation, k: Coefficients, *, S_bound: Any, fact: str, right: Any) -> None:
    """E sum |G|_1 <= sqrt(S_0 T_0): Young's inequality at the best constant; ``fact`` is S_0 - S >= 0.

    ``right`` is the right side of ``roots`` as a function of S. Leaves the step ``l1`` and concludes with it.
    """
    G, q_prev, S = sp.symbols("G q_prev S")
    past = k.y * q_prev
    absG = d.define("absG", "absolute", G, sign="nonnegative", latex="|G|")
    T_bound = right.subs(S, sp.Symbol("S_0"))
    S_0 = d.define("S_0", "equals", S_bound, sign="positive", latex="S_0", meaning="bound on S")
    T_0 = d.define("T_0", "equals", T_bound, sign="positive", latex="T_0", meaning="bound on T")
    r_S = d.define("root_S_0", "root", S_0, sign="positive", latex=r"\sqrt{S_0}")
    r_T = d.define("root_T_0", "root", T_0, sign="positive", latex=r"\sqrt{T_0}")
    mu = d.define(
        "mu", "equals", r_T / r_S, sign="positive", latex=r"\mu", meaning="weight of Young's inequality"
    )
    _, _, square = d.absolute(absG)
    d.combine(
        "young_l1",
        gap=mu * G**2 / (2 * past) + past / (2 * mu) - absG,
        squares=[(1 / (2 * mu * past), mu * absG - past)],
        uses={square: -mu / (2 * past)},
        why="Young's inequality",
    )
    norm = d.define("norm1", "coordinates", absG, sign="nonnegative", latex=r"\|G_k\|_1")
    gain, roots = sp.symbols("gain roots_sum")
    T_1 = d.define("T_1", "steps", norm, sign="nonnegative", latex=r"E\sum_k\|\nabla F(w_k)\|_1")
    d.apply(
        "young_l1_sum",
        "coordinates",
        "young_l1",
        {gain: mu / 2, roots: 1 / (2 * mu), norm: -1},
        why="coordinates",
    )
    d.apply(
        "young_l1_total",
        "steps",
        "young_l1_sum",
        {S: mu / 2, sp.Symbol("T_roots"): 1 / (2 * mu), T_1: -1},
        why="expectation of the sum over steps",
    )
    growth_of_T = sp.diff(right, S)
    d.combine(
        "S_bounded", gap=S_0 - S, uses={fact: 1, d.definition(S_0): 1}, why="the bound on S, by its name"
    )
    d.combine(
        "T_bounded",
        gap=T_0 - sp.Symbol("T_roots"),
        uses={"roots": 1, "S_bounded": growth_of_T, d.definition(T_0): 1},
        why="the bound on T, by its name",
    )
    d.combine(
        "l1",
        gap=r_S * r_T - T_1,
        uses={
            "young_l1_total": 1,
            "S_bounded": mu / 2,
            "T_bounded": 1 / (2 * mu),
            d.definition(r_S): mu / 2,
            d.definition(r_T): 1 / (2 * mu),
            d.definition(mu): r_S * r_T / (2 * mu) - r_S**2 / 2,
        },
        why="the weight makes both halves equal",
    )
    d.conclude("l1", T_1, why="E sum |G|_1 <= sqrt(S_0 T_0)")
