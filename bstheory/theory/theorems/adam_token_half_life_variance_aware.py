"""Flagship 1 with the noise of each batch: a larger batch pays less for its error.

The algorithm of ``adam_token_half_life`` (beta1 = 0, v_0 = 0), where in addition
E_{k-1} g_{k,i}^2 <= r_{k,i}^2 with r_{k,i} <= R known before the draw, for
instance r^2 = G_inf^2 + sigma_i^2/B_k.

**Upper** bound. With w_k = sqrt(1 - beta_k), ell = ln(1 + R^2/eps), and (x)_+ = max(x, 0),

    E sum_k w_k |grad F(x_{k-1})|^2 <= 2 sqrt(eps + R^2) { Delta/alpha
        + 2 sum_i [ell (r_{1,i} + E sum_{k<K} (r_{k+1,i} - r_{k,i})_+) + (ln2/h) E sum_k r_{k,i} B_k]
        + (d L alpha/2) (ell + ln2 D/h) }.

r_k cannot be drawn through a telescoping logarithm as it stands: the sum is taken by parts, and what r rises
from one step to the next is paid for. A batch that never falls pays ell r_1 alone.

Differs from the catalogue in form, not in value: r_1 + sum (r_{k+1} - r_k)_+ = r_K + sum (r_k - r_{k+1})_+.
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
from bstheory.theory.theorems.adam_token_half_life_initial import denominator, v_range

SLUG = "adam_token_half_life_variance_aware"
ASSUMPTIONS = (
    sums.SMOOTH,
    sums.BELOW,
    sums.BOUNDED,
    sums.UNBIASED,
    sums.PREDICTABLE,
    sums.HALF_LIFE_RULE,
    Assumption(
        name="variance",
        statement="E_{k-1} g_{k,i}^2 <= r_{k,i}^2 0 < r_{k,i} <= R, known before the draw; r_1 not random",
        constants=("G_inf", "sigma"),
    ),
    Assumption(name="second_moment", statement="v_k = beta_k v_{k-1} + (1 - beta_k) g_k^2, v_0 = 0"),
    Assumption(
        name="update", statement="x_k = x_{k-1} - eta_k g_k / sqrt(v_k + eps), eps > 0 inside the root"
    ),
)


def derive(young: Any = pieces.QUARTER) -> Derivation:
    """Derive the bound; ``young`` None keeps Young's weight free."""
    d = Derivation(SLUG, "Adam with a token half-life, aware of the variance of each batch")
    y, kappa = pieces.young_weights(d, young)
    pieces.declare(d)
    R = d.symbol("R", sign="positive", latex="R", meaning="almost-sure bound on a gradient coordinate")
    r = d.symbol("r", sign="positive", depends=pieces.PER_COORDINATE, latex="r_k", meaning="root of E g_k^2")
    eps, c, s, beta, g, v_prev, v_next = sp.symbols("eps c s beta g v_prev v_next")
    pieces.bounded_square(d, R)
    mean_g2 = d.define("mean_g2", "mean", g**2, sign="nonnegative", latex=r"E_{k-1}g^2")
    mean_a = d.define("mean_a", "mean", c * g**2, sign="nonnegative", latex=r"E_{k-1}a_k")
    d.assume("variance", r**2 - mean_g2, assumption="variance", why="E g^2 <= r^2")
    d.assume("variance_bounded", R - r, assumption="variance", why="r <= R")
    d.combine("zero_mean", gap=0, relation="==", why="nothing")
    d.apply("gain_known", "mean", "zero_mean", {mean_a: 1, mean_g2: -c}, why="c_k is known before the draw")
    d.combine(
        "second_moment_mean",
        gap=c * r**2 - mean_a,
        uses={"variance": c, "gain_known": -1},
        why="what a step adds, in the mean",
    )
    root_s = d.definition(s)
    pieces.one_step_lemma(
        d, y, kappa, floor=eps, past=beta * v_prev, gained=c * g**2, rho=s * r, rho_facts=[root_s]
    )
    d.combine("top_start", gap=R**2, slack=R**2, why="v_0 = 0")
    d.combine("top_square", gap=0, relation="==", why="the top of the range is R^2")
    v_range(d, R**2, start="top_start")
    d.combine("variance_square", gap=R**2 - r**2, uses={"variance_bounded": R + r}, why="r^2 <= R^2")
    Z = d.define("Z", "root", eps + R**2, sign="positive", latex=r"\sqrt{\varepsilon+R^2}")
    denominator(d, Z, R**2, extra={"variance_square": c})
    pieces.log_sum_step(
        d, gained=c * g**2, floor=eps, floor_prev=eps, room={"half_life": -eps}, slack=eps * c
    )
    pieces.energy(d, y, kappa, weight=s, kept=s, Z=Z, rho=s * r, denominator="denominator")
    d.combine("norm_factor", gap=c - s**2, uses={root_s: -1}, relation="==", why="s^2 = c")
    sums.compare_sums(
        d, gained=c * g**2, weight=s, rho=s * r, norm=sp.Integer(1), facts={"norm": "norm_factor"}
    )
    d.combine("top_room", gap=(eps + R**2) - (eps + v_next), uses={"range_next": 1}, why="v_k is in range")
    d.combine("top_room_start", gap=(eps + R**2) - eps, uses={"top_start": 1}, why="and so at the start")
    sums.log_total(
        d, floor_start=eps, v_start=sp.Integer(0), top=eps + R**2, facts=("top_room", "top_room_start")
    )
    by_parts(d)
    sums.conclude(d, y, norm=sp.Integer(1))
    return d


