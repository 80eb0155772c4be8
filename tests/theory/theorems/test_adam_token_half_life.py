"""The flagship: it checks, damaged copies do not, its claims hold on finite trees, its value is as stated."""

from __future__ import annotations

import copy
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bstheory as bst
from bstheory.checking.recheck import recheck_document
from bstheory.checking.semantics import Evaluator
from bstheory.theory.theorems import adam_token_half_life as module
from tests.theory.trees import cosine_tree

BOUND = module.BOUND
DOCUMENT = BOUND.document()


def damaged(edit) -> str:
    """Recheck reason after an edit; '' when the damaged copy was accepted."""
    copied = copy.deepcopy(DOCUMENT)
    edit({step["name"]: step for step in copied["steps"]}, copied)
    return recheck_document(copied).reason


def test_it_is_proved_and_lists_what_it_rests_on() -> None:
    certificate = bst.check(BOUND)
    assert certificate.verdict is bst.Verdict.PROVED, certificate.reason
    assert {"log_tangent", "descent_lemma", "tower", "telescope"} <= set(certificate.rests_on)
    assumed = {r.removeprefix("assumption: ") for r in certificate.rests_on if r.startswith("assumption: ")}
    assert assumed == {a.name for a in BOUND.assumptions} - {"update"}


def test_an_altered_constant_is_rejected() -> None:
    def edit(steps, _):
        steps["young_past"]["gap"] = steps["young_past"]["gap"].replace("/(4*Q)", "/(5*Q)")

    assert "left over" in damaged(edit)


def test_a_dropped_term_is_rejected() -> None:
    def edit(steps, _):
        steps["one_step"]["gap"] = "G*mean_gP - G**2/(2*Q)"

    assert "left over" in damaged(edit)


def test_a_flipped_sign_is_rejected() -> None:
    def edit(steps, _):
        steps["log_sum"]["gap"] = steps["log_sum"]["gap"].replace("- log_prev", "+ log_prev")

    assert "left over" in damaged(edit)


def test_a_wrong_multiplier_is_rejected() -> None:
    def edit(steps, _):
        uses = steps["assembled"]["uses"]
        next(entry for entry in uses if entry[0] == ["norm_total"])[1] = "L*alpha/2 + R"

    assert "left over" in damaged(edit)


def test_a_negative_multiplier_is_rejected() -> None:
    def edit(steps, _):
        uses = steps["assembled"]["uses"]
        next(entry for entry in uses if entry[0] == ["gain_total"])[1] = "-1/2"

    assert "not visibly nonnegative" in damaged(edit)


def test_a_smaller_right_hand_side_is_rejected() -> None:
    def edit(_, document):
        document["claim"]["rhs"] = f"({document['claim']['rhs']})/1000"

    assert "final gap" in damaged(edit)


def test_a_batch_that_knows_the_draw_is_rejected() -> None:
    def edit(_, document):
        document["symbols"]["B"]["depends"] = ["step", "draw"]

    assert damaged(edit)


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


def test_the_tree_evaluation_sees_a_false_claim() -> None:
    constants, nodes = cosine_tree(
        random.Random(0),
        depth=3,
        dimension=2,
        half_life=5.0,
        alpha=0.3,
        eps=1e-2,
        noise=0.5,
        batch=lambda r, level: r.choice([1, 2, 4]),
    )
    false = copy.deepcopy(DOCUMENT)
    for step in false["steps"]:
        if step["name"] == "log_sum":  # the residual ln2 B/h removed: a decaying v refutes it
            step["gap"] = "log_next - log_prev - c*g**2/P**2"
    assert "log_sum" in {v.step for v in Evaluator(false, constants, nodes, 2).violations()}


