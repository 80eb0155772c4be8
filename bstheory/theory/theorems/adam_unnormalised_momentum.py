"""Adam and Adagrad with momentum in unnormalised sums, as in the simple proof of 2003.02395.

Algorithm, n = 1..N, coordinatewise, v_0 = m_0 = 0, |g_{n,i}| <= R - sqrt(eps):

    m_n = beta1 m_{n-1} + g_n,   v_n = beta2 v_{n-1} + g_n^2,   x_n = x_{n-1} - alpha_n m_n/sqrt(eps + v_n),

Adam: beta1 < beta2 < 1 and alpha_n = alpha (1 - beta1) sqrt((1 - beta2^n)/(1 - beta2)); Adagrad: beta2 = 1
and alpha_n = alpha (1 - beta1).

**Upper** bounds on E|grad F(x_tau)|^2, where P(tau = j) is in proportion to p_j = 1 - beta1^(N - j),
j = 0..N-1, with W = sum_j p_j = N - beta1 (1 - beta1^N)/(1 - beta1), r = R - sqrt(eps) and q = beta1/beta2.
Part ``adam`` (T4):

    2 R Delta/(alpha W) + (E/W) (ln(1 + R^2/((1 - beta2) eps)) - N ln beta2),
    E = d [ (R r (1 - beta1) + 2 R^2 sqrt(1 - beta1) q sqrt(2 - q))/((1 - q)^(3/2) sqrt(1 - beta2))
          + alpha R L (1 - beta1)/((1 - q)(1 - beta2))
          + alpha^2 L^2 beta1 sqrt(1 + beta1)/(2 (1 - q)(1 - beta2)^(3/2)) ].

Part ``adagrad`` (T3), with q = beta1:

    2 R sqrt(N) Delta/(alpha W) + (sqrt(N)/W) E ln(1 + N R^2/eps),
    E = d [ R r/sqrt(1 - beta1) + 2 R^2 beta1 sqrt(2 - beta1)/(1 - beta1) + alpha R L
          + alpha^2 L^2 beta1 sqrt(1 + beta1)/(2 (1 - beta1)) ].

Differs from the source by smaller constants: in place of its 12 R^2 sqrt(1 - beta1) stands at most
3 R^2 sqrt(1 - beta1), in place of its 2 alpha^2 L^2 beta1 at most alpha^2 L^2 beta1/sqrt(2), and W is larger
than its N - beta1/(1 - beta1), which need not be positive. v_n is compared with what the almost sure bound
would give, so that Young's inequality is needed once; its weights (``young``, ``drift``) are free. At
beta1 = 0 the error term is R r where T1 and T2 have 4 R r.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
import sympy as sp

from bstheory.references import SIMPLE_ADAM
from bstheory.theory import adam_pieces as pieces
from bstheory.theory import adam_sums as sums
from bstheory.theory import momentum_geometric as geometric
from bstheory.theory import momentum_lags as lags
from bstheory.theory import norm_test_values as values
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_pairs import relabel_fact
from bstheory.theory.theorems import adam_unnormalised as plain
from bstheory.theory.theorems.adam_token_half_life_momentum import descent

SLUG = "adam_unnormalised_momentum"
ASSUMPTIONS = (
    *(a for a in plain.ASSUMPTIONS if a.name not in ("update", "fixed_schedule")),
    Assumption(
        name="momentum",
        statement="m_n = sum_{j<=n} beta1^(n-j) g_j, 0 <= beta1 < beta2, beta1 < 1",
        constants=("beta1",),
    ),
    Assumption(
        name="unrolled",
        statement="the recursion of v, unrolled: v_n = beta2^(n-j+1) v_{j-1} "
        "+ sum_{j<=l<=n} beta2^(n-l) g_l^2, whose weights from j to n add up to S_{n-j+1} and all together "
        "to S_n",
    ),
    Assumption(
        name="free_constant", statement="kappa = 1 - young, the weight of Young's inequality left free"
    ),
    Assumption(
        name="update",
        statement="x_n = x_{n-1} - alpha_n m_n/sqrt(eps + v_n), eps inside the root; "
        "alpha_n = alpha (1 - beta1) sqrt(S_n) where beta2 < 1, alpha (1 - beta1) where beta2 = 1",
    ),
    Assumption(name="fixed_schedule", statement="N steps are taken, N fixed in advance"),
)


def derive() -> dict[str, Derivation]:
    """Both theorems at the weights of Young's inequality of the statement."""
    return {"adagrad": adagrad(), "adam": adam()}


