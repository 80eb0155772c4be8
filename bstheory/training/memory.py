"""Bytes of a training step before it is run: weights, gradients, optimizer state, activations.

Weights, gradients and state follow from the parameter shapes (built on the meta device). Activations are
*counted*: one and two layers of the real width run once on the CPU for a few tokens while autograd reports
every tensor it keeps, and the count, linear in layers and tokens because attention keeps no T x T matrix, is
extrapolated. The logits are added as what the loss keeps and needs at its peak. Valid for eager mode;
``torch.compile`` keeps less.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bstheory.errors import input_error
from bstheory.models.configs import GPTConfig
from bstheory.models.gpt import GPT
from bstheory.training.config import PRECISIONS
from bstheory.training.optimizers import OptimizerConfig
from bstheory.training.sharded_memory import ShardedMoments, sharded_moments

FLOAT32 = 4
DEVICES = ("cuda", "cpu")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes on one device at the peak of a step.

    Attributes:
        weights: parameters.
        copies: of the matrices in bfloat16, under autocast; alive until the backward pass has used them.
        gradients: all at once, or the largest one where updates happen in the backward pass.
        state: of the optimizer.
        activations: kept by autograd inside the blocks and around them, without the logits.
        logits: what the loss keeps and needs at its peak, in the backward pass: log-probabilities, their
            gradient and that of the logits, all float32.
        temporary: of the update of one weight, where weights are updated one by one.
        alive: activations that are not freed yet when the update with the largest temporaries happens; not
            zero only where updates happen in the backward pass.
        workspace: of the device's libraries, see :func:`workspace_bytes`.
        buckets: gradients that DDP keeps between steps; the step's own are views of them.
        sharded: gradients of earlier micro-batches in a forward pass, and what FSDP adds.
    """

    weights: int
    copies: int
    gradients: int
    state: int
    activations: int
    logits: int
    temporary: int
    alive: int
    workspace: int
    buckets: int
    sharded: ShardedMoments

    @property
    def _persistent(self) -> int:
        return self.weights + self.state + self.workspace

    @property
    def _at_loss(self) -> int:
        return self.buckets + self.copies + self.sharded.gathered + self.activations + self.logits

    @property
    def peak(self) -> int:
        """The largest of the moments: the loss (activations and logits alive, gradients not yet), under FSDP
        the backward pass of a block, or the update (gradients alive, activations gone or going)."""
        at_update = self.gradients + self.temporary + self.alive
        return self._persistent + max(self._at_loss, self.sharded.backward, at_update)

    @property
    def accumulation_peak(self) -> int:
        """The peak when gradients of earlier micro-batches are alive during the forward pass."""
        at_loss = self.sharded.accumulated + self._at_loss
        return max(self.peak, self._persistent + max(at_loss, self.sharded.accumulated_backward))


def _shapes(model: GPTConfig) -> list[tuple[str, tuple[int, ...]]]:
    with torch.device("meta"):
        return [(name, tuple(p.shape)) for name, p in GPT(model).named_parameters()]


def _numel(shape: tuple[int, ...]) -> int:
    return functools.reduce(lambda a, b: a * b, shape, 1)


def state_bytes(model: GPTConfig, optimizer: OptimizerConfig, *, min_factored: int = 128) -> int:
    """Bytes of optimizer state, float32: two moments for AdamW, one for momentum, factors for Adafactor."""
    return state_of_shapes(_shapes(model), optimizer, min_factored=min_factored)


def state_of_shapes(
    shapes: list[tuple[str, tuple[int, ...]]], optimizer: OptimizerConfig, *, min_factored: int = 128
) -> int:
    """The same for any list of (name, shape); names matter for muon only."""
    total = 0
    momentum = optimizer.beta1 > 0 or optimizer.beta1_half_life is not None
    for name, shape in shapes:
        numel = _numel(shape)
        if optimizer.name == "adamw":
            total += 2 * numel
        elif optimizer.name == "muon":
            inside = ".blocks." in f".{name}" and len(shape) == 2
            total += numel if inside else 2 * numel
        elif optimizer.name == "adafactor":
            factored = len(shape) == 2 and min(shape) >= min_factored
            total += sum(shape) if factored else numel
        elif optimizer.name in ("sgd", "signum"):
            total += numel if momentum else 0
    return total * FLOAT32


