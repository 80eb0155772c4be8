"""A confidence set for a ratio of two averages, or the word "unbounded".

Averages N and M over steps with covariance estimates s_NN, s_NM, s_MM, quantile z. Fieller's set is

    {rho : (N - rho M)^2 <= z^2 (s_NN - 2 rho s_NM + rho^2 s_MM)}.

**Identities and bounds** about the set, with a = M^2 - z^2 s_MM, b = N M - z^2 s_NM, c = N^2 - z^2 s_NN:
where a > 0 it is the interval |a rho - b| <= sqrt(b^2 - a c) (parts ``inside``, ``outside``), and it
contains N/M (``contains_estimate``); where a < 0 it contains every rho above a finite one (``unbounded``),
so no number may be reported. That the set covers the true ratio is **statistical**: to the accuracy of the
normal approximation for N - rho M, and only when the covariances account for correlated steps, hence batch
means.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import NOISE_SCALE
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.half_life_lemmas import produced
from bstheory.theory.pruning import pruned

SLUG = "noise_scale_ratio_interval"
DEFINITE = Assumption(name="covariance", statement="s_MM > 0 and s_NN s_MM >= s_NM^2")
NORMAL = Assumption(
    name="normal_averages", statement="N - rho M is close to Gaussian; batches of steps independent"
)


def derive() -> dict[str, Derivation]:
    """What the set is, where it is an interval, and where it is not."""
    return {
        "inside": interval("inside"),
        "outside": interval("outside"),
        "contains_estimate": contains_estimate(),
        "unbounded": unbounded(),
    }


def declare(d: Derivation) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    """Symbols and (a, b, c) as expressions."""
    N, M = (
        d.symbol("N", latex="N", meaning="average numerator"),
        d.symbol("M", latex="M", meaning="denominator"),
    )
    z = d.symbol("z", sign="positive", latex="z", meaning="quantile")
    nn = d.symbol("s_NN", sign="nonnegative", latex="s_{NN}")
    nm = d.symbol("s_NM", latex="s_{NM}")
    mm = d.symbol("s_MM", sign="positive", latex="s_{MM}")
    return M**2 - z**2 * mm, N * M - z**2 * nm, N**2 - z**2 * nn


def member(rho: sp.Expr) -> sp.Expr:
    """z^2 Var(N - rho M) - (N - rho M)^2: nonnegative exactly in the set."""
    N, M, z, nn, nm, mm = sp.symbols("N M z s_NN s_NM s_MM")
    return z**2 * (nn - 2 * rho * nm + rho**2 * mm) - (N - rho * M) ** 2


def interval(which: str) -> Derivation:
    """a times membership is (b^2 - a c) - (a rho - b)^2."""
    d = Derivation(SLUG, f"the set is an interval where a > 0: {which}")
    a, b, c = declare(d)
    rho = d.symbol("rho", latex=r"\rho", meaning="candidate ratio")
    lead = d.symbol("a", sign="positive", latex="a", meaning="M^2 - z^2 s_MM")
    d.assume("lead", lead - a, relation="==", assumption="bounded", why="M^2 > z^2 s_MM")
    square = d.define("square", "equals", (a * rho - b) ** 2, latex=r"(a\rho-b)^2")
    room = b**2 - a * c
    if which == "inside":
        d.assume("member", member(rho), assumption="member", why="rho is in the set")
        d.combine(
            "inside",
            gap=room - square,
            uses={"member": lead, "lead": -member(rho), d.definition(square): -1},
            why="complete the square",
        )
        d.claim = ("inside", square, room)
        return d
    d.assume("near", room - square, assumption="within the interval", why="(a rho - b)^2 <= b^2 - a c")
    d.combine(
        "outside",
        gap=member(rho),
        uses={"near": 1 / lead, d.definition(square): 1 / lead, "lead": member(rho) / lead},
        why="divide by a",
    )
    d.claim = ("outside", sp.Integer(0), member(rho))
    return d


def contains_estimate() -> Derivation:
    """At rho = N/M membership is z^2 Var, which is nonnegative."""
    d = Derivation(SLUG, "the set contains N/M")
    declare(d)
    M, z, nn, nm, mm, N = sp.symbols("M z s_NN s_NM s_MM N")
    rho = d.symbol("rho", latex=r"\rho", meaning="N/M")
    d.assume("ratio", N - rho * M, relation="==", assumption="estimate", why="rho = N/M")
    d.assume("definite", nn * mm - nm**2, assumption=DEFINITE.name, why="a covariance matrix")
    d.combine(
        "contains",
        gap=member(rho),
        uses={"ratio": -(N - rho * M), "definite": z**2 / mm},
        squares=[(z**2 / mm, rho * mm - nm)],
        why="complete the square in s_MM",
    )
    d.claim = ("contains", sp.Integer(0), member(rho))
    return d


def unbounded() -> Derivation:
    """a = -e < 0: for rho >= 1 + (2|b| + |c|)/e membership holds."""
    d = Derivation(SLUG, "the set is unbounded where a < 0")
    a, b, c = declare(d)
    e = d.symbol("e", sign="positive", latex="e", meaning="z^2 s_MM - M^2")
    d.assume("lead", e + a, relation="==", assumption="unbounded", why="M^2 < z^2 s_MM")
    abs_b = d.define("abs_b", "absolute", b, sign="nonnegative", latex="|b|")
    abs_c = d.define("abs_c", "absolute", c, sign="nonnegative", latex="|c|")
    b_above, b_below, _ = d.absolute(abs_b)
    c_above, _, _ = d.absolute(abs_c)
    over = d.symbol("over", sign="nonnegative", latex="t", meaning="any number of at least 0")
    rho = 1 + (2 * abs_b + abs_c) / e + over
    d.combine(
        "unbounded",
        gap=member(rho),
        uses={
            b_below: 2 * rho,
            c_above: 1,
            "lead": -(rho**2),
        },
        slack=rho * e * (1 + over) + abs_c * ((2 * abs_b + abs_c) / e + over),
        why="e rho^2 + 2 b rho - c >= rho (e rho - 2|b|) - |c|",
    )
    del b_above
    d.claim = ("unbounded", sp.Integer(0), member(rho))
    return pruned(d)


half_width_squared = produced(derive, ("N", "M", "z", "s_NN", "s_NM", "s_MM"), "inside")


def moments(numerator: np.ndarray, denominator: np.ndarray, batches: int) -> tuple[float, float, np.ndarray]:
    """Averages, and the covariance of the averages by means over ``batches`` blocks of steps."""
    usable = len(numerator) // batches * batches
    blocks = np.stack([numerator[:usable], denominator[:usable]]).reshape(2, batches, -1).mean(axis=2)
    N, M = blocks.mean(axis=1)
    return float(N), float(M), np.cov(blocks) / batches


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """N/M with its set in ``parts``: ``low``, ``high``, ``bounded``; infinity where the set is unbounded."""
    numerator, denominator = (
        np.asarray(constants[name], dtype=float) for name in ("numerator", "denominator")
    )
    blocks = int(constants["blocks"])
    if (
        numerator.shape != denominator.shape
        or numerator.ndim != 1
        or len(numerator) < 2 * blocks
        or blocks < 2
    ):
        raise input_error(
            got=f"series of shapes {numerator.shape} and {denominator.shape} for {blocks} blocks",
            rule="both series have one value per step, at least two steps a block and two blocks",
            do="record more steps or use fewer blocks",
        )
    z = float(constants["z"])
    N, M, covariance = moments(numerator, denominator, blocks)
    nn, nm, mm = covariance[0, 0], covariance[0, 1], covariance[1, 1]
    a, b = M**2 - z**2 * mm, N * M - z**2 * nm
    bounded = bool(a > 0)
    half = np.sqrt(max(float(half_width_squared(N, M, z, nn, nm, mm)), 0.0)) if bounded else np.inf
    return Evaluation(
        value=N / M if bounded else np.inf,
        trivial_value=None,
        parts={
            "bounded": bounded,
            "low": (b - half) / a if bounded else -np.inf,
            "high": (b + half) / a if bounded else np.inf,
        },
    )


def series(name: str) -> Parameter:
    return Parameter(
        name=name,
        meaning=f"{name} at every step",
        unit="any",
        rule="must be numbers",
        accepts=lambda x: True,
    )


BOUND = Bound(
    slug=SLUG,
    title="A confidence set for the ratio of two averages",
    algorithm="averages of numerator and denominator over steps, then one division",
    quantity="",
    quantity_latex=r"\rho=N/M",
    statement_latex=r"\{\rho:(N-\rho M)^2\le z^2(s_{NN}-2\rho s_{NM}+\rho^2s_{MM})\}"
    r"\text{ is a bounded interval iff }M^2>z^2s_{MM}",
    kind="identity",
    assumptions=(DEFINITE, NORMAL),
    parameters=(
        series("numerator"),
        series("denominator"),
        Parameter(name="z", meaning="quantile of the normal law", unit="1", default=1.959963984540054),
        Parameter(name="blocks", meaning="blocks of steps for batch means", unit="1", default=20),
    ),
    derive=derive,
    value=value,
    references=(NOISE_SCALE,),
    notes=(
        "Proved: the shape of the set. Its coverage is statistical.",
        "At a = 0 exactly the set is a half-line, or everything.",
        "The ratio of averages, not the average of ratios.",
    ),
)
