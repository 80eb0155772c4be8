"""How the second moment lags after the batch size changes.

Setting: E g_n^2 = mu^2 + sigma^2/B_n. Before the jump v is stationary at batch B0; after it the batch is B1.

**Identity** (part ``lag``). a tokens after the jump,

    E v = mu^2 + sigma^2 [1/B1 + (1/B0 - 1/B1) 2^(-a/t)].

Doubling where noise dominates (``doubling``): E v is too large by the factor 1 + 2^(-a/t), so the effective
learning rate is low by (1 + 2^(-a/t))^(-1/2), 1/sqrt2 at a = 0. That the step follows 1/sqrt(E v) is a
prediction: it misses a factor of about 1 + 3/8 CV^2.

Remedy (``remedy``): multiplying v once, at the jump, by (mu^2 + sigma^2/B1)/(mu^2 + sigma^2/B0) removes the
lag exactly, in the mean; where noise dominates the factor is B0/B1.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from bstheory.references import SMALL_BATCH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed
from bstheory.theory.half_life_lemmas import (
    FORGOTTEN,
    HALF_LIFE,
    HALF_LIFE_PARAMETER,
    TOKENS,
    declare_rule,
    forgotten_fraction,
    produced,
)
from bstheory.theory.pruning import pruned

SLUG = "v_lag_after_ramp"
MEAN = Assumption(
    name="mean_square",
    statement="E g_n^2 = mu^2 + sigma^2/B_n, so E v_n = beta_n E v_{n-1} + (1 - beta_n)(mu^2 + sigma^2/B_n)",
    constants=("mu", "sigma"),
)
JUMP = Assumption(name="jump", statement="E v = mu^2 + sigma^2/B0 at the jump, and B_n = B1 after it")


def derive() -> dict[str, Derivation]:
    """The mean after the jump, the factor of a doubling, and the remedy."""
    return {"lag": lag(), "doubling": doubling(), "remedy": lag(remedy=True)}


def lag(*, remedy: bool = False) -> Derivation:
    """E v - (mu^2 + sigma^2/B1) is multiplied by beta at every step."""
    d = Derivation(SLUG, "the mean after the remedy" if remedy else "the mean after a jump of the batch size")
    declare_rule(d)
    forgotten_fraction(d)
    beta, c, phi, phi_next, left = sp.symbols("beta c Phi Phi_next left")
    mu = d.symbol("mu", latex=r"\mu", meaning="mean of the gradient coordinate")
    sigma = d.symbol("sigma", sign="positive", latex=r"\sigma", meaning="standard deviation per token")
    B0 = d.symbol("B0", sign="positive", latex="B_0", meaning="batch before the jump")
    B1 = d.symbol("B1", sign="positive", latex="B_1", meaning="batch after the jump")
    old, new = mu**2 + sigma**2 / B0, mu**2 + sigma**2 / B1
    at_jump = old * (new / old) if remedy else old
    V, V_next = fixed(d, "V", latex="E v_{n-1}"), fixed(d, "V_next", latex="E v_n")
    V_start = d.symbol("V_start", latex="E v_0", meaning="mean at the jump")
    d.chain("V", previous=V, next=V_next, start=V_start)
    if remedy:
        factor = d.symbol("factor", sign="positive", latex=r"\rho", meaning="factor of the remedy")
        d.assume(
            "rescaled",
            factor * old - new,
            relation="==",
            assumption="remedy",
            why="the factor is (mu^2 + sigma^2/B1)/(mu^2 + sigma^2/B0)",
        )
        d.assume("at_jump", V_start - factor * old, relation="==", assumption=JUMP.name, why="rescaled once")
    else:
        d.assume("at_jump", V_start - at_jump, relation="==", assumption=JUMP.name, why="stationary before")
    d.assume(
        "mean_step",
        V_next - beta * V - c * new,
        relation="==",
        assumption=MEAN.name,
        why="mean of the recursion",
    )
    extra = sp.Integer(0) if remedy else (old - new) * phi
    d.hypothesis("before", new + extra - V, relation="==", why="the closed form")
    d.combine(
        "after",
        gap=new + extra.subs(phi, phi_next) - V_next,
        relation="==",
        uses={"before": beta, "mean_step": -1, "half_life": -new} | ({} if remedy else {"forget": old - new}),
        why="one more step",
    )
    d.combine(
        "start",
        gap=new + extra.subs(phi, 1) - V_start,
        relation="==",
        uses={"at_jump": -1} | ({"rescaled": -1} if remedy else {}),
        why="no tokens after the jump",
    )
    d.induction("equal", "before", "after", "start", ["V"] if remedy else ["V", "Phi"], why="induction")
    if remedy:
        d.claim = ("equal", V, new)
        return pruned(d)
    right = mu**2 + sigma**2 * (1 / B1 + (1 / B0 - 1 / B1) * left)
    d.combine(
        "lag",
        gap=right - V,
        relation="==",
        uses={"equal": 1, "forgotten": -(old - new)},
        why="Phi = 2^(-a/t)",
    )
    d.claim = ("lag", V, right)
    return pruned(d)


def doubling() -> Derivation:
    """mu = 0 and B1 = 2 B0: sigma^2 [1/B1 + (1/B0 - 1/B1) 2^(-a/t)] = (sigma^2/B1)(1 + 2^(-a/t))."""
    d = Derivation(SLUG, "doubling where noise dominates")
    sigma = d.symbol("sigma", sign="positive", latex=r"\sigma", meaning="standard deviation per token")
    B1 = d.symbol("B1", sign="positive", latex="B_1", meaning="batch after the jump")
    t = d.symbol("t", sign="positive", latex="t", meaning="half-life, tokens")
    a = d.symbol("D", sign="nonnegative", latex="a", meaning="tokens after the jump")
    left = d.define("left", "power_of_two", -a / t, sign="positive", latex="2^{-a/t}")
    V = d.define(
        "V", "equals", sigma**2 * (1 / B1 + (2 / B1 - 1 / B1) * left), latex="E v", meaning="part lag, mu = 0"
    )
    d.combine(
        "doubling",
        gap=(1 + left) - V * B1 / sigma**2,
        relation="==",
        uses={d.definition(V): -B1 / sigma**2},
        why="1/B0 = 2/B1",
    )
    d.claim = ("doubling", V * B1 / sigma**2, 1 + left)
    return d


mean_after = produced(derive, ("mu", "sigma", "B0", "B1", "D", "t"), "lag")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """E v after the jump; the trivial value is the larger of the two stationary means."""
    mu, sigma, B0, B1, a, t = (
        np.asarray(constants[name], dtype=float) for name in ("mu", "sigma", "B0", "B1", "a", "t")
    )
    found = mean_after(mu, sigma, B0, B1, a, t)
    old, new = mean_after(mu, sigma, B0, B0, a, t), mean_after(mu, sigma, B1, B1, a, t)
    return Evaluation(
        value=np.asarray(found)[()],
        trivial_value=np.maximum(old, new)[()],
        parts={
            "stationary": np.asarray(new)[()],
            "learning_rate_factor": np.sqrt(new / found)[()],
            "rescale_at_jump": np.asarray(new / old)[()],
        },
    )


BOUND = Bound(
    slug=SLUG,
    title="Lag of the second moment after a change of the batch size",
    algorithm="v_n = beta_n v_{n-1} + (1 - beta_n) g_n^2, beta_n = 2^(-B_n/t); the batch jumps from B0 to B1",
    quantity="",
    quantity_latex=r"\mathbb Ev",
    statement_latex=r"\mathbb Ev=\mu^2+\sigma^2"
    r"\Big[\frac1{B_1}+\Big(\frac1{B_0}-\frac1{B_1}\Big)2^{-a/t}\Big]",
    kind="identity",
    assumptions=(HALF_LIFE, TOKENS, FORGOTTEN, MEAN, JUMP),
    parameters=(
        HALF_LIFE_PARAMETER,
        Parameter(
            name="mu", meaning="mean gradient", unit="grad", rule="must be a number", accepts=lambda x: True
        ),
        Parameter(name="sigma", meaning="gradient standard deviation, one token", unit="grad*sqrt(token)"),
        Parameter(name="B0", meaning="batch before the jump", unit="tokens"),
        Parameter(name="B1", meaning="batch after the jump", unit="tokens"),
        Parameter(
            name="a",
            meaning="tokens since the jump",
            unit="tokens",
            rule="must be at least 0",
            accepts=lambda x: bool(np.all(np.asarray(x, dtype=float) >= 0)),
            default=0.0,
        ),
    ),
    derive=derive,
    value=value,
    references=(SMALL_BATCH,),
    notes=(
        "Part learning_rate_factor is a prediction: it takes the step to follow 1/sqrt(E v).",
        "Any law with finite variance; the identity is about the mean of v alone.",
    ),
)
