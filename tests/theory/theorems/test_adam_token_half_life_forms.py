"""Forms of flagship 1 without momentum: proved, damage noticed, true on finite trees, valued as stated."""

from __future__ import annotations

import copy
import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bstheory as bst
from bstheory.checking import recheck_document
from bstheory.checking.semantics import Evaluator
from bstheory.theory.theorems import adam_token_half_life_bias_corrected as bias_corrected
from bstheory.theory.theorems import adam_token_half_life_initial as initial
from bstheory.theory.theorems import adam_token_half_life_unnormalised as unnormalised
from bstheory.theory.theorems import adam_token_half_life_variance_aware as variance_aware
from tests.theory.adam_trees import adam_tree, random_setting, right_side
from tests.theory.mutation import assert_damage_is_noticed, few_damaged

MODULES = (initial, variance_aware, bias_corrected, unnormalised)
STARTS, PLAIN = initial.BOUND.document()["parts"], unnormalised.BOUND.document()["parts"]
PARTS = {
    "any_start": STARTS["any_start"],
    "first_batch": STARTS["first_batch"],
    "variance_aware": variance_aware.BOUND.document(),
    "bias_corrected": bias_corrected.BOUND.document(),
    "unnormalised": PLAIN["theorem"],
}
OF = {
    initial.SLUG: ("any_start", "first_batch"),
    variance_aware.SLUG: ("variance_aware",),
    bias_corrected.SLUG: ("bias_corrected",),
    unnormalised.SLUG: ("unnormalised",),
}
SHARED = {"alpha": 0.1, "h": 50.0, "eps": 1e-2, "R": 1.5, "L": 1.0, "d": 3, "Delta": 2.0}


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.SLUG)
def test_it_is_proved_from_the_listed_assumptions(module) -> None:
    documents = [document for form, document in PARTS.items() if form in OF[module.SLUG]]
    if module is unnormalised:
        documents.append(PLAIN["largest_sum"])
    reports = [recheck_document(document) for document in documents]
    assert all(report.valid for report in reports), [report.reason for report in reports]
    rests_on = {fact for report in reports for fact in report.rests_on}
    assumed = {r.removeprefix("assumption: ") for r in rests_on if r.startswith("assumption: ")}
    assert assumed == {a.name for a in module.BOUND.assumptions} - {"update"}


@pytest.mark.parametrize("form", PARTS)
def test_damaged_copies_are_rejected(form) -> None:
    """A seeded sample of single damages; one that still checks must be true on trees."""
    damaged = few_damaged(PARTS[form], count=8, seed=5)
    accepted = [(change, document) for change, document in damaged if recheck_document(document).valid]
    constants, nodes, _ = adam_tree(random.Random(0), form)
    for change, document in accepted:
        assert not Evaluator(document, constants, nodes, 2).violations(), change
    assert len(accepted) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("form", PARTS)
def test_every_small_damage_is_noticed(form) -> None:
    assert_damage_is_noticed(PARTS[form])


