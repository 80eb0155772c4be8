"""Claims of *Small Batch Size Training for Language Models* (arXiv:2507.07101) and what it left open.

Scale: one-layer byte-level decoders of width 32 on the installed documentation, 98,304 tokens a run, equal
grids and seeds for every arm, one validation set, rows i.i.d. unless a claim is about that.
"""

from __future__ import annotations

from bstheory.reproduction import (
    far_from_convergence,
    finetuning,
    small_batch_open,
    throughput_rule,
    weight_decay,
)
from bstheory.reproduction.arms import ANCHOR_BATCH_SIZE, BATCH_SIZES
from bstheory.reproduction.claim import Claim
from bstheory.reproduction.judging import GRID, LARGE, NO_TRAINING, SMALL, arm_grid
from bstheory.reproduction.small_batch_exact import judge_c12, judge_memory
from bstheory.reproduction.small_batch_judges import (
    C1_ARMS,
    C7_ARMS,
    c2_recipes,
    c2_variants,
    c3_recipes,
    c10_recipes,
    contiguous_recipes,
    judge_adafactor,
    judge_c1,
    judge_c2,
    judge_c3,
    judge_c4,
    judge_c5,
    judge_c6,
    judge_c7,
    judge_c10,
    judge_contiguous,
    judge_sgd,
)

