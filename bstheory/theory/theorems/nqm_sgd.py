"""SGD on the noisy quadratic: exact second moments under any schedule.

theta' = theta - eta (h theta + xi), E xi^2 = (c + s E theta^2)/B. With M = E theta^2:

**Identity** (part ``recursion``)   M' = (1 - eta h)^2 M + eta^2 (c + s M)/B,
**Identity** (part ``closed_form``, s = 0, constant eta and B)
    M_t = r^(2t) M_0 + (1 - r^(2t)) eta c/(B h (2 - eta h)),   r = 1 - eta h,
stable exactly for 0 < eta h < 2 (parts ``contracts`` and ``unstable``). The expected loss is the sum over
coordinates of h M/2.
"""

from __future__ import annotations

import functools
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
    iterate,
    moment_recursion,
)

SLUG = "nqm_sgd"
M = "E_theta_theta"


def derive() -> dict[str, Derivation]:
    """The recursion, its closed form at constant settings, and the stability limit from both sides."""
    return {
        "recursion": recursion(),
        "closed_form": closed_form(),
        "contracts": contracts(),
        "unstable": unstable(),
    }


def recursion() -> Derivation:
    """Square the update and take expectations."""
    d = Derivation(SLUG, "second moment of one step")
    declare_quadratic(d)
    eta, h, theta, xi = sp.symbols("eta h theta xi")
    updates = {"theta": (1 - eta * h) * theta - eta * xi}
    declare_updates(d, updates)
    declare_moments(d, ["theta"])
    moment_recursion(d, updates, "theta", "theta")
    return pruned(d)


def declare_constant(d: Derivation) -> None:
    """Constant settings with s = 0, and ``room`` = 2 - eta h > 0."""
    declare_quadratic(d, constant=True)
    eta, h = sp.symbols("eta h")
    room = d.symbol("room", sign="positive", latex=r"(2-\eta h)", meaning="distance to the stability limit")
    d.assume("room", room - 2 + eta * h, relation="==", assumption="stable", why="0 < eta h < 2")


def closed_form() -> Derivation:
    """Induction over steps."""
    d = Derivation(SLUG, "closed form at constant settings")
    declare_constant(d)
    eta, h, c, B, room = sp.symbols("eta h c B room")
    m, m_next = fixed(d, "m", sign="nonnegative", latex="M_t"), fixed(d, "m_next", latex="M_{t+1}")
    m0 = d.symbol("m0", sign="nonnegative", latex="M_0", meaning="E theta_0^2")
    power, power_next = fixed(d, "power", latex="r^{2t}"), fixed(d, "power_next", latex="r^{2t+2}")
    d.chain("m", previous=m, next=m_next, start=m0)
    d.chain("power", previous=power, next=power_next, start=1)
    r = 1 - eta * h
    d.assume(
        "recursion",
        m_next - r**2 * m - eta**2 * c / B,
        relation="==",
        assumption="recursion",
        why="part recursion with s = 0",
    )
    d.assume("power", power_next - r**2 * power, relation="==", assumption="power", why="r^2 more")
    limit = eta * c / (B * h * room)
    d.hypothesis("before", power * m0 + (1 - power) * limit - m, relation="==", why="the closed form")
    d.combine(
        "after",
        gap=power_next * m0 + (1 - power_next) * limit - m_next,
        relation="==",
        uses={
            "before": r**2,
            "recursion": -1,
            "power": m0 - limit,
            "room": -(eta**2) * c / (B * room),
        },
        why="one more step; 1 - r^2 = eta h (2 - eta h)",
    )
    d.combine("start", gap=1 * m0 + (1 - 1) * limit - m0, relation="==", why="no steps")
    d.induction("closed", "before", "after", "start", ["m", "power"], why="induction over steps")
    d.claim = ("closed", m, power * m0 + (1 - power) * limit)
    return pruned(d)


