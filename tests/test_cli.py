"""The command line: the table of commands, exit codes, messages, completion."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys

import pytest

from bstheory import cli


def bstheory(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from bstheory.cli import main; main()", *words],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_exists_and_explains_itself(name: str) -> None:
    function = cli.load(name)
    assert callable(function)
    assert inspect.getdoc(function), f"{name} has no docstring, so no --help"
    assert cli.COMMANDS[name].summary in cli.usage()


def test_help_and_version() -> None:
    done = bstheory("--help")
    assert done.returncode == 0 and "commands:" in done.stdout and done.stderr == ""
    assert bstheory("--version").stdout.startswith("bstheory ")
    assert bstheory().returncode == 2


def test_unknown_command_suggests_and_exits_2() -> None:
    done = bstheory("cit")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Got command 'cit'" in done.stderr and "use 'cite' if that was meant" in done.stderr.lower()


def test_unknown_option_exits_2() -> None:
    done = bstheory("cite", "--no-such-option")
    assert done.returncode == 2 and "--no-such-option" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_the_commands(shell: str) -> None:
    done = bstheory("--tyro-print-completion", shell)
    assert done.returncode == 0
    assert all(name in done.stdout for name in cli.COMMANDS)


def test_a_reader_that_leaves_early_is_not_an_error_message() -> None:
    done = subprocess.run(
        f'"{sys.executable}" -c "from bstheory.cli import main; main()" cite | head -1',
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("@") and done.stderr == ""


def test_cite() -> None:
    done = bstheory("cite")
    assert "2507.07101" in done.stdout and done.stdout.startswith("@")


def test_no_color_is_honored(monkeypatch: pytest.MonkeyPatch) -> None:
    pty = pytest.importorskip("pty")
    seen = {}
    for value in ("", "1"):
        monkeypatch.setenv("NO_COLOR", value)
        monkeypatch.setenv("TERM", "xterm")
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(
                sys.executable,
                [sys.executable, "-c", "from bstheory.cli import main; main()", "cite", "--help"],
            )
        output = b""
        while True:
            try:
                piece = os.read(terminal, 4096)
            except OSError:
                break
            if not piece:
                break
            output += piece
        os.waitpid(pid, 0)
        seen[value] = output
    assert b"\x1b[" in seen[""] and b"\x1b[" not in seen["1"]


def test_json_without_a_file_means_stdout_in_every_command() -> None:
    plan = (
        "plan",
        "--from-batch-size",
        "512",
        "--to-batch-size",
        "1",
        "--seq-len",
        "1024",
        "--beta2",
        "0.95",
    )
    for command in (("cite",), plan):
        bare, dash = bstheory(*command, "--json"), bstheory(*command, "--json", "-")
        assert bare.returncode == 0, bare.stderr
        assert bare.stdout == dash.stdout and json.loads(bare.stdout)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_writes_json_and_has_plain_placeholders(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "json" in inspect.signature(cli.load(name)).parameters
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as left:
        cli.main([name, "--help"])
    shown = capsys.readouterr().out
    assert left.value.code == 0 and "--quiet" in shown
    assert "None" not in shown, "a placeholder or a default shows Python's None"
    places = re.findall(r"^.?[ │|]+(--json \S+)", shown, flags=re.MULTILINE)
    assert places == ["--json [FILE]"] * 2, "the table of options and the text below it agree"


def test_a_misspelt_theorem_or_model_is_answered_without_heavy_imports() -> None:
    for words in (("derive", "adam_token_halflife"), ("cite", "adam_token_halflife"), ("train", "tinyy")):
        done = bstheory(*words)
        assert done.returncode == 2 and "id you mean" in done.stderr and done.stderr.count("\n") == 1
    probe = (
        "import sys\nfrom bstheory.cli import main\n"
        "try: main(['train', 'tinyy'])\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_quiet_leaves_progress_out_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    from bstheory import terminal
    from bstheory.training.command_line import progress_line

    for words, shown in (
        (["cite"], True),
        (["-q", "cite"], False),
        (["cite", "--quiet"], False),
        (["cite"], True),
    ):
        with pytest.raises(SystemExit):
            cli.main(words)
        capsys.readouterr()
        assert terminal.quiet() is not shown
        with progress_line(silent=False) as progress:
            progress(5, 5, "loss 1.0")
        assert ("loss 1.0" in capsys.readouterr().err) is shown


def test_verbose_shows_the_traceback() -> None:
    plain, loud = bstheory("derive", "nosuch"), bstheory("--verbose", "derive", "nosuch")
    assert "Traceback" not in plain.stderr and "Traceback" in loud.stderr
    assert plain.returncode == loud.returncode == 2


def test_a_bug_has_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*, json: str | None = None) -> int:
        """Fail.

        Args:
            json: unused.
        """
        raise KeyError("planted")

    monkeypatch.setattr(cli, "load", lambda name: broken)
    for words, shown in ((["cite"], False), (["cite", "-v"], True)):
        with pytest.raises(SystemExit) as left:
            cli.main(words)
        error = capsys.readouterr().err
        assert left.value.code == 70 and "KeyError: 'planted'" in error
        assert ("Traceback" in error) is shown


def test_processes_under_torchrun_wait_for_the_first_to_say_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In so far as one process shows it; tests/training/test_trainer_distributed.py starts two."""
    waited: list[float] = []
    monkeypatch.setattr(cli.time, "sleep", waited.append)
    monkeypatch.setenv("WORLD_SIZE", "2")

    def leave(rank: str, *words: str) -> tuple[object, str]:
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as left:
            cli.main(words)
        shown = capsys.readouterr()
        return left.value.code, shown.out + shown.err

    code, shown = leave("0", "derive", "nosuch")
    assert code == 2 and shown.startswith("bstheory: Got") and waited == []
    code, shown = leave("1", "derive", "nosuch")
    assert code == 2 and shown.startswith("bstheory: process 1: Got") and waited == [10.0]
    code, shown = leave("1", "cite", "--no-such-option")
    assert code == 2 and shown == "" and waited == [10.0] * 2
    code, shown = leave("1", "cite", "adam_norm_test")
    assert code == 0 and shown.startswith("@") and waited == [10.0] * 2

    def lost(*, json: str | None = None) -> int:
        raise RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer")

    monkeypatch.setattr(cli, "load", lambda name: lost)
    code, shown = leave("0", "cite")
    assert code == 1 and "another process of this run has left" in shown and "bug" not in shown
    assert waited[-1] == 20.0, "longer than the other one waits before it speaks"
    monkeypatch.delenv("WORLD_SIZE")
    code, shown = leave("0", "cite")
    assert code == 70 and "this is a bug" in shown
