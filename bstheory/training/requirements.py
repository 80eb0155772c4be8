"""What the trainer refuses before anything is allocated: rows, memory and updates that do not go together."""

from __future__ import annotations

from bstheory.errors import input_error
from bstheory.schedules.rules import Rule
from bstheory.training.batch_scheduler import BatchSizeScheduler
from bstheory.training.config import TrainConfig
from bstheory.training.parallel import World
from bstheory.training.shards import TokenRows


def require_rows(config: TrainConfig, data: TokenRows, validation: TokenRows) -> None:
    """Raise ``InputError`` unless both sets of rows are those that the configuration describes."""
    if (data.seq_len, data.seed, data.block) != (config.length, config.seed, config.block):
        raise input_error(
            got=f"rows of length {data.seq_len}, seed {data.seed}, block {data.block}",
            rule=f"the configuration says {config.length}, {config.seed}, {config.block}",
            do="open the data with the configuration's values",
        )
    if validation.seq_len != config.length:
        raise input_error(
            got=f"validation rows of length {validation.seq_len}",
            rule=f"the configuration trains on sequences of {config.length} tokens",
            why="losses over contexts of different lengths are different quantities",
            do="open the validation data with the configuration's length",
        )
    vocabulary = max(data.vocab_size, validation.vocab_size)
    if vocabulary > config.model.vocab_size:
        raise input_error(
            got=f"data with a vocabulary of {vocabulary}",
            rule=f"model {config.model.name!r} has {config.model.vocab_size} entries",
            do="choose a model with that vocabulary, or prepare the data with another tokenizer",
        )


def require_memory(config: TrainConfig, scheduler: BatchSizeScheduler, here: World) -> None:
    """Raise ``InputError`` for a micro-batch of any step that cannot fit in this device's memory.

    The estimate is for eager mode; compiled steps keep less and are not checked.
    """
    if config.compile:
        return
    from bstheory.training.memory import available_bytes, check_fits, workspace_bytes

    sizes = {micro * accumulation: micro for micro, accumulation in scheduler.splits.values()}
    rule, most = scheduler.schedule, scheduler.max_micro_batch_size
    if isinstance(rule, Rule) and most:  # its later batch sizes are not known, only the largest one
        largest = rule.maximum // here.size
        sizes[largest] = min(largest, most)
    check_fits(
        config.model,
        optimizer=config.optimizer,
        precision=config.precision,
        micro_batch_size=max(sizes.values()),
        seq_len=config.length,
        shards=here.size if config.parallel == "fsdp" else 1,
        buckets=here.size > 1 and config.parallel == "ddp",
        available=available_bytes(here.device),
        device=here.device.type,
        workspace=workspace_bytes(here.device),
        batch_sizes=sorted(sizes),
    )


def require_updates(config: TrainConfig, scheduler: BatchSizeScheduler, here: World) -> None:
    """Raise ``InputError`` where the first batch, updates in the backward pass or statistics could not be
    what the configuration says."""
    plan = scheduler.plan()
    rule = scheduler.schedule
    wanted = rule.value(rule.init() if isinstance(rule, Rule) else 0)
    if plan is not None and plan.batch_size < wanted:
        raise input_error(
            got=f"a first batch of {int(wanted):,} sequences",
            rule=f"the budget of {config.tokens:,} tokens holds {plan.batch_size:,} of {config.length}",
            why="only the last batch of a run may be partial",
            do="lower the batch size, or raise the tokens",
        )
    accumulated = {b: a for b, (_, a) in scheduler.splits.items() if a > 1}
    if config.optimizer.in_backward and accumulated:
        size = min(accumulated)
        raise input_error(
            got=f"in_backward with a batch of {size} in {accumulated[size]} micro-batches",
            rule="a batch is one forward pass where weights are updated in the backward pass",
            why="each micro-batch would update the weights by its own gradient",
            do="raise the micro-batch size to the local batch size, or leave in_backward out",
        )
    if config.optimizer.in_backward and here.size > 1 and config.parallel == "ddp":
        raise input_error(
            got=f"in_backward under DDP on {here.size} processes",
            rule="DDP averages gradients after the moment at which in_backward has used them",
            why="every process would train its own model on its own rows",
            do="use one process, parallel fsdp, or leave in_backward out",
        )
    groups = max(a * here.size for _, a in scheduler.splits.values())
    if config.statistics and groups < 2:
        raise input_error(
            got="statistics with every batch in one forward pass of one process",
            rule="the noise is estimated from the spread between two micro-batches or processes",
            do="lower the micro-batch size, or leave statistics out",
        )
