"""Noise scales in the norms of sign descent and of spectral descent.

**Upper** bounds, g = G + N/sqrt(b) with E N = 0 in the mean over b independent samples:

    E|g - G|_1 <= |sigma|_1/sqrt(b)         (part ``sign``; sigma_i^2 the variance of coordinate i),
    E|g - G|_* <= tr(Sigma^(1/2))/sqrt(b)   (part ``spectral``; Sigma = E N N^T of one sample),

where |.|_* is the sum of singular values; the smaller of the row and the column form may be taken.
Hence, with b >= (|sigma|_1/|G|_1)^2/eta^2, E|g - G|_1 <= eta |G|_1 (part ``sign_batch``), and the same with
(sum tr Sigma_l^(1/2)/sum |G_l|_*)^2/eta^2 for matrices.

The coordinates' sigma_i are taken positive (a coordinate without noise adds nothing), Sigma invertible.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.half_life_lemmas import produced
from bstheory.theory.pruning import pruned

SLUG = "dual_norm_noise_scales"
HALF = sp.Rational(1, 2)
VARIANCE = Assumption(name="variance", statement="E (g_i - G_i)^2 <= sigma_i^2/b, coordinatewise")
MATRIX = Assumption(name="matrix_variance", statement="E (g - G)(g - G)^T = Sigma/b, Sigma positive definite")
LARGE = Assumption(name="large_batch", statement="sqrt(b) >= |sigma|_1/(eta |G|_1)")


def derive() -> dict[str, Derivation]:
    """The two norms, and the batch at which the test in the l1 norm passes."""
    return {"sign": sign(), "spectral": spectral(), "sign_batch": sign_batch()}


def sign() -> Derivation:
    """|x| <= (x^2/s + s)/2 with s = sigma/sqrt(b), then expectation and sum over coordinates."""
    d = Derivation(SLUG, "noise in the l1 norm")
    root_b = d.symbol("root_b", sign="positive", latex=r"\sqrt b", meaning="root of the batch size")
    sigma = d.symbol(
        "sigma", sign="positive", depends=("coordinate",), latex=r"\sigma_i", meaning="deviation"
    )
    x = d.symbol("x", depends=("coordinate", "step", "draw"), latex="g_i-G_i", meaning="noise of the batch")
    size = d.define("size", "absolute", x, sign="nonnegative", latex="|g_i-G_i|")
    mean_size = d.define("mean_size", "expected", size, sign="nonnegative", latex="E|g_i-G_i|")
    mean_square = d.define("mean_square", "expected", x**2, sign="nonnegative", latex="E(g_i-G_i)^2")
    _, _, square = d.absolute(size)
    s = sigma / root_b
    d.combine(
        "young",
        gap=x**2 / (2 * s) + s / 2 - size,
        uses={square: -1 / (2 * s)},
        squares=[(1 / (2 * s), size - s)],
        why="a square",
    )
    d.apply(
        "mean", "expected", "young", {mean_square: 1 / (2 * s), "1": s / 2, mean_size: -1}, why="expectation"
    )
    d.assume("variance", s**2 - mean_square, assumption=VARIANCE.name, why="at most sigma^2/b")
    d.combine(
        "coordinate",
        gap=sigma / root_b - mean_size,
        uses={"mean": 1, "variance": 1 / (2 * s)},
        why="E|x| <= s",
    )
    total = d.define("total", "coordinates", mean_size, sign="nonnegative", latex=r"E\|g-G\|_1")
    sigma_1 = d.define("sigma_1", "coordinates", sigma, sign="nonnegative", latex=r"\|\sigma\|_1")
    d.apply("sum", "coordinates", "coordinate", {sigma_1: 1 / root_b, total: -1}, why="sum over coordinates")
    d.claim = ("sum", total, sigma_1 / root_b)
    return pruned(d)


def spectral() -> Derivation:
    """tr X^(1/2) <= (tr A^(-1/2) X + tr A^(1/2))/2 with X = N N^T and A = Sigma/b, then expectation."""
    d = Derivation(SLUG, "noise in the nuclear norm")
    root_b = d.symbol("root_b", sign="positive", latex=r"\sqrt b", meaning="root of the batch size")
    trace = d.symbol("trace_root", sign="positive", latex=r"\mathrm{tr}\Sigma^{1/2}")
    nuclear = d.symbol("nuclear", depends=("step", "draw"), latex=r"\|g-G\|_*", meaning="tr (N N^T)^(1/2)")
    weighted = d.symbol(
        "weighted",
        depends=("step", "draw"),
        latex=r"\mathrm{tr}\,\Sigma^{-1/2}(g-G)(g-G)^T",
        meaning="linear in N N^T",
    )
    mean_nuclear = d.define("mean_nuclear", "expected", nuclear, latex=r"E\|g-G\|_*")
    mean_weighted = d.define("mean_weighted", "expected", weighted)
    d.assume(
        "trace_root",
        root_b * weighted / 2 + trace / (2 * root_b) - nuclear,
        assumption=MATRIX.name,
        by=["trace_root"],
        why="with A = Sigma/b, A^(-1/2) = sqrt(b) Sigma^(-1/2)",
    )
    d.apply(
        "mean",
        "expected",
        "trace_root",
        {mean_weighted: root_b / 2, "1": trace / (2 * root_b), mean_nuclear: -1},
        why="expectation",
    )
    d.assume(
        "variance",
        mean_weighted - trace / root_b**2,
        relation="==",
        assumption=MATRIX.name,
        why="tr Sigma^(-1/2) Sigma/b",
    )
    d.combine(
        "nuclear",
        gap=trace / root_b - mean_nuclear,
        uses={"mean": 1, "variance": -root_b / 2},
        why="both halves are equal",
    )
    d.claim = ("nuclear", mean_nuclear, trace / root_b)
    return pruned(d)


def sign_batch() -> Derivation:
    """sqrt(b) >= |sigma|_1/(eta |G|_1)."""
    d = Derivation(SLUG, "the batch at which the test passes")
    root_b = d.symbol("root_b", sign="positive", latex=r"\sqrt b", meaning="root of the batch size")
    sigma_1 = d.symbol("sigma_1", sign="nonnegative", latex=r"\|\sigma\|_1")
    G_1 = d.symbol("G_1", sign="positive", latex=r"\|G\|_1")
    eta = d.symbol("eta", sign="positive", latex=r"\eta", meaning="tolerance")
    noise = d.symbol("noise", latex=r"E\|g-G\|_1")
    d.assume("noise", sigma_1 / root_b - noise, assumption=VARIANCE.name, why="part sign")
    d.assume("large", root_b - sigma_1 / (eta * G_1), assumption=LARGE.name, why="b >= B_sign/eta^2")
    d.combine(
        "passes", gap=eta * G_1 - noise, uses={"noise": 1, "large": eta * G_1 / root_b}, why="the test holds"
    )
    d.claim = ("passes", noise, eta * G_1)
    return d


noise_bound = produced(derive, ("sigma_1", "root_b"), "sign")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Batch at which the test in the l1 norm passes; the trivial value is that of the Euclidean norm, times
    d.

    ``sigma`` and ``G`` are per coordinate; with ``trace_root`` and ``nuclear`` per matrix, part
    ``spectral_batch`` is the batch for the nuclear norm.
    """
    sigma, G = (np.atleast_1d(np.asarray(constants[name], dtype=float)) for name in ("sigma", "G"))
    if np.abs(G).sum() == 0:
        raise input_error(
            got="a gradient of zero",
            rule="the test compares noise with the gradient",
            do="pass a nonzero gradient",
        )
    eta = float(constants["eta"])
    one = float(noise_bound(sigma.sum(), 1.0))
    found = (one / (eta * np.abs(G).sum())) ** 2
    euclidean = (sigma**2).sum() / (eta**2 * (G**2).sum())
    roots, nuclear = (
        np.atleast_1d(np.asarray(constants[name], dtype=float)) for name in ("trace_root", "nuclear")
    )
    spectral_scale = (roots.sum() / nuclear.sum()) ** 2 if nuclear.sum() > 0 else np.inf
    return Evaluation(
        value=found,
        trivial_value=euclidean * len(sigma),
        parts={
            "B_sign": found * eta**2,
            "euclidean_batch": euclidean,
            "spectral_batch": spectral_scale / eta**2,
        },
    )


