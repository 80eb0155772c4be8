"""What autograd keeps of a forward pass with CUDA's kernels, counted without a GPU, against the estimate.

    python experiments/benchmarks/memory_without_gpu.py [--json FILE]

Needs a build of torch with CUDA, but no device: the tensors have shapes and no storage, and every operation
is dispatched as on a GPU (fused norms, flash attention in bfloat16, memory-efficient attention in float32,
CUDA's autocast lists). Without a device the backward pass cannot run, so this checks the activations; peaks
of whole steps are counted on a CPU in tests/training/test_memory.py, and measured by
experiments/gpt2_124m/memory.py.
"""

from __future__ import annotations

import argparse
import contextlib
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bstheory.files import write_json
from bstheory.models.configs import model_config
from bstheory.models.gpt import GPT
from bstheory.training.memory import FLOAT32, estimate_memory
from bstheory.training.optimizers import OptimizerConfig

MODELS = ("gpt2_124m", "small_batch_gpt2", "micro_llama_300m")
PRECISIONS = ("float32", "bfloat16_autocast", "bfloat16")
STOCK_ATTENTION = F.scaled_dot_product_attention


class LiveBytes(TorchDispatchMode):
    """``now``: bytes of the live CUDA storages that operations inside the context have made."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.seen: set[int] = set()

    def forget(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.device.type == "cuda":
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self.seen:
                    self.seen.add(key)
                    self.now += size
                    weakref.finalize(storage, self.forget, key, size)
        return out


def attention(q: Tensor, k: Tensor, v: Tensor, is_causal: bool, enable_gqa: bool) -> Tensor:
    """What torch chooses on a Hopper GPU; the choice itself asks the device, which is not there."""
    if q.device.type != "cuda":
        return STOCK_ATTENTION(q, k, v, is_causal=is_causal, enable_gqa=enable_gqa)
    if torch.is_autocast_enabled("cuda"):
        q, k, v = (x.to(torch.bfloat16) for x in (q, k, v))
    if enable_gqa:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    if q.dtype == torch.float32:
        return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True, 0.0, True)[0]
    return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, True, False)[0]


@contextlib.contextmanager
def autocast(enabled: bool) -> Iterator[None]:
    """``torch.autocast`` turns itself off without a device; this does not."""
    torch.set_autocast_enabled("cuda", enabled)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()


def counted(name: str, precision: str, batch_size: int) -> int:
    """Bytes alive after the forward pass that were not before it."""
    config = model_config(name)
    with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as live, torch.device("cuda:0"):
        torch.set_default_dtype(torch.bfloat16 if precision == "bfloat16" else torch.float32)
        model = GPT(config)
        torch.set_default_dtype(torch.float32)
        tokens = torch.zeros(batch_size, 1025, dtype=torch.int64)
        before = live.now
        with autocast(precision == "bfloat16_autocast"):
            loss = model(tokens[:, :-1], tokens[:, 1:])
        found = live.now - before
        del loss
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    F.scaled_dot_product_attention = attention
    rows = []
    for name in MODELS:
        for precision in PRECISIONS:
            for batch_size in (1, 8):
                found = counted(name, precision, batch_size)
                config = model_config(name)
                part = estimate_memory(
                    config,
                    optimizer=OptimizerConfig(),
                    precision=precision,
                    micro_batch_size=batch_size,
                    seq_len=1024,
                )
                log_probabilities = FLOAT32 * batch_size * 1024 * config.vocab_size
                estimated = part.activations + part.copies + log_probabilities
                row = {"model": name, "precision": precision, "batch_size": batch_size}
                rows.append(row | {"counted_bytes": found, "estimated_bytes": estimated})
                print(
                    f"{name:18s} {precision:18s} {batch_size:2d}  counted {found / 2**20:9.1f} MiB, "
                    f"over the estimate {found / estimated:.3f}",
                    flush=True,
                )
    if options.json:
        write_json(options.json, {"torch": torch.__version__, "rows": rows})


if __name__ == "__main__":
    main()
