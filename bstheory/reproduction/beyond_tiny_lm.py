"""Schedules and rules on the tiny language model at equal modelled wall-clock, with a fixed cost a step.

A step of b rows costs b + step_cost. A run of a schedule gets as many rows as a budget pays for, so its
cosine decay ends with the run and no arm is cut off. Every family has three shapes and four learning rates;
the setting of a seed is the one that is best for the other seeds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bstheory.reproduction.adaptive_loop import AdaptiveOutcome, KeptRuns, describe
from bstheory.reproduction.arms import HALF_LIFE, centre
from bstheory.reproduction.claim import Finding, Outcomes
from bstheory.reproduction.judging import MARGIN, Test, family
from bstheory.reproduction.statistics import leave_one_out
from bstheory.schedules.rules import ddp_norm
from bstheory.training.stacked import Recipe

BUDGETS = {0: (768, 1536, 3072), 16: (1536, 3072, 6144)}  # step cost in rows -> modelled wall-clock in rows
SIZES = {0: (1, 4, 16), 16: (4, 16, 64)}  # the shapes: first batch of a constant run
FACTORS = (0.5, 1.0, 2.0, 4.0)
SEEDS = (0, 1, 2)
RULE_ROWS = 1536
WORKERS = 4
RULE_TOLERANCES = {"published": (0.1, 0.2, 0.4), "unbiased": (0.5, 1.0, 2.0)}
STAGES = 8  # of the schedule that theory prefers


@functools.cache
def preferred_shape() -> tuple[tuple[float, float], ...]:
    """Stages (share of the rows, batch size relative to the mean) that the exact recursion prefers.

    B_k proportional to sqrt(G_k) on the quadratic of curvature 1/i under a cosine rate from 1/max h.
    """
    from bstheory.theory.optimal_quadratic import noise_weights

    steps, h = 256, 1.0 / np.arange(1, 65)
    eta = 0.5 * (1 + np.cos(np.pi * (np.arange(steps) + 0.5) / steps))
    relative = np.sqrt(noise_weights(h, h, eta))
    stages = (relative / relative.mean()).reshape(STAGES, -1).mean(axis=1)
    return tuple((float(x / stages.sum()), float(x)) for x in stages)


def stages(family: str, size: int) -> list[tuple[float, int]]:
    """(share of the rows, batch size) of every stage; ``size`` is the batch of the constant family."""
    low = max(1, size // 2)
    match family:
        case "constant":
            return [(1.0, size)]
        case "doubling":
            return [(0.25, max(1, size // 4) * 2**k) for k in range(4)]
        case "late switch":
            return [(0.75, low), (0.25, low * 4)]
        case "early stages":
            return [(0.05, max(1, size // 4)), (0.05, low), (0.9, size)]
        case "preferred":
            return [(share, max(1, round(size * relative))) for share, relative in preferred_shape()]
    raise AssertionError(family)


FAMILIES = ("constant", "doubling", "late switch", "early stages", "preferred")


def batch_sizes(family: str, size: int, *, budget: int, step_cost: int) -> tuple[tuple[int, int], ...]:
    """The run that a budget pays for, to half a step of the last stage."""
    table = stages(family, size)
    rows = budget / (1 + step_cost * sum(share / b for share, b in table))
    plan = [(b, max(1, round(share * rows / b))) for share, b in table[:-1]]
    last = table[-1][1]
    left = budget - cost(plan, step_cost)
    return (*plan, (last, max(1, round(left / (last + step_cost)))))


def cost(plan: Sequence[tuple[int, int]], step_cost: int) -> int:
    """Modelled wall-clock of a plan, in rows."""
    return sum(n * (b + step_cost) for b, n in plan)


def settings(family: str, *, budget: int, step_cost: int) -> list[list[Recipe]]:
    """Twelve settings, each a list over seeds."""
    return [
        [
            Recipe(
                optimizer="adam",
                learning_rate=centre("adam", size) * factor,
                batch_sizes=batch_sizes(family, size, budget=budget, step_cost=step_cost),
                seed=seed,
                half_life=HALF_LIFE,
            )
            for seed in SEEDS
        ]
        for size in SIZES[step_cost]
        for factor in FACTORS
    ]


def recipes() -> list[Recipe]:
    return [
        recipe
        for step_cost, budgets in BUDGETS.items()
        for budget in budgets
        for family in FAMILIES
        for row in settings(family, budget=budget, step_cost=step_cost)
        for recipe in row
    ]


def _chosen(table: Sequence[Sequence[float]]) -> tuple[np.ndarray, list[int]]:
    """Tuned loss per seed and the setting used, chosen by the other seeds."""
    capped = {float(i): [min(x, math.log(256)) for x in row] for i, row in enumerate(table)}
    losses, which = leave_one_out(capped)
    return np.array(losses), [int(i) for i in which]


def tuned_family(
    o: Outcomes, family: str, *, budget: int, step_cost: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Losses per seed and what was chosen."""
    every = settings(family, budget=budget, step_cost=step_cost)
    losses, which = _chosen([[o[r].validation_loss[-1] for r in row] for row in every])
    first = every[which[0]][0]
    return losses, {
        "loss": float(losses.mean()),
        "batch_sizes": [list(stage) for stage in first.batch_sizes],
        "learning_rate": first.learning_rate,
        "tokens": first.rows * 32,
        "steps": sum(n for _, n in first.batch_sizes),
        "cost": cost(first.batch_sizes, step_cost),
        "settings": which,
    }


