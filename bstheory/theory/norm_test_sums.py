"""Pieces shared by the forms of flagship 2: descent along u, the sum over a run, and the l1 norm."""

from __future__ import annotations

from typing import Any

import sympy as sp

from bstheory.theory.derivation import Derivation
from bstheory.theory.norm_test import Coefficients


def one_step(d: Derivation, k: Coefficients) -> None:
    """One coordinate of the descent along u, before any mean: the step ``bounded``.

    Needs the facts A_rule (A >= a f s J c/(4 theta)), psi_rule (psi >= pi + phi), phi_rule
    (phi_prev >= pi' + gam psi) with pi, pi' from :func:`second_order`, and, where omega is not 0,
    omega_above, omega_below, y_small (y <= 1), bar_rule (gam_bar >= gam), bar_rest (e_bar = 1 - gam_bar).
    """
    G, E, p, p_prev, q, q_prev, L, f, xi = sp.symbols("G E p p_prev q q_prev L f xi")
    past, a, gh = k.y * q_prev, k.a, k.gh
    move = p - gh * p_prev
    d.combine("gap_sign", gap=1 / past - 1 / q, uses={"root_grows": 1 / (past * q)}, why="roots grow")
    Z_prev = d.define("Z_prev", "equals", k.phi_prev * p_prev**2)
    Z = d.define("Z", "equals", k.phi * p**2)
    d.define("descent_term", "equals", -a * (G + gh * a * E) * move + L * a**2 * move**2 / 2)
    uses: dict[Any, Any] = {
        "increment": a * G,
        "main_error": a,
        ("A_rule", "gap_sign"): G**2,
        "abel": 1,
        "psi_rule": p**2,
        "phi_rule": p_prev**2,
        "momentum_ratio": k.psi,
        "log_step" if k.logs else "past_root": k.psi * f**2 / (k.e * k.c if k.logs else k.e),
        d.definition(Z_prev): 1,
        d.definition(Z): -1,
    }
    if k.omega != 0:
        switching(d, k)
        uses["switching"] = a
    if "y_low" in d.steps:  # y >= y_min, so that the coefficient of the gain is a constant
        uses["y_low"] = k.A_prev * xi * G**2 / ((1 + xi) * past)
    d.combine(
        "bounded",
        uses=uses,
        squares=[
            (gh * a**2 / (2 * L), E + L * p),
            (gh**2 * a**2 / (2 * L), E - L * p_prev),
            (gh * L * a**2 / 2, p + p_prev),
        ],
        why="all pieces of one coordinate",
    )


def second_order(k: Coefficients, L: Any) -> tuple[Any, Any]:
    """pi and pi': the coefficients of |p_k|^2 and |p_{k-1}|^2 that one step costs."""
    a, gh = k.a, k.gh
    half = sp.Rational(1, 2)
    pi = L * a**2 * (half + gh)
    return pi, L * a**2 * (gh + 3 * half * gh**2) + k.kd * L**2 * k.alpha_prev**2


def switching(d: Derivation, k: Coefficients) -> None:
    """(gam_k - gh) G p_{k-1} against omega: Young, and the recursion of m^2/q."""
    G, g, m, m_prev, p_prev, q, q_prev, f, gam, beta1 = sp.symbols("G g m m_prev p_prev q q_prev f gam beta1")
    past, x, omega = k.y * q_prev, k.x, k.omega
    W_prev = d.define("W_prev", "equals", m_prev**2 / q_prev, latex="m_{k-1}^2/q_{k-1}")
    W = d.define("W", "equals", m**2 / q, latex="m_k^2/q_k")
    d.combine("past_sign", gap=past, slack=past, why="positive")
    d.combine(
        "convex_momentum",
        gap=beta1 * m_prev**2 + f * g**2 - m**2,
        uses={
            "momentum_rule": -(m + beta1 * m_prev + f * g),
            "beta1_rest": -beta1 * m_prev**2 - f * g**2,
        },
        squares=[(beta1 * f, m_prev - g)],
        why="a convex combination",
    )
    d.combine(
        "square_over_root",
        gap=k.gam_bar * W_prev + f * g**2 / past - W,
        uses={
            "bar_rule": m_prev**2 / q_prev,
            d.definition(W_prev): k.gam_bar,
            d.definition(W): -1,
            d.definition(gam): m_prev**2 / q_prev,
            "convex_momentum": 1 / past,
            "gap_sign": m**2,
        },
        why="m^2/q decays by gam and gains f g^2/(y q_prev)",
    )
    plus, minus = G + past * p_prev / x, G - past * p_prev / x
    share = sp.Symbol("f") * omega / (2 * x * k.e_bar)
    d.combine(
        "switching",
        gap=omega * x * G**2 / (2 * past)
        + share * g**2 / past
        + omega * (W_prev - W) / (2 * x * k.e_bar)
        + (gam - k.gh) * G * p_prev,
        uses={
            "omega_below": x * plus**2 / (4 * past),
            "omega_above": x * minus**2 / (4 * past),
            "y_small": omega * q_prev * p_prev**2 / (2 * x),
            d.definition(sp.Symbol("p_prev")): -omega * q_prev * (p_prev + m_prev / q_prev) / (2 * x),
            d.definition(W_prev): omega / (2 * x),
            "square_over_root": omega / (2 * x * k.e_bar),
            "bar_rest": -omega * W_prev / (2 * x * k.e_bar),
        },
        why="Young's inequality with weight x",
    )


