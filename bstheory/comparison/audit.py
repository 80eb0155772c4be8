"""Does a theorem speak of this problem, or of this run? One item for each assumption, with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bstheory.problems.problem import Problem
from bstheory.run import Run
from bstheory.theory.bound import Assumption, Bound
from bstheory.verdict import Verdict

HOLDS, FAILS, UNKNOWN = "holds", "fails", "unknown"
# Laws of the batch-mean noise whose mean is zero by construction (bstheory.problems.noise).
CENTERED_NOISE = ("none", "two_point", "asymmetric", "gaussian", "skewed", "student_t", "sampling")
# Theorems' letters for what problems publish under another name.
PUBLISHED_AS = {"sigma": "noise"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditItem:
    """One assumption: ``outcome`` is ``"holds"``, ``"fails"`` or ``"unknown"``; ``reason`` says why."""

    assumption: str
    outcome: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What an audit may look at. ``algorithm`` is None where only a problem is given.

    Attributes:
        problem: its name.
        constants: name -> (value, how it is known).
        noise_law: law of the noise of a batch mean; empty where the problem does not say.
        algorithm: the optimizer's configuration.
        batch_rule: ``"fixed"`` (the schedule was known before the run), ``"past"`` (chosen from what was
        known
            before the gradient was drawn), ``"present"`` (chosen after seeing it), or empty.
    """

    problem: str
    constants: Mapping[str, tuple[Any, str]]
    noise_law: str
    algorithm: Mapping[str, Any] | None
    batch_rule: str

    @classmethod
    def of(cls, subject: Problem | Run) -> Case:
        """Read a problem, or the configuration that a run recorded."""
        if isinstance(subject, Problem):
            return cls(
                problem=subject.name,
                constants={name: (c.value, c.known) for name, c in subject.constants.items()},
                noise_law=str(subject.params.get("noise_law", "")),
                algorithm=None,
                batch_rule="",
            )
        config = subject.config
        problem = config.get("problem", {})
        return cls(
            problem=str(problem.get("name", config.get("study", "unknown"))),
            constants={n: (c["value"], c["known"]) for n, c in problem.get("constants", {}).items()},
            noise_law=str(problem.get("noise_law", "")),
            algorithm=config.get("algorithm"),
            # A closed loop records how it chose; a run that lists its whole schedule fixed it beforehand.
            batch_rule=str(config.get("batch_rule", "fixed" if "schedule" in config else "")),
        )


def audit(bound: Bound, subject: Problem | Run) -> tuple[AuditItem, ...]:
    """Check every assumption of a theorem on a problem, or on a run (which also fixes algorithm and
    schedule).

    Args:
        bound: the theorem.
        subject: a problem leaves what concerns the algorithm ``unknown``; a run decides it too.

    Returns:
        One item for each assumption, in the theorem's order, and for a run one more about the measured
        quantity.

    Example:
        >>> from bstheory import problems, theorems
        >>> items = audit(theorems.adam_token_half_life, problems.noisy_quadratic([1.0], 0.1))
        >>> [item.assumption for item in items if item.outcome == "fails"]
        ['bounded_gradient']
    """
    case = Case.of(subject)
    items = [_item(bound.slug, assumption, case) for assumption in bound.assumptions]
    if isinstance(subject, Run):
        items.append(_measured(bound, subject, case))
    return tuple(items)


def audit_verdict(items: tuple[AuditItem, ...]) -> tuple[Verdict | None, str]:
    """What the audit alone decides: ``inapplicable`` where an item fails, ``undecided`` where one is unknown.

    Returns:
        (verdict or None where all hold, reasons of the items in question).
    """
    for outcome, verdict in ((FAILS, Verdict.INAPPLICABLE), (UNKNOWN, Verdict.UNDECIDED)):
        found = [f"{item.assumption}: {item.reason}" for item in items if item.outcome == outcome]
        if found:
            return verdict, "; ".join(found)
    return None, ""


Outcome = tuple[str, str]


def _item(slug: str, assumption: Assumption, case: Case) -> AuditItem:
    check = _FORMS.get((slug, assumption.name), _CHECKS.get(assumption.name))
    if check is not None:
        outcome, reason = check(case)
    elif assumption.constants:
        outcome, reason = _published(case, *assumption.constants)
    else:
        outcome, reason = UNKNOWN, "nothing recorded decides it"
    return AuditItem(assumption=assumption.name, outcome=outcome, reason=reason)


def _published(case: Case, *names: str) -> Outcome:
    """The problem publishes the constants, and by a proof or by construction."""
    names = tuple(PUBLISHED_AS.get(name, name) for name in names)
    missing = [name for name in names if name not in case.constants]
    if missing:
        return FAILS, f"problem {case.problem} publishes no {', '.join(missing)}"
    measured = [name for name in names if case.constants[name][1] not in ("proved", "by construction")]
    if measured:
        return UNKNOWN, f"{', '.join(measured)} is measured on {case.problem}, not proved"
    found = [f"{name} = {_short(case.constants[name][0])} ({case.constants[name][1]})" for name in names]
    return HOLDS, ", ".join(found)


def _short(value: Any) -> str:
    array = np.asarray(value, dtype=float)
    if array.ndim == 0:
        return f"{float(array):.6g}"
    return f"[{array.min():.6g} .. {array.max():.6g}]"


