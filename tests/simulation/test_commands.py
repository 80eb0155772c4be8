"""The sub-commands: output, JSON, exit codes."""

from __future__ import annotations

import json

import pytest

from bstheory.errors import InputError
from bstheory.run import Run
from bstheory.simulation import commands

CONFIG = {
    "problem": {"name": "cosine_sum", "dim": 3, "noise_scale": 0.5},
    "algorithm": {"name": "adam", "learning_rate": 0.1, "beta1": 0.0, "half_life": 50.0},
    "schedule": "0:1 100:4",
    "tokens": 300,
    "seeds": 4,
}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    return path


def test_simulate(config, tmp_path, capsys) -> None:
    assert commands.simulate(str(config), out=str(tmp_path / "run"), json="-") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["tokens"] == 300 and document["num_steps"] == 150
    run = Run.load(tmp_path / "run")
    assert document["measured"]["loss"]["mean"] == pytest.approx(run.series["loss"][:, -1].mean())
    assert commands.simulate(str(config)) == 0
    assert "weighted_sq_gradient" in capsys.readouterr().out


@pytest.mark.slow
def test_sweep(tmp_path, capsys) -> None:
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"base": CONFIG, "grid": {"algorithm.learning_rate": [0.1, 0.2]}}))
    assert commands.sweep(str(path), out=str(tmp_path / "sweep"), workers=1, json="-") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["computed"] == 2 and [row["status"] for row in document["rows"]] == ["ok", "ok"]
    assert commands.sweep(str(path), out=str(tmp_path / "sweep"), workers=1) == 0
    assert "reused 2" in capsys.readouterr().out


def test_falsify_exit_codes(capsys) -> None:
    assert (
        commands.falsify(("sign_sgd_batch_schedule:no_noise", "sgd_strongly_convex:tenth_less"), json="-")
        == 0
    )
    document = json.loads(capsys.readouterr().out)
    assert {o["verdict"] for o in document["outcomes"]} == {"refuted"}
    assert commands.falsify(("adam_token_half_life",), budget=50) == 0
    assert "consistent" in capsys.readouterr().out
    # one instance is too small a budget to refute this one: the command must not claim success
    assert commands.falsify(("adam_token_half_life:quarter",), budget=1) == 1


def test_bad_files(tmp_path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        commands.simulate(str(bad))
    bad.write_text("3")
    with pytest.raises(InputError, match="list of configurations"):
        commands.sweep(str(bad), out=str(tmp_path / "out"))
    with pytest.raises(InputError, match="cannot be read"):
        commands.simulate(str(tmp_path / "absent.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 300.7}, "tokens is a whole number"),
        ({"tokens": "300"}, "tokens is a whole number"),
        ({"seeds": "64"}, "seeds are a whole number"),
        ({"seeds": [0.2, 1.7]}, "list of whole numbers"),
        ({"seeds": True}, "seeds are a whole number"),
        ({"records": 2.5}, "records is a whole number"),
        ({"quantities": "loss"}, "list of names"),
        ({"dtype": ["float32"]}, "float64 or float32"),
        ({"tokens": 4 * 10**15}, "steps or more"),
        ({"schedule": [[10**12, 1]], "tokens": 10**12}, "a run has at most"),
        ({"schedule": [[10**30, 1]], "tokens": 10}, "a run has at most"),
        ({"seeds": 10**12}, "the limit is"),
        ({"records": 10**13}, "the limit is"),
        ({"problem": CONFIG["problem"] | {"dim": 10**14}}, "at most"),
        ({"problem": CONFIG["problem"] | {"dim": True}}, "dim=True.*no numbers"),
        ({"problem": CONFIG["problem"] | {"x0": [1.0, True]}}, "x0=.*no numbers"),
        (
            {"problem": {"name": "noisy_quadratic", "spectrum": {"dim": 4, "power": True}, "noise": 1.0}},
            "power is a number",
        ),
        ({"algorithm": CONFIG["algorithm"] | {"learning_rate": True}}, "learning_rate=True.*no numbers"),
        (
            {"algorithm": {"name": "heavy_ball", "learning_rate": 0.1, "beta1": 0.9, "ema": 1}},
            "ema=1.*true or",
        ),
        ({"schedule": [[10, True]]}, "list of whole"),
    ],
)
def test_nothing_is_rounded_and_nothing_oversized_is_started(change, message, tmp_path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG | change))
    with pytest.raises(InputError, match=message):
        commands.simulate(str(path))


def test_a_sweep_checks_the_same(tmp_path, capsys) -> None:
    path, out = tmp_path / "sweep.json", str(tmp_path / "out")
    grid = {"algorithm.learning_rate": [0.1]}
    path.write_text(json.dumps({"base": CONFIG | {"seeds": "64"}, "grid": grid}))
    with pytest.raises(InputError, match="seeds are a whole number"):
        commands.sweep(str(path), out=out, workers=1)
    path.write_text(json.dumps({"base": CONFIG | {"seeds": 10**12}, "grid": grid}))
    with pytest.raises(InputError, match="the limit is"):
        commands.sweep(str(path), out=out, workers=1)
    path.write_text(json.dumps({"base": CONFIG | {"tokens": 4 * 10**15}, "grid": grid}))
    assert commands.sweep(str(path), out=out, workers=1, json="-") == 1
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["status"].startswith("invalid") and "steps or more" in row["status"]


@pytest.mark.parametrize("axis", ["0.1", 0.1, []])
def test_an_axis_is_a_list(axis, tmp_path) -> None:
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"base": CONFIG, "grid": {"algorithm.learning_rate": axis}}))
    with pytest.raises(InputError, match="non-empty list"):
        commands.sweep(str(path), out=str(tmp_path / "out"), workers=1)
