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
EXPRESSIONS = ("gap", "by")


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
    """All single damages of a derivation document, in a fixed order."""

    def make(where: str, change: str, edit: Any) -> Mutant:
        clone = copy.deepcopy(dict(document))
        clone.pop("claim_hash", None)  # the hash alone must not be what catches it
        edit(clone)
        return Mutant(document=clone, where=where, change=change)

    for i, step in enumerate(document["steps"]):
        where = f"step {step['name']}"
        for key in EXPRESSIONS:
            for text, change in _edits(step[key]) if isinstance(step.get(key), str) and key in step else ():
                if key == "by" and step["kind"] != "scale":
                    continue

                def edit(c: Any, i: int = i, key: str = key, text: str = text) -> None:
                    c["steps"][i][key] = text

                yield make(f"{where}, {key}", change, edit)
        if step["kind"] == "combine":
            for j, (used, multiplier) in enumerate(step["uses"]):
                for text, change in _edits(multiplier):

                    def edit(c: Any, i: int = i, j: int = j, text: str = text) -> None:
                        c["steps"][i]["uses"][j][1] = text

                    yield make(f"{where}, multiplier of {'*'.join(used)}", change, edit)

                def drop(c: Any, i: int = i, j: int = j) -> None:
                    del c["steps"][i]["uses"][j]

                yield make(where, f"fact {'*'.join(used)} not used", drop)
        if step["kind"] == "apply":
            for name, coefficient in step["terms"].items():
                for text, change in _edits(coefficient):

                    def edit(c: Any, i: int = i, name: str = name, text: str = text) -> None:
                        c["steps"][i]["terms"][name] = text

                    yield make(f"{where}, coefficient of {name}", change, edit)
        if step["relation"] == ">=":

            def equality(c: Any, i: int = i) -> None:
                c["steps"][i]["relation"] = "=="

            yield make(where, "inequality stated as equality", equality)

        def dropped(c: Any, i: int = i) -> None:
            del c["steps"][i]

        yield make(where, "step dropped", dropped)
    for name, entry in document["symbols"].items():
        if entry["definition"] and isinstance(entry["definition"]["of"], str):
            for text, change in _edits(entry["definition"]["of"]):

                def edit(c: Any, name: str = name, text: str = text) -> None:
                    c["symbols"][name]["definition"]["of"] = text

                yield make(f"definition of {name}", change, edit)
        if "draw" in entry["depends"]:

            def known(c: Any, name: str = name) -> None:
                c["symbols"][name]["depends"].remove("draw")

            yield make(f"symbol {name}", "declared known before the draw", known)
    for text, change in _edits(document["claim"]["rhs"]):

        def edit(c: Any, text: str = text) -> None:
            c["claim"]["rhs"] = text

        yield make("claim", change, edit)


def sample(document: Document, count: int, seed: int) -> list[Mutant]:
    """A seeded sample of the mutants of a document."""
    every = list(mutants(document))
    return random.Random(seed).sample(every, min(count, len(every)))
