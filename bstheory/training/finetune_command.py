"""The sub-command ``finetune``."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, Literal

from bstheory.errors import input_error
from bstheory.files import read_json, write_json
from bstheory.terminal import (
    Count,
    Folder,
    JsonFile,
    Model,
    OptionalCount,
    OptionalDevice,
    OptionalInt,
    Schedule,
    TextFile,
    emit,
)
from bstheory.training.command_line import (
    OptimizerName,
    Precision,
    SinkNames,
    count,
    need,
    note_validation_rows,
    optimizer_config,
    print_table,
    progress_line,
    require_writable,
)


def finetune(
    model: Model,
    text: TextFile,
    *,
    out: Folder,
    validation: tuple[str, ...] = (),
    method: Literal["full", "lora"] = "full",
    optimizer: OptimizerName = "adafactor",
    tokens: Count = "200k",
    batch_size: Schedule = "1",
    learning_rate: float = 1e-3,
    warmup: float = 0.0,
    beta2: float = 0.95,
    beta2_half_life: OptionalCount = None,
    precision: Precision = "bfloat16",
    in_backward: bool = True,
    seq_len: OptionalInt = None,
    lora_rank: int = 16,
    lora_alpha: float = 16.0,
    micro_batch_size: OptionalInt = None,
    eval_rows: int = 64,
    checkpoints: int = 4,
    seed: int = 0,
    device: OptionalDevice = None,
    resume: bool = False,
    log_to: SinkNames = (),
    json: JsonFile = None,
) -> int:
    """Fine-tune a checkpoint or a Hugging Face causal language model on a text, in little memory.

    The default is the small-batch recipe: batch size 1, Adafactor, bfloat16 weights with stochastic rounding,
    updates inside the backward pass. The memory of the alternatives is printed beside it.

    Example: bstheory finetune runs/tiny-seed0 text.txt --out runs/finetuned

    Args:
        model: checkpoint folder of bstheory train, or a Hugging Face path or name (extra [hf]).
        text: UTF-8 text, documents separated by <|endoftext|>, or a .jsonl file with prompt and completion
            in each line, of which the completions are learned; about one in twenty is held out.
        out: folder of the run.
        validation: files of the same kind to validate on; then nothing of the text is held out.
        method: all weights, or LoRA adapters (extra [hf]) on a frozen model.
        optimizer: for method full; LoRA uses adamw.
        tokens: budget, such as 200k.
        batch_size: sequences, or a schedule by tokens.
        learning_rate: peak; relative to the weights' size for adafactor.
        warmup: fraction of the tokens.
        beta2: per step, where no half-life is given.
        beta2_half_life: tokens; replaces beta2.
        precision: of the weights; with LoRA of the frozen ones, the adapters are float32.
        in_backward: update weights inside the backward pass, which LoRA does not; the flag keeps all
            gradients until it ends.
        seq_len: tokens per sequence; default the model's context, at most 1024, or the longest example.
        lora_rank: of the adapters.
        lora_alpha: their scale is lora_alpha / lora_rank.
        micro_batch_size: sequences per forward pass.
        eval_rows: rows of the fixed validation set; all where there are fewer, which is said.
        checkpoints: how many over the run; the newest two are kept.
        seed: row order and rounding.
        device: default cuda where there is one.
        resume: continue the run in that folder.
        log_to: also write the series to tensorboard, trackio or wandb (extras of these names).
        json: write the summary to this file, or - for stdout.
    """
    need("--warmup", warmup, 0, 1)
    need("--seq-len", seq_len, 1)
    need("--lora-rank", lora_rank, 1)
    need("--lora-alpha", lora_alpha, 0, 1e9)
    need("--eval-rows", eval_rows, 1)
    need("--checkpoints", checkpoints, 0, 1e9)
    need("--seed", seed, 0, 2**47)
    if resume and not Path(out).is_dir():
        raise input_error(
            got=f"--resume with {out!r}",
            rule="there is no such run",
            do="leave --resume out, or correct --out",
        )
    import dataclasses

    import torch

    from bstheory.training.config import TrainConfig, batch_size_schedule, warmup_cosine
    from bstheory.training.examples import is_examples, open_examples
    from bstheory.training.finetune import add_lora, load_pretrained, method_memory, open_documents
    from bstheory.training.known_warnings import without_known_warnings
    from bstheory.training.parallel import Interrupted, world
    from bstheory.training.sinks import open_sinks, require_sinks
    from bstheory.training.trainer import Trainer

    require_sinks(log_to)
    require_writable(Path(out) / "run.json")
    with without_known_warnings():
        pretrained = load_pretrained(model)
    memory = method_memory(pretrained.model, rank=lora_rank)
    lora = method == "lora"
    if lora:
        base = "bfloat16" if precision == "bfloat16" else "float32"
        with without_known_warnings():
            pretrained = add_lora(pretrained, rank=lora_rank, alpha=lora_alpha, base=base)
    elif precision == "bfloat16":
        pretrained.model.to(torch.bfloat16)
    shape = pretrained.description
    other = [file for file in validation if is_examples(file) != is_examples(text)]
    if other:
        raise input_error(
            got=f"--validation {other[0]} for {text}",
            rule="both are texts, or both .jsonl files of prompts and completions",
            why="losses of completions and of whole texts are different quantities",
            do="pass files of one kind",
        )
    opened = open_examples if is_examples(text) else open_documents
    rows, held_out, provenance = opened(
        pretrained, text, seq_len=seq_len, seed=seed, eval_rows=eval_rows, validation=validation
    )
    length = rows.seq_len
    budget = count(tokens) // length * length
    if budget < length:
        raise input_error(got=f"tokens={tokens}", rule=f"a sequence has {length} tokens", do="pass more")
    config = TrainConfig(
        name=f"finetune-{method}-{'adamw' if lora else optimizer}",
        model=dataclasses.replace(shape, name=Path(shape.name).name),
        tokens=budget,
        batch_size=batch_size_schedule(batch_size),
        learning_rate=warmup_cosine(peak=learning_rate, tokens=budget, warmup=int(warmup * budget)),
        optimizer=optimizer_config(
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
        precision=precision,
        eval_every_tokens=max(1, budget // 4),
        eval_rows=eval_rows,
        checkpoint_every_tokens=max(1, budget // checkpoints) if checkpoints else None,
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
            provenance={**provenance, "pretrained": Path(pretrained.source).name},
            model=pretrained.model,
        )
        before = _loss_before(trainer, Path(out))
        with (
            progress_line(silent=json == "-" or not here.main) as progress,
            open_sinks(
                log_to if here.main else (),
                folder=Path(out),
                name=config.name,
                config=config.to_json(),
                tokens=trainer.scheduler.position.tokens,
            ) as observe,
        ):
            try:
                run = trainer.run(progress=progress, observe=observe)
            except torch.OutOfMemoryError as error:
                raise input_error(
                    got=f"batch size {batch_size} with --micro-batch-size {micro_batch_size or 'not given'}",
                    rule=f"the device ran out of memory ({str(error).splitlines()[0][:120]})",
                    do="lower --micro-batch-size or --seq-len",
                ) from error
            except Interrupted:
                if here.main:
                    print(
                        f"\nbstheory: interrupted; the last step is saved in {out}\n"
                        "resume with the same command and --resume",
                        file=sys.stderr,
                    )
                return 130
        if pretrained.save is not None and here.main:
            with without_known_warnings():
                pretrained.save(Path(out) / "model")
    if not here.main:
        return 0
    if json is not None:
        table = [dataclasses.asdict(m) | {"total": m.total} for m in memory]
        emit({"name": run.name, "validation_loss_before": before, "memory": table, **run.summary}, json)
    if json != "-":
        header = ["method", "weights", "gradients", "state", "total"]
        cells = [
            [m.method, *(f"{x / 2**20:,.1f}" for x in (m.weights, m.gradients, m.state, m.total))]
            for m in memory
        ]
        print_table("memory in MiB, activations left out", header, cells)
        if share := provenance["corpus"].get("completion_share_of_tokens"):
            print(f"{100 * share:.1f} % of the tokens are completions, which alone are learned")
        note_validation_rows(eval_rows, len(trainer.held_out))
        if lora:
            print("LoRA trains its adapters with AdamW, after the backward pass and not inside it")
        start = "not kept" if before is None else f"{before:.4f}"
        print(f"validation loss {start} -> {run.summary['final_validation_loss']:.4f}; run in {out}")
        if pretrained.save is not None:
            print(f"{'adapters' if lora else 'model'} in the Hugging Face format in {Path(out) / 'model'}")
    return 0


def _loss_before(trainer: Any, out: Path) -> float | None:
    """The validation loss before the first step, kept in ``OUT/before.json`` for a run that is resumed.

    Raises:
        InputError: it is not finite.
    """
    path = out / "before.json"
    if trainer.scheduler.position.tokens:
        return read_json(path)["validation_loss"] if path.exists() else None
    loss = trainer.validation_loss()
    if not math.isfinite(loss):
        raise input_error(
            got=f"a validation loss of {loss} before the first step",
            rule="fine-tuning starts from a model whose loss is finite",
            do="check the model, or use --precision float32",
        )
    if trainer.here.main:
        write_json(path, {"validation_loss": loss})
    return loss