@given(
    alpha=st.floats(1e-3, 10),
    h=st.floats(1, 1e6),
    eps=st.floats(1e-8, 1),
    R=st.floats(0.1, 10),
    L=st.floats(0.1, 10),
    delta=st.floats(0, 10),
    batches=st.lists(st.integers(1, 64), min_size=1, max_size=20),
)
def test_the_value_is_the_stated_formula(alpha, h, eps, R, L, delta, batches) -> None:
    found = BOUND.evaluate(
        constants={"alpha": alpha, "h": h, "eps": eps, "R": R, "L": L, "d": 3, "Delta": delta},
        schedule=batches,
    )
    log = math.log1p(R * R / eps) + math.log(2) * sum(batches) / h
    stated = 2 * math.sqrt(eps + R * R) * (delta / alpha + 3 * (2 * R + L * alpha / 2) * log)
    assert found.value == pytest.approx(stated, rel=1e-9)
    weight = sum(math.sqrt(-math.expm1(-math.log(2) * b / h)) for b in batches)
    assert found.trivial_value == pytest.approx(3 * R * R * weight, rel=1e-9)


def test_evaluation_is_vectorised_over_constants() -> None:
    constants = {
        "alpha": 0.1,
        "h": np.array([10.0, 100.0]),
        "eps": 1e-2,
        "R": 1.5,
        "L": 1.0,
        "d": 2,
        "Delta": 1.0,
    }
    both = BOUND.evaluate(constants=constants, schedule=[1, 2, 3])
    single = [BOUND.evaluate(constants={**constants, "h": h}, schedule=[1, 2, 3]) for h in (10.0, 100.0)]
    np.testing.assert_allclose(both.value, [e.value for e in single], rtol=1e-12)
    np.testing.assert_allclose(both.trivial_value, [e.trivial_value for e in single], rtol=1e-12)


@pytest.mark.parametrize(
    ("constants", "schedule", "message"),
    [
        ({"alpha": 1}, [1], "no value for h"),
        ({"alpha": 1, "h": 1, "eps": 1, "R": 1, "L": 1, "d": 1, "Delta": 1, "beta": 1}, [1], "beta"),
        ({"alpha": -1, "h": 1, "eps": 1, "R": 1, "L": 1, "d": 1, "Delta": 1}, [1], "alpha=-1"),
        ({"alpha": math.nan, "h": 1, "eps": 1, "R": 1, "L": 1, "d": 1, "Delta": 1}, [1], "alpha=nan"),
        (
            {"alpha": 1, "h": 1, "eps": 1, "R": 1, "L": 1, "d": 1, "Delta": 1},
            [1, 0],
            "batch_size=0 at step 1",
        ),
        ({"alpha": 1, "h": 1, "eps": 1, "R": 1, "L": 1, "d": 1, "Delta": 1}, [1.5], "batch_size=1.5"),
        ({"alpha": 1, "h": 1, "eps": 1, "R": 1, "L": 1, "d": 1, "Delta": 1}, None, "no schedule"),
    ],
)
def test_bad_constants_are_named(constants, schedule, message) -> None:
    with pytest.raises(bst.InputError, match=message):
        BOUND.evaluate(constants=constants, schedule=schedule)


@settings(max_examples=5)
@given(young=st.fractions(min_value="1/100", max_value="49/100", max_denominator=1000))
def test_the_derivation_holds_for_every_young_weight(young) -> None:
    import sympy as sp

    document = module.derive(sp.Rational(young.numerator, young.denominator)).document()
    assert recheck_document(document).valid


def test_tightening_is_never_looser_and_its_choice_is_proved() -> None:
    import sympy as sp

    constants = {"alpha": 0.1, "h": 100.0, "eps": 1e-2, "R": 2, "L": 1, "d": 4, "Delta": 1000}
    found = BOUND.tighten(constants=constants, schedule=[1] * 250)
    assert found.value < found.published_value
    assert found.published_value == pytest.approx(
        BOUND.evaluate(constants=constants, schedule=[1] * 250).value
    )
    chosen = found.choice["young"]
    assert found.value == pytest.approx(
        BOUND.evaluate(constants={**constants, "young": float(chosen)}, schedule=[1] * 250).value
    )
    assert recheck_document(module.derive(sp.Rational(chosen.numerator, chosen.denominator)).document()).valid
    both = BOUND.tighten(constants=constants, schedule=[1] * 250, also=("alpha",))
    assert both.value * BOUND.evaluate(constants=constants, schedule=[1] * 250).parts["weight"] < found.value
    with pytest.raises(bst.InputError, match="also='beta'"):
        BOUND.tighten(constants=constants, schedule=[1], also=("beta",))
