"""Closed-loop batch sizes inside the simulation: each path runs its own rule on the statistics it would see.

A step of batch b draws J group gradients of b / J samples each from the problem itself; the rule sees the
statistics of these groups and chooses the *next* batch, so batch sizes are predictable, as the theorems ask.
The rules are those that training uses (:mod:`bstheory.schedules.rules`), not copies. The last batch is what
the token budget leaves, known before it is drawn; the rule does not see it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.problems.problem import Problem
from bstheory.run import Run
from bstheory.simulation.optimizers import INDEX, Optimizer, coefficients_across
from bstheory.simulation.reference import STEPS
from bstheory.simulation.runs import _seeds, problem_config

Array = np.ndarray
SERIES = ("loss", "sq_gradient", "weighted_sq_gradient", "weight", "batch_size", "step")


def simulate_rule(
    problem: Problem,
    optimizer: Optimizer,
    *,
    rule: Any,
    groups: int,
    tokens: int,
    seeds: int | Sequence[int] = 64,
    records: int = 64,
    max_steps: int = 1_000_000,
    name: str = "simulate_rule",
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Monte-Carlo run under a closed-loop rule; one sample is one token.

    Args:
        problem: any problem; its ``gradient`` is drawn once per group, step and seed.
        optimizer: any optimizer of this package.
        rule: a :class:`bstheory.schedules.rules.Rule` whose ``multiple`` is a multiple of ``groups``.
        groups: J >= 2, workers or micro-batches.
        tokens: budget D; every path consumes exactly D.
        seeds, records: as in :func:`bstheory.simulation.simulate`.
        max_steps: guard against a rule that never grows.
        progress: called with (tokens consumed by the slowest path, tokens).

    Returns:
        A run recorded at the first step of each path that reaches an even spread of tokens. Series
        ``batch_size`` and ``step`` hold each path's own schedule; ``Run.steps`` is their median.
        ``config["batch_rule"]`` is ``past``. ``summary["batch_sizes"]`` is the first seed's schedule as
        ``[[num_steps, batch_size], ...]``.

    Raises:
        InputError: groups below 2 or not dividing the rule's batches, or more than ``max_steps`` steps.
    """
    if groups < 2 or rule.multiple % groups:
        raise input_error(
            got=f"groups={groups} with batch sizes that are multiples of {rule.multiple}",
            rule="there are at least two groups and they divide every batch",
            do=f"pass Rule(multiple={max(groups, 2)}, ...)",
        )
    seed_list = _seeds(seeds)
    count, d = len(seed_list), problem.dim
    generators = [np.random.default_rng([seed, 0xB5]) for seed in seed_list]
    states = [rule.init() for _ in seed_list]
    x = np.broadcast_to(problem.x0, (count, d)).copy()
    m, v = np.zeros_like(x), np.full_like(x, getattr(optimizer, "v0", 0.0))
    consumed, carried = np.zeros(count, np.int64), np.zeros((2, count))
    weighted, weight = np.zeros(count), np.zeros(count)
    marks = np.unique(np.linspace(0, tokens, records + 1).astype(np.int64))
    series = {key: np.full((count, len(marks)), np.inf) for key in SERIES}
    next_mark = np.zeros(count, np.int64)
    batch = np.array([rule.value(state) for state in states], np.int64)
    first_path: list[int] = []
    diverged = np.full(count, -1, np.int64)
    limit = np.sqrt(np.finfo(np.float64).max) / 1e3

    def note(rows: Array, step: int) -> None:
        loss, gradient = problem.loss(x[rows]), problem.full_gradient(x[rows])
        found = {
            "loss": loss,
            "sq_gradient": np.sum(gradient**2, axis=-1),
            "weighted_sq_gradient": weighted[rows],
            "weight": weight[rows],
            "batch_size": batch[rows].astype(np.float64),
            "step": np.full(len(rows), float(step)),
        }
        for at, row in enumerate(rows):
            while next_mark[row] < len(marks) and consumed[row] >= marks[next_mark[row]]:
                for key, values in found.items():
                    series[key][row, next_mark[row]] = values[at]
                next_mark[row] += 1

    step = 0
    note(np.arange(count), 0)
    active = np.arange(count)
    while len(active):
        if step >= max_steps:
            raise input_error(
                got=f"{step} steps with {int(consumed.min())} of {tokens} tokens consumed",
                rule=f"a run takes at most max_steps={max_steps} steps",
                do="raise max_steps, the initial batch size, or the rule's growth",
            )
        size = np.minimum(batch, tokens - consumed)
        table, after = coefficients_across(optimizer, size[active], step=step, carried=carried[:, active])
        carried[:, active] = after
        exact = problem.full_gradient(x[active])
        w = table[:, INDEX["weight"]]
        weighted[active] += w * np.sum(exact * exact, axis=-1)
        weight[active] += w
        gradient = np.empty((len(active), d))
        for at, row in enumerate(active):
            gradient[at] = _draw(
                problem, x[row], int(size[row]), int(batch[row]), groups, generators[row], rule, states, row,
                float(table[at, INDEX["learning_rate"]]),
            )  # fmt: skip
        c = {key: table[:, [INDEX[key]]] for key in INDEX}
        x[active], m[active], v[active] = STEPS[optimizer.name](
            x[active], m[active], v[active], gradient, c, optimizer
        )
        consumed[active] += size[active]
        step += 1
        if 0 in active:
            first_path.append(int(size[0]))
        lost = active[~np.all(np.abs(x[active]) <= limit, axis=1)]
        diverged[lost] = step
        x[lost] = 0.0
        alive = active[diverged[active] < 0]
        batch[alive] = [rule.value(states[row]) for row in alive]
        note(alive, step)
        active = alive[consumed[alive] < tokens]
        if progress is not None and len(active):
            progress(int(consumed[active].min()), tokens)
    lines = [f"seed {s}: diverged at step {k}" for s, k in zip(seed_list, diverged) if k >= 0]
    finite = np.where(np.isfinite(series["step"]), series["step"], 0.0)
    return Run(
        name=name,
        config={
            "problem": problem_config(problem),
            "algorithm": optimizer.config(),
            "batch_rule": "past",
            "rule": json.loads(json.dumps(dataclasses.asdict(rule))),  # tuples become lists
            "groups": int(groups),
            "tokens": int(tokens),
            "records": int(records),
        },
        seeds=tuple(seed_list),
        steps=np.median(finite, axis=0).astype(np.int64),
        tokens=marks,
        series=series,
        summary={
            "diverged": lines,
            "num_diverged": len(lines),
            "batch_sizes": [[len(list(run)), b] for b, run in itertools.groupby(first_path)],
        },
    )


def _draw(
    problem: Problem,
    x: Array,
    size: int,
    batch: int,
    groups: int,
    rng: np.random.Generator,
    rule: Any,
    states: list[Any],
    row: int,
    rate: float,
) -> Array:
    """Mean gradient of a batch; the rule sees its groups, unless the batch is the final, partial one."""
    from bstheory.schedules.statistics import from_groups

    if size < batch or size % groups:
        return problem.gradient(x, size, rng)
    parts = np.stack([problem.gradient(x, size // groups, rng) for _ in range(groups)])
    seen = from_groups(parts, batch_size=size, loss=float(problem.loss(x)), learning_rate=rate)
    states[row] = rule.update(states[row], seen)
    return parts.mean(axis=0)
