"""Named schedules: hand-worked values, scalar = vector = expression, exact boundaries, refusals."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bstheory import schedules
from bstheory.errors import InputError
from bstheory.half_life import beta_from_half_life
from bstheory.schedules import Schedule

BATCH = schedules.parse("0:64 1000:256 4000:1024")
RATE = schedules.warmup_cosine(peak=1e-3, warmup=500, total=5000, final=1e-4, initial=1e-5)


def cases() -> dict[str, Schedule]:
    flat = schedules.curve("constant", value=1e-3, quantity="learning_rate")
    found = {
        "gpt3": schedules.increments(start=32, end=3200, increment=32, over=3960),
        "2.5-2.5-95": schedules.stage_table((2048, 4096, 8192), ("2.5%", "2.5%", "95%"), total=2000),
        "late switch": schedules.late_switch(small=8, large=512, at=4000),
        "one cycle": schedules.one_cycle(start=32, middle=8, end=128, turn=1000, total=5000),
        "cosine": RATE,
        "wsd": schedules.warmup_stable_decay(peak=1e-3, warmup=500, decay_begin=4000, total=5000, power=0.5),
        "no warmup": schedules.warmup_stable_decay(peak=1e-3, warmup=0, decay_begin=0, total=5000),
        "beta2": schedules.beta_from_batch_size(half_life=1e5, batch_size=BATCH, seq_len=16),
        "beta2 floor": schedules.beta_from_batch_size(
            half_life=1e5, batch_size=BATCH, seq_len=16, floor=0.95
        ),
        "beta2 cap": schedules.beta_from_batch_size(half_life=1e5, batch_size=BATCH, seq_len=16, cap=0.98),
        "decay": schedules.weight_decay_timescale(
            learning_rate=RATE,
            batch_size=BATCH,
            reference_learning_rate=1e-3,
            reference_weight_decay=0.1,
            reference_batch_size=256,
        ),
    }
    for rule, parameter in RULES.items():
        found[f"scaled {rule}"] = schedules.scaled(
            flat, batch_size=BATCH, reference_batch_size=256, rule=rule, parameter=parameter
        )
    pair = schedules.seesaw(RATE, batch_size=64, begin=500, end=5000, cuts=3)
    return found | {"seesaw lr": pair.learning_rate, "seesaw batch": pair.batch_size}


RULES = {
    "none": None,
    "sqrt": None,
    "linear": None,
    "power": 0.25,
    "adascale": 300.0,
    "surge": 300.0,
    "half_life": 1e4,
}
TIMES = [0, 1, 37, 49, 50, 99, 100, 499, 500, 501, 999, 1000, 1001, 2750, 3999, 4000, 4999, 5000, 9999]


@pytest.mark.parametrize("name", list(cases()))
def test_scalar_vector_expression_and_round_trip(name):
    schedule = cases()[name]
    vector = schedule(np.array(TIMES))
    assert np.array_equal(vector, [schedule(t) for t in TIMES])
    t = sympy.Symbol("t", nonnegative=True)
    formula = schedule.expr(t)
    for time, value in zip(TIMES, vector):
        assert float(sympy.N(formula.subs(t, time), 30)) == pytest.approx(value, rel=1e-12)
    assert Schedule.from_dict(schedule.to_dict()) == schedule


def test_hand_worked_values():
    c = cases()
    assert c["gpt3"]([0, 40, 79, 80, 3959, 3960, 1e6]).tolist() == [32, 64, 64, 96, 3168, 3200, 3200]
    assert c["2.5-2.5-95"]([0, 49, 50, 99, 100]).tolist() == [2048, 2048, 4096, 4096, 8192]
    assert c["late switch"]([3999, 4000]).tolist() == [8, 512]
    assert c["one cycle"]([0, 500, 1000, 3000, 5000]).tolist() == pytest.approx([32, 20, 8, 68, 128])
    assert RATE([0, 250, 500, 2750, 5000, 9000]).tolist() == pytest.approx(
        [1e-5, 5.05e-4, 1e-3, 5.5e-4, 1e-4, 1e-4], rel=1e-12
    )
    assert c["wsd"]([0, 250, 500, 4000, 4250, 5000]).tolist() == pytest.approx(
        [0, 5e-4, 1e-3, 1e-3, 5e-4, 0], abs=1e-18
    )
    for name, low, high in (("beta2", 0, 1), ("beta2 floor", 0.95, 1), ("beta2 cap", 0, 0.98)):
        for t, size in ((0, 64), (1000, 256), (4000, 1024)):
            exact = beta_from_half_life(half_life=1e5, tokens_per_step=16 * size)
            assert c[name](t) == pytest.approx(min(max(exact, low), high), abs=1e-15)
    for t in (0, 600, 2000, 4500):  # the decay per sample is kept
        per_step = 1 - RATE(t) * c["decay"](t)
        assert per_step ** (1 / BATCH(t)) == pytest.approx((1 - 1e-4) ** (1 / 256), rel=1e-12)


def test_learning_rate_factors():
    n, h = 300.0, 1e4
    for b, t in ((64, 0), (256, 1000), (1024, 4000)):
        expected = {
            "none": 1,
            "sqrt": math.sqrt(b / 256),
            "linear": b / 256,
            "power": (b / 256) ** 0.25,
            # AdaScale with variance N/256 and squared mean 1 at the base batch, scale S = b/256
            "adascale": (n / 256 + 1) / (n / 256 / (b / 256) + 1),
            "surge": (math.sqrt(n / 256) + math.sqrt(256 / n)) / (math.sqrt(n / b) + math.sqrt(b / n)),
            "half_life": math.sqrt((1 - 2 ** (-b / h)) / (1 - 2 ** (-256 / h))),
        }
        for rule, factor in expected.items():
            assert cases()[f"scaled {rule}"](t) == pytest.approx(1e-3 * factor, rel=1e-12), (rule, b)


def test_seesaw_cuts_where_the_base_halves():
    base = schedules.warmup_cosine(peak=1.0, warmup=1000, total=100_000)
    pair = schedules.seesaw(base, batch_size=32, begin=1000, end=100_000, cuts=4)
    thresholds = pair.batch_size.params["thresholds"]
    assert len(thresholds) == 5
    for k, t in enumerate(thresholds[1:], start=1):
        assert base(t) <= 0.5**k < base(t - 1)
        assert pair.batch_size(t) == 32 * 2**k and pair.batch_size(t - 1) == 32 * 2 ** (k - 1)
        assert pair.learning_rate(t) == pytest.approx(2 ** (-k / 2))
        # normalized SGD: lr * sqrt(batch) is kept
        assert pair.learning_rate(t) * math.sqrt(pair.batch_size(t)) == pytest.approx(math.sqrt(32))
    # cos^2 halves at (1 - t) with (1 + cos(pi u)) / 2 = 1/2: u = 1/2
    assert thresholds[1] == 1000 + 99_000 // 2
    assert pair.learning_rate(500) == base(500)  # the warmup is kept


BAD = [
    (lambda: schedules.stage_table((1, 2), ("50%", "40%"), total=100), "add up to exactly 1"),
    (lambda: schedules.stage_table((1, 2, 3), ("2.5%", "2.5%", "95%"), total=30), "boundaries are whole"),
    (lambda: schedules.stage_table((1, 2), ("half", "50%"), total=10), "share 'half'"),
    (lambda: schedules.increments(start=32, end=100, increment=32, over=10), "whole number of increments"),
    (lambda: schedules.one_cycle(start=3, middle=1, end=9, turn=9, total=9), "0 < turn < total"),
    (lambda: schedules.warmup_cosine(peak=1, warmup=9, total=9), "warmup=9, total=9"),
    (lambda: schedules.sequence([], []), "at least one"),
    (lambda: schedules.seesaw(BATCH, batch_size=1, begin=0, end=9, cuts=1), "the base is a learning rate"),
    (lambda: schedules.seesaw(RATE, batch_size=1, begin=500, end=5000, cuts=4), "at most 3 cuts"),
    (lambda: schedules.seesaw(RATE, batch_size=1, begin=0, end=5000, cuts=1), "does not increase"),
    (
        lambda: schedules.scaled(RATE, batch_size=BATCH, reference_batch_size=1, rule="surge"),
        "Pass the parameter",
    ),
    (
        lambda: schedules.scaled(RATE, batch_size=schedules.parse("8", unit="steps"), reference_batch_size=1,
                                 rule="sqrt"),
        "a Schedule over tokens",
    ),
    (lambda: schedules.beta_from_batch_size(half_life=0, batch_size=BATCH), "half_life is positive"),
    (
        lambda: schedules.beta_from_batch_size(half_life=1, batch_size=BATCH, floor=0.9, cap=0.5),
        "the floor is at most the cap",
    ),
    (
        lambda: schedules.weight_decay_timescale(
            learning_rate=schedules.warmup_cosine(peak=1e-3, warmup=5, total=10),
            batch_size=BATCH,
            reference_learning_rate=1e-3,
            reference_weight_decay=0.1,
            reference_batch_size=8,
        ),
        "weight_decay=inf",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BAD)
def test_refusals(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert message in str(caught.value)


@given(st.integers(1, 64), st.integers(1, 300), st.integers(1, 400), st.sampled_from([1, 2, 8]))
@example(21, 131, 393, 2)  # 131 * (249 / 393) is a hair below 83 in float64
@settings(deadline=None)
def test_a_linear_ramp_rounds_as_exact_fractions_do(start, rise, over, multiple):
    ramp = schedules.curve("linear", start=start, end=start + rise, over=over)
    t = np.arange(over + 2)
    for mode, rounding in (("down", math.floor), ("up", math.ceil)):
        exact = [
            multiple * rounding(Fraction(start * over + rise * min(int(k), over), over * multiple)) for k in t
        ]
        if exact[0] >= 1:
            assert ramp.rounded(multiple=multiple, mode=mode)(t).tolist() == exact