def contracts() -> Derivation:
    """1 - r^2 = eta h (2 - eta h) > 0: every step shrinks the distance to the stationary value."""
    d = Derivation(SLUG, "stable below 2/h")
    declare_constant(d)
    eta, h, room = sp.symbols("eta h room")
    d.combine(
        "contracts",
        gap=1 - (1 - eta * h) ** 2,
        uses={"room": -eta * h},
        slack=eta * h * room,
        why="the factor is below 1",
    )
    d.claim = ("contracts", (1 - eta * h) ** 2, sp.Integer(1))
    return pruned(d)


def unstable() -> Derivation:
    """eta h >= 2: the second moment never falls."""
    d = Derivation(SLUG, "unstable from 2/h on")
    declare_quadratic(d, constant=True)
    eta, h, c, B = sp.symbols("eta h c B")
    over = d.symbol("over", sign="nonnegative", latex=r"(\eta h-2)", meaning="excess over the limit")
    m = d.symbol("m", sign="nonnegative", latex="M", meaning="second moment")
    m_next = d.define("m_next", "equals", (1 - eta * h) ** 2 * m + eta**2 * c / B, latex="M'")
    d.assume("over", over - eta * h + 2, relation="==", assumption="unstable", why="eta h >= 2")
    d.combine(
        "grows",
        gap=m_next - m,
        uses={d.definition(m_next): 1, "over": -eta * h * m},
        slack=eta * h * over * m + eta**2 * c / B,
        why="the factor is at least 1",
    )
    d.claim = ("grows", m, m_next)
    return pruned(d)


@functools.cache
def next_moment() -> Any:
    """The produced recursion as a function of keyword arguments."""
    names = ("eta", "h", "c", "s", "B", M)
    f = produced(derive, names, "recursion")
    return lambda **given: f(*(given[name] for name in names))


closed_moment = produced(derive, ("power", "m0", "eta", "c", "B", "h", "room"), "closed_form")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Expected loss after the schedule, by the produced recursion; nothing is known about it without one.

    Coordinates are the last axis of h, c and m0.
    """
    batches = need_schedule(SLUG, batch_size)
    h = np.atleast_1d(np.asarray(constants["h"], dtype=float))
    eta = column("eta", constants["eta"], len(batches))
    given = {name: np.asarray(constants[name], dtype=float) for name in ("c", "s")} | {"h": h}
    start = {M: np.broadcast_to(np.asarray(constants["m0"], dtype=float), h.shape)}
    path = iterate({M: next_moment()}, {**given, **start}, {"eta": eta, "B": batches})
    moments = np.array([state[M] for state in path])
    losses = 0.5 * (h * moments).sum(axis=-1)
    return Evaluation(
        value=losses[-1],
        trivial_value=None,
        parts={
            "second_moment": moments,
            "loss_path": losses,
            "stable": bool(np.all(eta.max() * h < 2)),
        },
    )


BOUND = Bound(
    slug=SLUG,
    title="SGD on the noisy quadratic, exactly, under any schedule",
    algorithm="theta' = theta - eta_k (h theta + xi_k), B_k samples in the gradient",
    quantity="loss",
    quantity_latex=r"\mathbb E\tfrac12\sum_ih_i\theta_i^2",
    statement_latex=r"M'=(1-\eta h)^2M+\frac{\eta^2(c+sM)}B;\quad M_t=r^{2t}M_0+(1-r^{2t})"
    r"\frac{\eta c}{Bh(2-\eta h)},\ r=1-\eta h",
    kind="identity",
    assumptions=(QUADRATIC, NOISE, FIXED),
    parameters=(
        *curvature_parameters(),
        Parameter(name="eta", meaning="learning rate, one number or one per step", unit="param^2/loss"),
    ),
    derive=derive,
    value=value,
    references=(QUADRATIC_MODEL,),
    notes=("Stable exactly for 0 < eta h < 2.",),
)
