"""Trees of SGD and of sign momentum on a diagonal quadratic in two coordinates, for ``checking.semantics``."""

from __future__ import annotations

import random
from collections.abc import Callable

from bstheory.checking.semantics import Draw, Node

Outcomes = list[tuple[float, list[float], dict[str, float]]]


def loss(h: list[float], x: list[float]) -> float:
    return sum(a * t * t for a, t in zip(h, x)) / 2


def sgd_tree(
    rng: random.Random,
    h: list[float],
    *,
    outcomes: Callable[[list[float], float], Outcomes],
    eta: list[float],
    b: list[float],
    known: Callable[[int], dict[str, float]] = lambda level: {},
) -> tuple[dict[str, float], list[Node]]:
    """All paths of x <- x - eta_k g_k.

    Args:
        outcomes: of a draw, from G and b: probability, g, further symbols.
        eta, b: one for each level.
        known: further symbols that depend on the level alone.

    Returns:
        F_start, F_end, F_star and the nodes.
    """
    x0 = [rng.uniform(-2, 2) for _ in h]
    nodes: list[Node] = []
    end = 0.0

    def grow(probability: float, x: list[float], level: int) -> None:
        nonlocal end
        if level == len(eta):
            end += probability * loss(h, x)
            return
        G = [a * t for a, t in zip(h, x)]
        values = {"eta": eta[level], "b": b[level], "F_prev": loss(h, x), **known(level)}
        vectors = {"G": G, "z": [-t for t in x]}
        node = Node(probability=probability, values=values, vectors=vectors, level=level)
        nodes.append(node)
        for q, g, more in outcomes(G, b[level]):
            after = [t - eta[level] * a for t, a in zip(x, g)]
            drawn = {"F_next": loss(h, after), **more}
            node.draws.append(Draw(probability=q, values=drawn, vectors={"g": g}))
            grow(probability * q, after, level + 1)

    grow(1.0, x0, 0)
    return {"F_start": loss(h, x0), "F_end": end, "F_star": 0.0}, nodes


def sign_momentum_tree(
    rng: random.Random, h: list[float], *, sigma: list[float], eta: list[float], B: list[float], t1: float
) -> tuple[dict[str, float], list[Node]]:
    """All paths of Signum, with the split of m - grad F into drift and noise that the proof makes."""
    L = sum(h)
    b = V = lag = 0.0
    schedule = []
    for level, batch in enumerate(B):
        beta = 2.0 ** (-batch / t1) if level else 0.0
        b_next, V_next = beta * (b + L * lag), beta**2 * V + (1 - beta) ** 2 / batch
        row = {
            "eta": eta[level],
            "B": batch,
            "beta": beta,
            "gamma": 1 - beta,
            "lag": lag,
            "lag_next": eta[level],
        }
        schedule.append({**row, "b": b, "b_next": b_next, "V": V, "V_next": V_next})
        b, V, lag = b_next, V_next, eta[level]
    x0 = [rng.uniform(-2, 2) for _ in h]
    nodes: list[Node] = []
    end = 0.0

    def norm(values: list[float]) -> float:
        return sum(abs(t) for t in values)

    def grow(probability: float, x: list[float], past: tuple[list[float], ...], level: int) -> None:
        nonlocal end
        if level == len(B):
            end += probability * loss(h, x)
            return
        before, drift, z, m = past
        row = schedule[level]
        beta = row["beta"]
        G = [a * t for a, t in zip(h, x)]
        moved = [beta * (d + old - new) for d, old, new in zip(drift, before, G)]
        values = {
            **row,
            "F_prev": loss(h, x),
            "size": norm(G),
            "drift": norm(drift),
            "drift_next": norm(moved),
        }
        node = Node(probability=probability, values=values, vectors={"G": G, "z": z}, level=level)
        nodes.append(node)
        for first in (-1, 1):
            for second in (-1, 1):
                noise = [s * t / B[level] ** 0.5 for s, t in zip((first, second), sigma)]
                g = [a + e for a, e in zip(G, noise)]
                m_next = [beta * a + (1 - beta) * t for a, t in zip(m, g)]
                z_next = [beta * a + (1 - beta) * e for a, e in zip(z, noise)]
                move = [(t > 0) - (t < 0) for t in m_next]
                after = [t - eta[level] * s for t, s in zip(x, move)]
                drawn = {
                    "F_next": loss(h, after),
                    "size_m": norm(m_next),
                    "error": norm([a - t for a, t in zip(m_next, G)]),
                    "inner": sum(a * s for a, s in zip(G, move)),
                }
                vectors = {"g": g, "z_next": z_next}
                node.draws.append(Draw(probability=0.25, values=drawn, vectors=vectors))
                grow(probability / 4, after, (G, moved, z_next, m_next), level + 1)

    zero = [0.0] * len(h)
    grow(1.0, x0, ([a * t for a, t in zip(h, x0)], zero, zero, zero), 0)
    constants = {
        "L": L, "rho": len(h) ** 0.5, "sigma": sum(s * s for s in sigma) ** 0.5,
        "F_start": loss(h, x0), "F_end": end, "F_star": 0.0,
    }  # fmt: skip
    return constants, nodes