def nonnegative(name: str, meaning: str, default: object = None) -> Parameter:
    return Parameter(
        name=name,
        meaning=meaning,
        unit="grad*sqrt(sample)",
        rule="must be at least 0",
        accepts=lambda x: bool(np.all(np.asarray(x, dtype=float) >= 0)),
        default=default,
    )


BOUND = Bound(
    slug=SLUG,
    title="Noise scales in the norms of sign and spectral descent",
    algorithm="batch gradients for sign descent or spectral descent",
    quantity="",
    quantity_latex=r"\mathbb E\|g-G\|_1,\ \mathbb E\|g-G\|_*",
    statement_latex=r"\mathbb E\|g-G\|_1\le\frac{\|\sigma\|_1}{\sqrt b},\quad"
    r"\mathbb E\|g-G\|_*\le\frac{\mathrm{tr}\,\Sigma^{1/2}}{\sqrt b}",
    kind="upper",
    assumptions=(VARIANCE, MATRIX, LARGE),
    parameters=(
        nonnegative("sigma", "deviation of one sample, each coordinate"),
        Parameter(
            name="G",
            meaning="mean gradient, each coordinate",
            unit="grad",
            rule="must be numbers",
            accepts=lambda x: True,
        ),
        Parameter(name="eta", meaning="tolerance of the test", unit="1"),
        nonnegative("trace_root", "tr Sigma^(1/2), each matrix", 0.0),
        nonnegative("nuclear", "nuclear norm of the gradient, each matrix", 0.0),
    ),
    derive=derive,
    value=value,
    notes=("For matrices take the smaller of the row and the column form.",),
)
