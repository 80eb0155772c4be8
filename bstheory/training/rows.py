"""Which row of the data each training sample is: a stateless permutation of (seed, index).

Sample number ``i`` of a run is row ``permute(i mod N, epoch = i div N)`` of the N rows, whatever the
batch-size schedule, the number of processes or the number of interruptions: the order belongs to the sample
index alone, so two runs with different schedules see the same tokens in the same order, and resuming needs
one integer.

The permutation is a four-round Feistel network over the smallest even number of bits that holds N, walked
until it lands below N (Black & Rogaway 2002, "Ciphers with arbitrary finite domains"); the round function
is a 64-bit mixer keyed by (seed, epoch, round). It is a bijection by construction.
"""

from __future__ import annotations

import numpy as np

from bstheory.errors import input_error

ROUNDS = 4


def _mix(x: np.ndarray) -> np.ndarray:
    """Bijective 64-bit mixer with good avalanche (Stafford's variant 13)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def permuted_rows(index: np.ndarray, *, rows: int, seed: int) -> np.ndarray:
    """Row of each sample index.

    Args:
        index: int64 [B], sample numbers counted from the start of the run; may exceed ``rows`` (new epoch,
            new permutation).
        rows: N, number of rows in the data.
        seed: data seed, any non-negative integer below 2^63.

    Returns:
        int64 [B], each in [0, N); over one epoch each row occurs exactly once.

    Raises:
        InputError: no rows, a negative index or a seed out of range.
    """
    if rows < 1:
        raise input_error(got=f"rows={rows}", rule="there must be at least one row", do="use a larger corpus")
    if not 0 <= seed < 2**63:
        raise input_error(got=f"seed={seed}", rule="a seed is in [0, 2^63)", do="choose another")
    index = np.asarray(index, dtype=np.int64)
    if index.size and index.min() < 0:
        raise input_error(
            got=f"sample index {index.min()}", rule="sample indices start at 0", do="count from the start"
        )
    epoch, place = np.divmod(index, rows)
    half = max(1, (int(rows - 1).bit_length() + 1) // 2)
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant
        key = _mix(_mix(np.full(index.shape, seed, np.uint64)) + epoch.astype(np.uint64))
        keys = [_mix(key + np.uint64(0x9E3779B97F4A7C15) * np.uint64(r + 1)) for r in range(ROUNDS)]
        value = place.astype(np.uint64)
        outside = np.ones(index.shape, dtype=bool)
        while outside.any():
            left, right = value[outside] >> shift, value[outside] & mask
            for round_key in keys:
                left, right = right, left ^ (_mix(right + round_key[outside]) & mask)
            value[outside] = (left << shift) | right
            outside &= value >= np.uint64(rows)
    return value.astype(np.int64)
