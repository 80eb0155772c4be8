"""Steps to a target loss on the noisy quadratic: the critical batch, by exact recursion.

**Identity** (parts ``half_steps_noise``, ``half_steps_drift``): two steps of eta/2 at half the batch, the
same samples as one step of eta, inject noise in the ratio 1 - eta h/2 + (eta h)^2/8 and contract the mean
square by (1 - eta h/2)^4 instead of (1 - eta h)^2. The ratio is below 1 (part ``less_noise``), so per
sample small batches are never worse in noise, and a growing schedule pays only through a time per step.

**Prediction**: with h_i = c_i = 1/i, i = 1..10^4, M_0 = 1 and target 0.01, the number of steps at each batch
size with a constant rate tuned on a sqrt2 grid. It is an exact recursion in float64, not a theorem: no
certificate covers these numbers.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import QUADRATIC_MODEL
from bstheory.theory.bound import Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.half_life_lemmas import produced
from bstheory.theory.pruning import pruned
from bstheory.theory.quadratic_lemmas import NOISE, QUADRATIC, nonnegative
from bstheory.theory.theorems import nqm_sgd

SLUG = "nqm_critical_batch"


def derive() -> dict[str, Derivation]:
    """Two half-steps against one step, noise and drift, and that the noise ratio is below 1."""
    return {"half_steps_noise": noise(), "half_steps_drift": drift(), "less_noise": less_noise()}


def declare(d: Derivation) -> None:
    """Noise of one step of eta at B, and of two steps of eta/2 at B/2."""
    eta = d.symbol("eta", sign="positive", latex=r"\eta", meaning="learning rate")
    h = d.symbol("h", sign="positive", latex="h", meaning="curvature")
    c = d.symbol("c", sign="positive", latex="c", meaning="noise variance of one sample")
    B = d.symbol("B", sign="positive", latex="B", meaning="samples of the one step")
    m = d.symbol("m", sign="nonnegative", latex="M", meaning="second moment before")
    half_noise = (eta / 2) ** 2 * c / (B / 2)
    keep = (1 - eta * h / 2) ** 2
    d.define("one", "equals", (1 - eta * h) ** 2 * m + eta**2 * c / B, latex="M_{one}")
    middle = d.define("middle", "equals", keep * m + half_noise, latex="M_{half}")
    d.define("two", "equals", keep * middle + half_noise, latex="M_{two}")


def noise() -> Derivation:
    """What two half-steps add from M = 0, over what one step adds."""
    d = Derivation(SLUG, "noise of two half-steps over that of one step")
    declare(d)
    eta, h, c, B, m, two, middle = sp.symbols("eta h c B m two middle")
    d.assume("from_zero", m, relation="==", assumption="start at the minimum", why="noise alone")
    ratio = 1 - eta * h / 2 + (eta * h) ** 2 / 8
    scale = B / (eta**2 * c)
    keep = (1 - eta * h / 2) ** 2
    d.combine(
        "ratio",
        gap=ratio - two * scale,
        relation="==",
        uses={
            d.definition(two): -scale,
            d.definition(middle): -keep * scale,
            "from_zero": -(keep**2) * scale,
        },
        why="(1 + (1 - eta h/2)^2)/2",
    )
    d.claim = ("ratio", two * scale, ratio)
    return pruned(d)


def less_noise() -> Derivation:
    """1 - x/2 + x^2/8 <= 1 for 0 < x <= 4, so in the whole stable range x < 2."""
    d = Derivation(SLUG, "two half-steps add less noise")
    x = d.symbol("x", sign="positive", latex=r"\eta h", meaning="eta h")
    room = d.symbol("room", sign="positive", latex=r"(2-\eta h)", meaning="2 - eta h")
    d.assume("stable", room - 2 + x, relation="==", assumption="stable", why="eta h < 2")
    d.combine(
        "less",
        gap=1 - (1 - x / 2 + x**2 / 8),
        uses={"stable": -x / 8},
        slack=x * room / 8 + x / 4,
        why="x/2 - x^2/8 = x (2 - x)/8 + x/4",
    )
    d.claim = ("less", 1 - x / 2 + x**2 / 8, sp.Integer(1))
    return d


def drift() -> Derivation:
    """(1 - x/2)^2 - (1 - x) = x^2/4 >= 0: the mean contracts a little less."""
    d = Derivation(SLUG, "contraction of two half-steps against one step")
    x = d.symbol("x", sign="positive", latex=r"\eta h", meaning="eta h")
    d.combine("slower", gap=(1 - x / 2) ** 2 - (1 - x), squares=[(sp.Rational(1, 4), x)], why="a square")
    d.claim = ("slower", 1 - x, (1 - x / 2) ** 2)
    return d


noise_ratio = produced(derive, ("eta", "h"), "half_steps_noise")


def loss(h: np.ndarray, c: np.ndarray, m0: float, *, steps: float, eta: float, B: float) -> float:
    """Expected loss after ``steps`` steps by the closed form of ``nqm_sgd``."""
    power = np.exp(2 * steps * np.log(np.abs(1 - eta * h) + 1e-300))
    return float(0.5 * (h * nqm_sgd.closed_moment(power, m0, eta, c, B, h, 2 - eta * h)).sum())


def steps_to(h: np.ndarray, c: np.ndarray, m0: float, *, eta: float, B: float, target: float) -> float:
    """Smallest number of steps whose loss is at most the target; infinity where it stays above."""
    if loss(h, c, m0, steps=1e15, eta=eta, B=B) > target:
        return np.inf
    low, high = 0, 1
    while loss(h, c, m0, steps=high, eta=eta, B=B) > target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if loss(h, c, m0, steps=middle, eta=eta, B=B) > target else (low, middle)
    return float(high)


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Steps to the target at batch size ``B``, rate tuned on the grid 2^(j/2).

    Raises:
        InputError: no rate of the grid reaches the target.
    """
    d, B, target, m0 = int(constants["d"]), float(constants["B"]), float(constants["target"]), constants["m0"]
    h = 1.0 / np.arange(1, d + 1)
    best, rate = np.inf, 0.0
    for j in range(1, -40, -1):
        eta = 2.0 ** (j / 2)
        steps = steps_to(h, h, float(m0), eta=eta, B=B, target=target)
        if steps < best:
            best, rate = steps, eta
        elif steps > 4 * best:
            break
    if not np.isfinite(best):
        raise input_error(
            got=f"target={target} at B={B}",
            rule="some learning rate of the grid 2^(j/2), -40 < j <= 1, must reach the target",
            do="raise the target or the batch size",
        )
    return Evaluation(value=best, trivial_value=None, parts={"learning_rate": rate, "samples": best * B})


BOUND = Bound(
    slug=SLUG,
    title="Critical batch of the noisy quadratic by exact recursion",
    algorithm="SGD at a constant rate, tuned on a sqrt2 grid, h_i = c_i = 1/i",
    quantity="",
    quantity_latex=r"K(B)",
    statement_latex=r"\frac{\text{noise of two half-steps}}{\text{noise of one step}}"
    r"=1-\frac{\eta h}2+\frac{\eta^2h^2}8;\quad K(B)=\min_\eta\min\{t:\tfrac12\sum_ih_iM_{t,i}\le\epsilon\}",
    kind="prediction",
    assumptions=(QUADRATIC, NOISE),
    parameters=(
        Parameter(name="B", meaning="samples per step", unit="samples"),
        Parameter(name="d", meaning="number of coordinates", unit="1", default=10_000),
        Parameter(name="target", meaning="target loss", unit="loss", default=0.01),
        nonnegative("m0", "E theta_0^2", "param^2", default=1.0),
    ),
    derive=derive,
    value=value,
    references=(QUADRATIC_MODEL,),
    notes=(
        "Proved: the ratio of noises. The number of steps is a recursion in float64, not a certificate.",
        "A schedule that changes B pays only when a step costs time of its own.",
    ),
)
