"""What a bound says about batch sizes: tokens to a target, the critical batch size, the best schedule.

For a bound everything is computed from its value alone, per unit of weight where it bounds a weighted sum.
For a noisy quadratic the exact expected loss is optimised, see ``theory.optimal_quadratic``. A step of b
tokens costs b + step_cost, where step_cost is the fixed cost of a step in tokens; with step_cost = 0 only
tokens count, and small batches then tend to win.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bstheory.errors import input_error

MAX_STEPS = 2**20
STAGES = 4
GAIN = 1e-6  # a schedule of stages must gain this much, relatively, over even batches


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reach:
    """The fewest steps of a constant batch at which a bound falls to a target.

    Attributes:
        tokens: batch_size times steps.
        steps, batch_size: the run.
        value: the bound there, at most the target.
    """

    tokens: int
    steps: int
    batch_size: int
    value: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimalSchedule:
    """The best schedule found for a budget.

    Attributes:
        batch_size: int64 [K].
        learning_rate: float64 [K] for a problem; None for a bound, whose constants hold it.
        value: bound or expected final loss at ``batch_size``.
        constant_batch_size, constant_steps, constant_value: the best constant batch for the same budget.
        relaxed_value: the value before batch sizes were rounded to whole numbers; nan where nothing was.
        cost: sum of batch_size + step_cost.
        method: how it was found, in words.
    """

    batch_size: np.ndarray
    learning_rate: np.ndarray | None
    value: float
    constant_batch_size: int
    constant_steps: int
    constant_value: float
    relaxed_value: float
    cost: float
    method: str


def level(bound: Any, constants: Mapping[str, Any], batch_size: np.ndarray) -> float:
    """The bound's value, divided by the weight where it is on a weighted sum; constants are complete."""
    found = bound.value(constants, batch_size)
    value = np.asarray(found.value) / np.asarray(found.parts.get("weight", 1.0))
    if value.ndim:
        raise input_error(
            got=f"constants of shape {value.shape}",
            rule="a search over batch sizes needs one number for every constant",
            do="pass scalars",
        )
    return float(value)


def completed(bound: Any, constants: Mapping[str, Any]) -> dict[str, Any]:
    """Constants with defaults, after the checks of ``evaluate``."""
    bound.evaluate(constants=constants, schedule=[1])
    return {p.name: constants.get(p.name, p.default) for p in bound.parameters}


def tokens_to(
    bound: Any,
    eps: float,
    *,
    constants: Mapping[str, Any],
    batch_size: int = 1,
    max_steps: int = MAX_STEPS,
) -> Reach:
    """The fewest tokens at which a bound falls to ``eps`` with a constant batch.

    Args:
        bound: a theorem about schedules.
        eps: target, in the unit of the bound (per unit of weight where it is on a weighted sum).
        constants: scalars, as for ``evaluate``.
        batch_size: tokens (or samples) per step, as the bound counts them.
        max_steps: where to give up.

    Raises:
        InputError: the bound stays above ``eps`` for ``max_steps`` steps; the message says where it stays.
    """
    known = completed(bound, constants)
    steps = fewest_steps(bound, known, eps, batch_size, max_steps)
    if steps is None:
        stays = level(bound, known, np.full(max_steps, batch_size, dtype=np.int64))
        raise input_error(
            got=f"eps={eps:g} with batch_size={batch_size}",
            rule=f"{bound.slug} is still {stays:.6g} after {max_steps} steps",
            do="raise eps, the batch size or max_steps, or lower the learning rate",
        )
    return reach(bound, known, steps, batch_size)


def fewest_steps(
    bound: Any, constants: Mapping[str, Any], eps: float, batch_size: int, max_steps: int
) -> int | None:
    """Steps K with bound(K) <= eps < bound(K - 1), by doubling and bisection; None beyond ``max_steps``."""

    def at(steps: int) -> float:
        return level(bound, constants, np.full(steps, batch_size, dtype=np.int64))

    high = 1
    while at(high) > eps:
        if high >= max_steps:
            return None
        high = min(2 * high, max_steps)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if at(middle) > eps else (low, middle)
    return high


