"""The curves of bs-scheduler 1.0.2 as a differential oracle, and its defects as our regression tests.

The oracle compounds *rounded* sizes, so curves are compared at a base of 2^40 samples, where its rounding
is far below the tolerance; the rounding itself is compared where both round the same number.
"""

from __future__ import annotations

import json

import bs_scheduler as oracle
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bstheory import schedules
from bstheory.errors import InputError
from bstheory.schedules import Schedule
from bstheory.training import BatchSizeScheduler

BASE = 2**40
HUGE = 2**60
# Up to 60 roundings of half a sample each, at sizes of at least 2^40 * 0.9^60 = 2e9.
RELATIVE = 1.5e-8


class Manager(oracle.BatchSizeManager):
    def __init__(self, size: int) -> None:
        self.size = size

    def get_current_batch_size(self) -> int:
        return self.size

    def set_batch_size(self, new_bs: int) -> None:
        self.size = new_bs


def follow(make, *, base: int = BASE, largest: int = HUGE, steps: int = 60, smallest: int = 1) -> list[int]:
    """Sizes of the oracle's scheduler before each of ``steps`` steps."""
    manager = Manager(base)
    scheduler = make(
        dataloader=None, batch_size_manager=manager, max_batch_size=largest, min_batch_size=smallest
    )
    sizes = []
    for _ in range(steps):
        sizes.append(manager.size)
        scheduler.step()
    return sizes


def agree(schedule: Schedule, sizes: list[int], relative: float = RELATIVE) -> None:
    assert schedule(np.arange(len(sizes))).tolist() == pytest.approx(sizes, rel=relative)


def curve(name: str, **params) -> Schedule:
    return schedules.curve(name, unit="steps", **params)


def partial(cls, **arguments):
    return lambda **common: cls(**common, **arguments)


@given(st.integers(1, 50), st.sampled_from([0.5, 2.0, 3.0]))
def test_constant(milestone, factor):
    ours = curve("stages", thresholds=(0, milestone), values=(BASE * factor, BASE))
    agree(ours, follow(partial(oracle.ConstantBS, factor=factor, milestone=milestone)))


@given(st.integers(1, 20), st.sampled_from([0.9, 1.1, 1.25]))
def test_step(interval, gamma):
    ours = curve("exponential", start=BASE, factor=gamma, interval=interval, over=60, staircase=True)
    agree(ours, follow(partial(oracle.StepBS, step_size=interval, gamma=gamma)))


@given(st.lists(st.integers(1, 59), min_size=1, max_size=5, unique=True), st.sampled_from([0.5, 1.5, 2.0]))
def test_multi_step(milestones, gamma):
    thresholds = (0, *sorted(milestones))
    values = tuple(BASE * gamma**k for k in range(len(thresholds)))
    ours = curve("stages", thresholds=thresholds, values=values)
    agree(ours, follow(partial(oracle.MultiStepBS, milestones=sorted(milestones), gamma=gamma)))


@given(st.integers(1, 50), st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([0.25, 1.0, 6.0]))
def test_linear(milestone, start, end):
    ours = curve("linear", start=BASE * start, end=BASE * end, over=milestone)
    agree(ours, follow(partial(oracle.LinearBS, start_factor=start, end_factor=end, milestone=milestone)))


@given(st.sampled_from([0.95, 1.01, 1.1]))
def test_exponential(gamma):
    ours = curve("exponential", start=BASE, factor=gamma, interval=1, over=60)
    agree(ours, follow(partial(oracle.ExponentialBS, gamma=gamma)))


@given(st.integers(2, 50))
def test_polynomial_of_power_one(total):
    """The oracle's factor 2 - (k / (k + 1))^p makes a polynomial for p = 1 only, b (k + 2) / 2."""
    sizes = follow(partial(oracle.PolynomialBS, total_iters=total, power=1.0))
    if total == 2:
        return agree(curve("linear", start=BASE, end=1.5 * BASE, over=1), sizes)
    end = BASE * (total + 1) / 2
    agree(curve("linear", start=BASE, end=end, over=total - 1), sizes)


@given(st.integers(3, 50))
def test_cosine(total):
    """Up to the turning point; the oracle is cyclic and goes down again."""
    sizes = follow(partial(oracle.CosineAnnealingBS, total_iters=total), largest=64 * BASE, steps=total + 1)
    agree(curve("cosine", start=BASE, end=64 * BASE, over=total), sizes)


@given(st.integers(10, 50), st.sampled_from([0.3, 0.5]), st.sampled_from(["cos", "linear"]))
def test_one_cycle(total, share, strategy):
    sizes = follow(
        partial(oracle.OneCycleBS, total_steps=total, decay_percentage=share, strategy=strategy),
        largest=64 * BASE,
        smallest=BASE // 8,
        steps=total + 1,
    )
    ours = schedules.one_cycle(
        start=BASE,
        middle=BASE // 8,
        end=64 * BASE,
        turn=round(total * share),
        total=total,
        shape={"cos": "cosine", "linear": "linear"}[strategy],
        unit="steps",
    )
    agree(ours, sizes)


