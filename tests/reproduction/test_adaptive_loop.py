"""Closed-loop runs are kept: trained once, read back equal, trained again from a damaged file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bstheory.reproduction import adaptive_loop
from bstheory.reproduction.adaptive_loop import KeptRuns
from bstheory.schedules.rules import ddp_norm
from bstheory.training.stacked import Recipe

RECIPE = Recipe(optimizer="adam", learning_rate=0.03, batch_sizes=((16, 1),), seed=0, half_life=7000.0)
RULE = ddp_norm(eta=0.2, scaling="published", initial=8, maximum=32, multiple=4)


def test_runs_are_kept_reused_and_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = KeptRuns(tmp_path)(RECIPE, RULE, rows=48, groups=4)
    assert sum(first.batch_sizes) == 48 and first.eta_effective
    (path,) = tmp_path.glob("closed-loop-*.json")
    with monkeypatch.context() as m:
        m.delattr(adaptive_loop, "train_adaptive")  # nothing is trained when the file is there
        assert KeptRuns(tmp_path)(RECIPE, RULE, rows=48, groups=4) == first
    path.write_text(path.read_text()[:30])
    assert KeptRuns(tmp_path)(RECIPE, RULE, rows=48, groups=4) == first


@pytest.mark.parametrize("change", ["seed", "tolerance", "rows"])
def test_every_setting_has_a_file_of_its_own(change: str, tmp_path: Path) -> None:
    kept = KeptRuns(tmp_path)
    kept(RECIPE, RULE, rows=24, groups=4)
    recipe = dataclasses.replace(RECIPE, seed=1) if change == "seed" else RECIPE
    rule = dataclasses.replace(RULE, tolerance=0.5) if change == "tolerance" else RULE
    kept(recipe, rule, rows=48 if change == "rows" else 24, groups=4)
    assert len(list(tmp_path.glob("closed-loop-*.json"))) == 2


def test_a_diverged_run_is_kept_as_diverged(tmp_path: Path) -> None:
    bad = dataclasses.replace(RECIPE, optimizer="sgd", learning_rate=1e38, half_life=None)
    first = KeptRuns(tmp_path)(bad, RULE, rows=48, groups=4)
    assert first.validation_loss == float("inf")
    assert KeptRuns(tmp_path)(bad, RULE, rows=48, groups=4) == first
