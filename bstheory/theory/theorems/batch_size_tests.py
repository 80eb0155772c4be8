"""Rules that choose the next batch size from gradient statistics, and what each of them solves.

**Identities and bounds** behind the rules (parts):

    norm_test          sigma^2/b <= theta^2 |G|^2 exactly from b = sigma^2/(theta^2 |G|^2) on
    finite_population  without replacement from n samples the variance of the mean gains (n - b)/(n - 1)
    inner_product      Var <g_i, G>/b <= theta^2 |G|^4 from b = Var/(theta^2 |G|^4) on
    orthogonality      the variance across G is the whole less the part along G
    big_batch          |g|^2 >= sigma^2/(theta^2 b) is the norm test solved for the other side
    adascale           1 <= (sigma^2 + mu^2)/(sigma^2/S + mu^2) <= S for S >= 1
    halving            learning rate/sqrt2 with twice the batch leaves eta^2/b where half the rate would

``RULES`` lists every rule of the literature considered here with its formula and where it comes from; a rule
marked ``memory`` was not re-derived and has no part. A rule says what batch its inequality asks for; that the
inequality makes training better is not a claim of this entry.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import sympy as sp

from bstheory.references import ADAPTIVE_BATCH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.half_life_lemmas import produced
from bstheory.theory.pruning import pruned

SLUG = "batch_size_tests"
SAMPLES = Assumption(
    name="independent_samples", statement="the variance of a mean of b samples is that of one over b"
)
WITHOUT = Assumption(
    name="without_replacement",
    statement="any two of the n samples have the same covariance; all n add up to no noise",
)


class Rule(NamedTuple):
    """A rule: what it is called, what it asks for, and how it is known here."""

    name: str
    formula: str
    provenance: str


RULES = (
    Rule("norm test", "b' = sigma^2/(theta^2 |g|^2) where sigma^2/b > theta^2 |g|^2", "derived: norm_test"),
    Rule("finite population", "norm test times (n - b)/(n - 1)", "derived: finite_population"),
    Rule(
        "published DDP-Norm", "b' = (1/J) sum |g_j - g|^2/(eta^2 |g|^2)", "derived: worker_variance_scaling"
    ),
    Rule(
        "corrected DDP-Norm",
        "b' = sigma_hat^2/(eta^2 (|g|^2 - sigma_hat^2/b))",
        "derived: worker_variance_scaling",
    ),
    Rule("coordinate-wise", "b' = max_i sigma_i^2/(eta^2 g_i^2), use a quantile", "derived: norm_test"),
    Rule(
        "weighted by sqrt v",
        "b' = sum sigma_i^2/sqrt(v_i)/(eta^2 sum G_i^2/sqrt(v_i))",
        "derived: sqrt_v_weighted_test",
    ),
    Rule("inner product", "b' = Var <g_i, g>/(theta^2 |g|^4)", "derived: inner_product"),
    Rule("orthogonality", "b' = Var of the part across g/(nu^2 |g|^2)", "derived: orthogonality"),
    Rule("big batch", "grow until |g|^2 >= sigma^2/(theta^2 b)", "derived: big_batch"),
    Rule("sign", "b' = (|sigma|_1/|G|_1)^2/eta^2", "derived: dual_norm_noise_scales"),
    Rule("noise scale", "b' = tr Sigma/|G|^2", "derived: noise_scale_estimators"),
    Rule("AdaScale", "gain in [1, S] multiplies the learning rate at S times the batch", "derived: adascale"),
    Rule("halving", "learning rate/sqrt2 and batch times 2 at each halving", "derived: halving"),
    Rule("CABS", "b' = learning rate * sigma^2/loss", "memory"),
    Rule("Pollux", "efficiency (phi + m_0)/(phi + m) times throughput", "memory"),
    Rule("SimiGrad", "hold the cosine of two half-batch gradients", "memory"),
    Rule("loss law", "b = B_*/loss^(1/0.21)", "memory"),
)


def derive() -> dict[str, Derivation]:
    """One part for each identity or bound in the table."""
    return {
        "norm_test": solved("norm_test", r"\sigma^2", r"\|G\|^2"),
        "inner_product": solved("inner_product", r"\mathrm{Var}\langle g_i,G\rangle", r"\|G\|^4"),
        "finite_population": finite_population(),
        "orthogonality": orthogonality(),
        "big_batch": big_batch(),
        "adascale": adascale("upper"),
        "adascale_lower": adascale("lower"),
        "halving": halving(),
    }


def solved(name: str, noise_latex: str, signal_latex: str) -> Derivation:
    """noise/b <= theta^2 signal from b >= noise/(theta^2 signal)."""
    d = Derivation(SLUG, name.replace("_", " "))
    b = d.symbol("b", sign="positive", latex="b", meaning="samples")
    noise = d.symbol("noise", sign="nonnegative", latex=noise_latex, meaning="variance of one sample")
    signal = d.symbol("signal", sign="positive", latex=signal_latex)
    theta = d.symbol("theta", sign="positive", latex=r"\theta", meaning="tolerance")
    d.assume(
        "large", b - noise / (theta**2 * signal), assumption="the rule", why="b is at least what it asks for"
    )
    variance = d.symbol(
        "variance", sign="nonnegative", latex="V", meaning="variance of the mean of b samples"
    )
    d.assume(
        "mean", variance - noise / b, relation="==", assumption=SAMPLES.name, why="b independent samples"
    )
    d.combine(
        "passes",
        gap=theta**2 * signal - variance,
        uses={"large": theta**2 * signal / b, "mean": -1},
        why="the inequality that the rule solves",
    )
    d.claim = ("passes", variance, theta**2 * signal)
    return d


def finite_population() -> Derivation:
    """n Var + n (n-1) Cov = 0, so b samples have Var/b + (b-1)/b Cov = (Var/b)(n - b)/(n - 1)."""
    d = Derivation(SLUG, "sampling without replacement")
    b = d.symbol("b", sign="positive", latex="b", meaning="samples")
    more = d.symbol("more", sign="positive", latex="(n-1)", meaning="population less one")
    n = more + 1
    noise = d.symbol("noise", sign="nonnegative", latex=r"\sigma^2", meaning="variance of one sample")
    covariance = d.symbol("covariance", latex="C", meaning="of two different samples")
    variance = d.symbol("variance", latex="V", meaning="variance of the mean")
    d.assume(
        "all_of_them",
        n * noise + n * more * covariance,
        relation="==",
        assumption=WITHOUT.name,
        why="the mean of the whole population has no noise",
    )
    d.assume(
        "mean",
        b * b * variance - b * noise - b * (b - 1) * covariance,
        relation="==",
        assumption=WITHOUT.name,
        why="variance of a sum of b samples",
    )
    d.combine(
        "factor",
        gap=noise / b * (n - b) / more - variance,
        relation="==",
        uses={"mean": -1 / b**2, "all_of_them": -(b - 1) / (b * n * more)},
        why="solve for the variance",
    )
    d.claim = ("factor", variance, noise / b * (n - b) / more)
    return d


def orthogonality() -> Derivation:
    """|g - <g,G> G/|G|^2|^2 = |g|^2 - <g,G>^2/|G|^2, then expectation."""
    d = Derivation(SLUG, "variance across the gradient")
    G2 = d.symbol("G2", sign="positive", latex=r"\|G\|^2")
    norm = d.symbol("norm", depends=("step", "draw"), latex=r"\|g_i\|^2")
    inner = d.symbol("inner", depends=("step", "draw"), latex=r"\langle g_i,G\rangle")
    across = d.define("across", "equals", norm - 2 * inner**2 / G2 + inner**2 / G2, latex=r"\|g_i^\perp\|^2")
    mean_across, mean_norm, mean_square = (
        d.define(name, "mean", of, latex=latex)
        for name, of, latex in (
            ("mean_across", across, r"E\|g_i^\perp\|^2"),
            ("mean_norm", norm, r"E\|g_i\|^2"),
            ("mean_square", inner**2, r"E\langle g_i,G\rangle^2"),
        )
    )
    mean_inner = d.define("mean_inner", "mean", inner, latex=r"E\langle g_i,G\rangle")
    d.apply(
        "mean",
        "mean",
        d.definition(across),
        {mean_across: 1, mean_norm: -1, mean_square: 1 / G2},
        why="expectation",
    )
    total, along = (
        d.symbol("total", latex=r"\sigma^2"),
        d.symbol("along", latex=r"\mathrm{Var}\langle g_i,G\rangle"),
    )
    d.assume("unbiased", mean_inner - G2, relation="==", assumption="unbiased", why="E g_i = G")
    d.assume("total", total - mean_norm + G2, relation="==", assumption="unbiased", why="E|g_i|^2 - |G|^2")
    d.assume(
        "along", along - mean_square + mean_inner**2, relation="==", assumption="unbiased", why="variance"
    )
    d.combine(
        "across",
        gap=total - along / G2 - mean_across,
        relation="==",
        uses={"mean": -1, "total": 1, "along": -1 / G2, "unbiased": (mean_inner + G2) / G2},
        why="the part across G has mean zero",
    )
    d.claim = ("across", mean_across, total - along / G2)
    return pruned(d)


def big_batch() -> Derivation:
    """|g|^2 >= sigma^2/(theta^2 b) is sigma^2/b <= theta^2 |g|^2."""
    d = Derivation(SLUG, "big batch")
    b = d.symbol("b", sign="positive", latex="b", meaning="samples")
    noise = d.symbol("noise", sign="nonnegative", latex=r"\sigma^2", meaning="variance of one sample")
    norm = d.symbol("norm", sign="nonnegative", latex=r"\|g\|^2")
    theta = d.symbol("theta", sign="positive", latex=r"\theta", meaning="tolerance")
    d.assume("big", norm - noise / (theta**2 * b), assumption="the rule", why="the batch has grown enough")
    d.combine("same", gap=theta**2 * norm - noise / b, uses={"big": theta**2}, why="times theta^2")
    d.claim = ("same", noise / b, theta**2 * norm)
    return d


def adascale(side: str) -> Derivation:
    """The gain against 1 and against S."""
    d = Derivation(SLUG, f"gain of the learning rate, {side}")
    over = d.symbol("over", sign="nonnegative", latex="(S-1)", meaning="factor of the batch less one")
    S = 1 + over
    noise = d.symbol("noise", sign="positive", latex=r"\sigma^2", meaning="variance at the base batch")
    signal = d.symbol("signal", sign="nonnegative", latex=r"\mu^2", meaning="squared mean gradient")
    gain = d.define("gain", "equals", (noise + signal) / (noise / S + signal), latex="r")
    bottom = noise / S + signal
    if side == "upper":
        slack = over * signal / bottom
        d.combine("most", gap=S - gain, uses={d.definition(gain): -1}, slack=slack, why="S mu^2 >= mu^2")
        d.claim = ("most", gain, S)
    else:
        slack = noise * over / S / bottom
        d.combine(
            "least", gap=gain - 1, uses={d.definition(gain): 1}, slack=slack, why="sigma^2 >= sigma^2/S"
        )
        d.claim = ("least", sp.Integer(1), gain)
    return d


def halving() -> Derivation:
    """(eta/sqrt2)^2/(2 b) == (eta/2)^2/b."""
    d = Derivation(SLUG, "halving the rate or growing the batch")
    eta, b = d.symbol("eta", sign="positive", latex=r"\eta"), d.symbol("b", sign="positive", latex="b")
    root = d.define("root", "root", 2, sign="positive", latex=r"\sqrt2")
    left = (eta / root) ** 2 / (2 * b)
    d.combine(
        "same",
        gap=(eta / 2) ** 2 / b - left,
        relation="==",
        uses={d.definition(root): eta**2 / (4 * b * root**2)},
        why="the noise of a step is eta^2/b",
    )
    d.claim = ("same", left, (eta / 2) ** 2 / b)
    return d


finite_factor = produced(derive, ("noise", "b", "more"), "finite_population")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Batch of the norm test; trivial: the whole population, where it is finite.

    Other rules in ``parts`` where their inputs are given. ``population`` 0 means unlimited: sampling with
    replacement.
    """
    noise, norm, theta = (
        np.asarray(constants[name], dtype=float) for name in ("sigma_sq", "norm_sq", "theta")
    )
    b, n = np.asarray(constants["b"], dtype=float), np.asarray(constants["population"], dtype=float)
    found = noise / (theta**2 * norm)
    debiased = norm - noise / b
    with np.errstate(divide="ignore", invalid="ignore"):
        corrected = np.where(debiased > 0, noise / (theta**2 * debiased), np.inf)
    parts = {
        "passes": (noise / b <= theta**2 * norm)[()],
        "corrected": corrected[()],
        "inner_product": (np.asarray(constants["inner_variance"], dtype=float) / (theta**2 * norm**2))[()],
    }
    if np.all(n > 1):
        parts["variance_without_replacement"] = np.asarray(finite_factor(noise, b, n - 1))[()]
    everything = np.where(n > 0, n + 0 * found, np.inf)[()] if np.any(n > 0) else None
    return Evaluation(value=found[()], trivial_value=everything, parts=parts)


