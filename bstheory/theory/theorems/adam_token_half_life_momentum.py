"""Flagship 1 with momentum, deterministic schedule.

Algorithm, n = 1..N, coordinatewise, v_0 = 0: beta_n = 2^(-B_n/h), c_n = 1 - beta_n,

    v_n = beta_n v_{n-1} + c_n g_n^2,   m_n = sum_{j<=n} W_{n,j} g_j,
    x_n = x_{n-1} - alpha sqrt(c_n) m_n/sqrt(v_n + eps),

with weights W fixed in advance, sum_j W_{n,j} <= 1: (1 - beta1) beta1^(n-j), or
(1 - 2^(-B_j/t1)) 2^(-(D_n - D_j)/t1) for a token half-life t1 of the momentum. With om_{n,j} the root of
1 - 2^(-(D_n - D_{j-1})/h) and the constants of the schedule

    C_A  = max_j sum_{n>=j} W_{n,j} 2^((D_n - D_j)/h) sqrt(c_n) om_{n,j}/c_j,     C_A2 the same over n > j,
    C_2  = max_j sum_{n>=j} W_{n,j} 2^((D_n - D_j)/h) c_n/c_j,
    C_3  = max_l sum_{n>l} sum_{j<=l} W_{n,j} (n - j) sqrt(c_n)/om_{n,j},

**Upper** bound, with w_j = sum_{n>=j} W_{n,j} sqrt(c_n) and Lambda = ln(1 + R^2/eps) + ln2 D/h,

    E sum_j w_j |grad F(x_{j-1})|^2 <= 2 sqrt(eps + R^2) { Delta/alpha
        + d [ R C_A/2 + R C_A2 + (L alpha/2) C_2 + (L^2 alpha^2/(4R)) C_3 C_2 ] Lambda }.

Differs from the catalogue: R/2 where that has 2R in front of C_A, since v_n is compared with what the almost
sure bound would give. The weights of Young's inequality (``young``, ``drift``) are free. The constants stay
bounded in N for constant beta1 where beta1 < min beta_n, that is B_max < h log2(1/beta1); with a half-life
for the momentum, where t1 < h.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import SIMPLE_ADAM, SMALL_BATCH
from bstheory.theory import adam_pieces as pieces
from bstheory.theory import adam_sums as sums
from bstheory.theory import momentum_lags as lags
from bstheory.theory import norm_test_values as values
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.theorems.adam_token_half_life_initial import v_range

SLUG = "adam_token_half_life_momentum"
ASSUMPTIONS = (
    sums.SMOOTH,
    sums.BELOW,
    sums.BOUNDED,
    sums.UNBIASED,
    Assumption(
        name="predictable_batch",
        statement="the schedule is fixed in advance: N steps, batches B_n adding up to D",
    ),
    sums.HALF_LIFE_RULE,
    Assumption(name="second_moment", statement="v_n = beta_n v_{n-1} + c_n g_n^2, v_0 = 0"),
    Assumption(
        name="unrolled",
        statement="the same, unrolled: v_n = 2^(-(D_n - D_{j-1})/h) v_{j-1} + sum_{j<=l<=n} c_l "
        "2^(-(D_n - D_l)/h) g_l^2, whose weights add up to at most 1",
    ),
    Assumption(
        name="momentum", statement="m_n = sum_{j<=n} W_{n,j} g_j, W >= 0 fixed in advance, of sum at most 1"
    ),
    Assumption(name="lag_constants", statement="C_A, C_A2, C_2, C_3 bound the four sums of the schedule"),
    Assumption(
        name="free_constant", statement="kappa = 1 - young, the weight of Young's inequality left free"
    ),
    Assumption(name="update", statement="x_n = x_{n-1} - eta_n m_n / sqrt(v_n + eps), eps inside the root"),
)


def derive(*, free: bool = False) -> Derivation:
    """Derive the bound; ``free`` keeps the two weights of Young's inequality as symbols."""
    d = Derivation(SLUG, "Adam with momentum and a token half-life, schedule fixed in advance")
    y, kappa, tau = sp.Rational(1, 2), sp.Rational(1, 2), sp.Integer(1)
    if free:
        y = d.symbol("young", sign="positive", latex="y", meaning="weight of Young's inequality")
        kappa = d.symbol("kappa", sign="positive", latex=r"\kappa", meaning="1 - young")
        tau = d.symbol("drift", sign="positive", latex=r"\tau", meaning="weight of Young's inequality, drift")
        rest = kappa - 1 + y
        d.assume("young_choice", rest, relation="==", assumption="free_constant", why="kappa = 1 - y")
    pieces.declare(d)
    R = d.symbol("R", sign="positive", latex="R", meaning="almost-sure bound on a gradient coordinate")
    eps, c, g, v_next, alpha, L = sp.symbols("eps c g v_next alpha L")
    pieces.bounded_square(d, R)
    lags.declare(d)
    Z = d.define("Z", "root", eps + R**2, sign="positive", latex=r"\sqrt{\varepsilon+R^2}")
    lags.lagged_lemma(d, y, kappa, Z)
    d.combine("top_start", gap=R**2, slack=R**2, why="v_0 = 0")
    d.combine("top_square", gap=0, relation="==", why="the top of the range is R^2")
    v_range(d, R**2, start="top_start")
    lags.pair_sums(d, y, kappa, tau, Z)
    lags.lag_sums(d)
    pieces.log_sum_step(
        d, gained=c * g**2, floor=eps, floor_prev=eps, room={"half_life": -eps}, slack=eps * c
    )
    d.combine("top_room", gap=(eps + R**2) - (eps + v_next), uses={"range_next": 1}, why="v_k is in range")
    d.combine("top_room_start", gap=(eps + R**2) - eps, uses={"top_start": 1}, why="and so at the start")
    sums.log_total(
        d, floor_start=eps, v_start=sp.Integer(0), top=eps + R**2, facts=("top_room", "top_room_start")
    )
    descent(d)
    C_A, C_A2, C_2, C_3 = sp.symbols("C_A C_A2 C_2 C_3")
    second = L * alpha / 2 + L**2 * alpha**2 * C_3 / (4 * tau * R)
    d.combine(
        "assembled",
        uses={
            "descent_total": 1 / alpha,
            "telescope": 1 / alpha,
            "below_end": 1 / alpha,
            "same_inner": -1,
            "mixed_total": 1,
            "full_total": 1,
            "full_split": 1,
            "one_step_total": 1,
            "tower_cross": -1,
            "tower_noise": -R / (4 * y),
            "weights_total": -kappa / Z,
            "lagged_C_A": R / (4 * y),
            "drift_total": 1,
            "lagged_C_A2": tau * R,
            "way_total": -(L**2) * alpha**2 / (4 * tau * R),
            "across_total": L**2 * alpha**2 / (4 * tau * R),
            "same_norm": second,
            "jensen_total": second,
            "second_total": -second,
            "lagged_C_2": second,
            "gain_total": R * C_A / (4 * y) + tau * R * C_A2 + second * C_2,
        },
        why="descent, lagged lemma, drift and log-sum lemma together",
    )
    d.conclude("assembled", sp.Symbol("weighted_sum"), why="multiply by Z/kappa")
    return d


