"""The stateless order of rows: a bijection an epoch, independent of how it is cut into batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bstheory.errors import InputError
from bstheory.training.rows import permuted_rows


@given(rows=st.integers(1, 3000), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 5))
def test_each_row_occurs_once_an_epoch(rows: int, seed: int, epoch: int) -> None:
    order = permuted_rows(np.arange(rows) + epoch * rows, rows=rows, seed=seed)
    assert np.array_equal(np.sort(order), np.arange(rows))


@given(data=st.data(), rows=st.integers(1, 10**12), seed=st.integers(0, 2**32))
def test_any_cut_into_batches_gives_the_same_order(data: st.DataObject, rows: int, seed: int) -> None:
    whole = permuted_rows(np.arange(100), rows=rows, seed=seed)
    cuts = sorted(data.draw(st.sets(st.integers(1, 99), max_size=5)))
    parts = [permuted_rows(part, rows=rows, seed=seed) for part in np.split(np.arange(100), cuts)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert whole.min() >= 0 and whole.max() < rows


def test_orders_of_different_seeds_and_epochs_look_independent() -> None:
    """The rank correlation of two independent orders has s.d. 1/sqrt(n - 1); 6 of them are allowed."""
    n = 4096
    index = np.arange(n)
    orders = [permuted_rows(index + epoch * n, rows=n, seed=seed) for seed in (0, 1) for epoch in (0, 1)]
    for i, one in enumerate(orders):
        for other in [index, *orders[:i]]:
            assert abs(np.corrcoef(one, other)[0, 1]) < 6 / np.sqrt(n - 1)
        # Neighbouring samples are not neighbouring rows: about one chance in n/2 each.
        assert np.count_nonzero(np.abs(np.diff(one)) == 1) < 20


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="at least one row"):
        permuted_rows(np.arange(3), rows=0, seed=0)
    with pytest.raises(InputError, match="start at 0"):
        permuted_rows(np.array([-1]), rows=5, seed=0)
    with pytest.raises(InputError, match="seed=-1"):
        permuted_rows(np.arange(3), rows=5, seed=-1)


@pytest.mark.parametrize(
    ("rows", "order"),
    [
        (5, [3, 2, 0, 4, 1, 3, 2, 1, 0, 4]),
        (16, [11, 7, 0, 15, 5, 1, 8, 10, 9, 3, 2, 6, 12, 14, 4, 13]),  # a power of 4: no row lies outside
    ],
)
def test_the_order_stays_that_of_earlier_versions(rows: int, order: list[int]) -> None:
    """A run goes on with the rows that it would have read, also under a later version."""
    assert permuted_rows(np.arange(len(order)), rows=rows, seed=3).tolist() == order
