"""Setting and chain of steps of the norm test with a token half-life and random predictable batches."""

from __future__ import annotations

from typing import Any

import sympy as sp

from bstheory.theory import norm_test as test
from bstheory.theory import norm_test_norms as norms
from bstheory.theory import norm_test_sums as run
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_powers import power_monotone, power_product
from bstheory.theory.theorems.adam_norm_test import boundary_and_loss


def setting(d: Derivation, *, weighted: bool = False) -> test.Coefficients:
    """Declarations and rules for random predictable batches."""
    h = d.symbol("h", sign="positive", latex="h", meaning="half-life of the second moment, tokens")
    B = d.symbol("B", sign="positive", depends=("step",), latex="B_k", meaning="tokens of step k")
    B_min = d.symbol("B_min", sign="positive", latex=r"B_{\min}", meaning="least batch")
    B_max = d.symbol("B_max", sign="positive", latex=r"B_{\max}", meaning="largest batch")
    roots = {"y": B, "y_bar": B_min, "y_min": B_max}
    y, y_bar, y_min = (
        d.define(name, "power_of_two", -size / (2 * h), sign="positive") for name, size in roots.items()
    )
    d.symbol("c", sign="positive", depends=("step",), latex=r"1-\beta_{2,k}", meaning="1 - beta2 of step k")
    alpha = d.symbol("alpha", sign="positive", latex=r"\alpha", meaning="learning rate")
    test.declare(d, weighted=weighted)
    tokens(d, h, B)
    gam, growth, L, f, theta, xi, c = sp.symbols("gam s L f theta xi c")
    d.assume("B_low", B - B_min, assumption="half_life_rule", why="B_k >= B_min")
    d.assume("B_high", B_max - B, assumption="half_life_rule", why="B_k <= B_max")
    half = 1 / (2 * h)
    d.combine("exponent_low", gap=-B_min * half + B * half, uses={"B_low": half}, why="B_k >= B_min")
    d.combine("exponent_high", gap=-B * half + B_max * half, uses={"B_high": half}, why="B_k <= B_max")
    power_monotone(d, "ybar_rule", y_bar, y, "exponent_low", why="2^x increases")
    power_monotone(d, "y_low", y, y_min, "exponent_high", why="2^x increases")
    c_min = d.symbol("c_min", sign="positive", latex=r"1-\bar b", meaning="1 - max beta2")
    c_max = d.symbol("c_max", sign="positive", latex="1-b", meaning="1 - min beta2")
    rule = {"relation": "==", "assumption": "half_life_rule"}
    d.assume("c_min_rest", c_min - 1 + y_bar**2, why="1 - max beta2", **rule)
    d.assume("c_max_rest", c_max - 1 + y_min**2, why="1 - min beta2", **rule)
    d.combine(
        "c_low",
        gap=c - c_min,
        uses={"ybar_rule": y + y_bar, "beta2_rest": 1, "c_min_rest": -1},
        why="beta2 <= max beta2",
    )
    d.combine(
        "c_rule",
        gap=c_max - c,
        uses={"y_low": y + y_min, "beta2_rest": -1, "c_max_rest": 1},
        why="beta2 >= min beta2",
    )
    d.combine("y_small", gap=1 - y, uses={"beta2_rest": -1 / (1 + y)}, slack=c / (1 + y), why="beta2 < 1")
    gam_bar, e_bar, gh, omega = ratios(d, y, y_bar, y_min)
    e_hat = d.symbol("e_hat", sign="positive", latex=r"1-\hat\gamma", meaning="1 - gamma_hat")
    d.assume("hat_rest", e_hat - 1 + gh, relation="==", assumption="momentum", why="gamma_hat < 1")
    x = d.symbol(
        "x", sign="positive", latex="x", meaning="weight of Young's inequality for the switching term"
    )
    q_min = d.symbol("q_min", sign="positive", latex=r"\min_i\sqrt{v_{0,i}}")
    d.assume("start", sp.Symbol("q_start") - q_min, assumption="start", why="the least root of v_0")
    a, nu = alpha / e_hat, sp.Symbol("t_K") * q_min
    J = 1 / (c_min * e_bar * (1 + gam_bar))
    A = a * f * quotient() / (4 * theta)
    k = test.Coefficients(
        y=y,
        c=c,
        e=e_bar,
        gh=gh,
        a=a,
        alpha_prev=alpha,
        J_prev=J,
        J=J,
        A_prev=A,
        A=A,
        phi_prev=0,
        phi=0,
        psi=0,
        nu=nu,
        kd=xi * A * y_bar / nu,
        cG=A * (1 - y_min * xi / (1 + xi)) + a * omega * x / 2,
        cg=0,
        omega=omega,
        x=x,
        e_bar=e_bar,
        gam_bar=gam_bar,
    )
    pi, pi_prev = run.second_order(k, L)
    k.psi = (pi + pi_prev) / e_bar
    k.phi = k.phi_prev = pi_prev + gam_bar * k.psi
    k.cg = a * f * theta / growth + k.psi * f**2 / (e_bar * nu) + a * omega * f / (2 * x * e_bar)
    d.combine(
        "J_rule",
        gap=J - gam**2 * J - 1 / c,
        uses={
            "bar_rest": -J * (1 + gam_bar),
            "bar_rule": J * (gam_bar + gam),
            "c_low": 1 / (c * c_min),
        },
        why="the largest momentum ratio and the least 1 - beta2",
    )
    v_start = sp.Symbol("v_start")
    d.combine("J_start", gap=f**2 * J * v_start, slack=f**2 * J * v_start, why="m_0 = 0")
    d.combine(
        "A_rule",
        gap=A - a * f * growth * J * c / (4 * theta),
        uses={"c_rule": a * f * growth * J / (4 * theta)},
        why="c_k <= ratio c_min",
    )
    d.combine("kd_rule", gap=k.kd - xi * A * y / nu, uses={"ybar_rule": xi * A / nu}, why="y_k <= max y")
    d.combine("phi_rule", gap=k.phi - pi_prev - gam * k.psi, uses={"bar_rule": k.psi}, why="gamma_k <= max")
    d.combine("psi_rule", gap=k.psi - pi - k.phi, uses={"bar_rest": -k.psi}, why="psi = (pi + pi')/(1 - max)")
    return k


