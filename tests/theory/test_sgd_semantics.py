"""Every step of the SGD and sign-momentum derivations, evaluated on random finite trees."""

from __future__ import annotations

import copy
import random

import pytest

from bstheory.checking.semantics import Evaluator
from bstheory.theory import lmo_lemmas
from bstheory.theory.theorems import sgd_inner_product_test, sgd_pl_norm_test, sgd_strongly_convex
from tests.theory.sgd_trees import sgd_tree, sign_momentum_tree

DEPTH = 3
H = [0.4, 1.5]


def rates(growth: float, rng: random.Random) -> list[float]:
    return [rng.uniform(0.2, 1.0) / (growth * max(H)) for _ in range(DEPTH)]


def products(eta: list[float], mu: float):
    values = [1.0]
    for rate in eta:
        values.append(values[-1] * (1 - mu * rate))
    return lambda level: {"decay": values[level], "decay_next": values[level + 1]}


@pytest.mark.parametrize("seed", range(4))
def test_norm_test(seed: int) -> None:
    rng = random.Random(seed)
    theta = rng.uniform(0, 1.5)
    eta = rates(1 + theta**2, rng)

    def outcomes(G, b):
        return [(0.5, [a * (1 + s * theta) for a in G], {}) for s in (-1, 1)]

    found, nodes = sgd_tree(rng, H, outcomes=outcomes, eta=eta, b=[1.0] * DEPTH, known=products(eta, min(H)))
    constants = {**found, "L": max(H), "mu": min(H), "theta": theta}
    for part in sgd_pl_norm_test.derive().values():
        assert Evaluator(part.document(), constants, nodes, 2).violations() == []


@pytest.mark.parametrize("seed", range(4))
def test_inner_product_test(seed: int) -> None:
    rng = random.Random(seed)
    theta, nu = rng.uniform(0, 1.5), rng.uniform(0, 1.5)
    eta = rates(1 + theta**2 + nu**2, rng)

    def outcomes(G, b):
        across = [-G[1], G[0]]
        return [
            (0.25, [(1 + s * theta) * a + t * nu * c for a, c in zip(G, across)], {"tau": 1 + s * theta})
            for s in (-1, 1)
            for t in (-1, 1)
        ]

    found, nodes = sgd_tree(rng, H, outcomes=outcomes, eta=eta, b=[1.0] * DEPTH, known=products(eta, min(H)))
    constants = {**found, "L": max(H), "mu": min(H), "theta": theta, "nu": nu}
    for part in sgd_inner_product_test.derive().values():
        assert Evaluator(part.document(), constants, nodes, 2).violations() == []


@pytest.mark.parametrize("seed", range(4))
def test_strongly_convex(seed: int) -> None:
    rng = random.Random(seed)
    sigma = [rng.uniform(0, 2), rng.uniform(0, 2)]
    eta, b = rates(1.0, rng), [float(rng.randint(1, 9)) for _ in range(DEPTH)]
    variance = sum(s * s for s in sigma)

    def outcomes(G, batch):
        size = batch**-0.5
        return [
            (0.25, [G[0] + s * sigma[0] * size, G[1] + t * sigma[1] * size], {})
            for s in (-1, 1)
            for t in (-1, 1)
        ]

    bounds: list[float] = []
    found, nodes = sgd_tree(
        rng,
        H,
        outcomes=outcomes,
        eta=eta,
        b=b,
        known=lambda level: {"u": bounds[level], "u_next": bounds[level + 1]} if bounds else {},
    )
    bounds.append(found["F_start"])
    for rate, batch in zip(eta, b):
        bounds.append((1 - rate * min(H)) * bounds[-1] + rate**2 * max(H) * variance / (2 * batch))
    for node in nodes:  # the bound starts at the loss of the start, which the tree has just drawn
        node.values |= {"u": bounds[node.level], "u_next": bounds[node.level + 1]}
    constants = {**found, "L": max(H), "mu": min(H), "mu_a": 1.0, "M_G": 1.0, "sigma_sq": variance}
    document = sgd_strongly_convex.any_schedule().document()
    assert Evaluator(document, constants, nodes, 2).violations() == []


@pytest.mark.parametrize("seed", range(4))
def test_sign_momentum(seed: int) -> None:
    rng = random.Random(seed)
    constants, nodes = sign_momentum_tree(
        rng,
        H,
        sigma=[rng.uniform(0.1, 2), rng.uniform(0.1, 2)],
        eta=[rng.uniform(0.05, 0.5) for _ in range(DEPTH)],
        B=[float(rng.randint(1, 9)) for _ in range(DEPTH)],
        t1=rng.uniform(1, 10),
    )
    assert Evaluator(lmo_lemmas.schedule().document(), constants, nodes, 2).violations() == []


def test_false_claims_are_seen() -> None:
    """A conditional mean taken for an expectation, and a rate twice as fast, do not survive."""
    rng = random.Random(1)
    theta = 1.0
    eta = rates(1 + theta**2, rng)

    def outcomes(G, b):
        return [(0.5, [a * (1 + s * theta) for a in G], {}) for s in (-1, 1)]

    found, nodes = sgd_tree(rng, H, outcomes=outcomes, eta=eta, b=[1.0] * DEPTH, known=products(eta, min(H)))
    constants = {**found, "L": max(H), "mu": min(H), "theta": theta}
    document = sgd_pl_norm_test.derive()["linear_rate"].document()
    fast = copy.deepcopy(document)
    for step in fast["steps"]:
        if step["name"] == "rate":
            step["gap"] = "decay**4*(F_start - F_star) - gap_prev"
    assert {v.step for v in Evaluator(fast, constants, nodes, 2).violations()} == {"rate"}
    random_state = copy.deepcopy(document)
    for step in random_state["steps"]:
        if step["name"] == "rate":
            step["gap"] = "decay*(F_start - F_star) - (F_prev - F_star)"
    assert {v.step for v in Evaluator(random_state, constants, nodes, 2).violations()} == {"rate"}
