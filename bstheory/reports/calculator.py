"""The calculator page: one static HTML file whose formulas are printed from the SymPy expressions below.

``python -m bstheory.reports.calculator docs/calculator/index.html`` writes it; ``--check`` only says whether
it differs from what is there. The page needs no network and no library. Each formula is written once, here;
``tests/reports/test_calculator.py`` compares the page in a real browser with ``bstheory.plan`` and
``bstheory.memory`` on random inputs.

Equations (B batch size in sequences, S tokens per sequence, * the target, r = B* S* / (B S), h half-life)::

    h = -B S ln 2 / ln beta2            beta2* = exp(r ln beta2)           1 - beta2* = -expm1(r ln beta2)
    lr* = lr, lr sqrt(r), lr r, lr sqrt((1 - beta2*) / (1 - beta2))
    lambda* = -expm1(r log1p(-lr lambda)) / lr*                            admissible = h log2(1 / beta1) / S*

Reference: Marek et al. 2025, arXiv 2507.07101 (half-life rule, memory); docs/theorems for the rest.
"""

from __future__ import annotations

import sys
from functools import cache
from itertools import combinations
from math import prod
from pathlib import Path

import sympy as sp

from bstheory.files import atomic_write

TEMPLATES = Path(__file__).parent / "templates"
INPUTS = (
    *("from_batch_size", "to_batch_size", "seq_len", "to_seq_len", "beta1", "beta2", "learning_rate"),
    *("weight_decay", "tokens", "layers", "width", "vocab_size", "bytes_per_element"),
)
RATE_RULES = ("fixed", "sqrt", "linear", "bound")
OPTIMIZERS = ("sgd", "adafactor", "muon", "adam")
HEAD_SIZE = MIN_FACTORED = 128  # Adafactor's layout, as in bstheory.memory.adafactor_state
# Kept as unknown functions, so that no simplification turns them into forms that lose digits near 1.
LOG1P, EXPM1 = sp.Function("log1p"), sp.Function("expm1")
IN_JAVASCRIPT = {"log1p": "Math.log1p", "expm1": "Math.expm1"}


def _log_beta(beta: sp.Expr) -> sp.Expr:
    # beta - 1 is exact in float64 from 1/2 on, so log1p keeps every digit next to 1.
    return sp.Piecewise((LOG1P(beta - 1), beta >= sp.Rational(1, 2)), (sp.log(beta), True))


def _factored(*shape: sp.Expr) -> sp.Expr:
    """Adafactor's elements for one tensor: its two largest axes a <= b are factored if a >= 128."""
    largest = sp.Max(*shape)
    second = sp.Max(*(sp.Min(x, y) for x, y in combinations(shape, 2)))
    whole = prod(shape)
    return sp.Piecewise(
        (whole / (largest * second) * (largest + second), second >= MIN_FACTORED), (whole, True)
    )


