"""Importing the package and asking for help load no heavy package; times are in experiments/benchmarks."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "sympy", "numba", "matplotlib", "polars", "scipy")
PROBE = """
import sys
try:
    {code}
finally:
    print("LOADED", [name for name in {heavy!r} if name in sys.modules])
"""


def loaded_by(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code, heavy=HEAVY)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "code",
    [
        "import bstheory",
        "from bstheory.cli import main; main(['--help'])",
        "from bstheory.cli import main; main(['--version'])",
        "from bstheory.cli import main; main(['no-such-command'])",
    ],
)
def test_loads_nothing_heavy(code: str) -> None:
    assert loaded_by(code) == "LOADED []"


def test_the_probe_would_notice() -> None:
    assert loaded_by("import bstheory, sympy") == "LOADED ['sympy']"


def test_help_loads_not_even_the_option_parser_or_numpy() -> None:
    code = (
        "import sys; from bstheory.cli import usage; usage(); assert not {'tyro', 'numpy'} & set(sys.modules)"
    )
    assert loaded_by(code) == "LOADED []"
