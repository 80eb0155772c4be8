"""The command ``bstheory check``: options, progress, the table of verdicts, interruption and resumption."""

from __future__ import annotations

import dataclasses
import json as json_module
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bstheory.check_job import Link, Result, Settings, check_slugs, run_check, settings_json
from bstheory.errors import input_error
from bstheory.files import atomic_write, read_json, write_json
from bstheory.terminal import JsonFile, OptionalFile, OptionalFolder, Slugs
from bstheory.terminal import quiet as asked_for_quiet


def command(
    slug: Slugs = (),
    *,
    all: bool = False,
    quick: bool = False,
    json: JsonFile = None,
    report: OptionalFolder = None,
    resume: OptionalFolder = None,
    text: OptionalFile = None,
) -> int:
    """Check the chain from a theorem to measurements and print every verdict.

    Without arguments: every derivation of the library (with --quick, of the bounds that are simulated),
    bounds against simulations under four batch-size schedules, the exact recursions of the noisy quadratic
    against simulated paths, controls that must be rejected, and a tiny language model on real text. Exit code
    0 only if every verdict is as declared.

    Examples: bstheory check --quick; bstheory check --all --json -;
    bstheory check adam_token_half_life --json -

    Args:
        slug: theorems (or nqm_sgd, nqm_heavy_ball, tiny_lm) to check; the whole chain when none is given.
        all: every theorem of the library and the whole chain, which is also what no slug means.
        quick: smaller samples and fewer theorems, about half a minute.
        json: write the results to this file, or - for stdout instead of the table.
        report: folder for an HTML page with the derivation, plots and verdicts.
        resume: run directory of an interrupted check to finish; it keeps its settings.
        text: UTF-8 text file for the language model instead of the installed documentation.
    """
    if all and (slug or quick):
        raise input_error(
            got=f"--all together with {'--quick' if quick else ' '.join(slug)}",
            rule="--all checks every theorem, in full",
            do="leave out one of the two",
        )
    settings, folder = _prepare(slug, quick, text, resume)
    if report is not None:
        _probe(report)
    if json not in (None, "-"):
        _probe(Path(json).parent)
    try:
        with _watching(asked_for_quiet()) as watch:
            result = run_check(settings, folder, watch)
    except KeyboardInterrupt:
        rest = "" if report is None else f" --report {report}"
        print(
            f"\nbstheory: interrupted; what had finished is in {folder}\n"
            f"resume with: bstheory check --resume {folder}{rest}",
            file=sys.stderr,
        )
        return 130
    if json is not None:
        document = json_module.dumps(result.to_json(), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        if json == "-":
            sys.stdout.write(document)
        else:
            atomic_write(json, document)
    if json != "-":
        _print(result)
    if report is not None:
        from bstheory.reports.check_page import write_check_page

        page = write_check_page(result, report)
        print(f"report: {page}", file=sys.stderr if json == "-" else sys.stdout)
    return 0 if result.as_declared else 1


def _prepare(
    slugs: tuple[str, ...], quick: bool, text: Path | None, resume: Path | None
) -> tuple[Settings, Path]:
    """Settings and run directory; every mistake that can be seen before the work is seen here."""
    if resume is not None:
        if slugs or quick or text is not None:
            raise input_error(
                got="--resume together with a slug, --quick or --text",
                rule="a resumed check keeps the settings it was started with",
                do="leave them out, or start a new check",
            )
        return stored_settings(resume), resume
    if text is not None:
        from bstheory.problems.corpus import load_corpus

        load_corpus(text)
    settings = Settings(
        slugs=check_slugs(slugs),
        quick=quick,
        text=None if text is None else str(text.resolve()),
    )
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = Path("runs") / f"check-{stamp}"
    number = 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"check-{stamp}-{number}"
    write_json(folder / "check.json", {"settings": settings_json(settings)})
    return settings, folder


def stored_settings(folder: Path) -> Settings:
    """The settings that a run directory of ``bstheory check`` was started with.

    Raises:
        InputError: no such directory, or one of something else.
    """
    document = read_json(folder / "check.json")
    fields = {field.name for field in dataclasses.fields(Settings)}
    if not isinstance(document, dict) or set(document.get("settings", {})) != fields:
        raise input_error(
            got=f"{str(folder / 'check.json')!r} without the settings of a check",
            rule="a run directory is one that bstheory check made",
            do="pass the directory that the interrupted check printed",
        )
    stored = document["settings"]
    return Settings(**{**stored, "slugs": tuple(stored["slugs"])})


def _probe(folder: Path) -> None:
    """Raise ``InputError`` now rather than after the work if nothing can be written in ``folder``."""
    atomic_write(folder / ".bstheory-probe", b"").unlink()


class _watching:
    """A bar for the whole check and one for each current part on stderr; plain lines without a terminal."""

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.quiet = quiet
        self.console = Console(stderr=True, highlight=False)
        self.bars = Progress(
            TextColumn("{task.description:<44}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self.whole = self.bars.add_task("check", total=1.0)
        self.parts: dict[int, Any] = {}
        self.fractions: dict[int, float] = {}
        self.started: dict[int, float] = {}

    def __enter__(self) -> Callable[[int, int, str, float, list[Link]], None]:
        self.bars.start()
        return self.update

    def __exit__(self, *exception: Any) -> None:
        self.bars.stop()

    def update(self, number: int, total: int, title: str, fraction: float, found: list[Link]) -> None:
        if number not in self.started:
            self.started[number] = time.perf_counter()
            self.parts[number] = self.bars.add_task(f"  {title}"[:44], total=1.0)
        self.fractions[number] = fraction
        done = sum(self.fractions.values())
        self.bars.update(self.whole, completed=done / total, description=f"{int(done)} of {total} parts")
        self.bars.update(self.parts[number], completed=fraction, visible=not found)
        if found and not self.quiet and not self.console.is_terminal:
            seconds = time.perf_counter() - self.started[number]
            verdicts = ", ".join(dict.fromkeys(link.verdict.word for link in found))
            print(f"[{number}/{total}] {title}: {verdicts} ({seconds:.1f} s)", file=sys.stderr)


def _print(result: Result) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)

    def mark(link: Link, text: str) -> str:
        return f"[green]{text}[/]" if link.as_declared else f"[bold red]{text}[/]"

    def table(*headings: str, right: int = 0) -> Table:
        made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for index, heading in enumerate(headings):
            aligned = "right" if index >= len(headings) - right else "left"
            width = len(heading) if aligned == "right" else None
            made.add_column(
                heading, justify=aligned, min_width=width, no_wrap=aligned == "right", overflow="fold"
            )
        return made

    derived = table("derivations", "")
    for verdict, links in result.derivations().items():
        derived.add_row(mark(links[0], verdict.word), ", ".join(link.slug for link in links))
    if derived.row_count:
        console.print(derived)
        console.print()
    names = list(dict.fromkeys(name for row in result.simulations().values() for name in row))
    simulated = table("measured / bound", *(name.removeprefix("ramp ") for name in names), right=len(names))
    for slug, row in result.simulations().items():
        cells = (row.get(name) for name in names)
        simulated.add_row(slug, *("" if c is None else mark(c, _ratio(c)) for c in cells))
    if simulated.row_count:
        console.print(simulated)
        console.print("a ratio: consistent; otherwise the verdict\n")
    rest = table("other verdicts", "part", "what")
    for link in result.others():
        what = f"{link.slug}: {link.reason}" if link.part == "exact recursion" else link.name
        rest.add_row(mark(link, link.verdict.word), link.part, escape(what))
    if rest.row_count:
        console.print(rest)
        console.print()
    for verdict in dict.fromkeys(link.verdict for link in result.links):
        console.print(f"[bold]{verdict.word}[/]: {verdict.value}")
    for link in result.links:
        if not link.as_declared:
            console.print(
                f"\n[bold red]not as declared[/]: {escape(link.slug)}, {escape(link.name)} is "
                f"{link.verdict.word}, declared {link.declared_words}: {escape(link.reason)}"
            )
    good = sum(link.as_declared for link in result.links)
    console.print(f"\n{good} of {len(result.links)} verdicts are as declared; run directory: {result.folder}")


def _ratio(link: Link) -> str:
    """Measured over bound where the bound holds; the verdict's word where it does not."""
    return f"{link.ratio:.3g}" if link.as_declared and link.ratio is not None else link.verdict.word
