"""Every ``bstheory ...`` shown on a page, in the README or in a --help text is accepted by the real parser."""

from __future__ import annotations

import functools
import inspect
import re
import shlex
from pathlib import Path

import pytest

from bstheory import cli

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ("_build", "experiments", "theorems")
PAGES = [
    ROOT / "README.md",
    *(
        p
        for p in sorted((ROOT / "docs").rglob("*.md"))
        if p.relative_to(ROOT / "docs").parts[0] not in GENERATED
    ),
    *sorted((ROOT / "experiments").rglob("*.md")),
]


def shown(text: str) -> list[str]:
    """Commands in fenced and indented blocks (continuation lines joined) and in inline code."""
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.M | re.S) + re.findall(r"^ {4}(.*)$", text, re.M)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    found = [line for line in lines if re.match(r"(torchrun .* -m )?bstheory [a-z-]", line)]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return found + re.findall(r"`(bstheory [^`]+)`", prose)


def words(command: str) -> list[str]:
    """Arguments of one shown command; optional parts are kept, placeholders of more are dropped."""
    command = re.sub(r"^torchrun .* -m ", "", command)
    command = re.split(r"\s(?:\||>|#|;|&&)\s", command)[0]
    command = re.sub(r"[\[\]]", "", command).replace("...", "").replace("…", "")
    return shlex.split(command, comments=True)[1:]


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch):
    """``cli.main`` with every command's function replaced by one that does nothing but has its options."""
    load = cli.load

    def stub(name: str):
        @functools.wraps(load(name))
        def nothing(*_: object, **__: object) -> int:
            return 0

        return nothing

    monkeypatch.setattr(cli, "load", stub)

    def run(arguments: list[str]) -> int:
        with pytest.raises(SystemExit) as left:
            cli.main(arguments)
        return int(left.value.code or 0)

    return run


def complete(arguments: list[str]) -> bool:
    """Whether it is a whole command, not the bare name of one in a sentence."""
    return len(arguments) > 1 or arguments[0] in ("check", "cite", "--help", "--version")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_on_pages_parse(page: Path, parse, capsys: pytest.CaptureFixture[str]) -> None:
    for command in shown(page.read_text()):
        arguments = words(command)
        if arguments[0] == "COMMAND":
            continue
        assert arguments[0].startswith("--") or arguments[0] in cli.COMMANDS, command
        if complete(arguments):
            code = parse(arguments)
            assert code == 0, f"{command}\n{capsys.readouterr().err}"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_has_an_example_that_parses(name: str, parse, capsys: pytest.CaptureFixture[str]) -> None:
    text = inspect.getdoc(cli.load(name)) or ""
    block = re.search(r"Examples?: (.*?)(?:\n\n|\Z)", text, re.S)
    assert block is not None, f"{name} --help shows no example"
    examples = [piece.strip() for piece in re.sub(r"\s+", " ", block[1]).split(";")]
    assert any(e.startswith(f"bstheory {name} ") for e in examples)
    for example in examples:
        assert parse(words(example)) == 0, f"{example}\n{capsys.readouterr().err}"


def test_the_collection_is_not_empty_and_notices_a_wrong_flag(parse) -> None:
    assert sum(len(shown(page.read_text())) for page in PAGES) > 50
    wrong = "text\n\n    $ bstheory train tiny --nosuch 3\n\n```\nbstheory plan --from-batch-size x\n```\n"
    assert [parse(words(command)) for command in shown(wrong)] == [2, 2]
