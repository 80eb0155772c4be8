"""LoopCheckpoint: an interrupted loop continues as if it had not stopped; other experiments are refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    renamed = {"order": loop.scheduler, "half_life": loop.half_life}
    with pytest.raises(InputError, match="with the parts scheduler, half_life"):
        LoopCheckpoint(tmp_path, loop.model, loop.adam, renamed).load()
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


def stepped(make: Callable[..., torch.optim.Optimizer], **changes: object) -> tuple[Any, Any]:
    """A batch-normed model after three steps, and its optimizer."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = make(model.parameters(), **changes)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 3) + 2).square().sum().backward()
        optimizer.step()
    return model, optimizer


def test_buffers_and_group_values_come_back(tmp_path: Path) -> None:
    model, adam = stepped(torch.optim.AdamW, lr=torch.tensor(0.25), betas=(0.5, 0.6), foreach=False)
    LoopCheckpoint(tmp_path, model, adam, {}).save(3)
    other, again = stepped(torch.optim.AdamW, lr=torch.tensor(0.1), foreach=False)
    LoopCheckpoint(tmp_path, other, again, {}).load()
    assert model[1].running_mean.abs().sum() > 0
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert again.param_groups[0]["betas"] == (0.5, 0.6) and again.param_groups[0]["lr"].item() == 0.25


@pytest.mark.parametrize("saved", [torch.optim.Adam, torch.optim.SGD])
def test_another_optimizer_is_refused_before_anything_changes(tmp_path: Path, saved: Any) -> None:
    model, optimizer = stepped(saved, lr=0.1)
    LoopCheckpoint(tmp_path, model, optimizer, {}).save(3)
    other, adamw = stepped(torch.optim.AdamW, lr=0.1)
    before = other[0].weight.clone()
    with pytest.raises(InputError, match="uses AdamW"):
        LoopCheckpoint(tmp_path, other, adamw, {}).load()
    assert torch.equal(other[0].weight, before) and adamw.param_groups[0]["decoupled_weight_decay"]


def test_other_groups_are_refused_before_anything_changes(tmp_path: Path) -> None:
    model, adam = stepped(torch.optim.Adam, lr=0.1)
    LoopCheckpoint(tmp_path, model, adam, {}).save(3)
    other, _ = stepped(torch.optim.Adam, lr=0.1)
    before = other[0].weight.clone()
    split = torch.optim.Adam([{"params": part.parameters()} for part in other], lr=0.1)
    with pytest.raises(InputError, match="this optimizer has 2"):
        LoopCheckpoint(tmp_path, other, split, {}).load()
    assert torch.equal(other[0].weight, before)


def test_what_a_checkpoint_cannot_hold_is_refused(tmp_path: Path) -> None:
    model, sgd = stepped(torch.optim.SGD, lr=0.1)
    checkpoint = LoopCheckpoint(tmp_path, model, sgd, {})
    for step in (-1, 1.5, True):
        with pytest.raises(InputError, match="at least 0"):
            checkpoint.save(step)
    for note in (torch.ones(1), math.nan):
        with pytest.raises(InputError, match="plain JSON"):
            checkpoint.save(1, note=note)
    foreign = torch.nn.Parameter(torch.ones(2))
    foreign.grad = torch.ones(2)
    both = torch.optim.SGD([*model.parameters(), foreign], lr=0.1, momentum=0.9)
    both.step()
    with pytest.raises(InputError, match="not the model's"):
        LoopCheckpoint(tmp_path, model, both, {}).save(1)
    newton = torch.optim.LBFGS(model.parameters())
    newton.step(lambda: model(torch.ones(2, 3)).square().sum())
    with pytest.raises(InputError, match="LBFGS"):
        LoopCheckpoint(tmp_path, model, newton, {}).save(1)
    assert not list(tmp_path.glob("step-*"))


def test_the_newest_is_the_largest_step_and_unfinished_ones_are_removed(tmp_path: Path) -> None:
    model, sgd = stepped(torch.optim.SGD, lr=0.1)
    checkpoint = LoopCheckpoint(tmp_path, model, sgd, {}, keep=2)
    (tmp_path / ".writing-killed").mkdir(parents=True)
    for step in (999_999_999, 10**9, 10**9 + 1):  # a loop may count tokens
        checkpoint.save(step, at=step)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-1000000000", "step-1000000001"]
    assert checkpoint.load() == {"at": 10**9 + 1}
