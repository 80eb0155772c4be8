"""The memory formulas against the published totals, and against shapes counted one by one."""

from __future__ import annotations

import pytest

from bstheory.errors import InputError
from bstheory.memory import PUBLISHED_OTHER, adafactor_state, parameter_count, training_memory

GPT3_13B = {"layers": 40, "width": 5140, "vocab_size": 50257}
# arXiv 2507.07101, figure 7: (optimizer, accumulation) -> model, activations, m, v, accumulator, total in GB
PUBLISHED = {
    ("adam", True): (26.396, 1.048, 26.396, 26.396, 26.396, 108.3),
    ("adam", False): (26.396, 1.048, 26.396, 26.396, 0, 82.4),
    ("sgd", False): (26.396, 1.048, 0, 0, 0, 28.7),
}


def test_parameter_count():
    assert parameter_count(**GPT3_13B) == 13_198_049_960


@pytest.mark.parametrize("case", PUBLISHED)
def test_published_totals_to_one_per_cent(case):
    optimizer, accumulation = case
    found = training_memory(
        **GPT3_13B,
        seq_len=2048,
        optimizer=optimizer,
        accumulation=accumulation,
        other=PUBLISHED_OTHER[case],
    )
    parts = (
        found.weights,
        found.activations,
        found.first_moment,
        found.second_moment,
        found.accumulator,
    )
    for part, published in zip(parts, PUBLISHED[case]):
        assert part / 1e9 == pytest.approx(published, abs=0.0006)
    assert found.total / 1e9 == pytest.approx(PUBLISHED[case][-1], rel=0.01)


def test_only_sgd_and_adafactor_fit_forty_gigabytes():
    totals = {
        name: training_memory(**GPT3_13B, seq_len=2048, optimizer=name).total
        for name in ("sgd", "adafactor", "muon", "adam")
    }
    assert sorted(name for name, total in totals.items() if total < 40e9) == ["adafactor", "sgd"]
    assert totals["sgd"] < totals["adafactor"] < totals["muon"] < totals["adam"]


def test_adafactor_by_hand():
    # width 256 = 2 heads of 128: qkv [3, 2, 256, 128], out [2, 128, 256], two [256, 1024], two embeddings
    expected = 3 * 2 * (256 + 128) + 2 * (128 + 256) + 2 * (256 + 1024) + 2 * (1000 + 256)
    assert adafactor_state(layers=1, width=256, vocab_size=1000) == expected
    small = 3 * 64 * 128 + 128 * 64 + 2 * 64 * 256 + 2 * 1000 * 64  # nothing has two axes of 128
    assert adafactor_state(layers=1, width=64, vocab_size=1000) == small


def test_bad_arguments():
    with pytest.raises(InputError, match="optimizer='lion'"):
        training_memory(**GPT3_13B, seq_len=1, optimizer="lion")
    with pytest.raises(InputError, match="seq_len=0"):
        training_memory(**GPT3_13B, seq_len=0, optimizer="sgd")
