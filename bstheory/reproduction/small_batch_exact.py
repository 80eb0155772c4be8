"""Small-batch claims that need no training: the toy problem (C12) and the memory table (C8)."""

from __future__ import annotations

import numpy as np

from bstheory.memory import PUBLISHED_OTHER, training_memory
from bstheory.reproduction.claim import Finding, Outcomes
from bstheory.verdict import Verdict

# C12: the toy problem, in closed form and by simulation.


def judge_c12(_: Outcomes) -> list[Finding]:
    curvature = np.array([2.0, 20.0])
    start = 0.5 * curvature * np.array([1.0, 1.0])  # f = x^2 + 10 y^2 at (-1, 1)

    def factor(rate: float, snr: float) -> np.ndarray:
        return (1 - rate * curvature) ** 2 + (rate * curvature / snr) ** 2

    small, large = factor(0.012, 0.3), factor(0.09, 5.0)
    expected_small = float((start * small**100).sum())
    expected_large = float((start * large**10).sum())
    rng = np.random.default_rng(0)
    x = np.tile([-1.0, 1.0], (20_000, 1))
    for _step in range(100):
        x -= 0.012 * curvature * x * (1 + rng.standard_normal(x.shape) / 0.3)
    median = float(np.median((0.5 * curvature * x**2).sum(axis=1)))
    numbers = {
        "mean_square_factor_small": small.tolist(),
        "mean_square_factor_large": large.tolist(),
        "expected_loss_small_after_100": expected_small,
        "expected_loss_large_after_10": expected_large,
        "median_loss_small_after_100": median,
        "paths": 20_000,
    }
    diverges = bool(small[1] > 1)
    return [
        Finding(
            statement="at the paper's small-batch setting the expected loss diverges: the mean-square factor "
            "of y exceeds 1",
            verdict=Verdict.PROVED if diverges else Verdict.REFUTED,
            numbers=numbers,
        ),
        Finding(
            statement="the median loss of the same runs falls below the start, as the figure shows",
            verdict=Verdict.CONSISTENT if median < start.sum() else Verdict.REFUTED,
            numbers=numbers,
        ),
    ]


GPT3_13B = {"layers": 40, "width": 5140, "vocab_size": 50257}
PUBLISHED = (("adam", True, 108.3), ("adam", False, 82.4), ("sgd", False, 28.7))  # GB


def judge_memory(_: Outcomes) -> list[Finding]:
    """Totals of the published memory figure from shapes alone."""
    findings = []
    for optimizer, accumulation, total in PUBLISHED:
        found = training_memory(
            **GPT3_13B,
            seq_len=2048,
            optimizer=optimizer,
            accumulation=accumulation,
            other=PUBLISHED_OTHER[optimizer, accumulation],
        )
        ours = found.total / 1e9
        name = optimizer + (" with accumulation" if accumulation else "")
        findings.append(
            Finding(
                statement=f"{name}: shapes and the published remainder give the published total within 1 %",
                verdict=Verdict.CONSISTENT if abs(ours - total) <= 0.01 * total else Verdict.REFUTED,
                numbers={"ours_gb": ours, "published_gb": total, "parts": found.to_dict()},
            )
        )
    return findings
