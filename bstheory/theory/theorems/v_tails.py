"""Tails of the second moment where noise dominates (mu = 0), for any batch schedule.

Setting: g_n ~ N(0, s_n) independent, v = sum a_n z_n^2 with z_n ~ N(0, 1) and a_n = w_n s_n, for instance
w_n = (1 - beta_n) 2^(-(D_N - D_n)/t) and s_n = sigma^2/B_n. Write A2 >= sum a_n^2 and A_max >= a_n.

**Upper** bounds of two probabilities, for every x > 0 (parts ``upper_tail`` and ``lower_tail``):

    P(v > E v + 2 sqrt(A2 x) + 2 A_max x) <= e^(-x),     P(v < E v - 2 sqrt(A2 x)) <= e^(-x).

Stationary at constant B (part ``stationary``): a_j = E v (1 - beta) beta^j, so sqrt(A2) is
E v sqrt(tanh(lambda B/2)) and A_max = E v (1 - beta).

Proof: Markov's inequality for e^(r (v - E v)); two logarithmic bounds by power series; the best
rate r in closed form.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from bstheory.references import LAURENT_MASSART
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed
from bstheory.theory.derivation_scalar import exp_series
from bstheory.theory.half_life_lemmas import (
    HALF_LIFE,
    HALF_LIFE_PARAMETER,
    declare_rule,
    need_schedule,
    produced,
    weights,
)
from bstheory.theory.pruning import pruned

SLUG = "v_tails"
HALF = sp.Rational(1, 2)
GAUSSIAN = Assumption(name="gaussian", statement="g_n ~ N(0, sigma^2/B_n)", constants=("sigma",))
INDEPENDENT = Assumption(name="independent", statement="the g_n are independent")
NORMS = Assumption(name="norms", statement="A2 >= sum a_n^2, A_max >= a_n, a_n > 0")


def derive() -> dict[str, Derivation]:
    """Both tails for any weights, and the two norms in the stationary case."""
    return {
        "upper_tail": upper_tail(),
        "lower_tail": lower_tail(),
        "stationary": stationary(),
        "stationary_largest": stationary_largest(),
    }


def declare(d: Derivation) -> None:
    """Weights, their norms, x = r2^2 and A2 = A^2."""
    d.symbol("A", sign="positive", latex=r"\sqrt{A_2}", meaning="root of the sum of squared weights")
    d.symbol("A_max", sign="positive", latex=r"A_{\max}", meaning="largest weight")
    d.symbol("root_x", sign="positive", latex=r"\sqrt x", meaning="root of the exponent")
    d.symbol("log_probability", latex=r"\ln P", meaning="logarithm of the probability of the tail")
    a = fixed(d, "a", sign="positive", latex="a_n", meaning="weight of one squared normal")
    squares = d.define("squares", "steps", a**2, sign="nonnegative", latex=r"\sum a_n^2")
    d.assume("norm", sp.Symbol("A") ** 2 - squares, assumption=NORMS.name, why="A2 is at least the sum")


def upper_tail() -> Derivation:
    """ln P <= -r z + sum (-ln(1 - 2 r a)/2 - r a), with z = 2 A root_x + 2 A_max x."""
    d = Derivation(SLUG, "the upper tail")
    declare(d)
    A, A_max, root, a, logP, squares = sp.symbols("A A_max root_x a log_probability squares")
    room = fixed(d, "room", sign="nonnegative", latex=r"A_{\max}-a_n")
    d.assume("largest", room - A_max + a, relation="==", assumption=NORMS.name, why="A_max - a_n >= 0")
    scale = A + 2 * A_max * root
    rate = d.define(
        "rate", "equals", root / scale, sign="positive", latex="r", meaning="rate of the exponential"
    )
    y_value = scale / (A + 2 * root * room)
    y = d.define("y", "equals", y_value, sign="positive", latex=r"\frac1{1-2ra_n}")
    w = d.define("w", "log", y, latex=r"\ln\frac1{1-2ra_n}")
    d.combine(
        "at_least_one",
        gap=y - 1,
        uses={d.definition(y): 1, "largest": -2 * root / (A + 2 * root * room)},
        slack=2 * root * a / (A + 2 * root * room),
        why="y = 1/(1 - 2 r a) >= 1",
    )
    exp_series(
        d,
        "sinh_series",
        w,
        "at_least_one",
        up=[HALF],
        down=[-HALF],
        free=[0, -1],
        why="sinh w >= w for w >= 0",
    )
    d.combine(
        "inverse",
        gap=y * (1 - 2 * rate * a) - 1,
        relation="==",
        uses={
            d.definition(y): 1 - 2 * rate * a,
            d.definition(rate): -2 * a * y_value,
            "largest": -2 * root / (A + 2 * root * room),
        },
        why="what y is",
    )
    d.combine(
        "one_term",
        gap=rate**2 * a**2 * y + rate * a - w / 2,
        uses={"sinh_series": HALF},
        modulo=["inverse"],
        why="-ln(1 - 2u)/2 <= u + u^2/(1 - 2u) at u = r a",
    )
    d.combine(
        "largest_inverse",
        gap=scale / A - y,
        uses={d.definition(y): -1},
        slack=scale * 2 * root * room / (A * (A + 2 * root * room)),
        why="1 - 2 r a >= 1 - 2 r A_max",
    )
    d.combine(
        "one_term_bound",
        gap=rate**2 * scale / A * a**2 + rate * a - w / 2,
        uses={"one_term": 1, "largest_inverse": rate**2 * a**2},
        why="the largest weight is the worst",
    )
    terms = d.define("cumulant", "steps", w / 2 - rate * a, latex=r"\ln E e^{r(v-Ev)}")
    d.apply(
        "cumulant_bound",
        "steps",
        "one_term_bound",
        {squares: rate**2 * scale / A, terms: -1},
        why="sum over steps",
    )
    z = 2 * A * root + 2 * A_max * root**2
    d.assume(
        "markov",
        -rate * z + terms - logP,
        assumption=INDEPENDENT.name,
        by=["markov", "gaussian_moments"],
        why="Markov's inequality for e^(r (v - E v)); independent squared normals",
    )
    d.combine(
        "tail",
        gap=-(root**2) - logP,
        uses={
            "markov": 1,
            "cumulant_bound": 1,
            "norm": rate**2 * scale / A,
            d.definition(rate): scale * (root - A * rate),
        },
        why="-r z + r^2 A (A + 2 A_max root_x) = -x at r = root_x/(A + 2 A_max root_x)",
    )
    d.claim = ("tail", logP, -(root**2))
    return pruned(d)


def lower_tail() -> Derivation:
    """ln P <= -r z + sum (-ln(1 + 2 r a)/2 + r a) with r = root_x/A and z = 2 A root_x."""
    d = Derivation(SLUG, "the lower tail")
    declare(d)
    A, root, a, logP, squares = sp.symbols("A root_x a log_probability squares")
    rate = root / A
    w = d.define("w", "log", 1 + 2 * rate * a, latex=r"\ln(1+2ra_n)")
    d.combine("at_least_one", gap=(1 + 2 * rate * a) - 1, slack=2 * rate * a, why="the weights are positive")
    exp_series(
        d,
        "tanh_series",
        w,
        "at_least_one",
        up=[-2, 1],
        free=[2, 1],
        why="w (y + 1) >= 2 (y - 1) for w = ln y: the coefficients are (m - 2)/m!",
    )
    u = rate * a
    d.combine(
        "one_term",
        gap=u**2 - u + w / 2,
        uses={"tanh_series": 1 / (4 * (1 + u))},
        slack=u**3 / (1 + u),
        why="ln(1 + 2u) >= 2u/(1 + u) >= 2u - 2u^2",
    )
    terms = d.define("cumulant", "steps", u - w / 2, latex=r"\ln E e^{-r(v-Ev)}")
    d.apply("cumulant_bound", "steps", "one_term", {squares: rate**2, terms: -1}, why="sum over steps")
    d.assume(
        "markov",
        -rate * 2 * A * root + terms - logP,
        assumption=INDEPENDENT.name,
        by=["markov", "gaussian_moments"],
        why="Markov's inequality for e^(-r (v - E v)); independent squared normals",
    )
    d.combine(
        "tail",
        gap=-(root**2) - logP,
        uses={"markov": 1, "cumulant_bound": 1, "norm": rate**2},
        why="-2x + x = -x",
    )
    d.claim = ("tail", logP, -(root**2))
    return pruned(d)


def stationary() -> Derivation:
    """sum_j ((1 - beta) beta^j)^2 = (1 - beta)^2/(1 - beta^2) = (1 - beta)/(1 + beta)."""
    d = Derivation(SLUG, "the root of the sum of squares in the stationary case")
    declare_rule(d, constant=True)
    beta, c = sp.symbols("beta c")
    squares = d.symbol("squares", sign="nonnegative", latex=r"\sum_j((1-\beta)\beta^j)^2")
    d.assume(
        "recursion",
        squares - c**2 - beta**2 * squares,
        relation="==",
        assumption="stationary",
        why="the sum from j = 1 on is beta^2 times the sum from j = 0 on",
    )
    d.combine(
        "squares",
        gap=c / (1 + beta) - squares,
        relation="==",
        uses={"recursion": -1 / (c * (1 + beta)), "half_life": -squares / c},
        why="tanh(lambda B/2) = (1 - beta)/(1 + beta)",
    )
    d.claim = ("squares", squares, c / (1 + beta))
    return pruned(d)


def stationary_largest() -> Derivation:
    """(1 - beta) beta^j <= 1 - beta."""
    d = Derivation(SLUG, "the largest weight in the stationary case")
    declare_rule(d, constant=True)
    beta, c = sp.symbols("beta c")
    power, power_next = (
        fixed(d, "power", sign="positive", latex=r"\beta^j"),
        fixed(d, "power_next", sign="positive", latex=r"\beta^{j+1}"),
    )
    d.chain("power", previous=power, next=power_next, start=1)
    d.assume("power", power_next - beta * power, relation="==", assumption="weights", why="one step older")
    d.hypothesis("before", c - c * power, why="at most the newest weight")
    d.combine(
        "after",
        gap=c - c * power_next,
        uses={"before": beta, "power": -c, "half_life": -c},
        slack=c**2,
        why="older weights are smaller",
    )
    d.combine("start", gap=c - c * 1, why="the newest weight")
    d.induction("largest", "before", "after", "start", ["power"], why="induction on the age")
    d.claim = ("largest", c * power, c)
    return pruned(d)


log_probability = produced(derive, ("root_x",), "upper_tail")
stationary_squares = produced(derive, ("B", "c", "t"), "stationary")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """e^(-x), beside the trivial 1; the thresholds, as fractions of E v, are in ``parts``.

    With a schedule the weights are its own; parts ``stationary_above`` and ``stationary_below`` are for its
    last batch size held for ever.
    """
    batches = need_schedule(SLUG, batch_size)
    t, x = np.asarray(constants["t"], dtype=float), np.asarray(constants["x"], dtype=float)
    w, _ = weights(batches, t)
    a = w / batches
    a = a / a.sum(axis=-1, keepdims=True)
    A2, A_max = (a**2).sum(axis=-1), a.max(axis=-1)
    c = -np.expm1(-np.log(2.0) * batches[-1] / t)
    tau = stationary_squares(batches[-1], c, t)
    found = np.exp(log_probability(np.sqrt(x))) + 0 * A2
    return Evaluation(
        value=found[()],
        trivial_value=np.ones_like(found)[()],
        parts={
            "above": (1 + 2 * np.sqrt(A2 * x) + 2 * A_max * x)[()],
            "below": (1 - 2 * np.sqrt(A2 * x))[()],
            "stationary_above": np.asarray(1 + 2 * np.sqrt(tau * x) + 2 * c * x)[()],
            "stationary_below": np.asarray(1 - 2 * np.sqrt(tau * x))[()],
        },
    )


BOUND = Bound(
    slug=SLUG,
    title="Tails of the second moment where noise dominates",
    algorithm="v_n = beta_n v_{n-1} + (1 - beta_n) g_n^2, beta_n = 2^(-B_n/t), g_n centred Gaussian",
    quantity="",
    quantity_latex=r"P\big(v>\bar v[1+2\sqrt{x\tanh(\lambda B/2)}+2(1-\beta)x]\big)",
    statement_latex=r"P\big(v>\mathbb Ev+2\sqrt{A_2x}+2A_{\max}x\big)\le e^{-x},\quad"
    r"P\big(v<\mathbb Ev-2\sqrt{A_2x}\big)\le e^{-x}",
    kind="upper",
    assumptions=(HALF_LIFE, GAUSSIAN, INDEPENDENT, NORMS),
    parameters=(
        HALF_LIFE_PARAMETER,
        Parameter(name="x", meaning="exponent: the probability is e^-x", unit="1"),
    ),
    derive=derive,
    value=value,
    references=(LAURENT_MASSART,),
    notes=("Proved here from Markov's inequality, not quoted; it needs mu = 0 and Gaussian gradients.",),
)
