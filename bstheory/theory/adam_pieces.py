"""Pieces shared by the forms of flagship 1: one-step lemma, log-sum lemma, and their sum over a run.

Notation of every form, one coordinate: v_k = beta_k v_{k-1} + a_k with a_k = gain_k g_k^2, a floor e_k > 0
under the root, P^2 = e_k + v_k, Q^2 = e_k + beta_k v_{k-1} + rho^2 where E_{k-1} a_k <= rho^2, and a step
x_k = x_{k-1} - alpha weight_k g_k / P. The forms differ in gain, floor and weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sympy as sp

from bstheory.theory.derivation import Derivation

QUARTER = sp.Rational(1, 4)
PER_STEP, PER_COORDINATE = ("step",), ("coordinate", "step")


def young_weights(d: Derivation, young: Any) -> tuple[Any, Any]:
    """The weight of Young's inequality and kappa = 1 - 2 young, numbers or symbols."""
    if young is not None:
        return young, 1 - 2 * young
    free = d.symbol("young", sign="positive", latex="y", meaning="weight of Young's inequality")
    kept = d.symbol("kappa", sign="positive", latex=r"\kappa", meaning="1 - 2 young")
    d.assume(
        "young_choice", kept - 1 + 2 * free, relation="==", assumption="free_constant", why="kappa = 1 - 2y"
    )
    return free, kept


def declare(d: Derivation, *, v_start: Any = 0, normalised: bool = True) -> None:
    """Symbols of the algorithm, its half-life rule and the recursion of v."""
    for name, latex, meaning in (
        ("alpha", r"\alpha", "learning-rate scale"),
        ("L", "L", "smoothness"),
        ("eps", r"\varepsilon", "epsilon, inside the root"),
        ("h", "h", "half-life of the second moment, tokens"),
    ):
        d.symbol(name, sign="positive", latex=latex, meaning=meaning)
    B = d.symbol("B", sign="positive", depends=PER_STEP, latex="B_k", meaning="tokens of step k")
    beta = d.define(
        "beta",
        "power_of_two",
        -B / sp.Symbol("h"),
        sign="positive",
        latex=r"\beta_k",
        meaning="beta2 of step k",
    )
    d.symbol("G", depends=PER_COORDINATE, latex="G", meaning="coordinate of grad F(x_{k-1})")
    g = d.symbol("g", depends=(*PER_COORDINATE, "draw"), latex="g", meaning="coordinate of g_k")
    d.define("absG", "absolute", sp.Symbol("G"), sign="nonnegative", latex="|G|")
    d.define("absg", "absolute", g, sign="nonnegative", latex="|g|")
    v_prev = d.symbol(
        "v_prev", sign="nonnegative", depends=PER_COORDINATE, latex="v_{k-1}", meaning="second moment before"
    )
    v_next = d.symbol(
        "v_next",
        sign="nonnegative",
        depends=(*PER_COORDINATE, "draw"),
        latex="v_k",
        meaning="second moment after",
    )
    d.chain("v", previous=v_prev, next=v_next, start=v_start)
    mean_g = d.define("mean_g", "mean", g, latex=r"E_{k-1}g")
    d.assume("unbiased", mean_g - sp.Symbol("G"), relation="==", assumption="unbiased", why="E g = G")
    c = d.symbol("c", sign="positive", depends=PER_STEP, latex="c_k", meaning="1 - beta_k")
    d.define("s", "root", c, sign="positive", latex=r"\sqrt{c_k}", meaning="weight of step k")
    d.assume(
        "half_life",
        c - 1 + beta,
        relation="==",
        assumption="half_life_rule",
        why="c_k = 1 - beta_k with beta_k = 2^(-B_k/h)",
    )
    gain = c if normalised else sp.Integer(1)
    d.assume(
        "second_moment",
        v_next - beta * v_prev - gain * g**2,
        relation="==",
        assumption="second_moment",
        why="the recursion of v",
    )


def bounded_square(d: Derivation, bound: Any) -> None:
    """g^2 <= bound^2 from |g| <= bound."""
    g, absg = sp.symbols("g absg")
    d.assume("bounded", bound - absg, assumption="bounded_gradient", why="|g| is bounded")
    _, _, g_square = absolutes(d, "absg")
    d.combine(
        "bounded_square",
        gap=bound**2 - g**2,
        uses={"bounded": bound + absg, g_square: 1},
        why="square the bound",
    )


