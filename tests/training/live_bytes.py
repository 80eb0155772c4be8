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
from bstheory.training.optimizers import OptimizerConfig, build_optimizer


class LiveBytes(TorchDispatchMode):
    """``now`` and ``peak``: bytes of the storages that operations inside the context have made."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self._seen:
                    self._seen.add(key)
                    self.now += size
                    weakref.finalize(storage, self._forget, key, size)
        self.peak = max(self.peak, self.now)
        return out


def training_peak(
    config: GPTConfig, *, optimizer: OptimizerConfig, precision: str, micro_batch_size: int
) -> int:
    """Peak of the second step (the first has no optimizer state yet), weights included, bytes on the CPU."""
    with LiveBytes() as live:
        model = GPT(config, generator=torch.Generator().manual_seed(0))
        if precision == "bfloat16":
            model = model.to(torch.bfloat16)
        stepper = build_optimizer(model, optimizer)
        stepper.set_learning_rate(1e-3)
        shape = (micro_batch_size, config.context + 1)
        for _ in range(2):
            live.peak = live.now
            tokens = torch.zeros(shape, dtype=torch.int64)
            with stepper.one_step(micro_batch_size * config.context):
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16_autocast"):
                    loss = model(tokens[:, :-1], tokens[:, 1:])
                loss.backward()
                del loss
            stepper.zero_grad()
    return live.peak
