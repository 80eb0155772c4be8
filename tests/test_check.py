"""``bstheory check`` from outside: verdicts, JSON, bad input, a real Ctrl-C and its resumption."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bstheory import check_plan
from bstheory.check_job import Settings, altered, run_check
from bstheory.checking import recheck
from bstheory.cli import main
from bstheory.run import Run

FLAGSHIP = "adam_token_half_life"
SCHEDULES = ("constant", "ramp up", "ramp down", "stages")
MAIN = [sys.executable, "-c", "from bstheory.cli import main; main()"]


def bstheory(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MAIN, *words], capture_output=True, text=True, timeout=300, cwd=cwd)


def numbers(document: dict) -> list[dict]:
    """The results without what may differ between two runs of one check."""
    return [{key: value for key, value in link.items() if key != "seconds"} for link in document["results"]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One complete quick check of the flagship and one recursion, with a report."""
    folder = tmp_path_factory.mktemp("check")
    done = bstheory("check", FLAGSHIP, "nqm_sgd", "--quick", "--json", "-", "--report", "out", cwd=folder)
    return done, folder


def test_every_verdict_is_as_declared(finished) -> None:
    done, _ = finished
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["as_declared"] is True
    found = {(link["part"], link["name"].partition(":")[0]): link for link in document["results"]}
    assert (
        found["derivation", "Adam with a token half-life under any predictable batch schedule"]["verdict"]
        == "proved"
    )
    simulated = [link for link in document["results"] if link["part"] == "simulation"]
    assert [link["name"].partition(":")[0] for link in simulated] == [*SCHEDULES, "adaptive"]
    for link in simulated:
        assert link["slug"] == FLAGSHIP and link["verdict"] == "consistent" and "betting" in link["method"]
        assert link["ratio"] == pytest.approx(link["measured"] / link["value"])
        assert link["interval"][0] < link["measured"] < link["interval"][1] < link["trivial_value"]
    controls = [link["verdict"] for link in document["results"] if link["part"] == "control"]
    assert controls == ["invalid", "refuted", "inapplicable"]


def test_the_run_directory_holds_readable_parts(finished) -> None:
    done, folder = finished
    (run,) = (folder / "runs").iterdir()
    assert json.loads((run / "results.json").read_text())["results"] == json.loads(done.stdout)["results"]
    assert recheck(run / "certificates" / f"{FLAGSHIP}.json").valid
    assert Run.load(run / "runs" / FLAGSHIP / "ramp_up").config["schedule_text"].startswith("geometric 4->64")


def test_the_report_is_one_page_with_all_sections_and_no_network(finished) -> None:
    done, folder = finished
    assert "report: out/index.html" in done.stderr
    page = (folder / "out" / "index.html").read_text()
    for section in ("verdicts", FLAGSHIP, "exact", "controls", "derivations", "environment"):
        assert f'id="{section}"' in page
    outside = re.findall(r'(?:src|href)="((?:https?:)?//[^"]*)"|url\((?!#)', page)
    assert outside == [] and "<script" not in page
    assert page.count('<li><div class="step">') >= 60
    assert '<code class="latex">' not in page  # every formula could be drawn
    for name in (FLAGSHIP, "exact"):
        assert (folder / "out" / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / "out" / "figures" / f"{name}.svg").read_text().startswith("<?xml")
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))
    assert recheck(folder / "out" / "certificates" / f"{FLAGSHIP}.json").valid


def test_a_verdict_that_is_not_as_declared_exits_1(tmp_path, monkeypatch, capsys) -> None:
    from bstheory.check_command import command

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(check_plan, "CONTROL_DIVISOR", 1.0)  # the control is then the true bound
    assert command((FLAGSHIP,), quick=True) == 1
    assert "is consistent, declared refuted" in capsys.readouterr().out.replace("\n", " ")


