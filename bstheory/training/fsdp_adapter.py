"""The one place that touches FSDP2 internals: each rank's full gradient before it is reduce-scattered.

After backward, ``.grad`` under FSDP2 is a shard of the *mean* gradient, so shards of different ranks are
different coordinates and local norms cannot be recovered from them.
``FSDPModule.set_custom_reduce_scatter`` is public, but the class that such an object must derive from lives
in a private module of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bstheory.errors import input_error

Observer = Callable[[int, torch.Tensor, float], None]
"""(index of the FSDP module, flat local gradient with zero padding, factor it was already divided by)."""


def _parts() -> tuple[Any, Any, Any]:
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.fsdp._fully_shard._fsdp_collectives import (
        DefaultReduceScatter,
        _get_gradient_divide_factors,
    )

    if not hasattr(FSDPModule, "set_custom_reduce_scatter"):
        raise ImportError("FSDPModule has no set_custom_reduce_scatter")
    return FSDPModule, DefaultReduceScatter, _get_gradient_divide_factors


def unsupported() -> str:
    """Why this torch cannot be observed; empty when it can. A feature test, not a version test."""
    try:
        _parts()
    except (ImportError, AttributeError) as error:
        return f"torch {torch.__version__}: {error}"
    return ""


def is_fsdp2(model: torch.nn.Module) -> bool:
    """Whether any part of the model was wrapped by ``fully_shard``."""
    try:
        from torch.distributed.fsdp import FSDPModule
    except ImportError:
        return False
    return any(isinstance(module, FSDPModule) for module in model.modules())


def observe(model: torch.nn.Module, observer: Observer) -> int:
    """Call ``observer`` with every local gradient before its reduce-scatter; return the number of modules.

    Raises:
        InputError: this torch lacks the parts (use ``mode="single"`` on one process, or DDP), or the model is
            sharded over more than one mesh dimension, where shards are also replicated.
    """
    reason = unsupported()
    if reason:
        raise input_error(
            got=reason,
            rule="gradient statistics under FSDP2 need torch's custom reduce-scatter",
            do="use DDP, or a torch version that has it (2.13 does)",
        )
    fsdp_module, default, divide_factors = _parts()

    class ObservedReduceScatter(default):
        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

        def __call__(
            self,
            output_tensor: torch.Tensor,
            input_tensor: torch.Tensor,
            group: Any,
            op: Any,
            async_op: bool = False,
        ) -> Any:
            observer(self.index, input_tensor, _divided_by(divide_factors, input_tensor, group, op))
            return super().__call__(output_tensor, input_tensor, group, op, async_op)

    modules = [module for module in model.modules() if isinstance(module, fsdp_module)]
    for p in model.parameters():
        mesh = getattr(p, "device_mesh", None)
        if mesh is not None and mesh.ndim != 1:
            raise input_error(
                got=f"parameters on a {mesh.ndim}-dimensional mesh",
                rule="statistics are for FSDP2 over one mesh dimension",
                why="replicated shards would be counted more than once",
                do="use plain FSDP2 or DDP",
            )
    for index, module in enumerate(modules):
        module.set_custom_reduce_scatter(ObservedReduceScatter(index))
    return len(modules)


def _divided_by(divide_factors: Any, tensor: torch.Tensor, group: Any, op: Any) -> float:
    """What torch divided the local gradient by before handing it over (only for fp16 and fp64 reductions)."""
    if op == torch.distributed.ReduceOp.AVG:
        return 1.0
    predivide, _, expected, _ = divide_factors(group, None, tensor.dtype, tensor.device.type)
    if op != expected:
        raise input_error(
            got=f"a reduce-scatter with {op}",
            rule="the gradient is averaged over ranks",
            why="a custom gradient divide factor hides the scale of the local gradient",
            do="do not call set_gradient_divide_factor",
        )
    return float(predivide or 1.0)