def nonnegative(name: str, meaning: str, unit: str, default: object = None) -> Parameter:
    return Parameter(
        name=name,
        meaning=meaning,
        unit=unit,
        rule="must be at least 0",
        accepts=lambda x: bool(np.all(np.asarray(x, dtype=float) >= 0)),
        default=default,
    )


BOUND = Bound(
    slug=SLUG,
    title="Rules for the next batch size and what they solve",
    algorithm="a batch size chosen from gradient statistics",
    quantity="",
    quantity_latex="b'",
    statement_latex=r"b'\ge\frac{\sigma^2}{\theta^2\|G\|^2}\iff\frac{\sigma^2}{b'}\le\theta^2\|G\|^2;\quad"
    r"\text{without replacement }\frac{\sigma^2}b\,\frac{n-b}{n-1}",
    kind="identity",
    assumptions=(SAMPLES, WITHOUT),
    parameters=(
        nonnegative("sigma_sq", "noise trace of one sample", "grad^2*samples"),
        Parameter(name="norm_sq", meaning="squared gradient norm", unit="grad^2"),
        Parameter(name="theta", meaning="tolerance", unit="1"),
        Parameter(name="b", meaning="batch of the statistics", unit="samples", default=1.0),
        nonnegative("population", "size of the data set, 0 for unlimited", "samples", 0.0),
        nonnegative("inner_variance", "variance of <g_i, g>", "grad^4*samples", 0.0),
    ),
    derive=derive,
    value=value,
    references=(ADAPTIVE_BATCH,),
    notes=tuple(f"{rule.name}: {rule.formula} ({rule.provenance})." for rule in RULES),
)
