"""All batch schedules and closed-loop rules on one noisy quadratic: modelled wall-clock to a target loss.

A step of batch b costs b + step_cost (in samples). Open-loop schedules are run by the exact recursion of the
second moments, so their numbers carry no sampling error; closed-loop rules are the rules of training, run by
Monte-Carlo (``simulation.simulate_rule``), and the batch sizes that they chose are judged by the same
recursion. Every family gets the same search: seven learning rates and four shapes.
``optimal_batch_schedule`` is what theory prefers when it knows the problem.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bstheory.errors import InputError
from bstheory.problems import noisy_quadratic
from bstheory.problems.problem import Problem
from bstheory.reproduction.claim import Finding, Outcomes
from bstheory.reproduction.statistics import difference, holm, superiority
from bstheory.schedules.open_loop import curve, increments, late_switch, seesaw, stage_table
from bstheory.schedules.rules import Rule
from bstheory.schedules.schedule import Schedule
from bstheory.schedules.walk import runs
from bstheory.verdict import Verdict

DIMENSION = 64
TARGET = 0.03  # the start is at 2.4
CAP = 12_000  # samples; a run that has not reached the target by then has failed
HORIZON = 8_000  # samples over which ramps and decays run
STEP_COSTS = (0, 16, 256)
RATES = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # stable below 2
CONSTANT = (4, 16, 64, 256)
STARTS = (1, 4, 16, 64)  # of the growing schedules, which end 16 times larger
GROWTH = 16
WORKERS = 4
TUNING_SEEDS = (1000, 1001)
SEEDS = 24  # paths of the evaluation
NEAR = 1.25  # what counts as close to the best open-loop schedule


@functools.cache
def problem() -> Problem:
    """Curvature 1/i, noise variance equal to the curvature, unit start: 64 coordinates."""
    h = 1.0 / np.arange(1, DIMENSION + 1)
    return noisy_quadratic(h, np.sqrt(h))


def open_loop(family: str, size: int) -> tuple[Schedule, Schedule | None]:
    """Batch-size schedule of a family whose shape is given by ``size``, and a rate factor if it has one."""
    end = size * GROWTH
    cosine = curve("cosine", quantity="learning_rate", start=1.0, end=0.0, over=HORIZON)
    match family:
        case "constant":
            return curve("constant", value=size), None
        case "constant, cosine rate":
            return curve("constant", value=size), cosine
        case "linear ramp":
            return curve("linear", start=size, end=end, over=HORIZON).rounded(multiple=1), None
        case "increments":
            step = (end - size) // 5
            return increments(start=size, end=end, increment=step, over=HORIZON), None
        case "doubling":
            stages = tuple(size * 2**k for k in range(5))
            return stage_table(stages, ("20%",) * 5, total=HORIZON), None
        case "late switch":
            return late_switch(small=size, large=end, at=HORIZON * 3 // 4), None
        case "early stages":
            return stage_table((size, size * 4, end), ("2.5%", "2.5%", "95%"), total=HORIZON), None
        case "seesaw":
            pair = seesaw(cosine, batch_size=size, begin=0, end=HORIZON, cuts=4)
            return pair.batch_size, pair.learning_rate
    raise AssertionError(family)


FAMILIES = {
    "constant": CONSTANT,
    "constant, cosine rate": CONSTANT,
    "linear ramp": STARTS,
    "increments": STARTS,
    "doubling": STARTS,
    "late switch": STARTS,
    "early stages": STARTS,
    "seesaw": STARTS,
}
GROWING = ("linear ramp", "increments", "doubling", "late switch")

_SMOOTH: dict[str, Any] = {"smoothing": 0.9, "growth_cap": 2.0}
_DEBIASED: dict[str, Any] = {**_SMOOTH, "debias": True, "signal_floor": 0.01}
RULES: dict[str, tuple[dict[str, Any], ...]] = {
    "published": tuple({"tolerance": t} for t in (0.1, 0.2, 0.4, 0.8)),
    "norm_test": tuple({"tolerance": t, **_DEBIASED} for t in (0.5, 1.0, 2.0, 4.0)),
    "inner_product": tuple({"tolerance": t, **_SMOOTH} for t in (0.1, 0.2, 0.4, 0.8)),
    "augmented": tuple({"tolerance": 0.9, "orthogonal": t, **_SMOOTH} for t in (0.5, 1.0, 2.0, 4.0)),
    "big_batch": tuple({"tolerance": t, "increment": 16, **_DEBIASED} for t in (0.5, 1.0, 2.0, 4.0)),
    "noise_scale": tuple({"root": t, **_DEBIASED} for t in (4.0, 16.0, 64.0, 256.0)),
    "cabs": tuple({"initial": t, **_SMOOTH} for t in (4, 16, 64, 256)),
    "simigrad": tuple({"tolerance": t, **_SMOOTH} for t in (0.3, 0.5, 0.7, 0.9)),
    "loss_law": tuple({"tolerance": t, "exponent": 1.0, **_SMOOTH} for t in (0.1, 0.4, 1.6, 6.4)),
    "sign": tuple({"tolerance": t, **_SMOOTH} for t in (0.5, 1.0, 2.0, 4.0)),
    "coordinate": tuple({"tolerance": t, **_SMOOTH} for t in (1.0, 2.0, 4.0, 8.0)),
}


def first_passage(
    batches: Iterable[int], rates: np.ndarray, factor: Schedule | None = None
) -> list[dict[str, float] | None]:
    """For each rate: tokens and steps when the exact expected loss first meets the target, or None."""
    h, c = problem().params["curvature"], problem().params["noise"] ** 2
    moments = np.ones((len(rates), DIMENSION))
    found: list[dict[str, float] | None] = [None] * len(rates)
    consumed = 0
    for step, batch in enumerate(batches, start=1):
        eta = (rates if factor is None else rates * float(factor.value(float(consumed))))[:, None]
        moments = (1.0 - eta * h) ** 2 * moments + eta**2 * c / batch
        consumed += batch
        for i in np.flatnonzero(moments @ h / 2 <= TARGET):
            found[i] = found[i] or {"tokens": consumed, "steps": step, "learning_rate": float(rates[i])}
        if all(found):
            break
    return found


def to_target(family: str, size: int) -> list[dict[str, float] | None]:
    """:func:`first_passage` of an open-loop schedule at every rate of the search."""
    schedule, factor = open_loop(family, size)
    every = (batch for batch, count in runs(schedule, num_tokens=CAP, last="partial") for _ in range(count))
    return first_passage(every, np.array(RATES), factor)


def cost(entry: Mapping[str, float], step_cost: float) -> float:
    """Modelled wall-clock in samples: tokens + step_cost * steps."""
    return entry["tokens"] + step_cost * entry["steps"]


@functools.cache
def best_open_loop() -> dict[str, dict[int, dict[str, float]]]:
    """Family -> step cost -> the cheapest of its 28 settings."""
    table: dict[str, dict[int, dict[str, float]]] = {}
    for family, sizes in FAMILIES.items():
        every = [{**e, "size": size} for size in sizes for e in to_target(family, size) if e is not None]
        table[family] = {
            s: min(({**e, "cost": cost(e, s)} for e in every), key=lambda e: e["cost"])
            for s in STEP_COSTS
            if every
        }
    return table


def chosen_batches(
    name: str, shape: Mapping[str, Any], rate: float, seeds: Iterable[int]
) -> list[np.ndarray]:
    """The batch sizes that a rule chooses along each path, [K]."""
    from bstheory.simulation import SGD, simulate_rule

    fields = {"initial": 16, "maximum": 4096, "multiple": WORKERS, **shape}
    run = simulate_rule(
        problem(),
        SGD(learning_rate=rate),
        rule=Rule(name=name, **fields),
        groups=WORKERS,
        tokens=CAP,
        seeds=tuple(seeds),
        records=CAP // WORKERS,  # every step ends on a record, so the records hold every step
    )
    assert run.tokens is not None
    found = []
    for steps in run.series["step"]:
        known = steps[np.isfinite(steps)]
        last = np.append(np.flatnonzero(np.diff(known)), len(known) - 1)  # last record of every step
        found.append(np.diff(run.tokens[last]))
    return found


def replayed_cost(batches: np.ndarray, rate: float, step_cost: float) -> float:
    """Cost to target of these batch sizes by the exact recursion; infinite if it is never met.

    A path's own loss would meet the target early by fluctuation, the more so the larger the rate; the replay
    judges the schedule that the rule found, with the same ruler as the open-loop ones.
    """
    (found,) = first_passage(batches.tolist(), np.array([rate]))
    return math.inf if found is None else cost(found, step_cost)


@functools.cache
def rule_costs(name: str) -> dict[int, dict[str, Any]]:
    """Step cost -> the setting tuned on two seeds and its cost on every fresh path."""
    tried: dict[tuple[int, float], list[np.ndarray]] = {}
    for (i, shape), rate in itertools.product(enumerate(RULES[name]), RATES):
        try:
            tried[i, rate] = chosen_batches(name, shape, rate, TUNING_SEEDS)
        except InputError:  # a rule without a defined answer at these settings has not reached the target
            continue
    table, fresh = {}, {}
    for s in STEP_COSTS:
        i, rate = min(
            tried, key=lambda key: float(np.mean([replayed_cost(b, key[1], s) for b in tried[key]]))
        )
        if (i, rate) not in fresh:
            fresh[i, rate] = chosen_batches(name, RULES[name][i], rate, range(SEEDS))
        table[s] = {
            "shape": RULES[name][i],
            "learning_rate": rate,
            "on_edge": rate in (RATES[0], RATES[-1]) or i in (0, len(RULES[name]) - 1),
            "costs": [replayed_cost(b, rate, s) for b in fresh[i, rate]],
        }
    return table


def preferred_cost(step_cost: int, upper: float) -> dict[str, Any]:
    """Least budget (to 2 %) at which the preferred schedule of the exact recursion meets the target."""
    from bstheory.theory.optimal import optimal_batch_schedule

    def at(budget: float) -> Any:
        return optimal_batch_schedule(problem(), budget, step_cost=step_cost, max_steps=2048)

    low, high, best = 0.0, upper, at(upper)
    while best.value <= TARGET and high > 1.02 * max(low, upper / 16):
        middle = (low + high) / 2
        found = at(middle)
        if found.value <= TARGET:
            high, best = middle, found
        else:
            low = middle
    marks = np.linspace(0, len(best.batch_size) - 1, 9).astype(int)
    return {
        "cost": high if best.value <= TARGET else math.inf,
        "tokens": int(best.batch_size.sum()),
        "steps": len(best.batch_size),
        "batch_sizes_at_eighths": best.batch_size[marks].tolist(),
        "learning_rates_at_eighths": [] if best.learning_rate is None else best.learning_rate[marks].tolist(),
    }


def exact(statement: str, holds: bool, **numbers: Any) -> Finding:
    """A comparison of exact numbers on this one problem: consistent or refuted, never undecided."""
    return Finding(
        statement=statement, verdict=Verdict.CONSISTENT if holds else Verdict.REFUTED, numbers=numbers
    )


def judge_quadratic(_: Outcomes) -> list[Finding]:
    """Head-to-head of the open-loop schedules, all numbers exact."""
    table = best_open_loop()
    costs = {name: {s: row[s]["cost"] for s in STEP_COSTS} for name, row in table.items() if row}
    best = {s: min(costs, key=lambda name: costs[name][s]) for s in STEP_COSTS}
    preferred = {s: preferred_cost(s, costs[best[s]][s]) for s in STEP_COSTS}
    growing = {s: min(costs[name][s] for name in GROWING if name in costs) for s in STEP_COSTS}
    gain = {s: costs["constant"][s] / growing[s] for s in STEP_COSTS}
    findings = [
        exact(
            f"step cost {s}: no family reaches the target at a lower cost than the schedule theory prefers",
            preferred[s]["cost"] <= costs[best[s]][s],
            preferred=preferred[s],
            best_family=best[s],
            families={name: row[s] for name, row in table.items() if row},
        )
        for s in STEP_COSTS
    ]
    findings += [
        exact(
            f"step cost {s}: at a constant rate, growing the batch is cheaper than the best constant batch",
            gain[s] > 1,
            ratio=gain[s],
        )
        for s in STEP_COSTS
    ]
    cosine = {s: costs["constant, cosine rate"][s] for s in STEP_COSTS}
    findings += [
        exact("the gain from growth rises with the step cost", gain[0] < gain[16] < gain[256], ratios=gain),
        exact(
            "step cost 0: with a decaying rate a constant batch costs at most 10 % more than the best growth",
            cosine[0] <= 1.1 * growing[0],
            ratio=cosine[0] / growing[0],
        ),
        exact(
            "step cost 256: seesaw is cheaper than the constant batch with the cosine it replaces",
            costs["seesaw"][256] < cosine[256],
            ratio=cosine[256] / costs["seesaw"][256],
        ),
        exact(
            "the constant batch that the SGD bound prefers is within 10 % of the best family at step cost 0",
            costs["constant"][0] <= 1.1 * costs[best[0]][0],
            ratio=costs["constant"][0] / costs[best[0]][0],
        ),
    ]
    return findings


def log_ratio(reference: float, found: float) -> float:
    """log(reference / found); minus infinity where the target was not reached."""
    return math.log(reference / found) if math.isfinite(found) else -math.inf


def judge_rules(_: Outcomes) -> list[Finding]:
    """Closed-loop rules against the tuned constant batch and the best open-loop family."""
    table = best_open_loop()
    found = {name: rule_costs(name) for name in RULES}
    statements: dict[str, tuple[list[float], dict[str, Any]]] = {}
    for s in STEP_COSTS:
        best = min((name for name, row in table.items() if row), key=lambda name: table[name][s]["cost"])
        constant, ahead = table["constant"][s]["cost"], table[best][s]["cost"]
        for name in RULES:
            text = f"step cost {s}: {name} is cheaper than the tuned constant batch"
            logs = [log_ratio(constant, x) for x in found[name][s]["costs"]]
            statements[text] = (logs, {**found[name][s], "constant": constant})
        logs = [log_ratio(NEAR * ahead, x) for x in found["norm_test"][s]["costs"]]
        statements[f"step cost {s}: the unbiased norm test is within 25 % of the best open-loop family"] = (
            logs,
            {"best_open_loop": ahead, "family": best, **found["norm_test"][s]},
        )
    tests = {text: difference(logs) for text, (logs, _) in statements.items()}
    levels = holm({text: d.p_above for text, d in tests.items()})
    findings = []
    for text, d in tests.items():
        verdict = superiority(d, alpha=levels[text])
        if verdict is Verdict.UNDECIDED and 1 - d.p_above <= 0.05 / len(tests):
            verdict = Verdict.REFUTED
        numbers = {"difference": d.to_json(), "unit": "log cost ratio", **statements[text][1]}
        findings.append(Finding(statement=text, verdict=verdict, numbers=numbers))
    return findings
