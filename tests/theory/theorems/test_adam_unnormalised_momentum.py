"""Momentum in unnormalised sums: proved, damage noticed, below the source, above every outcome of short runs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bstheory as bst
from bstheory.checking import recheck_document
from bstheory.theory.theorems import adam_unnormalised_momentum as module
from tests.theory.mutation import assert_damage_is_noticed, few_damaged

BOUND = module.BOUND
DOCUMENT = BOUND.document()
CONSTANTS = {"alpha": 0.1, "eps": 0.01, "R": 1.6, "L": 1.3, "d": 2, "Delta": 3.0}


def test_it_is_proved_from_the_listed_assumptions() -> None:
    report = recheck_document(DOCUMENT)
    assert report.valid and report.establishes == BOUND.declared == "proved", report.reason
    assumed = {r.removeprefix("assumption: ") for r in report.rests_on if r.startswith("assumption: ")}
    assert assumed | {"free_constant"} == {a.name for a in BOUND.assumptions} - {"update"}
    for derive in (module.adagrad, module.adam):
        report = recheck_document(derive(free=True).document())
        assert report.valid, report.reason


def test_nothing_is_assumed_about_the_sums_of_the_weights() -> None:
    """C_A, C_A2, C_2, C_3 are steps that follow, not hypotheses."""
    for part in DOCUMENT["parts"].values():
        kinds = {step["name"]: step["kind"] for step in part["steps"]}
        assert {kinds[name] for name in ("C_A", "C_A2", "C_2", "C_3")} == {"combine"}
        assert {kinds[f"sum_{name}"] for name in ("C_A", "C_A2", "C_2")} == {"lag_sum"}
        assert kinds["sum_C_3"] == "lag_sum_across" and kinds["weights"] == "lag_sum"


@pytest.mark.parametrize("part", ["adagrad", "adam"])
def test_damaged_copies_are_rejected(part: str) -> None:
    accepted = [
        c for c, copy in few_damaged(DOCUMENT["parts"][part], count=8, seed=5) if recheck_document(copy).valid
    ]
    zeros = {"nothing", "nothing_left", "no_decay", "zero", "range_start"}
    assert {c.split(":")[0] for c in accepted} <= zeros  # twice zero is zero


@pytest.mark.slow
@pytest.mark.parametrize("part", ["adagrad", "adam"])
def test_every_small_damage_is_noticed(part: str) -> None:
    assert_damage_is_noticed(DOCUMENT["parts"][part])


def stated(N: int, beta1: float, beta2: float, alpha, eps, R, L, d, Delta) -> float:
    """The statement, written out."""
    r, W = R - math.sqrt(eps), sum(1 - beta1 ** (N - j) for j in range(N))
    if beta2 == 1:
        E = R * r / math.sqrt(1 - beta1) + 2 * R**2 * beta1 * math.sqrt(2 - beta1) / (1 - beta1)
        E += alpha * R * L + alpha**2 * L**2 * beta1 * math.sqrt(1 + beta1) / (2 * (1 - beta1))
        return math.sqrt(N) / W * (2 * R * Delta / alpha + d * E * math.log(1 + N * R**2 / eps))
    q = beta1 / beta2
    E = R * r * (1 - beta1) + 2 * R**2 * math.sqrt(1 - beta1) * q * math.sqrt(2 - q)
    E /= (1 - q) ** 1.5 * math.sqrt(1 - beta2)
    E += alpha * R * L * (1 - beta1) / ((1 - q) * (1 - beta2))
    E += alpha**2 * L**2 * beta1 * math.sqrt(1 + beta1) / (2 * (1 - q) * (1 - beta2) ** 1.5)
    logs = math.log(1 + R**2 / ((1 - beta2) * eps)) - N * math.log(beta2)
    return 2 * R * Delta / (alpha * W) + d * E / W * logs


def printed(N: int, beta1: float, beta2: float, alpha, eps, R, L, d, Delta) -> float:
    """T3 and T4 of the source."""
    rest = N - beta1 / (1 - beta1)
    if beta2 == 1:
        E = alpha * d * R * L + 12 * d * R**2 / (1 - beta1) + 2 * alpha**2 * d * L**2 * beta1 / (1 - beta1)
        return math.sqrt(N) / rest * (2 * R * Delta / alpha + E * math.log(1 + N * R**2 / eps))
    q = beta1 / beta2
    E = alpha * d * R * L * (1 - beta1) / ((1 - q) * (1 - beta2))
    E += 12 * d * R**2 * math.sqrt(1 - beta1) / ((1 - q) ** 1.5 * math.sqrt(1 - beta2))
    E += 2 * alpha**2 * d * L**2 * beta1 / ((1 - q) * (1 - beta2) ** 1.5)
    logs = math.log(1 + R**2 / ((1 - beta2) * eps)) / rest - N / rest * math.log(beta2)
    return 2 * R * Delta / (alpha * rest) + E * logs


CASES = [(0.0, 0.9), (0.5, 0.9), (0.9, 0.999), (0.0, 1.0), (0.9, 1.0), (0.99, 0.9999)]


@pytest.mark.parametrize(("beta1", "beta2"), CASES)
def test_the_value_is_the_stated_formula(beta1: float, beta2: float) -> None:
    found = BOUND.evaluate(constants=CONSTANTS | {"beta1": beta1, "beta2": beta2}, schedule=[1] * 300).value
    assert found == pytest.approx(stated(300, beta1, beta2, **CONSTANTS), rel=1e-9)


@settings(max_examples=60)
@given(
    beta1=st.floats(0, 0.98),
    share=st.floats(0.01, 0.99),
    alpha=st.floats(1e-3, 10),
    R=st.floats(0.2, 5),
    adagrad=st.booleans(),
)
def test_the_constants_of_the_source_follow(beta1, share, alpha, R, adagrad) -> None:
    """12 and 2 of the source hold with room, whatever the constants."""
    constants = CONSTANTS | {"alpha": alpha, "R": R}
    beta2 = 1.0 if adagrad else beta1 + share * (1 - beta1)
    found = BOUND.evaluate(constants=constants | {"beta1": beta1, "beta2": beta2}, schedule=[1] * 200).value
    assert found <= printed(200, beta1, beta2, **constants) * (1 + 1e-12)


def test_without_momentum_the_error_is_a_quarter() -> None:
    """R r in place of 4 R r, the rest unchanged: below T1 and T2 as they are derived without momentum."""
    for beta2 in (0.9, 1.0):
        given_ = CONSTANTS | {"beta2": beta2}
        found = BOUND.evaluate(constants=given_ | {"beta1": 0.0}, schedule=[1] * 50).value
        without = bst.theorems.adam_unnormalised.evaluate(constants=given_, schedule=[1] * 50).value
        r = 1.5
        logs = math.log(1 + 1.6**2 / (0.1 * 0.01)) / 50 - math.log(0.9) if beta2 < 1 else None
        gain = math.log(1 + 50 * 1.6**2 / 0.01) / math.sqrt(50) if logs is None else logs / math.sqrt(0.1)
        assert without - found == pytest.approx(2 * 3 * 1.6 * r * gain, rel=1e-9)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.0, 0.6), (0.5, 0.6), (0.9, 0.95), (0.7, 1.0)])
@pytest.mark.parametrize("alpha", [0.05, 2.0])
def test_above_every_outcome(alpha: float, beta1: float, beta2: float) -> None:
    """E|grad F(x_tau)|^2 over all outcomes of two-point noise on F = sum (1 - cos x_i)."""
    sigma, eps, N = 0.8, 1e-2, 6
    signs = np.array(list(itertools.product((-1, 1), repeat=2))) * sigma
    x, v, m, seen, count = np.array([[1.0, 2.5]]), np.zeros((1, 2)), np.zeros((1, 2)), 0.0, 0.0
    delta = (1 - np.cos(x)).sum()
    weights = 1 - beta1 ** (N - np.arange(N))
    for n in range(N):
        gradient = np.sin(x)
        seen += weights[n] / weights.sum() * (gradient**2).sum(axis=-1).mean()
        g = (gradient[:, None, :] + signs).reshape(-1, 2)
        m = beta1 * np.repeat(m, 4, axis=0) + g
        v = beta2 * np.repeat(v, 4, axis=0) + g**2
        count = beta2 * count + 1
        rate = alpha * (1 - beta1) * (np.sqrt(count) if beta2 < 1 else 1.0)
        x = np.repeat(x, 4, axis=0) - rate * m / np.sqrt(eps + v)
    constants = {"alpha": alpha, "eps": eps, "R": 1 + sigma + np.sqrt(eps), "L": 1.0, "d": 2, "Delta": delta}
    found = BOUND.evaluate(constants=constants | {"beta1": beta1, "beta2": beta2}, schedule=[1] * N)
    assert seen <= found.value
    assert found.parts["weight"] == pytest.approx(weights.sum(), rel=1e-12)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.5, 0.9), (0.9, 0.99), (0.8, 1.0)])
def test_the_closed_forms_bound_the_sums_and_are_near_them(beta1: float, beta2: float) -> None:
    """The constants of the certificate against the sums over lags, term by term, in the limit of many steps."""
    q, k = beta1 / beta2, np.arange(20_000)
    sums = {
        "C_A": (1 - beta1) * (q**k * np.sqrt(k + 1)).sum(),
        "C_A2": (1 - beta1) * (q**k * np.sqrt(k + 1))[1:].sum(),
        "C_2": (1 - beta1) * (q**k).sum(),
        "C_3": (1 - beta1) * (k * beta1**k * k / np.sqrt(k + 1)).sum(),
    }
    closed = {
        "C_A": (1 - beta1) * (1 - q) ** -1.5,
        "C_A2": (1 - beta1) * q * math.sqrt(2 - q) * (1 - q) ** -1.5,
        "C_2": (1 - beta1) / (1 - q),
        "C_3": beta1 * math.sqrt(1 + beta1) / (1 - beta1) ** 1.5,
    }
    for name, total in sums.items():
        assert total <= closed[name] * (1 + 1e-9) and closed[name] <= 1.3 * total, name


def test_tightening_is_never_looser_and_arrays_broadcast() -> None:
    given_ = CONSTANTS | {"beta1": 0.9, "beta2": 0.999}
    found = BOUND.tighten(constants=given_, schedule=[1] * 1000)
    assert found.value < found.published_value
    both = BOUND.evaluate(
        constants=CONSTANTS | {"beta1": 0.5, "beta2": np.array([0.9, 1.0])}, schedule=[1] * 9
    ).value
    one = [
        BOUND.evaluate(constants=CONSTANTS | {"beta1": 0.5, "beta2": b}, schedule=[1] * 9).value
        for b in (0.9, 1.0)
    ]
    assert both == pytest.approx(one)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta1": 0.95}, "beta1 is below beta2"),
        ({"beta1": 1.0}, r"beta1 .*lie in \[0, 1\)"),
        ({"R": 0.1}, "bounded_gradient"),
        ({"beta2": 1.1}, r"lies in \(0, 1\]"),
        ({"young": 1.0}, "young"),
    ],
)
def test_outside_the_hypotheses(change, message) -> None:
    with pytest.raises(bst.InputError, match=message):
        BOUND.evaluate(constants=CONSTANTS | {"beta1": 0.5, "beta2": 0.9} | change, schedule=[1, 2])
