"""From a configuration to optimizers that all step in tokens: stock torch ones where they serve, else the
lean one.

``adamw`` and ``sgd`` in float32 are torch's fused ones (Adam behind :class:`TokenHalfLife`, which keeps the
bias correction exact when beta2 moves); ``muon`` is torch's Muon for the matrices inside the blocks and AdamW
for everything else; all of them in bfloat16 weights, in-backward updates, Adafactor and the sign methods are
:class:`LeanOptimizer`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from bstheory.errors import input_error
from bstheory.half_life import beta_from_half_life
from bstheory.training.lean_optimizer import LeanOptimizer
from bstheory.training.token_half_life import TokenHalfLife

NAMES = ("adamw", "sgd", "sign_sgd", "signum", "adafactor", "muon")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """What to optimize with; the learning rate comes from its schedule.

    Attributes:
        name: adamw, sgd, sign_sgd, signum, adafactor or muon.
        beta1, beta2: coefficients per step, where no half-life is given. For sgd and signum, beta1 is the
            momentum; for muon, beta1 is the momentum of the matrices and both are AdamW's for the rest.
        beta1_half_life, beta2_half_life: tokens; they replace the coefficients.
        beta2_floor, beta2_cap: explicit bounds on the beta2 of a half-life.
        eps: AdamW's, outside the root.
        weight_decay: decoupled, times the learning rate; on matrices only (embeddings included).
        adafactor_exponent: None averages with beta2 or its half-life; a number c uses 1 - k^(-c) at step k.
        embedding_lr_ratio: for muon, AdamW's learning rate over Muon's.
        stochastic_rounding: for bfloat16 weights.
        in_backward: update each weight inside the backward pass (no accumulation, no clipping).
    """

    name: str = "adamw"
    beta1: float = 0.9
    beta2: float = 0.95
    beta1_half_life: float | None = None
    beta2_half_life: float | None = None
    beta2_floor: float | None = None
    beta2_cap: float | None = None
    eps: float = 1e-8
    weight_decay: float = 0.0
    adafactor_exponent: float | None = None
    embedding_lr_ratio: float = 0.1
    stochastic_rounding: bool = True
    in_backward: bool = False

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise input_error(
                got=f"optimizer {self.name!r}", rule=f"it is one of {', '.join(NAMES)}", do="choose one"
            )
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise input_error(
                    got=f"{name}={getattr(self, name)}",
                    rule=f"0 <= {name} < 1, because 1 never forgets",
                    do="lower it, or give a half-life in tokens",
                )
        for name in ("weight_decay", "eps"):
            if not 0 <= getattr(self, name) < math.inf:
                raise input_error(
                    got=f"{name}={getattr(self, name)}",
                    rule=f"{name} is finite and not negative",
                    do="correct it",
                )
        if not 0 < self.embedding_lr_ratio < math.inf:
            raise input_error(
                got=f"embedding_lr_ratio={self.embedding_lr_ratio}",
                rule="a ratio of learning rates is positive and finite",
                do="correct it",
            )
        self._require_used()
        if self.in_backward and self.name == "muon":
            raise input_error(
                got="muon with in_backward",
                rule="torch's Muon updates all matrices in one step",
                do="choose another optimizer, or leave in_backward out",
            )

    def _require_used(self) -> None:
        """Raise where something was given that this optimizer would not use."""
        second = ("beta2_half_life", "beta2_floor", "beta2_cap")
        unused = {
            "adafactor": ("beta1_half_life",),
            "sgd": second,
            "signum": second,
            "sign_sgd": ("beta1_half_life", *second),
        }.get(self.name, ())
        if self.name != "adafactor":
            unused = (*unused, "adafactor_exponent")
        elif self.adafactor_exponent is not None:
            unused = (*unused, *second)
        for name in unused:
            if getattr(self, name) is not None:
                power = self.name == "adafactor" and name in second
                raise input_error(
                    got=f"{name}={getattr(self, name)} for the optimizer {self.name!r}",
                    rule="adafactor_exponent replaces beta2 and its half-life"
                    if power
                    else "this optimizer has no such average",
                    why="it would have no effect",
                    do="leave it out, or choose another optimizer",
                )


class TokenOptimizer:
    """One or two torch optimizers behind one interface that counts tokens.

    Attributes:
        parts: name -> torch optimizer.
        lr_ratio: name -> factor on the scheduled learning rate.
    """

    def __init__(
        self,
        parts: Mapping[str, torch.optim.Optimizer],
        *,
        half_lives: Mapping[str, TokenHalfLife] | None = None,
        lr_ratio: Mapping[str, float] | None = None,
        momentum_half_life: float | None = None,
        in_backward: bool = False,
    ) -> None:
        self.parts = dict(parts)
        self.half_lives = dict(half_lives or {})
        self.lr_ratio = {name: (lr_ratio or {}).get(name, 1.0) for name in parts}
        self.momentum_half_life = momentum_half_life
        self.in_backward = in_backward
        if in_backward:
            for part in self.parts.values():
                part.attach()

    def set_learning_rate(self, value: float) -> None:
        """The rate of the next step."""
        for name, part in self.parts.items():
            for group in part.param_groups:
                group["lr"] = value * self.lr_ratio[name]

    @contextlib.contextmanager
    def one_step(self, tokens: int) -> Iterator[None]:
        """Backward passes of one step go inside; the update happens in them or at the end of the block."""
        if self.in_backward:
            with contextlib.ExitStack() as stack:
                for part in self.parts.values():
                    stack.enter_context(part.in_one_step(tokens))
                yield
            return
        yield
        self.step(tokens=tokens)

    def step(self, *, tokens: int) -> None:
        """Update from the gradients at hand, a step of ``tokens`` tokens over all ranks."""
        for name, part in self.parts.items():
            if name in self.half_lives:
                self.half_lives[name].step(tokens=tokens)
            elif isinstance(part, LeanOptimizer):
                part.step(tokens=tokens)
            else:
                if self.momentum_half_life is not None:
                    beta = beta_from_half_life(half_life=self.momentum_half_life, tokens_per_step=tokens)
                    for group in part.param_groups:
                        group["momentum"] = beta
                part.step()

    def zero_grad(self) -> None:
        """Free all gradients."""
        for part in self.parts.values():
            for group in part.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None

    def counters(self) -> dict[str, Any]:
        """What lies beside the torch state: JSON."""
        return {name: half_life.state_dict() for name, half_life in self.half_lives.items()}

    def load_counters(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`counters`; load the torch state first."""
        for name, half_life in self.half_lives.items():
            half_life.load_state_dict(state[name])


