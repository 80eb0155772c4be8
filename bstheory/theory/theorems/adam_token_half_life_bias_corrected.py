"""Flagship 1 with bias correction in tokens: v is divided by 1 - 2^(-D_k/h).

Algorithm, k = 1, 2, ..., coordinatewise, v_0 = 0, D_k = B_1 + ... + B_k, B_1 fixed in advance:

    beta_k = 2^(-B_k/h),   v_k = beta_k v_{k-1} + (1 - beta_k) g_k^2,   b_k = 1 - 2^(-D_k/h),
    x_k = x_{k-1} - alpha sqrt(1 - beta_k) g_k / sqrt(v_k/b_k + eps).

**Upper** bound. With w_k = sqrt(1 - beta_k), b = 1 - 2^(-D/h) and D the tokens of the run,

    E sum_k w_k |grad F(x_{k-1})|^2 <= 2 sqrt(eps + R^2) { Delta/alpha
        + d (2R + L alpha/2) (ln((1 + R^2/eps) b/b_1) + ln2 (D - B_1)/h) }.

The step is sqrt(b_k) g/sqrt(v_k + eps b_k): a floor that grows with the tokens, and b_k <= 1 in front.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from bstheory.references import SIMPLE_ADAM, SMALL_BATCH
from bstheory.theory import adam_pieces as pieces
from bstheory.theory import adam_sums as sums
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_powers import power_monotone, power_product

SLUG = "adam_token_half_life_bias_corrected"
ASSUMPTIONS = (
    sums.SMOOTH,
    sums.BELOW,
    sums.BOUNDED,
    sums.UNBIASED,
    sums.PREDICTABLE,
    sums.HALF_LIFE_RULE,
    Assumption(name="first_batch", statement="the first batch B_1 is fixed in advance, and B_1 <= D"),
    Assumption(
        name="bias_factor", statement="b_k = beta_k b_{k-1} + 1 - beta_k from b_0 = 0, that is 1 - 2^(-D_k/h)"
    ),
    Assumption(name="second_moment", statement="v_k = beta_k v_{k-1} + (1 - beta_k) g_k^2, v_0 = 0"),
    Assumption(
        name="update", statement="x_k = x_{k-1} - eta_k g_k / sqrt(v_k/b_k + eps), eps > 0 inside the root"
    ),
)


def derive(young: Any = pieces.QUARTER) -> Derivation:
    """Derive the bound; ``young`` None keeps Young's weight free."""
    d = Derivation(SLUG, "Adam with a token half-life and bias correction in tokens")
    y, kappa = pieces.young_weights(d, young)
    pieces.declare(d)
    R = d.symbol("R", sign="positive", latex="R", meaning="almost-sure bound on a gradient coordinate")
    eps, c, s, beta, g, v_prev, v_next = sp.symbols("eps c s beta g v_prev v_next")
    pieces.bounded_gradient(d, R, gain=c)
    pieces.first_step(d)
    bias_factor(d)
    b_prev, b, b_1, b_end, first = sp.symbols("b_prev b b_1 b_end first")
    root_b = d.define("root_b", "root", b, sign="positive", latex=r"\sqrt{b_k}")
    floor = eps * b
    root_s, root_b_rule = d.definition(s), d.definition(root_b)
    pieces.one_step_lemma(
        d, y, kappa, floor=floor, past=beta * v_prev, gained=c * g**2, rho=s * R, rho_facts=[root_s]
    )
    Z = d.define("Z", "root", eps + R**2, sign="positive", latex=r"\sqrt{\varepsilon+R^2}")
    denominator(d, Z)
    d.combine(
        "first_room",
        gap=first * (eps * b_prev + v_prev) - first * (floor + beta * v_prev),
        uses={"first_empty": 1 - beta, "first_factor": -eps, "first_factor_before": eps},
        relation="==",
        why="nothing has been accumulated that could decay",
    )
    pieces.log_sum_step(
        d,
        gained=c * g**2,
        floor=floor,
        floor_prev=eps * b_prev,
        room={
            "bias_factor": eps,
            "first_factor_before": -eps * beta,
            "first_c": eps * beta,
            "first_range": eps * c,
            "half_life": -eps * c * first,
        },
        slack=eps * c**2 * first,
        first=first,
    )
    weight = s * root_b
    pieces.energy(d, y, kappa, weight=weight, kept=s, Z=Z, rho=s * R, denominator="denominator")
    d.combine(
        "root_b_small",
        gap=1 - root_b,
        uses={"b_small": 1 / (1 + root_b), root_b_rule: -1 / (1 + root_b)},
        why="b_k <= 1",
    )
    d.combine(
        "error_factor",
        gap=R * c - weight * (s * R),
        uses={"root_b_small": R * c, root_s: -R * root_b},
        why="sqrt(b_k) <= 1",
    )
    d.combine(
        "norm_factor",
        gap=c - weight**2,
        uses={"b_small": c, root_s: -(root_b**2), root_b_rule: -c},
        why="b_k <= 1",
    )
    factors = {"error": R, "norm": sp.Integer(1)}
    facts = {"error": "error_factor", "norm": "norm_factor"}
    sums.compare_sums(d, gained=c * g**2, weight=weight, rho=s * R, facts=facts, **factors)
    top = b_end * (eps + R**2)
    d.combine(
        "top_room",
        gap=top - (floor + v_next),
        uses={"range_next": 1, "b_end_next": eps + R**2},
        why="v_k <= b_k R^2 and b_k <= b",
    )
    d.combine(
        "top_room_start",
        gap=top - eps * b_1,
        uses={"b_end_first": eps + R**2},
        slack=b_1 * R**2,
        why="b_1 <= b",
    )
    sums.log_total(
        d,
        floor_start=eps * b_1,
        v_start=sp.Integer(0),
        top=top,
        facts=("top_room", "top_room_start"),
        first=first,
    )
    sums.conclude(d, y, **factors)
    return d


