"""How the known scaling rules for beta, weight decay and averaging relate to the token half-life.

With c = 1 - beta at batch B, the half-life rule at batch k B is beta^k.

**Two-sided** (parts ``square_root_upper``, ``square_root_lower``): the square-root (SDE) rule 1 - beta -> k c
is its first-order truncation,

    k c - k(k-1)/2 c^2 <= 1 - beta^k <= k c,   k = 1, 2, ...: relative error at most (k-1) c/2.

**Identity** (``averaging``): the rule rho -> rho^k for a model average is the half-life rule itself.
**Identity** (``weight_decay``): decay factors 1 - eta wd have a fixed half-life when (1 - eta wd)^(1/B) is
fixed.
**Identity** (``equal_betas``): with beta1 = beta2 = beta, V = v - m^2 obeys
V_n = beta V_{n-1} + beta (1 - beta)(g_n - m_{n-1})^2, so v >= m^2 always.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import AVERAGING_RULE, EQUAL_BETAS, SQUARE_ROOT_RULE
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed
from bstheory.theory.half_life_lemmas import produced
from bstheory.theory.pruning import pruned

SLUG = "scaling_rule_relations"
POWER = Assumption(name="power", statement="P_k = beta P_{k-1}, P_0 = 1, and the count k = 0, 1, 2, ...")
EMA = Assumption(
    name="averages", statement="m_n = beta m_{n-1} + (1-beta) g_n, v_n = beta v_{n-1} + (1-beta) g_n^2"
)
DECAY = Assumption(name="decay_rule", statement="the coefficient at tokens B is 2^(-B/t)")


def derive() -> dict[str, Derivation]:
    """The truncation error of the square-root rule, and three identities."""
    return {
        "square_root_upper": bernoulli("upper"),
        "square_root_lower": bernoulli("lower"),
        "averaging": transferred("averaging", "a model average with coefficient rho"),
        "weight_decay": transferred("weight_decay", "decay factor 1 - eta wd"),
        "equal_betas": equal_betas(),
    }


def bernoulli(side: str) -> Derivation:
    """1 - beta^k against k c and k c - k(k-1)/2 c^2, by induction on k."""
    d = Derivation(SLUG, f"the square-root rule as a truncation, {side}")
    c = d.symbol("c", sign="nonnegative", latex="c", meaning="1 - beta at the base batch")
    beta = d.symbol("beta", sign="nonnegative", latex=r"\beta", meaning="coefficient at the base batch")
    k, k_next = (
        fixed(d, "k", sign="nonnegative", latex="k", meaning="factor of the batch size"),
        fixed(d, "k_next", sign="nonnegative", latex="k+1"),
    )
    P, P_next = (
        fixed(d, "P", latex=r"\beta^k", meaning="coefficient at k times the batch"),
        fixed(d, "P_next"),
    )
    d.chain("k", previous=k, next=k_next, start=0)
    d.chain("P", previous=P, next=P_next, start=1)
    d.assume("one_minus", c - 1 + beta, relation="==", assumption="coefficient", why="c = 1 - beta")
    d.assume("count", k_next - k - 1, relation="==", assumption=POWER.name, why="k counts")
    d.assume("power", P_next - beta * P, relation="==", assumption=POWER.name, why="one more factor")
    d.hypothesis("upper_before", k * c - (1 - P), why="1 - beta^k <= k c")
    d.combine(
        "upper_after",
        gap=k_next * c - (1 - P_next),
        uses={"upper_before": beta, "count": c, "power": 1, "one_minus": 1 - k * c},
        slack=k * c**2,
        why="beta (k c) + c <= (k + 1) c",
    )
    d.combine("upper_start", gap=0 * c - (1 - 1), why="both are 0")
    d.induction("upper", "upper_before", "upper_after", "upper_start", ["k", "P"], why="induction on k")
    if side == "upper":
        d.claim = ("upper", 1 - P, k * c)
        return pruned(d)
    half = sp.Rational(1, 2)
    d.hypothesis("lower_before", (1 - P) - k * c + half * k * (k - 1) * c**2, why="the second-order term")
    d.combine(
        "lower_after",
        gap=(1 - P_next) - k_next * c + half * k_next * (k_next - 1) * c**2,
        uses={
            "lower_before": 1,
            "upper": c,
            "power": -1,
            "count": -c + half * c**2 * (k + k_next),
            "one_minus": -P,
        },
        why="1 - beta P = (1 - P) + c P, and P >= 1 - k c",
    )
    d.combine("lower_start", gap=(1 - 1) - 0 * c + half * 0 * (0 - 1) * c**2, why="both are 0")
    d.induction("lower", "lower_before", "lower_after", "lower_start", ["k", "P"], why="induction on k")
    d.claim = ("lower", k * c - half * k * (k - 1) * c**2, 1 - P)
    return pruned(d)


def transferred(part: str, what: str) -> Derivation:
    """2^(-kB/t) is the k-th power of 2^(-B/t): by logarithms, for every real k > 0."""
    d = Derivation(SLUG, what)
    B = d.symbol("B", sign="positive", latex="B", meaning="tokens per step")
    k = d.symbol("k", sign="positive", latex="k", meaning="factor of the batch size")
    t = d.symbol("t", sign="positive", latex="t", meaning="half-life, tokens")
    ln2 = d.define("ln2", "log", 2, sign="positive", latex=r"\ln2")
    base = d.define("base", "power_of_two", -B / t, sign="positive", latex=r"\rho", meaning=what)
    scaled = d.define("scaled", "power_of_two", -k * B / t, sign="positive", latex=r"\rho_k")
    log_base, log_scaled = d.define("log_base", "log", base), d.define("log_scaled", "log", scaled)
    d.log_power_of_two("base_log", log_base, ln2, why="ln 2^x = x ln2")
    d.log_power_of_two("scaled_log", log_scaled, ln2, why="ln 2^x = x ln2")
    d.combine(
        "power",
        gap=k * log_base - log_scaled,
        relation="==",
        uses={"base_log": k, "scaled_log": -1},
        why="the logarithm of the coefficient at k B is k times that at B",
    )
    d.claim = ("power", log_scaled, k * log_base)
    return d


def equal_betas() -> Derivation:
    """v - m^2 is an average of squared deviations."""
    d = Derivation(SLUG, "equal betas")
    beta = d.symbol("beta", sign="nonnegative", latex=r"\beta", meaning="beta1 = beta2")
    g, m, v = d.symbol("g", latex="g_n"), d.symbol("m", latex="m_{n-1}"), d.symbol("v", latex="v_{n-1}")
    m_next, v_next = d.symbol("m_next", latex="m_n"), d.symbol("v_next", latex="v_n")
    d.assume("m", m_next - beta * m - (1 - beta) * g, relation="==", assumption=EMA.name, why="momentum")
    d.assume(
        "v", v_next - beta * v - (1 - beta) * g**2, relation="==", assumption=EMA.name, why="second moment"
    )
    right = beta * (v - m**2) + beta * (1 - beta) * (g - m) ** 2
    d.combine(
        "spread",
        gap=right - (v_next - m_next**2),
        relation="==",
        uses={"v": -1, "m": m_next + beta * m + (1 - beta) * g},
        why="the square of a mean",
    )
    d.claim = ("spread", v_next - m_next**2, right)
    return d


upper = produced(derive, ("k", "c"), "square_root_upper")
lower = produced(derive, ("k", "c"), "square_root_lower", side="left")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """1 - beta at k times the batch by the square-root rule, the exact value and the lower side beside it."""
    k, beta = np.asarray(constants["k"], dtype=float), np.asarray(constants["beta"], dtype=float)
    if np.any(k != np.floor(k)):
        raise input_error(
            got=f"k={constants['k']}",
            rule="assumption power: k counts, so it is a whole number",
            do="pass a whole number, or use half_life_transfer, which takes any ratio",
        )
    c = 1 - beta
    exact = -np.expm1(k * np.log(beta))
    first = upper(k, c)
    return Evaluation(
        value=np.asarray(first)[()],
        trivial_value=(k * 0 + 1.0)[()],
        parts={
            "exact": exact[()],
            "lower": np.asarray(lower(k, c))[()],
            "relative_error": np.asarray((first - exact) / first)[()],
            "relative_error_bound": ((k - 1) * c / 2)[()],
            "learning_rate_factor": np.sqrt(k)[()],
            "eps_factor": (1 / np.sqrt(k))[()],
        },
    )


BOUND = Bound(
    slug=SLUG,
    title="Scaling rules for beta, weight decay and averages against the token half-life",
    algorithm="moving averages whose batch size is multiplied by k",
    quantity="",
    quantity_latex=r"1-\beta^k",
    statement_latex=r"k(1-\beta)-\binom k2(1-\beta)^2\le1-\beta^k\le k(1-\beta)",
    kind="two-sided",
    assumptions=(POWER, EMA, DECAY),
    parameters=(
        Parameter(name="k", meaning="factor of the batch size, a whole number", unit="1"),
        Parameter(
            name="beta",
            meaning="coefficient at the base batch",
            unit="1",
            rule="must lie in (0, 1)",
            accepts=lambda x: bool(
                np.all((np.asarray(x, dtype=float) > 0) & (np.asarray(x, dtype=float) < 1))
            ),
        ),
    ),
    derive=derive,
    value=value,
    references=(SQUARE_ROOT_RULE, AVERAGING_RULE, EQUAL_BETAS),
    notes=(
        "The square-root rule also sets the learning rate to sqrt(k) times itself and eps to eps/sqrt(k); "
        "when that matches training is a statement about an SDE limit which is not shown here.",
        "Weight decay: the timescale as a fraction of a run of D tokens is B/(eta wd D).",
    ),
)
