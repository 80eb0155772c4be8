"""The command line. The sub-command is decided first and only its module is imported: ``--help`` stays fast.

Exit codes: 0 everything as declared, 1 a verdict is not as declared, 2 a mistake in what was given (one line
on stderr), 70 a bug in bstheory (the traceback with --verbose), 130 interrupted, 141 the reader of a pipe has
gone.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import sys
import time
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

OTHERS_WAIT_SECONDS = 10.0  # for the first process to fail alike; torchrun looks ten times a second

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
    told, wait = "", OTHERS_WAIT_SECONDS if _rank() else 0.0
    try:
        code = _dispatch(words, silent)
    except SystemExit as leaving:  # tyro has said what is wrong
        code = leaving.code
    except InputError as error:
        told, code = f"{_trace(verbose)}bstheory: {error}", 2
    except KeyboardInterrupt:
        told, code = "bstheory: interrupted" if _rank() == 0 else "", 130
    except BrokenPipeError:
        # The reader (head, less) has gone; Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except Exception as error:
        if _connection_lost(error):
            told = f"{_trace(verbose)}bstheory: another process of this run has left; its message says why"
            code, wait = 1, 2 * OTHERS_WAIT_SECONDS  # the other may be waiting itself before it speaks
        else:
            told = f"{_trace(verbose)}bstheory: {type(error).__name__}: {error}\nbstheory: this is a bug"
            told += "" if verbose else "; the same command with --verbose shows where"
            code = 70
    if wait and code in (1, 2, 70):
        # What is wrong for one process is mostly wrong for all: the first one says it, and when it leaves,
        # torchrun ends the others. Whoever is still there after that has trouble of its own.
        time.sleep(wait)
        told = told.replace("bstheory:", f"bstheory: process {_rank()}:")
    if told:
        print(told, file=sys.stderr, flush=True)
    sys.exit(code)


def _trace(verbose: bool) -> str:
    return traceback.format_exc() if verbose else ""


def _rank() -> int:
    """Which of the processes that torchrun started this is; 0 for a single one."""
    many = os.environ.get("WORLD_SIZE", "1") != "1"
    number = os.environ.get("RANK", "0")
    return int(number) if many and number.isdecimal() else 0


def _connection_lost(error: Exception) -> bool:
    """Whether torch.distributed lost another process, which has left with a message or was killed."""
    ours = os.environ.get("WORLD_SIZE", "1") != "1"
    kind = type(error).__name__
    lost = kind in ("DistBackendError", "DistNetworkError", "DistStoreError")
    return ours and (lost or (kind == "RuntimeError" and "gloo" in str(error).lower()))


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
        with contextlib.ExitStack() as silence:
            if _rank():
                function = _parsed_in_silence(function, silence)
            plain = (tyro.conf.FlagCreatePairsOff,)
            code = tyro.cli(function, prog=f"bstheory {name}", args=rest, config=plain)
    except SystemExit as leaving:
        if leaving.code == 0 and {"-h", "--help"} & set(rest):
            print(COMMON)
        raise
    return int(code or 0)


def _parsed_in_silence(function: Callable[..., Any], silence: contextlib.ExitStack) -> Callable[..., Any]:
    """The same command, until whose start nothing is printed: the first process says what it cannot read."""
    silence.enter_context(contextlib.redirect_stderr(io.StringIO()))
    silence.enter_context(contextlib.redirect_stdout(io.StringIO()))

    @functools.wraps(function)
    def called(*positional: Any, **named: Any) -> Any:
        silence.close()
        return function(*positional, **named)

    return called


def _with_json_target(words: list[str]) -> list[str]:
    """A ``--json`` that no file follows means stdout, in every command."""
    out: list[str] = []
    for place, word in enumerate(words):
        out.append(word)
        if word == "--json" and (place + 1 == len(words) or words[place + 1].startswith("--")):
            out.append("-")
    return out
