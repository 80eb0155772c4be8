"""Noise in the l1 and the nuclear norm."""

from __future__ import annotations

import math

import numpy as np
import pytest

import bstheory as bst
from bstheory.theory.theorems.dual_norm_noise_scales import BOUND
from tests.theory.checks import assert_established


def test_it_is_proved_and_damage_is_noticed() -> None:
    certificate = assert_established(BOUND, still_true=("declared known before the draw",))
    assert "trace_root" in certificate.rests_on


@pytest.mark.parametrize("b", [1, 4, 64])
def test_noise_in_the_l1_norm(b: int) -> None:
    rng = np.random.default_rng(0)
    sigma = np.array([1.0, 0.1, 3.0])
    for noise in (rng.choice([-1, 1], (20_000, 3)), rng.normal(size=(20_000, 3))):
        size = np.abs(noise * sigma / math.sqrt(b)).sum(axis=1)
        # Signs attain the bound, Gaussians stay a factor sqrt(2/pi) below it.
        assert size.mean() <= sigma.sum() / math.sqrt(b) * (1 + 1e-12) + 4 * size.std() / math.sqrt(20_000)
    assert np.abs(sigma / math.sqrt(b)).sum() == pytest.approx(sigma.sum() / math.sqrt(b))


def test_noise_in_the_nuclear_norm() -> None:
    rng = np.random.default_rng(1)
    left = rng.normal(size=(3, 3))
    cov = left @ left.T * 5  # E N N^T of N = left Z, Z 3x5 standard normal
    trace_root = np.sqrt(np.linalg.eigvalsh(cov)).sum()
    for b in (1, 9):
        noise = left @ rng.normal(size=(4000, 3, 5)) / math.sqrt(b)
        nuclear = np.linalg.svd(noise, compute_uv=False).sum(axis=1)
        assert nuclear.mean() <= trace_root / math.sqrt(b)
        assert nuclear.mean() > 0.7 * trace_root / math.sqrt(b)


def test_the_trusted_trace_inequality_on_random_matrices() -> None:
    rng = np.random.default_rng(2)

    def root(M: np.ndarray, power: float) -> np.ndarray:
        w, U = np.linalg.eigh(M)
        return U @ np.diag(np.maximum(w, 0) ** power) @ U.T

    for _ in range(200):
        x, a = rng.normal(size=(4, rng.integers(1, 5))), rng.normal(size=(4, 4))
        X, A = x @ x.T, a @ a.T + 1e-3 * np.eye(4)
        right = (np.trace(root(A, -0.5) @ X) + np.trace(root(A, 0.5))) / 2
        assert np.trace(root(X, 0.5)) <= right * (1 + 1e-9)


def test_the_batch_passes_the_test() -> None:
    sigma, G, eta = np.array([1.0, 2.0]), np.array([0.5, -0.1]), 0.3
    found = BOUND.evaluate(constants={"sigma": sigma, "G": G, "eta": eta})
    assert found.value == pytest.approx((3.0 / (eta * 0.6)) ** 2)
    assert sigma.sum() / math.sqrt(found.value) == pytest.approx(eta * np.abs(G).sum())
    assert found.value <= found.trivial_value
    with pytest.raises(bst.InputError, match="gradient of zero"):
        BOUND.evaluate(constants={"sigma": sigma, "G": 0 * G, "eta": eta})
