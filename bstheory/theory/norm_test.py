"""Pieces shared by the forms of flagship 2: Adam under the coordinate-wise norm test, one step.

Notation, one coordinate, c = 1 - beta2 of the step, y = sqrt(beta2), f = 1 - beta1, gam = beta1/y:

    m = beta1 m_prev + f g,  v = y^2 v_prev + c g^2,  q = sqrt(v),  p = m/q,  w_{k+1} = w_k - alpha_k p_k,

with E_k g = G and E_k g^2 <= s G^2. Descent runs along u_k, where u_{k+1} - u_k = -a (p - gh p_prev): ``gh``
is the momentum ratio that u was built with, ``a`` the coefficient of the step. Everything is per step and
holds for coefficients that are known before the draw.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import sympy as sp

from bstheory.theory.derivation import Derivation

PER_STEP, PER_COORDINATE = ("step",), ("coordinate", "step")
PER_DRAW = (*PER_COORDINATE, "draw")


@dataclasses.dataclass(kw_only=True)
class Coefficients:
    """What the one-step inequality is built from; every field is an expression of declared symbols.

    Attributes:
        y, c, e: sqrt(beta2), 1 - beta2, and a lower bound of 1 - gam, of this step.
        gh, a: momentum ratio and coefficient of the step of u.
        alpha_prev: learning rate of the step before.
        J_prev, J: f^2 J v >= m^2, before and after.
        A_prev, A: weights of the Abel sum, A >= a f s J c/(4 theta).
        phi_prev, phi, psi: potential of |p|^2.
        nu: lower bound of y q_prev.
        kd: upper bound of xi A_prev y/nu.
        cG, cg: coefficients of G^2/(y q_prev) and g^2/(y q_prev) in the sum.
        logs: |p|^2 is paid for by the logarithm of v (step ``log_step``) and not by the gradient.
        omega, x, e_bar, gam_bar: |gam - gh| <= omega, its Young weight, 1 - gam_bar, gam <= gam_bar.
    """

    y: Any
    c: Any
    e: Any
    gh: Any
    a: Any
    alpha_prev: Any
    J_prev: Any
    J: Any
    A_prev: Any
    A: Any
    phi_prev: Any
    phi: Any
    psi: Any
    nu: Any
    kd: Any
    cG: Any
    cg: Any
    logs: bool = False
    omega: Any = 0
    x: Any = 1
    e_bar: Any = 1
    gam_bar: Any = 0


def declare(d: Derivation, *, weighted: bool = False) -> None:
    """Constants, gradients, and the states m and v; y and c of the step must be declared before.

    ``weighted``: the test holds for the sum over coordinates weighted by 1/sqrt(v_{k-1}), not in each one.
    """
    y, c = sp.symbols("y c")
    L = d.symbol("L", sign="positive", latex="L", meaning="smoothness")
    growth = d.symbol("s", sign="positive", latex="s", meaning="1 + eta^2, from the norm test")
    d.symbol("theta", sign="positive", latex=r"\theta", meaning="weight of Young's inequality")
    d.symbol("xi", sign="positive", latex=r"\xi", meaning="1/a - 1 for the weight a of the Abel sum")
    beta1 = d.symbol("beta1", sign="nonnegative", latex=r"\beta_1", meaning="momentum")
    f = d.symbol("f", sign="positive", latex=r"1-\beta_1", meaning="1 - beta1")
    d.define("gam", "equals", beta1 / y, sign="nonnegative", latex=r"\gamma_k", meaning="beta1/sqrt(beta2)")
    G = d.symbol("G", depends=PER_COORDINATE, latex="G_k", meaning="coordinate of grad F(w_k)")
    G_prev = d.symbol("G_prev", depends=PER_COORDINATE, latex="G_{k-1}", meaning="of the step before")
    G_start = d.symbol("G_start", depends=("coordinate",), latex="G_1", meaning="of the first step")
    d.chain("G", previous=G_prev, next=G, start=G_start)
    g = d.symbol("g", depends=PER_DRAW, latex="g_k", meaning="coordinate of the stochastic gradient")
    E = d.symbol("E", depends=PER_COORDINATE, latex="E_k", meaning="(grad F(u_k) - grad F(w_k))/(gh a)")
    m_prev = d.symbol("m_prev", depends=PER_COORDINATE, latex="m_{k-1}", meaning="momentum before")
    m = d.symbol("m", depends=PER_DRAW, latex="m_k", meaning="momentum after")
    d.chain("m", previous=m_prev, next=m, start=0)
    v_prev = d.symbol("v_prev", sign="positive", depends=PER_COORDINATE, latex="v_{k-1}", meaning="v before")
    v = d.symbol("v", sign="positive", depends=PER_DRAW, latex="v_k", meaning="v after")
    v_start = d.symbol("v_start", sign="positive", depends=("coordinate",), latex="v_0", meaning="v at start")
    d.chain("v", previous=v_prev, next=v, start=v_start)
    q_prev = d.define("q_prev", "root", v_prev, sign="positive", latex=r"\sqrt{v_{k-1}}")
    q = d.define("q", "root", v, sign="positive", latex=r"\sqrt{v_k}")
    q_start = d.define("q_start", "root", v_start, sign="positive", latex=r"\sqrt{v_0}")
    d.chain("q", previous=q_prev, next=q, start=q_start)
    p_prev = d.define("p_prev", "equals", m_prev / q_prev, latex="p_{k-1}")
    p = d.define("p", "equals", m / q, latex="p_k")
    p_start = d.define("p_start", "equals", 0 / q_start, latex="p_0")
    d.chain("p", previous=p_prev, next=p, start=p_start)
    mean_g = d.define("mean_g", "mean", g, latex="E_kg_k")
    mean_g2 = d.define("mean_g2", "mean", g**2, sign="nonnegative", latex="E_kg_k^2")
    drift = d.define("drift", "coordinates", E**2 - L**2 * p_prev**2)
    rule = {"relation": "==", "assumption": "update"}
    d.assume("momentum_rule", m - beta1 * m_prev - f * g, why="recursion of m", **rule)
    d.assume("second_moment", v - y**2 * v_prev - c * g**2, why="recursion of v", **rule)
    d.assume("beta1_rest", f - 1 + beta1, why="f = 1 - beta1", **rule)
    d.assume("beta2_rest", c - 1 + y**2, why="c = 1 - beta2", **rule)
    d.assume("unbiased", mean_g - G, relation="==", assumption="predictable", why="E_k g_k = G_k")
    norm_test(d, G, g, mean_g, mean_g2, growth, weighted=weighted)
    d.assume("drift", -drift, assumption="smooth", why="|grad F(u_k) - grad F(w_k)| <= L |u_k - w_k|")


def norm_test(
    d: Derivation, G: Any, g: Any, mean_g: Any, mean_g2: Any, growth: Any, *, weighted: bool
) -> None:
    """E_k g^2 <= (1 + eta^2) G^2 from the coordinate-wise test; the weighted one is taken up in the sums."""
    eta2 = d.symbol("eta2", sign="nonnegative", latex=r"\eta^2", meaning="tolerance of the test, squared")
    mean_dev = d.define("mean_dev", "mean", (g - G) ** 2, latex="E_k(g_k-G_k)^2")
    d.assume("growth", growth - 1 - eta2, relation="==", assumption="norm_test", why="s = 1 + eta^2")
    d.combine("square_split", gap=(g - G) ** 2 - g**2 + 2 * G * g - G**2, relation="==", why="square")
    d.apply(
        "variance_split",
        "mean",
        "square_split",
        {mean_dev: 1, mean_g2: -1, mean_g: 2 * G, "1": -(G**2)},
        why="conditional mean",
    )
    if weighted:
        return
    d.assume("norm_test", eta2 * G**2 - mean_dev, assumption="norm_test", why="the coordinate-wise test")
    d.combine(
        "strong_growth",
        gap=growth * G**2 - mean_g2,
        uses={"norm_test": 1, "variance_split": 1, "unbiased": -2 * G, "growth": G**2},
        why="E g^2 = E (g - G)^2 + G^2",
    )


def roots_grow(d: Derivation, k: Coefficients) -> None:
    """sqrt(v_k) >= y sqrt(v_{k-1}), the step ``root_grows``."""
    g, q, q_prev = sp.symbols("g q q_prev")
    y, c, past = k.y, k.c, k.y * q_prev
    roots = [d.definition(q), d.definition(q_prev)]
    d.combine(
        "root_grows",
        gap=q - past,
        uses={
            roots[0]: 1 / (q + past),
            roots[1]: -(y**2) / (q + past),
            "second_moment": 1 / (q + past),
        },
        slack=c * g**2 / (q + past),
        why="v_k >= beta2 v_{k-1}",
    )


def step_facts(d: Derivation, k: Coefficients) -> None:
    """The facts about one step without the loss; needs root_grows, J_rule, J_start, nu_rule, kd_rule."""
    m, m_prev, g, q, q_prev, f, G, G_prev = sp.symbols("m m_prev g q q_prev f G G_prev")
    p, p_prev, growth, theta, xi = sp.symbols("p p_prev s theta xi")
    y, c, gam = k.y, k.c, sp.Symbol("gam")
    past = y * q_prev
    roots = [d.definition(q), d.definition(q_prev)]
    ratios = [d.definition(p), d.definition(p_prev), d.definition(gam)]
    d.combine(
        "gap_of_roots",
        gap=1 / past - 1 / q - c * g**2 / (past * q * (past + q)),
        relation="==",
        modulo=[*roots, "second_moment"],
        why="difference of inverse roots",
    )
    d.combine(
        "increment",
        gap=p - gam * p_prev - f * g / past + m * (1 / past - 1 / q),
        uses={
            ratios[0]: 1,
            ratios[1]: -gam,
            ratios[2]: -m_prev / q_prev,
            "momentum_rule": 1 / past,
        },
        relation="==",
        why="the increment of u, split into the past denominator and the rest",
    )
    momentum_bound(d, k, roots)
    square = m - G * growth * f * c * k.J / (2 * theta)
    share = c * g**2 / (past * q * (past + q))
    d.combine(
        "main_error",
        gap=f * theta * g**2 / (growth * past)
        + f * growth * k.J * c * G**2 * (1 / past - 1 / q) / (4 * theta)
        - G * m * (1 / past - 1 / q),
        uses={
            "gap_of_roots": f * growth * k.J * c * G**2 / (4 * theta) - G * m,
            "momentum_next": theta / (growth * c * f * k.J) * share,
            roots[0]: f * theta / (growth * c) * share,
        },
        squares=[(theta / (growth * f * c * k.J) * share, square)],
        slack=f * theta * past * q / (growth * c) * share,
        why="Young's inequality: the two weights multiply to the square of the bound on m",
    )
    delta = d.define("delta", "equals", G - G_prev, latex="G_k-G_{k-1}")
    X_prev = d.define("X_prev", "equals", k.A_prev * G_prev**2 / q_prev)
    X = d.define("X", "equals", k.A * G**2 / q)
    d.combine(
        "abel",
        gap=X_prev
        - X
        + (k.A - k.A_prev * y * xi / (1 + xi)) * G**2 / past
        + k.kd * delta**2
        - k.A * G**2 * (1 / past - 1 / q),
        uses={
            d.definition(X_prev): 1,
            d.definition(X): -1,
            "kd_rule": delta**2,
            "nu_rule": xi * k.A_prev * y * delta**2 / (k.nu * past),
            d.definition(delta): (G_prev + G - delta) * k.A_prev * y / past,
        },
        squares=[(k.A_prev * y / (past * (1 + xi)), G - (1 + xi) * delta)],
        why="summation by parts; G_k^2 - G_{k-1}^2 <= a G_k^2 + (1/a - 1)(G_k - G_{k-1})^2",
    )
    d.combine(
        "momentum_ratio",
        gap=gam * p_prev**2 + f**2 * g**2 / (k.e * q**2) - p**2,
        uses={
            ratios[0]: -(p + m / q),
            ratios[1]: gam * (p_prev + m_prev / q_prev),
            "ratio_order": 1,
        },
        why="convexity, and v_k >= beta2 v_{k-1}",
    )
    d.combine(
        "past_root",
        gap=g**2 / (k.nu * past) - g**2 / q**2,
        uses={
            "nu_rule": g**2 / (k.nu * past**2),
            "root_grows": g**2 * (q + past) / (past**2 * q**2),
        },
        why="v_k >= beta2 v_{k-1} >= nu^2",
    )


def momentum_bound(d: Derivation, k: Coefficients, roots: list[str]) -> None:
    """f^2 J_k v_k >= m_k^2 by induction, and p^2 <= gam p_prev^2 + f^2 g^2/(e q^2)."""
    m, m_prev, g, v, v_prev, q, q_prev, f, gam = sp.symbols("m m_prev g v v_prev q q_prev f gam")
    y, c = k.y, k.c

    def advance(source: str) -> dict[Any, Any]:
        return {
            "J_rule": f**2 * v,
            "second_moment": f**2 * (gam**2 * k.J_prev + 1 / c),
            source: gam**2 * y**2 + y**2 / (c * k.J_prev),
            "momentum_rule": -(m + gam * y * m_prev + f * g),
            d.definition(gam): y * m_prev * (m + gam * y * m_prev + f * g),
        }

    square = [(1 / (c * k.J_prev), y * m_prev - f * gam * k.J_prev * c * g)]
    gap = f**2 * k.J * v - m**2
    d.hypothesis("momentum_before", f**2 * k.J_prev * v_prev - m_prev**2, why="m_{k-1}^2 <= f^2 J v_{k-1}")
    d.combine(
        "momentum_after", gap=gap, uses=advance("momentum_before"), squares=square, why="Cauchy-Schwarz"
    )
    chains = ["m", "v"] + (["J"] if "J" in d.chains else [])
    d.induction("momentum", "momentum_before", "momentum_after", "J_start", chains, why="induction")
    d.combine("momentum_next", gap=gap, uses=advance("momentum"), squares=square, why="after every step")
    e = sp.Symbol("e")
    d.combine(
        "ratio_order",
        gap=gam * m_prev**2 / q_prev**2 + f**2 * g**2 / (k.e * q**2) - m**2 / q**2,
        uses={
            "root_grows": gam * m_prev**2 * (q + y * q_prev) / (q**2 * q_prev**2),
            "momentum_rule": -(m + gam * y * m_prev + f * g) / q**2,
            d.definition(gam): y * m_prev * (m + gam * y * m_prev + f * g) / q**2,
            "e_rule": f**2 * g**2 / (k.e * e * q**2),
            "gam_rest": -(gam * y**2 * m_prev**2 + f**2 * g**2 / e) / q**2,
        },
        squares=[(gam * e / q**2, y * m_prev - f * g / e)],
        why="the square of a convex combination",
    )
