"""``LeanOptimizer``: SGD, sign-SGD, Adam and Adafactor with float32 arithmetic, for weights in any precision.

What the stock optimizers lack and small-batch training in little memory needs: Adafactor with both meanings
of its decay and no hidden cap on the learning rate, half-lives in tokens with exact normalization, bfloat16
weights that are rounded stochastically, and the update of each weight inside the backward pass, so that no
gradient outlives its layer.

With g the gradient, eta the learning rate, lambda the decoupled weight decay, every average normalized by its
total weight c (c_n = (1 - beta_n) + beta_n c_{n-1}, so that xhat = x / c)::

    sgd        theta <- theta - eta (mhat + lambda theta)                   beta1 = 0: plain, mhat = g
    sign_sgd   theta <- theta - eta (sign mhat + lambda theta)              beta1 > 0: Signum
    adam       theta <- theta - eta (mhat / (sqrt vhat + eps) + lambda theta)
    adafactor  G = g^2 + 1e-30;  R = mean of G over its largest axis a, C over its second largest b, averaged;
               u = g (R / mean_b R)^(-1/2) C^(-1/2)   (u = g / sqrt V where not factored);
               u <- u / max(1, rms u);   theta <- theta - eta (max(rms theta, 1e-3) u + lambda theta)

Momentum here is an average, so sgd's learning rate does not depend on beta1 (torch's heavy ball is 1/(1 -
beta1) times larger at the same number). Reference: arXiv:2507.07101 section 5 of its appendix for adafactor
and stochastic rounding; Bernstein et al. 2018 (sign-SGD); Kingma and Ba 2015; Shazeer and Stern 2018.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bstheory.errors import input_error
from bstheory.half_life import limited_beta, one_minus_beta

RULES = ("sgd", "sign_sgd", "adam", "adafactor")
DECAYS = ("half_life", "power")
TINY = 1e-30
LEAST_SCALE = 1e-3


def round_stochastically(value: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """float32 to bfloat16, up or down with probabilities that make the expectation exact.

    A uniform integer in [0, 2^16) is added to the bits and the low 16 are cleared: the two neighbours are hit
    in proportion to the distance from the other one, for both signs. Infinities and NaN stay what they are.
    """
    bits = value.contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, dtype=torch.int32, device=bits.device, generator=generator)
    rounded = noise.add_(bits).bitwise_and_(-65536).view(torch.float32)
    # The carry of a NaN can end anywhere; an infinity has no low bits and stays.
    return rounded.masked_fill_(value.isnan(), math.nan).to(torch.bfloat16)


def _rms(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x) / math.sqrt(x.numel())


class LeanOptimizer(torch.optim.Optimizer):
    """See the module. Groups may set any argument but ``seed`` for their parameters.

    Args:
        params: parameters or groups.
        rule: ``sgd``, ``sign_sgd``, ``adam`` or ``adafactor``.
        lr: learning rate; for ``adafactor`` a step relative to the root mean square of the weight.
        beta1: coefficient of the momentum average; 0 keeps none.
        beta2: coefficient of the second moment where no half-life is given.
        beta1_half_life, beta2_half_life: tokens; they replace the coefficients.
        beta2_floor, beta2_cap: explicit bounds on the beta2 of a half-life.
        eps: for ``adam``, outside the root.
        weight_decay: decoupled, multiplied by ``lr``.
        decay: for ``adafactor``: ``half_life`` averages with beta2 (or its half-life), normalized exactly;
            ``power`` uses rho_k = 1 - k^(-exponent) at step k, which is what the code behind
            arXiv:2507.07101 runs when its "beta2" is passed as ``exponent``: almost a plain mean of all past.
        exponent: for ``decay="power"``, in (0, 1].
        min_factored: matrices whose second largest axis is shorter are not factored.
        stochastic_rounding: how bfloat16 weights are written; False rounds to nearest.
        seed: of the rounding; the noise of a step is a function of (seed, step, order of the parameters).

    Raises:
        InputError: an unknown rule, a value out of range, or a sharded parameter under ``adafactor``.

    Checkpoint behavior: all state is in ``state_dict()``; the rounding needs none.
    """

    def __init__(
        self,
        params: Any,
        *,
        rule: str,
        lr: float = 1e-3,
        beta1: float = 0.0,
        beta2: float = 0.95,
        beta1_half_life: float | None = None,
        beta2_half_life: float | None = None,
        beta2_floor: float | None = None,
        beta2_cap: float | None = None,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decay: str = "half_life",
        exponent: float = 0.8,
        min_factored: int = 128,
        stochastic_rounding: bool = True,
        seed: int = 0,
    ) -> None:
        defaults = {
            "rule": rule,
            "lr": lr,
            "beta1": beta1,
            "beta2": beta2,
            "beta1_half_life": beta1_half_life,
            "beta2_half_life": beta2_half_life,
            "beta2_floor": beta2_floor,
            "beta2_cap": beta2_cap,
            "eps": eps,
            "weight_decay": weight_decay,
            "decay": decay,
            "exponent": exponent,
            "min_factored": min_factored,
            "stochastic_rounding": stochastic_rounding,
            "steps": 0,
        }
        self.seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}
        self._hooks: list[Any] = []
        self._step_tokens: int | None = None
        super().__init__(params, defaults)
        for group in self.param_groups:
            _check(group)

    @torch.no_grad()
    def step(self, closure: Any = None, *, tokens: int | None = None) -> Any:
        """One step over ``tokens`` tokens (needed only where a half-life is set)."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        with self.in_one_step(tokens):
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._update(parameter, parameter.grad, group)
        return loss

    @contextlib.contextmanager
    def in_one_step(self, tokens: int | None) -> Iterator[None]:
        """Everything updated inside belongs to one step; with :meth:`attach`, run ``backward()`` inside."""
        for group in self.param_groups:
            group["steps"] += 1
            group["rates"] = _rates(group, tokens)
        for generator in self._generators.values():
            generator.manual_seed(_step_seed(self.seed, self.param_groups[0]["steps"]))
        self._step_tokens = tokens or 0
        try:
            yield
        finally:
            self._step_tokens = None
            for group in self.param_groups:
                del group["rates"]

    def attach(self) -> None:
        """Update each parameter as soon as its gradient is complete, and free the gradient.

        Run ``backward()`` inside :meth:`in_one_step` and do not call :meth:`step`. Neither accumulation nor
        clipping by the global norm is possible then, because no two gradients exist at the same time.
        """
        for group in self.param_groups:
            for parameter in group["params"]:
                self._hooks.append(parameter.register_post_accumulate_grad_hook(self._hook(group)))

    def _hook(self, group: dict[str, Any]) -> Any:
        @torch.no_grad()
        def update(parameter: Tensor) -> None:
            if self._step_tokens is None:
                raise input_error(
                    got="a backward pass outside LeanOptimizer.in_one_step",
                    rule="with attach() the update happens in the backward pass",
                    do="wrap backward() in `with optimizer.in_one_step(tokens):`",
                )
            self._update(parameter, parameter.grad, group)
            parameter.grad = None

        return update

    def detach(self) -> None:
        """Undo :meth:`attach`."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            generator = torch.Generator(device)
            generator.manual_seed(_step_seed(self.seed, self.param_groups[0]["steps"]))
            self._generators[device] = generator
        return self._generators[device]

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        whole = parameter
        if hasattr(
            parameter, "to_local"
        ):  # a DTensor: every rule but adafactor acts coordinate by coordinate
            if group["rule"] == "adafactor":
                raise input_error(
                    got="a sharded parameter under adafactor",
                    rule="its row and column means span shards",
                    do="use DDP or one device, or another optimizer",
                )
            parameter, gradient = parameter.to_local(), gradient.to_local()
        state = self.state[whole]
        if not state:
            state["weights"] = torch.zeros(2, dtype=torch.float64)  # c of the first and second average
        theta = parameter.float()
        direction = _direction(gradient.float(), theta, state, group)
        if group["weight_decay"]:
            theta.mul_(1.0 - group["lr"] * group["weight_decay"])
        theta.sub_(direction, alpha=group["lr"])
        if parameter.dtype == torch.float32:
            return
        del direction  # the rounding needs its room
        if parameter.dtype == torch.bfloat16 and group["stochastic_rounding"]:
            parameter.copy_(round_stochastically(theta, self._generator(parameter.device)))
        else:
            parameter.copy_(theta)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore, keeping float32 state beside low-precision weights (the base class would cast it)."""
        super().load_state_dict(state_dict)
        saved = state_dict["state"]
        order = [i for group in state_dict["param_groups"] for i in group["params"]]
        mine = [p for group in self.param_groups for p in group["params"]]
        for index, parameter in zip(order, mine, strict=True):
            for key, value in saved.get(index, {}).items():
                device = torch.device("cpu") if key == "weights" else value.device
                device = device if key == "weights" else parameter.device
                self.state[parameter][key] = value.to(device=device, copy=True)


