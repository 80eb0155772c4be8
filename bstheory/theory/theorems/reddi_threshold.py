"""Where Adam without momentum walks to the worst point: the exact threshold of a periodic stream.

Gradients C, -1, -1, C, -1, -1, ... of the linear loss (C - 2) x/3 on [-1, 1], C > 2, beta1 = 0, eps = 0. In
the stationary state the second moments after each gradient are (part ``stationary``)

    v_3 = (1 + beta + beta^2 C^2)/(1 + beta + beta^2)  (after the second -1),
    v_1 = beta v_3 + (1 - beta) C^2,    v_2 = beta v_1 + 1 - beta,

and a cycle moves x by -alpha times C/sqrt(v_1) - 1/sqrt(v_2) - 1/sqrt(v_3): towards the worst point x = 1 iff

    C/sqrt(v_1) < 1/sqrt(v_2) + 1/sqrt(v_3).

For C = 3 that is so for beta from 0.01 up to the threshold 0.47231... and not from there to 0.99 (part
``threshold``, **enclosed**). The classical condition beta <= 1/(1 + C^2) = 0.1 lies far inside.

The stochastic version, g = C with probability (1 + delta)/(C + 1) and else -1, batches of B samples, has its
threshold half-life evaluated by quadrature (parts of ``evaluate``; not rigorous).
"""

from __future__ import annotations

import fractions
from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.references import REDDI
from bstheory.theory.adam_drift import moments, threshold_half_life
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.enclosure import Enclosure

SLUG = "reddi_threshold"
# As text for ball arithmetic; b is beta2.
V3 = "(1 + b + b**2*C**2)/(1 + b + b**2)"
V1 = f"(b*{V3} + (1 - b)*C**2)"
V2 = f"(b*{V1} + 1 - b)"
DRIFT = f"C/sqrt({V1}) - 1/sqrt({V2}) - 1/sqrt({V3})"


def derive() -> dict[str, Any]:
    """The stationary second moment, and the threshold for C = 3."""
    return {"stationary": stationary(), "threshold": threshold(fractions.Fraction(3)).document()}


def stationary() -> Derivation:
    """Solve the three recursions for v_3."""
    d = Derivation(SLUG, "Stationary second moments of the stream C, -1, -1")
    C = d.symbol("C", sign="positive", latex="C", meaning="the rare large gradient")
    beta = d.symbol("beta", sign="positive", latex=r"\beta", meaning="beta2")
    c = d.symbol("c", sign="positive", latex=r"1-\beta", meaning="1 - beta2")
    v1, v2, v3 = (d.symbol(f"v{i}", sign="positive", latex=f"v_{i}") for i in (1, 2, 3))
    d.assume("complement", c - 1 + beta, relation="==", assumption="periodic_stream", why="c = 1 - beta")
    for name, after, before, g in (("first", v1, v3, C), ("second", v2, v1, -1), ("third", v3, v2, -1)):
        d.assume(
            name,
            after - beta * before - c * g**2,
            relation="==",
            assumption="periodic_stream",
            why="the recursion of v over one cycle",
        )
    whole = 1 + beta + beta**2
    d.combine(
        "solved",
        gap=(1 + beta + beta**2 * C**2) / whole - v3,
        uses={
            "third": -1 / (c * whole),
            "second": -beta / (c * whole),
            "first": -(beta**2) / (c * whole),
            "complement": -v3 / c,
        },
        relation="==",
        why="substitute the recursions into each other; 1 - beta^3 = (1 - beta)(1 + beta + beta^2)",
    )
    d.conclude("solved", v3, why="the stationary second moment")
    return d


def threshold(C: fractions.Fraction, *, digits: int = 8) -> Enclosure:
    """Enclosure of the threshold for a rational C > 2, and the sign of the drift on both sides.

    Args:
        C: the rare gradient.
        digits: width 10^-digits of the interval.
    """
    let = {"C": str(C)}
    e = Enclosure(SLUG, f"threshold of beta2 for C = {C}")
    low, high = e.sign_change(
        "threshold",
        DRIFT,
        "b",
        near=numeric_threshold(float(C)),
        digits=digits,
        let=let,
        why="drift changes sign",
    )
    first, last = fractions.Fraction(1, 100), fractions.Fraction(99, 100)
    if first < low:
        e.positive(
            "diverges",
            f"-({DRIFT})",
            {"b": (first, low)},
            let=let,
            why="below it x walks to the worst point",
        )
    e.positive("converges", DRIFT, {"b": (high, last)}, let=let, why="above it x walks to the optimum")
    return e


