"""Derivation, damage, and both bounds against every outcome of short runs on sum(1 - cos x)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bstheory.checking import check
from bstheory.errors import InputError
from bstheory.theory.theorems.adam_unnormalised import BOUND, adagrad, adam
from tests.theory.damage import assert_damage_is_noticed

CONSTANTS = {"alpha": 0.1, "eps": 0.01, "R": 1.6, "L": 1.0, "d": 2, "Delta": 3.0}


def test_proved_and_damage_noticed() -> None:
    certificate = check(BOUND)
    assert certificate.verdict.word == BOUND.declared == "proved", certificate.reason
    assert_damage_is_noticed(dict(certificate.evidence))


def test_value_is_the_statement() -> None:
    alpha, eps, R, L, d, delta = CONSTANTS.values()
    r, N, beta = R - 0.1, 50, 0.9
    found = BOUND.evaluate(constants={**CONSTANTS, "beta2": beta}, schedule=[1] * N).value
    logs = np.log(1 + R**2 / (0.1 * eps)) / N - np.log(beta)
    stated = 2 * R * delta / (alpha * N) + d * (4 * R * r / np.sqrt(0.1) + alpha * R * L / 0.1) * logs
    assert found == pytest.approx(stated, rel=1e-12)
    found = BOUND.evaluate(constants={**CONSTANTS, "beta2": 1.0}, schedule=[1] * N).value
    stated = 2 * R * delta / (alpha * np.sqrt(N))
    stated += d * (4 * R * r + alpha * R * L) / np.sqrt(N) * np.log(1 + N * R**2 / eps)
    assert found == pytest.approx(stated, rel=1e-12)


@pytest.mark.parametrize("beta2", [0.5, 0.9, 1.0])
def test_published_form_follows(beta2: float) -> None:
    """The source has R^2 where r R stands here, which is larger."""
    R, N, (alpha, eps, _, L, d, delta) = 1.6, 20, CONSTANTS.values()
    found = BOUND.evaluate(constants={**CONSTANTS, "beta2": beta2}, schedule=[1] * N).value
    if beta2 == 1:
        published = 2 * R * delta / (alpha * np.sqrt(N))
        published += d * (4 * R**2 + alpha * R * L) / np.sqrt(N) * np.log(1 + N * R**2 / eps)
    else:
        E = 4 * d * R**2 / np.sqrt(1 - beta2) + alpha * d * R * L / (1 - beta2)
        published = 2 * R * delta / (alpha * N)
        published += E * (np.log(1 + R**2 / ((1 - beta2) * eps)) / N - np.log(beta2))
    assert found <= published


@pytest.mark.parametrize("beta2", [0.6, 0.95, 1.0])
@pytest.mark.parametrize("alpha", [0.05, 2.0])
def test_above_every_outcome(alpha: float, beta2: float) -> None:
    sigma, eps, N = 0.8, 1e-2, 6
    signs = np.array(list(itertools.product((-1, 1), repeat=2))) * sigma
    x, v, seen, count = np.array([[1.0, 2.5]]), np.zeros((1, 2)), 0.0, 0.0
    delta = (1 - np.cos(x)).sum()
    for _ in range(N):
        gradient = np.sin(x)
        seen += (gradient**2).sum(axis=-1).mean() / N
        g = (gradient[:, None, :] + signs).reshape(-1, 2)
        v = beta2 * np.repeat(v, 4, axis=0) + g**2
        count = beta2 * count + 1
        rate = alpha * (np.sqrt(count) if beta2 < 1 else 1.0)
        x = np.repeat(x, 4, axis=0) - rate * g / np.sqrt(eps + v)
    constants = {"alpha": alpha, "eps": eps, "R": 1 + sigma + np.sqrt(eps), "L": 1.0, "d": 2, "Delta": delta}
    assert seen <= BOUND.evaluate(constants={**constants, "beta2": beta2}, schedule=[1] * N).value


def test_young_weight_is_free() -> None:
    for derive in (adagrad, adam):
        from bstheory.checking import recheck_document

        assert recheck_document(derive(None).document()).valid
    values = [
        BOUND.evaluate(constants={**CONSTANTS, "beta2": 0.99, "young": y}, schedule=[1] * 1000).value
        for y in (0.2, 0.25, 0.3)
    ]
    assert len(set(values)) == 3


def test_vectorised_over_constants() -> None:
    both = BOUND.evaluate(constants={**CONSTANTS, "beta2": np.array([0.9, 1.0])}, schedule=[1] * 9).value
    single = [BOUND.evaluate(constants={**CONSTANTS, "beta2": b}, schedule=[1] * 9).value for b in (0.9, 1.0)]
    assert both == pytest.approx(single)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"beta2": 1.1}, r"lies in \(0, 1\]"), ({"R": 0.1}, "bounded_gradient"), ({"young": 0.5}, "young")],
)
def test_outside_the_hypotheses(change, message) -> None:
    with pytest.raises(InputError, match=message):
        BOUND.evaluate(constants={**CONSTANTS, "beta2": 0.9} | change, schedule=[1, 2])
