"""Flagship 1, unnormalised: v is a plain decayed sum and every step counts the same.

Algorithm, n = 1, 2, ..., coordinatewise, v_0 = 0, S_0 = 0:

    beta_n = 2^(-B_n/h),   v_n = beta_n v_{n-1} + g_n^2,   S_n = beta_n S_{n-1} + 1,
    x_n = x_{n-1} - alpha sqrt(S_n) g_n / sqrt(v_n + eps),   |g_{n,i}| <= R - sqrt(eps).

**Upper** bound. With S_n <= S and E_{n-1} g_{n,i}^2 <= r^2 in every step, r <= R - sqrt(eps),

    E sum_{n<N} |grad F(x_n)|^2
        <= 2 R Delta/alpha + d (4 R r sqrt(S) + alpha R L S) (ln(1 + S R^2/eps) + ln2 D/h).

Divide by N where the number of steps is fixed. Holds for every predictable schedule with S_n <= S, which the
catalogue asks only of deterministic ones; S <= 1/(1 - 2^(-B_min/h)) is part ``largest_sum``.
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

SLUG = "adam_token_half_life_unnormalised"
ASSUMPTIONS = (
    sums.SMOOTH,
    sums.BELOW,
    Assumption(
        name="bounded_gradient",
        statement="|g_{n,i}| <= R - sqrt(eps) almost surely, every coordinate",
        constants=("R",),
    ),
    sums.UNBIASED,
    sums.PREDICTABLE,
    Assumption(name="half_life_rule", statement="beta_n = 2^(-B_n/h)"),
    Assumption(
        name="variance",
        statement="E_{n-1} g_{n,i}^2 <= r^2 with 0 < r <= R - sqrt(eps)",
        constants=("G_inf", "sigma"),
    ),
    Assumption(name="decayed_count", statement="S_n = beta_n S_{n-1} + 1 from S_0 = 0, and S_n <= S"),
    Assumption(name="second_moment", statement="v_n = beta_n v_{n-1} + g_n^2, v_0 = 0"),
    Assumption(name="least_batch", statement="part largest_sum only: beta_n <= 1 - q with q > 0"),
    Assumption(
        name="update", statement="x_n = x_{n-1} - alpha sqrt(S_n) g_n / sqrt(v_n + eps), eps inside the root"
    ),
)


def derive() -> dict[str, Derivation]:
    """The theorem at the published Young weight, and the bound on S_n."""
    return {"theorem": theorem(pieces.QUARTER), "largest_sum": largest_sum()}


def theorem(young: Any = None) -> Derivation:
    """The bound; ``young`` None keeps Young's weight free."""
    d = Derivation(SLUG, "Adam with a token half-life, unnormalised")
    y, kappa = pieces.young_weights(d, young)
    pieces.declare(d, normalised=False)
    eps, c, beta, g, v_prev, v_next = sp.symbols("eps c beta g v_prev v_next")
    root_eps = d.define("root_eps", "root", eps, sign="positive", latex=r"\sqrt\varepsilon")
    g_max = d.symbol("g_max", sign="positive", latex=r"R-\sqrt\varepsilon", meaning="bound on |g|")
    R = d.define("R", "equals", g_max + root_eps, sign="positive", latex="R")
    r = d.symbol("r", sign="positive", latex="r", meaning="root of the largest second moment")
    root_S_max = d.symbol("root_S", sign="positive", latex=r"\sqrt S", meaning="root of the bound on S_n")
    S_max = d.define("S", "equals", root_S_max**2, sign="positive", latex="S", meaning="bound on every S_n")
    pieces.bounded_square(d, g_max)
    mean_a = d.define("mean_a", "mean", g**2, sign="nonnegative", latex="E_{n-1}g^2")
    d.assume("second_moment_mean", r**2 - mean_a, assumption="variance", why="E g^2 <= r^2")
    d.assume("variance_bounded", g_max - r, assumption="variance", why="r <= R - sqrt(eps)")
    pieces.one_step_lemma(d, y, kappa, floor=eps, past=beta * v_prev, gained=g**2, rho=r)
    S_prev = d.symbol(
        "S_prev", sign="nonnegative", depends=("step",), latex="S_{n-1}", meaning="count before"
    )
    S_next = d.symbol("S_next", sign="positive", depends=("step",), latex="S_n", meaning="count after")
    weight = d.define("weight", "root", S_next, sign="positive", latex=r"\sqrt{S_n}")
    d.chain("S", previous=S_prev, next=S_next, start=0)
    d.assume(
        "count", S_next - beta * S_prev - 1, relation="==", assumption="decayed_count", why="recursion of S_n"
    )
    d.assume("count_bounded", S_max - S_next, assumption="decayed_count", why="S_n <= S")
    advance = {"bounded_square": 1, "count": g_max**2, "second_moment": -1}
    d.hypothesis("range_hypothesis", S_prev * g_max**2 - v_prev, why="v_{n-1} <= S_{n-1} max g^2")
    d.combine(
        "range_advanced",
        gap=S_next * g_max**2 - v_next,
        uses={"range_hypothesis": beta, **advance},
        why="both decay alike",
        lemma="v_hat_range",
    )
    d.combine("range_start", gap=0, why="both vanish at the start")
    d.induction(
        "v_hat_range", "range_hypothesis", "range_advanced", "range_start", ["S", "v"], why="induction"
    )
    d.combine(
        "range_next",
        gap=S_next * g_max**2 - v_next,
        uses={"v_hat_range": beta, **advance},
        why="after every step",
    )
    denominator(d, R, root_eps, g_max, r, S_prev, weight)
    pieces.log_sum_step(d, gained=g**2, floor=eps, floor_prev=eps, room={"half_life": -eps}, slack=eps * c)
    pieces.energy(d, y, kappa, weight=weight, kept=sp.Integer(1), Z=R, rho=r, denominator="denominator")
    d.combine(
        "weight_bounded",
        gap=root_S_max - weight,
        uses={
            "count_bounded": 1 / (root_S_max + weight),
            d.definition(S_max): -1 / (root_S_max + weight),
            d.definition(weight): -1 / (root_S_max + weight),
        },
        why="sqrt(S_n) <= sqrt(S)",
    )
    d.combine("error_factor", gap=r * root_S_max - weight * r, uses={"weight_bounded": r}, why="times r")
    d.combine(
        "norm_factor",
        gap=S_max - weight**2,
        uses={"count_bounded": 1, d.definition(weight): -1},
        why="S_n <= S",
    )
    factors = {"error": r * root_S_max, "norm": S_max}
    facts = {"error": "error_factor", "norm": "norm_factor"}
    sums.compare_sums(d, gained=g**2, weight=weight, rho=r, facts=facts, **factors)
    top = eps + S_max * R**2
    rest = S_max * (2 * g_max * root_eps + root_eps**2)
    d.combine(
        "top_room",
        gap=top - (eps + v_next),
        uses={
            "range_next": 1,
            "count_bounded": g_max**2,
            d.definition(R): S_max * (R + g_max + root_eps),
        },
        slack=rest,
        why="v_n <= S_n max g^2 <= S R^2",
    )
    d.combine("top_room_start", gap=top - eps, slack=S_max * R**2, why="and so at the start")
    sums.log_total(d, floor_start=eps, v_start=sp.Integer(0), top=top, facts=("top_room", "top_room_start"))
    sums.conclude(d, y, **factors)
    return d


