"""Half-lives against 60-digit arithmetic, the published vectors, and each other."""

from __future__ import annotations

import math
import subprocess
import sys

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import bstheory.half_life as hl
from bstheory.errors import InputError

ABSOLUTE = 1e-15  # the promise for beta
# Equation (2) has condition number 1/|ln beta| in beta, but is evaluated at the float64 beta given, so only
# a division, a product and one logarithm (each at most 2 units in the last place) may be lost.
RELATIVE = 8 * np.finfo(float).eps

half_lives = st.floats(min_value=0, max_value=13).map(lambda e: 10.0**e)
steps = st.integers(min_value=1, max_value=2**24)


def exact_beta(tokens_per_step: float, half_life: float) -> mpmath.mpf:
    with mpmath.workdps(60):
        return mpmath.mpf(2) ** (-mpmath.mpf(tokens_per_step) / mpmath.mpf(half_life))


@given(half_life=half_lives, tokens_per_step=steps)
@example(half_life=1e13, tokens_per_step=1)
@example(half_life=1.0, tokens_per_step=1)
@example(half_life=1.0, tokens_per_step=2**24)
@example(half_life=1e13, tokens_per_step=2**24)
def test_beta_is_the_true_value_to_1e_15(half_life: float, tokens_per_step: int) -> None:
    got = hl.beta_from_half_life(half_life=half_life, tokens_per_step=tokens_per_step)
    assert abs(mpmath.mpf(got) - exact_beta(tokens_per_step, half_life)) <= ABSOLUTE


@given(half_life=half_lives, tokens_per_step=steps)
def test_one_minus_beta_keeps_relative_accuracy(half_life: float, tokens_per_step: int) -> None:
    got = hl.one_minus_beta(half_life=half_life, tokens_per_step=tokens_per_step)
    with mpmath.workdps(60):
        truth = 1 - exact_beta(tokens_per_step, half_life)
        assert abs(mpmath.mpf(got) / truth - 1) <= RELATIVE


@given(beta=st.floats(min_value=1e-12, max_value=1 - 1e-13), tokens_per_step=steps)
@example(beta=1 - 2.0**-53, tokens_per_step=1)
@example(beta=0.5, tokens_per_step=512)
def test_half_life_of_the_given_float(beta: float, tokens_per_step: int) -> None:
    got = hl.half_life_from_beta(beta=beta, tokens_per_step=tokens_per_step)
    with mpmath.workdps(60):
        truth = -tokens_per_step * mpmath.log(2) / mpmath.log(mpmath.mpf(beta))
        assert abs(mpmath.mpf(got) / truth - 1) <= RELATIVE


def test_naive_logarithm_would_fail_the_accuracy_that_is_tested() -> None:
    """The tolerance has teeth: 1 - beta by subtraction loses it."""
    naive = 1 - hl.beta_from_half_life(half_life=1e13, tokens_per_step=1)
    with mpmath.workdps(60):
        assert abs(mpmath.mpf(naive) / (1 - exact_beta(1, 1e13)) - 1) > RELATIVE


@given(
    beta=st.floats(min_value=0.01, max_value=1 - 1e-9),
    sizes=st.tuples(*[st.integers(min_value=1, max_value=4096)] * 4),
)
def test_transfer_keeps_the_half_life(beta: float, sizes: tuple[int, int, int, int]) -> None:
    b0, b1, t0, t1 = sizes
    got = hl.transfer_beta(beta=beta, from_batch_size=b0, to_batch_size=b1, from_seq_len=t0, to_seq_len=t1)
    with mpmath.workdps(60):
        truth = mpmath.mpf(beta) ** (mpmath.mpf(b1 * t1) / (b0 * t0))
    assert abs(mpmath.mpf(got) - truth) <= ABSOLUTE


# arXiv 2507.07101: T = 512, half-life 10M tokens, printed to seven decimals.
PUBLISHED = {
    1: 0.9999645, 4: 0.9998581, 16: 0.9994323, 64: 0.9977313, 256: 0.9909559, 1024: 0.9643115, 4096: 0.8647079
}  # fmt: skip


@pytest.mark.parametrize("batch_size", PUBLISHED)
def test_published_vectors(batch_size: int) -> None:
    got = hl.beta_from_half_life(half_life=10e6, tokens_per_step=batch_size * 512)
    assert got == pytest.approx(PUBLISHED[batch_size], abs=0.5000001e-7)


def test_published_transfers() -> None:
    assert abs(hl.transfer_beta(beta=0.95, from_batch_size=512, to_batch_size=1) - 0.95 ** (1 / 512)) < 1e-15
    moved = hl.transfer_beta(beta=0.95, from_batch_size=16, to_batch_size=1)
    assert moved == pytest.approx(0.9967993, abs=0.5e-7)
    assert round(hl.half_life_from_beta(beta=0.95, tokens_per_step=512 * 1024) / 1e6, 3) == 7.085
    assert round(hl.half_life_from_beta(beta=0.95, tokens_per_step=512 * 2048) / 1e6, 2) == 14.17
    assert round(hl.half_life_from_beta(beta=0.9999, tokens_per_step=1024) / 1e6, 3) == 7.097
    assert hl.transfer_beta(beta=0.0, from_batch_size=1, to_batch_size=7) == 0.0


