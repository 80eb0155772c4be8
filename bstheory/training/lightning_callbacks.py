"""Callbacks for Lightning's ``Trainer``: a batch-size schedule, and betas on token half-lives.

They need the extra ``[lightning]``. What the Trainer's interface does not allow is refused at the start of
training, see :mod:`bstheory.training.host_loops`.
"""

from __future__ import annotations

import contextlib
from typing import Any

from lightning.pytorch.callbacks import Callback

from bstheory.errors import input_error
from bstheory.training.batch_scheduler import BatchSizeScheduler
from bstheory.training.host_loops import accumulation_plan, require_equal, require_start
from bstheory.training.token_half_life import TokenHalfLife


def _one_optimizer(trainer: Any, module: Any) -> Any:
    """The run's only optimizer under automatic optimization."""
    if not module.automatic_optimization or len(trainer.strategy.optimizers) != 1:
        raise input_error(
            got=f"{len(trainer.strategy.optimizers)} optimizers, automatic_optimization="
            f"{module.automatic_optimization}",
            rule="the callback follows one optimizer that the Trainer steps",
            do="use BatchSizeScheduler and TokenHalfLife directly in manual optimization",
        )
    return trainer.strategy.optimizers[0]


class BatchScheduleCallback(Callback):
    """Follows an open-loop batch-size schedule by changing ``accumulate_grad_batches`` between steps.

    Args:
        scheduler: with a fixed ``micro_batch_size``, for the trainer's number of processes.

    The Trainer must agree: the data loader's batch size is the micro-batch size, ``max_steps`` the number of
    steps, and one epoch is long enough.

    Raises:
        InputError: at construction, a schedule that the Trainer cannot follow; at the start of training,
            settings that disagree, a strategy that accumulates by itself (DeepSpeed), or a run that resumes.
    """

    def __init__(self, scheduler: BatchSizeScheduler) -> None:
        self.scheduler = scheduler
        self.plan = accumulation_plan(scheduler)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Check the settings."""
        _one_optimizer(trainer, pl_module)
        require_start(self.scheduler, trainer.global_step)
        if trainer.strategy.handles_gradient_accumulation:
            raise input_error(
                got=type(trainer.strategy).__name__,
                rule="the Trainer accumulates gradients itself",
                why="this strategy fixes the accumulation when it is set up",
                do="use DDP or FSDP",
            )
        require_equal(
            "a Lightning Trainer",
            {
                "batch_size": (
                    getattr(trainer.train_dataloader, "batch_size", None),
                    self.scheduler.micro_batch_size,
                ),
                "max_steps": (trainer.max_steps, self.plan.steps),
                "world_size": (trainer.world_size, self.scheduler.world_size),
            },
        )
        if not trainer.num_training_batches >= self.plan.micro_batches:
            raise input_error(
                got=f"{trainer.num_training_batches} micro-batches in an epoch",
                rule=f"the schedule needs {self.plan.micro_batches} per rank within one epoch",
                why="the Trainer cuts a batch at the end of an epoch",
                do="pass more data",
            )

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Set the accumulation when a step begins."""
        while self.scheduler.position.step < trainer.global_step:
            self.scheduler.step()
        plan = self.scheduler.plan()
        if plan is not None:
            trainer.accumulate_grad_batches = plan.accumulation


class TokenHalfLifeCallback(Callback):
    """Steps the module's Adam or AdamW with betas on token half-lives and exact bias correction.

    Tokens of a step are counted: micro-batches since the last one, times ``tokens_per_batch`` and the number
    of processes. It goes with any accumulation, also a changing one.

    Args:
        tokens_per_batch: tokens of one micro-batch on one process, the same in every batch.
        beta1_half_life, beta2_half_life, beta2_floor, beta2_cap: as for
            :class:`bstheory.training.TokenHalfLife`.

    Raises:
        InputError: at the start of training, another optimizer, several of them, or a data loader whose last
            batch may be smaller.

    Checkpoint behavior: the history is part of the checkpoint; ``ckpt_path`` restores it with the optimizer.
    """

    def __init__(
        self,
        *,
        tokens_per_batch: int,
        beta1_half_life: float | None = None,
        beta2_half_life: float | None = None,
        beta2_floor: float | None = None,
        beta2_cap: float | None = None,
    ) -> None:
        if not isinstance(tokens_per_batch, int) or tokens_per_batch < 1:
            raise input_error(
                got=f"tokens_per_batch={tokens_per_batch!r}", rule="it is a positive integer", do="pass one"
            )
        self.tokens_per_batch = tokens_per_batch
        self.options = {
            "beta1_half_life": beta1_half_life,
            "beta2_half_life": beta2_half_life,
            "beta2_floor": beta2_floor,
            "beta2_cap": beta2_cap,
        }
        self.half_life: TokenHalfLife | None = None
        self.micro_batches = 0
        self._pending: dict[str, Any] | None = None
        self._step = contextlib.ExitStack()

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Attach to the optimizer, before a checkpoint's optimizer state is loaded."""
        self.half_life = TokenHalfLife(_one_optimizer(trainer, pl_module), from_closure=True, **self.options)
        if self._pending is not None:
            self.half_life.load_state_dict(self._pending)
            self._pending = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Refuse batches of several sizes."""
        loader = trainer.train_dataloader
        size = getattr(loader, "batch_size", None)
        try:
            whole = size is not None and (loader.drop_last or len(loader.dataset) % size == 0)
        except (TypeError, AttributeError):
            whole = False
        if not whole:
            raise input_error(
                got="a data loader whose last batch may be smaller",
                rule="every batch has the same number of tokens",
                do="pass DataLoader(..., drop_last=True)",
            )
        self.micro_batches = 0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Count a micro-batch."""
        self.micro_batches += 1

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Install the betas of this step; the Trainer calls this in the closure, after the backward pass."""
        assert self.half_life is not None
        tokens = self.micro_batches * self.tokens_per_batch * trainer.world_size
        self._step.enter_context(self.half_life.apply(tokens=tokens))
        self.micro_batches = 0

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the step, if there was one."""
        self._step.close()

    def state_dict(self) -> dict[str, Any]:
        """The history, for the Trainer's checkpoint."""
        return {} if self.half_life is None else self.half_life.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Kept until the optimizer exists."""
        self._pending = dict(state_dict) or None
