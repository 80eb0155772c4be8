"""Flagship 1 from any second moment: v_0 need not vanish, and a fixed first batch costs nothing when it does.

Algorithm, k = 1, 2, ..., coordinatewise, v_0 >= 0 given:

    beta_k = 2^(-B_k/h),   v_k = beta_k v_{k-1} + (1 - beta_k) g_k^2,
    x_k = x_{k-1} - alpha sqrt(1 - beta_k) g_k / sqrt(v_k + eps).

**Upper** bound. With w_k = sqrt(1 - beta_k) and sum_k B_k = D,

    E sum_k w_k |grad F(x_{k-1})|^2 <= 2 sqrt(eps + M) { Delta/alpha
        + (2R + L alpha/2) (sum_i ln((eps + max(v_{0,i}, R^2))/(eps + v_{0,i})) + d ln2 D/h) },

for any M >= max(R^2, max_i v_{0,i}): the outer root changes as well as the logarithm. Part ``first_batch``:
where v_0 = 0 and the first batch B_1 is fixed in advance, D may be replaced by D - B_1.
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

SLUG = "adam_token_half_life_initial"
ASSUMPTIONS = (
    sums.SMOOTH,
    sums.BELOW,
    sums.BOUNDED,
    sums.UNBIASED,
    sums.PREDICTABLE,
    sums.HALF_LIFE_RULE,
    Assumption(
        name="second_moment", statement="v_k = beta_k v_{k-1} + (1 - beta_k) g_k^2, v_0 >= 0 not random"
    ),
    Assumption(
        name="range", statement="M >= R^2 and M >= v_{0,i} for every coordinate", constants=("R", "v0")
    ),
    Assumption(
        name="first_batch", statement="part first_batch only: v_0 = 0 and the first batch is B_1, not random"
    ),
    Assumption(
        name="update", statement="x_k = x_{k-1} - eta_k g_k / sqrt(v_k + eps), eps > 0 inside the root"
    ),
)


def derive() -> dict[str, Derivation]:
    """Both parts at the published Young weight."""
    return {"any_start": any_start(pieces.QUARTER), "first_batch": first_batch(pieces.QUARTER)}


def any_start(young: Any = None) -> Derivation:
    """v_0 >= 0 arbitrary."""
    d = Derivation(f"{SLUG}_any_start", "Adam with a token half-life from any second moment")
    v_start = d.symbol(
        "v_start",
        sign="nonnegative",
        depends=("coordinate",),
        latex="v_{0,i}",
        meaning="initial second moment",
    )
    y, kappa = pieces.young_weights(d, young)
    pieces.declare(d, v_start=v_start)
    R = d.symbol("R", sign="positive", latex="R", meaning="almost-sure bound on a gradient coordinate")
    eps, c, s, beta, v_prev = sp.symbols("eps c s beta v_prev")
    rho = s * R
    pieces.bounded_gradient(d, R, gain=c)
    pieces.one_step_lemma(
        d,
        y,
        kappa,
        floor=eps,
        past=beta * v_prev,
        gained=c * sp.Symbol("g") ** 2,
        rho=rho,
        rho_facts=[d.definition(s)],
    )
    top = d.define("top", "max", [v_start, R**2], sign="positive", latex=r"\max(v_{0,i},R^2)")
    d.maximum("top_start", top, 0)
    d.maximum("top_square", top, 1)
    v_range(d, top, start="top_start")
    M = d.symbol("M", sign="positive", latex="M", meaning="at least R^2 and every v_{0,i}")
    d.assume("range", M - top, assumption="range", why="M >= max(v_{0,i}, R^2)")
    Z = d.define("Z", "root", eps + M, sign="positive", latex=r"\sqrt{\varepsilon+M}")
    denominator(d, Z, top, extra={"range": 1})
    finish(d, y, kappa, Z, v_start=v_start, top=top)
    return d


def v_range(d: Derivation, top: Any, *, start: str) -> None:
    """v_{k-1} <= top and v_k <= top; ``start`` is the fact top - v_0 >= 0 and top_square says top >= R^2."""
    beta, c, v_prev, v_next = sp.symbols("beta c v_prev v_next")
    step = {"bounded_square": c, "top_square": c, "half_life": -top, "second_moment": -1}
    d.hypothesis("range_hypothesis", top - v_prev, why="v_{k-1} is in range")
    d.combine(
        "range_advanced",
        gap=top - v_next,
        uses={"range_hypothesis": beta, **step},
        why="a convex combination of numbers in range",
        lemma="v_hat_range",
    )
    d.induction("v_hat_range", "range_hypothesis", "range_advanced", start, ["v"], why="induction over steps")
    d.combine("range_next", gap=top - v_next, uses={"v_hat_range": beta, **step}, why="after every step")


def denominator(d: Derivation, Z: Any, top: Any, *, extra: dict[str, Any]) -> None:
    """s/Q - s/Z >= 0, from Q^2 = eps + beta v_{k-1} + c R^2 <= eps + top <= Z^2."""
    Q, s, c, beta = sp.symbols("Q s c beta")
    over = 1 / (Z + Q)
    d.combine(
        "root_order",
        gap=Z - Q,
        uses={
            d.definition(Z): over,
            d.definition(Q): -over,
            "v_hat_range": beta * over,
            "top_square": c * over,
            "half_life": -top * over,
            **{name: factor * over for name, factor in extra.items()},
        },
        modulo=[d.definition(s)],
        why="sqrt(eps + vt) <= Z",
    )
    d.combine("denominator", gap=s / Q - s / Z, uses={"root_order": s / (Q * Z)}, why="divide")


def finish(
    d: Derivation,
    y: Any,
    kappa: Any,
    Z: Any,
    *,
    v_start: Any,
    top: Any,
    first: Any = 0,
) -> None:
    """Log-sum lemma, energy, and the conclusion."""
    eps, c, s, R, g, v_next = sp.symbols("eps c s R g v_next")
    gained = c * g**2
    pieces.log_sum_step(
        d, gained=gained, floor=eps, floor_prev=eps, room={"half_life": -eps}, slack=eps * c, first=first
    )
    pieces.energy(d, y, kappa, weight=s, kept=s, Z=Z, rho=s * R, denominator="denominator")
    root_s = d.definition(s)
    d.combine("error_factor", gap=R * c - s * (s * R), uses={root_s: -R}, relation="==", why="s^2 = c")
    d.combine("norm_factor", gap=c - s**2, uses={root_s: -1}, relation="==", why="s^2 = c")
    factors = {"error": R, "norm": sp.Integer(1)}
    sums.compare_sums(
        d,
        gained=gained,
        weight=s,
        rho=s * R,
        facts={"error": "error_factor", "norm": "norm_factor"},
        **factors,
    )
    d.combine("top_room", gap=(eps + top) - (eps + v_next), uses={"range_next": 1}, why="v_k is in range")
    d.combine(
        "top_room_start",
        gap=(eps + top) - (eps + v_start),
        uses={"top_start": 1},
        why="and so at the start",
    )
    sums.log_total(
        d, floor_start=eps, v_start=v_start, top=eps + top, facts=("top_room", "top_room_start"), first=first
    )
    sums.conclude(d, y, **factors)


def first_batch(young: Any = None) -> Derivation:
    """v_0 = 0 and a first batch B_1 fixed in advance: its decay acts on nothing, so it costs nothing."""
    d = Derivation(f"{SLUG}_first_batch", "Adam with a token half-life, first batch fixed in advance")
    y, kappa = pieces.young_weights(d, young)
    pieces.declare(d)
    R = d.symbol("R", sign="positive", latex="R", meaning="almost-sure bound on a gradient coordinate")
    eps, c, s, beta, v_prev, g, first = sp.symbols("eps c s beta v_prev g first")
    pieces.bounded_gradient(d, R, gain=c)
    root_s = d.definition(s)
    pieces.one_step_lemma(
        d, y, kappa, floor=eps, past=beta * v_prev, gained=c * g**2, rho=s * R, rho_facts=[root_s]
    )
    d.combine("top_start", gap=R**2, slack=R**2, why="v_0 = 0")
    d.combine("top_square", gap=0, relation="==", why="the top of the range is R^2")
    v_range(d, R**2, start="top_start")
    Z = d.define("Z", "root", eps + R**2, sign="positive", latex=r"\sqrt{\varepsilon+R^2}")
    denominator(d, Z, R**2, extra={})
    pieces.first_step(d)
    d.combine(
        "first_room",
        gap=first * (eps + v_prev) - first * (eps + beta * v_prev),
        uses={"first_empty": 1 - beta},
        relation="==",
        why="v_0 = 0 does not decay",
    )
    finish(d, y, kappa, Z, v_start=sp.Integer(0), top=R**2, first=first)
    return d


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Right-hand sides at D = sum of the schedule; ``first_batch`` where v_0 = 0."""
    batch_size = sums.needs_schedule(SLUG, batch_size)
    names = ("alpha", "h", "eps", "R", "L", "d", "Delta", "young")
    numbers = {name: np.asarray(constants[name], dtype=float) for name in names}
    v0 = sums.per_coordinate(SLUG, "v0", constants["v0"], numbers["d"])
    eps, R = numbers["eps"], numbers["R"]
    ratio = (eps[..., None] + np.maximum(v0, R[..., None] ** 2)) / (eps[..., None] + v0)
    logs = np.log(ratio).sum(axis=-1) * (numbers["d"] if v0.size == 1 else 1.0)
    tokens = float(batch_size.sum())
    shared = [numbers[name] for name in ("alpha", "h", "eps", "R", "L", "d", "Delta", "young")]
    right = sums.produced(any_start, "alpha h eps R L d Delta young D M logs_gain")
    total = right(*shared, tokens, np.maximum(R**2, v0.max()), logs)
    weight = np.sqrt(sums.one_minus_beta(batch_size, numbers["h"])).sum(axis=-1)
    trivial = numbers["d"] * R**2 * weight
    parts = {"tokens": tokens, "weight": weight[()], "per_weight": (total / weight)[()]}
    if not v0.any():
        sharper = sums.produced(first_batch, "alpha h eps R L d Delta young D B_1")
        parts["first_batch"] = sharper(*shared, tokens, float(batch_size[0]))[()]
    return Evaluation(value=total[()], trivial_value=trivial[()], parts=parts)


