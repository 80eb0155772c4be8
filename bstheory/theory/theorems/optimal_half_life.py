"""The half-life that balances tracking a drift against averaging out noise.

Proved (calculus, exact): with lambda = ln2/t per token and any lambda > 0,

    noise-dominated   (rho/lambda)^2 + lambda B      >= (3/2) B lambda*,    lambda*^3 = 2 rho^2/B,
    signal-dominated  (rho/lambda)^2 + 2 lambda Bn   >= 3 Bn lambda*,       lambda*^3 = rho^2/Bn,
    random walk       kappa/(2 lambda) + lambda B    >= 2 B lambda*,        lambda*^2 = kappa/(2 B),

with equality at lambda = lambda*. So t* grows as B^(1/3), not at all, or as B^(1/2).

**Asymptotic** law: that the error *is* the left-hand side, relative drift rho per token (a linearly drifting
input is followed with the relative lag rho/lambda, part ``lag``) plus the squared coefficient of variation
min(lambda B, 2 lambda Bn) of ``cv2_law``, holds to leading order in lambda B and rho/lambda only. Until
lambda B reaches 1/100, that is B = t/69.3 (part ``negligible``), the noise term is below one per cent.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import SMALL_BATCH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.enclosure import Enclosure
from bstheory.theory.half_life_lemmas import produced
from bstheory.theory.pruning import pruned

SLUG = "optimal_half_life"
ERROR = Assumption(
    name="leading_order_error",
    statement="relative error = squared lag plus squared coefficient of variation, leading order",
    constants=("rho", "B", "noise_scale"),
)
REGIMES = ("noise", "signal", "walk")


def derive() -> dict[str, object]:
    """The three minimisers, the lag behind a linear drift, and where the noise term is below one per cent."""
    e = Enclosure(SLUG, "the batch at which the noise term is one per cent, as a fraction of the half-life")
    e.value("inverse_fraction", "100*log(2)", digits=6, why="lambda B = 1/100 with lambda = ln2/t")
    return {
        "noise_dominated": minimiser("noise"),
        "signal_dominated": minimiser("signal"),
        "random_walk": minimiser("walk"),
        "lag": lag(),
        "negligible": e.document(),
    }


def minimiser(regime: str) -> Derivation:
    """f(lambda) - f(lambda*) is a nonnegative multiple of (lambda - lambda*)^2."""
    d = Derivation(SLUG, f"the best half-life, {regime}")
    lam = d.symbol("lam", sign="positive", latex=r"\lambda", meaning="ln2/t, any")
    best = d.symbol("lam_best", sign="positive", latex=r"\lambda^*", meaning="the minimiser")
    cost = d.symbol("cost", sign="positive", latex="C", meaning="noise per lambda: B or 2 noise scales")
    drift = d.symbol("drift", sign="positive", latex=r"\rho^2", meaning="rho^2 or kappa/2")
    power = 1 if regime == "walk" else 2
    d.assume(
        "stationary_point",
        best ** (power + 1) - power * drift / cost,
        relation="==",
        assumption="definition of the minimiser",
        why="the derivative vanishes at lambda*",
    )
    error = d.define("error", "equals", drift / lam**power + lam * cost, latex=r"f(\lambda)")
    least = (1 + sp.Rational(1, power)) * cost * best
    square = cost / lam if power == 1 else cost * (best + 2 * lam) / (2 * lam**2)
    d.combine(
        "least",
        gap=error - least,
        uses={d.definition(error): 1, "stationary_point": -cost / (power * lam**power)},
        squares=[(square, lam - best)],
        why="the difference is a square with a positive factor",
    )
    d.claim = ("least", least, error)
    return pruned(d)


def lag() -> Derivation:
    """v' = lambda (q - v) with q = q0 + rho D has the solution q - rho/lambda: constant lag rho/lambda."""
    d = Derivation(SLUG, "the lag behind a linear drift")
    lam = d.symbol("lam", sign="positive", latex=r"\lambda")
    rho = d.symbol("rho", latex=r"\rho", meaning="drift per token")
    q = d.symbol("q", latex="q", meaning="input now")
    v = d.define("v", "equals", q - rho / lam, latex="v")
    d.combine(
        "steady",
        gap=lam * (q - v) - rho,
        relation="==",
        uses={d.definition(v): -lam},
        why="the derivative of q - rho/lambda per token is rho",
    )
    d.claim = ("steady", rho, lam * (q - v))
    return d


least_error = {
    regime: produced(derive, ("cost", "lam_best"), part, side="left")
    for regime, part in zip(REGIMES, ("noise_dominated", "signal_dominated", "random_walk"), strict=True)
}


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Best half-life for the regime that ``noise_scale`` says: B below it noise, above it signal dominates.

    No trivial value: without noise the shortest half-life is best, without drift the longest.
    """
    rho, B, scale = (np.asarray(constants[name], dtype=float) for name in ("rho", "B", "noise_scale"))
    if constants["walk"] not in (0, 1, False, True):
        raise input_error(got=f"walk={constants['walk']}", rule="walk is 0 or 1", do="pass 0 or 1")
    noise = 2 * scale >= B
    cost = np.where(noise, B, 2 * scale)
    if constants["walk"]:
        rate = np.sqrt(rho / (2 * B))
        error = least_error["walk"](B, rate)
    else:
        rate = np.cbrt(2 * rho**2 / cost)
        error = least_error["noise"](cost, rate)
    found = np.log(2.0) / rate
    return Evaluation(
        value=found[()],
        trivial_value=None,
        parts={"decay_rate": rate[()], "squared_error": np.asarray(error)[()], "noise_dominated": noise[()]},
    )


BOUND = Bound(
    slug=SLUG,
    title="The half-life that balances drift against noise",
    algorithm="v_n = beta_n v_{n-1} + (1 - beta_n) g_n^2, beta_n = 2^(-B/t), input drifting",
    quantity="",
    quantity_latex="t_2^*",
    statement_latex=r"\lambda^*=(2\rho^2/B)^{1/3}\ (B\ll\mathcal B),"
    r"\quad(\rho^2/\mathcal B)^{1/3}\ (B\gg\mathcal B),"
    r"\quad(\kappa/2B)^{1/2}\ \text{(random walk)};\ t_2^*=\ln2/\lambda^*",
    kind="asymptotic",
    assumptions=(ERROR,),
    parameters=(
        Parameter(name="rho", meaning="relative drift per token (walk: its variance)", unit="1/token"),
        Parameter(name="B", meaning="tokens per step", unit="tokens"),
        Parameter(
            name="noise_scale",
            meaning="sigma^2/mu^2",
            unit="tokens",
        ),
        Parameter(
            name="walk",
            meaning="1 where the input is a random walk",
            unit="1",
            rule="is 0 or 1",
            accepts=lambda x: True,
            default=0,
        ),
    ),
    derive=derive,
    value=value,
    references=(SMALL_BATCH,),
    notes=(
        "What is proved is the calculus; that the error has this form is a leading-order law.",
        "The regimes meet where lambda B = 2 lambda noise_scale.",
    ),
    declared="enclosed",
)
