"""Powers of two: what follows is accepted, and a wrong exponent is not."""

from __future__ import annotations

import copy

import pytest

from bstheory.checking import recheck_document
from bstheory.theory.derivation import Derivation, DerivationError
from bstheory.theory.derivation_powers import power_monotone, power_product


def derivation() -> Derivation:
    """From x >= y: 2^(x+y) >= 4^y, as 2^(x+y) - 2^y 2^y."""
    d = Derivation("powers", "powers of two")
    x, y = d.symbol("x"), d.symbol("y")
    px = d.define("px", "power_of_two", x, sign="positive")
    py = d.define("py", "power_of_two", y, sign="positive")
    both = d.define("both", "power_of_two", x + y, sign="positive")
    d.assume("order", x - y, assumption="order", why="x >= y")
    power_product(d, "split", both, px, py, why="2^(x+y) = 2^x 2^y")
    power_monotone(d, "grows", px, py, "order", why="x >= y")
    d.combine("final", uses={"split": 1, "grows": py}, why="together")
    d.claim = ("final", py**2, both)
    return d


def test_the_rules_are_accepted() -> None:
    report = recheck_document(derivation().document())
    assert report.valid, report.reason
    assert {"power_product", "power_monotone"} <= set(report.rests_on)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["both"]["definition"].update(of="x + 2*y"), "sum of the exponents"),
        (lambda s: s["px"]["definition"].update(of="2*x"), "exponents"),
        (lambda s: s["px"]["definition"].update(op="root"), "root|power_of_two"),
    ],
)
def test_a_wrong_exponent_is_rejected(change, message) -> None:
    import re

    document = copy.deepcopy(derivation().document())
    change(document["symbols"])
    assert re.search(message, recheck_document(document).reason)


def test_the_order_must_be_established() -> None:
    document = copy.deepcopy(derivation().document())
    next(s for s in document["steps"] if s["name"] == "order")["gap"] = "y - x"
    assert "difference of the exponents" in recheck_document(document).reason


def test_the_builder_refuses_too() -> None:
    d = Derivation("powers", "powers of two")
    x = d.symbol("x")
    px = d.define("px", "power_of_two", x, sign="positive")
    with pytest.raises(DerivationError, match="exponents leave"):
        power_product(d, "split", px, px, px, why="wrong")
