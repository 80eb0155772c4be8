"""Theorem A: proved, damage noticed, true on finite trees, valued as stated, at any learning rate."""

from __future__ import annotations

import copy
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bstheory as bst
from bstheory.checking import recheck_document
from bstheory.theory.theorems import adam_norm_test, adam_norm_test_log_route
from tests.theory.mutation import few_damaged
from tests.theory.norm_test_trees import complete, norm_test_tree, real_violations

BOUND = adam_norm_test_log_route.BOUND
DOCUMENT = BOUND.document()
SHARED = {"beta1": 0.9, "eta": 0.5, "L": 1.0, "Delta": 1.5, "v0": [1.0, 2.0], "G1": [1.0, 0.5]}


def test_it_is_proved_from_the_listed_assumptions() -> None:
    report = recheck_document(DOCUMENT)
    assert report.valid, report.reason
    assumed = {r.removeprefix("assumption: ") for r in report.rests_on if r.startswith("assumption: ")}
    assert assumed == {a.name for a in BOUND.assumptions}


def test_damaged_copies_are_rejected() -> None:
    accepted = [
        c for c, document in few_damaged(DOCUMENT, count=4, seed=5) if recheck_document(document).valid
    ]
    assert not accepted


@pytest.mark.parametrize("step", ["log_step", "logs_total", "room_sign", "S_bound"])
def test_a_tightened_claim_is_rejected(step) -> None:
    document = copy.deepcopy(DOCUMENT)
    document.pop("claim_hash", None)
    index, found = next((i, s) for i, s in enumerate(document["steps"]) if s["name"] == step)
    lost = {"log_step": "log_beta/2", "logs_total": "d/100", "room_sign": "1/100", "S_bound": "S/100"}[step]
    found["gap"] = f"{found['gap']} - ({lost})"
    # What comes before the damaged step is untouched, so the damage itself is what the checker objects to.
    document["steps"] = document["steps"][: index + 1]
    document["claim"] = {"fact": step, "lhs": "0", "rhs": found["gap"]}
    assert not recheck_document(document).valid


def stated(constants: dict, mu: float | None = None) -> dict[str, float]:
    """The bound, written out."""
    alpha, beta1, beta2, L, K = (constants[n] for n in ("alpha", "beta1", "beta2", "L", "K"))
    theta, zeta = constants.get("theta", 0.25), constants.get("zeta", 8.0)
    s, y, f, c = 1 + constants["eta"] ** 2, math.sqrt(beta2), 1 - beta1, 1 - beta2
    gam = beta1 / y
    q = s / (1 - gam**2)
    xi, low = zeta * q - 1, min(map(math.sqrt, constants["v0"]))
    nu, dim = y**K * low, len(constants["v0"])
    Y = f**2 / ((1 - gam) ** 2 * c)
    Y *= (
        L * alpha * (1 + gam) * (1 + 3 * gam) / (2 * (1 - gam) * f)
        + q / (4 * theta) * y * xi * (L * alpha) ** 2 / nu
    )
    net = 1 - theta - q / (4 * theta) * (1 - y * xi / (1 + xi))
    cost = Y * c * s / low
    mu = max(1.0, 2 * cost / net) if mu is None else mu
    boundary = sum(g * g / math.sqrt(v) for g, v in zip(constants["G1"], constants["v0"], strict=True))
    S0 = constants["Delta"] * (1 - gam) / (alpha * f) + q / (4 * theta) * boundary
    S0 += Y * dim * (2 * (math.log(mu) + 1 / mu - 1) - K * math.log(beta2))
    S0 /= net - cost / mu
    T0 = sum(map(math.sqrt, constants["v0"])) * y * (1 - y**K) / (1 - y) + y * (1 + y) * s * S0 / 2
    return {"S_0": S0, "l1": math.sqrt(S0 * T0), "mu": mu, "net": net, "left": net - cost / mu, "Y": Y}


@settings(max_examples=15)
@given(alpha=st.floats(1e-6, 10.0), beta1=st.floats(0, 0.9), rate=st.floats(1e-4, 1e-2), K=st.integers(1, 60))
def test_the_value_is_the_stated_formula(alpha, beta1, rate, K) -> None:
    constants = SHARED | {"alpha": alpha, "beta1": beta1, "beta2": 1 - rate, "K": K}
    expected = stated(constants)
    if expected["net"] <= 1e-6:
        return
    found = BOUND.evaluate(constants=constants)
    assert found.value == pytest.approx(expected["l1"], rel=1e-6)
    for name in ("S_0", "mu", "net", "left"):
        assert found.parts[name] == pytest.approx(expected[name], rel=1e-6), name


