import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from support import ROOT
from support.refusals import refused
from taxi_lib.errors import ContractError
from taxi_lib.plan import given_to
from taxi_lib.runner.contracts import check_request, find_notebooks, form, read_contract
from taxi_lib.runner.notebook_file import label

WriteNotebook = Callable[..., Path]

PARAMETERS = """\
train_month: str = "2021-01"  # month to learn from [month]
test_month: str | None = None  # month to judge by [month]
source: str = "auto"  # where the months come from [one of auto, local, tlc, synthetic]
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


def test_a_number_among_choices_may_be_a_text_on_the_command_line_only(
    write_notebook: WriteNotebook,
):
    line = "from typing import Literal\nhow: Literal[1, 2, 'x'] = 1  # which"
    contract = read_contract(write_notebook(line))
    assert contract.check({"how": "2"}) == {"how": 2}
    assert contract.check({"how": "x"}) == {"how": "x"}
    with refused(ContractError, "how is '2', expected 1, 2 or x"):
        contract.parameters[0].check("2", strict=True)


@pytest.mark.parametrize(
    ("line", "value", "checked"),
    [
        ("size: str = 'S'  # which [one of S, M, L]", "M", "M"),
        ("size: str | None = None  # which [one of S, M]", "None", None),
        ("year: str = '2021'  # which [one of 2021, 2022]", "2022", "2022"),
        ("depth: int = 8  # which [one of 8, 30]", "30", 30),
        ("rate: float = 0.5  # which [one of 0.5, 1]", "1", 1.0),
        ("sizes: list[str] = ['S']  # which [one of S, M]", '["M", "S"]', ["M", "S"]),
    ],
)
def test_a_value_may_be_one_of_some(
    write_notebook: WriteNotebook, line: str, value: str, checked: object
):
    contract = read_contract(write_notebook(line))
    name = contract.parameters[0].name
    assert contract.check({name: value}) == {name: checked}
    with refused(ContractError, f"{name} is 'XL', expected "):
        contract.check({name: "XL"})


@pytest.mark.parametrize("value", ["2021-13", "2099-01", "", "Jan"])
def test_a_result_may_be_limited_to_a_month(tmp_path: Path, value: str):
    cell = new_code_cell("scored: str | None  # [month]", metadata={"tags": ["results"]})
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "01_one.ipynb")
    contract = read_contract(tmp_path / "01_one.ipynb")
    contract.check_results({"scored": "2021-01"})
    contract.check_results({"scored": None})
    with refused(ContractError, f"scored is '{value}', which "):
        contract.check_results({"scored": value})


def test_a_result_that_holds_a_password_is_refused(tmp_path: Path):
    cell = new_code_cell("uri: str  # where", metadata={"tags": ["results"]})
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "01_one.ipynb")
    with refused(ContractError, "uri holds a password"):
        read_contract(tmp_path / "01_one.ipynb").check_results({"uri": "http://me:you@h/"})


@pytest.mark.parametrize("value", ["hunter2", 12345, "env:", "env:A B"])
def test_a_secret_that_is_given_outright_is_not_repeated(
    write_notebook: WriteNotebook, value: object
):
    contract = read_contract(write_notebook("key: str | None = None  # of the API [secret]"))
    with refused(ContractError, "key is secret: say where it is kept"):
        contract.check({"key": value})
    assert contract.check({"key": "block:api-key"}) == {"key": "block:api-key"}


def test_none_is_none_also_where_no_type_is_given(write_notebook: WriteNotebook):
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
        (
            "train_month",
            202101,
            "train_month is 202101, expected str, a month such as 2021-01: month to learn",
        ),
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "reason"),
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
    write_notebook: WriteNotebook, name: str, value: object, reason: str
):
    with pytest.raises(ContractError) as refusal:
        read_contract(write_notebook(TYPED)).check({name: value})
    assert reason in str(refusal.value) and "\n" not in str(refusal.value)
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
    assert set(form([read_contract(write_notebook("n = 1\nm = n * 2"))])["properties"]) == set()


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


@pytest.mark.parametrize("name", ["99", "", "0", "../01", "01_duration_predicton_original"])
def test_an_unknown_notebook_is_refused(name: str):
    with pytest.raises(ContractError, match=f"no notebook '{name}'"):
        find_notebooks([name])


def write_names(folder: Path, *names: str) -> None:
    for name in names:
        nbformat.write(new_notebook(cells=[new_code_cell("1")]), folder / f"{name}.ipynb")


def test_notebooks_come_in_the_order_of_their_numbers_and_those_without_one_last(tmp_path: Path):
    in_order = [
        *("0_zero", "01 one", "1_a", "1b_more", "1.5_half", "1.10_later", "2-two", "02_Two"),
        *("9_nine", "10_ten", "2021-02 month", "2021-11 month", "Appendix", "chapter 2"),
        *("chapter 10", "notes", "ähnlich"),
    ]
    write_names(tmp_path, *reversed(in_order))
    write_names(tmp_path, ".hidden", ".01_hidden")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    write_names(tmp_path / ".ipynb_checkpoints", "01 one-checkpoint")
    assert [contract.name for contract in find_notebooks(folder=tmp_path)] == in_order


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("1", ["1_a"]),
        ("01", ["1_a"]),
        ("10", ["10_b"]),
        ("2", ["02_c"]),
        ("02", ["02_c"]),
        ("1.5", ["01.5_d"]),
        ("2_c", ["02_c"]),
        ("3", ["3_e", "3_f"]),
        ("notes", ["notes"]),
        ("02_c.ipynb", ["02_c"]),
    ],
)
def test_a_number_finds_its_notebooks_and_no_longer_number(
    tmp_path: Path, asked: str, found: list[str]
):
    write_names(tmp_path, "1_a", "10_b", "02_c", "01.5_d", "3_f", "3_e", "notes", "20_x")
    assert [contract.name for contract in find_notebooks([asked], tmp_path)] == found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("01_one", "01"),
        ("1.5 x", "1.5"),
        ("01b_x", "01b"),
        ("2-two", "2"),
        ("my_notes", "my_notes"),
    ],
)
def test_a_notebook_is_called_by_its_number_or_by_its_whole_name(name: str, short: str):
    assert label(name) == short


def test_a_notebook_without_a_parameters_cell_takes_nothing(tmp_path: Path):
    write_names(tmp_path, "01_one")
    contract = read_contract(tmp_path / "01_one.ipynb")
    assert contract.parameters == () and contract.check({"n": 1}) == {}
    check_request([contract], {})
    with refused(
        ContractError, "None of these notebooks takes a parameter 'n'", "tagged parameters"
    ):
        check_request([contract], {"n": 1})


@pytest.mark.parametrize(
    "line",
    [
        *("rows = 64 * 1024", "rows = len('x')", "rows = f'{1}'", "rows = (8, 6)", "rows = {1, 2}"),
        *("rows: tuple = (8, 6)", "rows = other = 1", "rows, other = 1, 2", "rows = b'x'"),
        *("import rows", "from os import path as rows", "if True: rows = 1", "rows = 1e999"),
        *("rows = {1: 'one'}", "rows: dict[int, str] = {1: 'one'}", "rows = [1, (2, 3)]"),
        *("rows = os.environ.get('ROWS')", "rows = True and False", "rows = not True"),
        *("rows = %pwd", "def rows(): pass", "rows: int = 1 + 1  # rows", "rows: 'Frame' = None"),
        "import decimal; rows: decimal.Decimal = 3",
    ],
)
def test_a_line_that_computes_its_value_is_no_parameter(write_notebook: WriteNotebook, line: str):
    contract = read_contract(write_notebook(f"{line}\nn: int = 1  # n"))
    assert [p.name for p in contract.parameters] == ["n"]
    assert line.startswith(contract.computed[-1][:10]) or ";" in line
    check_request([contract], {"n": "2"})
    place = "rows cannot be given a value, because the parameters cell of 01_one.ipynb computes it"
    with refused(ContractError, place, contract.computed[-1][:8]):
        check_request([contract], {"rows": "1"})


@pytest.mark.parametrize(
    "line",
    [
        'source = "x" + "y"',
        'source: str = "s3"  # which bucket',
        'source: str = "s3"  # which bucket [one of s3, local]',
        'source: str = "tlc"  # from where [one of local, tlc]',
        "source: int = 7  # which well",
        'origin: str = "auto"  # from where [one of auto, local, tlc, synthetic]',
    ],
)
def test_a_source_that_is_no_choice_of_where_months_come_from_is_the_notebooks_own(
    write_notebook: WriteNotebook, line: str
):
    assert given_to(read_contract(write_notebook(line)), {}, "tlc") == {}


@pytest.mark.parametrize(
    "line",
    [
        'source: str = "auto"  # from where [one of auto, local, tlc, synthetic]',
        'source: str = "tlc"  # from where [One of synthetic,tlc, local , auto]',
        'from typing import Literal\nsource: Literal["tlc", "auto", "local", "synthetic"] = "tlc"',
    ],
)
def test_a_notebook_that_asks_where_months_come_from_is_given_it(
    write_notebook: WriteNotebook, line: str
):
    contract = read_contract(write_notebook(line))
    assert contract.check(given_to(contract, {}, "tlc")) == {"source": "tlc"}


def test_names_mean_nothing_without_a_limit(write_notebook: WriteNotebook):
    lines = 'source: str = "s3"  # which bucket\nbilling_month: str = "Jan"  # of the bill'
    contract = read_contract(write_notebook(lines))
    assert contract.check({"source": "gcs", "billing_month": "Feb"})
    assert contract.months({}) == {}


SPELLINGS = [
    ('from typing import List\nx: List[str] = ["a"]', "list[str]", "", ""),
    ('import typing\nx: "typing.Dict[str, float]" = {}', "dict[str, float]", "", ""),
    ("import typing as t\nx: t.Optional[int] = None", "int | None", "", ""),
    ("from typing import Union\nx: Union[int, str, None] = 1", "int | str | None", "", ""),
    ("from collections.abc import Sequence\nx: Sequence[int] = [1]", "list[int]", "", ""),
    ("x: list[dict[str, list[int]]] = []", "list[dict[str, list[int]]]", "", ""),
    ("import datetime\nx: datetime.date = '2021-01-01'", "date", "", ""),
    ("x: int = None  # no bound", "int | None", "no bound", ""),
    ('"""What is taken."""\nx = 1', "int", "", ""),
    ("# what is taken\n\nx = 1", "int", "", ""),
    ('x = ["a"]  # type: List[str] some names', "list[str]", "some names", ""),
    ("x = None  # type: Dict[str, List[int]]", "dict[str, list[int]] | None", "", ""),
    ("x = 1  # type: ignore", "int", "type: ignore", ""),
    ("x = 'a'  # type: int", "str", "", ""),
    ('x = 10 #@param {type:"slider", min:1, max:100}', "int", "", "1 to 100"),
    ('x: int = 10  # @param {type:"integer", min:1}', "int", "", "1 or more"),
    ('x = 1 #@param {type:"number"}', "float", "", ""),
    ('x = 1 #@param {type:"slider", min:0, max:1, step:0.1}', "float", "", "0 to 1"),
    ('x = "a" #@param ["a", "b"]', "Literal['a', 'b']", "", ""),
    ('x = "a" #@param ["a", "b"] {allow-input: true}', "str", "", ""),
    ('#@title Choose\nx = "a" #@param {type:"string"}', "str", "", ""),
    ("y = 2; x = 1  # the last", "int", "the last", ""),
    ("x = 1; y = 2  # the last", "int", "", ""),
    ("x = -1_000", "int", "", ""),
    ("x = [\n    1,  # first\n    2,\n]  # numbers", "list", "numbers", ""),
    ("x = 'http://h/x?a=1#frag'  # where", "str", "where", ""),
    ("x: int = 1  # how far [km]", "int", "how far [km]", ""),
    ("x: str = 'a'  # one of [a, b]", "str", "one of [a, b]", ""),
    ("x: float = 0.5  # in [0, 1], see [3]", "float", "in [0, 1], see [3]", ""),
    ("x: float = 1  # from [0 < x]", "float", "from [0 < x]", ""),
    ("x: str = 'a'  # one of [the three]", "str", "one of [the three]", ""),
    ("x: str = 'a'  # [One  of b,A, a]", "str", "", "one of b,A, a"),
    ("x: str = '2021-01'  # to learn from [Month]", "str", "to learn from", "month"),
    ("x: str = 'a'  # pages [1-5]", "str", "pages [1-5]", ""),
    ("x: int = 1  # how many [1 to 5].", "int", "how many.", "1 to 5"),
    ("x: int = 1  # how many [1  TO 5] of [km]", "int", "how many of [km]", "1 to 5"),
    ("x: float = 1e-3  # rate [1e-5 to .1]", "float", "rate", "1e-5 to .1"),
    ("x: int = 2_000  # rows [1_000 or more]", "int", "rows", "1_000 or more"),
    ("x: list[int] = [1]  # zones [1 to 265]", "list[int]", "zones", "1 to 265"),
    ("x: str = ''  # key [ Secret ]", "str", "key", "secret"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "kind", "help_text", "limit"), SPELLINGS)
def test_what_has_one_plain_meaning_is_taken(
    write_notebook: WriteNotebook, cell: str, kind: str, help_text: str, limit: str
):
    contract = read_contract(write_notebook(cell))
    x = next(p for p in contract.parameters if p.name == "x")
    assert (x.type, x.help, x.limit) == (kind, help_text, limit)
    assert contract.computed == () and contract.fixed == {}


@pytest.mark.parametrize(
    ("line", "value", "checked"),
    [
        ("x: list[str] = []", '["a"]', ["a"]),
        ("x: list[float] = []", [1, 2.5], [1.0, 2.5]),
        ("x: dict[str, float] = {}", '{"a": 1}', {"a": 1.0}),
        ("x: list[int] | None = None", "None", None),
        ("x: list[int] | None = None", "[1]", [1]),
        ("x: list[list[int]] = []", "[[1], []]", [[1], []]),
        ("from typing import Any\nx: list[Any] = []", '[1, "a", null]', [1, "a", None]),
        ("from datetime import date\nx: list[date] = []", '["2021-01-31"]', ["2021-01-31"]),
        ("from typing import Literal\nx: list[Literal['a']] = []", '["a"]', ["a"]),
    ],
)
def test_a_list_or_a_dict_is_of_what_its_line_says(
    write_notebook: WriteNotebook, line: str, value: object, checked: object
):
    assert read_contract(write_notebook(line)).check({"x": value}) == {"x": checked}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("x: list[str] = []", [1]),
        ("x: list[int] = []", '["1"]'),
        ("x: list[int] = []", [True]),
        ("x: list[int] = []", [1.5]),
        ("x: list[int] = []  # zones [1 to 265]", [266]),
        ("x: list[float] = []", ["nan"]),
        ("x: list[float] = []", [float("nan")]),
        ("x: list = []", "[1.0, NaN]"),
        ("x: list = []", [1, [2, {"a": float("-inf")}]]),
        ("x: list[dict] = []", [{"a": float("nan")}]),
        ("x: dict = {}", '{"a": [1e999]}'),
        ("x: list[list[int]] = []", ["[1]"]),
        ("x: dict[str, float] = {}", {"a": "b"}),
        ("x: dict[str, float] = {}", [1]),
        ("from datetime import date\nx: list[date] = []", ["2021-02-30"]),
        ("from typing import Literal\nx: list[Literal['a']] = []", ["b"]),
    ],
)
def test_what_a_list_or_a_dict_holds_is_checked(
    write_notebook: WriteNotebook, line: str, value: object
):
    contract = read_contract(write_notebook(line))
    with refused(ContractError, "x is ", f"expected {contract.parameters[0].type}, as JSON"):
        contract.check({"x": value})


def test_a_type_that_an_earlier_cell_imports_is_known(write_notebook: WriteNotebook):
    path = write_notebook("where: Path = 'x'  # a path")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, new_code_cell("from pathlib import Path"))
    nbformat.write(notebook, path)
    assert read_contract(path).parameters[0].is_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            "a: int = 1  # from to [1 - 100]",
            "[1 - 100] is not a limit for int: write it like [1 to 100]",
        ),
        ("a: int = 1  # from [1 to]", "[1 to] is not a limit for int"),
        ("a: int = 1  # from [1 to n]", "[1 to n] is not a limit for int"),
        ("a: int = 1  # from [0 - inf]", "[0 - inf] is not a limit for int"),
        ("a: int = 1  # from [1..100]", "[1..100] is not a limit"),
        ("a: int = 1  # of [month]", "[month] is not a limit for int"),
        ("a: list[str] = []  # of [month]", "[month] is not a limit for list[str]"),
        ("a: str = '2021-01'  # of [a month]", "[a month] is not a limit"),
        ("a: str = 'Jan'  # of [month]", "a is 'Jan', which is not a month"),
        ("a: bool = True  # which [one of yes, no]", "[one of yes, no] is not a limit for bool"),
        ("a: int = 1  # which [one of 1, two]", "[one of 1, two] is not a limit for int"),
        ("a: str = 'x'  # which [one of x or y]", "[one of x or y] is not a limit"),
        ("a: str = 'z'  # which [one of x, y]", "a is 'z', expected x or y: which"),
        ("a: str | int = 'x'  # key [secret]", "[secret] is not a limit for str | int"),
        ("a: float = 1  # from [>= 0]", "[>= 0] is not a limit"),
        ("a: int = 1  # from [1 to 100 km]", "[1 to 100 km] is not a limit"),
        ("a: int = 1  # from [at least 1]", "[at least 1] is not a limit"),
        ("a: str = 'x'  # text [1 to 100]", "[1 to 100] is not a limit for str"),
        ("a: str = ''  # key [keep secret]", "[keep secret] is not a limit"),
        ("a: 'Path' = 'x'  # path [inside workspace]", "[inside workspace] is not a limit"),
        (
            "a: int = 1  # both [0 or more] [9 or less]",
            "[0 or more] and [9 or less] are two limits",
        ),
        ("a: int = 'one'  # wrong", "a is 'one', expected int"),
        ("a: int = 9  # out [1 to 5]", "a is 9, expected int, 1 to 5"),
        ("a: File = '.'  # where", "the type File is not known there: import it first"),
        ("a: int", "write each line as"),
        ("a: int =", "write each line as"),
    ],
)
def test_a_line_that_contradicts_itself_is_refused(
    write_notebook: WriteNotebook, line: str, why: str
):
    path = write_notebook(f"n = 1\n{line}")
    with refused(ContractError, "The parameters cell of 01_one.ipynb has ", line[:3], why):
        read_contract(path)


@pytest.mark.parametrize(
    "line",
    [
        *("docker_pwd = ''", "passphrase = None", "aws_access_key_id: str = 'AKIA'", "TOKEN = ''"),
        *("aws_secret_access_key = ''", "private_key = ''", "auth = 'me:you'", "bearer = ''"),
        *("api_token: str | None = None", "apiKey = ''", "dbPassword = ''", "openai_key = ''"),
        *("client_secret = ''", "gcp_credentials = None", "SMTP_PASS = ''", "password2 = ''"),
        *("import typing\nx_token: typing.Optional[str] = None", "hf_token = ''", "ssh_key = ''"),
        *(
            "password_hash = ''",
            "access_token_value = ''",
            "api_key_prod = ''",
            "azure_sas_token=''",
        ),
        *("mypassword = ''", "sshpassphrase = ''", "githubapikey = ''"),
    ],
)
def test_a_text_that_sounds_like_a_secret_is_to_be_called_one(
    write_notebook: WriteNotebook, line: str
):
    with refused(ContractError, "sounds like a secret: end its line with [secret]"):
        read_contract(write_notebook(line))
    assert read_contract(
        write_notebook(f"{line.replace('AKIA', '').replace('me:you', '')} # [secret]")
    )


@pytest.mark.parametrize(
    "line",
    [
        *(
            "maximum_total_credentials = 22",
            "token_limit = 100",
            "n_tokens = '5'",
            "max_tokens = 1",
        ),
        *("tokenizer = 'bert'", "secretary = 'Ann'", "passenger_count = None", "key_column = 'id'"),
        *(
            "compass = 'north'",
            "pad_token = '<pad>'",
            "password_length = '8'",
            "use_password = True",
        ),
        *("token_url = 'http://h'", "primary_key = 'id'", "author = 'Ann'", "first_pass = 'a'"),
        *("passwords = ['a']", "secret_count: int | None = None", "keyboard = 'de'", "key = 'a'"),
        *("authority = 'x'", "client_id = 'x'", "auth_method = 'x'", "credentials_file = 'x.json'"),
        *("import typing\nauth: typing.Literal['a', 'b'] = 'a'", "monkey = 'x'", "hockey_keys = 1"),
        *("uri = 'http://h:80/x@y'", "uri = 'postgresql://me@h/db'", "note = 'the password: none'"),
    ],
)
def test_what_only_sounds_a_little_like_a_secret_is_a_parameter(
    write_notebook: WriteNotebook, line: str
):
    assert read_contract(write_notebook(line)).parameters


@pytest.mark.parametrize(
    "value",
    ["postgresql://me:you@h/db", "Server=h;Password=you;", "-----BEGIN RSA PRIVATE KEY-----\nMII"],
)
def test_a_text_that_holds_a_password_is_not_repeated(write_notebook: WriteNotebook, value: str):
    contract = read_contract(write_notebook("uri: str = ''  # where"))
    with refused(ContractError, "uri holds a password: end its line with [secret]"):
        contract.check({"uri": value})
    with pytest.raises(ContractError, match="uri holds a password"):
        read_contract(write_notebook(f"uri = {value!r}"))