@pytest.mark.parametrize("form", PARTS)
@settings(max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_every_step_holds_on_random_finite_trees(form, seed) -> None:
    rng = random.Random(seed)
    constants, nodes, facts = adam_tree(rng, form, **random_setting(rng))
    evaluator = Evaluator(PARTS[form], constants, nodes, 2)
    assert evaluator.violations() == []
    assert facts["weighted"] <= right_side(PARTS[form], evaluator) * (1 + 1e-12)
    left = evaluator.expression("weighted_sum", 0, 0, 0)
    assert left == pytest.approx(facts["weighted"], rel=1e-9)


@settings(max_examples=20)
@given(
    alpha=st.floats(1e-3, 10),
    h=st.floats(1, 1e6),
    eps=st.floats(1e-8, 1),
    R=st.floats(1.1, 10),
    L=st.floats(0.1, 10),
    delta=st.floats(0, 10),
    v0=st.lists(st.floats(0, 200), min_size=3, max_size=3),
    batches=st.lists(st.integers(1, 64), min_size=1, max_size=20),
)
def test_values_are_the_stated_formulas(alpha, h, eps, R, L, delta, v0, batches) -> None:
    shared = {"alpha": alpha, "h": h, "eps": eps, "R": R, "L": L, "d": 3, "Delta": delta}
    D, ln2 = sum(batches), math.log(2)

    logs = sum(math.log((eps + max(v, R * R)) / (eps + v)) for v in v0)
    stated = 2 * math.sqrt(eps + max(R * R, *v0))
    stated *= delta / alpha + (2 * R + L * alpha / 2) * (logs + 3 * ln2 * D / h)
    found = initial.BOUND.evaluate(constants=shared | {"v0": v0}, schedule=batches)
    assert found.value == pytest.approx(stated, rel=1e-9)

    ell = math.log1p(R * R / eps)
    root = 2 * math.sqrt(eps + R * R)
    sharper = initial.BOUND.evaluate(constants=shared | {"v0": 0}, schedule=batches).parts["first_batch"]
    residual = ell + ln2 * (D - batches[0]) / h
    assert sharper == pytest.approx(root * (delta / alpha + 3 * (2 * R + L * alpha / 2) * residual), rel=1e-9)

    sigma, G = [0.3, 2.0, 0.0], 1.0
    r = [[min(R, math.sqrt(G * G + t * t / b)) for b in batches] for t in sigma]
    error = sum(
        ell * (x[0] + sum(max(b - a, 0) for a, b in itertools.pairwise(x)))
        + ln2 / h * sum(a * b for a, b in zip(x, batches, strict=True))
        for x in r
    )
    stated = root * (delta / alpha + 2 * error + 3 * L * alpha / 2 * (ell + ln2 * D / h))
    found = variance_aware.BOUND.evaluate(constants=shared | {"sigma": sigma, "G_inf": G}, schedule=batches)
    assert found.value == pytest.approx(stated, rel=1e-9)
    # r_1 + rises = r_K + falls: the catalogue's form of the same number.
    for x in r:
        rises = sum(max(b - a, 0) for a, b in itertools.pairwise(x))
        falls = sum(max(a - b, 0) for a, b in itertools.pairwise(x))
        assert x[0] + rises == pytest.approx(x[-1] + falls, rel=1e-12)

    b1, bK = -math.expm1(-ln2 * batches[0] / h), -math.expm1(-ln2 * D / h)
    residual = ell + math.log(bK / b1) + ln2 * (D - batches[0]) / h
    stated = root * (delta / alpha + 3 * (2 * R + L * alpha / 2) * residual)
    found = bias_corrected.BOUND.evaluate(constants=shared, schedule=batches)
    assert found.value == pytest.approx(stated, rel=1e-8)

    count = top = 0.0
    for b in batches:
        count = 2 ** (-b / h) * count + 1
        top = max(top, count)
    rbar = min(R - math.sqrt(eps), math.sqrt(G * G + 0.25 / min(batches)))
    stated = 2 * R * delta / alpha + 3 * (4 * R * rbar * math.sqrt(top) + alpha * R * L * top) * (
        math.log1p(top * R * R / eps) + ln2 * D / h
    )
    found = unnormalised.BOUND.evaluate(constants=shared | {"sigma": 0.5, "G_inf": G}, schedule=batches)
    assert found.value == pytest.approx(stated, rel=1e-9)
    assert found.parts["S"] <= 1 / -math.expm1(-ln2 * min(batches) / h) * (1 + 1e-9)


def test_the_general_start_returns_the_published_form_at_zero() -> None:
    plain = bst.theorems.adam_token_half_life.evaluate(constants=SHARED, schedule=[1, 2, 4, 8])
    general = initial.BOUND.evaluate(constants=SHARED | {"v0": 0}, schedule=[1, 2, 4, 8])
    assert general.value == pytest.approx(plain.value, rel=1e-12)
    assert general.parts["first_batch"] < general.value


def test_a_rising_batch_gains_from_knowing_its_noise() -> None:
    constants = SHARED | {"R": 10.0, "G_inf": 1.0, "sigma": 9.0}
    ramp, saw = [1, 4, 16, 64] * 5, sorted([1, 4, 16, 64] * 5)
    rising = variance_aware.BOUND.evaluate(constants=constants, schedule=saw)
    jagged = variance_aware.BOUND.evaluate(constants=constants, schedule=ramp)
    plain = bst.theorems.adam_token_half_life.evaluate(constants=SHARED | {"R": 10.0}, schedule=saw)
    assert rising.value < plain.value < jagged.value
    assert rising.parts["rises"] == 0 < jagged.parts["rises"]


def test_with_the_root_left_at_r_the_denominator_step_fails() -> None:
    """v_0 > R^2 with the outer root sqrt(eps + R^2): invalid, and false on a tree."""
    document = copy.deepcopy(PARTS["any_start"])
    document["symbols"]["Z"]["definition"]["of"] = "R**2 + eps"
    next(t for t in document["steps"] if t["name"] == "definition_of_Z")["gap"] = "Z**2 - R**2 - eps"
    assert "root_order" in recheck_document(document).reason
    constants, nodes, _ = adam_tree(random.Random(3), "any_start", v0=400.0, noise=0.0)
    assert "root_order" in {v.step for v in Evaluator(document, constants, nodes, 2).violations()}


def test_evaluation_is_vectorised_over_constants() -> None:
    hs = np.array([10.0, 100.0])
    for module, extra in (
        (initial, {"v0": [0.0, 1.0, 9.0]}),
        (variance_aware, {"sigma": [0.1, 0.2, 0.3], "G_inf": 1.0}),
        (bias_corrected, {}),
        (unnormalised, {"sigma": 0.5, "G_inf": 1.0}),
    ):
        both = module.BOUND.evaluate(constants=SHARED | extra | {"h": hs}, schedule=[1, 2, 3])
        single = [
            module.BOUND.evaluate(constants=SHARED | extra | {"h": h}, schedule=[1, 2, 3]).value for h in hs
        ]
        np.testing.assert_allclose(both.value, single, rtol=1e-12)


@pytest.mark.parametrize(
    ("module", "constants", "message"),
    [
        (initial, {"v0": [1.0, 2.0]}, r"v0 of shape \(2,\)"),
        (initial, {"v0": -1.0}, "v0=-1.0"),
        (variance_aware, {"sigma": [1.0, 2.0], "G_inf": 1}, "sigma of shape"),
        (unnormalised, {"sigma": 1.0, "G_inf": 1, "eps": 9.0}, "bounded_gradient"),
        (bias_corrected, {"young": 0.5}, r"\(0, 1/2\)"),
    ],
)
def test_constants_outside_the_hypotheses_are_named(module, constants, message) -> None:
    with pytest.raises(bst.InputError, match=message):
        module.BOUND.evaluate(constants=SHARED | constants, schedule=[1, 2])
