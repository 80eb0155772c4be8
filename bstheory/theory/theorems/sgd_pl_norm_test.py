"""SGD whose batch passes the norm test: a linear rate under the Polyak-Lojasiewicz inequality.

Algorithm: x_{k+1} = x_k - eta_k g_k with b_k large enough that

    E_k |g_k - grad F(x_k)|^2 <= theta^2 |grad F(x_k)|^2,     eta_k <= 1/((1 + theta^2) L).

**Upper** bounds. Part ``linear_rate``, learning rates fixed in advance, PL constant mu <= L:

    E[F(x_K) - F_*] <= (F(x_0) - F_*) prod_k (1 - mu eta_k).

Part ``nonconvex``, without PL and for predictable learning rates:

    E sum_k eta_k |grad F(x_k)|^2 <= 2 (F(x_0) - F_*).

With variance sigma^2/b per batch the test asks for b_k >= sigma^2/(theta^2 |grad F(x_k)|^2), so batches grow
geometrically with the linear rate. A test that is passed only by an estimate is outside the statement.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from bstheory.references import BYRD_SAMPLE_SIZE
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation
from bstheory.theory.derivation import Derivation
from bstheory.theory.sgd_lemmas import (
    BOUNDED_BELOW,
    FIXED_RATE,
    SMOOTH,
    UNBIASED,
    UPDATE,
    SgdSymbols,
    declare_sgd,
    nonnegative_parameter,
    produced,
    second_moment,
)
from bstheory.theory.sgd_rates import PL, gradient_sum, linear_rate, rate_parameters, rate_value

SLUG = "sgd_pl_norm_test"
NORM_TEST = Assumption(
    name="norm_test", statement="E_k |g_k - grad F(x_k)|^2 <= theta^2 |grad F(x_k)|^2, every step"
)
STEP_SIZE = Assumption(name="step_size", statement="eta_k <= 1/((1 + theta^2) L)", constants=("L",))


def derive() -> dict[str, Derivation]:
    """Both parts."""
    with_pl = Derivation(SLUG, "SGD under the norm test, linear rate")
    symbols, growth = passed_test(with_pl, rate="fixed")
    linear_rate(with_pl, symbols, "second_moment_bound", growth)
    without = Derivation(SLUG, "SGD under the norm test, nonconvex")
    symbols, growth = passed_test(without, rate="predictable")
    gradient_sum(without, symbols, "second_moment_bound", growth)
    return {"linear_rate": with_pl, "nonconvex": without}


def passed_test(d: Derivation, *, rate: str) -> tuple[SgdSymbols, object]:
    """E|g|^2 <= (1 + theta^2) |G|^2 from the norm test."""
    symbols = declare_sgd(d, rate=rate)
    variance = second_moment(d, symbols)
    theta = d.symbol("theta", sign="nonnegative", latex=r"\theta", meaning="accepted relative noise")
    d.assume(
        "norm_test",
        theta**2 * symbols.square - variance,
        assumption="norm_test",
        why="the batch passes the test",
    )
    growth = 1 + theta**2
    d.combine(
        "second_moment_bound",
        gap=growth * symbols.square - symbols.norm_mean,
        uses={"second_moment": -1, "norm_test": 1},
        why="E|g|^2 = |G|^2 + variance",
    )
    return symbols, growth


@functools.cache
def right_hand_side() -> Any:
    """The produced right-hand side of ``linear_rate``, a function of decay and Delta."""
    return produced(derive()["linear_rate"], "decay Delta")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """F_* + Delta prod (1 - mu eta_k), beside F(x_0)."""
    growth = 1 + np.asarray(constants["theta"], dtype=float) ** 2
    return rate_value(SLUG, constants, batch_size, growth, right_hand_side())


BOUND = Bound(
    slug=SLUG,
    title="SGD whose batches pass the norm test: linear rate under PL",
    algorithm="SGD, x_{k+1} = x_k - eta_k g_k, batch grown until the norm test holds",
    quantity="loss",
    quantity_latex=r"\mathbb E\,F(x_K)",
    statement_latex=r"\mathbb E\,F(x_K)\le F_*+\Delta\prod_{k<K}(1-\mu\eta_k),\qquad"
    r"\mathbb E\sum_{k<K}\eta_k\|\nabla F(x_k)\|^2\le2\Delta",
    kind="upper",
    assumptions=(SMOOTH, BOUNDED_BELOW, PL, UPDATE, UNBIASED, NORM_TEST, FIXED_RATE, STEP_SIZE),
    parameters=rate_parameters(nonnegative_parameter("theta", "accepted relative noise", "1")),
    derive=derive,
    value=value,
    references=(BYRD_SAMPLE_SIZE,),
    notes=(
        "The expectation is over batches whose size was fixed before they were drawn: a test that looks at "
        "the batch it then uses is outside the statement.",
        "With variance sigma^2/b the test asks for b_k >= sigma^2/(theta^2 |grad F(x_k)|^2); the second "
        "formula needs neither PL nor rates fixed in advance.",
    ),
)
