"""Norm test under a schedule fixed in advance: beta2 and the learning rate vary, no switching term.

The algorithm of ``adam_norm_test`` with beta_{2,k} = 2^(-B_k/h) and learning rates alpha_k, all known in
advance. Put gamma_k = beta1/sqrt(beta_{2,k}) and define kappa_k *backwards*,

    kappa_k alpha_{k-1} = gamma_k alpha_k (1 + kappa_{k+1}),   u_k = w_k + kappa_k (w_k - w_{k-1}).

Then u_{k+1} - u_k = -a_k (p_k - gamma_k p_{k-1}) exactly, where a_k = alpha_k (1 + kappa_{k+1}) and
p_k = m_k/sqrt(v_k) (part ``backward``): nothing is paid for a changing gamma, as theorem C has to.

**Upper** bound. Let c_k = 1 - beta_{2,k}, f = 1 - beta1, nu_k = 2^(-N_k/(2h)) min_i sqrt(v_{0,i}). For every
theta in (0, 1), xi > 0 and sequences known in advance with

    J_k >= gamma_k^2 J_{k-1} + 1/c_k,    A_k >= a_k f s J_k c_k/(4 theta),
    psi_k >= L a_k^2 (1/2 + gamma_k) + phi_{k+1},
    phi_k >= gamma_k psi_k + L a_k^2 (gamma_k + 3 gamma_k^2/2)
             + xi A_{k-1} sqrt(beta_{2,k}) L^2 alpha_{k-1}^2/nu_k,
    net a_k f <= a_k f (1 - theta) - A_k + A_{k-1} sqrt(beta_{2,k}) xi/(1 + xi)
                 - s psi_k f^2/((1 - gamma_k) nu_k),

    net E sum_k a_k f sum_i G_{k,i}^2/sqrt(vt_{k,i}) <= Delta + A_0 sum_i G_{1,i}^2/sqrt(v_{0,i}),

and E sum_k |G_k|_1 <= sqrt(S_0 T_0) with S_0 the right side over net f min a_k. ``value`` takes
the smallest sequences for which the Abel term A_k - A_{k-1} sqrt(beta2) xi/(1 + xi) spends at most a given
share of a_k f, and the largest net. A jump of a_k J_k c_k is paid for by an A that rises before it.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import sympy as sp

from bstheory.references import ADAPTIVE_BATCH, SMALL_BATCH
from bstheory.theory import adam_sums as sums
from bstheory.theory import norm_test as test
from bstheory.theory import norm_test_norms as norms
from bstheory.theory import norm_test_sums as run
from bstheory.theory import norm_test_values as values
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.theorems import adam_norm_test as constant

SLUG = "adam_norm_test_deterministic_schedule"
NUMBERS = ("beta1", "eta", "h", "L", "Delta", "theta", "zeta", "abel")
ASSUMPTIONS = (
    *(
        a
        for a in constant.ASSUMPTIONS
        if a.name in ("smooth", "bounded_below", "norm_test", "update", "start")
    ),
    Assumption(name="predictable", statement="E_k g_k = grad F(w_k); batches and rates are fixed in advance"),
    Assumption(name="momentum", statement="gamma_k = beta1/sqrt(beta_{2,k}) < 1 in every step"),
    Assumption(name="schedule", statement="the sequences J, A, psi, phi, a satisfy the stated inequalities"),
    Assumption(name="net", statement="net, as defined in the statement, is positive"),
)


def derive() -> dict[str, Derivation]:
    """The identity of the backward recursion, the weighted sum, and the l1 norm."""
    return {"backward": backward(), "master": master("S_w"), "l1": master("l1")}


def backward() -> Derivation:
    """u_{k+1} - u_k = -a_k (p_k - gamma_k p_{k-1}) from the backward recursion of kappa."""
    d = Derivation(f"{SLUG}_backward", "The backward recursion removes the change of gamma")
    names = "alpha alpha_prev kappa kappa_next gam a p p_prev w_prev w w_next u u_next"
    alpha, alpha_prev, kappa, kappa_next, gam, a, p, p_prev, w_prev, w, w_next, u, u_next = (
        d.symbol(name) for name in names.split()
    )
    rule = {"relation": "==", "assumption": "schedule"}
    d.assume("step", w_next - w + alpha * p, why="w_{k+1} = w_k - alpha_k p_k", **rule)
    d.assume("step_before", w - w_prev + alpha_prev * p_prev, why="the step before", **rule)
    d.assume("u", u - w - kappa * (w - w_prev), why="definition of u_k", **rule)
    d.assume("u_next", u_next - w_next - kappa_next * (w_next - w), why="definition of u_{k+1}", **rule)
    d.assume("a", a - alpha * (1 + kappa_next), why="definition of a_k", **rule)
    d.assume("kappa", kappa * alpha_prev - gam * a, why="backward recursion", **rule)
    d.combine(
        "increment",
        gap=-a * (p - gam * p_prev) - (u_next - u),
        uses={
            "u": 1,
            "u_next": -1,
            "step": -(1 + kappa_next),
            "step_before": kappa,
            "a": -p,
            "kappa": -p_prev,
        },
        relation="==",
        why="the terms in w_k - w_{k-1} cancel",
    )
    d.claim = ("increment", u_next - u, sp.expand(-a * (p - gam * p_prev)))
    return d


def setting(d: Derivation) -> test.Coefficients:
    """Sequences known in advance; the inequalities between them are hypotheses that ``value`` satisfies."""
    step = {"depends": ("step",), "sign": "positive"}
    y = d.symbol("y", latex=r"\sqrt{\beta_{2,k}}", meaning="root of beta2 of the step", **step)
    c = d.symbol("c", latex=r"1-\beta_{2,k}", meaning="1 - beta2 of the step", **step)
    test.declare(d)
    e = d.symbol("e", latex=r"1-\gamma_k", meaning="1 - gamma_k", **step)
    a = d.symbol("a", latex="a_k", meaning="alpha_k (1 + kappa_{k+1})", **step)
    alpha_prev = d.symbol("alpha_prev", latex=r"\alpha_{k-1}", meaning="rate of the step before", **step)
    gam, f, growth, L, theta, xi = sp.symbols("gam f s L theta xi")
    d.assume("gam_rest", e - 1 + gam, relation="==", assumption="momentum", why="gamma_k < 1")
    pairs = {}
    for name, sign in (("t", "positive"), ("J", "positive"), ("A", "nonnegative"), ("phi", "nonnegative")):
        before, after = (
            d.symbol(f"{name}{which}", depends=("step",), sign=sign, meaning=f"sequence {name}")
            for which in ("_prev", "")
        )
        start: Any = 1 if name == "t" else d.symbol(f"{name}_0", sign=sign, meaning=f"start of {name}")
        d.chain(name, previous=before, next=after, start=start)
        pairs[name] = (before, after)
    psi = d.symbol("psi", depends=("step",), sign="nonnegative", latex=r"\psi_k", meaning="sequence psi")
    q_min = d.symbol("q_min", sign="positive", latex=r"\min_i\sqrt{v_{0,i}}")
    (t_prev, t), (J_prev, J), (A_prev, A), (phi_prev, phi) = (pairs[n] for n in ("t", "J", "A", "phi"))
    d.assume("t_rule", t - y * t_prev, relation="==", assumption="update", why="product of sqrt(beta2)")
    d.combine("t_above", gap=t - y * t_prev, uses={"t_rule": 1}, why="one half")
    d.combine("t_below", gap=y * t_prev - t, uses={"t_rule": -1}, why="the other half")
    d.assume("start", sp.Symbol("q_start") - q_min, assumption="start", why="the least root of v_0")
    nu = t * q_min
    k = test.Coefficients(
        y=y,
        c=c,
        e=e,
        gh=gam,
        a=a,
        alpha_prev=alpha_prev,
        J_prev=J_prev,
        J=J,
        A_prev=A_prev,
        A=A,
        phi_prev=phi_prev,
        phi=phi,
        psi=psi,
        nu=nu,
        kd=xi * A_prev * y / nu,
        cG=A - A_prev * y * xi / (1 + xi),
        cg=a * f * theta / growth + psi * f**2 / (e * nu),
    )
    pi, pi_prev = run.second_order(k, L)
    for name, gap in (
        ("J_rule", J - gam**2 * J_prev - 1 / c),
        ("A_rule", A - a * f * growth * J * c / (4 * theta)),
        ("psi_rule", psi - pi - phi),
        ("phi_rule", phi_prev - pi_prev - gam * psi),
    ):
        d.assume(name, gap, assumption="schedule", why=f"choice of {name[:-5]}")
    for name in ("e_rule", "kd_rule"):
        d.combine(name, gap=0, why="an equality here")
    J_0, v_start = sp.symbols("J_0 v_start")
    d.combine("J_start", gap=f**2 * J_0 * v_start, slack=f**2 * J_0 * v_start, why="m_0 = 0")
    return k


def master(conclude: str) -> Derivation:
    """The weighted sum S_w, or the l1 norm."""
    d = Derivation(f"{SLUG}_{conclude}", "Adam under the norm test, schedule fixed in advance")
    k = setting(d)
    f, a, growth, y, q_prev, q_min, t_prev = sp.symbols("f a s y q_prev q_min t_prev")
    test.roots_grow(d, k)
    norms.decay(d, y)
    d.combine(
        "nu_rule",
        gap=y * q_prev - k.nu,
        uses={"decay": y, "start": y * t_prev, "t_below": q_min},
        why="sqrt(vt) >= 2^(-N_k/(2h)) sqrt(v_0)",
    )
    test.step_facts(d, k)
    run.one_step(d, k)
    net = d.symbol("net", sign="positive", latex=r"\kappa", meaning="what is left of the gradient")
    d.assume(
        "net_rule", a * f * (1 - net) - growth * k.cg - k.cG, assumption="net", why="the least over the steps"
    )
    run.sum_up(d, k, outer=sp.Integer(1), inner=a * f, net=net, label="S_w")
    A_0, F_start, F_star, S_w = sp.symbols("A_0 F_start F_star S_w")
    delta = d.symbol("Delta", sign="positive", latex=r"\Delta", meaning="at least F(w_1) - F_*")
    boundary = d.define(
        "boundary", "coordinates", sp.Symbol("G_start") ** 2 / sp.Symbol("q_start"), sign="nonnegative"
    )
    d.assume("delta", delta - F_start + F_star, assumption="bounded_below", why="Delta >= F(w_1) - F_*")
    d.apply(
        "boundary_value",
        "coordinates",
        d.definition(sp.Symbol("X_start")),
        {sp.Symbol("X_starts"): 1, boundary: -A_0},
        why="sum over coordinates",
    )
    right = (delta + A_0 * boundary) / net
    share = 1 / net
    d.combine(
        "weighted",
        gap=right - S_w,
        uses={"master": share, "delta": share, "boundary_value": -share},
        why="divide by net",
    )
    if conclude == "S_w":
        d.conclude("weighted", S_w, why="the bound on the weighted sum")
        return d
    a_min = d.symbol("a_min", sign="positive", latex=r"\min a_k", meaning="least a_k")
    d.assume("a_low", a - a_min, assumption="schedule", why="the least a_k")
    gain = sp.Symbol("gain")
    S = d.define("S", "steps", gain, sign="nonnegative", latex="S")
    d.combine("gain_low", gap=a * f * gain - a_min * f * gain, uses={"a_low": f * gain}, why="a_k >= min a")
    d.apply("S_low", "steps", "gain_low", {S_w: 1, S: -a_min * f}, why="sum over steps")
    S_bound = right / (a_min * f)
    d.combine(
        "S_bound",
        gap=S_bound - S,
        uses={"weighted": 1 / (a_min * f), "S_low": 1 / (a_min * f)},
        why="divide by (1 - beta1) min a_k",
    )
    y_bar = d.symbol("y_bar", sign="positive", latex=r"\max\sqrt{\beta_2}", meaning="largest root of beta2")
    z = d.symbol("z", sign="positive", latex=r"1-\max\sqrt{\beta_2}")
    c_max = d.symbol("c_max", sign="positive", latex=r"1-\min\beta_2", meaning="largest 1 - beta2")
    d.assume("z_rule", z - 1 + y_bar, relation="==", assumption="schedule", why="1 - max sqrt(beta2)")
    d.assume("ybar_rule", y_bar - y, assumption="schedule", why="the largest root of beta2")
    d.assume("c_rule", c_max - sp.Symbol("c"), assumption="schedule", why="the largest 1 - beta2")
    roots = norms.root_sum(d, k, y_bar=y_bar, z=z, c_max=c_max)
    norms.l1_norm(d, k, S_bound=S_bound, fact="S_bound", right=roots)
    return d


def sequences(n: dict[str, Any], batch_size: np.ndarray, rates: np.ndarray) -> dict[str, Any]:
    """The smallest sequences that satisfy the hypotheses, float64 [K], and net (which may be negative).

    Args:
        n: beta1, eta, h, L, theta, zeta, abel, q_min.
        batch_size: tokens per step [K].
        rates: learning rates [K].
    """
    K, f, growth, theta = batch_size.size, 1 - n["beta1"], 1 + n["eta"] ** 2, n["theta"]
    y = np.exp(-math.log(2) * batch_size / (2 * n["h"]))
    c, gam, t = 1 - y**2, n["beta1"] / y, np.cumprod(y)
    before = np.concatenate([rates[:1], rates[:-1]])
    kappa = np.empty(K + 1)
    kappa[K] = gam[-1] / (1 - gam[-1])
    for step in range(K - 1, -1, -1):
        kappa[step] = gam[step] * rates[step] * (1 + kappa[step + 1]) / before[step]
    a = rates * (1 + kappa[1:])
    J = np.empty(K + 1)
    J[0] = 1 / (c[0] * (1 - gam[0] ** 2))
    for step in range(K):
        J[step + 1] = gam[step] ** 2 * J[step] + 1 / c[step]
    xi = n["zeta"] * np.max(growth * J[1:] * c) - 1
    A = np.concatenate([[0.0], a * f * growth * J[1:] * c / (4 * theta)])
    for step in range(K - 1, -1, -1):  # rise early enough that no step spends more than ``abel`` of the gain
        A[step] = max(A[step], (A[step + 1] - n["abel"] * a[step] * f) / (y[step] * xi / (1 + xi)))
    nu = t * n["q_min"]
    phi, psi = np.zeros(K + 1), np.empty(K)
    for step in range(K - 1, -1, -1):
        psi[step] = n["L"] * a[step] ** 2 * (0.5 + gam[step]) + phi[step + 1]
        phi[step] = gam[step] * psi[step] + n["L"] * a[step] ** 2 * (gam[step] + 1.5 * gam[step] ** 2)
        phi[step] += xi * A[step] * y[step] * n["L"] ** 2 * before[step] ** 2 / nu[step]
    left = 1 - theta - (A[1:] - A[:-1] * y * xi / (1 + xi)) / (a * f)
    left -= growth * psi * f / (a * (1 - gam) * nu)
    found = {"y": y, "c": c, "gam": gam, "t": t, "alpha_prev": before, "kappa": kappa, "a": a, "J": J, "A": A}
    return found | {"phi": phi, "psi": psi, "xi": xi, "net": float(left.min()), "left": left}


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """E sum_k |G_k|_1; ``alpha`` is one learning rate or one for each step. Scalars otherwise.

    Raises:
        InputError: gamma_k >= 1, or net <= 0; the message names the step that leaves least.
    """
    batch_size = sums.needs_schedule(SLUG, batch_size)
    v0, G1 = values.vectors(constants)
    rates = np.broadcast_to(np.asarray(constants["alpha"], dtype=float), batch_size.shape).copy()
    n = {name: float(constants[name]) for name in NUMBERS}
    n["q_min"] = float(np.sqrt(v0.min()))
    y_min = float(np.exp(-math.log(2) * batch_size.max() / (2 * n["h"])))
    if n["beta1"] >= y_min:
        raise sums.outside(
            f"batch_size={batch_size.max()} with beta1={n['beta1']}, h={n['h']}",
            "momentum",
            SLUG,
            "beta1 must stay below 2^(-B_k/(2h)) in every step",
        )
    found = sequences(n, batch_size, rates)
    if not found["net"] > 0:
        worst = int(found["left"].argmin())
        raise sums.outside(
            f"net={found['net']:.4g} at step {worst} (batch_size={batch_size[worst]})",
            "net",
            SLUG,
            "net must be positive: smaller rates, or batches that change more slowly",
        )
    numbers = {
        "Delta": n["Delta"],
        "A_0": found["A"][0],
        "boundary": float((G1**2 / np.sqrt(v0)).sum()),
        "net": found["net"],
        "a_min": found["a"].min(),
        "f": 1 - n["beta1"],
        "root_start": float(np.sqrt(v0).sum()),
        "T_t": found["t"].sum(),
        "y_bar": found["y"].max(),
        "c_max": found["c"].max(),
        "z": 1 - found["y"].max(),
        "s": 1 + n["eta"] ** 2,
    }
    total = compiled()["l1"](**numbers)
    largest = (found["J"][1:] ** 0.5 * rates).max() * (1 - n["beta1"])  # |p_k| <= (1 - beta1) sqrt(J_k)
    return Evaluation(
        value=float(total),
        trivial_value=float(values.trivial(G1, n["L"], largest, batch_size.size)),
        parts={
            "S_0": float(compiled()["S"](**numbers)),
            "net": found["net"],
            "per_step": float(total) / batch_size.size,
        },
    )


@functools.cache
def compiled() -> dict[str, Any]:
    """S_0 and the l1 bound as functions of named numbers, from the derivation."""
    d = master("l1")
    assert d.claim is not None
    produced = {"S": d.gap("S_bound") + sp.Symbol("S"), "l1": d.claim[2]}
    return {name: values.by_name(d.closed_form(expression)) for name, expression in produced.items()}


BOUND = Bound(
    slug=SLUG,
    title="Adam under the norm test, schedule and learning rates fixed in advance",
    algorithm="Adam, v_0 > 0, no epsilon, no bias correction, beta2 = 2^(-B_k/h), learning rates alpha_k",
    quantity="sum_l1_gradient",
    quantity_latex=r"\mathbb E\sum_{k\le K}\|\nabla F(w_k)\|_1",
    statement_latex=r"\mathbb E\sum_{k\le K}\|\nabla F(w_k)\|_1\le\sqrt{S_0\Big(\|\sqrt{v_0}\|_1"
    r"\sum_k2^{-N_k/(2h)}+\tfrac{\bar y(1-b)}{2(1-\bar y)}sS_0\Big)},\quad"
    r"S_0=\frac{\Delta+A_0\sum_iG_{1,i}^2/\sqrt{v_{0,i}}}{\kappa(1-\beta_1)\min_ka_k}",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=(
        *values.parameters(),
        sums.positive("h", "half-life of the second moment", "tokens"),
        Parameter(
            name="abel",
            meaning="share of the gradient that the Abel sum may spend in one step",
            unit="1",
            rule="must lie in (0, 1)",
            accepts=lambda x: 0 < float(x) < 1,
            default=0.25,
            free=(0.0, 1.0),
        ),
    ),
    derive=derive,
    value=value,
    references=(ADAPTIVE_BATCH, SMALL_BATCH),
    notes=(
        "The schedule is known in advance: kappa looks ahead. For batches chosen on the way use theorem C.",
        "kappa_{K+1} is free; value takes gamma/(1 - gamma), so that a_k does not fall towards the end.",
        "The published route limits how fast a_k c_k J_k may grow; here A may rise ahead of a jump instead, "
        "which costs a larger A_0 and a smaller admissible learning rate.",
    ),
)
