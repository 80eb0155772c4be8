"""Runs and sweeps as tables of other libraries."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.run import Run
from bstheory.simulation.sweep import Sweep, write_table

pandas = pytest.importorskip("pandas", reason="pandas is not installed")


@pytest.fixture
def run() -> Run:
    series = {"loss": np.array([[3.0, 2.0, np.nan], [3.5, 2.5, 1.5]])}
    steps = np.array([0, 2, 4])
    return Run(name="r", config={}, seeds=(4, 7), steps=steps, tokens=steps * 8, series=series)


def test_a_run_is_a_long_table_in_both_libraries(run: Run) -> None:
    polars, frame = run.to_polars(), run.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == polars.columns == ["seed", "step", "tokens", "loss"]
    assert frame["seed"].tolist() == [4, 4, 4, 7, 7, 7]
    assert frame["tokens"].tolist() == [0, 16, 32] * 2
    assert np.array_equal(frame["loss"], run.series["loss"].ravel(), equal_nan=True)
    assert frame.groupby("step")["loss"].mean().loc[2] == 2.25


def test_a_sweep_is_one_row_a_configuration(tmp_path) -> None:
    rows = [
        {"config": {"problem": {"name": "p"}, "seeds": n}, "status": "ok", "loss_mean": 1.0 / n}
        for n in (1, 2)
    ]
    table = write_table(tmp_path / "table.parquet", rows)
    counts = dict.fromkeys(("computed", "reused", "corrupted", "retried", "failed", "duplicates"), 0)
    sweep = Sweep(rows=rows, table=table, **counts)
    frame = sweep.to_pandas()
    assert list(frame.columns) == sweep.to_polars().columns
    assert frame["problem.name"].tolist() == ["p", "p"] and frame["loss_mean"].tolist() == [1.0, 0.5]
