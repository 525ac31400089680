import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from taxi_lib.contracts import check_request, find_notebooks, form, read_contract
from taxi_lib.errors import ContractError

WriteNotebook = Callable[..., Path]

PARAMETERS = """\
train_month: str = "2021-01"  # month to learn from
test_month: str | None = None  # month to judge by
source: str = "auto"  # where the months come from
trials: int = 8  # how many, at most
rate: float = 0.1  # learning rate
quick: bool = True  # a "short" run = fewer trials
"""


@pytest.fixture
def write_notebook(tmp_path: Path) -> WriteNotebook:
    def write(*parameters: str, name: str = "01_one.ipynb") -> Path:
        tagged = {"tags": ["parameters"]}
        cells = [new_code_cell(cell, metadata=tagged) for cell in parameters or (PARAMETERS,)]
        title = new_markdown_cell("# 1. One\n\nText.")
        nbformat.write(new_notebook(cells=[title, *cells]), tmp_path / name)
        return tmp_path / name

    return write


def test_a_contract_is_read_from_the_parameters_cell(write_notebook: WriteNotebook):
    contract = read_contract(write_notebook())
    assert (contract.name, contract.title) == ("01_one", "1. One")
    assert [(p.name, p.type, p.default) for p in contract.parameters] == [
        ("train_month", "str", "2021-01"),
        ("test_month", "str | None", None),
        ("source", "str", "auto"),
        ("trials", "int", 8),
        ("rate", "float", 0.1),
        ("quick", "bool", True),
    ]
    assert contract.parameters[-1].help == 'a "short" run = fewer trials'


def test_texts_from_the_command_line_become_their_types(write_notebook: WriteNotebook):
    given = {"trials": "3", "rate": "0.5", "quick": "false", "test_month": "None"}
    checked = read_contract(write_notebook()).check(given)
    assert checked == {"trials": 3, "rate": 0.5, "quick": False, "test_month": None}


def test_a_number_among_choices_may_be_told_as_a_text_on_the_command_line_only(
    write_notebook: WriteNotebook,
):
    line = "from typing import Literal\nhow: Literal[1, 2, 'x'] = 1  # which"
    contract = read_contract(write_notebook(line))
    assert contract.check({"how": "2"}) == {"how": 2}
    assert contract.check({"how": "x"}) == {"how": "x"}
    with pytest.raises(ContractError, match="how is '2', expected 1, 2 or x"):
        contract.parameters[0].check("2", strict=True)


def test_only_a_text_is_a_month_by_its_name(write_notebook: WriteNotebook):
    contract = read_contract(write_notebook("trips_per_month: int = 5  # trips\nper_month = 2.5"))
    assert contract.check({"trips_per_month": "7", "per_month": 3.5}) == {
        "trips_per_month": 7,
        "per_month": 3.5,
    }
    assert contract.months({}) == {}


def test_none_is_none_also_where_no_type_is_told(write_notebook: WriteNotebook):
    assert read_contract(write_notebook("x = None  # what")).check({"x": "None"}) == {"x": None}


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("where: Path = 'x'  # a path", "from pathlib import Path"),
        ("day: date | None = None  # a day", "from datetime import date"),
        ("how: Literal['a'] = 'a'  # which", "from typing import Literal"),
    ],
)
def test_a_type_that_the_kernel_would_not_know_is_refused(
    write_notebook: WriteNotebook, line: str, missing: str
):
    with pytest.raises(ContractError, match=f"begin the cell with `{missing}`"):
        read_contract(write_notebook(line))
    read_contract(write_notebook(f"{missing}\n{line}"))
    read_contract(write_notebook(f"from __future__ import annotations\n{line}"))


def test_a_notebook_is_chosen_by_its_number_whatever_follows_it(tmp_path: Path):
    for name in ("01 with spaces.ipynb", "02-dash.ipynb", "020_other.ipynb"):
        cell = new_code_cell("n: int = 1  # n", metadata={"tags": ["parameters"]})
        nbformat.write(new_notebook(cells=[cell]), tmp_path / name)
    chosen = find_notebooks(["01", "02"], tmp_path)
    assert [contract.name for contract in chosen] == ["01 with spaces", "02-dash"]


