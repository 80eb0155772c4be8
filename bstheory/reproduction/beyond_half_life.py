"""Which law of the batch size predicts the tuned second-moment half-life: model comparison over seeds.

For every batch size the loss is measured over half-life x learning rate x seed. The tuned half-life t2*(B) is
the vertex of the parabola through the three best half-lives, each at its best rate. Laws t2* = a B^p with one
free constant compete: p = 0 (fixed in tokens), 1/3, 1/2, 1 (fixed in steps: fixed beta2), and p free. Seeds
are resampled; a law is the answer where it has the least BIC in all but alpha of the samples. The regret of a
law is what its half-lives cost, with its constant fitted on other seeds than those it is judged on.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bstheory.problems import noisy_quadratic
from bstheory.reproduction.arms import BATCH_SIZES, HALF_LIFE, SEEDS, centre, constant
from bstheory.reproduction.claim import Finding, Outcomes
from bstheory.training.stacked import Recipe
from bstheory.verdict import Verdict

LAWS = {"tokens": 0.0, "B^(1/3)": 1 / 3, "B^(1/2)": 0.5, "steps": 1.0}
ALPHA = 0.05
SAMPLES = 400
MINIMUM = 4  # batch sizes with an interior optimum that a comparison needs

# Simulator scale, one run: Adam from a far start on a quadratic whose noise falls with the distance.
TOKENS = 2**13
SIMULATED_BATCH_SIZES = tuple(2**k for k in range(7))
HALF_LIVES = tuple(2.0**k for k in range(2, 16))
RATE_FACTORS = tuple(2.0**k for k in range(-3, 4))
SIMULATED_SEEDS = range(1000, 1064)
CENTRE_RATE = 0.004  # at batch size 1; times sqrt(B)
NOISE = (0.1, 3.0)  # that stays, and that falls with the distance, as multiples of the curvature

# Tiny-LM scale: around the anchored half-life.
MULTIPLIERS = tuple(2.0**k for k in range(-3, 4))
LM_FACTORS = (0.5, 1.0, 2.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surface:
    """Losses [B, half-life, rate, seed] with their axes."""

    batch_sizes: np.ndarray
    half_lives: np.ndarray
    losses: np.ndarray

    def profile(self, seeds: np.ndarray) -> np.ndarray:
        """Mean loss over the seeds at the best rate of every half-life, [B, half-life]."""
        return self.losses[..., seeds].mean(axis=-1).min(axis=-1)

    def optima(self, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log2 of the tuned half-life per batch size, and whether it is inside the grid."""
        logs = np.log2(self.half_lives)
        found, inside = [], []
        for row in self.profile(seeds):
            i = int(np.argmin(row))
            inner = 0 < i < len(row) - 1
            shift = 0.0
            if inner and np.isfinite(row[i - 1 : i + 2]).all():
                a, b, c = row[i - 1 : i + 2]
                shift = 0.5 * (a - c) / (a - 2 * b + c) if a - 2 * b + c > 0 else 0.0
            found.append(logs[i] + shift * (logs[1] - logs[0]))
            inside.append(inner)
        return np.array(found), np.array(inside)


