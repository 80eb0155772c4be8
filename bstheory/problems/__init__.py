"""Objectives with published constants; each module proves or constructs the constants it publishes."""

from __future__ import annotations

from bstheory.problems.cosine import cosine_sum
from bstheory.problems.finite_sums import logistic, phase_retrieval
from bstheory.problems.noisy_quadratic import noisy_quadratic
from bstheory.problems.problem import Constant, Problem
from bstheory.problems.pseudo_huber import pseudo_huber
from bstheory.problems.rotated_quadratic import rotated_quadratic

__all__ = [
    "Constant",
    "Problem",
    "cosine_sum",
    "logistic",
    "noisy_quadratic",
    "phase_retrieval",
    "pseudo_huber",
    "rotated_quadratic",
]
