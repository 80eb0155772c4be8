"""The README's figure: the flagship's bound, what is measured, and the trivial bound. Run from the root."""

from __future__ import annotations

from pathlib import Path

import bstheory as bst


def main() -> None:
    problem = bst.problems.cosine_sum(dim=64, noise_scale=1.0)
    adam = bst.simulation.RMSProp(
        learning_rate=0.1,
        half_life=4096.0,
        eps=1e-2,
        learning_rate_rule="sqrt_one_minus_beta2",
        weight="sqrt_one_minus_beta2",
    )
    seen = []
    specs = ("16", "0:4 8192:16 16384:64")
    for spec in specs:
        schedule = bst.schedules.parse(spec, unit="tokens")
        run = bst.simulate(problem, adam, schedule=schedule, tokens=32_768, seeds=64)
        seen.append(bst.compare(bst.theorems.adam_token_half_life, run))
    figure = bst.plot(seen, titles=("constant batch size 16", "stages 4, 16, 64"))
    figure.savefig(Path(__file__).parent / "bound_against_simulation.png", dpi=110)


if __name__ == "__main__":
    main()