def test_the_oracle_would_notice_another_curve():
    sizes = follow(partial(oracle.LinearBS, start_factor=1.0, end_factor=6.0, milestone=40))
    with pytest.raises(AssertionError):
        agree(curve("geometric", start=BASE, end=6 * BASE, over=40), sizes)
    with pytest.raises(AssertionError):
        agree(curve("linear", start=BASE, end=6 * BASE, over=41), sizes)


# Its defects: each shown on the oracle first, then that ours does not have it.


def walk(schedule: Schedule, steps: int) -> list[int]:
    pairs = schedules.runs(schedule, num_tokens=10**12)
    found: list[int] = []
    for size, count in pairs:
        found += [size] * min(count, steps - len(found))
        if len(found) == steps:
            return found
    return found


def test_compounding_a_rounded_value_gets_stuck():
    grown = lambda k: 1.0 if k == 0 else 1.05  # noqa: E731
    assert follow(partial(oracle.MultiplicativeBS, bs_lambda=grown), base=8)[-1] == 8
    ours = curve("exponential", start=8, factor=1.05, interval=1, over=60).rounded(multiple=1)
    assert walk(ours, 60)[-1] == round(8 * 1.05**59)


def test_one_clip_ends_the_schedule():
    there_and_back = partial(oracle.LambdaBS, bs_lambda=lambda k: 100.0 if k == 1 else 1.0)
    assert follow(there_and_back, base=8, largest=64)[-1] == 64
    ours = curve("stages", thresholds=(0, 1, 2), values=(8, 64, 8))
    assert walk(ours, 4) == [8, 64, 8, 8]


def test_state_and_live_size_disagree_after_loading():
    """The oracle's state holds the manager, and so the data loader; reloaded, it reports what is not live."""
    loader = torch.utils.data.DataLoader(list(range(1000)), batch_size=10)
    scheduler = oracle.StepBS(loader, step_size=1, gamma=2.0)
    scheduler.step(), scheduler.step()
    assert "batch_size_manager" in scheduler.state_dict()
    other = torch.utils.data.DataLoader(list(range(1000)), batch_size=10)
    loaded = oracle.StepBS(other, step_size=1, gamma=2.0)
    loaded.load_state_dict(scheduler.state_dict())
    assert (loaded.last_bs, other.batch_sampler.batch_size) == (40, 10)

    spec = schedules.parse("0:10 1:20 2:40", unit="steps")
    ours = BatchSizeScheduler(spec, num_tokens=1000, micro_batch_size=10, last="overshoot")
    ours.step(), ours.step()
    state = json.loads(json.dumps(ours.state_dict()))  # numbers and a hash, nothing else
    again = BatchSizeScheduler(spec, num_tokens=1000, micro_batch_size=10, last="overshoot")
    again.load_state_dict(state)
    assert again.plan().batch_size == ours.plan().batch_size == 40


def test_a_change_in_mid_epoch_is_ignored_with_drop_last():
    """Ours is not tied to an iterator: the plan names the samples of each step."""
    loader = torch.utils.data.DataLoader(list(range(40)), batch_size=4, drop_last=True)
    scheduler = oracle.StepBS(loader, step_size=1, gamma=2.0)
    seen = []
    for batch in loader:
        seen.append(len(batch))
        scheduler.step()
    assert set(seen) == {4}
    ours = BatchSizeScheduler(schedules.parse("0:4 4:8", unit="samples"), num_tokens=36, micro_batch_size=4)
    sizes = []
    while (plan := ours.plan()) is not None:
        sizes.append(sum(map(len, plan.micro_batches())))
        ours.step()
    assert sizes == [4, 8, 8, 8, 8]


def test_an_unbounded_stream_shrinks_to_one():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(range(100))

    loader = torch.utils.data.DataLoader(Stream(), batch_size=4)
    oracle.StepBS(loader, step_size=1, gamma=2.0)
    assert loader.batch_sampler.batch_size == 1
    assert walk(curve("constant", value=4), 3) == [4, 4, 4]  # no maximum is implied


def test_the_size_is_global_and_divisibility_is_checked():
    """The oracle sets a per-process size, so 20 becomes 80 on four ranks; ours splits 20 or refuses."""
    spec = schedules.parse("20")
    four = BatchSizeScheduler(spec, num_tokens=200, world_size=4, micro_batch_size=5)
    assert (four.plan().batch_size, four.plan().local_batch_size) == (20, 5)
    with pytest.raises(InputError, match="no multiple of"):
        BatchSizeScheduler(spec, num_tokens=200, world_size=8, max_micro_batch_size=5)


@given(st.integers(1, 10**6), st.integers(1, 64))
def test_ties_are_rounded_up_not_to_even(size, multiple):
    """The oracle rounds half to even (2.5 to 2, 3.5 to 4): a visible difference, so it is pinned here."""
    half = multiple * (2 * size + 1) / 2
    assert curve("constant", value=half).rounded(multiple=multiple)(0) == multiple * (size + 1)