def log_terms(d: Derivation, k: Coefficients) -> tuple[Any, Any]:
    """What ``log_step`` adds to a step and to the run, as terms of sums over coordinates and over steps."""
    logs_next, logs_prev, dim = (
        d.define(name, "coordinates", of, sign=sign)
        for name, of, sign in (
            ("logs_next", sp.Symbol("log_next"), "real"),
            ("logs_prev", sp.Symbol("log_prev"), "real"),
            ("d", sp.Integer(1), "positive"),
        )
    )
    T_logs = d.define("T_logs", "steps", logs_next - logs_prev)
    T_one = d.define("T_one", "steps", 1, sign="nonnegative", latex="K")
    price = k.psi * sp.Symbol("f") ** 2 / (k.e * k.c)
    decay = price * sp.Symbol("log_beta")
    return {logs_next: price, logs_prev: -price, dim: -decay}, {T_logs: price, T_one: -decay * dim}


def sum_up(d: Derivation, k: Coefficients, *, outer: Any, inner: Any, net: Any, label: str = "S") -> None:
    """net outer S <= F(u_1) - F_* + sum_i A_0 G_1^2/sqrt(v_0): the step ``master``.

    S = E sum_k inner sum_i G^2/(y q_prev), called ``label``; a f = outer inner, with ``outer`` constant.
    Needs net_rule: a f (1 - net) - s cg - cG >= 0.
    """
    G, g, p_prev, q_prev, L, f, growth, mean_g, mean_g2, delta = sp.symbols(
        "G g p_prev q_prev L f s mean_g mean_g2 delta"
    )
    past = k.y * q_prev
    F_prev = d.symbol("F_prev", depends=("step",), latex="F(u_k)", meaning="loss at u before the step")
    F_next = d.symbol("F_next", depends=("step", "draw"), latex="F(u_{k+1})", meaning="loss at u after")
    F_start = d.symbol("F_start", latex="F(w_1)", meaning="initial loss, u_1 = w_1")
    F_end = d.symbol("F_end", latex=r"E\,F(u_{K+1})", meaning="expected final loss at u")
    F_star = d.symbol("F_star", latex="F_*", meaning="lower bound of F")
    d.chain("F", previous=F_prev, next=F_next, start=F_start, end=F_end)
    term = sp.Symbol("descent_term")
    descents = d.define("descents", "coordinates", term)
    moved = d.define("moved", "coordinates", delta**2 - L**2 * k.alpha_prev**2 * p_prev**2)
    d.assume(
        "descent",
        F_prev - F_next + descents,
        assumption="smooth",
        by=["descent_lemma"],
        why="descent lemma along u_{k+1} - u_k = -a (p_k - gh p_{k-1}), grad F(u_k) = G + gh a E",
    )
    d.assume("moved", -moved, assumption="smooth", why="|G_k - G_{k-1}| <= L alpha_{k-1} |p_{k-1}|")
    sums = {
        "cross": G * g / past,
        "noise": g**2 / past,
        "gain": G**2 / past,
        "cross_mean": G * mean_g / past,
        "noise_mean": mean_g2 / past,
    }
    S = {
        name: d.define(name, "coordinates", of, sign="real" if "cross" in name else "nonnegative")
        for name, of in sums.items()
    }
    chains = potentials(d, k)
    changes = {name: (pair[0] - pair[1]) * weight for name, (pair, weight) in chains.items()}
    kE = k.a**2 * k.gh * (1 + k.gh) / (2 * L)
    apply_terms: dict[Any, Any] = {
        S["cross"]: -k.a * f,
        S["noise"]: k.cg,
        S["gain"]: k.cG,
        sp.Symbol("drift"): kE,
        moved: k.kd,
        descents: -1,
    }
    for pair, weight in chains.values():
        apply_terms |= {pair[0]: weight, pair[1]: -weight}
    in_step, in_run = log_terms(d, k) if k.logs else ({}, {})
    apply_terms |= in_step
    d.combine(
        "bounded_term",
        uses={"bounded": 1, d.definition(term): -1},
        why="what descends, by its name",
    )
    d.apply("bounded_sum", "coordinates", "bounded_term", apply_terms, why="sum over coordinates")
    total = sum(changes.values()) + sum(symbol * weight for symbol, weight in in_step.items())
    d.combine(
        "step_energy",
        gap=F_prev - F_next - k.a * f * S["cross"] + k.cg * S["noise"] + k.cG * S["gain"] + total,
        uses={"descent": 1, "bounded_sum": 1, "drift": kE, "moved": k.kd},
        why="descent along u",
    )
    T = {
        "F": d.define("T_F", "steps", F_next - F_prev),
        "cross": d.define("T_cross", "steps", inner * S["cross"]),
        "cross_mean": d.define("T_cross_mean", "steps", inner * S["cross_mean"]),
        "noise": d.define("T_noise", "steps", k.cg * S["noise"], sign="nonnegative"),
        "noise_mean": d.define("T_noise_mean", "steps", k.cg * S["noise_mean"], sign="nonnegative"),
        "noise_gain": d.define("T_noise_gain", "steps", k.cg * S["gain"], sign="nonnegative"),
        "boundary": d.define("T_boundary", "steps", k.cG * S["gain"]),
        "S": d.define(label, "steps", inner * S["gain"], sign="nonnegative", latex=label),
    }
    steps_terms: dict[Any, Any] = {T["F"]: -1, T["cross"]: -outer, T["noise"]: 1, T["boundary"]: 1}
    steps_terms |= in_run
    uses: dict[Any, Any] = {"energy_total": 1, "telescope": 1, "below_end": 1}
    for name, (pair, weight) in chains.items():
        change = d.define(f"T_{name}", "steps", pair[1] - pair[0])
        steps_terms[change] = -weight
        d.telescope(f"telescope_{name}", change, f"{name}s", why="a potential telescopes")
        uses |= {f"telescope_{name}": weight, f"{name}_end_sign": weight, f"{name}_start_value": -weight}
    d.apply("energy_total", "steps", "step_energy", steps_terms, why="expectation of the sum over steps")
    d.telescope("telescope", T["F"], "F", why="the loss telescopes")
    d.assume("below_next", F_next - F_star, assumption="bounded_below", why="F >= F_* everywhere")
    d.assume("below_start", F_start - F_star, assumption="bounded_below", why="F >= F_* at the start")
    d.at_end("below_end", "below_next", "below_start", "F", why="E F(u_{K+1}) >= F_*")
    means(d, k, S, T, past, inner)
    d.combine(
        "net_step",
        gap=outer * inner * S["gain"] * (1 - net) - growth * k.cg * S["gain"] - k.cG * S["gain"],
        uses={"net_rule": S["gain"]},
        why="what is left of the gain",
    )
    d.apply(
        "net_total",
        "steps",
        "net_step",
        {T["S"]: outer * (1 - net), T["noise_gain"]: -growth, T["boundary"]: -1},
        why="expectation of the sum over steps",
    )
    start = sp.Symbol("X_starts")
    d.combine(
        "master",
        gap=F_start - F_star + start - outer * net * T["S"] + sum(s * w for s, w in in_run.items()),
        uses={
            **uses,
            "tower_cross": -outer,
            "cross_total": outer,
            "tower_noise": 1,
            "noise_total": 1,
            "net_total": 1,
        },
        why="energy, with the test for the second moments",
    )


