"""Finite trees of Adam with momentum under the norm test, with numbers for every symbol of flagship 2."""

from __future__ import annotations

import math
import random
from typing import Any

from bstheory.checking.semantics import Draw, Node


def norm_test_tree(
    rng: random.Random,
    *,
    depth: int = 3,
    dimension: int = 2,
    alpha: float = 1e-3,
    beta1: float = 0.5,
    eta: float = 0.5,
    half_life: float = 20.0,
    batches: tuple[int, ...] = (1,),
    theta: float = 0.25,
    zeta: float = 8.0,
    v0: float = 1.0,
    plan: dict[str, Any] | None = None,
    rising: bool = False,
) -> tuple[dict[str, Any], list[Node], dict[str, float]]:
    """All paths on F = sum (1 - cos x_i), g_i = G_i (1 + eta xi_i), batches that depend on the path.

    One batch size gives constant beta2 (``adam_norm_test``); several give ``adam_norm_test_token_half_life``.
    ``rising``: no batch is smaller than the one before on its path. A ``plan`` (batch_size, rates and the sequences of ``adam_norm_test_deterministic_schedule``) fixes them.

    Returns:
        Constants of the documents, the nodes, and the exact left sides ``S`` and ``l1``.
    """
    if plan is not None:
        depth, batches, alpha = len(plan["batch_size"]), tuple(plan["batch_size"]), float(plan["rates"][0])
        v0 = plan["v0"]
    w1 = [rng.uniform(-1.5, 1.5) for _ in range(dimension)]
    v_start = [v0 * rng.uniform(1.0 if plan else 0.5, 2.0) for _ in range(dimension)]
    roots = [2.0 ** (-b / (2 * half_life)) for b in batches]
    y_min, y_bar = min(roots), max(roots)
    gam_bar, gam_low = beta1 / y_min, beta1 / y_bar
    gh, f, s = (gam_bar + gam_low) / 2, 1 - beta1, 1 + eta**2
    a = alpha / (1 - gh)
    q = s * (1 - y_min**2) / ((1 - y_bar**2) * (1 - gam_bar**2))
    nodes: list[Node] = []
    ends: list[dict[str, float]] = []
    left = {"S": 0.0, "l1": 0.0, "tokens": 0.0}

    def loss(x: list[float]) -> float:
        return sum(1 - math.cos(t) for t in x)

    def auxiliary(w: list[float], w_prev: list[float], level: int) -> list[float]:
        kappa = gh / (1 - gh) if plan is None else plan["kappa"][level]
        return [x + kappa * (x - z) for x, z in zip(w, w_prev, strict=True)]

    def grow(p: float, state: dict[str, Any], level: int) -> None:
        w, w_prev, m, v = state["w"], state["w_prev"], state["m"], state["v"]
        allowed = [b for b in batches if not rising or b >= state["B"]]
        B = rng.choice(allowed) if plan is None else plan["batch_size"][level]
        rate = alpha if plan is None else plan["rates"][level]
        y = 2.0 ** (-B / (2 * half_life))
        G, u = [math.sin(x) for x in w], auxiliary(w, w_prev, level)
        G_prev = [math.sin(x) for x in w_prev]
        moved = gh * a if plan is None else beta1 / y * plan["a"][level]
        E = [(math.sin(z) - b) / moved if beta1 else 0.0 for z, b in zip(u, G, strict=True)]
        weight = rng.uniform(0.2, 0.8)
        size = [rng.uniform(0, 1) for _ in w]
        node = Node(
            probability=p,
            values={
                "B": B,
                "y": y,
                "c": 1 - y * y,
                "e": 1 - beta1 / y,
                "F_prev": loss(u),
                "N_prev": state["N"],
                "N_next": state["N"] + B,
                "t_prev": state["t"],
                "t": state["t"] * y,
                "lam_prev": state["lam"],
                "lam": y / (1 - y),
            },
            vectors={"G": G, "G_prev": G_prev, "E": E, "m_prev": m, "v_prev": v},
        )
        nodes.append(node)
        if plan is not None:
            node.values.update({"a": plan["a"][level], "alpha_prev": plan["alpha_prev"][level]})
            node.values["psi"] = plan["psi"][level]
            for name in ("J", "A", "phi"):
                node.values |= {f"{name}_prev": plan[name][level], name: plan[name][level + 1]}
        left["S"] += p * sum(b * b / (y * math.sqrt(x)) for b, x in zip(G, v, strict=True))
        left["l1"] += p * sum(map(abs, G))
        # Two outcomes of mean zero and second moment at most eta^2 G^2.
        root = math.sqrt(weight * (1 - weight))
        for q_, direction in ((weight, (1 - weight) / root), (1 - weight, -weight / root)):
            g = [b * (1 + eta * z * direction) for b, z in zip(G, size, strict=True)]
            m_next = [beta1 * x + f * z for x, z in zip(m, g, strict=True)]
            v_next = [y * y * x + (1 - y * y) * z * z for x, z in zip(v, g, strict=True)]
            w_next = [x - rate * b / math.sqrt(z) for x, b, z in zip(w, m_next, v_next, strict=True)]
            F_next = loss(auxiliary(w_next, w, level + 1))
            node.draws.append(
                Draw(probability=q_, values={"F_next": F_next}, vectors={"g": g, "m": m_next, "v": v_next})
            )
            after = {
                "w": w_next,
                "w_prev": w,
                "m": m_next,
                "v": v_next,
                "N": state["N"] + B,
                "t": state["t"] * y,
                "B": B,
                "lam": y / (1 - y),
                "G": G,
                "F": F_next,
            }
            if level + 1 < depth:
                grow(p * q_, after, level + 1)
            else:
                left["tokens"] = max(left["tokens"], after["N"])
                ends.append({"p": p * q_} | after)

    first = {"w": w1, "w_prev": w1, "m": [0.0] * dimension, "v": v_start, "N": 0, "t": 1.0}
    grow(1.0, first | {"B": min(batches), "lam": y_bar / (1 - y_bar)}, 0)
    constants: dict[str, Any] = {
        "alpha": alpha,
        "beta1": beta1,
        "f": f,
        "L": 1.0,
        "s": s,
        "eta2": eta**2,
        "theta": theta,
        "xi": zeta * q - 1,
        "x": math.sqrt(s * f / (1 - gam_bar)),
        "h": half_life,
        "B_min": min(batches),
        "B_max": max(batches),
        "N": left["tokens"],
        "t_K": 2.0 ** (-left["tokens"] / (2 * half_life)),
        "c_min": 1 - y_bar**2,
        "c_max": 1 - y_min**2,
        "z": 1 - y_bar,
        "lam_start": y_bar / (1 - y_bar),
        "e_bar": 1 - gam_bar,
        "e_hat": 1 - gh,
        "omega": (gam_bar - gam_low) / 2,
        "q_min": math.sqrt(min(v_start)),
        "v_start": v_start,
        "G_start": [math.sin(x) for x in w1],
        "F_start": loss(w1),
        "F_star": 0.0,
        "Delta": loss(w1),
        # Constant beta2:
        "y": y_bar,
        "c": 1 - y_bar**2,
        "e": 1 - gam_bar,
    }
    if plan is not None:
        constants |= {f"{name}_0": plan[name][0] for name in ("J", "A", "phi")}
        constants |= {"a_min": min(plan["a"]), "y_bar": y_bar, "c_max": 1 - y_min**2, "xi": plan["xi"]}
        constants["q_min"] = plan["q_min"]
    constants["end"] = ends
    return constants, nodes, left


