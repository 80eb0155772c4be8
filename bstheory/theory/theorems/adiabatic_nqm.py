"""Adam-type steps on the noisy quadratic by an adiabatic recursion. A **prediction**, not a theorem.

RMSProp on h theta^2/2, noise variance sigma^2/B_t. With M = E theta^2 and Gaussian functionals of the actual
weights at the variances s_t = sigma^2/B_t + h^2 M_t,

    M' = M (1 - 2 eta h k1) + eta^2 k2,   k1 = d/dmu E[g/sqrt(v)] at mu = 0 (per gradient),  k2 = E[g^2/v].

It treats theta as Gaussian and as independent of v, which holds to leading order where noise dominates. In a
signal-dominated transient it is off by tens of per cent. Nothing derives it; its check is a Monte-Carlo
comparison in the noise-dominated region at a printed tolerance.
"""

from __future__ import annotations

import time

import numpy as np

from bstheory.references import SMALL_BATCH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.half_life_lemmas import HALF_LIFE, need_schedule
from bstheory.theory.theorems.gaussian_adam_functionals import NODES, nodes
from bstheory.verdict import Certificate, Verdict

SLUG = "adiabatic_nqm"
ADIABATIC = Assumption(
    name="adiabatic", statement="theta is Gaussian and independent of v; noise dominates the gradient"
)
TOLERANCE = 0.05
PATHS, STEPS, SEED = 20_000, 120, 0


def response(w: np.ndarray, s: np.ndarray) -> tuple[float, float]:
    """(k1, k2) of the newest gradient: 2/sqrt(pi) int Lap/q dy and int Lap s/q 2y dy, for mu = 0."""
    scale = 1 / np.sqrt((w * s).sum())
    y, dy = (scale * x for x in nodes(NODES // 2))
    kept = w * s > 1e-16 * (w * s).max()
    density = np.exp(-0.5 * np.log1p(2 * y[:, None] ** 2 * (w * s)[kept]).sum(axis=1))
    density = density / (1 + 2 * y**2 * w[-1] * s[-1])
    return float((2 / np.sqrt(np.pi) * density * dy).sum()), float((2 * y * density * s[-1] * dy).sum())


def path(batches: np.ndarray, *, eta: float, h: float, sigma: float, t2: float, m0: float) -> np.ndarray:
    """Predicted E theta^2 before each step and after the last, [K+1], v bias-corrected."""
    M = [m0]
    w = np.empty(0)
    s = np.empty(0)
    for B in batches:
        beta = 2.0 ** (-B / t2)
        w = np.append(beta * w, 1 - beta)
        s = np.append(s, sigma**2 / B + h**2 * M[-1])
        if len(w) == 1:  # the first bias-corrected step is eta times a sign; there is no density to integrate
            k1, k2 = float(np.sqrt(2 / (np.pi * s[0]))), 1.0
        else:
            k1, k2 = response(w / w.sum(), s)
        M.append(M[-1] * (1 - 2 * eta * h * k1) + eta**2 * k2)
    return np.array(M)


def monte_carlo(
    batches: np.ndarray, *, eta: float, h: float, sigma: float, t2: float, m0: float, paths: int, seed: int
) -> np.ndarray:
    """Sampled E theta^2 before each step and after the last, [K+1]."""
    rng = np.random.default_rng(seed)
    theta, v, weight = rng.normal(0, np.sqrt(m0), paths), np.zeros(paths), 0.0
    found = [np.mean(theta**2)]
    for B in batches:
        beta = 2.0 ** (-B / t2)
        g = h * theta + rng.normal(0, sigma / np.sqrt(B), paths)
        v, weight = beta * v + (1 - beta) * g**2, beta * weight + 1 - beta
        theta = theta - eta * g / np.sqrt(v / weight)
        found.append(np.mean(theta**2))
    return np.array(found)


def check() -> Certificate:
    """Compare with sampled paths in the noise-dominated region, batch doubling half way."""
    started = time.perf_counter()
    batches = np.repeat([4.0, 8.0], STEPS // 2)
    setting = {"eta": 0.02, "h": 0.3, "sigma": 2.0, "t2": 40.0, "m0": 0.05}
    predicted = path(batches, **setting)
    seen = monte_carlo(batches, **setting, paths=PATHS, seed=SEED)
    worst = float(np.max(np.abs(predicted / seen - 1)))
    return Certificate(
        slug=SLUG,
        claim_hash="",
        verdict=Verdict.CONSISTENT if worst <= TOLERANCE else Verdict.REFUTED,
        method=f"Monte-Carlo, {PATHS} paths of {STEPS} steps, largest relative deviation against {TOLERANCE}",
        evidence={"setting": setting, "seed": SEED, "largest_deviation": worst},
        margin=TOLERANCE - worst,
        seconds=time.perf_counter() - started,
        reason="" if worst <= TOLERANCE else f"off by {worst:.3f} in the noise-dominated region",
    )


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Predicted expected loss h E theta^2/2 after the schedule. ``parts`` has the path."""
    batches = need_schedule(SLUG, batch_size)
    eta, h, sigma, t2, m0 = (float(constants[name]) for name in ("eta", "h", "sigma", "t2", "m0"))
    M = path(batches, eta=eta, h=h, sigma=sigma, t2=t2, m0=m0)
    ratio = h**2 * M[:-1] * batches / sigma**2
    return Evaluation(
        value=0.5 * h * M[-1],
        trivial_value=None,
        parts={"second_moment": M, "signal_to_noise": ratio, "noise_dominated": bool(ratio.max() < 0.1)},
    )


BOUND = Bound(
    slug=SLUG,
    title="RMSProp on the noisy quadratic by an adiabatic recursion",
    algorithm="theta' = theta - eta g/sqrt(v_hat), v with token half-life t2",
    quantity="loss",
    quantity_latex=r"\mathbb E\tfrac h2\theta^2",
    statement_latex=r"M'\approx M(1-2\eta hk_1^{(t)})+\eta^2k_2^{(t)}",
    kind="prediction",
    assumptions=(HALF_LIFE, ADIABATIC),
    parameters=(
        Parameter(name="eta", meaning="learning rate", unit="param"),
        Parameter(name="h", meaning="curvature", unit="loss/param^2"),
        Parameter(name="sigma", meaning="gradient standard deviation, one token", unit="grad*sqrt(token)"),
        Parameter(name="t2", meaning="half-life of v", unit="tokens"),
        Parameter(name="m0", meaning="E theta_0^2", unit="param^2"),
    ),
    derive=None,
    value=value,
    references=(SMALL_BATCH,),
    notes=(
        "Fails in signal-dominated transients, by tens of per cent; part signal_to_noise says where.",
        "With momentum one would need E[g^2/sqrt(v_t v_{t+s})]: open.",
    ),
    check=check,
    declared="consistent",
)