def bic(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """BIC of every law and of the free exponent, from log2 t2* = log2 a + p log2 B; Gaussian residuals."""
    n = len(x)

    def score(residual: np.ndarray, parameters: int) -> float:
        return n * float(np.log(max(residual @ residual / n, 1e-12))) + parameters * float(np.log(n))

    scores = {}
    for name, p in LAWS.items():
        r = y - p * x
        scores[name] = score(r - r.mean(), 1)
    line = np.polyfit(x, y, 1)
    scores["free"] = score(y - np.polyval(line, x), 2)
    return scores


def regret(surface: Surface, p: float, fit: np.ndarray, judge: np.ndarray) -> float:
    """Mean over B of the relative loss above the best half-life, the constant fitted on the seeds ``fit``."""
    logs = np.log2(surface.half_lives)
    x = np.log2(surface.batch_sizes)
    constants = np.linspace(logs[0] - p * x[-1], logs[-1], 60)

    def excess(a: float, seeds: np.ndarray) -> float:
        rows = surface.profile(seeds)
        at = [float(np.interp(a + p * xi, logs, row)) for xi, row in zip(x, rows, strict=True)]
        return float(np.mean([value / row.min() - 1 for value, row in zip(at, rows, strict=True)]))

    best = min(constants, key=lambda a: excess(a, fit))
    return excess(best, judge)


def compare(surface: Surface, *, what: str, seed: int = 0) -> list[Finding]:
    """One finding a law: "the tuned half-life follows it", from resampled seeds."""
    count = surface.losses.shape[-1]
    every = np.arange(count)
    optima, inside = surface.optima(every)
    x = np.log2(surface.batch_sizes)
    numbers: dict[str, Any] = {
        "batch_sizes": surface.batch_sizes.tolist(),
        "tuned_half_life": (2**optima).tolist(),
        "inside_grid": inside.tolist(),
        "seeds": count,
        "best_loss": surface.profile(every).min(axis=1).tolist(),
    }
    if inside.sum() < MINIMUM:
        return [
            Finding(
                statement=f"{what}: a law of the half-life can be told apart",
                verdict=Verdict.UNDECIDED,
                numbers={**numbers, "why": f"fewer than {MINIMUM} batch sizes have an optimum inside"},
            )
        ]
    rng = np.random.default_rng(seed)
    wins = dict.fromkeys([*LAWS, "free"], 0)
    beaten = dict.fromkeys(LAWS, 0)
    slopes = []
    for _ in range(SAMPLES):
        sample = rng.integers(0, count, count)
        y, _ = surface.optima(sample)
        scores = bic(x[inside], y[inside])
        named = {name: scores[name] for name in LAWS}
        wins[min(scores, key=lambda k: scores[k])] += 1
        beaten[min(named, key=lambda k: named[k])] += 1
        slopes.append(float(np.polyfit(x[inside], y[inside], 1)[0]))
    scores = bic(x[inside], optima[inside])
    halves = every[::2], every[1::2]
    regrets = {
        name: 0.5 * (regret(surface, p, *halves) + regret(surface, p, *halves[::-1]))
        for name, p in LAWS.items()
    }
    low, high = np.quantile(slopes, [0.025, 0.975])
    numbers |= {
        "exponent": float(np.polyfit(x[inside], optima[inside], 1)[0]),
        "exponent_interval": [float(low), float(high)],
        "bic": scores,
        "share_of_samples_best": {k: v / SAMPLES for k, v in wins.items()},
        "share_best_of_the_named": {k: v / SAMPLES for k, v in beaten.items()},
        "regret": regrets,
        "samples": SAMPLES,
    }
    findings = []
    for name in LAWS:
        share = beaten[name] / SAMPLES
        verdict = Verdict.UNDECIDED
        if share >= 1 - ALPHA / len(LAWS):  # Bonferroni over the laws
            verdict = Verdict.CONSISTENT
        elif share <= ALPHA / len(LAWS):
            verdict = Verdict.REFUTED
        text = f"{what}: of the four laws, '{name}' predicts the tuned half-life best"
        findings.append(Finding(statement=text, verdict=verdict, numbers=numbers))
    return findings


@functools.cache
def one_run() -> Surface:
    """Adam (beta1 0.9) from a far start, final loss; common noise for all settings of one batch size."""
    from bstheory.simulation import Adam, monte_carlo

    h = 1.0 / np.arange(1, 33)
    problem = noisy_quadratic(h, np.sqrt(NOISE[0] * h), noise_growth=NOISE[1] * h)
    tables = []
    for batch in SIMULATED_BATCH_SIZES:
        optimizers = [
            Adam(learning_rate=CENTRE_RATE * batch**0.5 * f, beta1=0.9, half_life=t, eps=1e-8)
            for t in HALF_LIVES
            for f in RATE_FACTORS
        ]
        steps = np.full(TOKENS // batch, batch, np.int64)
        found = monte_carlo(problem, optimizers, [steps] * len(optimizers), seeds=SIMULATED_SEEDS, sums=False)
        tables.append(found.series["loss"][:, :, -1].reshape(len(HALF_LIVES), len(RATE_FACTORS), -1))
    return Surface(
        batch_sizes=np.array(SIMULATED_BATCH_SIZES), half_lives=np.array(HALF_LIVES), losses=np.array(tables)
    )


def judge_simulated(_: Outcomes) -> list[Finding]:
    """The two kinds of drift that theory distinguishes, and one run from afar."""
    from bstheory.reproduction.tracking import DRIFTS, tracking_surface

    findings = [f for drift in DRIFTS for f in compare(Surface(**tracking_surface(drift)), what=drift)]
    return findings + compare(one_run(), what="one run from a far start")


def lm_grid() -> Mapping[tuple[int, float, float], Sequence[Recipe]]:
    """(batch size, multiplier, rate factor) -> one recipe a seed."""
    return {
        (b, m, f): [
            Recipe(
                optimizer="adam",
                batch_sizes=constant(b),
                learning_rate=centre("adam", b) * f,
                half_life=HALF_LIFE * m,
                seed=s,
            )
            for s in SEEDS
        ]
        for b in BATCH_SIZES
        for m in MULTIPLIERS
        for f in LM_FACTORS
    }


def lm_recipes() -> list[Recipe]:
    return [r for row in lm_grid().values() for r in row]


def judge_lm(o: Outcomes) -> list[Finding]:
    """The same comparison on the tiny language model."""
    cells = lm_grid()
    losses = np.array(
        [
            [
                [[min(o[r].validation_loss[-1], np.log(256)) for r in cells[b, m, f]] for f in LM_FACTORS]
                for m in MULTIPLIERS
            ]
            for b in BATCH_SIZES
        ]
    )
    half_lives = HALF_LIFE * np.array(MULTIPLIERS)
    surface = Surface(batch_sizes=np.array(BATCH_SIZES), half_lives=half_lives, losses=losses)
    return compare(surface, what="tiny language model")