def by_parts(d: Derivation) -> None:
    """E sum_k sum_i r c g^2/P^2 by Abel summation, the step ``error_total``."""
    r, s, g, P, eps, B, h, ln2, v_next = sp.symbols("r s g P eps B h ln2 v_next")
    log_next, log_prev, log_top, log_start, log_gain = sp.symbols(
        "log_next log_prev log_top log_start log_gain"
    )
    per_draw = (*pieces.PER_COORDINATE, "draw")
    r_next = d.symbol(
        "r_next", sign="positive", depends=per_draw, latex="r_{k+1}", meaning="r of the next step"
    )
    r_start = d.symbol(
        "r_start", sign="positive", depends=("coordinate",), latex="r_1", meaning="r of step 1"
    )
    d.chain("r", previous=r, next=r_next, start=r_start)
    up = d.define("up", "max", [r_next - r, sp.Integer(0)], sign="nonnegative", latex="(r_{k+1}-r_k)_+")
    room_prev = d.define("room_prev", "equals", r * (log_top - log_prev))
    room_next = d.define("room_next", "equals", r_next * (log_top - log_next))
    room_start = d.define("room_start", "equals", r_start * (log_top - log_start))
    d.chain("room", previous=room_prev, next=room_next, start=room_start)
    d.combine("floor_room", gap=(eps + v_next) - eps, slack=v_next, why="v_k >= 0")
    d.log_monotone("log_floor", log_next, log_start, "floor_room", why="the logarithm is increasing")
    d.maximum("rise", up, 0)
    d.combine("up_sign", gap=up, slack=up, why="a positive part")
    d.combine(
        "parts_coordinate",
        gap=room_prev - room_next + up * log_gain + r * ln2 * B / h - s * (s * r) * g**2 / P**2,
        uses={
            "log_sum": r,
            ("rise", "log_range"): 1,
            ("up_sign", "log_floor"): 1,
            "log_gain_split": up,
            d.definition(room_prev): 1,
            d.definition(room_next): -1,
            d.definition(s): -r * g**2 / P**2,
        },
        why="r_k (ln_k - ln_{k-1}) = room_{k-1} - room_k + (r_{k+1} - r_k)(top - ln_k)",
    )
    d.combine(
        "room_sign",
        gap=room_next,
        uses={"log_range": r_next, d.definition(room_next): 1},
        why="no logarithm exceeds the top",
    )
    d.combine(
        "room_start_sign",
        gap=room_start,
        uses={"log_range_start": r_start, d.definition(room_start): 1},
        why="nor at the start",
    )
    d.combine(
        "room_start_value",
        gap=room_start - log_gain * r_start,
        uses={d.definition(room_start): 1, "log_gain_split": -r_start},
        relation="==",
        why="room at the start",
    )
    rooms = {
        name: d.define(f"rooms_{name}", "coordinates", symbol)
        for name, symbol in (("prev", room_prev), ("next", room_next), ("start", room_start))
    }
    end = d.symbol("rooms_end", latex="E room_K", meaning="expected room at the end")
    d.chain("rooms", previous=rooms["prev"], next=rooms["next"], start=rooms["start"], end=end)
    ups = d.define("ups", "coordinates", up, sign="nonnegative")
    r_sum = d.define("r_sum", "coordinates", r, sign="positive", latex=r"\sum_ir_{k,i}")
    r_first = d.define("r_first", "coordinates", r_start, sign="positive", latex=r"\sum_ir_{1,i}")
    error, T_error = sp.symbols("error T_error")
    d.apply("room_signs", "coordinates", "room_sign", {rooms["next"]: 1}, why="sum over coordinates")
    d.apply("room_start_signs", "coordinates", "room_start_sign", {rooms["start"]: 1}, why="coordinates")
    d.apply(
        "room_start_values",
        "coordinates",
        "room_start_value",
        {rooms["start"]: 1, r_first: -log_gain},
        why="sum",
    )
    d.at_end("room_end_sign", "room_signs", "room_start_signs", "rooms", why="and so at the end")
    d.apply(
        "parts_sum",
        "coordinates",
        "parts_coordinate",
        {rooms["prev"]: 1, rooms["next"]: -1, ups: log_gain, r_sum: ln2 * B / h, error: -s},
        why="sum over coordinates",
    )
    T_rooms = d.define("T_rooms", "steps", rooms["next"] - rooms["prev"])
    T_up = d.define("T_up", "steps", ups, sign="nonnegative", latex=r"E\sum_k\sum_i(r_{k+1,i}-r_{k,i})_+")
    T_rB = d.define("T_rB", "steps", r_sum * B, sign="nonnegative", latex=r"E\sum_kB_k\sum_ir_{k,i}")
    d.apply(
        "parts_total",
        "steps",
        "parts_sum",
        {T_rooms: -1, T_up: log_gain, T_rB: ln2 / h, T_error: -1},
        why="expectation of the sum over steps",
    )
    d.telescope("telescope_rooms", T_rooms, "rooms", why="the rooms telescope")
    d.combine(
        "error_total",
        gap=log_gain * (r_first + T_up) + ln2 * T_rB / h - T_error,
        uses={"parts_total": 1, "telescope_rooms": 1, "room_end_sign": 1, "room_start_values": -1},
        why="summation by parts",
    )


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Right-hand side for r_k^2 = min(R^2, G_inf^2 + sigma^2/B_k); sigma per coordinate, or one for all."""
    batch_size = sums.needs_schedule(SLUG, batch_size)
    names = ("alpha", "h", "eps", "R", "L", "d", "Delta", "young")
    numbers = {name: np.asarray(constants[name], dtype=float) for name in names}
    sigma = sums.per_coordinate(SLUG, "sigma", constants["sigma"], numbers["d"])
    copies = numbers["d"] if sigma.shape[0] == 1 else np.asarray(1.0)
    R, G_inf = numbers["R"], np.asarray(constants["G_inf"], dtype=float)
    square = G_inf[..., None, None] ** 2 + sigma[:, None] ** 2 / batch_size
    r = np.sqrt(np.minimum(R[..., None, None] ** 2, square))  # [..., d, K]
    first = r[..., 0].sum(axis=-1) * copies
    up = np.maximum(np.diff(r, axis=-1), 0.0).sum(axis=(-2, -1)) * copies
    carried = (r * batch_size).sum(axis=(-2, -1)) * copies
    right = sums.produced(free, "alpha h eps R L d Delta young D r_first T_up T_rB")
    tokens = float(batch_size.sum())
    total = right(*(numbers[name] for name in names), tokens, first, up, carried)
    weight = np.sqrt(sums.one_minus_beta(batch_size, numbers["h"])).sum(axis=-1)
    trivial = numbers["d"] * np.minimum(R, G_inf) ** 2 * weight
    return Evaluation(
        value=total[()],
        trivial_value=trivial[()],
        parts={"tokens": tokens, "weight": weight[()], "per_weight": (total / weight)[()], "rises": up[()]},
    )


def free() -> Derivation:
    """The derivation with Young's weight as a symbol."""
    return derive(None)


