"""References such as ``[from 02_train.rmse]``: what they mean, and what is refused before a run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from support.notebooks import write_cells
from support.refusals import refused
from taxi_lib.errors import ContractError
from taxi_lib.plan import Request, make_plan, repaired, stale_reasons
from taxi_lib.runner.contracts import read_contract
from taxi_lib.runner.references import Linked, Reference, drawing, link

Take = Callable[[str], list[Linked]]
RESULTS = "rmse: float  # minutes\nrows: int\nclean: Path  # the file"


def write(project: Path, name: str, parameters: str, results: str = "") -> Path:
    """Write a notebook that takes something, under the names of some types."""
    imports = "from pathlib import Path\nfrom typing import Any, Literal\n"
    return write_cells(project, name=name, parameters=imports + parameters, results=results)


@pytest.fixture
def taker(project: Path) -> Callable[[str], list[Linked]]:
    write(project, "01_prepare", "month: str = '2021-01'  # [month]", RESULTS)
    write(project, "03_later", "seed: int = 1", "late: float")
    return lambda line: link([read_contract(write(project, "02_train", line))])


def test_a_parameter_takes_the_result_that_its_line_names(taker: Take):
    first, second = taker("error: float = 0.0  # minutes [0 or more] [from 01_prepare.rmse]")
    assert (first.contract.name, first.takes) == ("01_prepare", {})
    assert second.takes == {"error": Reference("01_prepare", "rmse")}
    (field,) = second.contract.parameters
    assert (field.help, field.limit) == ("minutes", "0 or more")
    assert field.comment == "minutes [0 or more] [from 01_prepare.rmse]"


def test_a_notebooks_name_alone_means_the_result_of_the_parameters_own_name(taker: Take):
    assert taker("rows: int = 5  # [from 01_prepare]")[1].takes == {
        "rows": Reference("01_prepare", "rows")
    }


def test_names_with_dots_are_references_too(project: Path):
    write(project, "1.5_more", "seed: int = 1", "rows: int")
    line = "rows: int = 5  # [from 1.5_more]\nmore: int = 5  # [from 1.5_more.rows]"
    _, linked = link([read_contract(write(project, "02_train", line))])
    assert set(linked.takes.values()) == {Reference("1.5_more", "rows")}


@pytest.mark.parametrize(
    ("line", "reasons"),
    [
        (
            "x: int = 5  # [from 01_prepear.rows]",
            ["no notebook '01_prepear': did you mean 01_prep"],
        ),
        ("x: int = 5  # [from 01.rows]", ["no notebook '01': did you mean 01_prepare?"]),
        ("x: int = 5  # [from 01]", ["no notebook '01'"]),
        ("x: int = 5  # [from prepare.rows]", ["no notebook 'prepare'"]),
        ("x: int = 5  # [from 01_prepare.row]", ["no result 'row': did you mean rows?"]),
        ("x: int = 5  # [from 01_prepare]", ["no result 'x': there are clean, rmse, rows."]),
        ("x: float = 5.0  # [from 03_later.late]", ["03_later does not come before it"]),
        ("x: int = 5  # [from 02_train.x]", ["is that notebook itself"]),
        ("x: str = '5'  # [from 01_prepare.rows]", ["rows is int and x str", "the same type"]),
        ("x: int = 5  # [from 01_prepare.rmse]", ["rmse is float and x int"]),
        ("x: str = '5'  # [from 01_prepare.clean]", ["clean is Path and x str"]),
        ("x: int = 5  # [from 01_prepare rows]", ["names no result", "[from 02_train.rmse]"]),
        ("x: int = 5  # [from 01_prepare] [from 01_prepare.rows]", ["two origins: keep one"]),
        ("api_key: str = ''  # [secret] [from 01_prepare.rows]", ["a secret is never handed on"]),
    ],
)
def test_a_slip_in_a_reference_is_refused_with_its_remedy(
    taker: Take, line: str, reasons: list[str]
):
    with refused(ContractError, *reasons):
        taker(line)


@pytest.mark.parametrize(
    "line",
    [
        "x: float = 5.0  # [from 01_prepare.rows]",
        "x: int | None = None  # [from 01_prepare.rows]",
        "x: Any = None  # [from 01_prepare.rmse]",
        "x: Path = 'none'  # [from 01_prepare.clean]",
        "x: Literal[1, 2] = 1  # [from 01_prepare.rows]",
    ],
)
def test_a_type_that_holds_every_value_of_the_result_is_taken(taker: Take, line: str):
    assert len(taker(line)) == 2


def test_brackets_around_prose_are_no_reference(taker: Take):
    (alone,) = taker("x: int = 5  # the trips [from the city's own site]")
    assert alone.takes == {} and alone.contract.parameters[0].help.endswith("own site]")


def test_a_notebook_that_promises_nothing_gives_nothing(project: Path):
    write(project, "01_quiet", "seed: int = 1")
    path = write(project, "02_train", "x: int = 5  # [from 01_quiet.rows]")
    with refused(ContractError, "promises no result", "tagged results"):
        link([read_contract(path)])


def test_a_result_is_not_taken(project: Path):
    path = write(project, "02_train", "seed: int = 1", "x: int  # [from 01_prepare.rows]")
    with refused(ContractError, "a result is reported, not taken"):
        read_contract(path)


def test_a_parameter_that_cannot_be_given_a_value_cannot_take_one(project: Path):
    write(project, "01_prepare", "seed: int = 1", "rows: int")
    line = "rows: int = 5  # [from 01_prepare]"
    path = write_cells(project, "rows = 7", name="02_train", parameters=line)
    with refused(ContractError, "cell 4 of 02_train.ipynb sets it again"):
        link([read_contract(path)])


def names(request: Request) -> list[str]:
    return [step.name for step in make_plan(request).steps]


@pytest.fixture
def chain(project: Path) -> Path:
    write(project, "01_prepare", "seed: int = 1", "rows: int")
    write(project, "02_train", "rows: int = 5  # [from 01_prepare]", "rmse: float")
    write(project, "03_judge", "rmse: float = 0.0  # [from 02_train]\nhow: str = 'well'")
    write(project, "04_other", "seed: int = 1")
    return project


def test_a_notebook_brings_those_that_it_takes_from(chain: Path):
    assert names(Request(["03"], folder=chain)) == ["01_prepare", "02_train", "03_judge"]


def test_a_value_that_is_given_cuts_the_reference(chain: Path):
    assert names(Request(["03"], {"rmse": "2.5"}, folder=chain)) == ["03_judge"]
    (step,) = make_plan(Request(["03"], {"rmse": "2.5"}, folder=chain)).steps
    assert step.notes == ["rmse = 2.5, as given, not from 02_train"]


def test_a_parameter_of_a_notebook_that_is_brought_along_can_be_given(chain: Path):
    plan = make_plan(Request(["03"], {"seed": "7"}, folder=chain))
    assert plan.steps[0].values == {"seed": 7}


def test_the_status_of_what_is_behind_a_stale_step_says_what_it_waits_for(chain: Path):
    assert dict(stale_reasons(Request(folder=chain))) == {
        "01_prepare": "no good run yet",
        "02_train": "waits for 01_prepare",
        "03_judge": "waits for 02_train",
        "04_other": "no good run yet",
    }


def test_the_default_month_of_a_taken_parameter_is_never_fetched(project: Path):
    write(project, "01_choose", "seed: int = 1", "month: str")
    line = "month: str = '2015-05'  # [month] [from 01_choose]"
    write(project, "02_train", line)
    asked = []
    make_plan(Request(folder=project), lambda months, source: (asked.extend(months), None))
    assert asked == []


def test_the_drawing_says_who_takes_what(project: Path):
    write(project, "01_prepare", "seed: int = 1", "rows: int\nrmse: float")
    lines = "rows: int = 5  # [from 01_prepare]\nerror: float = 1.0  # [from 01_prepare.rmse]"
    drawn = drawing(link([read_contract(write(project, "02_train", lines))])).splitlines()
    assert drawn[:2] == [
        "01_prepare: takes nothing",
        "02_train: rows, rmse as error from 01_prepare",
    ]
    assert drawn[-2:] == ['    n1 -- "rows, rmse as error" --> n2', "```"]


def test_a_repaired_request_says_what_was_done_and_is_done_anew(chain: Path):
    done = [{"name": f"0{n}", "status": s} for n, s in ((1, "cached"), (2, "failed"))]
    names = {"01": "01_prepare", "02": "02_train", "03": "03_judge", "04": "04_other"}
    notebooks = [run | {"name": names[run["name"]]} for run in done]
    before = {"request": Request(folder=chain).to_json(), "notebooks": notebooks}
    assert repaired(before, {"how": "badly"})[1] == []
    request, again = repaired(before, {"seed": "7"})
    assert request.parameters == {"seed": "7"}
    assert again == ["01_prepare"]
    with refused(ContractError, "None of these notebooks takes a parameter 'sed'"):
        repaired(before, {"sed": "7"})
