"""Problems without a fused kernel are simulated all the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from bstheory.errors import InputError
from bstheory.problems import Constant, Problem, noisy_quadratic
from bstheory.simulation import SGD, Adam, sgd_moments, simulate

QUARTIC = Problem(
    name="quartic",
    dim=2,
    x0=np.array([1.0, -1.0]),
    constants={"F_star": Constant(value=0.0, unit="loss", known="by construction")},
    loss=lambda x: np.sum(x**4, axis=-1) / 4,
    full_gradient=lambda x: x**3,
    gradient=lambda x, batch_size, rng: x**3 + rng.normal(size=x.shape) * 0.1 / np.sqrt(batch_size),
)


def test_a_problem_of_ones_own() -> None:
    run = simulate(
        QUARTIC, Adam(learning_rate=0.05, beta1=0.9, beta2=0.99), schedule=[2] * 60, seeds=4, records=6
    )
    assert run.config["problem"]["name"] == "quartic"
    assert np.all(run.series["loss"][:, -1] < run.series["loss"][:, 0])
    again = simulate(
        QUARTIC, Adam(learning_rate=0.05, beta1=0.9, beta2=0.99), schedule=[2] * 60, seeds=[2], records=6
    )
    np.testing.assert_array_equal(again.series["loss"][0], run.series["loss"][2])


def test_the_same_distribution_as_the_kernels() -> None:
    fused = noisy_quadratic([1.0, 0.3], 0.4)
    plain = dataclasses.replace(fused, params={})
    batches = np.array([1, 2, 4] * 5)
    optimizer = SGD(learning_rate=0.3)
    a, b = (simulate(p, optimizer, schedule=batches, seeds=400, records=3).series for p in (fused, plain))
    for name in ("loss", "weighted_sq_gradient"):
        assert stats.ks_2samp(a[name][:, -1], b[name][:, -1]).pvalue > 1e-4
    np.testing.assert_allclose(a["weight"], b["weight"], rtol=1e-12)
    exact = sgd_moments(
        [1.0, 0.3], np.full(2, 0.16), np.ones(2), learning_rate=np.full(15, 0.3), batch_size=batches
    )[-1]
    loss = b["loss"][:, -1]
    assert abs(loss.mean() - 0.5 * np.array([1.0, 0.3]) @ exact) <= 4 * loss.std() / 20


def test_divergence_and_limits() -> None:
    run = simulate(QUARTIC, SGD(learning_rate=5.0), schedule=[1] * 50, seeds=3)
    assert run.summary["num_diverged"] == 3
    assert not np.any(np.isnan(run.series["loss"]))
    with pytest.raises(InputError, match="float32"):
        simulate(QUARTIC, SGD(learning_rate=0.1), schedule=[1], dtype=np.float32)
