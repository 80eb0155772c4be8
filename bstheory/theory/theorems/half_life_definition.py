"""The half-life of a moving average and the coefficient that realizes it.

**Identity**, both ways. With B tokens per step and coefficient beta in (0, 1),

    beta = 2^(-B/t)   if and only if   t ln(1/beta) = B ln2.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from bstheory.references import SMALL_BATCH
from bstheory.theory.bound import Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_scalar import decay, log_injective
from bstheory.theory.half_life_lemmas import HALF_LIFE, declare_rule, produced
from bstheory.theory.pruning import pruned

SLUG = "half_life_definition"


def derive() -> dict[str, Derivation]:
    """Both directions: the logarithm of the rule, and the rule from its logarithm."""
    return {"half_life_of_beta": half_life_of_beta(), "beta_of_half_life": beta_of_half_life()}


def half_life_of_beta() -> Derivation:
    """beta = 2^(-B/t) gives t ln(1/beta) = B ln2."""
    d = Derivation(SLUG, "the half-life of a coefficient")
    declare_rule(d)
    t, B, ln2, beta, log_beta = sp.symbols("t B ln2 beta log_beta")
    u = decay(d, beta, log_beta)
    d.combine(
        "logarithm",
        gap=B * ln2 - t * u,
        relation="==",
        uses={"u_value": -t, "log_of_beta": t},
        why="take the logarithm of 2^(-B/t)",
    )
    d.claim = ("logarithm", t * u, B * ln2)
    return pruned(d)


def beta_of_half_life() -> Derivation:
    """t ln(1/beta) = B ln2 gives beta = 2^(-B/t)."""
    d = Derivation(SLUG, "the coefficient of a half-life")
    t = d.symbol("t", sign="positive", latex="t", meaning="half-life, tokens")
    B = d.symbol("B", sign="positive", latex="B", meaning="tokens per step")
    beta = d.symbol("beta", sign="positive", latex=r"\beta", meaning="coefficient")
    log_beta = d.define("log_beta", "log", beta, latex=r"\ln\beta")
    ln2 = d.define("ln2", "log", 2, sign="positive", latex=r"\ln2")
    u = decay(d, beta, log_beta)
    d.assume(
        "logarithm", B * ln2 - t * u, relation="==", assumption="logarithmic_rule", why="t ln(1/beta) = B ln2"
    )
    power = d.define("power", "power_of_two", -B / t, sign="positive", latex="2^{-B/t}")
    log_power = d.define("log_power", "log", power, latex=r"\ln2^{-B/t}")
    d.log_power_of_two("log_of_power", log_power, ln2, why="ln 2^x = x ln2")
    d.combine(
        "equal_logarithms",
        gap=log_power - log_beta,
        relation="==",
        uses={"log_of_power": 1, "u_value": -1, "logarithm": -1 / t},
        why="both are -B ln2/t",
    )
    log_injective(d, "coefficient", "equal_logarithms", log_power, log_beta, why="equal logarithms")
    d.claim = ("coefficient", beta, power)
    return d


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Half-life of ``beta`` at ``B`` tokens per step; nothing is known about it without the rule."""
    B, beta = (np.asarray(constants[name], dtype=float) for name in ("B", "beta"))
    found = right_hand_side(B) / -np.log1p(beta - 1)
    nothing = np.full_like(found, np.inf)
    return Evaluation(value=found[()], trivial_value=nothing[()], parts={"steps": (found / B)[()]})


right_hand_side = produced(derive, ("B",), "half_life_of_beta")

BOUND = Bound(
    slug=SLUG,
    title="The half-life of a moving average and its coefficient",
    algorithm="a moving average updated once every B tokens with coefficient beta",
    quantity="",
    quantity_latex="t",
    statement_latex=r"\beta=2^{-B/t}\iff t=\frac{B\ln2}{-\ln\beta}",
    kind="identity",
    assumptions=(HALF_LIFE,),
    parameters=(
        Parameter(name="B", meaning="tokens per step", unit="tokens"),
        Parameter(
            name="beta",
            meaning="coefficient of the average",
            unit="1",
            rule="must lie in (0, 1)",
            accepts=lambda x: bool(
                np.all((np.asarray(x, dtype=float) > 0) & (np.asarray(x, dtype=float) < 1))
            ),
        ),
    ),
    derive=derive,
    value=value,
    references=(SMALL_BATCH,),
    notes=("B and t in the same unit; which one does not matter.",),
)
