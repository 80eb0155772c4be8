"""Adam and Adagrad without momentum, in unnormalised sums, as in the simple proof of 2003.02395.

Algorithm, n = 1..N, coordinatewise, v_0 = 0, |g_{n,i}| <= R - sqrt(eps):

    v_n = beta2 v_{n-1} + g_n^2,    x_n = x_{n-1} - alpha_n g_n/sqrt(eps + v_n),

Adam: beta2 < 1 and alpha_n = alpha sqrt((1 - beta2^n)/(1 - beta2)); Adagrad: beta2 = 1 and alpha_n = alpha.

**Upper** bounds on the mean of |grad F(x_n)|^2 over n = 0..N-1, with r = R - sqrt(eps). Adagrad (part
``adagrad``, T1):

    2 R Delta/(alpha sqrt(N)) + d (4 R r + alpha R L)/sqrt(N) ln(1 + N R^2/eps).

Adam (part ``adam``, T2):

    2 R Delta/(alpha N) + d (4 R r/sqrt(1 - beta2) + alpha R L/(1 - beta2))
        (ln(1 + R^2/((1 - beta2) eps))/N - ln beta2).

Differs from the source by r in place of one factor R, which is smaller. The theorems with momentum, T3 and
T4, are ``adam_unnormalised_momentum``.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import SIMPLE_ADAM
from bstheory.theory import adam_pieces as pieces
from bstheory.theory import adam_sums as sums
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation

SLUG = "adam_unnormalised"
ASSUMPTIONS = (
    sums.SMOOTH,
    sums.BELOW,
    Assumption(
        name="bounded_gradient",
        statement="|g_{n,i}| <= R - sqrt(eps) almost surely, every coordinate",
        constants=("R",),
    ),
    sums.UNBIASED,
    Assumption(name="second_moment", statement="v_n = beta2 v_{n-1} + g_n^2, v_0 = 0"),
    Assumption(name="decayed_count", statement="S_n = beta2 S_{n-1} + 1, S_0 = 0, 0 < beta2 <= 1"),
    Assumption(
        name="update",
        statement="x_n = x_{n-1} - alpha_n g_n/sqrt(eps + v_n), eps inside the root; "
        "alpha_n = alpha sqrt(S_n) where beta2 < 1, alpha_n = alpha where beta2 = 1",
    ),
    Assumption(name="fixed_schedule", statement="N steps are taken, N fixed in advance"),
)


def derive() -> dict[str, Derivation]:
    """Both theorems at the published weight of Young's inequality."""
    return {"adagrad": adagrad(pieces.QUARTER), "adam": adam(pieces.QUARTER)}


def start(title: str, young: Any, *, beta: Any, c: Any) -> tuple[Derivation, Any, Any]:
    """Symbols, one-step lemma and the range of v: v_n <= S_n r^2."""
    d = Derivation(SLUG, title)
    y, kappa = pieces.young_weights(d, young)
    declare(d, beta=beta, c=c)
    r, eps, v_prev, g, S_next, R, Q = sp.symbols("r eps v_prev g S_next R Q")
    pieces.bounded_gradient(d, r, gain=sp.Integer(1))
    pieces.one_step_lemma(d, y, kappa, floor=eps, past=beta * v_prev, gained=g**2, rho=r)
    range_of_v(d, beta)
    weight = d.define("weight", "root", S_next, sign="positive", latex=r"\sqrt{S_n}")
    over = 1 / (R * weight + Q)
    root_eps = sp.Symbol("root_eps")
    d.combine(
        "root_order",
        gap=R * weight - Q,
        uses={
            d.definition(weight): R**2 * over,
            d.definition(R): S_next * (R + r + root_eps) * over,
            d.definition(root_eps): S_next * over,
            d.definition(Q): -over,
            "v_range": beta * over,
            "count": (eps + r**2) * over,
        },
        slack=(2 * S_next * r * root_eps + eps * beta * sp.Symbol("S_prev")) * over,
        why="sqrt(eps + vt) <= sqrt(S_n) R",
    )
    return d, y, kappa


