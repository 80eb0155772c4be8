"""The sharper flagship: proved, never above the flagship, its claims hold on finite trees."""

from __future__ import annotations

import copy
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bstheory as bst
from bstheory.checking.recheck import recheck_document
from bstheory.checking.semantics import Evaluator
from bstheory.theory.theorems import adam_token_half_life, adam_token_half_life_sharp
from tests.theory.trees import cosine_tree

BOUND = adam_token_half_life_sharp.BOUND
DOCUMENT = BOUND.document()


def test_it_is_proved_from_the_flagships_assumptions() -> None:
    certificate = bst.check(BOUND)
    assert certificate.verdict is bst.Verdict.PROVED, certificate.reason
    assert set(certificate.rests_on) == set(bst.check(adam_token_half_life.BOUND).rests_on)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_every_step_holds_on_random_finite_trees(seed: int) -> None:
    rng = random.Random(seed)
    constants, nodes = cosine_tree(
        rng,
        depth=3,
        dimension=2,
        half_life=rng.choice([1.0, 5.0, 50.0]),
        alpha=rng.choice([0.01, 0.3, 2.0]),
        eps=rng.choice([1e-4, 1e-2, 1.0]),
        noise=rng.choice([0.0, 0.5, 3.0]),
        batch=lambda r, level: r.choice([1, 2, 4]),
    )
    assert Evaluator(DOCUMENT, constants, nodes, 2).violations() == []


def test_a_smaller_error_constant_is_rejected() -> None:
    false = copy.deepcopy(DOCUMENT)
    step = next(s for s in false["steps"] if s["name"] == "pathwise")
    assert "R*g**2*s/(2*P**2)" in step["gap"]
    step["gap"] = step["gap"].replace("R*g**2*s/(2*P**2)", "R*g**2*s/(4*P**2)")
    assert "left over" in recheck_document(false).reason


@given(
    alpha=st.floats(1e-3, 10),
    h=st.floats(1, 1e6),
    eps=st.floats(1e-8, 1),
    R=st.floats(0.1, 10),
    delta=st.floats(0, 10),
    batches=st.lists(st.integers(1, 64), min_size=1, max_size=20),
)
def test_value_is_the_stated_formula_and_below_the_flagship(alpha, h, eps, R, delta, batches) -> None:
    constants = {"alpha": alpha, "h": h, "eps": eps, "R": R, "L": 1.0, "d": 3, "Delta": delta}
    found = BOUND.evaluate(constants=constants, schedule=batches).value
    log = math.log1p(R * R / eps) + math.log(2) * sum(batches) / h
    assert found == pytest.approx(
        2 * math.sqrt(eps + R * R) * (delta / alpha + 3 * (R / 2 + alpha / 2) * log), rel=1e-9
    )
    assert found <= adam_token_half_life.BOUND.evaluate(constants=constants, schedule=batches).value
    assert BOUND.tighten(constants=constants, schedule=batches).value <= found * (1 + 1e-12)
