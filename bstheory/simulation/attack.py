"""What the falsifier may vary for each theorem, and the planted false bounds that it must refute.

The right-hand sides are the library's own: what is attacked is what ``evaluate`` returns. A planted bound is
the library's at falsified constants, or a fraction of it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bstheory.errors import input_error, suggestion
from bstheory.problems import cosine_sum, noisy_quadratic, pseudo_huber
from bstheory.problems.problem import Problem
from bstheory.simulation.engine import monte_carlo
from bstheory.simulation.optimizers import SGD, Adam, Muon, Optimizer, RMSProp, Signum

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
    """One instance of a theorem: what to simulate, which series to read at the end, and the constants.

    ``weight``: one weight per step in place of the optimizer's rule, [K].
    """

    problem: Problem
    optimizer: Optimizer
    batch_size: Array
    series: str
    constants: dict[str, Any]
    weight: Array | None = None

    def samples(self, seeds: Sequence[int]) -> Array:
        """The theorem's left-hand side, one value per seed, [S]."""
        along = None if self.weight is None else [{"weight": self.weight}]
        paths = monte_carlo(
            self.problem, [self.optimizer], [self.batch_size], seeds=seeds, threads=1, along=along
        )
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


def _noise(point: Point) -> dict[str, Any]:
    """The law, with its shape where it has one."""
    law = {"noise_law": point["noise_law"]}
    return law | ({"noise_shape": point["noise_shape"]} if point["noise_law"] == "asymmetric" else {})


BOUNDED = {"cosine_sum": cosine_sum, "pseudo_huber": pseudo_huber}


def _adam_case(point: Point, **settings: Any) -> Case:
    problem = BOUNDED[point["problem"]](int(point["dim"]), point["noise_scale"], point["x0"], **_noise(point))
    optimizer = RMSProp(
        learning_rate=point["alpha"],
        half_life=point["half_life"],
        eps=point["eps"],
        learning_rate_rule="sqrt_one_minus_beta2",
        weight="sqrt_one_minus_beta2",
        **settings,
    )
    constants = {name: problem.value(name) for name in ("L", "R", "Delta", "G_inf", "sigma")}
    constants |= {"d": problem.dim, "alpha": point["alpha"], "h": point["half_life"], "eps": point["eps"]}
    return Case(
        problem=problem,
        optimizer=optimizer,
        batch_size=batch_schedule(point),
        series="weighted_sq_gradient",
        constants=constants | {name: value for name, value in settings.items() if name == "v0"},
    )


ADAM_SPACE: tuple[Axis | Choice, ...] = (
    Choice(name="problem", options=("cosine_sum", "pseudo_huber")),
    Choice(name="noise_law", options=("two_point", "none", "asymmetric")),
    Axis(name="noise_shape", low=0.01, high=0.99),
    Axis(name="dim", low=1, high=4, integer=True),
    Axis(name="noise_scale", low=1e-2, high=10.0, log=True),
    Axis(name="x0", low=1e-3, high=30.0, log=True),
    Axis(name="alpha", low=1e-3, high=30.0, log=True),
    Axis(name="half_life", low=1.0, high=1e5, log=True),
    Axis(name="eps", low=1e-6, high=1e4, log=True),
    *SCHEDULE_SPACE,
)

