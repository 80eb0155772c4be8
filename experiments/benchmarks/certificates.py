"""Time to derive each theorem and to recheck its certificate; writes ``certificates.json`` and ``.md``.

Usage: python experiments/benchmarks/certificates.py

One process, one thread; processor time, because wall time depends on the machine's other work. The limits are
those of the library: each recheck at most 2 s, the whole library at most 90 s on two cores.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from bstheory.checking.recheck import recheck_document
from bstheory.files import atomic_write, write_json
from bstheory.theory import library

HERE = Path(__file__).resolve().parent
RECHECK, LIBRARY = 2.0, 90.0


def main() -> None:
    rows = []
    for slug in library.all_slugs():
        bound = library.get(slug)
        if bound.derive is None:
            continue
        began = time.process_time()
        # As a reader of the file has it: nothing shared with the objects of the derivation.
        document = json.loads(json.dumps(bound.document()))
        derived = time.process_time()
        report = recheck_document(document)
        done = time.process_time()
        if not report.valid:
            raise SystemExit(f"{slug}: {report.reason}")
        rows.append(
            {"slug": slug, "steps": report.steps, "derive": derived - began, "recheck": done - derived}
        )
        print(f"{slug}: derive {derived - began:.2f} s, recheck {done - derived:.2f} s", flush=True)
    rows.sort(key=lambda row: -row["recheck"])
    total = sum(row["derive"] + row["recheck"] for row in rows)
    lines = [
        "# Deriving and rechecking each theorem",
        "",
        "Processor time of one process, `python experiments/benchmarks/certificates.py`.",
        f"Whole library: {total:.0f} s (limit {LIBRARY:.0f} s on two cores). "
        f"Slowest recheck: {rows[0]['recheck']:.2f} s (limit {RECHECK:.0f} s).",
        "",
        "| theorem | steps | derive, s | recheck, s |",
        "|-|-:|-:|-:|",
    ]
    lines += [f"| `{r['slug']}` | {r['steps']} | {r['derive']:.2f} | {r['recheck']:.2f} |" for r in rows]
    write_json(HERE / "certificates.json", {"total": total, "rows": rows})
    atomic_write(HERE / "certificates.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
