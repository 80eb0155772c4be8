"""Pages about saved runs."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from bstheory import problems, simulation
from bstheory.comparison import compare
from bstheory.errors import InputError
from bstheory.reports import plot
from bstheory.reports.plots import plot_overview, plot_run
from bstheory.reports.run_page import find_runs, theorem_verdicts, write_run_page
from bstheory.run import Run
from bstheory.theory.library import get

OPTIMIZER = simulation.RMSProp(
    learning_rate=0.1,
    half_life=512.0,
    eps=1e-2,
    learning_rate_rule="sqrt_one_minus_beta2",
    weight="sqrt_one_minus_beta2",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    found = []
    for name, batch_size in (("small & quick", 4), ("large", 16)):
        run = simulation.simulate(
            problems.cosine_sum(8, 1.0), OPTIMIZER, schedule=np.full(64, batch_size), seeds=8, name=name
        )
        run.save(folder / f"b{batch_size}")
        found.append(run)
    return [*found, folder]


def test_a_page_about_two_runs(runs, tmp_path) -> None:
    page = write_run_page(find_runs([runs[-1]]), tmp_path / "out").read_text()
    assert "<h1>2 runs</h1>" in page and "Side by side" in page
    assert "small &amp; quick" in page and "small & quick" not in page
    cell = '<strong>consistent</strong></td><td class="w">adam_token_half_life</td>'
    assert page.count(cell) == 2
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert len(list((tmp_path / "out" / "figures").glob("*.png"))) == 3


def test_one_run_has_no_side_by_side(runs, tmp_path) -> None:
    page = write_run_page([runs[-1] / "b4"], tmp_path, title="Just this").read_text()
    assert "<h1>Just this</h1>" in page and "Side by side" not in page


def test_theorems_about_other_algorithms_are_left_out_but_failing_problems_are_named(runs) -> None:
    found = {seen.slug: seen.verdict.word for seen in theorem_verdicts(runs[0])}
    assert found["adam_token_half_life"] == "consistent"
    assert all(slug.startswith("adam_token_half_life") for slug in found)
    assert "adam_token_half_life_bias_corrected" not in found  # this run corrects nothing
    foreign = simulation.simulate(
        problems.noisy_quadratic([1.0, 0.5], 0.1), OPTIMIZER, schedule=[4] * 16, seeds=4
    )
    (seen,) = [s for s in theorem_verdicts(foreign) if s.slug == "adam_token_half_life"]
    assert seen.verdict.word == "inapplicable" and "unbounded" in seen.reason
    assert theorem_verdicts(dataclasses.replace(runs[0], config={"study": "x"})) == []


def test_places_without_runs_are_named(tmp_path) -> None:
    with pytest.raises(InputError, match="run\\.json"):
        find_runs([tmp_path])
    with pytest.raises(InputError, match="absent"):
        find_runs([tmp_path / "absent"])


def test_a_comparison_without_curves_cannot_be_plotted(runs) -> None:
    peeking = dataclasses.replace(runs[0], config={**runs[0].config, "batch_rule": "present"})
    with pytest.raises(InputError, match="inapplicable"):
        plot(compare(get("adam_token_half_life"), peeking))


def test_a_plot_shows_bound_measurement_and_trivial_bound(runs) -> None:
    figure = plot(compare(get("adam_token_half_life"), runs[0]))
    (panel,) = figure.axes
    labels = {line.get_label() for line in panel.get_lines()}
    assert {"bound", "measured mean", "trivial bound"} <= labels
    assert panel.get_xscale() == panel.get_yscale() == "log"
    assert panel.get_xlabel() == "tokens" and "grad" in panel.get_ylabel()


def test_a_run_that_stopped_early_says_so_and_shows_its_only_validation(tmp_path) -> None:
    loss = np.linspace(5.0, 4.0, 6)[None]
    validation = np.full((1, 6), np.nan)
    validation[0, 3] = 4.4
    early = Run(
        name="early",
        config={"tokens": 1000},
        seeds=(0,),
        steps=np.arange(6),
        tokens=np.arange(6) * 100,
        series={"loss": loss, "validation_loss": validation},
        summary={"finished": False, "tokens_per_second": 12345.678901234567},
    )
    early.save(tmp_path / "run")
    page = write_run_page([tmp_path / "run"], tmp_path / "out").read_text()
    assert "stopped after 500 of 1,000 tokens" in page and "1 seed," in page
    assert "12345.7" in page and "12345.678901234567" not in page
    (upper, lower) = plot_run(early).axes
    (line,) = lower.get_lines()
    assert line.get_marker() == "o" and line.get_xdata().tolist() == [300]
    assert upper.get_lines()[0].get_marker() == ""
    overview = plot_overview([early, early], "validation_loss").axes[0]
    assert overview.get_lines()[0].get_marker() == "o"


def test_training_runs_side_by_side_have_no_expected_loss_and_no_empty_column(runs, tmp_path) -> None:
    trained = Run(
        name="trained",
        config={"model": {"name": "tiny"}},
        seeds=(0,),
        steps=np.arange(3),
        tokens=np.arange(3),
        series={"loss": np.ones((1, 3))},
    )
    for name in ("first", "second"):
        trained.save(tmp_path / name)
    page = write_run_page([tmp_path / "first", tmp_path / "second"], tmp_path / "out").read_text()
    assert "expected loss" not in page and "standard error" not in page and "Mean over seeds" not in page
    assert ">last training loss (nats/token)</th>" in page and "one seed a run" in page
    overview = plot_overview([trained, trained], "loss").axes[0]
    assert overview.get_ylabel() == "training loss (nats/token)"
    assert plot_overview([trained, runs[0]], "loss").axes[0].get_ylabel() == "loss"
    assert plot_overview(runs[:2], "loss").axes[0].get_ylabel() == "expected loss"
    simulated = write_run_page([runs[-1] / "b4", runs[-1] / "b16"], tmp_path / "simulated").read_text()
    assert "standard error</th>" in simulated and "Mean over seeds" in simulated


def test_runs_of_one_name_are_told_apart_and_any_number_of_them_is_drawn(tmp_path) -> None:
    one = Run(
        name="same",
        config={},
        seeds=(0,),
        steps=np.arange(3),
        tokens=np.arange(3),
        series={"loss": np.ones((1, 3))},
    )
    for name in ("first", "second"):
        one.save(tmp_path / name)
    page = write_run_page([tmp_path / "first", tmp_path / "second"], tmp_path / "out").read_text()
    assert "same (first)" in page and "same (second)" in page
    for many in (9, 13, 25):
        assert len(plot_overview([one] * many, "loss").axes[0].get_lines()) == many


def test_audit_cells_are_words_not_python(runs) -> None:
    seen = compare(get("adam_token_half_life"), runs[0])
    for item in seen.audit:
        assert "'" not in item.reason and "None" not in item.reason, item.reason


def test_a_notebook_shows_a_plot_without_pyplot(runs) -> None:
    figure = plot(compare(get("adam_token_half_life"), runs[0]))
    assert figure._repr_png_().startswith(b"\x89PNG")
