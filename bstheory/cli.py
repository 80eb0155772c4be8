"""The command line. The sub-command is decided first and only its module is imported: ``--help`` stays fast.

Exit codes: 0 everything as declared, 1 a verdict is not as declared, 2 a mistake in what was given (one line
on stderr), 70 a bug in bstheory (the traceback with --verbose), 130 interrupted, 141 the reader of a pipe has
gone.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import bstheory
from bstheory.errors import InputError, input_error, suggestion


class Command(NamedTuple):
    """Where a sub-command lives. Its function takes the options and returns the exit code (None means 0)."""

    module: str
    function: str
    summary: str


# A new command is one line here. Its function's docstring is its --help; its module imports nothing heavy.
COMMANDS: dict[str, Command] = {
    "check": Command(
        "bstheory.check_command", "command", "derivations, simulations, a tiny language model: every verdict"
    ),
    "derive": Command(
        "bstheory.commands", "derive", "a theorem's derivation, step by step, with its certificate"
    ),
    "evaluate": Command("bstheory.commands", "evaluate", "a bound's value, the trivial bound beside it"),
    "recheck": Command("bstheory.commands", "recheck", "check saved certificates again"),
    "chain": Command("bstheory.commands", "chain", "the places where one theorem lives, with their verdicts"),
    "plan": Command(
        "bstheory.plan", "command", "optimizer settings for another batch size, rule by rule, with limits"
    ),
    "simulate": Command("bstheory.simulation.commands", "simulate", "many seeds of one configuration"),
    "sweep": Command(
        "bstheory.simulation.commands", "sweep", "a grid of configurations, resumable, one table"
    ),
    "falsify": Command(
        "bstheory.simulation.commands", "falsify", "search for an instance that violates a bound"
    ),
    "train": Command("bstheory.training.commands", "train", "a language model under a batch-size schedule"),
    "data": Command("bstheory.training.commands", "data", "token shards from text"),
    "predict": Command(
        "bstheory.campaign_commands",
        "predict",
        "what a batch-size campaign will show, written down first",
    ),
    "validate": Command("bstheory.campaign_commands", "validate", "saved runs against prediction.json"),
    "throughput": Command("bstheory.training.commands", "throughput", "tokens per second against batch size"),
    "finetune": Command(
        "bstheory.training.finetune_command",
        "finetune",
        "a checkpoint or Hugging Face model in little memory",
    ),
    "reproduce": Command(
        "bstheory.reproduction.command", "command", "a paper claim by claim: stated, predicted, measured"
    ),
    "report": Command("bstheory.commands", "report", "an HTML page about saved runs or sweeps"),
    "cite": Command("bstheory.commands", "cite", "BibTeX of the papers that theorems rest on"),
}

EXAMPLES = """\
  bstheory check --quick                        the whole chain in about half a minute
  bstheory check adam_token_half_life --json -  one theorem, machine-readable
  bstheory derive adam_token_half_life          every step of the proof
  bstheory COMMAND --help                       options of one command"""

COMMON = """\
every command also takes:
  -q, --quiet     no progress
  -v, --verbose   the traceback of an error
  --json [FILE]   the result as JSON, to stdout without FILE
  NO_COLOR=1 in the environment: no colours"""


def usage() -> str:
    """The text of ``bstheory --help``."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())
    return (
        "usage: bstheory COMMAND [OPTIONS]\n\n"
        "Theory and simulation of training with changing batch sizes.\n\n"
        f"commands:\n{rows}\n\nexamples:\n{EXAMPLES}\n\n"
        "options:\n"
        "  -h, --help                                show this text\n"
        "  --version                                 show the version\n"
        "  --tyro-print-completion {bash,zsh,tcsh}   print a shell completion script\n\n"
        f"{COMMON}\n\n"
        "exit codes: 0 as declared, 1 a verdict is not as declared, 2 a mistake in the input,\n"
        "            70 a bug in bstheory, 130 interrupted"
    )


def load(name: str) -> Callable[..., Any]:
    """Import the function behind a sub-command."""
    command = COMMANDS[name]
    return getattr(importlib.import_module(command.module), command.function)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``bstheory``; always leaves through ``SystemExit``."""
    words, silent, verbose = _common(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _dispatch(words, silent)
    except InputError as error:
        if verbose:
            traceback.print_exc()
        print(f"bstheory: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("bstheory: interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # The reader (head, less) has gone; Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except Exception as error:
        if verbose:
            traceback.print_exc()
        print(
            f"bstheory: {type(error).__name__}: {error}\nbstheory: this is a bug"
            + ("" if verbose else "; the same command with --verbose shows where"),
            file=sys.stderr,
        )
        code = 70
    sys.exit(code)


def _common(words: Sequence[str]) -> tuple[list[str], bool, bool]:
    """The words without -q and -v, which every command takes, and whether each was among them."""
    silent, verbose = ("-q", "--quiet"), ("-v", "--verbose")
    rest = [word for word in words if word not in (*silent, *verbose)]
    return rest, any(word in silent for word in words), any(word in verbose for word in words)


def _dispatch(words: list[str], silent: bool) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        print(f"bstheory {bstheory.__version__}")
        return 0
    if os.environ.get("NO_COLOR"):
        os.environ.setdefault("PYTHON_TYRO_ANSI_CODES", "False")
    name, rest = words[0], words[1:]
    if name.startswith("--tyro-"):
        import tyro.extras

        tyro.extras.subcommand_cli_from_dict(
            {known: load(known) for known in COMMANDS}, prog="bstheory", args=words
        )
        return 0
    if name not in COMMANDS:
        raise input_error(
            got=f"command {name!r}",
            rule=f"the commands are {', '.join(COMMANDS)}",
            do=f"{suggestion(name, COMMANDS)}run bstheory --help",
        )
    function = load(name)
    rest = _with_json_target(rest)
    import tyro

    from bstheory import terminal

    terminal.set_quiet(silent)
    try:
        code = tyro.cli(function, prog=f"bstheory {name}", args=rest, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as leaving:
        if leaving.code == 0 and {"-h", "--help"} & set(rest):
            print(COMMON)
        raise
    return int(code or 0)


def _with_json_target(words: list[str]) -> list[str]:
    """A ``--json`` that no file follows means stdout, in every command."""
    out: list[str] = []
    for place, word in enumerate(words):
        out.append(word)
        if word == "--json" and (place + 1 == len(words) or words[place + 1].startswith("--")):
            out.append("-")
    return out
