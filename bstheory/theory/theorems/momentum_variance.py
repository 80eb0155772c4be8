"""Variance of momentum with a token half-life.

Setting: g_n independent with variance sigma^2/B_n; m_n = beta_n m_{n-1} + (1 - beta_n) g_n, m_0 = 0,
m_hat = m/(1 - 2^(-D/t)).

**Identity** (part ``variance``): Var m_N = sigma^2 S with S = sum w_n^2/B_n, so Var m_hat = sigma^2/ESS with
the effective sample size of ``token_ess``. Only the second moments of the noise enter; it may be any law.

Stationary, constant B (parts ``stationary``, ``below``, ``above``), x = lambda B/2:

    Var = (lambda sigma^2/2) tanh(x)/x,
    (lambda sigma^2/2)/(1 + (lambda B)^2/12) <= Var <= lambda sigma^2/2.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from bstheory.references import SMALL_BATCH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed
from bstheory.theory.half_life_lemmas import (
    HALF_LIFE,
    HALF_LIFE_PARAMETER,
    declare_rule,
    hyperbolic_bounds,
    need_schedule,
    produced,
    weights,
)
from bstheory.theory.pruning import pruned

SLUG = "momentum_variance"
AVERAGE = Assumption(name="momentum", statement="m_n = beta_n m_{n-1} + (1 - beta_n) g_n, m_0 = 0")
NOISE = Assumption(
    name="noise", statement="z_n = g_n - E g_n has mean zero and variance sigma^2/B_n", constants=("sigma",)
)
UNCORRELATED = Assumption(name="uncorrelated", statement="z_n is uncorrelated with z_1, ..., z_{n-1}")
SQUARES = Assumption(name="squared_weights", statement="S_n = beta_n^2 S_{n-1} + (1 - beta_n)^2/B_n, S_0 = 0")


def derive() -> dict[str, Derivation]:
    """The identity for any schedule; the stationary value and its bounds."""
    return {
        "variance": variance(),
        "stationary": stationary("stationary"),
        "below": stationary("below"),
        "above": stationary("above"),
    }


def variance() -> Derivation:
    """The noise part y_n = m_n - E m_n obeys y_n = beta y_{n-1} + (1 - beta) z_n; take second moments."""
    d = Derivation(SLUG, "variance of momentum under any schedule")
    declare_rule(d)
    beta, c, B = sp.symbols("beta c B")
    sigma = d.symbol("sigma", sign="nonnegative", latex=r"\sigma", meaning="standard deviation per token")
    y = d.symbol("y", depends=("step",), latex="y_{n-1}", meaning="noise part of the momentum before")
    y_next = d.symbol("y_next", depends=("step", "draw"), latex="y_n")
    z = d.symbol("z", depends=("step", "draw"), latex="z_n", meaning="noise of the gradient")
    d.chain("y", previous=y, next=y_next, start=0)
    V = d.define("V", "expected", y**2, sign="nonnegative", latex=r"\mathrm{Var}\,m_{n-1}")
    V_next = d.define("V_next", "expected", y_next**2, sign="nonnegative", latex=r"\mathrm{Var}\,m_n")
    V_start = d.define("V_start", "expected", 0)
    d.chain("V", previous=V, next=V_next, start=V_start)
    cross = d.define("cross", "expected", y * z, latex="E y_{n-1}z_n")
    power = d.define("power", "expected", z**2, sign="nonnegative", latex="E z_n^2")
    d.assume(
        "momentum",
        y_next - beta * y - c * z,
        relation="==",
        assumption=AVERAGE.name,
        why="the recursion less its mean",
    )
    d.assume("noise", power - sigma**2 / B, relation="==", assumption=NOISE.name, why="sigma^2/B_n")
    d.assume("uncorrelated", cross, relation="==", assumption=UNCORRELATED.name, why="no correlation")
    d.combine(
        "squared",
        gap=y_next**2 - beta**2 * y**2 - 2 * beta * c * y * z - c**2 * z**2,
        relation="==",
        uses={"momentum": y_next + beta * y + c * z},
        why="square the recursion",
    )
    d.apply(
        "moments",
        "expected",
        "squared",
        {V_next: 1, V: -(beta**2), cross: -2 * beta * c, power: -(c**2)},
        why="expectation",
    )
    S, S_next = fixed(d, "S", latex="S_{n-1}", meaning="sum of w^2/B"), fixed(d, "S_next", latex="S_n")
    d.chain("S", previous=S, next=S_next, start=0)
    d.assume(
        "squares",
        S_next - beta**2 * S - c**2 / B,
        relation="==",
        assumption=SQUARES.name,
        why="each step multiplies the weights by beta_n and adds one",
    )
    d.combine("nothing", gap=sp.Integer(0), relation="==", why="m_0 = 0")
    d.apply("start_value", "expected", "nothing", {V_start: 1}, why="no variance at the start")
    d.hypothesis("before", sigma**2 * S - V, relation="==", why="Var m = sigma^2 S")
    d.combine(
        "after",
        gap=sigma**2 * S_next - V_next,
        relation="==",
        uses={
            "before": beta**2,
            "squares": sigma**2,
            "moments": -1,
            "uncorrelated": -2 * beta * c,
            "noise": -(c**2),
        },
        why="one more step",
    )
    d.combine("start", gap=sigma**2 * 0 - V_start, relation="==", uses={"start_value": -1}, why="both are 0")
    d.induction("equal", "before", "after", "start", ["V", "S"], why="induction over steps")
    d.claim = ("equal", V, sigma**2 * S)
    return pruned(d)


def stationary(which: str) -> Derivation:
    """V = beta^2 V + (1 - beta)^2 sigma^2/B, and tanh x <= x <= tanh x (1 + x^2/3)."""
    d = Derivation(SLUG, f"stationary variance, {which}")
    declare_rule(d, constant=True)
    hyperbolic_bounds(d)
    B, beta, c, lam = sp.symbols("B beta c lam")
    sigma = d.symbol("sigma", sign="nonnegative", latex=r"\sigma", meaning="standard deviation per token")
    V = d.symbol("V", sign="nonnegative", latex="V", meaning="stationary variance")
    d.assume(
        "fixed_point",
        V - beta**2 * V - c**2 * sigma**2 / B,
        relation="==",
        assumption="stationary",
        why="the recursion changes nothing",
    )
    closed = sigma**2 / B * c / (1 + beta)
    d.combine(
        "value",
        gap=closed - V,
        relation="==",
        uses={"fixed_point": -1 / (c * (1 + beta)), "half_life": -V / c},
        why="1 - beta^2 = (1 - beta)(1 + beta)",
    )
    room = 1 + (lam * B) ** 2 / 12
    if which == "stationary":
        d.claim = ("value", V, closed)
    elif which == "above":
        d.combine(
            "above",
            gap=lam * sigma**2 / 2 - V,
            uses={"value": 1, "tanh_below": sigma**2 / (2 * B * (1 + beta))},
            why="tanh x <= x",
        )
        d.claim = ("above", V, lam * sigma**2 / 2)
    else:
        d.combine(
            "below",
            gap=V - lam * sigma**2 / (2 * room),
            uses={"value": -1, "tanh_above": sigma**2 / (2 * B * (1 + beta) * room)},
            why="x <= tanh x (1 + x^2/3)",
        )
        d.claim = ("below", lam * sigma**2 / (2 * room), V)
    return pruned(d)


variance_of = produced(derive, ("sigma", "S"), "variance")
closed_form = produced(derive, ("sigma", "B", "c", "t"), "stationary")
above = produced(derive, ("sigma", "t"), "above")
below = produced(derive, ("sigma", "B", "t"), "below", side="left")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Var m_hat at the end of the schedule; the trivial value is the noisiest single gradient's."""
    batches = need_schedule(SLUG, batch_size)
    sigma, t = (np.asarray(constants[name], dtype=float) for name in ("sigma", "t"))
    w, phi = weights(batches, t)
    found = variance_of(sigma, (w**2 / batches).sum(axis=-1)) / (1 - phi) ** 2
    parts = {"uncorrected": (found * (1 - phi) ** 2)[()]}
    if np.all(batches == batches[0]):
        c = -np.expm1(-np.log(2.0) * batches[0] / t)
        parts |= {
            "stationary": closed_form(sigma, batches[0], c, t),
            "stationary_upper": above(sigma, t),
            "stationary_lower": below(sigma, batches[0], t),
        }
    trivial = sigma**2 / batches.min() + 0 * t
    return Evaluation(value=np.asarray(found)[()], trivial_value=trivial[()], parts=parts)


BOUND = Bound(
    slug=SLUG,
    title="Variance of momentum with a token half-life",
    algorithm="m_n = beta_n m_{n-1} + (1 - beta_n) g_n, beta_n = 2^(-B_n/t), divided by 1 - 2^(-D/t)",
    quantity="",
    quantity_latex=r"\mathrm{Var}[\hat m]",
    statement_latex=r"\mathrm{Var}[\hat m]=\frac{\sigma^2}{\mathrm{ESS}};\ \text{stationary: }"
    r"\frac{\lambda\sigma^2}2\,\frac{\tanh x}x,\ x=\frac{\lambda B}2",
    kind="identity",
    assumptions=(HALF_LIFE, AVERAGE, NOISE, UNCORRELATED, SQUARES),
    parameters=(
        HALF_LIFE_PARAMETER,
        Parameter(name="sigma", meaning="gradient standard deviation, one token", unit="grad*sqrt(token)"),
    ),
    derive=derive,
    value=value,
    references=(SMALL_BATCH,),
    notes=("At a fixed half-life the variance is the same for every batch size up to (lambda B)^2/12.",),
)