def descent(d: Derivation, *, form: lags.Form = lags.HALF_LIFE) -> None:
    """F(x_n) <= F(x_{n-1}) - alpha s sum_i G m/P + (L alpha^2 c/2) sum_i m^2/P^2, summed; c is s^2."""
    s, c = form.s, form.c
    alpha, L, inner, norm, T_inner, T_norm = sp.symbols("alpha L inner norm T_inner T_norm")
    F_prev = d.symbol("F_prev", depends=("step",), latex="F(x_{n-1})", meaning="loss before the step")
    F_next = d.symbol("F_next", depends=("step", "draw"), latex="F(x_n)", meaning="loss after the step")
    F_start = d.symbol("F_start", latex="F(x_0)", meaning="initial loss")
    F_end = d.symbol("F_end", latex=r"E\,F(x_N)", meaning="expected final loss")
    F_star = d.symbol("F_star", latex="F_*", meaning="lower bound of F")
    d.chain("F", previous=F_prev, next=F_next, start=F_start, end=F_end)
    d.assume(
        "smoothness",
        F_prev - F_next - alpha * s * inner + L * alpha**2 * s**2 * norm / 2,
        assumption="smooth",
        by=["descent_lemma"],
        why="descent lemma along the update",
    )
    d.combine(
        "descent",
        gap=F_prev - F_next - alpha * s * inner + L * alpha**2 * c * norm / 2,
        uses={"smoothness": 1} | ({d.definition(s): -L * alpha**2 * norm / 2} if s != c else {}),
        why="sqrt(c)^2 = c",
    )
    T_F = d.define("T_F", "steps", F_next - F_prev)
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
    d.at_end("below_end", "below_next", "below_start", "F", why="E F(x_N) >= F_*")