def test_at_the_published_constants_it_is_below_theorem_a() -> None:
    """S <= 2X + 4dY ln^+(2 A f^2 s/((1 - gamma)^2 q_min)) under (C), with A = 2 (1 - gamma)^2 (1 - beta2) Y/f^2."""
    constants = SHARED | {"alpha": 0.3, "beta2": 0.999, "K": 50}
    found = BOUND.evaluate(constants=constants)
    assert found.parts["condition_C"]
    Y, gam = 2 * stated(constants)["Y"], 0.9 / math.sqrt(0.999)  # net is at least 1/2 under (C)
    q = 1.25 / (1 - gam**2)
    X = 2 * 1.5 * (1 - gam) / (0.3 * 0.1) + 2 * q / math.sqrt(0.999) * (1 + 0.25 / math.sqrt(2))
    X -= Y * 2 * 50 * math.log(0.999)
    assert found.parts["S_0"] <= 2 * X + 8 * Y * max(0.0, math.log(2 * Y * 0.001 * 1.25))


def test_any_learning_rate_is_admitted() -> None:
    constants = SHARED | {"alpha": 5.0, "beta2": 0.999, "K": 20}
    with pytest.raises(bst.InputError, match="hypothesis net"):
        adam_norm_test.BOUND.evaluate(constants=constants)
    assert BOUND.evaluate(constants=constants).value > 0


def test_the_rate_is_a_quarter() -> None:
    found = [
        BOUND.evaluate(constants=SHARED | {"beta2": 1 - 0.5 / K, "alpha": K**-0.5, "K": K}).parts["per_step"]
        for K in (10**12, 10**14)
    ]
    assert math.log(found[1] / found[0]) / math.log(100) == pytest.approx(-0.25, abs=0.02)


def test_tightening_is_never_looser() -> None:
    tighter = BOUND.tighten(constants=SHARED | {"alpha": 0.3, "beta2": 0.999, "K": 50})
    assert tighter.value < tighter.published_value


@settings(max_examples=6)
@given(seed=st.integers(0, 10**6))
def test_every_step_holds_on_random_finite_trees(seed) -> None:
    rng = random.Random(seed)
    constants, nodes, left = norm_test_tree(
        rng,
        alpha=rng.choice([1e-3, 0.1, 1.0]),
        beta1=rng.choice([0.0, 0.3, 0.6]),
        eta=rng.choice([0.0, 0.5, 1.0]),
        half_life=rng.choice([60.0, 200.0]),
        v0=rng.choice([1.0, 30.0]),
    )
    y = constants["y"]
    numbers = {
        "alpha": constants["alpha"],
        "beta1": constants["beta1"],
        "beta2": y * y,
        "eta": math.sqrt(constants["eta2"]),
        "L": 1.0,
        "K": 3,
        "v0": constants["v_start"],
        "G1": constants["G_start"],
        "Delta": constants["Delta"],
    }
    expected = stated(numbers)
    if expected["net"] <= 0:
        return
    mu = expected["mu"]
    constants |= {"mu_log": mu, "left": expected["left"], "K": 3, "fall": -2 * math.log(y)}
    constants["lift"] = 2 * (math.log(mu) + 1 / mu - 1)
    evaluator = complete(DOCUMENT, constants, nodes, expected["net"])
    assert real_violations(evaluator) == []
    assert evaluator.symbol("S", 0, 0, 0) == pytest.approx(left["S"], rel=1e-9)
    assert left["S"] <= evaluator.symbol("S_0", 0, 0, 0)
    assert left["l1"] <= BOUND.evaluate(constants=numbers).value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta1": 0.99, "beta2": 0.95, "K": 3}, "hypothesis momentum"),
        ({"beta2": 0.83, "K": 3}, "hypothesis net"),
        ({"beta2": 0.99, "K": 3, "level": 1.0}, "must exceed 1"),
    ],
)
def test_constants_outside_the_hypotheses_are_named(change, message) -> None:
    with pytest.raises(bst.InputError, match=message):
        BOUND.evaluate(constants=SHARED | {"alpha": 0.1} | change)
