"""``simulate``: reproducible, independent of threads and chunks, honest about divergence."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from bstheory.errors import InputError
from bstheory.problems import cosine_sum, noisy_quadratic
from bstheory.run import Run
from bstheory.simulation import SGD, Adam, RMSProp, coefficients, engine, monte_carlo, runs, simulate
from bstheory.simulation.optimizers import COLUMNS

FLAGSHIP = RMSProp(
    learning_rate=0.1,
    half_life=200.0,
    eps=1e-3,
    learning_rate_rule="sqrt_one_minus_beta2",
    weight="sqrt_one_minus_beta2",
)
RAMP = np.repeat([1, 2, 4, 8], 50)


def test_run_carries_all_that_a_comparison_needs(tmp_path) -> None:
    problem = cosine_sum(dim=6, noise_scale=0.5)
    run = simulate(problem, FLAGSHIP, schedule=RAMP, tokens=int(RAMP.sum()), seeds=5, records=10)
    json.dumps(run.config, allow_nan=False)
    assert run.config["problem"]["constants"]["R"] == {"value": 1.5, "unit": "grad", "known": "proved"}
    assert run.config["algorithm"]["half_life"] == 200.0
    np.testing.assert_array_equal(runs.from_run_lengths(run.config["schedule"]), RAMP)
    assert run.tokens[0] == 0 and run.tokens[-1] == run.config["tokens"] == RAMP.sum()
    weights = np.sqrt(1 - 2.0 ** (-RAMP / 200.0))
    np.testing.assert_allclose(run.series["weight"][:, -1], weights.sum(), rtol=1e-12)
    assert np.all(np.diff(run.series["weighted_sq_gradient"], axis=1) >= 0)
    assert run.summary["num_diverged"] == 0
    loaded = Run.load(run.save(tmp_path / "run"))
    np.testing.assert_array_equal(loaded.series["loss"], run.series["loss"])
    assert loaded.hash == run.hash


def test_same_numbers_for_any_threads_and_any_chunk(monkeypatch) -> None:
    problem = noisy_quadratic(1 / np.arange(1, 41), 0.2)
    optimizer = Adam(learning_rate=0.01, beta1=0.9, half_life=100.0)
    base = simulate(problem, optimizer, schedule=RAMP, seeds=7, threads=1)
    threaded = simulate(problem, optimizer, schedule=RAMP, seeds=7, threads=3)
    monkeypatch.setattr(engine, "CHUNK", 13)
    monkeypatch.setattr(engine, "TILE_BYTES", 1024)
    chunked = simulate(problem, optimizer, schedule=RAMP, seeds=7, threads=2)
    for other in (threaded, chunked):
        for name, values in base.series.items():
            # the cumulative weights are summed chunk by chunk, everything else is bitwise the same
            np.testing.assert_allclose(other.series[name], values, rtol=1e-13 if name == "weight" else 0)


def test_a_seed_is_the_same_whoever_runs_beside_it() -> None:
    problem = cosine_sum(dim=4, noise_scale=0.5)
    together = simulate(problem, FLAGSHIP, schedule=RAMP, seeds=6)
    alone = simulate(problem, FLAGSHIP, schedule=RAMP, seeds=[4])
    np.testing.assert_array_equal(alone.series["loss"][0], together.series["loss"][4])
    assert len(np.unique(together.series["loss"][:, -1])) == 6


def test_shared_and_independent_noise() -> None:
    problem = noisy_quadratic(np.ones(8), 1.0)
    pair = [SGD(learning_rate=0.1)] * 2
    shared = monte_carlo(problem, pair, [RAMP, RAMP], seeds=[0, 1], shared_noise=True)
    apart = monte_carlo(problem, pair, [RAMP, RAMP], seeds=[0, 1], shared_noise=False)
    np.testing.assert_array_equal(shared.x[0], shared.x[1])
    assert not np.array_equal(apart.x[0], apart.x[1])
    np.testing.assert_array_equal(apart.x[0], shared.x[0])


def test_float32_follows_float64_without_noise() -> None:
    problem = noisy_quadratic([1.0, 0.5], 0.3, noise_law="none")
    double = simulate(problem, FLAGSHIP, schedule=RAMP, seeds=1)
    single = simulate(problem, FLAGSHIP, schedule=RAMP, seeds=1, dtype=np.float32)
    # 200 steps of a contracting recursion at a relative rounding of 6e-8 each
    np.testing.assert_allclose(single.series["loss"], double.series["loss"], rtol=2e-4)


def test_divergence_is_reported_with_its_step() -> None:
    problem = noisy_quadratic([1.0, 3.0], 0.1)
    run = simulate(problem, SGD(learning_rate=1.0), schedule=np.ones(2000, int), seeds=3, records=20)
    assert run.summary["num_diverged"] == 3
    factor_per_step = np.log(2.0)  # |1 - eta h| = 2 on the stiff coordinate
    limit = np.sqrt(np.finfo(np.float64).max) / 1e3
    expected = np.log(limit) / factor_per_step
    for line in run.summary["diverged"]:
        assert "diverged at step" in line
        assert abs(int(line.split()[-1]) - expected) <= 5
    assert not np.any(np.isnan(run.series["loss"]))
    assert np.all(np.isinf(run.series["loss"][:, -1])) and np.all(np.isfinite(run.series["loss"][:, 0]))


def test_hyperparameters_that_vary_along_the_run() -> None:
    problem = noisy_quadratic([1.0, 0.5], 0.3)
    optimizer = Adam(learning_rate=0.5, beta1=0.9, beta2=0.9)
    rates = np.linspace(0.02, 0.001, len(RAMP))
    betas = np.linspace(0.5, 0.99, len(RAMP))
    run = simulate(
        problem,
        optimizer,
        schedule=RAMP,
        seeds=3,
        along={"learning_rate": rates, "beta2": betas, "beta1": 0 * rates},
    )
    plain = dataclasses.replace(optimizer, learning_rate=rates[0], beta2=betas[0], beta1=0.0)
    table, _ = coefficients(plain, RAMP[:1])
    varied, _ = coefficients(
        optimizer, RAMP, along={"learning_rate": rates, "beta2": betas, "beta1": 0 * rates}
    )
    np.testing.assert_allclose(varied[0], table[0])
    np.testing.assert_allclose(run.series["weight"][:, -1], rates.sum(), rtol=1e-12)
    corrections = 1 / (1 - np.cumprod(betas))
    np.testing.assert_allclose(varied[:, COLUMNS.index("correct2")], corrections, rtol=1e-12)
    # a function of the tokens consumed before each step gives the same run as its values
    before = np.concatenate([[0], np.cumsum(RAMP)[:-1]])
    by_function = simulate(
        problem, optimizer, schedule=RAMP, seeds=3, along={"learning_rate": lambda t: 0.1 / (1.0 + t)}
    )
    by_values = simulate(
        problem, optimizer, schedule=RAMP, seeds=3, along={"learning_rate": 0.1 / (1.0 + before)}
    )
    np.testing.assert_array_equal(by_function.series["loss"], by_values.series["loss"])
    assert by_function.hash != simulate(problem, optimizer, schedule=RAMP, seeds=3).hash


def test_streaming_statistics_and_points() -> None:
    problem = noisy_quadratic([1.0, 0.5], 0.3)
    paths = monte_carlo(
        problem,
        [SGD(learning_rate=0.1), SGD(learning_rate=9.0)],
        [RAMP, RAMP],
        seeds=range(30),
        keep_points=True,
        record_steps=np.array([0, 100, 200]),
    )
    statistics = paths.statistics(quantiles=(0.25,))["loss"]
    loss = paths.series["loss"][0]
    np.testing.assert_allclose(statistics["mean"][0], loss.mean(axis=0))
    np.testing.assert_allclose(statistics["variance"][0], loss.var(axis=0, ddof=1))
    np.testing.assert_allclose(statistics["q0.25"][0], np.quantile(loss, 0.25, axis=0))
    assert np.all(np.isnan(statistics["mean"][1])) == np.all(paths.diverged[1] >= 0)
    np.testing.assert_array_equal(paths.points[0, :, -1], paths.x[0])
    np.testing.assert_allclose(problem.loss(paths.points[0]), loss)
    assert monte_carlo(problem, [SGD(learning_rate=0.1)], [RAMP], seeds=[0]).points is None


class _Halves:
    def batch_sizes(self, *, num_tokens: int, seq_len: int) -> np.ndarray:
        return np.full(num_tokens // 2, 2)


INVALID = [
    ({"schedule": [1, 0, 2]}, "at least 1"),
    ({"schedule": []}, "non-empty"),
    ({"schedule": [1.5]}, "whole batch sizes"),
    ({"schedule": RAMP, "tokens": 7}, "tokens=7"),
    ({"schedule": RAMP, "quantities": ("loss", "entropy")}, "entropy"),
    ({"schedule": RAMP, "seeds": [1, 1]}, "different"),
    ({"schedule": RAMP, "seeds": 0}, "at least one seed"),
    ({"schedule": RAMP, "records": 0}, "records=0"),
    ({"schedule": _Halves()}, "token budget"),
    ({"schedule": _Halves(), "tokens": 7}, "consumes 6"),
    ({"schedule": RAMP, "along": {"gamma": RAMP}}, "gamma"),
    ({"schedule": RAMP, "along": {"beta2": np.ones(len(RAMP))}}, "0 <= beta < 1"),
    ({"schedule": RAMP, "along": {"learning_rate": [0.1]}}, "one value per step"),
]


@pytest.mark.parametrize("arguments, message", INVALID)
def test_invalid_arguments(arguments, message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate(cosine_sum(dim=2, noise_scale=0.1), FLAGSHIP, **arguments)


OPTIMIZER_INVALID = [
    (lambda: SGD(learning_rate=0.0), "learning_rate=0.0"),
    (lambda: SGD(learning_rate=0.1, learning_rate_rule="cubic"), "cubic"),
    (lambda: Adam(learning_rate=0.1, beta1=0.9), "exactly one"),
    (lambda: Adam(learning_rate=0.1, beta1=0.9, beta2=0.9, half_life=3.0), "exactly one"),
    (lambda: Adam(learning_rate=0.1, beta1=0.9, beta2=1.0), "beta2=1.0"),
    (lambda: Adam(learning_rate=0.1, beta1=0.9, half_life=-1.0), "half_life=-1.0"),
    (lambda: Adam(learning_rate=0.1, beta1=0.9, half_life=1.0, eps=-1.0), "eps=-1.0"),
    (lambda: Adam(learning_rate=0.1, beta1=0.9, half_life=1.0, eps_placement="under"), "under"),
]


@pytest.mark.parametrize("make, message", OPTIMIZER_INVALID)
def test_invalid_optimizers(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