def moments_after(C: Any, beta: Any) -> tuple[Any, Any, Any]:
    """v_1, v_2, v_3 in the stationary state."""
    v3 = (1 + beta + beta**2 * C**2) / (1 + beta + beta**2)
    v1 = beta * v3 + (1 - beta) * C**2
    return v1, beta * v1 + 1 - beta, v3


def drift(C: Any, beta: Any) -> Any:
    """Movement of a cycle divided by -alpha; negative: towards the worst point."""
    v1, v2, v3 = moments_after(C, beta)
    return C / np.sqrt(v1) - 1 / np.sqrt(v2) - 1 / np.sqrt(v3)


def numeric_threshold(C: float) -> float:
    """Root of the drift in beta, by bisection; for C > 2 the drift is negative at 0 and positive at 1."""
    from scipy import optimize

    return optimize.brentq(lambda beta: drift(C, beta), 1e-12, 1 - 1e-12, xtol=1e-15)


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Threshold of beta2 for the periodic stream; with delta > 0 also the stochastic threshold half-life.
    Trivial: 1, a decay is below 1.

    The half-life, in samples, is at batch B = ``B`` with a momentum half-life ``t1`` (0: none).
    """
    if batch_size is not None:
        raise input_error(got="a schedule", rule=f"{SLUG} has a fixed stream", do="leave schedule out")
    C, delta, B, t1 = (float(constants[name]) for name in ("C", "delta", "B", "t1"))
    found = numeric_threshold(C)
    v1, v2, v3 = moments_after(C, found)
    parts: dict[str, Any] = {
        "classical": 1 / (1 + C**2), "v_1": v1, "v_2": v2, "v_3": v3,
        "half_life_in_gradients": np.log(2) / -np.log(found),
    }  # fmt: skip
    if delta > 0:
        p = (1 + delta) / (C + 1)
        law = np.array([C, -1.0]), np.array([p, 1 - p])
        mean, variance, third = moments(*law)
        high = 5 * np.log(2) * third / (2 * mean * variance) + 20 * B  # well above the skewness law
        parts["stochastic_half_life"] = threshold_half_life(
            *law, batch_size=int(B), t1=t1, low=B / 20, high=high
        )
    return Evaluation(value=found, trivial_value=1.0, parts=parts)


BOUND = Bound(
    slug=SLUG,
    title="Threshold of beta2 below which Adam walks to the worst point",
    algorithm="Adam with beta1 = 0 and eps = 0 on a periodic stream C, -1, -1",
    quantity="",
    quantity_latex=r"\beta_2^*(C)",
    statement_latex=r"\frac C{\sqrt{v_1}}<\frac1{\sqrt{v_2}}+\frac1{\sqrt{v_3}}\iff\text{worst point},\quad "
    r"v_3=\frac{1+\beta+\beta^2C^2}{1+\beta+\beta^2};\qquad\beta_2^*(3)=0.47231\ldots",
    kind="counterexample",
    assumptions=(
        Assumption(
            name="periodic_stream",
            statement="gradients C, -1, -1 in turn, C > 2, in the stationary state of v; beta1 = 0, eps = 0",
        ),
    ),
    parameters=(
        Parameter(
            name="C",
            meaning="the rare large gradient",
            unit="grad",
            rule="is one number above 2, where the mean gradient is positive",
            accepts=lambda x: np.ndim(x) == 0 and float(x) > 2,
        ),
        Parameter(
            name="delta",
            meaning="mean gradient of the stochastic version; 0 leaves it out",
            unit="grad",
            rule="is one number in [0, C)",
            accepts=lambda x: np.ndim(x) == 0 and float(x) >= 0,
            default=0.0,
        ),
        Parameter(
            name="B",
            meaning="batch size of the stochastic version",
            unit="samples",
            rule="is a whole number of at least 1",
            accepts=lambda x: np.ndim(x) == 0 and float(x) >= 1 and float(x) == int(float(x)),
            default=1,
        ),
        Parameter(
            name="t1",
            meaning="half-life of the momentum in the stochastic version; 0 is no momentum",
            unit="samples",
            rule="is one number of at least 0",
            accepts=lambda x: np.ndim(x) == 0 and float(x) >= 0,
            default=0.0,
        ),
    ),
    derive=derive,
    value=value,
    references=(REDDI,),
    notes=(
        "The certificate is for C = 3; threshold(C) builds one for any rational C > 2.",
        "The stochastic threshold is a quadrature in float64, without an enclosure.",
    ),
    declared="enclosed",
)