# Every constant of the flagship but the half-life, h.
SETTINGS = ("alpha=1", "eps=1", "R=1", "L=1", "d=1", "Delta=1")
COMPLETE = [
    "evaluate",
    FLAGSHIP,
    "--schedule",
    "1",
    "--tokens",
    "4",
    *[w for s in SETTINGS for w in ("--set", s)],
]


def _succeeds(words: list[str]) -> None:
    from bstheory.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert not stopped.value.code


def test_evaluate_says_where_no_trivial_bound_is_known(capsys) -> None:
    words = ["evaluate", "nqm_sgd", "--schedule", "4", "--tokens", "40", "--json", "-"]
    words += [w for s in ("h=1", "c=1", "m0=1", "eta=0.1") for w in ("--set", s)]
    _succeeds(words)
    document = json.loads(capsys.readouterr().out)
    assert document["trivial_value"] == "none known" and document["vacuous"] is False
    _succeeds([w for w in words if w not in ("--json", "-")])
    assert "trivial bound: none known" in capsys.readouterr().out


def test_evaluate_writes_infinity_in_words(capsys) -> None:
    words = ["evaluate", "noise_scale_estimators", "--json", "-"]
    words += [w for s in ("B_small=1", "B_big=4", "norm_small=9", "norm_big=1") for w in ("--set", s)]
    _succeeds(words)
    assert json.loads(capsys.readouterr().out)["value"] == "infinite"


