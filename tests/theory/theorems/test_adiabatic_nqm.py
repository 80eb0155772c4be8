"""A prediction: consistent where noise dominates, and it says where it does not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import bstheory as bst
from bstheory.theory.theorems import adiabatic_nqm
from bstheory.theory.theorems.adiabatic_nqm import BOUND, monte_carlo, path


def test_it_is_consistent_where_noise_dominates_and_nothing_more() -> None:
    certificate = bst.check(BOUND)
    assert certificate.verdict is bst.Verdict.CONSISTENT and certificate.margin > 0
    assert BOUND.derive is None and BOUND.kind == "prediction"
    with pytest.raises(bst.InputError, match="nothing derives"):
        BOUND.derivation()


def test_a_wrong_prediction_would_be_refuted(monkeypatch) -> None:
    monkeypatch.setattr(adiabatic_nqm, "path", lambda *a, **k: 1.2 * path(*a, **k))
    assert adiabatic_nqm.check().verdict is bst.Verdict.REFUTED


def test_it_fails_in_a_signal_dominated_transient_and_says_so() -> None:
    setting = {"eta": 0.05, "h": 1.0, "sigma": 0.5, "t2": 100.0, "m0": 4.0}
    batches = np.full(60, 8.0)
    predicted = path(batches, **setting)
    seen = monte_carlo(batches, **setting, paths=5000, seed=1)
    assert np.max(np.abs(predicted / seen - 1)) > 0.1
    found = BOUND.evaluate(constants=setting, schedule=batches.astype(int))
    assert not found.parts["noise_dominated"]
    assert found.value == pytest.approx(0.5 * predicted[-1])


def test_the_bound_is_plain_data() -> None:
    assert dataclasses.is_dataclass(BOUND) and BOUND.declared == "consistent"
