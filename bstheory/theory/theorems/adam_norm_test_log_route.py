"""Flagship 2 at any learning rate: the second-order terms are paid for by the logarithm of v (theorem A).

Setting, algorithm and assumptions are those of ``adam_norm_test``, whose bound exists only below a largest
learning rate, because it charges |m/sqrt(v)|^2 to the gradient. Here it is charged to the logarithm of v:
(1 - beta2) g^2/v_k <= ln v_k - ln v_{k-1} - ln beta2, and at the end

    E sum_i ln(v_{K,i}/v_{0,i}) <= 2 d (ln mu + 1/mu - 1) + (1 - beta2) s S/(mu q_min),  any mu > 0,

because sqrt(v_K) exceeds sqrt(v_0) by (1 - beta2) s S/2 at most, in the mean. With q = s/(1 - gamma^2),
f = 1 - beta1, q_min = min_i sqrt(v_{0,i}), nu = beta2^(K/2) q_min and

    Y = (f^2/((1 - gamma)^2 (1 - beta2))) [ L alpha (1 + gamma)(1 + 3 gamma)/(2 (1 - gamma) f)
                                            + (q/(4 theta)) sqrt(beta2) xi L^2 alpha^2/nu ],

**Upper** bound, for every theta in (0, 1), xi > 0 and mu > 0 that leave ``left`` positive:

    left S <= Delta/a_0 + (q/(4 theta)) sum_i G_{1,i}^2/sqrt(v_{0,i})
              + Y d [2 (ln mu + 1/mu - 1) + K ln(1/beta2)],
    left = 1 - theta - (q/(4 theta)) (1 - sqrt(beta2) xi/(1 + xi)) - Y (1 - beta2) s/(mu q_min),
    E sum_k |G_k|_1 <= sqrt(S_0 T_0),   T_0 as in ``adam_norm_test``.

``value`` takes mu = max(1, level Y (1 - beta2) s/(q_min net)), net the part of ``left`` without mu; at
level = 2, theta = 1/4, 1 + xi = 8q and under condition (C) this is the catalogue's theorem A. No learning
rate is excluded; with 1 - beta2 = c/K and alpha = a/sqrt(K) the mean of |G|_1 falls like K^(-1/4).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import sympy as sp

from bstheory.references import ADAPTIVE_BATCH
from bstheory.theory import adam_sums as sums
from bstheory.theory import norm_test as test
from bstheory.theory import norm_test_norms as norms
from bstheory.theory import norm_test_sums as run
from bstheory.theory import norm_test_values as values
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_scalar import decay
from bstheory.theory.theorems import adam_norm_test as constant

SLUG = "adam_norm_test_log_route"
ASSUMPTIONS = (
    *(
        a
        for a in constant.ASSUMPTIONS
        if a.name not in ("net", "free_constant", "condition_C", "step_size", "horizon")
    ),
    Assumption(name="horizon", statement="K steps are taken, K fixed in advance; beta2^(k/2) >= beta2^(K/2)"),
    Assumption(
        name="log_constants",
        statement="lift = 2 (ln mu + 1/mu - 1) >= 0 and fall = ln(1/beta2) > 0",
    ),
    Assumption(name="net", statement="net and left, as defined in the statement, are positive"),
)


def derive() -> Derivation:
    """The l1 norm with free theta, xi and mu."""
    d = Derivation(SLUG, "Adam under the coordinate-wise norm test, any learning rate")
    k = constant.setting(d, logs=True)
    y, c, z_prev, e, f, theta, xi, alpha, growth, q_min, t_prev, S = sp.symbols(
        "y c q_prev e f theta xi alpha s q_min t_prev S"
    )
    test.roots_grow(d, k)
    norms.decay(d, y)
    d.combine(
        "nu_rule",
        gap=y * z_prev - k.nu,
        uses={"decay": y, "start": y * t_prev, "horizon": q_min, "t_below": q_min},
        why="sqrt(vt) >= beta2^(k/2) sqrt(v_0) >= nu",
    )
    test.step_facts(d, k)
    log_step(d, k)
    run.one_step(d, k)
    net = d.symbol("net", sign="positive", latex=r"\kappa", meaning="what is left of the gradient")
    spent = theta + constant.quotient() / (4 * theta) * (1 - y * xi / (1 + xi))
    d.assume("net", net - 1 + spent, relation="==", assumption="net", why="definition of net")
    outer = k.a * f
    d.combine(
        "net_rule",
        gap=outer * (1 - net) - growth * k.cg - k.cG,
        uses={"net": -outer},
        relation="==",
        why="times a f",
    )
    run.sum_up(d, k, outer=outer, inner=sp.Integer(1), net=net)
    T_logs, T_one, dim, log_beta = sp.symbols("T_logs T_one d log_beta")
    price = k.psi * f**2 / (e * c)
    share = e / (alpha * f)
    right = constant.boundary_and_loss(
        d, k, share=share, q=constant.quotient(), net=net, extra=price * (T_logs - T_one * dim * log_beta)
    )
    z = d.symbol("z", sign="positive", latex=r"1-\sqrt{\beta_2}", meaning="1 - sqrt(beta2)")
    d.assume("z_rule", z - 1 + y, relation="==", assumption="update", why="1 - sqrt(beta2)")
    for name in ("ybar_rule", "c_rule"):
        d.combine(name, gap=0, why="an equality here")
    roots = norms.root_sum(d, k, y_bar=y, z=z, c_max=c)
    mu, log_mu = log_room(d)
    K = d.symbol("K", sign="positive", latex="K", meaning="number of steps")
    d.assume("steps_taken", T_one - K, relation="==", assumption="horizon", why="K steps")
    left = d.symbol("left", sign="positive", latex=r"\kappa'", meaning="net less what the logarithm costs")
    cost = share * price * c * growth / (mu * q_min)
    d.assume("left", left - net + cost, relation="==", assumption="net", why="definition of left")
    lift = d.symbol("lift", sign="nonnegative", latex=r"2(\ln\mu+1/\mu-1)", meaning="ln y <= y - 1 at 1/mu")
    fall = d.symbol("fall", sign="positive", latex=r"\ln(1/\beta_2)", meaning="-ln beta2")
    rule = {"relation": "==", "assumption": "log_constants"}
    d.assume("lift", lift - (2 / mu - 2 + 2 * log_mu), why="by definition", **rule)
    d.assume("fall", fall + log_beta, why="by definition", **rule)
    known = right - share * price * (T_logs - T_one * dim * log_beta)
    known += share * price * dim * (lift + K * fall)
    d.combine(
        "S_bound",
        gap=known / left - S,
        uses={
            "S_times_net": 1 / left,
            "logs_total": share * price / left,
            "steps_taken": share * price * dim * log_beta / left,
            "lift": share * price * dim / left,
            "fall": share * price * dim * K / left,
            "left": -S / left,
        },
        why="divide by what is left",
    )
    norms.l1_norm(d, k, S_bound=known / left, fact="S_bound", right=roots)
    return d


def log_step(d: Derivation, k: test.Coefficients) -> None:
    """c g^2/v_k <= ln v_k - ln v_{k-1} - ln beta2, the step ``log_step``; logarithms are of squared roots."""
    q, q_prev, g = sp.symbols("q q_prev g")
    log_next = d.define("log_next", "log", q**2, latex=r"\ln v_k")
    log_prev = d.define("log_prev", "log", q_prev**2, latex=r"\ln v_{k-1}")
    log_low = d.define("log_low", "log", k.y**2 * q_prev**2, latex=r"\ln(\beta_2v_{k-1})")
    log_beta = d.define("log_beta", "log", k.y**2, latex=r"\ln\beta_2")
    log_ratio = d.define("log_ratio", "log", k.y**2 * q_prev**2 / q**2)
    d.log_tangent("ratio_tangent", log_ratio, why="ln y <= y - 1")
    d.log_quotient("ratio_split", log_ratio, log_low, log_next, why="logarithm of a quotient")
    d.log_product("low_split", log_low, log_beta, log_prev, why="logarithm of a product")
    d.combine(
        "log_step",
        gap=log_next - log_prev - log_beta - k.c * g**2 / q**2,
        uses={
            "ratio_tangent": 1,
            "ratio_split": 1,
            "low_split": 1,
            "second_moment": 1 / q**2,
            d.definition(q): 1 / q**2,
            d.definition(q_prev): -(k.y**2) / q**2,
        },
        why="what a gradient adds to v, against the logarithm",
    )


def log_room(d: Derivation) -> tuple[Any, Any]:
    """E sum_i ln(v_K/v_0) <= d (2/mu - 2 + 2 ln mu) + c s S/(mu q_min), the step ``logs_total``."""
    q, q_start, q_min, t, t_prev, y, c, growth, S = sp.symbols("q q_start q_min t t_prev y c s S")
    before, after, start = sp.symbols("excess_prev excess excess_start")
    log_next, log_prev, dim, z = sp.symbols("log_next log_prev d z")
    d.hypothesis("t_before", 1 - t_prev, why="the decay is at most 1")
    step = {"t_below": 1, "beta2_rest": -t_prev / (1 + y)}
    less = c * t_prev / (1 + y)
    d.combine("t_after", gap=1 - t, uses={"t_before": 1, **step}, slack=less, why="one step later")
    d.combine("t_first", gap=0, why="t_0 = 1")
    d.induction("t_small", "t_before", "t_after", "t_first", ["t"], why="induction")
    d.combine("t_next", gap=1 - t, uses={"t_small": 1, **step}, slack=less, why="after every step")
    mu = d.symbol("mu_log", sign="positive", latex=r"\mu", meaning="free constant of the logarithm")
    log_mu = d.define("log_mu", "log", mu, latex=r"\ln\mu")
    inverse = decay(d, mu, log_mu, name="log_inverse")
    d.log_tangent("inverse_tangent", inverse, why="ln y <= y - 1")
    log_root = d.define("log_root", "log", q)
    log_root_start = d.define("log_root_start", "log", q_start)
    log_start = d.define("log_start", "log", q_start**2, latex=r"\ln v_0")
    log_scale = d.define("log_scale", "log", mu * q_start)
    log_part = d.define("log_part", "log", q / (mu * q_start))
    d.log_tangent("part_tangent", log_part, why="ln y <= y - 1")
    d.log_quotient("part_split", log_part, log_root, log_scale, why="logarithm of a quotient")
    d.log_product("scale_split", log_scale, log_mu, log_root_start, why="logarithm of a product")
    d.log_product("square_next", log_next, log_root, log_root, why="logarithm of a square")
    d.log_product("square_start", log_start, log_root_start, log_root_start, why="logarithm of a square")
    d.chain("log_v", previous=log_prev, next=log_next, start=log_start)
    names = ("room_prev", "room", "room_start")
    shift = 2 / mu - 2 + 2 * log_mu + log_start
    of = [
        2 * x / (mu * q_min) + shift - log
        for x, log in ((before, log_prev), (after, log_next), (start, log_start))
    ]
    room_prev, room, room_start = (d.define(n, "equals", v) for n, v in zip(names, of, strict=True))
    d.chain("room", previous=room_prev, next=room, start=room_start)
    d.combine(
        "room_sign",
        gap=room,
        uses={
            d.definition(room): 1,
            "part_tangent": 2,
            "part_split": 2,
            "scale_split": -2,
            "square_next": -1,
            "square_start": 1,
            d.definition(after): 2 / (mu * q_start),
            ("start", "excess_sign"): 2 / (mu * q_start * q_min),
            "t_next": 2 / mu,
        },
        why="the tangent of the logarithm at mu sqrt(v_0)",
    )
    d.combine(
        "room_value",
        gap=room_start - (2 / mu - 2 + 2 * log_mu),
        uses={d.definition(room_start): 1, "excess_none": 2 / (mu * q_min)},
        relation="==",
        why="nothing at the start",
    )
    d.combine(
        "room_start_sign",
        gap=room_start,
        uses={"room_value": 1, "inverse_tangent": 2, "log_inverse_value": 2},
        why="1/mu - 1 + ln mu >= 0",
    )
    d.combine(
        "room_change",
        gap=room - room_prev - 2 * (after - before) / (mu * q_min) + log_next - log_prev,
        uses={d.definition(room): 1, d.definition(room_prev): -1},
        relation="==",
        why="what one step changes",
    )
    sums_ = {name: d.define(f"{name}s", "coordinates", sp.Symbol(name)) for name in names}
    end = d.symbol("rooms_end", meaning="expected room at the end")
    d.chain("rooms", previous=sums_["room_prev"], next=sums_["room"], start=sums_["room_start"], end=end)
    d.apply("room_signs", "coordinates", "room_sign", {sums_["room"]: 1}, why="sum")
    d.apply("room_start_signs", "coordinates", "room_start_sign", {sums_["room_start"]: 1}, why="sum")
    d.at_end("room_end_sign", "room_signs", "room_start_signs", "rooms", why="at the end")
    terms = {sums_["room_start"]: 1, dim: -(2 / mu - 2 + 2 * log_mu)}
    d.apply("room_values", "coordinates", "room_value", terms, why="d equal terms")
    excesses, excess_prevs, logs_next, logs_prev = sp.symbols("excesss excess_prevs logs_next logs_prev")
    per = 2 / (mu * q_min)
    terms = {
        sums_["room"]: 1,
        sums_["room_prev"]: -1,
        excesses: -per,
        excess_prevs: per,
        logs_next: 1,
        logs_prev: -1,
    }
    d.apply("room_changes", "coordinates", "room_change", terms, why="sum over coordinates")
    T_room = d.define("T_room", "steps", sums_["room"] - sums_["room_prev"])
    T_change, T_excess, T_logs = sp.symbols("T_excess_change T_excess T_logs")
    terms = {T_room: 1, T_change: -per, T_logs: 1}
    d.apply("room_total", "steps", "room_changes", terms, why="expectation of the sum over steps")
    d.telescope("telescope_room", T_room, "rooms", why="the room telescopes")
    d.apply("excess_prev_signs", "coordinates", "excess_prev_sign", {excess_prevs: 1}, why="sum")
    d.apply("excess_total_sign", "steps", "excess_prev_signs", {T_excess: 1}, why="sum over steps")
    d.combine(
        "logs_total",
        gap=dim * (2 / mu - 2 + 2 * log_mu) + c * growth * S / (mu * q_min) - T_logs,
        uses={
            "room_total": -1,
            "telescope_room": 1,
            "room_end_sign": 1,
            "room_values": -1,
            "excess_total": per,
            "excess_total_sign": per * z,
            "tower_plain": per * c / 2,
            "plain_total": per * c / 2,
        },
        why="the logarithm of v at the end",
    )
    return mu, log_mu


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """E sum_k |G_k|_1; ``parts`` holds S_0, mu, net, left and the mean per step.

    Raises:
        InputError: gamma >= 1, or theta and zeta leave no net.
    """
    n, numbers, q, G1 = constant.numbers_of(SLUG, constants, batch_size)
    produced = compiled()
    net = produced["net"](**numbers)
    if np.any(~(net > 0)):
        raise sums.outside(
            f"net={net} at theta={n['theta']}, zeta={n['zeta']}",
            "net",
            SLUG,
            f"rho={q * numbers['z']} must be below 1, and theta and zeta near their best",
        )
    d = G1.size
    cost = net - produced["left"](net=net, mu_log=1.0, **numbers)  # what the logarithm costs at mu = 1
    mu = np.maximum(1.0, float(constants["level"]) * cost / net)
    known = numbers | {"net": net, "mu_log": mu, "d": d, "K": n["K"]}
    known |= {"lift": 2 * (np.log(mu) + 1 / mu - 1), "fall": -np.log(n["beta2"])}
    known["left"] = produced["left"](**known)
    total = produced["l1"](**known)
    step = n["alpha"] * numbers["f"] / np.sqrt(numbers["c"] * (1 - (n["beta1"] / numbers["y"]) ** 2))
    return Evaluation(
        value=total[()],
        trivial_value=values.trivial(G1, n["L"], step, n["K"])[()],
        parts={
            "S_0": produced["S"](**known)[()],
            "mu": mu[()],
            "net": net[()],
            "left": known["left"][()],
            "per_step": (total / n["K"])[()],
            "condition_C": (q * numbers["z"] <= 1 / 8)[()],
        },
    )


@functools.cache
def compiled() -> dict[str, Any]:
    """net, left, S_0 and the l1 bound as functions of named numbers, from the derivation."""
    d = derive()
    left = values.by_name(d.closed_form(sp.Symbol("left") - d.gap("left")))
    return values.functions(d) | {"left": left}


BOUND = Bound(
    slug=SLUG,
    title="Adam under the coordinate-wise norm test, any learning rate",
    algorithm="Adam, v_0 > 0, no epsilon, no bias correction, w_{k+1} = w_k - alpha m_k/sqrt(v_k)",
    quantity="sum_l1_gradient",
    quantity_latex=r"\mathbb E\sum_{k\le K}\|\nabla F(w_k)\|_1",
    statement_latex=r"\mathbb E\sum_{k\le K}\|\nabla F(w_k)\|_1\le\sqrt{S_0\Big(\|\sqrt{v_0}\|_1"
    r"\sum_{k\le K}\beta_2^{k/2}+\tfrac{\sqrt{\beta_2}(1+\sqrt{\beta_2})}2sS_0\Big)},\quad"
    r"S_0=\frac1{\kappa'}\Big[\frac{\Delta(1-\gamma)}{\alpha(1-\beta_1)}"
    r"+\frac q{4\theta}\sum_i\frac{G_{1,i}^2}{\sqrt{v_{0,i}}}"
    r"+Yd\big(2(\ln\mu+\tfrac1\mu-1)+K\ln\tfrac1{\beta_2}\big)\Big]",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=(
        *values.parameters("beta2", "K"),
        Parameter(
            name="level",
            meaning="mu = max(1, level cost/net); 2 in theorem A",
            unit="1",
            rule="must exceed 1",
            accepts=lambda x: float(x) > 1,
            default=2.0,
            free=(1.0, math.inf),
        ),
    ),
    derive=derive,
    value=value,
    references=(ADAPTIVE_BATCH,),
    notes=(
        "No learning rate is excluded, but the bound grows with it.",
        "At fixed beta2 the term K ln(1/beta2) does not vanish from the mean: take 1 - beta2 = c/K.",
    ),
)