def bounded_gradient(d: Derivation, bound: Any, *, gain: Any) -> None:
    """g^2 <= bound^2 and E_{k-1} gain g^2 <= gain bound^2, from |g| <= bound."""
    g = sp.Symbol("g")
    bounded_square(d, bound)
    mean_a = d.define("mean_a", "mean", gain * g**2, sign="nonnegative", latex=r"E_{k-1}a_k")
    d.combine("gained_square", gap=gain * bound**2 - gain * g**2, uses={"bounded_square": gain}, why="gain")
    d.apply(
        "second_moment_mean",
        "mean",
        "gained_square",
        {"1": gain * bound**2, mean_a: -1},
        why="the mean of what is bounded",
    )


def absolutes(d: Derivation, symbol: str) -> tuple[str, str, str]:
    """The three facts about an absolute value, established once."""
    names = tuple(f"absolute_{symbol}_{form}" for form in ("above", "below", "square"))
    if names[0] not in d.steps:
        d.absolute(sp.Symbol(symbol))
    return names  # type: ignore[return-value]


def one_step_lemma(
    d: Derivation,
    y: Any,
    kappa: Any,
    *,
    floor: Any,
    past: Any,
    gained: Any,
    rho: Any,
    rho_facts: Iterable[str] = (),
) -> None:
    """E_{k-1} G g/P >= kappa G^2/Q - rho/(2y) E_{k-1} g^2/P^2, with kappa = 1 - 2y.

    Args:
        floor, past, gained: P^2 = floor + past + gained; ``second_moment`` says v_next = past + gained.
        rho: positive, with the established fact ``second_moment_mean``: rho^2 - E gained >= 0.
        rho_facts: equalities that ``rho`` needs, e.g. the definition of a root in it.
    """
    G, g, absG, absg, v_next, mean_g, mean_a = sp.symbols("G g absG absg v_next mean_g mean_a")
    P = d.define("P", "root", floor + v_next, sign="positive", latex=r"\sqrt{\varepsilon_k+v_k}")
    Q = d.define(
        "Q",
        "root",
        floor + past + rho**2,
        sign="positive",
        latex=r"\sqrt{\varepsilon_k+\tilde v_k}",
        meaning="known before the draw",
    )
    mean_gP = d.define("mean_gP", "mean", g / P, latex=r"E_{k-1}\frac{g}{\sqrt{\varepsilon_k+v_k}}")
    mean_g2P2 = d.define(
        "mean_g2P2", "mean", g**2 / P**2, sign="nonnegative", latex=r"E_{k-1}\frac{g^2}{\varepsilon_k+v_k}"
    )
    root_P, root_Q = d.definition(P), d.definition(Q)
    G_above, G_below, G_square = absolutes(d, "absG")
    g_above, g_below, g_square = absolutes(d, "absg")
    d.combine(
        "bounded_mean",
        gap=P**2 - gained,
        slack=floor + past,
        uses={"second_moment": 1, root_P: 1},
        why="what the step adds is at most what stands under the root",
    )
    d.combine(
        "bounded_noise",
        gap=Q - rho,
        uses={root_Q: 1 / (Q + rho)},
        slack=(floor + past) / (Q + rho),
        why="rho <= sqrt(floor + vt)",
    )
    d.combine(
        "inverse_root_difference",
        gap=1 / P - 1 / Q - (rho**2 - gained) / (P * Q * (P + Q)),
        relation="==",
        modulo=[root_P, root_Q, "second_moment"],
        why="difference of inverse roots",
        lemma="inverse_root_difference",
    )
    half = 1 / (2 * P * Q * (P + Q))
    d.combine(
        "worst_sign",
        gap=(G * g * (rho**2 - gained) + absG * absg * (rho**2 + gained)) / (P * Q * (P + Q)),
        uses={
            (G_below, g_below): rho**2 * half,
            (G_above, g_above): rho**2 * half,
            (G_below, g_above): gained * half,
            (G_above, g_below): gained * half,
        },
        why="|G g| bounds both signs of G g",
    )
    d.combine(
        "young_past",
        gap=y * G**2 / Q + rho * g**2 / (4 * y * P**2) - absG * absg * rho**2 / (P * Q * (P + Q)),
        uses={
            "bounded_noise": rho * g**2 * (Q**2 + Q * rho + rho**2) / (4 * y * P**2 * Q**3),
            G_square: -y / Q,
            g_square: -(rho**4) / (4 * y * P**2 * Q**3),
        },
        squares=[(y / Q, absG - absg * rho**2 / (2 * y * P * Q))],
        slack=absG * absg * rho**2 / (Q**2 * (P + Q)),
        why="Young's inequality against the past, then rho <= sqrt(floor + vt)",
        lemma="young_past",
    )
    d.combine(
        "young_present",
        gap=y * G**2 * gained / (Q * rho**2)
        + rho * g**2 / (4 * y * P**2)
        - absG * absg * gained / (P * Q * (P + Q)),
        uses={
            "bounded_mean": rho**2 * g**2 / (4 * y * P**4 * Q),
            "bounded_noise": rho * g**2 / (4 * y * P**2 * Q),
            G_square: -y * gained / (Q * rho**2),
            g_square: -gained * rho**2 / (4 * y * P**4 * Q),
        },
        squares=[(y * gained / Q, absG / rho - rho * absg / (2 * y * P**2))],
        slack=absG * absg * gained / (P**2 * (P + Q)),
        why="Young's inequality with a weight of mean at most one",
        lemma="young_present",
    )
    d.combine(
        "pathwise",
        gap=G * g / P
        - G * g / Q
        + y * G**2 / Q
        + y * G**2 * gained / (Q * rho**2)
        + rho * g**2 / (2 * y * P**2),
        uses={"worst_sign": 1, "young_past": 1, "young_present": 1, "inverse_root_difference": G * g},
        why="the three pieces together, before taking the conditional mean",
    )
    d.apply(
        "conditional",
        "mean",
        "pathwise",
        {
            mean_gP: G,
            mean_g: -G / Q,
            mean_a: y * G**2 / (Q * rho**2),
            mean_g2P2: rho / (2 * y),
            "1": y * G**2 / Q,
        },
        why="conditional expectation given the past; Q and G are known",
    )
    d.combine(
        "one_step",
        gap=G * mean_gP - kappa * G**2 / Q + rho * mean_g2P2 / (2 * y),
        uses={"conditional": 1, "unbiased": G / Q, "second_moment_mean": y * G**2 / (Q * rho**2)}
        | ({"young_choice": -(G**2) / Q} if "young_choice" in d.steps else {}),
        why="E g = G turns the middle term into G^2/Q",
        lemma="one_step",
        modulo=list(rho_facts),
    )