def start(title: str, free: bool, *, beta: Any, c: Any) -> tuple[Derivation, Any, Any, Any]:
    """Symbols, the range of v, the functions of the lag; Young's weights y, kappa and tau."""
    d = Derivation(SLUG, title)
    y, kappa, drift = sp.Rational(1, 2), sp.Rational(1, 2), sp.Integer(1)
    if free:
        y = d.symbol("young", sign="positive", latex="y", meaning="weight of Young's inequality")
        kappa = d.symbol("kappa", sign="positive", latex=r"\kappa", meaning="1 - young")
        drift = d.symbol("drift", sign="positive", latex=r"\delta", meaning="Young's weight of the drift")
        rest = kappa - 1 + y
        d.assume("young_choice", rest, relation="==", assumption="free_constant", why="kappa = 1 - y")
    plain.declare(d, beta=beta, c=c)
    pieces.bounded_square(d, sp.Symbol("r"))
    plain.range_of_v(d, beta)
    for name in ("S_prev", "S_next"):
        d.symbols[name] = dataclasses.replace(d.symbols[name], fixed=True)
    geometric.declare(d, beta=beta)
    geometric.count_of_lags(d, beta=beta)
    root = d.define("root_1", "root", 1 / geometric.C1, sign="positive", latex=r"(1-\beta_1)^{-1/2}")
    return d, y, kappa, drift * root


def later_steps(d: Derivation, form: lags.Form) -> None:
    """Symbols of step n, momentum, drift, and the recursions unrolled to step j."""
    eps, r, Om, g, G, v_next, L, alpha = sp.symbols("eps r Om g G v_next L alpha")
    d.define("P", "root", eps + v_next, sign="positive", latex=r"\sqrt{\varepsilon+v_j}")
    m = d.symbol(
        "m", depends=(*pieces.PER_COORDINATE, "draw"), latex="m_j", meaning="(1 - beta1) times the momentum"
    )
    pair = lags.PAIR
    past = d.symbol(
        "past", sign="nonnegative", depends=("coordinate", *pair), latex="v^-", meaning="part of v_n before j"
    )
    recent = d.symbol(
        "recent",
        sign="nonnegative",
        depends=("coordinate", *pair, "draw"),
        latex="v^+",
        meaning="part of v_n from j to n",
    )
    v_l = d.symbol("v_l", sign="nonnegative", depends=lags.LATE_COORDINATE, latex="v_n", meaning="v at n")
    P_l = d.define("P_l", "root", eps + v_l, sign="positive", latex=r"\sqrt{\varepsilon+v_n}")
    G_l = d.symbol("G_l", depends=lags.LATE_COORDINATE, latex="G_n", meaning="gradient at n")
    m_l = d.symbol("m_l", depends=lags.LATE_COORDINATE, latex="m_n", meaning="momentum at n")
    average = d.define("average", "lags", form.W * g, latex=r"\sum_{j\le n}W_{n,j}g_j")
    weights = d.define("weights", "lags", form.W, sign="nonnegative", latex=r"\sum_{j\le n}W_{n,j}")
    norm = d.define(
        "norm", "coordinates", m**2 / sp.Symbol("P") ** 2, sign="nonnegative", latex=r"\|m_j/P_j\|^2"
    )
    way = d.define("way", "between", form.c * norm, sign="nonnegative", latex=r"\sum_ls_l^2\|m_l/P_l\|^2")
    move = d.define("move", "coordinates", (G_l - G) ** 2, sign="nonnegative", latex=r"\|G_n-G_j\|^2")
    rule = {"assumption": "unrolled"}
    d.assume("unrolled", v_l - past - recent, relation="==", why="v_n, split at step j", **rule)
    d.assume("recent_bounded", r**2 * Om**2 - recent, why="counts of j..n times r^2", **rule)
    faded = P_l**2 - geometric.FADE * sp.Symbol("P") ** 2
    d.assume("faded", faded, why="eps + v_n >= beta2^k (eps + v_j)", **rule)
    d.assume("average", m_l - average, relation="==", assumption="momentum", why="m_n is the weighted sum")
    geometric.weights_bounded(d, weights)
    d.assume(
        "after_zero",
        (1 - form.after) * (G_l - G),
        relation="==",
        assumption="momentum",
        why="G_n = G_j at n = j",
    )
    d.assume(
        "path",
        form.after * (L**2 * alpha**2 * geometric.LAG * way - move),
        assumption="smooth",
        by=["cauchy_schwarz"],
        why="|grad F(x_{n-1}) - grad F(x_{j-1})|^2 <= L^2 (n - j) sum of squared steps between",
    )


