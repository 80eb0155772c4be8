"""A bound against a run: audit, then measurement with a confidence limit, then a verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from bstheory.comparison.audit import PUBLISHED_AS, AuditItem, audit, audit_verdict
from bstheory.comparison.limits import lower_limit, mean_limits
from bstheory.errors import InputError, input_error
from bstheory.run import Run
from bstheory.theory.bound import Bound
from bstheory.verdict import Verdict

# float64 sums of nonnegative terms lose at most K ulps; 1e-6 covers K = 1e9 and float32 series.
ROUNDING = 1e-6

_PER_COORDINATE = ("noise",)

# Names under which an optimizer's configuration keeps what theorems call by their letters.
_FROM_ALGORITHM = {
    "alpha": "learning_rate",
    "eta": "learning_rate",
    "delta": "learning_rate",
    "h": "half_life",
    "t2": "half_life",
    "t1": "half_life1",
    "eps": "eps",
    "beta1": "beta1",
    "beta2": "beta2",
    "v0": "v0",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a run says about a bound. Scalars are those of the last record; ``curves`` has all of them.

    Attributes:
        slug: the theorem.
        run: name of the run.
        verdict: ``consistent``, ``refuted``, ``inapplicable`` or ``undecided``.
        reason: one sentence.
        kind: of the bound, e.g. ``"upper"``.
        quantity: the measured series.
        level: probability that all limits of all records hold together.
        num_seeds: sample size.
        method: how the limits were computed, in words.
        measured: mean over seeds.
        interval: confidence limits of its expectation.
        value: the bound. trivial_value: what needs no theorem, None where nothing is known.
        ratio: measured / value.
        curves: float64 [T] each: ``tokens, steps, measured, lower, upper, bound, trivial``.
        audit: the assumptions.
        constants: what the bound was evaluated at.
    """

    slug: str
    run: str
    verdict: Verdict
    reason: str
    kind: str
    quantity: str
    level: float
    num_seeds: int
    method: str
    measured: float | None = None
    interval: tuple[float, float] | None = None
    value: float | None = None
    trivial_value: float | None = None
    ratio: float | None = None
    curves: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    audit: tuple[AuditItem, ...] = ()
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON with the verdict as its word; curves as lists."""
        document = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return document | {
            "verdict": self.verdict.word,
            "interval": None if self.interval is None else list(self.interval),
            "curves": {name: np.asarray(values).tolist() for name, values in self.curves.items()},
            "audit": [dataclasses.asdict(item) for item in self.audit],
            "constants": {name: np.asarray(value).tolist() for name, value in self.constants.items()},
        }


def compare(bound: Bound, run: Run, *, level: float = 0.99) -> Comparison:
    """Confront a bound with a run, evaluating it from ``run.config`` alone at every record.

    1. Every assumption is audited; one that fails makes the bound ``inapplicable`` here, one that nothing
       decides leaves the comparison ``undecided``.
    2. At each of the T records the mean over seeds gets a lower and an upper confidence limit, each at error
       (1 - level) / (2 T), so that all hold together with probability ``level`` (Bonferroni).
    3. An upper bound is ``refuted`` if a lower limit exceeds it, and ``consistent`` otherwise. An identity is
       refuted also by an upper limit below it.

    Where a rule chose the batches during the run, each path has its own schedule; then only bounds that
    depend on tokens alone are compared, at the last record, and ``trivial_value`` uses the mean weight.

    Args:
        bound: a theorem.
        run: its measurement; seeds are independent.
        level: of all limits together.

    Raises:
        InputError: ``level`` outside (0, 1), fewer than two seeds, or a kind of statement that no run tests.
    """
    if bound.kind not in ("upper", "identity", "two-sided"):
        raise input_error(
            got=f"{bound.slug} of kind {bound.kind!r}",
            rule="a run is compared with an upper bound, an identity or a two-sided bound",
            do="choose another theorem",
        )
    if not 0 < level < 1:
        raise input_error(
            got=f"level={level}", rule="it lies strictly between 0 and 1", do="pass for example 0.99"
        )
    common: dict[str, Any] = {
        "slug": bound.slug,
        "run": run.name,
        "kind": bound.kind,
        "quantity": bound.quantity,
        "level": level,
        "num_seeds": len(run.seeds),
    }
    items = audit(bound, run)
    verdict, reason = audit_verdict(items)
    if verdict is not None:
        return Comparison(**common, verdict=verdict, reason=reason, method="assumption audit", audit=items)
    if len(run.seeds) < 2:
        raise input_error(
            got=f"{len(run.seeds)} seed",
            rule="a mean has a confidence limit from two seeds on",
            do="run more seeds",
        )
    constants = constants_of(bound, run)
    adaptive = "schedule" not in run.config
    if adaptive and bound.slug not in _TOKENS_ONLY:
        reason = "the bound depends on the schedule, and each path of this run has its own"
        return Comparison(**common, verdict=Verdict.UNDECIDED, reason=reason, method="none", audit=items)
    records = np.flatnonzero(np.asarray(run.steps) > 0)
    if adaptive:  # only at the end have all paths consumed the same tokens
        records = records[-1:]
    try:
        value, trivial = _bound_at(bound, run, constants, records)
    except (
        InputError
    ) as error:  # a recorded constant lies outside the hypotheses, e.g. a learning rate above 2/L
        method = "hypotheses on the constants"
        return Comparison(
            **common, verdict=Verdict.INAPPLICABLE, reason=str(error), method=method, audit=items
        )
    samples = np.asarray(run.series[bound.quantity], dtype=np.float64)[:, records]  # [S, T]
    common |= {"audit": items, "constants": constants}
    lost = int((~np.isfinite(samples)).any(axis=1).sum())
    if lost:
        reason = f"the series {bound.quantity} is not finite in {lost} of {counted(len(run.seeds), 'seed')}"
        return Comparison(**common, verdict=Verdict.UNDECIDED, reason=reason, method="none")
    if not np.all(np.isfinite(value)):
        reason = (
            f"the bound is not a finite number at {int((~np.isfinite(value)).sum())} of {len(value)} records"
        )
        return Comparison(**common, verdict=Verdict.UNDECIDED, reason=reason, method="none")
    # Only a bounded gradient gives the trivial value the rank of an almost-sure range.
    bounded = any(assumption.name == "bounded_gradient" for assumption in bound.assumptions)
    ranged = bound.quantity in _ALMOST_SURE and bounded and not adaptive
    if ranged and np.any(samples > trivial * (1 + ROUNDING)):
        reason = (
            "bounded_gradient: the measured sum exceeds d R^2 times its weight, so the published R is false"
        )
        return Comparison(**common, verdict=Verdict.INAPPLICABLE, reason=reason, method="range of the series")
    lower, upper, method = _limits(samples, trivial, ranged, _is_nonnegative(bound, run), level)
    measured = samples.mean(axis=0)
    above = lower > value
    below = (upper < value) & (bound.kind in ("identity", "two-sided"))
    against = above | below
    tokens = np.asarray(run.tokens)[records]
    if against.any():
        k = int(np.argmax(against))
        side = f"at least {lower[k]:.6g}" if above[k] else f"at most {upper[k]:.6g}"
        reason = f"after {tokens[k]} tokens the mean is {side}, the claim is {value[k]:.6g}"
    else:
        worst = int(np.argmax(measured / value))
        reason = (
            f"no lower limit exceeds the bound at {counted(len(records), 'record')}; "
            f"the largest ratio is {measured[worst] / value[worst]:.3g} after {tokens[worst]} tokens"
        )
    return Comparison(
        **common,
        verdict=Verdict.REFUTED if against.any() else Verdict.CONSISTENT,
        reason=reason,
        method=f"{method}; {counted(len(run.seeds), 'seed')}, {counted(len(records), 'record')}, "
        f"simultaneous level {level:g}",
        measured=float(measured[-1]),
        interval=(float(lower[-1]), float(upper[-1])),
        value=float(value[-1]),
        trivial_value=float(trivial[-1]) if np.isfinite(trivial[-1]) else None,
        ratio=float(measured[-1] / value[-1]),
        curves={
            "tokens": tokens,
            "steps": np.asarray(run.steps)[records],
            "measured": measured,
            "lower": lower,
            "upper": upper,
            "bound": value,
            "trivial": trivial,
        },
    )


def constants_of(bound: Bound, run: Run) -> dict[str, Any]:
    """The constants that a bound needs, from what the run recorded of its problem and its algorithm.

    Raises:
        InputError: one that has no default is not recorded.
    """
    problem, algorithm = run.config["problem"], run.config["algorithm"]
    found: dict[str, Any] = {}
    for parameter in bound.parameters:
        name = parameter.name
        if name == "d":
            found[name] = problem["dim"]
        elif algorithm.get(_FROM_ALGORITHM.get(name, "")) is not None:
            found[name] = algorithm[_FROM_ALGORITHM[name]]
        elif (published := PUBLISHED_AS.get(name, name)) in problem["constants"]:
            value = problem["constants"][published]["value"]
            # A run writes a vector of equal entries as one number.
            vector = published in _PER_COORDINATE
            found[name] = np.broadcast_to(value, problem["dim"]) if vector else value
        elif parameter.default is None:
            raise input_error(
                got=f"run {run.name!r} without {name}",
                rule=f"{bound.slug} needs {name} ({parameter.meaning}, {parameter.unit})",
                do="record it in the problem's constants or the algorithm's configuration",
            )
    return found


def batch_sizes_of(run: Run) -> np.ndarray:
    """Batch size of each step, int64 [K], from the run-length list ``[[num_steps, batch_size], ...]``."""
    stages = np.asarray(run.config["schedule"], dtype=np.int64)
    return np.repeat(stages[:, 1], stages[:, 0])


# Quantities whose trivial bound holds path by path, hence a range for the finite-sample limits:
# |grad F_i| = |E g_i| <= R, so sum_k w_k |grad F|^2 <= d R^2 sum_k w_k.
_ALMOST_SURE = ("weighted_sq_gradient",)

# Sums of norms are nonnegative, and so is a loss whose published lower bound is: then the lower limit needs
# no range.
_NONNEGATIVE = ("weighted_sq_gradient", "weighted_l1_gradient", "sq_gradient")


def _is_nonnegative(bound: Bound, run: Run) -> bool:
    constants = run.config["problem"]["constants"]
    floor = constants.get("F_star", {"value": -1.0, "known": "measured"})
    at_least_zero = floor["known"] in ("proved", "by construction") and floor["value"] >= 0
    return bound.quantity in _NONNEGATIVE or (bound.quantity == "loss" and at_least_zero)


# Bounds whose right-hand side depends on the schedule through its tokens alone; others need one schedule for
# all paths.
_TOKENS_ONLY = ("adam_token_half_life", "adam_token_half_life_initial")


def _bound_at(bound: Bound, run: Run, constants: Mapping[str, Any], records: np.ndarray) -> Any:
    if "schedule" not in run.config:
        tokens = np.asarray(run.tokens)[records]
        found = [bound.evaluate(constants=constants, schedule=[int(t)]) for t in tokens]
        weight = np.asarray(run.series["weight"], dtype=np.float64)[:, records].mean(axis=0)
        trivial = [float(e.parts["trivial_per_weight"]) * w for e, w in zip(found, weight)]
        return np.array([float(e.value) for e in found]), np.array(trivial)
    batches = batch_sizes_of(run)
    found = [
        bound.evaluate(constants=constants, schedule=batches[: int(step)])
        for step in np.asarray(run.steps)[records]
    ]
    return (
        np.array([float(e.value) for e in found]),
        np.array([np.inf if e.trivial_value is None else float(e.trivial_value) for e in found]),
    )


def counted(number: int, noun: str) -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _limits(
    samples: np.ndarray, trivial: np.ndarray, ranged: bool, nonnegative: bool, level: float
) -> tuple[Any, Any, str]:
    """Lower and upper limits [T] for the columns of [S, T]."""
    error = (1.0 - level) / (2 * samples.shape[1])
    if ranged:
        pairs = [
            mean_limits(samples[:, k], upper=float(trivial[k] * (1 + ROUNDING)), error=error)
            for k in range(samples.shape[1])
        ]
        lower, upper = np.array(pairs).T
        return (
            lower,
            upper,
            "betting limits for a variable in [0, d R^2 W], valid at any sample size",
        )
    from scipy import stats

    n = samples.shape[0]
    half = stats.t.isf(error, n - 1) * samples.std(axis=0, ddof=1) / np.sqrt(n)
    mean = samples.mean(axis=0)
    if nonnegative:
        lower = np.array([lower_limit(column, error=error) for column in samples.T])
        return (
            lower,
            mean + half,
            "betting lower limit for a nonnegative variable, valid at any sample size; "
            "Student t upper limit, asymptotic",
        )
    return mean - half, mean + half, "Student t limits, asymptotic: the series has no almost-sure range"
