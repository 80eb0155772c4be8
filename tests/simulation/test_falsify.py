"""The falsifier refutes what is false, does not refute what is true, and its witnesses replay."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from bstheory.errors import InputError
from bstheory.simulation.attack import CLAIMS, PLANTED, claim_for, momentum_weights
from bstheory.simulation.falsify import falsify, replay
from bstheory.theory.theorems.adam_token_half_life_momentum import lag_constants
from bstheory.verdict import Verdict


@pytest.mark.parametrize("claim", PLANTED, ids=lambda c: c.slug)
def test_planted_false_bounds_are_refuted_in_the_default_budget(claim) -> None:
    attack = falsify(claim)
    assert attack.verdict is Verdict.REFUTED
    assert attack.worst.log_wealth >= -np.log(attack.alpha)
    assert replay(claim, attack.worst) == pytest.approx(attack.worst.ratio, rel=1e-12)
    json.dumps(attack.document(), allow_nan=False)


@pytest.mark.parametrize("slug", sorted(CLAIMS))
def test_true_bounds_are_not_refuted(slug: str) -> None:
    budget = 30 if slug.endswith("muon") else 150  # a singular value decomposition a step
    attack = falsify(claim_for(slug), budget=budget)
    assert attack.verdict is Verdict.CONSISTENT
    assert attack.evaluated == budget
    assert attack.worst.ratio > 0 and attack.worst.ratio - 3 * attack.worst.ratio_se < 1 + 1e-12


def test_a_tight_bound_attacked_by_many_searches_raises_no_alarm() -> None:
    # The SGD bound is attained in the limit, so every search ends at a ratio near 1: the hardest true case.
    alarms = sum(
        falsify(
            claim_for("sgd_nonconvex_batch_schedule"), budget=80, alpha=0.05, seed=seed, confirm_seeds=512
        ).verdict
        is Verdict.REFUTED
        for seed in range(8)
    )
    assert alarms <= 2  # Binomial(8, 0.05) exceeds 2 with probability 6e-3


def test_hypothesis_search_refutes_too() -> None:
    attack = falsify(claim_for("adam_token_half_life:thousandth"), search="hypothesis", budget=300)
    assert attack.verdict is Verdict.REFUTED


def test_reproducible() -> None:
    claim = claim_for("sign_sgd_batch_schedule")
    assert falsify(claim, budget=60) == falsify(claim, budget=60)


def test_a_bound_of_zero_is_refuted_by_anything_positive() -> None:
    claim = dataclasses.replace(claim_for("sign_sgd_batch_schedule"), bound=lambda case: 0.0)
    attack = falsify(claim, budget=10)
    assert attack.verdict is Verdict.REFUTED


@pytest.mark.parametrize(
    "arguments, message",
    [({"budget": 0}, "budget=0"), ({"search": "annealing"}, "annealing"), ({"seeds": 0}, "seeds=0")],
)
def test_invalid_arguments(arguments, message: str) -> None:
    with pytest.raises(InputError, match=message):
        falsify(claim_for("sign_sgd_batch_schedule"), **arguments)


def test_unknown_slug() -> None:
    with pytest.raises(InputError, match="can attack"):
        claim_for("perpetual_motion")


@pytest.mark.parametrize("momentum", ["half_life", "constant"])
def test_weights_of_the_momentum_form_are_the_theorems(momentum: str) -> None:
    """The backward recursion against the double sum that the theorem states."""
    claim = claim_for("adam_token_half_life_momentum")
    units = np.random.default_rng(5).random(len(claim.space))
    case = claim.build(claim.point(units) | {"momentum": momentum, "num_steps": 40})
    c = case.constants
    theirs = lag_constants(case.batch_size.astype(float), c["h"], c["beta1"], c["t1"])["weights"]
    np.testing.assert_allclose(momentum_weights(case.optimizer, case.batch_size), theirs, rtol=1e-12)


def test_noise_of_the_norm_test_case_passes_the_test() -> None:
    """Var g_i = growth x_i^2 / B is at most eta^2 G_i^2, with equality at the smallest batch."""
    claim = claim_for("adam_norm_test")
    case = claim.build(claim.point(np.full(len(claim.space), 0.6)))
    h, growth = case.problem.params["curvature"], case.problem.params["noise_growth"]
    worst = np.max(growth / np.square(h)) / case.batch_size.min()
    assert worst == pytest.approx(case.constants["eta"] ** 2, rel=1e-12)
