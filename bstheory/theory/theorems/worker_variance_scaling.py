"""The variance over workers in a batch-size test, and what its published scaling does.

J groups of b/J samples with means g_j, overall mean gbar, sigma^2 the noise trace of one sample, G the mean
gradient. V = (1/J) sum_j |g_j - gbar|^2.

**Identities**: two scalars suffice, V = (1/J) sum |g_j|^2 - |gbar|^2 (part ``two_scalars``); E V = (J-1)
sigma^2/b (``expectation``), so b V/(J-1) is unbiased for sigma^2.

The published rule T = V/(eta^2 |gbar|^2) treats V as sigma^2: T = (J-1)/b times the true one (``published``),
that is an effective eta_eff^2 = eta^2 b/(J-1), which reaches 1 at b = (J-1)/eta^2 (``leaves_the_range``).

Mean-field **prediction** of its rest point (ratio of expectations): eta^2 b (b + Bs) = (J-1) Bs with
Bs = sigma^2/|G|^2, solved by b* = (Bs/2)(sqrt(1 + 4(J-1)/(eta^2 Bs)) - 1) (``fixed_point``), with
b* <= (J-1)/eta^2 (``cap``) and eta^2 b*^2 <= (J-1) Bs (``root_law``). The true rule without debiasing, noise
alone and eta <= 1 asks for b/eta^2 >= b at every b (``runs_away``), so it grows to the maximum.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import ADAPTIVE_BATCH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.half_life_lemmas import produced
from bstheory.theory.pruning import pruned

SLUG = "worker_variance_scaling"
GROUPS = Assumption(name="groups", statement="gbar = (1/J) sum_j g_j over J groups of b/J samples each")
INDEPENDENT = Assumption(
    name="independent_samples",
    statement="E (1/J) sum |g_j|^2 = |G|^2 + sigma^2 J/b and E|gbar|^2 = |G|^2 + sigma^2/b",
)
MEAN_FIELD = Assumption(name="mean_field", statement="the ratio is replaced by the ratio of expectations")


def derive() -> dict[str, Derivation]:
    """Statistics of the groups, the published rule against the true one, and its rest point."""
    return {
        "two_scalars": two_scalars(),
        "expectation": expectation(),
        "published": published(),
        "leaves_the_range": leaves_the_range(),
        "fixed_point": rest_point("fixed_point"),
        "cap": rest_point("cap"),
        "root_law": rest_point("root_law"),
        "runs_away": runs_away(),
    }


def two_scalars() -> Derivation:
    """Sum over groups of |g_j - gbar|^2; the coordinate index of this part runs over groups."""
    d = Derivation(SLUG, "two scalars suffice")
    norm = d.symbol("norm", depends=("coordinate",), latex=r"\|g_j\|^2", meaning="of group j")
    inner = d.symbol(
        "inner", depends=("coordinate",), latex=r"\langle g_j,\bar g\rangle", meaning="of group j"
    )
    mean = d.symbol("mean", latex=r"\|\bar g\|^2", meaning="of the overall mean")
    spread = d.define("spread", "equals", norm - 2 * inner + mean, latex=r"\|g_j-\bar g\|^2")
    J = d.define("J", "coordinates", 1, sign="positive", latex="J", meaning="number of groups")
    norms = d.define("norms", "coordinates", norm, latex=r"\sum_j\|g_j\|^2")
    inners = d.define("inners", "coordinates", inner, latex=r"\sum_j\langle g_j,\bar g\rangle")
    spreads = d.define("spreads", "coordinates", spread, latex=r"\sum_j\|g_j-\bar g\|^2")
    d.apply(
        "sum",
        "coordinates",
        d.definition(spread),
        {spreads: 1, norms: -1, inners: 2, J: -mean},
        why="sum over groups",
    )
    d.assume(
        "mean_of_groups",
        inners - J * mean,
        relation="==",
        assumption=GROUPS.name,
        why="the inner products add up to <J gbar, gbar>",
    )
    d.combine(
        "two_scalars",
        gap=norms / J - mean - spreads / J,
        relation="==",
        uses={"sum": -1 / J, "mean_of_groups": 2 / J},
        why="divide by J",
    )
    d.claim = ("two_scalars", spreads / J, norms / J - mean)
    return pruned(d)


def expectation() -> Derivation:
    """|G|^2 + sigma^2 J/b - |G|^2 - sigma^2/b."""
    d = Derivation(SLUG, "expectation of the variance over groups")
    b = d.symbol("b", sign="positive", latex="b", meaning="samples in the batch")
    J = d.symbol("J", sign="positive", latex="J", meaning="groups")
    sigma_sq = d.symbol(
        "sigma_sq", sign="nonnegative", latex=r"\sigma^2", meaning="noise trace of one sample"
    )
    G2 = d.symbol("G2", sign="nonnegative", latex=r"\|G\|^2")
    norms, mean, V = (
        d.symbol("norms", latex=r"E\tfrac1J\sum\|g_j\|^2"),
        d.symbol("mean", latex=r"E\|\bar g\|^2"),
        d.symbol("V", latex="EV"),
    )
    d.assume("identity", V - norms + mean, relation="==", assumption=GROUPS.name, why="part two_scalars")
    d.assume(
        "groups",
        norms - G2 - sigma_sq * J / b,
        relation="==",
        assumption=INDEPENDENT.name,
        why="b/J samples in a group",
    )
    d.assume("whole", mean - G2 - sigma_sq / b, relation="==", assumption=INDEPENDENT.name, why="b samples")
    d.combine(
        "expectation",
        gap=(J - 1) * sigma_sq / b - V,
        relation="==",
        uses={"identity": -1, "groups": -1, "whole": 1},
        why="the means cancel",
    )
    d.claim = ("expectation", V, (J - 1) * sigma_sq / b)
    return d


def published() -> Derivation:
    """V/(eta^2 |gbar|^2) with V = (J-1) sigma^2/b."""
    d = Derivation(SLUG, "the published rule against the true one")
    b = d.symbol("b", sign="positive", latex="b", meaning="samples in the batch")
    more = d.symbol("more", sign="positive", latex="(J-1)", meaning="groups less one")
    eta = d.symbol("eta", sign="positive", latex=r"\eta", meaning="tolerance")
    sigma_sq = d.symbol(
        "sigma_sq", sign="nonnegative", latex=r"\sigma^2", meaning="noise trace of one sample"
    )
    norm = d.symbol("norm", sign="positive", latex=r"\|\bar g\|^2")
    V = d.symbol("V", latex="V", meaning="variance over groups at its expectation")
    d.assume(
        "expectation", V - more * sigma_sq / b, relation="==", assumption=MEAN_FIELD.name, why="part above"
    )
    true = d.define("true", "equals", sigma_sq / (eta**2 * norm), latex=r"T_{true}")
    d.combine(
        "published",
        gap=more / b * true - V / (eta**2 * norm),
        relation="==",
        uses={d.definition(true): more / b, "expectation": -1 / (eta**2 * norm)},
        why="(J-1)/b times the true one",
    )
    d.claim = ("published", V / (eta**2 * norm), more / b * true)
    return d


def leaves_the_range() -> Derivation:
    """eta^2 b/(J-1) - 1 >= 0 from b >= (J-1)/eta^2."""
    d = Derivation(SLUG, "where the effective tolerance leaves (0, 1)")
    b = d.symbol("b", sign="positive", latex="b", meaning="samples in the batch")
    more = d.symbol("more", sign="positive", latex="(J-1)", meaning="groups less one")
    eta = d.symbol("eta", sign="positive", latex=r"\eta", meaning="tolerance")
    d.assume("large", b - more / eta**2, assumption="large_batch", why="b >= (J-1)/eta^2")
    d.combine("leaves", gap=eta**2 * b / more - 1, uses={"large": eta**2 / more}, why="times eta^2/(J-1)")
    d.claim = ("leaves", sp.Integer(1), eta**2 * b / more)
    return d


def rest_point(which: str) -> Derivation:
    """The root of eta^2 b (b + Bs) = (J-1) Bs."""
    d = Derivation(SLUG, f"rest point of the published rule, {which.replace('_', ' ')}")
    more = d.symbol("more", sign="positive", latex="(J-1)", meaning="groups less one")
    eta = d.symbol("eta", sign="positive", latex=r"\eta", meaning="tolerance")
    Bs = d.symbol("Bs", sign="positive", latex=r"\mathcal B_s", meaning="sigma^2/|G|^2")
    if which == "fixed_point":
        root = d.define(
            "root",
            "root",
            1 + 4 * more / (eta**2 * Bs),
            sign="positive",
            latex=r"\sqrt{1+4(J-1)/(\eta^2\mathcal B_s)}",
        )
        b = Bs / 2 * (root - 1)
        d.combine(
            "fixed_point",
            gap=more * Bs - eta**2 * b * (b + Bs),
            relation="==",
            uses={d.definition(root): -(eta**2) * Bs**2 / 4},
            why="(r - 1)(r + 1) = r^2 - 1",
        )
        d.claim = ("fixed_point", eta**2 * b * (b + Bs), more * Bs)
        return pruned(d)
    b = d.symbol("b", sign="positive", latex="b^*", meaning="rest point")
    d.assume(
        "rest",
        eta**2 * b * (b + Bs) - more * Bs,
        relation="==",
        assumption=MEAN_FIELD.name,
        why="b = T in the ratio of expectations",
    )
    if which == "cap":
        d.combine(
            "cap", gap=more / eta**2 - b, uses={"rest": -1 / (eta**2 * Bs)}, slack=b**2 / Bs, why="b^2 >= 0"
        )
        d.claim = ("cap", b, more / eta**2)
    else:
        d.combine(
            "root_law",
            gap=more * Bs - eta**2 * b**2,
            uses={"rest": -1},
            slack=eta**2 * b * Bs,
            why="b Bs >= 0",
        )
        d.claim = ("root_law", eta**2 * b**2, more * Bs)
    return d


def runs_away() -> Derivation:
    """sigma^2/(eta^2 E|gbar|^2) = b/eta^2 when G = 0, at least b for eta <= 1."""
    d = Derivation(SLUG, "the true rule without debiasing, noise alone")
    b = d.symbol("b", sign="positive", latex="b", meaning="samples in the batch")
    eta = d.symbol("eta", sign="positive", latex=r"\eta", meaning="tolerance")
    sigma_sq = d.symbol("sigma_sq", sign="positive", latex=r"\sigma^2", meaning="noise trace of one sample")
    d.assume("tolerance", 1 - eta, assumption="tolerance", why="eta <= 1")
    T = d.define("T", "equals", sigma_sq / (eta**2 * (sigma_sq / b)), sign="positive", latex="T")
    d.combine(
        "runs_away",
        gap=T - b,
        uses={d.definition(T): 1, "tolerance": b * (1 + eta) / eta**2},
        why="b/eta^2 >= b",
    )
    d.claim = ("runs_away", b, T)
    return pruned(d)


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Rest point of the published rule; the trivial value is its cap (J-1)/eta^2."""
    scale, J, eta = (np.asarray(constants[name], dtype=float) for name in ("noise_scale", "J", "eta"))
    if np.any(J < 2):
        raise input_error(
            got=f"J={constants['J']}",
            rule="a variance over groups needs two of them",
            do="pass J of at least 2",
        )
    found = scale / 2 * (np.sqrt(1 + 4 * (J - 1) / (eta**2 * scale)) - 1)
    residual = balance(scale, J - 1, eta) / ((J - 1) * scale)
    return Evaluation(
        value=found[()],
        trivial_value=np.asarray(cap(J - 1, eta))[()],
        parts={
            "root_law": (np.sqrt((J - 1) * scale) / eta)[()],
            "unbiased_factor_at_rest": (found / (J - 1))[()],
            "balance": np.asarray(residual)[()],
        },
    )