def lag_constants(batch_size: np.ndarray, h: float, beta1: float, t1: float) -> dict[str, Any]:
    """C_A, C_A2, C_2, C_3 and the weights w_j [N] of a schedule, by the sums as they stand.

    Args:
        batch_size: tokens per step [N].
        h: half-life of the second moment, tokens.
        beta1: constant momentum, used where t1 is 0.
        t1: half-life of the momentum, tokens; 0 for a constant beta1.
    """
    N, tokens = batch_size.size, np.concatenate([[0.0], np.cumsum(batch_size)])
    ln2 = math.log(2.0)
    c = -np.expm1(-ln2 * batch_size / h)
    A, A2, second, weights, across = (np.zeros(N) for _ in range(5))
    change = np.zeros(N + 1)
    own = -np.expm1(-ln2 * batch_size / t1) if t1 else np.full(N, 1 - beta1)
    log_beta1 = math.log(beta1) if beta1 else -1e300
    for n in range(N):
        j = np.arange(n + 1)
        gap = tokens[n + 1] - tokens[1 : n + 2]  # D_n - D_j
        # Logarithms: far back the weight underflows where 2^(gap/h) overflows, and their product is neither.
        log_W = -ln2 * gap / t1 if t1 else np.where(n == j, 0.0, (n - j) * log_beta1)
        W = own[: n + 1] * np.exp(log_W)
        om = np.sqrt(-np.expm1(-ln2 * (tokens[n + 1] - tokens[: n + 1]) / h))
        with np.errstate(over="ignore"):
            grown = own[: n + 1] * np.exp(log_W + ln2 * gap / h)
        term = grown * math.sqrt(c[n]) * om
        A[: n + 1] += term
        A2[:n] += term[:n]
        second[: n + 1] += grown * c[n]
        weights[: n + 1] += W * math.sqrt(c[n])
        kernel = W * (n - j) * math.sqrt(c[n]) / om
        change[: n + 1] += kernel
        change[n] -= kernel.sum()
    across = np.cumsum(change)[:N]
    return {
        "C_A": float((A / c).max()),
        "C_A2": float((A2 / c).max()),
        "C_2": float((second / c).max()),
        "C_3": float(across.max()),
        "weights": weights,
    }


