"""Devices and processes: one device, DDP, or FSDP2; the model file knows nothing of them.

``torchrun`` sets RANK, WORLD_SIZE and LOCAL_RANK; without them there is one process.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import gc
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bstheory.errors import input_error


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after the step at hand was finished and saved."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """This process among the others."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """Mean over ranks, float64."""
        value = value.double()
        if self.size > 1:
            dist.all_reduce(value)
            value /= self.size
        return value

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.size == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(value)
        return bool(value > 0)

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def world(device: str | None = None) -> Iterator[World]:
    """Join the process group that torchrun announces, if any, and leave it at the end.

    Args:
        device: ``"cpu"`` or ``"cuda"``; default cuda where there is one.

    Raises:
        InputError: cuda asked for and absent.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind.startswith("cuda") and not torch.cuda.is_available():
        raise input_error(got=f"device {kind!r}", rule="no CUDA device is visible", do="use --device cpu")
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = torch.device("cuda", local) if kind == "cuda" else torch.device(kind)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    started = size > 1 and not dist.is_initialized()
    if started:
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        dist.init_process_group(backend, device_id=chosen if chosen.type == "cuda" else None)
        # A group that a wrapped model still holds, in a cycle, would be destroyed while the interpreter shuts
        # down, where gloo's threads abort the process (pytorch issue 65231). At exit they can still end.
        atexit.register(gc.collect)
    try:
        yield World(rank=rank, size=size, device=chosen)
    finally:
        if started:
            dist.destroy_process_group()


def wrap(model: nn.Module, here: World, *, parallel: str, precision: str) -> nn.Module:
    """The model as it trains: itself, in DDP, or sharded in place by FSDP2 block by block."""
    if here.size == 1:
        return model
    if parallel == "ddp":
        ids = [here.device.index] if here.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    options: dict[str, Any] = {"mesh": init_device_mesh(here.device.type, (here.size,))}
    if precision == "bfloat16_autocast":  # blocks hand on bfloat16, which the next one and the head multiply
        options["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for block in model.get_submodule("blocks").children():
        fully_shard(block, **options)
    return fully_shard(model, **options)


def rounding_seed(seed: int, here: World, *, parallel: str) -> int:
    """Seed of this process's stochastic rounding: shards round independently, while replicas must round
    alike, or they would drift apart."""
    return seed * 65536 + (here.rank if parallel == "fsdp" else 0)


@contextlib.contextmanager
def last_backward(model: nn.Module, is_last: bool) -> Iterator[None]:
    """Communicate gradients in the last backward pass of a step only."""
    if hasattr(model, "set_requires_gradient_sync"):
        model.set_requires_gradient_sync(is_last)
        yield
    elif isinstance(model, nn.parallel.DistributedDataParallel) and not is_last:
        with model.no_sync():
            yield
    else:
        yield


def settle(model: nn.Module) -> None:
    """After a forward pass without backward: return FSDP2's gathered weights to their shards."""
    for module in model.modules():
        if hasattr(module, "reshard"):
            module.reshard()


def whole(tensor: Tensor) -> Tensor:
    """All of a possibly sharded tensor, on the CPU (every rank takes part)."""
    full = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full.detach().cpu()


def like(tensor: Tensor, model_tensor: Tensor) -> Tensor:
    """A whole tensor laid out like ``model_tensor`` (device, shards); its own dtype is kept."""
    if hasattr(model_tensor, "placements") and tensor.shape == model_tensor.shape:
        from torch.distributed.tensor import distribute_tensor

        moved = tensor.to(model_tensor.device)
        return distribute_tensor(moved, model_tensor.device_mesh, model_tensor.placements)
    return tensor.to(model_tensor.device)


def device_name(device: torch.device) -> str:
    """The GPU's name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextlib.contextmanager
def stop_signals(ask: Callable[[], None]) -> Iterator[None]:
    """While inside, SIGINT and SIGTERM call ``ask`` instead of ending the process (main thread only)."""
    old: dict[int, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not the main thread
                old[number] = signal.signal(number, lambda *_: ask())
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
