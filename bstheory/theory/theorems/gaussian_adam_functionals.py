"""Moments of Adam's step under Gaussian gradients, by one-dimensional quadrature.

v = sum_t w_t g_t^2, m = sum_t a_t g_t, g_t ~ N(mu, s_t) independent; q_t(y) = 1 + 2 y^2 w_t s_t and
Lap(y) = E e^(-y^2 v) = prod q_t^(-1/2) e^(-y^2 w_t mu^2/q_t). **Identities** (eps inside the root):

    E 1/sqrt(v + eps)  = 2/sqrt(pi) int_0^oo Lap e^(-eps y^2) dy
    E m/sqrt(v + eps)  = 2/sqrt(pi) int_0^oo Lap e^(-eps y^2) sum_t (a_t mu/q_t) dy
    E m^2/(v + eps)    = int_0^oo Lap e^(-eps y^2) [(sum_t a_t mu/q_t)^2 + sum_t a_t^2 s_t/q_t] 2 y dy.

eps outside, 1/(sqrt(v) + eps): the kernel 2/sqrt(pi) becomes 2/sqrt(pi) - 2 eps y erfcx(eps y), and 2 y
becomes 2 y erfcx(eps y)(1 + 2 eps^2 y^2) - 4 eps y^2/sqrt(pi), its derivative in eps with the sign changed.

Proof: v^(-1/2) is a Gaussian integral; completing the square (part ``tilt``) turns e^(-y^2 w g^2) into a
change of law to N(mu/q, s/q); independence. The part ``closed_forms`` encloses instances with ball
arithmetic, tails included: four equal weights, where E v^(-1/2) = sqrt(pi/8), a schedule of unequal
weights, and both places of eps. E v^(-1/2) is infinite for a single term. To second order it is (E
v)^(-1/2) (1 + 3/8 CV^2).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from scipy.special import erfcx

from bstheory.errors import input_error
from bstheory.references import SMALL_BATCH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.enclosure import Enclosure
from bstheory.theory.half_life_lemmas import HALF_LIFE, need_schedule, weights

SLUG = "gaussian_adam_functionals"
GAUSSIAN = Assumption(
    name="gaussian", statement="g_t ~ N(mu, sigma^2/B_t), independent over t", constants=("mu", "sigma")
)
NODES = 600


@functools.cache
def nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """y in (0, oo) and dy: Gauss-Legendre nodes under y = u/(1 - u)."""
    node, weight = np.polynomial.legendre.leggauss(count)
    u = 0.5 * (node + 1)
    return u / (1 - u), 0.5 * weight / (1 - u) ** 2


def derive() -> dict[str, Any]:
    """The change of law, and rigorous values of instances."""
    return {"tilt": tilt(), "closed_forms": closed_forms().document()}


def tilt() -> Derivation:
    """y^2 w g^2 + (g - mu)^2/(2 s) = q (g - mu/q)^2/(2 s) + y^2 w mu^2/q."""
    d = Derivation(SLUG, "completing the square")
    y2 = d.symbol("y2", sign="nonnegative", latex="y^2", meaning="squared integration variable")
    w = d.symbol("w", sign="nonnegative", latex="w", meaning="weight")
    s = d.symbol("s", sign="positive", latex="s", meaning="variance")
    g, mu = d.symbol("g", latex="g", meaning="gradient"), d.symbol("mu", latex=r"\mu", meaning="its mean")
    q = 1 + 2 * y2 * w * s
    left = y2 * w * g**2 + (g - mu) ** 2 / (2 * s)
    right = q * (g - mu / q) ** 2 / (2 * s) + y2 * w * mu**2 / q
    d.combine("tilt", gap=right - left, relation="==", why="expand")
    d.claim = ("tilt", left, right)
    return d


def closed_forms() -> Enclosure:
    """Instances whose value is known, and one schedule with momentum."""
    e = Enclosure(SLUG, "instances of the quadrature, enclosed")
    common = {"variable": "y", "lower": 0, "upper": "oo"}
    e.value("four_equal_weights", "sqrt(pi/8)", digits=20, why="E 1/chi with four degrees of freedom")
    e.integral(
        "four_equal_weights_quadrature",
        "2/sqrt(pi)/(1 + 2*y**2)**2",
        **common,
        split=10**8,
        digits=20,
        why="the first functional with w s = 1, mu = 0",
    )
    schedule = "2/sqrt(pi)/sqrt((1 + 2*y**2/2)*(1 + 2*y**2/8)*(1 + 2*y**2/64)*(1 + 2*y**2/512))"
    e.integral(
        "unequal_weights", schedule, **common, split=10**7, digits=12, why="weights halving, s falling"
    )
    shifted = f"{schedule}*exp(-y**2/2/(1 + y**2) - y**2/4/(1 + y**2/4))"
    e.integral("with_mean", shifted, **common, split=10**7, digits=12, why="mu = 1 in two of the terms")
    e.integral(
        "eps_inside", f"{schedule}*exp(-y**2/4)", **common, split=1000, digits=15, why="eps = 1/4 inside"
    )
    erfcx_half = "exp(y**2/4)*erfc(y/2)"
    e.integral(
        "eps_outside_kernel",
        f"exp(-y**2)*(2/sqrt(pi) - y*{erfcx_half})",
        "y",
        0,
        12,
        digits=20,
        why="the kernel at v = 1, eps = 1/2 gives 1/(1 + 1/2); what is beyond 12 is below",
    )
    e.integral(
        "eps_outside_square_kernel",
        f"exp(-y**2)*(2*y*{erfcx_half}*(1 + y**2/2) - 2*y**2/sqrt(pi))",
        "y",
        0,
        12,
        digits=20,
        why="the kernel of the square at v = 1, eps = 1/2 gives 1/(1 + 1/2)^2",
    )
    e.integral(
        "kernel_tail",
        "2*(1 + y)*exp(-y**2)",
        "y",
        12,
        "oo",
        split=10**4,
        digits=20,
        why="both kernels are at most 2 (1 + y) e^(-y^2), and beyond 12 that is nothing",
    )
    return e


def functionals(
    w: np.ndarray, a: np.ndarray, s: np.ndarray, *, mu: float, eps: float = 0.0, outside: bool = False
) -> tuple[float, float, float]:
    """**Exact** up to quadrature: E 1/sqrt(v), E m/sqrt(v), E m^2/v, with eps inside or outside the root.

    Args:
        w, a, s: weights of v, weights of m and variances, [T].
        mu: mean of every gradient. eps: grad^2 inside, grad outside the root.

    Raises:
        InputError: shapes differ, a negative weight or variance, or too few terms: E v^(-1/2) is then
        infinite.
    """
    w, a, s = (np.asarray(x, dtype=float) for x in (w, a, s))
    if not w.shape == a.shape == s.shape or w.ndim != 1:
        raise input_error(
            got=f"shapes {w.shape}, {a.shape}, {s.shape}",
            rule="w, a and s are vectors of one length",
            do="pass one weight of v, one of m and one variance per step",
        )
    if np.any(w < 0) or np.any(s < 0) or eps < 0:
        raise input_error(
            got="a negative weight, variance or eps", rule="all are at least 0", do="correct it"
        )
    if np.count_nonzero(w * s) < 2 and eps == 0 and mu == 0:
        raise input_error(
            got=f"{np.count_nonzero(w * s)} noisy terms and eps=0",
            rule="with a single centred term E 1/sqrt(v) is infinite",
            do="pass two steps or more, or eps > 0",
        )
    scale = 1 / np.sqrt((w * (mu**2 + s)).sum() + (eps if not outside else eps**2))
    y, dy = (scale * x for x in nodes(NODES))
    q = 1 + 2 * y[:, None] ** 2 * w * s  # [nodes, T]
    laplace = np.exp(-0.5 * np.log(q).sum(axis=1) - (y[:, None] ** 2 * w * mu**2 / q).sum(axis=1))
    mean, square = (a * mu / q).sum(axis=1), (a**2 * s / q).sum(axis=1)
    if outside:
        tail = erfcx(eps * y)
        root_kernel = 2 / np.sqrt(np.pi) - 2 * eps * y * tail
        square_kernel = 2 * y * tail * (1 + 2 * eps**2 * y**2) - 4 * eps * y**2 / np.sqrt(np.pi)
    else:
        damping = np.exp(-eps * y**2)
        root_kernel, square_kernel = 2 / np.sqrt(np.pi) * damping, 2 * y * damping
    return (
        float((laplace * root_kernel * dy).sum()),
        float((laplace * root_kernel * mean * dy).sum()),
        float((laplace * square_kernel * (mean**2 + square) * dy).sum()),
    )


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """E m^2/v of the last step of a schedule; the other two in ``parts``. Trivial: (sum |a|/sqrt(w))^2."""
    batches = need_schedule(SLUG, batch_size)
    mu, sigma, eps = (float(constants[name]) for name in ("mu", "sigma", "eps"))
    w, phi = weights(batches, float(constants["t2"]))
    if constants["t1"] > 0:
        a, phi1 = weights(batches, float(constants["t1"]))
    else:
        a, phi1 = np.zeros_like(w), 0.0
        a[-1] = 1.0
    if constants["corrected"]:
        w, a = w / (1 - phi), a / (1 - phi1)
    root, first, second = functionals(
        w, a, sigma**2 / batches, mu=mu, eps=eps, outside=bool(constants["eps_outside"])
    )
    trivial = float((a**2 / np.where(w > 0, w, np.inf)).sum())  # Cauchy-Schwarz: m^2 <= v sum a^2/w
    return Evaluation(
        value=second,
        trivial_value=trivial,
        parts={"inverse_root": root, "mean_step": first, "mean_square": second},
    )


def flag(name: str, meaning: str, default: int) -> Parameter:
    return Parameter(
        name=name, meaning=meaning, unit="1", rule="is 0 or 1", accepts=lambda x: x in (0, 1), default=default
    )


def nonnegative(name: str, meaning: str, unit: str, default: Any = None) -> Parameter:
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
    title="Moments of Adam's step under Gaussian gradients",
    algorithm="m = sum a_t g_t, v = sum w_t g_t^2 with token half-lives t1 and t2, step m/sqrt(v)",
    quantity="",
    quantity_latex=r"\mathbb E\frac{m^2}v",
    statement_latex=r"\mathbb Ev^{-1/2}=\tfrac2{\sqrt\pi}\int_0^\infty\mathcal L\,dy,\ "
    r"\mathbb E\frac m{\sqrt v}=\tfrac2{\sqrt\pi}\int_0^\infty\mathcal L\sum_t\frac{a_t\mu}{q_t}dy,\ "
    r"\mathbb E\frac{m^2}v=\int_0^\infty\mathcal L\Big[\Big(\sum\frac{a_t\mu}{q_t}\Big)^2"
    r"+\sum\frac{a_t^2s_t}{q_t}\Big]2y\,dy",
    kind="identity",
    assumptions=(HALF_LIFE, GAUSSIAN),
    parameters=(
        Parameter(
            name="mu", meaning="mean gradient", unit="grad", rule="must be a number", accepts=lambda x: True
        ),
        Parameter(name="sigma", meaning="gradient standard deviation, one token", unit="grad*sqrt(token)"),
        Parameter(name="t2", meaning="half-life of v", unit="tokens"),
        nonnegative("t1", "half-life of m, 0 for no momentum", "tokens", 0.0),
        nonnegative("eps", "epsilon", "grad^2 inside, grad outside", 0.0),
        flag("eps_outside", "1 where epsilon is added to the root", 0),
        flag("corrected", "1 for bias-corrected m and v", 1),
    ),
    derive=derive,
    value=value,
    references=(SMALL_BATCH,),
    notes=(
        "Proved: the change of law. Enclosed: instances. Values: quadrature with 600 nodes in float64.",
        "E 1/sqrt(v) is infinite for a single centred term.",
    ),
    declared="enclosed",
)