def bias_factor(d: Derivation) -> None:
    """b_k: its recursion, v_k <= b_k R^2, b_k <= 1 and b_k <= b = 1 - 2^(-D/h).

    In the first step b_{k-1} stands for b_1: it is multiplied by 1 - first there, and a positive floor is
    needed under the logarithm.
    """
    h, B, D_1, beta, beta_1, c, first, later, R = sp.symbols("h B B_1 beta beta_1 c first first_next R")
    v_prev, v_next = sp.symbols("v_prev v_next")
    b_prev = d.symbol(
        "b_prev", sign="positive", depends=("step",), latex="b_{k-1}", meaning="bias factor before"
    )
    b = d.symbol("b", sign="positive", depends=("step",), latex="b_k", meaning="bias factor of step k")
    b_1 = d.symbol("b_1", sign="positive", latex="b_1", meaning="1 - 2^(-B_1/h)")
    b_end = d.symbol("b_end", sign="positive", latex="b", meaning="1 - 2^(-D/h)")
    D = d.symbol("D", sign="positive", latex="D", meaning="total tokens")
    d.chain("b", previous=b_prev, next=b, start=b_1)
    power_end = d.define("power_end", "power_of_two", -D / h, sign="positive", latex="2^{-D/h}")
    rule = {"relation": "==", "assumption": "bias_factor"}
    d.assume("bias_factor", b - beta * (1 - first) * b_prev - c, why="b_k = beta_k b_{k-1} + c_k", **rule)
    d.assume("bias_first", b_1 - 1 + beta_1, why="b_1 = 1 - 2^(-B_1/h)", **rule)
    d.assume("bias_end", b_end - 1 + power_end, why="b = 1 - 2^(-D/h)", **rule)
    induct(
        d,
        "first_factor_before",
        before=first * (b_prev - b_1),
        after=later * (b - b_1),
        uses={"first_once": b - b_1},
        relation="==",
        chains=["first", "b"],
        why="in the first step b_{k-1} stands for b_1",
    )
    d.combine(
        "first_c",
        gap=first * (c - b_1),
        uses={"half_life": first, "bias_first": -first, "first_beta": -1},
        relation="==",
        why="c_1 = b_1",
    )
    d.combine(
        "first_factor",
        gap=first * (b - b_1),
        uses={"bias_factor": first, "first_flag": beta * b_prev, "first_c": 1},
        relation="==",
        why="after the first step the factor is b_1",
    )
    induct(
        d,
        "v_hat_range",
        before=b_prev * R**2 - v_prev,
        after=b * R**2 - v_next,
        uses={
            ("first_range", "v_hat_range_before"): beta,
            "first_empty": -beta,
            "bounded_square": c,
            "bias_factor": R**2,
            "second_moment": -1,
        },
        start_slack=b_1 * R**2,
        chains=["b", "v"],
        why="v_k is a weighted mean of squares, of total weight b_k",
    )
    d.combine(
        "range_next",
        gap=b * R**2 - v_next,
        uses={
            ("first_range", "v_hat_range"): beta,
            "first_empty": -beta,
            "bounded_square": c,
            "bias_factor": R**2,
            "second_moment": -1,
        },
        why="after every step",
    )
    induct(
        d,
        "b_small_before",
        before=1 - b_prev,
        after=1 - b,
        uses={"b_small_before_before": beta, "bias_factor": -1, "half_life": -1},
        slack=beta * first * b_prev,
        start_uses={"bias_first": -1},
        start_slack=beta_1,
        start_gap=1 - b_1,
        chains=["b"],
        why="b_k is a probability",
    )
    d.combine(
        "b_small",
        gap=1 - b,
        uses={"b_small_before": beta, "bias_factor": -1, "half_life": -1},
        slack=beta * first * b_prev,
        why="after every step",
    )
    tokens = d.symbol(
        "tokens", sign="nonnegative", depends=("step",), latex="D_{k-1}", meaning="tokens before"
    )
    tokens_next = d.symbol(
        "tokens_next", sign="nonnegative", depends=("step",), latex="D_k", meaning="tokens after"
    )
    d.chain("tokens", previous=tokens, next=tokens_next, start=0)
    d.assume(
        "tokens_sum",
        tokens_next - tokens - B,
        relation="==",
        assumption="predictable_batch",
        why="D_k adds up",
    )
    d.assume("tokens_left", D - tokens_next, assumption="predictable_batch", why="D_k <= D in every step")
    d.assume("tokens_first", D - D_1, assumption="first_batch", why="B_1 <= D")
    power, power_next, power_start = (
        d.define(f"power{name}", "power_of_two", -number / h, sign="positive")
        for name, number in (("", tokens), ("_next", tokens_next), ("_start", sp.Integer(0)))
    )
    d.chain("power", previous=power, next=power_next, start=power_start)
    sum_power = d.define("power_sum", "power_of_two", -tokens / h - B / h, sign="positive")
    power_product(d, "power_split", sum_power, power, beta, why="2^-(D_{k-1} + B_k)/h splits")
    d.combine(
        "exponent_less",
        gap=-(tokens + B) / h + tokens_next / h,
        uses={"tokens_sum": 1 / h},
        why="D_k adds up",
    )
    power_monotone(d, "power_less", sum_power, power_next, "exponent_less", why="equal exponents")
    power_product(d, "power_zero_square", power_start, power_start, power_start, why="2^0 2^0 = 2^0")
    d.combine(
        "power_zero",
        gap=1 - power_start,
        uses={"power_zero_square": 1 / power_start},
        relation="==",
        why="2^0 = 1",
    )
    induct(
        d,
        "bias_above",
        before=1 - power - (1 - first) * b_prev,
        after=1 - power_next - (1 - later) * b,
        uses={
            "bias_above_before": beta,
            "first_once": b,
            "bias_factor": -1,
            "half_life": -1,
            "power_split": -1,
            "power_less": 1,
        },
        start_gap=1 - power_start,
        start_uses={"power_zero": 1},
        chains=["power", "b", "first"],
        why="b_k <= 1 - 2^(-D_k/h)",
    )
    d.combine("exponent_end", gap=-tokens_next / h + D / h, uses={"tokens_left": 1 / h}, why="D_k <= D")
    d.combine("exponent_first", gap=-D_1 / h + D / h, uses={"tokens_first": 1 / h}, why="B_1 <= D")
    power_monotone(d, "power_end_next", power_next, power_end, "exponent_end", why="2^x increases")
    power_monotone(d, "power_end_first", beta_1, power_end, "exponent_first", why="2^x increases")
    d.combine(
        "b_end_next",
        gap=b_end - b,
        uses={
            "power_end_next": 1,
            "bias_end": 1,
            "bias_factor": -1,
            "half_life": -1,
            "bias_above": beta,
            "power_split": -1,
            "power_less": 1,
        },
        why="b_k = 1 - 2^(-D_k/h) <= 1 - 2^(-D/h)",
    )
    d.combine(
        "b_end_first",
        gap=b_end - b_1,
        uses={"power_end_first": 1, "bias_end": 1, "bias_first": -1},
        why="b_1 <= b",
    )


