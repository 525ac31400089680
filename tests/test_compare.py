"""Two runs compared, the history of a notebook, and the first page of a run."""

import base64
import json
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, writes

from support.refusals import refused
from taxi_lib.errors import TaxiError
from taxi_lib.runner import run_folder
from taxi_lib.runner.compare import compare, two_runs
from taxi_lib.runner.evidence import read_run
from taxi_lib.runner.history import history, rows, sparkline, trends, usual_seconds
from taxi_lib.runner.html.comparison import comparison_page
from taxi_lib.runner.notebook_run import NotebookRun

PROJECT = "/the/project"
INPUTS = {
    "taxi_lib": "a" * 64,
    "packages": "b" * 64,
    "python": "3.11.7",
    "cells": "c" * 64,
    "parameters": {"month": "2021-01"},
    "helpers": "d" * 64,
    "data": {"trips.parquet": "e" * 64},
}


def leave_run(
    runs_dir: Path,
    name: str,
    status: str = "completed",
    seconds: float = 2.0,
    code: str = "1 + 1",
    png: bytes = b"one",
    **changes: object,
) -> Path:
    """Write what a run of one notebook leaves; the changes are to its inputs and its result."""
    folder = runs_dir / name
    folder.mkdir(parents=True)
    picture = {"image/png": base64.b64encode(png).decode()}
    cell = new_code_cell(code, outputs=[new_output("display_data", picture)], id="work")
    (folder / "01_fit.ipynb").write_text(
        writes(new_notebook(cells=[new_markdown_cell("# 1. Fit", id="title"), cell]))
    )
    (folder / "01_fit.html").write_text("the page")
    rmse, error = changes.pop("rmse", 6.5), changes.pop("error", None)
    run = NotebookRun(
        "01_fit",
        status,
        seconds,
        output=str(folder / "01_fit.ipynb"),
        html=str(folder / "01_fit.html"),
        results={"rmse": rmse} if rmse else {},
        error=error,
        cell="x / 0" if error else None,
    )
    record = {"inputs": INPUTS | changes, "versions": {"pandas": "3.0"}, "ended": f"{name}T00:00"}
    (folder / "01_fit.json").write_text(json.dumps(record))
    run_folder.begin(folder, {"folder": PROJECT})
    run_folder.finish([run], "synthetic", seconds, folder)
    return folder


def changes(before: Path, now: Path) -> dict[str, tuple[str, str, str]]:
    (only,) = compare(before, now)
    return {row["what"]: (row["before"], row["now"], row["difference"]) for row in only.rows()}


@pytest.fixture
def first(runs_dir: Path) -> Path:
    return leave_run(runs_dir, "2026-01-01")


def test_runs_that_only_took_another_time_are_alike(first: Path, runs_dir: Path):
    assert changes(first, leave_run(runs_dir, "2026-01-02", seconds=9.0)) == {}


@pytest.mark.parametrize(
    ("change", "what", "row"),
    [
        ({"parameters": {"month": "2021-02"}}, "parameter month", ("2021-01", "2021-02", "")),
        ({"parameters": {}}, "parameter month", ("2021-01", "as in the notebook", "")),
        ({"python": "3.12.1"}, "Python", ("3.11.7", "3.12.1", "")),
        ({"cells": "f" * 64}, "its code", ("c" * 8, "f" * 8, "")),
        ({"data": {}}, "data trips.parquet", ("e" * 8, "—", "")),
        (
            {"data": INPUTS["data"] | {"/far/away/zones.csv": "f" * 64}},
            "data zones.csv",
            ("—", "f" * 8, ""),
        ),
        ({"rmse": 13.0}, "result rmse", ("6.5", "13", "+6.5 (+100.0%)")),
        ({"rmse": None}, "result rmse", ("6.5", "—", "")),
        ({"png": b"two"}, "figure in cell 2 · 1. Fit", ("", "", "another")),
        ({"status": "failed", "error": "boom"}, "error", ("—", "boom", "")),
    ],
)
def test_what_differs_is_named_with_both_sides(
    first: Path, runs_dir: Path, change: dict, what: str, row: tuple[str, str, str]
):
    assert changes(first, leave_run(runs_dir, "2026-01-02", **change))[what] == row


