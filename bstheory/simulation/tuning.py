"""Tuned learning rate and half-life of Adam over the batch size, at equal tokens, by Monte-Carlo.

All settings of one batch size see the same noise, so settings are compared by paired differences over seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from bstheory.errors import input_error
from bstheory.problems.problem import Problem
from bstheory.simulation.engine import monte_carlo
from bstheory.simulation.optimizers import Adam


@dataclasses.dataclass(frozen=True, kw_only=True)
class TunedAdam:
    """Best setting at one batch size.

    Attributes:
        batch_size, learning_rate, half_life: the setting with the smallest mean final loss.
        loss, loss_se: its mean and standard error over seeds.
        half_life_range: least and largest half-life whose best rate is within two standard errors of the
            paired difference from the best setting; the optimum is known no better than this.
        at_edge: the best rate or half-life is at an end of its grid.
    """

    batch_size: int
    learning_rate: float
    half_life: float
    loss: float
    loss_se: float
    half_life_range: tuple[float, float]
    at_edge: bool


def tuned_adam(
    problem: Problem,
    *,
    batch_sizes: Sequence[int],
    tokens: int,
    learning_rates: Sequence[float],
    half_lives: Sequence[float],
    beta1: float = 0.0,
    eps: float = 1e-8,
    seeds: int = 64,
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> list[TunedAdam]:
    """Tune at every batch size on the product of the two grids.

    Args:
        problem: with a fused kernel. batch_sizes: each divides ``tokens``. tokens: budget of every run.
        learning_rates, half_lives: increasing grids. beta1, eps: fixed. seeds: at least 2.

    Raises:
        InputError: a batch size that does not divide the budget, an empty grid, or every setting diverges.
    """
    if not learning_rates or not half_lives or seeds < 2 or any(tokens % b for b in batch_sizes):
        raise input_error(
            got=f"{len(learning_rates)} rates, {len(half_lives)} half-lives, {seeds} seeds, {batch_sizes}",
            rule=f"grids are not empty, there are two seeds, and every batch size divides {tokens} tokens",
            do="correct them",
        )
    out = []
    for done, batch in enumerate(batch_sizes):
        grid = [(rate, half_life) for half_life in half_lives for rate in learning_rates]
        optimizers = [
            Adam(learning_rate=rate, beta1=beta1, half_life=half_life, eps=eps) for rate, half_life in grid
        ]
        steps = np.full(tokens // batch, batch, np.int64)
        paths = monte_carlo(
            problem, optimizers, [steps] * len(grid), seeds=range(seeds), sums=False, threads=threads
        )
        loss = paths.series["loss"][:, :, -1]
        mean = loss.mean(axis=1)  # +inf where a path diverged
        if not np.any(np.isfinite(mean)):
            raise input_error(
                got=f"batch_size={batch}", rule="every setting of the grid diverges", do="lower the rates"
            )
        best = int(np.argmin(mean))
        kept = []
        for i, half_life in enumerate(half_lives):
            row = slice(i * len(learning_rates), (i + 1) * len(learning_rates))
            at = row.start + int(np.argmin(mean[row]))
            if not np.isfinite(mean[at]):
                continue
            difference = loss[at] - loss[best]
            if difference.mean() <= 2.0 * difference.std(ddof=1) / np.sqrt(seeds):
                kept.append(half_life)
        rate, half_life = grid[best]
        ends = {learning_rates[0], learning_rates[-1]}, {half_lives[0], half_lives[-1]}
        out.append(
            TunedAdam(
                batch_size=int(batch),
                learning_rate=rate,
                half_life=half_life,
                loss=float(mean[best]),
                loss_se=float(loss[best].std(ddof=1) / np.sqrt(seeds)),
                half_life_range=(min(kept), max(kept)),
                at_edge=rate in ends[0] or half_life in ends[1],
            )
        )
        if progress is not None:
            progress(done + 1)
    return out