QUADRATIC_SPACE: tuple[Axis | Choice, ...] = (
    Choice(name="noise_law", options=("gaussian", "two_point", "asymmetric")),
    Axis(name="noise_shape", low=0.01, high=0.99),
    Axis(name="dim", low=1, high=4, integer=True),
    Axis(name="condition", low=1.0, high=100.0, log=True),
    Axis(name="noise_scale", low=1e-2, high=10.0, log=True),
    Axis(name="x0", low=1e-3, high=10.0, log=True),
    Axis(name="rate_fraction", low=1e-3, high=0.99, log=True),
    *SCHEDULE_SPACE,
)
ADAM_MOMENTUM_SPACE = (
    *ADAM_SPACE,
    Choice(name="momentum", options=("half_life", "constant")),
    Axis(name="momentum_fraction", low=1e-3, high=0.99),
)
NORM_TEST_SPACE: tuple[Axis | Choice, ...] = (
    Axis(name="noise_shape", low=0.01, high=0.99),
    Axis(name="tolerance", low=1e-2, high=10.0, log=True),
    Axis(name="gamma", low=0.0, high=0.95),
    Axis(name="rho", low=1e-3, high=0.6, log=True),
    Axis(name="v0", low=1e-6, high=1e3, log=True),
    *(axis for axis in QUADRATIC_SPACE if axis.name in ("dim", "condition", "x0", "rate_fraction")),
    *SCHEDULE_SPACE,
)
MOMENTUM_SPACE = (*QUADRATIC_SPACE, Axis(name="half_life1", low=0.5, high=1e3, log=True))


def _quadratic(point: Point) -> Problem:
    spectrum = np.geomspace(1.0, 1.0 / point["condition"], int(point["dim"]))
    return noisy_quadratic(spectrum, point["noise_scale"], x0=point["x0"], **_noise(point))


def _sgd_case(point: Point, *, limit: float, series: str) -> Case:
    problem = _quadratic(point)
    rate = limit / problem.value("L") * point["rate_fraction"]
    names = ("L", "mu", "Delta", "sigma_sq", "F_star")
    return Case(
        problem=problem,
        optimizer=SGD(learning_rate=rate),
        batch_size=batch_schedule(point),
        series=series,
        constants={"eta": rate} | {name: problem.value(name) for name in names},
    )


def _sign_case(point: Point) -> Case:
    problem = _quadratic(point)
    rate = point["rate_fraction"]
    names = ("Delta", "L_1", "noise")
    return Case(
        problem=problem,
        optimizer=Signum(learning_rate=rate, beta1=0.0),
        batch_size=batch_schedule(point),
        series="weighted_l1_gradient",
        constants={"delta": rate} | {name: problem.value(name) for name in names},
    )


def _lmo_case(point: Point) -> Case:
    problem = _quadratic(point)
    rate = point["rate_fraction"]
    return Case(
        problem=problem,
        optimizer=Signum(learning_rate=rate, half_life1=point["half_life1"], start="gradient"),
        batch_size=batch_schedule(point),
        series="weighted_l1_gradient",
        constants={
            "eta": rate,
            "t1": point["half_life1"],
            "L": problem.value("L_1"),
            "rho": float(np.sqrt(problem.dim)),
            "sigma_sq": problem.value("sigma_sq"),
            "Delta": problem.value("Delta"),
        },
    )


def _muon_case(point: Point) -> Case:
    # Two rows and dim columns; a Frobenius-smooth function is L r-smooth in the spectral norm, r the rank.
    spectrum = np.geomspace(1.0, 1.0 / point["condition"], 2 * int(point["dim"]))
    problem = noisy_quadratic(spectrum, point["noise_scale"], x0=point["x0"], **_noise(point))
    rate, rank = point["rate_fraction"], min(2, int(point["dim"]))
    return Case(
        problem=problem,
        optimizer=Muon(learning_rate=rate, half_life1=point["half_life1"], start="gradient", rows=2),
        batch_size=batch_schedule(point),
        series="weighted_nuclear_gradient",
        constants={
            "eta": rate,
            "t1": point["half_life1"],
            "L": rank * problem.value("L"),
            "rho": float(np.sqrt(rank)),
            "sigma_sq": problem.value("sigma_sq"),
            "Delta": problem.value("Delta"),
        },
    )


