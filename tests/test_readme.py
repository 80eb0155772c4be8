"""The README's example runs as printed, and every file and command that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = re.search(r"```python\n(.*?)```", TEXT, re.S)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    exec(compile(code[1], "README.md", "exec"), {"__name__": "readme"})
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "proved"
    verdict, ratio = out[1].split()
    assert verdict == "consistent" and 0 < float(ratio) < 1
    assert (tmp_path / "seen.png").stat().st_size > 1000


def test_named_paths_exist() -> None:
    for path in re.findall(r"`((?:docs|experiments|bstheory)/[\w./-]+)`|\((docs/[\w./-]+)\)", TEXT):
        assert (ROOT / (path[0] or path[1])).exists(), path
    for path in re.findall(r"^    ((?:bstheory|docs|experiments|tests)/[\w./]*)", TEXT, re.M):
        assert (ROOT / path).exists(), path


def test_named_commands_exist() -> None:
    from bstheory.cli import COMMANDS

    named = set(re.findall(r"`bstheory (\w+)", TEXT))
    assert named and named <= set(COMMANDS)
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"make (\w+)", TEXT)) <= targets


def test_the_step_count_is_true() -> None:
    import bstheory as bst

    steps = len(bst.theorems.adam_token_half_life.document()["steps"])
    assert f"{steps} exact steps" in TEXT
