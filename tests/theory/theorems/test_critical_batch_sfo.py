"""Derivation, damage, and the minimum against a grid of batch sizes."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.checking import check
from bstheory.errors import InputError
from bstheory.theory.theorems.critical_batch_sfo import BOUND
from tests.theory.damage import assert_damage_is_noticed


def test_proved_and_damage_noticed() -> None:
    certificate = check(BOUND)
    assert certificate.verdict.word == BOUND.declared == "proved", certificate.reason
    assert_damage_is_noticed(dict(certificate.evidence))


def test_value_is_the_statement() -> None:
    linear = BOUND.evaluate(constants={"C1": 2.0, "C2": 3.0, "C3": 0.5, "eps": 0.75})
    assert linear.value == pytest.approx(4 * 2 * 3 / 0.25**2)
    assert linear.parts["critical_batch_size"] == pytest.approx(2 * 3 / 0.25)
    root = BOUND.evaluate(constants={"C1": 2.0, "C2": 3.0, "C3": 0.5, "eps": 0.75, "exponent": 0.5})
    assert root.value == pytest.approx(27 * 2 * 9 / (4 * 0.25**3))
    assert root.parts["critical_batch_size"] == pytest.approx(9 * 9 / (4 * 0.25**2))


@pytest.mark.parametrize("exponent", [1.0, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_minimum_on_a_grid(exponent: float, seed: int) -> None:
    C1, C2, eps = np.random.default_rng(seed).uniform(0.1, 5.0, size=3)
    found = BOUND.evaluate(constants={"C1": C1, "C2": C2, "eps": eps, "exponent": exponent})
    batch = found.parts["critical_batch_size"] * np.geomspace(0.3, 10.0, 2001)
    room = eps - C2 / batch**exponent
    samples = np.where(room > 0, C1 / np.where(room > 0, room, 1.0), np.inf) * batch
    assert samples.min() >= found.value * (1 - 1e-12)
    assert samples.min() <= found.value * (1 + 1e-4)
    reached = C1 / found.parts["steps"] + C2 / found.parts["critical_batch_size"] ** exponent
    assert reached == pytest.approx(eps)
    assert found.parts["least_batch_size"] == pytest.approx((C2 / eps) ** (1 / exponent))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"C3": 2.0}, "reachable"), ({"exponent": 2.0}, "is 1 or 1/2"), ({"C1": 0.0}, "must be positive")],
)
def test_outside_the_hypotheses(change, message) -> None:
    with pytest.raises(InputError, match=message):
        BOUND.evaluate(constants={"C1": 2.0, "C2": 3.0, "eps": 1.0} | change)
