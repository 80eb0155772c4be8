"""Stationary variance of RMSProp on a quadratic where noise dominates, to leading order in the learning rate.

theta' = theta - eta g/sqrt(v), g = h_c theta + noise of variance sigma^2/B, v stationary with coefficient
beta2. With k1 = sigma_B d/dmu E[g/sqrt(v)] at mu = 0 and k2 = E[g^2/v] at mu = 0, sigma_B = sigma/sqrt(B),

    E theta^2 = eta sigma/(2 h_c sqrt(B)) * k2/k1 + higher order in eta.

**Asymptotic** law: that the step responds to theta as k1 h_c theta/sigma_B is leading order. Proved is the
balance (part ``balance``) and **enclosed** are the two constants at beta2 = 9/10 (part ``constants``): from
above by the product over the newest 90 terms, from below by that times e^(-y^2 beta2^90). With no memory
(beta2 = 0) they are sqrt(2/pi) and 1; for beta2 near 1, k1 is about 1 - 5/8 (1 - beta2) and k2 about 1 - (1
- beta2). With beta2 = 2^(-B/t2) their ratio is the explicit correction of the square-root rule in the batch
size.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bstheory.references import SMALL_BATCH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.enclosure import Enclosure
from bstheory.theory.half_life_lemmas import HALF_LIFE, produced
from bstheory.theory.theorems.gaussian_adam_functionals import NODES, nodes

SLUG = "rmsprop_stationary_variance"
LEADING = Assumption(
    name="leading_order",
    statement="E[theta g/sqrt(v)] = k1 h_c E theta^2/sigma_B and E g^2/v = k2, leading order in eta",
)
TERMS = 90


def derive() -> dict[str, Any]:
    """The balance of contraction and noise, and the constants at beta2 = 9/10."""
    return {"balance": balance(), "constants": constants_enclosed().document()}


def balance() -> Derivation:
    """E(theta - eta u)^2 = E theta^2 gives 2 E theta u = eta E u^2."""
    d = Derivation(SLUG, "contraction against noise")
    eta = d.symbol("eta", sign="positive", latex=r"\eta", meaning="learning rate")
    h = d.symbol("h", sign="positive", latex="h_c", meaning="curvature")
    sd = d.symbol("sd", sign="positive", latex=r"\sigma_B", meaning="standard deviation of the gradient")
    k1 = d.symbol("k1", sign="positive", latex="k_1")
    k2 = d.symbol("k2", sign="positive", latex="k_2")
    M = d.symbol("M", sign="nonnegative", latex=r"E\theta^2")
    drift = d.symbol("drift", latex=r"E\,\theta g/\sqrt v")
    d.assume(
        "stationary", 2 * drift - eta * k2, relation="==", assumption="stationary", why="E theta^2 stays"
    )
    d.assume("response", drift - k1 * h * M / sd, relation="==", assumption=LEADING.name, why="leading order")
    right = eta * sd * k2 / (2 * h * k1)
    d.combine(
        "balance",
        gap=right - M,
        relation="==",
        uses={"stationary": -sd / (2 * h * k1), "response": sd / (h * k1)},
        why="solve for E theta^2",
    )
    d.claim = ("balance", M, right)
    return d


def constants_enclosed() -> Enclosure:
    """k1 and k2 at beta2 = 9/10, above and below."""
    e = Enclosure(SLUG, "the constants at beta2 = 9/10")
    # The j-th factor is 1 + 2 y^2 (1 - beta2) beta2^j. One root a pair: the root of the whole product would
    # meet its branch cut on much smaller complex balls.
    let = {f"c{j}": f"{9**j}/{5 * 10**j}" for j in range(TERMS)} | {"left": f"{9**TERMS}/{10**TERMS}"}
    pairs = [f"1/sqrt((1 + c{j}*y**2)*(1 + c{j + 1}*y**2))" for j in range(0, TERMS, 2)]
    for name, weight in (("k1", "2/sqrt(pi)"), ("k2", "2*y")):
        newest = f"{weight}/(1 + c0*y**2)*" + "*".join(pairs)
        common = {"let": let, "split": 200, "digits": 5}
        e.integral(f"{name}_at_most", newest, "y", 0, "oo", why="newest terms only", **common)
        e.integral(
            f"{name}_at_least",
            f"exp(-left*y**2)*{newest}",
            "y",
            0,
            "oo",
            why="the older terms multiply by at most e^(y^2 beta2^90)",
            **common,
        )
    return e


def response(beta2: float, sd: float = 1.0) -> tuple[float, float]:
    """(k1, k2) at ``beta2`` by quadrature over the terms that matter in float64."""
    count = 1 if beta2 == 0 else int(np.ceil(np.log(1e-18) / np.log(beta2)))
    w = (1 - beta2) * beta2 ** np.arange(count, dtype=float)
    if count == 1:
        return float(np.sqrt(2 / np.pi)), 1.0
    y, dy = nodes(NODES)
    logs = sum(np.log1p(2 * y**2 * x) for x in w)
    density = np.exp(-0.5 * logs) / (1 + 2 * y**2 * w[0])
    return float((2 / np.sqrt(np.pi) * density * dy).sum()), float((2 * y * density * dy).sum())


right_hand_side = produced(derive, ("eta", "sd", "k2", "h", "k1"), "balance")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Leading-order E theta^2. Parts: ``k1``, ``k2``, the square-root rule alone."""
    eta, h, sigma, B, t2 = (float(constants[name]) for name in ("eta", "h", "sigma", "B", "t2"))
    k1, k2 = response(2.0 ** (-B / t2))
    sd = sigma / np.sqrt(B)
    return Evaluation(
        value=float(right_hand_side(eta, sd, k2, h, k1)),
        trivial_value=None,
        parts={"k1": k1, "k2": k2, "square_root_rule": eta * sd / (2 * h)},
    )


BOUND = Bound(
    slug=SLUG,
    title="Stationary variance of RMSProp where noise dominates",
    algorithm="theta' = theta - eta g/sqrt(v), v_n = beta2 v_{n-1} + (1 - beta2) g_n^2, beta2 = 2^(-B/t2)",
    quantity="",
    quantity_latex=r"\mathbb E\theta^2",
    statement_latex=r"\mathbb E\theta^2=\frac{\eta\sigma}{2h_c\sqrt B}\,\frac{k_2}{k_1}",
    kind="asymptotic",
    assumptions=(HALF_LIFE, LEADING),
    parameters=(
        Parameter(name="eta", meaning="learning rate", unit="param"),
        Parameter(name="h", meaning="curvature", unit="loss/param^2"),
        Parameter(name="sigma", meaning="gradient standard deviation, one token", unit="grad*sqrt(token)"),
        Parameter(name="B", meaning="tokens per step", unit="tokens"),
        Parameter(name="t2", meaning="half-life of v", unit="tokens"),
    ),
    derive=derive,
    value=value,
    references=(SMALL_BATCH,),
    notes=(
        "Leading order in eta: proved is the balance, enclosed are the constants, the response is a law.",
    ),
    declared="enclosed",
)
