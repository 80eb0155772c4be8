"""A derivation as a Coq file: a lemma for each step that is algebra, a logarithm or a finite mean.

``python tests/proofs/coqcertificate.py`` writes ``docs/proofs/Derivation.v`` from the certificate document of
``adam_token_half_life``. Each lemma assumes the signs of its symbols and the steps it uses, nothing else, and
its proof is the step's own data: the multipliers go to Coq as an identity to check. Steps that speak of whole
runs (sums over steps, the tower property, induction) are theorems of ``Adam.v``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sympy as sp
from coqbridge import PROOFS, STEPS, coq_term

TARGET = PROOFS / "Derivation.v"
HEADER = """(** Every algebraic, logarithmic and one-step probabilistic step of the derivation
    [{slug}], written by tests/proofs/coqcertificate.py.  A lemma's premises are the signs of
    its symbols and the earlier steps it names. *)

From Coq Require Import Reals Lra.
From BSTheory Require Import FiniteSums OneStep Steps.
Local Open Scope R_scope.
"""

# Names that mean something else in Coq.
RENAMED = {"R": "Rg"}
SIGNS = {"positive": "0 < {}", "nonnegative": "0 <= {}"}
# The index a positive operator sums over, and how Coq writes the operator.
OPERATORS = {
    "mean": ("draw", "mean count prob", "(count : nat) (prob : nat -> R)", ["distribution count prob"]),
    "expected": ("draw", "mean count prob", "(count : nat) (prob : nat -> R)", ["distribution count prob"]),
    "coordinates": ("coordinate", "sum count", "(count : nat)", []),
}


class Certificate:
    """A certificate document with its expressions read."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.slug = document["slug"]
        self.symbols = document["symbols"]
        self.steps = {step["name"]: step for step in document["steps"]}
        self._locals = {name: sp.Symbol(name) for name in self.symbols}
        self._read: dict[str, sp.Expr] = {}

    def read(self, text: str) -> sp.Expr:
        if text not in self._read:
            self._read[text] = sp.sympify(text, locals=self._locals)
        return self._read[text]

    def gap(self, name: str) -> sp.Expr:
        return self.read(self.steps[name]["gap"])

    def definition(self, symbol: str) -> tuple[str, sp.Expr]:
        entry = self.symbols[symbol]["definition"]
        of = entry["of"]
        return entry["op"], [self.read(part) for part in of] if isinstance(of, list) else self.read(of)

    def random(self, symbol: str) -> bool:
        """Whether a symbol's value depends on the draws so far or on the one to come."""
        entry = self.symbols[symbol]
        if entry["definition"]:
            if entry["definition"]["op"] in ("expected", "steps"):
                return False
            parts = entry["definition"]["of"]
            parts = parts if isinstance(parts, list) else [parts]
            return any(self.random(s.name) for part in parts for s in self.read(part).free_symbols)
        return bool({"step", "draw"} & set(entry["depends"])) and not entry.get("fixed")

    def names(self, functions: Iterable[str] = (), index: str = "j") -> dict[str, str]:
        """Coq's spelling of each symbol; ``functions`` are applied to the operator's index."""
        spelled = {name: RENAMED.get(name, name) for name in self.symbols}
        return spelled | {name: f"({spelled[name]} {index})" for name in functions}

    def signs(self, symbols: Iterable[str]) -> list[str]:
        return [
            SIGNS[sign].format(RENAMED.get(name, name))
            for name in symbols
            if (sign := self.symbols[name]["sign"]) in SIGNS
        ]

    def claim(self, name: str, names: Mapping[str, str]) -> str:
        step = self.steps[name]
        term = coq_term(self.gap(name), names)
        return f"{term} = 0" if step["relation"] == "==" else f"0 <= {term}"


def free(expressions: Iterable[sp.Expr]) -> list[str]:
    return sorted({symbol.name for e in expressions for symbol in sp.sympify(e).free_symbols})


def lemma(name: str, binders: str, premises: list[str], claim: str, proof: str) -> str:
    arrows = "".join(f"  {premise} ->\n" for premise in premises)
    quantified = f" forall {binders}," if binders else ""
    return f"Lemma step_{name} :{quantified}\n{arrows}  {claim}.\nProof.\n  {proof}\nQed.\n"


