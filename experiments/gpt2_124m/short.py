"""What a quarter of an hour on one GPU can settle, in order of value; stops when the time is up, resumes.

    python experiments/gpt2_124m/short.py --data DATA --out OUT [--minutes 9] [--scale tiny]

1. `speed_64.json`, `speed_1.json`: the trainer against the stock compiled recipe in the same run, and
   `throughput.json`: tokens per second over the batch size.
2. `memory.json`: peaks against the estimate.
3. `half_life/`: fixed beta2 against the fixed half-life at batch sizes 1 and 16, on 8.4M tokens, one seed.
4. `speed_64_cudnn.json`, `speed_1_graphs.json`: the same with what the trainer offers beyond the recipe.
5. `half_life/` with a second seed.

Every piece is a command of README.md run by itself, so that one that fails does not take the others with it.
Exit code 0: all done, 3: more remains. With --scale tiny on a CPU it tests this script.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SPEED = str(HERE.parent / "benchmarks" / "training.py")


def pieces(data: Path, out: Path, scale: str) -> list[tuple[str, list[str], Path | None]]:
    """(name, command, the file whose presence says that it is done, or None: the command knows)."""
    python, gpu = sys.executable, scale != "tiny"
    model = "gpt2_124m" if gpu else "tiny"
    how = ["--model", model]
    if gpu:
        how += ["--precision", "bfloat16_autocast", "--compile", "--rounds", "11", "--seconds", "0.7"]
    else:
        how += ["--rounds", "3", "--seconds", "0.01"]

    def speed(name: str, batch_size: int, *beyond: str) -> tuple[str, list[str], Path | None]:
        target = out / f"{name}.json"
        words = [SPEED, *how, "--batch-sizes", str(batch_size), *beyond, "--json", str(target)]
        return name, [python, *words], target

    def arms(seed: int) -> tuple[str, list[str], Path | None]:
        words = ["half_life", "--data", str(data), "--out", str(out), "--scale", scale, "--seeds", str(seed)]
        return f"half_life, seed {seed}", [python, str(HERE / "run.py"), *words], None

    throughput = [python, "-m", "bstheory", "throughput", model, "--out", str(out / "throughput")]
    throughput += ["--json", str(out / "throughput.json"), "--steps", "20" if gpu else "3"]
    throughput += ["--batch-sizes", *(("1", "4", "16", "64") if gpu else ("1", "4"))]
    throughput += ["--precision", "bfloat16_autocast", "--compile"] if gpu else []
    memory = [python, str(HERE / "memory.py"), str(out / "memory.json"), "--model", model]
    found = [
        speed("speed_64", 64),
        speed("speed_1", 1),
        ("throughput", throughput, out / "throughput.json"),
        ("memory", memory, out / "memory.json"),
        arms(0),
    ]
    if gpu:
        found.append(speed("speed_64_cudnn", 64, "--attention", "cudnn"))
        found.append(speed("speed_1_graphs", 1, "--cuda-graphs"))
    return [*found, arms(1)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that bstheory data wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--scale", choices=("short", "tiny"), default="short")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name, command, target in pieces(options.data, options.out, options.scale):
        if target is not None and target.exists():
            continue
        left = deadline - time.monotonic()
        if left <= 0:
            return 3
        if target is None:
            command = [*command, "--minutes", str(left / 60)]
        print(f"== {name}, {left:.0f} s left", flush=True)
        begun = time.monotonic()
        try:
            code = subprocess.run(command, timeout=left + 30).returncode
        except subprocess.TimeoutExpired:
            return 3
        print(f"== {name}: exit code {code} after {time.monotonic() - begun:.0f} s", flush=True)
        if code == 3:
            return 3
        if code:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all done", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
