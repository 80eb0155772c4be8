"""``Run``: what any experiment leaves behind, a quadratic and GPT-2 alike."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.files import atomic_write, read_json, write_json

FORMAT = 1


def config_hash(config: Mapping[str, Any]) -> str:
    """Sha256 of the canonical JSON of a configuration; equal configurations have equal hashes."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def environment() -> Mapping[str, str]:
    """Versions and machine facts worth knowing when a number is questioned."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    for package in ("bstheory", "numpy", "scipy", "sympy", "numba", "torch"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


@functools.cache
def commit() -> str:
    """Commit of the source tree, ``+changes`` appended when dirty; empty when not run from a checkout."""
    here = Path(__file__).resolve().parent
    try:
        revision = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
    return revision + ("+changes" if changes else "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Measurements over a shared time axis.

    Attributes:
        name: short name, used for the folder.
        config: everything needed to repeat it; plain JSON.
        seeds: the S seeds.
        steps: int64 [T], optimizer steps completed at each record.
        tokens: int64 [T], tokens consumed at each record.
        series: name -> float64 [S, T].
        summary: scalars or short lists computed by the run itself, plain JSON.
        environment, commit: where it was produced.
    """

    name: str
    config: Mapping[str, Any]
    seeds: tuple[int, ...]
    steps: np.ndarray
    tokens: np.ndarray
    series: Mapping[str, np.ndarray]
    summary: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, str] = dataclasses.field(default_factory=environment)
    commit: str = dataclasses.field(default_factory=commit)

    def __post_init__(self) -> None:
        shape = (len(self.seeds), len(self.steps))
        if len(self.tokens) != len(self.steps):
            raise input_error(
                got=f"{len(self.tokens)} token counts for {len(self.steps)} steps",
                rule="every record has both",
                do="pass arrays of equal length",
            )
        for name, values in self.series.items():
            if np.shape(values) != shape:
                raise input_error(
                    got=f"series {name!r} of shape {np.shape(values)}",
                    rule=f"its shape must be (seeds, records) = {shape}",
                    do="reshape it, seeds first",
                )

    @property
    def hash(self) -> str:
        """Hash of the configuration."""
        return config_hash(self.config)

    def to_polars(self) -> Any:
        """Long table: one row a (seed, record) with columns seed, step, tokens and one per series."""
        import polars as pl

        count = len(self.steps)
        columns: dict[str, Any] = {
            "seed": np.repeat(np.asarray(self.seeds, dtype=np.int64), count),
            "step": np.tile(np.asarray(self.steps, dtype=np.int64), len(self.seeds)),
            "tokens": np.tile(np.asarray(self.tokens, dtype=np.int64), len(self.seeds)),
        }
        columns |= {name: np.asarray(v, dtype=np.float64).ravel() for name, v in self.series.items()}
        return pl.DataFrame(columns)

    def to_pandas(self) -> Any:
        """The same table as a pandas frame (needs pandas installed)."""
        import pandas as pd

        return pd.DataFrame({column.name: column.to_numpy() for column in self.to_polars()})

    def save(self, folder: Path | str) -> Path:
        """Write ``run.json`` and ``metrics.parquet`` into ``folder``, each atomically, the table first."""
        folder = Path(folder)
        buffer = io.BytesIO()
        self.to_polars().write_parquet(buffer)
        table = buffer.getvalue()
        atomic_write(folder / "metrics.parquet", table)
        write_json(
            folder / "run.json",
            {
                "format": FORMAT,
                "name": self.name,
                "config": dict(self.config),
                "config_hash": self.hash,
                "seeds": list(self.seeds),
                "series": sorted(self.series),
                "summary": dict(self.summary),
                "environment": dict(self.environment),
                "commit": self.commit,
                "metrics_sha256": hashlib.sha256(table).hexdigest(),
            },
        )
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> Run:
        """Read a run folder back.

        Raises:
            InputError: a file is missing, truncated or was altered (checksum).
        """
        import polars as pl

        folder = Path(folder)
        head = read_json(folder / "run.json")
        if head.get("format") != FORMAT:
            raise input_error(
                got=f"run format {head.get('format')!r} in {str(folder)!r}",
                rule=f"this version reads format {FORMAT}",
                do="read it with the version of bstheory that wrote it",
            )
        path = folder / "metrics.parquet"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise input_error(
                got=f"no {str(path)!r}", rule="a run has run.json and metrics.parquet", do="restore the table"
            ) from error
        if hashlib.sha256(data).hexdigest() != head["metrics_sha256"]:
            raise input_error(
                got=f"{str(path)!r} with another checksum than run.json records",
                rule="the two files belong together",
                do="restore both, or run the experiment again",
            )
        table = pl.read_parquet(io.BytesIO(data))
        seeds = tuple(head["seeds"])
        count = table.height // max(len(seeds), 1)
        return cls(
            name=head["name"],
            config=head["config"],
            seeds=seeds,
            steps=table["step"].to_numpy()[:count],
            tokens=table["tokens"].to_numpy()[:count],
            series={name: table[name].to_numpy().reshape(len(seeds), count) for name in head["series"]},
            summary=head["summary"],
            environment=head["environment"],
            commit=head["commit"],
        )
