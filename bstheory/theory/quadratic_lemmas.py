"""Steps shared by the noisy quadratic: linear updates with noise, and exact second moments of the state.

One coordinate of F = h theta^2/2 with g = h theta + xi. The noise has mean zero, is uncorrelated with the
state, and E xi^2 = (c + s E theta^2)/B. Nothing else about its law enters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.theory.bound import Assumption, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed

QUADRATIC = Assumption(name="quadratic", statement="F = h theta^2/2 per coordinate", constants=("h",))
NOISE = Assumption(
    name="gradient_noise",
    statement="g = h theta + xi, E xi = 0, xi uncorrelated with the state, E xi^2 = (c + s E theta^2)/B_k",
    constants=("c", "s"),
)
FIXED = Assumption(name="fixed_schedule", statement="eta_k, beta_k and B_k are fixed in advance")


def declare_quadratic(d: Derivation, *, constant: bool = False) -> None:
    """Symbols h, c, s and the schedule eta, beta, B; ``constant``: the same at every step."""
    per_step: Any = () if constant else ("step",)
    d.symbol("h", sign="positive", latex="h", meaning="curvature")
    d.symbol("c", sign="nonnegative", latex="c", meaning="noise variance of one sample")
    d.symbol("s", sign="nonnegative", latex="s", meaning="multiplicative noise")
    fixed(d, "eta", sign="positive", depends=per_step, latex=r"\eta_k", meaning="learning rate")
    fixed(d, "beta", sign="nonnegative", depends=per_step, latex=r"\beta_k", meaning="momentum")
    fixed(d, "B", sign="positive", depends=per_step, latex="B_k", meaning="samples of step k")


def declare_updates(d: Derivation, updates: Mapping[str, Any]) -> None:
    """States (random), the noise xi and one update each: state_next = linear in the states and xi."""
    d.symbol("xi", depends=("step", "draw"), latex=r"\xi_k", meaning="gradient noise")
    for name in updates:
        d.symbol(name, depends=("step",), latex=LATEX[name] + "_{k}", meaning=f"{name} before the step")
        d.symbol(f"{name}_next", depends=("step", "draw"), latex=LATEX[name] + "_{k+1}")
    for name, right in updates.items():
        d.assume(
            f"update_{name}",
            sp.Symbol(f"{name}_next") - right,
            relation="==",
            assumption="update",
            why=f"the update of {name}",
        )


LATEX = {"theta": r"\theta", "p": "p", "average": r"\bar\theta"}


def moment(first: str, second: str) -> str:
    """Name of E[first * second], symmetric."""
    return "E_" + "_".join(sorted((first, second)))


def declare_moments(d: Derivation, states: Sequence[str]) -> None:
    """E of every product of two states before the step, of the noise with each, and of the noise squared."""
    for i, first in enumerate(states):
        for second in states[i:]:
            latex = rf"E[{LATEX[first]}{LATEX[second]}]"
            sign = "nonnegative" if first == second else "real"
            d.define(
                moment(first, second),
                "expected",
                sp.Symbol(first) * sp.Symbol(second),
                sign=sign,
                latex=latex,
            )
        cross = d.define(moment(first, "xi"), "expected", sp.Symbol(first) * sp.Symbol("xi"))
        d.assume(
            f"uncorrelated_{first}",
            cross,
            relation="==",
            assumption=NOISE.name,
            why="no correlation with the past",
        )
    power = d.define(
        moment("xi", "xi"), "expected", sp.Symbol("xi") ** 2, sign="nonnegative", latex=r"E\xi_k^2"
    )
    c, s, B = sp.symbols("c s B")
    d.assume(
        "noise_power",
        power - (c + s * sp.Symbol(moment("theta", "theta"))) / B,
        relation="==",
        assumption=NOISE.name,
        why="(c + s E theta^2)/B",
    )


def moment_recursion(d: Derivation, updates: Mapping[str, Any], first: str, second: str) -> sp.Expr:
    """Claim E[first_next second_next] == its recursion; returns the produced right-hand side."""
    left, right = sp.expand(updates[first]), sp.expand(updates[second])
    new_first, new_second = sp.Symbol(f"{first}_next"), sp.Symbol(f"{second}_next")
    d.combine(
        "product",
        gap=new_first * new_second - sp.expand(left * right),
        relation="==",
        uses={f"update_{first}": new_second, f"update_{second}": left}
        if first != second
        else {f"update_{first}": new_first + left},
        why="multiply the updates",
    )
    variables = [sp.Symbol(name) for name in (*updates, "xi")]
    target = d.define("E_next", "expected", new_first * new_second, latex="E[\\text{next}]")
    terms: dict[Any, Any] = {target: 1}
    uses: dict[Any, Any] = {"expected": -1}
    total = sp.Integer(0)
    for powers, coefficient in sp.Poly(left * right, *variables).terms():
        used = [v.name for v, n in zip(variables, powers, strict=True) for _ in range(n)]
        symbol = sp.Symbol(moment(*used))
        terms[symbol] = terms.get(symbol, 0) - coefficient
        if used == ["xi", "xi"]:
            uses["noise_power"] = coefficient
            c, s, B = sp.symbols("c s B")
            total += sp.factor(coefficient) * (c + s * sp.Symbol(moment("theta", "theta"))) / B
        elif "xi" in used:
            uses[f"uncorrelated_{used[0]}"] = coefficient
        else:
            total += sp.factor(coefficient) * symbol
    d.apply("expected", "expected", "product", terms, why="expectation; the schedule is fixed in advance")
    # The recursion less the expectation is what the facts about the noise say.
    d.combine(
        "recursion",
        gap=target - total,
        relation="==",
        uses={name: (1 if name == "expected" else m) for name, m in uses.items()},
        why="noise of mean zero, uncorrelated with the state",
    )
    negated = d.combine(
        "moment", gap=total - target, relation="==", uses={"recursion": -1}, why="sides swapped"
    )
    # Factored coefficients: expanded, (1 - eta h)^2 would cancel to nothing near eta h = 1 in float64.
    assert sp.expand(negated + target - total) == 0
    d.claim = ("moment", target, total)
    return total


def curvature_parameters() -> tuple[Parameter, ...]:
    """h, c, m0 [d] and s."""
    return (
        Parameter(name="h", meaning="curvature of each coordinate", unit="loss/param^2"),
        nonnegative("c", "noise variance of one sample, each coordinate", "grad^2*samples"),
        nonnegative("m0", "E theta_0^2 of each coordinate", "param^2"),
        nonnegative("s", "multiplicative noise", "grad^2*samples/param^2", default=0.0),
    )


def nonnegative(name: str, meaning: str, unit: str, default: Any = None) -> Parameter:
    return Parameter(
        name=name,
        meaning=meaning,
        unit=unit,
        rule="must be at least 0",
        accepts=lambda x: bool(np.all(np.asarray(x, dtype=float) >= 0)),
        default=default,
    )


def fraction(name: str, meaning: str) -> Parameter:
    return Parameter(
        name=name,
        meaning=meaning,
        unit="1",
        rule="must lie in [0, 1)",
        accepts=lambda x: bool(np.all((np.asarray(x, dtype=float) >= 0) & (np.asarray(x, dtype=float) < 1))),
        default=0.0,
    )


def column(name: str, value: Any, length: int) -> np.ndarray:
    """One value a step [K] from a number or a vector."""
    array = np.asarray(value, dtype=float)
    if array.ndim > 1 or (array.ndim == 1 and len(array) != length):
        raise input_error(
            got=f"{name} of shape {array.shape}",
            rule=f"{name} is one number or one value per step, here {length}",
            do="pass a number or a vector as long as the schedule",
        )
    return np.broadcast_to(array, (length,))


def iterate(
    recursions: Mapping[str, Callable[..., Any]], state: dict[str, Any], columns: Mapping[str, Any]
) -> Any:
    """Apply the produced recursions step by step; returns the list of states, start included."""
    path = [dict(state)]
    length = len(next(iter(columns.values())))
    for k in range(length):
        step = {name: values[k] for name, values in columns.items()}
        state = {**state, **{name: f(**{**state, **step}) for name, f in recursions.items()}}
        path.append(dict(state))
    return path