def _groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices, none on vectors; without decay one group, which is one fused update."""
    if weight_decay == 0:
        return [{"params": parameters, "weight_decay": 0.0}]
    matrices = [p for p in parameters if p.dim() >= 2]
    vectors = [p for p in parameters if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _matrices_first(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """The same groups for updates that draw random numbers: their order is part of a run's numbers."""
    ordered = sorted(parameters, key=lambda p: p.dim() < 2)  # stable
    return _groups(ordered, weight_decay)


def _adamw(
    parameters: list[nn.Parameter], config: OptimizerConfig
) -> tuple[torch.optim.AdamW, TokenHalfLife]:
    optimizer = torch.optim.AdamW(
        _groups(parameters, config.weight_decay),
        lr=0.0,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=True,
    )
    half_life = TokenHalfLife(
        optimizer,
        beta1_half_life=config.beta1_half_life,
        beta2_half_life=config.beta2_half_life,
        beta2_floor=config.beta2_floor,
        beta2_cap=config.beta2_cap,
    )
    return optimizer, half_life


def _lean(parameters: list[nn.Parameter], config: OptimizerConfig, seed: int) -> LeanOptimizer:
    rule = {"adamw": "adam", "signum": "sign_sgd"}.get(config.name, config.name)
    momentum = config.name in ("adamw", "sgd", "signum")
    power = config.name == "adafactor" and config.adafactor_exponent is not None
    return LeanOptimizer(
        _matrices_first(parameters, config.weight_decay),
        rule=rule,
        lr=0.0,
        beta1=config.beta1 if momentum else 0.0,
        beta2=config.beta2,
        beta1_half_life=config.beta1_half_life if momentum else None,
        beta2_half_life=config.beta2_half_life,
        beta2_floor=config.beta2_floor,
        beta2_cap=config.beta2_cap,
        eps=config.eps,
        decay="power" if power else "half_life",
        exponent=config.adafactor_exponent if power else 0.8,
        stochastic_rounding=config.stochastic_rounding,
        seed=seed,
    )


def build_optimizer(model: nn.Module, config: OptimizerConfig, *, seed: int = 0) -> TokenOptimizer:
    """The optimizer of ``config`` over the trainable parameters of ``model``.

    Args:
        model: any module; for ``muon``, the matrices of ``model.blocks`` go to Muon and the rest to AdamW.
        config: see :class:`OptimizerConfig`.
        seed: of stochastic rounding.

    Raises:
        InputError: muon on a model without blocks, or on weights that are not float32.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    single = all(p.dtype == torch.float32 for p in parameters)
    if config.name == "muon":
        inside = {id(p) for n, p in model.named_parameters() if ".blocks." in f".{n}" and p.dim() == 2}
        matrices = [p for p in parameters if id(p) in inside]
        if not matrices or not single:
            raise input_error(
                got=f"muon on {type(model).__name__} with {len(matrices)} block matrices",
                rule="Muon updates float32 matrices inside `blocks`",
                do="use a model of bstheory.models in float32, or another optimizer",
            )
        muon = torch.optim.Muon(
            matrices, lr=0.0, momentum=config.beta1, nesterov=False, weight_decay=config.weight_decay
        )
        adamw, half_life = _adamw([p for p in parameters if id(p) not in inside], config)
        return TokenOptimizer(
            {"muon": muon, "adamw": adamw},
            half_lives={"adamw": half_life},
            lr_ratio={"adamw": config.embedding_lr_ratio},
            momentum_half_life=config.beta1_half_life,
        )
    if single and not config.in_backward:
        if config.name == "adamw":
            optimizer, half_life = _adamw(parameters, config)
            return TokenOptimizer({"adamw": optimizer}, half_lives={"adamw": half_life})
        if config.name == "sgd" and config.beta1 == 0 and config.beta1_half_life is None:
            groups = _groups(parameters, config.weight_decay)
            return TokenOptimizer({"sgd": torch.optim.SGD(groups, lr=0.0, fused=True)})
    return TokenOptimizer({config.name: _lean(parameters, config, seed)}, in_backward=config.in_backward)