def _step_seed(seed: int, step: int) -> int:
    return (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9) % 2**63


def _rates(group: dict[str, Any], tokens: int | None) -> tuple[float, float]:
    """(1 - beta1, 1 - beta2) of this step, without cancellation."""
    found = []
    for name in ("beta1", "beta2"):
        half_life = group[f"{name}_half_life"]
        if name == "beta2" and group["rule"] == "adafactor" and group["decay"] == "power":
            found.append(group["steps"] ** -group["exponent"])
        elif half_life is None:
            found.append(1.0 - group[name])
        elif tokens is None or tokens < 1:
            raise input_error(
                got=f"tokens={tokens} in a step with {name}_half_life={half_life}",
                rule="a half-life in tokens needs the tokens of the step",
                do="call step(tokens=...)",
            )
        else:
            limits = {"floor": group["beta2_floor"], "cap": group["beta2_cap"]} if name == "beta2" else {}
            limited = limited_beta(half_life=half_life, tokens_per_step=tokens, **limits)
            exact = one_minus_beta(half_life=half_life, tokens_per_step=tokens)
            found.append(1.0 - limited.beta if limited.limited_by else exact)
    return found[0], found[1]


def _average(state: dict[str, Any], name: str, value: Tensor, share: float) -> Tensor:
    """Move the normalized average ``state[name]`` by ``share`` towards ``value``."""
    if name not in state:
        state[name] = torch.zeros_like(value)
    return state[name].lerp_(value, share)


