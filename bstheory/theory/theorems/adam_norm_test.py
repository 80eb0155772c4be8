"""Flagship 2, corrected: Adam with momentum under the coordinate-wise norm test, every constant explicit.

Algorithm, k = 1..K, coordinatewise, m_0 = 0, v_0 > 0, w_0 = w_1, no epsilon and no bias correction:

    m_k = beta1 m_{k-1} + (1 - beta1) g_k,   v_k = beta2 v_{k-1} + (1 - beta2) g_k^2,
    w_{k+1} = w_k - alpha m_k/sqrt(v_k),

with E_k g_k = G_k = grad F(w_k) and the test E_k (g_{k,i} - G_{k,i})^2 <= eta^2 G_{k,i}^2. Write
s = 1 + eta^2, gamma = beta1/sqrt(beta2) < 1, q = s/(1 - gamma^2), vt_k = beta2 v_{k-1},
nu = beta2^(K/2) min_i sqrt(v_{0,i}), a_0 = alpha (1 - beta1)/(1 - gamma).

**Upper** bound (master form), for every theta in (0, 1) and xi > 0 (the catalogue's a is 1/(1 + xi)):

    S = E sum_k sum_i G_{k,i}^2/sqrt(vt_{k,i}),
    net S <= Delta/a_0 + (q/(4 theta)) sum_i G_{1,i}^2/sqrt(v_{0,i}),
    net = 1 - theta - (q/(4 theta)) (1 - sqrt(beta2) xi/(1 + xi))
        - (s (1 - beta1)^2/((1 - gamma)^2 nu)) [ L alpha (1 + gamma)(1 + 3 gamma)/(2 (1 - gamma)(1 - beta1))
                                               + (q/(4 theta)) sqrt(beta2) xi L^2 alpha^2/nu ],
    E sum_k |G_k|_1 <= sqrt(S_0 T_0),   S_0 the bound on S,
    T_0 = |sqrt(v_0)|_1 sum_k beta2^(k/2) + sqrt(beta2) (1 + sqrt(beta2)) s S_0/2,

wherever net > 0. Theorem B is the case theta = 1/4, 1 + xi = 8q, under condition (C)
s (1 - sqrt(beta2))/(1 - gamma^2) <= 1/8 and the two limits on alpha, where net >= 1/4.

Differs from the catalogue: the boundary term is sum G_1^2/sqrt(v_0) where that has 1/sqrt(beta2) in front,
since w_0 = w_1 makes the first step of the summation by parts an ordinary one; T_0 has
sqrt(beta2)(1 + sqrt(beta2))/2 in place of 1. Both are smaller.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import ADAPTIVE_BATCH
from bstheory.theory import adam_sums as sums
from bstheory.theory import norm_test as test
from bstheory.theory import norm_test_norms as norms
from bstheory.theory import norm_test_sums as run
from bstheory.theory import norm_test_values as values
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation
from bstheory.theory.derivation import Derivation

SLUG = "adam_norm_test"
ASSUMPTIONS = (
    Assumption(
        name="smooth",
        statement="F is L-smooth on the whole space, the points u_k outside the path included",
        constants=("L",),
    ),
    Assumption(name="bounded_below", statement="F(x) >= F_* for all x, and Delta >= F(w_1) - F_*, Delta > 0"),
    Assumption(
        name="predictable",
        statement="E_k g_k = grad F(w_k): the batch is fixed before it is drawn, not grown until it passes",
    ),
    Assumption(
        name="norm_test",
        statement="E_k (g_{k,i} - G_{k,i})^2 <= eta^2 G_{k,i}^2 in every coordinate; s = 1 + eta^2",
        constants=("eta",),
    ),
    Assumption(
        name="update",
        statement="m_0 = 0, v_0 > 0, w_0 = w_1; m, v and w as in Adam without epsilon and bias correction",
    ),
    Assumption(name="momentum", statement="gamma = beta1/sqrt(beta2) < 1", constants=("beta1", "beta2")),
    Assumption(name="horizon", statement="k <= K: beta2^(k/2) >= beta2^(K/2)"),
    Assumption(name="start", statement="sqrt(v_{0,i}) >= q_min > 0 for every coordinate", constants=("v0",)),
    Assumption(name="net", statement="net, as defined in the statement, is positive"),
    Assumption(name="free_constant", statement="theorem B only: theta = 1/4, 1 + xi = 8q"),
    Assumption(name="condition_C", statement="theorem B only: s (1 - sqrt(beta2))/(1 - gamma^2) <= 1/8"),
    Assumption(name="step_size", statement="theorem B only: the two limits on alpha"),
)


def derive() -> dict[str, Derivation]:
    """The master form of S, its l1 norm, theorem B, and when the master form is not empty."""
    return {
        "master": master(conclude="S"),
        "l1": master(conclude="l1"),
        "theorem_b": theorem_b(),
        "feasible": feasible(),
    }


def setting(d: Derivation, *, weighted: bool = False, logs: bool = False) -> test.Coefficients:
    """Constant beta2 and alpha: declarations, and the rules that the shared pieces need.

    ``logs``: what |p|^2 costs is left to the logarithm of v, see ``adam_norm_test_log_route``.
    """
    y = d.symbol("y", sign="positive", latex=r"\sqrt{\beta_2}", meaning="root of beta2")
    c = d.symbol("c", sign="positive", latex=r"1-\beta_2", meaning="1 - beta2")
    alpha = d.symbol("alpha", sign="positive", latex=r"\alpha", meaning="learning rate")
    test.declare(d, weighted=weighted)
    e = d.symbol("e", sign="positive", latex=r"1-\gamma", meaning="1 - gamma")
    gam, growth, L, f, theta, xi = sp.symbols("gam s L f theta xi")
    d.assume("gam_rest", e - 1 + gam, relation="==", assumption="momentum", why="gamma < 1")
    t_prev = d.symbol("t_prev", sign="positive", depends=("step",), latex=r"\beta_2^{(k-1)/2}")
    t = d.symbol("t", sign="positive", depends=("step",), latex=r"\beta_2^{k/2}")
    t_K = d.symbol("t_K", sign="positive", latex=r"\beta_2^{K/2}", meaning="beta2^(K/2)")
    q_min = d.symbol("q_min", sign="positive", latex=r"\min_i\sqrt{v_{0,i}}")
    d.chain("t", previous=t_prev, next=t, start=1)
    d.assume("t_rule", t - y * t_prev, relation="==", assumption="update", why="powers of sqrt(beta2)")
    d.combine("t_above", gap=t - y * t_prev, uses={"t_rule": 1}, why="one half")
    d.combine("t_below", gap=y * t_prev - t, uses={"t_rule": -1}, why="the other half")
    d.assume("horizon", t - t_K, assumption="horizon", why="k <= K")
    d.assume("start", sp.Symbol("q_start") - q_min, assumption="start", why="the least root of v_0")
    a, nu = alpha / e, t_K * q_min
    J = 1 / (c * e * (1 + gam))
    A = a * f * quotient() / (4 * theta)
    k = test.Coefficients(
        y=y,
        c=c,
        e=e,
        gh=gam,
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
        kd=xi * A * y / nu,
        cG=A * (1 - y * xi / (1 + xi)),
        cg=0,
    )
    pi, pi_prev = run.second_order(k, L)
    k.psi = (pi + pi_prev) / e
    k.phi = k.phi_prev = pi_prev + gam * k.psi
    k.logs = logs
    k.cg = a * f * theta / growth + (0 if logs else k.psi * f**2 / (e * nu))
    d.combine("J_rule", gap=J - gam**2 * J - 1 / c, uses={"gam_rest": -J * (1 + gam)}, why="fixed point")
    v_start = sp.Symbol("v_start")
    d.combine("J_start", gap=f**2 * J * v_start, slack=f**2 * J * v_start, why="m_0 = 0")
    for name in ("A_rule", "e_rule", "kd_rule", "phi_rule"):
        d.combine(name, gap=0, why="an equality here")
    d.combine(
        "psi_rule", gap=k.psi - pi - k.phi, uses={"gam_rest": -k.psi}, why="psi = (pi + pi')/(1 - gamma)"
    )
    return k


def quotient() -> Any:
    """q = s/(1 - gamma^2)."""
    growth, e, gam = sp.symbols("s e gam")
    return growth / (e * (1 + gam))


def chain_of_steps(d: Derivation, k: test.Coefficients) -> tuple[Any, Any]:
    """Everything up to the bound on S, the step ``S_bound``; returns it and the constant net."""
    # The past root first: nu_rule needs the decay, which needs that roots grow.
    f, theta, xi, y, alpha, e, growth, q_min, t_prev = sp.symbols("f theta xi y alpha e s q_min t_prev")
    test.roots_grow(d, k)
    norms.decay(d, k.y)
    d.combine(
        "nu_rule",
        gap=k.y * sp.Symbol("q_prev") - k.nu,
        uses={"decay": y, "start": y * t_prev, "horizon": q_min, "t_below": q_min},
        why="sqrt(vt) >= beta2^(k/2) sqrt(v_0) >= nu",
    )
    test.step_facts(d, k)
    run.one_step(d, k)
    net = d.symbol("net", sign="positive", latex=r"\kappa", meaning="what is left of the gradient")
    a = k.a
    spent = theta + quotient() / (4 * theta) * (1 - y * xi / (1 + xi)) + growth * k.psi * f / (a * e * k.nu)
    d.assume("net", net - 1 + spent, relation="==", assumption="net", why="definition of net")
    d.combine(
        "net_rule",
        gap=a * f * (1 - net) - growth * k.cg - k.cG,
        uses={"net": -a * f},
        relation="==",
        why="times a f",
    )
    run.sum_up(d, k, outer=a * f, inner=sp.Integer(1), net=net)
    right = boundary_and_loss(d, k, share=e / (alpha * f), q=quotient(), net=net)
    return right, net


def boundary_and_loss(
    d: Derivation, k: test.Coefficients, *, share: Any, q: Any, net: Any, extra: Any = 0
) -> Any:
    """net S <= Delta share + (q/(4 theta)) sum_i G_1^2/sqrt(v_0) + share extra: ``S_times_net``.

    ``share`` is 1/(a f), ``extra`` what the step ``master`` has besides.
    """
    theta, F_start, F_star = sp.symbols("theta F_start F_star")
    delta = d.symbol("Delta", sign="positive", latex=r"\Delta", meaning="at least F(w_1) - F_*")
    boundary = d.define(
        "boundary",
        "coordinates",
        sp.Symbol("G_start") ** 2 / sp.Symbol("q_start"),
        sign="nonnegative",
        latex=r"\sum_iG_{1,i}^2/\sqrt{v_{0,i}}",
    )
    d.assume("delta", delta - F_start + F_star, assumption="bounded_below", why="Delta >= F(w_1) - F_*")
    d.apply(
        "boundary_value",
        "coordinates",
        d.definition(sp.Symbol("X_start")),
        {sp.Symbol("X_starts"): 1, boundary: -k.A},
        why="sum over coordinates",
    )
    right = delta * share + q / (4 * theta) * boundary + share * extra
    d.combine(
        "S_times_net",
        gap=right - net * sp.Symbol("S"),
        uses={"master": share, "delta": share, "boundary_value": -share},
        why="divide by a f",
    )
    return right


def master(*, conclude: str, weighted: bool = False) -> Derivation:
    """The master form with free theta and xi: the bound on S, or the l1 norm."""
    d = Derivation(f"{SLUG}_{conclude}", "Adam under the coordinate-wise norm test, master form")
    k = setting(d, weighted=weighted)
    right, net = chain_of_steps(d, k)
    S = sp.Symbol("S")
    d.combine("S_bound", gap=right / net - S, uses={"S_times_net": 1 / net}, why="divide by net")
    if conclude == "S":
        d.conclude("S_bound", S, why="the bound on S")
    else:
        l1(d, k, right / net, "S_bound")
    return d


def l1(d: Derivation, k: test.Coefficients, S_bound: Any, fact: str) -> None:
    """The l1 norm from a bound on S."""
    y, c = sp.symbols("y c")
    z = d.symbol("z", sign="positive", latex=r"1-\sqrt{\beta_2}", meaning="1 - sqrt(beta2)")
    d.assume("z_rule", z - 1 + y, relation="==", assumption="update", why="1 - sqrt(beta2)")
    for name in ("ybar_rule", "c_rule"):
        d.combine(name, gap=0, why="an equality here")
    right = norms.root_sum(d, k, y_bar=y, z=z, c_max=c)
    norms.l1_norm(d, k, S_bound=S_bound, fact=fact, right=right)


def theorem_b(*, weighted: bool = False) -> Derivation:
    """theta = 1/4, 1 + xi = 8q: under (C) and two limits on alpha, net >= 1/4."""
    d = Derivation(f"{SLUG}_theorem_b", "Adam under the coordinate-wise norm test, theorem B")
    k = setting(d, weighted=weighted)
    right, net = chain_of_steps(d, k)
    theta, xi, y, c, f, e, gam, L, alpha, growth = sp.symbols("theta xi y c f e gam L alpha s")
    q, nu = quotient(), k.nu
    d.assume(
        "theta_choice", theta - sp.Rational(1, 4), relation="==", assumption="free_constant", why="theta"
    )
    d.assume("xi_choice", 1 + xi - 8 * q, relation="==", assumption="free_constant", why="xi")
    d.assume("condition_C", sp.Rational(1, 8) - q * (1 - y), assumption="condition_C", why="condition (C)")
    first = nu * e**3 - 4 * growth * L * f * (1 + gam) * (1 + 3 * gam) * alpha
    second = nu**2 * e**2 - 64 * growth * q**2 * y * f**2 * L**2 * alpha**2
    d.assume("step_size_1", first, assumption="step_size", why="first limit on alpha")
    d.assume("step_size_2", second, assumption="step_size", why="second limit on alpha, squared")
    quarter = sp.Rational(1, 4)
    d.combine(
        "net_quarter",
        gap=net - quarter,
        uses={
            "net": 1,
            "condition_C": 1,
            "step_size_1": 1 / (8 * nu * e**3),
            "step_size_2": 1 / (8 * nu**2 * e**2),
            "beta2_rest": -1 / (8 * (1 + y)),
        },
        slack=growth * f**2 * q * y * L**2 * alpha**2 / (e**2 * nu**2) + c / (8 * (1 + y)),
        modulo=["xi_choice", "theta_choice"],
        why="three quarters, less an eighth four times",
    )
    S = sp.Symbol("S")
    d.combine("S_sign", gap=S, slack=S, why="a sum of squares")
    d.combine(
        "S_bound",
        gap=4 * right - S,
        uses={"S_times_net": 4, ("net_quarter", "S_sign"): 4},
        why="divide by 1/4",
    )
    l1(d, k, 4 * right, "S_bound")
    return d


def feasible() -> Derivation:
    """rho = q (1 - sqrt(beta2)) < 1 leaves (1 - rho)/4 at theta = 1/2, 1 + xi = 2 q sqrt(beta2)/(1 - rho).

    It is also necessary: theta + rho/(4 theta) >= sqrt(rho) for every theta. (0.9, 0.95) satisfies it.
    """
    d = Derivation(f"{SLUG}_feasible", "The master form is not empty where rho < 1")
    y = d.symbol("y", sign="positive", latex=r"\sqrt{\beta_2}")
    q = d.symbol("q", sign="positive", latex="q", meaning="s/(1 - gamma^2)")
    room = d.symbol("room", sign="positive", latex=r"1-\rho", meaning="1 - rho")
    left = d.symbol("left", latex=r"\kappa_0", meaning="net at alpha = 0")
    spread = 2 * q * y / room
    d.assume(
        "rho", room - 1 + q * (1 - y), relation="==", assumption="net", why="rho = q (1 - sqrt(beta2)) < 1"
    )
    half = sp.Rational(1, 2)
    d.assume(
        "left",
        left - (1 - half - q / (4 * half) * (1 - y + y / spread)),
        relation="==",
        assumption="free_constant",
        why="net at alpha = 0, theta = 1/2; 1 - y xi/(1 + xi) = 1 - y + y/(1 + xi)",
    )
    d.combine("feasible", gap=left - room / 4, uses={"left": 1, "rho": -half}, why="what is left")
    d.claim = ("feasible", room / 4, left)
    return d


def numbers_of(
    slug: str, constants: Constants, batch_size: np.ndarray | None
) -> tuple[dict[str, Any], dict[str, Any], Any, np.ndarray]:
    """Constants as arrays, numbers for the symbols of the derivations, q, and G_1."""
    v0, G1 = values.vectors(constants)
    if batch_size is not None and not np.all(batch_size.size == np.asarray(constants["K"])):
        raise input_error(
            got=f"a schedule of {batch_size.size} steps with K={constants['K']}",
            rule="only the number of steps enters here",
            do="drop the schedule or give its length as K",
        )
    n = {
        name: np.asarray(constants[name], dtype=float)
        for name in ("alpha", "beta1", "beta2", "eta", "L", "Delta", "K", "theta", "zeta")
    }
    y = np.sqrt(n["beta2"])
    gam, growth = n["beta1"] / y, 1 + n["eta"] ** 2
    if np.any(gam >= 1):
        raise sums.outside(f"beta1={n['beta1']}, beta2={n['beta2']}", "momentum", slug, "beta1 < sqrt(beta2)")
    q = growth / (1 - gam**2)
    numbers = {
        "alpha": n["alpha"],
        "L": n["L"],
        "s": growth,
        "theta": n["theta"],
        "xi": n["zeta"] * q - 1,
        "y": y,
        "c": 1 - n["beta2"],
        "z": 1 - y,
        "e": 1 - gam,
        "f": 1 - n["beta1"],
        "beta1": n["beta1"],
        "t_K": y ** n["K"],
        "q_min": np.sqrt(v0.min()),
        "Delta": n["Delta"],
        "boundary": (G1**2 / np.sqrt(v0)).sum(),
        "root_start": np.sqrt(v0).sum(),
        "T_t": y * (1 - y ** n["K"]) / (1 - y),
    }
    return n, numbers, q, G1


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """E sum_k |G_k|_1 by the master form; ``parts`` holds S_0, net, theorem B and the three conditions.

    Raises:
        InputError: gamma >= 1, or net <= 0; the message says how large alpha may be.
    """
    n, numbers, q, G1 = numbers_of(SLUG, constants, batch_size)
    y, gam, growth = numbers["y"], 1 - numbers["e"], numbers["s"]
    net = compiled()["net"](**numbers)
    if np.any(~(net > 0)):
        raise sums.outside(
            f"net={net} at alpha={n['alpha']}",
            "net",
            SLUG,
            f"net is positive only for alpha below {values.largest_alpha(numbers, compiled()['net'])}; "
            f"rho={q * (1 - y)} must be below 1",
        )
    total = compiled()["l1"](net=net, **numbers)
    step = n["alpha"] * (1 - n["beta1"]) / np.sqrt((1 - n["beta2"]) * (1 - gam**2))
    inside = (q * (1 - y) <= 1 / 8) & (n["alpha"] <= np.minimum(*theorem_b_limits(numbers)))
    X0 = 2 * n["Delta"] * (1 - gam) / (n["alpha"] * (1 - n["beta1"])) + 2 * q * numbers["boundary"]
    theorem = np.sqrt(2 * X0 * (numbers["root_start"] * numbers["T_t"] + y * (1 + y) / 2 * growth * 2 * X0))
    return Evaluation(
        value=total[()],
        trivial_value=values.trivial(G1, n["L"], step, n["K"])[()],
        parts={
            "S_0": compiled()["S"](net=net, **numbers)[()],
            "net": net[()],
            "per_step": (total / n["K"])[()],
            "rho": (q * (1 - y))[()],
            "condition_C": (q * (1 - y) <= 1 / 8)[()],
            "printed_condition": (n["beta1"] <= values.printed_limit(n["beta2"], n["eta"]))[()],
            "largest_alpha": values.largest_alpha(numbers, compiled()["net"])[()],
            "theorem_b": np.where(inside, theorem, np.nan)[()],
        },
    )


def theorem_b_limits(n: Any) -> tuple[Any, Any]:
    """The two upper limits of alpha in theorem B."""
    gam, nu = n["beta1"] / n["y"], n["t_K"] * n["q_min"]
    first = nu * n["e"] ** 3 / (4 * n["s"] * n["L"] * n["f"] * (1 + gam) * (1 + 3 * gam))
    second = nu * n["e"] * (1 - gam**2) / (8 * n["s"] ** 1.5 * np.sqrt(n["y"]) * n["L"] * n["f"])
    return first, second


@functools.cache
def compiled() -> dict[str, Any]:
    """net, S_0 and the l1 bound as functions of named numbers, from the derivation."""
    return values.functions(master(conclude="l1"))


BOUND = Bound(
    slug=SLUG,
    title="Adam with momentum under the coordinate-wise norm test",
    algorithm="Adam, v_0 > 0, no epsilon, no bias correction, w_{k+1} = w_k - alpha m_k/sqrt(v_k)",
    quantity="sum_l1_gradient",
    quantity_latex=r"\mathbb E\sum_{k\le K}\|\nabla F(w_k)\|_1",
    statement_latex=r"\mathbb E\sum_{k\le K}\|\nabla F(w_k)\|_1\le\sqrt{S_0\Big(\|\sqrt{v_0}\|_1"
    r"\sum_{k\le K}\beta_2^{k/2}+\tfrac{\sqrt{\beta_2}(1+\sqrt{\beta_2})}2sS_0\Big)},\quad"
    r"S_0=\frac1\kappa\Big[\frac{\Delta(1-\gamma)}{\alpha(1-\beta_1)}"
    r"+\frac q{4\theta}\sum_i\frac{G_{1,i}^2}{\sqrt{v_{0,i}}}\Big]",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=values.parameters("beta2", "K"),
    derive=derive,
    value=value,
    references=(ADAPTIVE_BATCH,),
    notes=(
        "The test forces g_i = G_i wherever G_i = 0: no noise is left at a stationary point.",
        "nu = beta2^(K/2) min sqrt(v_0) vanishes at fixed beta2: take 1 - beta2 = c/K.",
        "alpha may not exceed a multiple of sqrt(v_0)/L: at v_0 = alpha^2/4 on F = w^2/2 Adam with beta1 = 0 "
        "cycles between +alpha/2 and -alpha/2 for every beta2.",
        "Pessimistic by two to three orders on typical runs; the falsifier finds runs at 0.77 of the bound "
        "(alpha far below its limit, v_0 dominating).",
    ),
)