def means(d: Derivation, k: Coefficients, S: Any, T: Any, past: Any, inner: Any) -> None:
    """Conditional means: E_k g = G and E_k g^2 <= s G^2, summed over the run."""
    G, growth = sp.symbols("G s")
    d.combine("cross_unbiased", uses={"unbiased": G / past}, relation="==", why="E g = G")
    d.apply(
        "cross_sum", "coordinates", "cross_unbiased", {S["cross_mean"]: 1, S["gain"]: -1}, why="coordinates"
    )
    d.scale("cross_step", "cross_sum", inner, why="times the weight")
    d.apply("cross_total", "steps", "cross_step", {T["cross_mean"]: 1, T["S"]: -1}, why="sum over steps")
    d.tower("tower_cross", T["cross_mean"], T["cross"], {S["cross_mean"]: S["cross"]}, why="tower property")
    if "strong_growth" in d.steps:
        d.combine("noise_growth", uses={"strong_growth": 1 / past}, why="E g^2 <= s G^2")
        d.apply(
            "noise_sum",
            "coordinates",
            "noise_growth",
            {S["gain"]: growth, S["noise_mean"]: -1},
            why="coordinates",
        )
    else:
        weighted_noise(d, S, past)
    d.combine("noise_step", uses={"noise_sum": k.cg}, why="times the coefficient")
    d.apply(
        "noise_total",
        "steps",
        "noise_step",
        {T["noise_gain"]: growth, T["noise_mean"]: -1},
        why="sum over steps",
    )
    d.tower("tower_noise", T["noise_mean"], T["noise"], {S["noise_mean"]: S["noise"]}, why="tower property")


