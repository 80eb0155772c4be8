"""Damaged certificates: what a checker must reject.

A mutant is a document with one change: an integer constant, an exponent, a sign, an operator, a multiplier, a
dropped step or fact, a weakened hypothesis, a changed sign or index declaration of a symbol, a changed
conclusion. Text that only explains is left alone.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import random
from collections.abc import Iterator, Mapping
from typing import Any

Document = Mapping[str, Any]
DROP = object()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mutant:
    """A damaged document; ``where`` and ``change`` say what was done."""

    document: dict[str, Any]
    where: str
    change: str


def _edits(text: str) -> Iterator[tuple[str, str]]:
    """Every expression that differs from ``text`` by one token, with a description."""
    tree = ast.parse(text, mode="eval")
    nodes = list(ast.walk(tree))
    for position, node in enumerate(nodes):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            for new in (node.value + 1, node.value * 2, node.value - 1):
                if new != node.value and new >= 0:
                    yield _with(tree, position, ast.Constant(new)), f"constant {node.value} becomes {new}"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            flipped = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            yield (
                _with(tree, position, ast.BinOp(node.left, flipped, node.right)),
                f"sign before {ast.unparse(node.right)[:40]}",
            )
            yield _with(tree, position, node.left), f"dropped {ast.unparse(node.right)[:40]}"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            yield (
                _with(tree, position, ast.BinOp(node.left, ast.Div(), node.right)),
                f"divided by {ast.unparse(node.right)[:40]}",
            )
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield _with(tree, position, node.operand), "leading minus dropped"
    yield f"2*({text})", "doubled"
    yield f"({text}) + 1", "plus one"


def _with(tree: ast.Expression, position: int, new: ast.expr) -> str:
    clone = copy.deepcopy(tree)
    target = list(ast.walk(clone))[position]

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            return copy.deepcopy(new) if node is target else self.generic_visit(node)

    return ast.unparse(ast.fix_missing_locations(Replace().visit(clone)))


def mutants(document: Document) -> Iterator[Mutant]:
    """All single damages of a derivation (of every derivation among the parts), in a fixed order."""
    if document.get("kind") == "parts":
        for name, part in document["parts"].items():
            if part.get("kind", "derivation") == "derivation":
                for where, change, path, new in _damages(part):
                    yield _mutant(document, f"part {name}, {where}", change, ("parts", name, *path), new)
        return
    for where, change, path, new in _damages(document):
        yield _mutant(document, where, change, path, new)


def _mutant(document: Document, where: str, change: str, path: tuple[Any, ...], new: Any) -> Mutant:
    clone = copy.deepcopy(dict(document))
    clone.pop("claim_hash", None)  # the hash alone must not be what catches it
    place: Any = clone
    for key in path[:-1]:
        place = place[key]
    if new is DROP:
        del place[path[-1]]
    else:
        place[path[-1]] = new
    return Mutant(document=clone, where=where, change=change)


def _damages(document: Document) -> Iterator[tuple[str, str, tuple[Any, ...], Any]]:
    """(where, change, path to the entry, its new value) of every damage."""

    def edits(where: str, text: str, *path: Any) -> Iterator[tuple[str, str, tuple[Any, ...], Any]]:
        for new, change in _edits(text):
            yield where, change, path, new

    for i, step in enumerate(document["steps"]):
        where = f"step {step['name']}"
        yield from edits(f"{where}, gap", step["gap"], "steps", i, "gap")
        if step["kind"] == "scale":
            yield from edits(f"{where}, factor", step["by"], "steps", i, "by")
        if step["kind"] == "combine":
            for j, (used, multiplier) in enumerate(step["uses"]):
                label = "*".join(used)
                yield from edits(f"{where}, multiplier of {label}", multiplier, "steps", i, "uses", j, 1)
                yield where, f"fact {label} not used", ("steps", i, "uses", j), DROP
        if step["kind"] == "apply":
            for name, coefficient in step["terms"].items():
                yield from edits(f"{where}, coefficient of {name}", coefficient, "steps", i, "terms", name)
        if step["relation"] == ">=":
            yield where, "inequality stated as equality", ("steps", i, "relation"), "=="
        yield where, "step dropped", ("steps", i), DROP
    for name, entry in document["symbols"].items():
        if entry["definition"] and isinstance(entry["definition"]["of"], str):
            path = ("symbols", name, "definition", "of")
            yield from edits(f"definition of {name}", entry["definition"]["of"], *path)
        if "draw" in entry["depends"]:
            known = [index for index in entry["depends"] if index != "draw"]
            yield f"symbol {name}", "declared known before the draw", ("symbols", name, "depends"), known
    yield from edits("claim", document["claim"]["rhs"], "claim", "rhs")


def sample(document: Document, count: int, seed: int) -> list[Mutant]:
    """A seeded sample of the mutants of a document."""
    if document.get("kind") == "parts":
        every = list(mutants(document))
        return random.Random(seed).sample(every, min(count, len(every)))
    # Choose first and copy then: a document has thousands of damages and is large.
    damages = list(_damages(document))
    chosen = random.Random(seed).sample(damages, min(count, len(damages)))
    return [_mutant(document, where, change, path, new) for where, change, path, new in chosen]