class _FusedRMSNorm(torch.autograd.Function):
    """Keeps what torch's CUDA kernel keeps: the input, the weight and a float32 number a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, eps: float | None) -> Tensor:
        rows = x.float().square().mean(-1, keepdim=True)
        ctx.save_for_backward(x, weight, rows)
        return x.clone()


@contextlib.contextmanager
def _norms_of(device: str) -> Iterator[None]:
    """While inside, ``rms_norm`` keeps for autograd what it keeps on that device; its values are not used."""
    if device == "cpu":
        yield
        return
    stock = F.rms_norm
    F.rms_norm = lambda x, shape, weight=None, eps=None: _FusedRMSNorm.apply(x, weight, eps)
    try:
        yield
    finally:
        F.rms_norm = stock


def _saved_bytes(config: GPTConfig, tokens: int, precision: str, device: str) -> int:
    """Bytes of distinct storages that autograd keeps in one forward pass, weights left out."""
    model = GPT(config, generator=torch.Generator().manual_seed(0))
    if precision == "bfloat16":
        model = model.to(torch.bfloat16)
    owned = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned and tensor.dtype.is_floating_point:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = torch.zeros(1, tokens, dtype=torch.int64)
    autocast = precision == "bfloat16_autocast"
    context = (
        torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False)
        if autocast
        else contextlib.nullcontext()
    )
    weight_copies = 0
    if autocast:  # counted with the weights, not here: one per matrix
        weight_copies = 2 * sum(
            p.numel() for n, p in model.named_parameters() if p.dim() == 2 and "positions" not in n
        )
        weight_copies -= 0 if config.tied else 2 * model.embedding.weight.numel()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), context, _norms_of(device):
        logits = model(x)  # kept alive, so that no storage address is used twice
    total = sum(kept.values())
    del logits
    return total - weight_copies


@functools.lru_cache(maxsize=64)
def _per_token(config: GPTConfig, precision: str, device: str) -> tuple[float, float]:
    """(bytes per token of one layer, bytes per token outside the layers), counted on few tokens.

    The vocabulary does not matter for what is kept before the logits, so a small one is used.
    """
    tokens = min(32, config.context)
    small = dataclasses.replace(config, vocab_size=min(config.vocab_size, 256))
    one = _saved_bytes(dataclasses.replace(small, layers=1), tokens, precision, device)
    two = _saved_bytes(dataclasses.replace(small, layers=2), tokens, precision, device)
    layer = (two - one) / tokens
    return layer, one / tokens - layer


def activation_bytes(
    config: GPTConfig, *, micro_batch_size: int, seq_len: int, precision: str, device: str = "cuda"
) -> int:
    """Bytes that autograd keeps for one micro-batch, without the logits."""
    layer, outside = _per_token(config, precision, device)
    return round(micro_batch_size * seq_len * (config.layers * layer + outside))


def estimate_memory(
    model: GPTConfig,
    *,
    optimizer: OptimizerConfig,
    precision: str = "float32",
    micro_batch_size: int,
    seq_len: int | None = None,
    shards: int = 1,
    buckets: bool = False,
    device: str = "cuda",
    workspace: int = 0,
) -> MemoryEstimate:
    """Bytes of one training step on one device.

    Args:
        model: the decoder.
        optimizer: its state and whether it updates in the backward pass.
        precision: one of ``PRECISIONS``.
        micro_batch_size: sequences per forward pass.
        seq_len: tokens per sequence; default the context.
        shards: devices that FSDP divides weights, gradients and state over (activations are per device).
        buckets: whether DDP communicates the gradients.
        device: ``cuda`` or ``cpu``, whose RMS norms keep different tensors.
        workspace: bytes that the device's libraries hold, see :func:`workspace_bytes`.

    Raises:
        InputError: an unknown precision or device, or a non-positive size.
    """
    if device not in DEVICES:
        raise input_error(
            got=f"device={device!r}", rule=f"it is one of {', '.join(DEVICES)}", do="choose one"
        )
    if precision not in PRECISIONS:
        raise input_error(
            got=f"precision={precision!r}", rule=f"it is one of {', '.join(PRECISIONS)}", do="choose one"
        )
    if micro_batch_size < 1 or shards < 1:
        raise input_error(
            got=f"micro_batch_size={micro_batch_size}, shards={shards}",
            rule="both are at least 1",
            do="correct it",
        )
    length = seq_len or model.context
    shapes = _shapes(model)
    width = 2 if precision == "bfloat16" else FLOAT32
    numel = sum(_numel(shape) for _, shape in shapes)
    copies = 0
    if precision == "bfloat16_autocast":
        copies = 2 * sum(
            _numel(s)
            for n, s in shapes
            if len(s) == 2 and "positions" not in n and (model.tied or "embedding" not in n)
        )
    inside = precision  # under FSDP, blocks hand on what their bfloat16 weights make
    if shards > 1 and precision == "bfloat16_autocast":
        inside, copies = "bfloat16", 0
    activations = activation_bytes(
        model, micro_batch_size=micro_batch_size, seq_len=length, precision=inside, device=device
    )
    update = _update_in_backward if optimizer.in_backward else _update_at_the_end
    gradients, temporary, alive = update(model, optimizer, shapes, precision, activations)
    moments = ShardedMoments(gathered=0, backward=0, accumulated=gradients, accumulated_backward=0)
    if shards > 1:
        each = _temporary_bytes(optimizer, precision)
        temporary, alive = each * max(_numel(shape) for _, shape in shapes) // shards, 0
        gradients = 0 if optimizer.in_backward else width * numel // shards
        moments = sharded_moments(
            model,
            shapes,
            shards=shards,
            width=FLOAT32 if inside == "float32" else 2,
            reduced=width,
            activations=activations,
            layer=round(micro_batch_size * length * _per_token(model, inside, device)[0]),
            tokens=micro_batch_size * length,
            update=temporary if optimizer.in_backward else 0,
        )
    return MemoryEstimate(
        weights=numel * width // shards,
        copies=copies,
        gradients=gradients,
        state=state_bytes(model, optimizer) // shards,
        activations=activations,
        logits=micro_batch_size * length * model.vocab_size * 3 * FLOAT32,
        temporary=temporary,
        alive=alive,
        workspace=workspace,
        buckets=gradients if buckets else 0,
        sharded=moments,
    )


def _temporary_bytes(optimizer: OptimizerConfig, precision: str) -> int:
    """Bytes per coordinate that the update of one weight needs beside the weight and its gradient.

    In bfloat16: float32 copies of the weight and the gradient and one array of the rule, or while rounding
    the weight, the noise and the result. In float32, one array of the rule.
    """
    plain_sgd = optimizer.name == "sgd"
    if precision == "bfloat16":
        return 2 * FLOAT32 + 2 if plain_sgd else 3 * FLOAT32
    one_by_one = optimizer.in_backward or optimizer.name in ("adafactor", "sign_sgd", "signum")
    return FLOAT32 if one_by_one and not plain_sgd else 0


Shapes = list[tuple[str, tuple[int, ...]]]


def _update_at_the_end(
    model: GPTConfig, optimizer: OptimizerConfig, shapes: Shapes, precision: str, activations: int
) -> tuple[int, int, int]:
    """(gradients, temporaries, activations alive) of an update after the backward pass: all gradients, and
    the temporaries of the largest weight or, of a tied one, its second gradient before they are added."""
    width = 2 if precision == "bfloat16" else FLOAT32
    largest = max(_numel(shape) for _, shape in shapes)
    second = width * model.vocab_size * model.width if model.tied else 0
    temporary = max(largest * _temporary_bytes(optimizer, precision), second)
    return width * sum(_numel(shape) for _, shape in shapes), temporary, 0


def _update_in_backward(
    model: GPTConfig, optimizer: OptimizerConfig, shapes: Shapes, precision: str, activations: int
) -> tuple[int, int, int]:
    """The same where each weight is updated as soon as its gradient is complete: of the weight for which the
    sum is largest. The head comes first, with all activations alive; a tied one waits for the embedding."""
    width = 2 if precision == "bfloat16" else FLOAT32
    each = _temporary_bytes(optimizer, precision)
    table = model.vocab_size * model.width
    inside = max(_numel(shape) for name, shape in shapes if "blocks." in name)
    waiting = width * table if model.tied else 0
    moments = [
        (width * inside + waiting, each * inside, activations),
        (width * table, max(each * table, waiting), 0 if model.tied else activations),
    ]
    return max(moments, key=sum)


def largest_micro_batch(
    model: GPTConfig,
    *,
    optimizer: OptimizerConfig,
    precision: str,
    available: int,
    seq_len: int | None = None,
    shards: int = 1,
    buckets: bool = False,
    device: str = "cuda",
    workspace: int = 0,
) -> int:
    """Sequences per forward pass that fit into ``available`` bytes by the estimate; 0 if not even one
    does."""

    def peak(size: int) -> int:
        return estimate_memory(
            model,
            optimizer=optimizer,
            precision=precision,
            micro_batch_size=size,
            seq_len=seq_len,
            shards=shards,
            buckets=buckets,
            device=device,
            workspace=workspace,
        ).accumulation_peak

    if peak(1) > available:
        return 0
    low, high = 1, 2
    while peak(high) <= available:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if peak(middle) <= available else (low, middle)
    return low


def workspace_bytes(device: torch.device) -> int:
    """What cuBLAS holds on a GPU as torch sets it up: 32 MiB from compute capability 9 on, before it two
    blocks of 4 MiB and eight of 16 KiB (torch's CublasHandlePool; the variable CUBLAS_WORKSPACE_CONFIG
    changes it). Nothing on the CPU."""
    if device.type != "cuda":
        return 0
    major, _ = torch.cuda.get_device_capability(device)
    return 32 * 2**20 if major >= 9 else 2 * 4096 * 2**10 + 8 * 16 * 2**10


def available_bytes(device: torch.device) -> int:
    """Memory of a GPU; for the CPU that of the machine, or of the control group that this process is in."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits)


