"""Checker of enclosure documents: numbers, roots, inequalities on boxes and integrals, by ball arithmetic.

A document is ``{"format": 1, "kind": "enclosure", "slug", "title", "claims": [...]}``. Every claim has
``name``, ``type``, ``expression`` and ``why``, and may have ``let``, constants by name in order. Expressions
are those of ``checking.rational`` with the functions and constants of ``checking.balls``; bounds are exact
rationals as strings ``"p/q"``.

=============  ====================================================================================
type           establishes
=============  ====================================================================================
value          lower <= expression <= upper
sign_change    a root of expression(variable) in [lower, upper]; with ``unique`` exactly one
monotone       expression is strictly ``increasing`` or ``decreasing`` in ``variable`` on ``box``
positive       expression > 0 on ``box``, a closed interval for every variable
integral       value_lower <= integral of expression d variable over [lower, upper] <= value_upper;
               ``upper`` may be ``"oo"`` with ``split``, where the tail is bounded instead
=============  ====================================================================================
"""

from __future__ import annotations

import ast
import heapq
import itertools
import re
from collections.abc import Mapping
from typing import Any

import flint

from bstheory.checking.balls import BRANCHED, FUNCTIONS, Dual, Tail, evaluate, parse, symbols
from bstheory.checking.rational import ExpressionError
from bstheory.checking.recheck import Report
from bstheory.checking.recheck_rules import Invalid

BUDGET = 20_000
PRECISIONS = (128, 512, 2048)
TOLERANCES = (2**10, 2**22)  # goals of the quadrature, as fractions of the claimed width
RESTS_ON = ("interval_arithmetic",)
RATIONAL = re.compile(r"-?[0-9]{1,400}(/[0-9]{1,400})?")


def recheck_enclosure(document: Mapping[str, Any], claim_hash: str) -> Report:
    """Check every claim of an enclosure document; never raises for a bad document, but reports it.

    Args:
        document: the document.
        claim_hash: hash of its content, computed by the caller.
    """
    current, done = "", 0
    try:
        if document["format"] != 1:
            raise Invalid(f"format {document['format']!r} is not 1")
        if document.get("claim_hash", claim_hash) != claim_hash:
            raise Invalid(f"claim_hash is {document['claim_hash']}, but the content hashes to {claim_hash}")
        claims = document["claims"]
        if not claims:
            raise Invalid("there are no claims")
        used = set()
        for claim in claims:
            current = claim["name"]
            if current in used:
                raise Invalid("the name is used twice")
            used.add(current)
            check_claim(claim)
            done += 1
    except (
        *(Invalid, ExpressionError, KeyError, TypeError, AttributeError, ValueError, IndexError),
        *(ArithmeticError, RecursionError),
    ) as error:
        reason = f"missing entry {error}" if isinstance(error, KeyError) else str(error)
        where = f"claim {current!r}: " if current else ""
        return Report(
            valid=False,
            reason=where + reason,
            rests_on=(),
            steps=done,
            claim_hash=claim_hash,
            establishes="enclosed",
        )
    return Report(
        valid=True, reason="", rests_on=RESTS_ON, steps=done, claim_hash=claim_hash, establishes="enclosed"
    )


def check_claim(claim: Mapping[str, Any]) -> None:
    """Raise ``Invalid`` unless the claim is established."""
    kinds = {
        "value": check_value,
        "sign_change": check_sign_change,
        "monotone": check_monotone,
        "positive": check_positive,
        "integral": check_integral,
    }
    if claim["type"] not in kinds:
        raise Invalid(f"type {claim['type']!r} is not one of {', '.join(kinds)}")
    tree = parse(claim["expression"])
    lets = [(name, parse(text)) for name, text in (claim.get("let") or {}).items()]
    kinds[claim["type"]](claim, tree, lets)


def rational(text: Any) -> flint.fmpq:
    """An exact rational from ``"p/q"`` or ``"p"``."""
    if not isinstance(text, str) or not RATIONAL.fullmatch(text):
        raise Invalid(f"{text!r} is not an exact rational 'p/q'")
    top, _, bottom = text.partition("/")
    if bottom and int(bottom) == 0:
        raise Invalid(f"{text!r} divides by zero")
    return flint.fmpq(int(top), int(bottom or 1))


def interval(low: Any, high: Any) -> tuple[flint.fmpq, flint.fmpq]:
    """A nonempty interval with exact ends."""
    a, b = rational(low), rational(high)
    if not a <= b:
        raise Invalid(f"the interval [{low}, {high}] is empty")
    return a, b


def hull(low: flint.fmpq, high: flint.fmpq) -> flint.arb:
    """A ball that contains the interval."""
    return flint.arb(low).union(flint.arb(high))


def constants(lets: list[tuple[str, ast.expr]]) -> dict[str, flint.arb]:
    """Values of the ``let`` constants at the working precision."""
    found: dict[str, flint.arb] = {}
    for name, tree in lets:
        found[name] = evaluate(tree, found)
        if not found[name].is_finite():
            raise Invalid(f"the constant {name!r} is not finite")
    return found


