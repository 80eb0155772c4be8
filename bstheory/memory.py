"""Training memory of a decoder in closed form: weights, activations, optimizer state, accumulated gradients.

The model is the one of the small-batch paper: no biases, untied embeddings, width D, L layers, vocabulary V::

    parameters  = 12 L D^2 + 2 V D
    activations = T (L D + V)          one value per layer and token (rematerialization), and the logits
    adam        = two more copies of the parameters;  sgd: none;  muon: one copy of the matrices inside the
                  layers, two of the embeddings;  adafactor: rows + columns of every factored tensor
    accumulation= one more copy, for the gradients of earlier micro-batches

each times the bytes per element. Gradients themselves are not counted: backward and update are fused. For
what a run of this package's trainer takes, see ``bstheory.training.memory``, which counts.

Reference: Marek et al. 2025, arXiv 2507.07101, figure 7. Its totals carry a measured remainder (``other``).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from bstheory.errors import input_error

OPTIMIZERS = ("sgd", "adafactor", "muon", "adam")
# Measured remainders of the paper's figure 7 (13B parameters), bytes; part of its totals, not of any formula.
PUBLISHED_OTHER = {("adam", True): 1.70e9, ("adam", False): 2.13e9, ("sgd", False): 1.21e9}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes by purpose."""

    optimizer: str
    accumulation: bool
    parameters: int
    weights: int
    activations: int
    first_moment: int
    second_moment: int
    accumulator: int
    other: int

    @property
    def total(self) -> int:
        """Sum of all parts, bytes."""
        return (
            self.weights
            + self.activations
            + self.first_moment
            + self.second_moment
            + self.accumulator
            + self.other
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**dataclasses.asdict(self), "total": self.total}


def parameter_count(*, layers: int, width: int, vocab_size: int) -> int:
    """12 L D^2 + 2 V D."""
    return 12 * layers * width**2 + 2 * vocab_size * width


def adafactor_state(
    *, layers: int, width: int, vocab_size: int, head_size: int = 128, min_factored: int = 128
) -> int:
    """Elements of Adafactor's second moment, without momentum.

    A tensor whose second-largest axis has at least ``min_factored`` entries is factored over its two largest
    axes a, b: (a + b) times the remaining axes instead of a b times them. The attention tensors carry one
    axis per head, [3, N, D, head_size] and [N, head_size, D].
    """
    heads = -(-width // head_size)

    def factored(*shape: int) -> int:
        ordered = sorted(shape)
        rest = 1
        for axis in ordered[:-2]:
            rest *= axis
        a, b = ordered[-2:]
        return rest * (a + b if a >= min_factored else a * b)

    per_layer = (
        factored(3, heads, width, head_size)
        + factored(heads, head_size, width)
        + 2 * factored(width, 4 * width)
    )
    return layers * per_layer + 2 * factored(vocab_size, width)


def training_memory(
    *,
    layers: int,
    width: int,
    vocab_size: int,
    seq_len: int,
    optimizer: str,
    accumulation: bool = False,
    micro_batch_size: int = 1,
    bytes_per_element: int = 2,
    other: float = 0.0,
) -> Memory:
    """Bytes for training with one optimizer; see the module for the formulas.

    Args:
        layers, width, vocab_size: of the decoder.
        seq_len, micro_batch_size: tokens per sequence and sequences per forward pass.
        optimizer: ``sgd`` (no momentum), ``adafactor``, ``muon`` or ``adam``.
        accumulation: whether gradients of several micro-batches are accumulated.
        bytes_per_element: 2 for bfloat16 throughout, 4 for float32.
        other: measured remainder, bytes.

    Raises:
        InputError: an unknown optimizer or a size below 1.
    """
    if optimizer not in OPTIMIZERS:
        raise input_error(
            got=f"optimizer={optimizer!r}", rule=f"it is one of {', '.join(OPTIMIZERS)}", do="pick one"
        )
    sizes = {
        "layers": layers,
        "width": width,
        "vocab_size": vocab_size,
        "seq_len": seq_len,
        "micro_batch_size": micro_batch_size,
        "bytes_per_element": bytes_per_element,
    }
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise input_error(got=f"{name}={value!r}", rule=f"{name} is a positive integer", do="pass one")
    parameters = parameter_count(layers=layers, width=width, vocab_size=vocab_size)
    embeddings = 2 * vocab_size * width
    first = {"adam": parameters, "muon": parameters, "sgd": 0, "adafactor": 0}[optimizer]
    second = {
        "adam": parameters,
        "muon": embeddings,
        "sgd": 0,
        "adafactor": adafactor_state(layers=layers, width=width, vocab_size=vocab_size),
    }[optimizer]
    return Memory(
        optimizer=optimizer,
        accumulation=accumulation,
        parameters=parameters,
        weights=parameters * bytes_per_element,
        activations=micro_batch_size * seq_len * (layers * width + vocab_size) * bytes_per_element,
        first_moment=first * bytes_per_element,
        second_moment=second * bytes_per_element,
        accumulator=parameters * bytes_per_element if accumulation else 0,
        other=round(other),
    )
