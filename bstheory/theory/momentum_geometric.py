"""Sums of momentum weights over lags in closed form, for constant beta1 < beta2: no constant is assumed.

W_{n,j} = (1 - beta1) beta1^(n - j). Functions of the lag k = n - j: ``pq`` = (beta1/beta2)^k, ``fade`` =
beta2^k, ``lag`` = k, ``after`` = 1 where k > 0 and ``same`` = 1 - after. Square roots of k + 1 are compared
with lines, whose sums telescope (``wide``, ``wide_after``, ``wide_across`` weigh Young's inequality there).
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_lags import at_lag, lag_induction, lag_sum, lag_sum_across

HALF = sp.Rational(1, 2)
PQ, FADE, LAG, AFTER, SAME, OM = sp.symbols("pq fade lag after same om")
BETA1, C1, CQ, Q_RATIO = sp.symbols("beta1 c1 cq q")
WEIGHT = C1 * PQ * FADE


def declare(d: Derivation, *, beta: Any) -> None:
    """beta1, q = beta1/beta2 < 1, the functions of the lag, and weights of sum at most 1."""
    d.symbol("beta1", sign="nonnegative", latex=r"\beta_1", meaning="momentum")
    d.symbol("c1", sign="positive", latex=r"1-\beta_1", meaning="1 - beta1")
    d.assume("complement_1", C1 - 1 + BETA1, relation="==", assumption="momentum", why="c1 = 1 - beta1")
    d.define("q", "equals", BETA1 / beta, sign="nonnegative", latex="q", meaning="beta1/beta2")
    d.symbol("cq", sign="positive", latex="1-q", meaning="1 - beta1/beta2")
    d.assume("complement_q", CQ - 1 + Q_RATIO, relation="==", assumption="momentum", why="beta1 < beta2")
    for name, start, after, sign, latex in (
        ("lag", 0, LAG + 1, "nonnegative", "k"),
        ("pq", 1, Q_RATIO * PQ, "nonnegative", "q^k"),
        ("fade", 1, beta * FADE, "positive", r"\beta_2^k"),
        ("after", 0, sp.Integer(1), "nonnegative", "1_{k>0}"),
        ("same", 1, sp.Integer(0), "nonnegative", "1_{k=0}"),
    ):
        d.define(name, "recursion", [sp.Integer(start), after], sign=sign, latex=latex)
    d.define("om", "root", LAG + 1, sign="positive", latex=r"\sqrt{k+1}")
    d.combine("nothing_left", gap=0, relation="==", why="zero")
    lag_induction(d, "after_or_same", AFTER + SAME - 1, "nothing_left", why="k > 0 or k = 0")


def weights_bounded(d: Derivation, weights: Any) -> None:
    """sum_j W_{n,j} <= 1, the fact ``weights``."""
    potential = PQ * FADE
    d.combine(
        "weights_drop",
        gap=potential - at_lag(d, potential, 1) - WEIGHT,
        relation="==",
        modulo=[d.definition(Q_RATIO), "complement_1"],
        why="beta1^k - beta1^(k+1) = (1 - beta1) beta1^k",
    )
    lag_sum(d, "weights", weights, potential, "weights_drop", why="the weights telescope")


def count_of_lags(d: Derivation, *, beta: Any) -> None:
    """The count of the k + 1 gradients from j to n in v_n, ``Om2`` = Om^2 <= k + 1: ``count_root``."""
    Om2 = sp.Symbol("Om2")
    d.define("Om2", "recursion", [sp.Integer(1), beta * Om2 + 1], sign="positive", latex=r"S_{k+1}")
    Om = d.define("Om", "root", Om2, sign="positive", latex=r"\sqrt{S_{k+1}}")
    gap = LAG + 1 - Om2
    d.combine(
        "count_of_lags_step",
        gap=at_lag(d, gap, 1) - beta * gap,
        uses={"complement": -(LAG + 1)} if beta != 1 else {},
        slack=sp.Symbol("c") * (LAG + 1) if beta != 1 else 0,
        why="beta2 <= 1",
    )
    lag_induction(d, "count_of_lags", gap, "count_of_lags_step", keeps=beta, why="k + 1 powers of beta2")
    over = 1 / (OM + Om)
    d.combine(
        "count_root",
        gap=OM - Om,
        uses={"count_of_lags": over, d.definition(OM): over, d.definition(Om): -over},
        why="roots keep the order",
    )


def largest(d: Derivation, name: str, total: Any, *, root_top: Any, top: Any, weight: Any, c: Any) -> Any:
    """The closed form of the largest sum ``name``, with the fact ``name``: constant - total >= 0.

    Args:
        root_top, top: what s_n and s_n^2 are at most; facts ``weight_l`` and ``top_l`` unless they are 1.
        weight, c: s_n and s_n^2.
    """
    scale = {"root_top": root_top, "weight": weight}
    if name == "C_2":
        return second(d, total, top=top, c=c)
    if name == "C_3":
        return across(d, total, **scale)
    return errors(d, name, total, after=name == "C_A2", **scale)


def line(d: Derivation, name: str, weight: Any) -> str:
    """sqrt(k + 1) <= (w + (k + 1)/w)/2; returns the fact's name."""
    d.combine(
        name,
        gap=(weight + (LAG + 1) / weight) / 2 - OM,
        uses={d.definition(OM): -1 / (2 * weight)},
        squares=[(1 / (2 * weight), weight - OM)],
        why="a root is below its tangents",
    )
    return name


