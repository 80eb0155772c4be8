"""``GradientStatistics``: the noise of the gradient from two scalars a step, without another gradient vector.

With group-mean gradients g_j and their mean g, ``(1/J) sum |g_j - g|^2 = (1/J) sum |g_j|^2 - |g|^2``. The
first scalar is measured where the local gradient exists for a moment anyway, the second from ``.grad``
after backward:

==========  ====================================================  ==========================================
mode        local gradient                                        groups
==========  ====================================================  ==========================================
``single``  hook on each parameter, before accumulation           micro-batches (times ranks, under DDP)
``ddp``     communication hook, the bucket before the average     ranks
``fsdp2``   input of the reduce-scatter                           ranks, or ranks x micro-batches when every
                                                                  micro-batch synchronizes
==========  ====================================================  ==========================================

Norms are summed in float64 over short float32 rows: one long float32 sum loses digits that the difference
needs (``torch.linalg.vector_norm`` of 38M elements is off by 0.5 % on a CPU, see the tests).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from bstheory.errors import InputError, input_error
from bstheory.schedules.statistics import Statistics, from_groups
from bstheory.training import fsdp_adapter

MODES = ("auto", "single", "ddp", "fsdp2")
_ROW = 4096  # float32 sums this long keep six digits; 512 would keep seven and take twice as long


def square_sum(tensor: torch.Tensor) -> torch.Tensor:
    """|tensor|^2 as a float64 scalar on its device, without a float64 or any other copy of the tensor.

    Relative error about 1e-6 in float32 and bfloat16 (each row is one float32 sum), rounding in float64.
    """
    flat = tensor.detach().reshape(-1)
    if flat.dtype == torch.float64:
        return torch.dot(flat, flat)
    main = flat.numel() // _ROW * _ROW
    tail = flat[main:].double()
    total = torch.dot(tail, tail)
    if main:
        rows = torch.linalg.vector_norm(flat[:main].view(-1, _ROW), dim=1, dtype=torch.float32).double()
        total = total + torch.dot(rows, rows)
    return total


class GradientStatistics:
    """Measures one step's gradient noise while it is computed.

    The loop divides each micro-batch's loss by ``accumulation``, so that ``.grad`` ends as the mean gradient.
    Call :meth:`start`, run the backward passes, then :meth:`finish` **before** clipping::

        statistics.start(plan)
        for index, micro_batch in enumerate(plan.micro_batches(rank)):
            with statistics.synchronize(index == plan.accumulation - 1):
                (loss(micro_batch) / plan.accumulation).backward()
        seen = statistics.finish()

    Args:
        model: the module, or its ``DistributedDataParallel`` or ``fully_shard`` wrapping.
        mode: ``auto`` picks by the wrapping; ``single`` works without and with DDP, with micro-batches as
            groups, which gives more degrees of freedom.
        keep_groups: on one process, keep a copy of every micro-batch's gradient, so that :meth:`finish`
            returns every statistic of :func:`bstheory.schedules.statistics.from_groups` and every rule can
            be used. Costs one gradient copy per micro-batch: for small models and for comparing rules.
        reduce_hook: for ``ddp``, the communication hook that really reduces (default: plain all-reduce mean);
            such as torch's ``bf16_compress_hook``, with ``reduce_state`` as its first argument.

    Raises:
        InputError: a mode that does not fit the model; see :meth:`finish`.

    Checkpoint behavior: no state outlives a step.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        mode: str = "auto",
        keep_groups: bool = False,
        reduce_hook: Callable[..., Any] | None = None,
        reduce_state: Any = None,
    ) -> None:
        if mode not in MODES:
            raise input_error(got=f"mode={mode!r}", rule=f"it is one of {', '.join(MODES)}", do="pick one")
        is_ddp = isinstance(model, torch.nn.parallel.DistributedDataParallel)
        is_fsdp = fsdp_adapter.is_fsdp2(model)
        found = "fsdp2" if is_fsdp else "ddp" if is_ddp else "single"
        self.mode = found if mode == "auto" else mode
        fits = self.mode == found or (self.mode == "single" and is_ddp)
        if not fits or (reduce_hook is not None and self.mode != "ddp"):
            raise input_error(
                got=f"mode={mode!r}, reduce_hook={reduce_hook!r} for a model wrapped as {found!r}",
                rule="the mode fits the wrapping, and a reduce hook goes with ddp",
                do='use mode="auto"',
            )
        if keep_groups and found != "single":
            raise input_error(
                got=f"keep_groups=True for a model wrapped as {found!r}",
                rule="group gradients are kept on one process only",
                why="gathering them would communicate full-size vectors",
                do="use a rule that needs two scalars, or one process",
            )
        self.model = model
        self._kept: list[dict[int, torch.Tensor]] | None = [] if keep_groups else None
        self.distributed = (is_ddp or is_fsdp) and dist.is_initialized()
        self.world_size = dist.get_world_size() if self.distributed else 1
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        if not self._parameters:
            raise input_error(
                got="a model without a parameter that requires a gradient",
                rule="there is a gradient to measure",
                do="unfreeze what is trained before building GradientStatistics",
            )
        device = self._parameters[0].device
        self._local = torch.zeros((), dtype=torch.float64, device=device)
        self._calls: dict[int, int] = {}
        self._plan: tuple[int, int] | None = None
        if self.mode == "single":
            for index, p in enumerate(self._parameters):
                p.register_hook(functools.partial(self._leaf_hook, index))
        elif self.mode == "ddp":
            self._reduce = reduce_hook or _all_reduce_mean
            self._reduce_state = reduce_state
            # DDP compares annotations with its own classes, which postponed annotations are not: a lambda.
            model.register_comm_hook(None, lambda state, bucket: self._bucket_hook(bucket))
        else:
            fsdp_adapter.observe(model, self._scatter_hook)

    def start(
        self, plan: Any = None, *, batch_size: int | None = None, accumulation: int | None = None
    ) -> None:
        """Begin a step of ``plan`` (anything with ``batch_size`` and ``accumulation``) or of two numbers."""
        if plan is not None:
            batch_size, accumulation = plan.batch_size, plan.accumulation
        if not (isinstance(batch_size, int) and isinstance(accumulation, int)) or accumulation < 1:
            raise input_error(
                got=f"batch_size={batch_size!r}, accumulation={accumulation!r}",
                rule="a step has a global batch size and a number of micro-batches",
                do="pass the scheduler's plan",
            )
        self._plan = (batch_size, accumulation)
        self._local = torch.zeros_like(self._local)
        self._calls.clear()
        if self._kept is not None:
            self._kept = []

    def synchronize(self, is_last: bool) -> Any:
        """Context for one backward pass: gradients are communicated in the last micro-batch only."""
        if self._kept is not None:
            self._kept.append({})
        if self.mode == "fsdp2":
            self.model.set_requires_gradient_sync(is_last)
        elif self.distributed and not is_last:
            return self.model.no_sync()
        return contextlib.nullcontext()

    def finish(
        self,
        *,
        loss: float | None = None,
        learning_rate: float | None = None,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> Statistics:
        """The step's statistics, the same on every rank. One all-reduce of eight numbers.

        Args:
            loss: this rank's mean loss, given on every rank or on none; averaged over ranks.
            learning_rate: passed through.
            optimizer: with ``keep_groups``, Adam, whose second moments weight the sqrt(v) test.

        Raises:
            InputError: backward did not run, synchronized neither once nor in every micro-batch, ranks
                disagree on the global batch size or on whether there is a loss, or a non-finite gradient.
                What is wrong on one rank is raised on all, so that none waits for it.
        """
        problem, rounds, (batch_size, accumulation) = None, 0, self._plan or (0, 0)
        try:
            if self._plan is None:
                raise input_error(
                    got="finish() without start()", rule="a step is started", do="call start(plan)"
                )
            rounds = self._rounds(accumulation)
        except InputError as error:
            if not self.distributed:
                raise
            problem = error
        finally:
            self._plan = None
        if self._kept is not None:
            return self._from_groups(batch_size, accumulation, loss, learning_rate, optimizer)
        shards = torch.zeros_like(self._local)
        for p in self._parameters:
            if p.grad is not None:
                shards += square_sum(self._share(p.grad))
        # (1/(J rounds)) sum |rounds * c|^2, c the contribution to the local mean
        local = self._local * rounds
        numbers = torch.stack(
            [
                local,
                shards,
                *(
                    torch.tensor(float(x), dtype=torch.float64, device=local.device)
                    for x in (
                        batch_size,
                        batch_size**2,
                        0.0 if loss is None else loss,
                        rounds,
                        loss is not None,
                        problem is not None,
                    )
                ),
            ]
        )
        if self.distributed:
            dist.all_reduce(numbers)
            numbers[:1] /= self.world_size
            numbers[2:] /= self.world_size
        mean_group, norm, mean_batch, mean_batch_sq, mean_loss, mean_rounds, with_loss, failed = (
            numbers.tolist()
        )
        if failed:
            raise problem or input_error(
                got=f"a step that {round(failed * self.world_size)} of {self.world_size} ranks refuse",
                rule="the statistics are those of all ranks",
                do="see the error of that rank",
            )
        if with_loss not in (0.0, 1.0):
            raise input_error(
                got=f"{'no loss' if loss is None else 'a loss'} here, and one on "
                f"{round(with_loss * self.world_size)} of {self.world_size} ranks",
                rule="every rank passes its mean loss, or none does",
                why="the mean over ranks would count a missing one as 0",
                do="call finish(loss=...) alike on every rank",
            )
        if mean_batch != batch_size or mean_batch_sq != batch_size**2 or mean_rounds != rounds:
            raise input_error(
                got=f"batch_size={batch_size} in {rounds} groups here, and means of {mean_batch:g} in "
                f"{mean_rounds:g} over {self.world_size} ranks",
                rule="every rank runs the same plan",
                why="the averaged gradient would weight samples unequally",
                do="build the scheduler with the same arguments on every rank",
            )
        return Statistics(
            batch_size=batch_size,
            groups=self.world_size * rounds,
            norm_sq=norm,
            mean_group_norm_sq=mean_group,
            loss=None if loss is None else mean_loss,
            learning_rate=learning_rate,
        )

    def _share(self, grad: torch.Tensor) -> torch.Tensor:
        """The part of the mean gradient whose norm this rank sums: its shard, or its share of a full copy."""
        if hasattr(grad, "to_local"):
            return grad.to_local()
        if self.world_size == 1:
            return grad
        flat = grad.reshape(-1)
        size = -(-flat.numel() // self.world_size)
        return flat[dist.get_rank() * size : (dist.get_rank() + 1) * size]

    def _from_groups(
        self,
        batch_size: int,
        accumulation: int,
        loss: float | None,
        learning_rate: float | None,
        optimizer: torch.optim.Optimizer | None,
    ) -> Statistics:
        kept = self._kept or []
        if len(kept) != accumulation:
            raise input_error(
                got=f"{len(kept)} micro-batches in synchronize() of {accumulation}",
                rule="with keep_groups every backward is inside synchronize(is_last)",
                do="wrap each backward in it",
            )
        zero = [torch.zeros(p.numel()) for p in self._parameters]
        rows = [
            torch.cat([group[i].reshape(-1).cpu() if i in group else zero[i] for i in range(len(zero))])
            for group in kept
        ]
        moments = None
        if optimizer is not None:
            states = [optimizer.state.get(p, {}) for p in self._parameters]
            if any("exp_avg_sq" not in state for state in states):
                raise input_error(
                    got="an optimizer without second moments for every parameter",
                    rule="the sqrt(v) test weights every coordinate",
                    do="pass an Adam that has taken a step, or leave it out",
                )
            moments = torch.cat([s["exp_avg_sq"].reshape(-1).cpu() for s in states]).double().numpy()
        shapes = [
            (p.shape[0], p.numel() // p.shape[0]) if p.dim() > 1 else (1, p.numel()) for p in self._parameters
        ]
        return from_groups(
            accumulation * torch.stack(rows).double().numpy(),
            batch_size=batch_size,
            second_moment=moments,
            shapes=shapes,
            loss=loss,
            learning_rate=learning_rate,
        )

    def _rounds(self, accumulation: int) -> int:
        """How many groups each rank contributed, from how often gradients were seen."""
        if self.mode == "single":
            counts = {max(self._calls.values(), default=0)}  # a parameter may be unused in some micro-batches
            allowed = {accumulation}
        else:
            counts = set(self._calls.values()) or {0}
            allowed = {1} if self.mode == "ddp" else {1, accumulation}
        if len(counts) != 1 or not counts <= allowed:
            raise input_error(
                got=f"gradients seen {sorted(counts)} times in a step of {accumulation} micro-batches",
                rule="they are communicated once a step"
                if self.mode == "ddp"
                else f"they are seen {' or '.join(map(str, sorted(allowed)))} times",
                do="wrap each backward in synchronize(is_last), and call start() before the first",
            )
        return counts.pop()

    def _leaf_hook(self, index: int, grad: torch.Tensor) -> None:
        self._calls[index] = self._calls.get(index, 0) + 1
        self._local += square_sum(grad)
        if self._kept:
            self._kept[-1][index] = grad.detach().clone()

    def _bucket_hook(self, bucket: Any) -> Any:
        self._calls[bucket.index()] = self._calls.get(bucket.index(), 0) + 1
        self._local += square_sum(bucket.buffer())
        return self._reduce(self._reduce_state, bucket)

    def _scatter_hook(self, index: int, gradient: torch.Tensor, divided_by: float) -> None:
        self._calls[index] = self._calls.get(index, 0) + 1
        self._local += square_sum(gradient) * divided_by**2


def _all_reduce_mean(state: Any, bucket: Any) -> Any:
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    return allreduce_hook(state, bucket)