def induct(
    d: Derivation,
    name: str,
    *,
    before: Any,
    after: Any,
    uses: dict[Any, Any],
    chains: list[str],
    why: str,
    slack: Any = 0,
    start_gap: Any = None,
    start_uses: dict[Any, Any] | None = None,
    start_slack: Any = 0,
    relation: str = ">=",
) -> None:
    """An invariant: hypothesis ``NAME_before``, its advance, its start, and the closed fact ``NAME``."""
    d.hypothesis(f"{name}_before", before, relation=relation, why=why)
    d.combine(f"{name}_after", gap=after, uses=uses, slack=slack, relation=relation, why="one step later")
    gap = start_slack if start_gap is None else start_gap
    d.combine(
        f"{name}_start",
        gap=gap,
        uses=start_uses or {},
        slack=start_slack,
        relation=relation,
        why="at the start",
    )
    d.induction(name, f"{name}_before", f"{name}_after", f"{name}_start", chains, why=why)


def denominator(d: Derivation, Z: Any) -> None:
    """s sqrt(b)/Q - s/Z >= 0, from Q^2 = eps b + beta v_{k-1} + c R^2 <= b (eps + R^2)."""
    Q, s, root_b, beta, R, eps = sp.symbols("Q s root_b beta R eps")
    over = 1 / (Z * root_b + Q)
    d.combine(
        "root_order",
        gap=Z * root_b - Q,
        uses={
            d.definition(Z): root_b**2 * over,
            d.definition(root_b): (eps + R**2) * over,
            d.definition(Q): -over,
            ("first_range", "v_hat_range"): beta * over,
            "first_empty": -beta * over,
            "bias_factor": R**2 * over,
        },
        modulo=[d.definition(s)],
        why="sqrt(eps b + vt) <= sqrt(b) Z",
    )
    d.combine("denominator", gap=s * root_b / Q - s / Z, uses={"root_order": s / (Q * Z)}, why="divide")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Right-hand side at D = sum of the schedule and B_1 its first entry."""
    batch_size = sums.needs_schedule(SLUG, batch_size)
    names = ("alpha", "h", "eps", "R", "L", "d", "Delta", "young")
    numbers = {name: np.asarray(constants[name], dtype=float) for name in names}
    first, tokens = float(batch_size[0]), float(batch_size.sum())
    right = sums.produced(free, "alpha h eps R L d Delta young D B_1 b_1 b_end")
    factor = -np.expm1(-np.log(2.0) * np.multiply.outer(1 / numbers["h"], [first, tokens]))
    total = right(*(numbers[name] for name in names), tokens, first, factor[..., 0], factor[..., 1])
    weight = np.sqrt(sums.one_minus_beta(batch_size, numbers["h"])).sum(axis=-1)
    trivial = numbers["d"] * numbers["R"] ** 2 * weight
    return Evaluation(
        value=total[()],
        trivial_value=trivial[()],
        parts={"tokens": tokens, "weight": weight[()], "per_weight": (total / weight)[()]},
    )


def free() -> Derivation:
    """The derivation with Young's weight as a symbol."""
    return derive(None)


