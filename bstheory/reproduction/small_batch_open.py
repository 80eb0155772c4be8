# ruff: noqa: E501 -- claims quote statements in words
"""What *Small Batch Size Training for Language Models* left open, and claims repeated with more seeds."""

from __future__ import annotations

from bstheory.reproduction import beta2_floor, fresh_seeds, half_life_units
from bstheory.reproduction.claim import Claim
from bstheory.reproduction.fresh_seeds import PROTOCOL
from bstheory.reproduction.judging import LARGE

CLAIMS = (
    Claim(
        name="half-life-units",
        title="open: the half-life against model size, sequence length and training budget",
        stated="t2 = 10M tokens is recommended at every B; whether it moves with T, the model or the token budget is not shown, "
        "and the natural unit (tokens, sequences, a share of the run) is untested",
        predicted="`optimal_half_life` ties t2* to the time over which the level of the gradient noise drifts. The drift of a "
        "run with a decaying rate takes a share of the run, so t2* goes as the budget to the 2/3 (steady drift) or 1/2 "
        "(random walk): less than in proportion, but not constant. Nothing in it depends on the width, nor on the sequence "
        "length at a fixed number of tokens a step, so fixed in sequences is wrong. Because the loss is flat in the half-life "
        "(c2, c4), keeping it in tokens costs less than 0.03 nats everywhere, and moving it in proportion to the sequence length or "
        "the budget is not better",
        protocol="Adam, 128 tokens a step throughout; widths 16, 32, 48; sequences of 8, 32, 128 tokens (batch sizes 16, 4, 1); "
        "24,576, 98,304 and 196,608 tokens; five half-lives (factors of four around 6,919 tokens) x three rates x five fresh "
        "seeds in every setting; the half-life of the base setting, chosen by the other seeds, kept in tokens, moved in proportion to the "
        "factor, or tuned again, the rate tuned for each; Holm over all nine statements",
        limits="one step size, factors of 16 in sequence length, 8 in budget, 3 in width, five seeds; the first of three ways to "
        "change a model (width, not depth or vocabulary); half-lives from 432 to 110,702 tokens only; "
        "the best rate is the largest of the three at width 16, the smallest at width 48 and at twice the tokens; an interval of "
        "zero width means that every seed picks the same half-life on this grid",
        recipes=half_life_units.recipes,
        judge=half_life_units.judge,
    ),
    Claim(
        name="beta2-floor",
        title="open: a floor on beta2 at very large batches",
        stated="at very large B the rule drives beta2 too low (0.865 at B = 4096); users added a floor, the code has an unused one",
        predicted="Adam's update is bounded while gamma = beta1/sqrt(beta2) < 1 (`adam_norm_test`, assumption `momentum`), that is "
        "beta2 > beta1^2: at beta1 = 0.9 a floor of 0.81 lowers the loss, more above it changes little; at beta1 = 0 no bound "
        "is lost and the rule's own value does as well; at beta1 = 0.5 the wall lies at 0.25",
        protocol=f"Adam at batch size {LARGE}, 98,304 tokens (48 steps); beta2 that the rule gives when 0.95 is anchored at batch "
        "sizes 1 (0.04) and 4 (0.44), and floors 0.81 and 0.95; beta1 0 and 0.9, and 0.5 for the first two; seven rates (factors of two, five at first and widened downwards because two "
        "arms had been best at the lowest) x four seeds "
        "for each, the rate of a seed chosen by the other seeds; Holm over the statements",
        limits="48 steps; the low values are reached by a small anchor, not by a batch of thousands; designed after the half-life "
        "scan of c2 at batch size 64 had shown that short half-lives hurt at beta1 = 0.9",
        recipes=beta2_floor.recipes,
        judge=beta2_floor.judge,
    ),
    Claim(
        name="momentum",
        title="open: the role of momentum and clipping, with power",
        stated="Fig. 10 argues that momentum is needed with large steps only; 2506.12543 reports that SGD with momentum and "
        "clipping is close to Adam at small B",
        predicted="sgd-batch-1 measured that momentum 0.9 changes little at batch size 1 and harms at 64, where it holds 10 of "
        "48 steps; on a quadratic (`nqm_heavy_ball`) a shorter memory keeps the gain without the lag: 0.5 lowers the loss at 64",
        protocol="SGD at batch size 1: plain, momentum 0.9, clipped at norm 1, both; at 64: plain, momentum 0.5, momentum 0.9; "
        "four learning rates at 1 and five at 64 (factors of two, where sgd-batch-1 had found the best) x eight fresh seeds "
        "for every arm, the rate of a seed chosen by the other seeds; Holm over the statements; designed after sgd-batch-1 had "
        "been seen, which is not part of it",
        limits="momentum 0.5 and 0.9, clip at norm 1, 98k tokens; two of eight seeds choose the largest rate tried for momentum with "
        "clipping, where the curve is flat",
        recipes=fresh_seeds.momentum_recipes,
        judge=fresh_seeds.judge_momentum,
    ),
    Claim(
        name="c4-fresh-seeds",
        title="what should be fixed, repeated with power",
        stated="as for c4: the tuned rate rises about threefold from B = 1 to 1024 (B^0.16), more slowly than sqrt(B)",
        predicted="c4 measured an exponent of 0.50 (0.44 to 0.55) and could not tell it from 1/2",
        protocol=PROTOCOL + "; exponent from batch sizes 1 and 64",
        limits="a factor of 64 in B; the largest batch has 48 steps; noise pulls the exponent of an argmin towards 0, so that of the "
        "mean curves stands beside it in `results.json`",
        recipes=fresh_seeds.c4_fresh_recipes,
        judge=fresh_seeds.judge_c4_fresh,
    ),
    Claim(
        name="c5-fresh-seeds",
        title="the half-life rule at batch size 1, repeated with power",
        stated="as for c5: at the smallest batch the fixed half-life is better",
        predicted="c5 measured a gain of 0.025 and could have found 0.042; twelve seeds that it did not use can find "
        "about 0.02",
        protocol="batch size 1 only; five learning rates (factors of two) and twelve fresh seeds for both rules, the rate "
        "of a seed chosen by the other seeds; designed after c5 had been seen, which is not part of it",
        limits="the anchor at batch size 16 of c5; 98k tokens",
        recipes=fresh_seeds.c5_fresh_recipes,
        judge=fresh_seeds.judge_c5_fresh,
    ),
)
