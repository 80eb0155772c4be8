"""Closed-loop batch-size rules: a formula per row of a table, one explicit policy around all of them.

A rule proposes ``numerator / denominator``; both are smoothed separately (the ratio of averages, not the
average of ratios). The policy then decides whether and how far to move: dead band, ratchet, growth cap,
limits, multiples. The state is a handful of plain numbers, so it goes into a JSON checkpoint beside the
schedule's hash.

==============  ===========================================================  =========================
rule            proposed batch size                                          source
==============  ===========================================================  =========================
norm_test       noise / (theta^2 |g|^2); times (n - b)/(n - 1) if finite     Byrd et al. 2012
published       V / (eta^2 |g|^2)                                            2412.21124, as printed
coordinate      a quantile of sigma_i^2 / (eta^2 g_i^2)                      2412.21124, its theorem
inner_product   Var<g_i, g> / (theta^2 |g|^4)                                Bollapragada et al. 2018
augmented       the larger of that and orthogonal variance / (nu^2 |g|^2)    Bollapragada et al. 2018
big_batch       b + increment until |g|^2 >= noise / (theta^2 b)             De et al. 2017
cabs            learning rate * noise / loss                                 Balles et al. 2017
noise_scale     noise / signal, or sqrt(r noise / signal)                    McCandlish et al. 2018
simigrad        holds cos(g_A, g_B) at a target                              Qin et al. 2021
pollux          argmax throughput(b) (phi + b0) / (phi + b)                  Qiao et al. 2021
sign            (|sigma|_1 / |g|_1)^2 / eta^2                                2602.03001
spectral        (sum tr Sigma^(1/2) / sum |G|_*)^2 / eta^2                   2602.03001
sqrt_v          sum sigma_i^2/sqrt(v_i) / (eta^2 sum g_i^2/sqrt(v_i))        `sqrt_v_weighted_test`
loss_law        reference / loss^(1/alpha)                                   Kaplan et al. 2020
==============  ===========================================================  =========================
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from bstheory.errors import input_error
from bstheory.schedules.statistics import Statistics

Pair = tuple[float, float]


def _signal(s: Statistics, rule: Rule) -> float:
    """|g|^2, or its debiased form, which may be negative: ``_proposal`` applies the floor after smoothing."""
    return s.signal if rule.debias else s.norm_sq


def _norm_test(s: Statistics, r: Rule) -> Pair:
    finite = 1.0 if r.population is None else (r.population - s.batch_size) / (r.population - 1)
    return finite * s.noise, r.tolerance**2 * _signal(s, r)


def _augmented(s: Statistics, r: Rule) -> Pair:
    inner = _need(s, "inner_variance") / s.norm_sq / s.norm_sq / r.tolerance**2
    return max(inner, _need(s, "orthogonal_variance") / (r.orthogonal**2 * s.norm_sq)), 1.0


def _noise_scale(s: Statistics, r: Rule) -> Pair:
    return s.noise, _signal(s, r)


def _need(s: Statistics, name: str) -> float:
    value = getattr(s, name)
    if value is None:
        raise input_error(
            got=f"statistics without {name}",
            rule="this rule needs it",
            do="pass loss and learning_rate to the statistics"
            if name in ("loss", "learning_rate")
            else "compute the statistics from group gradients (schedules.statistics.from_groups)",
        )
    return value


def _loss(s: Statistics) -> float:
    if _need(s, "loss") <= 0:
        raise input_error(got=f"loss={s.loss}", rule="this rule divides by a positive loss", do="use another")
    return float(s.loss)


# name -> (numerator, denominator) of the proposed batch size; ``_proposal`` says where it is not the ratio
FORMULAS: dict[str, Callable[[Statistics, Any], Pair]] = {
    "norm_test": _norm_test,
    "published": lambda s, r: (s.spread, r.tolerance**2 * s.norm_sq),
    "coordinate": lambda s, r: (_need(s, "coordinate_ratio"), r.tolerance**2),
    "inner_product": lambda s, r: (_need(s, "inner_variance"), r.tolerance**2 * s.norm_sq * s.norm_sq),
    "augmented": _augmented,
    "big_batch": lambda s, r: (s.noise, r.tolerance**2 * _signal(s, r)),
    "cabs": lambda s, r: (_need(s, "learning_rate") * s.noise, _loss(s)),
    "noise_scale": _noise_scale,
    "simigrad": lambda s, r: (_need(s, "cosine"), 1.0),
    "pollux": _noise_scale,
    "sign": lambda s, r: (_need(s, "sign_noise"), r.tolerance * _need(s, "sign_signal")),
    "spectral": lambda s, r: (_need(s, "spectral_noise"), r.tolerance * _need(s, "spectral_signal")),
    "sqrt_v": lambda s, r: (_need(s, "weighted_noise"), r.tolerance**2 * _need(s, "weighted_signal")),
    "loss_law": lambda s, r: (r.tolerance, _loss(s) ** (1 / r.exponent)),
}
_SQUARED = ("sign", "spectral")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """A closed-loop batch-size rule: ``init()``, ``update(state, statistics)`` and ``value(state)``.

    Attributes:
        name: the formula, a key of :data:`FORMULAS`.
        initial, minimum, maximum: batch sizes; multiples of ``multiple``. ``minimum`` defaults to ``initial``
            when the rule may not shrink, to ``multiple`` when it may.
        multiple: batch sizes are rounded *up* to multiples of it (micro_batch_size * world_size).
        tolerance: the theta or eta of the test (the reference batch for ``loss_law``, the target cosine for
            ``simigrad``); unused by noise_scale, cabs and pollux.
        orthogonal: the nu of the augmented test.
        population: size of the finite training set, for the correction of the norm test.
        root: for noise_scale, r of sqrt(r * noise_scale); None for the noise scale itself.
        increment: for big_batch, what is added when the test fails.
        factor: for simigrad, what the batch is multiplied or divided by.
        exponent: for loss_law, alpha.
        throughput: for pollux, pairs (batch size, samples per second) to choose among.
        reference_batch_size: for pollux, b0.
        debias: use |g|^2 - noise/b for |g|^2.
        signal_floor: with debias, the least signal as a fraction of |g|^2; None raises when it is not
            positive.
        smoothing: coefficient in [0, 1) of the moving average of numerator and denominator; 0 for none.
        growth_cap: largest ratio of one change, > 1; None for no cap.
        shrink: whether the batch may become smaller.
        hysteresis: no change while the proposal is within this fraction of the present batch size.
        interval: steps between updates of the batch size (statistics are averaged in between).

    Raises:
        InputError: an unknown name, a value out of its range, limits that are no multiples.

    Example:
        >>> rule = ddp_norm(eta=0.2, scaling="published", initial=8, maximum=512)
        >>> state = rule.update(rule.init(), Statistics(batch_size=8, groups=4, norm_sq=1.0,
        ...                                             mean_group_norm_sq=2.0))
        >>> rule.value(state)
        25
    """

    name: str
    initial: int
    maximum: int
    minimum: int | None = None
    multiple: int = 1
    tolerance: float = 1.0
    orthogonal: float = 5.84
    population: int | None = None
    root: float | None = None
    increment: int = 1
    factor: float = 1.1
    exponent: float = 0.21
    throughput: tuple[tuple[int, float], ...] = ()
    reference_batch_size: int | None = None
    debias: bool = False
    signal_floor: float | None = None
    smoothing: float = 0.0
    growth_cap: float | None = None
    shrink: bool = False
    hysteresis: float = 0.0
    interval: int = 1

    def __post_init__(self) -> None:
        minimum = self.minimum
        if minimum is None:
            minimum = self.multiple if self.shrink else self.initial
            object.__setattr__(self, "minimum", minimum)
        self._check_types()
        object.__setattr__(self, "throughput", tuple((int(b), float(t)) for b, t in self.throughput))
        checks: list[tuple[str, Any, bool, str]] = [
            ("name", self.name, self.name in FORMULAS, f"it is one of {', '.join(FORMULAS)}"),
            ("multiple", self.multiple, self.multiple >= 1, "it is at least 1"),
            ("tolerance", self.tolerance, 0 < self.tolerance < math.inf, "it is positive"),
            ("orthogonal", self.orthogonal, 0 < self.orthogonal < math.inf, "it is positive"),
            ("smoothing", self.smoothing, 0 <= self.smoothing < 1, "it is in [0, 1)"),
            ("growth_cap", self.growth_cap, self.growth_cap is None or self.growth_cap > 1, "it exceeds 1"),
            ("hysteresis", self.hysteresis, self.hysteresis >= 0, "it is at least 0"),
            ("interval", self.interval, self.interval >= 1, "it is at least 1"),
            ("increment", self.increment, self.increment >= 1, "it is at least 1"),
            ("factor", self.factor, self.factor > 1, "it exceeds 1"),
            ("exponent", self.exponent, self.exponent > 0, "it is positive"),
            ("root", self.root, self.root is None or self.root > 0, "it is positive"),
            (
                "population",
                self.population,
                self.population is None
                or (1 < self.population < math.inf and self.maximum <= self.population),
                "it exceeds 1 and no batch is larger",
            ),
            (
                "signal_floor",
                self.signal_floor,
                self.signal_floor is None or (self.debias and 0 < self.signal_floor <= 1),
                "it goes with debias=True and is in (0, 1]",
            ),
            (
                "minimum, initial, maximum",
                (self.minimum, self.initial, self.maximum),
                1 <= minimum <= self.initial <= self.maximum,
                "1 <= minimum <= initial <= maximum",
            ),
            (
                "throughput",
                self.throughput,
                self.name != "pollux"
                or (
                    bool(self.throughput)
                    and all(b >= 1 and 0 < speed < math.inf for b, speed in self.throughput)
                    and isinstance(self.reference_batch_size, int)
                    and self.reference_batch_size >= 1
                ),
                "pollux chooses from pairs of a batch size and a positive throughput, relative to a positive "
                "reference_batch_size",
            ),
        ]
        if self.growth_cap is not None and self.growth_cap > 1:
            reach = self.initial * self.growth_cap >= self.initial + self.multiple
            checks.append(
                ("growth_cap", self.growth_cap, reach, "it lets the initial batch reach the next multiple")
            )
        for name in ("minimum", "initial", "maximum"):
            value = getattr(self, name)
            whole = isinstance(value, int) and value % max(self.multiple, 1) == 0
            checks.append((name, value, whole, f"it is a multiple of {self.multiple}"))
        for name, value, holds, rule in checks:
            if not holds:
                raise input_error(got=f"{name}={value!r}", rule=rule, do="correct it")

    def _check_types(self) -> None:
        """Every attribute is of its kind: nothing is truncated to an integer or read as a truth value."""
        whole = ("initial", "maximum", "minimum", "multiple", "population", "increment", "interval")
        real = (
            "tolerance",
            "orthogonal",
            "root",
            "factor",
            "exponent",
            "smoothing",
            "growth_cap",
            "hysteresis",
        )
        kinds = dict.fromkeys(whole, int) | dict.fromkeys(real, int | float)
        kinds |= {"signal_floor": int | float, "debias": bool, "shrink": bool}
        words = {int: "an integer", bool: "True or False"}
        for name, kind in kinds.items():
            value = getattr(self, name)
            fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
            if value is not None and not fits:
                raise input_error(
                    got=f"{name}={value!r}", rule=f"it is {words.get(kind, 'a number')}", do="pass one"
                )
        if not all(isinstance(b, int) for b, _ in self.throughput):
            raise input_error(
                got=f"throughput={self.throughput!r}", rule="batch sizes are integers", do="correct it"
            )

    @property
    def hash(self) -> str:
        """Sha256 of the canonical JSON of all attributes."""
        document = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(document.encode()).hexdigest()

    def init(self) -> dict[str, Any]:
        """The state before the first step; plain JSON."""
        return {
            "batch_size": self.initial,
            "numerator": 0.0,
            "denominator": 0.0,
            "floor": 0.0,
            "weight": 0.0,
            "waited": 0,
            "proposal": None,
            "limited_by": "",
        }

    def value(self, state: Mapping[str, Any]) -> int:
        """The global batch size of the next step."""
        return state["batch_size"]

    def update(self, state: Mapping[str, Any], statistics: Statistics) -> dict[str, Any]:
        """The state after a step.

        Raises:
            InputError: statistics of a larger batch than the state's, a missing statistic, a zero gradient,
            or
                a signal estimate that is not positive (see ``signal_floor``).
        """
        if statistics.batch_size > state["batch_size"]:
            raise input_error(
                got=f"statistics of a batch of {statistics.batch_size}",
                rule=f"the rule's batch is {state['batch_size']}",
                do="pass the statistics of the step that was just done",
            )
        if statistics.norm_sq == 0.0:
            raise input_error(
                got="a gradient of exactly zero",
                rule="the tests compare noise with a non-zero gradient",
                do="check that backward ran, or stop: this is a stationary point",
            )
        numerator, denominator = FORMULAS[self.name](statistics, self)
        keep = self.smoothing or state["waited"] / (state["waited"] + 1)  # else: mean over the interval
        new = {
            **state,
            "numerator": keep * state["numerator"] + (1 - keep) * numerator,
            "denominator": keep * state["denominator"] + (1 - keep) * denominator,
            "floor": keep * state["floor"] + (1 - keep) * self._floor(statistics, denominator),
            "weight": keep * state["weight"] + (1 - keep),
            "waited": state["waited"] + 1,
        }
        if new["waited"] < self.interval:
            return new
        proposal = self._proposal(new)
        batch_size, limited_by = self._moved(state["batch_size"], proposal)
        new |= {"waited": 0, "proposal": proposal, "limited_by": limited_by, "batch_size": batch_size}
        return new

    def _floor(self, s: Statistics, denominator: float) -> float:
        """The least denominator of this step: the one of a signal of ``signal_floor * |g|^2``."""
        if self.signal_floor is None or s.signal == 0.0:
            return 0.0
        return denominator / s.signal * self.signal_floor * s.norm_sq

    def _proposal(self, state: Mapping[str, Any]) -> float:
        b = state["batch_size"]
        if self.name == "simigrad":
            low = state["numerator"] / state["weight"] < self.tolerance
            return b * self.factor if low else b / self.factor
        denominator = max(state["denominator"], state["floor"])
        if denominator <= 0:
            raise input_error(
                got=f"a debiased signal |g|^2 - noise/b of {state['denominator'] / state['weight']:g}",
                rule="the rule divides by a positive one",
                why="noise dominates, after the smoothing that was asked for",
                do="smooth more, or pass signal_floor (a fraction of |g|^2) to bound it explicitly",
            )
        ratio = state["numerator"] / denominator
        if self.name in _SQUARED:
            return ratio**2
        if self.name == "big_batch":
            return float(b + self.increment) if ratio > b else float(b)
        if self.name == "noise_scale" and self.root is not None:
            return math.sqrt(self.root * ratio)
        if self.name == "pollux":
            base = self.reference_batch_size
            return float(max(self.throughput, key=lambda row: row[1] * (ratio + base) / (ratio + row[0]))[0])
        return ratio

    def _moved(self, b: int, proposal: float) -> tuple[int, str]:
        """(batch size, what limited it): band, ratchet, growth, maximum, minimum or the empty string."""
        if b / (1 + self.hysteresis) <= proposal <= b * (1 + self.hysteresis):
            return b, "" if proposal == b else "band"
        if proposal < b and not self.shrink:
            return b, "ratchet"
        limited_by = ""
        wanted = proposal
        if self.growth_cap is not None and not b / self.growth_cap <= wanted <= b * self.growth_cap:
            wanted = min(max(wanted, b / self.growth_cap), b * self.growth_cap)
            limited_by = "growth"
        if wanted > self.maximum:
            return self.maximum, "maximum"
        wanted = self.multiple * math.ceil(math.ceil(wanted) / self.multiple)
        if self.growth_cap is not None and wanted > b * self.growth_cap:  # rounding up went past the cap
            wanted, limited_by = (
                max(b, self.multiple * math.floor(b * self.growth_cap / self.multiple)),
                "growth",
            )
        if wanted < self.minimum:
            return self.minimum, "minimum"
        return wanted, limited_by


def ddp_norm(*, eta: float, scaling: str, initial: int, maximum: int, **policy: Any) -> Rule:
    """DDP-Norm / FSDP-Norm with ``scaling="published"`` or ``"unbiased"``.

    Published: b' = ceil(V / (eta^2 |g|^2)) if larger, V = (1/J) sum |g_j - g|^2, as algorithm 1 prints it.
    Since E V = (J - 1) sigma^2 / b, its effective tolerance is eta sqrt(b / (J - 1)), which grows with b.
    Unbiased: b' = ceil(noise / (eta^2 signal)) with the debiased signal; eta near or above 1 is then
    sensible.

    Args:
        eta: the test's tolerance.
        scaling: ``published`` or ``unbiased``.
        initial, maximum: batch sizes.
        policy: any other attribute of :class:`Rule`.

    Reference: Lau et al. 2024, arXiv 2412.21124, algorithm 1 and equation (5).
    """
    if scaling not in ("published", "unbiased"):
        raise input_error(got=f"scaling={scaling!r}", rule="it is published or unbiased", do="pick one")
    unbiased = {"debias": True} if scaling == "unbiased" else {}
    name = "norm_test" if scaling == "unbiased" else "published"
    return Rule(name=name, tolerance=eta, initial=initial, maximum=maximum, **{**unbiased, **policy})


def published_fixed_point(*, noise_scale: float, eta: float, workers: int) -> float:
    """Mean-field fixed point of the published rule: b* with eta^2 b (b + N) = (J - 1) N.

    b* = (N/2) (sqrt(1 + 4 (J - 1) / (eta^2 N)) - 1), N the noise scale; (J - 1) / eta^2 when noise dominates.
    A ratio of expectations, not the expectation of a ratio.
    """
    if not (noise_scale > 0 and eta > 0 and workers >= 2):
        raise input_error(
            got=f"noise_scale={noise_scale}, eta={eta}, workers={workers}",
            rule="noise_scale and eta are positive and there are at least two workers",
            do="correct it",
        )
    x = 4 * (workers - 1) / (eta**2 * noise_scale)
    # sqrt(1 + x) - 1 without cancellation
    return noise_scale / 2 * x / (math.sqrt(1 + x) + 1)


def adascale_gain(statistics: Statistics, *, scale: float) -> float:
    """Gain r in [1, scale] of a batch ``scale`` times the base: (sigma^2 + mu^2) / (sigma^2 / scale + mu^2).

    The learning rate is r lr(tau) and the schedule's own clock advances by r: tau += r. ``statistics`` are
    of the scaled batch; sigma^2 is the variance of a *base*-batch gradient. A negative signal
    estimate counts as 0, where the gain takes its limit ``scale``.

    Reference: Johnson et al. 2020, arXiv 2007.05105.
    """
    if not scale >= 1:
        raise input_error(got=f"scale={scale}", rule="it is at least 1", do="pass batch / base batch")
    base_noise = statistics.noise * scale / statistics.batch_size
    signal = max(statistics.signal, 0.0)
    return (base_noise + signal) / (base_noise / scale + signal)
