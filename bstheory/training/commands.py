"""The sub-commands ``train``, ``data``, ``predict``, ``validate``, ``throughput`` and ``finetune``."""

from __future__ import annotations

import contextlib
import json as json_module
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from bstheory.errors import input_error

OptimizerName = Literal["adamw", "sgd", "sign_sgd", "signum", "adafactor", "muon"]
Precision = Literal["float32", "bfloat16_autocast", "bfloat16"]


def count(text: str | int) -> int:
    """``500k``, ``2.5M``, ``1B`` or a plain number as an integer; raises ``InputError`` for anything else.

    Example:
        >>> count("2.5M")
        2500000
    """
    from fractions import Fraction

    word = str(text).strip().replace("_", "").replace(",", "")
    factor = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}.get(word[-1:].lower(), 1)
    try:
        value = Fraction(word[:-1] if factor > 1 else word) * factor
    except (ValueError, ZeroDivisionError):
        value = Fraction(1, 2)
    if value.denominator != 1 or not 1 <= value < 10**18:
        raise input_error(
            got=f"count {str(text)[:40]!r}",
            rule="a count is a positive integer below 10^18, with K, M, B or T for thousands to trillions",
            do="write for example 500k or 2.5M",
        )
    return int(value)


def _need(name: str, value: float | None, low: float, high: float = math.inf) -> None:
    """Raise ``InputError`` unless ``value`` is None or lies in [low, high)."""
    if value is not None and not low <= value < high:
        raise input_error(
            got=f"{name} {value}",
            rule=f"it is at least {low:g}" + ("" if high == math.inf else f" and below {high:g}"),
            do="correct it",
        )


def _writable(path: Path) -> None:
    """Raise ``InputError`` now rather than after the work if nothing can be written beside ``path``."""
    from bstheory.files import atomic_write

    atomic_write(path.parent / f".{path.name}-probe", b"").unlink()