def first_step(d: Derivation) -> None:
    """The indicator ``first`` of the first step, whose batch B_1 is fixed in advance, and v_0 = 0."""
    h, beta, v_prev, v_next, B = sp.symbols("h beta v_prev v_next B")
    B_1 = d.symbol("B_1", sign="positive", latex="B_1", meaning="tokens of the first step, fixed in advance")
    beta_1 = d.define("beta_1", "power_of_two", -B_1 / h, sign="positive", latex=r"\beta_{2,1}")
    first = d.symbol("first", sign="nonnegative", depends=PER_STEP, meaning="1 in the first step, then 0")
    later = d.symbol("first_next", sign="nonnegative", depends=PER_STEP, meaning="the same one step later")
    end = d.symbol("first_end", sign="nonnegative", meaning="the same after the run")
    d.chain("first", previous=first, next=later, start=1, end=end)
    rule = {"relation": "==", "assumption": "first_batch"}
    d.assume("first_once", later, why="no later step is the first", **rule)
    d.assume("first_tokens", first * (B - B_1), why="the first batch is B_1", **rule)
    d.assume("first_beta", first * (beta - beta_1), why="the first batch is B_1", **rule)
    d.assume("first_taken", end, why="at least one step is taken", **rule)
    claims = {"range": (1 - first, 1 - later, ">="), "flag": (first * (1 - first), later * (1 - later), "==")}
    claims["empty"] = (first * v_prev, later * v_next, "==")
    chains = {"range": ["first"], "flag": ["first"], "empty": ["first", "v"]}
    d.combine("nothing", gap=0, relation="==", why="nothing")
    for name, (before, after, relation) in claims.items():
        d.hypothesis(f"{name}_before", before, relation=relation, why="in the step at hand")
        d.combine(
            f"{name}_after",
            gap=after,
            uses={"first_once": sp.cancel((after - after.subs(later, 0)) / later)},
            slack=after.subs(later, 0),
            relation=relation,
            why="in every later step",
        )
        start = "nothing"
        d.induction(
            f"first_{name}", f"{name}_before", f"{name}_after", start, chains[name], why="by induction"
        )
    T_first = d.define("T_first", "steps", first, sign="nonnegative")
    T_change = d.define("T_change", "steps", later - first)
    d.telescope("first_telescope", T_change, "first", why="the indicator telescopes")
    d.combine("first_change", gap=(later - first) + first, uses={"first_once": 1}, relation="==", why="sum")
    d.apply("first_total", "steps", "first_change", {T_change: 1, T_first: 1}, why="sum over steps")
    d.combine(
        "first_count",
        gap=T_first - 1,
        uses={"first_total": 1, "first_telescope": -1, "first_taken": -1},
        relation="==",
        why="exactly one step is the first",
    )


