"""What the falsifier may vary for each theorem, and the planted false bounds that it must refute."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.problems import cosine_sum, noisy_quadratic, pseudo_huber
from bstheory.problems.problem import Problem
from bstheory.simulation.engine import monte_carlo
from bstheory.simulation.optimizers import SGD, Optimizer, RMSProp, Signum

Array = np.ndarray
Point = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """One direction of the search: a number in [low, high], on a log scale or not, whole or not."""

    name: str
    low: float
    high: float
    log: bool = False
    integer: bool = False

    def value(self, unit: float) -> float | int:
        """Map [0, 1] onto the axis."""
        unit = min(max(float(unit), 0.0), 1.0)
        value = (
            self.low * (self.high / self.low) ** unit
            if self.log
            else self.low + unit * (self.high - self.low)
        )
        return round(value) if self.integer else value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several words."""

    name: str
    options: tuple[str, ...]

    def value(self, unit: float) -> str:
        """Map [0, 1] onto the options, in equal parts."""
        return self.options[min(int(float(unit) * len(self.options)), len(self.options) - 1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One instance of a theorem: what to simulate, which series to read at the end, and the constants."""

    problem: Problem
    optimizer: Optimizer
    batch_size: Array
    series: str
    constants: dict[str, Any]

    def samples(self, seeds: Sequence[int]) -> Array:
        """The theorem's left-hand side, one value per seed, [S]."""
        paths = monte_carlo(self.problem, [self.optimizer], [self.batch_size], seeds=seeds, threads=1)
        return paths.series[self.series][0, :, -1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement E(left-hand side) <= bound, with the space in which to attack it.

    Attributes:
        slug: the theorem's, or the planted bound's name.
        statement: one line.
        space: axes and choices.
        build: point -> case.
        bound: case -> right-hand side.
    """

    slug: str
    statement: str
    space: tuple[Axis | Choice, ...]
    build: Callable[[Point], Case]
    bound: Callable[[Case], float]

    def point(self, units: Sequence[float]) -> dict[str, Any]:
        """Map the unit cube onto the space."""
        return {axis.name: axis.value(u) for axis, u in zip(self.space, units)}


SCHEDULE_SPACE: tuple[Axis | Choice, ...] = (
    Choice(name="schedule", options=("constant", "ramp_up", "ramp_down", "saw_tooth", "late_jump")),
    Axis(name="num_steps", low=1, high=300, log=True, integer=True),
    Axis(name="batch_size", low=1, high=64, log=True, integer=True),
    Axis(name="batch_ratio", low=1, high=64, log=True, integer=True),
)


def batch_schedule(point: Point) -> Array:
    """int64 [K] between ``batch_size`` and ``batch_size * batch_ratio``."""
    steps, low = int(point["num_steps"]), int(point["batch_size"])
    high = low * int(point["batch_ratio"])
    t = np.linspace(0.0, 1.0, steps)
    geometric = low * (high / low) ** t
    shapes = {
        "constant": np.full(steps, low),
        "ramp_up": geometric,
        "ramp_down": geometric[::-1],
        "saw_tooth": np.where(np.arange(steps) % 8 < 7, low, high),
        "late_jump": np.where(np.arange(steps) < steps - 1, low, high),
    }
    return np.maximum(1, np.rint(shapes[point["schedule"]])).astype(np.int64)


BOUNDED = {"cosine_sum": cosine_sum, "pseudo_huber": pseudo_huber}


def _adam_case(point: Point) -> Case:
    problem = BOUNDED[point["problem"]](
        int(point["dim"]), point["noise_scale"], point["x0"], noise_law=point["noise_law"]
    )
    optimizer = RMSProp(
        learning_rate=point["alpha"],
        half_life=point["half_life"],
        eps=point["eps"],
        learning_rate_rule="sqrt_one_minus_beta2",
        weight="sqrt_one_minus_beta2",
    )
    constants = {name: problem.value(name) for name in ("L", "R", "Delta")}
    constants |= {"d": problem.dim, "alpha": point["alpha"], "h": point["half_life"], "eps": point["eps"]}
    return Case(
        problem=problem,
        optimizer=optimizer,
        batch_size=batch_schedule(point),
        series="weighted_sq_gradient",
        constants=constants,
    )


ADAM_SPACE: tuple[Axis | Choice, ...] = (
    Choice(name="problem", options=("cosine_sum", "pseudo_huber")),
    Choice(name="noise_law", options=("two_point", "none")),
    Axis(name="dim", low=1, high=4, integer=True),
    Axis(name="noise_scale", low=1e-2, high=10.0, log=True),
    Axis(name="x0", low=1e-3, high=30.0, log=True),
    Axis(name="alpha", low=1e-3, high=30.0, log=True),
    Axis(name="half_life", low=1.0, high=1e5, log=True),
    Axis(name="eps", low=1e-6, high=1e4, log=True),
    *SCHEDULE_SPACE,
)

QUADRATIC_SPACE: tuple[Axis | Choice, ...] = (
    Choice(name="noise_law", options=("gaussian", "two_point")),
    Axis(name="dim", low=1, high=4, integer=True),
    Axis(name="condition", low=1.0, high=100.0, log=True),
    Axis(name="noise_scale", low=1e-2, high=10.0, log=True),
    Axis(name="x0", low=1e-3, high=10.0, log=True),
    Axis(name="rate_fraction", low=1e-3, high=0.99, log=True),
    *SCHEDULE_SPACE,
)


def _quadratic(point: Point) -> Problem:
    spectrum = np.geomspace(1.0, 1.0 / point["condition"], int(point["dim"]))
    return noisy_quadratic(spectrum, point["noise_scale"], x0=point["x0"], noise_law=point["noise_law"])


def _sgd_case(point: Point) -> Case:
    problem = _quadratic(point)
    rate = 2.0 / problem.value("L") * point["rate_fraction"]
    return Case(
        problem=problem,
        optimizer=SGD(learning_rate=rate),
        batch_size=batch_schedule(point),
        series="weighted_sq_gradient",
        constants={"eta": rate} | {name: problem.value(name) for name in ("L", "Delta", "sigma_sq")},
    )


def sgd_bound(case: Case, *, noise: float = 1.0, noise_power: float = 1.0) -> float:
    """Sum form of ``sgd_nonconvex_batch_schedule``: 2 Delta / (2 - L eta) + L sigma^2 / (2 - L eta) sum
    eta^2/b.

    ``noise`` and ``noise_power`` other than 1 falsify it.
    """
    c = case.constants
    eta, gap = c["eta"], 2.0 - c["L"] * c["eta"]
    total = float(np.sum(eta**2 / case.batch_size.astype(np.float64) ** noise_power))
    return (2.0 * c["Delta"] + noise * c["L"] * c["sigma_sq"] * total) / gap


def _sign_case(point: Point) -> Case:
    problem = _quadratic(point)
    delta = point["rate_fraction"]
    return Case(
        problem=problem,
        optimizer=Signum(learning_rate=delta, beta1=0.0, weight="one"),
        batch_size=batch_schedule(point),
        series="weighted_l1_gradient",
        constants={
            "delta": delta,
            "Delta": problem.value("Delta"),
            "L1": float(np.sum(problem.params["curvature"])),
            "sigma1": float(np.sum(problem.params["noise"])),
        },
    )


def sign_bound(case: Case, *, noise: float = 2.0) -> float:
    """Sum form of ``sign_sgd_batch_schedule``: Delta/delta + K delta |L|_1 / 2 + 2 |sigma|_1 sum b^(-1/2)."""
    c, b = case.constants, case.batch_size
    smooth = len(b) * c["delta"] * c["L1"] / 2.0
    return c["Delta"] / c["delta"] + smooth + noise * c["sigma1"] * float(np.sum(1.0 / np.sqrt(b)))


def _adam_bound(case: Case) -> float:
    from bstheory.theory.library import get

    bound = get("adam_token_half_life")
    return float(bound.evaluate(constants=case.constants, schedule=case.batch_size).value)


def _adam_without_noise_terms(case: Case) -> float:
    c = case.constants
    return float(2.0 * np.sqrt(c["eps"] + c["R"] ** 2) * c["Delta"] / c["alpha"])


_ADAM = Claim(
    slug="adam_token_half_life",
    statement="the right-hand side that the library evaluates",
    space=ADAM_SPACE,
    build=_adam_case,
    bound=_adam_bound,
)
_SGD = Claim(
    slug="sgd_nonconvex_batch_schedule",
    statement="sum of eta |grad F|^2 at most (2 Delta + L sigma^2 sum eta^2/b) / (2 - L eta)",
    space=QUADRATIC_SPACE,
    build=_sgd_case,
    bound=sgd_bound,
)
_SIGN = Claim(
    slug="sign_sgd_batch_schedule",
    statement="sum of |grad F|_1 at most Delta/delta + K delta |L|_1 / 2 + 2 |sigma|_1 sum b^(-1/2)",
    space=QUADRATIC_SPACE,
    build=_sign_case,
    bound=sign_bound,
)

CLAIMS: dict[str, Claim] = {claim.slug: claim for claim in (_ADAM, _SGD, _SIGN)}


def _plant(claim: Claim, name: str, statement: str, bound: Callable[[Case], float]) -> Claim:
    return dataclasses.replace(claim, slug=f"{claim.slug}:{name}", statement=statement, bound=bound)


PLANTED: tuple[Claim, ...] = (
    _plant(
        _ADAM, "thousandth", "the flagship's right-hand side / 1000", lambda case: _adam_bound(case) / 1000
    ),
    _plant(_ADAM, "quarter", "the flagship's right-hand side / 4", lambda case: _adam_bound(case) / 4),
    _plant(_ADAM, "no_noise_terms", "the flagship without its logarithmic terms", _adam_without_noise_terms),
    _plant(_SGD, "tenth_less", "the SGD bound times 0.9", lambda case: 0.9 * sgd_bound(case)),
    _plant(
        _SGD, "half_noise", "the SGD bound with half the variance", lambda case: sgd_bound(case, noise=0.5)
    ),
    _plant(_SGD, "squared_batch", "the SGD bound with 1/b^2", lambda case: sgd_bound(case, noise_power=2.0)),
    _plant(
        _SIGN, "no_noise", "the sign bound without its noise term", lambda case: sign_bound(case, noise=0.0)
    ),
)


def claim_for(slug: str) -> Claim:
    """The claim to attack under a theorem's slug.

    Raises:
        InputError: no search space is written down for this theorem.
    """
    known = CLAIMS | {claim.slug: claim for claim in PLANTED}
    if slug not in known:
        raise input_error(
            got=f"slug {slug!r}",
            rule=f"the falsifier can attack {', '.join(known)}",
            do="choose one of these",
        )
    return known[slug]
