"""Norm test and token half-life in one statement: random predictable batches, beta2 = 2^(-B_k/h).

The algorithm of ``adam_norm_test`` with beta_{2,k} = 2^(-B_k/h), where B_k in [B_min, B_max] is chosen from
the past and need not be monotone; the run stops when its tokens are spent, N = sum_k B_k at most. Write
y_k = sqrt(beta_{2,k}), gamma_bar = beta1/min y, gamma_low = beta1/max y,
gamma_hat = (gamma_bar + gamma_low)/2, omega = (gamma_bar - gamma_low)/2,
ratio = (1 - min beta2)/(1 - max beta2), q = s ratio/(1 - gamma_bar^2),
nu = 2^(-N/(2h)) min_i sqrt(v_{0,i}): **only the tokens over the half-life** enter nu.

**Upper** bound, for every theta in (0, 1), xi > 0 and x > 0, with S = E sum_k sum_i G_{k,i}^2/sqrt(vt_{k,i}):

    net S <= Delta (1 - gamma_hat)/(alpha (1 - beta1)) + (q/(4 theta)) sum_i G_{1,i}^2/sqrt(v_{0,i}),
    net = 1 - theta - (q/(4 theta)) (1 - min y xi/(1 + xi))
        - (omega/2) (x/(1 - beta1) + s/(x (1 - gamma_bar)))
        - (s (1 - beta1)^2/((1 - gamma_bar)^2 nu)) [
            L alpha (1 + gamma_hat)(1 + 3 gamma_hat)/(2 (1 - gamma_hat)(1 - beta1))
            + (q/(4 theta)) max y xi L^2 alpha^2/nu ],
    E sum_k |G_k|_1 <= sqrt(S_0 T_0),
    T_0 = |sqrt(v_0)|_1 E sum_k 2^(-N_k/(2h)) + s S_0 max y (1 - min beta2)/(2 (1 - max y)),

N_k the tokens after step k. Where the batch never falls (part ``l1_nondecreasing``, ``nondecreasing`` = 1)

    T_0 = |sqrt(v_0)|_1 E sum_k 2^(-N_k/(2h)) + s S_0 max y (1 + max y)/2,

without the ratio of the extremes. Theorem C is the case theta = 1/4, 1 + xi = 8q,
x^2 = s (1 - beta1)/(1 - gamma_bar).

Differs from the catalogue: the boundary term carries sqrt(v_0) and not sqrt(vt_1), which is smaller; the
factor of S_0 in T_0 is ratio s max y (1 + max y)/2, at most the catalogue's ratio s, and without ``ratio``,
as there, where the batch never falls.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import sympy as sp

from bstheory.references import ADAPTIVE_BATCH, SMALL_BATCH
from bstheory.theory import adam_sums as sums
from bstheory.theory import norm_test as test
from bstheory.theory import norm_test_monotone as monotone
from bstheory.theory import norm_test_norms as norms
from bstheory.theory import norm_test_values as values
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.norm_test_half_life import chain_of_steps, p_term, quotient, setting
from bstheory.theory.theorems import adam_norm_test as constant

SLUG = "adam_norm_test_token_half_life"
ASSUMPTIONS = (
    *(a for a in constant.ASSUMPTIONS if a.name in ("smooth", "bounded_below", "norm_test", "start")),
    Assumption(
        name="predictable",
        statement="E_k g_k = grad F(w_k); B_k is chosen from the past, before batch k is drawn, and whether "
        "step k is taken is known then; at most N tokens are used",
    ),
    Assumption(
        name="half_life_rule",
        statement="beta_{2,k} = 2^(-B_k/h) with B_min <= B_k <= B_max",
        constants=("h",),
    ),
    Assumption(
        name="update", statement="m_0 = 0, v_0 > 0, w_0 = w_1; Adam without epsilon and bias correction"
    ),
    Assumption(name="momentum", statement="gamma_bar = beta1/min sqrt(beta2) < 1", constants=("beta1",)),
    Assumption(name="net", statement="net, as defined in the statement, is positive"),
    Assumption(
        name="free_constant",
        statement="theorem C only: theta = 1/4, 1 + xi = 8q, x^2 = s (1 - beta1)/(1 - gamma_bar)",
    ),
    Assumption(
        name="condition_C",
        statement="theorem C only: q (1 - min y) <= 1/8 and omega x <= (1 - beta1)/8",
    ),
    Assumption(name="step_size", statement="theorem C only: the P-term of net is at most 3/16"),
    Assumption(name="nondecreasing", statement="l1_nondecreasing only: B_k >= B_{k-1}, so lam_k never rises"),
)


def derive() -> dict[str, Derivation]:
    """The bound on S with free constants, its l1 norm in general and for rising batches, and theorem C."""
    return {
        "master": master("S"),
        "l1": master("l1"),
        "theorem_c": theorem_c(),
        "l1_nondecreasing": master("l1_nondecreasing"),
    }


def master(conclude: str) -> Derivation:
    """The bound on S with free constants, or its l1 norm."""
    d = Derivation(f"{SLUG}_{conclude}", "Adam under the norm test with a token half-life, free constants")
    k = setting(d)
    right, net = chain_of_steps(d, k)
    S = sp.Symbol("S")
    d.combine("S_bound", gap=right / net - S, uses={"S_times_net": 1 / net}, why="divide by net")
    if conclude == "S":
        d.conclude("S_bound", S, why="the bound on S")
    else:
        l1(d, k, right / net, nondecreasing=conclude == "l1_nondecreasing")
    return d


def l1(d: Derivation, k: test.Coefficients, S_bound: Any, *, nondecreasing: bool = False) -> None:
    """The l1 norm from the bound on S."""
    y_bar, c_max = sp.symbols("y_bar c_max")
    if nondecreasing:
        right = monotone.root_sum(d, k, y_bar=y_bar)
    else:
        z = d.symbol("z", sign="positive", latex=r"1-\max y", meaning="1 - max sqrt(beta2)")
        d.assume(
            "z_rule", z - 1 + y_bar, relation="==", assumption="half_life_rule", why="1 - max sqrt(beta2)"
        )
        right = norms.root_sum(d, k, y_bar=y_bar, z=z, c_max=c_max)
    norms.l1_norm(d, k, S_bound=S_bound, fact="S_bound", right=right)


def theorem_c(*, weighted: bool = False) -> Derivation:
    """The published constants: net >= 3/16 under the conditions, S <= (16/3) [...]."""
    d = Derivation(f"{SLUG}_theorem_c", "Adam under the norm test with a token half-life, theorem C")
    k = setting(d, weighted=weighted)
    right, net = chain_of_steps(d, k)
    theta, xi, y_min, f, growth, e_bar, omega, x, c_max = sp.symbols("theta xi y_min f s e_bar omega x c_max")
    q = quotient()
    eighth = sp.Rational(1, 8)
    rule = {"relation": "==", "assumption": "free_constant"}
    d.assume("theta_choice", theta - sp.Rational(1, 4), why="theta", **rule)
    d.assume("xi_choice", 1 + xi - 8 * q, why="xi", **rule)
    d.assume("x_choice", x**2 * e_bar - growth * f, why="x", **rule)
    d.assume("condition_C", eighth - q * (1 - y_min), assumption="condition_C", why="condition (C)")
    d.assume("condition_switch", eighth * f - omega * x, assumption="condition_C", why="batches vary little")
    d.assume("step_size", sp.Rational(3, 16) - p_term(k), assumption="step_size", why="alpha is small")
    switch = growth * omega / (2 * x * e_bar)
    d.combine(
        "switch_small",
        gap=eighth - omega * x / (2 * f) - switch,
        uses={"condition_switch": 1 / f, "x_choice": omega / (2 * x * f * e_bar)},
        why="both halves are equal",
    )
    d.combine(
        "abel_small",
        gap=2 * eighth - q * (1 - y_min + y_min / (1 + xi)),
        uses={
            "condition_C": 1,
            "xi_choice": y_min / (8 * (1 + xi)),
            "c_max_rest": -eighth / (1 + y_min),
        },
        slack=eighth * c_max / (1 + y_min),
        why="condition (C), and xi",
    )
    d.combine(
        "net_low",
        gap=net - sp.Rational(3, 16),
        uses={
            "net": 1,
            "step_size": 1,
            "switch_small": 1,
            "abel_small": 1,
            "theta_choice": 4 * q * (1 - y_min + y_min / (1 + xi)) / (4 * theta) - 1,
        },
        why="3/4, less 1/4, 1/8 and 3/16",
    )
    S = sp.Symbol("S")
    d.combine("S_sign", gap=S, slack=S, why="a sum of squares")
    d.combine(
        "S_bound",
        gap=sp.Rational(16, 3) * right - S,
        uses={"S_times_net": sp.Rational(16, 3), ("net_low", "S_sign"): sp.Rational(16, 3)},
        why="divide by 3/16",
    )
    l1(d, k, sp.Rational(16, 3) * right)
    return d


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """E sum_k |G_k|_1 along the schedule (its extremes and its tokens are what enters).

    Raises:
        InputError: gamma_bar >= 1 (the batch is above its maximum), or net <= 0.
    """
    batch_size = sums.needs_schedule(SLUG, batch_size)
    v0, G1 = values.vectors(constants)
    never_falls = bool(constants["nondecreasing"])
    if never_falls and np.any(np.diff(batch_size) < 0):
        raise sums.outside(
            f"a batch of {batch_size[1:][np.diff(batch_size) < 0][0]} after a larger one",
            "nondecreasing",
            SLUG,
            "with nondecreasing=1 no batch is smaller than the one before",
        )
    n = {
        name: np.asarray(constants[name], dtype=float)
        for name in ("alpha", "beta1", "eta", "h", "L", "Delta", "theta", "zeta", "chi")
    }
    exponent = -math.log(2) * batch_size / (2 * n["h"][..., None])
    y_min, y_bar = np.exp(exponent.min(axis=-1)), np.exp(exponent.max(axis=-1))
    if np.any(n["beta1"] >= y_min):
        raise sums.outside(
            f"batch_size={batch_size.max()} with beta1={n['beta1']}, h={n['h']}",
            "momentum",
            SLUG,
            f"a batch stays below {2 * n['h'] * np.log2(1 / np.maximum(n['beta1'], 1e-300))} tokens",
        )
    gam_bar, gam_low, growth = n["beta1"] / y_min, n["beta1"] / y_bar, 1 + n["eta"] ** 2
    gh, f = (gam_bar + gam_low) / 2, 1 - n["beta1"]
    c_min, c_max = -np.expm1(2 * exponent.max(axis=-1)), -np.expm1(2 * exponent.min(axis=-1))
    q = growth * c_max / (c_min * (1 - gam_bar**2))
    numbers = n | {
        "s": growth,
        "f": f,
        "xi": n["zeta"] * q - 1,
        "x": n["chi"] * np.sqrt(growth * f / (1 - gam_bar)),
        "y_min": y_min,
        "y_bar": y_bar,
        "B_min": batch_size.min(),
        "B_max": batch_size.max(),
        "N": float(batch_size.sum()),
        "c_min": c_min,
        "c_max": c_max,
        "z": -np.expm1(exponent.max(axis=-1)),
        "e_bar": 1 - gam_bar,
        "e_hat": 1 - gh,
        "omega": (gam_bar - gam_low) / 2,
        "q_min": np.sqrt(v0.min()),
        "boundary": (G1**2 / np.sqrt(v0)).sum(),
        "root_start": np.sqrt(v0).sum(),
        "T_t": np.exp(np.cumsum(exponent, axis=-1)).sum(axis=-1),
    }
    net = compiled()["net"](**numbers)
    if np.any(~(net > 0)):
        largest = values.largest_alpha(numbers, compiled()["net"])
        raise sums.outside(
            f"net={net} at alpha={n['alpha']}",
            "net",
            SLUG,
            f"net is positive only for alpha below {largest} (0: at no alpha, the batches vary too much)",
        )
    total = compiled("l1_nondecreasing" if never_falls else "l1")["l1"](net=net, **numbers)
    step = n["alpha"] * f / np.sqrt(c_min * (1 - gam_bar**2))
    steps, switch = batch_size.size, numbers["omega"] * np.sqrt(growth / (f * (1 - gam_bar)))
    return Evaluation(
        value=total[()],
        trivial_value=values.trivial(G1, n["L"], step, steps)[()],
        parts={
            "S_0": compiled()["S"](net=net, **numbers)[()],
            "net": net[()],
            "per_step": (total / steps)[()],
            "rho": (q * (1 - y_min))[()],
            "switching": switch[()],
            "conditions_of_C": ((q * (1 - y_min) <= 1 / 8) & (switch <= 1 / 8))[()],
            "largest_alpha": values.largest_alpha(numbers, compiled()["net"])[()],
        },
    )


@functools.cache
def compiled(conclude: str = "l1") -> dict[str, Any]:
    """net, S_0 and the l1 bound as functions of named numbers, from the derivation."""
    return values.functions(master(conclude))


BOUND = Bound(
    slug=SLUG,
    title="Adam under the norm test with a token half-life, random predictable batches",
    algorithm="Adam, v_0 > 0, no epsilon, no bias correction, beta2 = 2^(-B_k/h), constant alpha and beta1",
    quantity="sum_l1_gradient",
    quantity_latex=r"\mathbb E\sum_{k\le K}\|\nabla F(w_k)\|_1",
    statement_latex=r"\mathbb E\sum_{k\le K}\|\nabla F(w_k)\|_1\le\sqrt{S_0\Big(\|\sqrt{v_0}\|_1"
    r"\mathbb E\sum_k2^{-N_k/(2h)}+\tfrac{\bar y(1-b)}{2(1-\bar y)}sS_0\Big)},\quad"
    r"S_0=\frac1\kappa\Big[\frac{\Delta(1-\hat\gamma)}{\alpha(1-\beta_1)}"
    r"+\frac q{4\theta}\sum_i\frac{G_{1,i}^2}{\sqrt{v_{0,i}}}\Big]",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=(
        *values.parameters(),
        sums.positive("h", "half-life of the second moment", "tokens"),
        Parameter(
            name="chi",
            meaning="x = chi sqrt(s (1 - beta1)/(1 - gamma_bar)), switching term; 1 in theorem C",
            unit="1",
            default=1.0,
            free=(0.0, math.inf),
        ),
        Parameter(
            name="nondecreasing",
            meaning="1 where batches never fall: the smaller T_0",
            unit="1",
            rule="must be 0 or 1",
            accepts=lambda x: x in (0, 1),
            default=0,
        ),
    ),
    derive=derive,
    value=value,
    references=(ADAPTIVE_BATCH, SMALL_BATCH),
    notes=(
        "Only the tokens over the half-life enter nu; with h proportional to N the rate is 1/sqrt(E K).",
        "For an adaptive schedule evaluate at its extremes: give a schedule with the least and the largest "
        "batch; the sum of 2^(-N_k/(2h)) is at most the number of steps.",
        "A batch range that makes gamma vary by more than (1/4) sqrt((1 - beta1)(1 - gamma_bar)/s) is "
        "outside theorem C, and soon outside the free form.",
    ),
)
