"""Changing the batch size at a fixed half-life.

**Identity**. With beta = 2^(-B/t) and beta* = 2^(-B*/t),

    ln beta* = (B*/B) ln beta,   that is   beta* = beta^(B*/B).

Exact for the kernel of the average; not a claim about losses. If the sequence length changes, B is tokens per
step.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from bstheory.references import SMALL_BATCH
from bstheory.theory.bound import Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.half_life_lemmas import HALF_LIFE, declare_rule, produced
from bstheory.theory.pruning import pruned

SLUG = "half_life_transfer"


def derive() -> Derivation:
    """Take the logarithm of both rules and eliminate the half-life."""
    d = Derivation(SLUG, "changing the batch size at a fixed half-life")
    declare_rule(d)
    t, B, ln2, log_beta = sp.symbols("t B ln2 log_beta")
    B_new = d.symbol("B_new", sign="positive", latex="B^*", meaning="tokens per step, new")
    beta_new = d.define("beta_new", "power_of_two", -B_new / t, sign="positive", latex=r"\beta^*")
    log_new = d.define("log_beta_new", "log", beta_new, latex=r"\ln\beta^*")
    d.log_power_of_two("log_of_beta_new", log_new, ln2, why="ln 2^(-B*/t) = -ln2 B*/t")
    d.combine(
        "transferred",
        gap=B_new / B * log_beta - log_new,
        relation="==",
        uses={"log_of_beta": B_new / B, "log_of_beta_new": -1},
        why="the half-life cancels",
    )
    d.claim = ("transferred", log_new, B_new / B * log_beta)
    return pruned(d)


# ln beta is put in as the half-life rule gives it, t B ln2/t, so the produced expression is in B, B_new, t.
right_hand_side = produced(derive, ("B", "B_new", "t"))


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """beta* from beta, B and B*; the trivial value is 1."""
    B, B_new, beta = (np.asarray(constants[name], dtype=float) for name in ("B", "B_new", "beta"))
    t = B * np.log(2.0) / -np.log(beta)
    log_new = right_hand_side(B, B_new, t)
    return Evaluation(
        value=np.exp(log_new)[()],
        trivial_value=np.ones_like(log_new)[()],
        parts={"half_life": t[()], "one_minus_beta": -np.expm1(log_new)[()]},
    )


BOUND = Bound(
    slug=SLUG,
    title="Changing the batch size at a fixed half-life",
    algorithm="a moving average with a token half-life",
    quantity="",
    quantity_latex=r"\beta^*",
    statement_latex=r"\beta^*=\beta^{B^*/B}",
    kind="identity",
    assumptions=(HALF_LIFE,),
    parameters=(
        Parameter(name="B", meaning="tokens per step, old", unit="tokens"),
        Parameter(name="B_new", meaning="tokens per step, new", unit="tokens"),
        Parameter(
            name="beta",
            meaning="coefficient at B",
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
    notes=(
        "Exact for the kernel of the average; not a claim about losses.",
        "If the sequence length changes, B is tokens per step.",
    ),
)
