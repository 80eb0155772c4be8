"""Flagship 1: Adam with a token half-life under any predictable batch-size schedule.

Normalised weighted form. Algorithm, k = 1, 2, ..., coordinatewise, v_0 = 0:

    beta_k = 2^(-B_k/h),   v_k = beta_k v_{k-1} + (1 - beta_k) g_k^2,
    x_k = x_{k-1} - alpha sqrt(1 - beta_k) g_k / sqrt(v_k + eps).

**Upper** bound. With w_k = sqrt(1 - beta_k), Delta = F(x_0) - F_*, and sum_k B_k = D,

    E sum_k w_k |grad F(x_{k-1})|^2
        <= 2 sqrt(eps + R^2) { Delta/alpha + d (2R + L alpha/2) (ln(1 + R^2/eps) + ln2 D/h) }.

Only the tokens D enter the residual ln2 D/h, whatever the schedule, adaptive ones included.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import SIMPLE_ADAM, SMALL_BATCH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.flagship_one_step import one_step_lemma, young_weights

SLUG = "adam_token_half_life"
QUARTER = sp.Rational(1, 4)

ASSUMPTIONS = (
    Assumption(
        name="smooth",
        statement="F is L-smooth: |grad F(x) - grad F(y)| <= L |x - y|",
        constants=("L",),
    ),
    Assumption(name="bounded_below", statement="F(x) >= F_* for all x", constants=("F_star",)),
    Assumption(
        name="bounded_gradient", statement="|g_{k,i}| <= R almost surely, every coordinate", constants=("R",)
    ),
    Assumption(name="unbiased", statement="E[g_k | past] = grad F(x_{k-1})"),
    Assumption(
        name="predictable_batch",
        statement="B_k > 0 is chosen from the past, before g_k is drawn; the B_k add up to D when the run "
        "stops, and whether step k is taken is known before g_k is drawn",
    ),
    Assumption(name="half_life_rule", statement="beta_k = 2^(-B_k/h) and eta_k = alpha sqrt(1 - beta_k)"),
    Assumption(name="second_moment", statement="v_k = beta_k v_{k-1} + (1 - beta_k) g_k^2, v_0 = 0"),
    Assumption(
        name="update", statement="x_k = x_{k-1} - eta_k g_k / sqrt(v_k + eps), eps > 0 inside the root"
    ),
)


def derive(young: sp.Rational | None = QUARTER, *, slug: str = SLUG, sharp: bool = False) -> Derivation:
    """Derive the bound; each step's name is what certificates, pages and the formal proof use.

    Args:
        young: the weight of Young's inequality, in (0, 1/2); 1/4 gives the published constants. None keeps it
            free: the right-hand side is then Z/kappa {Delta/alpha + d (R/(2 young) + L alpha/2) Lambda} with
            kappa = 1 - 2 young.
        slug, sharp: for ``adam_token_half_life_sharp``, whose one-step lemma applies Young's inequality once.
    """
    d = Derivation(slug, "Adam with a token half-life, any predictable batch schedule")
    y, kappa = young_weights(d, young, times=1 if sharp else 2)
    loss = 1 / (4 * y) if sharp else 1 / (2 * y)
    one_step_lemma(d, y, kappa, loss, sharp=sharp)
    second_moment_range(d)
    descent(d)
    log_sum(d)
    return sum_up(d, kappa, loss)


def second_moment_range(d: Derivation) -> None:
    """vt <= R^2, hence 1/sqrt(eps + vt) >= 1/sqrt(eps + R^2)."""
    R, beta, c, v_prev, v_next, eps, Q = sp.symbols("R beta c v_prev v_next eps Q")
    d.hypothesis("range_hypothesis", R**2 - v_prev, why="v_{k-1} <= R^2")
    d.combine(
        "range_advanced",
        gap=R**2 - v_next,
        uses={
            "range_hypothesis": beta,
            "bounded_square": c,
            "half_life": -(R**2),
            "second_moment": -1,
        },
        why="a convex combination of numbers at most R^2",
        lemma="v_hat_range",
    )
    d.combine("range_start", gap=R**2 - 0, slack=R**2, why="v_0 = 0")
    d.induction(
        "v_hat_range",
        "range_hypothesis",
        "range_advanced",
        "range_start",
        ["v"],
        why="induction over steps",
    )
    Z = d.define("Z", "root", eps + R**2, sign="positive", latex=r"\sqrt{\varepsilon+R^2}")
    root_Z, root_Q = d.definition(Z), d.definition(Q)
    d.combine(
        "denominator",
        gap=Z - Q,
        uses={
            root_Z: 1 / (Z + Q),
            root_Q: -1 / (Z + Q),
            "v_hat_range": beta / (Z + Q),
            "half_life": -(R**2) / (Z + Q),
        },
        why="sqrt(eps + vt) <= sqrt(eps + R^2)",
    )


def descent(d: Derivation) -> None:
    """F(x_k) <= F(x_{k-1}) - eta <G, g/sqrt(eps+v)> + (L eta^2/2) |g/sqrt(eps+v)|^2."""
    alpha, L, s, c, G, g, P = sp.symbols("alpha L s c G g P")
    F_prev = d.symbol("F_prev", depends=("step",), latex="F(x_{k-1})", meaning="loss before the step")
    F_next = d.symbol("F_next", depends=("step", "draw"), latex="F(x_k)", meaning="loss after the step")
    F_start = d.symbol("F_start", latex="F(x_0)", meaning="initial loss")
    F_end = d.symbol("F_end", latex=r"E\,F(x_K)", meaning="expected final loss")
    d.symbol("F_star", latex="F_*", meaning="lower bound of F")
    d.chain("F", previous=F_prev, next=F_next, start=F_start, end=F_end)
    inner = d.define("inner", "coordinates", G * g / P, latex=r"\sum_i G_i g_i/\sqrt{\varepsilon+v_i}")
    norm = d.define(
        "norm", "coordinates", g**2 / P**2, sign="nonnegative", latex=r"\sum_i g_i^2/(\varepsilon+v_i)"
    )
    d.assume(
        "smoothness",
        F_prev - F_next - alpha * s * inner + L * alpha**2 * s**2 * norm / 2,
        assumption="smooth",
        by=["descent_lemma"],
        why="descent lemma along the update x_k - x_{k-1} = -alpha sqrt(c) g/sqrt(eps + v)",
    )
    d.combine(
        "descent",
        gap=F_prev - F_next - alpha * s * inner + L * alpha**2 * c * norm / 2,
        uses={"smoothness": 1, d.definition(s): -L * alpha**2 * norm / 2},
        why="sqrt(c)^2 = c",
        lemma="descent_step",
    )


def log_sum(d: Derivation) -> None:
    """c g^2/(eps + v_k) <= ln(eps + v_k) - ln(eps + v_{k-1}) + ln2 B_k/h."""
    eps, beta, c, g, v_prev, v_next, P, B, h = sp.symbols("eps beta c g v_prev v_next P B h")
    ln2 = d.define("ln2", "log", 2, sign="positive", latex=r"\ln 2")
    log_next = d.define("log_next", "log", eps + v_next, latex=r"\ln(\varepsilon+v_k)")
    log_prev = d.define("log_prev", "log", eps + v_prev, latex=r"\ln(\varepsilon+v_{k-1})")
    log_mid = d.define("log_mid", "log", eps + beta * v_prev, latex=r"\ln(\varepsilon+\beta_kv_{k-1})")
    log_low = d.define("log_low", "log", beta * (eps + v_prev), latex=r"\ln(\beta_k(\varepsilon+v_{k-1}))")
    log_beta = d.define("log_beta", "log", beta, latex=r"\ln\beta_k")
    log_ratio = d.define(
        "log_ratio",
        "log",
        (eps + beta * v_prev) / (eps + v_next),
        latex=r"\ln\frac{\varepsilon+\beta_kv_{k-1}}{\varepsilon+v_k}",
    )
    root_P = d.definition(P)
    d.log_tangent(
        "log_step", log_ratio, why="ln y <= y - 1 at y = (eps + beta v')/(eps + v)", lemma="log_step"
    )
    d.log_quotient("ratio_split", log_ratio, log_mid, log_next, why="logarithm of a quotient")
    d.combine(
        "decay_room",
        gap=(eps + beta * v_prev) - beta * (eps + v_prev),
        uses={"half_life": -eps},
        slack=eps * c,
        why="eps (1 - beta) >= 0",
    )
    d.log_monotone("decay", log_mid, log_low, "decay_room", why="the logarithm is increasing")
    d.log_product("decay_split", log_low, log_beta, log_prev, why="logarithm of a product")
    d.log_power_of_two("tokens_residual", log_beta, ln2, why="ln beta_k = -ln2 B_k/h")
    d.combine(
        "log_sum",
        gap=log_next - log_prev + ln2 * B / h - c * g**2 / P**2,
        uses={
            "log_step": 1,
            "ratio_split": 1,
            "decay": 1,
            "decay_split": 1,
            "tokens_residual": 1,
            "second_moment": 1 / (eps + v_next),
            root_P: c * g**2 / (P**2 * (eps + v_next)),
        },
        why="one step of the log-sum lemma with time-varying beta",
        lemma="log_sum_step",
    )


def sum_up(d: Derivation, kappa: Any, loss: Any) -> Derivation:
    """Sum over coordinates and steps, telescope, and solve for the weighted gradient sum."""
    alpha, L, R, eps, h, s, c, beta, B, G, Q, Z = sp.symbols("alpha L R eps h s c beta B G Q Z")
    mean_gP, mean_g2P2, ln2, v_next = sp.symbols("mean_gP mean_g2P2 ln2 v_next")
    log_next, log_prev, inner, norm = sp.symbols("log_next log_prev inner norm")
    F_start, F_star, F_next, F_prev = sp.symbols("F_start F_star F_next F_prev")
    dim = d.define("d", "coordinates", 1, sign="positive", latex="d", meaning="number of coordinates")
    inner_mean = d.define(
        "inner_mean", "coordinates", G * mean_gP, latex=r"\sum_i G_iE_{k-1}\frac{g_i}{\sqrt{\cdot}}"
    )
    norm_mean = d.define("norm_mean", "coordinates", mean_g2P2, sign="nonnegative")
    gain = d.define("gain", "coordinates", G**2 / Q, sign="nonnegative", latex=r"\sum_i G_i^2/\sqrt{\cdot}")
    square = d.define("square", "coordinates", G**2, sign="nonnegative", latex=r"\|\nabla F(x_{k-1})\|^2")
    logs_next = d.define("logs_next", "coordinates", log_next)
    logs_prev = d.define("logs_prev", "coordinates", log_prev)
    log_eps = d.define("log_eps", "log", eps, latex=r"\ln\varepsilon")
    logs_start = d.define("logs_start", "coordinates", log_eps)
    logs_end = d.symbol("logs_end", latex=r"E\sum_i\ln(\varepsilon+v_{K,i})")
    d.chain("logs_coordinate", previous=log_prev, next=log_next, start=log_eps)
    d.chain("logs", previous=logs_prev, next=logs_next, start=logs_start, end=logs_end)

    T_inner = d.define("T_inner", "steps", s * inner)
    T_inner_mean = d.define("T_inner_mean", "steps", s * inner_mean)
    T_norm = d.define("T_norm", "steps", c * norm, sign="nonnegative")
    T_norm_mean = d.define("T_norm_mean", "steps", c * norm_mean, sign="nonnegative")
    T_gain = d.define("T_gain", "steps", s * gain, sign="nonnegative")
    T_square = d.define(
        "weighted_sum",
        "steps",
        s * square,
        sign="nonnegative",
        latex=r"E\sum_{k\le K}\sqrt{1-\beta_k}\,\|\nabla F(x_{k-1})\|^2",
    )
    T_F = d.define("T_F", "steps", F_next - F_prev)
    T_logs = d.define("T_logs", "steps", logs_next - logs_prev)
    T_B = d.define("T_B", "steps", B, sign="nonnegative")
    D = d.symbol("D", sign="positive", latex="D", meaning="total tokens")

    d.apply(
        "one_step_sum",
        "coordinates",
        "one_step",
        {inner_mean: 1, gain: -kappa, norm_mean: loss * s * R},
        why="sum over coordinates",
    )
    d.combine(
        "one_step_weighted",
        gap=s * inner_mean - kappa * s * gain + loss * R * c * norm_mean,
        uses={"one_step_sum": s, d.definition(s): -loss * R * norm_mean},
        why="times the weight sqrt(c)",
    )
    d.apply(
        "one_step_total",
        "steps",
        "one_step_weighted",
        {T_inner_mean: 1, T_gain: -kappa, T_norm_mean: loss * R},
        why="expectation of the sum over steps",
    )
    d.tower("tower_inner", T_inner_mean, T_inner, {inner_mean: inner}, why="tower property")
    d.tower("tower_norm", T_norm_mean, T_norm, {norm_mean: norm}, why="tower property")
    d.combine(
        "smaller_denominator_coordinate",
        gap=G**2 / Q - G**2 / Z,
        uses={"denominator": G**2 / (Q * Z)},
        why="1/sqrt(eps + vt) >= 1/sqrt(eps + R^2)",
    )
    d.apply(
        "smaller_denominator",
        "coordinates",
        "smaller_denominator_coordinate",
        {gain: 1, square: -1 / Z},
        why="sum over coordinates",
    )
    d.scale("smaller_denominator_weighted", "smaller_denominator", s, why="times the weight")
    d.apply(
        "gain_total",
        "steps",
        "smaller_denominator_weighted",
        {T_gain: 1, T_square: -1 / Z},
        why="expectation of the sum over steps",
    )
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

    d.apply(
        "log_sum_coordinates",
        "coordinates",
        "log_sum",
        {logs_next: 1, logs_prev: -1, dim: ln2 * B / h, norm: -c},
        why="sum over coordinates",
    )
    d.apply(
        "log_sum_total",
        "steps",
        "log_sum_coordinates",
        {T_logs: 1, T_B: dim * ln2 / h, T_norm: -1},
        why="expectation of the sum over steps",
    )
    d.telescope("telescope_logs", T_logs, "logs", why="the logarithms telescope")
    d.assume(
        "token_budget", T_B - D, relation="==", assumption="predictable_batch", why="the B_k add up to D"
    )
    log_top = d.define("log_top", "log", eps + R**2, latex=r"\ln(\varepsilon+R^2)")
    d.combine(
        "range_next",
        gap=R**2 - v_next,
        uses={"v_hat_range": beta, "bounded_square": c, "half_life": -(R**2), "second_moment": -1},
        why="v_k <= R^2 after every step",
    )
    d.combine(
        "log_room", gap=(eps + R**2) - (eps + v_next), uses={"range_next": 1}, why="v_k <= R^2 under the root"
    )
    d.log_monotone("log_range", log_top, log_next, "log_room", why="the logarithm is increasing")
    d.apply(
        "logs_range",
        "coordinates",
        "log_range",
        {dim: log_top, logs_next: -1},
        why="sum over coordinates",
    )
    d.combine("zero", gap=0, relation="==", why="nothing")
    d.apply("logs_start_value", "coordinates", "zero", {logs_start: 1, dim: -log_eps}, why="v_0 = 0")
    d.combine("start_room", gap=(eps + R**2) - eps, slack=R**2, why="R^2 >= 0")
    d.log_monotone("log_start_range", log_top, log_eps, "start_room", why="the logarithm is increasing")
    d.combine(
        "logs_range_start",
        gap=dim * log_top - logs_start,
        uses={"log_start_range": dim, "logs_start_value": -1},
        why="the same at the start",
    )
    d.at_end("logs_range_end", "logs_range", "logs_range_start", "logs", why="and so at the end")
    log_room = d.define("log_gain", "log", (eps + R**2) / eps, latex=r"\ln(1+R^2/\varepsilon)")
    d.log_quotient("log_gain_split", log_room, log_top, log_eps, why="logarithm of a quotient")
    d.combine(
        "norm_total",
        gap=dim * (log_room + ln2 * D / h) - T_norm,
        uses={
            "log_sum_total": 1,
            "telescope_logs": -1,
            "logs_range_end": 1,
            "logs_start_value": 1,
            "log_gain_split": dim,
            "token_budget": -dim * ln2 / h,
        },
        why="log-sum lemma: the sum costs a logarithm and the tokens over the half-life",
        lemma="log_sum",
    )
    d.combine(
        "assembled",
        uses={
            "descent_total": 1 / alpha,
            "telescope": 1 / alpha,
            "below_end": 1 / alpha,
            "one_step_total": 1,
            "tower_inner": -1,
            "tower_norm": -loss * R,
            "gain_total": kappa,
            "norm_total": loss * R + L * alpha / 2,
        },
        why="descent, one-step lemma and log-sum lemma together",
    )
    d.conclude("assembled", T_square, why="multiply by sqrt(eps + R^2)/kappa")
    return d


def value(
    constants: Constants, batch_size: np.ndarray | None, *, slug: str = SLUG, sharp: bool = False
) -> Evaluation:
    """Right-hand side at D = sum of the schedule, beside d R^2 times the total weight."""
    if batch_size is None:
        raise input_error(
            got="no schedule",
            rule=f"{slug} needs the tokens of every step",
            do="pass schedule=[B_1, ..., B_K] (--schedule and --tokens on the command line)",
        )
    names = ("alpha", "h", "eps", "R", "L", "d", "Delta", "young")
    alpha, h, eps, R, L, d, delta, young = (np.asarray(constants[name], dtype=float) for name in names)
    tokens = float(batch_size.sum())
    total = right_hand_side(sharp)(alpha, h, eps, R, L, d, delta, young, tokens)
    weight = np.sqrt(one_minus_beta(batch_size, h)).sum(axis=-1)
    trivial = d * R**2 * weight
    return Evaluation(
        value=total[()],
        trivial_value=trivial[()],
        parts={
            "tokens": tokens,
            "weight": weight[()],
            "per_weight": (total / weight)[()],
            "trivial_per_weight": (d * R**2 + 0 * weight)[()],
        },
    )


def one_minus_beta(batch_size: np.ndarray, half_life: Any) -> np.ndarray:
    """1 - 2^(-B/h), shape of the half-lives followed by steps."""
    return -np.expm1(-np.log(2.0) * batch_size / np.asarray(half_life, dtype=float)[..., None])


@functools.cache
def right_hand_side(sharp: bool = False) -> Any:
    """The produced right-hand side as a NumPy function; Delta = F_start - F_star."""
    d = derive(young=None, sharp=sharp)
    assert d.claim is not None
    F_start, F_star, delta, young = sp.symbols("F_start F_star Delta young")
    expression = d.closed_form(d.claim[2]).subs(
        {F_start: delta, F_star: 0, sp.Symbol("kappa"): 1 - (1 if sharp else 2) * young}
    )
    arguments = sp.symbols("alpha h eps R L d Delta young D")
    return sp.lambdify(arguments, expression, "numpy")


BOUND = Bound(
    slug=SLUG,
    title="Adam with a token half-life under any predictable batch schedule",
    algorithm="Adam with beta1 = 0, normalised v, eps inside the root, eta_k = alpha sqrt(1 - beta_k)",
    quantity="weighted_sq_gradient",
    quantity_latex=r"\mathbb E\sum_{k\le K}\sqrt{1-\beta_k}\,\|\nabla F(x_{k-1})\|^2",
    statement_latex=r"\mathbb E\sum_{k\le K}\sqrt{1-\beta_k}\,\|\nabla F(x_{k-1})\|^2\le"
    r"2\sqrt{\varepsilon+R^2}\Big\{\frac\Delta\alpha+d\Big(2R+\frac{L\alpha}2\Big)"
    r"\Big(\ln\big(1+\tfrac{R^2}\varepsilon\big)+\ln2\,\frac Dh\Big)\Big\}",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=(
        Parameter(name="alpha", meaning="learning-rate scale", unit="param"),
        Parameter(name="h", meaning="half-life of the second moment", unit="tokens"),
        Parameter(name="eps", meaning="epsilon inside the root", unit="grad^2"),
        Parameter(name="R", meaning="almost-sure bound on a gradient coordinate", unit="grad"),
        Parameter(name="L", meaning="smoothness", unit="loss/param^2"),
        Parameter(name="d", meaning="number of coordinates", unit="1"),
        Parameter(
            name="Delta",
            meaning="F(x_0) - F_*",
            unit="loss",
            rule="must be at least 0",
            accepts=lambda x: bool(np.all(np.asarray(x, dtype=float) >= 0)),
        ),
        Parameter(
            name="young",
            meaning="weight of Young's inequality; 1/4 in the statement",
            unit="1",
            rule="must lie in (0, 1/2)",
            accepts=lambda x: bool(
                np.all((np.asarray(x, dtype=float) > 0) & (np.asarray(x, dtype=float) < 0.5))
            ),
            default=0.25,
            free=(0.0, 0.5),
        ),
    ),
    derive=derive,
    value=value,
    references=(SMALL_BATCH, SIMPLE_ADAM),
    notes=(
        "Vacuous at practical token counts, typically two orders above the measured value.",
        "A gradient bounded almost surely is not true of language models.",
    ),
)