def declare(d: Derivation, *, beta: Any, c: Any) -> None:
    """Constants, gradients, the recursion of v, and R = r + sqrt(eps)."""
    for name, latex, meaning in (
        ("alpha", r"\alpha", "learning-rate scale"),
        ("L", "L", "smoothness"),
        ("eps", r"\varepsilon", "epsilon, inside the root"),
    ):
        d.symbol(name, sign="positive", latex=latex, meaning=meaning)
    if beta != 1:
        d.symbol("beta", sign="positive", latex=r"\beta_2", meaning="decay of the second moment")
        d.symbol("c", sign="positive", latex=r"1-\beta_2", meaning="1 - beta2")
        d.assume("complement", c - 1 + beta, relation="==", assumption="decayed_count", why="c = 1 - beta2")
    coordinate = pieces.PER_COORDINATE
    G = d.symbol("G", depends=coordinate, latex="G", meaning="coordinate of grad F(x_{n-1})")
    g = d.symbol("g", depends=(*coordinate, "draw"), latex="g", meaning="coordinate of g_n")
    d.define("absG", "absolute", G, sign="nonnegative", latex="|G|")
    d.define("absg", "absolute", g, sign="nonnegative", latex="|g|")
    v_prev = d.symbol("v_prev", sign="nonnegative", depends=coordinate, latex="v_{n-1}")
    v_next = d.symbol("v_next", sign="nonnegative", depends=(*coordinate, "draw"), latex="v_n")
    d.chain("v", previous=v_prev, next=v_next, start=0)
    mean_g = d.define("mean_g", "mean", g, latex="E_{n-1}g")
    d.assume("unbiased", mean_g - G, relation="==", assumption="unbiased", why="E g = G")
    d.assume(
        "second_moment",
        v_next - beta * v_prev - g**2,
        relation="==",
        assumption="second_moment",
        why="the recursion of v",
    )
    root_eps = d.define("root_eps", "root", sp.Symbol("eps"), sign="positive", latex=r"\sqrt\varepsilon")
    r = d.symbol("r", sign="positive", latex=r"R-\sqrt\varepsilon", meaning="bound on |g|")
    d.define("R", "equals", r + root_eps, sign="positive", latex="R")


def range_of_v(d: Derivation, beta: Any) -> None:
    """The count S_n and v_n <= S_n r^2: ``v_range`` before a step, ``range_next`` after it."""
    r, v_prev, v_next = sp.symbols("r v_prev v_next")
    S_prev = d.symbol(
        "S_prev", sign="nonnegative", depends=("step",), latex="S_{n-1}", meaning="count before"
    )
    S_next = d.symbol("S_next", sign="positive", depends=("step",), latex="S_n", meaning="count after")
    d.chain("S", previous=S_prev, next=S_next, start=0)
    d.assume("count", S_next - beta * S_prev - 1, relation="==", assumption="decayed_count", why="recursion")
    advance = {"bounded_square": 1, "count": r**2, "second_moment": -1}
    d.hypothesis("range_hypothesis", S_prev * r**2 - v_prev, why="v_{n-1} <= S_{n-1} r^2")
    d.combine(
        "range_advanced",
        gap=S_next * r**2 - v_next,
        uses={"range_hypothesis": beta, **advance},
        why="both decay alike",
    )
    d.combine("range_start", gap=0, why="both vanish at the start")
    d.induction("v_range", "range_hypothesis", "range_advanced", "range_start", ["S", "v"], why="induction")
    d.combine(
        "range_next", gap=S_next * r**2 - v_next, uses={"v_range": beta, **advance}, why="after every step"
    )


def count_bounded(d: Derivation) -> None:
    """S_n <= 1/(1 - beta2) by induction: ``count_bounded``."""
    beta, c, S_prev, S_next = sp.symbols("beta c S_prev S_next")
    step = {"complement": -1 / c, "count": -1}
    d.hypothesis("count_hypothesis", 1 / c - S_prev, why="S_{n-1} <= 1/(1 - beta2)")
    d.combine(
        "count_after", gap=1 / c - S_next, uses={"count_hypothesis": beta, **step}, why="one step later"
    )
    d.combine("count_start", gap=1 / c - 0, slack=1 / c, why="S_0 = 0")
    d.induction("count_before", "count_hypothesis", "count_after", "count_start", ["S"], why="induction")
    d.combine("count_bounded", gap=1 / c - S_next, uses={"count_before": beta, **step}, why="S_n <= 1/c")


