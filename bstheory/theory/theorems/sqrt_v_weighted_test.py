"""One norm test with Adam's own weights in place of one test per coordinate.

The test: sum_i E_k(g_i - G_i)^2/sqrt(v_i) <= eta^2 sum_i G_i^2/sqrt(v_i) with v = v_{k-1}, known before the
draw; s = 1 + eta^2. It is computable from optimizer state and is weaker than the coordinate-wise test of
``adam_norm_test``: noise may sit in coordinates without gradient.

What a proof of flagship 2 uses of the test, **upper** bounds of one step, v_k = beta2 v_{k-1} + c g^2, past =
sqrt(beta2 v_{k-1}), D = 1/past - 1/sqrt(v_k):

    sum E g^2/past        <= s sum G^2/past                            (``growth``)
    sum G E[g D]          <= (1/4) sum G^2/past + s sum G^2 E D        (``main_term``, beta1 = 0)
    sum E g^2/v_k         <= (s/nu) sum G^2/past,   nu <= past         (``second_order``)
    sum E sqrt(v_k)       <= sum past + (c s/2) sum G^2/past           (``roots``)

**Flagship 2 under this test** (parts ``l1``, ``theorem_b`` and, with a token half-life and random batches,
``theorem_c``): the derivations of ``adam_norm_test`` and ``adam_norm_test_token_half_life`` with the
weighted test as their only assumption about the noise; the right-hand sides are the same.

Differs from the catalogue, which lists the replacement as an open conjecture for want of control over the
correlation of g_i^2 with 1/sqrt(v_i) across coordinates: none is needed. In each step g^2 appears over
``past``, which the draw does not move, and only in a sum over coordinates, so the weighted test gives the
same constants as the coordinate-wise one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import ADAPTIVE_BATCH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.half_life_lemmas import produced
from bstheory.theory.pruning import pruned
from bstheory.theory.theorems import adam_norm_test, adam_norm_test_token_half_life

SLUG = "sqrt_v_weighted_test"
TEST = Assumption(
    name="weighted_test",
    statement="sum_i E_k(g_i - G_i)^2/sqrt(v_{k-1,i}) <= eta^2 sum_i G_i^2/sqrt(v_{k-1,i})",
    constants=("eta",),
)
UNBIASED = Assumption(name="unbiased", statement="E_k g_k = G_k, batch and beta2 chosen before the draw")
UPDATE = Assumption(name="second_moment", statement="v_k = beta2 v_{k-1} + (1 - beta2) g_k^2, v_0 > 0")
FLOOR = Assumption(
    name="floor", statement="nu <= sqrt(beta2 v_{k-1,i}) for every coordinate", constants=("nu",)
)
PER_COORDINATE = ("coordinate", "step")
QUARTER = sp.Rational(1, 4)


def derive() -> dict[str, Derivation]:
    """The four one-step bounds, and flagship 2 resting on the weighted test."""
    return {
        **{which: one_step(which) for which in ("growth", "main_term", "second_order", "roots")},
        "l1": adam_norm_test.master(conclude="l1", weighted=True),
        "theorem_b": adam_norm_test.theorem_b(weighted=True),
        "theorem_c": adam_norm_test_token_half_life.theorem_c(weighted=True),
    }


def one_step(which: str) -> Derivation:
    """Declare one step, sum the test, and conclude ``which``."""
    d = Derivation(SLUG, f"weighted test, {which.replace('_', ' ')}")
    declare(d)
    growth(d)
    if which == "growth":
        return pruned(d)
    {"main_term": main_term, "second_order": second_order, "roots": roots}[which](d)
    return pruned(d)


def declare(d: Derivation) -> None:
    """One step of v in every coordinate, and the test."""
    s = d.symbol("s", sign="positive", latex="s", meaning="1 + eta^2")
    eta2 = d.symbol("eta2", sign="nonnegative", latex=r"\eta^2", meaning="tolerance, squared")
    y = d.symbol("y", sign="positive", depends=("step",), latex=r"\sqrt{\beta_2}", meaning="root of beta2")
    c = d.symbol("c", sign="positive", depends=("step",), latex=r"(1-\beta_2)", meaning="1 - beta2")
    G = d.symbol("G", depends=PER_COORDINATE, latex="G", meaning="coordinate of the gradient")
    g = d.symbol("g", depends=(*PER_COORDINATE, "draw"), latex="g", meaning="stochastic gradient")
    v_prev = d.symbol("v_prev", sign="positive", depends=PER_COORDINATE, latex="v_{k-1}", meaning="v before")
    v = d.symbol("v", sign="positive", depends=(*PER_COORDINATE, "draw"), latex="v_k", meaning="v after")
    q_prev = d.define("q_prev", "root", v_prev, sign="positive", latex=r"\sqrt{v_{k-1}}")
    q = d.define("q", "root", v, sign="positive", latex=r"\sqrt{v_k}")
    d.define("mean_g", "mean", g, latex="E_kg")
    d.define("mean_g2", "mean", g**2, sign="nonnegative", latex="E_kg^2")
    dev = d.define("mean_dev", "mean", (g - G) ** 2, sign="nonnegative", latex="E_k(g-G)^2")
    d.assume(
        "second_moment",
        v - y**2 * v_prev - c * g**2,
        relation="==",
        assumption=UPDATE.name,
        why="recursion of v",
    )
    d.assume("unbiased", sp.Symbol("mean_g") - G, relation="==", assumption=UNBIASED.name, why="E_k g = G")
    noise = d.define(
        "noise", "coordinates", dev / q_prev, sign="nonnegative", latex=r"\sum E_k(g-G)^2/\sqrt{v}"
    )
    signal = d.define("signal", "coordinates", G**2 / q_prev, sign="nonnegative", latex=r"\sum G^2/\sqrt{v}")
    d.assume("test", eta2 * signal - noise, assumption=TEST.name, why="the test")
    d.assume("growth_constant", s - 1 - eta2, relation="==", assumption=TEST.name, why="s = 1 + eta^2")
    roots = [d.definition(q), d.definition(q_prev)]
    past = y * q_prev
    d.combine(
        "root_grows",
        gap=q - past,
        uses={
            roots[0]: 1 / (q + past),
            roots[1]: -(y**2) / (q + past),
            "second_moment": 1 / (q + past),
        },
        slack=c * g**2 / (q + past),
        why="v_k >= beta2 v_{k-1}",
    )


def growth(d: Derivation) -> None:
    """sum E g^2/past <= s sum G^2/past: E g^2 = E(g - G)^2 + G^2 in each coordinate, then the test."""
    G, g, mean_g, mean_g2, dev, q_prev, y, s = sp.symbols("G g mean_g mean_g2 mean_dev q_prev y s")
    noise, signal = sp.symbols("noise signal")
    d.combine("square", gap=(g - G) ** 2 - g**2 + 2 * G * g - G**2, relation="==", why="square")
    d.apply(
        "mean_square",
        "mean",
        "square",
        {dev: 1, mean_g2: -1, mean_g: 2 * G, "1": -(G**2)},
        why="conditional mean",
    )
    d.combine(
        "split",
        gap=(dev + G**2 - mean_g2) / q_prev,
        relation="==",
        uses={"mean_square": 1 / q_prev, "unbiased": -2 * G / q_prev},
        why="E g^2 = E(g - G)^2 + G^2",
    )
    power = d.define(
        "power", "coordinates", mean_g2 / q_prev, sign="nonnegative", latex=r"\sum E_kg^2/\sqrt{v}"
    )
    d.apply("split_sum", "coordinates", "split", {noise: 1, signal: 1, power: -1}, why="sum over coordinates")
    d.combine(
        "growth",
        gap=s * signal / y - power / y,
        uses={"split_sum": 1 / y, "test": 1 / y, "growth_constant": signal / y},
        why="the test, once, for the sum",
    )
    d.claim = ("growth", power / y, s * signal / y)


def main_term(d: Derivation) -> None:
    """G g D <= g^2/(4 s past) + s G^2 D, because 0 <= D <= 1/past; then the sum of the test."""
    G, g, q, q_prev, y, s, power, signal, mean_g2 = sp.symbols("G g q q_prev y s power signal mean_g2")
    past = y * q_prev
    difference = 1 / past - 1 / q
    d.combine(
        "pathwise",
        gap=g**2 / (4 * s * past) + s * G**2 * difference - G * g * difference,
        uses={"root_grows": (g / (2 * s) - G) ** 2 * s / (past * q)},
        slack=g**2 / (4 * s * q),
        why="D (g/(2s) - G)^2 s >= 0 and D <= 1/past",
    )
    mean_product = d.define("mean_product", "mean", G * g * difference, latex="E_kG\\,g\\,D")
    mean_D = d.define("mean_D", "mean", difference, latex="E_kD")
    d.apply(
        "mean_pathwise",
        "mean",
        "pathwise",
        {mean_g2: 1 / (4 * s * past), mean_D: s * G**2, mean_product: -1},
        why="conditional mean; past is known",
    )
    product = d.define("product", "coordinates", mean_product, latex=r"\sum G\,E_k[g\,D]")
    gains = d.define("gains", "coordinates", G**2 * mean_D, latex=r"\sum G^2E_kD")
    d.apply(
        "summed",
        "coordinates",
        "mean_pathwise",
        {power: 1 / (4 * s * y), gains: s, product: -1},
        why="sum over coordinates",
    )
    d.combine(
        "main_term",
        gap=QUARTER * signal / y + s * gains - product,
        uses={"summed": 1, "growth": 1 / (4 * s)},
        why="the sum of E g^2/past is what the test bounds",
    )
    d.claim = ("main_term", product, QUARTER * signal / y + s * gains)


def second_order(d: Derivation) -> None:
    """g^2/v_k <= g^2/(nu past)."""
    g, q, q_prev, y, s, power, signal, mean_g2 = sp.symbols("g q q_prev y s power signal mean_g2")
    past = y * q_prev
    nu = d.symbol("nu", sign="positive", latex=r"\nu", meaning="least past root")
    d.assume("floor", past - nu, assumption=FLOOR.name, why="nu <= sqrt(beta2 v_{k-1})")
    d.combine(
        "pathwise",
        gap=g**2 / (nu * past) - g**2 / q**2,
        uses={
            "floor": g**2 / (nu * past * past),
            "root_grows": g**2 * (q + past) / (past**2 * q**2),
        },
        why="sqrt(v_k) >= past >= nu",
    )
    mean_ratio = d.define("mean_ratio", "mean", g**2 / q**2, sign="nonnegative", latex="E_kg^2/v_k")
    d.apply(
        "mean_pathwise",
        "mean",
        "pathwise",
        {mean_g2: 1 / (nu * past), mean_ratio: -1},
        why="conditional mean",
    )
    ratio = d.define("ratio", "coordinates", mean_ratio, sign="nonnegative", latex=r"\sum E_kg^2/v_k")
    d.apply("summed", "coordinates", "mean_pathwise", {power: 1 / (nu * y), ratio: -1}, why="sum")
    d.combine(
        "second_order",
        gap=s / nu * signal / y - ratio,
        uses={"summed": 1, "growth": 1 / nu},
        why="the sum of E g^2/past is what the test bounds",
    )
    d.claim = ("second_order", ratio, s / nu * signal / y)


def roots(d: Derivation) -> None:
    """sqrt(v_k) - past = c g^2/(sqrt(v_k) + past) <= c g^2/(2 past)."""
    g, q, q_prev, y, c, s, power, signal, mean_g2 = sp.symbols("g q q_prev y c s power signal mean_g2")
    past = y * q_prev
    d.combine(
        "pathwise",
        gap=past + c * g**2 / (2 * past) - q,
        uses={
            d.definition(q): -1 / (2 * past),
            d.definition(q_prev): y**2 / (2 * past),
            "second_moment": -1 / (2 * past),
        },
        squares=[(1 / (2 * past), q - past)],
        why="2 past q <= past^2 + v_k",
    )
    mean_q = d.define("mean_q", "mean", q, sign="positive", latex=r"E_k\sqrt{v_k}")
    d.apply(
        "mean_pathwise",
        "mean",
        "pathwise",
        {mean_g2: c / (2 * past), mean_q: -1, "1": past},
        why="conditional mean",
    )
    after = d.define("after", "coordinates", mean_q, sign="positive", latex=r"\sum E_k\sqrt{v_k}")
    before = d.define("before", "coordinates", q_prev, sign="positive", latex=r"\sum\sqrt{v_{k-1}}")
    d.apply("summed", "coordinates", "mean_pathwise", {before: y, power: c / (2 * y), after: -1}, why="sum")
    d.combine(
        "roots",
        gap=y * before + c * s / (2 * y) * signal - after,
        uses={"summed": 1, "growth": c / 2},
        why="the sum of E g^2/past is what the test bounds",
    )
    d.claim = ("roots", after, y * before + c * s / (2 * y) * signal)


growth_side = produced(lambda: one_step("growth"), ("s", "signal", "y"))


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Bound s sum G^2/past of sum E g^2/past, and in ``parts`` the batch at which the test passes.

    ``sigma`` is the deviation of one sample per coordinate. Trivial: what a batch of one sample
    gives without any test.
    """
    G, sigma, v = (np.atleast_1d(np.asarray(constants[name], dtype=float)) for name in ("G", "sigma", "v"))
    eta, beta2 = float(constants["eta"]), float(constants["beta2"])
    signal, noise = (G**2 / np.sqrt(v)).sum(), (sigma**2 / np.sqrt(v)).sum()
    if signal == 0:
        raise input_error(
            got="a gradient of zero",
            rule="the test compares noise with the gradient",
            do="pass a nonzero gradient",
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        coordinates = np.where(sigma > 0, sigma**2 / (eta**2 * G**2), 0.0)
    return Evaluation(
        value=float(growth_side(1 + eta**2, signal, np.sqrt(beta2))),
        trivial_value=float((signal + noise) / np.sqrt(beta2)),
        parts={
            "signal": float(signal),
            "batch": float(noise / (eta**2 * signal)),
            "coordinate_batch": float(coordinates.max()),
        },
    )


def fraction_parameter(name: str, meaning: str) -> Parameter:
    def accepts(x: Any) -> bool:
        return bool(np.all((np.asarray(x, dtype=float) > 0) & (np.asarray(x, dtype=float) < 1)))

    return Parameter(name=name, meaning=meaning, unit="1", rule="must lie in (0, 1)", accepts=accepts)


BOUND = Bound(
    slug=SLUG,
    title="One norm test with Adam's own weights",
    algorithm="Adam, eps = 0, v_0 > 0, batch chosen by the weighted test",
    quantity="",
    quantity_latex=r"\sum_i\mathbb E_k\frac{g_i^2}{\sqrt{\beta_2v_{k-1,i}}}",
    statement_latex=r"\sum_i\frac{\mathbb E_k(g_i-G_i)^2}{\sqrt{v_i}}\le\eta^2\sum_i\frac{G_i^2}{\sqrt{v_i}}"
    r"\ \Rightarrow\ \sum_iG_i\mathbb E_k[g_iD_i]\le\frac14\sum_i\frac{G_i^2}{\sqrt{\beta_2v_i}}"
    r"+(1+\eta^2)\sum_iG_i^2\mathbb E_kD_i",
    kind="upper",
    assumptions=(TEST, UNBIASED, UPDATE, FLOOR),
    parameters=(
        Parameter(
            name="G",
            meaning="gradient, each coordinate",
            unit="grad",
            rule="must be numbers",
            accepts=lambda x: True,
        ),
        Parameter(
            name="sigma",
            meaning="deviation of one sample, each coordinate",
            unit="grad*sqrt(sample)",
            rule="must be at least 0",
            accepts=lambda x: bool(np.all(np.asarray(x, dtype=float) >= 0)),
        ),
        Parameter(name="v", meaning="second moment before the step, each coordinate", unit="grad^2"),
        Parameter(name="eta", meaning="tolerance of the test", unit="1"),
        fraction_parameter("beta2", "coefficient of the step"),
    ),
    derive=derive,
    value=value,
    references=(ADAPTIVE_BATCH,),
    notes=(
        "Flagship 2 holds under it with the same right-hand sides; its entries list what else it needs.",
        "Weaker than the coordinate-wise test, so its batch is never larger.",
    ),
)
