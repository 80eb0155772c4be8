"""Figures, formulas and pages. Names load on first use; nothing here needs a display or a network."""

from __future__ import annotations

import importlib
from typing import Any

_LAZY = {
    "plot": "plots",
    "plot_run": "plots",
    "plot_study": "plots",
    "save_figure": "plots",
    "write_check_page": "check_page",
    "Formulas": "formula",
    "table": "tables",
}

__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'bstheory.reports' has no attribute {name!r}; it has {__all__}")
    value = getattr(importlib.import_module(f"bstheory.reports.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
