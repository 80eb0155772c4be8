"""The flagship with a quarter of its error constant: R/2 in place of 2R.

Setting, algorithm and assumptions are those of ``adam_token_half_life``. The one-step lemma compares v with
vt = beta v_{k-1} + c R^2, built from the almost-sure bound instead of the conditional mean of g^2. Then
g^2 <= R^2 makes 1/sqrt(eps + v) - 1/sqrt(eps + vt) nonnegative on every path, one of the two error terms is
absent, and Young's inequality is applied once:

    E sum_k w_k |grad F(x_{k-1})|^2
        <= 2 sqrt(eps + R^2) { Delta/alpha + d (R/2 + L alpha/2) (ln(1 + R^2/eps) + ln2 D/h) }.

**Upper** bound, never above the flagship's. With the weight y of Young's inequality free in (0, 1):
sqrt(eps + R^2)/(1 - y) { Delta/alpha + d (R/(4y) + L alpha/2) Lambda }.

Differs from 2003.02395 (whose constant the flagship keeps) in this comparison only.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import sympy as sp

from bstheory.theory.bound import Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.theorems import adam_token_half_life as flagship

SLUG = "adam_token_half_life_sharp"
HALF = sp.Rational(1, 2)


def derive(young: sp.Rational | None = HALF) -> Derivation:
    """Derive the bound; ``young`` in (0, 1), None keeps it free."""
    return flagship.derive(young, slug=SLUG, sharp=True)


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Right-hand side at D = sum of the schedule, beside d R^2 times the total weight."""
    return flagship.value(constants, batch_size, slug=SLUG, sharp=True)


YOUNG = Parameter(
    name="young",
    meaning="weight of Young's inequality; 1/2 in the statement",
    unit="1",
    rule="must lie in (0, 1)",
    accepts=lambda x: bool(np.all((np.asarray(x) > 0) & (np.asarray(x) < 1))),
    default=0.5,
    free=(0.0, 1.0),
)

BOUND = dataclasses.replace(
    flagship.BOUND,
    slug=SLUG,
    title="Adam with a token half-life, sharper constant",
    statement_latex=flagship.BOUND.statement_latex.replace("2R+", r"\frac R2+"),
    parameters=tuple(YOUNG if p.name == "young" else p for p in flagship.BOUND.parameters),
    derive=functools.partial(derive),
    value=value,
)