def weighted_noise(d: Derivation, S: Any, past: Any) -> None:
    """Step ``noise_sum`` from the test for the sum over coordinates weighted by 1/past."""
    G, growth, mean_g2, dev, eta2 = sp.symbols("G s mean_g2 mean_dev eta2")
    devs = d.define("devs", "coordinates", dev / past, latex=r"\sum E_k(g-G)^2/\sqrt{\tilde v}")
    d.assume("norm_test", eta2 * S["gain"] - devs, assumption="weighted_test", why="the weighted test")
    d.combine(
        "noise_split",
        gap=(dev + G**2 - mean_g2) / past,
        relation="==",
        uses={"variance_split": 1 / past, "unbiased": -2 * G / past},
        why="E g^2 = E (g - G)^2 + G^2",
    )
    d.apply(
        "noise_parts",
        "coordinates",
        "noise_split",
        {devs: 1, S["gain"]: 1, S["noise_mean"]: -1},
        why="coordinates",
    )
    d.combine(
        "noise_sum",
        gap=growth * S["gain"] - S["noise_mean"],
        uses={"noise_parts": 1, "norm_test": 1, "growth": S["gain"]},
        why="the test, once, for the sum",
    )


def potentials(d: Derivation, k: Coefficients) -> dict[str, Any]:
    """The telescoping potentials X, Z (and W): their sums over coordinates, weights, and signs at the end."""
    G, q, p, m, G_start, q_start, p_start = sp.symbols("G q p m G_start q_start p_start")
    A_0 = sp.Symbol(d.chains["A"]["start"]) if "A" in d.chains else k.A
    phi_0 = sp.Symbol(d.chains["phi"]["start"]) if "phi" in d.chains else k.phi
    found = {"X": (A_0 * G_start**2 / q_start, k.A * G**2 / q, sp.Integer(1))}
    found["Z"] = (phi_0 * p_start**2, k.phi * p**2, sp.Integer(1))
    if k.omega != 0:
        found["W"] = (sp.Integer(0), m**2 / q, k.a * k.omega / (2 * k.x * k.e_bar))
    result = {}
    for name, (at_start, after, weight) in found.items():
        start = d.define(f"{name}_start", "equals", at_start)
        d.chain(name, previous=f"{name}_prev", next=name, start=start)
        d.combine(
            f"{name}_sign",
            gap=sp.Symbol(name),
            uses={d.definition(sp.Symbol(name)): 1},
            slack=after,
            why="nonnegative",
        )
        d.combine(
            f"{name}_start_sign", gap=start, uses={d.definition(start): 1}, slack=at_start, why="nonnegative"
        )
        pair = [
            d.define(f"{name}s{which}", "coordinates", sp.Symbol(f"{name}{which}")) for which in ("_prev", "")
        ]
        starts = d.define(f"{name}_starts", "coordinates", start)
        end = d.symbol(f"{name}s_end", meaning="expected value at the end")
        d.chain(f"{name}s", previous=pair[0], next=pair[1], start=starts, end=end)
        d.apply(f"{name}s_sign", "coordinates", f"{name}_sign", {pair[1]: 1}, why="sum")
        d.apply(f"{name}_starts_sign", "coordinates", f"{name}_start_sign", {starts: 1}, why="sum")
        d.at_end(f"{name}_end_sign", f"{name}s_sign", f"{name}_starts_sign", f"{name}s", why="at the end")
        if name == "X":
            d.combine("X_start_value", gap=0, relation="==", why="the boundary term stays")
        else:
            value = {d.definition(start): 1}
            if name == "Z":
                value[d.definition(p_start)] = phi_0 * p_start
            d.combine(f"{name}_none", gap=start, uses=value, relation="==", why="m_0 = 0")
            d.apply(f"{name}_start_value", "coordinates", f"{name}_none", {starts: 1}, why="sum")
        result[name] = (pair, weight)
    return result
