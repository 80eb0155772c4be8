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


def walk(K: int, *, alpha: float, beta1: float, beta2: float, v0: float, width: float) -> tuple[float, float]:
    """sum_k |G_k| and F(w_1) - F_* of the printed algorithm on F = width sqrt(1 + (w/width)^2), w_1 = 10 width.

    No noise, so that the norm test holds for every eta; F is (1/width)-smooth and at least width.
    """
    w, m, v, seen = 10 * width, 0.0, v0, 0.0
    for _ in range(K):
        g = (w / width) / math.sqrt(1 + (w / width) ** 2)
        seen += abs(g)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        w -= alpha * m / math.sqrt(v)
    return seen, width * (math.sqrt(101) - 1)


@pytest.mark.parametrize("K", [1000, 4000])
def test_the_printed_inequality_is_false(K: int) -> None:
    """All its hypotheses hold, and the left side is two to seven times the right: far from the minimum, F is a slope.

    With F(w_1) - F_* in the first term of c2, which the proof needs there, the inequality holds.
    """
    run = {"alpha": 1.0, "beta1": 0.1, "beta2": 0.999}
    width = 1e6
    seen, delta = walk(K, v0=1.0, width=width, **run)
    start = {"v0": [1.0], "G1": [10 / math.sqrt(101)], "eta": 0.5, "L": 1 / width, "sigma": 1e-3, "K": K}
    found = BOUND.evaluate(constants=run | start)
    assert found.parts["printed_condition"] and seen > 2 * found.value
    c1, c2 = found.parts["c1"], found.parts["c2"] + found.parts["c2_without_Delta"] * (delta - 1)
    R = found.parts["R"] + 12 * 1.25 / math.sqrt(run["beta2"]) * (c2 - found.parts["c2"])
    assert seen < math.sqrt((c2 + 2 * c1 * math.log(R)) * R)
    # The corrected theorem, with its own conditions, holds on the same path at a rate that it admits.
    corrected = {"alpha": 1e-2, "beta1": 0.1, "beta2": 0.999, "eta": 0.5, "L": 1 / width, "K": K}
    seen, delta = walk(K, alpha=1e-2, beta1=0.1, beta2=0.999, v0=1.0, width=width)
    bound = adam_norm_test.BOUND.evaluate(
        constants=corrected | {"v0": [1.0], "G1": [10 / math.sqrt(101)], "Delta": delta}
    )
    assert seen <= bound.value


def test_c1_does_not_scale_with_the_loss_and_with_the_lemma_it_would() -> None:
    """F, L, sigma, sqrt(v) all times 7: the path is the same, so c1 must be 7 times itself.

    The first two terms are; the third, (1 + sigma^2) sigma^2 L^2/sigma, is not, and (1 + tau^2) tau^2 L^2/sigma is.
    """

    def c1(scale: float, L: float, sigma: float) -> float:
        return float(printed(K=10, L=scale * L, sigma=scale * sigma).parts["c1"])

    assert c1(7.0, 1e-9, 1.0) == pytest.approx(
        7 * c1(1.0, 1e-9, 1.0), rel=1e-6
    )  # the third term is negligible
    assert c1(7.0, 1.0, 1.0) != pytest.approx(7 * c1(1.0, 1.0, 1.0), rel=0.5)
    third = {s: c1(s, 1.0, 1.0) - first_two(s) for s in (1.0, 7.0)}
    tau = 1 + CONSTANTS["eta"] ** 2  # tau^2
    for scale in (1.0, 7.0):
        third[scale] *= (1 + tau) * tau / ((1 + scale**2) * scale**2)
    assert third[7.0] == pytest.approx(7 * third[1.0], rel=1e-6)


def first_two(scale: float) -> float:
    """The terms of c1 that are linear in the scale of the loss, read off at a small smoothness."""
    tiny = 1e-6

    def linear(L: float) -> float:
        return float(printed(K=10, L=L, sigma=scale).parts["c1"])

    slope = (4 * linear(tiny * scale) - linear(2 * tiny * scale) - 3 * linear(1e-300)) / (2 * tiny * scale)
    return linear(1e-300) + slope * scale
