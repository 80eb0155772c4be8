"""Schedules: scalar = vector = expression, exact integer walks, round trips, and every refusal."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import sympy
from hypothesis import example, given
from hypothesis import strategies as st

from bstheory import schedules
from bstheory.errors import InputError
from bstheory.schedules import Position, Schedule
from tests.strategies_schedules import any_schedule, clocks, integer_schedules, make

# expr is evaluated in 30 digits, the value in float64: a handful of roundings, amplified by the power.
EXPR = 1e-12


@given(any_schedule, st.lists(clocks, min_size=1, max_size=20))
def test_scalar_equals_vector(schedule: Schedule, times: list[int]) -> None:
    vector = schedule(np.array(times))
    assert vector.dtype == np.float64 and vector.shape == (len(times),)
    assert np.array_equal(vector, [schedule(t) for t in times])
    assert schedule(np.array(times).reshape(1, -1)).shape == (1, len(times))
    assert isinstance(schedule(times[0]), float)


@given(any_schedule, st.lists(clocks, min_size=1, max_size=4))
@example(make("stages", thresholds=(0, 1595), values=(304, 34)).rounded(multiple=34, mode="up"), [3320])
def test_value_equals_expression(schedule: Schedule, times: list[int]) -> None:
    t = sympy.Symbol("t", nonnegative=True)
    formula = schedule.expr(t)
    for time in [*times, *schedule.knots]:
        exact = formula.subs(t, sympy.Integer(time))
        value = schedule(time)
        if schedule.name in ("rounded", "staircase") or "floor" in str(formula):
            # Next to a jump, float64 and exact arithmetic may stand on different sides of it.
            size = schedule.params.get("multiple", schedule.params.get("increment", np.inf))
            assert abs(float(exact) - value) <= size
            if abs(float(exact) - value) > EXPR * max(1, abs(value)):
                near = [
                    schedule.expr(t).subs(t, sympy.Integer(time) + sympy.Rational(d, 10**6)) for d in (-1, 1)
                ]
                assert any(abs(float(n) - value) <= EXPR * max(1, abs(value)) for n in near)
        else:
            assert float(sympy.N(exact, 30)) == pytest.approx(value, rel=EXPR)


def walk_slowly(schedule: Schedule, num_tokens: int, seq_len: int) -> list[int]:
    """One Python-integer step at a time: the definition."""
    found, consumed = [], 0
    while consumed < num_tokens:
        found.append(int(schedule(consumed)))
        consumed += found[-1] * seq_len
    return found


@given(integer_schedules, st.integers(min_value=0, max_value=30_000), st.sampled_from([1, 7, 128]))
@example(make("constant", value=3), 10, 1)
@example(make("stages", thresholds=(0, 1), values=(1, 4096)), 4097, 1)
def test_walk_equals_the_definition(schedule: Schedule, num_tokens: int, seq_len: int) -> None:
    slow = walk_slowly(schedule, num_tokens, seq_len)
    fast = schedule.batch_sizes(num_tokens=num_tokens, seq_len=seq_len, last="overshoot")
    assert fast.dtype == np.int64 and fast.tolist() == slow
    total = sum(slow) * seq_len
    if total == num_tokens:
        assert schedule.batch_sizes(num_tokens=num_tokens, seq_len=seq_len).tolist() == slow
    else:
        with pytest.raises(InputError, match="the last batch must fit exactly"):
            schedule.batch_sizes(num_tokens=num_tokens, seq_len=seq_len)
        if num_tokens % seq_len == 0:
            cut = schedule.batch_sizes(num_tokens=num_tokens, seq_len=seq_len, last="partial")
            assert cut.sum() * seq_len == num_tokens and cut[:-1].tolist() == slow[:-1]


@given(integer_schedules, st.integers(min_value=1, max_value=100_000), st.data())
def test_resuming_anywhere_equals_not_stopping(
    schedule: Schedule, num_tokens: int, data: st.DataObject
) -> None:
    whole = schedule.batch_sizes(num_tokens=num_tokens, last="overshoot").tolist()
    stop = data.draw(st.integers(min_value=0, max_value=len(whole)))
    done = whole[:stop]
    here = Position(step=stop, samples=sum(done), tokens=sum(done))
    rest = [
        b
        for b, n in schedules.runs(schedule, num_tokens=num_tokens, last="overshoot", position=here)
        for _ in range(n)
    ]
    assert done + rest == whole


@pytest.mark.parametrize("unit", schedules.schedule.UNITS)
def test_clock_units(unit: str) -> None:
    s = schedules.parse("0:2 4:8", unit=unit)
    got = s.batch_sizes(num_tokens=200, seq_len=10, last="overshoot").tolist()
    # 4 steps of 2; 2 steps of 2 (4 samples); 1 step of 2 (20 tokens)
    assert got == {"steps": [2] * 4 + [8] * 2, "samples": [2] * 2 + [8] * 2, "tokens": [2] + [8] * 3}[unit]


def test_a_walk_past_2_to_the_31_is_exact() -> None:
    s = schedules.parse("0:1 1B:3 4B:7").rounded(multiple=1)
    pairs = list(schedules.runs(s, num_tokens=10**15, last="partial"))
    rest = 10**15 - 4 * 10**9
    assert pairs == [(1, 10**9), (3, 10**9), (7, rest // 7), (rest % 7, 1)]


@given(any_schedule)
@example(make("geometric", start=107, end=1, over=1))
def test_round_trips_and_hash(schedule: Schedule) -> None:
    again = Schedule.from_dict(json.loads(json.dumps(schedule.to_dict())))
    for other in (again, pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule)):
        assert other == schedule and other.hash == schedule.hash and hash(other) == hash(schedule)
    assert schedule.rounded(multiple=4096, mode="up").hash != schedule.hash


def test_hash_is_stable_and_sensitive() -> None:
    s = schedules.parse("0:64 1M:256 4M:1024")
    assert s.hash == "1a24dda67982e4800a8f8041573f1a8eabfedc6e25ed7c0f13713a7ac5b9906f"
    assert s == make("stages", thresholds=[0, 1_000_000, 4_000_000], values=[64.0, 256.0, 1024.0])
    others = ["0:64 1M:256 4M:1025", "0:64 1M:256 4000001:1024", "0:64 1M:256"]
    assert len({s.hash, *(schedules.parse(o).hash for o in others), schedules.parse("64").hash}) == 5
    assert s.hash != schedules.parse("0:64 1M:256 4M:1024", unit="samples").hash


def test_frozen() -> None:
    s = schedules.parse("64")
    with pytest.raises(AttributeError):
        s.name = "linear"
    with pytest.raises(TypeError):
        s.params["value"] = 3


def test_rounding_is_visible_and_ties_go_up() -> None:
    s = make("linear", start=8, end=64, over=56)
    r = s.rounded(multiple=8)
    assert (r.name, r(3), r(4), r(12), r(100)) == ("rounded", 8.0, 16.0, 24.0, 64.0)
    assert [s.rounded(multiple=8, mode=m)(5) for m in ("down", "up")] == [8.0, 16.0]
    with pytest.raises(InputError, match=r"Use schedule\.rounded"):
        make("linear", start=8, end=64, over=57).batch_sizes(num_tokens=100)


def test_parse_forms() -> None:
    assert schedules.parse("1.5K") == make("constant", value=1500)
    assert schedules.parse("0:64, 1M:256,4M:1e3") == schedules.parse("0:64 1000000:256 4000K:1000")
    assert schedules.parse("linear 64->1024 over 10M from 2M") == make(
        "linear", start=64, end=1024, over=10**7, begin=2 * 10**6
    )
    assert schedules.parse("staircase 32 -> 3200 over 4B by 32").params["increment"] == 32
    assert schedules.parse("polynomial 1->9 over 10 power 2")(5) == 3.0
    assert schedules.parse("geometric 1->4 over 10")(5) == 2.0
    assert schedules.parse("0:3e-4 1M:1e-4", quantity="learning_rate")(2e6) == 1e-4
    assert schedules.parse("0.1T") == make("constant", value=10**11)


BAD_SPECS = [
    ("", "Got schedule ''"),
    ("0:64 1M", "piece 2 '1M'"),
    ("1:64", "first piece '1:64'"),
    ("0:64 5M:3 4M:3", "piece 3 '4M:3' after threshold 5000000"),
    ("0:64 5:3 5:4", "thresholds increase"),
    ("0:6x4", "'6x4' in schedule '0:6x4'"),
    ("0:64 1Q:3", "'1Q' in schedule"),
    ("0:64 -5:3", "'-5' in schedule"),
    ("0:1 1.0000001M:3", "'1.0000001M' = 1000000.1"),
    ("0:0", "a batch size is at least 1"),
    ("0", "a batch size is at least 1"),
    ("0:64:5", "'64:5' in schedule"),
    ("sideways 1->2 over 3", "starts with a word"),
    ("linear 1->2", "starts with a word"),
    ("linear 1->2 over 0", "over is an integer of at least 1"),
    ("polynomial 1->2 over 3", 'ends with "power NUMBER"'),
    ("linear 1->2 over 3 power 2", "Remove 'power'"),
    ("staircase 1->8 over 10 by 4", "a whole number of increments"),
    ("linear 1->0 over 10", "batch_size=0 at 10 tokens"),
    ("1e999", "finite number"),
]


@pytest.mark.parametrize(("spec", "message"), BAD_SPECS)
def test_bad_specs_name_the_piece(spec: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        schedules.parse(spec)
    assert message in str(caught.value)


BAD_SCHEDULES = [
    ({"name": "wobbly"}, "name='wobbly'"),
    ({"unit": "epochs"}, "unit='epochs'"),
    ({"quantity": "mood"}, "quantity='mood'"),
    ({"params": {}}, "missing value"),
    ({"params": {"value": 3, "extra": 1}}, "unknown extra"),
    ({"params": {"value": float("nan")}}, "value=nan"),
    ({"params": {"value": "3"}}, "value='3'"),
    ({"params": {"value": True}}, "value=True"),
    ({"quantity": "beta2", "params": {"value": 1}}, "beta2 lies in [0, 1)"),
    ({"quantity": "learning_rate", "params": {"value": -1}}, "at least 0"),
    ({"name": "stages", "params": {"thresholds": [0, 5], "values": [1]}}, "2 thresholds for 1 values"),
    ({"name": "stages", "params": {"thresholds": [0, 5, 5], "values": [1, 2, 3]}}, "strictly increasing"),
    ({"name": "stages", "params": {"thresholds": [0, 0.5], "values": [1, 2]}}, "an integer"),
    ({"name": "stages", "params": {"thresholds": [], "values": []}}, "non-empty"),
    ({"name": "geometric", "params": {"start": 0, "end": 4, "over": 9}}, "start is positive"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_SCHEDULES)
def test_bad_schedules(changes: dict, message: str) -> None:
    fields = {"name": "constant", "quantity": "batch_size", "unit": "tokens", "params": {"value": 3}}
    with pytest.raises(InputError) as caught:
        Schedule(**{**fields, **changes})
    assert message in str(caught.value)


@pytest.mark.parametrize("clock", [-1, float("nan"), 2**53])
def test_bad_clock(clock: float) -> None:
    with pytest.raises(InputError, match="a clock value is at least 0"):
        schedules.parse("64")(clock)


def test_bad_walks() -> None:
    s = schedules.parse("64")
    for arguments in ({"num_tokens": -1}, {"num_tokens": 1.5}, {"num_tokens": 64, "seq_len": 0}):
        with pytest.raises(InputError, match="is an integer of at least"):
            s.batch_sizes(**arguments)
    with pytest.raises(InputError, match="last='cut'"):
        s.batch_sizes(num_tokens=64, last="cut")
    with pytest.raises(InputError, match="whole sequences"):
        s.batch_sizes(num_tokens=65, seq_len=2, last="partial")
    with pytest.raises(InputError, match="along a batch_size schedule"):
        schedules.parse("64", quantity="learning_rate").batch_sizes(num_tokens=64)
    with pytest.raises(InputError, match="Start above multiple=8"):
        make("constant", value=3).rounded(multiple=8)
    with pytest.raises(InputError, match="exactly the keys"):
        Schedule.from_dict({"name": "constant"})


def test_import_is_light() -> None:
    code = (
        "import bstheory.schedules, sys; print([m for m in ('torch', 'sympy', 'numba') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
