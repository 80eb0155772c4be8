"""Training loops in PyTorch. Names load on first use, so importing the package does not import torch."""

from __future__ import annotations

import importlib
from typing import Any

# name -> module
_LAZY = {
    "BatchSizeScheduler": "bstheory.training.batch_scheduler",
    "GradientStatistics": "bstheory.training.gradient_statistics",
    "LoopCheckpoint": "bstheory.training.loop_checkpoint",
    "TokenHalfLife": "bstheory.training.token_half_life",
}

__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
