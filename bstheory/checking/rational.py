"""Exact rational functions for the independent checker: a parser, an identity test and a sign reader.

The expression language of certificates is ``+ - * / **`` with integer constants, integer exponents and
declared symbol names. Nothing here is shared with the code that derives.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from typing import Any

import flint

# Texts are put together in parentheses, so that a comment or a line break in one would swallow the next;
# and Python reads different Unicode spellings as one name.
TEXT = re.compile(r"[A-Za-z0-9_.+\-*/() ]*")


# What one polynomial, and one document, may hold: a file from anybody must not keep the checker busy.
# Committed certificates stay below degree 40, 210 terms and 10^5 products of terms.
MAX_DEGREE, MAX_TERMS, MAX_BITS, MAX_WORK = 128, 2048, 20_000, 50_000_000


class ExpressionError(ValueError):
    """An expression outside the language, or one whose denominator is not visibly positive."""


def parse(text: str) -> ast.expr:
    """Parse ``text`` and reject everything outside the language."""
    if not TEXT.fullmatch(text):
        raise ExpressionError(f"a character of {text[:80]!r} is not in the language")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ExpressionError(f"cannot read the expression {text[:80]!r}") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            if type(node.value) is not int:
                raise ExpressionError(f"constant {node.value!r} is not an integer")
        elif isinstance(node, ast.BinOp):
            if not isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow):
                raise ExpressionError(f"operator {type(node.op).__name__} is not in the language")
            if isinstance(node.op, ast.Pow):
                exponent(node.right)
        elif isinstance(node, ast.UnaryOp):
            if not isinstance(node.op, ast.USub | ast.UAdd):
                raise ExpressionError(f"operator {type(node.op).__name__} is not in the language")
        elif not isinstance(node, ast.Name | ast.Load | ast.operator | ast.unaryop):
            raise ExpressionError(f"{type(node).__name__} is not in the language")
    return tree


def exponent(node: ast.expr) -> int:
    """The integer exponent of a power."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    if not (isinstance(node, ast.Constant) and type(node.value) is int) or abs(node.value) > 64:
        raise ExpressionError("exponents are integers of size at most 64")
    return sign * node.value


def names(tree: ast.expr) -> set[str]:
    """Symbols that occur in the expression."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def sign(tree: ast.expr, signs: Mapping[str, str]) -> str:
    """What can be read off: ``"positive"``, ``"nonnegative"`` or ``"unknown"``; never more than is true."""
    if isinstance(tree, ast.Constant):
        return "positive" if tree.value > 0 else "nonnegative" if tree.value == 0 else "unknown"
    if isinstance(tree, ast.Name):
        found = signs.get(tree.id, "unknown")
        return found if found in ("positive", "nonnegative") else "unknown"
    if isinstance(tree, ast.UnaryOp):
        return sign(tree.operand, signs) if isinstance(tree.op, ast.UAdd) else "unknown"
    assert isinstance(tree, ast.BinOp)
    left = sign(tree.left, signs)
    if isinstance(tree.op, ast.Pow):
        power = exponent(tree.right)
        if power == 0 or left == "positive":
            return "positive"
        if power < 0:
            return "unknown"
        return left if left == "nonnegative" else ("nonnegative" if power % 2 == 0 else "unknown")
    right = sign(tree.right, signs)
    if "unknown" in (left, right):
        # x*x written as a product of equal factors is a square too.
        if isinstance(tree.op, ast.Mult) and ast.dump(tree.left) == ast.dump(tree.right):
            return "nonnegative"
        return "unknown"
    if isinstance(tree.op, ast.Add):
        return "positive" if "positive" in (left, right) else "nonnegative"
    if isinstance(tree.op, ast.Mult):
        return "positive" if left == right == "positive" else "nonnegative"
    if isinstance(tree.op, ast.Div) and right == "positive":
        return left
    return "unknown"


def check_defined(tree: ast.expr, signs: Mapping[str, str]) -> None:
    """Every denominator must be visibly positive, so that the expression is defined wherever it is used."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp):
            if isinstance(node.op, ast.Div):
                denominator = node.right
            elif isinstance(node.op, ast.Pow) and exponent(node.right) < 0:
                denominator = node.left
            else:
                continue
            if sign(denominator, signs) != "positive":
                raise ExpressionError(f"denominator {ast.unparse(denominator)} is not visibly positive")