def _momentum_case(point: Point) -> Case:
    base = _adam_case(point)
    half_life, batch_size = point["half_life"], base.batch_size
    # Admissible momentum only: a half-life below the second moment's, or beta1 below every beta2.
    beta2_low = float(np.exp2(-batch_size.max() / half_life))
    by_tokens = point["momentum"] == "half_life"
    t1 = point["momentum_fraction"] * half_life if by_tokens else 0.0
    beta1 = 0.0 if by_tokens else point["momentum_fraction"] * beta2_low
    optimizer = Adam(
        learning_rate=point["alpha"],
        beta1=None if by_tokens else beta1,
        half_life1=t1 if by_tokens else None,
        half_life=half_life,
        eps=point["eps"],
        eps_placement="inside",
        bias_correction="none",
        learning_rate_rule="sqrt_one_minus_beta2",
    )
    return dataclasses.replace(
        base,
        optimizer=optimizer,
        constants=base.constants | {"beta1": beta1, "t1": t1},
        weight=momentum_weights(optimizer, batch_size),
    )


def momentum_weights(optimizer: Adam, batch_size: Array) -> Array:
    """w_j = sum_{n>=j} W_{n,j} sqrt(1 - beta2_n), W_{n,j} the share of g_j in m_n; float64 [K]."""
    columns = optimizer.betas(batch_size)
    root, later = np.sqrt(columns["gain2"]), 0.0
    out = np.empty(len(batch_size))
    for j in reversed(range(len(batch_size))):
        later = root[j] + later  # sum over n >= j of sqrt(1 - beta2_n) prod_{j < l <= n} beta1_l
        out[j] = columns["gain1"][j] * later
        later *= columns["beta1"][j]
    return out


def _norm_test_case(point: Point) -> Case:
    """Multiplicative noise that passes the coordinate-wise test with equality at the smallest batch."""
    dim, eta = int(point["dim"]), point["tolerance"]
    spectrum = np.geomspace(1.0, 1.0 / point["condition"], dim)
    batch_size = batch_schedule(point)
    law = {"noise_law": "asymmetric", "noise_shape": point["noise_shape"]}
    problem = noisy_quadratic(
        spectrum, 0.0, x0=point["x0"], noise_growth=(eta * spectrum) ** 2 * batch_size.min(), **law
    )
    # The root of beta2 follows from rho = q (1 - sqrt(beta2)), which must stay below 5/8 for net > 0.
    gamma = point["gamma"]
    root = 1.0 - point["rho"] * (1.0 - gamma**2) / (1.0 + eta**2)
    constants = {
        "beta1": gamma * root,
        "beta2": root**2,
        "eta": eta,
        "L": problem.value("L"),
        "Delta": problem.value("Delta"),
        "K": len(batch_size),
        "v0": np.full(dim, point["v0"]),
        "G1": spectrum * problem.x0,
    }
    from bstheory.theory.library import get

    tiny = get("adam_norm_test").evaluate(constants=constants | {"alpha": 1e-100})
    alpha = point["rate_fraction"] * float(tiny.parts["largest_alpha"])
    optimizer = Adam(
        learning_rate=alpha,
        beta1=gamma * root,
        beta2=root**2,
        eps=0.0,
        eps_placement="inside",
        bias_correction="none",
        v0=point["v0"],
        weight="one",
    )
    return Case(
        problem=problem,
        optimizer=optimizer,
        batch_size=batch_size,
        series="weighted_l1_gradient",
        constants=constants | {"alpha": alpha},
    )


def library_bound(
    slug: str, *, schedule: Callable[[Array], Array] = lambda b: b, **factors: float
) -> Callable[[Case], float]:
    """The right-hand side of a theorem; ``factors`` multiply constants, ``schedule`` alters the batches."""

    def bound(case: Case) -> float:
        from bstheory.theory.library import get

        theorem = get(slug)
        constants = {p.name: case.constants[p.name] for p in theorem.parameters if p.name in case.constants}
        constants |= {name: factor * np.asarray(constants[name]) for name, factor in factors.items()}
        return float(theorem.evaluate(constants=constants, schedule=schedule(case.batch_size)).value)

    return bound


def _claim(
    slug: str, space: tuple[Axis | Choice, ...], build: Callable[[Point], Case], of: str = ""
) -> Claim:
    statement = "the right-hand side that the library evaluates" + (f", on {of}" if of else "")
    return Claim(
        slug=f"{slug}:{of}" if of else slug,
        statement=statement,
        space=space,
        build=build,
        bound=library_bound(slug),
    )


