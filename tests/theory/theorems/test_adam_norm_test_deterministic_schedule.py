"""The norm test along a fixed schedule: proved, true on trees, and wider than what it replaces."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bstheory as bst
from bstheory.checking import recheck_document
from bstheory.theory.theorems import adam_norm_test_deterministic_schedule as module
from bstheory.theory.theorems import adam_norm_test_token_half_life as joined
from tests.theory.mutation import assert_damage_is_noticed, few_damaged
from tests.theory.norm_test_trees import complete, norm_test_tree, real_violations

BOUND = module.BOUND
PARTS = BOUND.document()["parts"]
SHARED = {"alpha": 1e-4, "beta1": 0.9, "eta": 0.5, "L": 1.0, "Delta": 1.0, "v0": [1.0, 2.0], "G1": [1.0, 0.5]}


def test_it_is_proved_from_the_listed_assumptions() -> None:
    reports = [recheck_document(part) for part in PARTS.values()]
    assert all(report.valid for report in reports), [report.reason for report in reports]
    rests_on = {fact for report in reports for fact in report.rests_on}
    assumed = {r.removeprefix("assumption: ") for r in rests_on if r.startswith("assumption: ")}
    assert assumed == {a.name for a in BOUND.assumptions}


@pytest.mark.parametrize("name", PARTS)
def test_damaged_copies_are_rejected(name) -> None:
    accepted = [
        change for change, copy in few_damaged(PARTS[name], count=3, seed=7) if recheck_document(copy).valid
    ]
    assert len(accepted) <= 1, accepted


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS)
def test_every_small_damage_is_noticed(name) -> None:
    assert_damage_is_noticed(PARTS[name])


@settings(max_examples=8)
@given(
    seed=st.integers(0, 10**6),
    batches=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    beta1=st.sampled_from([0.2, 0.5]),
)
def test_every_step_holds_on_random_finite_trees(seed, batches, beta1) -> None:
    rng = random.Random(seed)
    n = {
        "beta1": beta1,
        "eta": 0.5,
        "h": 60.0,
        "L": 1.0,
        "theta": 0.25,
        "zeta": 8.0,
        "abel": 0.3,
        "q_min": 1.0,
    }
    rates = np.array([1e-4 * rng.uniform(0.5, 2) for _ in batches])
    plan = module.sequences(n, np.array(batches), rates)
    if plan["net"] <= 0:
        return
    plan |= {"batch_size": batches, "rates": rates, "q_min": 1.0, "v0": 1.0}
    constants, nodes, left = norm_test_tree(rng, beta1=beta1, eta=0.5, half_life=60.0, plan=plan)
    evaluator = complete(PARTS["l1"], constants, nodes, plan["net"])
    assert real_violations(evaluator) == []
    assert left["S"] == pytest.approx(evaluator.symbol("S", 0, 0, 0), rel=1e-9)
    assert left["S"] <= evaluator.symbol("S_0", 0, 0, 0)
    assert left["l1"] <= evaluator.expression(PARTS["l1"]["claim"]["rhs"], 0, 0, 0)


def test_the_backward_recursion_is_exact_along_a_path() -> None:
    rng = np.random.default_rng(0)
    batches, rates = np.array([3, 1, 8, 2, 5]), np.array([1e-3, 2e-3, 5e-4, 1e-3, 3e-3])
    n = {
        "beta1": 0.7,
        "eta": 0.5,
        "h": 50.0,
        "L": 1.0,
        "theta": 0.25,
        "zeta": 8.0,
        "abel": 0.25,
        "q_min": 1.0,
    }
    s = module.sequences(n, batches, rates)
    w = [0.3, 0.3]  # w_0 = w_1
    p, m, v = [0.0], 0.0, 1.0
    for k, rate in enumerate(rates):
        g, y = rng.normal(), s["y"][k]
        m, v = 0.7 * m + 0.3 * g, y * y * v + (1 - y * y) * g * g
        p.append(m / math.sqrt(v))
        w.append(w[-1] - rate * p[-1])
    u = [w[k + 1] + s["kappa"][k] * (w[k + 1] - w[k]) for k in range(6)]
    for k in range(5):
        assert u[k + 1] - u[k] == pytest.approx(-s["a"][k] * (p[k + 1] - s["gam"][k] * p[k]), abs=1e-15)


def test_a_constant_schedule_gives_back_the_constant_form() -> None:
    h, K = 1000.0, 50
    free = {"theta": 0.25, "zeta": 8.0}
    joint = joined.BOUND.evaluate(constants=SHARED | free | {"h": h}, schedule=[1] * K)
    spent = joint.parts["rho"] + 2 ** (-1 / (2 * h)) / 8
    along = BOUND.evaluate(constants=SHARED | free | {"h": h, "abel": spent}, schedule=[1] * K)
    assert along.value == pytest.approx(joint.value, rel=0.02)  # psi stops at the last step


@pytest.mark.parametrize("schedule", [list(range(1, 40)), [16, 8, 4, 2, 1] * 6])
def test_it_covers_schedules_that_theorem_c_does_not(schedule) -> None:
    constants = SHARED | {"h": 1000.0}
    with pytest.raises(bst.InputError, match="hypothesis net"):
        joined.BOUND.evaluate(constants=constants, schedule=schedule)
    found = BOUND.evaluate(constants=constants, schedule=schedule)
    assert found.parts["net"] > 0 and math.isfinite(found.value)


@pytest.mark.parametrize(
    ("change", "schedule", "message"),
    [
        ({"h": 2.0}, [1, 2], "hypothesis momentum"),
        ({"h": 1000.0, "alpha": 1.0}, [1, 2], "hypothesis net"),
        ({"h": 1000.0, "abel": 1.5}, [1], "abel=1.5"),
        ({"h": 1000.0}, None, "no schedule"),
    ],
)
def test_constants_outside_the_hypotheses_are_named(change, schedule, message) -> None:
    with pytest.raises(bst.InputError, match=message):
        BOUND.evaluate(constants=SHARED | change, schedule=schedule)
