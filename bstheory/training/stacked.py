"""Many tiny models trained at once: parameters of M models stacked, one batched operation for all of them.

At widths of tens, a training step is dominated by the cost of launching operations, not by arithmetic, so M
models in one batched matrix product cost little more than one. Every model keeps its own seed (initial
weights and data order), learning rate and optimizer coefficients; the batch-size schedule, the optimizer's
kind and the weights' format are shared by a stack. A model in a stack follows the recurrence of
``models.gpt.GPT`` under the stock optimizer to rounding (``tests/training/test_stacked.py``).

Shapes: M models, B rows, T tokens, D width, H heads, E head size, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bstheory.errors import input_error
from bstheory.models.configs import GPTConfig, Init, Norm, model_config
from bstheory.models.gpt import GPT, rotary_tables, rotate
from bstheory.problems.corpus import Corpus
from bstheory.problems.tiny_lm import row_count
from bstheory.training.lean_optimizer import round_stochastically
from bstheory.training.rows import permuted_rows

OPTIMIZERS = ("sgd", "signum", "adam", "adafactor", "muon")
WEIGHTS = ("float32", "bf16_nearest", "bf16_stochastic")
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
MUON_EMBEDDING_RATIO = 0.25  # learning rate of Adam on embeddings and head over that of the matrices


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run.

    Attributes:
        optimizer: sgd, signum, adam, adafactor or muon (Adam on embeddings and head).
        learning_rate: peak; for adafactor a relative step.
        batch_sizes: rows of every step, as ``((batch_size, steps), ...)``.
        seed: initial weights and data order.
        beta1: momentum (sgd, signum, muon) or first-moment coefficient (adam); adafactor has none.
        half_life: tokens; second-moment half-life of adam and adafactor. None uses ``beta2``.
        beta2: fixed coefficient per step.
        exponent: adafactor's power law 1 - k^(-exponent) instead of either.
        clip: largest global gradient norm, or None.
        weight_decay: decoupled, times the learning rate, all parameters.
        weights: float32, or bfloat16 values with nearest or stochastic rounding after every update.
        warmup: fraction of the tokens (index ``"tokens"``) or number of steps (index ``"steps"``).
        warmup_index: what the warm-up counts. Cosine to zero over the tokens follows in both cases.
        lr_power: the learning rate is multiplied by (batch_size / first batch_size) ** lr_power.
        contiguous: rows of a batch are neighbours in the text instead of an i.i.d. sample.
        model: name of a configuration of the small-batch family; its context is the row's length.
    """

    optimizer: str
    learning_rate: float
    batch_sizes: tuple[tuple[int, int], ...]
    seed: int
    beta1: float = 0.9
    half_life: float | None = None
    beta2: float = 0.95
    exponent: float | None = None
    clip: float | None = None
    weight_decay: float = 0.0
    weights: str = "float32"
    warmup: float = 0.05
    warmup_index: str = "tokens"
    lr_power: float = 0.0
    contiguous: bool = False
    model: str = "tiny_study"

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("weights", self.weights, WEIGHTS),
            ("warmup_index", self.warmup_index, ("tokens", "steps")),
        ):
            if value not in allowed:
                raise input_error(
                    got=f"{name}={value!r}", rule=f"it is one of {', '.join(allowed)}", do="choose one"
                )
        if not self.learning_rate > 0:
            raise input_error(
                got=f"learning_rate={self.learning_rate}", rule="it must be positive", do="correct it"
            )
        if not self.batch_sizes or any(b < 1 or n < 1 for b, n in self.batch_sizes):
            raise input_error(
                got=f"batch_sizes={self.batch_sizes}",
                rule="each stage has a batch size and a number of steps of at least 1",
                do="correct the stages",
            )

    @property
    def rows(self) -> int:
        """Rows consumed in all."""
        return sum(b * n for b, n in self.batch_sizes)

    def stack_key(self) -> tuple[Any, ...]:
        """Recipes with equal keys can share a stack."""
        return (
            self.optimizer,
            self.batch_sizes,
            self.weights,
            self.exponent is None,
            self.clip is None,
            self.contiguous,
            self.model,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run left: validation losses (nats per byte) at the records; infinite after divergence."""

    recipe: Recipe
    tokens: tuple[int, ...]
    validation_loss: tuple[float, ...]
    diverged_at_step: int | None


class StackedGPT:
    """M decoders of the small-batch family with stacked parameters.

    Args:
        config: RMSNorm without scale, QK-norm, rotary, no bias, untied; other families are refused.
        seeds: one per model; each model starts exactly as ``GPT(config, seed)``.
    """

    def __init__(self, config: GPTConfig, seeds: Sequence[int]) -> None:
        if (
            config.norm is not Norm.RMS_PLAIN
            or config.init is not Init.SMALL_BATCH
            or config.tied
            or config.bias
            or config.swiglu
            or config.learned_positions
            or config.heads != config.kv_heads
        ):
            raise input_error(
                got=f"model {config.name!r}",
                rule="stacks are written for the small-batch family",
                do="use a configuration of that family, e.g. tiny_study",
            )
        self.config = config
        models = {
            seed: GPT(config, generator=torch.Generator().manual_seed(seed)).state_dict()
            for seed in set(seeds)
        }
        self.parameters = {
            name: torch.stack([models[seed][name] for seed in seeds]).requires_grad_()
            for name in models[seeds[0]]
        }
        self.rotary = rotary_tables(config)

    def losses(self, rows: Tensor) -> Tensor:
        """Mean cross-entropy of each model [M] on its rows [M, B, T + 1]."""
        c, p = self.config, self.parameters
        models, batch, length = rows.shape[0], rows.shape[1], rows.shape[2] - 1
        inputs, targets = rows[:, :, :-1], rows[:, :, 1:]
        offset = torch.arange(models)[:, None, None] * c.vocab_size
        x = F.embedding(inputs + offset, p["embedding.weight"].view(-1, c.width))
        x = x.view(models, batch * length, c.width)  # [M, BT, D]
        for i in range(c.layers):
            block = f"blocks.{i}."
            h = F.rms_norm(x, (c.width,), eps=c.norm_eps)
            qkv = torch.bmm(h, p[block + "attention.qkv.weight"].transpose(1, 2))
            heads = qkv.view(models * batch, length, 3 * c.heads, c.head_size).transpose(1, 2)
            q, k, v = heads.chunk(3, dim=1)
            if c.qk_norm:
                q = F.rms_norm(q, (c.head_size,), eps=c.norm_eps)
                k = F.rms_norm(k, (c.head_size,), eps=c.norm_eps)
            q, k = rotate(q, *self.rotary), rotate(k, *self.rotary)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            mixed = mixed.transpose(1, 2).reshape(models, batch * length, c.heads * c.head_size)
            x = x + torch.bmm(mixed, p[block + "attention.out.weight"].transpose(1, 2))
            h = F.rms_norm(x, (c.width,), eps=c.norm_eps)
            h = F.gelu(torch.bmm(h, p[block + "mlp.up.weight"].transpose(1, 2)), approximate="tanh")
            x = x + torch.bmm(h, p[block + "mlp.down.weight"].transpose(1, 2))
        x = F.rms_norm(x, (c.width,), eps=c.norm_eps)
        logits = torch.bmm(x, p["head.weight"].transpose(1, 2))
        losses = F.cross_entropy(logits.view(-1, c.vocab_size), targets.reshape(-1), reduction="none")
        return losses.view(models, -1).mean(dim=1)


def round_to_bf16(x: Tensor, *, stochastic: bool, generator: torch.Generator) -> Tensor:
    """bfloat16 values as float32: nearest even, or unbiased between the two neighbours."""
    if not stochastic:
        return x.to(torch.bfloat16).float()
    return round_stochastically(x, generator).float()


class StackedOptimizer:
    """One optimizer kind over a stack, with a value per model of everything that may differ."""

    def __init__(self, model: StackedGPT, recipes: Sequence[Recipe], context: int) -> None:
        self.model, self.recipes, self.context = model, recipes, context
        self.kind = recipes[0].optimizer
        self.state = {name: self._start(name, p) for name, p in model.parameters.items()}
        self.log_beta1 = torch.zeros(len(recipes), dtype=torch.float64)
        self.log_beta2 = torch.zeros(len(recipes), dtype=torch.float64)
        self.steps = 0
        # One generator a model, so that its roundings do not depend on its company.
        self.generators = [torch.Generator().manual_seed(r.seed) for r in recipes]
        self.decay = torch.tensor([r.weight_decay for r in recipes])
        self.clip = None if recipes[0].clip is None else torch.tensor([r.clip for r in recipes])

    def _kind(self, name: str) -> str:
        matrix = name.startswith("blocks.")
        return "adam" if self.kind == "muon" and not matrix else self.kind

    def _start(self, name: str, p: Tensor) -> dict[str, Tensor]:
        kind = self._kind(name)
        zero = torch.zeros_like(p, requires_grad=False)
        if kind == "adam":
            return {"m": zero, "v": zero.clone()}
        if kind == "adafactor":
            return {"rows": torch.zeros(p.shape[:2]), "columns": torch.zeros((p.shape[0], p.shape[2]))}
        return {"m": zero}

    @staticmethod
    def _shape(values: Tensor) -> Tensor:
        return values.float()[:, None, None]

    @torch.no_grad()
    def step(self, batch_size: int, learning_rate: Tensor) -> None:
        """Update all models from their gradients; ``learning_rate`` float64 [M]."""
        self.steps += 1
        tokens = batch_size * self.context
        beta1 = torch.tensor([r.beta1 for r in self.recipes], dtype=torch.float64)
        beta2 = torch.tensor(
            [2.0 ** (-tokens / r.half_life) if r.half_life else r.beta2 for r in self.recipes],
            dtype=torch.float64,
        )
        self.log_beta1 += torch.log(beta1)
        self.log_beta2 += torch.log(beta2)
        # The exact normaliser of a varying coefficient: 1 minus the product of those used so far.
        correct1, correct2 = -torch.expm1(self.log_beta1), -torch.expm1(self.log_beta2)
        grads = {name: _gradient(p) for name, p in self.model.parameters.items()}
        if self.clip is not None:
            norm = sum(g.square().sum(dim=(1, 2)) for g in grads.values()).sqrt()
            scale = torch.clamp(self.clip / (norm + 1e-12), max=1.0)
            grads = {name: g * scale[:, None, None] for name, g in grads.items()}
        one = self._shape
        lr = one(learning_rate)
        for name, p in self.model.parameters.items():
            g, state, kind = grads[name], self.state[name], self._kind(name)
            if kind == "adam":
                state["m"].mul_(one(beta1)).add_(g * one(1 - beta1))
                state["v"].mul_(one(beta2)).add_(g.square() * one(1 - beta2))
                root = (state["v"] / one(correct2)).sqrt_().add_(1e-8)
                update = (state["m"] / one(correct1)) / root
            elif kind == "adafactor":
                update = self._adafactor(g, state, beta2, correct2) * self._scale(p)
            elif kind == "muon":
                state["m"].mul_(one(beta1)).add_(g * one(1 - beta1))
                update = orthogonal(state["m"]) * math.sqrt(max(1.0, p.shape[1] / p.shape[2]))
            elif kind == "signum":
                state["m"].mul_(one(beta1)).add_(g * one(1 - beta1))
                update = state["m"].sign()
            else:
                state["m"].mul_(one(beta1)).add_(g)
                update = state["m"]
            rate = lr * MUON_EMBEDDING_RATIO if self.kind == "muon" and kind == "adam" else lr
            p.mul_(1 - rate * one(self.decay)).sub_(rate * update)
            if self.recipes[0].weights != "float32":
                stochastic = self.recipes[0].weights == "bf16_stochastic"
                for m, generator in enumerate(self.generators):
                    p[m] = round_to_bf16(p[m], stochastic=stochastic, generator=generator)
            p.grad = None

    def _adafactor(self, g: Tensor, state: dict[str, Tensor], beta2: Tensor, correct2: Tensor) -> Tensor:
        """Factored second moment; the power law needs no correction because its first weight is 1."""
        square = g.square() + 1e-30
        if self.recipes[0].exponent is not None:
            exponent = torch.tensor([r.exponent for r in self.recipes], dtype=torch.float64)
            keep = 1 - self.steps ** (-exponent)
            norm = torch.ones_like(keep)
        else:
            keep, norm = beta2, correct2
        keep = keep.float()[:, None]
        state["rows"].mul_(keep).add_(square.mean(dim=2) * (1 - keep))
        state["columns"].mul_(keep).add_(square.mean(dim=1) * (1 - keep))
        rows, columns = (state[n] / norm.float()[:, None] for n in ("rows", "columns"))
        v = rows[:, :, None] * columns[:, None, :] / rows.mean(dim=1)[:, None, None]
        update = g / v.sqrt()
        rms = update.square().mean(dim=(1, 2), keepdim=True).sqrt()
        return update / torch.clamp(rms, min=1.0)

    @staticmethod
    def _scale(p: Tensor) -> Tensor:
        return torch.clamp(p.square().mean(dim=(1, 2), keepdim=True).sqrt(), min=1e-3)


def _gradient(p: Tensor) -> Tensor:
    assert p.grad is not None  # backward has run
    return p.grad


def orthogonal(m: Tensor) -> Tensor:
    """Five Newton-Schulz steps towards the orthogonal factor of each matrix [M, rows, columns]."""
    a, b, c = NEWTON_SCHULZ
    tall = m.shape[1] > m.shape[2]
    x = m.transpose(1, 2) if tall else m
    x = x / (x.square().sum(dim=(1, 2), keepdim=True).sqrt() + 1e-8)
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.transpose(1, 2) if tall else x


def learning_rate_factor(recipe: Recipe, rows_before: int, step: int, batch_size: int) -> float:
    """Warm-up, then cosine to zero over the tokens, evaluated at the middle of the step."""
    fraction = (rows_before + 0.5 * batch_size) / recipe.rows
    if recipe.warmup_index == "tokens":
        rise = min(1.0, fraction / recipe.warmup) if recipe.warmup > 0 else 1.0
        place = max(0.0, (fraction - recipe.warmup) / (1 - recipe.warmup))
    else:
        rise = min(1.0, (step + 0.5) / recipe.warmup) if recipe.warmup > 0 else 1.0
        place = fraction
    scale = (batch_size / recipe.batch_sizes[0][0]) ** recipe.lr_power
    return scale * min(rise, 0.5 * (1 + math.cos(math.pi * place)) if rise >= 1 else rise)


def _rows(tokens: np.ndarray, index: np.ndarray, context: int) -> Tensor:
    places = np.asarray(index)[..., None] * context + np.arange(context + 1)
    return torch.from_numpy(tokens[places].astype(np.int64))


def train_stack(
    recipes: Sequence[Recipe],
    corpus: Corpus,
    held_out: Tensor,
    *,
    records: int = 4,
    progress: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """Train one stack of recipes with equal ``stack_key`` and return an outcome for each, in order.

    Args:
        recipes: at least one.
        corpus: text.
        held_out: validation rows int64 [R, context + 1], the same for every run of a study.
        records: number of equally spaced validation points (by steps).
        progress: called with the number of rows consumed by the stack since the last call.

    Raises:
        InputError: recipes that cannot share a stack.
    """
    if len({recipe.stack_key() for recipe in recipes}) != 1:
        raise input_error(
            got="recipes with different models, optimizers, batch sizes or weight formats",
            rule="a stack shares them",
            do="group them by stack_key()",
        )
    config = model_config(recipes[0].model)
    stack = StackedGPT(config, [r.seed for r in recipes])
    optimizer = StackedOptimizer(stack, recipes, config.context)
    sizes = [b for b, n in recipes[0].batch_sizes for _ in range(n)]
    available = row_count(corpus.train, config.context)
    order = np.stack(
        [permuted_rows(np.arange(r.rows), rows=available, seed=r.seed) for r in recipes]
    )  # [M, rows]
    peak = torch.tensor([r.learning_rate for r in recipes], dtype=torch.float64)
    milestones = [len(sizes) * (k + 1) // records for k in range(records)]
    losses: list[list[float]] = [[] for _ in recipes]
    diverged: list[int | None] = [None] * len(recipes)
    tokens: list[int] = []
    before = 0
    for step, size in enumerate(sizes):
        index = order[:, before : before + size]
        if recipes[0].contiguous:
            # A random starting row and its neighbours, as a loader that cuts consecutive microbatches does.
            index = (index[:, :1] + np.arange(size)[None, :]) % available
        rows = _rows(corpus.train, index, config.context)
        found = stack.losses(rows)
        found.sum().backward()
        values = found.detach()
        if not bool(torch.isfinite(values).all()):
            for m in torch.nonzero(~torch.isfinite(values)).flatten().tolist():
                diverged[m] = step if diverged[m] is None else diverged[m]
                for p in stack.parameters.values():  # keep the others going: this one is out
                    p.data[m] = 0.0
                    _gradient(p)[m] = 0.0
                for state in optimizer.state.values():
                    for tensor in state.values():
                        tensor[m] = 0.0 if optimizer.kind != "adafactor" else 1.0
        factors = [learning_rate_factor(r, before, step, size) for r in recipes]
        optimizer.step(size, peak * torch.tensor(factors, dtype=torch.float64))
        before += size
        if progress is not None:
            progress(size)
        if step + 1 in milestones:
            tokens.append(before * config.context)
            for m, loss in enumerate(evaluate(stack, held_out)):
                losses[m].append(loss if diverged[m] is None and math.isfinite(loss) else math.inf)
    return [
        Outcome(
            recipe=recipe,
            tokens=tuple(tokens),
            validation_loss=tuple(losses[m]),
            diverged_at_step=diverged[m],
        )
        for m, recipe in enumerate(recipes)
    ]


@torch.no_grad()
def evaluate(stack: StackedGPT, held_out: Tensor, *, chunk: int = 32) -> list[float]:
    """Mean cross-entropy of each model over the same rows [R, T + 1]."""
    models = next(iter(stack.parameters.values())).shape[0]
    total = torch.zeros(models, dtype=torch.float64)
    for part in held_out.split(chunk):
        total += stack.losses(part.expand(models, *part.shape)).double() * len(part)
    return (total / len(held_out)).tolist()
