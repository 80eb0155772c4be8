"""Unbiased estimates of the gradient norm and the noise trace from two batch sizes, and their variances.

g_B is the mean of B samples with mean G and covariance Sigma; T = tr Sigma, B_simple = T/|G|^2.

**Identities** (any law with finite variance; parts ``second_moment``, ``norm``, ``trace``): E|g_B|^2 =
|G|^2 + T/B, so with a small batch Bs and a big one Bb

    (Bb |g_b|^2 - Bs |g_s|^2)/(Bb - Bs)   and   (|g_s|^2 - |g_b|^2)/(1/Bs - 1/Bb)

are unbiased for |G|^2 and T. The covariance between the two batches does not matter.

**Identities** (Gaussian; J shards of n samples, big = their mean, |g_s|^2 averaged over the shards; parts
``trace_variance``, ``norm_variance``):

    Var T_hat = 2 tr Sigma^2/(J - 1),
    Var |G|^2_hat = 2 tr Sigma^2/(J n)^2 + 4 G^T Sigma G/(J n) + 2 tr Sigma^2/(J^2 n^2 (J - 1)).

**Identities** of the noise-scale model (parts ``hyperbola``, ``learning_rate``): with S = S_min (1 + Bn/B)
steps and E = S B samples, (S/S_min - 1)(E/E_min - 1) = 1, E_min = S_min Bn; and the learning rate that
maximises the expected decrease eta |G|^2 - eta^2 (G^T H G + tr(H Sigma)/B)/2 is eta_max/(1 + Bn/B) with
Bn = tr(H Sigma)/G^T H G.
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

SLUG = "noise_scale_estimators"
SAMPLES = Assumption(
    name="independent_samples",
    statement="g_B is the mean of B independent samples: E xi = 0, E xi_i^2 = S_i/B",
)
GAUSSIAN = Assumption(
    name="gaussian", statement="samples are Gaussian; coordinates in the eigenbasis of Sigma, independent"
)
COCHRAN = Assumption(
    name="cochran",
    statement="per coordinate sum_j (g_j - mean)^2 is (S/n) chi^2 with J - 1 degrees, independent of mean",
)
MODEL = Assumption(name="noise_scale_model", statement="S = S_min (1 + Bn/B), E = S B")


def derive() -> dict[str, Derivation]:
    """Unbiasedness, Gaussian variances, and two identities of the noise-scale model."""
    return {
        "second_moment": second_moment(),
        "norm": unbiased("norm"),
        "trace": unbiased("trace"),
        "trace_variance": variance("trace"),
        "norm_variance": variance("norm"),
        "hyperbola": hyperbola(),
        "learning_rate": learning_rate(),
    }


def second_moment() -> Derivation:
    """E g_i^2 = G_i^2 + S_i/B, summed over coordinates."""
    d = Derivation(SLUG, "second moment of the norm of a batch gradient")
    B = d.symbol("B", sign="positive", latex="B", meaning="samples in the batch")
    G = d.symbol("G", depends=("coordinate",), latex="G_i", meaning="mean gradient")
    S = d.symbol(
        "S", sign="nonnegative", depends=("coordinate",), latex="S_i", meaning="variance of one sample"
    )
    g = d.symbol("g", depends=("coordinate", "step", "draw"), latex="g_i", meaning="batch gradient")
    xi = d.symbol("xi", depends=("coordinate", "step", "draw"), latex=r"\xi_i", meaning="its noise")
    Eg2 = d.define("Eg2", "expected", g**2, latex="Eg_i^2")
    Exi = d.define("Exi", "expected", xi, latex=r"E\xi_i")
    Exi2 = d.define("Exi2", "expected", xi**2, latex=r"E\xi_i^2")
    d.assume("noise", g - G - xi, relation="==", assumption=SAMPLES.name, why="g = G + xi")
    d.assume("unbiased", Exi, relation="==", assumption=SAMPLES.name, why="E xi = 0")
    d.assume("variance", Exi2 - S / B, relation="==", assumption=SAMPLES.name, why="E xi^2 = S/B")
    d.combine(
        "square",
        gap=g**2 - G**2 - 2 * G * xi - xi**2,
        relation="==",
        uses={"noise": g + G + xi},
        why="square",
    )
    d.apply("mean", "expected", "square", {Eg2: 1, Exi: -2 * G, Exi2: -1, "1": -(G**2)}, why="expectation")
    d.combine(
        "coordinate",
        gap=G**2 + S / B - Eg2,
        relation="==",
        uses={"mean": -1, "unbiased": -2 * G, "variance": -1},
        why="E g^2 = G^2 + S/B",
    )
    norm = d.define("norm", "coordinates", Eg2, latex=r"E\|g_B\|^2")
    G2 = d.define("G2", "coordinates", G**2, sign="nonnegative", latex=r"\|G\|^2")
    T = d.define("T", "coordinates", S, sign="nonnegative", latex=r"\mathrm{tr}\Sigma")
    d.apply("sum", "coordinates", "coordinate", {G2: 1, T: 1 / B, norm: -1}, why="sum over coordinates")
    d.claim = ("sum", norm, G2 + T / B)
    return pruned(d)


def unbiased(which: str) -> Derivation:
    """Two equations E|g_B|^2 = |G|^2 + T/B, solved for |G|^2 and for T."""
    d = Derivation(SLUG, f"unbiased estimate of the {which}")
    small = d.symbol("Bs", sign="positive", latex="B_s", meaning="small batch")
    more = d.symbol("more", sign="positive", latex="(B_b-B_s)", meaning="how much larger the big batch is")
    G2 = d.symbol("G2", sign="nonnegative", latex=r"\|G\|^2")
    T = d.symbol("T", sign="nonnegative", latex=r"\mathrm{tr}\Sigma")
    big = small + more
    ns, nb = d.symbol("ns", latex=r"E\|g_s\|^2"), d.symbol("nb", latex=r"E\|g_b\|^2")
    d.assume(
        "small", ns - G2 - T / small, relation="==", assumption=SAMPLES.name, why="part second_moment at Bs"
    )
    d.assume("big", nb - G2 - T / big, relation="==", assumption=SAMPLES.name, why="part second_moment at Bb")
    if which == "norm":
        estimate = (big * nb - small * ns) / more
        d.combine(
            "norm",
            gap=G2 - estimate,
            relation="==",
            uses={"big": -big / more, "small": small / more},
            why="T cancels",
        )
        d.claim = ("norm", estimate, G2)
    else:
        estimate = (ns - nb) * small * big / more
        d.combine(
            "trace",
            gap=T - estimate,
            relation="==",
            uses={"big": small * big / more, "small": -small * big / more},
            why="|G|^2 cancels",
        )
        d.claim = ("trace", estimate, T)
    return d


def variance(which: str) -> Derivation:
    """Per coordinate: the scatter W and the mean square M are independent; variances add over coordinates."""
    d = Derivation(SLUG, f"variance of the estimate of the {which}, Gaussian samples")
    n = d.symbol("n", sign="positive", latex="n", meaning="samples of one shard")
    more = d.symbol("more", sign="positive", latex="(J-1)", meaning="shards less one")
    J = more + 1
    G = d.symbol("G", depends=("coordinate",), latex="G_i", meaning="mean gradient")
    S = d.symbol(
        "S", sign="nonnegative", depends=("coordinate",), latex="S_i", meaning="variance of one sample"
    )
    W = d.symbol("VarW", depends=("coordinate",), latex=r"\mathrm{Var}W_i", meaning="variance of the scatter")
    M = d.symbol(
        "VarM", depends=("coordinate",), latex=r"\mathrm{Var}\bar g_i^2", meaning="of the mean's square"
    )
    d.assume(
        "scatter",
        W - 2 * more * (S / n) ** 2,
        relation="==",
        assumption=COCHRAN.name,
        by=["gaussian_moments"],
        why="2 (J - 1) (S/n)^2: a chi-square with J - 1 degrees",
    )
    d.assume(
        "mean",
        M - 2 * (S / (J * n)) ** 2 - 4 * G**2 * S / (J * n),
        relation="==",
        assumption=GAUSSIAN.name,
        by=["gaussian_moments"],
        why="2 s^2 + 4 G^2 s with s = S/(J n)",
    )
    V = d.symbol("V", depends=("coordinate",), latex="V_i", meaning="variance of the estimate's coordinate")
    if which == "trace":
        d.assume(
            "estimate",
            V - n**2 / more**2 * W,
            relation="==",
            assumption=COCHRAN.name,
            why="T_hat = n W/(J-1)",
        )
        right = 2 * S**2 / more
        uses = {"estimate": -1, "scatter": -(n**2) / more**2}
    else:
        d.assume(
            "estimate",
            V - M - W / (J * more) ** 2,
            relation="==",
            assumption=COCHRAN.name,
            why="|G|^2_hat = |mean|^2 - W/(J (J-1)), two independent terms",
        )
        right = 2 * S**2 / (J * n) ** 2 + 4 * G**2 * S / (J * n) + 2 * S**2 / (J**2 * n**2 * more)
        uses = {"estimate": -1, "mean": -1, "scatter": -1 / (J * more) ** 2}
    d.combine("coordinate", gap=right - V, relation="==", uses=uses, why="put in")
    total = d.define("total", "coordinates", V, latex=r"\mathrm{Var}")
    squares = d.define("squares", "coordinates", S**2, sign="nonnegative", latex=r"\mathrm{tr}\Sigma^2")
    terms = {
        squares: sum(term / S**2 for term in right.args if G not in term.free_symbols)
        if which == "norm"
        else 2 / more,
        total: -1,
    }
    if which == "norm":
        cross = d.define("cross", "coordinates", G**2 * S, sign="nonnegative", latex=r"G^T\Sigma G")
        terms[cross] = 4 / (J * n)
    gap = d.apply("sum", "coordinates", "coordinate", terms, why="independent coordinates")
    d.claim = ("sum", total, sp.expand(gap + total))
    return pruned(d)


def hyperbola() -> Derivation:
    """(S/S_min - 1)(E/E_min - 1) with S/S_min = 1 + Bn/B and E/E_min = 1 + B/Bn."""
    d = Derivation(SLUG, "steps against samples")
    B = d.symbol("B", sign="positive", latex="B", meaning="batch size")
    Bn = d.symbol("Bn", sign="positive", latex="B_n", meaning="noise scale")
    least = d.symbol("S_min", sign="positive", latex=r"S_{\min}", meaning="steps with an unlimited batch")
    S = d.define("S", "equals", least * (1 + Bn / B), sign="positive", latex="S")
    E = d.define("E", "equals", S * B, sign="positive", latex="E")
    product = (S / least - 1) * (E / (least * Bn) - 1)
    d.combine(
        "hyperbola",
        gap=1 - product,
        relation="==",
        uses={
            d.definition(E): -(S / least - 1) / (least * Bn),
            d.definition(S): -(S * B / (least * Bn) - 1) / least - B / (least * Bn) * Bn / B,
        },
        why="(Bn/B)(B/Bn) = 1",
    )
    d.claim = ("hyperbola", product, sp.Integer(1))
    return pruned(d)


def learning_rate() -> Derivation:
    """The expected decrease is a concave parabola in eta."""
    d = Derivation(SLUG, "the learning rate of the largest expected decrease")
    eta = d.symbol("eta", latex=r"\eta", meaning="learning rate")
    G2 = d.symbol("G2", sign="positive", latex=r"\|G\|^2")
    GHG = d.symbol("GHG", sign="positive", latex="G^THG")
    HS = d.symbol("HS", sign="nonnegative", latex=r"\mathrm{tr}(H\Sigma)")
    B = d.symbol("B", sign="positive", latex="B", meaning="batch size")
    curvature = GHG + HS / B
    best = G2 / GHG / (1 + HS / GHG / B)
    d.combine(
        "best",
        gap=(best * G2 - best**2 * curvature / 2) - (eta * G2 - eta**2 * curvature / 2),
        squares=[(curvature / 2, eta - best)],
        why="eta_max/(1 + Bn/B) with eta_max = |G|^2/G^T H G",
    )
    d.claim = ("best", eta * G2 - eta**2 * curvature / 2, best * G2 - best**2 * curvature / 2)
    return d


norm_estimate = produced(derive, ("Bs", "more", "ns", "nb"), "norm", side="left")
trace_estimate = produced(derive, ("Bs", "more", "ns", "nb"), "trace", side="left")
trace_variance = produced(derive, ("squares", "more"), "trace_variance")
norm_variance = produced(derive, ("squares", "cross", "more", "n"), "norm_variance")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """B_simple as the ratio of the two estimates, infinity where the estimate of |G|^2 is not positive.

    ``norm_small`` and ``norm_big`` may be averages over steps: average first, divide once.
    """
    small, big = (np.asarray(constants[name], dtype=float) for name in ("B_small", "B_big"))
    if np.any(big <= small):
        raise input_error(
            got=f"B_small={constants['B_small']}, B_big={constants['B_big']}",
            rule="the big batch is larger than the small one",
            do="pass B_big > B_small",
        )
    ns, nb = (np.asarray(constants[name], dtype=float) for name in ("norm_small", "norm_big"))
    norm, trace = norm_estimate(small, big - small, ns, nb), trace_estimate(small, big - small, ns, nb)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(norm > 0, trace / norm, np.inf)
    return Evaluation(
        value=ratio[()],
        trivial_value=None,
        parts={"norm_sq": np.asarray(norm)[()], "trace": np.asarray(trace)[()]},
    )


def nonnegative(name: str, meaning: str, unit: str) -> Parameter:
    return Parameter(
        name=name,
        meaning=meaning,
        unit=unit,
        rule="must be at least 0",
        accepts=lambda x: bool(np.all(np.asarray(x, dtype=float) >= 0)),
    )


BOUND = Bound(
    slug=SLUG,
    title="Unbiased estimates of gradient norm and noise from two batch sizes",
    algorithm="gradients at a small and a big batch",
    quantity="",
    quantity_latex=r"B_{\rm simple}=\frac{\mathrm{tr}\Sigma}{|G|^2}",
    statement_latex=r"\widehat{|G|^2}=\frac{B_b|g_b|^2-B_s|g_s|^2}{B_b-B_s},\quad"
    r"\widehat{\mathrm{tr}\Sigma}=\frac{|g_s|^2-|g_b|^2}{1/B_s-1/B_b}",
    kind="identity",
    assumptions=(SAMPLES, GAUSSIAN, COCHRAN, MODEL),
    parameters=(
        Parameter(name="B_small", meaning="small batch", unit="samples"),
        Parameter(name="B_big", meaning="big batch", unit="samples"),
        nonnegative("norm_small", "squared norm at the small batch, averaged", "grad^2"),
        nonnegative("norm_big", "squared norm at the big batch, averaged", "grad^2"),
    ),
    derive=derive,
    value=value,
    references=(NOISE_SCALE,),
    notes=(
        "The estimates are unbiased; their ratio is not. See noise_scale_ratio_interval.",
        "The variances need Gaussian samples, the unbiasedness does not.",
    ),
)
