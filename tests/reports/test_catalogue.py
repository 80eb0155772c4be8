"""The catalogue page names every entry once in its tables, with the verdict that is declared, and real tests."""

from __future__ import annotations

import re
from pathlib import Path

from bstheory.theory import library

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "catalogue.md").read_text()


def test_every_entry_is_listed_with_its_declared_verdict() -> None:
    rows = re.findall(r"\| \[(\w+)\]\(theorems/(\w+)\.md\) \| (\w+) \|", PAGE)
    assert all(name == target for name, target, _ in rows)
    assert sorted(name for name, _, _ in rows) == sorted(library.all_slugs())
    assert {name: verdict for name, _, verdict in rows} == {
        slug: library.get(slug).declared for slug in library.all_slugs()
    }


def test_every_change_is_shown_by_a_test_that_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 20
    for path, test in named:
        assert f"def {test}(" in (ROOT / "tests" / "theory" / path).read_text(), f"{path}::{test}"
