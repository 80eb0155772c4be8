"""Flagship 2 with batches that never fall: the sum of sqrt(v) without the ratio of the extreme decays.

What sqrt(v_k) exceeds the decay of sqrt(v_0) by is x_k, with x_k <= y_k x_{k-1} + c_k g_k^2/(2 y_k q_{k-1}).
With lam_k = y_k/(1 - y_k), which does not rise, lam_k x_k is a potential: one step costs y_k x_{k-1} of it
and gains lam_k c_k = y_k (1 + y_k) times g_k^2/(2 y_k q_{k-1}), whatever the step before looked like.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from bstheory.theory.derivation import Derivation
from bstheory.theory.norm_test import Coefficients
from bstheory.theory.norm_test_norms import root_growth


def root_sum(d: Derivation, k: Coefficients, *, y_bar: Any) -> Any:
    """T = E sum_k sum_i sqrt(vt) <= |sqrt(v_0)|_1 E sum_k t_k + y_bar (1 + y_bar) s S/2, the step ``roots``.

    Needs ybar_rule (y_bar >= y), beta2_rest and t_zero. Returns the right side.
    """
    g, q, q_prev, q_start, t, t_prev, growth = sp.symbols("g q q_prev q_start t t_prev s")
    noise, S = sp.symbols("noise S")
    y = k.y
    past = y * q_prev
    root_growth(d, k)
    lam_prev = d.symbol("lam_prev", sign="positive", depends=("step",), latex=r"\lambda_{k-1}")
    lam = d.symbol("lam", sign="positive", depends=("step",), latex=r"\lambda_k", meaning="y_k/(1 - y_k)")
    lam_start = d.symbol("lam_start", sign="positive", latex=r"\lambda_0", meaning="at least lambda_1")
    d.chain("lam", previous=lam_prev, next=lam, start=lam_start)
    rule = {"assumption": "nondecreasing"}
    d.assume("lam_rule", lam * (1 - y) - y, relation="==", why="lam = y/(1 - y)", **rule)
    d.assume("lam_falls", lam_prev - lam, why="the batch never falls, so y never rises", **rule)
    names = ("excess_prev", "excess", "excess_start")
    t_0 = d.parse(d.chains["t"]["start"])
    values = (q_prev - t_prev * q_start, q - t * q_start, q_start - t_0 * q_start)
    before, after, start = (d.define(n, "equals", v) for n, v in zip(names, values, strict=True))
    d.chain("excess", previous=before, next=after, start=start)
    d.combine("excess_prev_sign", gap=before, uses={"decay": 1, d.definition(before): 1}, why="decay")
    d.combine("excess_sign", gap=after, uses={"decay_next": 1, d.definition(after): 1}, why="decay")
    d.combine(
        "excess_none",
        gap=start,
        uses={d.definition(start): 1, "t_zero": q_start},
        relation="==",
        why="t_0 = 1",
    )
    w = y_bar * (1 + y_bar)
    d.combine(
        "excess_step",
        gap=lam_prev * before - lam * after + w * g**2 / (2 * past) - y * before,
        uses={
            "root_growth": lam,
            ("lam_falls", "excess_prev_sign"): 1,
            "lam_rule": before - (1 + y) * g**2 / (2 * past),
            d.definition(before): lam * y,
            d.definition(after): -lam,
            "t_above": lam * q_start,
            "beta2_rest": -lam * g**2 / (2 * past),
            "ybar_rule": (1 + y + y_bar) * g**2 / (2 * past),
        },
        why="lam times the excess pays for y times the excess before the step",
    )
    pots = ("pot_prev", "pot", "pot_start")
    of = (lam_prev * before, lam * after, lam_start * start)
    pot_prev, pot, pot_start = (d.define(n, "equals", v) for n, v in zip(pots, of, strict=True))
    d.chain("pot", previous=pot_prev, next=pot, start=pot_start)
    d.combine("pot_sign", gap=pot, uses={"excess_sign": lam, d.definition(pot): 1}, why="nonnegative")
    d.combine(
        "pot_none",
        gap=pot_start,
        uses={d.definition(pot_start): 1, "excess_none": lam_start},
        relation="==",
        why="nothing at the start",
    )
    d.combine(
        "pot_step",
        gap=pot_prev - pot + w * g**2 / (2 * past) - y * before,
        uses={"excess_step": 1, d.definition(pot_prev): 1, d.definition(pot): -1},
        why="the same, by name",
    )
    sums = {name: d.define(f"{name}s", "coordinates", sp.Symbol(name)) for name in pots}
    past_excess = d.define("past_excess", "coordinates", y * before)
    end = d.symbol("pots_end", meaning="expected potential at the end")
    d.chain("pots", previous=sums["pot_prev"], next=sums["pot"], start=sums["pot_start"], end=end)
    d.apply("pot_signs", "coordinates", "pot_sign", {sums["pot"]: 1}, why="sum")
    d.apply("pot_nones", "coordinates", "pot_none", {sums["pot_start"]: 1}, why="sum")
    d.combine("pot_start_sign", gap=sums["pot_start"], uses={"pot_nones": 1}, why="nothing at the start")
    d.at_end("pot_end_sign", "pot_signs", "pot_start_sign", "pots", why="at the end")
    d.apply(
        "pot_sum",
        "coordinates",
        "pot_step",
        {sums["pot_prev"]: 1, sums["pot"]: -1, noise: w / 2, past_excess: -1},
        why="sum over coordinates",
    )
    T_excess = d.define("T_excess", "steps", past_excess)
    T_change = d.define("T_pot_change", "steps", sums["pot"] - sums["pot_prev"])
    T_plain = d.define("T_plain", "steps", noise, sign="nonnegative")
    T_plain_mean = d.define("T_plain_mean", "steps", sp.Symbol("noise_mean"), sign="nonnegative")
    d.apply(
        "pot_total",
        "steps",
        "pot_sum",
        {T_change: -1, T_excess: -1, T_plain: w / 2},
        why="expectation of the sum over steps",
    )
    d.telescope("telescope_pot", T_change, "pots", why="the potential telescopes")
    d.tower("tower_plain", T_plain_mean, T_plain, {sp.Symbol("noise_mean"): noise}, why="tower property")
    d.apply("plain_total", "steps", "noise_sum", {S: growth, T_plain_mean: -1}, why="sum over steps")
    roots = d.define("roots_sum", "coordinates", past, sign="positive", latex=r"\sum_i\sqrt{\tilde v_{k,i}}")
    root_start = d.define("root_start", "coordinates", q_start, sign="positive", latex=r"\|\sqrt{v_0}\|_1")
    T_roots = d.define("T_roots", "steps", roots, sign="nonnegative", latex="T")
    T_t = d.define("T_t", "steps", t, sign="nonnegative", latex=r"E\sum_kt_k")
    d.combine(
        "root_split",
        gap=y * before + t * q_start - past,
        uses={d.definition(before): y, "t_above": q_start},
        why="sqrt(vt) is the decay and the excess",
    )
    terms = {past_excess: 1, root_start: t, roots: -1}
    d.apply("root_split_sum", "coordinates", "root_split", terms, why="sum over coordinates")
    terms = {T_excess: 1, T_t: root_start, T_roots: -1}
    d.apply("root_split_total", "steps", "root_split_sum", terms, why="expectation of the sum over steps")
    right = root_start * T_t + w * growth * S / 2
    d.combine(
        "roots",
        gap=right - T_roots,
        uses={
            "root_split_total": 1,
            "pot_total": 1,
            "telescope_pot": 1,
            "pot_end_sign": 1,
            "pot_nones": -1,
            "tower_plain": w / 2,
            "plain_total": w / 2,
        },
        why="the sum of the roots",
    )
    return right
