"""``simulate``: one optimizer under one schedule on one problem, many seeds, returned as a :class:`Run`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.problems.problem import Constant, Problem
from bstheory.run import Run
from bstheory.simulation.engine import monte_carlo
from bstheory.simulation.generic import generic_paths
from bstheory.simulation.gradients import PROBLEMS
from bstheory.simulation.kernels import SUMS
from bstheory.simulation.optimizers import Muon, Optimizer

Array = np.ndarray


def simulate(
    problem: Problem,
    optimizer: Optimizer,
    *,
    schedule: Any,
    tokens: int | None = None,
    seeds: int | Sequence[int] = 64,
    records: int = 64,
    quantities: Sequence[str] = ("loss", "sq_gradient", "weighted_sq_gradient"),
    along: Mapping[str, Any] | None = None,
    dtype: type = np.float64,
    threads: int = 2,
    name: str = "simulate",
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Monte-Carlo run of ``optimizer`` on ``problem``; one sample is one token.

    Args:
        problem: e.g. :func:`bstheory.problems.cosine_sum`; one without a fused kernel, such as a user's own,
            runs in NumPy, about a hundred times slower.
        optimizer: e.g. :func:`bstheory.simulation.RMSProp`.
        schedule: a batch-size schedule (anything with ``batch_sizes(num_tokens=, seq_len=)``), or an integer
            vector [K] of batch sizes.
        tokens: budget D in samples; required with a schedule; with a vector it must equal its sum when given.
        seeds: their number (0, 1, ...) or the seeds themselves.
        records: number of records, spread evenly over tokens, besides the one at step 0.
        quantities: series to keep, of ``loss``, ``sq_gradient``, ``weighted_sq_gradient`` (cumulative
            sum_k w_k ||grad F(x_{k-1})||^2 with the exact gradient along each path),
            ``weighted_l1_gradient``. The series ``weight`` (cumulative sum_k w_k) accompanies either weighted
            one.
        along: hyperparameters that vary: ``learning_rate``, ``beta1`` or ``beta2``, each a schedule (a
            function of the tokens consumed before the step) or a vector [K].
        dtype: float64, or float32 for speed (accumulators stay float64).
        threads: results do not depend on it.
        name: name of the run.
        progress: called with (steps done, steps in all).

    Returns:
        A run whose config holds problem, algorithm, schedule (as ``[[num_steps, batch_size], ...]``) and
        tokens; ``summary["diverged"]`` lists ``"seed s: diverged at step k"``; series are +inf from there on.

    Raises:
        InputError: an unknown quantity, an empty schedule, tokens that disagree with the schedule.
    """
    known = ("loss", "sq_gradient", *SUMS)
    if not isinstance(optimizer, Muon):
        known = known[:-1]
    unknown = [q for q in quantities if q not in known]
    if unknown or not quantities:
        raise input_error(
            got=f"quantities={tuple(quantities)}",
            rule=f"they are among {known}",
            do="pass one or more of these",
        )
    batch_size = schedule_vector(schedule, tokens)
    seed_list = _seeds(seeds)
    consumed = np.concatenate([[0], np.cumsum(batch_size)])
    steps = record_steps(consumed, records)
    varying = {
        key: np.asarray(value(consumed[:-1]) if callable(value) else value, dtype=np.float64)
        for key, value in (along or {}).items()
    }
    weighted = any(q.startswith("weighted") for q in quantities)
    told = None if progress is None else lambda done: progress(done, len(batch_size))
    if problem.params.get("kernel") in PROBLEMS:
        paths = monte_carlo(
            problem,
            [optimizer],
            [batch_size],
            seeds=seed_list,
            record_steps=steps,
            sums=weighted,
            along=[varying],
            dtype=dtype,
            threads=threads,
            progress=told,
        )
    else:
        if np.dtype(dtype) != np.float64 or "weighted_nuclear_gradient" in quantities:
            raise input_error(
                got=f"dtype {np.dtype(dtype).name}, quantities {tuple(quantities)} for {problem.name!r}",
                rule="a problem without a fused kernel is simulated in float64, without nuclear norms",
                do="leave dtype and quantities at their defaults",
            )
        paths = generic_paths(
            problem, optimizer, batch_size, seeds=seed_list, record_steps=steps, along=varying, progress=told
        )
    series = {q: paths.series[q][0] for q in quantities}
    if weighted:
        series["weight"] = np.repeat(paths.weight, len(seed_list), axis=0)
    lost = [
        f"seed {seed}: diverged at step {step}"
        for seed, step in zip(seed_list, paths.diverged[0])
        if step >= 0
    ]
    return Run(
        name=name,
        config={
            "problem": problem_config(problem),
            "algorithm": optimizer.config(),
            "schedule": run_lengths(batch_size),
            "schedule_text": "" if isinstance(schedule, (list, tuple, np.ndarray)) else str(schedule),
            "tokens": int(consumed[-1]),
            "records": int(records),
            "dtype": np.dtype(dtype).name,
        }
        | ({"along": {key: run_lengths(value) for key, value in varying.items()}} if varying else {}),
        seeds=tuple(seed_list),
        steps=steps,
        tokens=consumed[steps],
        series=series,
        summary={"diverged": lost, "num_diverged": len(lost), "final_loss_mean": _mean(series.get("loss"))},
    )