BOUND = Bound(
    slug=SLUG,
    title="Adam with a token half-life and bias correction in tokens",
    algorithm="Adam with beta1 = 0, v divided by 1 - 2^(-D_k/h), eps inside the root, "
    "eta_k = alpha sqrt(1 - beta_k)",
    quantity="weighted_sq_gradient",
    quantity_latex=r"\mathbb E\sum_{k\le K}\sqrt{1-\beta_k}\,\|\nabla F(x_{k-1})\|^2",
    statement_latex=r"\mathbb E\sum_{k\le K}\sqrt{1-\beta_k}\,\|\nabla F(x_{k-1})\|^2\le"
    r"2\sqrt{\varepsilon+R^2}\Big\{\frac\Delta\alpha+d\Big(2R+\frac{L\alpha}2\Big)"
    r"\Big(\ln\big(1+\tfrac{R^2}\varepsilon\big)+\ln\frac{1-2^{-D/h}}{1-2^{-B_1/h}}"
    r"+\ln2\,\frac{D-B_1}h\Big)\Big\}",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=sums.parameters(),
    derive=derive,
    value=value,
    references=(SMALL_BATCH, SIMPLE_ADAM),
    notes=(
        "The factor counts tokens; 1 - beta2^step with the beta2 of the moment is another algorithm.",
        "A first batch much smaller than the half-life costs ln(1/b_1) per coordinate.",
    ),
)