def rule_run(kept: KeptRuns, scaling: str, tolerance: float, factor: float, seed: int) -> AdaptiveOutcome:
    """One closed-loop run from batch size 16 over ``RULE_ROWS`` rows."""
    recipe = Recipe(
        optimizer="adam",
        learning_rate=centre("adam", 16) * factor,
        batch_sizes=((16, 1),),
        seed=seed,
        half_life=HALF_LIFE,
    )
    policy = {"smoothing": 0.9, "signal_floor": 0.01, "growth_cap": 2.0} if scaling == "unbiased" else {}
    rule = ddp_norm(eta=tolerance, scaling=scaling, initial=16, maximum=256, multiple=WORKERS, **policy)
    return kept(recipe, rule, rows=RULE_ROWS, groups=WORKERS)


def rule_arm(kept: KeptRuns, scaling: str) -> tuple[np.ndarray, list[AdaptiveOutcome]]:
    """Tuned loss and run per seed."""
    runs = [
        [rule_run(kept, scaling, t, f, s) for s in SEEDS] for t in RULE_TOLERANCES[scaling] for f in FACTORS
    ]
    losses, which = _chosen([[run.validation_loss for run in row] for row in runs])
    return losses, [runs[i][seed] for seed, i in enumerate(which)]


def loss_at(costs: Sequence[float], losses: np.ndarray, wanted: float) -> float:
    """Loss at a cost, linear in its logarithm between budgets; NaN outside them (nothing is extrapolated)."""
    logs = np.log(costs)
    if not costs[0] * 0.98 <= wanted <= costs[-1] * 1.02:  # rounding to whole steps moves a cost by this much
        return math.nan
    return float(np.interp(math.log(wanted), logs, losses))


def cost_to(costs: Sequence[float], losses: np.ndarray, target: float) -> float | None:
    """Cost at which the mean loss meets the target, by the same interpolation; None outside."""
    if not losses[-1] <= target <= losses[0]:
        return None
    return float(np.exp(np.interp(-target, -losses, np.log(costs))))


def judge(found: tuple[Outcomes, KeptRuns]) -> list[Finding]:
    """Families against the tuned constant batch at the largest budget, rules at their own cost."""
    o, kept = found
    wins: dict[str, Test] = {}
    matches: dict[str, Test] = {}
    for step_cost, budgets in BUDGETS.items():
        arms = {
            (f, budget): tuned_family(o, f, budget=budget, step_cost=step_cost)
            for f in FAMILIES
            for budget in budgets
        }
        curves = {f: np.array([arms[f, b][0].mean() for b in budgets]) for f in FAMILIES}
        target = float(curves["constant"][1])
        reach = {f: cost_to(budgets, curves[f], target) for f in FAMILIES}
        details = {
            "target": target,
            "cost_to_target": reach,
            "families": {f: {str(b): arms[f, b][1] for b in budgets} for f in FAMILIES},
        }
        top = budgets[-1]
        for name in FAMILIES[1:]:
            gap = arms["constant", top][0] - arms[name, top][0]
            if step_cost:
                text = f"step cost {step_cost}: {name} reaches a lower loss than the tuned constant batch"
                wins[text] = Test(values=gap, numbers=details)
            else:
                text = f"step cost 0: {name} is within {MARGIN} of the tuned constant batch"
                matches[text] = Test(values=gap, margin=MARGIN, numbers=details)
        for scaling in RULE_TOLERANCES:
            losses, runs = rule_arm(kept, scaling)
            spent = [RULE_ROWS + step_cost * len(run.batch_sizes) for run in runs]
            constant = np.array([arms["constant", b][0] for b in budgets])  # [budgets, seeds]
            at_cost = [loss_at(budgets, constant[:, i], x) for i, x in enumerate(spent)]
            text = f"step cost {step_cost}: the {scaling} rule reaches a lower loss than the constant batch"
            if not np.isnan(at_cost).any():
                wins[text + " at the rule's cost"] = Test(
                    values=np.array(at_cost) - losses,
                    numbers={"cost": spent, "runs": [describe(run) for run in runs]},
                )
    return family(wins | matches)