def _emit(document: Any, target: str) -> None:
    if target == "-":
        sys.stdout.write(json_module.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
        return
    from bstheory.files import write_json

    write_json(target, document)


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int | None, str], None]]:
    """A bar on a terminal, a line now and then elsewhere, nothing when quiet."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    if quiet or not sys.stderr.isatty():
        told = [time.monotonic()]

        def line(done: int, total: int | None, label: str) -> None:
            if not quiet and (done == total or time.monotonic() - told[0] > 10):
                told[0] = time.monotonic()
                print(
                    f"{done:,} of {'?' if total is None else f'{total:,}'}  {label}",
                    file=sys.stderr,
                    flush=True,
                )

        yield line
        return
    columns = (
        TextColumn("{task.percentage:>3.0f} %"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", note="")
        yield lambda done, total, label: bar.update(task, completed=done, total=total, note=label)


def _table(title: str, header: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(name, justify="left" if name == header[0] else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _optimizer(
    name: str,
    *,
    beta1: float | None,
    beta2: float,
    beta2_half_life: str | None,
    weight_decay: float,
    adafactor_exponent: float | None = None,
    in_backward: bool = False,
) -> Any:
    from bstheory.training.optimizers import OptimizerConfig

    default = {"adamw": 0.9, "muon": 0.95, "signum": 0.9}.get(name, 0.0)
    return OptimizerConfig(
        name=name,
        beta1=default if beta1 is None else beta1,
        beta2=beta2,
        beta2_half_life=None if beta2_half_life is None else float(count(beta2_half_life)),
        weight_decay=weight_decay,
        adafactor_exponent=adafactor_exponent,
        in_backward=in_backward,
    )


def _rows(
    data: str | None, model: Any, *, seq_len: int, seed: int, block: int = 1
) -> tuple[Any, Any, dict[str, Any]]:
    """Training and validation rows, and where they came from."""
    import dataclasses

    from bstheory.problems.corpus import load_corpus
    from bstheory.training.shards import TokenRows, open_rows

    if data is None or not (Path(data).is_dir() or data.endswith(".bin")):
        if model.vocab_size != 256:
            raise input_error(
                got=f"model {model.name!r} with a vocabulary of {model.vocab_size}",
                rule="text without preparation is read as bytes, for models with 256 tokens",
                do="run bstheory data first and pass its folder with --data",
            )
        corpus = load_corpus(data)
        train, held_out = (
            TokenRows(arrays=[tokens], seq_len=seq_len, vocab_size=256, seed=seed, block=block)
            for tokens in (corpus.train, corpus.validation)
        )
        return train, dataclasses.replace(held_out, seed=0, block=1), {"corpus": corpus.describe()}
    folder = Path(data)
    train = open_rows(
        folder / "train" if (folder / "train").is_dir() else folder,
        seq_len=seq_len,
        vocab_size=model.vocab_size,
        seed=seed,
        block=block,
    )
    if not (folder / "val").is_dir():
        raise input_error(
            got=f"data folder {data!r}",
            rule="it has train/ and val/ folders of shards",
            do="run bstheory data",
        )
    return (
        train,
        open_rows(folder / "val", seq_len=seq_len, vocab_size=model.vocab_size),
        {"corpus": {"path": folder.name}},
    )


def train(
    model: Positional[str],
    *,
    tokens: str = "500k",
    data: str | None = None,
    batch_size: str = "16",
    learning_rate: float = 0.001,
    warmup: float = 0.05,
    optimizer: OptimizerName = "adamw",
    beta1: float | None = None,
    beta2: float = 0.95,
    beta2_half_life: str | None = None,
    weight_decay: float = 0.0,
    adafactor_exponent: float | None = None,
    in_backward: bool = False,
    seq_len: int | None = None,
    micro_batch_size: int | None = None,
    block: int = 1,
    precision: Precision = "float32",
    grad_clip: float | None = None,
    statistics: bool = False,
    evals: int = 10,
    eval_rows: int = 256,
    checkpoints: int = 4,
    log_every_steps: int = 10,
    seed: int = 0,
    parallel: Literal["ddp", "fsdp"] = "ddp",
    compile: bool = False,
    cuda_graphs: bool = False,
    device: Literal["cpu", "cuda"] | None = None,
    out: str | None = None,
    resume: bool = False,
    stop_after_seconds: float | None = None,
    json: str | None = None,
) -> int:
    """Train a language model under a batch-size schedule and a token half-life; under torchrun on many
    devices.

    The learning rate rises linearly over the warm-up and falls to zero on a cosine. Ctrl-C finishes the step,
    saves, and --resume goes on with the same numbers.

    Args:
        model: a configuration, such as tiny, tiny_llama, gpt2_124m; an unknown name lists them all.
        tokens: budget, such as 500k or 2.5B; its whole sequences are used.
        data: folder written by bstheory data, or a text file (byte-level models); default the installed
            documentation.
        batch_size: sequences, or a schedule by consumed tokens such as "0:4 100k:16".
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
        eval_rows: rows of the fixed validation set.
        checkpoints: how many over the run; the newest two are kept.
        log_every_steps: steps per record.
        seed: initial weights and row order.
        parallel: ddp or fsdp under torchrun.
        compile: torch.compile.
        cuda_graphs: with compile, reduce launch overhead.
        device: default cuda where there is one.
        out: folder of the run; default runs/MODEL-seedS.
        resume: continue the run in that folder.
        stop_after_seconds: save and stop after this long; resume later.
        json: write the summary to this file, or - for stdout.
    """
    from bstheory.models.configs import model_config
    from bstheory.training.config import TrainConfig, batch_size_schedule, warmup_cosine
    from bstheory.training.parallel import Interrupted, world
    from bstheory.training.trainer import Trainer

    if not 0 <= warmup < 1:
        raise input_error(got=f"warmup={warmup}", rule="it is a fraction in [0, 1)", do="pass 0.05 for 5 %")
    for name, given in (
        ("--seq-len", seq_len),
        ("--eval-rows", eval_rows),
        ("--log-every-steps", log_every_steps),
    ):
        _need(name, given, 1)
    for name, given in (
        ("--evals", evals),
        ("--checkpoints", checkpoints),
        ("--stop-after-seconds", stop_after_seconds),
    ):
        _need(name, given, 0, 1e9)
    _need("--seed", seed, 0, 2**47)
    shape = model_config(model)
    length = seq_len or shape.context
    budget = count(tokens) // length * length
    if budget < length:
        raise input_error(got=f"tokens={tokens}", rule=f"a sequence has {length} tokens", do="pass more")
    config = TrainConfig(
        name=f"{model}-{optimizer}",
        model=shape,
        tokens=budget,
        batch_size=batch_size_schedule(batch_size),
        learning_rate=warmup_cosine(peak=learning_rate, tokens=budget, warmup=int(warmup * budget)),
        optimizer=_optimizer(
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
    )
    rows, held_out, provenance = _rows(data, shape, seq_len=length, seed=seed, block=block)
    folder = Path(out or f"runs/{model}-seed{seed}")
    if resume and not folder.is_dir():
        raise input_error(
            got=f"--resume with {str(folder)!r}",
            rule="there is no such run",
            do="name its folder with --out, or leave --resume out",
        )
    _writable(folder / "run.json")
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
        with _progress(quiet=json == "-" or not here.main) as progress:
            try:
                run = trainer.run(progress=progress, stop_after_seconds=stop_after_seconds)
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
        _emit({"name": run.name, "config_hash": run.hash, **run.summary}, json)
    if json != "-":
        for entry in run.summary["validation"]:
            print(f"{entry['tokens']:>14,} tokens   validation loss {entry['loss']:.4f}")
        state = "finished" if run.summary["finished"] else "stopped, continue with --resume"
        speed = run.summary["tokens_per_second"]
        print(
            f"{state}; {speed:,.0f} tokens/s on {run.summary['device']}; {run.summary['epochs']:.2f} epochs"
        )
        print(f"run in {folder}; a page about it: bstheory report {folder}")
    return 0


def data(
    text: Positional[tuple[str, ...]] = (),
    *,
    out: str,
    tokenizer: Literal["bytes", "gpt2"] = "gpt2",
    validation: tuple[str, ...] = (),
    dataset: str | None = None,
    subset: str | None = None,
    max_tokens: str | None = None,
    shard_tokens: str = "100M",
    raw: bool = False,
    json: str | None = None,
) -> int:
    """Prepare token shards from text files (plain, .gz, .xz), a Hugging Face data set, or the installed
    documentation.

    Writes OUT/train/*.bin and OUT/val/*.bin (llm.c format, or raw uint16) with a data.json that describes
    them.

    Args:
        text: UTF-8 files, documents separated by <|endoftext|>; none means the installed documentation.
        out: target folder.
        tokenizer: bytes (256 tokens) or gpt2 (50,257; extra [data], no network).
        validation: files to validate on; default one document in twenty is held out.
        dataset: stream this Hugging Face data set instead (extra [data], needs network).
        subset: its configuration name.
        max_tokens: stop after that many training tokens; required with --dataset.
        shard_tokens: tokens per shard.
        raw: leave the header out.
        json: write the description to this file, or - for stdout.
    """
    from bstheory.training.prepare import prepare_stream, prepare_text
    from bstheory.training.prepare import tokenizer as find_tokenizer

    encoder = find_tokenizer(tokenizer)
    limit = None if max_tokens is None else count(max_tokens)
    with _progress(quiet=json == "-") as progress:
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
        _emit(found, json)
    if json != "-":
        for part, description in found.items():
            print(
                f"{part:6s} {description['tokens']:>14,} tokens in {len(description['shards'])} shards, "
                f"{description['documents']:,} documents -> {Path(out) / part}"
            )
    return 0


def throughput(
    model: Positional[str],
    *,
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64),
    optimizer: OptimizerName = "adamw",
    precision: Precision = "float32",
    in_backward: bool = False,
    compile: bool = False,
    cuda_graphs: bool = False,
    seq_len: int | None = None,
    steps: int = 20,
    device: Literal["cpu", "cuda"] | None = None,
    json: str | None = None,
) -> int:
    """Measure tokens per second against batch size, and name the smallest batch at 95 % of the peak.

    Args:
        model: a configuration.
        batch_sizes: sequences per step, one forward pass each.
        optimizer: which one.
        precision: float32, bfloat16_autocast or bfloat16.
        in_backward: update weights inside the backward pass.
        compile: torch.compile.
        cuda_graphs: with compile, reduce launch overhead.
        seq_len: tokens per sequence; default the model's context.
        steps: timed steps.
        device: default cuda where there is one.
        json: write the measurements to this file, or - for stdout.
    """
    from bstheory.models.configs import model_config
    from bstheory.training.parallel import device_name, world
    from bstheory.training.throughput import as_documents, measure_throughput, smallest_near_peak

    with world(device) as here, _progress(quiet=json == "-") as progress:
        measured = measure_throughput(
            model_config(model),
            batch_sizes=batch_sizes,
            here=here,
            optimizer=_optimizer(
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
            seq_len=seq_len,
            steps=steps,
            progress=progress,
        )
    best = smallest_near_peak(measured)
    if json is not None:
        _emit(
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
        _table(
            f"{model} on {device_name(here.device)}", ["batch", "tokens/s", "ms/step", "MFU", "memory"], rows
        )
        print(f"smallest batch with at least 95 % of the best tokens/s: {best.batch_size}")
    return 0


def predict(
    model: Positional[str],
    *,
    out: str,
    batch_sizes: tuple[int, ...] = (1, 4, 16, 64),
    reference_batch_size: int | None = None,
    reference_beta2: float = 0.95,
    data: str | None = None,
    seq_len: int | None = None,
    precision: Precision = "float32",
    learning_rate: float = 0.001,
    probe_steps: int = 100,
    probe_batch_size: int = 16,
    probe_micro_batch_size: int = 4,
    memory_micro_batch: int | None = None,
    device: Literal["cpu", "cuda"] | None = None,
    json: str | None = None,
) -> int:
    """Write down what a batch-size campaign will show, before it is run: prediction.json with its own hash.

    From the half-life rule (beta2 at each batch size, the order of its gains), the memory model, and a short
    measured probe (gradient noise scale as an estimate of the critical batch size).

    Args:
        model: a configuration.
        out: file to write.
        batch_sizes: of the campaign, in sequences.
        reference_batch_size: where fixed beta2 and fixed half-life coincide; default the largest.
        reference_beta2: beta2 there.
        data: folder written by bstheory data, or a text file; default the installed documentation.
        seq_len: tokens per sequence; default the model's context.
        precision: of the campaign.
        learning_rate: of the probe.
        probe_steps: 0 leaves the probe out.
        probe_batch_size: sequences per probe step.
        probe_micro_batch_size: the noise is estimated from the spread between micro-batches.
        memory_micro_batch: also predict peak memory at this micro-batch.
        device: of the probe.
        json: also write the predictions to this file, or - for stdout.
    """
    from bstheory.files import read_json
    from bstheory.models.configs import model_config
    from bstheory.training.parallel import world
    from bstheory.training.predict import basis, campaign_predictions, run_probe
    from bstheory.training.predictions import write_predictions

    if not batch_sizes:
        raise input_error(got="no --batch-sizes", rule="a campaign has at least one", do="name them")
    for name, given in (
        ("--batch-sizes", min(batch_sizes)),
        ("--reference-batch-size", reference_batch_size),
        ("--seq-len", seq_len),
        ("--probe-batch-size", probe_batch_size),
        ("--probe-micro-batch-size", probe_micro_batch_size),
        ("--memory-micro-batch", memory_micro_batch),
    ):
        _need(name, given, 1)
    _need("--probe-steps", probe_steps, 0)
    _writable(Path(out))
    shape = model_config(model)
    length = seq_len or shape.context
    reference = reference_batch_size or max(batch_sizes)
    probe, provenance = None, {}
    if probe_steps:
        rows, held_out, provenance = _rows(data, shape, seq_len=length, seed=0)
        with world(device) as here, _progress(quiet=json == "-") as progress:
            probe = run_probe(
                shape,
                data=rows,
                validation=held_out,
                here=here,
                learning_rate=learning_rate,
                batch_size=probe_batch_size,
                micro_batch_size=probe_micro_batch_size,
                steps=probe_steps,
                precision=precision,
                progress=progress,
            )
    predictions = campaign_predictions(
        shape,
        batch_sizes=batch_sizes,
        reference_batch_size=reference,
        reference_beta2=reference_beta2,
        seq_len=length,
        precision=precision,
        memory_micro_batch=memory_micro_batch,
        probe=probe,
    )
    digest = write_predictions(
        out,
        predictions=predictions,
        basis=basis(
            probe, model=model, reference_batch_size=reference, reference_beta2=reference_beta2, **provenance
        ),
    )
    if json is not None:
        _emit(read_json(out), json)
    if json != "-":
        _table("predictions", ["name", "statement"], [[p.name, p.statement] for p in predictions])
        print(f"sha256 {digest} in {out}")
    return 0


def validate(run: Positional[tuple[str, ...]], *, against: str, json: str | None = None) -> int:
    """Judge saved runs against predictions that were written before them: one verdict per prediction.

    Args:
        run: folders of runs (each with run.json); runs of one name with different seeds are one arm.
        against: prediction.json, written by bstheory predict; its hash is checked.
        json: write the findings to this file, or - for stdout.

    Returns:
        1 if any prediction is refuted, else 0.
    """
    from bstheory.run import Run
    from bstheory.training.predictions import read_predictions
    from bstheory.training.predictions import validate as judge
    from bstheory.verdict import Verdict

    if not run:
        raise input_error(got="no run", rule="there is at least one run folder", do="pass them")
    findings = judge([Run.load(folder) for folder in run], read_predictions(against))
    documents = [
        {"name": p.name, "statement": p.statement, "verdict": v.word, **_finite(n)} for p, v, n in findings
    ]
    if json is not None:
        _emit(documents, json)
    if json != "-":
        rows = [[d["name"], d["verdict"], d["statement"], _numbers(d)] for d in documents]
        _table("predictions", ["name", "verdict", "statement", "measured"], rows)
    return int(any(v is Verdict.REFUTED for _, v, _ in findings))


def _finite(numbers: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinities: an interval with one is left out."""
    import math

    return {
        k: v for k, v in numbers.items() if not (k == "interval" and not all(math.isfinite(x) for x in v))
    }


def _numbers(document: dict[str, Any]) -> str:
    if "why" in document:
        return document["why"]
    value = document.get("effect", document.get("measured"))
    interval = document.get("interval")
    return f"{value:.4g}" + ("" if interval is None else f" [{interval[0]:.4g}, {interval[1]:.4g}]")


def finetune(
    model: Positional[str],
    text: Positional[str],
    *,
    out: str,
    method: Literal["full", "lora"] = "full",
    optimizer: OptimizerName = "adafactor",
    tokens: str = "200k",
    batch_size: str = "1",
    learning_rate: float = 1e-3,
    warmup: float = 0.0,
    beta2: float = 0.95,
    beta2_half_life: str | None = None,
    precision: Precision = "bfloat16",
    in_backward: bool = True,
    seq_len: int | None = None,
    lora_rank: int = 16,
    lora_alpha: float = 16.0,
    micro_batch_size: int | None = None,
    eval_rows: int = 64,
    seed: int = 0,
    device: Literal["cpu", "cuda"] | None = None,
    resume: bool = False,
    json: str | None = None,
) -> int:
    """Fine-tune a checkpoint or a Hugging Face causal language model on a text, in little memory.

    The default is the small-batch recipe: batch size 1, Adafactor, bfloat16 weights with stochastic rounding,
    updates inside the backward pass. The memory of the alternatives is printed beside it.

    Args:
        model: checkpoint folder of bstheory train, or a Hugging Face path or name (extra [hf]).
        text: UTF-8 text, documents separated by <|endoftext|>; about one in twenty is held out.
        out: folder of the run.
        method: all weights, or LoRA adapters (extra [hf]) on a frozen model.
        optimizer: for method full; LoRA uses adamw.
        tokens: budget, such as 200k.
        batch_size: sequences, or a schedule by tokens.
        learning_rate: peak; relative to the weights' size for adafactor.
        warmup: fraction of the tokens.
        beta2: per step, where no half-life is given.
        beta2_half_life: tokens; replaces beta2.
        precision: of the weights (LoRA adapters stay float32 in a float32 model).
        in_backward: update weights inside the backward pass.
        seq_len: tokens per sequence; default the model's context, at most 1024.
        lora_rank: of the adapters.
        lora_alpha: their scale is lora_alpha / lora_rank.
        micro_batch_size: sequences per forward pass.
        eval_rows: rows of the fixed validation set.
        seed: row order and rounding.
        device: default cuda where there is one.
        resume: continue the run in that folder.
        json: write the summary to this file, or - for stdout.
    """
    import dataclasses

    from bstheory.problems.corpus import load_corpus
    from bstheory.training.config import TrainConfig, batch_size_schedule, warmup_cosine
    from bstheory.training.finetune import add_lora, encode_documents, load_pretrained, method_memory
    from bstheory.training.parallel import world
    from bstheory.training.shards import TokenRows
    from bstheory.training.trainer import Trainer

    corpus = load_corpus(text)
    pretrained = load_pretrained(model)
    memory = method_memory(pretrained.model, rank=lora_rank)
    lora = method == "lora"
    if lora:
        pretrained = add_lora(pretrained, rank=lora_rank, alpha=lora_alpha)
    shape = pretrained.description
    length = seq_len or min(shape.context, 1024)
    arrays = [
        encode_documents(pretrained, [d for d in part.tobytes().decode().split("\0") if d])
        for part in (corpus.train, corpus.validation)
    ]
    rows, held_out = (
        TokenRows(arrays=[a], seq_len=length, vocab_size=shape.vocab_size, seed=s)
        for a, s in zip(arrays, (seed, 0), strict=True)
    )
    budget = count(tokens) // length * length
    if budget < length:
        raise input_error(got=f"tokens={tokens}", rule=f"a sequence has {length} tokens", do="pass more")
    config = TrainConfig(
        name=f"finetune-{method}-{'adamw' if lora else optimizer}",
        model=dataclasses.replace(shape, name=Path(shape.name).name),
        tokens=budget,
        batch_size=batch_size_schedule(batch_size),
        learning_rate=warmup_cosine(peak=learning_rate, tokens=budget, warmup=int(warmup * budget)),
        optimizer=_optimizer(
            "adamw" if lora else optimizer,
            beta1=None,
            beta2=beta2,
            beta2_half_life=beta2_half_life,
            weight_decay=0.0,
            in_backward=in_backward and not lora,
        ),
        seq_len=length,
        seed=seed,
        micro_batch_size=micro_batch_size,
        last_batch="partial",
        precision="float32" if lora else precision,
        eval_every_tokens=max(1, budget // 4),
        eval_rows=eval_rows,
        log_every_steps=10,
    )
    with world(device) as here:
        trainer = Trainer(
            config,
            data=rows,
            validation=held_out,
            here=here,
            folder=out,
            resume=resume,
            provenance={"corpus": corpus.describe(), "pretrained": Path(pretrained.source).name},
            model=pretrained.model,
        )
        before = trainer.validation_loss()
        with _progress(quiet=json == "-") as progress:
            run = trainer.run(progress=progress)
    if json is not None:
        table = [dataclasses.asdict(m) | {"total": m.total} for m in memory]
        _emit({"name": run.name, "validation_loss_before": before, "memory": table, **run.summary}, json)
    if json != "-":
        header = ["method", "weights", "gradients", "state", "total"]
        cells = [
            [m.method, *(f"{x / 2**20:,.1f}" for x in (m.weights, m.gradients, m.state, m.total))]
            for m in memory
        ]
        _table("memory in MiB, activations left out", header, cells)
        print(f"validation loss {before:.4f} -> {run.summary['final_validation_loss']:.4f}; run in {out}")
    return 0