def check_fits(
    model: GPTConfig,
    *,
    optimizer: OptimizerConfig,
    precision: str,
    micro_batch_size: int,
    available: int,
    seq_len: int | None = None,
    shards: int = 1,
    batch_sizes: Sequence[int] = (),
    buckets: bool = False,
    device: str = "cuda",
    workspace: int = 0,
) -> None:
    """Refuse a micro-batch that the estimate says cannot fit, and name the largest that does.

    With ``batch_sizes``, the sequences of each step on this device, the one named divides them all, and where
    one is larger than the micro-batch, the gradients of earlier micro-batches count.

    Raises:
        InputError: the estimated peak exceeds ``available`` bytes.
    """
    options = {
        "optimizer": optimizer,
        "precision": precision,
        "seq_len": seq_len,
        "shards": shards,
        "buckets": buckets,
        "device": device,
        "workspace": workspace,
    }
    estimate = estimate_memory(model, micro_batch_size=micro_batch_size, **options)
    accumulates = any(size > micro_batch_size for size in batch_sizes)
    peak = estimate.accumulation_peak if accumulates else estimate.peak
    if peak > available:
        fits = largest_micro_batch(model, available=available, **options)
        while fits and any(size % fits for size in batch_sizes):
            fits -= 1
        raise input_error(
            got=f"a micro-batch of {micro_batch_size} sequences ({peak / 2**30:.1f} GiB estimated)",
            rule=f"the device has {available / 2**30:.1f} GiB",
            do=f"use --micro-batch-size {fits}"
            if fits
            else "use adafactor or sgd with --in-backward and bfloat16, or a smaller model",
        )
