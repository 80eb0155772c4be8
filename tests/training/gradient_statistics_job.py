"""Run by torchrun: every multi-process check of the gradient statistics in one launch, written as JSON."""

from __future__ import annotations

import faulthandler
import gc
import json
import sys
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from bstheory.errors import InputError
from bstheory.schedules.rules import ddp_norm
from bstheory.training import BatchSizeScheduler, GradientStatistics, TokenHalfLife

WIDTH = 24


class Net(torch.nn.Module):
    """Two layers, one weight used twice, a parameter without a gradient; odd sizes force padding."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(7, WIDTH)
        self.second = torch.nn.Linear(WIDTH, 5)
        self.unused = torch.nn.Parameter(torch.ones(11))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.first(x))
        again = hidden @ self.first.weight  # used twice: one gradient, summed
        return self.second(hidden).square().mean() + (again - x).square().mean()


def model(dtype: torch.dtype = torch.float32) -> Net:
    torch.manual_seed(0)
    return Net().to(dtype)


def data(samples: range, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Sample i is the same whoever asks for it."""
    rows = [torch.randn(7, generator=torch.Generator().manual_seed(1000 + i)) for i in samples]
    return torch.stack(rows).to(dtype)


def wrap(kind: str, net: Net, **policy: Any) -> torch.nn.Module:
    if kind == "ddp":
        return DistributedDataParallel(net, find_unused_parameters=True)
    mesh = dist.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),))
    fully_shard(net.second, mesh=mesh, **policy)
    return fully_shard(net, mesh=mesh, **policy)


def vector_statistics(net: Net, plan: Any, rank: int, per_micro: bool) -> tuple[float, float]:
    """(mean |g_j|^2, |g|^2) from gathered full gradients in float64: the definition."""
    groups = []
    for micro in plan.micro_batches(rank):
        net.zero_grad()
        net(data(micro, next(net.parameters()).dtype)).backward()
        flat = [torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()]
        groups.append(torch.cat([g.reshape(-1) for g in flat]).double())
    net.zero_grad()
    mine = torch.stack(groups) if per_micro else torch.stack(groups).mean(dim=0, keepdim=True)
    gathered = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, mine)
    every = torch.cat(gathered)
    return float(every.square().sum(dim=1).mean()), float(every.mean(dim=0).square().sum())


def step_statistics(
    kind: str,
    *,
    accumulation: int,
    mode: str = "auto",
    always_sync: bool = False,
    dtype: torch.dtype = torch.float32,
    reduce_hook: Any = None,
    **policy: Any,
) -> dict[str, float]:
    """Relative errors of one measured step against the definition."""
    rank, world = dist.get_rank(), dist.get_world_size()
    scheduler = BatchSizeScheduler(
        ddp_norm(eta=1.0, scaling="published", initial=4 * world * accumulation, maximum=10**6),
        num_tokens=10**6,
        world_size=world,
        micro_batch_size=4,
    )
    plan = scheduler.plan()
    assert plan is not None and plan.accumulation == accumulation
    wrapped = wrap(kind, model(dtype), **policy)
    statistics = GradientStatistics(wrapped, mode=mode, reduce_hook=reduce_hook)
    per_micro = statistics.mode == "single" or always_sync
    expected = vector_statistics(model(dtype), plan, rank, per_micro)
    seen = None
    for _ in range(2):  # the second round proves that nothing is left over from the first
        wrapped.zero_grad()
        statistics.start(plan)
        for index, micro in enumerate(plan.micro_batches(rank)):
            with statistics.synchronize(always_sync or index == accumulation - 1):
                (wrapped(data(micro, dtype)) / accumulation).backward()
        seen = statistics.finish(loss=float(rank))
    assert seen is not None
    torch.nn.utils.clip_grad_norm_(wrapped.parameters(), 1e-3)  # clipping comes after measuring
    assert seen.groups == world * (accumulation if per_micro else 1) and seen.batch_size == plan.batch_size
    assert seen.loss == (world - 1) / 2
    spread = expected[0] - expected[1]
    return {
        "group": abs(seen.mean_group_norm_sq / expected[0] - 1),
        "norm": abs(seen.norm_sq / expected[1] - 1),
        "spread": abs(seen.spread / spread - 1),
    }


def trajectory(kind: str, groups: int, steps: int = 25) -> list[int]:
    """Batch sizes of the closed loop; ``single`` emulates the other two with micro-batches as groups."""
    single = kind == "single"
    rank, world = (0, 1) if single else (dist.get_rank(), groups)
    net = model() if single else wrap(kind, model())
    optimizer = TokenHalfLife(torch.optim.AdamW(net.parameters(), lr=3e-3), beta2_half_life=4096.0)
    rule = ddp_norm(
        eta=0.7,
        scaling="unbiased",
        initial=2 * groups,
        maximum=64 * groups,
        multiple=groups,
        smoothing=0.8,
        growth_cap=1.5,
        signal_floor=0.05,
        shrink=True,
    )
    sizes: list[int] = []
    scheduler = BatchSizeScheduler(rule, num_tokens=10**6, world_size=world, max_micro_batch_size=10**6)
    statistics = GradientStatistics(net, mode="single" if single else "auto")
    for _ in range(steps):
        plan = scheduler.plan()
        assert plan is not None
        sizes.append(plan.batch_size)
        optimizer.optimizer.zero_grad()
        pieces = list(plan.micro_batches(rank))
        if single:  # the ranks' shares, one after the other
            share = plan.batch_size // groups
            pieces = [range(plan.samples + j * share, plan.samples + (j + 1) * share) for j in range(groups)]
        statistics.start(batch_size=plan.batch_size, accumulation=len(pieces))
        for index, piece in enumerate(pieces):
            with statistics.synchronize(index == len(pieces) - 1):
                (net(data(piece)) / len(pieces)).backward()
        seen = statistics.finish()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step(tokens=plan.tokens_per_step)
        scheduler.step(seen)
    return sizes


