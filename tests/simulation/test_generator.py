"""The generator: published test vectors, moments to order 8, Kolmogorov-Smirnov, independence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bstheory.simulation import generator

DRAWS = 1 << 21
Z = 5.0  # standard errors; about 40 comparisons, so a false alarm has probability below 1e-4


def stream(seed: int, number: int = 0) -> np.ndarray:
    state = np.empty((4, generator.LANES), np.uint32)
    generator.seed_stream(state, np.uint64(seed), np.uint64(number))
    return state


def normals(dtype: type, seed: int, number: int = 0, draws: int = DRAWS) -> np.ndarray:
    out = np.empty(draws, dtype)
    fill = generator.fill_normal32 if dtype is np.float32 else generator.fill_normal64
    fill(stream(seed, number), out)
    return out.astype(np.float64)


def test_xoshiro128plusplus_published_vector() -> None:
    # State (1, 2, 3, 4); the vector distributed with the reference implementation.
    state = np.repeat(np.array([1, 2, 3, 4], np.uint32)[:, None], generator.LANES, axis=1)
    out = np.empty(10 * generator.LANES, np.uint32)
    generator.fill_words(state, out)
    expected = [
        641, 1573767, 3222811527, 3517856514, 836907274, 4247214768, 3867114732, 1355841295, 495546011,
        621204420,
    ]  # fmt: skip
    for lane in range(generator.LANES):
        assert out[lane :: generator.LANES].tolist() == expected


def test_splitmix64_published_vector() -> None:
    # Seed 1234567, first outputs of the reference implementation.
    counter, seen = 1234567, []
    for _ in range(5):
        counter = (counter + 0x9E3779B97F4A7C15) % 2**64
        seen.append(int(generator.splitmix64(np.uint64(counter))))
    assert seen == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431,
        16408922859458223821,
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_to_order_eight(dtype: type) -> None:
    z = normals(dtype, seed=11)
    for order in range(1, 9):
        exact = 0.0 if order % 2 else float(math.prod(range(1, order, 2)))
        variance = math.prod(range(1, 2 * order, 2)) - exact**2
        assert abs(np.mean(z**order) - exact) <= Z * math.sqrt(variance / DRAWS), order


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kolmogorov_smirnov(dtype: type) -> None:
    assert stats.kstest(normals(dtype, seed=12, draws=1 << 19), "norm").pvalue > 1e-4
    # The test has power: a scale of 1.02 is rejected on the same number of draws.
    assert stats.kstest(1.02 * normals(dtype, seed=12, draws=1 << 19), "norm").pvalue < 1e-4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tail_reaches_as_far_as_documented(dtype: type) -> None:
    z = normals(dtype, seed=13)
    for threshold in (3.0, 4.0):
        expected = 2 * stats.norm.sf(threshold) * DRAWS
        assert abs(np.sum(np.abs(z) > threshold) - expected) <= Z * math.sqrt(expected)
    assert np.max(np.abs(z)) < (6.67 if dtype is np.float32 else 8.58)


def test_streams_and_coordinates_are_uncorrelated() -> None:
    rows = np.stack([normals(np.float32, seed, number, 1 << 16) for seed in range(6) for number in range(4)])
    off = np.corrcoef(rows) - np.eye(len(rows))
    assert np.max(np.abs(off)) <= 5.5 / math.sqrt(rows.shape[1])
    for values in (rows, np.square(rows)):
        columns = values[:8].reshape(-1, generator.BLOCK)
        off = np.corrcoef(columns.T) - np.eye(generator.BLOCK)
        assert np.max(np.abs(off)) <= 5.5 / math.sqrt(len(columns))


def test_a_row_depends_only_on_seed_and_stream() -> None:
    long = normals(np.float32, 5, draws=4096)
    state, short = stream(5), []
    for _ in range(8):
        out = np.empty(512, np.float32)
        generator.fill_normal32(state, out)
        short.append(out)
    # Drawn 512 at a time, the pairing of Box-Muller differs, the multiset per lane does not: same length,
    # same row.
    again = stream(5)
    first = np.empty(512, np.float32)
    generator.fill_normal32(again, first)
    np.testing.assert_array_equal(first, short[0])
    assert len(np.unique(long)) > 4000
    assert not np.array_equal(normals(np.float32, 5, 1, 512), first)
    assert not np.array_equal(normals(np.float32, 6, 0, 512), first)


def test_signs_are_fair() -> None:
    out = np.empty(DRAWS, np.float32)
    generator.fill_signs(stream(3), out)
    assert set(np.unique(out)) == {-1.0, 1.0}
    assert abs(out.mean(dtype=np.float64)) <= Z / math.sqrt(DRAWS)
