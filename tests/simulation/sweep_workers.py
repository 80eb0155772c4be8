"""Row functions that misbehave on purpose; a module of their own so that worker processes can import them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bstheory.simulation.sweep import run_row


def killed_once(config: Mapping[str, Any]) -> dict[str, Any]:
    """Kill the worker process the first time; the marker file is named by an environment variable."""
    marker = Path(os.environ["SWEEP_MARKER"])
    if config["algorithm"]["learning_rate"] == 0.2 and not marker.exists():
        marker.write_text("killed")
        os.kill(os.getpid(), signal.SIGKILL)
    return run_row(config)


def always_killed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Kill the worker whenever the learning rate is 0.2."""
    if config["algorithm"]["learning_rate"] == 0.2:
        os.kill(os.getpid(), signal.SIGKILL)
    return run_row(config)


def slow(config: Mapping[str, Any]) -> dict[str, Any]:
    """Take a while, so that a worker can be killed in the middle."""
    time.sleep(0.25)
    return run_row(config)


def raising(config: Mapping[str, Any]) -> dict[str, Any]:
    """Raise on one configuration."""
    if config["algorithm"]["learning_rate"] == 0.2:
        raise RuntimeError("out of luck")
    return run_row(config)