def schedule_vector(schedule: Any, tokens: int | None) -> Array:
    """Batch size of each step, int64 [K], from a schedule object or a vector."""
    if hasattr(schedule, "batch_sizes"):
        if tokens is None:
            raise input_error(
                got="tokens=None", rule="a schedule needs a token budget", do="pass tokens=, e.g. 100_000"
            )
        vector = np.asarray(schedule.batch_sizes(num_tokens=int(tokens), seq_len=1))
    else:
        vector = np.asarray(schedule)
    whole = vector.ndim == 1 and vector.size > 0 and np.issubdtype(vector.dtype, np.integer)
    if not whole or vector.min() < 1:
        raise input_error(
            got=f"a schedule of shape {vector.shape} and type {vector.dtype}",
            rule="it is a non-empty vector of whole batch sizes of at least 1",
            do="pass integers, or a Schedule",
        )
    vector = vector.astype(np.int64)
    if tokens is not None and int(vector.sum()) != int(tokens):
        raise input_error(
            got=f"tokens={tokens} with a schedule that consumes {int(vector.sum())}",
            rule="a run consumes exactly its budget",
            why="otherwise the bound would be evaluated for another number of tokens",
            do=f"pass tokens={int(vector.sum())}, or a schedule that divides the budget",
        )
    return vector


def record_steps(consumed: Array, records: int) -> Array:
    """Steps nearest to an even spread of ``records`` over tokens, first and last included."""
    if int(records) != records or records < 1:
        raise input_error(
            got=f"records={records!r}", rule="there is at least one record", do="pass 1 or more"
        )
    wanted = np.linspace(0.0, float(consumed[-1]), int(records) + 1)
    return np.unique(np.searchsorted(consumed, wanted, side="left").clip(0, len(consumed) - 1))


def run_lengths(values: Array) -> list[list[Any]]:
    """``[[num_steps, value], ...]``, exact and usually short."""
    return [[len(list(group)), value] for value, group in itertools.groupby(values.tolist())]


def from_run_lengths(stages: Sequence[Sequence[int]]) -> Array:
    """Inverse of :func:`run_lengths`: int64 [K]."""
    return np.repeat(
        np.array([b for _, b in stages], dtype=np.int64), np.array([n for n, _ in stages], dtype=np.int64)
    )


def problem_config(problem: Problem) -> dict[str, Any]:
    """Plain JSON of a problem: name, dim, x0, noise law and every published constant."""

    def plain(value: Any) -> Any:
        array = np.asarray(value)
        if array.ndim and array.size and np.all(array == array.flat[0]):
            return float(array.flat[0])  # a constant vector is written as its value
        return array.tolist()

    def constant(c: Constant) -> dict[str, Any]:
        return {"value": plain(c.value), "unit": c.unit, "known": c.known}

    return {
        "name": problem.name,
        "dim": problem.dim,
        "x0": plain(problem.x0),
        "noise_law": problem.params.get("noise_law", ""),
        "constants": {name: constant(c) for name, c in problem.constants.items()},
    }


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    chosen = list(range(seeds)) if isinstance(seeds, (int, np.integer)) else [int(s) for s in seeds]
    if not chosen or len(set(chosen)) != len(chosen) or min(chosen) < 0:
        raise input_error(
            got=f"seeds={seeds!r}",
            rule="there is at least one seed, all different and non-negative",
            do="pass their number, or a list of different integers",
        )
    return chosen


def _mean(values: Array | None) -> float | None:
    if values is None or not np.all(np.isfinite(values[:, -1])):
        return None
    return float(values[:, -1].mean())
