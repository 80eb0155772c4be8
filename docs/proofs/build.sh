#!/usr/bin/env bash
# Builds the Coq development in this folder and audits what it rests on.
# Fails when a file does not compile, when a proof is admitted, when a source declares an
# axiom of its own, or when a theorem of Audit.v uses an axiom outside the list below.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# Dependency order.
files=(FiniteSums Analysis OneStep Tree Adam Smooth Refined BiasCorrected Sharp Triangle Momentum MomentumWeights NormTest NormTestBound Example Steps Derivation)

# The axioms of Coq's own classical real numbers.
allowed=(
  ClassicalDedekindReals.sig_forall_dec
  ClassicalDedekindReals.sig_not_dec
  FunctionalExtensionality.functional_extensionality_dep
  Classical_Prop.classic
)

if ! command -v coqc >/dev/null; then
  root=(); [ "$(id -u)" -eq 0 ] || root=(sudo)
  "${root[@]}" apt-get update -q
  "${root[@]}" apt-get install -qy --no-install-recommends coq libcoq-coquelicot libcoq-interval
fi

# Every source is in the list, so nothing escapes the build.
for source in *.v; do
  name=${source%.v}
  [[ " ${files[*]} Audit " == *" $name "* ]] || { echo "error: $source is not built by build.sh"; exit 1; }
done

forbidden='Admitted|admit|Axiom|Axioms|Parameter|Parameters|Conjecture|Conjectures|Hypothesis|Hypotheses|Variable|Variables|bypass_check|Guard Checking|Positivity Checking|Universe Checking'
if grep -nwE "$forbidden" -- *.v; then
  echo "error: a source admits a proof, declares an axiom or switches a check off"
  exit 1
fi

for name in "${files[@]}"; do
  # By content, not by date: a copy that keeps dates must not pass for what was built.
  digest=$(sha256sum <"$name.v")
  if [ -f "$name.vo" ] && [ "$(cat "$name.built" 2>/dev/null)" = "$digest" ] && [ -z "${rebuild:-}" ]; then
    continue
  fi
  rebuild=yes
  echo "coqc $name.v"
  rm -f "$name.built"
  coqc -q -Q . BSTheory "$name.v"
  echo "$digest" >"$name.built"
done

# The stand-alone checker reads the compiled proofs again, Coq's own libraries taken as they are. Example
# carries a copy of the interval tactic's code, which would take it many minutes.
echo "coqchk"
checks=()
for name in "${files[@]}"; do
  [ "$name" = Example ] || checks+=(-norec "BSTheory.$name")
done
coqchk -silent -Q . BSTheory "${checks[@]}"

echo "coqc Audit.v"
audit=$(coqc -q -Q . BSTheory Audit.v)
echo "$audit"

# An axiom's name starts its line; its type is indented.
used=$(grep -vE '^( |Axioms:|Closed under the global context)' <<<"$audit" | awk '{print $1}' | sort -u)
for axiom in $used; do
  [[ " ${allowed[*]} " == *" $axiom "* ]] || { echo "error: $axiom is not an axiom of the classical reals"; exit 1; }
done
echo "Proofs built; axioms used: $(tr '\n' ' ' <<<"$used")"
