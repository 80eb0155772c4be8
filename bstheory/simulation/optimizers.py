"""Optimizers as frozen descriptions, and the table of per-step coefficients that every engine consumes.

One description serves three engines: the NumPy reference (:mod:`.reference`, the specification), the fused
kernels (:mod:`.kernels`) and, where the method is linear, the exact recursions (:mod:`.moments`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from bstheory.errors import input_error

Array = np.ndarray

# Columns of the coefficient table, in the order the kernels read them.
COLUMNS = (
    "learning_rate",  # eta_k
    "beta1",
    "gain1",  # factor of g in m: 1 - beta1 (EMA) or 1 (heavy-ball sum)
    "beta2",
    "gain2",  # 1 - beta2, without cancellation
    "decay",  # 1 - eta_k * weight_decay, multiplies x before the step
    "correct1",  # 1 / (1 - prod beta1), or 1
    "correct2",  # 1 / (1 - prod beta2), or 1
    "eps",
    "noise",  # 1 / sqrt(batch size)
    "weight",  # weight of ||grad F(x_{k-1})||^2 in the accumulated left-hand side
    "batch_size",  # samples, for noise laws that depend on it
)
INDEX = {name: i for i, name in enumerate(COLUMNS)}

RATE_RULES = ("constant", "sqrt_one_minus_beta2", "sqrt_batch", "linear_batch")
WEIGHTS = ("learning_rate", "sqrt_one_minus_beta2", "one")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    """What all methods share.

    Attributes:
        learning_rate: alpha > 0.
        learning_rate_rule: ``constant`` (eta_k = alpha), ``sqrt_one_minus_beta2`` (eta_k = alpha sqrt(1 -
            beta2_k), the rule of ``adam_token_half_life``), ``sqrt_batch`` (alpha sqrt(B_k /
            reference_batch_size)) or ``linear_batch`` (alpha B_k / reference_batch_size).
        reference_batch_size: B at which the last two rules return alpha.
        weight: weight w_k of ||grad F(x_{k-1})||^2 in the series ``weighted_sq_gradient``: ``learning_rate``
            (eta_k), ``sqrt_one_minus_beta2`` or ``one``.
        weight_decay: decoupled decay, x <- (1 - eta_k weight_decay) x before the step.
    """

    learning_rate: float
    learning_rate_rule: str = "constant"
    reference_batch_size: int = 1
    weight: str = "learning_rate"
    weight_decay: float = 0.0

    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        _positive("learning_rate", self.learning_rate)
        _member("learning_rate_rule", self.learning_rate_rule, RATE_RULES)
        _member("weight", self.weight, WEIGHTS)
        _positive("reference_batch_size", self.reference_batch_size)
        _in_range("weight_decay", self.weight_decay, 0.0, np.inf)

    def betas(self, batch_size: Array) -> dict[str, Array]:
        """Columns beta1, gain1, beta2, gain2 for integer batches [K]."""
        zeros = np.zeros(len(batch_size))
        return {"beta1": zeros, "gain1": zeros + 1.0, "beta2": zeros, "gain2": zeros + 1.0}

    @property
    def corrected(self) -> str:
        """How the moments are bias-corrected, ``none``, ``exact`` or ``stock``."""
        return "none"

    def config(self) -> dict[str, Any]:
        """Plain JSON that, with the schedule, determines every coefficient."""
        return {"name": self.name, **dataclasses.asdict(self)}


def _positive(name: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        raise input_error(
            got=f"{name}={value!r}", rule=f"{name} is finite and positive", do=f"pass a positive {name}"
        )


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not (low <= value < high):
        raise input_error(
            got=f"{name}={value!r}", rule=f"{low} <= {name} < {high}", do="choose a value in that range"
        )


def _member(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise input_error(
            got=f"{name}={value!r}", rule=f"it is one of {', '.join(allowed)}", do="pass one of these"
        )


def _ema(batch_size: Array, beta: float | None, half_life: float | None) -> tuple[Array, Array]:
    """``(beta_k, 1 - beta_k)`` for a fixed beta or for beta_k = 2^(-B_k / half_life)."""
    if half_life is None:
        return np.full(len(batch_size), float(beta or 0.0)), np.full(
            len(batch_size), 1.0 - float(beta or 0.0)
        )
    exponent = -np.log(2.0) * np.asarray(batch_size, dtype=np.float64) / half_life
    return np.exp(exponent), -np.expm1(exponent)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """x_k = x_{k-1} - eta_k g_k."""

    name: ClassVar[str] = "sgd"


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeavyBall(Optimizer):
    """m_k = beta1 m_{k-1} + g_k, x_k = x_{k-1} - eta_k m_k (``nesterov``: minus eta_k (g_k + beta1 m_k)).

    Attributes:
        beta1: momentum in [0, 1); ``half_life1`` in tokens replaces it by 2^(-B_k / half_life1).
        ema: True multiplies g_k by 1 - beta1 (the EMA convention).
        nesterov: look-ahead step, as in ``torch.optim.SGD(nesterov=True)``.
    """

    beta1: float | None = None
    half_life1: float | None = None
    ema: bool = False
    nesterov: bool = False

    name: ClassVar[str] = "heavy_ball"

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("beta1", self.beta1, "half_life1", self.half_life1)

    def betas(self, batch_size: Array) -> dict[str, Array]:
        beta, gain = _ema(batch_size, self.beta1, self.half_life1)
        return super().betas(batch_size) | {"beta1": beta, "gain1": gain if self.ema else np.ones_like(gain)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signum(Optimizer):
    """m_k = beta1 m_{k-1} + (1 - beta1) g_k, x_k = x_{k-1} - eta_k sign(m_k); beta1 = 0 is sign descent.

    ``start`` is ``zero`` (m_0 = 0) or ``gradient`` (the first step has m_1 = g_1, as
    ``lmo_token_half_life``).
    """

    beta1: float | None = None
    half_life1: float | None = None
    start: str = "zero"

    name: ClassVar[str] = "signum"

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("beta1", self.beta1, "half_life1", self.half_life1)
        _member("start", self.start, ("zero", "gradient"))

    def betas(self, batch_size: Array) -> dict[str, Array]:
        beta, gain = _ema(batch_size, self.beta1, self.half_life1)
        return super().betas(batch_size) | {"beta1": beta, "gain1": gain}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Muon(Signum):
    """m_k as :class:`Signum`, x_k = x_{k-1} - eta_k U V^T where m_k = U S V^T as a matrix with ``rows`` rows.

    The step is the exact polar factor (spectral norm 1), which Newton-Schulz iterations approximate.
    """

    rows: int = 1

    name: ClassVar[str] = "muon"

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive("rows", self.rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adafactor(Optimizer):
    """Factored second moment: v_ij = R_i C_j / mean(R), R and C averages of g^2 + eps over columns and rows.

    x_k = decay x_{k-1} - eta_k u / max(1, rms(u) / clip_threshold), u = g / sqrt(v). No first moment.

    Attributes:
        rows: of the matrix that the coordinates form, row by row; at least 2 x 2.
        beta2, half_life: as :class:`Adam`. eps: added to g^2. clip_threshold: ``None`` for no clipping.
        bias_correction: ``none``, ``exact`` or ``stock``, of R and C alike.

    Reference: Shazeer and Stern 2018 (1804.04235), without its relative step sizes.
    """

    rows: int
    beta2: float | None = None
    half_life: float | None = None
    eps: float = 1e-30
    clip_threshold: float | None = 1.0
    bias_correction: str = "exact"

    name: ClassVar[str] = "adafactor"

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("beta2", self.beta2, "half_life", self.half_life)
        _positive("rows", self.rows)
        _in_range("eps", self.eps, 0.0, np.inf)
        _member("bias_correction", self.bias_correction, ("none", "exact", "stock"))
        if self.clip_threshold is not None:
            _positive("clip_threshold", self.clip_threshold)

    def betas(self, batch_size: Array) -> dict[str, Array]:
        beta2, gain2 = _ema(batch_size, self.beta2, self.half_life)
        return super().betas(batch_size) | {"beta2": beta2, "gain2": gain2}

    @property
    def corrected(self) -> str:
        return self.bias_correction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """m_k = beta1 m + (1 - beta1) g, v_k = beta2 v + (1 - beta2) g^2, x_k = decay x - eta_k m^ / denominator.

    The denominator is sqrt(v^) + eps (``eps_placement="outside"``, as torch) or sqrt(v^ + eps) (``"inside"``,
    as the theorems; eps then has the unit of a squared gradient). m^, v^ are the moments divided by their
    correction.

    Attributes:
        beta1, half_life1: first moment, fixed or by tokens (exactly one).
        beta2, half_life: second moment, fixed or by tokens, beta2_k = 2^(-B_k / half_life) (exactly one).
        eps: > 0, or 0 at the user's own risk (the first step is then sign descent).
        bias_correction: ``none``; ``exact``, 1 - prod beta_k, right under any schedule; ``stock``, 1 -
            beta_k^k with the current beta, which is what editing ``betas`` of a stock optimizer in mid-run
            computes.
        v0: initial second moment, the same in each coordinate.
    """

    beta1: float | None = None
    half_life1: float | None = None
    beta2: float | None = None
    half_life: float | None = None
    eps: float = 1e-8
    eps_placement: str = "outside"
    bias_correction: str = "exact"
    v0: float = 0.0

    name: ClassVar[str] = "adam"

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("beta1", self.beta1, "half_life1", self.half_life1)
        _one_of("beta2", self.beta2, "half_life", self.half_life)
        _in_range("eps", self.eps, 0.0, np.inf)
        _in_range("v0", self.v0, 0.0, np.inf)
        _member("eps_placement", self.eps_placement, ("inside", "outside"))
        _member("bias_correction", self.bias_correction, ("none", "exact", "stock"))

    def betas(self, batch_size: Array) -> dict[str, Array]:
        beta1, gain1 = _ema(batch_size, self.beta1, self.half_life1)
        beta2, gain2 = _ema(batch_size, self.beta2, self.half_life)
        return {"beta1": beta1, "gain1": gain1, "beta2": beta2, "gain2": gain2}

    @property
    def corrected(self) -> str:
        return self.bias_correction


def RMSProp(
    *,
    learning_rate: float,
    beta2: float | None = None,
    half_life: float | None = None,
    eps: float = 1e-8,
    eps_placement: str = "inside",
    bias_correction: str = "none",
    learning_rate_rule: str = "constant",
    weight: str = "learning_rate",
    v0: float = 0.0,
) -> Adam:
    """Adam with beta1 = 0, eps inside the root and no bias correction: the algorithm of the theorems.

    ``RMSProp(learning_rate=alpha, half_life=h, eps=..., learning_rate_rule="sqrt_one_minus_beta2",
    weight="sqrt_one_minus_beta2")`` is exactly the algorithm of ``adam_token_half_life``, form B.
    """
    return Adam(
        learning_rate=learning_rate,
        beta1=0.0,
        beta2=beta2,
        half_life=half_life,
        eps=eps,
        eps_placement=eps_placement,
        bias_correction=bias_correction,
        learning_rate_rule=learning_rate_rule,
        weight=weight,
        v0=v0,
    )


def _one_of(beta_name: str, beta: float | None, half_life_name: str, half_life: float | None) -> None:
    if (beta is None) == (half_life is None):
        raise input_error(
            got=f"{beta_name}={beta!r} and {half_life_name}={half_life!r}",
            rule="exactly one of the two says how the average forgets",
            do=f"pass {beta_name} or {half_life_name}",
        )
    if beta is not None:
        _in_range(beta_name, beta, 0.0, 1.0)
    if half_life is not None:
        _positive(half_life_name, half_life)


def coefficients(
    optimizer: Optimizer,
    batch_size: Array,
    *,
    first_step: int = 0,
    carried: tuple[float, float] = (0.0, 0.0),
    along: Mapping[str, Array] | None = None,
) -> tuple[Array, tuple[float, float]]:
    """Coefficient table of a stretch of steps.

    Args:
        optimizer: the method.
        batch_size: integer samples of each step, [K].
        first_step: number of steps already taken.
        carried: ``(log prod beta1, log prod beta2)`` over the steps already taken, returned by the previous
        call.
        along: hyperparameters that vary along these steps, each [K]: ``learning_rate`` (replaces alpha,
            before the rate rule), ``beta1``, ``beta2``, ``weight`` (replace what the optimizer says).

    Returns:
        ``(table [K, len(COLUMNS)], carried)``.

    Raises:
        InputError: a batch size below 1, an unknown name in ``along``, a value out of range or of another
        length.
    """
    batch_size = np.asarray(batch_size)
    if batch_size.size and (batch_size.min() < 1 or not np.issubdtype(batch_size.dtype, np.integer)):
        raise input_error(
            got=f"batch_size with smallest value {batch_size.min()} ({batch_size.dtype})",
            rule="each step takes a whole number of at least 1 sample",
            do="correct the schedule",
        )
    columns = _columns(optimizer, batch_size, first=0 if first_step == 0 else None, along=along)
    logs = list(carried)
    for which in (1, 2):
        correction, logs[which - 1] = _correction(
            columns[f"beta{which}"], optimizer.corrected, first_step, carried[which - 1]
        )
        columns[f"correct{which}"] = correction
    return np.stack([columns[name] for name in COLUMNS], axis=1), (logs[0], logs[1])


def coefficients_across(
    optimizer: Optimizer, batch_size: Array, *, step: int, carried: Array
) -> tuple[Array, Array]:
    """The same table for one step of S paths, each with its own batch size and history.

    Args:
        batch_size: integer samples of this step, [S]. step: steps already taken, the same for all.
        carried: ``(log prod beta1, log prod beta2)`` of each path, [2, S].

    Returns:
        ``(table [S, len(COLUMNS)], carried [2, S])``.
    """
    columns = _columns(optimizer, np.asarray(batch_size), first=slice(None) if step == 0 else None)
    after = np.array(carried)
    for which in (1, 2):
        beta = columns[f"beta{which}"]
        with np.errstate(divide="ignore"):
            log_beta = np.log(beta)
        after[which - 1] += log_beta
        exponent = (step + 1.0) * log_beta if optimizer.corrected == "stock" else after[which - 1]
        plain = optimizer.corrected == "none"
        columns[f"correct{which}"] = np.ones_like(beta) if plain else 1.0 / -np.expm1(exponent)
    return np.stack([columns[name] for name in COLUMNS], axis=1), after


def _columns(
    optimizer: Optimizer,
    batch_size: Array,
    *,
    first: int | slice | None,
    along: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Columns that depend on the present step only; ``first`` selects the entries of the first step."""
    columns = optimizer.betas(batch_size)
    varying = _checked_along(along or {}, len(batch_size))
    for which in ("1", "2"):
        if f"beta{which}" in varying:
            columns[f"beta{which}"] = varying[f"beta{which}"]
            summed = isinstance(optimizer, HeavyBall) and not optimizer.ema and which == "1"
            columns[f"gain{which}"] = np.ones(len(batch_size)) if summed else 1.0 - varying[f"beta{which}"]
    if first is not None and getattr(optimizer, "start", "zero") == "gradient":
        columns["beta1"][first], columns["gain1"][first] = 0.0, 1.0
    rate = varying.get("learning_rate", np.full(len(batch_size), float(optimizer.learning_rate)))
    if optimizer.learning_rate_rule == "sqrt_one_minus_beta2":
        rate = rate * np.sqrt(columns["gain2"])
    elif optimizer.learning_rate_rule == "sqrt_batch":
        rate = rate * np.sqrt(batch_size / optimizer.reference_batch_size)
    elif optimizer.learning_rate_rule == "linear_batch":
        rate = rate * (batch_size / optimizer.reference_batch_size)
    weights = {
        "learning_rate": rate,
        "sqrt_one_minus_beta2": np.sqrt(columns["gain2"]),
        "one": np.ones(len(batch_size)),
    }
    weight = varying.get("weight", weights[optimizer.weight])
    columns |= {
        "learning_rate": rate,
        "decay": 1.0 - rate * optimizer.weight_decay,
        "eps": np.full(len(batch_size), float(getattr(optimizer, "eps", 0.0))),
        "noise": 1.0 / np.sqrt(batch_size),
        "weight": weight,
        "batch_size": np.asarray(batch_size, dtype=np.float64),
    }
    return columns


