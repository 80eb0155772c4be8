"""The exact second-moment recursions of the noisy quadratic against Monte-Carlo paths."""

from __future__ import annotations

from typing import Any

import numpy as np

from bstheory.comparison.audit import AuditItem, audit_verdict
from bstheory.comparison.compare import Comparison, batch_sizes_of, counted
from bstheory.errors import input_error
from bstheory.problems.problem import Problem
from bstheory.run import Run
from bstheory.verdict import Verdict


def compare_exact(problem: Problem, run: Run, *, level: float = 0.99) -> Comparison:
    """Confront the exact expected loss of SGD or heavy ball with the mean over simulated paths.

    With Gaussian noise each coordinate is N(m, s^2) with ``m`` and ``m^2 + s^2`` from the recursion, so the
    loss sum_i h_i theta_i^2 / 2 of n paths is a weighted sum of noncentral chi-squares. For a = h s^2 / 2 and
    noncentralities (m/s)^2, with V = sum a^2 (1 + 2 (m/s)^2) and x = ln(2 T / (1 - level)), the mean over n
    paths leaves

        [expected - 2 sqrt(V x / n), expected + 2 sqrt(V x / n) + 2 max(a) x / n]

    at any of the T records with probability at most ``1 - level``, for every n. The claim is an identity, so
    the comparison is ``refuted`` on either side.

    Args:
        problem: the noisy quadratic that was simulated.
        run: of SGD or heavy ball, with the series ``loss``.
        level: of all records together.

    Raises:
        InputError: another problem or optimizer, or one without exact recursion.

    Reference: Birgé 2001, "An alternative point of view on Lepski's method", Lemma 8.1.
    """
    slug = _slug(problem, run)
    items = _audit(problem, run)
    verdict, reason = audit_verdict(items)
    common: dict[str, Any] = {
        "slug": slug,
        "run": run.name,
        "kind": "identity",
        "quantity": "loss",
        "level": level,
        "num_seeds": len(run.seeds),
        "audit": items,
    }
    if verdict is not None:
        return Comparison(**common, verdict=verdict, reason=reason, method="assumption audit")
    steps = np.asarray(run.steps)
    records = np.flatnonzero(steps > 0)
    h = np.asarray(problem.params["curvature"], dtype=np.float64)
    second = exact_second_moments(problem, run)[steps[records]]  # [T, d]
    mean_squared = exact_second_moments(problem, run, noise=False)[steps[records]]
    # Nonnegative in exact arithmetic; the difference may round below zero.
    variance = np.maximum(second - mean_squared, 0.0)
    expected = 0.5 * second @ h
    weight = 0.5 * h * variance
    # The second term is 2 a^2 (m/s)^2 written without dividing by s.
    spread = (weight**2 + 0.5 * h**2 * variance * mean_squared).sum(axis=1)
    n, x = len(run.seeds), np.log(2 * len(records) / (1.0 - level))
    half = 2.0 * np.sqrt(spread * x / n)
    top = half + 2.0 * weight.max(axis=1) * x / n
    samples = np.asarray(run.series["loss"], dtype=np.float64)[:, records]
    measured = samples.mean(axis=0)
    tokens = np.asarray(run.tokens)[records]
    # Rounding of K steps: a relative 1e-9 of the loss is far above it and far below any noise.
    slack = 1e-9 * expected
    # "measured in [E - half, E + top]", read as limits for the expectation around the measurement
    lower, upper = measured - top - slack, measured + half + slack
    against = ~((lower <= expected) & (expected <= upper))  # also true where the measurement is not finite
    z = (measured - expected) / np.sqrt(2.0 * spread / n)
    if against.any():
        k = int(np.argmax(against))
        reason = (
            f"after {tokens[k]} tokens the mean of {n} paths is {measured[k]:.9g}, the recursion gives "
            f"{expected[k]:.9g}, {z[k]:+.1f} standard errors away"
        )
    else:
        deviation = float(np.abs(z).max())
        reason = (
            f"at {counted(len(records), 'record')} they agree; "
            f"the largest deviation is {deviation:.2f} standard errors"
        )
    return Comparison(
        **common,
        verdict=Verdict.REFUTED if against.any() else Verdict.CONSISTENT,
        reason=reason,
        method="exact recursion; paths are weighted noncentral chi-squares, Birgé's inequality; "
        f"{counted(n, 'seed')}, {counted(len(records), 'record')}, simultaneous level {level:g}",
        measured=float(measured[-1]),
        interval=(float(lower[-1]), float(upper[-1])),
        value=float(expected[-1]),
        trivial_value=float(problem.value("Delta")),
        ratio=float(measured[-1] / expected[-1]),
        curves={
            "tokens": tokens,
            "steps": steps[records],
            "measured": measured,
            "lower": lower,
            "upper": upper,
            "bound": expected,
            "trivial": np.full(len(records), float(problem.value("Delta"))),
        },
    )


