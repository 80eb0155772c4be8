"""Strong growth of one sample's gradient and what a batch makes of it.

One sample: E|g^{(1)}|^2 <= rho |grad F|^2 with rho >= 1 (interpolation). A batch of b independent samples has

    E|g|^2 = |grad F|^2 + (E|g^{(1)}|^2 - |grad F|^2)/b <= s_b |grad F|^2,    s_b = 1 + (rho - 1)/b,

part ``batch``, an **exact** identity, by induction over the samples. Part ``rate``, for predictable b_k and
eta_k <= 1/(L s_{b_k}), is the **upper** bound

    E sum_k eta_k |grad F(x_k)|^2 <= 2 (F(x_0) - F_*):

at eta = 1/(L s_b), the rate of gradient descent divided by s_b.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import STRONG_GROWTH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed, tower_expected
from bstheory.theory.sgd_lemmas import (
    BOUNDED_BELOW,
    PREDICTABLE_RATE,
    SMOOTH,
    UNBIASED,
    UPDATE,
    declare_sgd,
    nonnegative_parameter,
    per_step,
    produced,
)
from bstheory.theory.sgd_rates import gradient_sum

SLUG = "expected_strong_growth"
GROWTH = Assumption(
    name="strong_growth",
    statement="E|g^(1)|^2 <= rho |grad F(x)|^2 for the gradient of one sample, rho >= 1",
    constants=("rho",),
)
INDEPENDENT = Assumption(
    name="independent_samples", statement="a batch is the mean of b_k independent samples of one law"
)
STEP_SIZE = Assumption(name="step_size", statement="eta_k <= 1/(L (1 + (rho - 1)/b_k))", constants=("L",))


def derive() -> dict[str, Derivation]:
    """The identity for a batch, then the rate."""
    return {"batch": batch(), "rate": rate()}


def batch() -> Derivation:
    """E (mean of n samples)^2 == G^2 + (m2 - G^2)/n, one coordinate; a step here is one more sample."""
    d = Derivation(SLUG, "Second moment of a mean of independent samples")
    G = d.symbol("G", depends=("coordinate",), latex="G", meaning="mean of one sample's coordinate")
    m2 = d.symbol(
        "m2", sign="nonnegative", depends=("coordinate",), latex="E g^2", meaning="its square's mean"
    )
    g = d.symbol("g", depends=("coordinate", "step", "draw"), latex="g_j", meaning="coordinate of sample j")
    S = d.symbol("S", depends=("coordinate", "step"), latex="S_{j-1}", meaning="sum of the samples before")
    S_next = d.symbol("S_next", depends=("coordinate", "step", "draw"), latex="S_j", meaning="and after")
    n = fixed(d, "n", sign="nonnegative", latex="j-1", meaning="samples before")
    n_next = fixed(d, "n_next", sign="positive", latex="j", meaning="samples after")
    d.chain("S", previous=S, next=S_next, start=0)
    d.chain("n", previous=n, next=n_next, start=0)
    d.assume("count", n_next - n - 1, relation="==", assumption="independent_samples", why="one more sample")
    d.assume("sum", S_next - S - g, relation="==", assumption="independent_samples", why="the sum grows")
    mean_g, mean_g2 = d.define("mean_g", "mean", g), d.define("mean_g2", "mean", g**2)
    d.assume("unbiased", mean_g - G, relation="==", assumption="unbiased", why="E g = G whatever came before")
    d.assume("second", mean_g2 - m2, relation="==", assumption="independent_samples", why="one law")
    a, a_next, a_start = (
        d.define(name, "expected", of) for name, of in (("a", S), ("a_next", S_next), ("a_start", 0))
    )
    q, q_next, q_start = (
        d.define(name, "expected", of) for name, of in (("q", S**2), ("q_next", S_next**2), ("q_start", 0))
    )
    d.chain("a", previous=a, next=a_next, start=a_start)
    d.chain("q", previous=q, next=q_next, start=q_start)
    Eg, Eg_mean = d.define("Eg", "expected", g), d.define("Eg_mean", "expected", mean_g)
    Eg2, Eg2_mean = d.define("Eg2", "expected", g**2), d.define("Eg2_mean", "expected", mean_g2)
    cross, cross_mean = d.define("cross", "expected", S * g), d.define("cross_mean", "expected", S * mean_g)
    tower_expected(d, "tower_g", Eg_mean, Eg, {}, why="tower property")
    tower_expected(d, "tower_g2", Eg2_mean, Eg2, {}, why="tower property")
    tower_expected(d, "tower_cross", cross_mean, cross, {}, why="tower property; S is known")
    d.apply("value_g", "expected", "unbiased", {Eg_mean: 1, "1": -G}, why="expectation")
    d.apply("value_g2", "expected", "second", {Eg2_mean: 1, "1": -m2}, why="expectation")
    d.combine("independent", gap=S * mean_g - G * S, uses={"unbiased": S}, relation="==", why="times S")
    d.apply("value_cross", "expected", "independent", {cross_mean: 1, a: -G}, why="expectation")
    d.apply("grow_a", "expected", "sum", {a_next: 1, a: -1, Eg: -1}, why="expectation")
    d.combine(
        "square",
        gap=S_next**2 - S**2 - 2 * S * g - g**2,
        uses={"sum": S_next + S + g},
        relation="==",
        why="square of the sum",
    )
    d.apply("grow_q", "expected", "square", {q_next: 1, q: -1, cross: -2, Eg2: -1}, why="expectation")
    d.combine("nothing", gap=0, relation="==", why="zero")
    d.apply("a_at_start", "expected", "nothing", {a_start: 1}, why="an empty sum")
    d.apply("q_at_start", "expected", "nothing", {q_start: 1}, why="an empty sum")
    d.hypothesis("a_hypothesis", a - n * G, relation="==", why="E S = n G")
    d.combine(
        "a_advanced",
        gap=a_next - n_next * G,
        uses={"a_hypothesis": 1, "grow_a": 1, "tower_g": -1, "value_g": 1, "count": -G},
        relation="==",
        why="one more sample",
    )
    d.induction("a_value", "a_hypothesis", "a_advanced", "a_at_start", ["a", "n"], why="induction on samples")
    d.hypothesis("q_hypothesis", q - n * (m2 - G**2) - n**2 * G**2, relation="==", why="E S^2")
    d.combine(
        "q_advanced",
        gap=q_next - n_next * (m2 - G**2) - n_next**2 * G**2,
        uses={
            "q_hypothesis": 1,
            "grow_q": 1,
            "tower_g2": -1,
            "value_g2": 1,
            "tower_cross": -2,
            "value_cross": 2,
            "a_value": 2 * G,
            "count": -(m2 - G**2) - (n_next + n + 1) * G**2,
        },
        relation="==",
        why="the cross term is 2 n G^2",
    )
    d.induction("q_value", "q_hypothesis", "q_advanced", "q_at_start", ["q", "n"], why="induction on samples")
    d.combine(
        "q_after",
        gap=q_next - n_next * (m2 - G**2) - n_next**2 * G**2,
        uses={
            "q_value": 1,
            "grow_q": 1,
            "tower_g2": -1,
            "value_g2": 1,
            "tower_cross": -2,
            "value_cross": 2,
            "a_value": 2 * G,
            "count": -(m2 - G**2) - (n_next + n + 1) * G**2,
        },
        relation="==",
        why="after sample j",
    )
    average = d.define("average", "expected", (S_next / n_next) ** 2, sign="nonnegative", latex=r"E\bar g^2")
    d.apply("average_value", "expected", "nothing", {average: 1, q_next: -1 / n_next**2}, why="j is fixed")
    d.combine(
        "identity",
        gap=G**2 + (m2 - G**2) / n_next - average,
        uses={"q_after": -1 / n_next**2, "average_value": -1},
        relation="==",
        why="divide by j^2",
    )
    d.conclude("identity", average, why="second moment of the mean")
    return d


def rate() -> Derivation:
    """The gradient sum with growth s_b."""
    d = Derivation(SLUG, "SGD under strong growth")
    symbols = declare_sgd(d, rate="predictable")
    b = d.symbol("b", sign="positive", depends=("step",), latex="b_k", meaning="samples of step k")
    rho = d.symbol("rho", sign="positive", latex=r"\rho", meaning="growth of one sample")
    one = d.symbol(
        "one", sign="nonnegative", depends=("step",), latex=r"E_k\|g^{(1)}\|^2", meaning="one sample at x_k"
    )
    d.assume("strong_growth", rho * symbols.square - one, assumption="strong_growth", why="one sample")
    d.assume(
        "batch",
        symbols.square + (one - symbols.square) / b - symbols.norm_mean,
        relation="==",
        assumption="independent_samples",
        why="part batch, summed over coordinates",
    )
    growth = 1 + (rho - 1) / b
    d.combine(
        "second_moment_bound",
        gap=growth * symbols.square - symbols.norm_mean,
        uses={"batch": 1, "strong_growth": 1 / b},
        why="s_b = 1 + (rho - 1)/b",
    )
    gradient_sum(d, symbols, "second_moment_bound", sp.expand(growth))
    return d


@functools.cache
def right_hand_side() -> Any:
    """The produced right-hand side of ``rate``, a function of Delta."""
    return produced(derive()["rate"], "Delta")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """2 Delta; parts give s_b, the largest admissible rates and the mean that these reach."""
    if batch_size is None:
        raise input_error(
            got="no schedule", rule=f"{SLUG} needs the samples of every step", do="pass schedule=[b_0, ...]"
        )
    L, rho, delta = (np.asarray(constants[name], dtype=float) for name in ("L", "rho", "Delta"))
    eta = per_step(constants["eta"], len(batch_size), "eta")
    growth = 1 + (rho[..., None] - 1) / batch_size
    limit = 1 / (L[..., None] * growth)
    if np.any(eta > limit * (1 + 1e-12)):
        step = int(np.argmax(np.max(np.atleast_2d(eta / limit), axis=0)))
        raise input_error(
            got=f"eta={np.max(eta[..., step]):.6g} at step {step} with b={batch_size[step]}",
            rule=f"assumption step_size: eta_k <= 1/(L (1 + (rho - 1)/b_k)) = {np.min(limit[..., step]):.6g}",
            do="lower eta or raise the batch size",
        )
    total = np.asarray(right_hand_side()(delta))
    weight = eta.sum(axis=-1)
    return Evaluation(
        value=total[()],
        trivial_value=(2 * L * delta * weight)[()],
        parts={
            "weighted_mean": (total / weight)[()],
            "growth": growth,
            "largest_learning_rate": limit,
            "mean_at_largest_rate": (total / limit.sum(axis=-1))[()],
        },
    )


BOUND = Bound(
    slug=SLUG,
    title="SGD under strong growth: the rate of gradient descent divided by 1 + (rho - 1)/b",
    algorithm="SGD, x_{k+1} = x_k - eta_k g_k, g_k the mean of b_k independent samples",
    quantity="weighted_sq_gradient",
    quantity_latex=r"\mathbb E\sum_{k<K}\eta_k\|\nabla F(x_k)\|^2",
    statement_latex=r"\mathbb E\sum_{k<K}\eta_k\|\nabla F(x_k)\|^2\le2\Delta\quad\text{for}\quad"
    r"\eta_k\le\frac1{L\,(1+(\rho-1)/b_k)}",
    kind="upper",
    assumptions=(SMOOTH, BOUNDED_BELOW, UPDATE, UNBIASED, GROWTH, INDEPENDENT, PREDICTABLE_RATE, STEP_SIZE),
    parameters=(
        Parameter(name="eta", meaning="learning rate, one number or one per step", unit="param^2/loss"),
        Parameter(name="L", meaning="smoothness", unit="loss/param^2"),
        Parameter(
            name="rho",
            meaning="growth of one sample's second moment",
            unit="1",
            rule="must be at least 1, since E|g|^2 >= |E g|^2",
            accepts=lambda x: bool(np.all(np.asarray(x, dtype=float) >= 1)),
        ),
        nonnegative_parameter("Delta", "F(x_0) - F_*", "loss"),
    ),
    derive=derive,
    value=value,
    references=(STRONG_GROWTH,),
    notes=(
        "Strong growth forces every sample's gradient to vanish at stationary points (interpolation).",
        "Sampling without replacement has a smaller factor; the statement is for independent samples.",
    ),
)
