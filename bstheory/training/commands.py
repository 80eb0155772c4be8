"""The sub-commands ``train``, ``data`` and ``throughput``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal

from bstheory.errors import input_error
from bstheory.terminal import (
    Count,
    Folder,
    JsonFile,
    Model,
    OptionalCount,
    OptionalDevice,
    OptionalFloat,
    OptionalInt,
    OptionalPlace,
    OptionalText,
    Schedule,
    TextFiles,
    emit,
)
from bstheory.training.command_line import (
    Attention,
    OptimizerName,
    Precision,
    SinkNames,
    count,
    need,
    note_validation_rows,
    open_text,
    optimizer_config,
    print_table,
    progress_line,
    require_writable,
)


def train(
    model: Model,
    *,
    tokens: Count = "500k",
    data: OptionalPlace = None,
    batch_size: Schedule = "16",
    learning_rate: float = 0.001,
    warmup: float = 0.05,
    optimizer: OptimizerName = "adamw",
    beta1: OptionalFloat = None,
    beta2: float = 0.95,
    beta2_half_life: OptionalCount = None,
    weight_decay: float = 0.0,
    adafactor_exponent: OptionalFloat = None,
    in_backward: bool = False,
    seq_len: OptionalInt = None,
    micro_batch_size: OptionalInt = None,
    block: int = 1,
    precision: Precision = "float32",
    grad_clip: OptionalFloat = None,
    statistics: bool = False,
    evals: int = 10,
    eval_rows: int = 256,
    checkpoints: int = 4,
    log_every_steps: int = 10,
    seed: int = 0,
    parallel: Literal["ddp", "fsdp"] = "ddp",
    compile: bool = False,
    cuda_graphs: bool = False,
    max_autotune: bool = False,
    attention: Attention = "auto",
    device: OptionalDevice = None,
    name: OptionalText = None,
    out: OptionalPlace = None,
    resume: bool = False,
    stop_after_seconds: OptionalFloat = None,
    log_to: SinkNames = (),
    json: JsonFile = None,
) -> int:
    """Train a language model under a batch-size schedule and a token half-life; under torchrun on many
    devices.

    The learning rate rises linearly over the warm-up and falls to zero on a cosine. Ctrl-C finishes the step,
    saves, and --resume goes on with the same numbers.

    Examples: bstheory train tiny --tokens 500k --batch-size "0:4 100k:16" --beta2-half-life 100k;
    torchrun --nproc-per-node 2 -m bstheory train tiny --tokens 500k --batch-size 16

    Args:
        model: a configuration, such as tiny, tiny_llama, gpt2_124m; an unknown name lists them all.
        tokens: budget, such as 500k or 2.5B; its whole sequences are used.
        data: folder written by bstheory data, or a text file (byte-level models); default the installed
            documentation.
        batch_size: sequences, or a schedule by consumed tokens such as "0:4 100k:16" or "staircase 4->16 over
            100k by 4"; where fewer tokens are left than a batch has, the last one is smaller.
        learning_rate: peak.
        warmup: fraction of the tokens.
        optimizer: which one.
        beta1: default 0.9 for adamw and signum, 0.95 for muon, 0 for the others.
        beta2: per step, where no half-life is given.
        beta2_half_life: tokens, such as 10M; replaces beta2.
        weight_decay: decoupled.
        adafactor_exponent: the power-law decay of adafactor instead of beta2.
        in_backward: update weights inside the backward pass.
        seq_len: tokens per sequence; default the model's context.
        micro_batch_size: sequences per forward pass and device.
        block: rows of neighbouring text that stay together (1: independent rows).
        precision: float32, bfloat16_autocast (float32 weights) or bfloat16 (stochastic rounding).
        grad_clip: bound on the gradient norm.
        statistics: record the gradient noise scale (needs accumulation or several devices).
        evals: validations over the run.
        eval_rows: rows of the fixed validation set; all where there are fewer, which is said.
        checkpoints: how many over the run; the newest two are kept.
        log_every_steps: steps per record.
        seed: initial weights and row order.
        parallel: ddp or fsdp under torchrun.
        compile: torch.compile.
        cuda_graphs: with compile, reduce launch overhead on a GPU.
        max_autotune: with compile, time several kernels for each matrix product; slow to start.
        attention: torch's kernel; auto leaves the choice to torch.
        device: default cuda where there is one.
        name: of the run, such as half_life_1, by which bstheory validate finds it; default MODEL-OPTIMIZER.
        out: folder of the run; default runs/NAME-seedS, or runs/MODEL-seedS without a name.
        resume: continue the run in that folder.
        stop_after_seconds: save and stop after this long; resume later.
        log_to: also write the series to tensorboard, trackio or wandb (extras of these names).
        json: write the summary to this file, or - for stdout.
    """
    # What can be wrong without PyTorch is checked before it is imported, which takes seconds.
    from bstheory.models.configs import model_config
    from bstheory.schedules import parse

    shape = model_config(model)
    parse(batch_size)
    if not 0 <= warmup < 1:
        raise input_error(got=f"warmup={warmup}", rule="it is a fraction in [0, 1)", do="pass 0.05 for 5 %")
    for option, given in (
        ("--seq-len", seq_len),
        ("--eval-rows", eval_rows),
        ("--log-every-steps", log_every_steps),
    ):
        need(option, given, 1)
    for option, given in (
        ("--evals", evals),
        ("--checkpoints", checkpoints),
        ("--stop-after-seconds", stop_after_seconds),
    ):
        need(option, given, 0, 1e9)
    need("--seed", seed, 0, 2**47)
    if parallel == "fsdp" and "WORLD_SIZE" not in os.environ:
        raise input_error(
            got="--parallel fsdp in a single process",
            rule="fsdp divides the weights over the processes that torchrun starts, and there is one",
            do="start it with torchrun --nproc-per-node N -m bstheory train ..., or leave --parallel out",
        )
    length, asked = seq_len or shape.context, count(tokens)
    budget = asked // length * length
    if budget < length:
        raise input_error(got=f"tokens={tokens}", rule=f"a sequence has {length} tokens", do="pass more")
    import torch

    from bstheory.training.config import TrainConfig, batch_size_schedule, warmup_cosine
    from bstheory.training.parallel import Interrupted, world
    from bstheory.training.sinks import open_sinks, require_sinks
    from bstheory.training.trainer import Trainer

    config = TrainConfig(
        name=name or f"{model}-{optimizer}",
        model=shape,
        tokens=budget,
        batch_size=batch_size_schedule(batch_size),
        learning_rate=warmup_cosine(peak=learning_rate, tokens=budget, warmup=int(warmup * budget)),
        optimizer=optimizer_config(
            optimizer,
            beta1=beta1,
            beta2=beta2,
            beta2_half_life=beta2_half_life,
            weight_decay=weight_decay,
            adafactor_exponent=adafactor_exponent,
            in_backward=in_backward,
        ),
        seq_len=length,
        seed=seed,
        block=block,
        micro_batch_size=micro_batch_size,
        last_batch="partial",
        precision=precision,
        grad_clip=grad_clip,
        statistics=statistics,
        eval_every_tokens=max(1, budget // evals) if evals else None,
        eval_rows=eval_rows,
        checkpoint_every_tokens=max(1, budget // checkpoints) if checkpoints else None,
        log_every_steps=log_every_steps,
        parallel=parallel,
        compile=compile,
        cuda_graphs=cuda_graphs,
        max_autotune=max_autotune,
        attention=attention,
    )
    rows, held_out, provenance = open_text(data, shape, seq_len=length, seed=seed, block=block)
    folder = Path(out or f"runs/{name or model}-seed{seed}")
    if resume and not folder.is_dir():
        raise input_error(
            got=f"--resume with {str(folder)!r}",
            rule="there is no such run",
            do="name its folder with --out, or leave --resume out",
        )
    require_sinks(log_to)
    require_writable(folder / "run.json")
    with world(device) as here:
        trainer = Trainer(
            config,
            data=rows,
            validation=held_out,
            here=here,
            folder=folder,
            resume=resume,
            provenance=provenance,
        )
        before = trainer.scheduler.done
        with (
            progress_line(silent=json == "-" or not here.main) as progress,
            open_sinks(
                log_to if here.main else (),
                folder=folder,
                name=config.name,
                config=config.to_json(),
                tokens=trainer.scheduler.position.tokens,
            ) as observe,
        ):
            try:
                run = trainer.run(progress=progress, observe=observe, stop_after_seconds=stop_after_seconds)
            except torch.OutOfMemoryError as error:
                raise input_error(
                    got=f"batch size {batch_size} with --micro-batch-size {micro_batch_size or 'not given'}",
                    rule=f"the device ran out of memory ({str(error).splitlines()[0][:120]})",
                    do="lower --micro-batch-size, which keeps the batch size and the numbers",
                ) from error
            except Interrupted:
                if here.main:
                    print(
                        f"\nbstheory: interrupted; the last step is saved in {folder}\n"
                        "resume with the same command and --resume",
                        file=sys.stderr,
                    )
                return 130
    if not here.main:
        return 0
    if json is not None:
        emit({"name": run.name, "config_hash": run.hash, **run.summary}, json)
    if json != "-":
        for entry in run.summary["validation"]:
            print(f"{entry['tokens']:>14,} tokens   validation loss {entry['loss']:.4f}")
        note_validation_rows(eval_rows, len(trainer.held_out))
        state = "finished" if run.summary["finished"] else "stopped, continue with --resume"
        state = "had finished before; as measured then" if before else state
        if budget != asked:
            print(f"{budget:,} of {asked:,} tokens are whole sequences of {length}")
        speed = run.summary["tokens_per_second"]
        print(
            f"{state}; {speed:,.0f} tokens/s on {run.summary['device']}; {run.summary['epochs']:.2f} epochs"
        )
        print(f"run in {folder}; a page about it: bstheory report {folder}")
    return 0


def data(
    text: TextFiles = (),
    *,
    out: Folder,
    tokenizer: Literal["bytes", "gpt2"] = "gpt2",
    validation: tuple[str, ...] = (),
    dataset: OptionalText = None,
    subset: OptionalText = None,
    max_tokens: OptionalCount = None,
    shard_tokens: Count = "100M",
    raw: bool = False,
    json: JsonFile = None,
) -> int:
    """Prepare token shards from text files (plain, .gz, .xz), a Hugging Face data set, or the installed
    documentation.

    Writes OUT/train/*.bin and OUT/val/*.bin (llm.c format, or raw uint16), each with a data.json that
    describes them.

    Examples: bstheory data --tokenizer bytes --out .data/docs; bstheory data a.txt b.txt.gz --validation
    c.txt --out .data/mine

    Args:
        text: UTF-8 files, documents separated by <|endoftext|>; none means the installed documentation.
        out: target folder.
        tokenizer: bytes (256 tokens) or gpt2 (50,257; extra [data], no network).
        validation: files to validate on; default one document in twenty is held out by its hash, repeated
            paragraphs and documents below 200 characters left out.
        dataset: stream this Hugging Face data set instead (extra [data], needs network).
        subset: its configuration name.
        max_tokens: stop after that many training tokens; required with --dataset.
        shard_tokens: tokens per shard.
        raw: leave the header out.
        json: write the description to this file, or - for stdout.
    """
    if text[:1] == ("prepare",) and not Path("prepare").exists():
        text = text[1:]  # bstheory data prepare a.txt: the verb may be said
    from bstheory.training.prepare import prepare_stream, prepare_text
    from bstheory.training.prepare import tokenizer as find_tokenizer

    encoder = find_tokenizer(tokenizer)
    limit = None if max_tokens is None else count(max_tokens)
    with progress_line(silent=json == "-") as progress:
        options: dict[str, Any] = {"shard_tokens": count(shard_tokens), "raw": raw, "progress": progress}
        if dataset is not None:
            if limit is None or text or validation:
                raise input_error(
                    got=f"dataset={dataset!r} with max_tokens={max_tokens} and {len(text)} text files",
                    rule="a stream needs a budget, and is not mixed with files",
                    do="pass --max-tokens and no files",
                )
            found = prepare_stream(dataset, out, encoder=encoder, max_tokens=limit, config=subset, **options)
        else:
            found = prepare_text(
                text,
                out,
                encoder=encoder,
                validation=validation or None,
                max_tokens=limit,
                **options,
            )
    if json is not None:
        emit(found, json)
    if json != "-":
        for part, description in found.items():
            print(
                f"{part:6s} {description['tokens']:>14,} tokens in {len(description['shards'])} shards, "
                f"{description['documents']:,} documents -> {Path(out) / part}"
            )
    return 0


def throughput(
    model: Model,
    *,
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64),
    optimizer: OptimizerName = "adamw",
    precision: Precision = "float32",
    in_backward: bool = False,
    compile: bool = False,
    cuda_graphs: bool = False,
    max_autotune: bool = False,
    attention: Attention = "auto",
    seq_len: OptionalInt = None,
    steps: int = 20,
    device: OptionalDevice = None,
    out: OptionalPlace = None,
    json: JsonFile = None,
) -> int:
    """Measure tokens per second against batch size, and name the smallest batch at 95 % of the peak.

    Example: bstheory throughput tiny --batch-sizes 1 4 16 64

    Args:
        model: a configuration.
        batch_sizes: sequences per step, one forward pass each.
        optimizer: which one.
        precision: float32, bfloat16_autocast or bfloat16.
        in_backward: update weights inside the backward pass.
        compile: torch.compile.
        cuda_graphs: with compile, reduce launch overhead on a GPU.
        max_autotune: with compile, time several kernels for each matrix product; slow to start.
        attention: torch's kernel; auto leaves the choice to torch.
        seq_len: tokens per sequence; default the model's context.
        steps: timed steps.
        device: default cuda where there is one.
        out: also save a run there, for bstheory validate.
        json: write the measurements to this file, or - for stdout.
    """
    from bstheory.models.configs import model_config

    shape = model_config(model)
    need("--seq-len", seq_len, 1)
    if out is not None:
        require_writable(Path(out) / "run.json")
    from bstheory.training.parallel import device_name, world
    from bstheory.training.probes import throughput_arm
    from bstheory.training.throughput import (
        as_documents,
        measure_throughput,
        smallest_near_peak,
        throughput_run,
    )

    with world(device) as here, progress_line(silent=json == "-") as progress:
        measured = measure_throughput(
            shape,
            batch_sizes=batch_sizes,
            here=here,
            optimizer=optimizer_config(
                optimizer,
                beta1=None,
                beta2=0.95,
                beta2_half_life=None,
                weight_decay=0.0,
                in_backward=in_backward,
            ),
            precision=precision,
            compile=compile,
            cuda_graphs=cuda_graphs,
            max_autotune=max_autotune,
            attention=attention,
            seq_len=seq_len,
            steps=steps,
            progress=progress,
        )
    best = smallest_near_peak(measured)
    if out is not None:
        name = throughput_arm(
            model,
            optimizer=optimizer,
            precision=precision,
            compile=compile,
            cuda_graphs=cuda_graphs,
            max_autotune=max_autotune,
            attention=attention,
        )
        throughput_run(measured, name=name, device=device_name(here.device)).save(Path(out))
    if json is not None:
        emit(
            {
                "model": model,
                "device": device_name(here.device),
                "precision": precision,
                "measured": as_documents(measured),
                "smallest_near_peak": best.batch_size,
            },
            json,
        )
    if json != "-":
        rows = [
            [
                str(m.batch_size),
                f"{m.tokens_per_second:,.0f}",
                f"{1000 * m.step_seconds[0]:.2f}",
                "unknown peak" if m.mfu is None else f"{100 * m.mfu:.1f} %",
                "" if m.peak_bytes is None else f"{m.peak_bytes / 2**30:.2f} GiB",
            ]
            for m in measured
        ]
        print_table(
            f"{model} on {device_name(here.device)}", ["batch", "tokens/s", "ms/step", "MFU", "memory"], rows
        )
        print(f"smallest batch with at least 95 % of the best tokens/s: {best.batch_size}")
    return 0