def log_total(d: Derivation, *, beta: Any, top: Any, rest: Any, facts: dict[str, Any]) -> None:
    """T_gain <= d (ln(top/eps) - N ln beta): ``gain_total``; facts and rest show top - (eps + v_n) >= 0."""
    eps, g, v_prev, v_next, P, gain_sum = sp.symbols("eps g v_prev v_next P gain_sum")
    log_next = d.define("log_next", "log", eps + v_next, latex=r"\ln(\varepsilon+v_n)")
    log_prev = d.define("log_prev", "log", eps + v_prev, latex=r"\ln(\varepsilon+v_{n-1})")
    log_mid = d.define("log_mid", "log", eps + beta * v_prev, latex=r"\ln(\varepsilon+\beta_2v_{n-1})")
    log_ratio = d.define("log_ratio", "log", (eps + beta * v_prev) / (eps + v_next))
    d.log_tangent("log_step", log_ratio, why="ln y <= y - 1")
    d.log_quotient("ratio_split", log_ratio, log_mid, log_next, why="logarithm of a quotient")
    uses: dict[Any, Any] = {
        "log_step": 1,
        "ratio_split": 1,
        "second_moment": 1 / (eps + v_next),
        d.definition(P): g**2 / (P**2 * (eps + v_next)),
    }
    residual: Any = sp.Integer(0)
    if beta != 1:
        log_low = d.define("log_low", "log", beta * (eps + v_prev))
        residual = d.define("log_beta", "log", beta, latex=r"\ln\beta_2")
        d.combine(
            "decay_room",
            gap=(eps + beta * v_prev) - beta * (eps + v_prev),
            uses={"complement": -eps},
            slack=eps * sp.Symbol("c"),
            why="eps (1 - beta2) >= 0",
        )
        d.log_monotone("decay", log_mid, log_low, "decay_room", why="the logarithm is increasing")
        d.log_product("decay_split", log_low, residual, log_prev, why="logarithm of a product")
        uses |= {"decay": 1, "decay_split": 1}
    else:
        d.combine("no_decay", gap=0, relation="==", why="the same argument")
        d.log_monotone("decay", log_mid, log_prev, "no_decay", why="nothing decays")
        uses["decay"] = 1
    d.combine(
        "log_sum",
        gap=log_next - log_prev - residual - g**2 / P**2,
        uses=uses,
        why="one step of the log-sum lemma",
    )
    dim = d.define("d", "coordinates", 1, sign="positive", latex="d", meaning="number of coordinates")
    log_top = d.define("log_top", "log", top)
    log_start = d.define("log_start", "log", eps, latex=r"\ln\varepsilon")
    log_gain = d.define("log_gain", "log", top / eps)
    logs_next = d.define("logs_next", "coordinates", log_next)
    logs_prev = d.define("logs_prev", "coordinates", log_prev)
    logs_start = d.define("logs_start", "coordinates", log_start)
    logs_end = d.symbol("logs_end", latex=r"E\sum_i\ln(\varepsilon+v_{N,i})")
    d.chain("logs_coordinate", previous=log_prev, next=log_next, start=log_start)
    d.chain("logs", previous=logs_prev, next=logs_next, start=logs_start, end=logs_end)
    T_logs = d.define("T_logs", "steps", logs_next - logs_prev)
    N = sp.Symbol("N")
    if "N" not in d.symbols:
        d.symbol("N", sign="positive", latex="N", meaning="number of steps")
    d.apply(
        "log_sum_coordinates",
        "coordinates",
        "log_sum",
        {logs_next: 1, logs_prev: -1, dim: -residual, gain_sum: -1},
        why="sum over coordinates",
    )
    terms = {T_logs: 1, sp.Symbol("T_gain"): -1}
    length: dict[str, Any] = {}  # where nothing decays the number of steps does not enter here
    if beta != 1:
        T_one = d.define("T_one", "steps", 1, sign="nonnegative", latex="N")
        d.assume("steps_taken", T_one - N, relation="==", assumption="fixed_schedule", why="N steps")
        terms[T_one] = -dim * residual
        length = {"steps_taken": dim * residual}
    d.apply("log_sum_total", "steps", "log_sum_coordinates", terms, why="expectation of the sum over steps")
    d.telescope("telescope_logs", T_logs, "logs", why="the logarithms telescope")
    d.combine("top_room", gap=top - (eps + v_next), uses=facts, slack=rest, why="v_n <= S_n R^2")
    d.combine("top_room_start", gap=top - eps, slack=sp.expand(top - eps), why="and so at the start")
    d.log_monotone("log_range", log_top, log_next, "top_room", why="the logarithm is increasing")
    d.log_monotone("log_range_start", log_top, log_start, "top_room_start", why="the logarithm is increasing")
    d.apply("logs_range", "coordinates", "log_range", {dim: log_top, logs_next: -1}, why="sum")
    d.apply("logs_range_start", "coordinates", "log_range_start", {dim: log_top, logs_start: -1}, why="sum")
    d.at_end("logs_range_end", "logs_range", "logs_range_start", "logs", why="and so at the end")
    d.log_quotient("log_gain_split", log_gain, log_top, log_start, why="logarithm of a quotient")
    d.combine("zero", gap=0, relation="==", why="zero")
    d.apply("logs_start_value", "coordinates", "zero", {logs_start: 1, dim: -log_start}, why="d equal terms")
    d.combine(
        "gain_total",
        gap=dim * (log_gain - N * residual) - sp.Symbol("T_gain"),
        uses={
            "log_sum_total": 1,
            "telescope_logs": -1,
            "logs_range_end": 1,
            "logs_start_value": 1,
            "log_gain_split": dim,
        }
        | length,
        why="log-sum lemma",
    )