def log_sum_step(
    d: Derivation,
    *,
    gained: Any,
    floor: Any,
    floor_prev: Any,
    room: dict[Any, Any],
    slack: Any,
    first: Any = 0,
) -> None:
    """gained/P^2 <= ln(floor + v_k) - ln(floor_prev + v_{k-1}) + (1 - first) ln2 B_k/h, the step ``log_sum``.

    Args:
        room, slack: show that floor - beta floor_prev >= 0.
        first: the indicator of the first step, where nothing decays: ``first_room`` says that then
            floor_prev + v_{k-1} = floor + beta v_{k-1}. 0 where no step is special.
    """
    beta, v_prev, v_next, P, B, h = sp.symbols("beta v_prev v_next P B h")
    ln2 = d.define("ln2", "log", 2, sign="positive", latex=r"\ln 2")
    log_next = d.define("log_next", "log", floor + v_next, latex=r"\ln(\varepsilon_k+v_k)")
    log_prev = d.define("log_prev", "log", floor_prev + v_prev, latex=r"\ln(\varepsilon_{k-1}+v_{k-1})")
    log_mid = d.define("log_mid", "log", floor + beta * v_prev, latex=r"\ln(\varepsilon_k+\beta_kv_{k-1})")
    log_low = d.define(
        "log_low", "log", beta * (floor_prev + v_prev), latex=r"\ln(\beta_k(\varepsilon_{k-1}+v_{k-1}))"
    )
    log_beta = d.define("log_beta", "log", beta, latex=r"\ln\beta_k")
    log_ratio = d.define(
        "log_ratio",
        "log",
        (floor + beta * v_prev) / (floor + v_next),
        latex=r"\ln\frac{\varepsilon_k+\beta_kv_{k-1}}{\varepsilon_k+v_k}",
    )
    d.log_tangent("log_step", log_ratio, why="ln y <= y - 1", lemma="log_step")
    d.log_quotient("ratio_split", log_ratio, log_mid, log_next, why="logarithm of a quotient")
    d.combine(
        "decay_room",
        gap=(floor + beta * v_prev) - beta * (floor_prev + v_prev),
        uses=room,
        slack=slack,
        why="the floor decays no faster than beta",
    )
    d.log_monotone("decay", log_mid, log_low, "decay_room", why="the logarithm is increasing")
    d.log_product("decay_split", log_low, log_beta, log_prev, why="logarithm of a product")
    d.log_power_of_two("tokens_residual", log_beta, ln2, why="ln beta_k = -ln2 B_k/h")
    decay: dict[Any, Any] = {"decay": 1, "decay_split": 1, "tokens_residual": 1}
    if first != 0:
        back = (floor_prev + v_prev) / (floor + beta * v_prev)
        log_back = d.define("log_back", "log", back)
        d.log_tangent("no_decay", log_back, why="ln y <= y - 1")
        d.log_quotient("no_decay_split", log_back, log_prev, log_mid, why="logarithm of a quotient")
        decay = {
            ("first_range", "decay"): 1,
            "decay_split": 1 - first,
            "tokens_residual": 1 - first,
            "no_decay": first,
            "no_decay_split": first,
            "first_room": -1 / (floor + beta * v_prev),
        }
    d.combine(
        "log_sum",
        gap=log_next - log_prev + (1 - first) * ln2 * B / h - gained / P**2,
        uses={
            "log_step": 1,
            "ratio_split": 1,
            **decay,
            "second_moment": 1 / (floor + v_next),
            d.definition(P): gained / (P**2 * (floor + v_next)),
        },
        why="one step of the log-sum lemma with time-varying beta",
        lemma="log_sum_step",
    )


