"""Runs over several values: ``--each month=2021-01..2021-06``."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from prefect.utilities.callables import parameter_schema

from support.flow_runs import run_flow, statuses, summary_of
from support.notebooks import write_cells
from support.refusals import refused
from taxi_lib.errors import ContractError
from taxi_lib.plan import Request
from taxi_lib.runner import each_value
from taxi_lib.walkthrough import flow_over

REPORT = "from taxi_lib.results import report_results\nsquare: int\nreport_results(square=n * n)"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("month=2020-11..2021-02", ["2020-11", "2020-12", "2021-01", "2021-02"]),
        ("n=8..11", ["8", "9", "10", "11"]),
        ("n = 1, 5..6", ["1", "5", "6"]),
        ("rate=0.1,0.25", ["0.1", "0.25"]),
        ("month=2021-01", ["2021-01"]),
    ],
)
def test_values_are_listed_or_a_range(text: str, values: list[str]):
    assert list(each_value.read_values(text).values()) == [values]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2021-01..2021-03", "takes name=first..last"),
        ("month=", "takes name=first..last"),
        ("n=1,,2", "takes name=first..last"),
        ("n=5..1", "the smaller number first"),
        ("month=2021-03..2021-01", "--each month=2021-03..2021-01 names the later month first"),
        ("n=1..99999999", "at most 1,000"),
        ("month=2021-01..7", "no range of months or whole numbers"),
        ("n=1,2,1", "has 1 twice"),
    ],
)
def test_a_slip_in_the_values_is_refused(text: str, reason: str):
    with refused(ContractError, reason):
        each_value.read_values(text)


@pytest.fixture
def squares(project: Path) -> Path:
    """Write a step that all values share, one that fails at 2, and one behind it."""
    shared = "from taxi_lib.results import report_results\none: int\nreport_results(one=1)"
    write_cells(project, "1", name="01_shared", parameters="seed: int = 1", results=shared)
    lines = "n: int = 3  # [1 or more]\none: int = 9  # [from 01_shared]"
    write_cells(project, "assert n != 2", name="02_square", parameters=lines, results=REPORT)
    taken = "square: int = 0  # [from 02_square]"
    write_cells(project, "print(square)", name="03_show", parameters=taken)
    return project


def test_each_value_is_checked_before_a_run(squares: Path):
    with refused(ContractError, "n is '0', expected int, 1 or more"):
        Request(folder=squares, each="n=3,0").one_by_one()
    with refused(ContractError, "None of these notebooks takes a parameter 'm'"):
        Request(folder=squares, each="m=3").one_by_one()
    with refused(ContractError, "n is given by -p and by --each"):
        Request(None, {"n": "1"}, folder=squares, each="n=3").one_by_one()


def test_previous_is_the_month_before_the_run_was_scheduled(project: Path):
    write_cells(project, "1", parameters="month: str = '2021-01'  # [month]\nwhich: str = 'a'")
    given = {"month": "previous", "which": "previous"}
    request = Request(None, given, folder=project).at(datetime(2023, 1, 3, 9, tzinfo=UTC))
    assert request.parameters == {"month": "2022-12", "which": "previous"}


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (["2021-01", "2021-02", "2021-03"], "-"),
        (["5", "10", "100"], "-"),
        (["2021-02", "2021-01", "2021-03"], "None"),
        (["data/2021-01.parquet", "data/2021-02.parquet", "data/too_few.parquet"], "None"),
    ],
)
def test_only_values_that_rise_are_joined_by_a_line(
    monkeypatch: pytest.MonkeyPatch, values: list[str], line: str
):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    notebooks = [[{"name": "01_count", "results": {"trips": trips}}] for trips in (5, 7, 2)]
    runs = [
        {"value": value, "status": "completed", "notebooks": each}
        for value, each in zip(values, notebooks, strict=True)
    ]
    each_value.trend("trips_file", runs)
    (axes,) = drawn[0].axes
    assert axes.lines[0].get_linestyle() == line
    assert axes.get_title(loc="left") == "3 of 3 runs completed; results by trips_file"
    drawn[0].draw_without_rendering()
    ends = [text.get_window_extent() for text in axes.get_xticklabels()]
    assert all(end.x0 >= 0 and end.x1 <= drawn[0].bbox.x1 for end in ends)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("force", [False, True])
def test_one_value_that_fails_does_not_stop_the_others_and_shared_steps_run_once(
    squares: Path, tmp_path: Path, force: bool
):
    report = run_flow(squares, run_dir=tmp_path / "all", each="n=1..3", jobs=2, force=force)
    assert report["status"] == "failed"
    assert [run["status"] for run in report["each"]["runs"]] == ["completed", "failed", "completed"]
    second = statuses(summary_of(tmp_path / "all" / "2"))
    assert (second["02_square"], second["03_show"]) == ("failed", "skipped")
    shared = [s for name, s in statuses(report).items() if name.endswith("01_shared")]
    assert sorted(shared) == ["cached", "cached", "completed"]
    rows = each_value.table("n", report["each"]["runs"])
    assert [(row["n"], row["02 square"]) for row in rows] == [("1", "1"), ("2", ""), ("3", "9")]
    assert (tmp_path / "all" / "trend.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "all" / "index.html").read_text()
    assert 'src="trend.png"' in page and 'href="2/index.html"' in page


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_flow_over_a_folder_asks_for_its_parameters_and_runs_it(squares: Path):
    mine = flow_over(squares, "squares", {"n": 5})
    form = parameter_schema(mine).properties["parameters"]
    assert form["default"] == {"n": 5}
    asked = form["properties"]
    assert set(asked) == {"seed", "n", "one", "square"}
    assert asked["square"]["description"].endswith("taken from 02_square when left out")
    report = mine(source="synthetic")
    assert {run["name"]: run["results"] for run in report["notebooks"]}["02_square"] == {
        "square": 25
    }