def test_files_are_named_from_where_their_paths_part_and_whole_numbers_in_full(runs_dir: Path):
    before, now = (
        leave_run(runs_dir, name, rmse=trips, parameters={"trips": f"/a/long/way/{file}"})
        for name, trips, file in (("one", 61_921, "x/one.csv"), ("two", 73_908, "y/two.csv"))
    )
    told = changes(before, now)
    assert told["parameter trips"] == ("…/x/one.csv", "…/y/two.csv", "")
    assert told["result rmse"] == ("61,921", "73,908", "+11,987 (+19.4%)")


def test_the_last_two_runs_are_compared_unless_others_are_named(first: Path, runs_dir: Path):
    with refused(TaxiError, "there is only one"):
        two_runs([])
    second = leave_run(runs_dir, "2026-01-02")
    assert two_runs([]) == (first, second)
    third = leave_run(runs_dir, "2026-01-03")
    assert two_runs([first.name]) == (first, third)
    assert two_runs([third.name]) == (second, third)
    assert two_runs([str(third), "2026-01-01"]) == (first, third)
    with refused(TaxiError, "are the same run"):
        two_runs([third.name, str(third)])
    with refused(TaxiError, "There is no run 'gone'", "2026-01-03"):
        two_runs(["gone", first.name])


def test_two_values_of_one_run_are_compared_by_their_folders(runs_dir: Path):
    first, second = (leave_run(runs_dir, f"all/{month}") for month in ("2021-01", "2021-02"))
    assert set(two_runs([str(first), str(second)])) == {first, second}


def test_a_run_without_records_is_refused(first: Path, runs_dir: Path):
    second = leave_run(runs_dir, "2026-01-02")
    (second / "01_fit.json").unlink()
    with refused(TaxiError, "has no record of a notebook any more"):
        compare(first, second)


def test_the_page_of_two_runs_shows_code_and_figures_and_nothing_that_acts(
    first: Path, runs_dir: Path
):
    second = leave_run(runs_dir, "2026-01-02", code="2 + '<script>'", png=b"two", cells="f" * 64)
    page = comparison_page(first, second, compare(first, second))
    assert "1 + 1" in page and "2 + &#x27;&lt;script&gt;&#x27;" in page and "<script" not in page
    assert page.count("data:image/png;base64,") == 2


def test_a_run_that_was_copied_elsewhere_can_still_be_read(first: Path, tmp_path: Path):
    moved = first.rename(tmp_path / "elsewhere")
    assert read_run(moved)["01_fit"].inputs == INPUTS


def test_the_history_has_every_run_of_the_notebook_and_its_trend(first: Path, runs_dir: Path):
    leave_run(runs_dir, "2026-01-02", rmse=7.0, seconds=4.0)
    leave_run(runs_dir, "2026-01-03", status="cached", rmse=7.5, seconds=4.0)
    runs = history("01_fit", Path(PROJECT))
    assert [row["rmse"] for row in rows(runs)] == ["6.5", "7", "7.5"]
    assert trends(runs) == {"seconds": "▁█", "rmse": "▁▅█"}
    with refused(TaxiError, "No run in", "has 02_other"):
        history("02_other", Path(PROJECT))
    with refused(TaxiError, "No run in", "has 01_fit"):
        history("01_fit", Path("/another/project"))


def test_the_usual_time_is_the_median_of_what_was_executed(first: Path, runs_dir: Path):
    leave_run(runs_dir, "2026-01-02", seconds=4.0)
    leave_run(runs_dir, "2026-01-03", status="cached", seconds=99.0)
    assert usual_seconds(Path(PROJECT) / "01_fit.ipynb") == 3.0
    assert usual_seconds(Path(PROJECT) / "02_other.ipynb") is None


def test_values_that_do_not_change_are_bars_of_one_height():
    assert sparkline([5.0, 5.0, 5.0]) == "▄▄▄" and sparkline([5.0]) == ""


def test_the_first_page_of_a_run_has_the_failed_cell_on_top_and_relative_links(runs_dir: Path):
    folder = leave_run(runs_dir, "2026-01-01", status="failed", error="cell 2 <b>: boom")
    page = (folder / "index.html").read_text()
    assert page.index("x / 0") < page.index("<table>")
    assert 'href="01_fit.html"' in page and "cell 2 &lt;b&gt;: boom" in page
    assert str(folder.parent) not in page
