"""Start-up cost, speed and memory of ``bstheory check``. Usage: python experiments/benchmarks/check.py
[--full]

Start-up rows are the smallest of several repetitions, measured alternately; wall time of one check depends on
the machine's other work, so user + system time of all its processes and the load are printed beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
MAIN = "from bstheory.cli import main; main()"
STARTS = {
    "python -c pass": ["pass"],
    "import numpy": ["import numpy"],
    "import bstheory": ["import bstheory"],
    "bstheory --help": [MAIN, "--help"],
    "bstheory check --help": [MAIN, "check", "--help"],
}
LIMITS = {"bstheory --help": 0.6, "check --quick": 40.0, "check": 180.0, "memory": 4.0}


def starts(repetitions: int) -> dict[str, float]:
    """Smallest wall time in seconds of each start."""
    best = dict.fromkeys(STARTS, float("inf"))
    for _ in range(repetitions):
        for name, words in STARTS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", *words], capture_output=True, check=True)
            best[name] = min(best[name], time.perf_counter() - began)
    return best


def check(*options: str) -> dict[str, Any]:
    """One whole check in a fresh folder: wall seconds, processor seconds, peak memory of its process tree."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", MAIN, "check", "--report", "report", "--json", "out.json", *options]
        began, load = time.perf_counter(), os.getloadavg()[0]
        process = psutil.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        peak, used = 0, {}
        while process.poll() is None:
            total = 0
            for one in [process, *_children(process)]:
                try:
                    total += one.memory_info().rss
                    times = one.cpu_times()
                    used[one.pid] = times.user + times.system
                except psutil.Error:
                    continue
            peak = max(peak, total)
            time.sleep(0.05)
        document = json.loads((Path(folder) / "out.json").read_text())
        return {
            "wall_seconds": time.perf_counter() - began,
            "processor_seconds": sum(used.values()),
            "peak_gib": peak / 2**30,
            "load_before": load,
            "exit_code": process.returncode,
            "parts": {f"{r['part']}: {r['slug']}: {r['name']}": r["seconds"] for r in document["results"]},
        }


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def main() -> None:
    """Measure, print and, with ``--write``, keep the numbers beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="also the full check, minutes")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="write check.json beside this file")
    options = parser.parse_args()
    rows = starts(options.repetitions)
    document: dict[str, Any] = {"cores": os.cpu_count(), "starts": rows, "limits": LIMITS}
    for name, seconds in rows.items():
        print(f"{name:<24}{seconds:8.3f} s{seconds / rows['import numpy']:8.2f} x import numpy")
    document["checks"] = {"check --quick": check("--quick")}
    if options.full:
        document["checks"]["check"] = check()
    for name, found in document["checks"].items():
        wall, used = found["wall_seconds"], found["processor_seconds"]
        print(f"{name:<24}{wall:8.1f} s wall, {used:.1f} s of processors, {found['peak_gib']:.2f} GiB")
        print(f"{'':24}load before {found['load_before']:.1f}, exit code {found['exit_code']}")
        for part, seconds in sorted(found["parts"].items(), key=lambda item: -item[1])[:6]:
            print(f"    {seconds:7.1f} s  {part}")
    if options.write:
        (HERE / "check.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