def adam(young: Any = None) -> Derivation:
    """T2; ``young`` None keeps Young's weight free."""
    beta, c, r, R, Q, weight, eps = sp.symbols("beta c r R Q weight eps")
    d, y, kappa = start("Adam in unnormalised sums, no momentum", young, beta=beta, c=c)
    root_S = d.define("root_S", "root", 1 / c, sign="positive", latex=r"(1-\beta_2)^{-1/2}")
    root_eps, g = sp.symbols("root_eps g")
    count_bounded(d)
    d.combine("denominator", gap=weight / Q - 1 / R, uses={"root_order": 1 / (Q * R)}, why="divide")
    pieces.energy(d, y, kappa, weight=weight, kept=sp.Integer(1), Z=R, rho=r, denominator="denominator")
    over = 1 / (root_S + weight)
    d.combine(
        "weight_bounded",
        gap=root_S - weight,
        uses={"count_bounded": over, d.definition(root_S): over, d.definition(weight): -over},
        why="sqrt(S_n) <= (1 - beta2)^(-1/2)",
    )
    d.combine("error_factor", gap=r * root_S - weight * r, uses={"weight_bounded": r}, why="times r")
    d.combine(
        "norm_factor", gap=1 / c - weight**2, uses={"count_bounded": 1, d.definition(weight): -1}, why="S_n"
    )
    factors = {"error": r * root_S, "norm": 1 / c}
    sums.compare_sums(
        d,
        gained=g**2,
        weight=weight,
        rho=r,
        facts={"error": "error_factor", "norm": "norm_factor"},
        **factors,
    )
    log_total(
        d,
        beta=beta,
        top=eps + R**2 / c,
        rest=(2 * r * root_eps + root_eps**2) / c,
        facts={"range_next": 1, "count_bounded": r**2, d.definition(R): (R + r + root_eps) / c},
    )
    sums.conclude(d, y, **factors)
    return d


def adagrad(young: Any = None) -> Derivation:
    """T1; ``young`` None keeps Young's weight free."""
    r, R, Q, weight, S_next, eps, root_eps, g = sp.symbols("r R Q weight S_next eps root_eps g")
    one = sp.Integer(1)
    d, y, kappa = start("Adagrad, no momentum", young, beta=one, c=None)
    N = d.symbol("N", sign="positive", latex="N", meaning="number of steps")
    root_N = d.define("root_N", "root", N, sign="positive", latex=r"\sqrt N")
    d.assume("count_bounded", N - S_next, assumption="fixed_schedule", why="at most N steps are counted")
    over = 1 / (root_N + weight)
    d.combine(
        "weight_bounded",
        gap=root_N - weight,
        uses={"count_bounded": over, d.definition(root_N): over, d.definition(weight): -over},
        why="sqrt(S_n) <= sqrt(N)",
    )
    Z = R * root_N
    d.combine(
        "denominator",
        gap=1 / Q - 1 / Z,
        uses={"root_order": 1 / (Q * Z), "weight_bounded": R / (Q * Z)},
        why="sqrt(eps + vt) <= sqrt(N) R",
    )
    pieces.energy(d, y, kappa, weight=one, kept=one, Z=Z, rho=r, denominator="denominator")
    d.combine("error_factor", gap=0, why="equal")
    d.combine("norm_factor", gap=0, why="equal")
    factors = {"error": r, "norm": one}
    sums.compare_sums(
        d, gained=g**2, weight=one, rho=r, facts={"error": "error_factor", "norm": "norm_factor"}, **factors
    )
    log_total(
        d,
        beta=one,
        top=eps + N * R**2,
        rest=N * (2 * r * root_eps + root_eps**2),
        facts={"range_next": 1, "count_bounded": r**2, d.definition(R): N * (R + r + root_eps)},
    )
    sums.conclude(d, y, **factors)
    return d


