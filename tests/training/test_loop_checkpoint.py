"""LoopCheckpoint: an interrupted loop continues as if it had not stopped; other experiments are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bstheory import schedules
from bstheory.errors import InputError
from bstheory.training import BatchSizeScheduler, LoopCheckpoint, TokenHalfLife


class Loop:
    """A small regression under a ramp with Adam on a half-life; saves after every third step."""

    def __init__(
        self, folder: Path, *, ramp: str = "0:2 24:4", half_life: float = 50.0, width: int = 3
    ) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Linear(width, 2)
        self.adam = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.half_life = TokenHalfLife(self.adam, beta2_half_life=half_life)
        self.scheduler = BatchSizeScheduler(schedules.parse(ramp), num_tokens=80, micro_batch_size=2)
        parts = {"scheduler": self.scheduler, "half_life": self.half_life}
        self.checkpoint = LoopCheckpoint(folder, self.model, self.adam, parts)
        self.sizes = self.checkpoint.load().get("sizes", [])

    def run(self, stop: int | None = None) -> None:
        while (plan := self.scheduler.plan()) is not None and plan.step != stop:
            generator = torch.Generator().manual_seed(plan.step)
            x = torch.randn(plan.batch_size, self.model.in_features, generator=generator)
            self.model(x).square().mean().backward()
            self.half_life.step(tokens=plan.tokens_per_step)
            self.adam.zero_grad()
            self.scheduler.step()
            self.sizes.append(plan.batch_size)
            if plan.step % 3 == 2:
                self.checkpoint.save(plan.step, sizes=self.sizes)


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole = Loop(tmp_path / "whole")
    whole.run()
    Loop(tmp_path / "cut").run(stop=14)  # past the change of batch size, two steps after a checkpoint
    again = Loop(tmp_path / "cut")
    assert again.scheduler.plan().step == 12 and len(again.sizes) == 12
    again.run()
    assert again.sizes == whole.sizes == [2] * 12 + [4] * 14
    assert torch.equal(again.model.weight, whole.model.weight)
    moments = [loop.adam.state[loop.model.weight]["exp_avg_sq"] for loop in (again, whole)]
    assert torch.equal(*moments) and moments[0].abs().sum() > 0
    assert len(list((tmp_path / "cut").glob("step-*"))) == 2  # keep=2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ramp": "0:2 24:6"}, "schedule"),
        ({"half_life": 60.0}, "half-life"),
        ({"width": 4}, "not the model's"),
    ],
)
def test_another_experiment_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    Loop(tmp_path).run(stop=6)
    with pytest.raises(InputError, match=message):
        Loop(tmp_path, **change)


def test_damage_and_other_parts_are_named(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.run(stop=6)
    parts = {"scheduler": loop.scheduler}
    with pytest.raises(InputError, match="with the parts"):
        LoopCheckpoint(tmp_path, loop.model, loop.adam, parts).load()
    newest = sorted(tmp_path.glob("step-*"))[-1]
    state = json.loads((newest / "state.json").read_text())
    assert state["notes"] == {"sizes": [2] * 6}
    weights = newest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match="sha256"):
        Loop(tmp_path)
    with pytest.raises(InputError, match="at least one"):
        LoopCheckpoint(tmp_path, loop.model, loop.adam, {}, keep=0)


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    loop = Loop(tmp_path / "other")
    with pytest.raises(InputError, match="cannot be written"):
        LoopCheckpoint(tmp_path / "file", loop.model, loop.adam, {}).save(0)