def _share(state: dict[str, Any], index: int, rate: float) -> float:
    """Share of the newest value in the normalized average: (1 - beta) / c, after adding it to c."""
    weights = state["weights"]
    total = rate + (1.0 - rate) * float(weights[index])
    weights[index] = total
    return min(rate / total, 1.0)


def _direction(g: Tensor, theta: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    rate1, rate2 = group["rates"]
    rule = group["rule"]
    if rule == "adafactor":
        return _adafactor(g, theta, state, group, rate2)
    momentum = g
    if group["beta1"] > 0 or group["beta1_half_life"] is not None:
        momentum = _average(state, "momentum", g, _share(state, 0, rate1))
    if rule == "sgd":
        return momentum
    if rule == "sign_sgd":
        return momentum.sign()
    share = _share(state, 1, rate2)
    if "second" not in state:
        state["second"] = torch.zeros_like(g)
    second = state["second"].mul_(1.0 - share).addcmul_(g, g, value=share)
    root = second.sqrt().add_(group["eps"])
    return torch.div(momentum, root, out=root)


def _adafactor(g: Tensor, theta: Tensor, state: dict[str, Any], group: dict[str, Any], rate: float) -> Tensor:
    square = g.square().add_(TINY)
    share = _share(state, 1, rate) if group["decay"] == "half_life" else rate
    axes = sorted(range(g.dim()), key=lambda axis: g.shape[axis])
    if g.dim() >= 2 and g.shape[axes[-2]] >= group["min_factored"]:
        largest, second = axes[-1], axes[-2]
        row = _average(state, "row", square.mean(largest, keepdim=True), share)
        column = _average(state, "column", square.mean(second, keepdim=True), share)
        del square  # before the next array of this size
        u = (g * (row / row.mean(second, keepdim=True)).rsqrt()).mul_(column.rsqrt())
    else:
        u = square.copy_(_average(state, "second", square, share)).rsqrt_().mul_(g)
    u.div_(_rms(u).clamp_(min=1.0))
    return u.mul_(_rms(theta).clamp_(min=LEAST_SCALE))


def _check(group: dict[str, Any]) -> None:
    if group["rule"] not in RULES:
        raise input_error(
            got=f"rule={group['rule']!r}", rule=f"it is one of {', '.join(RULES)}", do="pick one"
        )
    if group["decay"] not in DECAYS:
        raise input_error(
            got=f"decay={group['decay']!r}", rule=f"it is one of {', '.join(DECAYS)}", do="pick one"
        )
    ranges = {
        "lr": group["lr"] >= 0,
        "beta1": 0 <= group["beta1"] < 1,
        "beta2": 0 <= group["beta2"] < 1,
        "eps": group["eps"] >= 0,
        "weight_decay": group["weight_decay"] >= 0,
        "exponent": 0 < group["exponent"] <= 1,
        "min_factored": group["min_factored"] >= 2,
    }
    for name, holds in ranges.items():
        if not holds or not math.isfinite(group[name]):
            raise input_error(got=f"{name}={group[name]}", rule="it is out of range", do="correct it")
    if group["rule"] == "adafactor" and (group["beta1"] or group["beta1_half_life"] is not None):
        raise input_error(
            got="adafactor with momentum",
            rule="this adafactor keeps no first moment",
            why="the memory it saves is its purpose",
            do="leave beta1 at 0",
        )
    for name in ("beta1", "beta2"):
        if group[f"{name}_half_life"] is not None:
            one_minus_beta(half_life=group[f"{name}_half_life"], tokens_per_step=1)
