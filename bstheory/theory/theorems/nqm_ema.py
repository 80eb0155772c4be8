"""Averaged iterates on the noisy quadratic: exact second moments under any schedule.

Heavy ball (``nqm_heavy_ball``) with average' = gamma average + (1 - gamma) theta'. **Identities** for the
moments with the average (parts ``theta_average``, ``p_average``, ``average_average``), that is
M' = A M A^T + (c + s M11)/B u u^T with the 3x3 matrix A of the update and u = (-eta, 1, -(1 - gamma) eta).

SGD (beta = 0, s = 0), stationary (part ``stationary``), with a = 1 - eta h:

    E average^2 = eta c/(B h (2 - eta h)) * (1 - gamma)/(1 + gamma) * (1 + gamma a)/(1 - gamma a).

Part ``reduction``: the two last factors are at most 1 where a >= 0, so averaging never raises the stationary
variance below eta h = 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from bstheory.references import QUADRATIC_MODEL
from bstheory.theory.bound import Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed
from bstheory.theory.half_life_lemmas import need_schedule, produced
from bstheory.theory.pruning import pruned
from bstheory.theory.quadratic_lemmas import (
    FIXED,
    NOISE,
    QUADRATIC,
    column,
    curvature_parameters,
    declare_moments,
    declare_quadratic,
    declare_updates,
    fraction,
    iterate,
    moment,
    moment_recursion,
)
from bstheory.theory.theorems import nqm_heavy_ball

SLUG = "nqm_ema"
PAIRS = {
    "theta_average": ("theta", "average"),
    "p_average": ("p", "average"),
    "average_average": ("average", "average"),
}


def updates() -> dict[str, Any]:
    """theta', p' and average' as linear expressions of theta, p, average and xi."""
    gamma, average = sp.symbols("gamma average")
    found = nqm_heavy_ball.updates()
    return {**found, "average": gamma * average + (1 - gamma) * found["theta"]}


def derive() -> dict[str, Derivation]:
    """Three recursions, and the stationary variance of averaged SGD."""
    return {
        **{name: recursion(name) for name in PAIRS},
        "stationary": stationary(),
        "reduction": reduction(),
    }


def recursion(name: str) -> Derivation:
    """Multiply two updates and take expectations."""
    d = Derivation(SLUG, f"recursion of E {' '.join(PAIRS[name])}")
    declare_quadratic(d)
    fixed(d, "gamma", sign="nonnegative", latex=r"\gamma_k", meaning="coefficient of the average")
    declare_updates(d, updates())
    declare_moments(d, ["theta", "p", "average"])
    moment_recursion(d, updates(), *PAIRS[name])
    return pruned(d)


def stationary() -> Derivation:
    """Three stationary equations, solved from the top: E theta^2, E theta average, E average^2."""
    d = Derivation(SLUG, "stationary variance of averaged SGD")
    declare_quadratic(d, constant=True)
    eta, h, c, B = sp.symbols("eta h c B")
    gamma = d.symbol("gamma", sign="nonnegative", latex=r"\gamma", meaning="coefficient of the average")
    a = d.symbol("a", latex="a", meaning="1 - eta h")
    room = d.symbol("room", sign="positive", latex=r"(2-\eta h)", meaning="2 - eta h")
    rest = d.symbol("rest", sign="positive", latex=r"(1-\gamma)", meaning="1 - gamma")
    gap = d.symbol("gap", sign="positive", latex=r"(1-\gamma a)", meaning="1 - gamma a")
    for name, expression, why in (
        ("a", a - 1 + eta * h, "a = 1 - eta h"),
        ("room", room - 2 + eta * h, "eta h < 2"),
        ("rest", rest - 1 + gamma, "gamma < 1"),
        ("gap", gap - 1 + gamma * a, "gamma |a| < 1"),
    ):
        d.assume(f"def_{name}", expression, relation="==", assumption="stable", why=why)
    m, cross, mean = (
        d.symbol("m", sign="nonnegative", latex=r"E\theta^2"),
        d.symbol("cross", latex=r"E\theta\bar\theta"),
        d.symbol("mean", sign="nonnegative", latex=r"E\bar\theta^2"),
    )
    d.assume("fixed_m", m - a**2 * m - eta**2 * c / B, relation="==", assumption="stationary", why="nqm_sgd")
    d.assume(
        "fixed_cross",
        cross - gamma * a * cross - rest * m,
        relation="==",
        assumption="stationary",
        why="E theta' average' with E theta'^2 = E theta^2",
    )
    d.assume(
        "fixed_mean",
        mean - gamma**2 * mean - 2 * gamma * rest * a * cross - rest**2 * m,
        relation="==",
        assumption="stationary",
        why="E average'^2",
    )
    limit = eta * c / (B * h * room)
    d.combine(
        "value_m",
        gap=limit - m,
        relation="==",
        uses={
            "fixed_m": -1 / (eta * h * room),
            "def_a": -m * (a + 1 - eta * h) / (eta * h * room),
            "def_room": -m / room,
        },
        why="1 - a^2 = eta h (2 - eta h)",
    )
    d.combine(
        "value_cross",
        gap=rest * m / gap - cross,
        relation="==",
        uses={"fixed_cross": -1 / gap, "def_gap": -cross / gap},
        why="solve for E theta average",
    )
    shrink = rest / (1 + gamma) * (1 + gamma * a) / gap
    d.combine(
        "value_mean",
        gap=shrink * m - mean,
        relation="==",
        uses={
            "fixed_mean": -1 / (rest * (1 + gamma)),
            "value_cross": 2 * gamma * a / (1 + gamma),
            "def_rest": -mean / rest,
            "def_gap": -rest * m / ((1 + gamma) * gap),
        },
        why="solve for E average^2",
    )
    d.combine(
        "stationary",
        gap=shrink * limit - mean,
        relation="==",
        uses={"value_mean": 1, "value_m": shrink},
        why="put in E theta^2",
    )
    d.claim = ("stationary", mean, shrink * limit)
    return pruned(d)


