"""Closed forms of the lag constants of ``adam_token_half_life_momentum`` for constant beta1.

There W_{n,j} = (1 - beta1) beta1^k, k = n - j, and om_{n,j}^2 adds up the weights of the gradients j..n in
v_n. For a constant batch, beta = 2^(-B/h), c = 1 - beta, q = beta1/beta < 1, om^2 = 1 - beta^(k+1), and for
every step j and every number of steps N,

    C_A  (part ``errors``)   sum_{n>=j} W 2^((D_n - D_j)/h) sqrt(c) om/c <= (1 - beta1) (1 - q)^(-3/2),
    C_A2 (part ``later``)    the same over n > j  <= (1 - beta1) q sqrt(2 - q) (1 - q)^(-3/2),
    C_2  (part ``squares``)  sum_{n>=j} W 2^((D_n - D_j)/h) c/c <= (1 - beta1)/(1 - q),

and for **any** schedule, as the last weight in om_{n,j}^2 is c_n,

    C_3  (part ``across``)   sum_{n>l} sum_{j<=l} W (n - j) sqrt(c_n)/om <= beta1 (1 + beta1)/(1 - beta1)^2.

**Upper** bounds; the sum C_2 reaches its own in the limit of many steps. ``value`` is the bound on C_A.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import SIMPLE_ADAM, SMALL_BATCH
from bstheory.theory import adam_sums as sums
from bstheory.theory import momentum_geometric as geometric
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_lags import at_lag, lag_induction, lag_sum_across
from bstheory.theory.half_life_lemmas import produced
from bstheory.theory.momentum_geometric import BETA1, C1, LAG, PQ

SLUG = "momentum_lag_constants"
BETA, C = sp.symbols("beta c")
ASSUMPTIONS = (
    Assumption(
        name="momentum",
        statement="weights (1 - beta1) beta1^(n-j), 0 <= beta1 < 1; for C_A, C_A2, C_2 also beta1 < beta",
    ),
    Assumption(name="constant_batch", statement="c = 1 - beta in every step; for C_A, C_A2 and C_2 alone"),
    Assumption(
        name="unrolled",
        statement="om_{n,j}^2 adds up the weights of the gradients j..n in v_n, the last of which is c_n",
    ),
)


def derive() -> dict[str, Derivation]:
    """One part for each constant."""
    return {"errors": errors(), "later": errors(later=True), "squares": squares(), "across": across()}


def start(title: str) -> Derivation:
    """Constants of a constant batch and the functions of the lag."""
    d = Derivation(SLUG, title)
    d.symbol("beta", sign="positive", latex=r"\beta", meaning="decay of the second moment in one step")
    d.symbol("c", sign="positive", latex=r"1-\beta", meaning="1 - beta")
    d.assume("complement", C - 1 + BETA, relation="==", assumption="constant_batch", why="c = 1 - beta")
    geometric.declare(d, beta=BETA)
    return d


def errors(*, later: bool = False) -> Derivation:
    """C_A, or (``later``) C_A2."""
    d = start("The sum of errors over later steps" if later else "The sum of errors")
    om2, rk = sp.symbols("om2 om")
    d.define("om2", "recursion", [C, BETA * om2 + C], sign="positive", latex=r"\omega_k^2")
    omega = d.define("omega", "root", om2, sign="positive", latex=r"\omega_k")
    s = d.define("s", "root", C, sign="positive", latex=r"\sqrt{1-\beta}")
    gap = C * (LAG + 1) - om2
    d.combine(
        "weights_step",
        gap=at_lag(d, gap, 1) - BETA * gap,
        uses={"complement": -C * (LAG + 1)},
        slack=C**2 * (LAG + 1),
        why="each further weight is at most 1 - beta",
    )
    lag_induction(d, "weights", gap, "weights_step", keeps=BETA, why="k + 1 weights")
    over = 1 / (rk + omega / s)
    d.combine(
        "below_root",
        gap=rk - omega / s,
        uses={
            "weights": over / C,
            d.definition(rk): over,
            d.definition(omega): -over / C,
            d.definition(s): omega**2 * over / (C * s**2),
        },
        why="om_k <= sqrt((k + 1)(1 - beta))",
    )
    flag = geometric.AFTER if later else sp.Integer(1)
    each = C1 * PQ * flag * omega / s
    name = "C_A2" if later else "C_A"
    total = d.define(
        "total", "futures", each, sign="nonnegative", latex=r"\sum_{n\ge j}(1-\beta_1)q^k\omega_k/\sqrt c"
    )
    one = sp.Integer(1)
    result = geometric.errors(
        d, name, total, after=later, root_top=one, weight=one, term=each, uses={"below_root": C1 * PQ * flag}
    )
    d.conclude(name, total, why="as it stands")
    assert d.claim is not None and d.claim[2] == sp.expand(result)
    return d


def squares() -> Derivation:
    """C_2."""
    d = start("The sum of squares")
    total = d.define("total", "futures", C1 * PQ, sign="nonnegative", latex=r"\sum_{n\ge j}(1-\beta_1)q^k")
    one = sp.Integer(1)
    geometric.second(d, total, top=one, c=one)
    d.conclude("C_2", total, why="as it stands")
    return d


def across() -> Derivation:
    """C_3, for any schedule."""
    d = Derivation(SLUG, "The sum across a step, for any schedule")
    d.symbol("beta1", sign="nonnegative", latex=r"\beta_1", meaning="momentum")
    d.symbol("c1", sign="positive", latex=r"1-\beta_1", meaning="1 - beta1")
    d.assume("complement_1", C1 - 1 + BETA1, relation="==", assumption="momentum", why="c1 = 1 - beta1")
    power = sp.Symbol("power")
    d.define("lag", "recursion", [sp.Integer(0), LAG + 1], sign="nonnegative", latex="k")
    d.define("power", "recursion", [sp.Integer(1), BETA1 * power], sign="nonnegative", latex=r"\beta_1^k")
    om = d.symbol(
        "om", sign="positive", depends=("step", "later"), latex=r"\omega_{n,j}", meaning="root of a weight"
    )
    c_l = d.symbol("c_l", sign="positive", depends=("later",), latex="c_n", meaning="1 - beta_n")
    s_l = d.define("s_l", "root", c_l, sign="positive", latex=r"\sqrt{c_n}")
    d.assume("last_weight", om**2 - c_l, assumption="unrolled", why="the weight of g_n is one of them")
    over = 1 / (om * (om + s_l))
    d.combine(
        "ratio", gap=1 - s_l / om, uses={"last_weight": over, d.definition(s_l): -over}, why="sqrt(c_n) <= om"
    )
    latex = r"\sum_{j\le l<n}W_{n,j}k\sqrt{c_n}/\omega"
    total = d.define(
        "total",
        "across",
        C1 * power * LAG * s_l / om,
        sign="nonnegative",
        latex=latex,
    )
    most = C1 * power * LAG
    slope = C1 * BETA1 * power * (LAG / C1 + 1 / C1**2)
    potential = C1 * BETA1 * power * (LAG / C1**2 + (1 + BETA1) / C1**3)
    d.combine(
        "most",
        gap=most - C1 * power * LAG * s_l / om,
        uses={"ratio": C1 * power * LAG},
        why="sqrt(c_n)/om is at most 1",
    )
    for name, gap in (
        ("slope", slope - at_lag(d, slope, 1) - at_lag(d, most, 1)),
        ("potential", potential - at_lag(d, potential, 1) - slope),
    ):
        d.combine(name, gap=gap, relation="==", modulo=["complement_1"], why="geometric sums telescope")
    lag_sum_across(
        d,
        "sum",
        total,
        most=most,
        slope=slope,
        potential=potential,
        most_fact="most",
        slope_fact="slope",
        potential_fact="potential",
        why="sum over the pairs around a step",
    )
    d.conclude("sum", total, why="as it stands")
    return d


GEOMETRIC = ("c1", "cq")
bound_of_errors = produced(derive, GEOMETRIC, "errors")
bound_of_later = produced(derive, (*GEOMETRIC, "beta1", "beta"), "later")
bound_of_squares = produced(derive, GEOMETRIC, "squares")
bound_across = produced(derive, ("c1", "beta1"), "across")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """The bound on C_A; parts hold those on C_A2, C_2 and C_3. A schedule may have one batch size only."""
    beta1, h, batch = (np.asarray(constants[name], dtype=float) for name in ("beta1", "h", "B"))
    if batch_size is not None and not np.all(batch_size == batch):
        raise input_error(
            got=f"a schedule with batches from {batch_size.min()} to {batch_size.max()} and B={batch}",
            rule="hypothesis constant_batch: these closed forms are for one batch size",
            do="drop the schedule, or evaluate adam_token_half_life_momentum, which sums along it",
        )
    beta = np.exp2(-batch / h)
    if np.any(beta1 >= beta):
        raise sums.outside(f"beta1={beta1}, B={batch}, h={h}", "momentum", SLUG, "beta1 lies below 2^(-B/h)")
    c1, cq = 1 - beta1, 1 - beta1 / beta
    found = np.asarray(bound_of_errors(c1, cq))
    return Evaluation(
        value=found[()],
        trivial_value=None,
        parts={
            "C_A2": np.asarray(bound_of_later(c1, cq, beta1, beta))[()],
            "C_2": np.asarray(bound_of_squares(c1, cq))[()],
            "C_3": np.asarray(bound_across(c1, beta1) + 0 * beta)[()],
        },
    )


BOUND = Bound(
    slug=SLUG,
    title="Lag constants of momentum with a token half-life, in closed form",
    algorithm="Adam with momentum and a token half-life, constant batch and constant beta1",
    quantity="",
    quantity_latex="C_A",
    statement_latex=r"q=\beta_1/\beta:\quad C_A\le\frac{1-\beta_1}{(1-q)^{3/2}},\quad "
    r"C_A'\le\frac{(1-\beta_1)\,q\sqrt{2-q}}{(1-q)^{3/2}},\quad C_2\le\frac{1-\beta_1}{1-q},\quad "
    r"C_3\le\frac{\beta_1(1+\beta_1)}{(1-\beta_1)^2}\text{ for any schedule}",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=(
        Parameter(
            name="beta1",
            meaning="momentum",
            unit="1",
            rule="must lie in [0, 1)",
            accepts=lambda x: bool(np.all((np.asarray(x, float) >= 0) & (np.asarray(x, float) < 1))),
        ),
        sums.positive("h", "half-life of the second moment", "tokens"),
        sums.positive("B", "tokens of every step", "tokens"),
    ),
    derive=derive,
    value=value,
    references=(SIMPLE_ADAM, SMALL_BATCH),
    notes=(
        "With a half-life for the momentum, or a batch that varies, the sums themselves are used.",
        "Bounded in the number of steps below the admissible batch, B < h log2(1/beta1).",
    ),
)
