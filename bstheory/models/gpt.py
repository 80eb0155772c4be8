"""One pre-norm decoder for every language-model experiment; a configuration chooses the family.

    x = embed(tokens) (+ positions)
    x = x + attention(norm(x));  x = x + mlp(norm(x))      (for each layer)
    loss = cross_entropy(norm(x) W_out, next token)

Shapes: B sequences, T tokens, D width, H heads, K key/value heads, E head size, V vocabulary. The model knows
nothing of devices, precision policies or parallelism; the trainer does. References: Radford et al. 2019
(GPT-2), Marek et al. 2025, arXiv:2507.07101 (RMSNorm without scale, QK-norm, rotary), Touvron et al. 2023
(Llama).
"""

from __future__ import annotations

import enum
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bstheory.models.configs import GPTConfig, Init, Norm


class AttentionKernel(enum.Enum):
    """Which of torch's kernels computes attention; ``AUTO`` leaves the choice to torch. All compute the same
    function; one that cannot run raises ``RuntimeError`` instead of being replaced."""

    AUTO = "auto"
    FLASH = "flash"
    EFFICIENT = "efficient"
    CUDNN = "cudnn"
    MATH = "math"


BACKENDS = {
    AttentionKernel.FLASH: SDPBackend.FLASH_ATTENTION,
    AttentionKernel.EFFICIENT: SDPBackend.EFFICIENT_ATTENTION,
    AttentionKernel.CUDNN: SDPBackend.CUDNN_ATTENTION,
    AttentionKernel.MATH: SDPBackend.MATH,
}


class Linear(nn.Linear):
    """``nn.Linear`` without initial values, so that building a model draws no random numbers."""

    def reset_parameters(self) -> None:
        pass


class Embedding(nn.Embedding):
    """``nn.Embedding`` without initial values."""

    def reset_parameters(self) -> None:
        pass


def make_norm(config: GPTConfig) -> nn.Module:
    """The family's normalization over the width."""
    if config.norm is Norm.LAYER:
        return nn.LayerNorm(config.width, eps=config.norm_eps)
    return nn.RMSNorm(config.width, eps=config.norm_eps, elementwise_affine=config.norm is Norm.RMS)


def rotary_tables(config: GPTConfig, *, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding, each float32 [context, E/2]."""
    exponent = torch.arange(0, config.head_size, 2, dtype=torch.float64, device=device) / config.head_size
    angle = torch.outer(
        torch.arange(config.context, dtype=torch.float64, device=device), config.rope_base**-exponent
    )
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (i, i + E/2) of x [B, H, T, E] by the angles of the tables [T, E/2]."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


class Attention(nn.Module):
    """Causal self-attention with an optional rotation, QK-norm and grouped key/value heads."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.kernel = AttentionKernel.AUTO
        c = config
        self.qkv = Linear(c.width, (c.heads + 2 * c.kv_heads) * c.head_size, bias=c.bias)
        self.out = Linear(c.heads * c.head_size, c.width, bias=c.bias)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        c = self.config
        batch, length, _ = x.shape
        heads = self.qkv(x).view(batch, length, -1, c.head_size).transpose(1, 2)  # [B, H+2K, T, E]
        if c.heads == c.kv_heads:
            q, k, v = heads.chunk(3, dim=1)
        else:
            q, k, v = heads.split((c.heads, c.kv_heads, c.kv_heads), dim=1)
        if c.qk_norm:
            q = F.rms_norm(q, (c.head_size,), eps=c.norm_eps)
            k = F.rms_norm(k, (c.head_size,), eps=c.norm_eps)
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        options = {"is_causal": True, "enable_gqa": c.heads != c.kv_heads}
        if self.kernel is AttentionKernel.AUTO:
            mixed = F.scaled_dot_product_attention(q, k, v, **options)
        else:
            with sdpa_kernel(BACKENDS[self.kernel]):
                mixed = F.scaled_dot_product_attention(q, k, v, **options)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, -1))