def denominator(d: Derivation, R: Any, root_eps: Any, g_max: Any, r: Any, S_prev: Any, weight: Any) -> None:
    """sqrt(S_n)/Q - 1/R >= 0, from Q^2 = eps + beta v + r^2 <= S_n (eps + max g^2) <= S_n R^2."""
    Q, beta, S_next, eps = sp.symbols("Q beta S_next eps")
    over = 1 / (R * weight + Q)
    d.combine(
        "root_order",
        gap=R * weight - Q,
        uses={
            d.definition(weight): R**2 * over,
            d.definition(R): S_next * (R + g_max + root_eps) * over,
            d.definition(root_eps): S_next * over,
            d.definition(Q): -over,
            "v_hat_range": beta * over,
            "variance_bounded": (g_max + r) * over,
            "count": (eps + g_max**2) * over,
        },
        slack=(2 * S_next * g_max * root_eps + eps * beta * S_prev) * over,
        why="sqrt(eps + vt) <= sqrt(S_n) R",
    )
    d.combine(
        "denominator", gap=weight / Q - 1 / R, uses={"root_order": 1 / (Q * R)}, why="divide by R and Q"
    )


def largest_sum() -> Derivation:
    """S_n <= 1/q where every beta_n <= 1 - q."""
    d = Derivation(f"{SLUG}_largest_sum", "The decayed count is at most 1/(1 - beta)")
    beta = d.symbol("beta", sign="positive", depends=("step",), latex=r"\beta_n", meaning="beta2 of step n")
    q = d.symbol("q", sign="positive", latex="q", meaning="1 - 2^(-B_min/h)")
    S_prev = d.symbol(
        "S_prev", sign="nonnegative", depends=("step",), latex="S_{n-1}", meaning="count before"
    )
    S_next = d.symbol("S_next", sign="positive", depends=("step",), latex="S_n", meaning="count after")
    d.chain("S", previous=S_prev, next=S_next, start=0)
    d.assume(
        "count", S_next - beta * S_prev - 1, relation="==", assumption="decayed_count", why="recursion of S_n"
    )
    d.assume("least", 1 - q - beta, assumption="least_batch", why="every batch is at least B_min")
    step = {"least": 1 / q, "count": -1}
    d.hypothesis("bounded_before", 1 / q - S_prev, why="S_{n-1} <= 1/q")
    d.combine(
        "bounded_after", gap=1 / q - S_next, uses={"bounded_before": beta, **step}, why="one step later"
    )
    d.combine("bounded_start", gap=1 / q, slack=1 / q, why="S_0 = 0")
    d.induction("bounded", "bounded_before", "bounded_after", "bounded_start", ["S"], why="induction")
    d.combine("bounded_next", gap=1 / q - S_next, uses={"bounded": beta, **step}, why="after every step")
    d.conclude("bounded_next", S_next, why="S_n <= 1/q")
    return d


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Sum of squared gradients over the steps of the schedule, with S = max S_n and r from the noise."""
    batch_size = sums.needs_schedule(SLUG, batch_size)
    names = ("alpha", "h", "eps", "R", "L", "d", "Delta", "young")
    numbers = {name: np.asarray(constants[name], dtype=float) for name in names}
    g_max = numbers["R"] - np.sqrt(numbers["eps"])
    if not np.all(g_max > 0):
        raise sums.outside(
            f"R={numbers['R']} with eps={numbers['eps']}", "bounded_gradient", SLUG, "R must exceed sqrt(eps)"
        )
    beta = 1 - sums.one_minus_beta(batch_size, numbers["h"])
    count = largest = np.zeros(beta.shape[:-1])
    for step in range(batch_size.size):
        count = beta[..., step] * count + 1
        largest = np.maximum(largest, count)
    variance = np.asarray(constants["sigma"], dtype=float)[..., None] ** 2 / batch_size
    r = np.minimum(g_max, np.sqrt(np.asarray(constants["G_inf"], float) ** 2 + variance.max(axis=-1)))
    right = sums.produced(free, "alpha h eps g_max L d Delta young D r root_S")
    tokens = float(batch_size.sum())
    arguments = [g_max if name == "R" else numbers[name] for name in names]
    total = right(*arguments, tokens, r, np.sqrt(largest))
    trivial = numbers["d"] * g_max**2 * batch_size.size
    return Evaluation(
        value=total[()],
        trivial_value=trivial[()],
        parts={
            "tokens": tokens,
            "S": largest[()],
            "per_step": (total / batch_size.size)[()],
            "weight": float(batch_size.size),
            "per_weight": (total / batch_size.size)[()],
        },
    )


def free() -> Derivation:
    """The theorem with Young's weight as a symbol."""
    return theorem(None)