def reals(symbols: Iterable[str]) -> str:
    spelled = " ".join(RENAMED.get(name, name) for name in symbols)
    return f"({spelled} : R)" if spelled else ""


def combination(c: Certificate, step: Mapping[str, Any]) -> str:
    names = c.names()
    expressions, summands, premises = [c.gap(step["name"])], [], []
    for used, multiplier in step["uses"]:
        if any(c.gap(fact) == 0 for fact in used):
            continue
        factor = c.read(multiplier)
        expressions += [factor, *(c.gap(fact) for fact in used)]
        product = " * ".join(f"({coq_term(c.gap(fact), names)})" for fact in used)
        summands.append(f"({coq_term(factor, names)}) * ({product})")
        premises += [p for fact in used if (p := c.claim(fact, names)) not in premises]
    for coefficient, root in step["squares"]:
        pair = c.read(coefficient), c.read(root)
        expressions += pair
        summands.append(f"({coq_term(pair[0], names)}) * (({coq_term(pair[1], names)}) ^ 2)")
    slack = c.read(step["slack"])
    if slack != 0:
        expressions.append(slack)
        summands.append(coq_term(slack, names))
    symbols = free(expressions)
    total = " + (".join(summands or ["0"]) + ")" * (len(summands) - 1)
    finish = "vanish." if step["relation"] == "==" else "terms."
    gap = coq_term(c.gap(step["name"]), names)
    proof = f"intros. replace ({gap})\n    with ({total}) by identity.\n  {finish}"
    claim = c.claim(step["name"], names)
    return lemma(step["name"], reals(symbols), c.signs(symbols) + premises, claim, proof)


def scaled(c: Certificate, step: Mapping[str, Any]) -> str:
    names, by = c.names(), c.read(step["by"])
    symbols = free([by, c.gap(step["fact"]), c.gap(step["name"])])
    product = f"({coq_term(by, names)}) * ({coq_term(c.gap(step['fact']), names)})"
    finish = "vanish." if step["relation"] == "==" else "term."
    gap = coq_term(c.gap(step["name"]), names)
    proof = f"intros. replace ({gap})\n    with ({product}) by identity. {finish}"
    premises = [*c.signs(symbols), c.claim(step["fact"], names)]
    return lemma(step["name"], reals(symbols), premises, c.claim(step["name"], names), proof)


def defining(c: Certificate, symbol: str) -> tuple[str, list[str]]:
    """The defining equation of a symbol in Coq, and the symbols it mentions."""
    op, of = c.definition(symbol)
    if op == "max":
        first, second = (coq_term(part, c.names()) for part in of)
        return f"{RENAMED.get(symbol, symbol)} = Rmax ({first}) ({second})", free(of)
    term = f"({coq_term(of, c.names())})"
    right = {
        "equals": term,
        "root": f"sqrt {term}",
        "log": f"ln {term}",
        "absolute": f"Rabs {term}",
        "power_of_two": f"Rpower 2 {term}",
    }[op]
    return f"{RENAMED.get(symbol, symbol)} = {right}", free([of])


def defined(c: Certificate, step: Mapping[str, Any], symbols: list[str], tactic: str) -> str:
    """A fact about symbols that holds by their definitions."""
    symbols = list(dict.fromkeys(symbols))
    equations, mentioned = [], list(symbols)
    for symbol in symbols:
        equation, parts = defining(c, symbol)
        equations.append(equation)
        mentioned += parts
    everything = free([*map(sp.Symbol, mentioned), c.gap(step["name"])])
    plain = [name for name in everything if name not in symbols]
    premises = c.signs(plain) + equations
    extra = [c.claim(step[key], c.names()) for key in ("fact", "above", "below") if key in step]
    variables = " ".join(RENAMED.get(symbol, symbol) for symbol in symbols)
    proof = f"intros. subst {variables}. {tactic}"
    return lemma(step["name"], reals(everything), premises + extra, c.claim(step["name"], c.names()), proof)


