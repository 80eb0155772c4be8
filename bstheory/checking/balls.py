"""Expressions with elementary functions, and the three arithmetics in which enclosures evaluate them.

Ball arithmetic (``flint.arb``, ``flint.acb``) for values, :class:`Dual` for a value with its partial
derivatives on a box, and :class:`Tail` for what an expression is at most on a half-line.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import flint

from bstheory.checking.rational import ExpressionError, exponent
from bstheory.checking.recheck_rules import Invalid

FUNCTIONS = ("exp", "log", "sqrt", "tanh", "cosh", "sinh", "erf", "erfc")
BRANCHED = ("log", "sqrt")  # need to know whether analyticity is asked for


def parse(text: Any) -> ast.expr:
    """Parse ``text`` and reject everything outside the language: rational expressions and ``FUNCTIONS``."""
    if not isinstance(text, str):
        raise ExpressionError(f"{text!r} is not an expression")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ExpressionError(f"cannot read the expression {text[:80]!r}") from error
    check(tree)
    return tree


def check(node: ast.expr) -> None:
    match node:
        case ast.Constant(value=value) if type(value) is int:
            return
        case ast.Name():
            return
        case ast.BinOp(op=ast.Pow(), left=left, right=right):
            if exponent(right) == 0:  # it would hide a base that is not defined
                raise ExpressionError("a power with exponent 0 is not in the language of enclosures")
            check(left)
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), left=left, right=right):
            check(left)
            check(right)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            check(operand)
        case ast.Call(func=ast.Name(id=function), args=[argument], keywords=[]) if function in FUNCTIONS:
            check(argument)
        case _:
            raise ExpressionError(f"{ast.unparse(node)[:80]!r} is not in the language")


def symbols(tree: ast.expr) -> set[str]:
    """Symbols that occur in the expression; names of functions and ``pi`` are none."""
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in functions}
    return found - {"pi"}


def evaluate(tree: ast.expr, known: Mapping[str, Any], *, analytic: bool = False) -> Any:
    """Value of the expression where every symbol has a value in one arithmetic (and constants are ints).

    Args:
        analytic: for complex balls, demand that the result is analytic on the ball.
    """
    if isinstance(tree, ast.Constant):
        return flint.arb(tree.value)
    if isinstance(tree, ast.Name):
        if tree.id == "pi":
            return flint.arb.pi()
        if tree.id in known:
            return known[tree.id]
        raise Invalid(f"symbol {tree.id!r} has no value")
    if isinstance(tree, ast.UnaryOp):
        value = evaluate(tree.operand, known, analytic=analytic)
        return -value if isinstance(tree.op, ast.USub) else value
    if isinstance(tree, ast.Call):
        assert isinstance(tree.func, ast.Name)
        return call(tree.func.id, evaluate(tree.args[0], known, analytic=analytic), analytic)
    assert isinstance(tree, ast.BinOp)
    left = evaluate(tree.left, known, analytic=analytic)
    if isinstance(tree.op, ast.Pow):
        return left ** exponent(tree.right)
    right = evaluate(tree.right, known, analytic=analytic)
    match tree.op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
    return left / right


def call(function: str, x: Any, analytic: bool = False) -> Any:
    """One of ``FUNCTIONS`` at ``x``."""
    if isinstance(x, Dual | Tail):
        return x.call(function)
    if isinstance(x, flint.acb) and function in BRANCHED:
        return getattr(x, function)(analytic=analytic)
    return getattr(x, function)()


def derivative(function: str, x: Any) -> Any:
    """Derivative of one of ``FUNCTIONS`` at the ball ``x``."""
    match function:
        case "exp":
            return x.exp()
        case "log":
            return 1 / x
        case "sqrt":
            return 1 / (2 * x.sqrt())
        case "tanh":
            return 1 / x.cosh() ** 2
        case "cosh":
            return x.sinh()
        case "sinh":
            return x.cosh()
    sign = 1 if function == "erf" else -1
    return sign * 2 * (-(x**2)).exp() / flint.arb.pi().sqrt()


class Dual:
    """A ball with balls for its partial derivatives; all hold on the whole box of the variables."""

    def __init__(self, value: flint.arb, slopes: Mapping[str, flint.arb]) -> None:
        self.value = value
        self.slopes = dict(slopes)

    @classmethod
    def variables(cls, box: Mapping[str, flint.arb]) -> dict[str, Dual]:
        return {name: cls(ball, {name: flint.arb(1)}) for name, ball in box.items()}

    def slope(self, name: str) -> flint.arb:
        return self.slopes.get(name, flint.arb(0))

    def chained(self, value: flint.arb, factor: flint.arb) -> Dual:
        return Dual(value, {name: factor * slope for name, slope in self.slopes.items()})

    @staticmethod
    def lift(x: Any) -> Dual:
        return x if isinstance(x, Dual) else Dual(x, {})

    def __add__(self, other: Any) -> Dual:
        other = self.lift(other)
        every = self.slopes.keys() | other.slopes.keys()
        return Dual(self.value + other.value, {n: self.slope(n) + other.slope(n) for n in every})

    __radd__ = __add__

    def __neg__(self) -> Dual:
        return self.chained(-self.value, flint.arb(-1))

    def __sub__(self, other: Any) -> Dual:
        return self + (-self.lift(other))

    def __rsub__(self, other: Any) -> Dual:
        return self.lift(other) + (-self)

    def __mul__(self, other: Any) -> Dual:
        other = self.lift(other)
        every = self.slopes.keys() | other.slopes.keys()
        slopes = {n: self.slope(n) * other.value + self.value * other.slope(n) for n in every}
        return Dual(self.value * other.value, slopes)

    __rmul__ = __mul__

    def __pow__(self, power: int) -> Dual:
        if power == 0:
            return Dual(flint.arb(1), {})
        return self.chained(self.value**power, power * self.value ** (power - 1))

    def __truediv__(self, other: Any) -> Dual:
        return self * self.lift(other) ** -1

    def __rtruediv__(self, other: Any) -> Dual:
        return self.lift(other) * self**-1

    def call(self, function: str) -> Dual:
        return self.chained(call(function, self.value), derivative(function, self.value))


class Tail:
    """y^power * ball for every y >= start: what an expression is on a half-line, up to a bounded factor."""

    def __init__(self, start: flint.arb, power: flint.fmpq, ball: flint.arb) -> None:
        self.start = start
        self.power = power
        self.ball = ball

    @classmethod
    def integral(cls, tree: ast.expr, known: Mapping[str, Any], variable: str, start: flint.arb) -> flint.arb:
        """A ball that contains the integral of the expression from ``start`` to infinity."""
        found = evaluate(tree, {**known, variable: cls(start, flint.fmpq(1), flint.arb(1))})
        if not isinstance(found, Tail):
            found = cls(start, flint.fmpq(0), found)
        if not found.ball.is_finite() or not found.power < -1:
            raise Invalid(f"the tail is only bounded by y^({found.power}) times {found.ball}")
        decay = -found.power - 1
        return found.ball * start ** (-flint.arb(decay)) / flint.arb(decay)

    def shrinking(self, power: flint.fmpq) -> flint.arb:
        """A ball that contains y^power for every y >= start, power <= 0."""
        if power == 0:
            return flint.arb(1)
        return (self.start ** flint.arb(power)).union(flint.arb(0))

    def lift(self, x: Any) -> Tail:
        return x if isinstance(x, Tail) else Tail(self.start, flint.fmpq(0), x)

    def __add__(self, other: Any) -> Tail:
        other = self.lift(other)
        power = max(self.power, other.power)
        left = self.ball * self.shrinking(self.power - power)
        return Tail(self.start, power, left + other.ball * self.shrinking(other.power - power))

    __radd__ = __add__

    def __neg__(self) -> Tail:
        return Tail(self.start, self.power, -self.ball)

    def __sub__(self, other: Any) -> Tail:
        return self + (-self.lift(other))

    def __rsub__(self, other: Any) -> Tail:
        return self.lift(other) + (-self)

    def __mul__(self, other: Any) -> Tail:
        other = self.lift(other)
        return Tail(self.start, self.power + other.power, self.ball * other.ball)

    __rmul__ = __mul__

    def __pow__(self, power: int) -> Tail:
        return Tail(self.start, self.power * power, self.ball**power)

    def __truediv__(self, other: Any) -> Tail:
        return self * self.lift(other) ** -1

    def __rtruediv__(self, other: Any) -> Tail:
        return self.lift(other) * self**-1

    def call(self, function: str) -> Tail:
        if function == "sqrt":
            return Tail(self.start, self.power / 2, self.ball.sqrt())
        if self.power <= 0:
            inside = self.ball * self.shrinking(self.power)
            return Tail(self.start, flint.fmpq(0), call(function, inside))
        if function == "exp" and self.ball < 0:
            return self.decaying_exponential()
        raise Invalid(f"{function} of an expression that grows like y^({self.power}) has no tail rule")

    def decaying_exponential(self) -> Tail:
        """exp(-c y^k) <= (m/(k c e))^(m/k) y^(-m), from the maximum of y^m exp(-c y^k); here m = 4 k."""
        rate = -self.ball.upper()
        most = (4 / (rate * flint.arb(1).exp())) ** 4
        if not most * self.start ** (-4 * flint.arb(self.power)) < 1:  # it decays too slowly: e^-x <= 1
            return Tail(self.start, flint.fmpq(0), flint.arb(0).union(flint.arb(1)))
        return Tail(self.start, -4 * self.power, most.union(flint.arb(0)))
