"""Flagship 2: proved, damage noticed, true on finite trees, valued as stated, necessary conditions shown."""

from __future__ import annotations

import copy
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bstheory as bst
from bstheory.checking import recheck_document
from bstheory.theory import norm_test_values as values
from bstheory.theory.theorems import adam_norm_test as fixed
from bstheory.theory.theorems import adam_norm_test_token_half_life as joined
from tests.theory.mutation import assert_damage_is_noticed, few_damaged
from tests.theory.norm_test_trees import complete, norm_test_tree, real_violations

PARTS = {
    f"{module.SLUG}:{name}": part
    for module in (fixed, joined)
    for name, part in module.BOUND.document()["parts"].items()
}
MASTERS = {
    "constant": f"{fixed.SLUG}:l1",
    "varying": f"{joined.SLUG}:l1",
    "rising": f"{joined.SLUG}:l1_nondecreasing",
}
SHARED = {"alpha": 1e-4, "beta1": 0.9, "eta": 0.5, "L": 1.0, "Delta": 1.0, "v0": [1.0, 2.0], "G1": [1.0, 0.5]}


def net_of(module, constants) -> float:
    return float(
        module.compiled()["net"](**{k: v for k, v in constants.items() if k != "end"} | extremes(constants))
    )


def extremes(constants) -> dict[str, float]:
    h = constants["h"]
    return {"y_min": 2 ** (-constants["B_max"] / (2 * h)), "y_bar": 2 ** (-constants["B_min"] / (2 * h))}


@pytest.mark.parametrize("module", [fixed, joined], ids=lambda m: m.SLUG)
def test_it_is_proved_from_the_listed_assumptions(module) -> None:
    reports = [recheck_document(part) for name, part in PARTS.items() if name.startswith(module.SLUG + ":")]
    assert all(report.valid for report in reports), [report.reason for report in reports]
    assert {report.establishes for report in reports} == {"proved"}
    rests_on = {fact for report in reports for fact in report.rests_on}
    assumed = {r.removeprefix("assumption: ") for r in rests_on if r.startswith("assumption: ")}
    assert assumed == {a.name for a in module.BOUND.assumptions}
    assert {"descent_lemma", "tower", "telescope", "induction"} <= rests_on


@pytest.mark.parametrize("name", PARTS)
def test_damaged_copies_are_rejected(name) -> None:
    """A damage that is accepted would have to be true; in these seeds there is none but harmless ones."""
    accepted = [
        change
        for change, document in few_damaged(PARTS[name], count=3, seed=2)
        if recheck_document(document).valid
    ]
    assert len(accepted) <= 1, accepted


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS)
def test_every_small_damage_is_noticed(name) -> None:
    assert_damage_is_noticed(PARTS[name])


@settings(max_examples=6)
@given(seed=st.integers(0, 10**6))
@pytest.mark.parametrize("kind", list(MASTERS))
def test_every_step_holds_on_random_finite_trees(kind, seed) -> None:
    rng = random.Random(seed)
    module, batches = (fixed, (2,)) if kind == "constant" else (joined, (1, 2, 3))
    constants, nodes, left = norm_test_tree(
        rng,
        alpha=rng.choice([1e-4, 1e-3, 3e-3]),
        beta1=rng.choice([0.0, 0.3, 0.6]),
        eta=rng.choice([0.0, 0.5, 1.0]),
        half_life=rng.choice([30.0, 200.0]),
        v0=rng.choice([1.0, 30.0]),
        batches=batches,
        theta=rng.choice([0.25, 0.5]),
        rising=kind == "rising",
    )
    net = net_of(module, constants)
    if net <= 0:
        return
    document = PARTS[MASTERS[kind]]
    evaluator = complete(document, constants, nodes, net)
    assert real_violations(evaluator) == []
    assert evaluator.symbol("S", 0, 0, 0) == pytest.approx(left["S"], rel=1e-9)
    assert left["S"] <= evaluator.symbol("S_0", 0, 0, 0)
    assert left["l1"] <= evaluator.expression(document["claim"]["rhs"], 0, 0, 0)


def test_the_tree_sees_a_false_claim() -> None:
    constants, nodes, _ = norm_test_tree(random.Random(1), batches=(2,), eta=1.0, alpha=3e-3, v0=0.05)
    document = copy.deepcopy(PARTS[MASTERS["constant"]])
    for step in document["steps"]:
        if step["name"] == "strong_growth":  # the noise dropped from the second moment
            step["gap"] = "G**2 - mean_g2"
    found = {v.step for v in complete(document, constants, nodes, 0.1).violations()}
    assert "strong_growth" in found


