"""The weighted test gives every one-step bound that flagship 2 uses; a search for counter-examples agrees."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bstheory.checking.recheck import recheck_document
from bstheory.theory.theorems import adam_norm_test, adam_norm_test_token_half_life
from bstheory.theory.theorems.sqrt_v_weighted_test import BOUND
from tests.theory.checks import assert_established


def test_it_is_proved_and_damage_is_noticed() -> None:
    # The first part holds for any positive weights that the draw does not move.
    still_true = ("growth: definition of q_prev",)
    parts = ("growth", "main_term", "second_order", "roots")
    assert_established(BOUND, parts=parts, still_true=still_true)


def test_flagship_2_rests_on_the_weighted_test_alone_with_the_same_right_hand_sides() -> None:
    found = BOUND.derivation()
    for name, same in (
        ("l1", adam_norm_test.master(conclude="l1")),
        ("theorem_b", adam_norm_test.theorem_b()),
        ("theorem_c", adam_norm_test_token_half_life.theorem_c()),
    ):
        report = recheck_document(found[name].document())
        assert report.valid, report.reason
        assert "assumption: weighted_test" in report.rests_on
        assert found[name].claim[1:] == same.claim[1:]
        # What is left under the name of the coordinate-wise test is the definition s = 1 + eta^2.
        steps = [s for s in found[name].document()["steps"] if s.get("assumption") == "norm_test"]
        assert [step["name"] for step in steps] == ["growth"]


def test_the_weighted_test_cannot_be_dropped() -> None:
    document = BOUND.derivation()["theorem_b"].document()
    for step in document["steps"]:
        if step["name"] == "noise_sum":
            step["uses"] = [u for u in step["uses"] if u[0] != ["norm_test"]]
    assert "left over" in recheck_document(document).reason


def instance(rng: np.random.Generator, dimension: int, outcomes: int):
    """A random finite law scaled so that the weighted test holds with equality for a drawn eta."""
    v = rng.lognormal(0, 2, dimension)
    G = rng.normal(size=dimension) * rng.choice([0.0, 1.0, 10.0], dimension)
    G[rng.integers(dimension)] += 1.0
    noise = rng.standard_t(1.5, (outcomes, dimension))
    p = rng.dirichlet(np.full(outcomes, 0.3))
    noise -= p @ noise
    eta = rng.choice([0.05, 0.5, 0.99, 3.0])
    power = (p @ noise**2 / np.sqrt(v)).sum()
    noise *= eta * math.sqrt((G**2 / np.sqrt(v)).sum() / power)
    return v, G, G + noise, p, eta


@given(seed=st.integers(0, 10**7))
def test_no_counter_example_in_a_random_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dimension, outcomes = int(rng.integers(1, 6)), int(rng.integers(2, 6))
    v, G, g, p, eta = instance(rng, dimension, outcomes)
    beta2 = rng.choice([0.01, 0.5, 0.9, 0.999])
    s, past = 1 + eta**2, np.sqrt(beta2 * v)
    after = np.sqrt(beta2 * v + (1 - beta2) * g**2)
    D = 1 / past - 1 / after
    signal = (G**2 / past).sum()
    tolerance = 1 + 1e-9
    assert (p @ (g**2 / past)).sum() <= s * signal * tolerance
    main = (G * (p @ (g * D))).sum()
    assert main <= (signal / 4 + s * (G**2 * (p @ D)).sum()) * tolerance
    assert (p @ (g**2 / after**2)).sum() <= s / past.min() * signal * tolerance
    assert (p @ after).sum() <= (past.sum() + (1 - beta2) * s / 2 * signal) * tolerance


def test_it_is_weaker_than_the_coordinate_wise_test() -> None:
    # All noise in a coordinate without gradient: no batch passes coordinate by coordinate.
    found = BOUND.evaluate(
        constants={"G": [1.0, 0.0], "sigma": [0.0, 1.0], "v": [1.0, 1.0], "eta": 0.5, "beta2": 0.9}
    )
    assert found.parts["coordinate_batch"] == math.inf and found.parts["batch"] == pytest.approx(4.0)
    assert found.value == pytest.approx(1.25 / math.sqrt(0.9))


@given(seed=st.integers(0, 10**6))
def test_its_batch_is_never_larger_than_the_coordinate_wise_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 8))
    constants = {
        "G": rng.normal(size=n),
        "sigma": rng.lognormal(size=n),
        "v": rng.lognormal(0, 3, n),
        "eta": 0.3,
        "beta2": 0.95,
    }
    parts = BOUND.evaluate(constants=constants).parts
    assert parts["batch"] <= parts["coordinate_batch"] * (1 + 1e-9)


def test_a_false_strengthening_is_refuted_by_the_search() -> None:
    # Without the (1 + eta^2) in front of the second sum the bound fails: the search must see that.
    rng, violated = np.random.default_rng(0), 0
    for _ in range(2000):
        v, G, g, p, _ = instance(rng, int(rng.integers(1, 4)), 3)
        past = np.sqrt(0.5 * v)
        D = 1 / past - 1 / np.sqrt(0.5 * v + 0.5 * g**2)
        violated += (G * (p @ (g * D))).sum() > (G**2 / past).sum() / 4 + 0.25 * (G**2 * (p @ D)).sum()
    assert violated > 0
