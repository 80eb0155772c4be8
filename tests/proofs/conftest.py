"""A build of the proofs, and the flagship with its right side exchanged."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping

import pytest
import sympy as sp
from coqbridge import BRIDGE, PROOFS, with_bound


@pytest.fixture(scope="session")
def built() -> str:
    """The output of a build, which recompiles only what changed."""
    done = subprocess.run(["bash", str(PROOFS / "build.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def statement() -> Callable[[str], str]:
    """The statement of a lemma as the bridge file records it."""
    recorded = json.loads(BRIDGE.read_text())
    return lambda name: (recorded["steps"] | recorded["theorems"])[name]["statement"]


@pytest.fixture(scope="session")
def theorem_with_bound(statement: Callable[[str], str]) -> Callable[[sp.Expr, Mapping[str, str]], str]:
    """Coq source: the flagship with another right side, proved from the theorem if the two are equal."""

    def source(bound: sp.Expr, names: Mapping[str, str]) -> str:
        return with_bound("adam_token_half_life", statement("adam_token_half_life"), bound, names)

    return source
