"""The calculator page is as generated, and in a real browser it agrees with plan, half_life and memory."""

from __future__ import annotations

import html
import json
import math
import random
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlencode

import pytest

from bstheory.half_life import bias_correction, half_life_from_beta, one_minus_beta
from bstheory.memory import OPTIMIZERS, training_memory
from bstheory.plan import plan
from bstheory.reports import calculator

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "docs/calculator/index.html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *("--headless", "--no-sandbox", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND"),
    *(f"--disable-{f}" for f in ("quic", "gpu", "sync", "component-update", "background-networking")),
]
browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
# Both sides round each operation once; exp(x) carries |x| times the rounding of x, and |x| < 700 here.
CLOSE = 1e-12


def inputs(rng: random.Random) -> dict[str, float]:
    """One random set of inputs, betas from far below 1/2 to within 1e-7 of 1."""
    beta2 = rng.choice([rng.uniform(0.05, 0.99), 1 - 10 ** rng.uniform(-7, -2)])
    found = {
        "from_batch_size": 2 ** rng.randrange(6, 12),
        "to_batch_size": rng.randrange(1, 3000),
        "seq_len": rng.choice([128, 512, 1024]),
        "to_seq_len": rng.choice([128, 512, 2048]),
        "beta1": rng.choice([0.5, 0.9, 0.95, 0.99, rng.uniform(0.01, 0.99)]),
        "beta2": beta2,
        "learning_rate": 10 ** rng.uniform(-5, -1),
        "weight_decay": rng.choice([0.0, 0.1, rng.uniform(0, 1)]),
        "tokens": rng.randrange(1, 10**9),
        "layers": rng.randrange(1, 60),
        "width": rng.choice([1, 64, 100, 768, 5120, 20000]),
        "vocab_size": rng.choice([100, 257, 50304]),
        "bytes_per_element": rng.choice([2, 4]),
    }
    # Where the rule would drive a beta below the smallest float64 there is nothing to compare.
    ratio = found["to_batch_size"] * found["to_seq_len"] / (found["from_batch_size"] * found["seq_len"])
    smallest = min(found["beta1"], found["beta2"])
    return found if -ratio * math.log(smallest) < 700 else inputs(rng)


def expected(at: dict[str, float]) -> dict[str, float]:
    """What the package's own functions say, by the page's names."""
    shared = ("from_batch_size", "to_batch_size", "seq_len", "to_seq_len", "beta1", "beta2")
    found = plan(**{k: at[k] for k in (*shared, "learning_rate", "weight_decay")})
    half, tokens1 = found.beta2_half_life, at["to_batch_size"] * at["to_seq_len"]
    c1 = bias_correction(tokens=at["tokens"], half_life=_half_life(at["beta1"], tokens1))
    left = _half_life(at["beta2"], tokens1)
    values = {
        "half_life": half,
        "half_life_if_fixed": left,
        "beta1_half_life": found.beta1_half_life,
        "beta2": found.value("beta2", "half_life"),
        "one_minus_beta2": one_minus_beta(half_life=half, tokens_per_step=tokens1),
        "beta1": found.value("beta1", "half_life"),
        "admissible": found.admissible["adam_token_half_life_momentum (beta1 < beta2)"],
        "bias_correction": bias_correction(tokens=at["tokens"], half_life=half),
        "bias_correction_if_fixed": bias_correction(tokens=at["tokens"], half_life=left),
        "effective_rate": math.sqrt(bias_correction(tokens=at["tokens"], half_life=half)) / c1,
        "tokens_to_99_percent": half * math.log2(100),
    }
    for rule in calculator.RATE_RULES:
        values[f"learning_rate_{rule}"] = found.value("learning_rate", rule)
        decay = at["weight_decay"] and found.value("weight_decay", f"timescale at lr {rule}")
        values[f"weight_decay_{rule}"] = decay
    size = {"layers": at["layers"], "width": at["width"], "vocab_size": at["vocab_size"]}
    more = {"seq_len": at["to_seq_len"], "bytes_per_element": at["bytes_per_element"]}
    for name in OPTIMIZERS:
        memory = training_memory(**size, **more, optimizer=name)
        values[f"state_{name}"] = memory.first_moment + memory.second_moment
        values[f"total_{name}"] = memory.total
    values |= {k: getattr(memory, k) for k in ("parameters", "weights", "activations")}
    values["total_adam_accumulation"] = training_memory(
        **size, **more, optimizer="adam", accumulation=True
    ).total
    return values


def _half_life(beta: float, tokens: float) -> float:
    return half_life_from_beta(beta=beta, tokens_per_step=tokens)


def disagreements(seen: dict[str, float], at: dict[str, float]) -> list[str]:
    wanted = expected(at)
    assert set(seen) == set(wanted), set(seen) ^ set(wanted)
    return [
        f"{name}: page {seen[name]!r}, Python {wanted[name]!r} at {at}"
        for name in wanted
        if not math.isclose(seen[name], wanted[name], rel_tol=CLOSE, abs_tol=0.0)
    ]


