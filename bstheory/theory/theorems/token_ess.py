"""How many tokens a moving average effectively averages, under any batch schedule.

**Two-sided** bound. With w_n = (1 - beta_n) 2^(-(D_N - D_n)/t), Phi = 2^(-D/t), lambda = ln2/t and
ESS = (1 - Phi)^2 / sum_n (w_n^2/B_n),

    (2/lambda) tanh(lambda D/2) <= ESS <= (2/lambda) tanh(lambda D/2) (1 + (lambda B_max)^2/12),

where tanh(lambda D/2) = (1 - Phi)/(1 + Phi). Parts ``lower`` and ``upper``. At constant B and D to infinity
ESS is (2/lambda) x coth x with x = lambda B/2 (part ``stationary``).

Proof: (1 - beta)^2 = (1 - beta^2) tanh(lambda B/2), and 1 <= x coth x <= 1 + x^2/3 by the signs of power
series coefficients; then induction over steps.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from bstheory.references import SMALL_BATCH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed
from bstheory.theory.half_life_lemmas import (
    FORGOTTEN,
    HALF_LIFE,
    HALF_LIFE_PARAMETER,
    LARGEST,
    TOKENS,
    declare_rule,
    forgotten_fraction,
    hyperbolic_bounds,
    need_schedule,
    produced,
    weights,
)
from bstheory.theory.pruning import pruned

SLUG = "token_ess"
SQUARES = Assumption(
    name="squared_weights",
    statement="S_n = beta_n^2 S_{n-1} + (1 - beta_n)^2/B_n, S_0 = 0, which is sum w_n^2/B_n",
)


def derive() -> dict[str, Derivation]:
    """Both sides, and the stationary value at constant batch size."""
    return {"lower": lower(), "upper": upper(), "stationary": stationary()}


def declare(d: Derivation) -> None:
    """The rule, what is forgotten, the sum of squared weights, hyperbolic bounds, the largest batch."""
    declare_rule(d)
    forgotten_fraction(d)
    hyperbolic_bounds(d)
    B, beta, c = sp.symbols("B beta c")
    S = fixed(d, "S", sign="nonnegative", latex="S_{n-1}", meaning=r"sum of w^2/B")
    S_next = fixed(d, "S_next", sign="nonnegative", latex="S_n")
    d.chain("S", previous=S, next=S_next, start=0)
    d.assume(
        "squares",
        S_next - beta**2 * S - c**2 / B,
        relation="==",
        assumption=SQUARES.name,
        why="every step multiplies the weights by beta_n and adds one",
    )
    B_max = d.symbol("B_max", sign="positive", latex=r"B_{\max}", meaning="largest batch")
    d.assume("largest", B_max - B, assumption=LARGEST.name, why="B_n <= B_max")


def lower() -> Derivation:
    """S <= (lambda/2)(1 - Phi^2) by induction, hence ESS >= (2/lambda)(1 - Phi)/(1 + Phi)."""
    d = Derivation(SLUG, "at least this many tokens")
    declare(d)
    B, beta, c, lam, phi, phi_next, S, S_next, left = sp.symbols("B beta c lam Phi Phi_next S S_next left")
    d.combine(
        "one_weight",
        gap=lam / 2 * (1 - beta**2) - c**2 / B,
        uses={"tanh_below": c / (2 * B), "half_life": -lam * (1 + beta) / 2},
        why="(1 - beta)^2 = (1 - beta^2) tanh(lambda B/2), and tanh x <= x",
    )
    d.hypothesis("before", lam / 2 * (1 - phi**2) - S, why="S <= (lambda/2)(1 - Phi^2)")
    d.combine(
        "after",
        gap=lam / 2 * (1 - phi_next**2) - S_next,
        uses={
            "before": beta**2,
            "one_weight": 1,
            "squares": -1,
            "forget": -lam / 2 * (phi_next + beta * phi),
        },
        why="one more step",
    )
    d.combine("start", gap=lam / 2 * (1 - 1) - 0, why="S_0 = 0, Phi_0 = 1")
    d.induction("squares_bound", "before", "after", "start", ["Phi", "S"], why="induction over steps")
    mass_left(d)
    d.combine(
        "effective",
        gap=(1 - left) ** 2 - 2 / lam * (1 - left) / (1 + left) * S,
        uses={
            ("mass_left", "squares_bound"): 2 / (lam * (1 + left)),
            "forgotten": (1 - left) * (left + phi) / (1 + left),
        },
        why="divide (1 - Phi)^2 by S",
    )
    d.claim = ("effective", 2 / lam * (1 - left) / (1 + left) * S, (1 - left) ** 2)
    return pruned(d)


def mass_left(d: Derivation) -> None:
    """Step ``mass_left``: 1 - 2^(-D/t) >= 0, by induction of Phi <= 1."""
    beta, c, phi, phi_next, left = sp.symbols("beta c Phi Phi_next left")
    d.hypothesis("mass_before", 1 - phi, why="Phi <= 1")
    d.combine(
        "mass_after",
        gap=1 - phi_next,
        uses={"mass_before": beta, "forget": -1, "half_life": -1},
        slack=c,
        why="beta <= 1",
    )
    d.combine("mass_start", gap=sp.Integer(0), why="Phi_0 = 1")
    d.induction("mass", "mass_before", "mass_after", "mass_start", ["Phi"], why="induction over steps")
    d.combine("mass_left", gap=1 - left, uses={"mass": 1, "forgotten": 1}, why="Phi = 2^(-D/t)")


def upper() -> Derivation:
    """S (1 + (lambda B_max)^2/12) >= (lambda/2)(1 - Phi^2) by induction."""
    d = Derivation(SLUG, "at most this many tokens")
    declare(d)
    B, beta, c, lam, phi, phi_next, S, S_next, left, B_max = sp.symbols(
        "B beta c lam Phi Phi_next S S_next left B_max"
    )
    room = 1 + (lam * B_max) ** 2 / 12
    d.combine(
        "one_weight",
        gap=c**2 / B * room - lam / 2 * (1 - beta**2),
        uses={
            "tanh_above": c / (2 * B),
            "largest": c**2 / B * lam**2 * (B_max + B) / 12,
            "half_life": lam * (1 + beta) / 2,
        },
        why="x coth x <= 1 + x^2/3, and B <= B_max",
    )
    d.hypothesis("before", S * room - lam / 2 * (1 - phi**2), why="S is not smaller")
    d.combine(
        "after",
        gap=S_next * room - lam / 2 * (1 - phi_next**2),
        uses={
            "before": beta**2,
            "one_weight": 1,
            "squares": room,
            "forget": lam / 2 * (phi_next + beta * phi),
        },
        why="one more step",
    )
    d.combine("start", gap=0 * room - lam / 2 * (1 - 1), why="S_0 = 0, Phi_0 = 1")
    d.induction("squares_bound", "before", "after", "start", ["Phi", "S"], why="induction over steps")
    mass_left(d)
    d.combine(
        "effective",
        gap=2 / lam * (1 - left) / (1 + left) * room * S - (1 - left) ** 2,
        uses={
            ("mass_left", "squares_bound"): 2 / (lam * (1 + left)),
            "forgotten": -(1 - left) * (left + phi) / (1 + left),
        },
        why="divide (1 - Phi)^2 by S",
    )
    d.claim = ("effective", (1 - left) ** 2, 2 / lam * (1 - left) / (1 + left) * room * S)
    return pruned(d)


def stationary() -> Derivation:
    """S = beta^2 S + (1 - beta)^2/B has the solution (1 - beta)/((1 + beta) B); ESS is its inverse."""
    d = Derivation(SLUG, "the stationary value at constant batch size")
    declare_rule(d)
    B, beta, c = sp.symbols("B beta c")
    S = d.symbol("S", sign="positive", latex="S", meaning="stationary sum of squared weights over B")
    d.assume(
        "squares",
        S - beta**2 * S - c**2 / B,
        relation="==",
        assumption=SQUARES.name,
        why="the recursion changes nothing",
    )
    d.combine(
        "value",
        gap=1 / S - B * (1 + beta) / c,
        relation="==",
        uses={"squares": -B / (c**2 * S), "half_life": -(1 + beta) * B / c**2},
        why="x coth x times 2/lambda with x = lambda B/2 is B (1 + beta)/(1 - beta)",
    )
    d.claim = ("value", B * (1 + beta) / c, 1 / S)
    return pruned(d)


# The produced inequality is (1 - Phi)^2 <= coefficient * S; at S = 1 it gives the bound of ESS.
lower_side = produced(derive, ("D", "S", "t"), "lower", side="left")
upper_side = produced(derive, ("D", "S", "t", "B_max"), "upper")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Upper bound of ESS; parts ``lower`` and ``exact``. The trivial value is all tokens, D."""
    batches = need_schedule(SLUG, batch_size)
    t = np.asarray(constants["t"], dtype=float)
    w, phi = weights(batches, t)
    exact = (1 - phi) ** 2 / (w**2 / batches).sum(axis=-1)
    high = upper_side(batches.sum(), 1.0, t, batches.max())
    low = lower_side(batches.sum(), 1.0, t)
    return Evaluation(
        value=np.asarray(high)[()],
        trivial_value=(batches.sum() + 0 * t)[()],
        parts={"exact": exact[()], "lower": np.asarray(low)[()]},
    )


BOUND = Bound(
    slug=SLUG,
    title="Effective sample size, in tokens, of a moving average under any batch schedule",
    algorithm="m_n = beta_n m_{n-1} + (1 - beta_n) g_n, beta_n = 2^(-B_n/t), divided by 1 - 2^(-D/t)",
    quantity="",
    quantity_latex=r"\mathrm{ESS}=\frac{(1-\Phi)^2}{\sum_nw_n^2/B_n}",
    statement_latex=r"\frac2\lambda\tanh\frac{\lambda D}2\le\mathrm{ESS}"
    r"\le\frac2\lambda\tanh\frac{\lambda D}2"
    r"\Big(1+\frac{(\lambda B_{\max})^2}{12}\Big)",
    kind="two-sided",
    assumptions=(HALF_LIFE, TOKENS, FORGOTTEN, SQUARES, LARGEST),
    parameters=(HALF_LIFE_PARAMETER,),
    derive=derive,
    value=value,
    references=(SMALL_BATCH,),
    notes=("At constant batch size the stationary value is (2/lambda) x coth x, x = lambda B/2.",),
)
