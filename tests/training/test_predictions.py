"""Predictions: the hash, the verdicts of contrasts and ranges, the campaign's statements, the commands."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from bstheory.campaign_commands import predict, validate
from bstheory.errors import InputError
from bstheory.models.configs import model_config
from bstheory.run import Run, config_hash
from bstheory.simulation.campaign import simulate_campaign
from bstheory.training.command_line import count
from bstheory.training.commands import throughput
from bstheory.training.parallel import World
from bstheory.training.predict import campaign_predictions
from bstheory.training.predictions import (
    Prediction,
    Range,
    RateRatio,
    judge_range,
    read_predictions,
    write_predictions,
)
from bstheory.training.predictions import validate as judge
from bstheory.training.probes import SpeedProbe, fit_speed, run_probe
from bstheory.training.trainer import Trainer
from bstheory.verdict import Verdict

from .conftest import build, small_config

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


@pytest.mark.parametrize("text", ["[]", "null", "{}", "3"])
def test_another_file_is_no_prediction(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(InputError, match="sha256 that it carries"):
        read_predictions(tmp_path / "p.json")


def test_an_entry_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "prediction.json"
    content = {"format": 1, "contrasts": [{"name": "a"}], "ranges": [], "rate_ratios": [], "basis": {}}
    path.write_text(json.dumps({**content, "sha256": config_hash(content)}))
    with pytest.raises(InputError, match="an entry that is no prediction"):
        read_predictions(path)


def test_a_run_without_records_decides_nothing() -> None:
    none = np.zeros(0, dtype=np.int64)
    series = {name: np.zeros((1, 0)) for name in ("validation_loss", "beta2", "learning_rate")}
    empty = Run(name="a", config={}, seeds=(0,), steps=none, tokens=none, series=series)
    ratio_of = ratio(1.0, 2.0)
    for name, prediction in (("a", CONTRAST), ("a", BETA), (ratio_of.lower, ratio_of)):
        (finding,) = judge([dataclasses.replace(empty, name=name), run("b", 0, 1.0)], [prediction])
        assert finding.verdict in (Verdict.UNDECIDED, Verdict.INAPPLICABLE)


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


def rates_of(arm: str, losses: dict[float, list[float]]) -> list[Run]:
    """Runs of one arm at several peak rates, one run a seed."""
    one = np.array([1, 2], dtype=np.int64)
    return [
        Run(
            name=f"{arm}_lr{rate:g}",
            config={},
            seeds=(seed,),
            steps=one,
            tokens=one,
            series={
                "learning_rate": np.array([[rate, rate / 10]]),
                "validation_loss": np.array([[math.nan, loss]]),
            },
            summary={"finished": True},
        )
        for rate, row in losses.items()
        for seed, loss in enumerate(row)
    ]


def ratio(low: float, high: float) -> RateRatio:
    return RateRatio(name="r", statement="", reason="", lower="a_1", upper="a_64", low=low, high=high)


SMALL = {0.001: [2.2, 2.3], 0.002: [2.0, 2.1], 0.004: [2.1, 2.4]}
LARGE = {0.004: [2.5, 2.4], 0.008: [2.3, 2.3], 0.016: [2.6, math.inf]}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.0, 8.0, Verdict.CONSISTENT),
        (16.0, 64.0, Verdict.REFUTED),
        (5.0, 64.0, Verdict.UNDECIDED),  # the grids know the ratio of 4 to a factor of 2
        (0.1, 1.0, Verdict.REFUTED),
    ],
)
def test_ratios_of_best_rates(low: float, high: float, verdict: Verdict) -> None:
    runs = rates_of("a_1", SMALL) + rates_of("a_64", LARGE)
    (found,) = judge(runs, [ratio(low, high)])
    assert found.verdict is verdict and found.numbers["measured"] == pytest.approx(4.0)
    assert found.numbers["interval"] == pytest.approx([2.0, 8.0])


def test_a_best_rate_at_the_end_of_its_grid_decides_nothing() -> None:
    rising = {0.001: [2.2], 0.002: [2.1], 0.004: [2.0]}
    (edge,) = judge(rates_of("a_1", rising) + rates_of("a_64", LARGE), [ratio(1.0, 8.0)])
    assert edge.verdict is Verdict.UNDECIDED and "a_1 is at an end" in edge.numbers["why"]
    (missing,) = judge(rates_of("a_1", SMALL), [ratio(1.0, 8.0)])
    assert missing.verdict is Verdict.INAPPLICABLE and "a_64" in missing.numbers["why"]


def test_speed_counts_on_its_device_only_and_unfinished_runs_do_not_count() -> None:
    speed = Range(
        name="s", statement="", reason="", arm="t", quantity="rate_4", low=90, high=110, device="cpu"
    )

    def timed(device: str, rate: float) -> Run:
        none = np.zeros(0, dtype=np.int64)
        summary = {"device": device, "rate_4": rate}
        return Run(name="t", config={}, seeds=(0,), steps=none, tokens=none, series={}, summary=summary)

    assert judge([timed("cpu", 100.0)], [speed])[0].verdict is Verdict.CONSISTENT
    assert judge([timed("cpu", 150.0)], [speed])[0].verdict is Verdict.REFUTED
    (other,) = judge([timed("H200", 100.0)], [speed])
    assert other.verdict is Verdict.INAPPLICABLE and "on cpu" in other.numbers["why"]
    runs = [run("a", s, 2.0) for s in range(2)] + [run("b", s, 2.1 + s / 1000) for s in range(2)]
    assert judge(runs, [CONTRAST])[0].verdict is Verdict.CONSISTENT
    runs[0] = dataclasses.replace(runs[0], summary={"finished": False})
    (open_ended,) = judge(runs, [CONTRAST])
    assert open_ended.verdict is Verdict.UNDECIDED and "unfinished: a" in open_ended.numbers["why"]


def test_the_speed_fit_recovers_overhead_and_cost_and_says_how_badly_it_fits() -> None:
    overhead, each, residual = fit_speed({b: 0.01 + 0.002 * b for b in (1, 8, 64)})
    assert (overhead, each) == pytest.approx((0.01, 0.002)) and residual < 1e-9
    assert fit_speed({1: 0.02, 8: 0.01, 64: 0.05})[2] > 0.2  # no line
    assert fit_speed({1: 0.01, 64: 1.28})[0] == 0.0  # a negative overhead is none
    probe = SpeedProbe(
        measured={1: 0.012},
        overhead=0.01,
        per_sequence=0.002,
        tolerance=0.2,
        seq_len=10,
        device="cpu",
        arm="t",
    )
    assert probe.tokens_per_second(5) == pytest.approx(50 / 0.02)
    # B / (5 + B) of the peak: 16 / 21 is too little, 128 / 133 is enough.
    assert probe.smallest_near_peak((1, 16, 128, 4096)) == 128
    with pytest.raises(InputError, match="need two"):
        fit_speed({1: 0.1})


def test_the_simulator_tunes_both_rules_and_agrees_with_itself_at_the_reference() -> None:
    arms = simulate_campaign(
        batch_sizes=(4, 32), reference_batch_size=32, reference_beta2=0.95, noise_scale=50.0, seeds=16
    )
    by = {one.batch_size: one for one in arms}
    assert by[32].gain == 0.0 and not by[4].at_edge and not by[32].at_edge
    assert 1.0 < by[32].learning_rate / by[4].learning_rate <= 8.0  # grows, at most linearly
    with pytest.raises(InputError, match="needs a positive one"):
        simulate_campaign(batch_sizes=(4,), reference_batch_size=32, reference_beta2=0.95, noise_scale=0.0)
    with pytest.raises(InputError, match="divide each other"):
        simulate_campaign(
            batch_sizes=(1, 97, 101), reference_batch_size=103, reference_beta2=0.95, noise_scale=1.0
        )


def test_predictions_meet_their_runs_from_end_to_end(tmp_path: Path, shards: Path) -> None:
    """Probes and simulator write, bstheory throughput measures, and every prediction has a verdict."""
    path, run_folder = tmp_path / "prediction.json", tmp_path / "speed"
    options = {"data": str(shards), "device": "cpu", "probe_steps": 20, "speed_steps": 5}
    assert predict("tiny_study", out=str(path), batch_sizes=(1, 4, 16), **options) == 0
    document = json.loads(path.read_text())
    assert set(document["basis"]["speed"]["measured"]) == {"1", "4", "16"}
    assert [one["batch_size"] for one in document["basis"]["simulated"]] == [1, 4, 16]
    names = [p.name for p in read_predictions(path)]
    assert len(names) == len(set(names))
    assert {
        "gain_at_1",
        "gain_at_4",
        "gain_shrinks_1_to_4",
        "adam_beats_sgd_at_1",
        "lr_ratio_below_square_root",
        "lr_ratio_simulated",
        "noise_scale_rises",
        "critical_batch_size",
        "tokens_per_second_at_4",
        "smallest_batch_near_peak",
    } <= set(names)
    throughput("tiny_study", batch_sizes=(1, 4, 16), steps=5, device="cpu", out=str(run_folder))
    out = tmp_path / "findings.json"
    validate((str(run_folder),), against=str(path), json=str(out))
    findings = {entry["name"]: entry for entry in json.loads(out.read_text())}
    assert set(findings) == set(names)
    # Speed is not asserted, only that it was judged: the machine may be busy.
    assert findings["tokens_per_second_at_4"]["verdict"] != "inapplicable"
    assert findings["gain_at_1"]["verdict"] == "inapplicable"


def test_commands_write_and_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "prediction.json"
    assert predict("tiny_study", out=str(path), batch_sizes=(1, 16), probe_steps=0, speed_steps=0) == 0
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
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()
    for seed in range(3):
        run("fixed_1", seed, 2.3).save(tmp_path / f"f{seed}")
    assert validate(folders, against=str(path)) == 1
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 80
    at = shown.index("refuted       gain_at_1")
    assert shown[at + 1] == "    at batch size 1 the fixed half-life reaches a lower loss than the fixed"
    assert shown[at + 2] == "    beta2"
    assert shown[at + 3].startswith("    measured -0.")
    assert "refuted, " in shown[-1] and "inapplicable" in shown[-1]
    with pytest.raises(InputError, match="at least one run"):
        validate((), against=str(path))


def test_a_beta2_that_is_typed_as_printed_is_the_predicted_one() -> None:
    for found in campaign_predictions(
        model_config("tiny"), batch_sizes=(1, 4, 16), reference_batch_size=16, reference_beta2=0.95
    ):
        if found.name.startswith("beta2_at_"):
            printed = float(found.statement.split("beta2 = ")[1].split()[0])
            assert found.low < printed < found.high


def test_runs_of_other_names_are_said_not_to_be_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prediction.json"
    predict("tiny_study", out=str(path), batch_sizes=(1, 16), probe_steps=0, speed_steps=0)
    run("tiny-adamw", 0, 2.5).save(tmp_path / "run")
    assert validate((str(tmp_path / "run"),), against=str(path)) == 0
    assert "nothing is judged: the runs are named tiny-adamw" in capsys.readouterr().out


def test_a_probe_measures_the_noise_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: Path
) -> None:
    path = tmp_path / "prediction.json"
    code = predict(
        "tiny_study",
        out=str(path),
        batch_sizes=(1, 16),
        data=str(shards),
        probe_steps=20,
        speed_steps=0,
        no_simulation=True,
        device="cpu",
    )
    document = json.loads(path.read_text())
    assert code == 0 and document["basis"]["probe"]["noise_scale"] > 0
    assert "noise_scale_above_probe" in {entry["name"] for entry in document["ranges"]}
    assert document["basis"]["speed"] is None and document["basis"]["simulated"] == []


@pytest.mark.parametrize(("text", "value"), [("500k", 500_000), ("2.5M", 2_500_000), ("1_000", 1000), (7, 7)])
def test_counts(text: str | int, value: int) -> None:
    assert count(text) == value


@pytest.mark.parametrize("text", ["", "-5", "0", "1.5", "ten", "k"])
def test_bad_counts(text: str) -> None:
    with pytest.raises(InputError, match="positive integer"):
        count(text)


def test_the_interval_of_a_contrast_is_students() -> None:
    """Effects 1, 2, 3, 4: the tabulated t quantile for 3 degrees of freedom at 97.5 % is 3.182446."""
    runs = [run("a", seed, 0.0) for seed in range(4)] + [run("b", seed, seed + 1.0) for seed in range(4)]
    (finding,) = judge(runs, [CONTRAST])
    margin = 3.182446 * math.sqrt(5 / 3) / 2
    assert finding.numbers["effect"] == 2.5
    assert finding.numbers["interval"] == pytest.approx([2.5 - margin, 2.5 + margin], rel=1e-6)


def test_a_range_does_not_count_runs_that_have_not_finished() -> None:
    half = dataclasses.replace(run("a", 0, 1.0, beta2=0.1), summary={"finished": False})
    (alone,) = judge([half], [BETA])
    assert alone.verdict is Verdict.INAPPLICABLE
    (beside,) = judge([half, run("a", 1, 1.0)], [BETA])
    assert beside.verdict is Verdict.CONSISTENT and beside.numbers["seeds"] == 1


def test_a_probe_uses_the_second_half_of_its_steps(
    shards: Path, here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first steps are of an untrained model, whose gradient is much larger than its noise."""
    series = {"noise": np.array([[1.0] * 4 + [6.0] * 4]), "signal": np.array([[100.0] * 4 + [2.0] * 4])}
    count = np.arange(1, 9)
    measured = Run(
        name="probe",
        config={},
        seeds=(0,),
        steps=count,
        tokens=count,
        series=series,
        summary={"tokens_per_second": 5.0},
    )
    monkeypatch.setattr(Trainer, "run", lambda trainer, progress=None: measured)
    rows = build(small_config(), shards, here).data
    options = {"data": rows, "validation": rows, "here": here, "learning_rate": 0.01, "steps": 8}
    assert run_probe(model_config("tiny_study"), **options).noise_scale == 3.0
