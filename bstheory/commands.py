"""The short sub-commands about one theorem or one saved file. Heavy imports are inside the functions."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from bstheory.terminal import JsonFile, OptionalCount, OptionalSchedule, Slug, Slugs, count, emit


def cite(slug: Slugs = (), *, json: JsonFile = None) -> int:
    """Print BibTeX of the papers that theorems rest on.

    Examples: bstheory cite adam_norm_test; bstheory cite --json references.json

    Args:
        slug: theorems; all known papers when none is given.
        json: also write {key: bibtex} to this file, or - for stdout instead of the text.
    """
    from bstheory import references

    chosen = references.known()
    if slug:
        from bstheory.theory.library import get

        chosen = list(dict.fromkeys(reference for name in slug for reference in get(name).references))
    if json is not None:
        emit({reference.key: reference.bibtex() for reference in chosen}, json)
    if json != "-":
        print(references.cite(*chosen))
    return 0


def derive(slug: Slug, *, latex: bool = False, json: JsonFile = None) -> int:
    """Derive a theorem step by step and check every step with the independent checker.

    Examples: bstheory derive adam_token_half_life; bstheory derive adam_token_half_life --latex > proof.tex

    Args:
        slug: the theorem.
        latex: print a stand-alone LaTeX file instead of text.
        json: write the certificate, which bstheory recheck reads, to this file, or - for stdout instead of
            the text.
    """
    from bstheory.checking import check
    from bstheory.theory.library import get
    from bstheory.verdict import Verdict

    bound = get(slug)
    certificate = check(bound)
    if json is not None:
        emit(certificate.to_json(), json)
    if json != "-":
        from bstheory.theory import render

        if latex:
            sys.stdout.write(render.latex_file(certificate.evidence))
        else:
            if certificate.evidence.get("format") is not None:
                sys.stdout.write(render.text(certificate.evidence))
            print(f"\n{certificate.verdict.word}: {certificate.verdict.value}")
            print(f"method: {certificate.method}, {certificate.seconds:.2f} s")
            if certificate.reason:
                print(f"reason: {certificate.reason}")
            print(f"rests on: {', '.join(certificate.rests_on)}")
    return 0 if certificate.verdict is Verdict.from_word(bound.declared) else 1


def recheck(
    file: Annotated[tuple[Path, ...], Positional, arg(metavar="FILE ...", help_behavior_hint="")],
    *,
    json: JsonFile = None,
) -> int:
    """Check certificate files again, without the code that derived them; exit code 1 if a step of any does
    not follow.

    Example: bstheory recheck docs/certificates/adam_token_half_life.json

    Args:
        file: each written by bstheory derive SLUG --json FILE, or found in a run directory under
            certificates/.
        json: write the report (of several files a list of them) to this file, or - for stdout instead of the
            text.
    """
    from bstheory.checking import recheck as recheck_file
    from bstheory.errors import InputError, input_error
    from bstheory.verdict import Verdict

    if not file:
        raise input_error(
            got="no file", rule="there is at least one certificate to check", do="pass its file"
        )
    documents, unread = [], []
    for path in file:
        try:
            report = recheck_file(path)
        except InputError as error:
            if len(file) == 1:
                raise
            unread.append(error)  # the others are checked all the same
            documents.append({"file": str(path), "valid": False, "reason": str(error), "verdict": "unread"})
            continue
        verdict = Verdict.from_word(report.establishes) if report.valid else Verdict.INVALID
        documents.append({"file": str(path), **dataclasses.asdict(report), "verdict": verdict.word})
        if json != "-":
            _print_report(report, verdict, heading=f"{path}\n" if len(file) > 1 else "")
    if json is not None:
        emit(documents if len(file) > 1 else documents[0], json)
    for error in unread:
        print(f"bstheory: {error}", file=sys.stderr)
    failed = [document["file"] for document in documents if not document["valid"]]
    if json != "-" and len(file) > 1:
        print(f"{len(file) - len(failed)} of {len(file)} files hold" + (", all but:" if failed else ""))
        print("".join(f"  {name}\n" for name in failed), end="")
    return 2 if unread else int(bool(failed))


def _print_report(report: Any, verdict: Any, *, heading: str) -> None:
    print(f"{heading}{verdict.word}: {verdict.value}")
    print(f"{report.steps} steps, claim {report.claim_hash[:16]}")
    if report.method:
        print(f"method: {report.method}")
    if report.reason:
        print(f"reason: {report.reason}")
    if report.rests_on:
        print(f"rests on: {', '.join(report.rests_on)}")
    for line in report.assumes:
        print(f"  assumes {line}")
    if heading:
        print()


def evaluate(
    slug: Slug,
    *,
    set: Annotated[tuple[str, ...], UseAppendAction, arg(metavar="NAME=NUMBER")] = (),
    schedule: OptionalSchedule = None,
    tokens: OptionalCount = None,
    enclose: bool = False,
    json: JsonFile = None,
) -> int:
    """The value of a bound, the trivial bound beside it.

    Example: bstheory evaluate adam_token_half_life --set alpha=0.1 --set h=1e5 --set eps=0.01 --set R=2
    --set L=1 --set d=64 --set Delta=90 --schedule "0:16 500K:64" --tokens 1000000

    Args:
        slug: the theorem.
        set: NAME=VALUE of a constant, once for each; a comma-separated list makes a vector.
        schedule: batch size in tokens against tokens consumed, e.g. "64" or "0:64 1M:256".
        tokens: total tokens, such as 1M, needed with a schedule.
        enclose: also enclose the exact value rigorously with ball arithmetic (Arb).
        json: write the result to this file, or - for stdout instead of the text.
    """
    import numpy as np

    from bstheory.errors import input_error
    from bstheory.theory.library import get

    bound = get(slug)
    constants = {}
    for word in set:
        name, equals, value = word.partition("=")
        try:
            numbers = [float(piece) for piece in value.split(",")]
        except ValueError:
            equals = ""
        if not equals or not name:
            raise input_error(got=f"--set {word}", rule="it is NAME=NUMBER", do="write for example --set L=1")
        if name in constants:
            raise input_error(
                got=f"--set {name} twice",
                rule="a constant is given once",
                do="leave one out; a vector is one comma-separated list",
            )
        constants[name] = numbers[0] if len(numbers) == 1 else np.array(numbers)
    batches = None
    if schedule is not None:
        from bstheory.schedules import parse

        if tokens is None:
            raise input_error(
                got=f"--schedule {schedule!r} without --tokens",
                rule="a schedule has a bound only up to a number of tokens",
                do="add --tokens, e.g. --tokens 1000000",
            )
        total = count(tokens)
        if total >= 10**15:
            raise input_error(
                got=f"--tokens {tokens}", rule="it is a positive number below 10^15", do="correct it"
            )
        batches = parse(schedule).rounded(multiple=1).batch_sizes(num_tokens=total, last="partial")
    found = bound.evaluate(constants=constants, schedule=batches, enclose=enclose)
    document = {
        "slug": slug,
        "quantity": bound.quantity,
        "value": _plain(found.value),
        "trivial_value": "none known" if found.trivial_value is None else _plain(found.trivial_value),
        "vacuous": _plain(found.vacuous),
        **({"enclosure": dataclasses.asdict(found.enclosure)} if enclose else {}),
        "parts": {name: _plain(value) for name, value in found.parts.items()},
        "constants": {name: _plain(value) for name, value in constants.items()},
        "schedule": schedule,
        "tokens": None if tokens is None else count(tokens),
        "num_steps": None if batches is None else len(batches),
    }
    if json is not None:
        emit(document, json)
    if json != "-":
        sign = {"identity": "=", "asymptotic": "~", "prediction": "~"}.get(bound.kind, "<=")
        value = document["value"]
        print(f"{bound.title}\n{bound.quantity or 'value'} {sign} {value if enclose else _digits(value)}")
        if enclose:
            inside = found.enclosure
            print(f"enclosed rigorously: [{inside.lower!r}, {inside.upper!r}], exactly {inside.digits}")
            print(f"the float64 value is off by at most {inside.relative_error:.1e}, relative")
        print(f"trivial bound: {_digits(document['trivial_value'])}")
        if np.any(found.vacuous):
            print("the bound is vacuous here: it says no more than the trivial one")
        for name, value in document["parts"].items():
            print(f"  {name}: {_digits(value)}")
    return 0


def chain(slug: Slug, *, json: JsonFile = None) -> int:
    """The places where one theorem lives, and what its derivation and its experiment say; exit code 1 if one
    is missing.

    Example: bstheory chain adam_token_half_life

    Args:
        slug: the theorem.
        json: write the chain to this file, or - for stdout instead of the text.
    """
    from bstheory.chain import links

    found = links(slug)
    if json is not None:
        emit({"slug": slug, "links": found}, json)
    if json != "-":
        for link in found:
            print(f"{link['part']:<12}{link['path']:<60}{link['state']}")
    return 0 if all(link["ok"] for link in found) else 1


def report(
    run: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN ...", help_behavior_hint="")],
    *,
    out: Path = Path("reports/runs"),
    title: str = "",
    json: JsonFile = None,
) -> int:
    """Write an HTML page about saved runs: series, comparison, and what the theorems say about each.

    Examples: bstheory report runs/check-20250101-120000; bstheory report sweep/ --out reports/sweep

    Args:
        run: run folders, folders of run folders (a sweep), or one run directory of bstheory check.
        out: folder for index.html and figures.
        title: heading of the page.
        json: also write {page, runs, verdicts} to this file, or - for stdout instead of the text.
    """
    if not run:
        from bstheory.errors import input_error

        raise input_error(got="no run", rule="a report is about at least one", do="pass the folder of a run")
    verdicts: list[Any] = []
    if len(run) == 1 and (run[0] / "check.json").exists():
        from bstheory.check_command import stored_settings
        from bstheory.check_job import run_check
        from bstheory.reports.check_page import write_check_page

        result = run_check(stored_settings(run[0]), run[0])
        page, names = write_check_page(result, out), [str(run[0])]
        verdicts = [link.to_json() for link in result.links]
    else:
        from bstheory.reports.run_page import find_runs, write_run_page

        folders = find_runs(run)
        page, names = write_run_page(folders, out, title=title), [str(folder) for folder in folders]
    if json is not None:
        emit({"page": str(page), "runs": names, "verdicts": verdicts}, json)
    if json != "-":
        print(f"report: {page}")
    return 0


def _plain(value: Any) -> Any:
    """NumPy scalar or array to plain JSON; JSON has no infinity, so what is not finite is said in words."""
    import numpy as np

    array = np.asarray(value)
    if array.ndim:
        return [_plain(entry) for entry in array]
    if np.issubdtype(array.dtype, np.number) and not np.isfinite(array):
        return "undefined" if np.isnan(array) else "infinite" if array > 0 else "minus infinite"
    return array.item()


def _digits(value: Any) -> str:
    """Eight digits for reading; --json has all of them."""
    if isinstance(value, list):
        return "[" + ", ".join(map(_digits, value)) + "]"
    return f"{value:.8g}" if isinstance(value, float) else str(value)
