"""Derivation, damage, and the bound against exact trees and paths with clipped scalings."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.checking import check
from bstheory.errors import InputError
from bstheory.theory.theorems.adam_clipped_scaling import BOUND
from tests.theory.damage import assert_damage_is_noticed

CONSTANTS = {
    "eta": 0.05, "beta1": 0.5, "c_l": 0.5, "c_u": 2.0, "L": 1.5, "sigma_sq": 3.0, "Delta": 2.0, "delta0": 1.0
}  # fmt: skip


def test_proved_and_damage_noticed() -> None:
    certificate = check(BOUND)
    assert certificate.verdict.word == BOUND.declared == "proved", certificate.reason
    assert_damage_is_noticed(dict(certificate.evidence))


def test_value_is_the_statement() -> None:
    b = np.array([1, 2, 8])
    found = BOUND.evaluate(constants=CONSTANTS, schedule=b)
    stated = 2 * 2.0 / (0.05 * 0.5) + 2.0 / 0.5 * (1.0 / 0.5 + 0.5 * 3.0 * (1 / b).sum())
    assert found.value == pytest.approx(stated, rel=1e-12)
    limit = found.parts["largest_learning_rate"] * 1.5 * 2.0
    assert limit + (limit / 0.5) ** 2 == pytest.approx(1.0)


def test_published_step_size_condition_is_admitted() -> None:
    for ratio in (1.0, 3.0, 50.0):
        for beta1 in (0.0, 0.5, 0.99):
            c_l, c_u, L, beta = 1.0 / ratio, 1.0, 2.0, 1 - beta1
            published = min(c_l / (2 * L * c_u**2), beta / L * np.sqrt(c_l / (2 * c_u**3)))
            found = BOUND.evaluate(
                constants={**CONSTANTS, "eta": published, "beta1": beta1, "c_l": c_l, "c_u": c_u, "L": L},
                schedule=[1],
            )
            assert published <= found.parts["largest_learning_rate"]


@pytest.mark.parametrize("seed", range(12))
def test_above_exact_tree(seed: int) -> None:
    """Two-point noise, scaling 1/(sqrt(v) + eps) clipped, largest rate: every outcome of six steps."""
    rng = np.random.default_rng(seed)
    h, sigma = rng.uniform(0.3, 2.0, size=2), rng.uniform(0, 2.0, size=2)
    c_l, c_u = 0.3, float(rng.uniform(0.4, 2.0))
    beta1, beta2, b = float(rng.uniform(0, 0.9)), 0.7, rng.integers(1, 9, size=6)
    constants = {
        "eta": 1e-9, "beta1": beta1, "c_l": c_l, "c_u": c_u, "L": h.max(), "sigma_sq": (sigma**2).sum()
    }  # fmt: skip
    x, m, v = rng.normal(size=(1, 2)), rng.normal(size=(1, 2)), np.ones((1, 2))
    constants["Delta"] = (h * x[0] ** 2).sum() / 2
    constants["delta0"] = ((m - h * x) ** 2).sum()
    eta = BOUND.evaluate(constants=constants, schedule=b).parts["largest_learning_rate"]
    bound = BOUND.evaluate(constants={**constants, "eta": eta}, schedule=b)
    seen = 0.0
    for batch in b:
        seen += ((h * x) ** 2).sum(axis=-1).mean()
        x = x - eta * np.clip(1 / (np.sqrt(v) + 1e-3), c_l, c_u) * m
        noise = np.array([[i, j] for i in (-1, 1) for j in (-1, 1)]) * sigma / np.sqrt(batch)
        g = (h * x)[:, None, :] + noise
        m = ((1 - (1 - beta1)) * m[:, None, :] + (1 - beta1) * g).reshape(-1, 2)
        v = (beta2 * v[:, None, :] + (1 - beta2) * g**2).reshape(-1, 2)
        x = np.repeat(x, 4, axis=0)
    assert seen <= bound.value * (1 + 1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"eta": 1.0}, "step_size"), ({"c_l": 3.0}, "box"), ({"beta1": 1.0}, r"lies in \[0, 1\)")],
)
def test_outside_the_hypotheses(change, message) -> None:
    with pytest.raises(InputError, match=message):
        BOUND.evaluate(constants=CONSTANTS | change, schedule=[1, 2])
