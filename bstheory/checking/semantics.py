"""Evaluate every claim of a derivation on a finite probability tree: a test of what the symbols mean.

The checker verifies that steps follow; it cannot know that a declared symbol means what its name says. Here a
model gives numbers to the primitive symbols at every (node, coordinate, draw) of a finite tree, defined
symbols are computed from their definitions, operators by enumeration, and every established claim is
evaluated. A claim that fails on a model that satisfies the assumptions is a bug in a rule or a definition.
"""

from __future__ import annotations

import ast
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bstheory.checking.rational import names, parse

Document = Mapping[str, Any]


@dataclasses.dataclass(kw_only=True)
class Node:
    """One step on one path of the tree.

    Attributes:
        probability: of reaching this node.
        values: primitive symbols that depend on the step alone.
        vectors: primitive symbols per coordinate, known before the draw.
        draws: the outcomes.
        level: number of the step on its path; needed for ``expected``, where every path takes every step.
    """

    probability: float
    values: dict[str, float]
    vectors: dict[str, list[float]]
    draws: list[Draw] = dataclasses.field(default_factory=list)
    level: int = -1


@dataclasses.dataclass(kw_only=True)
class Draw:
    """An outcome of a node's draw: probability given the node, and the symbols that depend on it."""

    probability: float
    values: dict[str, float]
    vectors: dict[str, list[float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Violation:
    """A claim that fails: the step, the value of its gap, and where."""

    step: str
    gap: float
    scale: float
    where: str


class Evaluator:
    """Numbers for all symbols of a document on a tree."""

    def __init__(
        self, document: Document, constants: Mapping[str, float], nodes: list[Node], dimension: int
    ) -> None:
        self.symbols = document["symbols"]
        self.steps = document["steps"]
        self.constants = constants
        self.nodes = nodes
        self.dimension = dimension
        self.cache: dict[tuple[str, int, int, int], float] = {}
        self.compiled: dict[str, tuple[Any, list[str]]] = {}
        self.terms: dict[str, list[str]] = {}

    def symbol(self, name: str, node: int, coordinate: int, draw: int) -> float:
        """Value of a symbol; indices that it does not depend on are ignored."""
        depends = self.symbols[name]["depends"]
        key = (
            name,
            node if "step" in depends else -1,
            coordinate if "coordinate" in depends else -1,
            draw if "draw" in depends else -1,
        )
        if key not in self.cache:
            definition = self.symbols[name]["definition"]
            at = (node, coordinate, draw)
            self.cache[key] = self.defined(definition, *at) if definition else self.primitive(name, *at)
        return self.cache[key]

    def primitive(self, name: str, node: int, coordinate: int, draw: int) -> float:
        if not self.symbols[name]["depends"]:
            return self.constants[name]
        if self.symbols[name]["depends"] == ["coordinate"]:
            return self.constants[name][coordinate]  # type: ignore[index]
        place = self.nodes[node]
        holder: Any = place.draws[draw] if "draw" in self.symbols[name]["depends"] else place
        return holder.vectors[name][coordinate] if name in holder.vectors else holder.values[name]

    def defined(self, definition: Mapping[str, Any], node: int, coordinate: int, draw: int) -> float:
        op, of = definition["op"], definition["of"]
        if op == "max":
            return max(self.expression(part, node, coordinate, draw) for part in of)
        if op == "mean":
            return sum(
                d.probability * self.expression(of, node, coordinate, j)
                for j, d in enumerate(self.nodes[node].draws)
            )
        if op == "expected":
            level = self.nodes[node].level
            assert level >= 0, "an expectation of a step needs the levels of the tree"
            return sum(
                place.probability * d.probability * self.expression(of, k, coordinate, j)
                for k, place in enumerate(self.nodes)
                if place.level == level
                for j, d in enumerate(place.draws)
            )
        if op == "coordinates":
            return sum(self.expression(of, node, i, draw) for i in range(self.dimension))
        if op == "steps":
            return sum(
                place.probability * d.probability * self.expression(of, k, 0, j)
                for k, place in enumerate(self.nodes)
                for j, d in enumerate(place.draws)
            )
        x = self.expression(of, node, coordinate, draw)
        functions: dict[str, Callable[[float], float]] = {
            "equals": lambda x: x,
            "root": math.sqrt,
            "log": math.log,
            "power_of_two": lambda x: 2.0**x,
            "absolute": abs,
        }
        return functions[op](x)

    def expression(self, text: str, node: int, coordinate: int, draw: int) -> float:
        if text not in self.compiled:
            code = compile(ast.fix_missing_locations(ast.Expression(parse(text))), "<expression>", "eval")
            self.compiled[text] = (code, sorted(names(parse(text))))
        code, used = self.compiled[text]
        values = {name: self.symbol(name, node, coordinate, draw) for name in used}
        return float(eval(code, {"__builtins__": {}}, values))  # parse() admits arithmetic only

    def size(self, text: str, node: int, coordinate: int, draw: int) -> float:
        """Sum of the absolute values of the terms: the yardstick for rounding."""
        if text not in self.terms:
            stack, found = [parse(text)], []
            while stack:
                t = stack.pop()
                if isinstance(t, ast.BinOp) and isinstance(t.op, ast.Add | ast.Sub):
                    stack += [t.left, t.right]
                else:
                    found.append(ast.unparse(t))
            self.terms[text] = found
        return sum(abs(self.expression(term, node, coordinate, draw)) for term in self.terms[text])

    def indices(self, text: str) -> Iterator[tuple[int, int, int]]:
        depends = {index for name in names(parse(text)) for index in self.symbols[name]["depends"]}
        for k in range(len(self.nodes)) if "step" in depends else (0,):
            draws = range(len(self.nodes[k].draws)) if "draw" in depends and self.nodes else (0,)
            for j in draws:
                for i in range(self.dimension) if "coordinate" in depends else (0,):
                    yield k, i, j

    def violations(self, tolerance: float = 1e-9) -> list[Violation]:
        """Claims whose gap is negative (or, for equalities, nonzero) beyond rounding."""
        found = []
        for step in self.steps:
            if step["kind"] == "hypothesis":
                continue
            for k, i, j in self.indices(step["gap"]):
                gap = self.expression(step["gap"], k, i, j)
                scale = self.size(step["gap"], k, i, j) + 1e-300
                bad = abs(gap) > tolerance * scale if step["relation"] == "==" else gap < -tolerance * scale
                if bad or not math.isfinite(gap):
                    where = f"node {k}, coordinate {i}, draw {j}"
                    found.append(Violation(step=step["name"], gap=gap, scale=scale, where=where))
        return found