def definition_of(c: Certificate, step: Mapping[str, Any]) -> str:
    if c.definition(step["symbol"])[0] == "equals":
        return defined(c, step, [step["symbol"]], "identity.")
    tactic = "rewrite <- Rsqr_pow2, Rsqr_sqrt by (nonnegative || (left; positive)). ring."
    return defined(c, step, [step["symbol"]], tactic)


def absolute_value(c: Certificate, step: Mapping[str, Any]) -> str:
    argument = f"({coq_term(c.definition(step['symbol'])[1], c.names())})"
    tactic = {
        "above": f"assert (T := Rle_abs {argument}). lra.",
        "below": f"assert (T := Rle_abs (- {argument})). rewrite Rabs_Ropp in T. lra.",
        "square": "rewrite pow2_abs. ring.",
    }[step["form"]]
    return defined(c, step, [step["symbol"]], tactic)


def log_tangent(c: Certificate, step: Mapping[str, Any]) -> str:
    y = f"({coq_term(c.definition(step['log'])[1], c.names())})"
    proof = f"assert (T : 0 < {y}) by positive.\n  apply ln_tangent in T. lra."
    return defined(c, step, [step["log"]], proof)


def log_quotient(c: Certificate, step: Mapping[str, Any]) -> str:
    logs = [step["log"], step["numerator"], step["denominator"]]
    whole, a, b = (f"({coq_term(c.definition(log)[1], c.names())})" for log in logs)
    proof = (
        f"replace {whole} with ({a} / {b}) by identity.\n"
        f"  assert (T := ln_quotient {a} {b} ltac:(positive) ltac:(positive)). lra."
    )
    return defined(c, step, logs, proof)


def log_product(c: Certificate, step: Mapping[str, Any]) -> str:
    logs = [step["log"], step["first"], step["second"]]
    whole, a, b = (f"({coq_term(c.definition(log)[1], c.names())})" for log in logs)
    proof = (
        f"replace {whole} with ({a} * {b}) by identity.\n"
        f"  assert (T := ln_product {a} {b} ltac:(positive) ltac:(positive)). lra."
    )
    return defined(c, step, logs, proof)


def log_monotone(c: Certificate, step: Mapping[str, Any]) -> str:
    logs = [step["larger"], step["smaller"]]
    a, b = (f"({coq_term(c.definition(log)[1], c.names())})" for log in logs)
    proof = f"assert (T := ln_monotone {a} {b} ltac:(positive) ltac:(lra)). lra."
    return defined(c, step, logs, proof)


def log_power_of_two(c: Certificate, step: Mapping[str, Any]) -> str:
    power = str(c.definition(step["log"])[1])
    exponent = f"({coq_term(c.definition(power)[1], c.names())})"
    proof = (
        f"assert (T := ln_power_of_two {exponent}).\n"
        f"  match goal with |- ?g = 0 => replace g with (ln (Rpower 2 {exponent}) - {exponent} * ln 2)\n"
        "    by identity end.\n  exact T."
    )
    return defined(c, step, [step["log"], power, step["ln2"]], proof)


def log_injective(c: Certificate, step: Mapping[str, Any]) -> str:
    logs = [step["first"], step["second"]]
    a, b = (f"({coq_term(c.definition(log)[1], c.names())})" for log in logs)
    proof = f"assert (T : {a} = {b}) by (apply ln_inv; [positive | positive | lra]). lra."
    return defined(c, step, logs, proof)


def antisymmetry(c: Certificate, step: Mapping[str, Any]) -> str:
    names = c.names()
    facts = [c.claim(step["above"], names), c.claim(step["below"], names)]
    symbols = free([c.gap(step["above"]), c.gap(step["below"]), c.gap(step["name"])])
    return lemma(step["name"], reals(symbols), facts, c.claim(step["name"], names), "intros. lra.")


def absolute_least(c: Certificate, step: Mapping[str, Any]) -> str:
    argument = f"({coq_term(c.definition(step['symbol'])[1], c.names())})"
    return defined(
        c,
        step,
        [step["symbol"]],
        f"destruct (Rcase_abs {argument}) as [T | T];\n"
        f"  [rewrite (Rabs_left {argument} T) | rewrite (Rabs_right {argument} T)]; lra.",
    )