def occurring(tree: ast.expr, lets: list[tuple[str, ast.expr]], variables: set[str]) -> None:
    """Variables are distinct from constants, and nothing else occurs."""
    both = variables & {name for name, _ in lets}
    if both:
        raise Invalid(f"{sorted(both)} are both constants and variables")
    reserved = (variables | {name for name, _ in lets}) & {"pi", *FUNCTIONS}
    if reserved:
        raise Invalid(f"{sorted(reserved)} have a meaning of their own")
    unknown = symbols(tree) - variables - {name for name, _ in lets}
    if unknown:
        raise Invalid(f"undeclared symbols {sorted(unknown)}")


def check_value(claim: Mapping[str, Any], tree: ast.expr, lets: Any) -> None:
    low, high = interval(claim["lower"], claim["upper"])
    occurring(tree, lets, set())
    ball = None
    for precision in PRECISIONS:
        with flint.ctx.workprec(precision):
            ball = evaluate(tree, constants(lets))
            if ball >= flint.arb(low) and ball <= flint.arb(high):
                return
            if ball < flint.arb(low) or ball > flint.arb(high):
                raise Invalid(f"the value {ball} is outside [{claim['lower']}, {claim['upper']}]")
    raise Invalid(f"the value {ball} is not shown to lie in [{claim['lower']}, {claim['upper']}]")


def check_sign_change(claim: Mapping[str, Any], tree: ast.expr, lets: Any) -> None:
    low, high = interval(claim["lower"], claim["upper"])
    variable = claim["variable"]
    occurring(tree, lets, {variable})
    for precision in PRECISIONS:
        with flint.ctx.workprec(precision):
            known = constants(lets)
            left = evaluate(tree, {**known, variable: flint.arb(low)})
            right = evaluate(tree, {**known, variable: flint.arb(high)})
            if (left < 0 and right > 0) or (left > 0 and right < 0):
                break
            if (left < 0 and right < 0) or (left > 0 and right > 0):
                raise Invalid(f"the same sign at both ends: {left} and {right}")
    else:
        raise Invalid(f"the signs at the ends are not decided: {left} and {right}")
    with flint.ctx.workprec(PRECISIONS[0]):
        known = constants(lets)
        # Finite on every piece: defined, and continuous as a composition of continuous functions.
        subdivide({variable: (low, high)}, lambda box: evaluate(tree, {**known, **box}).is_finite())
    if claim.get("unique", False):
        direction = "increasing" if left < 0 else "decreasing"
        slope(tree, lets, variable, direction, {variable: (low, high)})


def check_monotone(claim: Mapping[str, Any], tree: ast.expr, lets: Any) -> None:
    box = {name: interval(*ends) for name, ends in claim["box"].items()}
    occurring(tree, lets, set(box))
    if claim["variable"] not in box or claim["direction"] not in ("increasing", "decreasing"):
        raise Invalid("monotone needs a variable of the box and a direction, increasing or decreasing")
    slope(tree, lets, claim["variable"], claim["direction"], box)


def slope(tree: ast.expr, lets: Any, variable: str, direction: str, box: Any) -> None:
    """The derivative has the sign of ``direction`` on the whole box."""
    with flint.ctx.workprec(PRECISIONS[0]):
        known = constants(lets)

        def decided(balls: Mapping[str, flint.arb]) -> bool:
            whole = Dual.lift(evaluate(tree, {**known, **Dual.variables(balls)}))
            if not whole.value.is_finite():  # the formula of a derivative may outlive the function
                return False
            derivative = whole.slope(variable)
            right = derivative if direction == "increasing" else -derivative
            if right <= 0:
                raise Invalid(f"not {direction} in {variable}: the derivative is {derivative} on {balls}")
            return bool(right > 0)

        subdivide(box, decided)


def subdivide(box: Mapping[str, tuple[flint.fmpq, flint.fmpq]], decided: Any) -> None:
    """Halve the widest side until ``decided`` holds on every piece, or raise when the budget is spent."""
    waiting = [dict(box)]
    for _ in range(BUDGET):
        if not waiting:
            return
        piece = waiting.pop()
        if decided({name: hull(*ends) for name, ends in piece.items()}):
            continue
        waiting += halves(piece, max(piece, key=lambda name: piece[name][1] - piece[name][0]))
    raise Invalid(f"undecided after {BUDGET} boxes, e.g. on {show(waiting[-1])}")


