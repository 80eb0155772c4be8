"""C9: the judge on planted losses, and one real fine-tuning run kept and reused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bstheory.reproduction import finetuning
from bstheory.verdict import Verdict


def measured(offsets: dict[str, float]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    common = 0.05 * rng.standard_normal(len(finetuning.SEEDS))
    losses = {
        arm: {
            str(f): (
                2.0 + offsets[arm] + 0.1 * abs(np.log(f)) + common + 0.003 * rng.standard_normal(4)
            ).tolist()
            for f in finetuning.FACTORS
        }
        for arm in finetuning.ARMS
    }
    return {"losses": losses, "before": 3.0, "memory": {}, "text_sha256": ""}


def test_planted_losses_are_judged_both_ways() -> None:
    as_stated = {"lora": 0.3, "adafactor_1": 0.0, "sgd_1": 0.1, "adam_1": 0.0, "adam_16": 0.2}
    confirmed = finetuning.judge(measured(as_stated))
    assert [f.verdict for f in confirmed[:3]] == [Verdict.CONSISTENT] * 3
    assert confirmed[3].verdict is Verdict.REFUTED  # 0.2 apart is no match
    assert confirmed[4].verdict is Verdict.CONSISTENT
    reversed_arms = finetuning.judge(measured({arm: -x for arm, x in as_stated.items()}))
    assert [f.verdict for f in reversed_arms[:3]] == [Verdict.REFUTED] * 3


def test_a_diverged_rate_is_not_chosen() -> None:
    found = measured(dict.fromkeys(finetuning.ARMS, 0.0))
    found["losses"]["sgd_1"]["1.0"] = [None, 1.0, 1.0, 1.0]
    numbers = finetuning.judge(found)[0].numbers
    assert numbers["arms"]["sgd_1"]["learning_rate"] != finetuning.ARMS["sgd_1"][0]


@pytest.mark.filterwarnings("ignore")  # those of transformers and peft are not ours to fix
def test_runs_lower_the_loss_of_the_base_and_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuning, "PRETRAINING_TOKENS", 2**15)
    monkeypatch.setattr(finetuning, "TOKENS", 2**12)
    monkeypatch.setattr(finetuning, "TEXT_BYTES", 60_000)
    base, text = finetuning.pretrained(tmp_path), finetuning.source_text(tmp_path)
    assert finetuning.pretrained(tmp_path) == base
    first = finetuning.tune(base, text, tmp_path, "adafactor_1", 4.0, 0)
    assert first["loss"] < first["before"] and first["memory"]
    kept = (tmp_path / "adafactor_1-4-0.json").read_bytes()
    assert finetuning.tune(base, text, tmp_path, "adafactor_1", 4.0, 0) == first
    assert (tmp_path / "adafactor_1-4-0.json").read_bytes() == kept
