"""What a claim rests on: the steps and symbols that a certificate needs, and no others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sympy as sp

if TYPE_CHECKING:
    from bstheory.theory.derivation import Derivation


def needed(d: Derivation) -> tuple[set[str], set[str]]:
    """Names of the steps and of the symbols that the claim of ``d`` rests on."""
    assert d.claim is not None
    waiting, steps = [d.claim[0]], set()
    while waiting:
        name = waiting.pop()
        if name not in steps:
            steps.add(name)
            waiting += [text for text in strings(d.steps[name].data) if text in d.steps]
    texts = [str(d.claim[1]), str(d.claim[2]), *strings(d.chains)]
    for name in steps:
        texts += [str(d.steps[name].gap), *strings(d.steps[name].data)]
    symbols = {word for text in texts for word in re.findall(r"[A-Za-z_]\w*", text)}
    for name in reversed(list(d.symbols)):
        if name in symbols:
            of = d.symbols[name].of
            inside = of if isinstance(of, list | tuple) else [of or 0]
            symbols |= {symbol.name for part in inside for symbol in sp.sympify(part).free_symbols}
    return steps, symbols & d.symbols.keys()


def pruned(d: Derivation) -> Derivation:
    """Drop the steps and symbols that the claim does not rest on."""
    steps, symbols = needed(d)
    d.steps = {name: step for name, step in d.steps.items() if name in steps}
    d.symbols = {name: entry for name, entry in d.symbols.items() if name in symbols}
    return d


def strings(data: Any) -> list[str]:
    """Every string inside nested lists and mappings, keys included."""
    if isinstance(data, str):
        return [data]
    if isinstance(data, Mapping):
        return [text for key, item in data.items() for text in (str(key), *strings(item))]
    if isinstance(data, list | tuple):
        return [text for item in data for text in strings(item)]
    return []