def quotient() -> Any:
    """q = s ratio/(1 - gamma_bar^2)."""
    growth, c_max, c_min, e_bar, gam_bar = sp.symbols("s c_max c_min e_bar gam_bar")
    return growth * c_max / (c_min * e_bar * (1 + gam_bar))


def ratios(d: Derivation, y: Any, y_bar: Any, y_min: Any) -> tuple[Any, Any, Any, Any]:
    """gamma_bar, 1 - gamma_bar, gamma_hat and omega, with gamma_k between gamma_low and gamma_bar."""
    beta1, gam = sp.symbols("beta1 gam")
    gam_bar = d.define("gam_bar", "equals", beta1 / y_min, sign="nonnegative", latex=r"\bar\gamma")
    gam_low = d.define("gam_low", "equals", beta1 / y_bar, sign="nonnegative", latex=r"\underline\gamma")
    gh = d.define("gh", "equals", (gam_bar + gam_low) / 2, sign="nonnegative", latex=r"\hat\gamma")
    omega = d.symbol("omega", sign="nonnegative", latex=r"\omega", meaning="half the range of gamma")
    e = d.symbol("e", sign="positive", depends=("step",), latex=r"1-\gamma_k", meaning="1 - gamma_k")
    e_bar = d.symbol("e_bar", sign="positive", latex=r"1-\bar\gamma", meaning="1 - gamma_bar")
    rule = {"relation": "==", "assumption": "momentum"}
    d.assume("gam_rest", e - 1 + gam, why="gamma_k < 1", **rule)
    d.assume("bar_rest", e_bar - 1 + gam_bar, why="gamma_bar < 1", **rule)
    d.assume("omega_rule", 2 * omega - gam_bar + gam_low, why="half the range", **rule)
    known = d.definition(gam)
    d.combine(
        "bar_rule",
        gap=gam_bar - gam,
        uses={"y_low": beta1 / (y * y_min), d.definition(gam_bar): 1, known: -1},
        why="gamma decreases in y",
    )
    d.combine(
        "low_rule",
        gap=gam - gam_low,
        uses={"ybar_rule": beta1 / (y * y_bar), d.definition(gam_low): -1, known: 1},
        why="gamma decreases in y",
    )
    half = sp.Rational(1, 2)
    d.combine(
        "omega_above",
        gap=omega - (gam - gh),
        uses={"bar_rule": 1, "omega_rule": half, d.definition(gh): 1},
        why="gamma_k is at most gamma_hat + omega",
    )
    d.combine(
        "omega_below",
        gap=omega + (gam - gh),
        uses={"low_rule": 1, "omega_rule": half, d.definition(gh): -1},
        why="gamma_k is at least gamma_hat - omega",
    )
    d.combine(
        "e_rule", gap=e - e_bar, uses={"bar_rule": 1, "gam_rest": 1, "bar_rest": -1}, why="gamma_k <= max"
    )
    return gam_bar, e_bar, gh, omega