balance = produced(derive, ("Bs", "more", "eta"), "fixed_point", side="left")
cap = produced(derive, ("more", "eta"), "cap")

BOUND = Bound(
    slug=SLUG,
    title="The variance over workers in a batch-size test",
    algorithm="b' = ceil(V/(eta^2 |gbar|^2)) with V the variance over J groups",
    quantity="",
    quantity_latex="b^*",
    statement_latex=r"\mathbb E\hat V=\frac{(J-1)\sigma^2}b,\quad b^*=\frac{\mathcal B_s}2"
    r"\Big(\sqrt{1+\frac{4(J-1)}{\eta^2\mathcal B_s}}-1\Big)\le\frac{J-1}{\eta^2}",
    kind="identity",
    assumptions=(GROUPS, INDEPENDENT, MEAN_FIELD),
    parameters=(
        Parameter(name="noise_scale", meaning="sigma^2/|G|^2", unit="samples"),
        Parameter(name="J", meaning="number of groups", unit="1"),
        Parameter(name="eta", meaning="tolerance of the test", unit="1"),
    ),
    derive=derive,
    value=value,
    references=(ADAPTIVE_BATCH,),
    notes=(
        "The rest point is a mean-field prediction: the expectation of a ratio is replaced by a ratio.",
        "Unbiased: multiply V by b/(J-1). Shards of different coordinates are not groups.",
    ),
)
