"""Predictions against Monte-Carlo: where they are good, and where they are said to fail they do."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.errors import InputError
from bstheory.problems import noisy_quadratic
from bstheory.simulation import SGD, Adam, RMSProp, heavy_ball_moments, monte_carlo, quadratic_loss
from bstheory.simulation.predictors import adiabatic, mean_field, scaling_table

H = 1.0 / np.arange(1, 101)
SIGMA = np.sqrt(H)


def measured(optimizer, batches, *, h=H, sigma=SIGMA, x0=1.0, seeds=300, records=None):
    problem = noisy_quadratic(h, sigma, x0=x0)
    paths = monte_carlo(
        problem, [optimizer], [batches], seeds=range(seeds), sums=False, record_steps=records, threads=2
    )
    return paths.series["loss"][0]


def test_mean_field_is_within_two_per_cent_for_slow_second_moments() -> None:
    batches = np.full(400, 1)
    optimizer = Adam(learning_rate=0.01, beta1=0.9, beta2=0.995)
    loss = measured(optimizer, batches)[:, -1]
    predicted = quadratic_loss(
        H, mean_field(H, SIGMA**2, np.ones(100), optimizer=optimizer, batch_size=batches)[-1]
    )
    assert predicted == pytest.approx(
        loss.mean(), rel=0.02 + 3 * loss.std() / loss.mean() / np.sqrt(len(loss))
    )


def test_mean_field_fails_visibly_for_fast_second_moments() -> None:
    batches = np.full(400, 1)
    optimizer = Adam(learning_rate=0.05, beta1=0.0, beta2=0.01)
    loss = measured(optimizer, batches)[:, -1]
    predicted = quadratic_loss(
        H, mean_field(H, SIGMA**2, np.ones(100), optimizer=optimizer, batch_size=batches)[-1]
    )
    assert abs(predicted / loss.mean() - 1) > 0.05


def test_mean_field_with_a_huge_eps_is_exact_heavy_ball() -> None:
    # sqrt(v) + eps = eps up to 1e-9: the method is then linear, and the closure has nothing to close.
    batches = np.random.default_rng(0).integers(1, 9, 50)
    optimizer = Adam(learning_rate=0.3e9, beta1=0.8, beta2=0.9, eps=1e9, bias_correction="none")
    path = mean_field(H, SIGMA**2, np.ones(100), optimizer=optimizer, batch_size=batches)
    exact = heavy_ball_moments(
        H,
        SIGMA**2,
        np.ones(100),
        learning_rate=np.full(50, 0.3 * 0.2),
        beta1=np.full(50, 0.8),
        batch_size=batches,
    )[:, 0]
    np.testing.assert_allclose(path, exact, rtol=1e-6)


def test_mean_field_broadcasts_over_configurations() -> None:
    optimizer = Adam(learning_rate=0.01, beta1=0.9, beta2=0.99)
    both = mean_field(
        np.stack([H, 2 * H]), SIGMA**2, np.ones(100), optimizer=optimizer, batch_size=np.full(20, 1)
    )
    alone = mean_field(2 * H, SIGMA**2, np.ones(100), optimizer=optimizer, batch_size=np.full(20, 1))
    np.testing.assert_allclose(both[:, 1], alone)


def test_adiabatic_prediction_where_noise_dominates() -> None:
    optimizer = RMSProp(learning_rate=0.02, beta2=0.9, eps=0.0)
    batches = np.repeat([1, 4], [150, 150])
    h, sigma, x0 = 1.0, 1.0, 0.05
    prediction = adiabatic(h, sigma**2, x0**2, optimizer=optimizer, batch_size=batches)
    loss = measured(
        optimizer,
        batches,
        h=np.array([h]),
        sigma=np.array([sigma]),
        x0=x0,
        seeds=20_000,
        records=np.array([0, 75, 150, 200, 300]),
    )
    for column, step in enumerate([0, 75, 150, 200, 300]):
        assert prediction.trusted[step]
        mean, error = loss[:, column].mean(), loss[:, column].std() / np.sqrt(len(loss))
        assert 0.5 * h * prediction.second_moment[step] == pytest.approx(mean, abs=0.03 * mean + 4 * error)


def test_adiabatic_marks_its_failure_region() -> None:
    optimizer = RMSProp(learning_rate=0.02, beta2=0.9, eps=0.0)
    batches = np.full(60, 1)
    prediction = adiabatic(1.0, 0.01, 4.0, optimizer=optimizer, batch_size=batches)
    loss = measured(optimizer, batches, h=np.ones(1), sigma=np.full(1, 0.1), x0=2.0, seeds=2000)[:, -1]
    assert not prediction.trusted[-1]
    assert abs(0.5 * prediction.second_moment[-1] / loss.mean() - 1) > 0.05


def test_scaling_symmetry_is_exact() -> None:
    batches = np.full(30, 3)
    optimizer = Adam(learning_rate=0.01, beta1=0.9, beta2=0.95, eps=0.0)
    one = noisy_quadratic([2.0], 0.5, x0=0.7)
    # lr, sigma and h scaled so that lr h sqrt(B) / sigma and x0 / lr stay: the path scales with lr
    scaled = noisy_quadratic([2.0], 1.0, x0=1.4)
    twice = Adam(learning_rate=0.02, beta1=0.9, beta2=0.95, eps=0.0)
    a = monte_carlo(one, [optimizer], [batches], seeds=range(5)).x
    b = monte_carlo(scaled, [twice], [batches], seeds=range(5)).x
    np.testing.assert_allclose(2 * a, b, rtol=1e-12)


def test_scaling_table_replaces_paths() -> None:
    optimizer = Adam(learning_rate=0.01, beta1=0.9, beta2=0.95, eps=0.0)
    table = scaling_table(optimizer, num_steps=60, rho=(1e-3, 0.2), u0=(5.0, 200.0), seeds=800)
    coarse = scaling_table(
        optimizer, num_steps=60, rho=(1e-3, 0.2), u0=(5.0, 200.0), points=(5, 9), seeds=800
    )
    assert table.interpolation_error < 0.4 < coarse.interpolation_error
    assert table.typical_error < 0.1
    batch, rate = 4, 0.02
    h = np.geomspace(0.05, 2.0, 200)
    sigma = np.full(200, 0.5)
    predicted = table.second_moment(h, sigma, np.full(200, 0.5), learning_rate=rate, batch_size=batch)
    optimizer = Adam(learning_rate=rate, beta1=0.9, beta2=0.95, eps=0.0)
    loss = measured(optimizer, np.full(60, batch), h=h, sigma=sigma, x0=0.5, seeds=200)[:, -1]
    assert quadratic_loss(h, predicted) == pytest.approx(loss.mean(), rel=0.03)


INVALID = [
    (
        lambda: adiabatic(1, 1, 1, optimizer=Adam(learning_rate=0.1, beta1=0.9, beta2=0.9), batch_size=[1]),
        "RMSProp",
    ),
    (
        lambda: adiabatic(
            1, 1, 1, optimizer=RMSProp(learning_rate=0.1, beta2=0.9, eps_placement="outside"), batch_size=[1]
        ),
        "outside",
    ),
    (
        lambda: scaling_table(
            Adam(learning_rate=0.1, beta1=0.9, beta2=0.9), num_steps=2, rho=(0.1, 1), u0=(1, 2)
        ),
        "symmetry",
    ),
]


@pytest.mark.parametrize("make, message", INVALID)
def test_invalid_arguments(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_nothing_is_extrapolated() -> None:
    optimizer = Adam(learning_rate=1.0, beta1=0.9, beta2=0.9, eps=0.0)
    table = scaling_table(optimizer, num_steps=3, rho=(0.1, 1), u0=(1, 2), points=(3, 3), seeds=20)
    with pytest.raises(InputError, match="wider table"):
        table.second_moment(np.ones(1), np.ones(1), np.full(1, 50.0), learning_rate=0.5, batch_size=1)


def test_sgd_has_no_second_moment_to_close() -> None:
    with pytest.raises(AttributeError):
        mean_field(H, H, H, optimizer=SGD(learning_rate=0.1), batch_size=np.ones(2, int))  # type: ignore[arg-type]