def _checked_along(along: Mapping[str, Array], count: int) -> dict[str, Array]:
    limits = {"learning_rate": np.inf, "beta1": 1.0, "beta2": 1.0, "weight": np.inf}
    out = {}
    for name, values in along.items():
        array = np.array(values, dtype=np.float64)
        good = name in limits and array.shape == (count,)
        if not good or not np.all((array >= 0) & (array < limits[name])):
            raise input_error(
                got=f"along[{name!r}] of shape {array.shape}",
                rule=f"it is one of {', '.join(limits)}, one value per step ({count}), 0 <= beta < 1, "
                "0 <= learning_rate, weight < inf",
                do="correct it",
            )
        out[name] = array
    return out


def _correction(beta: Array, kind: str, first_step: int, carried: float) -> tuple[Array, float]:
    """``1 / (1 - prod beta)`` per step, and the accumulated log of the product."""
    if kind == "none":
        return np.ones_like(beta), carried
    with np.errstate(divide="ignore"):
        log_beta = np.log(beta)  # -inf at beta = 0: the product is then 0 and the correction 1
    if kind == "stock":
        steps = first_step + 1.0 + np.arange(len(beta))
        return 1.0 / -np.expm1(steps * log_beta), carried
    total = carried + np.cumsum(log_beta)
    return 1.0 / -np.expm1(total), float(total[-1]) if len(total) else carried
