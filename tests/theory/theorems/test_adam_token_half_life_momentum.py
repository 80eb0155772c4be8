"""Flagship 1 with momentum: proved, damage noticed, true on exact trees, constants as defined."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bstheory as bst
from bstheory.checking import recheck_document
from bstheory.theory.theorems import adam_token_half_life_momentum as module
from tests.theory.mutation import assert_damage_is_noticed, few_damaged

BOUND = module.BOUND
DOCUMENT = BOUND.document()
SHARED = {"alpha": 0.1, "h": 50.0, "eps": 1e-2, "R": 1.5, "L": 1.0, "d": 3, "Delta": 2.0}


def test_it_is_proved_from_the_listed_assumptions() -> None:
    for document in (DOCUMENT, module.derive(free=True).document()):
        report = recheck_document(document)
        assert report.valid, report.reason
        assumed = {r.removeprefix("assumption: ") for r in report.rests_on if r.startswith("assumption: ")}
        assert assumed | {"free_constant"} == {a.name for a in BOUND.assumptions} - {"update"}


def test_damaged_copies_are_rejected() -> None:
    accepted = [c for c, copy in few_damaged(DOCUMENT, count=25, seed=3) if recheck_document(copy).valid]
    assert set(accepted) <= {"nothing: doubled"}  # twice zero is zero


@pytest.mark.slow
def test_every_small_damage_is_noticed() -> None:
    assert_damage_is_noticed(DOCUMENT)


def literal_constants(batches, h, beta1, t1) -> dict[str, float]:
    """The four maxima, written out."""
    N, D = len(batches), [0, *np.cumsum(batches)]
    c = [1 - 2 ** (-b / h) for b in batches]

    def W(n, j):
        if t1:
            return (1 - 2 ** (-batches[j] / t1)) * 2 ** (-(D[n + 1] - D[j + 1]) / t1)
        return (1 - beta1) * beta1 ** (n - j)

    def om(n, j):
        return math.sqrt(1 - 2 ** (-(D[n + 1] - D[j]) / h))

    def grown(n, j):
        return W(n, j) * 2 ** ((D[n + 1] - D[j + 1]) / h)

    A = [[grown(n, j) * math.sqrt(c[n]) * om(n, j) / c[j] for n in range(j, N)] for j in range(N)]
    second = [sum(grown(n, j) * c[n] / c[j] for n in range(j, N)) for j in range(N)]
    across = [
        sum(W(n, j) * (n - j) * math.sqrt(c[n]) / om(n, j) for n in range(l + 1, N) for j in range(l + 1))
        for l in range(N)
    ]
    return {
        "C_A": max(map(sum, A)),
        "C_A2": max(sum(row[1:]) for row in A),
        "C_2": max(second),
        "C_3": max(across),
    }


@settings(max_examples=15)
@given(
    batches=st.lists(st.integers(1, 9), min_size=1, max_size=9),
    momentum=st.sampled_from([(0.0, 0.0), (0.6, 0.0), (0.0, 7.0)]),
)
def test_the_constants_are_the_stated_maxima(batches, momentum) -> None:
    found = module.lag_constants(np.array(batches), 30.0, *momentum)
    for name, value in literal_constants(batches, 30.0, *momentum).items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_the_value_is_the_stated_formula() -> None:
    batches = [1, 2, 4, 4, 2]
    found = BOUND.evaluate(constants=SHARED | {"beta1": 0.8}, schedule=batches)
    C = literal_constants(batches, 50.0, 0.8, 0.0)
    alpha, R, L, d = SHARED["alpha"], SHARED["R"], SHARED["L"], SHARED["d"]
    log = math.log1p(R * R / 1e-2) + math.log(2) * sum(batches) / 50.0
    inner = R / 2 * C["C_A"] + R * C["C_A2"] + L * alpha / 2 * C["C_2"]
    inner += L**2 * alpha**2 / (4 * R) * C["C_3"] * C["C_2"]
    stated = 2 * math.sqrt(1e-2 + R * R) * (2.0 / alpha + d * inner * log)
    assert found.value == pytest.approx(stated, rel=1e-9)


def test_without_momentum_it_is_the_sharp_form() -> None:
    found = BOUND.evaluate(constants=SHARED, schedule=[1, 2, 4])
    assert found.parts["C_A"] == pytest.approx(1) and found.parts["C_2"] == pytest.approx(1)
    assert found.parts["C_A2"] == found.parts["C_3"] == 0
    sharp = bst.theorems.adam_token_half_life_sharp.evaluate(constants=SHARED, schedule=[1, 2, 4])
    assert found.value == pytest.approx(sharp.value, rel=1e-12)


@pytest.mark.parametrize("beta1", [0.5, 0.9])
def test_constants_stay_bounded_below_the_admissible_batch(beta1) -> None:
    """Constant batch, q = beta1/beta: the closed forms of the catalogue, for every number of steps."""
    h, batch = 100.0, 4
    q = beta1 * 2 ** (batch / h)
    assert batch < module.largest_batch(beta1=beta1, half_life=h)
    found = module.lag_constants(np.full(400, batch), h, beta1, 0.0)
    assert found["C_A"] <= (1 - beta1) * (1 - q) ** -1.5 * (1 + 1e-12)
    assert found["C_2"] <= (1 - beta1) / (1 - q) * (1 + 1e-12)
    assert found["C_3"] <= beta1 * (1 + beta1) / (1 - beta1) ** 2 * (1 + 1e-12)


def exact_left_side(rng, batches, *, h, alpha, eps, noise, beta1, t1) -> tuple[float, float]:
    """E sum_j w_j |grad F(x_{j-1})|^2 over all outcomes of two-point noise, F = sum (1 - cos x_i), and Delta."""
    weights = module.lag_constants(np.array(batches), h, beta1, t1)["weights"]
    x0 = [rng.uniform(-2, 2) for _ in range(2)]
    tokens = np.concatenate([[0], np.cumsum(batches)])

    def W(n, j):
        if t1:
            return (1 - 2 ** (-batches[j] / t1)) * 2 ** (-(tokens[n + 1] - tokens[j + 1]) / t1)
        return (1 - beta1) * beta1 ** (n - j)

    def grow(x, v, gs) -> float:
        n = len(gs)
        if n == len(batches):
            return 0.0
        beta = 2 ** (-batches[n] / h)
        G = [math.sin(t) for t in x]
        total = weights[n] * sum(a * a for a in G)
        size = noise / math.sqrt(batches[n])
        for sign in (1, -1):
            g = [G[0] + sign * size, G[1] - sign * size]
            v_next = [beta * a + (1 - beta) * b * b for a, b in zip(v, g, strict=True)]
            m = [sum(W(n, j) * row[i] for j, row in enumerate([*gs, g])) for i in range(2)]
            step = alpha * math.sqrt(1 - beta)
            x_next = [a - step * b / math.sqrt(u + eps) for a, b, u in zip(x, m, v_next, strict=True)]
            total += 0.5 * grow(x_next, v_next, [*gs, g])
        return total

    return grow(x0, [0.0, 0.0], []), sum(1 - math.cos(t) for t in x0)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    batches=st.lists(st.integers(1, 6), min_size=1, max_size=7),
    momentum=st.sampled_from([(0.0, 0.0), (0.5, 0.0), (0.9, 0.0), (0.0, 20.0)]),
    alpha=st.sampled_from([0.01, 0.3, 3.0]),
)
def test_the_bound_holds_on_exact_outcome_trees(seed, batches, momentum, alpha) -> None:
    beta1, t1 = momentum
    run = {"h": 60.0, "alpha": alpha, "eps": 1e-2}
    left, delta = exact_left_side(random.Random(seed), batches, noise=0.5, beta1=beta1, t1=t1, **run)
    found = BOUND.evaluate(
        constants=run | {"R": 1.5, "L": 1.0, "d": 2, "Delta": delta, "beta1": beta1, "t1": t1},
        schedule=batches,
    )
    assert left <= found.value


def test_tightening_is_never_looser() -> None:
    found = BOUND.tighten(constants=SHARED | {"beta1": 0.9}, schedule=[1, 2, 2, 4])
    assert found.value <= found.published_value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta1": 0.9}, "admissible maximum 7.6"),
        ({"t1": 60.0}, "t1 below h"),
        ({"t1": 5.0, "beta1": 0.5}, "not both"),
        ({"beta1": 1.0}, "beta1=1.0"),
    ],
)
def test_constants_outside_the_hypotheses_are_named(change, message) -> None:
    with pytest.raises(bst.InputError, match=message):
        BOUND.evaluate(constants=SHARED | change, schedule=[1, 8])