PLAN = ["plan", "--from-batch-size", "512", "--seq-len", "1024"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "adam_token_half_lif"], "Use 'adam_token_half_life' if that was meant"),
        (["check", FLAGSHIP, "--text", "no-such-file.txt"], "no-such-file.txt"),
        (["check", FLAGSHIP, "--report", "a-file/out"], "cannot be written"),
        (["check", FLAGSHIP, "--json", "a-file/x.json"], "cannot be written"),
        (["check", "--resume", "no-such-run"], "no-such-run/check.json"),
        (["check", "--resume", "broken"], "is not valid JSON"),
        (["check", "--resume", "foreign"], "without the settings of a check"),
        (["check", FLAGSHIP, "--resume", "foreign"], "keeps the settings"),
        (["check", FLAGSHIP, "--all"], "--all checks every theorem"),
        (["check", "--quick", "--all"], "--all checks every theorem"),
        (["evaluate", FLAGSHIP, "--schedule", "0:64 1Q:128", "--tokens", "1000"], "1Q"),
        (["evaluate", FLAGSHIP, "--schedule", "0", "--tokens", "1000"], "a batch size is at least 1"),
        (["evaluate", FLAGSHIP, "--schedule", "64"], "without --tokens"),
        (["evaluate", FLAGSHIP, "--set", "L"], "NAME=NUMBER"),
        (["evaluate", FLAGSHIP, "--set", "L=x"], "NAME=NUMBER"),
        (["evaluate", FLAGSHIP, "--set", "mass=1"], "constants mass"),
        ([*COMPLETE, "--set", "h=0"], "h=0.0"),
        ([*COMPLETE, "--set", "h=-5"], "h=-5.0"),
        ([*COMPLETE, "--set", "h=nan"], "h=nan"),
        ([*PLAN, "--to-batch-size", "0", "--beta2", "0.95"], "to_batch_size=0"),
        ([*PLAN, "--to-batch-size", "8", "--beta2", "1.0"], "beta2=1.0"),
        (["derive", "adam"], "no theorem has that name"),
        (["recheck", "broken/check.json"], "is not valid JSON"),
        (["recheck", "foreign/check.json"], "without a derivation document"),
        (["chain", "nothing_like_it"], "no theorem has that name"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_on_stderr_and_exit_2(
    tmp_path, monkeypatch, capsys, words: list[str], message: str
) -> None:
    (tmp_path / "a-file").write_text("")
    for name, text in (("broken", '{"settings": '), ("foreign", '{"x": 1}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "check.json").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(words)
    out, error = capsys.readouterr()
    assert left.value.code == 2, out + error
    assert out == "" and error.count("\n") == 1
    assert error.startswith(("bstheory: Got ", "bstheory: In schedule"))
    assert ", but " in error and message in error


def test_a_run_directory_that_cannot_be_made_is_bad_input(tmp_path) -> None:
    (tmp_path / "runs").write_text("in the way")
    done = bstheory("check", FLAGSHIP, cwd=tmp_path)
    assert done.returncode == 2 and "cannot be written" in done.stderr and done.stderr.count("\n") == 1


def test_ctrl_c_leaves_a_directory_that_resume_finishes_with_the_same_numbers(tmp_path, finished) -> None:
    whole, _ = finished
    process = subprocess.Popen(
        [*MAIN, "check", FLAGSHIP, "nqm_sgd", "--quick"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(f"runs/*/runs/{FLAGSHIP}/constant/run.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert "Traceback" not in message
    (folder,) = (tmp_path / "runs").iterdir()
    resume = re.search(r"resume with: bstheory (check --resume \S+)", message)
    assert resume is not None and str(folder.relative_to(tmp_path)) in resume.group(1)
    assert not (folder / "results.json").exists()
    before = (folder / "runs" / FLAGSHIP / "constant" / "metrics.parquet").stat().st_mtime_ns
    done = bstheory(*resume.group(1).split(), "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        folder / "runs" / FLAGSHIP / "constant" / "metrics.parquet"
    ).stat().st_mtime_ns == before  # not computed again
    assert numbers(json.loads(done.stdout)) == numbers(json.loads(whole.stdout))


@pytest.mark.slow
def test_ctrl_c_during_training_ends_the_workers_too(tmp_path) -> None:
    psutil = pytest.importorskip("psutil")
    process = subprocess.Popen(
        [*MAIN, "check", "tiny_lm", "--quick"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("runs/*/tiny_lm/*/run.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    os.kill(process.pid, signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130 and "check --resume runs/check-" in message
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []
    for folder in tmp_path.glob("runs/*/tiny_lm/*/run.json"):
        Run.load(folder.parent)  # what had finished can be read


def test_a_damaged_part_is_noticed_on_resume(tmp_path, finished) -> None:
    _, folder = finished
    (run,) = (folder / "runs").iterdir()
    damaged = tmp_path / "damaged"
    for path in run.rglob("*"):
        if path.is_file():
            target = damaged / path.relative_to(run)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    table = damaged / "runs" / FLAGSHIP / "constant" / "metrics.parquet"
    table.write_bytes(table.read_bytes()[:-10])
    done = bstheory("check", "--resume", str(damaged), cwd=tmp_path)
    assert done.returncode == 2 and "checksum" in done.stderr


def test_quick_and_full_differ_in_sizes_only() -> None:
    quick, full = (check_plan.flagship_simulations(quick=q) for q in (True, False))
    assert [s.name for s in quick] == [s.name for s in full]
    assert {int(s.batch_size.sum()) for s in quick} == {32_768}
    assert {int(s.batch_size.sum()) for s in full} == {65_536}
    assert all(f.seeds > q.seeds for q, f in zip(quick, full))


def test_what_is_watched_and_returned(tmp_path) -> None:
    seen = []
    result = run_check(
        Settings(slugs=("nqm_heavy_ball",), quick=True), tmp_path, lambda *event: seen.append(event)
    )
    derived, compared = result.links
    assert derived.part == "derivation" and derived.verdict.word == "proved"
    assert compared.part == "exact recursion" and compared.slug == "nqm_heavy_ball"
    for number, link in ((1, derived), (2, compared)):
        events = [event for event in seen if event[0] == number]
        fractions = [event[3] for event in events]
        assert fractions == sorted(fractions) and fractions[-1] == 1.0 and events[-1][4] == [link]


def test_the_altered_document_differs_in_one_multiplier() -> None:
    from bstheory.theory.library import get

    document = get(FLAGSHIP).document()
    changed = altered(document)
    different = [a["name"] for a, b in zip(document["steps"], changed["steps"]) if a != b]
    assert len(different) == 1 and document["claim"] == changed["claim"]
