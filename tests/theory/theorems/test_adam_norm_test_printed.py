"""The printed norm-test theorem: each defect as a computation, and what can be established about it."""

from __future__ import annotations

import math

import pytest

import bstheory as bst
from bstheory.theory.theorems import adam_norm_test, adam_norm_test_printed
from tests.theory.mutation import few_damaged

BOUND = adam_norm_test_printed.BOUND
CONSTANTS = {"alpha": 1e-3, "beta1": 0.9, "beta2": 0.999, "eta": 0.2, "L": 1.0, "v0": [1.0, 1.0]}
CONSTANTS |= {"G1": [1.0, 0.5], "sigma": 1.0}


def printed(**change):
    return BOUND.evaluate(constants=CONSTANTS | change)


def test_what_is_established_checks() -> None:
    certificate = bst.check(BOUND)
    assert certificate.verdict is bst.Verdict.ENCLOSED, certificate.reason


def test_damaged_derivations_are_rejected() -> None:
    from bstheory.checking import recheck_document

    parts = BOUND.document()["parts"]
    for name in ("vacuous", "printed_implies_C"):
        for change, copy in few_damaged(parts[name], count=12, seed=4):
            assert not recheck_document(copy).valid, (name, change)


def test_it_is_vacuous_at_fixed_beta2() -> None:
    """The average over K steps does not fall, however many steps are taken."""
    few, many, most = (printed(K=K).parts for K in (10**3, 10**6, 10**9))
    assert few["per_step"] >= many["per_step"] >= most["per_step"] >= most["per_step_limit"] > 1
    assert most["per_step"] == pytest.approx(most["per_step_limit"], rel=0.3)
    assert most["per_step"] > math.sqrt(1.25)  # more than |G_1| itself: nothing is learnt


def test_the_constant_is_infinite_where_the_algorithm_starts() -> None:
    found = printed(K=100, v0=[0.0, 1.0])
    assert found.parts["c2"] == math.inf and found.value == math.inf and found.vacuous


def test_the_runs_violate_the_condition() -> None:
    for eta, limit in ((0.05, 0.530), (0.2, 0.514)):
        found = printed(K=10, beta2=0.95, eta=eta).parts
        assert not found["printed_condition"]
        assert found["condition_limit"] == pytest.approx(limit, abs=1e-3)


def test_the_initial_loss_does_not_enter() -> None:
    assert "Delta" not in {p.name for p in BOUND.parameters}
    with pytest.raises(bst.InputError, match="Delta"):
        printed(K=10, Delta=1.0)


def test_the_least_beta2_of_both_conditions_is_enclosed() -> None:
    from fractions import Fraction

    claims = {c["name"]: c for c in BOUND.document()["parts"]["numbers"]["claims"]}
    stated = {
        "printed": (0.98852, 0.98890, 0.99065, 0.99401),
        "condition_C": (0.9612, 0.9623, 0.9677, 0.9786),
    }
    for name, expected in stated.items():
        for number, beta2 in enumerate(expected):
            claim = claims[f"{name}_{number}"]
            assert Fraction(claim["lower"]) <= Fraction(claim["upper"])
            assert float(Fraction(claim["lower"])) == pytest.approx(beta2, abs=1e-4)
    assert float(Fraction(claims["rho_3"]["upper"])) < 1, "the free form admits (0.9, 0.95) even at eta = 1"


def test_condition_c_does_not_imply_the_printed_one() -> None:
    """z3 finds no counter-example to one direction and one to the other."""
    import z3

    y, b, s = z3.Reals("y b s")
    setting = [y > 0, y < 1, b >= 0, b < y, s >= 1, s <= 2]
    printed_holds = b * y**4 <= y**5 - 8 * s * (1 - y * y)
    condition_c = 8 * s * (1 - y) * y * y <= y * y - b * b
    solver = z3.Solver()
    solver.set("timeout", 20_000)
    solver.add(*setting, condition_c, z3.Not(printed_holds))
    assert solver.check() == z3.sat
    solver = z3.Solver()
    solver.set("timeout", 20_000)
    solver.add(*setting, printed_holds, z3.Not(condition_c))
    assert solver.check() == z3.unsat


def test_the_corrected_theorem_speaks_where_the_printed_one_does_not() -> None:
    constants = {k: v for k, v in CONSTANTS.items() if k != "sigma"} | {"Delta": 1.0, "K": 10, "beta2": 0.97}
    found = adam_norm_test.BOUND.evaluate(constants=constants | {"alpha": 1e-5})
    assert found.parts["condition_C"] and not found.parts["printed_condition"]