def reach(bound: Any, constants: Mapping[str, Any], steps: int, batch_size: int) -> Reach:
    value = level(bound, constants, np.full(steps, batch_size, dtype=np.int64))
    return Reach(tokens=steps * batch_size, steps=steps, batch_size=batch_size, value=value)


def critical_batch_size(
    bound: Any,
    eps: float,
    *,
    constants: Mapping[str, Any],
    step_cost: float = 0.0,
    max_batch_size: int = 2**16,
    max_steps: int = MAX_STEPS,
) -> Reach:
    """The constant batch that brings a bound to ``eps`` at the least cost, steps * (batch_size + step_cost).

    The critical batch size of the bound, not of a run. Batches at which the bound never gets there in
    ``max_steps`` steps are passed over; the cost is searched on a grid of ratio 2^(1/4), then between the
    neighbours of its best point.

    Raises:
        InputError: no batch size up to ``max_batch_size`` reaches ``eps``.
    """
    check_step_cost(step_cost)
    known = completed(bound, constants)
    seen: dict[int, int | None] = {}

    def cost(batch: int) -> float:
        if batch not in seen:
            seen[batch] = fewest_steps(bound, known, eps, batch, max_steps)
        steps = seen[batch]
        return math.inf if steps is None else steps * (batch + step_cost)

    grid = sorted({round(2 ** (i / 4)) for i in range(4 * int(math.log2(max_batch_size)) + 1)})
    best = min(reachable(cost, grid), key=cost, default=None)
    if best is None:
        raise input_error(
            got=f"eps={eps:g}",
            rule=f"{bound.slug} reaches it with no batch size up to {max_batch_size} in {max_steps} steps",
            do="raise eps, max_batch_size or max_steps, or lower the learning rate",
        )
    position = grid.index(best)
    low, high = grid[max(position - 1, 0)], grid[min(position + 1, len(grid) - 1)]
    inner = np.unique(np.linspace(low, high, min(high - low + 1, 33)).round().astype(int))
    best = min((int(b) for b in inner), key=cost)
    steps = seen[best]
    assert steps is not None
    return reach(bound, known, steps, best)


def reachable(cost: Callable[[int], float], grid: list[int]) -> list[int]:
    """Batches of finite cost, walking down from the largest and stopping after the last."""
    found: list[int] = []
    for batch in reversed(grid):
        if math.isfinite(cost(batch)):
            found.append(batch)
        elif found:
            break
    return found


def optimal_batch_schedule(
    bound_or_problem: Any,
    budget: float,
    *,
    step_cost: float = 0.0,
    constants: Mapping[str, Any] | None = None,
    learning_rate: Any = None,
    steps: int | None = None,
    max_steps: int = 4096,
) -> OptimalSchedule:
    """The schedule that a bound, or the exact recursion of a noisy quadratic, likes best for a budget.

    Args:
        bound_or_problem: a theorem about schedules, or a noisy quadratic problem (SGD is then assumed).
        budget: sum of batch_size + step_cost over the run, in tokens (samples for a problem).
        step_cost: fixed cost of a step in tokens.
        constants: for a bound, scalars as for ``evaluate``.
        learning_rate: for a problem, one number; None optimises one rate per step along with the batches.
        steps: number of steps; None searches it.
        max_steps: largest number of steps that the search tries.

    Returns:
        the schedule, beside the best constant batch for the same budget (it is never worse than that).

    Raises:
        InputError: a budget too small for one step, or constants that do not belong to the subject.
    """
    check_step_cost(step_cost)
    if not budget >= 1 + step_cost:
        raise input_error(
            got=f"budget={budget:g} with step_cost={step_cost:g}",
            rule="one step costs at least 1 + step_cost",
            do="raise the budget",
        )
    if steps is not None and not 1 <= steps <= budget / (1 + step_cost):
        raise input_error(
            got=f"steps={steps}",
            rule=f"the budget pays for 1 to {int(budget / (1 + step_cost))} steps",
            do="choose steps in this range",
        )
    if hasattr(bound_or_problem, "params"):
        from bstheory.theory.optimal_quadratic import optimal_for_quadratic

        return optimal_for_quadratic(
            bound_or_problem,
            budget,
            step_cost=step_cost,
            learning_rate=learning_rate,
            steps=steps,
            max_steps=max_steps,
        )
    if learning_rate is not None or constants is None:
        raise input_error(
            got=f"learning_rate={learning_rate!r}, constants={constants!r} for a bound",
            rule="a bound takes its learning rate and everything else from constants",
            do="pass constants={...} and no learning_rate",
        )
    return optimal_for_bound(
        bound_or_problem,
        budget,
        step_cost=step_cost,
        constants=completed(bound_or_problem, constants),
        steps=steps,
        max_steps=max_steps,
    )