def _plain(value: Any) -> str:
    """A setting as a reader writes it: no quotes, no Python names, no float64 digits."""
    if value is None:
        return "not set"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _bounded_gradient(case: Case) -> Outcome:
    outcome, reason = _published(case, "R")
    if outcome == FAILS and case.noise_law == "gaussian":
        return FAILS, f"Gaussian noise on {case.problem} is unbounded, so there is no R"
    return outcome, reason


def _unbiased(case: Case) -> Outcome:
    if case.noise_law in CENTERED_NOISE:
        return HOLDS, f"the noise law {case.noise_law} has mean zero by construction"
    return UNKNOWN, f"problem {case.problem} does not say that its stochastic gradient has no bias"


def _predictable_batch(case: Case) -> Outcome:
    if case.algorithm is None:
        return UNKNOWN, "a problem alone has no schedule"
    known = {
        "fixed": (HOLDS, "the whole schedule was fixed before the run"),
        "past": (HOLDS, "each batch was chosen from what was known before its gradient was drawn"),
        "present": (
            FAILS,
            "a batch was chosen after its own gradient had been seen, so it is not predictable",
        ),
    }
    return known.get(case.batch_rule, (UNKNOWN, "the run does not record how its batches were chosen"))


def _fixed_schedule(case: Case) -> Outcome:
    if case.batch_rule == "fixed":
        return HOLDS, "the whole schedule was fixed before the run"
    outcome, reason = _predictable_batch(case)
    return (outcome, reason) if outcome == UNKNOWN else (FAILS, "batches were chosen during the run")


def _step_size(case: Case) -> Outcome:
    outcome, reason = _published(case, "L")
    if outcome == HOLDS and case.algorithm is None:
        return UNKNOWN, "a problem alone has no learning rate"
    rate = (case.algorithm or {}).get("learning_rate")
    return outcome, f"{reason}; learning rate {_plain(rate)}, checked where the bound is evaluated"


def _requires(**needed: Any) -> Callable[[Case], Outcome]:
    """A check that the optimizer's configuration has these values; a callable value is a predicate."""

    def check(case: Case) -> Outcome:
        if case.algorithm is None:
            return UNKNOWN, "a problem alone has no algorithm"
        wrong = []
        for key, rule in needed.items():
            value = case.algorithm.get(key)
            if not (rule(value) if callable(rule) else value == rule):
                wrong.append(f"{key} = {_plain(value)}")
        if wrong:
            return FAILS, f"the run's algorithm has {', '.join(wrong)}"
        return HOLDS, ", ".join(f"{key} = {_plain(case.algorithm.get(key))}" for key in needed)

    return check


def _measured(bound: Bound, run: Run, case: Case) -> AuditItem:
    """The run recorded the quantity that the theorem bounds, with the theorem's weights."""
    outcome, reason = HOLDS, f"series {bound.quantity}"
    if bound.quantity not in run.series:
        outcome, reason = FAILS, f"the run has no series {bound.quantity}; it has {', '.join(run.series)}"
    elif bound.quantity.startswith("weighted_"):
        # The Adam forms weight step k by sqrt(1 - beta_k), all other theorems by the learning rate.
        adam = bound.slug.startswith("adam_token_half_life")
        needed = "sqrt_one_minus_beta2" if adam else "learning_rate"
        found = (case.algorithm or {}).get("weight")
        if found != needed:
            outcome, reason = FAILS, f"the series weights steps by {_plain(found)}, the theorem by {needed}"
        else:
            reason += f" with weights {found}"
    return AuditItem(assumption="measured quantity", outcome=outcome, reason=reason)


def _positive(value: Any) -> bool:
    return value is not None and value > 0


_CHECKS: dict[str, Callable[[Case], Outcome]] = {
    "bounded_gradient": _bounded_gradient,
    "unbiased": _unbiased,
    "predictable_batch": _predictable_batch,
    "fixed_schedule": _fixed_schedule,
    "step_size": _step_size,
    "sgd_update": _requires(name="sgd", learning_rate_rule="constant", weight_decay=lambda x: not x),
    "sign_update": _requires(
        name="signum", beta1=0.0, learning_rate_rule="constant", weight_decay=lambda x: not x
    ),
    "half_life_rule": _requires(half_life=_positive, learning_rate_rule="sqrt_one_minus_beta2"),
    "second_moment": _requires(name="adam", bias_correction="none", v0=0.0),
    "update": _requires(
        name="adam", beta1=0.0, eps_placement="inside", eps=_positive, weight_decay=lambda x: not x
    ),
}

_BIAS_CORRECTED = "adam_token_half_life_bias_corrected"
_INITIAL = "adam_token_half_life_initial"

# Assumptions that mean something else in one theorem than under the same name elsewhere.
_FORMS: dict[tuple[str, str], Callable[[Case], Outcome]] = {
    (_BIAS_CORRECTED, "second_moment"): _requires(name="adam", v0=0.0),
    (_BIAS_CORRECTED, "bias_factor"): _requires(bias_correction="exact"),
    (_BIAS_CORRECTED, "first_batch"): _fixed_schedule,
    (_INITIAL, "second_moment"): _requires(name="adam", bias_correction="none", v0=lambda x: x >= 0),
    (_INITIAL, "range"): lambda case: _published(case, "R"),
    (_INITIAL, "first_batch"): _fixed_schedule,
    ("adam_token_half_life_unnormalised", "second_moment"): lambda case: (
        FAILS,
        "the run's algorithm has a normalised second moment",
    ),
}