def exact_second_moments(problem: Problem, run: Run, *, noise: bool = True) -> np.ndarray:
    """E theta_i^2 before each step and after the last, float64 [K+1, d], for the run's algorithm and
    schedule.

    ``noise=False`` gives the squared mean path, because the mean of a linear recursion is its noise-free
    path.
    """
    from bstheory.simulation import heavy_ball_moments, sgd_moments
    from bstheory.simulation.optimizers import COLUMNS, SGD, HeavyBall, coefficients

    kind = {"sgd": SGD, "heavy_ball": HeavyBall}[run.config["algorithm"]["name"]]
    optimizer = kind(**{key: v for key, v in run.config["algorithm"].items() if key != "name"})
    batches = batch_sizes_of(run)
    table, _ = coefficients(optimizer, batches)
    column = {name: np.ascontiguousarray(table[:, COLUMNS.index(name)]) for name in COLUMNS}
    h = np.asarray(problem.params["curvature"])
    c = np.asarray(problem.params["noise"]) ** 2 * (1.0 if noise else 0.0)
    start = np.asarray(problem.x0) ** 2
    if kind is SGD:
        return sgd_moments(h, c, start, learning_rate=column["learning_rate"], batch_size=batches)
    moments = heavy_ball_moments(
        h, c, start, learning_rate=column["learning_rate"], beta1=column["beta1"], batch_size=batches
    )
    return moments[:, 0]


def _slug(problem: Problem, run: Run) -> str:
    algorithm = run.config["algorithm"]
    plain = not algorithm.get("weight_decay") and not algorithm.get("ema") and not algorithm.get("nesterov")
    slug = {"sgd": "nqm_sgd", "heavy_ball": "nqm_heavy_ball"}.get(algorithm["name"])
    if problem.name != "noisy_quadratic" or slug is None or not plain:
        raise input_error(
            got=f"{algorithm['name']} on {problem.name}",
            rule="the exact recursions cover SGD and heavy ball (sum convention) on the noisy quadratic",
            do="compare a bound instead",
        )
    return slug


def _audit(problem: Problem, run: Run) -> tuple[AuditItem, ...]:
    recorded = run.config["problem"]
    law = str(recorded.get("noise_law", ""))
    same = recorded.get("name") == problem.name and recorded.get("dim") == problem.dim
    return (
        AuditItem(
            assumption="gaussian_noise",
            outcome="holds" if law == "gaussian" else "fails",
            reason=f"noise law {law!r}; the law of the paths is known for Gaussian noise",
        ),
        AuditItem(
            assumption="same_problem",
            outcome="holds" if same else "fails",
            reason=f"the run is of {recorded.get('name')} with {recorded.get('dim')} coordinates",
        ),
        AuditItem(
            assumption="measured quantity",
            outcome="holds" if "loss" in run.series else "fails",
            reason="series 'loss'",
        ),
    )