def reduction() -> Derivation:
    """(1 - gamma)(1 + gamma a) <= (1 + gamma)(1 - gamma a) for a <= 1; they differ by 2 gamma (1 - a)."""
    d = Derivation(SLUG, "averaging lowers the stationary variance")
    gamma = d.symbol("gamma", sign="nonnegative", latex=r"\gamma", meaning="coefficient of the average")
    x = d.symbol("x", sign="positive", latex=r"\eta h", meaning="eta h = 1 - a")
    d.combine(
        "reduction",
        gap=(1 + gamma) * (1 - gamma * (1 - x)) - (1 - gamma) * (1 + gamma * (1 - x)),
        slack=2 * gamma * x,
        why="the difference is 2 gamma eta h",
    )
    d.claim = (
        "reduction",
        (1 - gamma) * (1 + gamma * (1 - x)),
        (1 + gamma) * (1 - gamma * (1 - x)),
    )
    return d


NAMES = {**nqm_heavy_ball.NAMES, **{name: moment(*pair) for name, pair in PAIRS.items()}}
ARGUMENTS = ("eta", "beta", "gamma", "h", "c", "s", "B", *NAMES.values())


def _recursion_of(name: str) -> Any:
    f = produced(derive, ARGUMENTS, name)
    return lambda **given: f(*(given[key] for key in ARGUMENTS))


RECURSIONS = {**nqm_heavy_ball.RECURSIONS, **{NAMES[name]: _recursion_of(name) for name in PAIRS}}
stationary_average = produced(
    derive, ("eta", "c", "B", "h", "room", "rest", "gamma", "a", "gap"), "stationary"
)


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Expected loss of the averaged iterate after the schedule; p = 0 and average = theta at the start."""
    batches = need_schedule(SLUG, batch_size)
    h = np.atleast_1d(np.asarray(constants["h"], dtype=float))
    columns = {name: column(name, constants[name], len(batches)) for name in ("eta", "beta", "gamma")}
    given = {name: np.asarray(constants[name], dtype=float) for name in ("c", "s")} | {"h": h}
    zero = np.zeros(h.shape)
    m0 = zero + np.asarray(constants["m0"], dtype=float)
    start = dict.fromkeys(NAMES.values(), zero) | {
        NAMES["m11"]: m0,
        NAMES["theta_average"]: m0,
        NAMES["average_average"]: m0,
    }
    path = iterate(RECURSIONS, {**given, **start}, {**columns, "B": batches})
    moments = np.array([[state[name] for name in NAMES.values()] for state in path])
    losses = 0.5 * (h * moments[:, list(NAMES).index("average_average")]).sum(axis=-1)
    parts = {"moments": moments, "order": tuple(NAMES), "loss_path": losses}
    eta, gamma = columns["eta"][-1], columns["gamma"][-1]
    if np.all(columns["beta"] == 0) and np.all(given["s"] == 0):
        room = np.where(eta * h < 2, 2 - eta * h, np.nan)
        a = 1 - eta * h
        parts["stationary_sgd"] = stationary_average(
            eta, given["c"], batches[-1], h, room, 1 - gamma, gamma, a, 1 - gamma * a
        )
    return Evaluation(value=losses[-1], trivial_value=None, parts=parts)


BOUND = Bound(
    slug=SLUG,
    title="Averaged iterates on the noisy quadratic, exactly, under any schedule",
    algorithm="heavy ball with average' = gamma_k average + (1 - gamma_k) theta'",
    quantity="averaged_loss",
    quantity_latex=r"\mathbb E\tfrac12\sum_ih_i\bar\theta_i^2",
    statement_latex=r"M'=AMA^T+\frac{c+sM_{11}}Buu^T;\ \text{SGD, stationary: }\frac{\eta c}{Bh(2-\eta h)}"
    r"\,\frac{1-\gamma}{1+\gamma}\,\frac{1+\gamma(1-\eta h)}{1-\gamma(1-\eta h)}",
    kind="identity",
    assumptions=(QUADRATIC, NOISE, FIXED),
    parameters=(
        *curvature_parameters(),
        Parameter(name="eta", meaning="learning rate, one number or one per step", unit="param^2/loss"),
        fraction("beta", "momentum, one number or one per step"),
        fraction("gamma", "coefficient of the average, one number or one per step"),
    ),
    derive=derive,
    value=value,
    references=(QUADRATIC_MODEL,),
    notes=("The moments without the average are those of nqm_heavy_ball.",),
)
