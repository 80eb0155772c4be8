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
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

Document = Mapping[str, Any]
DROP = object()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mutant:
    """A damaged document; ``where`` and ``change`` say what was done."""

    document: dict[str, Any]
    where: str
    change: str


class Edit(NamedTuple):
    """One change of an expression, carried out only when asked for: a text has hundreds of them."""

    describe: Callable[[], str]
    apply: Callable[[], Any]


def edits(text: str) -> Iterator[Edit]:
    """Every expression that differs from ``text`` by one token, with a description."""
    tree = ast.parse(text, mode="eval")

    def replaced(position: int, new: Callable[[], ast.expr], describe: Callable[[], str]) -> Edit:
        return Edit(describe, lambda: _with(tree, position, new()))

    for position, node in enumerate(ast.walk(tree)):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            for new in (node.value + 1, node.value * 2, node.value - 1):
                if new != node.value and new >= 0:
                    words = f"constant {node.value} becomes {new}"
                    yield replaced(position, partial(ast.Constant, new), partial(str, words))
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            flipped = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            right = partial(_short, node.right)
            other = partial(ast.BinOp, node.left, flipped, node.right)
            yield replaced(position, other, partial(_words, "sign before {}", right))
            yield replaced(position, partial(_same, node.left), partial(_words, "dropped {}", right))
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            quotient = partial(ast.BinOp, node.left, ast.Div(), node.right)
            yield replaced(position, quotient, partial(_words, "divided by {}", partial(_short, node.right)))
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield replaced(position, partial(_same, node.operand), lambda: "leading minus dropped")
    yield Edit(lambda: "doubled", lambda: f"2*({text})")
    yield Edit(lambda: "plus one", lambda: f"({text}) + 1")


def _same(node: ast.expr) -> ast.expr:
    return node


def _short(node: ast.expr) -> str:
    return ast.unparse(node)[:40]


def _words(pattern: str, part: Callable[[], str]) -> str:
    return pattern.format(part())


def _with(tree: ast.Expression, position: int, new: ast.expr) -> str:
    clone = copy.deepcopy(tree)
    target = list(ast.walk(clone))[position]

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            return copy.deepcopy(new) if node is target else self.generic_visit(node)

    return ast.unparse(ast.fix_missing_locations(Replace().visit(clone)))


def mutants(document: Document) -> Iterator[Mutant]:
    """All single damages of a derivation (of every derivation among the parts), in a fixed order."""
    for damage in damages_of(document):
        yield damage.to(document)


class Damage(NamedTuple):
    """Where, which entry of the document, and its new value."""

    where: str
    path: tuple[Any, ...]
    edit: Edit

    def to(self, document: Document) -> Mutant:
        """The document with this damage; only the containers on the way to it are copied."""
        clone = dict(document)
        clone.pop("claim_hash", None)  # the hash alone must not be what catches it
        place: Any = clone
        for key in self.path[:-1]:
            place[key] = copy.copy(place[key])
            place = place[key]
        new = self.edit.apply()
        if new is DROP:
            del place[self.path[-1]]
        else:
            place[self.path[-1]] = new
        return Mutant(document=clone, where=self.where, change=self.edit.describe())


def damages_of(document: Document) -> Iterator[Damage]:
    """All single damages, none carried out yet, in a fixed order."""
    if document.get("kind") != "parts":
        yield from _damages(document)
        return
    for name, part in document["parts"].items():
        if part.get("kind", "derivation") == "derivation":
            for damage in _damages(part):
                where, path = f"part {name}, {damage.where}", ("parts", name, *damage.path)
                yield Damage(where, path, damage.edit)


def _damages(document: Document) -> Iterator[Damage]:
    """Every damage of one derivation."""

    def each(where: str, text: str, *path: Any) -> Iterator[Damage]:
        for edit in edits(text):
            yield Damage(where, path, edit)

    def fixed(where: str, change: str, path: tuple[Any, ...], new: Any) -> Damage:
        return Damage(where, path, Edit(lambda: change, lambda: new))

    for i, step in enumerate(document["steps"]):
        where = f"step {step['name']}"
        yield from each(f"{where}, gap", step["gap"], "steps", i, "gap")
        if step["kind"] == "scale":
            yield from each(f"{where}, factor", step["by"], "steps", i, "by")
        if step["kind"] == "combine":
            for j, (used, multiplier) in enumerate(step["uses"]):
                label = "*".join(used)
                yield from each(f"{where}, multiplier of {label}", multiplier, "steps", i, "uses", j, 1)
                yield fixed(where, f"fact {label} not used", ("steps", i, "uses", j), DROP)
        if step["kind"] == "apply":
            for name, coefficient in step["terms"].items():
                yield from each(f"{where}, coefficient of {name}", coefficient, "steps", i, "terms", name)
        if step["relation"] == ">=":
            yield fixed(where, "inequality stated as equality", ("steps", i, "relation"), "==")
        yield fixed(where, "step dropped", ("steps", i), DROP)
    for name, entry in document["symbols"].items():
        if entry["definition"] and isinstance(entry["definition"]["of"], str):
            path = ("symbols", name, "definition", "of")
            yield from each(f"definition of {name}", entry["definition"]["of"], *path)
        if "draw" in entry["depends"]:
            known = [index for index in entry["depends"] if index != "draw"]
            path = ("symbols", name, "depends")
            yield fixed(f"symbol {name}", "declared known before the draw", path, known)
    yield from each("claim", document["claim"]["rhs"], "claim", "rhs")


def sample(document: Document, count: int, seed: int) -> list[Mutant]:
    """A seeded sample of the mutants of a document."""
    damages = list(damages_of(document))
    chosen = random.Random(seed).sample(damages, min(count, len(damages)))
    return [damage.to(document) for damage in chosen]