def largest_batch(*, beta1: float, half_life: float) -> float:
    """h log2(1/beta1) tokens: smaller batches keep the constants bounded in N at constant beta1."""
    if not (0 <= beta1 < 1 and half_life > 0):
        raise input_error(
            got=f"beta1={beta1}, half_life={half_life}",
            rule="beta1 lies in [0, 1) and the half-life is positive",
            do="choose them so",
        )
    return math.inf if beta1 == 0 else half_life * math.log2(1 / beta1)


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Right-hand side along the schedule; scalars only. ``parts`` holds the constants of the schedule.

    Raises:
        InputError: a batch at or above the admissible maximum for constant beta1, or t1 >= h.
    """
    batch_size = sums.needs_schedule(SLUG, batch_size)
    n = {p.name: float(constants[p.name]) for p in BOUND.parameters}
    if n["t1"] and n["beta1"]:
        raise input_error(
            got=f"beta1={n['beta1']} and t1={n['t1']}",
            rule="the momentum has a constant beta1 or a half-life t1, not both",
            do="set one of them to 0",
        )
    largest = largest_batch(beta1=n["beta1"], half_life=n["h"])
    if batch_size.max() >= largest or n["t1"] >= n["h"]:
        raise sums.outside(
            f"batch_size={batch_size.max()}, t1={n['t1']}",
            "lag_constants",
            SLUG,
            f"batches stay below the admissible maximum {largest:.6g} tokens, and t1 below h={n['h']}",
        )
    found = lag_constants(batch_size, n["h"], n["beta1"], n["t1"])
    weights = found.pop("weights")
    right = compiled()(
        **n, **found, D=float(batch_size.sum()), F_start=n["Delta"], F_star=0.0, kappa=1 - n["young"]
    )
    return Evaluation(
        value=float(right),
        trivial_value=n["d"] * n["R"] ** 2 * float(weights.sum()),
        parts={
            **found,
            "tokens": float(batch_size.sum()),
            "weight": float(weights.sum()),
            "per_weight": float(right / weights.sum()),
            "largest_batch": largest,
        },
    )


@functools.cache
def compiled() -> Any:
    """The produced right-hand side as a function of named numbers."""
    d = derive(free=True)
    assert d.claim is not None
    return values.by_name(d.closed_form(d.claim[2]))


BOUND = Bound(
    slug=SLUG,
    title="Adam with momentum and a token half-life, schedule fixed in advance",
    algorithm="Adam, normalised v, eps inside the root, eta_n = alpha sqrt(1 - beta_n), m a weighted average",
    quantity="momentum_weighted_sq_gradient",
    quantity_latex=r"\mathbb E\sum_j\hat w_j\|\nabla F(x_{j-1})\|^2",
    statement_latex=r"\mathbb E\sum_j\hat w_j\|\nabla F(x_{j-1})\|^2\le2\sqrt{\varepsilon+R^2}\Big\{"
    r"\frac\Delta\alpha+d\Big[\frac R2C_A+RC_A'+\frac{L\alpha}2C_2+\frac{L^2\alpha^2}{4R}C_3C_2\Big]"
    r"\Big(\ln\big(1+\tfrac{R^2}\varepsilon\big)+\ln2\,\frac Dh\Big)\Big\}",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=(
        *(p for p in sums.parameters() if p.name != "young"),
        Parameter(
            name="beta1",
            meaning="constant momentum; 0 where t1 is given",
            unit="1",
            rule="must lie in [0, 1)",
            accepts=lambda x: 0 <= float(x) < 1,
            default=0.0,
        ),
        sums.at_least_zero("t1", "half-life of the momentum; 0 for a constant beta1", "tokens", default=0.0),
        Parameter(
            name="young",
            meaning="weight of Young's inequality; 1/2 in the statement",
            unit="1",
            rule="must lie in (0, 1)",
            accepts=lambda x: 0 < float(x) < 1,
            default=0.5,
            free=(0.0, 1.0),
        ),
        Parameter(
            name="drift",
            meaning="weight of Young's inequality for the drift; 1 in the statement",
            unit="1",
            default=1.0,
            free=(0.0, math.inf),
        ),
    ),
    derive=derive,
    value=value,
    references=(SMALL_BATCH, SIMPLE_ADAM),
    notes=(
        "A saw-tooth of the batch makes C_A large.",
        "Open: batches chosen on the way, whose future weights are random; eps outside the root; "
        "bias-corrected momentum; decoupled decay.",
    ),
)
