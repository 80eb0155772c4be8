"""Finite trees of the adaptive methods without momentum, with numbers for every declared symbol."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from bstheory.checking.semantics import Draw, Node

FORMS = ("any_start", "first_batch", "variance_aware", "bias_corrected", "unnormalised")


def adam_tree(
    rng: random.Random,
    form: str,
    *,
    depth: int = 3,
    dimension: int = 2,
    half_life: float = 5.0,
    alpha: float = 0.3,
    eps: float = 1e-2,
    noise: float = 0.5,
    v0: float = 0.0,
) -> tuple[dict[str, Any], list[Node], dict[str, Any]]:
    """All paths of one form on F = sum (1 - cos x_i), two outcomes a step, batches that depend on the path.

    Returns:
        Constants of the document, the nodes, and the run's exact facts: ``weighted`` is the left side of the
        theorem, ``r_first``, ``T_up`` and ``T_rB`` the sums of the variance-aware form.
    """
    budget, R = 4 * depth, 1.0 + noise
    x0 = [rng.uniform(-2, 2) for _ in range(dimension)]
    v_start = [rng.uniform(0, v0) for _ in range(dimension)] if form == "any_start" else [0.0] * dimension
    B_1 = rng.choice([1, 2, 4])
    b_1 = 1 - 2.0 ** (-B_1 / half_life)
    nodes: list[Node] = []
    ends: list[dict[str, float]] = []
    sums = {"weighted": 0.0, "T_up": 0.0, "T_rB": 0.0}

    def loss(x: list[float]) -> float:
        return sum(1 - math.cos(t) for t in x)

    def grow(p: float, x: list[float], v: list[float], S: float, done: int, level: int) -> list[float]:
        last = level == depth - 1
        B = B_1 if level == 0 else budget - done if last else min(budget - done, rng.choice([1, 2, 4]))
        beta = 2.0 ** (-B / half_life)
        c, b = 1 - beta, 1 - 2.0 ** (-(done + B) / half_life)
        S_next = beta * S + 1
        G = [math.sin(t) for t in x]
        q = rng.uniform(0.2, 0.8)
        size = [rng.uniform(0, noise) / max(1.0, q / (1 - q)) for _ in x]
        outcomes = [(q, [a + s for a, s in zip(G, size, strict=True)])]
        outcomes.append((1 - q, [a - s * q / (1 - q) for a, s in zip(G, size, strict=True)]))
        slack = rng.uniform(1.0, 1.5)
        r = [
            min(R, slack * math.sqrt(sum(w * g[i] ** 2 for w, g in outcomes)) + 1e-6)
            for i in range(dimension)
        ]
        weight = {"bias_corrected": math.sqrt(c * b), "unnormalised": math.sqrt(S_next)}.get(
            form, math.sqrt(c)
        )
        kept = 1.0 if form == "unnormalised" else math.sqrt(c)
        floor = eps * b if form == "bias_corrected" else eps
        gain = 1.0 if form == "unnormalised" else c
        node = Node(
            probability=p,
            values={
                "B": B,
                "c": c,
                "F_prev": loss(x),
                "first": float(level == 0),
                "first_next": 0.0,
                "tokens": done,
                "tokens_next": done + B,
                "b_prev": b_1 if level == 0 else 1 - 2.0 ** (-done / half_life),
                "b": b,
                "S_prev": S,
                "S_next": S_next,
            },
            vectors={"G": G, "v_prev": v, "r": r},
        )
        nodes.append(node)
        sums["weighted"] += p * kept * sum(a * a for a in G)
        sums["T_rB"] += p * B * sum(r)
        for w, g in outcomes:
            v_next = [beta * a + gain * t * t for a, t in zip(v, g, strict=True)]
            x_next = [
                a - alpha * weight * t / math.sqrt(floor + u) for a, t, u in zip(x, g, v_next, strict=True)
            ]
            stop = done + B == budget
            r_next = r if stop else grow(p * w, x_next, v_next, S_next, done + B, level + 1)
            sums["T_up"] += p * w * sum(max(a - t, 0.0) for a, t in zip(r_next, r, strict=True))
            if stop:
                logs = [math.log(floor + u) for u in v_next]
                rooms = sum(t * (math.log(eps + R * R) - y) for t, y in zip(r, logs, strict=True))
                ends.append({"p": p * w, "F": loss(x_next), "logs": sum(logs), "rooms": rooms})
            node.draws.append(
                Draw(
                    probability=w,
                    values={"F_next": loss(x_next)},
                    vectors={"g": g, "v_next": v_next, "r_next": r_next},
                )
            )
        if level == 0:
            sums["r_start"] = r  # type: ignore[assignment]
        return r

    grow(1.0, x0, v_start, 0.0, 0, 0)
    constants: dict[str, Any] = {
        "alpha": alpha,
        "L": 1.0,
        "R": R,
        "eps": eps,
        "h": half_life,
        "D": float(budget),
        "B_1": float(B_1),
        "b_1": b_1,
        "b_end": 1 - 2.0 ** (-budget / half_life),
        "first_end": 0.0,
        "F_start": loss(x0),
        "F_star": 0.0,
        "v_start": v_start,
        "M": max([R * R, *v_start]),
        "r_start": sums["r_start"],
        "g_max": R,
        "r": max(max(node.vectors["r"]) for node in nodes),
        "root_S": math.sqrt(max(node.values["S_next"] for node in nodes)),
    }
    for name, key in (("F_end", "F"), ("logs_end", "logs"), ("rooms_end", "rooms")):
        constants[name] = sum(end["p"] * end[key] for end in ends)
    return constants, nodes, {**sums, "r_first": sum(sums["r_start"]), "B_1": B_1}  # type: ignore[arg-type]


def random_setting(rng: random.Random) -> dict[str, float]:
    """Constants at which the forms are tried, mild and extreme."""
    return {
        "half_life": rng.choice([1.0, 5.0, 50.0]),
        "alpha": rng.choice([0.01, 0.3, 2.0]),
        "eps": rng.choice([1e-4, 1e-2, 1.0]),
        "noise": rng.choice([0.0, 0.5, 3.0]),
        "v0": rng.choice([0.0, 1.0, 40.0]),
    }


def right_side(document: dict[str, Any], evaluator: Any) -> float:
    """The produced right-hand side on the tree."""
    return evaluator.expression(document["claim"]["rhs"], 0, 0, 0)


Draws = Callable[[random.Random], float]