def maximum(c: Certificate, step: Mapping[str, Any]) -> str:
    first, second = (f"({coq_term(part, c.names())})" for part in c.definition(step["symbol"])[1])
    side = "l" if step["argument"] == 0 else "r"
    return defined(c, step, [step["symbol"]], f"assert (T := Rmax_{side} {first} {second}). lra.")


def power_monotone(c: Certificate, step: Mapping[str, Any]) -> str:
    a, b = (f"({coq_term(c.definition(step[key])[1], c.names())})" for key in ("larger", "smaller"))
    proof = f"assert (T := power_monotone {a} {b} ltac:(lra)). lra."
    return defined(c, step, [step["larger"], step["smaller"]], proof)


def power_product(c: Certificate, step: Mapping[str, Any]) -> str:
    powers = [step["power"], step["first"], step["second"]]
    whole, a, b = (f"({coq_term(c.definition(power)[1], c.names())})" for power in powers)
    proof = (
        f"assert (T := power_product {a} {b}).\n"
        "  match goal with |- ?g = 0 =>\n"
        f"    replace g with (Rpower 2 ({a} + {b}) - Rpower 2 {a} * Rpower 2 {b})\n"
        f"    by (replace ({a} + {b}) with {whole} by identity; ring) end.\n  exact T."
    )
    return defined(c, step, powers, proof)


def applied(c: Certificate, step: Mapping[str, Any]) -> str:
    """A positive linear operator, applied to a fact that holds at every value of its index."""
    index, operator, binder, assumed = OPERATORS[step["op"]]
    bound, fact = "count", step["fact"]
    functions = [
        name
        for name, entry in c.symbols.items()
        if (c.random(name) if step["op"] == "expected" else index in entry["depends"])
    ]
    inside = c.names(functions)
    results, body, parts = {}, [], [c.gap(fact)]
    for symbol, coefficient in step["terms"].items():
        of = sp.Integer(1) if symbol == "1" else c.definition(symbol)[1]
        parts += [of, c.read(coefficient)]
        if symbol != "1":
            bare = of.is_Symbol and of.name in functions
            results[symbol] = f"{operator} " + (
                RENAMED.get(of.name, of.name) if bare else f"(fun j => {coq_term(of, inside)})"
            )
        body.append(f"({coq_term(c.read(coefficient), inside)}) * ({coq_term(of, inside)})")
    symbols = [s for s in free(parts) if s not in results]
    depending = [s for s in symbols if s in functions]
    constant = [s for s in symbols if s not in functions]
    typed = f"({' '.join(RENAMED.get(s, s) for s in depending)} : nat -> R)" if depending else ""
    pointwise = [
        f"(forall j, (j < {bound})%nat -> {SIGNS[sign].format(inside[s])})"
        for s in depending
        if (sign := c.symbols[s]["sign"]) in SIGNS
    ]
    everywhere = f"(forall j, (j < {bound})%nat -> {c.claim(fact, inside)})"
    outside = c.names() | {s: f"({term})" for s, term in results.items()}
    total = " + (".join(body) + ")" * (len(body) - 1)
    gap = coq_term(c.gap(step["name"]), outside)
    order = f"{operator} (fun j => {total})"
    averaged = step["op"] != "coordinates"
    linear = (
        "rewrite ?mean_plus, ?mean_scal, ?mean_const by assumption; identity"
        if averaged
        else "rewrite ?sum_plus, ?sum_scal, ?sum_const; identity"
    )
    at_j = (
        "intros j Hj; repeat match goal with H : forall j, (j < _)%nat -> _ |- _ => specialize (H j Hj) end"
    )
    if step["relation"] == "==":
        zero, rest = (
            ("mean_ext count prob", "apply mean_const; assumption")
            if averaged
            else ("sum_ext count", "rewrite sum_const; ring")
        )
        finish = (
            f"rewrite ({zero} _ (fun _ => 0)); [{rest}|].\n  {at_j}.\n"
            "  match goal with H : ?e = 0 |- ?t = 0 => replace t with e by identity; exact H end."
        )
    else:
        positive = "mean_nonneg; [assumption|]" if averaged else "sum_nonneg"
        finish = (
            f"apply {positive}. {at_j}.\n"
            "  match goal with H : 0 <= ?e |- 0 <= ?t => replace t with e by identity; exact H end."
        )
    proof = f"intros. replace ({gap})\n    with ({order}) by ({linear}).\n  {finish}"
    premises = assumed + c.signs(constant) + pointwise + [everywhere]
    claim = f"{gap} = 0" if step["relation"] == "==" else f"0 <= {gap}"
    return lemma(step["name"], f"{binder} {reals(constant)} {typed}".strip(), premises, claim, proof)