@functools.cache
def right_hand_sides() -> tuple[Any, Any]:
    """The produced right-hand sides of T1 and T2 on the sum over N steps, Young's weight free."""
    return (
        sums.produced(adagrad, "alpha eps r L d Delta young N"),
        sums.produced(adam, "alpha eps r L d Delta young N beta c"),
    )


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """The bound on the mean of |grad F|^2 over N steps, N the length of the schedule, beside d r^2."""
    steps = len(sums.needs_schedule(SLUG, batch_size))
    names = ("alpha", "eps", "R", "L", "d", "Delta", "young", "beta2")
    alpha, eps, R, L, d, delta, young, beta2 = (np.asarray(constants[n], dtype=float) for n in names)
    r = R - np.sqrt(eps)
    if not np.all(r > 0):
        raise input_error(
            got=f"R={R} with eps={eps}",
            rule="hypothesis bounded_gradient: |g| <= R - sqrt(eps), so R exceeds sqrt(eps)",
            do="raise R",
        )
    by_adagrad, by_adam = right_hand_sides()
    first = by_adagrad(alpha, eps, r, L, d, delta, young, float(steps))
    inside = np.where(beta2 < 1, beta2, 0.5)  # Adam's formula is for beta2 < 1 only; replaced below
    second = by_adam(alpha, eps, r, L, d, delta, young, float(steps), inside, 1 - inside)
    total = np.where(beta2 < 1, second, first)
    return Evaluation(
        value=(total / steps)[()],
        trivial_value=(d * r**2 + 0 * total)[()],
        parts={"steps": float(steps), "sum": total[()]},
    )


BOUND = Bound(
    slug=SLUG,
    title="Adam and Adagrad without momentum, unnormalised sums",
    algorithm="v_n = beta2 v_{n-1} + g_n^2, x_n = x_{n-1} - alpha_n g_n/sqrt(eps + v_n), eps inside the root",
    quantity="",
    quantity_latex=r"\frac1N\sum_{n<N}\mathbb E\|\nabla F(x_n)\|^2",
    statement_latex=r"\beta_2<1:\ \le\frac{2R\Delta}{\alpha N}+d\Big(\frac{4Rr}{\sqrt{1-\beta_2}}"
    r"+\frac{\alpha RL}{1-\beta_2}\Big)\Big(\frac1N\ln\big(1+\tfrac{R^2}{(1-\beta_2)\varepsilon}\big)"
    r"-\ln\beta_2\Big);\qquad\beta_2=1:\ \le\frac{2R\Delta}{\alpha\sqrt N}"
    r"+\frac{d(4Rr+\alpha RL)}{\sqrt N}\ln\big(1+\tfrac{NR^2}\varepsilon\big)",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=(
        *(p for p in sums.parameters() if p.name != "h"),
        Parameter(
            name="beta2",
            meaning="decay of the second moment; 1 is Adagrad",
            unit="1",
            rule="lies in (0, 1]",
            accepts=lambda x: bool(np.all((np.asarray(x, float) > 0) & (np.asarray(x, float) <= 1))),
        ),
    ),
    derive=derive,
    value=value,
    references=(SIMPLE_ADAM,),
    notes=(
        "Vacuous at practical numbers of steps.",
        "Only the number of steps of the schedule enters; what a batch size does is in flagship 1.",
        "With momentum: adam_unnormalised_momentum.",
    ),
)
