"""``TokenHalfLife``: a stock Adam or AdamW with betas on token half-lives and exact bias correction.

Adam divides its averages by ``1 - prod(beta_k)``. The stock implementations compute ``1 - beta ** step``
with the *current* beta instead, which is right only while beta never changes. Here the division is folded
into the average. With ``c`` the total weight of the average so far::

    c_n      = (1 - beta_n) + beta_n c_{n-1},    c_0 = 0         (so that c_n = 1 - prod beta_k)
    beta~_n  = beta_n c_{n-1} / c_n
    mhat_n   = beta~_n mhat_{n-1} + (1 - beta~_n) g_n            (equals m_n / c_n exactly)

The optimizer runs its own update with ``beta~`` and a step count so large that its own correction is
exactly 1. Its buffers then hold the corrected averages. Nothing else is touched: learning rate, epsilon,
weight decay (coupled or decoupled) and every implementation (loop, foreach, fused, capturable) keep their
meaning, for both betas at once.

Reference: the half-life rule of Marek et al. 2025 (arXiv 2507.07101); Adam as in Kingma and Ba 2015,
algorithm 1, with ``beta`` indexed by the step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from bstheory.errors import input_error
from bstheory.half_life import LN2, limited_beta, one_minus_beta

FAR = 2.0**60
"""Step count written into the optimizer: beta ** FAR is 0 for every beta that does not round to 1."""

FORMAT = 1
_FLOAT32_NEAR_ONE = 1e-7  # capturable implementations raise float32(beta) to the step


@dataclasses.dataclass
class _History:
    """Parameters of one group that were updated in exactly the same steps, and their total weights."""

    members: list[int]
    weight1: float = 0.0
    weight2: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepBetas:
    """What a step used: the betas of the rule, and the total weights that the averages had after it."""

    tokens: int
    beta1: float
    beta2: float
    weight1: float
    weight2: float


class TokenHalfLife:
    """Steps a stock ``torch.optim.Adam`` or ``AdamW`` with half-lives given in tokens.

    Args:
        optimizer: the optimizer; its groups' ``betas`` are used where no half-life is given.
        beta1_half_life, beta2_half_life: tokens; ``None`` keeps the group's beta fixed per step.
        beta2_floor, beta2_cap: explicit bounds on beta2; :attr:`last` shows the value that was used.
        existing_state: what to do when the optimizer has already taken steps: ``"refuse"``;
            ``"constant_betas"`` when its betas never changed, so that the history is known; or ``"saved"``
            when :meth:`load_state_dict` follows, which the next step verifies.
        from_closure: :meth:`apply` is entered by the closure that ``optimizer.step(closure)`` runs, after the
            backward pass, and left after the step, as in Lightning's loop.

    Raises:
        InputError: another optimizer, ``amsgrad`` or ``differentiable``, betas held in tensors, a bad
        half-life,
            an existing state, ``optimizer.step()`` called directly, or a step under CUDA graph capture (a
            captured graph would repeat one beta for ever).

    Checkpoint behavior: :meth:`state_dict` is a handful of numbers per group (a few more if parameters were
    left out of some steps). Save it beside ``optimizer.state_dict()``; neither depends on the world size.
    The optimizer's ``exp_avg`` and ``exp_avg_sq`` are the *corrected* averages and its ``step`` is ``FAR``,
    so continuing without this class means no bias correction, which is right after the first half-lives.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> adam = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.0)
        >>> half_life = TokenHalfLife(adam, beta2_half_life=1e6)
        >>> weight.grad = torch.ones(1)
        >>> half_life.step(tokens=4096)
        >>> round(weight.item(), 6)
        -0.1
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        beta1_half_life: float | None = None,
        beta2_half_life: float | None = None,
        beta2_floor: float | None = None,
        beta2_cap: float | None = None,
        existing_state: str = "refuse",
        from_closure: bool = False,
    ) -> None:
        self.optimizer = optimizer
        self.from_closure = from_closure
        self.half_lives = {"beta1": beta1_half_life, "beta2": beta2_half_life}
        self.limits = {"floor": beta2_floor, "cap": beta2_cap}
        self.tokens = 0
        self.steps = 0
        self.last: StepBetas | None = None
        self._inside = False
        self._stepped = False
        self._verify_state = False
        self._used: list[tuple[float, float]] = []
        _check_optimizer(optimizer)
        if beta2_half_life is None and (beta2_floor, beta2_cap) != (None, None):
            raise input_error(
                got="a floor or cap on beta2 without beta2_half_life",
                rule="limits apply to the half-life rule",
                do="pass beta2_half_life, or drop the limits",
            )
        for name, value in self.half_lives.items():
            if value is not None:
                one_minus_beta(half_life=value, tokens_per_step=1)  # raises on a bad value
                if not isinstance(value, int | float):
                    raise input_error(
                        got=f"{name}_half_life={value!r}", rule="it is one number", do="pass one"
                    )
        if beta2_half_life is not None:
            limited_beta(half_life=max(beta2_half_life, 1.0), tokens_per_step=1, **self.limits)
        self._base = [tuple(map(float, group["betas"])) for group in optimizer.param_groups]
        self._histories = [[_History(list(range(len(g["params"]))))] for g in optimizer.param_groups]
        self._adopt(existing_state)
        optimizer.register_step_pre_hook(self._before_step)
        optimizer.register_step_post_hook(self._after_step)
        optimizer.register_load_state_dict_post_hook(self._after_load)

    def step(self, *, tokens: int, closure: Callable[[], Any] | None = None) -> Any:
        """One optimizer step over a global batch of ``tokens`` tokens; returns what the optimizer returns."""
        with self.apply(tokens=tokens):
            return self.optimizer.step() if closure is None else self.optimizer.step(closure)

    @contextlib.contextmanager
    def apply(self, *, tokens: int) -> Iterator[None]:
        """Context in which ``optimizer.step()`` uses the exact betas; for a gradient scaler or a closure.

        A step that does not happen (the scaler skips it, or an exception) leaves everything as it was.
        """
        if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
            raise input_error(
                got=f"tokens={tokens!r}", rule="a step consumes a positive integer of tokens", do="pass it"
            )
        if len(self.optimizer.param_groups) != len(self._base):
            raise input_error(
                got=f"an optimizer with {len(self.optimizer.param_groups)} parameter groups",
                rule=f"it had {len(self._base)} when TokenHalfLife was attached",
                do="add every group first, then attach TokenHalfLife",
            )
        if self._verify_state:
            self._check_loaded()
        pending = self._prepare(tokens)
        groups = self.optimizer.param_groups
        before = [group["betas"] for group in groups]
        self._inside, self._stepped = True, False
        try:
            self._install(pending)
            yield
        finally:
            self.optimizer.param_groups = groups
            for group, betas in zip(groups, before):
                group["betas"] = betas
            self._inside = False
        if self._stepped:
            self._commit(pending, tokens)

    def rescale_second_moment(
        self, *, from_batch_size: float, to_batch_size: float, noise_scale: float = math.inf
    ) -> float:
        """Multiply every second moment by (1 + N/B1) / (1 + N/B0), once, at a jump of the batch size.

        The second moment estimates mu^2 + sigma^2/B and would need about a half-life to follow a change of B.
        ``noise_scale`` N = sigma^2/mu^2 in the unit of the batch sizes; infinite (the default) means that
        noise dominates, and the factor is B0/B1.

        Reference: docs/theorems, ``v_lag_after_ramp``. It is **exact** for the mean when N is exact and the
        same for all coordinates, and an approximation otherwise.
        """
        for name, value in (
            ("from_batch_size", from_batch_size),
            ("to_batch_size", to_batch_size),
            ("noise_scale", noise_scale),
        ):
            if not value > 0 or (math.isinf(value) and name != "noise_scale"):
                raise input_error(got=f"{name}={value}", rule=f"{name} is positive", do="pass it")
        if math.isinf(noise_scale):
            factor = from_batch_size / to_batch_size
        else:
            factor = (1 + noise_scale / to_batch_size) / (1 + noise_scale / from_batch_size)
        buffers = [s["exp_avg_sq"] for s in self.optimizer.state.values() if "exp_avg_sq" in s]
        if buffers:
            torch._foreach_mul_(buffers, factor)
        return factor

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON; see the class."""
        return {
            "format": FORMAT,
            "tokens": self.tokens,
            "steps": self.steps,
            "half_lives": dict(self.half_lives),
            "limits": dict(self.limits),
            "fixed_betas": self._fixed_betas(),
            "groups": [[dataclasses.asdict(history) for history in group] for group in self._histories],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; load the optimizer's own state as well.

        Raises:
            InputError: other half-lives, limits or fixed betas, other parameter groups than here, or not such
                a state; nothing is changed then.
        """
        mine = {
            "format": FORMAT,
            "half_lives": dict(self.half_lives),
            "limits": dict(self.limits),
            "fixed_betas": self._fixed_betas(),
        }
        _check_state(state)
        sizes = [sum(len(h["members"]) for h in group) for group in state["groups"]]
        here = [len(group["params"]) for group in self.optimizer.param_groups]
        if sizes != here:
            raise input_error(
                got=f"saved groups of {sizes} parameters",
                rule=f"the optimizer has groups of {here}",
                do="build the optimizer as it was built for the saved run",
            )
        for key, value in mine.items():
            if state.get(key) != value:
                raise input_error(
                    got=f"a saved {key} of {state.get(key)!r}",
                    rule=f"it is {value!r} here, and a changed beta or half-life is another experiment",
                    do="construct TokenHalfLife with the saved values",
                )
        self.tokens, self.steps = state["tokens"], state["steps"]
        self._histories = [[_History(**history) for history in group] for group in state["groups"]]
        self._verify_state = True

    def _fixed_betas(self) -> list[list[float | None]]:
        """[beta1, beta2] of each group as the optimizer was built; None where a half-life rules."""
        lives = (self.half_lives["beta1"], self.half_lives["beta2"])
        return [[b if life is None else None for b, life in zip(betas, lives)] for betas in self._base]

    def _betas(self, group: int, tokens: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """((beta1, 1 - beta1), (beta2, 1 - beta2)), the complements without cancellation."""
        found = []
        for name, fixed in zip(("beta1", "beta2"), self._base[group]):
            half_life = self.half_lives[name]
            if half_life is None:
                found.append((fixed, 1.0 - fixed))
                continue
            # bstheory.half_life for one number, without its checks: this runs at every step
            beta, rest = math.exp2(-tokens / half_life), -math.expm1(-LN2 * tokens / half_life)
            if name == "beta2":
                floor, cap = self.limits["floor"], self.limits["cap"]
                limited = max(beta, floor) if floor is not None else beta
                limited = min(limited, cap) if cap is not None else limited
                if limited != beta:
                    beta, rest = limited, 1.0 - limited
            found.append((beta, rest))
        return found[0], found[1]

    def _prepare(self, tokens: int) -> list[list[tuple[_History, float, float, float, float]]]:
        """Per group, per active history: (history, weight1, weight2, beta1~, beta2~) after this step."""
        pending = []
        self._used = []
        for index, group in enumerate(self.optimizer.param_groups):
            (beta1, rest1), (beta2, rest2) = self._betas(index, tokens)
            self._used.append((beta1, beta2))
            active = []
            for history in self._split_by_gradient(index, group["params"]):
                weight1 = rest1 + beta1 * history.weight1
                weight2 = rest2 + beta2 * history.weight2
                used = beta1 * history.weight1 / weight1, beta2 * history.weight2 / weight2
                limit = 1 - _FLOAT32_NEAR_ONE if group.get("capturable") else 1.0
                if max(used) >= limit:
                    raise input_error(
                        got=f"an effective beta of 1 - {1 - max(used):.3g}",
                        rule=f"it must stay below {limit!r}",
                        why="the optimizer's arithmetic would round it to 1",
                        do="shorten the half-life"
                        + (" or use capturable=False" if group.get("capturable") else ""),
                    )
                active.append((history, weight1, weight2, *used))
            pending.append(active)
        return pending

    def _split_by_gradient(self, index: int, params: list[torch.Tensor]) -> list[_History]:
        """Histories whose parameters all have a gradient now, splitting those that only partly do."""
        present = [p.grad is not None for p in params]
        if len(self._histories[index]) == 1 and all(present):
            return self._histories[index]
        histories, active = [], []
        for history in self._histories[index]:
            parts = (
                [i for i in history.members if present[i]],
                [i for i in history.members if not present[i]],
            )
            for part, has_gradient in zip(parts, (True, False)):
                if part:
                    piece = dataclasses.replace(history, members=part) if all(parts) else history
                    histories.append(piece)
                    if has_gradient:
                        active.append(piece)
        self._histories[index] = histories
        return active

    def _install(self, pending: list[list[tuple[_History, float, float, float, float]]]) -> None:
        if any(g.get("capturable") for g in self.optimizer.param_groups) and (
            torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
        ):
            raise input_error(
                got="a step under CUDA graph capture",
                rule="betas change from step to step and a captured graph would repeat one value",
                do="capture the model's forward and backward, and step outside the graph",
            )
        groups = self.optimizer.param_groups
        if all(len(active) <= 1 for active in pending):
            for group, active in zip(groups, pending):
                if active:
                    group["betas"] = active[0][3:]
            return
        # Parameters with different histories need different betas: one temporary group for each history.
        self.optimizer.param_groups = [
            {**group, "params": [group["params"][i] for i in history.members], "betas": (beta1, beta2)}
            for group, active in zip(groups, pending)
            for history, _, _, beta1, beta2 in active
        ]

    def _commit(self, pending: list[list[tuple[_History, float, float, float, float]]], tokens: int) -> None:
        for index, (group, active) in enumerate(zip(self.optimizer.param_groups, pending)):
            for history, weight1, weight2, _, _ in active:
                if history.weight1 == 0.0 and history.weight2 == 0.0:
                    self._set_step(group, history)
                history.weight1, history.weight2 = weight1, weight2
            if active:
                beta1, beta2 = self._used[index]
                group["betas"] = (beta1, beta2)  # what a logger should see; the next step replaces it
                self.last = StepBetas(
                    tokens=tokens,
                    beta1=beta1,
                    beta2=beta2,
                    weight1=active[0][1],
                    weight2=active[0][2],
                )
        self.tokens += tokens
        self.steps += 1

    def _set_step(self, group: dict[str, Any], history: _History) -> None:
        for member in history.members:
            self.optimizer.state[group["params"][member]]["step"].fill_(FAR)

    def _adopt(self, existing_state: str) -> None:
        if existing_state not in ("refuse", "constant_betas", "saved"):
            raise input_error(
                got=f"existing_state={existing_state!r}",
                rule="refuse, constant_betas or saved",
                do="pick one",
            )
        if existing_state == "saved":
            self._verify_state = True
            return
        state = self.optimizer.state
        if not any(state.get(p) for g in self.optimizer.param_groups for p in g["params"]):
            return
        if existing_state == "refuse":
            raise input_error(
                got="an optimizer that has already taken steps",
                rule="the betas of those steps must be known",
                do='attach TokenHalfLife before the first step, load its state, or pass "constant_betas"',
            )
        for index, group in enumerate(self.optimizer.param_groups):
            by_step: dict[float, list[int]] = {}
            for member, p in enumerate(group["params"]):
                by_step.setdefault(float(state[p]["step"]) if state.get(p) else 0.0, []).append(member)
            histories = []
            for step, members in sorted(by_step.items()):
                weights = [-math.expm1(step * math.log(b)) if b > 0 else 1.0 for b in self._base[index]]
                history = _History(members, *(weights if step else (0.0, 0.0)))
                histories.append(history)
                if step:
                    for p in (group["params"][m] for m in members):
                        state[p]["exp_avg"].div_(weights[0])
                        state[p]["exp_avg_sq"].div_(weights[1])
                    self._set_step(group, history)
            self._histories[index] = histories

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._inside:
            return
        if self._empty_step():
            # torch.distributed.checkpoint makes room for a state it is about to load by a step of size zero.
            self._verify_state = True
        elif not self.from_closure:
            raise self._outside()

    def _outside(self) -> Exception:
        return input_error(
            got="optimizer.step() outside TokenHalfLife",
            rule="the step must be told how many tokens it consumes",
            do="call token_half_life.step(tokens=...), or step inside token_half_life.apply(tokens=...)",
        )

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self.from_closure and not self._inside and not self._empty_step():
            raise self._outside()
        found_inf = getattr(optimizer, "found_inf", None)  # set by a gradient scaler around fused steps
        self._stepped = found_inf is None or not bool(found_inf)

    def _empty_step(self) -> bool:
        """A step of size zero, which makes room for a state that is about to be loaded."""
        return all(float(group["lr"]) == 0.0 for group in self.optimizer.param_groups)

    def _after_load(self, optimizer: Any) -> None:
        self._verify_state = True

    def _check_loaded(self) -> None:
        for group, histories in zip(self.optimizer.param_groups, self._histories):
            for history in histories:
                fresh = history.weight1 == 0.0 and history.weight2 == 0.0
                for member in history.members:
                    saved = self.optimizer.state.get(group["params"][member]) or {}
                    step = float(saved["step"]) if "step" in saved else 0.0
                    if (step != 0.0) if fresh else (step < FAR / 2):
                        raise input_error(
                            got=f"an optimizer state at step {step:g} with "
                            + ("no TokenHalfLife history" if fresh else f"{self.steps} recorded steps"),
                            rule="the two states belong together",
                            why="the optimizer's buffers hold averages that this history has corrected",
                            do="load both state dicts of one checkpoint",
                        )
        self._verify_state = False


def _check_state(state: Any) -> None:
    """Raise unless the numbers of a saved state can be those of a run."""

    def good(history: Any) -> bool:
        weights = [history[name] for name in ("weight1", "weight2")]
        return set(history) == {"members", "weight1", "weight2"} and all(0 <= w <= 1 for w in weights)

    try:
        counts = all(isinstance(state[name], int) and state[name] >= 0 for name in ("tokens", "steps"))
        fits = counts and all(
            sorted(m for history in group for m in history["members"])
            == list(range(sum(len(history["members"]) for history in group)))
            and all(map(good, group))
            for group in state["groups"]
        )
    except (KeyError, TypeError):
        fits = False
    if not fits:
        raise input_error(
            got="a TokenHalfLife state with missing or impossible numbers",
            rule="weights lie in [0, 1], counts are at least 0, and each parameter is listed once",
            do="pass what state_dict() returned",
        )


def _check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        raise input_error(
            got=f"optimizer {type(optimizer).__name__}",
            rule="it is torch.optim.Adam or AdamW",
            why="the exact correction depends on how the update is computed",
            do="use one of these",
        )
    for group in optimizer.param_groups:
        for flag in ("amsgrad", "differentiable"):
            if group.get(flag):
                raise input_error(
                    got=f"{flag}=True",
                    rule="it is not supported with changing betas",
                    why="the running maximum of uncorrected averages has no exact correction"
                    if flag == "amsgrad"
                    else "the step count would enter the graph",
                    do=f"use {flag}=False",
                )
        if any(isinstance(beta, torch.Tensor) for beta in group["betas"]):
            raise input_error(
                got="betas held in tensors", rule="they are Python floats", do="pass floats to the optimizer"
            )
