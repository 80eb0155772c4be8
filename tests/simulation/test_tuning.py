"""Tuning of Adam: the optimum of the grid, its uncertainty, and what must hold of it."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.errors import InputError
from bstheory.problems import noisy_quadratic
from bstheory.simulation import Adam, monte_carlo
from bstheory.simulation.tuning import tuned_adam

PROBLEM = noisy_quadratic(1.0 / np.arange(1, 21), 0.3 / np.sqrt(np.arange(1, 21)))
GRID = {"learning_rates": [0.003, 0.01, 0.03, 0.1], "half_lives": [20.0, 200.0, 2000.0], "tokens": 256}


def test_the_best_setting_is_the_best_of_the_grid() -> None:
    small, large = tuned_adam(PROBLEM, batch_sizes=[1, 16], seeds=40, **GRID)
    for found in (small, large):
        steps = np.full(256 // found.batch_size, found.batch_size)
        losses = [
            monte_carlo(
                PROBLEM,
                [Adam(learning_rate=rate, beta1=0.0, half_life=half_life)],
                [steps],
                seeds=range(40),
            )
            .series["loss"][0, :, -1]
            .mean()
            for rate in GRID["learning_rates"]
            for half_life in GRID["half_lives"]
        ]
        assert found.loss == pytest.approx(min(losses), rel=1e-12)
        low, high = found.half_life_range
        assert low <= found.half_life <= high
    assert small.learning_rate <= large.learning_rate  # fewer, less noisy steps are longer
    assert small.loss < large.loss  # at equal tokens small batches win on a quadratic with tuned rates


def test_divergence_and_bad_grids() -> None:
    with pytest.raises(InputError, match="divides 256"):
        tuned_adam(PROBLEM, batch_sizes=[3], **GRID)
    with pytest.raises(InputError, match="not empty"):
        tuned_adam(PROBLEM, batch_sizes=[1], **(GRID | {"half_lives": []}))
    with pytest.raises(InputError, match="diverges"):
        tuned_adam(PROBLEM, batch_sizes=[64], **(GRID | {"learning_rates": [1e200]}))
