"""Committed theorem pages and certificates are what the code generates; every certificate rechecks."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import bstheory as bst
from bstheory.checking.mutations import sample
from bstheory.checking.recheck import recheck_document
from bstheory.reports import pages
from bstheory.theory import library, render
from bstheory.trusted import TRUSTED

DOCS = Path(__file__).resolve().parents[2] / "docs"
CERTIFICATES = sorted((DOCS / "certificates").glob("*.json"))


@pytest.mark.slow
def test_committed_pages_are_what_the_code_generates(capsys) -> None:
    assert pages.main([str(DOCS), "--check"]) == 0, capsys.readouterr().out


def test_every_derived_theorem_has_a_page_and_a_certificate() -> None:
    for slug in library.all_slugs():
        assert (DOCS / "theorems" / f"{slug}.md").exists(), f"{slug}: run `make theorems`"
        if library.get(slug).derive is not None:
            assert (DOCS / "certificates" / f"{slug}.json").exists(), f"{slug}: run `make theorems`"


@pytest.mark.parametrize("path", CERTIFICATES, ids=lambda p: p.stem)
def test_committed_certificates_recheck(path: Path) -> None:
    report = bst.recheck(path)
    assert report.valid, report.reason


@pytest.mark.parametrize("path", CERTIFICATES, ids=lambda p: p.stem)
def test_an_edited_coefficient_is_invalid(path: Path) -> None:
    """Seeded edits; the claim hash is made to fit, so only the mathematics can object."""
    content = json.loads(path.read_text())
    documents = [
        d for _, d in render.parts(content["evidence"]) if d.get("kind", "derivation") == "derivation"
    ]
    seed = random.Random(path.stem).randrange(10**6)
    for document in documents[:3]:
        edits = [m for m in sample(document, 60, seed) if m.change.startswith("constant")][:5]
        for mutant in edits:
            report = recheck_document(mutant.document)
            trivial = mutant.where.startswith("step zero")
            assert trivial or not report.valid, f"{mutant.where}: {mutant.change} was accepted"


@pytest.mark.parametrize("path", CERTIFICATES, ids=lambda p: p.stem)
def test_nothing_called_proved_rests_on_sampling(path: Path) -> None:
    """What a verdict word may rest on: steps that the checker repeats, trusted facts and hypotheses."""
    content = json.loads(path.read_text())
    report = recheck_document(content["evidence"])
    assert report.valid and report.establishes == content["verdict"]
    assert report.method == content["method"]
    assumed = {fact for fact in report.rests_on if fact.startswith("assumption: ")}
    assert set(report.rests_on) - assumed <= set(TRUSTED)
    assert not any(word in content["method"] for word in ("sampl", "random", "statistic", "measure"))


def test_what_no_derivation_establishes_is_not_called_proved() -> None:
    loose = [library.get(slug) for slug in library.all_slugs() if library.get(slug).derive is None]
    assert loose
    assert not {bound.declared for bound in loose} & {"proved", "enclosed"}


def test_a_stale_page_is_reported(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(library, "all_slugs", lambda: ("adam_token_half_life",))
    assert pages.main([str(tmp_path)]) == 0
    assert pages.main([str(tmp_path), "--check"]) == 0
    page = tmp_path / "theorems" / "adam_token_half_life.md"
    page.write_text(page.read_text() + "edited by hand\n")
    (tmp_path / "theorems" / "withdrawn.md").write_text("old\n")
    assert pages.main([str(tmp_path), "--check"]) == 1
    out = capsys.readouterr().out
    assert "adam_token_half_life.md" in out and "withdrawn.md (no such theorem)" in out
