"""Mistakes on the command lines of training: one line, exit code 2, before any work and without any loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bstheory import cli
from bstheory.run import Run

TRAIN = ("train", "tiny", "--tokens", "2k")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*TRAIN, "--beta2", "1.0"), "beta2=1.0"),
        ((*TRAIN, "--beta1", "nan"), "beta1=nan"),
        ((*TRAIN, "--weight-decay", "-1"), "weight_decay=-1.0"),
        ((*TRAIN, "--seq-len", "0"), "--seq-len 0"),
        ((*TRAIN, "--evals", "-1"), "--evals -1"),
        ((*TRAIN, "--stop-after-seconds", "nan"), "--stop-after-seconds nan"),
        ((*TRAIN, "--seed", "99999999999999999999"), "--seed 9999"),
        ((*TRAIN, "--resume", "--out", "nowhere"), "there is no such run"),
        (("train", "tiny", "--tokens", "1e400"), "below 10^18"),
        ((*TRAIN, "--parallel", "fsdp"), "--parallel fsdp in a single process"),
        ((*TRAIN, "--out", "a_file"), "cannot be written"),
        ((*TRAIN, "--out", "a_file/run"), "cannot be written"),
        ((*TRAIN, "--beta1", "0.9", "--optimizer", "adafactor"), "--beta1 0.9 with --optimizer adafactor"),
        ((*TRAIN, "--optimizer", "sgd", "--beta2-half-life", "10k"), "beta2_half_life=10000.0 for"),
        ((*TRAIN, "--adafactor-exponent", "0.9"), "adafactor_exponent=0.9 for the optimizer 'adamw'"),
        ((*TRAIN, "--cuda-graphs"), "cuda_graphs without compile"),
        (("throughput", "tiny", "--seq-len", "0"), "--seq-len 0"),
        (("throughput", "tiny", "--batch-sizes", "1", "1"), "each once"),
        (("throughput", "tiny", "--out", "a_file"), "cannot be written"),
        (("finetune", "m", "t", "--out", "r", "--seq-len", "0"), "--seq-len 0"),
        (("finetune", "m", "t", "--out", "r", "--resume"), "there is no such run"),
        (("finetune", "m", "t", "--out", "a_file/r"), "cannot be written"),
        (("predict", "tiny", "--out", "p.json", "--batch-sizes"), "no --batch-sizes"),
        (("predict", "tiny", "--out", "a_file/p.json"), "cannot be written"),
        (
            ("predict", "tiny", "--out", "p.json", "--probe-micro-batch-size", "0"),
            "--probe-micro-batch-size 0",
        ),
    ],
)
def test_mistakes_are_one_line_before_any_work(
    words: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    (tmp_path / "a_file").write_text("mine")
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    error = capsys.readouterr().err.strip()
    assert left.value.code == 2 and "\n" not in error and message in error
    assert (tmp_path / "a_file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["a_file"]


def test_a_device_that_runs_out_of_memory_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The estimate may be too low; a GPU then says so itself, in many lines."""

    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")

    monkeypatch.setattr("bstheory.training.trainer.Trainer.train_step", exhausted)
    with pytest.raises(SystemExit) as left:
        cli.main(("train", "tiny_study", "--tokens", "2k", "--device", "cpu", "--out", str(tmp_path / "r")))
    error = capsys.readouterr().err.strip()
    assert left.value.code == 2 and "\n" not in error
    assert "Tried to allocate 2.00 GiB" in error and "Lower --micro-batch-size" in error


def test_a_ramp_that_is_whole_is_trained_under(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("train", "tiny", "--tokens", "5k", "--evals", "1", "--eval-rows", "4", "--log-every-steps", "1")
    with pytest.raises(SystemExit) as left:
        cli.main((*words, "--batch-size", "staircase 4->8 over 2k by 2"))
    assert left.value.code == 0
    assert "4,992 of 5,000 tokens are whole sequences of 64" in capsys.readouterr().out
    sizes = Run.load(tmp_path / "runs" / "tiny-seed0").series["batch_size"][0]
    assert sorted(set(sizes[:-1])) == [4, 6, 8]
    with pytest.raises(SystemExit) as left:  # again, of a finished run
        cli.main((*words, "--batch-size", "staircase 4->8 over 2k by 2", "--resume"))
    assert left.value.code == 0 and "had finished before" in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        cli.main((*words, "--batch-size", "linear 4->8 over 2k", "--name", "half_life_4"))
    assert left.value.code == 2 and "staircase" in capsys.readouterr().err


def test_a_run_has_the_name_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        cli.main((*TRAIN, "--evals", "1", "--eval-rows", "4", "--name", "half_life_16"))
    assert left.value.code == 0
    assert Run.load(tmp_path / "runs" / "half_life_16-seed0").name == "half_life_16"


def test_a_validation_set_smaller_than_asked_for_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    paragraphs = (
        f"Paragraph {k} says that {k} squared is {k * k} and {k} cubed {k**3}. " for k in range(4000)
    )
    Path("text.txt").write_text("\n\n".join(paragraphs))
    for rows, said in (("100000", True), ("4", False)):
        with pytest.raises(SystemExit) as left:
            cli.main((*TRAIN, "--data", "text.txt", "--evals", "1", "--eval-rows", rows, "--out", rows))
        assert left.value.code == 0
        found = Run.load(Path(rows)).summary["validation_rows"]
        note = f"validated on {found:,} rows, all there are; --eval-rows asks for 100,000"
        assert (note in capsys.readouterr().out) is said
        assert found == 4 or said
