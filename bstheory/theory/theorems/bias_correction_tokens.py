"""The weight of what a moving average has seen, under any batch schedule.

**Identity** (part ``mass``). With beta_n = 2^(-B_n/t), D = sum B_n and W_n = beta_n W_{n-1} + (1 - beta_n),
W_0 = 0, the weights add up to

    W = 1 - prod beta_n = 1 - 2^(-D/t),

so dividing by W removes the bias exactly, whatever the schedule.

**Upper** (part ``edited_after_ramp_up``). The usual factor 1 - beta^step with the *current* beta replaces D
by step * B_now. Where no earlier batch was larger than the current one it is at least W; after a ramp down
(part ``edited_after_ramp_down``) at most W. A **counter-example** to equality: B = t, then 3t, gives 63/64
instead of 15/16 (part ``edited_instance``).
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
    TOKENS,
    declare_rule,
    forgotten_fraction,
    need_schedule,
    produced,
)
from bstheory.theory.pruning import pruned

SLUG = "bias_correction_tokens"
WEIGHTS = Assumption(name="weights", statement="W_n = beta_n W_{n-1} + (1 - beta_n), W_0 = 0")
RAMP_UP = Assumption(name="ramp_up", statement="no earlier batch is larger than the current one")
RAMP_DOWN = Assumption(name="ramp_down", statement="no earlier batch is smaller than the current one")


def derive() -> dict[str, Derivation]:
    """The identity, and the error of the usual factor when betas are edited during a run."""
    return {
        "mass": mass(),
        "edited_after_ramp_up": edited("up"),
        "edited_after_ramp_down": edited("down"),
        "edited_instance": edited_instance(),
    }


def mass() -> Derivation:
    """W_n = 1 - Phi_n by induction, and Phi_n = 2^(-D_n/t)."""
    d = Derivation(SLUG, "bias correction under any schedule")
    declare_rule(d)
    forgotten_fraction(d)
    beta, c, phi, phi_next, left = sp.symbols("beta c Phi Phi_next left")
    W = fixed(d, "W", sign="nonnegative", latex="W_{n-1}", meaning="sum of the weights")
    W_next = fixed(d, "W_next", sign="nonnegative", latex="W_n")
    d.chain("W", previous=W, next=W_next, start=0)
    d.assume(
        "weights",
        W_next - beta * W - c,
        relation="==",
        assumption=WEIGHTS.name,
        why="the recursion of an average whose input is 1",
    )
    d.hypothesis("mass_before", 1 - phi - W, relation="==", why="W = 1 - Phi")
    d.combine(
        "mass_after",
        gap=1 - phi_next - W_next,
        relation="==",
        uses={"mass_before": beta, "weights": -1, "forget": -1, "half_life": -1},
        why="1 - beta Phi = beta (1 - Phi) + (1 - beta)",
    )
    d.combine("mass_start", gap=sp.Integer(0), relation="==", why="W_0 = 0 = 1 - Phi_0")
    d.induction("mass_forgotten", "mass_before", "mass_after", "mass_start", ["W", "Phi"], why="induction")
    d.combine(
        "mass",
        gap=1 - left - W,
        relation="==",
        uses={"mass_forgotten": 1, "forgotten": 1},
        why="Phi = 2^(-D/t)",
    )
    d.claim = ("mass", W, 1 - left)
    return pruned(d)


def edited(ramp: str) -> Derivation:
    """prod beta_j against the n-th power of one coefficient beta_now."""
    up = ramp == "up"
    d = Derivation(SLUG, f"the usual factor after a ramp {ramp}")
    beta = fixed(d, "beta", sign="positive", latex=r"\beta_n", meaning="coefficient of step n")
    now = d.symbol("beta_now", sign="positive", latex=r"\beta_{now}", meaning="current coefficient")
    phi = fixed(d, "Phi", sign="positive", latex=r"\Phi_{n-1}", meaning="product of the coefficients")
    phi_next = fixed(d, "Phi_next", sign="positive", latex=r"\Phi_n")
    power = fixed(d, "power", sign="positive", latex=r"\beta_{now}^{n-1}", meaning="power of the current one")
    power_next = fixed(d, "power_next", sign="positive", latex=r"\beta_{now}^n")
    d.chain("Phi", previous=phi, next=phi_next, start=1)
    d.chain("power", previous=power, next=power_next, start=1)
    d.assume(
        "forget", phi_next - beta * phi, relation="==", assumption=FORGOTTEN.name, why="product of the betas"
    )
    d.assume("current", power_next - now * power, relation="==", assumption="edited_betas", why="beta_now^n")
    sign = 1 if up else -1
    d.assume(
        "ramp",
        sign * (beta - now),
        assumption=(RAMP_UP if up else RAMP_DOWN).name,
        why="beta falls where the batch grows",
    )
    d.hypothesis("before", sign * (phi - power), why="the products compare")
    d.combine(
        "after",
        gap=sign * (phi_next - power_next),
        uses={"before": now, "ramp": phi, "forget": sign, "current": -sign},
        why="one more factor on each side",
    )
    d.combine("start", gap=sp.Integer(0), why="both are 1 at the start")
    d.induction("compared", "before", "after", "start", ["Phi", "power"], why="induction over steps")
    smaller, larger = (1 - phi, 1 - power) if up else (1 - power, 1 - phi)
    d.claim = ("compared", smaller, larger)
    return d


def edited_instance() -> Derivation:
    """B = t, then 3t: the weights are 1 - (1/2)(1/8) = 15/16, the usual factor is 1 - (1/8)^2 = 63/64."""
    d = Derivation(SLUG, "an instance where the usual factor is wrong")
    half = sp.Rational(1, 2)
    weight, usual = 1 - half * half**3, 1 - (half**3) ** 2
    d.combine("larger", gap=usual - weight - sp.Rational(3, 64), relation="==", why="exact arithmetic")
    d.combine("wrong", gap=usual - weight, uses={"larger": 1}, slack=sp.Rational(3, 64), why="not equal")
    d.claim = ("wrong", weight, usual)
    return d


right_hand_side = produced(derive, ("D", "t"), "mass")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """1 - 2^(-D/t) at the end of the schedule; beside it the trivial 1 and the usual factor."""
    batches = need_schedule(SLUG, batch_size)
    t = np.asarray(constants["t"], dtype=float)
    usual = -np.expm1(-np.log(2.0) * len(batches) * batches[-1] / t)
    exact = right_hand_side(batches.sum(), t)
    return Evaluation(
        value=np.asarray(exact)[()],
        trivial_value=np.ones_like(t)[()],
        parts={
            "tokens": batches.sum(),
            "usual_factor": usual[()],
            "usual_tokens": len(batches) * batches[-1],
        },
    )


BOUND = Bound(
    slug=SLUG,
    title="Bias correction of a moving average under any batch schedule",
    algorithm="v_n = beta_n v_{n-1} + (1 - beta_n) g_n^2, beta_n = 2^(-B_n/t), v_0 = 0",
    quantity="",
    quantity_latex=r"\sum_nw_n",
    statement_latex=r"\sum_nw_n=1-\prod_n\beta_n=1-2^{-D/t}",
    kind="identity",
    assumptions=(HALF_LIFE, TOKENS, FORGOTTEN, WEIGHTS, RAMP_UP, RAMP_DOWN),
    parameters=(HALF_LIFE_PARAMETER,),
    derive=derive,
    value=value,
    references=(SMALL_BATCH,),
    notes=(
        "Stock optimizers use 1 - beta^step with the current beta, which is wrong once betas were edited.",
        "The usual factor is too large after a ramp up and too small after a ramp down.",
    ),
)
