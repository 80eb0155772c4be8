"""Predictions: the hash, the verdicts of contrasts and ranges, the campaign's statements, the commands."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from bstheory.errors import InputError
from bstheory.models.configs import model_config
from bstheory.run import Run
from bstheory.training.campaign_commands import predict, validate
from bstheory.training.command_line import count
from bstheory.training.predict import campaign_predictions
from bstheory.training.predictions import (
    Prediction,
    Range,
    judge_range,
    read_predictions,
    write_predictions,
)
from bstheory.training.predictions import validate as judge
from bstheory.verdict import Verdict

CONTRAST = Prediction(name="a_beats_b", statement="a < b", reason="so", worse={"b": 1}, better={"a": 1})
BETA = Range(
    name="beta", statement="beta2 is .95", reason="rule", arm="a", quantity="beta2", low=0.9499, high=0.9501
)


def run(name: str, seed: int, loss: float, beta2: float = 0.95) -> Run:
    one = np.array([1], dtype=np.int64)
    return Run(
        name=name,
        config={},
        seeds=(seed,),
        steps=one,
        tokens=one,
        series={"validation_loss": np.array([[loss]]), "beta2": np.array([[beta2]])},
        summary={"peak_bytes": 100},
    )


def test_a_prediction_edited_afterwards_does_not_validate(tmp_path: Path) -> None:
    path = tmp_path / "prediction.json"
    digest = write_predictions(path, predictions=[CONTRAST, BETA], basis={"probe": None})
    assert read_predictions(path) == [CONTRAST, BETA] and len(digest) == 64
    document = json.loads(path.read_text())
    document["ranges"][0]["high"] = 1.0
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="sha256 that it carries"):
        read_predictions(path)


def test_seeds_are_paired_and_missing_arms_are_inapplicable() -> None:
    runs = [run("a", s, 2.0 + s) for s in range(3)] + [run("b", s, 2.1 + s + 0.01 * s) for s in range(4)]
    contrast, beta = judge(runs, [CONTRAST, BETA])
    assert contrast.verdict is Verdict.CONSISTENT and contrast.numbers["seeds"] == 3
    assert beta.verdict is Verdict.CONSISTENT
    (missing,) = judge(runs[:3], [CONTRAST])
    assert missing.verdict is Verdict.INAPPLICABLE and "no run of b" in missing.numbers["why"]
    (reverse,) = judge(runs, [Prediction(name="x", statement="", reason="", worse={"a": 1}, better={"b": 1})])
    assert reverse.verdict is Verdict.REFUTED
    with pytest.raises(InputError, match="two runs of 'a' with seed 0"):
        judge([*runs, run("a", 0, 1.0)], [CONTRAST])


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.95, 0.95001], Verdict.CONSISTENT),
        ([0.96, 0.9601], Verdict.REFUTED),
        ([0.96], Verdict.REFUTED),
        ([0.90, 1.01], Verdict.UNDECIDED),
        ([math.nan], Verdict.INAPPLICABLE),
        ([], Verdict.INAPPLICABLE),
    ],
)
def test_ranges(values: list[float], verdict: Verdict) -> None:
    assert judge_range(BETA, {"a": values}).verdict is verdict


def test_a_range_upside_down_is_refused() -> None:
    with pytest.raises(InputError, match="low is at most high"):
        Range(name="x", statement="", reason="", arm="a", quantity="q", low=2.0, high=1.0)


def test_the_campaigns_beta2_are_the_papers_vectors() -> None:
    """beta2 = .95 at B = 512, T = 1024 gives .9998998 at B = 1 (arXiv:2507.07101 section 1)."""
    found = campaign_predictions(
        model_config("gpt2_124m"), batch_sizes=(1, 4, 16, 64, 512), reference_batch_size=512
    )
    ranges = {p.name: p for p in found if isinstance(p, Range)}
    assert ranges["beta2_at_1"].low == pytest.approx(0.9998998, abs=5e-8)
    assert ranges["beta2_at_512"].low == pytest.approx(0.95, abs=1e-8)
    names = [p.name for p in found]
    assert "gain_shrinks_1_to_64" in names and "gain_shrinks_1_to_512" not in names  # one run there
    with pytest.raises(InputError, match="two or more"):
        campaign_predictions(model_config("tiny"), batch_sizes=(4,), reference_batch_size=4)


def test_commands_write_and_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "prediction.json"
    assert predict("tiny_study", out=str(path), batch_sizes=(1, 16), probe_steps=0) == 0
    assert "gain_at_1" in capsys.readouterr().out
    for seed in range(3):
        run("fixed_1", seed, 2.5 + 0.01 * seed).save(tmp_path / f"f{seed}")
        run("half_life_1", seed, 2.4, 0.95 ** (1 / 16)).save(tmp_path / f"h{seed}")
    folders = tuple(str(tmp_path / f"{k}{s}") for k in "fh" for s in range(3))
    out = tmp_path / "findings.json"
    assert validate(folders, against=str(path), json=str(out)) == 0
    verdicts = {entry["name"]: entry["verdict"] for entry in json.loads(out.read_text())}
    assert verdicts["gain_at_1"] == verdicts["beta2_at_1"] == "consistent"
    assert verdicts["small_batch_wins"] == "inapplicable"
    for seed in range(3):
        run("fixed_1", seed, 2.3).save(tmp_path / f"f{seed}")
    assert validate(folders, against=str(path)) == 1
    with pytest.raises(InputError, match="at least one run"):
        validate((), against=str(path))


def test_a_probe_measures_the_noise_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: Path
) -> None:
    path = tmp_path / "prediction.json"
    code = predict(
        "tiny_study", out=str(path), batch_sizes=(1, 16), data=str(shards), probe_steps=20, device="cpu"
    )
    document = json.loads(path.read_text())
    assert code == 0 and document["basis"]["probe"]["noise_scale"] > 0
    assert "noise_scale_rises" in {entry["name"] for entry in document["ranges"]}


@pytest.mark.parametrize(("text", "value"), [("500k", 500_000), ("2.5M", 2_500_000), ("1_000", 1000), (7, 7)])
def test_counts(text: str | int, value: int) -> None:
    assert count(text) == value


@pytest.mark.parametrize("text", ["", "-5", "0", "1.5", "ten", "k"])
def test_bad_counts(text: str) -> None:
    with pytest.raises(InputError, match="positive integer"):
        count(text)
