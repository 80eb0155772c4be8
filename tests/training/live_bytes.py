"""Bytes of live tensors during real training steps, counted by watching every operation.

A peak measured this way knows nothing of the memory model: it follows storages from the operation that made
them until they are freed. What a kernel allocates inside itself is not seen.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bstheory.models.configs import GPTConfig
from bstheory.models.gpt import GPT
from bstheory.training.gradient_statistics import GradientStatistics
from bstheory.training.optimizers import OptimizerConfig, build_optimizer
from bstheory.training.parallel import World, last_backward, wrap


class LiveBytes(TorchDispatchMode):
    """``now`` and ``peak``: bytes of the storages that operations inside the context have made, at the sizes
    that they have now (FSDP empties a gathered weight's storage and keeps the tensor)."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    @property
    def now(self) -> int:
        storages = [reference() for reference in list(self._alive.values())]
        return sum(storage.nbytes() for storage in storages if storage is not None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(kind.__name__ == "DTensor" for kind in types):
            return NotImplemented  # its operations on the local tensors come back here
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and type(tensor).__name__ != "DTensor":
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in self._alive and tensor.device.type != "meta":
                    self._alive[key] = weakref.ref(storage)
                    weakref.finalize(storage, self._alive.pop, key, None)
        self.peak = max(self.peak, self.now)
        return out


def training_peak(
    config: GPTConfig,
    *,
    optimizer: OptimizerConfig,
    precision: str,
    micro_batch_size: int,
    accumulation: int = 1,
    parallel: str = "ddp",
    processes: int = 1,
    clip: float | None = None,
    statistics: bool = False,
) -> int:
    """Peak of the third step (the first has no optimizer state yet, and DDP arranges its buckets after it),
    weights included, bytes on the CPU. Several processes need a process group, whose answers do not matter.
    """
    here = World(rank=0, size=processes, device=torch.device("cpu"))
    autocast = precision == "bfloat16_autocast" and not (parallel == "fsdp" and processes > 1)
    with LiveBytes() as live:
        model: torch.nn.Module = GPT(config, generator=torch.Generator().manual_seed(0))
        if precision == "bfloat16":
            model = model.to(torch.bfloat16)
        model = wrap(model, here, parallel=parallel, precision=precision)
        stepper = build_optimizer(model, optimizer)
        stepper.set_learning_rate(1e-3)
        measured = GradientStatistics(model) if statistics else None
        shape = (micro_batch_size, config.context + 1)
        for _ in range(3):
            live.peak = live.now
            if measured:
                measured.start(batch_size=micro_batch_size * accumulation, accumulation=accumulation)
            with stepper.one_step(micro_batch_size * config.context * accumulation):
                for index in range(accumulation):
                    tokens = torch.zeros(shape, dtype=torch.int64)
                    with last_backward(model, index == accumulation - 1):
                        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                            loss = model(tokens[:, :-1], tokens[:, 1:])
                        loss.backward()
                    del loss
                if measured:
                    measured.finish()
                if clip is not None:
                    torch.nn.utils.clip_grad_norm_(list(model.parameters()), clip)
            stepper.zero_grad()
    return live.peak
