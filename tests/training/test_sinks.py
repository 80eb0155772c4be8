"""Where series also go: TensorBoard for real, the trackers offline where installed, what is missing named."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from bstheory import cli
from bstheory.errors import InputError
from bstheory.training.parallel import World
from bstheory.training.sinks import open_sinks, require_sinks

from .conftest import build, small_config


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """tag -> (tokens, value) as TensorBoard itself reads them."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder / "tensorboard"), size_guidance={reader.SCALARS: 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


class Killed(Exception):
    pass


@pytest.mark.filterwarnings("ignore")  # those of tensorboard are not ours to fix
def test_tensorboard_shows_every_record_once_also_after_a_resume(
    shards: Path, here: World, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    config = small_config(checkpoint_every_tokens=2048)

    def start(kill_at: int | None) -> Any:
        trainer = build(config, shards, here, folder=tmp_path, resume=True)
        position = trainer.scheduler.position
        assert position.step == (0 if kill_at else 16)

        def die(done: int, total: int, label: str) -> None:
            if trainer.scheduler.position.step == kill_at:
                raise Killed

        options = {"folder": tmp_path, "name": "small", "config": config.to_json(), "tokens": position.tokens}
        with open_sinks(("tensorboard",), **options) as observe:
            return trainer.run(observe=observe, progress=die)

    with pytest.raises(Killed):
        start(20)  # between two checkpoints: steps 17 to 20 are done again
    run = start(None)
    found = scalars(tmp_path)
    assert [tokens for tokens, _ in found["loss"]] == run.tokens.tolist()
    assert [value for _, value in found["loss"]] == pytest.approx(run.series["loss"][0].tolist(), rel=1e-6)
    assert [value for _, value in found["step"]] == list(range(1, 49))
    assert set(found) == {*run.series, "step"}


@pytest.mark.filterwarnings("ignore")
def test_the_command_writes_events(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    words = ("--tokens", "4k", "--device", "cpu", "--evals", "2", "--eval-rows", "8")
    with pytest.raises(SystemExit) as left:
        cli.main(("train", "tiny_study", *words, "--out", str(tmp_path / "r"), "--log-to", "tensorboard"))
    assert left.value.code == 0
    logged = [json.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_text().splitlines()]
    assert [tokens for tokens, _ in scalars(tmp_path / "r")["loss"]] == [row["tokens"] for row in logged]


@pytest.mark.parametrize("name", ["tensorboard", "trackio", "wandb"])
def test_a_missing_package_is_one_line_before_any_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda word, *rest: None if word == name else find(word, *rest)
    )
    with pytest.raises(SystemExit) as left:
        cli.main(("train", "tiny_study", "--tokens", "2k", "--out", str(tmp_path / "r"), "--log-to", name))
    error = capsys.readouterr().err.strip()
    assert left.value.code == 2 and "\n" not in error and f"pip install 'bstheory[{name}]'" in error
    assert not list(tmp_path.iterdir())


def test_sinks_are_known_and_named_once() -> None:
    for names in (("mlflow",), ("tensorboard", "tensorboard")):
        with pytest.raises(InputError, match="once"):
            require_sinks(names)
    with open_sinks((), folder=Path(), name="", config={}) as observe:
        assert observe is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_trackers_offline(
    name: str, shards: Path, here: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    pytest.importorskip(name)
    config = small_config(tokens=8 * 4 * 32, checkpoint_every_tokens=None)
    trainer = build(config, shards, here, folder=tmp_path)
    with open_sinks((name,), folder=tmp_path, name="small", config=config.to_json()) as observe:
        trainer.run(observe=observe)
    written = [p for p in (tmp_path / name).rglob("*") if p.is_file() and p.stat().st_size > 1000]
    assert written
