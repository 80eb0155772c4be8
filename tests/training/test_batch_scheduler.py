"""Plans cover the samples once, follow the schedule exactly, and survive a change of world size."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bstheory import schedules
from bstheory.errors import InputError
from bstheory.schedules.rules import ddp_norm
from bstheory.schedules.statistics import Statistics
from bstheory.training import BatchSizeScheduler
from tests.strategies_schedules import smooth


def trajectory(scheduler, statistics=lambda plan: None, limit=10**9):
    found = []
    while len(found) < limit and (plan := scheduler.plan()) is not None:
        found.append(plan)
        scheduler.step(statistics(plan))
    return found


@given(smooth, st.sampled_from([1, 2, 3, 8]), st.sampled_from([1, 2, 4]), st.integers(1, 20_000))
def test_plans_follow_the_schedule_and_cover_every_sample_once(schedule, micro, world, num_samples):
    schedule = schedule.rounded(multiple=micro * world, mode="up")
    scheduler = BatchSizeScheduler(
        schedule,
        num_tokens=num_samples * 16,
        seq_len=16,
        world_size=world,
        micro_batch_size=micro,
        last="overshoot",
    )
    plans = trajectory(scheduler)
    expected = schedule.batch_sizes(num_tokens=num_samples * 16, seq_len=16, last="overshoot")
    assert [p.batch_size for p in plans] == expected.tolist()
    consumed = 0
    for index, plan in enumerate(plans[:50]):
        assert (plan.step, plan.samples, plan.tokens) == (index, consumed, consumed * 16)
        assert plan.micro_batch_size * plan.accumulation * world == plan.batch_size
        indices = [i for rank in range(world) for m in plan.micro_batches(rank) for i in m]
        assert indices == list(range(consumed, consumed + plan.batch_size))
        assert all(len(m) == micro for m in plan.micro_batches(0))
        consumed += plan.batch_size
    assert scheduler.done and scheduler.plan() is None


@given(smooth, st.integers(1, 20_000), st.data())
def test_resume_at_any_step_in_another_world(schedule, num_tokens, data):
    schedule = schedule.rounded(multiple=8, mode="up")
    arguments = {"num_tokens": num_tokens, "last": "overshoot"}
    whole = trajectory(BatchSizeScheduler(schedule, micro_batch_size=1, world_size=1, **arguments))
    stop = data.draw(st.integers(0, len(whole)))
    first = BatchSizeScheduler(schedule, micro_batch_size=4, world_size=2, **arguments)
    trajectory(first, limit=stop)
    state = json.loads(json.dumps(first.state_dict()))
    second = BatchSizeScheduler(schedule, max_micro_batch_size=3, world_size=8, **arguments)
    second.load_state_dict(state)
    rest = trajectory(second)
    assert [p.batch_size for p in rest] == [p.batch_size for p in whole[stop:]]
    assert [p.samples for p in rest] == [p.samples for p in whole[stop:]]


def test_largest_divisor_micro_batches():
    scheduler = BatchSizeScheduler(
        schedules.parse("0:6 12:30"), num_tokens=42, world_size=2, max_micro_batch_size=4
    )
    assert [(p.micro_batch_size, p.accumulation) for p in trajectory(scheduler)] == [(3, 1), (3, 1), (3, 5)]


def test_the_largest_micro_batch_itself_is_used():
    scheduler = BatchSizeScheduler(schedules.parse("30"), num_tokens=30, world_size=2, max_micro_batch_size=5)
    assert [(p.micro_batch_size, p.accumulation) for p in trajectory(scheduler)] == [(5, 3)]


def noisy(plan, groups=4, noise=400.0, signal=1.0):
    """Statistics with the expected values of a given noise and signal."""
    b = plan.batch_size
    mean = signal + noise / b
    return Statistics(
        batch_size=b, groups=groups, norm_sq=mean, mean_group_norm_sq=mean + (groups - 1) / b * noise
    )


def test_a_rule_drives_the_batch_and_resumes():
    rule = ddp_norm(eta=1.0, scaling="unbiased", initial=8, maximum=512, multiple=8, growth_cap=2.0)
    arguments = {"num_tokens": 20_000, "micro_batch_size": 4, "last": "overshoot"}
    whole = [p.batch_size for p in trajectory(BatchSizeScheduler(rule, **arguments), noisy)]
    assert whole[:8] == [8, 16, 32, 64, 128, 256, 400, 400]  # doubles up to the noise scale
    first = BatchSizeScheduler(rule, **arguments)
    trajectory(first, noisy, limit=4)
    second = BatchSizeScheduler(rule, world_size=2, **arguments)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert whole[:4] + [p.batch_size for p in trajectory(second, noisy)] == whole


def test_last_batch_of_a_rule():
    rule = ddp_norm(eta=1.0, scaling="unbiased", initial=8, maximum=8)
    sizes = [
        p.batch_size
        for p in trajectory(
            BatchSizeScheduler(rule, num_tokens=20, micro_batch_size=4, last="partial"), noisy
        )
    ]
    assert sizes == [8, 8, 4]
    exact = BatchSizeScheduler(rule, num_tokens=16, micro_batch_size=4)
    assert [p.batch_size for p in trajectory(exact, noisy)] == [8, 8]
    with pytest.raises(InputError, match="whole sequences"):
        trajectory(
            BatchSizeScheduler(rule, num_tokens=21, seq_len=2, micro_batch_size=4, last="partial"), noisy
        )
    with pytest.raises(InputError, match="last='cut'"):
        BatchSizeScheduler(rule, num_tokens=16, micro_batch_size=4, last="cut")
    with pytest.raises(InputError, match="a rule's batch sizes are not known in advance"):
        trajectory(BatchSizeScheduler(rule, num_tokens=20, micro_batch_size=4), noisy)


def test_states_that_cannot_be_of_this_run_are_refused():
    first = BatchSizeScheduler(schedules.parse("0:8 64:16"), num_tokens=256, seq_len=2, micro_batch_size=4)
    trajectory(first, limit=3)
    state = first.state_dict()
    rule = ddp_norm(eta=1.0, scaling="unbiased", initial=8, maximum=16, multiple=4)
    ruled = BatchSizeScheduler(rule, num_tokens=256, micro_batch_size=4)
    held = ruled.state_dict()
    cases = [
        (first, None, "format"),
        *(
            (first, {k: v for k, v in state.items() if k != key}, "it has")
            for key in state
            if key != "format"
        ),
        (first, {**state, "tokens": -48}, "at least 0"),
        (first, {**state, "tokens": 48.5}, "at least 0"),
        (first, {**state, "tokens": 24}, "sequence length"),
        (first, {**state, "rule_state": held["rule_state"]}, "none for a schedule"),
        (ruled, {**held, "rule_state": None}, "this scheduler's rule"),
        (ruled, {**held, "rule_state": {"batch_size": 8}}, "this scheduler's rule"),
        (ruled, {**held, "rule_state": {**held["rule_state"], "batch_size": 9}}, "this scheduler's rule"),
        (ruled, {**held, "rule_state": {**held["rule_state"], "batch_size": 32}}, "this scheduler's rule"),
    ]
    for scheduler, bad, message in cases:
        before = scheduler.state_dict()
        with pytest.raises(InputError, match=message):
            scheduler.load_state_dict(bad)
        assert scheduler.state_dict() == before


def make(spec="0:8", **arguments):
    return BatchSizeScheduler(
        schedules.parse(spec), **{"num_tokens": 64, "micro_batch_size": 4, "world_size": 2, **arguments}
    )


BAD = [
    ({"world_size": 3}, "batch_size=8 at step 0, which is below micro_batch_size * world_size = 4 * 3 = 12"),
    ({"spec": "0:8 32:12"}, "batch_size=12 at step 4, which is no multiple of"),
    ({"spec": "0:8 32:4"}, "batch_size=4 at step 4, which is below"),
    ({"num_tokens": 63}, "the last batch must fit exactly"),
    ({"num_tokens": 62, "last": "partial"}, "batch_size=6 at step 7, which is below"),
    ({"micro_batch_size": None}, "exactly one of the two"),
    ({"max_micro_batch_size": 4}, "exactly one of the two"),
    ({"micro_batch_size": None, "max_micro_batch_size": 4, "world_size": 3}, "no multiple of world_size = 3"),
    (
        {"num_tokens": 8 * 4 + 5, "last": "partial", "micro_batch_size": 1, "world_size": 2},
        "batch_size=5 at step 4, which is no multiple of micro_batch_size * world_size = 1 * 2 = 2, but a global "
        "batch, the last one too, is",
    ),
    (
        {"num_tokens": 8 * 4 + 5, "last": "partial", "micro_batch_size": 1, "world_size": 2},
        "Train on 36 tokens",
    ),
    ({"micro_batch_size": 2.0}, "micro_batch_size=2.0"),
    ({"world_size": 0}, "world_size=0"),
    ({"num_tokens": 0}, "num_tokens=0"),
    ({"spec": "linear 8->64 over 57"}, r"batch_size=8 at 0 tokens|whole number of sequences"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_setups_fail_at_construction(changes, message):
    with pytest.raises(InputError) as caught:
        make(**changes)
    assert any(part in str(caught.value) for part in message.split("|"))


def test_misuse():
    scheduler = make()
    with pytest.raises(InputError, match=r"rank=2"):
        list(scheduler.plan().micro_batches(2))
    state = scheduler.state_dict()
    with pytest.raises(InputError, match="a state saved under schedule"):
        make("0:16").load_state_dict(state)
    with pytest.raises(InputError, match="format None"):
        make().load_state_dict({})
    trajectory(scheduler)
    with pytest.raises(InputError, match="after the last step"):
        scheduler.step()
    rule = ddp_norm(eta=1.0, scaling="unbiased", initial=8, maximum=16)
    ruled = BatchSizeScheduler(rule, num_tokens=64, micro_batch_size=4)
    with pytest.raises(InputError, match="without statistics"):
        ruled.step()
    with pytest.raises(InputError, match="the planned batch is 8"):
        ruled.step(Statistics(batch_size=4, groups=2, norm_sq=1.0, mean_group_norm_sq=2.0))
    with pytest.raises(InputError, match="a state saved under schedule"):
        ruled.load_state_dict(state)
    with pytest.raises(InputError, match="batch_size=12 at step 1"):
        odd = ddp_norm(eta=1.0, scaling="unbiased", initial=8, maximum=12)
        trajectory(BatchSizeScheduler(odd, num_tokens=64, micro_batch_size=8), noisy)