class MLP(nn.Module):
    """Two-matrix GELU (tanh form) or three-matrix SwiGLU, the gate stacked on the value in ``up``."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.swiglu = config.swiglu
        self.up = Linear(config.width, config.ffn * (2 if config.swiglu else 1), bias=config.bias)
        self.down = Linear(config.ffn, config.width, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.up(x)
        if self.swiglu:
            gate, value = hidden.chunk(2, dim=-1)
            return self.down(F.silu(gate) * value)
        return self.down(F.gelu(hidden, approximate="tanh"))


class Block(nn.Module):
    """Attention and MLP, each behind its own normalization and residual."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.norm1 = make_norm(config)
        self.attention = Attention(config)
        self.norm2 = make_norm(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        x = x + self.attention(self.norm1(x), rotary)
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """The decoder. Build it under ``torch.device("meta")`` to count parameters without allocating them.

    Args:
        config: the family and sizes.
        generator: source of the initial weights; without one the weights are left uninitialized (for
            loading a checkpoint, or on the meta device).
    """

    def __init__(self, config: GPTConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.vocab_size, config.width)
        self.positions = Embedding(config.context, config.width) if config.learned_positions else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = make_norm(config)
        self.head = Linear(config.width, config.vocab_size, bias=False)
        if config.tied:
            self.head.weight = self.embedding.weight
        if not config.learned_positions:
            cos, sin = rotary_tables(config)
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)
        if generator is not None:
            initialize(self, generator)

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        """Mean cross-entropy (float32 scalar, nats per token) given targets [B, T], else logits [B, T, V].

        Args:
            tokens: int64 [B, T], T at most ``context``.
            targets: int64 [B, T], the next token at each place; -100 is left out of the mean.
        """
        length = tokens.shape[1]
        x = self.embedding(tokens)  # [B, T, D]
        rotary = None
        if self.positions is not None:
            x = x + self.positions.weight[:length]
        else:
            rotary = (self.cos[:length], self.sin[:length])
        for block in self.blocks:
            x = block(x, rotary)
        logits = self.head(self.norm(x))
        if targets is None:
            return logits
        return F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets.reshape(-1))

    def parameter_count(self, *, embeddings: bool = True) -> int:
        """Number of parameters, a tied matrix counted once; without ``embeddings``, no tables and no head."""
        total = sum(parameter.numel() for parameter in self.parameters())
        if embeddings:
            return total
        tables = {
            id(p): p.numel() for m in (self.embedding, self.positions, self.head) if m for p in m.parameters()
        }
        return total - sum(tables.values())


@torch.no_grad()
def initialize(model: GPT, generator: torch.Generator) -> None:
    """Draw all weights in a fixed order from ``generator`` (on the generator's device), by ``config.init``.

    ``SMALL_BATCH`` follows arXiv:2507.07101's framework, whose fan rules act on the stacked tensors: the qkv
    tensor [3, H, D, E] has fans (3 H D, 3 H E) and the output tensor [H, E, D] has (H E, H D), so both have a
    smaller variance than plain Xavier.
    """
    c = model.config

    def normal(weight: Tensor, std: float) -> None:
        weight.copy_(torch.empty(weight.shape, device=generator.device).normal_(std=std, generator=generator))

    def uniform(weight: Tensor, variance: float) -> None:
        bound = math.sqrt(3 * variance)
        weight.copy_(
            torch.empty(weight.shape, device=generator.device).uniform_(-bound, bound, generator=generator)
        )

    embedding_std = {
        Init.GPT2: 0.02,
        Init.SMALL_BATCH: c.width**-0.5,
        Init.LLAMA: math.sqrt(2 / (5 * c.width)),
    }[c.init]
    normal(model.embedding.weight, embedding_std)
    if model.positions is not None:
        normal(model.positions.weight, embedding_std)
    for block in model.blocks:
        linears = (block.attention.qkv, block.attention.out, block.mlp.up, block.mlp.down)
        if c.init is Init.SMALL_BATCH:
            uniform(linears[0].weight, 2 / (3 * c.heads * (c.width + c.head_size)))
            uniform(linears[1].weight, 2 / (c.heads * (c.width + c.head_size)))
            uniform(linears[2].weight, 2 / (c.width + c.ffn))
            uniform(linears[3].weight, 2 / (c.width + c.ffn))
        else:
            residual_std = {
                Init.GPT2: 0.02 / math.sqrt(2 * c.layers),
                Init.LLAMA: 1 / (c.layers * math.sqrt(c.width)),
            }[c.init]
            normal(linears[0].weight, embedding_std)
            normal(linears[1].weight, residual_std)
            normal(linears[2].weight, embedding_std)
            normal(linears[3].weight, residual_std)
        for linear in linears:
            if linear.bias is not None:
                linear.bias.zero_()
    if not c.tied:
        normal(model.head.weight, embedding_std)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm | nn.RMSNorm) and module.weight is not None:
            module.weight.fill_(1)
            if getattr(module, "bias", None) is not None:
                module.bias.zero_()
