"""beta2, bias correction and effective learning rate through a batch ramp: four ways to run Adam.

    python experiments/bias_correction_ramp/run.py

A constant unit gradient makes every exact Adam step equal the learning rate, so whatever the optimizer does
wrong shows as a step of another length.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bstheory.files import write_json
from bstheory.half_life import beta_from_half_life, bias_correction, half_life_from_beta
from bstheory.reports.plots import BLUE, GREEN, GREY, ORANGE, figure
from bstheory.training import TokenHalfLife

HERE = Path(__file__).resolve().parent
BETA2, STAGE, DOUBLINGS, LR, BETA1 = 0.999, 300, 6, 1e-3, 0.9
HALF_LIFE = half_life_from_beta(beta=BETA2, tokens_per_step=1)
ARMS = {
    "stock, beta2 fixed": GREY,
    "stock, beta2 edited": ORANGE,
    "TokenHalfLife": BLUE,
    "exact": GREEN,
}
TABLE = [(0.999, 100), (0.999, 1000), (0.9999, 100), (0.9999, 1000), (0.9999, 10_000)]


def batches(stage: int) -> np.ndarray:
    """1, 2, 4 ... 64, each for ``stage`` steps; int64 [K]."""
    return np.repeat(2 ** np.arange(DOUBLINGS + 1), stage)


def adam(arm: str, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Steps of torch.optim.AdamW in float64 under a constant unit gradient."""
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.AdamW([weight], lr=LR, betas=(BETA1, BETA2), weight_decay=0.0, eps=0.0)
    ours = TokenHalfLife(optimizer, beta2_half_life=HALF_LIFE) if arm == "TokenHalfLife" else None
    rows = []
    for step, size in enumerate(sizes.tolist(), start=1):
        weight.grad = torch.ones(1, dtype=torch.float64)
        before = weight.item()
        beta2 = BETA2
        if ours is not None:
            ours.step(tokens=size)
            assert ours.last is not None
            beta2, correction = ours.last.beta2, ours.last.weight2
        else:
            if arm == "stock, beta2 edited":
                beta2 = beta_from_half_life(half_life=HALF_LIFE, tokens_per_step=size)
                optimizer.param_groups[0]["betas"] = (BETA1, beta2)
            optimizer.step()
            correction = -np.expm1(step * np.log(beta2))
        rows.append((beta2, correction, (before - weight.item()) / LR))
    return dict(zip(("beta2", "correction", "effective_lr"), np.array(rows).T))


def exact(sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Closed form: the correction depends on tokens only, and a unit gradient moves by exactly the rate."""
    return {
        "beta2": beta_from_half_life(half_life=HALF_LIFE, tokens_per_step=sizes),
        "correction": bias_correction(tokens=np.cumsum(sizes), half_life=HALF_LIFE),
        "effective_lr": np.ones(len(sizes)),
    }


def worst_ratio(beta2: float, stage: int) -> float:
    """Largest v_hat(exact) / v_hat(stock with edited beta2) through the doubling ramp."""
    sizes = batches(stage)
    half_life = half_life_from_beta(beta=beta2, tokens_per_step=1)
    steps = np.arange(1, len(sizes) + 1)
    stock = bias_correction(tokens=steps * sizes, half_life=half_life)
    return float((stock / bias_correction(tokens=np.cumsum(sizes), half_life=half_life)).max())


def main() -> None:
    sizes = batches(STAGE)
    tokens = np.cumsum(sizes)
    seen = {arm: exact(sizes) if arm == "exact" else adam(arm, sizes) for arm in ARMS}
    drawn = figure(9.5, 3.2)
    panels = drawn.subplots(1, 3)
    titles = ("1 - beta2", "what v is divided by", "step / learning rate, unit gradient")
    for panel, name, title in zip(panels, ("beta2", "correction", "effective_lr"), titles):
        for arm, color in ARMS.items():
            values = 1 - seen[arm][name] if name == "beta2" else seen[arm][name]
            style = {"linestyle": "--", "linewidth": 2.2} if arm == "exact" else {"linewidth": 1.3}
            panel.plot(tokens, values, color=color, label=arm, **style)
        panel.set(title=title, xlabel="tokens", xscale="log")
    panels[0].set_yscale("log")
    panels[1].legend(loc="upper left", fontsize="small")
    drawn.savefig(HERE / "figure.png", dpi=150)
    results = {
        "beta2_at_batch_1": BETA2,
        "steps_per_stage": STAGE,
        "largest_batch": int(sizes[-1]),
        "largest_step_over_lr": {arm: float(seen[arm]["effective_lr"].max()) for arm in ARMS},
        "largest_relative_error_of_a_step": {
            arm: float(np.abs(seen[arm]["effective_lr"] - 1).max()) for arm in ARMS
        },
        "largest_relative_error_of_the_correction": {
            arm: float(np.abs(seen[arm]["correction"] / seen["exact"]["correction"] - 1).max())
            for arm in ARMS
        },
        "half_life_at_the_end_in_tokens": {
            arm: float(half_life_from_beta(beta=seen[arm]["beta2"][-1], tokens_per_step=int(sizes[-1])))
            for arm in ARMS
        },
        "worst_v_hat_ratio": [
            {
                "beta2": beta2,
                "stage": stage,
                "ratio": worst_ratio(beta2, stage),
                "lr_error": worst_ratio(beta2, stage) ** 0.5,
            }
            for beta2, stage in TABLE
        ],
    }
    write_json(HERE / "results.json", results)


if __name__ == "__main__":
    main()