def ordered(count: Any, root: Any, at_least_one: str) -> Any:
    """Establishes Q <= sqrt(count) R from ``total_bounded`` and count >= 1; root is sqrt(count)."""
    eps, r, R, Q, root_eps = sp.symbols("eps r R Q root_eps")

    def order(d: Derivation, Z: Any, root_Q: str) -> None:
        over = 1 / (Z + Q)
        d.combine(
            "root_order",
            gap=Z - Q,
            uses={
                d.definition(root): R**2 * over,
                d.definition(R): count * (R + r + root_eps) * over,
                d.definition(root_eps): count * over,
                root_Q: -over,
                "total_bounded": over,
                at_least_one: eps * over,
            },
            slack=2 * count * r * root_eps * over,
            why="sqrt(eps + vt) <= sqrt(S_n) R",
        )

    return order


def pairs(
    d: Derivation, y: Any, kappa: Any, tau: Any, *, Z: Any, total_Z: Any, form: lags.Form, order: Any
) -> dict[str, Any]:
    """Lagged lemma, sums over pairs and descent, for either algorithm; returns the constants of the sums."""
    r, om, G, mean_gP, mean_g2P2 = sp.symbols("r om G mean_gP mean_g2P2")
    lags.lagged_lemma(d, y, kappa, Z, rho=r * sp.Symbol("Om"), order=order)
    d.combine(
        "one_step_wide",
        gap=G * mean_gP - kappa * G**2 / Z + r * om * mean_g2P2 / (4 * y),
        uses={"one_step": 1, "count_root": r * mean_g2P2 / (4 * y)},
        why="S_{k+1} <= k + 1",
    )
    lags.pair_sums(d, y, kappa, tau, Z, form=form, total_Z=total_Z)
    across = d.gap("C_3") + sp.Symbol("lag_3")
    descent(d, form=form)
    return lags.lag_sums(d, form=form) | {"C_3": across}


def conclude(d: Derivation, y: Any, kappa: Any, tau: Any, *, Z: Any, C: dict[str, Any]) -> None:
    """Everything together, solved for the weighted sum of squared gradients."""
    alpha, L, R, r = sp.symbols("alpha L R r")
    second = L * alpha / 2 + L**2 * alpha**2 * C["C_3"] / (4 * tau * R)
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
            "tower_noise": -r / (4 * y),
            "weights_total": -kappa / Z,
            "lagged_C_A": r / (4 * y),
            "drift_total": 1,
            "lagged_C_A2": tau * R,
            "way_total": -(L**2) * alpha**2 / (4 * tau * R),
            "across_total": L**2 * alpha**2 / (4 * tau * R),
            "same_norm": second,
            "jensen_total": second,
            "second_total": -second,
            "lagged_C_2": second,
            "gain_total": r * C["C_A"] / (4 * y) + tau * R * C["C_A2"] + second * C["C_2"],
        },
        why="descent, lagged lemma, drift and log-sum lemma together",
    )
    d.conclude("assembled", sp.Symbol("weighted_sum"), why="multiply by Z/kappa")


