"""First-order bias of m/sqrt(v): the exact stationary covariance of momentum and second moment.

For independent gradients of one law, m_n = beta1 m_{n-1} + (1 - beta1) g_n and
v_n = beta2 v_{n-1} + (1 - beta2) g_n^2, both stationary: an **exact** identity,

    E (m - mu)(v - E g^2) = (1 - beta1)(1 - beta2)/(1 - beta1 beta2) Cov(g, g^2).

To first order in v - E g^2, E m/sqrt(v) = (E g^2)^(-1/2) (mu - E(m - mu)(v - E g^2)/(2 E g^2)): the drift
changes sign where mu = (1 - beta1)(1 - beta2)/(1 - beta1 beta2) Cov(g, g^2)/(2 E g^2), the step to
``skewness_law``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.references import REDDI
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import tower_expected
from bstheory.theory.half_life_lemmas import produced

SLUG = "skewness_bias"


def derive() -> Derivation:
    """One step of the covariance, and its fixed point."""
    d = Derivation(SLUG, "Stationary covariance of momentum and second moment")
    b1 = d.symbol("b1", sign="nonnegative", latex=r"\beta_1", meaning="beta1")
    b2 = d.symbol("b2", sign="nonnegative", latex=r"\beta_2", meaning="beta2")
    room = d.symbol("room", sign="positive", latex=r"1-\beta_1\beta_2", meaning="1 - beta1 beta2")
    mu = d.symbol("mu", latex=r"\mu", meaning="mean gradient")
    second = d.symbol("second", sign="nonnegative", latex="Eg^2", meaning="second moment of g")
    skew = d.symbol("skew", latex=r"\mathrm{Cov}(g,g^2)", meaning="covariance of g and its square")
    g = d.symbol("g", depends=("step", "draw"), latex="g_n", meaning="gradient")
    m = d.symbol("m", depends=("step",), latex="m_{n-1}", meaning="momentum before")
    v = d.symbol("v", depends=("step",), latex="v_{n-1}", meaning="second moment before")
    m_next = d.symbol("m_next", depends=("step", "draw"), latex="m_n", meaning="momentum after")
    v_next = d.symbol("v_next", depends=("step", "draw"), latex="v_n", meaning="second moment after")
    d.assume("room", room - 1 + b1 * b2, relation="==", assumption="averages", why="beta1 beta2 < 1")
    d.assume(
        "momentum", m_next - b1 * m - (1 - b1) * g, relation="==", assumption="averages", why="recursion of m"
    )
    d.assume(
        "square",
        v_next - b2 * v - (1 - b2) * g**2,
        relation="==",
        assumption="averages",
        why="recursion of v",
    )
    mean_g = d.define("mean_g", "mean", g)
    mean_g2 = d.define("mean_g2", "mean", g**2)
    mean_skew = d.define("mean_skew", "mean", (g - mu) * (g**2 - second))
    mean_step = d.define("mean_step", "mean", (m_next - mu) * (v_next - second))
    law = {"relation": "==", "assumption": "independent_gradients"}
    d.assume("mean", mean_g - mu, why="E g = mu", **law)
    d.assume("mean_square", mean_g2 - second, why="E g^2", **law)
    d.assume("skewness", mean_skew - skew, why="Cov(g, g^2)", **law)
    x, y = b1 * (m - mu), b2 * (v - second)
    p, q = (1 - b1) * (g - mu), (1 - b2) * (g**2 - second)
    d.combine(
        "expand",
        gap=(m_next - mu) * (v_next - second) - (x + p) * (y + q),
        uses={"momentum": v_next - second, "square": x + p},
        relation="==",
        why="both recursions, centred",
    )
    d.apply(
        "expand_mean",
        "mean",
        "expand",
        {
            mean_step: 1,
            mean_skew: -(1 - b1) * (1 - b2),
            mean_g: -(1 - b1) * y,
            mean_g2: -x * (1 - b2),
            "1": -x * y + (1 - b1) * mu * y + x * (1 - b2) * second,
        },
        why="conditional mean; m and v before the step are known",
    )
    d.combine(
        "step",
        gap=mean_step - b1 * b2 * (m - mu) * (v - second) - (1 - b1) * (1 - b2) * skew,
        uses={
            "expand_mean": 1,
            "mean": (1 - b1) * y,
            "mean_square": x * (1 - b2),
            "skewness": (1 - b1) * (1 - b2),
        },
        relation="==",
        why="new gradients are uncorrelated with the past",
    )
    before = d.define("before", "expected", (m - mu) * (v - second))
    after = d.define("after", "expected", (m_next - mu) * (v_next - second))
    inside = d.define("inside", "expected", mean_step)
    d.apply(
        "expected_step",
        "expected",
        "step",
        {inside: 1, before: -b1 * b2, "1": -(1 - b1) * (1 - b2) * skew},
        why="expectation",
    )
    tower_expected(d, "tower", inside, after, {}, why="tower property")
    d.assume("stationary", after - before, relation="==", assumption="stationary", why="stationary state")
    d.combine(
        "fixed_point",
        gap=(1 - b1) * (1 - b2) * skew / room - before,
        uses={
            "expected_step": -1 / room,
            "tower": 1 / room,
            "stationary": 1 / room,
            "room": -before / room,
        },
        relation="==",
        why="solve for the covariance",
    )
    d.conclude("fixed_point", before, why="the stationary covariance")
    return d


right_hand_side = produced(derive, ("b1", "b2", "room", "skew"))


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """The covariance; parts: the mean gradient at which the first-order drift vanishes."""
    if batch_size is not None:
        raise input_error(got="a schedule", rule=f"{SLUG} is stationary", do="leave schedule out")
    b1, b2, skew, second = (
        np.asarray(constants[n], dtype=float) for n in ("beta1", "beta2", "skew", "second")
    )
    found = np.asarray(right_hand_side(b1, b2, 1 - b1 * b2, skew))
    parts: dict[str, Any] = {"critical_mean": (found / (2 * second))[()]}
    return Evaluation(value=found[()], trivial_value=None, parts=parts)


def fraction(name: str) -> Parameter:
    """A decay in [0, 1)."""
    return Parameter(
        name=name,
        meaning=f"decay of the {'momentum' if name == 'beta1' else 'second moment'}",
        unit="1",
        rule="lies in [0, 1)",
        accepts=lambda x: bool(np.all((np.asarray(x, float) >= 0) & (np.asarray(x, float) < 1))),
    )


BOUND = Bound(
    slug=SLUG,
    title="Stationary covariance of momentum and second moment under independent gradients",
    algorithm="m and v as exponential averages of g and g^2, parameters frozen",
    quantity="",
    quantity_latex=r"\mathbb E(m-\mu)(v-\mathbb Eg^2)",
    statement_latex=r"\mathbb E(m-\mu)(v-\mathbb Eg^2)="
    r"\frac{(1-\beta_1)(1-\beta_2)}{1-\beta_1\beta_2}\,\mathrm{Cov}(g,g^2)",
    kind="identity",
    assumptions=(
        Assumption(name="averages", statement="m and v are exponential averages with beta1, beta2 in [0, 1)"),
        Assumption(
            name="independent_gradients",
            statement="every g_n has the same law whatever came before: mean mu, Cov(g, g^2) finite",
        ),
        Assumption(name="stationary", statement="E(m - mu)(v - E g^2) does not change with n"),
    ),
    parameters=(
        fraction("beta1"),
        fraction("beta2"),
        Parameter(
            name="skew",
            meaning="Cov(g, g^2)",
            unit="grad^3",
            rule="must be a finite number",
            accepts=lambda x: bool(np.all(np.isfinite(np.asarray(x, dtype=float)))),
        ),
        Parameter(name="second", meaning="E g^2", unit="grad^2"),
    ),
    derive=derive,
    value=value,
    references=(REDDI,),
    notes=("Nothing is trivially known beside an exact identity.",),
)