def _initial_case(point: Point) -> Case:
    return _adam_case(point, v0=point["v0"])


_ADAM = _claim("adam_token_half_life", ADAM_SPACE, _adam_case)
_SHARP = _claim("adam_token_half_life_sharp", ADAM_SPACE, _adam_case)
_MOMENTUM = _claim("adam_token_half_life_momentum", ADAM_MOMENTUM_SPACE, _momentum_case)
_NORM_TEST = _claim("adam_norm_test", NORM_TEST_SPACE, _norm_test_case)
_SGD = _claim(
    "sgd_nonconvex_batch_schedule",
    QUADRATIC_SPACE,
    functools.partial(_sgd_case, limit=2.0, series="weighted_sq_gradient"),
)
_STRONG = _claim(
    "sgd_strongly_convex", QUADRATIC_SPACE, functools.partial(_sgd_case, limit=1.0, series="loss")
)
_SIGN = _claim("sign_sgd_batch_schedule", QUADRATIC_SPACE, _sign_case)
_LMO = _claim("lmo_token_half_life", MOMENTUM_SPACE, _lmo_case)

CLAIMS: dict[str, Claim] = {
    claim.slug: claim
    for claim in (
        _ADAM,
        _claim(
            "adam_token_half_life_bias_corrected",
            ADAM_SPACE,
            functools.partial(_adam_case, bias_correction="exact"),
        ),
        _claim(
            "adam_token_half_life_initial",
            (*ADAM_SPACE, Axis(name="v0", low=1e-4, high=1e3, log=True)),
            _initial_case,
        ),
        _claim("adam_token_half_life_variance_aware", ADAM_SPACE, _adam_case),
        _SHARP,
        _MOMENTUM,
        _NORM_TEST,
        _SGD,
        _STRONG,
        _SIGN,
        _LMO,
        _claim("lmo_token_half_life", MOMENTUM_SPACE, _muon_case, of="muon"),
    )
}


def _plant(claim: Claim, name: str, statement: str, bound: Callable[[Case], float]) -> Claim:
    return dataclasses.replace(claim, slug=f"{claim.slug}:{name}", statement=statement, bound=bound)


def _fraction(claim: Claim, factor: float) -> Callable[[Case], float]:
    return lambda case: factor * claim.bound(case)


def _adam_without_noise_terms(case: Case) -> float:
    c = case.constants
    return float(2.0 * np.sqrt(c["eps"] + c["R"] ** 2) * c["Delta"] / c["alpha"])


PLANTED: tuple[Claim, ...] = (
    _plant(_ADAM, "thousandth", "the flagship's right-hand side / 1000", _fraction(_ADAM, 1e-3)),
    _plant(_ADAM, "quarter", "the flagship's right-hand side / 4", _fraction(_ADAM, 0.25)),
    _plant(_ADAM, "no_noise_terms", "the flagship without its logarithmic terms", _adam_without_noise_terms),
    _plant(_MOMENTUM, "eighth", "the momentum form's right-hand side / 8", _fraction(_MOMENTUM, 0.125)),
    _plant(_NORM_TEST, "half", "the norm-test bound / 2", _fraction(_NORM_TEST, 0.5)),
    _plant(_SGD, "tenth_less", "the SGD bound times 0.9", _fraction(_SGD, 0.9)),
    _plant(_SGD, "half_noise", "the SGD bound at half the variance", library_bound(_SGD.slug, sigma_sq=0.5)),
    _plant(_SGD, "squared_batch", "the SGD bound at 1/b^2", library_bound(_SGD.slug, schedule=np.square)),
    _plant(_STRONG, "tenth_less", "the strongly convex bound times 0.9", _fraction(_STRONG, 0.9)),
    _plant(_SIGN, "no_noise", "the sign bound without its noise term", library_bound(_SIGN.slug, noise=0.0)),
    _plant(
        _LMO, "no_noise", "the momentum bound without its noise term", library_bound(_LMO.slug, sigma_sq=0.0)
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
            do=f"{suggestion(slug, known)}choose one of these",
        )
    return known[slug]