@settings(max_examples=20)
@given(
    alpha=st.floats(1e-9, 1e-5),
    beta1=st.floats(0, 0.9),
    rate=st.floats(1e-4, 1e-2),
    eta=st.floats(0, 1),
    L=st.floats(0.1, 3),
    K=st.integers(1, 50),
    theta=st.floats(0.1, 0.5),
    zeta=st.floats(5, 50),
)
def test_the_value_is_the_stated_formula(alpha, beta1, rate, eta, L, K, theta, zeta) -> None:
    v0, G1, delta, beta2 = [1.0, 2.0], [1.0, 0.5], 1.5, 1 - rate
    s, y, f = 1 + eta**2, math.sqrt(beta2), 1 - beta1
    gam = beta1 / y
    q, nu = s / (1 - gam**2), y**K
    xi = zeta * q - 1
    net = (
        1
        - theta
        - q / (4 * theta) * (1 - y * xi / (1 + xi))
        - s * f**2 / ((1 - gam) ** 2 * nu)
        * (
            L * alpha * (1 + gam) * (1 + 3 * gam) / (2 * (1 - gam) * f)
            + q / (4 * theta) * y * xi * L**2 * alpha**2 / nu
        )
    )  # fmt: skip
    constants = SHARED | {"alpha": alpha, "beta1": beta1, "beta2": beta2, "eta": eta, "L": L, "K": K}
    constants |= {"theta": theta, "zeta": zeta, "Delta": delta, "v0": v0, "G1": G1}
    if net <= 1e-6:
        return
    boundary = sum(g * g / math.sqrt(v) for g, v in zip(G1, v0, strict=True))
    S0 = (delta * (1 - gam) / (alpha * f) + q / (4 * theta) * boundary) / net
    T0 = sum(map(math.sqrt, v0)) * sum(y**k for k in range(1, K + 1)) + y * (1 + y) * s * S0 / 2
    found = fixed.BOUND.evaluate(constants=constants)
    assert found.parts["net"] == pytest.approx(net, rel=1e-7)
    assert found.parts["S_0"] == pytest.approx(S0, rel=1e-6)
    assert found.value == pytest.approx(math.sqrt(S0 * T0), rel=1e-6)


def test_theorem_b_is_the_master_form_at_its_constants() -> None:
    constants = SHARED | {"beta2": 0.999, "K": 100}
    found = fixed.BOUND.evaluate(constants=constants)
    assert found.parts["condition_C"]
    assert found.value <= found.parts["theorem_b"]
    assert found.parts["net"] >= 0.25
    tighter = fixed.BOUND.tighten(constants=constants)
    assert tighter.value < found.value


def test_one_batch_size_gives_back_the_constant_form() -> None:
    h = -math.log(2) / math.log(0.99)
    plain = fixed.BOUND.evaluate(constants=SHARED | {"beta2": 0.99, "K": 8})
    joint = joined.BOUND.evaluate(constants=SHARED | {"h": h}, schedule=[1] * 8)
    assert joint.parts["switching"] == 0
    assert joint.value == pytest.approx(plain.value, rel=1e-9)


def test_the_net_of_the_joint_form_is_the_stated_formula() -> None:
    h, batches = 1000.0, [1, 2, 2, 3]
    found = joined.BOUND.evaluate(constants=SHARED | {"h": h}, schedule=batches)
    ys = [2 ** (-b / (2 * h)) for b in batches]
    alpha, beta1, L, s, theta = 1e-4, 0.9, 1.0, 1.25, 0.25
    f, bar, low = 1 - beta1, beta1 / min(ys), beta1 / max(ys)
    hat, omega = (bar + low) / 2, (bar - low) / 2
    ratio = (1 - min(ys) ** 2) / (1 - max(ys) ** 2)
    q, nu = s * ratio / (1 - bar**2), 2 ** (-sum(batches) / (2 * h))
    xi, x = 8 * q - 1, math.sqrt(s * f / (1 - bar))
    second = L * alpha * (1 + hat) * (1 + 3 * hat) / (2 * (1 - hat) * f)
    second += q / (4 * theta) * max(ys) * xi * L**2 * alpha**2 / nu
    net = 1 - theta - q / (4 * theta) * (1 - min(ys) * xi / (1 + xi))
    net -= omega / 2 * (x / f + s / (x * (1 - bar))) + s * f**2 / ((1 - bar) ** 2 * nu) * second
    assert found.parts["net"] == pytest.approx(net, rel=1e-9)
    S0 = found.parts["S_0"]
    decay = sum(2 ** (-n / (2 * h)) for n in np.cumsum(batches))
    T0 = (1 + math.sqrt(2)) * decay + s * S0 * max(ys) * (1 - min(ys) ** 2) / (2 * (1 - max(ys)))
    assert found.value == pytest.approx(math.sqrt(S0 * T0), rel=1e-9)
    boundary = 1.0 + 0.25 / math.sqrt(2)
    assert pytest.approx((1 - hat) / (alpha * f) / net + q / (4 * theta) * boundary / net, rel=1e-9) == S0


