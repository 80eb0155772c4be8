"""How a model's passes are executed: compilation, attention kernel, memory of captured graphs.

None of these changes the mathematics, only the order of floating-point sums and the speed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from bstheory.errors import input_error
from bstheory.models.gpt import GPT, AttentionKernel
from bstheory.training.config import TrainConfig

HALF_PRECISION_ON_CUDA = (AttentionKernel.FLASH, AttentionKernel.CUDNN)
CUDA_ONLY = (AttentionKernel.EFFICIENT, AttentionKernel.CUDNN)


def compiled(model: nn.Module, config: TrainConfig) -> Any:
    """The model behind ``torch.compile`` in the configuration's mode, or as it is."""
    if not config.compile:
        return model
    mode = {
        (False, False): None,
        (True, False): "reduce-overhead",
        (False, True): "max-autotune-no-cudagraphs",
        (True, True): "max-autotune",
    }[config.cuda_graphs, config.max_autotune]
    return torch.compile(model, mode=mode)


def choose_attention(model: nn.Module, config: TrainConfig, device: torch.device) -> None:
    """Make every attention layer use the configuration's kernel; ``auto`` leaves the choice to torch.

    The choice is an attribute of the layers, not a context around the call: a compiled graph is traced again
    when an attribute changes, but not when a context does.

    Raises:
        InputError: a kernel that this device or precision does not have, or a model that is not a GPT.
    """
    kernel = AttentionKernel(config.attention)
    if kernel is AttentionKernel.AUTO:
        return
    if not isinstance(model, GPT):
        raise input_error(
            got=f"attention={config.attention!r} for {type(model).__name__}",
            rule="the kernel is chosen in the layers of bstheory.models",
            do="leave attention at auto",
        )
    if device.type == "cpu" and kernel in CUDA_ONLY:
        raise input_error(
            got=f"attention={config.attention!r} on {device.type}",
            rule="this kernel exists on CUDA devices only",
            do="use auto, flash or math",
        )
    if device.type == "cuda" and kernel in HALF_PRECISION_ON_CUDA and config.precision == "float32":
        raise input_error(
            got=f"attention={config.attention!r} in float32 on {device.type}",
            rule="this kernel computes in bfloat16 there",
            do="use bfloat16_autocast, or attention=efficient",
        )
    for block in model.blocks:
        block.attention.kernel = kernel


def own_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Copy the gradients out of the memory of a captured graph, whose next replay writes there again.

    Without this, accumulation over micro-batches fails under CUDA graphs: the first gradient is not copied
    by autograd but is the graph's own output (pytorch issue 169545).
    """
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad = parameter.grad.clone()
