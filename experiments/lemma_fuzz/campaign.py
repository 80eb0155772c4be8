"""Many random cases of every conditional lemma, and of its false twin: writes ``results.json``.

    python experiments/lemma_fuzz/campaign.py [--cases 100000] [--planted 10000] [--seed 0]

Cases come in chunks with a seed each, saved as they are done: an interrupted campaign goes on where it
stopped, and any chunk can be repeated alone.
"""

from __future__ import annotations

import argparse
import random
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

from lemmas import LEMMAS, PLANTED, tally
from rich.progress import track

from bstheory.files import read_json, write_json

HERE = Path(__file__).resolve().parent
CHUNK = 5_000


def merged(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: sum(row[key] for row in rows) for key in rows[0]}


def main() -> int:
    """Run what is missing; exit code 1 where a lemma is violated or a false twin is not noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="cases of each lemma")
    parser.add_argument("--planted", type=int, default=10_000, help="cases of each false twin")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    settings = {"seed": options.seed, "chunk": CHUNK}
    path = HERE / "results.json"
    document: dict[str, Any] = read_json(path) if path.exists() else {}
    if document.get("settings") != settings:
        document = {"settings": settings, "chunks": {}}
    wanted = {"lemma": options.cases, "planted": options.planted}
    jobs = [
        f"{name} {form} {chunk}"
        for form, cases in wanted.items()
        for name in LEMMAS
        for chunk in range(-(-cases // CHUNK))
    ]
    for job in track([job for job in jobs if job not in document["chunks"]], description="lemmas"):
        name, form, _ = job.split()
        started = time.process_time()
        factor = PLANTED[name] if form == "planted" else Fraction(1)
        found = tally(LEMMAS[name], random.Random(f"{job} {options.seed}"), CHUNK, factor)
        seconds = round(time.process_time() - started, 3)
        document["chunks"][job] = found | {"seconds": seconds}
        write_json(path, document)
    failed = False
    document["totals"] = {}
    for name in LEMMAS:
        for form in wanted:
            rows = [row for job, row in document["chunks"].items() if job.startswith(f"{name} {form} ")]
            if rows:
                document["totals"][f"{name} {form}"] = total = merged(rows)
                failed |= (total["violated"] > 0) != (form == "planted")
                print(f"{name:16} {form:8} {total}")
    write_json(path, document)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
