"""Bytes that FSDP2 adds to a step: whole weights while they are used, and gradients before they are divided.

Each block is a group of its own; tables, the last norm and the head are the root's group, gathered from the
first forward pass to the end of the backward pass. While a block works, the next one is gathered ahead. A
block's gradients are copied into the input of a reduce-scatter, which is freed when the next block's begins.
Without synchronization (all micro-batches but the last) gradients stay whole on every device.
"""

from __future__ import annotations

import dataclasses
import math

from bstheory.models.configs import GPTConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardedMoments:
    """Bytes on one device beside the shards of weights and state.

    Attributes:
        gathered: whole weights while the loss is computed.
        backward: the largest sum in the backward pass.
        accumulated: gradients of earlier micro-batches in a forward pass.
        accumulated_backward: as ``backward``, those gradients included.
    """

    gathered: int
    backward: int
    accumulated: int
    accumulated_backward: int


def sharded_moments(
    model: GPTConfig,
    shapes: list[tuple[str, tuple[int, ...]]],
    *,
    shards: int,
    width: int,
    reduced: int,
    activations: int,
    layer: int,
    tokens: int,
    update: int,
) -> ShardedMoments:
    """The moments of a step under FSDP2, block by block from the last one.

    Args:
        model: the decoder.
        shapes: (name, shape) of its parameters.
        shards: devices.
        width: bytes of a gathered weight and its gradient.
        reduced: bytes of a number in the reduce-scatter and of an accumulated gradient.
        activations: all that autograd keeps.
        layer: what it keeps of one block.
        tokens: of one forward pass.
        update: temporaries of an update inside the backward pass, else 0.
    """
    total = sum(math.prod(shape) for _, shape in shapes)
    block = sum(math.prod(shape) for name, shape in shapes if name.startswith("blocks.0."))
    root = total - model.layers * block
    table = model.vocab_size * model.width
    gathered = width * (root + block)
    # A block begins with the gradients of its last matrix and of what goes through the MLP, all that it kept
    # alive; it ends with those of all its weights.
    begins = width * (model.ffn * model.width + tokens * (3 * model.width + model.ffn * model.swiglu))
    ends = width * block - layer
    plain, accumulating = [], []
    for done in range(model.layers):
        communicated = reduced * block + update if done else 0
        here = gathered + width * block + max(begins, ends) + communicated
        here += activations - done * layer + done * reduced * block // shards
        plain.append(here + width * table)
        accumulating.append(here + reduced * (total - done * block))
    # The root's gradients come last and are copied whole into the reduce-scatter, its weights freed before.
    # Earlier micro-batches leave those of the blocks as well and, in one precision, a second one of the root.
    same = width == reduced
    copied = (width + reduced) * root + reduced * (total if same else total - root) // shards
    copied_later = reduced * (root + total) + width * (root if same else block) + reduced * total // shards
    # Of a tied table there are two gradients and their sum, before its weights are freed.
    tied = 2 * width * (root + table) + reduced * (block + (total - root) // shards) if model.tied else 0
    return ShardedMoments(
        gathered=gathered,
        backward=max(*plain, copied, tied),
        accumulated=reduced * total,
        accumulated_backward=max(*accumulating, copied_later, tied and tied + reduced * root),
    )
