"""Skewness law: the half-lives below which Adam's drift points the wrong way, whatever the batch size.

One sample's gradient has mean mu > 0, variance sigma^2 and third central moment kappa_3 > 0. For batch means
Cov(g, g^2) is about kappa_3/B^2 and E g^2 about sigma^2/B, and (1 - beta1)(1 - beta2)/(1 - beta1 beta2) is
about ln2 B/(t1 + t2); with ``skewness_bias`` the drift changes sign at

    t1 + t2 = ln2 kappa_3/(2 mu sigma^2) samples.

**Asymptotic** law, leading order in the relative spread of v, at frozen parameters. ``validity`` computes how
far the exact threshold (by quadrature) is from it: below half a per cent for long half-lives and small
batches, and growing with t1 and B; for batches at which the mean gradient dominates there is none (``nan``).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import time
from typing import Any

import numpy as np

from bstheory.errors import InputError, input_error
from bstheory.references import REDDI
from bstheory.theory.adam_drift import moments, threshold_half_life
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.verdict import Certificate, Verdict

SLUG = "skewness_law"
# Two-point laws (C, delta) in the order of growing threshold; at the last the law must be nearly exact.
LADDER = ((5.0, 0.5), (5.0, 0.1), (20.0, 0.1))
TOLERANCE = 5e-3


def two_point_law(C: float, delta: float) -> tuple[np.ndarray, np.ndarray]:
    """g = C with probability (1 + delta)/(C + 1), else -1: mean delta."""
    p = (1 + delta) / (C + 1)
    return np.array([C, -1.0]), np.array([p, 1 - p])


def predicted(mean: Any, variance: Any, third: Any) -> Any:
    """t1 + t2 at which the drift changes sign, in samples."""
    return math.log(2) * third / (2 * mean * variance)


def validity(*, C: float, delta: float, batch_size: int = 1, t1: float = 0.0) -> dict[str, float]:
    """The law against the exact threshold of a two-point law.

    Args:
        C, delta: the law, see :func:`two_point_law`.
        batch_size: samples per step. t1: half-life of the momentum, samples; 0 is none.

    Returns:
        ``law`` and ``exact``, both t1 + t2 in samples, and ``discrepancy`` = exact/law - 1; the last two are
        nan where the drift changes sign at no t2 between a twentieth and three times the law.
    """
    values, probabilities = two_point_law(C, delta)
    law = float(predicted(*moments(values, probabilities)))
    try:
        exact = t1 + threshold_half_life(
            values, probabilities, batch_size=batch_size, t1=t1, low=law / 20, high=3 * law
        )
    except InputError:
        exact = math.nan
    return {"law": law, "exact": exact, "discrepancy": exact / law - 1}


def check() -> Certificate:
    """Consistent: along a ladder of laws with growing threshold the discrepancy falls, to below 0.5 per cent.

    A quadrature in float64, so nothing more than consistency is established.
    """
    started = time.perf_counter()
    rows = [{"C": C, "delta": delta, **validity(C=C, delta=delta)} for C, delta in LADDER]
    sizes = [abs(row["discrepancy"]) for row in rows]
    good = all(a > b for a, b in itertools.pairwise(sizes)) and sizes[-1] < TOLERANCE
    evidence = {"ladder": rows, "tolerance": TOLERANCE}
    text = json.dumps({"slug": SLUG, "statement": BOUND.statement_latex}, sort_keys=True)
    return Certificate(
        slug=SLUG,
        claim_hash=hashlib.sha256(text.encode()).hexdigest(),
        verdict=Verdict.CONSISTENT if good else Verdict.REFUTED,
        method="exact thresholds by quadrature along a ladder of laws; asymptotic, nothing is proved",
        evidence=evidence,
        margin=TOLERANCE - sizes[-1],
        seconds=time.perf_counter() - started,
        reason="" if good else f"discrepancies {sizes} do not fall below {TOLERANCE}",
    )


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """t1 + t2 at the change of sign, in samples: wrong direction below, right direction above."""
    if batch_size is not None:
        raise input_error(
            got="a schedule", rule=f"{SLUG} does not depend on the batch size", do="leave schedule out"
        )
    mean, variance, third = (np.asarray(constants[n], dtype=float) for n in ("mu", "sigma_sq", "kappa_3"))
    found = np.asarray(predicted(mean, variance, third))
    return Evaluation(
        value=found[()],
        trivial_value=None,
        parts={"noise_scale": np.asarray(variance / mean**2)[()]},
    )


BOUND = Bound(
    slug=SLUG,
    title="Skewness law: half-lives below which Adam drifts the wrong way",
    algorithm="Adam with half-lives t1, t2 in samples, parameters frozen",
    quantity="",
    quantity_latex=r"t_1+t_2\ \text{at}\ \mathbb E\tfrac m{\sqrt v}=0",
    statement_latex=r"t_1+t_2\simeq\ln2\,\frac{\kappa_3}{2\mu\sigma^2}\ \text{samples, independent of }B",
    kind="asymptotic",
    assumptions=(
        Assumption(
            name="independent_gradients", statement="samples are independent of one law, E g = mu > 0"
        ),
        Assumption(
            name="leading_order",
            statement="v spreads little around E g^2; noise dominates the batch mean, B below sigma^2/mu^2",
        ),
    ),
    parameters=(
        Parameter(name="mu", meaning="mean gradient", unit="grad"),
        Parameter(name="sigma_sq", meaning="gradient variance of one sample", unit="grad^2*samples"),
        Parameter(
            name="kappa_3", meaning="third central moment of one sample's gradient", unit="grad^3*samples^2"
        ),
    ),
    derive=None,
    value=value,
    references=(REDDI,),
    notes=(
        "Leading order only: the discrepancy grows with t1 and B; see validity().",
        "Nothing is trivially known beside a law.",
    ),
    check=check,
    declared="consistent",
)