BOUND = Bound(
    slug=SLUG,
    title="Adam with a token half-life, unnormalised sums",
    algorithm="Adam with beta1 = 0, v a decayed sum, eps inside the root, step alpha sqrt(S_n)",
    quantity="sum_sq_gradient",
    quantity_latex=r"\mathbb E\sum_{n<N}\|\nabla F(x_n)\|^2",
    statement_latex=r"\mathbb E\sum_{n<N}\|\nabla F(x_n)\|^2\le\frac{2R\Delta}\alpha"
    r"+d\big(4R\bar r\sqrt{\bar S}+\alpha RL\bar S\big)"
    r"\Big[\ln\big(1+\tfrac{\bar SR^2}\varepsilon\big)+\ln2\,\tfrac Dh\Big]",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=sums.parameters(
        sums.positive("G_inf", "bound on a coordinate of the gradient of F", "grad"),
        sums.at_least_zero(
            "sigma", "largest standard deviation of one token's gradient coordinate", "grad*token^1/2"
        ),
    ),
    derive=derive,
    value=value,
    references=(SMALL_BATCH, SIMPLE_ADAM),
    notes=(
        "R exceeds the bound on |g| by sqrt(eps), as in the source.",
        "Divide by the number of steps where it is fixed in advance.",
    ),
)
