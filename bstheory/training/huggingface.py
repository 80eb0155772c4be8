"""Callbacks for Hugging Face's ``Trainer``: a batch-size schedule, and betas on token half-lives.

They need the extra ``[hf]``. What the Trainer's interface does not allow is refused at the start of training,
see :mod:`bstheory.training.host_loops`.
"""

from __future__ import annotations

import contextlib
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from bstheory.errors import input_error
from bstheory.training.batch_scheduler import BatchSizeScheduler
from bstheory.training.host_loops import accumulation_plan, require_equal, require_start
from bstheory.training.token_half_life import TokenHalfLife


class BatchScheduleCallback(TrainerCallback):
    """Follows an open-loop batch-size schedule by changing ``gradient_accumulation_steps`` between steps.

    Args:
        scheduler: with a fixed ``micro_batch_size``, for the trainer's number of processes.

    The training arguments must agree: ``per_device_train_batch_size`` is the micro-batch size,
    ``gradient_accumulation_steps`` that of the first step, ``max_steps`` the number of steps, and the data
    set is long enough for one epoch. The learning-rate scheduler is the Trainer's; it counts steps.

    Raises:
        InputError: at construction, a schedule that the Trainer cannot follow; at the start of training,
            arguments that disagree, DeepSpeed, ``DataParallel``, or a run that resumes (the Trainer would
            skip micro-batches by the first accumulation).

    Example:
        >>> from bstheory import schedules
        >>> schedule = schedules.parse("0:8 64:16")
        >>> callback = BatchScheduleCallback(BatchSizeScheduler(schedule, num_tokens=192, micro_batch_size=8))
        >>> callback.plan.steps, callback.plan.first, callback.plan.micro_batches
        (16, 1, 24)
    """

    def __init__(self, scheduler: BatchSizeScheduler) -> None:
        self.scheduler = scheduler
        self.plan = accumulation_plan(scheduler)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Check the arguments."""
        require_start(self.scheduler, state.global_step)
        if args.deepspeed is not None or args.n_gpu > 1:
            raise input_error(
                got="DeepSpeed" if args.deepspeed is not None else f"DataParallel over {args.n_gpu} devices",
                rule="accumulation is counted by the Trainer in one process per device",
                do="use torchrun with DDP or FSDP",
            )
        loader = kwargs["train_dataloader"]
        plan = self.plan
        require_equal(
            "TrainingArguments",
            {
                "per_device_train_batch_size": (
                    args.per_device_train_batch_size,
                    self.scheduler.micro_batch_size,
                ),
                "gradient_accumulation_steps": (args.gradient_accumulation_steps, plan.first),
                "max_steps": (args.max_steps, plan.steps),
                "world_size": (args.world_size, self.scheduler.world_size),
            },
        )
        try:
            length = len(loader)
        except TypeError:
            length = 0
        # The Trainer ends an epoch after ceil(length / first accumulation) optimizer steps.
        needed = plan.micro_batches if plan.constant else max(plan.micro_batches, plan.steps * plan.first + 1)
        if length < needed:
            raise input_error(
                got=f"{length or 'an unknown number of'} micro-batches in an epoch",
                rule=f"the schedule needs {needed} per rank within one epoch",
                why="the Trainer cuts a batch at the end of an epoch",
                do="pass a sized data set that is long enough (repeat it in order to train longer)",
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the accumulation of the next step."""
        self.scheduler.step()
        following = self.scheduler.plan()
        if following is None:
            control.should_training_stop = True
        else:
            args.gradient_accumulation_steps = following.accumulation

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put the arguments back as they were given."""
        args.gradient_accumulation_steps = self.plan.first


class TokenHalfLifeCallback(TrainerCallback, ExportableState):
    """Steps the Trainer's Adam or AdamW with betas on token half-lives and exact bias correction.

    Tokens of a step are counted: micro-batches since the last one, times ``per_device_train_batch_size``,
    ``world_size`` and ``seq_len``. It goes with any accumulation, also a changing one.

    Args:
        seq_len: tokens per sequence, the same in every batch.
        beta1_half_life, beta2_half_life: tokens, as for :class:`bstheory.training.TokenHalfLife`.
        beta2_floor, beta2_cap: likewise.

    Raises:
        InputError: at the start of training, another optimizer, or a data set whose last micro-batch is cut
            (pass ``dataloader_drop_last=True``).

    Checkpoint behavior: the history is in ``trainer_state.json`` beside the optimizer's state;
    ``resume_from_checkpoint`` restores both.
    """

    def __init__(
        self,
        *,
        seq_len: int,
        beta1_half_life: float | None = None,
        beta2_half_life: float | None = None,
        beta2_floor: float | None = None,
        beta2_cap: float | None = None,
    ) -> None:
        if not isinstance(seq_len, int) or seq_len < 1:
            raise input_error(got=f"seq_len={seq_len!r}", rule="it is a positive integer", do="pass one")
        self.seq_len = seq_len
        self.options = {
            "beta1_half_life": beta1_half_life,
            "beta2_half_life": beta2_half_life,
            "beta2_floor": beta2_floor,
            "beta2_cap": beta2_cap,
        }
        self.half_life: TokenHalfLife | None = None
        self.micro_batches = 0
        self._step = contextlib.ExitStack()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Attach to the optimizer; continue its history when the run resumes."""
        loader = kwargs["train_dataloader"]
        unit = args.per_device_train_batch_size * args.world_size
        try:
            whole = args.dataloader_drop_last or len(loader.dataset) % unit == 0
        except TypeError:
            whole = False
        if not whole:
            raise input_error(
                got="a data set whose last micro-batch of an epoch may be smaller",
                rule="every micro-batch has the same number of tokens",
                do="pass dataloader_drop_last=True",
            )
        optimizer = kwargs["optimizer"]
        optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate's wrapper
        resumed = state.global_step > 0
        self.half_life = TokenHalfLife(
            optimizer, existing_state="saved" if resumed else "refuse", **self.options
        )
        self.micro_batches = 0
        if resumed:
            self.half_life.load_state_dict(self._saved(state))

    def _saved(self, state: Any) -> dict[str, Any]:
        saved = state.stateful_callbacks.get(type(self).__name__)
        history = saved.get("attributes", {}).get("saved") if isinstance(saved, dict) else None
        if history is None:
            raise input_error(
                got=f"a checkpoint at step {state.global_step} without the history of {type(self).__name__}",
                rule="the betas of the steps before it must be known",
                do="resume a run that was started with this callback",
            )
        return history

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count a micro-batch that does not end a step."""
        self.micro_batches += 1

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Install the betas of this step."""
        assert self.half_life is not None
        rows = (self.micro_batches + 1) * args.per_device_train_batch_size * args.world_size
        self._step.enter_context(self.half_life.apply(tokens=rows * self.seq_len))

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the step."""
        self._step.close()
        self.micro_batches = 0

    def state(self) -> dict[str, Any]:
        """Plain JSON for ``trainer_state.json``."""
        saved = None if self.half_life is None else self.half_life.state_dict()
        return {"args": {"seq_len": self.seq_len, **self.options}, "attributes": {"saved": saved}}