def test_arrays_equal_scalars_and_broadcast() -> None:
    t, b = np.geomspace(1, 1e13, 7)[:, None], np.array([1, 3, 512, 2**20])
    table = hl.beta_from_half_life(half_life=t, tokens_per_step=b)
    assert table.shape == (7, 4) and table.dtype == np.float64
    rows = [[hl.beta_from_half_life(half_life=x, tokens_per_step=y) for y in b] for x in t[:, 0]]
    assert np.array_equal(table, rows)
    assert isinstance(hl.beta_from_half_life(half_life=10, tokens_per_step=1), float)


@given(st.lists(st.integers(min_value=1, max_value=1000), min_size=1, max_size=30), half_lives)
def test_bias_correction_telescopes_over_any_schedule(batches: list[int], half_life: float) -> None:
    weight = 0.0
    for batch in batches:
        step = hl.one_minus_beta(half_life=half_life, tokens_per_step=batch)
        weight = weight * (1 - step) + step
    total = hl.bias_correction(tokens=sum(batches), half_life=half_life)
    assert weight == pytest.approx(total, rel=len(batches) * RELATIVE)
    current_only = hl.bias_correction(tokens=len(batches) * batches[-1], half_life=half_life)
    if sum(batches) != len(batches) * batches[-1] and total < 0.9:
        assert current_only != pytest.approx(total, rel=1e-6)  # what editing betas in place computes


def test_limits_are_reported() -> None:
    free = hl.limited_beta(half_life=10e6, tokens_per_step=512, floor=0.9, cap=0.99999)
    assert (free.limited_by, free.beta, free.half_life) == ("", free.requested, 10e6)
    low = hl.limited_beta(half_life=10e6, tokens_per_step=4096 * 512, floor=0.9)
    assert (low.limited_by, low.beta) == ("floor", 0.9) and low.requested < 0.9 and low.half_life > 10e6
    high = hl.limited_beta(half_life=10e6, tokens_per_step=1, cap=0.9999)
    assert (high.limited_by, high.beta) == ("cap", 0.9999) and high.half_life < 10e6
    assert high.half_life == pytest.approx(-math.log(2) / math.log(0.9999), rel=1e-12)
    assert hl.limited_beta(half_life=1, tokens_per_step=1, cap=0.0).half_life == 0.0


BAD = [
    (
        hl.beta_from_half_life,
        {"half_life": 0, "tokens_per_step": 1},
        "half_life=0.0, but half_life must be positive",
    ),
    (hl.beta_from_half_life, {"half_life": -3, "tokens_per_step": 1}, "half_life=-3.0"),
    (hl.beta_from_half_life, {"half_life": float("nan"), "tokens_per_step": 1}, "half_life=nan"),
    (hl.beta_from_half_life, {"half_life": math.inf, "tokens_per_step": 1}, "half_life=inf"),
    (hl.beta_from_half_life, {"half_life": 1, "tokens_per_step": 0}, "tokens_per_step=0.0"),
    (hl.beta_from_half_life, {"half_life": 1e18, "tokens_per_step": 1}, "rounds to 1.0"),
    (hl.beta_from_half_life, {"half_life": "10M", "tokens_per_step": 1}, "half_life='10M'"),
    (hl.beta_from_half_life, {"half_life": True, "tokens_per_step": 1}, "half_life=True"),
    (hl.half_life_from_beta, {"beta": 1.0, "tokens_per_step": 1}, "beta=1.0"),
    (hl.half_life_from_beta, {"beta": 0.0, "tokens_per_step": 1}, "beta=0.0"),
    (hl.half_life_from_beta, {"beta": 1.5, "tokens_per_step": 1}, "beta=1.5"),
    (hl.half_life_from_beta, {"beta": [0.9, float("nan")], "tokens_per_step": 1}, "beta=nan"),
    (hl.transfer_beta, {"beta": 0.9, "from_batch_size": 0, "to_batch_size": 1}, "from_batch_size=0.0"),
    (
        hl.transfer_beta,
        {"beta": 0.9, "from_batch_size": 1, "to_batch_size": 1, "to_seq_len": 2},
        "both sequence lengths",
    ),
    (hl.transfer_beta, {"beta": 1 - 1e-16, "from_batch_size": 1e9, "to_batch_size": 1}, "rounds to 1.0"),
    (hl.bias_correction, {"tokens": -1, "half_life": 1}, "tokens=-1"),
    (hl.limited_beta, {"half_life": 1, "tokens_per_step": 1, "floor": 0.9, "cap": 0.5}, "floor=0.9, cap=0.5"),
    (hl.limited_beta, {"half_life": 1, "tokens_per_step": 1, "cap": 1.0}, "cap=1.0"),
]


@pytest.mark.parametrize(("function", "arguments", "message"), BAD)
def test_bad_arguments(function, arguments, message) -> None:
    with pytest.raises(InputError, match=r"^Got ") as caught:
        function(**arguments)
    assert message in str(caught.value)


def test_import_is_light() -> None:
    heavy = "torch", "sympy", "numba", "scipy"
    code = f"import bstheory.half_life, sys; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
