"""Half-life of a moving average, in tokens, and the beta that realizes it: exact in float64, also next to 1.

An exponential moving average that is updated once every ``tokens_per_step`` tokens with coefficient ``beta``
forgets half of its content after ``half_life`` tokens::

    beta      = 2 ** (-tokens_per_step / half_life)                                            (1)
    half_life = -tokens_per_step * ln 2 / ln beta                                              (2)
    beta*     = beta ** (tokens_per_step* / tokens_per_step)        at a fixed half-life       (3)

Any unit may stand in for tokens as long as both arguments use the same one. Every function takes scalars or
arrays (broadcast against each other); scalars give a Python ``float``, arrays give float64 arrays.

Reference: Marek et al. 2025, arXiv 2507.07101, the half-life rule. Equation (3) keeps the kernel of the
average exactly; it is not a claim about losses.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from bstheory.errors import input_error

LN2 = math.log(2.0)


def _numbers(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.dtype.kind == "b":
        raise input_error(
            got=f"{name}={value!r}", rule=f"{name} is a number or an array of numbers", do="pass numbers"
        )
    return array.astype(np.float64)


def _positive(name: str, value: Any) -> np.ndarray:
    array = _numbers(name, value)
    bad = ~(np.isfinite(array) & (array > 0))
    if bad.any():
        raise input_error(
            got=f"{name}={array[bad].flat[0]!s}",
            rule=f"{name} must be positive and finite",
            do=f"pass {name} > 0",
        )
    return array


def _beta(name: str, value: Any, *, zero: bool) -> np.ndarray:
    array = _numbers(name, value)
    low = (array >= 0) if zero else (array > 0)
    bad = ~(low & (array < 1))  # NaN fails both comparisons
    if bad.any():
        interval = "[0, 1)" if zero else "(0, 1)"
        raise input_error(
            got=f"{name}={array[bad].flat[0]!s}",
            rule=f"{name} must lie in {interval}",
            why="at 1 the average never forgets, at 0 it remembers nothing and has no half-life",
            do=f"pass {name} in {interval}",
        )
    return array


def _out(array: Any) -> Any:
    return float(array) if np.ndim(array) == 0 else np.asarray(array, dtype=np.float64)


def beta_from_half_life(*, half_life: Any, tokens_per_step: Any) -> Any:
    """Coefficient of an average with the given half-life, equation (1); **exact** to the last bits.

    Args:
        half_life: tokens, > 0.
        tokens_per_step: tokens per update (global batch size times sequence length), > 0.

    Returns:
        beta in [0, 1), absolute error below 1e-15; 0.0 where the true value is below the smallest float64.

    Raises:
        InputError: a non-positive or non-finite argument, or a beta that rounds to 1 (half-life above
            1e16 steps, use :func:`one_minus_beta`).

    Example:
        >>> round(beta_from_half_life(half_life=10e6, tokens_per_step=512), 7)
        0.9999645
    """
    ratio = _positive("tokens_per_step", tokens_per_step) / _positive("half_life", half_life)
    beta = np.exp2(-ratio)
    if np.any(beta >= 1.0):
        raise input_error(
            got=f"half_life={half_life!r} at tokens_per_step={tokens_per_step!r}",
            rule="beta must be below 1, and here it rounds to 1.0 in float64",
            why="an optimizer would then never update its average",
            do="shorten the half-life, or work with one_minus_beta, which does not round",
        )
    return _out(beta)


def one_minus_beta(*, half_life: Any, tokens_per_step: Any) -> Any:
    """1 - beta with full *relative* accuracy: -expm1(-ln2 * tokens_per_step / half_life).

    Args and Raises: as :func:`beta_from_half_life`, but no half-life is too long.

    Example:
        >>> round(one_minus_beta(half_life=1e18, tokens_per_step=1) * 1e18, 6)
        0.693147
    """
    ratio = _positive("tokens_per_step", tokens_per_step) / _positive("half_life", half_life)
    return _out(-np.expm1(-LN2 * ratio))


def half_life_from_beta(*, beta: Any, tokens_per_step: Any) -> Any:
    """Half-life in tokens of an average with coefficient ``beta``, equation (2).

    Args:
        beta: coefficient, in (0, 1).
        tokens_per_step: tokens per update, > 0.

    Raises:
        InputError: beta outside (0, 1), or a bad ``tokens_per_step``.

    Example:
        >>> round(half_life_from_beta(beta=0.95, tokens_per_step=512 * 1024))
        7084917
    """
    array = _beta("beta", beta, zero=False)
    # log1p: beta - 1 is exact in float64 for beta >= 1/2, and no digits are lost next to 1.
    log_beta = np.where(array >= 0.5, np.log1p(array - 1.0), np.log(array))
    return _out(-_positive("tokens_per_step", tokens_per_step) * LN2 / log_beta)


def transfer_beta(
    *, beta: Any, from_batch_size: Any, to_batch_size: Any, from_seq_len: Any = None, to_seq_len: Any = None
) -> Any:
    """The beta that keeps the half-life in tokens at another batch size or sequence length, equation (3).

    Args:
        beta: coefficient at the reference setting, in [0, 1); 0 stays 0.
        from_batch_size, to_batch_size: global batch sizes in sequences, > 0.
        from_seq_len, to_seq_len: tokens per sequence; leave both out when the length does not change.

    Raises:
        InputError: a bad value, or only one of the two sequence lengths.

    Example:
        >>> round(transfer_beta(beta=0.95, from_batch_size=512, to_batch_size=1), 7)
        0.9998998
    """
    if (from_seq_len is None) != (to_seq_len is None):
        raise input_error(
            got=f"from_seq_len={from_seq_len!r}, to_seq_len={to_seq_len!r}",
            rule="both sequence lengths are given, or neither",
            why="the half-life is kept in tokens, so a ratio of lengths is needed",
            do="pass the other one as well",
        )
    array = _beta("beta", beta, zero=True)
    ratio = _positive("to_batch_size", to_batch_size) / _positive("from_batch_size", from_batch_size)
    if from_seq_len is not None:
        ratio = ratio * _positive("to_seq_len", to_seq_len) / _positive("from_seq_len", from_seq_len)
    with np.errstate(divide="ignore"):
        log_beta = np.where(array >= 0.5, np.log1p(array - 1.0), np.log(array))
    moved = np.exp(ratio * log_beta)
    if np.any(moved >= 1.0):
        raise input_error(
            got=f"beta={beta!r} moved by a factor {_out(ratio)!r} in tokens per step",
            rule="the new beta must be below 1, and here it rounds to 1.0 in float64",
            do="use a less extreme ratio",
        )
    return _out(moved)


def bias_correction(*, tokens: Any, half_life: Any) -> Any:
    """Total weight of the average after ``tokens`` tokens, 1 - 2^(-tokens / half_life), for any schedule.

    **Exact**: the weights telescope, so only the token count matters. Adam divides its averages by it.

    Args:
        tokens: tokens consumed so far, >= 0.
        half_life: tokens, > 0.
    """
    array = _numbers("tokens", tokens)
    if np.any(~np.isfinite(array) | (array < 0)):
        raise input_error(got=f"tokens={tokens!r}", rule="tokens must be finite and >= 0", do="pass a count")
    return _out(-np.expm1(-LN2 * array / _positive("half_life", half_life)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LimitedBeta:
    """A beta after an explicit floor and cap, beside what the half-life rule asked for.

    Attributes:
        beta: the value to use.
        requested: the value of the half-life rule.
        limited_by: ``""`` when the two agree, else ``"floor"`` or ``"cap"``.
        half_life: tokens; the half-life that ``beta`` really has (0 when ``beta`` is 0).
    """

    beta: float
    requested: float
    limited_by: str
    half_life: float


def limited_beta(
    *, half_life: float, tokens_per_step: float, floor: float | None = None, cap: float | None = None
) -> LimitedBeta:
    """The half-life rule with a floor and a cap on beta; the result says whether either was applied.

    Very large batches drive beta towards 0 (the average forgets everything within a step), and some runs
    therefore bound it. A bounded beta no longer has the requested half-life, which the result carries too.

    Args:
        half_life, tokens_per_step: as in :func:`beta_from_half_life`; scalars.
        floor, cap: bounds in [0, 1); ``None`` for no bound.

    Raises:
        InputError: floor above cap, or a bad value.

    Example:
        >>> limited_beta(half_life=10e6, tokens_per_step=4096 * 512, floor=0.9).limited_by
        'floor'
    """
    low = 0.0 if floor is None else float(_beta("floor", floor, zero=True))
    high = 1.0 if cap is None else float(_beta("cap", cap, zero=True))
    if low > high:
        raise input_error(
            got=f"floor={floor}, cap={cap}", rule="the floor is at most the cap", do="swap them"
        )
    requested = float(beta_from_half_life(half_life=half_life, tokens_per_step=tokens_per_step))
    beta = min(max(requested, low), high)
    limited_by = "" if beta == requested else ("floor" if beta > requested else "cap")
    effective = float(half_life)
    if limited_by:
        effective = half_life_from_beta(beta=beta, tokens_per_step=tokens_per_step) if beta > 0 else 0.0
    return LimitedBeta(beta=beta, requested=requested, limited_by=limited_by, half_life=effective)
