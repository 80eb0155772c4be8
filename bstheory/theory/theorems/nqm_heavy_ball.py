"""Heavy ball on the noisy quadratic: exact second moments under any schedule.

p' = beta p + h theta + xi, theta' = theta - eta p', E xi^2 = (c + s M11)/B. With M11 = E theta^2,
M12 = E theta p, M22 = E p^2 and n = (c + s M11)/B, **identities** (parts ``m11``, ``m12``, ``m22``):

    M11' = (1 - eta h)^2 M11 - 2 eta beta (1 - eta h) M12 + eta^2 beta^2 M22 + eta^2 n
    M12' = h (1 - eta h) M11 + beta (1 - 2 eta h) M12 - eta beta^2 M22 - eta n
    M22' = h^2 M11 + 2 h beta M12 + beta^2 M22 + n.

Stationary, Omega = 2 (1 + beta) - eta h (parts ``stationary_*``):

    M11 = eta n (1 + beta)/(h (1 - beta) Omega),
    M12 = -eta n/((1 - beta) Omega),   M22 = 2 n/((1 - beta) Omega),

and with n = (c + s M11)/B (part ``multiplicative``)

    M11 = eta c (1 + beta)/(B h (1 - beta) Omega - eta s (1 + beta)),

whose denominator vanishes at the smallest stable batch. Part ``lyapunov``: without noise
V = 2 theta^2 + 2 eta theta p + eta (1 + beta) p^2/h falls by the square
eta (1 - beta) ((1 + beta) p + h theta)^2/h at every step, and V > 0 exactly when Omega > 0 (part
``definite``): stable for 0 < eta h < 2 (1 + beta), 0 <= beta < 1. The convention with (1 - beta) g in
the momentum is eta -> eta (1 - beta).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from bstheory.references import QUADRATIC_MODEL
from bstheory.theory.bound import Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
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
    moment_recursion,
)

SLUG = "nqm_heavy_ball"
PAIRS = {"m11": ("theta", "theta"), "m12": ("theta", "p"), "m22": ("p", "p")}
NAMES = {"m11": "E_theta_theta", "m12": "E_p_theta", "m22": "E_p_p"}


def updates() -> dict[str, Any]:
    """theta' and p' as linear expressions of theta, p and xi."""
    eta, beta, h, theta, p, xi = sp.symbols("eta beta h theta p xi")
    return {"theta": (1 - eta * h) * theta - eta * beta * p - eta * xi, "p": h * theta + beta * p + xi}


def derive() -> dict[str, Derivation]:
    """Three recursions, the stationary point with additive and multiplicative noise, and stability."""
    return {
        **{name: recursion(name) for name in PAIRS},
        **{f"stationary_{name}": stationary(name) for name in PAIRS},
        "multiplicative": multiplicative(),
        "lyapunov": lyapunov(),
        "definite": definite(),
    }


def recursion(name: str) -> Derivation:
    """Multiply two updates and take expectations."""
    d = Derivation(SLUG, f"recursion of {name}")
    declare_quadratic(d)
    declare_updates(d, updates())
    declare_moments(d, ["theta", "p"])
    moment_recursion(d, updates(), *PAIRS[name])
    return pruned(d)


def declare_stationary(d: Derivation) -> None:
    """Moments that the recursion leaves as they are, q = 1 - beta > 0 and Omega > 0."""
    declare_quadratic(d, constant=True)
    eta, beta, h = sp.symbols("eta beta h")
    q = d.symbol("q", sign="positive", latex=r"(1-\beta)", meaning="1 - beta")
    omega = d.symbol("Omega", sign="positive", latex=r"\Omega", meaning="2 (1 + beta) - eta h")
    d.assume("below_one", q - 1 + beta, relation="==", assumption="stable", why="0 <= beta < 1")
    d.assume(
        "omega",
        omega - 2 * (1 + beta) + eta * h,
        relation="==",
        assumption="stable",
        why="eta h < 2 (1 + beta)",
    )
    m11, m12, m22 = (d.symbol(name, latex=f"M_{{{name[1:]}}}") for name in PAIRS)
    n = d.symbol("n", sign="nonnegative", latex="n", meaning="noise variance of the gradient")
    a = 1 - eta * h
    right = {
        "m11": a**2 * m11 - 2 * eta * beta * a * m12 + eta**2 * beta**2 * m22 + eta**2 * n,
        "m12": h * a * m11 + beta * (1 - 2 * eta * h) * m12 - eta * beta**2 * m22 - eta * n,
        "m22": h**2 * m11 + 2 * h * beta * m12 + beta**2 * m22 + n,
    }
    for name, expression in right.items():
        d.assume(
            f"fixed_{name}",
            sp.Symbol(name) - expression,
            relation="==",
            assumption="stationary",
            why=f"the recursion leaves {name} as it is",
        )


def stationary(name: str) -> Derivation:
    """Solve three linear equations; their determinant is eta h (1 - beta) Omega."""
    d = Derivation(SLUG, f"stationary {name}")
    declare_stationary(d)
    solve(d, name)
    return pruned(d)


def solve(d: Derivation, name: str) -> sp.Expr:
    """Step ``solved_<name>``: the stationary value minus the moment == 0; returns the value."""
    eta, beta, h, q, omega, n = sp.symbols("eta beta h q Omega n")
    moments = [sp.Symbol(key) for key in PAIRS]
    system = sp.Matrix([[sp.diff(d.gap(f"fixed_{key}"), m) for m in moments] for key in PAIRS])
    index = list(PAIRS).index(name)
    solution = {"m11": eta * n * (1 + beta) / h, "m12": -eta * n, "m22": 2 * n}[name] / (q * omega)
    adjugate = system.adjugate()
    determinant = eta * h * (1 - beta) * (2 * (1 + beta) - eta * h)
    d.combine(
        f"determinant_{name}",
        gap=determinant * sp.Symbol(name) - eta * h * solution * q * omega,
        relation="==",
        uses={f"fixed_{key}": sp.factor(adjugate[index, j]) for j, key in enumerate(PAIRS)},
        why="Cramer's rule",
    )
    d.combine(
        f"solved_{name}",
        gap=solution - sp.Symbol(name),
        relation="==",
        uses={
            f"determinant_{name}": -1 / (eta * h * q * omega),
            "below_one": -sp.Symbol(name) / q,
            "omega": -sp.Symbol(name) * (1 - beta) / (q * omega),
        },
        why="divide by the determinant",
    )
    d.claim = (f"solved_{name}", sp.Symbol(name), solution)
    return solution


def multiplicative() -> Derivation:
    """n = (c + s M11)/B in the stationary value, solved for M11."""
    d = Derivation(SLUG, "stationary with multiplicative noise")
    declare_stationary(d)
    eta, beta, h, q, omega, n, c, s, B, m11 = sp.symbols("eta beta h q Omega n c s B m11")
    room = d.symbol("room", sign="positive", latex="R", meaning="B h (1 - beta) Omega - eta s (1 + beta)")
    d.assume(
        "room",
        room - B * h * q * omega + eta * s * (1 + beta),
        relation="==",
        assumption="batch_large_enough",
        why="above the smallest stable batch",
    )
    d.assume("noise", n - (c + s * m11) / B, relation="==", assumption=NOISE.name, why="(c + s M11)/B")
    solve(d, "m11")
    right = eta * c * (1 + beta) / room
    d.combine(
        "multiplicative",
        gap=right - m11,
        relation="==",
        uses={
            "solved_m11": B * h * q * omega / room,
            "noise": -eta * (1 + beta) * B / room,
            "room": -m11 / room,
        },
        why="collect M11",
    )
    d.claim = ("multiplicative", m11, right)
    return pruned(d)


def lyapunov() -> Derivation:
    """V(theta, p) - V(theta', p') is a square times eta (1 - beta)/h."""
    d = Derivation(SLUG, "what falls at every step without noise")
    declare_quadratic(d, constant=True)
    eta, beta, h = sp.symbols("eta beta h")
    q = d.symbol("q", sign="positive", latex=r"(1-\beta)", meaning="1 - beta")
    d.assume("below_one", q - 1 + beta, relation="==", assumption="stable", why="0 <= beta < 1")
    theta, p = d.symbol("theta", latex=r"\theta"), d.symbol("p", latex="p")
    V = d.define("V", "equals", energy(theta, p), latex="V")
    p_next = beta * p + h * theta
    V_next = d.define("V_next", "equals", energy(theta - eta * p_next, p_next), latex="V'")
    d.combine(
        "falls",
        gap=V - V_next,
        uses={
            d.definition(V): 1,
            d.definition(V_next): -1,
            "below_one": -eta * ((1 + beta) * p + h * theta) ** 2 / h,
        },
        squares=[(eta * q / h, (1 + beta) * p + h * theta)],
        why="the difference is a square",
    )
    d.claim = ("falls", V_next, V)
    return pruned(d)


def energy(theta: Any, p: Any) -> sp.Expr:
    """V = 2 theta^2 + 2 eta theta p + eta (1 + beta) p^2/h."""
    eta, beta, h = sp.symbols("eta beta h")
    return 2 * theta**2 + 2 * eta * theta * p + eta * (1 + beta) * p**2 / h


def definite() -> Derivation:
    """2 V = (2 theta + eta p)^2 + eta Omega p^2/h, so V >= eta Omega p^2/(2h)."""
    d = Derivation(SLUG, "V is positive below the stability limit")
    declare_quadratic(d, constant=True)
    eta, beta, h = sp.symbols("eta beta h")
    omega = d.symbol("Omega", sign="positive", latex=r"\Omega", meaning="2 (1 + beta) - eta h")
    d.assume(
        "omega",
        omega - 2 * (1 + beta) + eta * h,
        relation="==",
        assumption="stable",
        why="eta h < 2 (1 + beta)",
    )
    theta, p = d.symbol("theta", latex=r"\theta"), d.symbol("p", latex="p")
    V = d.define("V", "equals", energy(theta, p), latex="V")
    half = sp.Rational(1, 2)
    d.combine(
        "definite",
        gap=V - eta * omega * p**2 / (2 * h),
        uses={d.definition(V): 1, "omega": -eta * p**2 / (2 * h)},
        squares=[(half, 2 * theta + eta * p)],
        why="complete the square",
    )
    d.claim = ("definite", eta * omega * p**2 / (2 * h), V)
    return pruned(d)


ARGUMENTS = ("eta", "beta", "h", "c", "s", "B", *NAMES.values())


def next_moments() -> dict[str, Any]:
    """The produced recursions as functions of keyword arguments, by moment."""

    def one(name: str) -> Any:
        f = produced(derive, ARGUMENTS, name)
        return lambda **given: f(*(given[key] for key in ARGUMENTS))

    return {NAMES[name]: one(name) for name in PAIRS}


RECURSIONS = next_moments()
stationary_second_moment = produced(derive, ("eta", "c", "beta", "room"), "multiplicative")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Expected loss after the schedule from p = 0, by the produced recursions.

    Part ``stationary_second_moment`` is for the last step's settings, NaN where they are unstable.
    """
    batches = need_schedule(SLUG, batch_size)
    h = np.atleast_1d(np.asarray(constants["h"], dtype=float))
    eta = column("eta", constants["eta"], len(batches))
    beta = column("beta", constants["beta"], len(batches))
    given = {name: np.asarray(constants[name], dtype=float) for name in ("c", "s")} | {"h": h}
    zero = np.zeros(h.shape)
    start = {
        NAMES["m11"]: zero + np.asarray(constants["m0"], dtype=float),
        NAMES["m12"]: zero,
        NAMES["m22"]: zero,
    }
    path = iterate(RECURSIONS, {**given, **start}, {"eta": eta, "beta": beta, "B": batches})
    moments = np.array([[state[name] for name in NAMES.values()] for state in path])
    losses = 0.5 * (h * moments[:, 0]).sum(axis=-1)
    omega = 2 * (1 + beta[-1]) - eta[-1] * h
    room = batches[-1] * h * (1 - beta[-1]) * omega - eta[-1] * given["s"] * (1 + beta[-1])
    safe = np.where((room > 0) & (omega > 0), room, np.nan)
    return Evaluation(
        value=losses[-1],
        trivial_value=None,
        parts={
            "moments": moments,
            "loss_path": losses,
            "stationary_second_moment": stationary_second_moment(eta[-1], given["c"], beta[-1], safe),
            "smallest_stable_batch": np.max(
                eta[-1]
                * given["s"]
                * (1 + beta[-1])
                / (h * (1 - beta[-1]) * np.where(omega > 0, omega, np.nan))
            ),
        },
    )


