"""Random finite probability trees on which derivations are evaluated."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from bstheory.checking.semantics import Draw, Node


def cosine_tree(
    rng: random.Random,
    *,
    depth: int,
    dimension: int,
    half_life: float,
    alpha: float,
    eps: float,
    noise: float,
    batch: Callable[[random.Random, int], int],
) -> tuple[dict[str, float], list[Node]]:
    """RMSProp with a token half-life on F = sum (1 - cos x_i), all paths of a finite tree.

    The noise of each draw has mean zero and size at most ``noise``; batch sizes depend on the path, and the
    last step of each path uses up what is left of the fixed number of tokens.
    """
    budget = 4 * depth
    x0 = [rng.uniform(-2, 2) for _ in range(dimension)]
    nodes: list[Node] = []
    ends: list[tuple[float, float, float]] = []  # probability, F(x_K), sum of ln(eps + v_K)

    def loss(x: list[float]) -> float:
        return sum(1 - math.cos(t) for t in x)

    def grow(probability: float, x: list[float], v: list[float], left: int, level: int) -> None:
        if left == 0:
            ends.append((probability, loss(x), sum(math.log(eps + t) for t in v)))
            return
        B = left if level == depth - 1 else min(left, batch(rng, level))
        beta = 2.0 ** (-B / half_life)
        c = 1 - beta
        G = [math.sin(t) for t in x]
        node = Node(
            probability=probability,
            values={"B": B, "c": c, "F_prev": loss(x)},
            vectors={"G": G, "v_prev": v},
        )
        nodes.append(node)
        p = rng.uniform(0.2, 0.8)
        size = [rng.uniform(0, noise) for _ in x]
        # Two outcomes with mean zero, +size and -size p/(1-p), scaled into [-noise, noise].
        scale = max(1.0, p / (1 - p))
        for q, direction in ((p, 1.0), (1 - p, -p / (1 - p))):
            g = [a + direction * b / scale for a, b in zip(G, size, strict=True)]
            v_next = [beta * a + c * b * b for a, b in zip(v, g, strict=True)]
            x_next = [
                a - alpha * math.sqrt(c) * b / math.sqrt(eps + w)
                for a, b, w in zip(x, g, v_next, strict=True)
            ]
            node.draws.append(
                Draw(probability=q, values={"F_next": loss(x_next)}, vectors={"g": g, "v_next": v_next})
            )
            grow(probability * q, x_next, v_next, left - B, level + 1)

    grow(1.0, x0, [0.0] * dimension, budget, 0)
    constants = {
        "alpha": alpha,
        "L": 1.0,
        "R": 1.0 + noise,
        "eps": eps,
        "h": half_life,
        "D": float(budget),
        "F_start": loss(x0),
        "F_star": 0.0,
        "F_end": sum(p * f for p, f, _ in ends),
        "logs_end": sum(p * s for p, _, s in ends),
    }
    return constants, nodes