KINDS = {
    "combine": combination,
    "scale": scaled,
    "definition": definition_of,
    "absolute_value": absolute_value,
    "log_tangent": log_tangent,
    "log_quotient": log_quotient,
    "log_product": log_product,
    "log_monotone": log_monotone,
    "log_power_of_two": log_power_of_two,
    "log_injective": log_injective,
    "antisymmetry": antisymmetry,
    "absolute_least": absolute_least,
    "maximum": maximum,
    "power_monotone": power_monotone,
    "power_product": power_product,
    "apply": applied,
}


# Steps about whole runs, and the theorem of Adam.v that contains each.
WHOLE_RUN = {
    "range_hypothesis": "v_hat_range",
    "v_hat_range": "v_hat_range",
    "one_step_total": "telescope",
    "tower_inner": "telescope",
    "tower_norm": "telescope",
    "gain_total": "telescope",
    "descent_total": "telescope",
    "telescope": "telescope",
    "below_end": "telescope",
    "log_sum_total": "log_sum_path",
    "telescope_logs": "log_sum_path",
    "logs_range_end": "log_sum_path",
}


def is_local(step: Mapping[str, Any]) -> bool:
    """Whether a step speaks of one step of one run, so that one lemma can state it."""
    return step["kind"] in KINDS and (step["kind"] != "apply" or step["op"] in OPERATORS)


def step_lemma(document: Mapping[str, Any], name: str) -> str:
    """The Coq lemma for one step of a certificate document."""
    certificate = Certificate(document)
    step = certificate.steps[name]
    return KINDS[step["kind"]](certificate, step)


def derivations(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The derivations in a theorem's certificate document: itself, or its parts that are derivations."""
    parts = document["parts"].values() if document.get("kind") == "parts" else [document]
    for part in parts:
        if "steps" in part:
            yield part


def local_lemmas(documents: Iterable[Mapping[str, Any]]) -> list[str]:
    """The distinct lemmas of all local steps of all derivations in ``documents``."""
    found: dict[str, None] = {}
    for document in documents:
        for part in derivations(document):
            certificate = Certificate(part)
            for step in part["steps"]:
                if is_local(step):
                    found[KINDS[step["kind"]](certificate, step)] = None
    return list(found)


def named_only_here(document: Mapping[str, Any]) -> dict[str, str]:
    """Lemma name -> step, for lemmas that the derivation names and no hand-written file proves."""
    return {
        step["lemma"]: step["name"]
        for step in document["steps"]
        if step.get("lemma") and step["lemma"] not in STEPS and is_local(step)
    }


def coq_file(document: Mapping[str, Any]) -> str:
    """The lemmas of all local steps, in order, and their names together for the audit."""
    local = [step["name"] for step in document["steps"] if is_local(step)]
    together = ",\n   ".join(f"step_{name}" for name in local)
    return "\n".join(
        [
            HEADER.format(slug=document["slug"]),
            *(step_lemma(document, name) for name in local),
            "(** Names that the derivation uses and no other file proves. *)",
            *(f"Definition {name} := step_{step}." for name, step in named_only_here(document).items()),
            f"\nDefinition derivation :=\n  ({together}).\n",
        ]
    )


if __name__ == "__main__":
    from bstheory.theory.theorems.adam_token_half_life import derive

    TARGET.write_text(coq_file(derive().document()))
    print(f"wrote {TARGET.relative_to(PROOFS.parents[1])}")