def test_a_value_that_another_notebook_takes_is_left_to_it(write_notebook: WriteNotebook):
    assert read_contract(write_notebook()).check({"other": 1}) == {}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("trials", "many", "trials is 'many', expected int: how many, at most."),
        ("trials", 1.5, "trials is 1.5, expected int"),
        ("quick", "perhaps", "quick is 'perhaps', expected bool"),
        ("source", "web", "source is 'web', expected auto, local, tlc or synthetic"),
        ("train_month", 202101, "train_month is 202101, expected str"),
        ("train_month", "2021-13", "train_month is '2021-13', which is not a month"),
        ("train_month", "", "train_month is '', which is not a month"),
        ("train_month", "../../etc/passwd", "which is not a month"),
        ("test_month", "2021-13", "test_month is '2021-13', which is not a month"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(
    write_notebook: WriteNotebook, name: str, value: object, expected: str
):
    with pytest.raises(ContractError) as refusal:
        read_contract(write_notebook()).check({name: value})
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


TYPED = """\
from datetime import date
from pathlib import Path
from typing import Literal
count: int = 8  # how many [1 to 100]
rate: float | None = None  # how fast [above 0]
day: date = "2021-01-15"  # which day
where: "Path | None" = None  # a folder [inside the workspace]
how: Literal["slow", "quick"] = "slow"  # which way
zones: list = [74]  # taxi zones
table: dict = {}  # by zone
untyped = 1
anything = None
"""


@pytest.mark.parametrize(
    ("name", "value", "checked"),
    [
        ("count", "5", 5),
        ("count", 100, 100),
        ("rate", "0.5", 0.5),
        ("rate", "None", None),
        ("day", date(2021, 2, 28), "2021-02-28"),
        ("day", "2021-02-28", "2021-02-28"),
        ("where", "benchmarks", str(ROOT / "benchmarks")),
        ("how", "quick", "quick"),
        ("zones", "[1, 2]", [1, 2]),
        ("table", '{"74": 1}', {"74": 1}),
        ("untyped", "3", 3),
        ("anything", {"a": [1]}, {"a": [1]}),
    ],
)
def test_a_value_becomes_what_its_line_says(
    write_notebook: WriteNotebook, name: str, value: object, checked: object
):
    assert read_contract(write_notebook(TYPED)).check({name: value}) == {name: checked}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("count", 0, "count is 0, expected int, 1 to 100: how many."),
        ("count", 101, "count is 101, expected int, 1 to 100"),
        ("count", True, "count is True, expected int"),
        ("rate", 0, "rate is 0, expected float | None, above 0: how fast."),
        ("rate", "nan", "rate is 'nan', expected float"),
        ("rate", float("inf"), "rate is inf, expected float"),
        ("day", "2021-02-30", "day is '2021-02-30', expected date such as 2021-01-31"),
        ("day", datetime(2021, 1, 1, tzinfo=UTC), "expected date"),
        ("day", 20210101, "day is 20210101, expected date"),
        ("where", "../elsewhere", "which lies outside the workspace"),
        ("where", "s3://bucket/x", "where is 's3://bucket/x', expected Path"),
        ("how", "fast", "how is 'fast', expected slow or quick: which way."),
        ("zones", "74", "zones is '74', expected list"),
        ("zones", "[", "zones is '[', expected list, as JSON"),
        ("zones", "x" * 1000, "…, expected list"),
        ("table", [1], "table is [1], expected dict"),
        ("untyped", "one", "untyped is 'one', expected int."),
    ],
)
def test_a_value_that_its_line_does_not_allow_is_refused(
    write_notebook: WriteNotebook, name: str, value: object, told: str
):
    with pytest.raises(ContractError) as refusal:
        read_contract(write_notebook(TYPED)).check({name: value})
    assert told in str(refusal.value) and "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


def test_the_form_is_json_schema_of_every_field(write_notebook: WriteNotebook):
    properties = form([read_contract(write_notebook(TYPED))])["properties"]
    assert properties["count"] | {"title": "", "description": ""} == {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "title": "",
        "description": "",
    }
    assert properties["day"]["format"] == "date"
    assert properties["how"]["enum"] == ["slow", "quick"]
    assert "$ref" not in json.dumps(properties)


def test_the_same_month_for_two_purposes_is_refused_also_by_default(write_notebook: WriteNotebook):
    with pytest.raises(ContractError, match="train_month and test_month are both 2021-01"):
        read_contract(write_notebook()).check({"test_month": "2021-01"})


def test_needed_months_leave_out_those_that_may_be_none(write_notebook: WriteNotebook):
    contract = read_contract(write_notebook())
    assert contract.months({"test_month": "2021-05"}, needed=True) == {"train_month": "2021-01"}


def test_an_unknown_parameter_is_refused_with_the_nearest_name(write_notebook: WriteNotebook):
    contracts = [read_contract(write_notebook())]
    with pytest.raises(ContractError, match=r"'train_mnth': did you mean train_month\?"):
        check_request(contracts, {"train_mnth": "2021-01"})
    with pytest.raises(ContractError, match="there are quick, rate, source"):
        check_request(contracts, {"zzz": "2021-01"})


def test_lessons_are_found_by_number_or_name_and_kept_in_order():
    names = [contract.name for contract in find_notebooks(["06", "01"])]
    assert names == ["01_duration_prediction_original", "06_duration_prediction_prefect"]
    assert find_notebooks(["06_duration_prediction_prefect"])[0].name == names[1]
    assert len(find_notebooks()) == len(list((ROOT / "notebooks").glob("[0-9]*.ipynb")))


@pytest.mark.parametrize("name", ["99", "", "1", "../01", "01_duration_predicton_original"])
def test_an_unknown_notebook_is_refused(name: str):
    with pytest.raises(ContractError, match=f"no notebook '{name}'"):
        find_notebooks([name])


def test_a_parameters_cell_holds_nothing_but_typed_literals(write_notebook: WriteNotebook):
    for source in (
        *("a = b", "import os", "a: int = 1 + 1  # sum", "a: File = '.'  # where"),
        *("a: int =", "a: int = 'one'  # wrong", "a: int = 9  # out [1 to 5]"),
        *("a: int = 1  # no such limit [small]", "api_token: str = ''  # not marked"),
    ):
        with pytest.raises(ContractError, match=r"parameters cell of 01_one\.ipynb"):
            read_contract(write_notebook(source)).check({"a": 1})
