"""Monte-Carlo of problems without a fused kernel: NumPy steps, one call of ``problem.gradient`` a step and
seed.

A hundred times slower than the kernels, for objectives that a user writes. Each seed has its own NumPy
generator, so its path depends on nothing else; the numbers differ from those of the kernels' generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bstheory.problems.problem import Problem
from bstheory.simulation.engine import Paths, _records
from bstheory.simulation.optimizers import COLUMNS, INDEX, Optimizer, coefficients
from bstheory.simulation.reference import STEPS

Array = np.ndarray


def generic_paths(
    problem: Problem,
    optimizer: Optimizer,
    batch_size: Array,
    *,
    seeds: Sequence[int],
    record_steps: Array | None = None,
    along: Mapping[str, Array] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Paths:
    """Simulate one configuration; the result is that of :func:`.monte_carlo` with C = 1.

    Args:
        problem: any. optimizer: any of this package. batch_size: integers [K].
        seeds, record_steps, along, progress: as in :func:`.monte_carlo`.
    """
    steps, count, d = len(batch_size), len(seeds), problem.dim
    records = _records(record_steps, steps)
    table, _ = coefficients(optimizer, batch_size, along=along)
    generators = [np.random.default_rng([seed, 0x6E]) for seed in seeds]
    x = np.broadcast_to(problem.x0, (count, d)).astype(np.float64)
    m, v = np.zeros_like(x), np.full_like(x, getattr(optimizer, "v0", 0.0))
    sums = np.zeros((2, count))
    names = ("loss", "sq_gradient", "weighted_sq_gradient", "weighted_l1_gradient")
    series = {name: np.full((1, count, len(records)), np.inf) for name in names}
    weight, diverged = np.zeros((1, len(records))), np.full((1, count), -1, np.int64)
    limit = np.sqrt(np.finfo(np.float64).max) / 1e3

    def note(index: int, exact: Array) -> None:
        alive = diverged[0] < 0
        values = (problem.loss(x), np.sum(exact * exact, axis=-1), sums[0], sums[1])
        for name, value in zip(names, values):
            series[name][0, alive, index] = value[alive]

    at = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(steps + 1):
            exact = problem.full_gradient(x)
            if at < len(records) and records[at] == k:
                note(at, exact)
                weight[0, at] = table[:k, INDEX["weight"]].sum()
                at += 1
            if k == steps:
                break
            c = dict(zip(COLUMNS, table[k]))
            sums[0] += c["weight"] * np.sum(exact * exact, axis=-1)
            sums[1] += c["weight"] * np.sum(np.abs(exact), axis=-1)
            batch = int(batch_size[k])
            g = np.stack([problem.gradient(x[s], batch, generators[s]) for s in range(count)])
            x, m, v = STEPS[optimizer.name](x, m, v, g, c, optimizer)
            lost = (diverged[0] < 0) & ~np.all(np.abs(x) <= limit, axis=1)
            diverged[0, lost] = k + 1
            gone = diverged[0] >= 0
            x[gone], m[gone], v[gone] = 0.0, 0.0, 1.0  # kept finite; nothing of them is reported any more
            if progress is not None:
                progress(k + 1)
    return Paths(steps=records, series=series, weight=weight, diverged=diverged, x=x[None])
