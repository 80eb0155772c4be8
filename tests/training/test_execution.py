"""Compilation, attention kernels and captured graphs change nothing but the order of sums."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bstheory.errors import InputError
from bstheory.training import trainer as trainer_module
from bstheory.training.config import batch_size_schedule
from bstheory.training.execution import choose_attention, own_gradients
from bstheory.training.parallel import World
from bstheory.training.probes import throughput_arm
from bstheory.training.trainer import Trainer

from .conftest import build, small_config


def operations(call: Any) -> set[str]:
    with torch.profiler.profile(acc_events=True) as profile:
        call()
    return {event.name for event in profile.events() or ()}


def weights(trainer: Trainer) -> list[Tensor]:
    return [p.detach().clone() for p in trainer.model.parameters()]


def test_the_chosen_kernel_computes_attention(shards: Path, here: World) -> None:
    """And computes the same: math and flash agree to rounding, flash and auto are the same kernel here."""
    found, flash = {}, "aten::_scaled_dot_product_flash_attention_for_cpu"
    for kernel in ("auto", "flash", "math"):
        trainer = build(small_config(attention=kernel), shards, here)
        seen = operations(lambda t=trainer: t.train_step(t.scheduler.plan()))
        assert (flash in seen) is (kernel != "math")
        found[kernel] = weights(trainer)
    for auto, chosen, math in zip(found["auto"], found["flash"], found["math"], strict=True):
        assert torch.equal(auto, chosen)
        torch.testing.assert_close(auto, math, rtol=1e-3, atol=1e-5)


def test_a_compiled_graph_follows_the_chosen_kernel(shards: Path, here: World) -> None:
    """A context around the call does not: dynamo reuses the graph of the other kernel (the layers hold it)."""
    torch.compiler.reset()
    flash = "aten::_scaled_dot_product_flash_attention_for_cpu"
    for kernel in ("flash", "math", "flash"):
        trainer = build(small_config(attention=kernel), shards, here)
        forward = torch.compile(trainer.model, backend="aot_eager")
        batch = torch.zeros(2, 32, dtype=torch.int64)
        forward(batch, batch)
        assert (flash in operations(lambda f=forward, b=batch: f(b, b))) is (kernel == "flash")
    torch.compiler.reset()


def test_kernels_that_are_not_there_are_refused(shards: Path, here: World) -> None:
    for kernel in ("cudnn", "efficient"):
        with pytest.raises(InputError, match="CUDA devices only"):
            build(small_config(attention=kernel), shards, here)
    with pytest.raises(InputError, match="computes in bfloat16"):
        model = build(small_config(), shards, here).model
        choose_attention(model, small_config(attention="cudnn"), torch.device("cuda"))
    with pytest.raises(InputError, match=r"layers of bstheory\.models"):
        choose_attention(nn.Linear(2, 2), small_config(attention="flash"), torch.device("cpu"))
    with pytest.raises(InputError, match="attention='fast'"):
        small_config(attention="fast")
    for mode in ("cuda_graphs", "max_autotune"):
        with pytest.raises(InputError, match=f"{mode} without compile"):
            small_config(**{mode: True})


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.slow
def test_a_compiled_run_is_the_eager_one_across_a_change_of_batch_size(shards: Path, here: World) -> None:
    torch.compiler.reset()
    eager = build(small_config(), shards, here)
    eager_run = eager.run()
    compiled = build(small_config(compile=True, cuda_graphs=True), shards, here)
    compiled_run = compiled.run()
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    torch.testing.assert_close(
        torch.from_numpy(compiled_run.series["loss"]),
        torch.from_numpy(eager_run.series["loss"]),
        rtol=1e-4,
        atol=1e-4,
    )
    torch.compiler.reset()


class Replayed(nn.Module):
    """Like a captured graph: every backward pass leaves its gradient in one buffer, and the next forward pass
    overwrites it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner = model
        self.buffers_of: dict[int, Tensor] = {}
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(self.capture)

    def capture(self, parameter: Tensor) -> None:
        if id(parameter) not in self.buffers_of:
            self.buffers_of[id(parameter)] = parameter.grad

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        for buffer in self.buffers_of.values():
            buffer.fill_(torch.nan)
        self.buffers_of.clear()
        return self.inner(tokens, targets)


def test_accumulated_gradients_survive_the_next_replay(
    shards: Path, here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under CUDA graphs a gradient is the graph's own output: accumulation must copy it first."""
    config = small_config(batch_size=batch_size_schedule(8), compile=True, cuda_graphs=True)
    monkeypatch.setattr(trainer_module, "compiled", lambda model, config: model)
    plain = build(config, shards, here)
    replayed = build(config, shards, here, model=Replayed(build(config, shards, here).model))
    for trainer in (plain, replayed):
        plan = trainer.scheduler.plan()
        assert plan.accumulation == 2
        trainer.train_step(plan)
    for expected, found in zip(weights(plain), weights(replayed), strict=True):
        assert torch.equal(expected, found)
    monkeypatch.setattr(trainer_module, "own_gradients", lambda parameters: None)
    broken = build(config, shards, here, model=Replayed(build(config, shards, here).model))
    broken.train_step(broken.scheduler.plan())
    assert any(w.isnan().any() for w in weights(broken))  # the model of a graph does overwrite


def test_own_gradients_leaves_absent_ones_absent() -> None:
    present, absent = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    present.grad = torch.ones(2)
    before = present.grad
    own_gradients([present, absent])
    assert absent.grad is None and present.grad is not before and torch.equal(present.grad, before)


def test_speeds_of_other_executions_have_other_names() -> None:
    plain = {"optimizer": "adamw", "precision": "bfloat16", "compile": True}
    changes = [{}, {"cuda_graphs": True}, {"max_autotune": True}, {"attention": "cudnn"}]
    names = {throughput_arm("tiny", **(plain | change)) for change in changes}
    assert len(names) == 4 and "throughput_tiny_adamw_bfloat16_compiled" in names