CLAIMS = (
    Claim(
        name="c1",
        title="smaller batches reach lower losses; optimizers converge as B falls",
        stated="Fig. 1a (30M model, 600M tokens, one seed): for SGD, Adafactor, Adam and Muon the best loss is "
        "lowest at B = 1, and the spread between optimizers grows with B",
        predicted="steps are scarce at large B on equal tokens (`critical_batch_sfo`, `nqm_critical_batch`), so "
        "every optimizer prefers small B; sign-like and preconditioned methods take larger steps when the noise is "
        "small, so the gaps widen with B",
        protocol=GRID,
        limits="width 32, 98k tokens, batch sizes 1 to 64; one grid of rates per arm, centres scaled by sqrt(B)",
        recipes=lambda: arm_grid([(n, b) for n in C1_ARMS for b in BATCH_SIZES]),
        judge=judge_c1,
    ),
    Claim(
        name="c2",
        title="hyperparameters matter less as B falls",
        stated="Fig. 3: at B = 1 the loss is nearly flat over a 64-fold range of lr, t1 and t2; sensitivity grows "
        "with B, lr first",
        predicted="with few steps the end point still depends on the rate, with many it has converged to the "
        "stationary level, which is flat in the rate (`nqm_sgd`)",
        protocol="mean loss above the best value of the hyperparameter, one varied at a time around the centre, "
        "four seeds",
        limits="lr over 64-fold, half-life over 64-fold, beta1 in {0 ... 0.98}",
        recipes=c2_recipes,
        judge=judge_c2,
    ),
    Claim(
        name="c3",
        title="the region of near-optimal (lr, beta1) is larger at B = 1",
        stated="Fig. 1b (GPT-2, one seed): far more near-optimal cells at B = 1 than at B = 512",
        predicted="as for c2",
        protocol="7 rates x 4 beta1, three seeds, share of cells within 0.05 nats of the best",
        limits="B = 64 stands for 512",
        recipes=c3_recipes,
        judge=judge_c3,
    ),
    Claim(
        name="c4",
        title="what should be fixed: the half-life, beta1, not the rate",
        stated="Fig. 4: a fixed t2 is near-optimal at every B; the tuned lr rises about threefold from B = 1 to "
        "1024, more slowly than sqrt(B)",
        predicted="in the noise-dominated stationary regime the rate goes as sqrt(B) "
        "(`rmsprop_stationary_variance`, `adam_token_half_life` consequence (i)); with few steps, slower",
        protocol="exponent of the optimal rate (parabola through the three best points) per seed; " + GRID,
        limits="a factor of 64 in B, four seeds",
        recipes=lambda: (
            arm_grid([("adam", b) for b in BATCH_SIZES])
            + [r for b in (SMALL, LARGE) for row in c2_variants(b)["half_life"] for r in row]
        ),
        judge=judge_c4,
    ),
    Claim(
        name="c5",
        title="the half-life rule repairs small batches",
        stated="Fig. 5: with beta2 = 0.95 small batches are worse, with t2 fixed they match; the gain is largest "
        "at the smallest B",
        predicted="at fixed beta2 the tokens behind v shrink with B (`token_ess`); the gain vanishes at the anchor",
        protocol=GRID + f"; the two rules coincide at batch size {ANCHOR_BATCH_SIZE}",
        limits="anchor at batch size 16",
        recipes=lambda: arm_grid([(n, b) for n in ("adam", "adam_fixed") for b in BATCH_SIZES]),
        judge=judge_c5,
    ),
    Claim(
        name="c6",
        title="SGD, Adafactor and Adam at batch size 1 against Adam at large batch",
        stated="Fig. 6: SGD at B = 1 is on par with AdamW at B = 512; Adam at fixed t2 and Adafactor at B = 1 "
        "beat it (the baseline of the 1.3B panel was untuned)",
        predicted="on equal tokens the large batch has too few steps (`critical_batch_sfo`)",
        protocol=GRID + "; both sides tuned",
        limits="batch size 64 has 48 steps here: a harder handicap than the paper's",
        recipes=lambda: arm_grid(
            [("sgd", SMALL), ("adam", SMALL), ("adafactor", SMALL), ("adam_fixed", LARGE)]
        ),
        judge=judge_c6,
    ),
    Claim(
        name="c7",
        title="the same with every rate tuned",
        stated="Fig. 6 right (GPT-2 124M, rates tuned over 8 values): Adam at fixed t2 and Adafactor at B = 1 match or "
        "beat AdamW at B = 512; SGD at B = 1 is slightly worse; Adam with beta2 = 0.95 at B = 1 is far worse and "
        "prefers a much smaller rate",
        predicted="its arms are those of c5 and c6, which had been measured when this entry was written: a restatement, "
        "not a prediction. What theory says is under c5 and c6",
        protocol=GRID,
        limits="batch size 64 has 48 steps here, 512 has 4,712 in the paper: the large batch is the handicapped one, so "
        "SGD and beta2 = 0.95 can win here and lose there. At GPT-2 size: `experiments/gpt2_124m`, piece b, not yet run",
        recipes=lambda: arm_grid(C7_ARMS),
        judge=judge_c7,
    ),
    Claim(
        name="sgd-batch-1",
        title="open: momentum and clipping for SGD at batch size 1",
        stated="the paper has no momentum and no clipping arm; Fig. 10 argues that momentum matters at large B",
        predicted="momentum averages gradients over 1/(1 - beta) steps: with many small steps the iteration "
        "averages anyway (`nqm_heavy_ball`), so the gain appears at large B only",
        protocol=GRID,
        limits="momentum 0.9 only, clip at norm 1 only",
        recipes=lambda: arm_grid(
            [
                ("sgd", SMALL),
                ("sgd", LARGE),
                ("sgd_momentum", SMALL),
                ("sgd_momentum", LARGE),
                ("sgd_clip", SMALL),
            ]
        ),
        judge=judge_sgd,
    ),
    Claim(
        name="adafactor-decay",
        title="open: the two meanings of Adafactor's decay",
        stated="the text gives Adafactor a fixed half-life; the code passes the number as the exponent of a power "
        "law",
        predicted="at this length the power law averages over the whole run, longer than the half-life; with noise "
        "that changes slowly the two agree to first order",
        protocol=GRID,
        limits="exponent 0.9999 only",
        recipes=lambda: arm_grid([(n, b) for n in ("adafactor", "adafactor_power") for b in (SMALL, LARGE)]),
        judge=judge_adafactor,
    ),
    Claim(
        name="c8",
        title="memory of the optimizers",
        stated="Fig. 7: 108.3, 82.4 and 28.7 GB for Adam with accumulation, Adam and SGD at GPT-3 13B",
        predicted="bytes follow from the shapes",
        protocol=NO_TRAINING + ": the analytic model of `bstheory plan` against the published totals",
        limits="the published 'other' is a measurement of another machine and is taken as given",
        recipes=list,
        judge=judge_memory,
    ),
    Claim(
        name="c9",
        title="fine-tuning: LoRA against small-batch full fine-tuning",
        stated="Fig. 8 (Gemma 3 4B, MATH): small-batch Adafactor in about LoRA's memory matches full Adam; LoRA is "
        "worse",
        predicted="512 steps at batch size 1 against 32 at 16 on equal tokens: Adam at 1 is better (`critical_batch_sfo`); "
        "a rank-4 update of a new domain is a restriction that full fine-tuning does not have, so Adafactor and SGD at "
        "1 beat LoRA; stochastic rounding costs less than the margin",
        protocol="a two-layer byte decoder (width 64) trained on prose for 1M tokens, then `bstheory finetune` on source "
        "code for 32,768 tokens; five rates (factors of four) x four seeds for each of five arms, the rate of a seed "
        "chosen by the other seeds; LoRA rank 4; margin 0.03 nats",
        limits="validation loss, not a task score; one base model: seeds vary row order and rounding only; LoRA's base "
        "is kept in float32 here",
        recipes=list,
        measure=finetuning.measure,
        judge=finetuning.judge,
    ),
    Claim(
        name="c10",
        title="bfloat16 weights: nearest against stochastic rounding",
        stated="Fig. 9: nearest rounding hurts, more at small B; stochastic rounding is close to float32",
        predicted="updates below half a unit in the last place are lost by nearest rounding; their size falls with "
        "the rate, hence with B; stochastic rounding is unbiased",
        protocol=GRID + "; Adafactor, weights rounded after every update",
        limits="batch sizes 1 and 16",
        recipes=c10_recipes,
        judge=judge_c10,
    ),
    Claim(
        name="c11",
        title="recommendation: no gradient accumulation",
        stated="accumulation costs a gradient buffer and gives fewer steps for the same FLOPs",
        predicted="accumulating to batch size 64 is batch size 64: the loss of c1 at 64 against 1; the buffer is one copy "
        "of the parameters",
        protocol="the arms of c1; accumulation does not change the arithmetic of a step; the memory model of c8",
        limits="throughput is the other half of this claim: c11-throughput",
        recipes=throughput_rule.accumulation_recipes,
        judge=throughput_rule.judge_accumulation,
    ),
    Claim(
        name="c11-throughput",
        title="recommendation: the smallest batch of full throughput",
        stated="use the smallest B that maximises throughput; no equal-time comparison is given",
        predicted="with a fixed cost of c rows a step throughput is B/(B + c), so the rule asks for B = 9c at 90 % of the "
        "peak. It minimises time only where the loss at equal tokens does not depend on B up to 9c, which needs a "
        "critical batch size above that (`critical_batch_sfo`); c1 shows it to be lower here, so an intermediate B near "
        "c is better at equal time",
        protocol="modelled wall-clock of 6,144 rows at a step cost of 16 rows; batch sizes 4, 16, 64 and 144; Adam at a fixed "
        "half-life, five rates x six fresh seeds each, the rate of a seed chosen by the other seeds; Holm over the "
        "statements",
        limits="a modelled step cost, one value of it; measured throughput depends on the machine: `bstheory throughput`, "
        "and piece a of `experiments/gpt2_124m`",
        recipes=throughput_rule.recipes,
        judge=throughput_rule.judge,
    ),
    Claim(
        name="c12",
        title="the toy problem",
        stated="Fig. 10: f = x^2 + 10 y^2 with multiplicative noise; the median path converges at small batch "
        "without momentum",
        predicted="the mean-square factor is (1 - eta h)^2 + (eta h / S)^2 = 1.2176 for y: the expected loss "
        "diverges while the median falls",
        protocol="closed form, and 20,000 simulated paths",
        limits="purely multiplicative noise, untuned rates: as in the paper",
        recipes=list,
        judge=judge_c12,
    ),
    Claim(
        name="c13",
        title="hypothesis: far from convergence, noise favors small batches",
        stated="untested by the authors: large steps need a harder prediction of the loss surface; language-model training is "
        "far from convergence, so its noise-to-signal ratio favours small B",
        predicted="the second half is testable: signal falls and noise stays as a run gets longer, so the critical batch size "
        "rises (`critical_batch_sfo`, `nqm_critical_batch`) and the penalty of a large batch on equal tokens falls with the "
        "budget. The first half names no measurable quantity and is not judged",
        protocol="batch sizes 4 and 64, budgets of 24,576, 98,304 and 196,608 tokens, five rates x five fresh seeds for every arm (three "
        "at first, widened because several arms had been best at an end), the rate of a seed chosen by the other seeds; Holm over the statements",
        limits="a factor of 8 in the budget; at the smallest, batch size 64 has 12 steps, so warm-up and momentum weigh in",
        recipes=far_from_convergence.recipes,
        judge=far_from_convergence.judge,
    ),
    Claim(
        name="contiguous",
        title="open: the contiguous-microbatch confound",
        stated="the paper's loader makes a microbatch of up to 16 consecutive sequences, so B = 1 is i.i.d. and "
        "B = 4 to 16 is not",
        predicted="neighbouring rows are correlated, so a batch of them averages less noise: a higher loss at "
        "equal B",
        protocol=GRID,
        limits="rows of 32 bytes: neighbours are parts of one paragraph, closer than in the paper",
        recipes=contiguous_recipes,
        judge=judge_contiguous,
    ),
    Claim(
        name="weight-decay",
        title="open: the timescale of weight decay",
        stated="weight decay 0.1 appears at B = 512 and in Fig. 5 only; how it should change with B is left open",
        predicted="the equilibrium between decay and updates is set by the decay per token, (1 - eta lambda)^(1/B) "
        "(`scaling_rule_relations`): kept by lambda as sqrt(B) with rates as sqrt(B), so the effect of a decay is then "
        "the same at both batch sizes",
        protocol="Adam at the centre rate, batch sizes 1 and 64, three decays at the anchor (0.3, 1, 3), four seeds; "
        "distance between the two batch sizes of the loss above that without decay, averaged over the decays; paired "
        "Student test",
        limits="98k tokens, peak rates only enter the rule, one epoch",
        recipes=weight_decay.recipes,
        judge=weight_decay.judge,
    ),
    *small_batch_open.CLAIMS,
)