def degree(polynomial: Any) -> int:
    """Total degree; 0 for zero."""
    return int(polynomial.total_degree()) if len(polynomial) else 0


class Field:
    """Rational functions over the rationals in a fixed list of symbols, as (numerator, denominator)."""

    def __init__(self, symbols: list[str]) -> None:
        self.context = flint.fmpq_mpoly_ctx.get(symbols or ["unused"], flint.Ordering.degrevlex)
        generators = self.context.gens()
        self.generator = dict(zip(symbols, generators, strict=False))
        self.one = self.context.from_dict({(0,) * len(generators): 1})
        self.zero = self.one - self.one
        self.work = 0

    def evaluate(self, tree: ast.expr) -> tuple[Any, Any]:
        """The expression as a fraction of polynomials."""
        if isinstance(tree, ast.Constant):
            return self.one * tree.value, self.one
        if isinstance(tree, ast.Name):
            if tree.id not in self.generator:
                raise ExpressionError(f"symbol {tree.id!r} is not declared")
            return self.generator[tree.id], self.one
        if isinstance(tree, ast.UnaryOp):
            numerator, denominator = self.evaluate(tree.operand)
            return (-numerator if isinstance(tree.op, ast.USub) else numerator), denominator
        assert isinstance(tree, ast.BinOp)
        if isinstance(tree.op, ast.Pow):
            power = exponent(tree.right)
            numerator, denominator = self.evaluate(tree.left)
            if power < 0:
                numerator, denominator = denominator, numerator
            return self.power(numerator, abs(power)), self.power(denominator, abs(power))
        a, b = self.evaluate(tree.left)
        c, d = self.evaluate(tree.right)
        if isinstance(tree.op, ast.Mult):
            return self.multiply((a, b), (c, d))
        if isinstance(tree.op, ast.Div):
            return self.multiply((a, b), (d, c))
        return self.add((a, b), (c, d) if isinstance(tree.op, ast.Add) else (-c, d))

    def add(self, x: tuple[Any, Any], y: tuple[Any, Any]) -> tuple[Any, Any]:
        """Sum of two fractions."""
        if x[1] == y[1]:
            return self.reduced(x[0] + y[0], x[1])
        return self.reduced(self.times(x[0], y[1]) + self.times(y[0], x[1]), self.times(x[1], y[1]))

    def multiply(self, x: tuple[Any, Any], y: tuple[Any, Any]) -> tuple[Any, Any]:
        """Product of two fractions."""
        return self.reduced(self.times(x[0], y[0]), self.times(x[1], y[1]))

    def times(self, a: Any, b: Any) -> Any:
        """Product of two polynomials, within the limits."""
        self.allow(len(a) * len(b), degree(a) + degree(b))
        product = a * b
        self.allow(0, 0, terms=len(product))
        return product

    def power(self, base: Any, exponent: int) -> Any:
        """A power of a polynomial, within the limits."""
        if len(base) == 0 or exponent == 0:
            return base**exponent
        terms = math.comb(len(base) + exponent - 1, exponent)
        self.allow(terms, degree(base) * exponent, terms=terms)
        bits = max(max(int(c.p).bit_length(), int(c.q).bit_length()) for c in base.coeffs()) * exponent
        if bits > MAX_BITS:
            raise ExpressionError(f"a number of about {bits} bits, more than {MAX_BITS}")
        return base**exponent

    def allow(self, work: int, degree: int, *, terms: int = 0) -> None:
        """Count the work of one operation; raise where the result or the sum of all work is too large."""
        self.work += work
        for value, most, what in (
            (degree, MAX_DEGREE, "a polynomial of degree"),
            (terms, MAX_TERMS, "a polynomial whose number of terms may be"),
            (self.work, MAX_WORK, "work in products of terms"),
        ):
            if value > most:
                raise ExpressionError(f"{what} {value}, more than {most}")

    def reduced(self, numerator: Any, denominator: Any) -> tuple[Any, Any]:
        """Cancel the common factor; raises where the denominator vanishes identically."""
        if denominator == self.zero:
            raise ExpressionError("division by zero")
        common = numerator.gcd(denominator)
        if common != self.one and common != self.zero:
            numerator, denominator = numerator / common, denominator / common
        return numerator, denominator
