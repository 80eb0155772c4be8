"""Pieces shared by the forms of flagship 1: sums of the log-sum lemma, evaluation, parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.theory.bound import Assumption, Parameter
from bstheory.theory.derivation import Derivation

SMOOTH = Assumption(
    name="smooth", statement="F is L-smooth: |grad F(x) - grad F(y)| <= L |x - y|", constants=("L",)
)
BELOW = Assumption(name="bounded_below", statement="F(x) >= F_* for all x", constants=("F_star",))
BOUNDED = Assumption(
    name="bounded_gradient", statement="|g_{k,i}| <= R almost surely, every coordinate", constants=("R",)
)
UNBIASED = Assumption(name="unbiased", statement="E[g_k | past] = grad F(x_{k-1})")
PREDICTABLE = Assumption(
    name="predictable_batch",
    statement="B_k > 0 is chosen from the past, before g_k is drawn; the B_k add up to D when the run stops, "
    "and whether step k is taken is known before g_k is drawn",
)
HALF_LIFE_RULE = Assumption(
    name="half_life_rule", statement="beta_k = 2^(-B_k/h) and eta_k = alpha sqrt(1 - beta_k)"
)


def compare_sums(
    d: Derivation,
    *,
    gained: Any,
    weight: Any,
    rho: Any,
    facts: Mapping[str, str],
    error: Any = 0,
    norm: Any = 0,
) -> None:
    """T_error <= error T_gain and T_norm <= norm T_gain, with T_gain = E sum_k sum_i gained/P^2.

    ``facts`` names error gain - weight rho >= 0 under "error" and norm gain - weight^2 >= 0 under "norm";
    where one is absent, the caller bounds that sum otherwise.
    """
    g, P = sp.symbols("g P")
    total = d.define("gain_sum", "coordinates", gained / P**2, sign="nonnegative")
    T_gain = d.define("T_gain", "steps", total, sign="nonnegative", latex="T_{gain}")
    sums = {"error": (error, weight * rho, weight), "norm": (norm, weight**2, weight**2)}
    for name in facts:
        factor, size, moved = sums[name]
        part = sp.Symbol(name)
        d.combine(
            f"{name}_room",
            gap=factor * gained / P**2 - size * g**2 / P**2,
            uses={facts[name]: g**2 / P**2},
            why=f"the {name} of one step against what it adds to the second moment",
        )
        d.apply(
            f"{name}_sum", "coordinates", f"{name}_room", {total: factor, part: -moved}, why="coordinates"
        )
        d.apply(
            f"{name}_total",
            "steps",
            f"{name}_sum",
            {T_gain: factor, sp.Symbol(f"T_{name}"): -1},
            why="expectation of the sum over steps",
        )


def log_total(
    d: Derivation, *, floor_start: Any, v_start: Any, top: Any, facts: tuple[str, str], first: Any = 0
) -> None:
    """T_gain <= sum_i ln(top/(floor_start + v_start)) + d ln2 D/h, the step ``gain_total``.

    ``facts`` are top - (floor + v_next) >= 0 and top - (floor_start + v_start) >= 0. With an indicator
    ``first`` of the first step, D - B_1 stands for D.
    """
    B, h, ln2, log_next, log_prev, gain_sum, T_gain = sp.symbols("B h ln2 log_next log_prev gain_sum T_gain")
    dim = d.define("d", "coordinates", 1, sign="positive", latex="d", meaning="number of coordinates")
    D = sp.Symbol("D")
    if "D" not in d.symbols:
        d.symbol("D", sign="positive", latex="D", meaning="total tokens")
    log_top = d.define("log_top", "log", top)
    log_start = d.define("log_start", "log", floor_start + v_start)
    log_gain = d.define("log_gain", "log", top / (floor_start + v_start))
    logs_next = d.define("logs_next", "coordinates", log_next)
    logs_prev = d.define("logs_prev", "coordinates", log_prev)
    logs_start = d.define("logs_start", "coordinates", log_start)
    logs_top = d.define("logs_top", "coordinates", log_top)
    logs_gain = d.define("logs_gain", "coordinates", log_gain, latex=r"\sum_i\ln\frac{top_i}{start_i}")
    logs_end = d.symbol("logs_end", latex=r"E\sum_i\ln(\varepsilon_K+v_{K,i})")
    d.chain("logs_coordinate", previous=log_prev, next=log_next, start=log_start)
    d.chain("logs", previous=logs_prev, next=logs_next, start=logs_start, end=logs_end)
    T_logs = d.define("T_logs", "steps", logs_next - logs_prev)
    T_B = d.define("T_B", "steps", B, sign="nonnegative")
    tokens = {T_B: dim * ln2 / h}
    if first != 0:
        tokens[d.define("T_B_first", "steps", first * B, sign="nonnegative")] = -dim * ln2 / h
    d.apply(
        "log_sum_coordinates",
        "coordinates",
        "log_sum",
        {logs_next: 1, logs_prev: -1, dim: (1 - first) * ln2 * B / h, gain_sum: -1},
        why="sum over coordinates",
    )
    d.apply(
        "log_sum_total",
        "steps",
        "log_sum_coordinates",
        {T_logs: 1, **tokens, T_gain: -1},
        why="expectation of the sum over steps",
    )
    d.telescope("telescope_logs", T_logs, "logs", why="the logarithms telescope")
    d.assume(
        "token_budget", T_B - D, relation="==", assumption="predictable_batch", why="the B_k add up to D"
    )
    d.log_monotone("log_range", log_top, log_next, facts[0], why="the logarithm is increasing")
    d.log_monotone("log_range_start", log_top, log_start, facts[1], why="the logarithm is increasing")
    d.apply(
        "logs_range", "coordinates", "log_range", {logs_top: 1, logs_next: -1}, why="sum over coordinates"
    )
    d.apply(
        "logs_range_start",
        "coordinates",
        "log_range_start",
        {logs_top: 1, logs_start: -1},
        why="sum over coordinates",
    )
    d.at_end("logs_range_end", "logs_range", "logs_range_start", "logs", why="and so at the end")
    d.log_quotient("log_gain_split", log_gain, log_top, log_start, why="logarithm of a quotient")
    d.apply(
        "logs_gain_split",
        "coordinates",
        "log_gain_split",
        {logs_gain: 1, logs_top: -1, logs_start: 1},
        why="sum over coordinates",
    )
    uses: dict[Any, Any] = {
        "log_sum_total": 1,
        "telescope_logs": -1,
        "logs_range_end": 1,
        "logs_gain_split": 1,
        "token_budget": -dim * ln2 / h,
    }
    if first != 0:
        first_tokens(d)
        uses["first_batch_total"] = dim * ln2 / h
        D = D - sp.Symbol("B_1")
    right = logs_gain
    if "coordinate" not in d.dependence(log_gain):
        d.combine("zero", gap=0, relation="==", why="nothing")
        d.apply("logs_gain_value", "coordinates", "zero", {logs_gain: 1, dim: -log_gain}, why="d equal terms")
        uses["logs_gain_value"] = -1
        right = dim * log_gain
    d.combine(
        "gain_total",
        gap=right + dim * ln2 * D / h - T_gain,
        uses=uses,
        why="log-sum lemma: the sum costs a logarithm and the tokens over the half-life",
        lemma="log_sum",
    )


def first_tokens(d: Derivation) -> None:
    """The first batch is the only one that ``first`` counts: E sum_k first B_k = B_1."""
    B_1, T_first, T_B_first = sp.symbols("B_1 T_first T_B_first")
    d.apply("first_batch_sum", "steps", "first_tokens", {T_B_first: 1, T_first: -B_1}, why="sum over steps")
    d.combine(
        "first_batch_total",
        gap=T_B_first - B_1,
        uses={"first_batch_sum": 1, "first_count": B_1},
        relation="==",
        why="B_1 once",
    )


def conclude(d: Derivation, y: Any, *, norm: Any, error: Any = 0) -> None:
    """Energy, error and norm together, solved for the weighted sum of squared gradients."""
    alpha, L = sp.symbols("alpha L")
    d.combine(
        "assembled",
        uses={
            "energy": 1,
            "error_total": 1 / (2 * y),
            "norm_total": L * alpha / 2,
            "gain_total": error / (2 * y) + norm * L * alpha / 2,
        },
        why="descent, one-step lemma and log-sum lemma together",
    )
    d.conclude("assembled", sp.Symbol("weighted_sum"), why="multiply by Z/kappa")


def positive(name: str, meaning: str, unit: str) -> Parameter:
    """A positive constant without a default."""
    return Parameter(name=name, meaning=meaning, unit=unit)


def at_least_zero(name: str, meaning: str, unit: str, default: Any = None) -> Parameter:
    """A nonnegative constant."""
    return Parameter(
        name=name,
        meaning=meaning,
        unit=unit,
        rule="must be at least 0",
        accepts=lambda x: bool(np.all(np.asarray(x, dtype=float) >= 0)),
        default=default,
    )


def needs_schedule(slug: str, batch_size: np.ndarray | None) -> np.ndarray:
    """The schedule, or an error that asks for it."""
    if batch_size is None:
        raise input_error(
            got="no schedule",
            rule=f"{slug} needs the tokens of every step",
            do="pass schedule=[B_1, ..., B_K] (--schedule and --tokens on the command line)",
        )
    return batch_size


def outside(got: str, hypothesis: str, slug: str, rule: str) -> Exception:
    """The error for constants that break a joint hypothesis of a theorem."""
    return input_error(
        got=got, rule=f"{rule} (hypothesis {hypothesis})", do=f"stay inside what {slug} assumes"
    )


def per_coordinate(slug: str, name: str, given: Any, d: np.ndarray) -> np.ndarray:
    """A constant that is one number or has one entry per coordinate, as an array [1] or [d]."""
    array = np.atleast_1d(np.asarray(given, dtype=float))
    if array.ndim != 1 or (array.size != 1 and not np.all(array.size == d)):
        raise input_error(
            got=f"{name} of shape {array.shape} with d={d}",
            rule=f"{slug} takes one {name} for all coordinates or one for each",
            do=f"pass {name} with d entries",
        )
    return array


def one_minus_beta(batch_size: np.ndarray, half_life: Any) -> np.ndarray:
    """1 - 2^(-B/h), shape of the half-lives followed by steps."""
    return -np.expm1(-np.log(2.0) * batch_size / np.asarray(half_life, dtype=float)[..., None])


def produced(derive: Callable[[], Derivation], arguments: str) -> Callable[..., Any]:
    """The produced right-hand side as a NumPy function; ``Delta`` stands for F_start - F_star.

    Args:
        derive: builds the derivation.
        arguments: names, separated by spaces, in the order of the function's arguments; ``kappa`` becomes
            1 - 2 young. Raises where the right-hand side holds any other symbol.
    """
    return _compiled(derive, arguments)


@functools.cache
def _compiled(derive: Callable[[], Derivation], arguments: str) -> Callable[..., Any]:
    d = derive()
    assert d.claim is not None
    F_start, F_star, delta, young, kappa = sp.symbols("F_start F_star Delta young kappa")
    expression = d.closed_form(d.claim[2]).subs({F_start: delta, F_star: 0, kappa: 1 - 2 * young})
    names = sp.symbols(arguments)
    strangers = expression.free_symbols - set(names)
    assert not strangers, strangers
    return sp.lambdify(names, expression, "numpy")


def parameters(*extra: Parameter, R: bool = True, Delta: str = "F(x_0) - F_*") -> tuple[Parameter, ...]:
    """The constants that every form takes, then ``extra``, then the free Young weight."""
    return (
        positive("alpha", "learning-rate scale", "param"),
        positive("h", "half-life of the second moment", "tokens"),
        positive("eps", "epsilon inside the root", "grad^2"),
        *((positive("R", "almost-sure bound on a gradient coordinate", "grad"),) if R else ()),
        positive("L", "smoothness", "loss/param^2"),
        positive("d", "number of coordinates", "1"),
        at_least_zero("Delta", Delta, "loss"),
        *extra,
        Parameter(
            name="young",
            meaning="weight of Young's inequality; 1/4 in the statement",
            unit="1",
            rule="must lie in (0, 1/2)",
            accepts=lambda x: bool(np.all((np.asarray(x, float) > 0) & (np.asarray(x, float) < 0.5))),
            default=0.25,
            free=(0.0, 0.5),
        ),
    )