def tokens(d: Derivation, h: Any, B: Any) -> None:
    """t_k = 2^(-N_k/(2h)), the product of the sqrt(beta2), depends on the tokens alone."""
    y = sp.Symbol("y")
    before = d.symbol(
        "N_prev", sign="nonnegative", depends=("step",), latex="N_{k-1}", meaning="tokens before"
    )
    after = d.symbol("N_next", sign="nonnegative", depends=("step",), latex="N_k", meaning="tokens after")
    N = d.symbol("N", sign="positive", latex="N", meaning="tokens of the run, at most")
    d.chain("N", previous=before, next=after, start=0)
    d.assume("N_sum", after - before - B, relation="==", assumption="predictable", why="tokens add up")
    d.assume("N_left", N - after, assumption="predictable", why="at most N tokens are used")
    half = 1 / (2 * h)
    names = {"t_prev": before, "t": after, "t_start": sp.Integer(0), "t_K": N, "t_sum": before + B}
    t_prev, t, t_start, t_K, t_sum = (
        d.define(name, "power_of_two", -sp.expand(number * half), sign="positive")
        for name, number in names.items()
    )
    d.chain("t", previous=t_prev, next=t, start=t_start)
    power_product(d, "t_zero_square", t_start, t_start, t_start, why="2^0 2^0 = 2^0")
    d.combine("t_zero", gap=1 - t_start, uses={"t_zero_square": 1 / t_start}, relation="==", why="2^0 = 1")
    power_product(d, "t_split", t_sum, t_prev, y, why="2^-(N_{k-1} + B_k)/(2h) splits")
    spent = -(before + B) * half
    d.combine("t_more", gap=sp.expand(-after * half - spent), uses={"N_sum": -half}, why="tokens add up")
    d.combine("t_less", gap=sp.expand(spent + after * half), uses={"N_sum": half}, why="tokens add up")
    d.combine("t_last", gap=sp.expand((N - after) * half), uses={"N_left": half}, why="at most N tokens")
    power_monotone(d, "t_upper", t, t_sum, "t_more", why="equal exponents")
    power_monotone(d, "t_lower", t_sum, t, "t_less", why="equal exponents")
    power_monotone(d, "horizon", t, t_K, "t_last", why="2^x increases")
    d.combine("t_above", gap=t - y * t_prev, uses={"t_upper": 1, "t_split": 1}, why="one half")
    d.combine("t_below", gap=y * t_prev - t, uses={"t_lower": 1, "t_split": -1}, why="the other half")


def chain_of_steps(d: Derivation, k: test.Coefficients) -> tuple[Any, Any]:
    """Everything up to ``S_times_net``; returns the right side and net."""
    f, theta, xi, y, y_min, alpha, growth, q_min, t_prev, e_hat, e_bar, omega, x = sp.symbols(
        "f theta xi y y_min alpha s q_min t_prev e_hat e_bar omega x"
    )
    test.roots_grow(d, k)
    norms.decay(d, y)
    d.combine(
        "nu_rule",
        gap=y * sp.Symbol("q_prev") - k.nu,
        uses={"decay": y, "start": y * t_prev, "horizon": q_min, "t_below": q_min},
        why="sqrt(vt) >= 2^(-N_k/(2h)) sqrt(v_0) >= nu",
    )
    test.step_facts(d, k)
    run.one_step(d, k)
    net = d.symbol("net", sign="positive", latex=r"\kappa", meaning="what is left of the gradient")
    a, q = k.a, quotient()
    spent = (
        theta
        + q / (4 * theta) * (1 - y_min * xi / (1 + xi))
        + omega * x / (2 * f)
        + growth * omega / (2 * x * e_bar)
        + p_term(k)
    )
    d.assume("net", net - 1 + spent, relation="==", assumption="net", why="definition of net")
    d.combine(
        "net_rule",
        gap=a * f * (1 - net) - growth * k.cg - k.cG,
        uses={"net": -a * f},
        relation="==",
        why="times a f",
    )
    run.sum_up(d, k, outer=a * f, inner=sp.Integer(1), net=net)
    right = boundary_and_loss(d, k, share=e_hat / (alpha * f), q=q, net=net)
    return right, net


def p_term(k: test.Coefficients) -> Any:
    """What the second-order terms cost: s psi f/(a e_bar nu)."""
    growth, f = sp.symbols("s f")
    return growth * k.psi * f / (k.a * k.e * k.nu)
