"""Derivation, damage, closed forms, and the bound against Signum and Muon with every noise outcome."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bstheory.checking import check
from bstheory.errors import InputError
from bstheory.theory.theorems.lmo_token_half_life import BOUND
from tests.theory.damage import assert_damage_is_noticed

CONSTANTS = {"eta": 0.1, "t1": 5.0, "L": 2.0, "rho": 1.5, "sigma_sq": 4.0, "Delta": 3.0}


def test_proved_and_damage_noticed() -> None:
    certificate = check(BOUND)
    assert certificate.verdict.word == BOUND.declared == "proved", certificate.reason
    assert_damage_is_noticed(dict(certificate.evidence))


def test_value_is_the_statement() -> None:
    batches, eta = np.array([2, 4, 8, 1]), np.array([0.1, 0.2, 0.3, 0.05])
    found = BOUND.evaluate(constants={**CONSTANTS, "eta": eta}, schedule=batches)
    b, V, drift, noise = 0.0, 0.5, 0.0, 0.1 * np.sqrt(0.5)
    for t in (1, 2, 3):
        beta = 2 ** (-batches[t] / 5.0)
        b = beta * (b + 2.0 * eta[t - 1])
        V = beta**2 * V + (1 - beta) ** 2 / batches[t]
        drift, noise = drift + eta[t] * b, noise + eta[t] * np.sqrt(V)
    stated = 3.0 + (eta**2).sum() + 2 * (drift + 1.5 * 2.0 * noise)
    assert found.value == pytest.approx(stated, rel=1e-12)


@pytest.mark.parametrize("B", [1, 7, 60])
def test_constant_batch_closed_forms(B: int) -> None:
    found = BOUND.evaluate(constants=CONSTANTS, schedule=[B] * 400).parts
    assert found["noise"] <= found["constant_noise"] * (1 + 1e-12)
    assert found["drift"] <= found["constant_drift"] * (1 + 1e-12)
    if B == 1:  # far below the half-life both are nearly exact
        assert found["noise"] > 0.95 * found["constant_noise"]
        assert found["drift"] > 0.9 * found["constant_drift"]


def test_optimum_of_the_leading_order() -> None:
    found = BOUND.evaluate(constants=CONSTANTS, schedule=[10] * 100).parts
    L, strength, delta, D = 2.0, 3.0, 3.0, 1000.0

    def leading(r, lam):
        return delta / (r * D) + 2 * L * r / lam + 2 * strength * np.sqrt(lam / 2)

    lam, r = np.log(2) / found["best_half_life"], found["best_step_per_token"]
    assert leading(r, lam) == pytest.approx(found["best_mean_leading_order"], rel=1e-12)
    grid = np.meshgrid(r * np.geomspace(1 / 3, 3, 61), lam * np.geomspace(1 / 3, 3, 61))
    assert leading(*grid).min() == pytest.approx(found["best_mean_leading_order"], rel=1e-9)


def signum(h, sigma, x, eta, batches, t1):
    """sum eta E|grad F|_1 over all outcomes of +-sigma_i/sqrt(B) in two coordinates."""
    outcomes = np.array(list(itertools.product((-1, 1), repeat=2))) * sigma
    x, m, seen = x[None, :], np.zeros((1, 2)), 0.0
    for t, batch in enumerate(batches):
        gradient = h * x
        seen += eta[t] * np.abs(gradient).sum(axis=-1).mean()
        beta = 2 ** (-batch / t1) if t else 0.0
        g = gradient[:, None, :] + outcomes / np.sqrt(batch)
        m = (beta * m[:, None, :] + (1 - beta) * g).reshape(-1, 2)
        x = np.repeat(x, 4, axis=0) - eta[t] * np.sign(m)
    return seen


@pytest.mark.parametrize("seed", range(12))
def test_above_every_outcome_of_signum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    h, sigma, x = rng.uniform(0.2, 2, size=2), rng.uniform(0.01, 2, size=2), rng.normal(size=2)
    eta, batches = rng.uniform(0.01, 0.4, size=6), rng.integers(1, 20, size=6)
    t1 = float(rng.uniform(0.5, 30))
    constants = {
        "eta": eta, "t1": t1, "L": h.sum(), "rho": np.sqrt(2), "sigma_sq": (sigma**2).sum(),
        "Delta": (h * x**2).sum() / 2,
    }  # fmt: skip
    assert (
        signum(h, sigma, x, eta, batches, t1) <= BOUND.evaluate(constants=constants, schedule=batches).value
    )


@pytest.mark.parametrize("seed", range(4))
def test_above_every_outcome_of_muon(seed: int) -> None:
    """F = |X|_F^2/2 on 2 x 2 matrices: L = 2 in the spectral norm, since |X|_* <= 2 |X|; rho = sqrt(2)."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(1, 2, 2))
    delta, eta, batches, t1 = (X**2).sum() / 2, 0.1, [1, 2, 4, 2, 8], 4.0
    direction = rng.normal(size=(2, 2))
    m, seen = np.zeros((1, 2, 2)), 0.0
    for t, batch in enumerate(batches):
        seen += eta * np.linalg.svd(X, compute_uv=False).sum(axis=-1).mean()
        beta = 2 ** (-batch / t1) if t else 0.0
        g = np.concatenate([X + s * direction / np.sqrt(batch) for s in (-1, 1)])
        m = beta * np.concatenate([m, m]) + (1 - beta) * g
        u, _, vt = np.linalg.svd(m)
        X = np.concatenate([X, X]) - eta * u @ vt
    constants = {
        "eta": eta, "t1": t1, "L": 2.0, "rho": np.sqrt(2), "sigma_sq": (direction**2).sum(), "Delta": delta
    }  # fmt: skip
    assert seen <= BOUND.evaluate(constants=constants, schedule=batches).value


def test_vectorised_over_constants() -> None:
    both = BOUND.evaluate(constants={**CONSTANTS, "t1": np.array([2.0, 9.0])}, schedule=[1, 2, 3]).value
    single = [
        BOUND.evaluate(constants={**CONSTANTS, "t1": t1}, schedule=[1, 2, 3]).value for t1 in (2.0, 9.0)
    ]
    assert both == pytest.approx(single)


@pytest.mark.parametrize(("change", "message"), [({"t1": 0.0}, "must be positive"), ({"rho": -1.0}, "rho")])
def test_outside_the_hypotheses(change, message) -> None:
    with pytest.raises(InputError, match=message):
        BOUND.evaluate(constants=CONSTANTS | change, schedule=[1, 2])
