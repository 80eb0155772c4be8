"""Driver of the fused kernels: chunks, threads, records, divergence. Configurations x seeds x coordinates."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.problems.problem import Problem
from bstheory.simulation import gradients, kernels, laws
from bstheory.simulation.generator import seed_stream
from bstheory.simulation.optimizers import Adam, HeavyBall, Optimizer, coefficients

Array = np.ndarray

CHUNK = 2048  # steps whose coefficients exist at once; state and scratch do not depend on the number of steps
TILE_BYTES = 65536  # noise kept at once: half of a second-level cache share


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paths:
    """Measurements of C configurations x S seeds at T records.

    Attributes:
        steps: int64 [T], steps completed at each record, the first is 0.
        series: name -> float64 [C, S, T]: ``loss``, ``sq_gradient`` (||grad F||^2), and when asked for,
            cumulative ``weighted_sq_gradient``, ``weighted_l1_gradient``. After a divergence the values are
            +inf.
        weight: float64 [C, T], cumulative weights.
        diverged: int64 [C, S], the step at which a path left the range of numbers, else -1.
        x: final points, float64 [C, S, d].
        points: x at every record, [C, S, T, d], when asked for.
    """

    steps: Array
    series: dict[str, Array]
    weight: Array
    diverged: Array
    x: Array
    points: Array | None = None

    def statistics(self, quantiles: Sequence[float] = (0.05, 0.5, 0.95)) -> dict[str, dict[str, Array]]:
        """Over the seeds that did not diverge: per series, ``mean``, ``variance`` and ``q...``, each [C, T].

        Where fewer than two seeds are left the entries are NaN.
        """
        alive = self.diverged < 0
        out: dict[str, dict[str, Array]] = {}
        for name, values in self.series.items():
            table = {key: np.full((len(values), values.shape[2]), np.nan) for key in ("mean", "variance")}
            table |= {f"q{q:g}": np.full((len(values), values.shape[2]), np.nan) for q in quantiles}
            for c in range(len(values)):
                kept = values[c, alive[c]]
                if len(kept) < 2:
                    continue
                table["mean"][c], table["variance"][c] = kept.mean(axis=0), kept.var(axis=0, ddof=1)
                for q, row in zip(quantiles, np.quantile(kept, quantiles, axis=0)):
                    table[f"q{q:g}"][c] = row
            out[name] = table
        return out


def kernel_ids(optimizer: Optimizer, dim: int) -> tuple[int, tuple[Any, ...]]:
    """Optimizer id of the kernels, and options: (eps inside the root[, rows, clipping threshold or 0])."""
    name = optimizer.name
    if isinstance(optimizer, HeavyBall) and optimizer.nesterov:
        name = "nesterov"
    if isinstance(optimizer, Adam) and optimizer.beta1 == 0.0:
        name = "rmsprop"
    inside = getattr(optimizer, "eps_placement", "inside") == "inside"
    rows, clip = int(getattr(optimizer, "rows", 1)), float(getattr(optimizer, "clip_threshold", None) or 0.0)
    if dim % rows or (name == "adafactor" and min(rows, dim // rows) < 2):
        raise input_error(
            got=f"rows={rows} for {dim} coordinates",
            rule="the rows divide the coordinates, and a factored second moment needs at least 2 x 2",
            do="choose another number of rows",
        )
    matrix = name in ("adafactor", "muon")
    return kernels.OPTIMIZERS[name], (inside, rows, clip) if matrix else (inside,)


def kernel_model(problem: Problem, dtype: type) -> tuple[Array, Array, Array, Array, Array]:
    """``(curvature, sigma, growth, data, labels)`` of :mod:`.gradients`, empty where the problem has none."""
    params, d = problem.params, problem.dim
    return (
        np.asarray(params.get("curvature", np.ones(d)), dtype),
        np.asarray(params.get("noise", np.zeros(d)), dtype),
        np.asarray(params.get("noise_growth", np.empty(0)), dtype),
        np.ascontiguousarray(params.get("data", np.empty((0, d))), dtype),
        np.asarray(params.get("labels", np.empty(0)), dtype),
    )


def monte_carlo(
    problem: Problem,
    optimizers: Sequence[Optimizer],
    batch_sizes: Sequence[Array],
    *,
    seeds: Sequence[int],
    record_steps: Array | None = None,
    shared_noise: bool = True,
    sums: bool = True,
    along: Sequence[Mapping[str, Array]] | None = None,
    keep_points: bool = False,
    dtype: type = np.float64,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Paths:
    """Simulate C configurations with the same kind of optimizer for the same number of steps.

    Args:
        problem: a problem with a fused kernel (``params["kernel"]``).
        optimizers: C descriptions of one class.
        batch_sizes: C integer vectors [K].
        seeds: S seeds; each owns a random stream that depends on nothing else.
        record_steps: increasing steps in 0..K at which to record; default ``[0, K]``.
        shared_noise: the configurations of one seed see the same noise (common random numbers).
        sums: accumulate the weighted gradient norms along the path.
        along: per configuration, hyperparameters that vary with the step, see :func:`.coefficients`.
        keep_points: also keep x at every record (nothing of a path is stored otherwise).
        dtype: numpy.float64 or numpy.float32 (accumulators are float64 either way).
        threads: worker threads; results do not depend on it.
        progress: called with the number of steps completed.

    Raises:
        InputError: mixed optimizer classes, unequal lengths, no fused kernel for the problem.
    """
    kernel = problem.params.get("kernel")
    if kernel not in gradients.PROBLEMS:
        raise input_error(
            got=f"problem {problem.name!r} with kernel {kernel!r}",
            rule=f"the fused engine knows {sorted(gradients.PROBLEMS)}",
            do="use simulate, or bstheory.simulation.generic, for it",
        )
    if len(optimizers) != len(batch_sizes) or not optimizers:
        raise input_error(
            got=f"{len(optimizers)} optimizers and {len(batch_sizes)} schedules",
            rule="there is one schedule per optimizer and at least one",
            do="pass equally many",
        )
    ids = {kernel_ids(o, problem.dim) for o in optimizers}
    lengths = {len(b) for b in batch_sizes}
    if len(ids) != 1 or len(lengths) != 1:
        raise input_error(
            got=f"kernel kinds {sorted(ids)} and step counts {sorted(lengths)}",
            rule="one call simulates one kind of optimizer for one number of steps",
            do="call once per kind and length",
        )
    (optimizer_id, options), num_steps = ids.pop(), lengths.pop()
    records = _records(record_steps, num_steps)

    C, S, d = len(optimizers), len(seeds), problem.dim
    x = np.empty((C, S, d), dtype)
    x[:] = problem.x0
    m = np.zeros_like(x)
    v = np.empty_like(x)
    v[:] = np.array([getattr(o, "v0", 0.0) for o in optimizers])[:, None, None]
    streams = np.empty((1 if shared_noise else C, S, 4, 16), np.uint32)
    for c in range(len(streams)):
        for s, seed in enumerate(seeds):
            seed_stream(streams[c, s], np.uint64(int(seed) % 2**64), np.uint64(c))
    totals = np.zeros((C, S, len(kernels.SUMS)))
    diverged = np.full((C, S), -1, np.int64)
    law_name = problem.params["noise_law"]
    law, law_shape = laws.LAWS[law_name], float(problem.params.get("noise_shape", 0.0))
    if (
        shared_noise
        and law_name in laws.BATCH_DEPENDENT
        and any(not np.array_equal(batch_sizes[0], other) for other in batch_sizes[1:])
    ):
        raise input_error(
            got=f"shared noise of law {law_name!r} with different schedules",
            rule="noise of this law depends on the batch size, so only equal schedules can share it",
            do="pass shared_noise=False",
        )
    model = kernel_model(problem, dtype)
    limit = dtype(np.sqrt(np.finfo(dtype).max) / 1e3)
    shape = (C, S, len(records))
    summed = kernels.SUMS if optimizer_id == kernels.MUON else kernels.SUMS[:2]
    names = ("loss", "sq_gradient", *(summed if sums else ()))
    series = {name: np.full(shape, np.inf) for name in names}
    weight, weight_now = np.zeros((C, len(records))), np.zeros(C)

    row = laws.noise_width(d, max(int(np.max(b)) for b in batch_sizes), law_name)
    workers = max(1, min(threads, S))
    bounds = np.linspace(0, S, workers + 1).astype(int)
    tile = max(1, TILE_BYTES // (row * x.itemsize))
    scratch = [(np.zeros((tile, row), dtype), np.empty((4, d), dtype)) for _ in range(workers)]
    carried = [(0.0, 0.0)] * C

    points = np.empty((C, S, len(records), d)) if keep_points else None

    def note(index: int) -> None:
        alive = diverged < 0
        point = x.astype(np.float64)
        if points is not None:
            points[:, :, index] = point
        series["loss"][..., index] = np.where(alive, problem.loss(point), np.inf)
        gradient = problem.full_gradient(point)
        series["sq_gradient"][..., index] = np.where(alive, np.sum(gradient**2, axis=-1), np.inf)
        if sums:
            for j, name in enumerate(summed):
                series[name][..., index] = np.where(alive, totals[..., j], np.inf)
        weight[:, index] = weight_now

    with concurrent.futures.ThreadPoolExecutor(workers) as pool, np.errstate(over="ignore", invalid="ignore"):
        done = 0
        for index, target in enumerate(records):
            while done < target:
                stop = min(done + CHUNK, int(target))
                tables = []
                for c, optimizer in enumerate(optimizers):
                    table, carried[c] = coefficients(
                        optimizer,
                        batch_sizes[c][done:stop],
                        first_step=done,
                        carried=carried[c],
                        along=None if along is None else {k: v[done:stop] for k, v in along[c].items()},
                    )
                    weight_now[c] += table[:, kernels.INDEX["weight"]].sum()
                    tables.append(table)
                stacked = np.stack(tables).astype(dtype)
                jobs = [
                    pool.submit(
                        kernels.advance,
                        gradients.PROBLEMS[kernel],
                        optimizer_id,
                        options,
                        law,
                        law_shape,
                        shared_noise,
                        bounds[w],
                        bounds[w + 1],
                        done,
                        x,
                        m,
                        v,
                        stacked,
                        model,
                        streams,
                        totals,
                        sums,
                        diverged,
                        limit,
                        *scratch[w],
                    )
                    for w in range(workers)
                ]
                for job in jobs:
                    job.result()
                done = stop
                if progress is not None:
                    progress(done)
            note(index)
    return Paths(
        steps=records,
        series=series,
        weight=weight,
        diverged=diverged,
        x=x.astype(np.float64),
        points=points,
    )


def _records(record_steps: Array | None, num_steps: int) -> Array:
    records = np.array([0, num_steps] if record_steps is None else record_steps, dtype=np.int64)
    if records.size == 0 or np.any(np.diff(records) <= 0) or records[0] < 0 or records[-1] > num_steps:
        raise input_error(
            got=f"record_steps from {records[:1]} to {records[-1:]}",
            rule=f"records increase strictly within 0..{num_steps}",
            do="sort them and drop repeats",
        )
    return records
