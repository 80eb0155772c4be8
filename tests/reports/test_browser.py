"""The report in a real browser without a network: sections, formulas and plots are there, light and dark."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bstheory.check_job import Settings, run_check
from bstheory.reports import write_check_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.web,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
QUIET = ("quic", "gpu", "sync", "component-update", "background-networking")
FLAGS = [
    *("--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars"),
    "--host-resolver-rules=MAP * ~NOTFOUND",
    *(f"--disable-{feature}" for feature in QUIET),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    settings = Settings(slugs=("adam_token_half_life", "nqm_sgd"), quick=True)
    return write_check_page(run_check(settings, folder / "run"), folder / "out")


def browse(page: Path, folder: Path, *flags: str) -> str:
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, page.resolve().as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout


def pixels(page: Path, folder: Path, *flags: str) -> np.ndarray:
    from PIL import Image

    shot = folder / "shot.png"
    browse(page, folder, f"--screenshot={shot}", "--window-size=1100,3600", *flags)
    return np.asarray(Image.open(shot).convert("RGB")).astype(int)


def share(image: np.ndarray, color: str, tolerance: int = 40) -> float:
    wanted = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)])
    return float((np.abs(image - wanted).max(axis=2) <= tolerance).mean())


def test_the_page_is_parsed_as_written(page: Path, tmp_path: Path) -> None:
    document = browse(page, tmp_path, "--dump-dom")
    for section in ("verdicts", "adam_token_half_life", "exact", "controls", "derivations", "environment"):
        assert f'<section id="{section}"' in document
    assert document.count("<figure>") == 2 and document.count('class="math"') > 80


def test_light_and_dark_show_paper_ink_and_both_curves(page: Path, tmp_path: Path) -> None:
    light = pixels(page, tmp_path, "--blink-settings=preferredColorScheme=1")
    dark = pixels(page, tmp_path, "--blink-settings=preferredColorScheme=0")
    assert light.shape[0] == 3600
    assert share(light, "#ffffff", 8) > 0.8 and share(dark, "#16181b", 12) > 0.8
    for image, blue, orange in ((light, "#0072b2", "#c65300"), (dark, "#56b4e9", "#f0a050")):
        assert share(image, blue) > 1e-4 and share(image, orange) > 1e-4
    # Orange is used in figures only: without them the page has none, so the measure above means something.
    bare = tmp_path / "bare.html"
    bare.write_text(re.sub(r"<figure>.*?</figure>", "", page.read_text(), flags=re.DOTALL))
    assert share(pixels(bare, tmp_path, "--blink-settings=preferredColorScheme=1"), "#c65300") < 1e-5
    # Nothing black is left on the dark page: axis labels follow the theme.
    assert share(dark, "#000000", 6) < 1e-4