@cache
def formulas() -> dict[str, sp.Expr]:
    """Every result of the page as an expression of the inputs, by name."""
    at = {name: sp.Symbol(name, positive=True) for name in INPUTS}
    tokens0, tokens1 = at["from_batch_size"] * at["seq_len"], at["to_batch_size"] * at["to_seq_len"]
    ratio, log2, log_beta2 = tokens1 / tokens0, sp.log(2), _log_beta(at["beta2"])
    found = {
        "ratio": ratio,
        "half_life": -tokens0 * log2 / log_beta2,
        "half_life_if_fixed": -tokens1 * log2 / log_beta2,
        "beta1_half_life": -tokens0 * log2 / _log_beta(at["beta1"]),
        "beta2": sp.exp(ratio * log_beta2),
        "one_minus_beta2": -EXPM1(ratio * log_beta2),
        "beta1": sp.exp(ratio * _log_beta(at["beta1"])),
    }
    lr = at["learning_rate"]
    rates = {
        "fixed": lr,
        "sqrt": lr * sp.sqrt(ratio),
        "linear": lr * ratio,
        "bound": lr * sp.sqrt(EXPM1(ratio * log_beta2) / EXPM1(log_beta2)),
    }
    for rule in RATE_RULES:
        kept = -EXPM1(ratio * LOG1P(-lr * at["weight_decay"]))
        found[f"learning_rate_{rule}"] = rates[rule]
        found[f"weight_decay_{rule}"] = kept / rates[rule]
    found["admissible"] = -found["half_life"] * _log_beta(at["beta1"]) / log2 / at["to_seq_len"]
    found["bias_correction"] = -EXPM1(-log2 * at["tokens"] / found["half_life"])
    found["bias_correction_if_fixed"] = -EXPM1(-log2 * at["tokens"] / found["half_life_if_fixed"])
    first = -EXPM1(at["tokens"] / tokens1 * _log_beta(at["beta1"]))
    found["effective_rate"] = sp.sqrt(found["bias_correction"]) / first
    found["tokens_to_99_percent"] = found["half_life"] * sp.log(100) / log2
    found.update(_memory(at))
    return found


def _memory(at: dict[str, sp.Symbol]) -> dict[str, sp.Expr]:
    layers, width, vocab, size = (at[k] for k in ("layers", "width", "vocab_size", "bytes_per_element"))
    heads = sp.ceiling(width / HEAD_SIZE)
    parameters = 12 * layers * width**2 + 2 * vocab * width
    factored = layers * (
        _factored(sp.Integer(3), heads, width, sp.Integer(HEAD_SIZE))
        + _factored(heads, sp.Integer(HEAD_SIZE), width)
        + 2 * _factored(width, 4 * width)
    ) + 2 * _factored(vocab, width)
    state = {
        "sgd": sp.Integer(0),
        "adafactor": factored,
        "muon": parameters + 2 * vocab * width,
        "adam": 2 * parameters,
    }
    activations = at["to_seq_len"] * (layers * width + vocab) * size
    found = {"parameters": parameters, "weights": parameters * size, "activations": activations}
    for name in OPTIMIZERS:
        found[f"state_{name}"] = state[name] * size
        found[f"total_{name}"] = (parameters + state[name]) * size + activations
    found["total_adam_accumulation"] = found["total_adam"] + parameters * size
    return found


def javascript(name: str) -> str:
    """One formula as a JavaScript arrow function of an object of inputs."""
    expr = formulas()[name]
    needs = sorted(s.name for s in expr.free_symbols)
    return f"({{{', '.join(needs)}}}) => {sp.jscode(expr, user_functions=IN_JAVASCRIPT)}".replace("\n", " ")


def page() -> str:
    """The whole document, the same on every machine."""
    lines = [f"  {name}: {javascript(name)}," for name in formulas()]
    block = "const formulas = {\n" + "\n".join(lines) + "\n};"
    text = (TEMPLATES / "calculator.html").read_text(encoding="utf-8")
    for mark, content in (("/*STYLE*/", (TEMPLATES / "style.css").read_text()), ("/*FORMULAS*/", block)):
        if text.count(mark) != 1:
            raise ValueError(f"the template holds {mark} {text.count(mark)} times, not once")
        text = text.replace(mark, content.rstrip())
    return text


def main(arguments: list[str]) -> int:
    """Write or compare; returns the exit code."""
    paths = [Path(a) for a in arguments if not a.startswith("-")]
    if len(paths) != 1 or set(arguments) - {str(paths[0]), "--check"}:
        print("usage: python -m bstheory.reports.calculator FILE [--check]", file=sys.stderr)
        return 2
    content = page()
    same = paths[0].exists() and paths[0].read_text(encoding="utf-8") == content
    if "--check" in arguments:
        print(f"{paths[0]}: {'as generated' if same else 'differs from what is generated'}")
        return 0 if same else 1
    if not same:
        atomic_write(paths[0], content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