def optimal_for_bound(
    bound: Any,
    budget: float,
    *,
    step_cost: float,
    constants: Mapping[str, Any],
    steps: int | None,
    max_steps: int,
) -> OptimalSchedule:
    """Best constant batch over the number of steps, then stages of different batches around it."""
    from scipy import optimize

    most = min(max_steps, int(budget / (1 + step_cost)))

    def even(count: int) -> float:
        return level(bound, constants, np.full(count, budget / count - step_cost))

    best = steps if steps is not None else best_count(even, most)
    batch = int(budget / best - step_cost)
    constant_value = level(bound, constants, np.full(best, batch, dtype=np.int64))
    tokens = budget - best * step_cost
    edges = np.linspace(0, best, min(STAGES, best) + 1).round().astype(int)
    lengths = np.diff(edges)

    def relaxed(logs: np.ndarray) -> np.ndarray:
        shares = np.exp(logs - logs.max())
        spare = tokens - best  # every step has at least one token
        return np.repeat(1 + spare * shares / (shares * lengths).sum(), lengths)

    start = np.zeros(len(lengths))
    found = optimize.minimize(
        lambda z: level(bound, constants, relaxed(z)), start, method="L-BFGS-B", bounds=[(-6, 6)] * len(start)
    )
    chosen, relaxed_value = np.full(best, tokens / best), even(best)
    method = "batches as even as whole numbers allow: no schedule of stages is better before rounding"
    if found.fun < relaxed_value * (1 - GAIN):
        chosen, relaxed_value = relaxed(found.x), float(found.fun)
        method = f"L-BFGS over {len(lengths)} stages after a search over the number of steps"
    rounded = whole_numbers(chosen)
    value = level(bound, constants, rounded)
    if not value < constant_value:
        rounded, value = np.full(best, batch, dtype=np.int64), constant_value
        method = "the constant batch: nothing is better after rounding"
    return OptimalSchedule(
        batch_size=rounded,
        learning_rate=None,
        value=value,
        constant_batch_size=batch,
        constant_steps=best,
        constant_value=constant_value,
        relaxed_value=relaxed_value,
        cost=float(rounded.sum() + step_cost * best),
        method=method,
    )


def best_count(value: Callable[[int], float], most: int) -> int:
    """The number of steps with the least value: a grid of ratio 2^(1/4), then between the neighbours."""
    grid = sorted({min(most, round(2 ** (i / 4))) for i in range(4 * math.ceil(math.log2(max(most, 2))) + 1)})
    best = min(grid, key=value)
    position = grid.index(best)
    low, high = grid[max(position - 1, 0)], grid[min(position + 1, len(grid) - 1)]
    inner = np.unique(np.linspace(low, high, min(high - low + 1, 17)).round().astype(int))
    return min((int(count) for count in inner), key=value)


def whole_numbers(batch_size: np.ndarray) -> np.ndarray:
    """Whole numbers of at least 1 with the same sum, rounded down: largest remainders first.

    Args:
        batch_size: float64 [K], every entry at least 1.
    """
    base = np.floor(batch_size + 1e-9).astype(np.int64)
    missing = math.floor(batch_size.sum() + 1e-6) - int(base.sum())
    order = np.argsort(base - batch_size, kind="stable")
    base[order[:missing]] += 1
    return base


def check_step_cost(step_cost: float) -> None:
    if not (math.isfinite(step_cost) and step_cost >= 0):
        raise input_error(
            got=f"step_cost={step_cost}",
            rule="a step costs at least 0 tokens beside its batch",
            do="correct it",
        )
