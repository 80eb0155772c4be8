r"""Steps to a target over the batch size, with the rate tuned at each: critical batches and scaling laws.

On the noisy quadratic everything is exact: first the moments (:mod:`.linear`, and the closed form for SGD),
then the smallest number of steps whose expected loss is at most the target. The fits carry standard errors.

Reference: 1907.04164 (noisy quadratic model); 1812.06162 (hyperbola); 2405.14578 (surge); theory entry
``nqm_critical_batch``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy import optimize

from bstheory.errors import input_error
from bstheory.simulation.linear import Stage, moment_map, start

Array = np.ndarray
MAX_STEPS = 2**40


def sgd_loss(
    h: Array, c: Array, m0: Array, *, steps: float, learning_rate: float, batch_size: float
) -> float:
    r"""**Exact** sum_i h/2 [r^{2t} M0 + (1 - r^{2t}) eta c / (B h (2 - eta h))], r = 1 - eta h."""
    h, c, m0 = (np.asarray(v, dtype=np.float64) for v in (h, c, m0))
    stationary = learning_rate * c / (batch_size * h * (2.0 - learning_rate * h))
    with np.errstate(divide="ignore"):
        decay = np.log1p(-np.minimum(learning_rate * h, 2.0 - learning_rate * h))
    power = 2.0 * steps * np.maximum(decay, -1e4)  # r = 0 at eta h = 1: e^-20000 is 0, and 0 steps stay 0
    return float(0.5 * np.sum(h * (np.exp(power) * m0 - np.expm1(power) * stationary)))


def steps_to_target(
    h: Array,
    c: Array,
    m0: Array,
    *,
    target: float,
    batch_size: float,
    learning_rate: float,
    beta1: float = 0.0,
    s: float = 0.0,
) -> int | None:
    """Smallest number of steps whose expected loss is at most ``target``; ``None`` when it is not reached.

    Doubling and then binary descent over exact moments: **exact** while the loss decreases until it first
    meets the target. That is so for SGD whenever each M0_i is at least its stationary value; heavy ball may
    oscillate, and then an earlier visit below the target can be missed, so the answer is an **upper** bound.

    Raises:
        InputError: a number that is not finite or of the wrong sign.
    """
    for name, value, holds, rule in (
        ("target", target, lambda v: v > 0, "a target loss is positive"),
        ("batch_size", batch_size, lambda v: v > 0, "it is positive"),
        ("learning_rate", learning_rate, lambda v: v > 0, "it is positive"),
        ("s", s, lambda v: v >= 0, "a variance is not negative"),
        ("h", h, lambda v: v > 0, "curvatures are positive"),
        ("c", c, lambda v: v >= 0, "variances are not negative"),
        ("m0", m0, lambda v: v >= 0, "second moments are not negative"),
    ):
        numbers = np.asarray(value, dtype=np.float64)
        bad = ~(np.isfinite(numbers) & holds(numbers))
        if bad.any():
            raise input_error(got=f"{name}={numbers[bad].flat[0]}", rule=rule, do=f"correct {name}")
    h = np.atleast_1d(np.asarray(h, dtype=np.float64))
    if learning_rate * h.max() >= 2 * (1 + beta1):
        return None
    if beta1 == 0.0 and s == 0.0:
        return _bisect(
            lambda t: sgd_loss(h, c, m0, steps=t, learning_rate=learning_rate, batch_size=batch_size), target
        )
    stage = Stage(num_steps=1, learning_rate=learning_rate, batch_size=batch_size, beta1=beta1)
    moments = start(m0, len(h), stage)
    powers = [moment_map(h, c, stage, s)]

    def loss(y: Array) -> float:
        return float(0.5 * np.sum(h * y[:, 0]))

    if loss(moments) <= target:
        return 0
    while loss(np.einsum("dij,dj->di", powers[-1], moments)) > target:
        if 2 ** len(powers) > MAX_STEPS:
            return None
        powers.append(powers[-1] @ powers[-1])
        if not np.all(np.isfinite(powers[-1])):
            return None
    steps = 0
    for k in reversed(range(len(powers) - 1)):  # the largest number of steps that still misses the target
        further = np.einsum("dij,dj->di", powers[k], moments)
        if loss(further) > target:
            moments, steps = further, steps + 2**k
    return steps + 1


def _bisect(loss: Callable[[int], float], target: float) -> int | None:
    if loss(0) <= target:
        return 0
    high = 1
    while loss(high) > target:
        high *= 2
        if high > MAX_STEPS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if loss(middle) > target else (low, middle)
    return high


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuned:
    """Best rate at one batch size.

    Attributes:
        batch_size, learning_rate, steps: the optimum over the grid.
        tokens: steps * batch_size.
        at_edge: the optimum is the smallest or largest stable rate tried, so the grid should be extended.
    """

    batch_size: float
    learning_rate: float
    steps: int
    tokens: float
    at_edge: bool


def tuned_steps(
    h: Array,
    c: Array,
    m0: Array,
    *,
    target: float,
    batch_sizes: Sequence[float],
    learning_rates: Sequence[float] | None = None,
    beta1: float = 0.0,
    s: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> list[Tuned]:
    """Tune the rate at every batch size; the default grid is all powers of sqrt(2) from 2^-30 of the largest
    stable rate up to it.

    Raises:
        InputError: a target that no rate of the grid reaches at some batch size.
    """
    h = np.atleast_1d(np.asarray(h, dtype=np.float64))
    top = 2.0 * (1.0 + beta1) / h.max()
    highest = int(np.ceil(2 * np.log2(top)))
    default = 2.0 ** (np.arange(highest - 62, highest) / 2)
    grid = default.tolist() if learning_rates is None else list(learning_rates)
    rates = sorted(rate for rate in grid if 0 < rate < top)
    out = []
    for done, batch in enumerate(batch_sizes):
        found: list[tuple[int, float, bool]] = []
        # From the largest rate down; steps(eta) first falls, then grows like 1/eta: stop once it is four
        # times the best.
        for index in reversed(range(len(rates))):
            steps = steps_to_target(
                h, c, m0, target=target, batch_size=batch, learning_rate=rates[index], beta1=beta1, s=s
            )
            if steps is not None:
                found.append((steps, rates[index], index in (0, len(rates) - 1)))
                if steps > 4 * min(found)[0]:
                    break
        if not found:
            raise input_error(
                got=f"target={target} at batch_size={batch}",
                rule="some learning rate of the grid must reach the target",
                do="raise the target, or pass smaller learning_rates",
            )
        steps, rate, edge = min(found)
        out.append(
            Tuned(batch_size=batch, learning_rate=rate, steps=steps, tokens=steps * batch, at_edge=edge)
        )
        if progress is not None:
            progress(done + 1)
    return out


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hyperbola:
    """S(B) = s_min (1 + critical / B), fitted in relative error.

    Attributes:
        s_min: steps at infinite batch; critical: the critical batch size; e_min = s_min * critical, fewest
        tokens. s_min_se, critical_se: standard errors (delta method) from the residual scatter.
        relative_rms: root mean square of (S / fit - 1): large when the hyperbola is the wrong shape.
        perfect_scaling: largest batch of the data whose tokens exceed e_min by at most the factor asked for.
    """

    s_min: float
    critical: float
    e_min: float
    s_min_se: float
    critical_se: float
    relative_rms: float
    perfect_scaling: float


def fit_hyperbola(
    batch_sizes: Sequence[float], steps: Sequence[float], *, tolerance: float = 0.2
) -> Hyperbola:
    """Weighted least squares of S on 1/B (linear in s_min and e_min), weights 1/S^2.

    Args:
        batch_sizes, steps: at least three points.
        tolerance: "perfect scaling" means tokens within 1 + tolerance of the fewest seen.

    Raises:
        InputError: fewer than three different batch sizes, a value that is not finite and positive, or
            steps that no hyperbola with positive s_min and critical batch fits.
    """
    b, S = np.asarray(batch_sizes, dtype=np.float64), np.asarray(steps, dtype=np.float64)
    positive = all(np.all(np.isfinite(v) & (v > 0)) for v in (b, S))
    if len(b) < 3 or b.shape != S.shape or not positive or len(set(b.tolist())) < 3:
        raise input_error(
            got=f"{b.shape} batch sizes and {S.shape} steps",
            rule="the fit needs at least three points at different batch sizes, finite and positive",
            do="measure more batch sizes",
        )
    design = np.stack([1.0 / S, 1.0 / (b * S)], axis=1)  # relative residuals
    scale = np.linalg.norm(design, axis=0)
    solution, *_ = np.linalg.lstsq(design / scale, np.ones(len(b)), rcond=None)
    s_min, e_min = solution / scale
    if not (s_min > 0 and e_min > 0):
        raise input_error(
            got=f"steps fitted by s_min={s_min:.4g} and e_min={e_min:.4g}",
            rule="both are positive: steps fall with the batch size, and towards a limit",
            do="measure a wider range of batch sizes, small and large",
        )
    residual = design @ np.array([s_min, e_min]) - 1.0
    spread = float(residual @ residual) / (len(b) - 2)
    covariance = spread * np.linalg.inv((design / scale).T @ (design / scale)) / np.outer(scale, scale)
    critical = e_min / s_min
    slope = np.array([-critical / s_min, 1.0 / s_min])
    tokens = S * b
    near = b[tokens <= (1.0 + tolerance) * tokens.min()]
    return Hyperbola(
        s_min=float(s_min),
        critical=float(critical),
        e_min=float(e_min),
        s_min_se=float(np.sqrt(covariance[0, 0])),
        critical_se=float(np.sqrt(slope @ covariance @ slope)),
        relative_rms=float(np.sqrt(np.mean(residual**2))),
        perfect_scaling=float(near.max()),
    )


# Shapes of the optimal rate over B, up to a factor and (where there is one) a noise scale n.
RATE_LAWS: dict[str, Callable[[Array, float], Array]] = {
    "none": lambda b, n: np.ones_like(b),
    "sqrt": lambda b, n: np.sqrt(b),
    "linear": lambda b, n: b,
    "saturating": lambda b, n: 1.0 / (1.0 + n / b),
    "surge": lambda b, n: 2.0 / (np.sqrt(n / b) + np.sqrt(b / n)),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RateLaw:
    """One law of lr(B) fitted to tuned rates; ``noise_scale`` is None when the law has none."""

    name: str
    factor: float
    noise_scale: float | None
    log_rms: float
    aicc: float


def fit_rate_laws(batch_sizes: Sequence[float], rates: Sequence[float]) -> list[RateLaw]:
    """Fit every law to log rates by least squares; best (smallest AICc) first.

    The rates come from a grid, so differences below half a grid step mean nothing: compare ``log_rms`` with
    it.
    """
    b, rate = np.asarray(batch_sizes, dtype=np.float64), np.asarray(rates, dtype=np.float64)
    positive = all(np.all(np.isfinite(v) & (v > 0)) for v in (b, rate))
    if len(b) < 4 or b.shape != rate.shape or not positive:
        raise input_error(
            got=f"{len(b)} batch sizes and {rate.size} rates",
            rule="the laws are told apart by at least four positive points",
            do="add some",
        )
    log_rate = np.log(rate)
    out = []
    for name, law in RATE_LAWS.items():
        free = name in ("saturating", "surge")

        def spread(log_n: float, law: Callable[[Array, float], Array] = law) -> float:
            return float(np.var(log_rate - np.log(law(b, np.exp(log_n)))))

        noise_scale = None
        if free:
            grid = np.linspace(np.log(b.min()) - 7, np.log(b.max()) + 7, 200)
            best = grid[int(np.argmin([spread(x) for x in grid]))]
            step = grid[1] - grid[0]
            found = optimize.minimize_scalar(spread, bounds=(best - step, best + step), method="bounded")
            noise_scale = float(np.exp(found.x))
        residual = log_rate - np.log(law(b, noise_scale or 1.0))
        k, n = (3 if free else 2), len(b)
        variance = max(float(np.var(residual)), 1e-30)
        aicc = n * np.log(variance) + 2 * k + (2 * k * (k + 1) / (n - k - 1) if n > k + 1 else np.inf)
        out.append(
            RateLaw(
                name=name,
                factor=float(np.exp(residual.mean())),
                noise_scale=noise_scale,
                log_rms=float(np.sqrt(variance)),
                aicc=float(aicc),
            )
        )
    return sorted(out, key=lambda law: law.aicc)


def tracking_error(
    half_life: Array, *, batch_size: float, drift: float, noise_scale: float = np.inf
) -> Array:
    r"""Relative squared error of v: lag (drift / lambda)^2 plus CV^2 = 2 tanh(lambda B / 2) [1 -
    (B/(B+n))^2].

    ``drift`` is the relative change of E g^2 per token, lambda = ln 2 / half_life. Leading order in the
    drift.
    Reference: theory entries ``cv2_law`` and ``optimal_half_life``.
    """
    rate = np.log(2.0) / np.asarray(half_life, dtype=np.float64)
    signal = 0.0 if np.isinf(noise_scale) else batch_size / (batch_size + noise_scale)
    return (drift / rate) ** 2 + 2.0 * np.tanh(rate * batch_size / 2.0) * (1.0 - signal**2)


def optimal_half_life(*, batch_size: float, drift: float, noise_scale: float = np.inf) -> float:
    """Half-life that minimizes :func:`tracking_error`; about (2 drift^2 / B)^(1/3) in lambda.

    Raises:
        InputError: a value that is not positive (without drift, the longest half-life is the best).
    """
    given = {"batch_size": batch_size, "drift": drift, "noise_scale": noise_scale}
    for name, value in given.items():
        if not value > 0 or (np.isinf(value) and name != "noise_scale"):
            raise input_error(got=f"{name}={value}", rule="it is positive", do=f"pass a positive {name}")
    guess = np.log(np.log(2.0) / (2.0 * drift**2 / batch_size) ** (1 / 3))
    found = optimize.minimize_scalar(
        lambda x: float(
            tracking_error(np.exp(x), batch_size=batch_size, drift=drift, noise_scale=noise_scale)
        ),
        bounds=(guess - 7, guess + 7),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return float(np.exp(found.x))