def adam(*, free: bool = False) -> Derivation:
    """T4; ``free`` keeps the weights of Young's inequality as symbols."""
    beta, c, r, R, S_next, eps, root_eps = sp.symbols("beta c r R S_next eps root_eps")
    d, y, kappa, tau = start("Adam in unnormalised sums, with momentum", free, beta=beta, c=c)
    plain.count_bounded(d)
    s = d.define("s", "root", S_next, sign="positive", latex=r"\sqrt{S_j}")
    S_l = d.symbol("S_l", sign="positive", depends=lags.LATE, latex="S_n", meaning="count at n")
    s_l = d.define("s_l", "root", S_l, sign="positive", latex=r"\sqrt{S_n}")
    root_top = d.define("root_S", "root", 1 / c, sign="positive", latex=r"(1-\beta_2)^{-1/2}")
    before = beta * sp.Symbol("S_prev")
    d.combine("count_least", gap=S_next - 1, uses={"count": 1}, slack=before, why="S_n >= 1")
    twin = {S_l: S_next}
    relabel_fact(d, "top_l", "count_bounded", twin, why="in every step")
    relabel_fact(d, "least_l", "count_least", twin, why="in every step")
    over = 1 / (root_top + s_l)
    d.combine(
        "weight_l",
        gap=root_top - s_l,
        uses={"top_l": over, d.definition(root_top): over, d.definition(s_l): -over},
        why="sqrt(S_n) <= (1 - beta2)^(-1/2)",
    )
    limits = {"root_top": root_top, "top": 1 / c, "weight": s_l, "c": S_l}
    form = lags.Form(
        W=geometric.WEIGHT,
        s=s,
        s_l=s_l,
        c=S_next,
        c_l=S_l,
        kept=sp.Integer(1),
        gain=sp.Integer(1),
        error=r,
        after=geometric.AFTER,
        one_step="one_step_wide",
        twins=(("S_l", "S_next"), ("s_l", "s")),
        largest=functools.partial(geometric.largest, **limits),
    )
    later_steps(d, form)
    past, Om = sp.symbols("past Om")
    d.assume(
        "total_bounded", S_l * r**2 - past - r**2 * Om**2, assumption="unrolled", why="counts add up to S_n"
    )
    order = ordered(S_l, s_l, "least_l")
    C = pairs(d, y, kappa, tau, Z=s_l * R, total_Z=R, form=form, order=order)
    plain.log_total(
        d,
        beta=beta,
        top=eps + R**2 / c,
        rest=(2 * r * root_eps + root_eps**2) / c,
        facts={"range_next": 1, "count_bounded": r**2, d.definition(R): (R + r + root_eps) / c},
    )
    conclude(d, y, kappa, tau, Z=R, C=C)
    return d


def adagrad(*, free: bool = False) -> Derivation:
    """T3; ``free`` keeps the weights of Young's inequality as symbols."""
    r, R, S_next, eps, root_eps = sp.symbols("r R S_next eps root_eps")
    one = sp.Integer(1)
    d, y, kappa, tau = start("Adagrad, with momentum", free, beta=one, c=None)
    N = d.symbol("N", sign="positive", latex="N", meaning="number of steps")
    root_N = d.define("root_N", "root", N, sign="positive", latex=r"\sqrt N")
    d.assume("count_bounded", N - S_next, assumption="fixed_schedule", why="at most N steps are counted")
    d.assume("at_least_one", N - 1, assumption="fixed_schedule", why="at least one step")
    form = lags.Form(
        W=geometric.WEIGHT,
        s=one,
        s_l=one,
        c=one,
        c_l=one,
        kept=one,
        gain=one,
        error=r,
        after=geometric.AFTER,
        one_step="one_step_wide",
        twins=(),
        largest=functools.partial(geometric.largest, root_top=one, top=one, weight=one, c=one),
    )
    later_steps(d, form)
    past, Om = sp.symbols("past Om")
    d.assume("total_bounded", N * r**2 - past - r**2 * Om**2, assumption="unrolled", why="counts add up to N")
    Z = root_N * R
    order = ordered(N, root_N, "at_least_one")
    C = pairs(d, y, kappa, tau, Z=Z, total_Z=Z, form=form, order=order)
    plain.log_total(
        d,
        beta=one,
        top=eps + N * R**2,
        rest=N * (2 * r * root_eps + root_eps**2),
        facts={"range_next": 1, "count_bounded": r**2, d.definition(R): N * (R + r + root_eps)},
    )
    conclude(d, y, kappa, tau, Z=Z, C=C)
    return d