def browse(folder: Path, page: Path, fragment: str = "") -> str:
    done = subprocess.run(
        [
            str(CHROMIUM),
            *FLAGS,
            f"--user-data-dir={folder}",
            "--dump-dom",
            page.resolve().as_uri() + fragment,
        ],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def outputs(document: str) -> dict[str, float]:
    found = re.findall(r'<output id="out-(\w+)" data-value="([^"]+)"', document)
    return {name: float(text) for name, text in found}


def element(document: str, name: str) -> str:
    found = re.search(rf'<\w+ [^>]*id="{name}"[^>]*>(.*?)</(?:p|ul)>', document, flags=re.DOTALL)
    assert found is not None, name
    return html.unescape(found.group(1))


def test_the_committed_page_is_the_generated_one(tmp_path: Path, capsys) -> None:
    assert COMMITTED.read_text(encoding="utf-8") == calculator.page()
    assert calculator.main([str(COMMITTED), "--check"]) == 0
    changed = tmp_path / "index.html"
    changed.write_text(calculator.page().replace("Math.expm1", "Math.exp", 1))
    assert calculator.main([str(changed), "--check"]) == 1
    assert "differs" in capsys.readouterr().out
    assert calculator.main([str(changed)]) == 0 and calculator.main([str(changed), "--check"]) == 0
    assert calculator.main([]) == 2


def test_the_page_needs_nothing_from_outside() -> None:
    text = COMMITTED.read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sources == ["data:,"] and "@import" not in text and "fetch(" not in text
    assert re.findall(r"https?://[^\s\"']+", text) == ["http://www.w3.org/2000/svg"]


def test_controls_have_labels_and_results_are_announced() -> None:
    text = COMMITTED.read_text(encoding="utf-8")
    fields = re.findall(r'^  \["(\w+)", "\w+", "([^"]+)"', text, flags=re.MULTILINE)
    assert {name for name, _ in fields} == set(calculator.INPUTS)
    assert 'make("label", {for: name}, label)' in text and '"aria-label": label + ", slider"' in text
    assert 'aria-live="polite"' in text and 'role="alert"' in text and '<html lang="en">' in text


@pytest.mark.web
@browser
def test_formulas_agree_with_python_in_a_browser(tmp_path: Path) -> None:
    rng = random.Random(7)
    cases = [inputs(rng) for _ in range(300)]
    block = re.search(r'<script id="formulas">(.*?)</script>', COMMITTED.read_text(), flags=re.DOTALL)
    assert block is not None
    run = "cases.map(c => Object.fromEntries(Object.entries(formulas).map(([k, f]) => [k, f(c)])))"
    probe = tmp_path / "probe.html"

    def seen_with(source: str) -> list[dict[str, float]]:
        probe.write_text(
            f"<!doctype html><pre id=seen></pre><script>{source}; const cases = {json.dumps(cases)};"
            f"document.getElementById('seen').textContent = JSON.stringify({run});</script>"
        )
        found = re.search(r'<pre id="seen">(.*?)</pre>', browse(tmp_path / "profile", probe))
        assert found is not None
        return json.loads(html.unescape(found.group(1)))

    def wrong(rows: list[dict[str, float]]) -> list[str]:
        found = []
        for row, at in zip(rows, cases, strict=True):
            row.pop("ratio")
            found += disagreements(row, at)
        return found

    assert wrong(seen_with(block.group(1))) == []
    # The same comparison notices the form that loses digits near 1.
    naive = re.sub(r"Math\.log1p\((beta\d) - 1\)", r"Math.log(\1 + 1e-13)", block.group(1))
    assert naive != block.group(1) and wrong(seen_with(naive))


@pytest.mark.web
@browser
@pytest.mark.parametrize("seed", [1, 2])
def test_the_page_shows_what_plan_says(seed: int, tmp_path: Path) -> None:
    at = inputs(random.Random(seed))
    document = browse(tmp_path, COMMITTED, "#" + urlencode(at))
    assert element(document, "problem") == ""
    assert disagreements(outputs(document), at) == []
    assert f"Batch size {at['from_batch_size']} to {at['to_batch_size']}" in element(document, "summary")
    assert document.count("<label ") == len(calculator.INPUTS)
    assert document.count('type="range"') == len(calculator.INPUTS) - 1
    assert len(re.findall(r'<path class="(?:rule|fixed|rate)" d="M', document)) == 3


@pytest.mark.web
@browser
def test_bad_addresses_are_named_and_nothing_is_computed(tmp_path: Path) -> None:
    document = browse(tmp_path, COMMITTED, "#beta2=1&to_batch_size=1.5&momentum=3")
    problem = element(document, "problem")
    assert (
        "(beta2) must be between 0 and 1" in problem and "(to_batch_size) must be a whole number" in problem
    )
    assert 'names "momentum"' in problem
    assert outputs(document) == {} and document.count('aria-invalid="true"') == 2
