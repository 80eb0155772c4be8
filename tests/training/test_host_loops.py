"""What other libraries' trainers can follow."""

from __future__ import annotations

import pytest

from bstheory import schedules
from bstheory.errors import InputError
from bstheory.schedules.rules import Rule
from bstheory.training import BatchSizeScheduler
from bstheory.training.host_loops import accumulation_plan, require_equal, require_start


def scheduler(spec: str, tokens: int, **options) -> BatchSizeScheduler:
    options = {"micro_batch_size": 2, **options}
    return BatchSizeScheduler(schedules.parse(spec), num_tokens=tokens, **options)


def test_counts_of_a_doubling_ramp() -> None:
    plan = accumulation_plan(scheduler("0:4 16:8 48:16", 112))
    assert (plan.first, plan.constant, plan.steps, plan.micro_batches) == (2, False, 12, 56)
    assert accumulation_plan(scheduler("4", 16)).constant


def test_counts_are_per_rank() -> None:
    plan = accumulation_plan(scheduler("0:4 16:8", 48, world_size=2, seq_len=1))
    assert (plan.first, plan.micro_batches) == (1, 12)


@pytest.mark.parametrize(
    ("spec", "tokens", "message"),
    [
        ("0:2 6:4", 22, "at step 3, after 3 micro-batches"),  # 3 is odd
        ("0:4 8:6", 20, "multiple of the accumulation, here 3"),
        ("0:6 12:4 24:6", 36, None),
    ],
)
def test_an_accumulation_that_does_not_divide_what_was_seen_is_refused(spec, tokens, message) -> None:
    made = scheduler(spec, tokens)
    if message is None:
        assert accumulation_plan(made).steps == 7
    else:
        with pytest.raises(InputError, match=message):
            accumulation_plan(made)


def test_rules_and_varying_micro_batches_are_refused() -> None:
    rule = Rule(name="norm_test", initial=4, maximum=8)
    with pytest.raises(InputError, match="norm_test"):
        accumulation_plan(BatchSizeScheduler(rule, num_tokens=8, micro_batch_size=2))
    with pytest.raises(InputError, match="max_micro_batch_size=2"):
        accumulation_plan(scheduler("4", 8, micro_batch_size=None, max_micro_batch_size=2))


def test_only_the_start_is_the_start() -> None:
    made = scheduler("4", 8)
    require_start(made, 0)
    with pytest.raises(InputError, match="at step 3"):
        require_start(made, 3)
    made.step()
    with pytest.raises(InputError, match="schedule at step 1"):
        require_start(made, 0)


def test_settings_are_compared_by_name() -> None:
    require_equal("X", {"a": (1, 1)})
    with pytest.raises(InputError, match="X with b=2"):
        require_equal("X", {"a": (1, 1), "b": (2, 3)})