BOUND = Bound(
    slug=SLUG,
    title="Heavy ball on the noisy quadratic, exactly, under any schedule",
    algorithm="p' = beta_k p + h theta + xi_k, theta' = theta - eta_k p', B_k samples in the gradient",
    quantity="loss",
    quantity_latex=r"\mathbb E\tfrac12\sum_ih_i\theta_i^2",
    statement_latex=r"M_{11}'=(1-\eta h)^2M_{11}-2\eta\beta(1-\eta h)M_{12}+\eta^2\beta^2M_{22}+\eta^2n,\ "
    r"M_{12}'=h(1-\eta h)M_{11}+\beta(1-2\eta h)M_{12}-\eta\beta^2M_{22}-\eta n,\ "
    r"M_{22}'=h^2M_{11}+2h\beta M_{12}+\beta^2M_{22}+n,\ n=\frac{c+sM_{11}}B",
    kind="identity",
    assumptions=(QUADRATIC, NOISE, FIXED),
    parameters=(
        *curvature_parameters(),
        Parameter(name="eta", meaning="learning rate, one number or one per step", unit="param^2/loss"),
        fraction("beta", "momentum, one number or one per step"),
    ),
    derive=derive,
    value=value,
    references=(QUADRATIC_MODEL,),
    notes=(
        "Stable exactly for 0 < eta h < 2 (1 + beta), 0 <= beta < 1; necessity is the Schur-Cohn criterion.",
        "With (1 - beta) g in the momentum, replace eta by eta (1 - beta).",
    ),
)