@functools.cache
def compiled() -> tuple[Any, Any]:
    """The produced right-hand sides of T3 and T4 on the weighted sum, as functions of named numbers."""
    found = []
    for derivation in (adagrad(free=True), adam(free=True)):
        assert derivation.claim is not None
        found.append(values.by_name(derivation.closed_form(derivation.claim[2])))
    return found[0], found[1]


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """The bound on E|grad F(x_tau)|^2, N the length of the schedule, beside d r^2."""
    steps = len(sums.needs_schedule(SLUG, batch_size))
    n = {p.name: np.asarray(constants[p.name], dtype=float) for p in BOUND.parameters}
    r, beta1, beta2 = n["R"] - np.sqrt(n["eps"]), n["beta1"], n.pop("beta2")
    if not np.all(r > 0):
        raise sums.outside(
            f"R={n['R']} with eps={n['eps']}",
            "bounded_gradient",
            SLUG,
            "|g| <= R - sqrt(eps), so R exceeds sqrt(eps)",
        )
    if not np.all(beta1 < beta2):
        raise sums.outside(f"beta1={beta1} with beta2={beta2}", "momentum", SLUG, "beta1 is below beta2")
    by_adagrad, by_adam = compiled()
    given = n | {"r": r, "N": float(steps), "F_start": n["Delta"], "F_star": 0.0, "kappa": 1 - n["young"]}
    given["c1"] = 1 - beta1
    inside = np.where(beta2 < 1, beta2, (1 + beta1) / 2)  # Adam's formula is for beta2 < 1 only
    first = by_adagrad(**given, cq=1 - beta1)
    second = by_adam(**given, beta=inside, c=1 - inside, cq=1 - beta1 / inside)
    total = np.where(beta2 < 1, second, first)
    weight = steps - beta1 * (1 - beta1**steps) / (1 - beta1)
    return Evaluation(
        value=(total / weight)[()],
        trivial_value=(n["d"] * r**2 + 0 * total)[()],
        parts={"steps": float(steps), "weight": (weight + 0 * total)[()], "sum": total[()]},
    )


BOUND = Bound(
    slug=SLUG,
    title="Adam and Adagrad with momentum, unnormalised sums",
    algorithm="m_n = beta1 m_{n-1} + g_n, v_n = beta2 v_{n-1} + g_n^2, "
    "x_n = x_{n-1} - alpha_n m_n/sqrt(eps + v_n), eps inside the root",
    quantity="",
    quantity_latex=r"\mathbb E\|\nabla F(x_\tau)\|^2",
    statement_latex=r"\begin{gathered}\beta_2<1:\ \frac{2R\Delta}{\alpha W}+\frac dW\Big("
    r"\frac{Rr(1-\beta_1)+2R^2\sqrt{1-\beta_1}\,q\sqrt{2-q}}{(1-q)^{3/2}\sqrt{1-\beta_2}}"
    r"+\frac{\alpha RL(1-\beta_1)}{(1-q)(1-\beta_2)}"
    r"+\frac{\alpha^2L^2\beta_1\sqrt{1+\beta_1}}{2(1-q)(1-\beta_2)^{3/2}}\Big)"
    r"\Big(\ln\big(1+\tfrac{R^2}{(1-\beta_2)\varepsilon}\big)-N\ln\beta_2\Big)\\"
    r"\beta_2=1:\ \frac{2R\sqrt N\Delta}{\alpha W}+\frac{d\sqrt N}W\Big("
    r"\frac{Rr}{\sqrt{1-\beta_1}}+\frac{2R^2\beta_1\sqrt{2-\beta_1}}{1-\beta_1}+\alpha RL"
    r"+\frac{\alpha^2L^2\beta_1\sqrt{1+\beta_1}}{2(1-\beta_1)}\Big)\ln\big(1+\tfrac{NR^2}\varepsilon\big)\\"
    r"W=\sum_{j<N}(1-\beta_1^{N-j}),\quad q=\beta_1/\beta_2\end{gathered}",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=(
        *(p for p in plain.BOUND.parameters if p.name != "young"),
        Parameter(
            name="beta1",
            meaning="momentum",
            unit="1",
            rule="must lie in [0, 1)",
            accepts=lambda x: bool(np.all((np.asarray(x, float) >= 0) & (np.asarray(x, float) < 1))),
        ),
        Parameter(
            name="young",
            meaning="weight of Young's inequality; 1/2 in the statement",
            unit="1",
            rule="must lie in (0, 1)",
            accepts=lambda x: bool(np.all((np.asarray(x, float) > 0) & (np.asarray(x, float) < 1))),
            default=0.5,
            free=(0.0, 1.0),
        ),
        Parameter(
            name="drift",
            meaning="weight of Young's inequality for the drift, times sqrt(1 - beta1); 1 in the statement",
            unit="1",
            default=1.0,
            free=(0.0, math.inf),
        ),
    ),
    derive=derive,
    value=value,
    references=(SIMPLE_ADAM,),
    notes=(
        "Vacuous at practical numbers of steps.",
        "Only the number of steps of the schedule enters; with a token half-life, see "
        "adam_token_half_life_momentum.",
        "beta1 must be below beta2; the constants grow without limit as they meet.",
    ),
)