def test_where_batches_never_fall_the_ratio_of_the_extremes_is_not_paid_for() -> None:
    """The factor of S_0 in T_0 is s max y (1 + max y)/2, as with one batch size."""
    constants, batches = SHARED | {"beta1": 0.5, "h": 1000.0}, [1, 2, 2, 4]
    general = joined.BOUND.evaluate(constants=constants, schedule=batches)
    found = joined.BOUND.evaluate(constants=constants | {"nondecreasing": 1}, schedule=batches)
    S0, y, s = found.parts["S_0"], 2 ** (-1 / 2000), 1.25
    decay = sum(2 ** (-n / 2000) for n in np.cumsum(batches))
    T0 = (1 + math.sqrt(2)) * decay + s * S0 * y * (1 + y) / 2
    assert found.value == pytest.approx(math.sqrt(S0 * T0), rel=1e-9)
    assert general.parts["S_0"] == pytest.approx(S0) and found.value < 0.51 * general.value
    single = [
        joined.BOUND.evaluate(constants=constants | {"nondecreasing": n}, schedule=[2, 2]) for n in (0, 1)
    ]
    assert single[0].value == pytest.approx(single[1].value, rel=1e-12)


@pytest.mark.parametrize("beta2", [Fraction(1, 2), Fraction(9, 10), Fraction(999, 1000)])
def test_the_step_size_limit_is_necessary(beta2) -> None:
    """d = 1, F = w^2/2, eta = beta1 = 0, v_0 = alpha^2/4: an exact 2-cycle, at every beta2."""
    alpha = Fraction(1, 3)
    w, v = alpha / 2, alpha**2 / 4
    for _ in range(6):
        g = w
        v = beta2 * v + (1 - beta2) * g * g
        assert v == alpha**2 / 4  # so its root is alpha/2, exactly
        w -= alpha * g / (alpha / 2)
        assert w == -g
    limit = float(values_of(alpha, beta2)["largest_alpha"])
    assert limit < float(alpha), "the theorem must not speak of this instance"


def values_of(alpha: Fraction, beta2: Fraction) -> dict:
    small = {"alpha": 1e-9, "beta1": 0.0, "beta2": float(beta2), "eta": 0.0, "L": 1.0, "K": 1}
    small |= {"Delta": float(alpha**2 / 8), "v0": [float(alpha**2 / 4)], "G1": [float(alpha / 2)]}
    return dict(fixed.BOUND.evaluate(constants=small).parts)


def test_condition_c_admits_a_largest_batch_and_the_free_form_admits_the_published_pair() -> None:
    for eta, least in ((0.05, 0.9612), (0.2, 0.9623), (0.5, 0.9677), (1.0, 0.9786)):
        b = values.largest_batch(beta1=0.9, eta=eta, half_life=1000.0)
        assert 2 ** (-b / 1000.0) == pytest.approx(least, abs=1e-4)
        y, s = 2 ** (-b / 2000.0), 1 + eta**2
        assert s * (1 - y) / (1 - 0.81 / y**2) == pytest.approx(1 / 8, rel=1e-9)
    constants = SHARED | {"beta2": 0.95, "K": 3, "alpha": 1e-6, "theta": 0.5, "zeta": 100.0, "eta": 0.05}
    found = fixed.BOUND.evaluate(constants=constants)
    assert not found.parts["condition_C"] and found.parts["rho"] < 1 and found.parts["net"] > 0


@pytest.mark.parametrize(
    ("module", "change", "schedule", "message"),
    [
        (fixed, {"beta1": 0.99, "beta2": 0.95, "K": 3}, None, "hypothesis momentum"),
        (fixed, {"alpha": 1.0, "beta2": 0.99, "K": 3}, None, "hypothesis net"),
        (fixed, {"beta2": 0.99, "K": 0}, None, "K=0"),
        (fixed, {"beta2": 0.99, "K": 5}, [1, 1], "2 steps with K=5"),
        (fixed, {"beta2": 0.99, "K": 5, "v0": [1.0]}, None, "same length"),
        (joined, {"h": 5.0}, [1, 2], "a batch stays below"),
        (joined, {"h": 30.0}, [1, 4], "hypothesis net"),
        (joined, {"h": 30.0}, None, "no schedule"),
        (joined, {"h": 3000.0, "nondecreasing": 1}, [2, 1], "hypothesis nondecreasing"),
        (joined, {"h": 3000.0, "nondecreasing": 2}, [2, 1], "must be 0 or 1"),
    ],
)
def test_constants_outside_the_hypotheses_are_named(module, change, schedule, message) -> None:
    with pytest.raises(bst.InputError, match=message):
        module.BOUND.evaluate(constants=SHARED | change, schedule=schedule)


@pytest.mark.parametrize("steps", [10, 200, 300])
def test_the_largest_alpha_is_the_root_even_where_it_is_tiny(steps: int) -> None:
    """At sqrt(beta2) = 0.5 and 300 steps the root is near 1e-92: the linear term must not be lost."""
    constants = {
        "beta1": 0.1,
        "beta2": 0.25,
        "eta": 0.01,
        "L": 1.0,
        "Delta": 1.0,
        "K": steps,
        "v0": np.ones(2),
        "G1": np.ones(2),
    }
    tiny = fixed.BOUND.evaluate(constants=constants | {"alpha": 1e-120})
    largest = float(tiny.parts["largest_alpha"])
    assert fixed.BOUND.evaluate(constants=constants | {"alpha": largest * 0.999}).parts["net"] > 0
    with pytest.raises(bst.InputError, match="net"):
        fixed.BOUND.evaluate(constants=constants | {"alpha": largest * 1.001})