def slopes(root_top: Any, weight: Any, factor: Any) -> dict[str, Any]:
    """What the replacement of s_n by its bound costs: nothing where steps do not vary."""
    return {} if root_top == weight else {"weight_l": factor}


def errors(
    d: Derivation,
    name: str,
    total: Any,
    *,
    after: bool,
    root_top: Any,
    weight: Any,
    term: Any = None,
    uses: dict[str, Any] | None = None,
) -> Any:
    """sum_k s_n (1 - beta1) q^k sqrt(k + 1), over k >= 0 or (``after``) k >= 1.

    Where something smaller is added up, ``term`` is it and ``uses`` are the facts that show so.
    """
    square = (1 + CQ) / CQ if after else 1 / CQ
    latex = r"\sqrt{\frac{2-q}{1-q}}" if after else r"(1-q)^{-1/2}"
    w = d.define("wide_after" if after else "wide", "root", square, sign="positive", latex=latex)
    fact = line(d, f"line_{name}", w)
    each = w * PQ / (2 * CQ) + PQ * (LAG / CQ + 1 / CQ**2) / (2 * w)  # over k, k + 1, ...
    scale = root_top * C1
    used: dict[str, Any] = {}
    extra: dict[str, Any] = {} if uses is None else uses
    potential, flag = scale * each, sp.Integer(1)
    result, factor = scale * w / CQ, scale / (2 * w * CQ)
    if after:
        later = at_lag(d, each, 1)
        first = at_lag(d, later, 0)
        potential, flag = scale * (AFTER * each + SAME * first), AFTER
        lag_induction(d, "from_one", SAME * (first - later), "nothing_left", why="the sum starts at k = 1")
        used = {"from_one": scale, "after_or_same": scale * later}
        result, factor = result * Q_RATIO, factor * Q_RATIO
    d.combine(
        f"drop_{name}",
        gap=potential - at_lag(d, potential, 1) - (weight * C1 * PQ * flag * OM if term is None else term),
        uses={
            fact: scale * flag * PQ,
            **slopes(root_top, weight, C1 * flag * PQ * OM),
            **used,
            **extra,
        },
        modulo=["complement_q"],
        why="the line's sums telescope",
    )
    lag_sum(d, f"sum_{name}", total, potential, f"drop_{name}", why="sum over n")
    d.combine(
        name,
        gap=result - total,
        uses={f"sum_{name}": 1, d.definition(w): factor},
        why="the weight of the line at which the sum is least",
    )
    return result


def second(d: Derivation, total: Any, *, top: Any, c: Any) -> Any:
    """sum_k s_n^2 (1 - beta1) q^k."""
    potential = top * C1 * PQ / CQ
    d.combine(
        "drop_C_2",
        gap=potential - at_lag(d, potential, 1) - c * C1 * PQ,
        uses={} if top == c else {"top_l": C1 * PQ},
        modulo=["complement_q"],
        why="a geometric sum telescopes",
    )
    lag_sum(d, "sum_C_2", total, potential, "drop_C_2", why="sum over n")
    result = top * C1 / CQ
    d.combine("C_2", gap=result - total, uses={"sum_C_2": 1}, why="the geometric sum")
    return result


def across(d: Derivation, total: Any, *, root_top: Any, weight: Any) -> Any:
    """The sum over the pairs j <= l < n of s_n (1 - beta1) beta1^k k/sqrt(k + 1)."""
    w = d.define(
        "wide_across", "root", (1 + BETA1) / C1, sign="positive", latex=r"\sqrt{\frac{1+\beta_1}{1-\beta_1}}"
    )
    d.combine(
        "line_C_3",
        gap=(w + LAG / w) / 2 - LAG / OM,
        uses={d.definition(OM): LAG / (2 * w * OM**2)},
        squares=[(1 / (2 * w), w - LAG / OM)],
        slack=LAG / (2 * w * OM**2),
        why="k/sqrt(k + 1) is below a line",
    )
    power, scale = PQ * FADE, root_top * C1
    most = scale * power * (w + LAG / w) / 2
    slope = scale * BETA1 * power * (w / C1 + (LAG / C1 + 1 / C1**2) / w) / 2
    potential = scale * BETA1 * power * (w / C1**2 + (LAG / C1**2 + (1 + BETA1) / C1**3) / w) / 2
    d.combine(
        "most_C_3",
        gap=most - weight * WEIGHT * AFTER * LAG / OM,
        uses={
            "line_C_3": scale * power,
            "after_or_same": -scale * power * LAG / OM,
            **slopes(root_top, weight, WEIGHT * AFTER * LAG / OM),
        },
        slack=scale * power * SAME * LAG / OM,
        why="below the line",
    )
    powers = [d.definition(Q_RATIO), "complement_1"]
    d.combine(
        "slope_C_3",
        gap=slope - at_lag(d, slope, 1) - at_lag(d, most, 1),
        relation="==",
        modulo=powers,
        why="the sums over n telescope",
    )
    d.combine(
        "potential_C_3",
        gap=potential - at_lag(d, potential, 1) - slope,
        relation="==",
        modulo=powers,
        why="their sums over j telescope",
    )
    lag_sum_across(
        d,
        "sum_C_3",
        total,
        most=most,
        slope=slope,
        potential=potential,
        most_fact="most_C_3",
        slope_fact="slope_C_3",
        potential_fact="potential_C_3",
        why="sum over the pairs around a step",
    )
    result = root_top * BETA1 * w / C1
    d.combine(
        "C_3",
        gap=result - total,
        uses={"sum_C_3": 1, d.definition(w): root_top * BETA1 / (2 * w * C1)},
        why="the weight of the line at which the sum is least",
    )
    return result