def energy(
    d: Derivation, y: Any, kappa: Any, *, weight: Any, kept: Any, Z: Any, rho: Any, denominator: str
) -> None:
    """kappa/Z E sum kept |grad F|^2 <= (F_0 - F_*)/alpha + 1/(2y) errors + (L alpha/2) norms: ``energy``.

    Args:
        weight: the step is x_k = x_{k-1} - alpha weight g/P.
        kept: coefficient of |grad F(x_{k-1})|^2 on the left, known before the draw.
        rho: as in the one-step lemma; errors = E sum_k sum_i weight rho g^2/P^2.
        Z: a positive constant; the established fact ``denominator`` says weight/Q - kept/Z >= 0.

    ``norms`` = E sum_k weight^2 sum_i g^2/P^2. Both are left for the caller to bound.
    """
    alpha, L, G, g, P, mean_gP, mean_g2P2 = sp.symbols("alpha L G g P mean_gP mean_g2P2")
    F_prev = d.symbol("F_prev", depends=PER_STEP, latex="F(x_{k-1})", meaning="loss before the step")
    F_next = d.symbol("F_next", depends=("step", "draw"), latex="F(x_k)", meaning="loss after the step")
    F_start = d.symbol("F_start", latex="F(x_0)", meaning="initial loss")
    F_end = d.symbol("F_end", latex=r"E\,F(x_K)", meaning="expected final loss")
    F_star = d.symbol("F_star", latex="F_*", meaning="lower bound of F")
    d.chain("F", previous=F_prev, next=F_next, start=F_start, end=F_end)
    inner = d.define("inner", "coordinates", G * g / P, latex=r"\sum_i G_i g_i/P_i")
    norm = d.define("norm", "coordinates", g**2 / P**2, sign="nonnegative", latex=r"\sum_i g_i^2/P_i^2")
    d.assume(
        "descent",
        F_prev - F_next - alpha * weight * inner + L * alpha**2 * weight**2 * norm / 2,
        assumption="smooth",
        by=["descent_lemma"],
        why="descent lemma along the update",
    )
    inner_mean = d.define("inner_mean", "coordinates", G * mean_gP)
    square = d.define("square", "coordinates", G**2, sign="nonnegative", latex=r"\|\nabla F(x_{k-1})\|^2")
    error = d.define("error", "coordinates", rho * g**2 / P**2, sign="nonnegative")
    error_mean = d.define("error_mean", "coordinates", rho * mean_g2P2, sign="nonnegative")
    d.combine(
        "one_step_kept",
        gap=weight * G * mean_gP - kappa * kept * G**2 / Z + weight * rho * mean_g2P2 / (2 * y),
        uses={"one_step": weight, denominator: kappa * G**2},
        why="times the weight of the step; the denominator is bounded",
    )
    d.apply(
        "one_step_sum",
        "coordinates",
        "one_step_kept",
        {inner_mean: weight, square: -kappa * kept / Z, error_mean: weight / (2 * y)},
        why="sum over coordinates",
    )
    T_inner = d.define("T_inner", "steps", weight * inner)
    T_inner_mean = d.define("T_inner_mean", "steps", weight * inner_mean)
    T_error_mean = d.define("T_error_mean", "steps", weight * error_mean, sign="nonnegative")
    d.define("T_error", "steps", weight * error, sign="nonnegative", latex="T_{error}")
    d.define("T_norm", "steps", weight**2 * norm, sign="nonnegative", latex="T_{norm}")
    T_error, T_norm = sp.symbols("T_error T_norm")
    T_square = d.define(
        "weighted_sum",
        "steps",
        kept * square,
        sign="nonnegative",
        latex=r"E\sum_{k\le K}w_k\|\nabla F(x_{k-1})\|^2",
    )
    T_F = d.define("T_F", "steps", F_next - F_prev)
    d.apply(
        "one_step_total",
        "steps",
        "one_step_sum",
        {T_inner_mean: 1, T_square: -kappa / Z, T_error_mean: 1 / (2 * y)},
        why="expectation of the sum over steps",
    )
    d.tower("tower_inner", T_inner_mean, T_inner, {inner_mean: inner}, why="tower property")
    d.tower("tower_error", T_error_mean, T_error, {error_mean: error}, why="tower property")
    d.apply(
        "descent_total",
        "steps",
        "descent",
        {T_F: -1, T_inner: -alpha, T_norm: L * alpha**2 / 2},
        why="expectation of the sum over steps",
    )
    d.telescope("telescope", T_F, "F", why="the loss telescopes", lemma="telescope")
    d.assume("below_next", F_next - F_star, assumption="bounded_below", why="F >= F_* after every step")
    d.assume("below_start", F_start - F_star, assumption="bounded_below", why="F >= F_* at the start")
    d.at_end("below_end", "below_next", "below_start", "F", why="E F(x_K) >= F_*")
    d.combine(
        "energy",
        gap=(F_start - F_star) / alpha + T_error / (2 * y) + L * alpha * T_norm / 2 - kappa * T_square / Z,
        uses={
            "descent_total": 1 / alpha,
            "telescope": 1 / alpha,
            "below_end": 1 / alpha,
            "one_step_total": 1,
            "tower_inner": -1,
            "tower_error": -1 / (2 * y),
        },
        why="descent and one-step lemma together",
    )
