"""The tiny language model: a byte-level decoder on real text, small enough for two CPU cores.

The objective is F(w) = E over rows of the mean next-byte cross-entropy in nats. Its constants are not known
in closed form: F_* >= 0 because a cross-entropy is non-negative, log 256 = 5.545 is the loss of the uniform
guess, and neither a smoothness constant nor an almost-sure gradient bound is published for it, so every
theorem that needs one is ``inapplicable`` here and the comparison is by prediction of ordering only.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from bstheory.errors import input_error
from bstheory.models.configs import GPTConfig, model_config
from bstheory.models.gpt import GPT

UNIFORM_LOSS = math.log(256)  # nats per byte of the model that knows nothing


def tiny_model(*, seed: int, config: GPTConfig | None = None) -> GPT:
    """A byte-level model, ``tiny`` by default, with its initial weights drawn from ``seed`` alone."""
    return GPT(config or model_config("tiny"), generator=torch.Generator().manual_seed(seed))


def row_count(tokens: np.ndarray, context: int) -> int:
    """Rows of ``context`` inputs in a token array; each row also reads the one token after it as a target.

    Raises:
        InputError: not even one row fits.
    """
    rows = (len(tokens) - 1) // context
    if rows < 1:
        raise input_error(
            got=f"{len(tokens):,} tokens of text",
            rule=f"one row needs context + 1 = {context + 1} tokens",
            do="use a longer text or a shorter context",
        )
    return rows


def rows(tokens: np.ndarray, index: np.ndarray, context: int) -> torch.Tensor:
    """Rows ``index`` [B] of ``tokens`` as int64 [B, context + 1]: inputs are [:, :-1], targets [:, 1:]."""
    places = np.asarray(index)[:, None] * context + np.arange(context + 1)
    return torch.from_numpy(tokens[places].astype(np.int64))


@torch.no_grad()
def validation_loss(model: GPT, data: torch.Tensor, *, chunk: int = 64) -> float:
    """Mean cross-entropy over rows [R, context + 1], in nats per token; the same rows for every arm."""
    was_training = model.training
    model.eval()
    total = sum(float(model(part[:, :-1], part[:, 1:])) * len(part) for part in data.split(chunk))
    model.train(was_training)
    return total / len(data)