def disagreement() -> str:
    """Ranks with different plans: every rank must refuse."""
    net = wrap("ddp", model())
    statistics = GradientStatistics(net)
    sizes = [8, 24] if dist.get_world_size() == 2 else [8, 16, 16, 24]  # some have just the mean
    statistics.start(batch_size=sizes[dist.get_rank()], accumulation=1)
    net(data(range(4))).backward()
    try:
        statistics.finish()
    except InputError as error:
        return str(error)
    return "accepted"


def uneven_groups() -> str:
    """One batch size, cut into two micro-batches on rank 0 and into one elsewhere: the groups are unequal."""
    net = wrap("ddp", model())
    statistics = GradientStatistics(net, mode="single")
    count = 2 if dist.get_rank() == 0 else 1
    statistics.start(batch_size=8 * dist.get_world_size(), accumulation=count)
    for index in range(count):
        with statistics.synchronize(index == count - 1):
            (net(data(range(4))) / count).backward()
    try:
        statistics.finish()
    except InputError as error:
        return str(error)
    return "accepted"


def unsynchronized() -> str:
    """DDP without no_sync in the first micro-batches adds averaged and local gradients: refused."""
    net = wrap("ddp", model())
    statistics = GradientStatistics(net)
    statistics.start(batch_size=8 * dist.get_world_size(), accumulation=2)
    for _ in range(2):
        (net(data(range(4))) / 2).backward()
    try:
        statistics.finish()
    except InputError as error:
        return str(error)
    return "accepted"


def refusals() -> dict[str, str]:
    """Mistakes of rank 0 alone, which every rank must refuse rather than wait for it or average wrongly."""
    net = wrap("ddp", model())
    statistics = GradientStatistics(net)
    first = dist.get_rank() == 0
    found = {}
    for name in ("loss", "start", "backward"):
        if not (first and name == "start"):
            statistics.start(batch_size=4 * dist.get_world_size(), accumulation=1)
        net(data(range(4))).backward()
        if first and name == "backward":  # measured nothing, as if no backward pass had been seen
            statistics._calls.clear()
        try:
            statistics.finish(loss=1.0 if name == "loss" and first else None)
        except InputError as error:
            found[name] = str(error)
    return found


def main() -> None:
    faulthandler.enable()  # an abort inside torch says where it happened
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    world = dist.get_world_size()
    half = MixedPrecisionPolicy(reduce_dtype=torch.bfloat16)
    results: dict[str, Any] = {
        "ddp": step_statistics("ddp", accumulation=1),
        "ddp accumulated": step_statistics("ddp", accumulation=3),
        "ddp micro-batch groups": step_statistics("ddp", accumulation=3, mode="single"),
        "ddp bf16": step_statistics("ddp", accumulation=2, reduce_hook=bf16_compress_hook),
        "fsdp2": step_statistics("fsdp2", accumulation=1),
        "fsdp2 accumulated": step_statistics("fsdp2", accumulation=3),
        "fsdp2 every micro-batch": step_statistics("fsdp2", accumulation=3, always_sync=True),
        "fsdp2 bf16": step_statistics("fsdp2", accumulation=2, mp_policy=half),
        "fsdp2 fp64": step_statistics("fsdp2", accumulation=2, dtype=torch.float64),
        "disagreement": disagreement(),
        "uneven groups": uneven_groups(),
        "unsynchronized": unsynchronized(),
        "refusals": refusals(),
        "trajectories": {kind: trajectory(kind, world) for kind in ("ddp", "fsdp2", "single")},
    }
    everyone: list[Any] = [None] * world
    dist.all_gather_object(everyone, results)
    for other in everyone:
        assert other["trajectories"] == everyone[0]["trajectories"], "ranks followed different plans"
        assert "every rank runs the same plan" in other["disagreement"]
        assert "every rank runs the same plan" in other["uneven groups"]
        assert "or none does" in other["refusals"]["loss"]
        own = other is everyone[0]
        assert ("finish() without start()" if own else "ranks refuse") in other["refusals"]["start"]
        assert ("seen [0] times" if own else "ranks refuse") in other["refusals"]["backward"]
    if dist.get_rank() == 0:
        with open(sys.argv[1], "w") as stream:
            json.dump(results, stream)
    # Groups that wrapped models still hold would be destroyed at interpreter exit, where gloo's threads abort.
    dist.barrier()
    gc.collect()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
