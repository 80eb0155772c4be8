"""Hypothesis profiles: ``dev`` (default), ``ci`` (derandomized) and ``nightly``; HYPOTHESIS_PROFILE picks."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadlines: shared machines are slow now and then, and speed is judged in experiments/benchmarks.
settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=5000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