BOUND = Bound(
    slug=SLUG,
    title="Adam with a token half-life, aware of the variance of each batch",
    algorithm="Adam with beta1 = 0, normalised v, eps inside the root, eta_k = alpha sqrt(1 - beta_k)",
    quantity="weighted_sq_gradient",
    quantity_latex=r"\mathbb E\sum_{k\le K}\sqrt{1-\beta_k}\,\|\nabla F(x_{k-1})\|^2",
    statement_latex=r"\mathbb E\sum_{k\le K}\sqrt{1-\beta_k}\,\|\nabla F(x_{k-1})\|^2\le"
    r"2\sqrt{\varepsilon+R^2}\Big\{\frac\Delta\alpha+2\sum_i\Big[\ell\Big(r_{1,i}+\mathbb E\sum_{k<K}"
    r"(r_{k+1,i}-r_{k,i})_+\Big)+\frac{\ln2}h\mathbb E\sum_kr_{k,i}B_k\Big]"
    r"+\frac{dL\alpha}2\Big(\ell+\ln2\,\frac Dh\Big)\Big\},\quad\ell=\ln(1+R^2/\varepsilon)",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=sums.parameters(
        sums.positive("G_inf", "bound on a coordinate of the gradient of F", "grad"),
        sums.at_least_zero(
            "sigma",
            "standard deviation of one token's gradient, one number or one per coordinate",
            "grad*token^1/2",
        ),
    ),
    derive=derive,
    value=value,
    references=(SMALL_BATCH, SIMPLE_ADAM),
    notes=(
        "After the last step r_{K+1} is taken equal to r_K.",
        "r_k enters as the smaller of R and sqrt(G_inf^2 + sigma^2/B_k); both bound E g^2.",
        "A saw-tooth of the batch pays ell for every rise of r.",
    ),
)
