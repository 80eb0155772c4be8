"""DDP = FSDP as a claim: the judge on planted sequences, and one real two-process job (distributed)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bstheory.reproduction import adaptive_parity, parity_job, weight_decay
from bstheory.reproduction.arms import centre
from bstheory.verdict import Verdict


def pair(ddp: list[float], fsdp: list[float]) -> dict[str, Any]:
    def one(sizes: list[float]) -> dict[str, Any]:
        count = len(sizes)
        return {"batch_size": sizes, "noise": [5.0] * count, "loss": [3.0] * count, "world_size": 2}

    return {"unbiased": {"ddp": one(ddp), "fsdp": one(fsdp)}}


def test_planted_sequences_are_told_apart() -> None:
    same = adaptive_parity.judge(pair([8.0, 10.0, 14.0], [8.0, 10.0, 14.0]))
    assert [f.verdict for f in same] == [Verdict.CONSISTENT] * 2
    apart = adaptive_parity.judge(pair([8.0, 10.0, 14.0], [8.0, 12.0, 14.0]))
    assert [f.verdict for f in apart] == [Verdict.REFUTED] * 2
    assert apart[0].numbers["first_step_apart"] == 1
    shorter = adaptive_parity.judge(pair([8.0, 10.0, 14.0], [8.0, 10.0]))
    assert shorter[0].verdict is Verdict.REFUTED
    still = adaptive_parity.judge(pair([8.0, 8.0], [8.0, 8.0]))
    assert still[0].verdict is Verdict.UNDECIDED  # agreement without movement says nothing
    off = pair([8.0, 10.0], [8.0, 10.0])
    off["unbiased"]["fsdp"]["noise"] = [5.0, 5.1]
    assert adaptive_parity.judge(off)[1].verdict is Verdict.REFUTED


@pytest.mark.distributed
@pytest.mark.slow
def test_two_real_processes_write_what_the_judge_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptive_parity, "SCALINGS", ("unbiased",))
    found = adaptive_parity.measure(tmp_path)
    assert found["unbiased"]["ddp"]["world_size"] == 2
    findings = adaptive_parity.judge(found)
    assert sum(findings[0].numbers["batch_sizes"]) * parity_job.CONTEXT == parity_job.TOKENS
    assert findings[0].verdict is Verdict.CONSISTENT


@pytest.mark.parametrize("batch_size", [1, 16, 64])
def test_the_rule_keeps_the_decay_per_token(batch_size: int) -> None:
    rate = centre("adam", batch_size)
    kept = (1 - rate * weight_decay.by_rule(1.0, batch_size)) ** (1 / batch_size)
    assert kept == pytest.approx((1 - centre("adam", 16)) ** (1 / 16), rel=1e-12)
    if batch_size == 16:
        assert weight_decay.by_rule(1.0, 16) == pytest.approx(1.0)
