"""The tiny-LM study: arms and rule, resume, independence of the worker count, divergence, verdicts."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bstheory
from bstheory.errors import InputError
from bstheory.problems.corpus import load_corpus
from bstheory.run import Run
from bstheory.training import study
from bstheory.training.study import (
    CONTEXT,
    LEARNING_RATES,
    PREDICTIONS,
    Plan,
    arm,
    judge_study,
    study_plan,
    tiny_lm_study,
    train_arms,
)
from bstheory.verdict import Verdict


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pydoc_data.topics import topics

    path = tmp_path_factory.mktemp("text") / "topics.txt"
    path.write_text("<|endoftext|>".join(topics[key] for key in sorted(topics)), encoding="utf-8")
    return path


SMALL = Plan(arms=(arm("adam_fixed_4"), arm("adam_half_life_16")), seeds=(0, 1), tokens=64 * CONTEXT)


def equal(one: Run, other: Run) -> bool:
    return one.hash == other.hash and all(np.array_equal(one.series[n], other.series[n]) for n in one.series)


def test_the_two_rules_coincide_at_the_anchor_and_only_there() -> None:
    assert study.half_life_beta2(64) == pytest.approx(0.95, abs=1e-15)
    assert arm("adam_anchor_64").beta2 == 0.95
    assert arm("adam_half_life_1").beta2 == pytest.approx(0.95 ** (1 / 64), abs=1e-15)
    assert arm("sgd_1").beta2 is None
    assert {arm(name).batch_size for name in LEARNING_RATES} == {1, 4, 16, 64}


def test_every_arm_spends_the_same_tokens_in_whole_steps() -> None:
    for quick in (False, True):
        plan = study_plan(quick=quick)
        assert all((plan.tokens // CONTEXT) % a.batch_size == 0 for a in plan.arms)
        assert plan.predictions
    assert study_plan(quick=False).predictions == PREDICTIONS


def test_training_lowers_the_loss_of_real_text(text: Path) -> None:
    plan = dataclasses.replace(SMALL, tokens=512 * CONTEXT, seeds=(0,))
    (run,) = train_arms([arm("adam_half_life_4")], plan, load_corpus(text))
    losses = run.series["validation_loss"][0]
    assert losses[-1] < losses[0] < run.summary["uniform_loss"]
    assert run.tokens[-1] == 512 * CONTEXT and run.steps[-1] == 128
    assert run.config["corpus"]["sha256"] == load_corpus(text).sha256


def test_resume_and_worker_count_change_no_number(text: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    whole = tiny_lm_study(plan=SMALL, text=text, workers=0, progress=lambda *a: calls.append(a))
    assert calls[0][0] == 0 and calls[-1][0] == calls[-1][1] == 4 * SMALL.tokens
    assert [run.seeds for run in whole] == [(0, 1), (0, 1)]

    def stop(done: int, total: int, label: str) -> None:
        if "adam" in label:  # the first stack is stored
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny_lm_study(plan=SMALL, text=text, workers=0, resume_dir=tmp_path, progress=stop)
    assert len(list(tmp_path.glob("*/run.json"))) == 2
    resumed = tiny_lm_study(plan=SMALL, text=text, workers=2, resume_dir=tmp_path)
    assert all(equal(a, b) for a, b in zip(whole, resumed, strict=True))


def test_another_study_in_the_folder_is_refused(text: Path, tmp_path: Path) -> None:
    one = Plan(arms=(arm("adam_fixed_16"),), seeds=(0,), tokens=64 * CONTEXT)
    tiny_lm_study(plan=one, text=text, workers=0, resume_dir=tmp_path)
    with pytest.raises(InputError, match="another configuration or text"):
        tiny_lm_study(
            plan=dataclasses.replace(one, tokens=32 * CONTEXT), text=text, workers=0, resume_dir=tmp_path
        )


def test_divergence_is_reported_not_hidden(text: Path) -> None:
    plan = Plan(
        arms=(arm("sgd_1", learning_rate=1e30), arm("adam_half_life_1")), seeds=(0, 1), tokens=32 * CONTEXT
    )
    runs = tiny_lm_study(plan=plan, text=text, workers=0)
    assert all(step is not None for step in runs[0].summary["diverged_at_step"])
    assert math.isinf(runs[0].series["validation_loss"][0, -1])
    (finding,) = judge_study(runs)
    assert finding.prediction.name == "adam_beats_sgd_at_1"
    assert finding.verdict is Verdict.UNDECIDED and "diverged: sgd_1" in finding.numbers["why"]


def fake(name: str, losses: list[float]) -> Run:
    values = np.array(losses)[:, None]
    one = np.array([1], dtype=np.int64)
    return Run(
        name=name,
        config={"name": name},
        seeds=tuple(range(len(losses))),
        steps=one,
        tokens=one,
        series={"validation_loss": values},
    )


@pytest.mark.parametrize(
    ("fixed", "half_life", "verdict"),
    [
        ([3.0, 3.1, 3.2], [2.8, 2.9, 3.01], Verdict.CONSISTENT),
        ([2.8, 2.9, 3.01], [3.0, 3.1, 3.2], Verdict.REFUTED),
        ([3.0, 2.9, 3.1], [2.9, 3.0, 3.05], Verdict.UNDECIDED),
        ([3.0], [2.0], Verdict.UNDECIDED),
    ],
)
def test_verdicts_follow_the_paired_interval(
    fixed: list[float], half_life: list[float], verdict: Verdict
) -> None:
    (finding,) = judge_study([fake("adam_fixed_1", fixed), fake("adam_half_life_1", half_life)])
    assert finding.prediction.name == "gain_at_1" and finding.verdict is verdict


def test_the_interval_is_students() -> None:
    """Hand-computed: differences .2, .2, .19: mean .19667, s.d. .0057735, t(.975, 2) = 4.302653."""
    (finding,) = judge_study(
        [fake("adam_fixed_1", [3.0, 3.1, 3.2]), fake("adam_half_life_1", [2.8, 2.9, 3.01])]
    )
    half = 4.302653 * 0.0057735 / math.sqrt(3)
    assert finding.numbers["interval"] == pytest.approx([0.196667 - half, 0.196667 + half], abs=1e-5)


def test_missing_arms_are_named() -> None:
    (finding,) = judge_study([fake("adam_fixed_1", [3.0, 3.0])], PREDICTIONS[:1])
    assert finding.verdict is Verdict.INAPPLICABLE and "adam_half_life_1" in finding.numbers["why"]


@pytest.mark.slow
def test_workers_die_with_a_killed_parent(text: Path, tmp_path: Path) -> None:
    program = tmp_path / "long_study.py"
    program.write_text(
        "import sys\n"
        "from bstheory.training.study import Plan, arm, tiny_lm_study\n"
        "if __name__ == '__main__':\n"
        "    plan = Plan(arms=(arm('adam_fixed_1'),), seeds=tuple(range(4)), tokens=32 * 10**6)\n"
        "    tell = lambda *a: print('on', flush=True)\n"
        f"    tiny_lm_study(plan=plan, text={str(text)!r}, workers=2, progress=tell)\n"
    )
    root = str(Path(bstheory.__file__).resolve().parent.parent)
    parent = subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert parent.stdout is not None and parent.stdout.readline() == "on\n"
    children: list[int] = []
    deadline = time.monotonic() + 60
    while len(children) < 3 and time.monotonic() < deadline:  # resource tracker and two workers
        time.sleep(0.2)
        listing = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        if not listing.exists():
            parent.kill()
            pytest.skip("needs /proc to list child processes")
        children = [int(p) for p in listing.read_text().split()]
    time.sleep(5)  # past their imports
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    while any(Path(f"/proc/{c}").exists() for c in children) and time.monotonic() < deadline + 30:
        time.sleep(0.2)
    left = [c for c in children if Path(f"/proc/{c}").exists()]
    for child in left:
        os.kill(child, signal.SIGKILL)
    assert not left