BOUND = Bound(
    slug=SLUG,
    title="Adam with a token half-life from any second moment",
    algorithm="Adam with beta1 = 0, normalised v from v_0 >= 0, eps inside the root, "
    "eta_k = alpha sqrt(1 - beta_k)",
    quantity="weighted_sq_gradient",
    quantity_latex=r"\mathbb E\sum_{k\le K}\sqrt{1-\beta_k}\,\|\nabla F(x_{k-1})\|^2",
    statement_latex=r"\mathbb E\sum_{k\le K}\sqrt{1-\beta_k}\,\|\nabla F(x_{k-1})\|^2\le"
    r"2\sqrt{\varepsilon+M}\Big\{\frac\Delta\alpha+\Big(2R+\frac{L\alpha}2\Big)"
    r"\Big(\sum_i\ln\frac{\varepsilon+\max(v_{0,i},R^2)}{\varepsilon+v_{0,i}}+d\ln2\,\frac Dh\Big)\Big\},"
    r"\quad M=\max(R^2,\max_iv_{0,i})",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=sums.parameters(
        sums.at_least_zero("v0", "initial second moment, one number or one per coordinate", "grad^2")
    ),
    derive=derive,
    value=value,
    references=(SMALL_BATCH, SIMPLE_ADAM),
    notes=(
        "The outer root must grow with v_0 as well: with R^2 in place of M the denominator step is false.",
        "Vacuous at practical token counts, typically two orders above the measured value.",
    ),
)
