"""Checking: derivations become certificates, and certificates are checked again from nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from bstheory.checking.recheck import METHODS, Report, recheck_document
from bstheory.errors import input_error
from bstheory.files import read_json
from bstheory.verdict import Certificate, Verdict

__all__ = ["Report", "check", "recheck", "recheck_document"]


def check(bound: Any) -> Certificate:
    """Derive a theorem and check every step with the independent checker.

    Args:
        bound: a ``Bound``.

    Returns:
        A certificate: ``proved`` (or ``enclosed``) where the document checks; ``invalid``, with the failing
        step and what is left over, where it does not. A bound with its own ``check`` is checked by that.
    """
    from bstheory.theory.derivation import DerivationError

    started = time.perf_counter()
    if bound.check is not None:
        return bound.check()
    try:
        document = bound.document()
    except DerivationError as error:
        return Certificate(
            slug=bound.slug,
            claim_hash="",
            verdict=Verdict.INVALID,
            method=METHODS["proved"],
            evidence={},
            reason=str(error),
            seconds=time.perf_counter() - started,
            versions=versions(),
        )
    return certify(document, seconds_before=time.perf_counter() - started)


def certify(document: Mapping[str, Any], *, seconds_before: float = 0.0) -> Certificate:
    """Certificate of a document (or of several under one slug), by the independent checker."""
    started = time.perf_counter()
    report = recheck_document(document)
    return Certificate(
        slug=document["slug"],
        claim_hash=report.claim_hash,
        verdict=Verdict.from_word(report.establishes) if report.valid else Verdict.INVALID,
        method=report.method,
        evidence=document,
        rests_on=report.rests_on,
        reason=report.reason,
        seconds=seconds_before + time.perf_counter() - started,
        versions=versions(),
    )


def recheck(path: Path | str) -> Report:
    """Check a certificate file, or a bare document, without the code that derived it.

    Raises:
        InputError: the file is missing, not JSON, or no certificate.
    """
    content = read_json(path)
    document = content.get("evidence", content) if isinstance(content, dict) else None
    if not isinstance(document, dict) or "format" not in document:
        raise input_error(
            got=f"file {str(path)!r} without a derivation document",
            rule="a certificate has 'evidence' with format, symbols, steps and claim",
            do="write one with `bstheory derive SLUG --json FILE`",
        )
    report = recheck_document(document)
    # A bare document states no hash; a certificate does, or its words could be edited unnoticed.
    stated = content.get("claim_hash") if "evidence" in content else report.claim_hash
    if report.valid and stated != report.claim_hash:
        return Report(
            valid=False,
            reason=f"claim_hash is {stated}, but the content hashes to {report.claim_hash}",
            rests_on=(),
            steps=report.steps,
            claim_hash=report.claim_hash,
            establishes=report.establishes,
        )
    return report


def versions() -> dict[str, str]:
    """Versions of what checks."""
    return {name: metadata.version(name) for name in ("sympy", "python-flint", "z3-solver")}
