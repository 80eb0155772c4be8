"""What the sub-commands of training share: counts, checks, progress, tables, and how text is opened."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from bstheory.errors import input_error
from bstheory.terminal import count as count
from bstheory.terminal import quiet

OptimizerName = Literal["adamw", "sgd", "sign_sgd", "signum", "adafactor", "muon"]
Precision = Literal["float32", "bfloat16_autocast", "bfloat16"]
Attention = Literal["auto", "flash", "efficient", "cudnn", "math"]
SinkNames = Annotated[
    tuple[Literal["tensorboard", "trackio", "wandb"], ...],
    arg(metavar="{tensorboard,trackio,wandb} ...", help_behavior_hint=""),
]


def need(name: str, value: float | None, low: float, high: float = math.inf) -> None:
    """Raise ``InputError`` unless ``value`` is None or lies in [low, high)."""
    if value is not None and not low <= value < high:
        raise input_error(
            got=f"{name} {value}",
            rule=f"it is at least {low:g}" + ("" if high == math.inf else f" and below {high:g}"),
            do="correct it",
        )


def require_writable(path: Path) -> None:
    """Raise ``InputError`` now rather than after the work if nothing can be written beside ``path``."""
    from bstheory.files import atomic_write

    atomic_write(path.parent / f".{path.name}-probe", b"").unlink()


@contextlib.contextmanager
def progress_line(silent: bool) -> Iterator[Callable[[int, int | None, str], None]]:
    """A bar on a terminal, a line now and then elsewhere, nothing when quiet."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    silent = silent or quiet()
    if silent or not sys.stderr.isatty():
        told = [time.monotonic()]

        def line(done: int, total: int | None, label: str) -> None:
            if not silent and (done == total or time.monotonic() - told[0] > 10):
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


def note_validation_rows(asked: int, found: int) -> None:
    """Say where the validation set has fewer rows than were asked for."""
    if found < asked:
        print(f"validated on {found:,} rows, all there are; --eval-rows asks for {asked:,}")


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in header:
        first = name == header[0]  # a name is not split
        table.add_column(name, justify="left" if first else "right", overflow="fold", no_wrap=first)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def optimizer_config(
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

    if beta1 is not None and name in ("adafactor", "sign_sgd"):
        raise input_error(
            got=f"--beta1 {beta1} with --optimizer {name}",
            rule="this optimizer keeps no first moment",
            why="it would have no effect",
            do="leave it out, or choose another optimizer",
        )
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


def open_text(
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