def complete(document: dict[str, Any], constants: dict[str, Any], nodes: list[Node], net: float) -> Any:
    """The evaluator of a document on a tree, with net and the expected values at the end."""
    from bstheory.checking.semantics import Evaluator

    known = {k: v for k, v in constants.items() if k != "end"} | {"net": net}
    evaluator = Evaluator(document, known, nodes, len(constants["v_start"]))
    ends = {
        "F_end": 0.0,
        "Xs_end": 0.0,
        "Zs_end": 0.0,
        "Ws_end": 0.0,
        "excess_end": 0.0,
        "pots_end": 0.0,
        "rooms_end": 0.0,
    }
    named = {"Xs_end": "X", "Zs_end": "Z", "Ws_end": "W", "excess_end": "excess", "pots_end": "pot"}
    named["rooms_end"] = "room"
    leaves = iter(constants["end"])
    last = [(k, j) for k, node in enumerate(nodes) for j, _ in enumerate(node.draws) if is_leaf(nodes, k, j)]
    for k, j in last:
        leaf = next(leaves)
        ends["F_end"] += leaf["p"] * leaf["F"]
        for name, symbol in named.items():
            if symbol in document["symbols"]:
                total = sum(evaluator.symbol(symbol, k, i, j) for i in range(len(constants["v_start"])))
                ends[name] += leaf["p"] * total
    known.update(ends)
    return Evaluator(document, known, nodes, len(constants["v_start"]))


def is_leaf(nodes: list[Node], k: int, j: int) -> bool:
    """Whether no node continues draw j of node k."""
    draw = nodes[k].draws[j]
    return not any(other.vectors["v_prev"] is draw.vectors["v"] for other in nodes[k + 1 :])


def real_violations(evaluator: Any) -> list[Any]:
    """Violations beyond rounding. Excesses of roots are differences of numbers of order one to ten."""
    return [v for v in evaluator.violations() if abs(v.gap) > 1e-12]
