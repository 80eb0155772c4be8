"""Throughput: FLOP counts, the table of peaks, and a measurement that adds up."""

from __future__ import annotations

import pytest

from bstheory.errors import InputError
from bstheory.models.configs import model_config
from bstheory.training.parallel import World
from bstheory.training.throughput import (
    Throughput,
    flops_per_token,
    measure_throughput,
    peak_flops,
    smallest_near_peak,
)


def test_flops_of_gpt2() -> None:
    """Hand count: 12 layers of 12 D^2 weights, biases and norms, the head; attention 12 L D T."""
    d, layers, length, vocabulary = 768, 12, 1024, 50_304
    block = 12 * d * d + 9 * d + 4 * d  # biases 3 + 1 + 4 + 1 of D, two norms of 2 D
    matrices = layers * block + 2 * d + vocabulary * d
    assert flops_per_token(model_config("gpt2_124m")) == 6 * matrices + 12 * layers * d * length


@pytest.mark.parametrize(
    ("name", "precision", "expected"),
    [
        ("NVIDIA H200", "bfloat16", 989.4e12),
        ("NVIDIA H100 80GB HBM3", "bfloat16_autocast", 989.4e12),
        ("NVIDIA H100 PCIe", "bfloat16", 756e12),
        ("NVIDIA A100-SXM4-40GB", "float32", 19.5e12),
        ("NVIDIA L40S", "bfloat16", 362e12),
        ("Quadro of another age", "bfloat16", None),
        ("cpu", "float32", None),
    ],
)
def test_peaks_are_looked_up_and_never_guessed(name: str, precision: str, expected: float | None) -> None:
    assert peak_flops(name, precision) == expected


def test_measurement_and_recommendation(here: World) -> None:
    measured = measure_throughput(model_config("tiny_study"), batch_sizes=(1, 8), here=here, steps=5)
    for one in measured:
        middle, low, high = one.step_seconds
        assert low <= middle <= high
        assert one.tokens_per_second == pytest.approx(one.batch_size * 32 / middle)
        assert one.mfu is None and one.peak_bytes is None
    table = [
        Throughput(batch_size=b, tokens_per_second=r, step_seconds=(1, 1, 1), mfu=None, peak_bytes=None)
        for b, r in ((1, 50.0), (4, 94.0), (8, 96.0), (64, 100.0))
    ]
    assert smallest_near_peak(table).batch_size == 8
    with pytest.raises(InputError, match="at least one batch size"):
        measure_throughput(model_config("tiny_study"), batch_sizes=(), here=here)