def halves(piece: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    low, high = piece[name]
    if low == high:
        raise Invalid(f"undecided at the point {show(piece)}")
    middle = (low + high) / 2
    return [{**piece, name: (low, middle)}, {**piece, name: (middle, high)}]


def show(piece: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} in [{low}, {high}]" for name, (low, high) in piece.items())


def check_positive(claim: Mapping[str, Any], tree: ast.expr, lets: Any) -> None:
    """Branch and bound, worst box first, with the better of natural and mean-value bounds."""
    box = {name: interval(*ends) for name, ends in claim["box"].items()}
    occurring(tree, lets, set(box))
    if not box:
        raise Invalid("positive needs a box; a constant is a value claim")
    with flint.ctx.workprec(PRECISIONS[0]):
        known = constants(lets)
        count = 0
        waiting: list[tuple[float, int, Any]] = [(0.0, 0, box)]
        while waiting:
            _, _, piece = heapq.heappop(waiting)
            bound, side = lower_bound(tree, known, piece)
            if bound is not None and bound > 0:
                continue
            middle = {name: flint.arb((low + high) / 2) for name, (low, high) in piece.items()}
            there = evaluate(tree, {**known, **middle})
            if there <= 0:
                point = ", ".join(f"{name}={(low + high) / 2}" for name, (low, high) in piece.items())
                raise Invalid(f"not positive at {point}: {there}")
            count += 1
            if count > BUDGET:
                raise Invalid(f"undecided after {BUDGET} boxes, e.g. on {show(piece)}")
            badness = float(bound.mid()) if bound is not None and bound.is_finite() else float("-inf")
            for index, half in enumerate(halves(piece, side)):
                heapq.heappush(waiting, (badness, 2 * count + index, half))


def lower_bound(tree: ast.expr, known: Any, piece: Mapping[str, Any]) -> tuple[Any, str]:
    """A lower bound of the expression on the box, and the side along which it varies most."""
    balls = {name: hull(*ends) for name, ends in piece.items()}
    whole = Dual.lift(evaluate(tree, {**known, **Dual.variables(balls)}))
    widest = max(piece, key=lambda name: piece[name][1] - piece[name][0])
    if not whole.value.is_finite():
        return None, widest
    best = whole.value.lower()
    middle = {name: flint.arb((low + high) / 2) for name, (low, high) in piece.items()}
    linear = evaluate(tree, {**known, **middle})
    spread = {}
    for name, (low, high) in piece.items():
        change = whole.slope(name) * (balls[name] - middle[name])
        linear += change
        spread[name] = change.rad() if high > low else flint.arb(-1)
    if linear.is_finite():
        best = best.max(linear.lower())
        widest = max(spread, key=lambda name: float(spread[name]))
    return best, widest


def check_integral(claim: Mapping[str, Any], tree: ast.expr, lets: Any) -> None:
    variable = claim["variable"]
    occurring(tree, lets, {variable})
    improper = claim["upper"] == "oo"
    low, high = interval(claim["lower"], claim["split"] if improper else claim["upper"])
    least, most = interval(claim["value_lower"], claim["value_upper"])
    with flint.ctx.workprec(PRECISIONS[0]):
        known = constants(lets)
        tail = flint.arb(0)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BRANCHED:
                real_inside(node.args[0], known, variable, low, high)
        if improper:
            if not high > 0:
                raise Invalid("the split must be positive")
            tail = Tail.integral(tree, known, variable, flint.arb(high))
        for finer in TOLERANCES:
            tolerance, total = flint.arb(most - least) / finer, tail
            for a, b in pieces(low, high):
                total += finite_integral(tree, known, variable, a, b, tolerance)
            if total >= flint.arb(least) and total <= flint.arb(most):
                return
        raise Invalid(f"the integral {total} is not shown to lie in [{least}, {most}]")


def real_inside(argument: ast.expr, known: Any, variable: str, low: flint.fmpq, high: flint.fmpq) -> None:
    """The argument of a root or logarithm is positive between the ends; complex arithmetic would go on.

    At an end it may be zero, where it has the right slope on a piece that starts or stops there.
    """
    waiting = [{variable: (low, high)}]
    for _ in range(BUDGET):
        if not waiting:
            return
        piece = waiting.pop()
        a, b = piece[variable]
        ball = Dual.lift(evaluate(argument, {**known, **Dual.variables({variable: hull(a, b)})}))
        if ball.value > 0:
            continue
        rising = a == low and ball.slope(variable) > 0
        falling = b == high and ball.slope(variable) < 0
        end = flint.arb(a if rising else b)
        usable = ball.value.is_finite() and (rising or falling)
        if usable and evaluate(argument, {**known, variable: end}) >= 0:
            continue
        if ball.value < 0:
            break
        waiting += halves(piece, variable)
    raise Invalid(f"{ast.unparse(argument)} is not shown to be positive inside [{low}, {high}]")


def pieces(low: flint.fmpq, high: flint.fmpq) -> list[tuple[Any, Any]]:
    """Split a long interval at powers of two, where the integrand has its scale."""
    cuts = [low]
    edge = flint.fmpq(1)
    while edge < high and len(cuts) < 64:
        if edge > low:
            cuts.append(edge)
        edge *= 4
    cuts.append(high)
    return list(itertools.pairwise(cuts))


def finite_integral(
    tree: ast.expr, known: Mapping[str, Any], variable: str, low: Any, high: Any, tolerance: Any
) -> flint.arb:
    wide = {name: flint.acb(value) for name, value in known.items()}

    def integrand(z: flint.acb, analytic: bool) -> flint.acb:
        return flint.acb(evaluate(tree, {**wide, variable: z}, analytic=analytic))

    found = flint.acb.integral(integrand, flint.acb(low), flint.acb(high), abs_tol=tolerance)
    if not found.is_finite():
        raise Invalid(f"the integrand is not enclosed on [{low}, {high}]")
    return found.real
