"""A value that is given is used, or it is refused: what a notebook's code does with its names."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from support.refusals import refused
from taxi_lib.errors import ContractError
from taxi_lib.plan import given_to
from taxi_lib.runner.contracts import check_request, read_contract

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a notebook: its parameters cell and the cells after it."""

    def write(parameters: str, *cells: str, before: str = "pass") -> Path:
        tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
        cells = [new_code_cell(before), tagged, *map(new_code_cell, cells)]
        nbformat.write(new_notebook(cells=cells), tmp_path / "01_one.ipynb")
        return tmp_path / "01_one.ipynb"

    return write


@pytest.mark.parametrize(
    "cell",
    [
        'month = "2021-01"',
        'month: str = "2021-01"',
        'year, month = 2021, "2021-01"',
        "first, *month = range(3)",
        "[year, (month, day)] = 2021, (1, 2)",
        'other, month = month, "2021-01"',
        'print(month := "2021-01")',
        "for month in range(3): pass",
        "for month in range(3):\n    print(month)",
        "for n in range(3):\n    month = n",
        'with open("x") as month: pass',
        "import calendar as month",
        "from calendar import month",
        "def month(): return 1",
        "class month: pass",
        'def choose():\n    global month\n    month = "2021-01"',
        "[month := n for n in range(3)]",
        'if quick:\n    month = "2021-01"',
        'try:\n    month = "2021-01"\nexcept ValueError: pass',
        "match [1, 2]:\n    case [month, *_]: pass",
        'globals()["month"] = "2021-01"',
        '%matplotlib inline\nmonth = "2021-01"',
        '%%time\nmonth = "2021-01"',
        '%time month = "2021-01"',
        "month = !date",
        'await something()\nmonth = "2021-01"',
        'pattern = "\\d"\nmonth = "2021-01"',
        'a = b = month = "2021-01"',
        'del month\nmonth = "2021-01"',
        'print(month); month = "2021-01"',
        'month = os.environ.get("month", "2021-01")',
    ],
)
def test_a_value_that_a_later_cell_replaces_is_refused_and_the_cell_named(write: Write, cell: str):
    contract = read_contract(write('month: str = "2021-02"  # a month', "print(month)", cell))
    with refused(ContractError, "month cannot be given a value, because cell 4 of 01_one.ipynb"):
        check_request([contract], {"month": "2021-03"})
    check_request([contract], {})  # without a value there is nothing to be lost


@pytest.mark.parametrize(
    "cell",
    [
        "month = month.strip()",
        'month += "-01"',
        'month = month or "2021-01"',
        'if month is None:\n    month = "2021-01"',
        'try:\n    month\nexcept NameError:\n    month = "2021-01"',
        'if "month" not in globals():\n    month = "2021-01"',
        "raw = month\nmonth = raw[:7]",
        "def clean():\n    return month.strip()\nmonth = clean()",
        "months = [month]\nfor month in months: pass",
        "month = !echo {month}",
        "%time month = month.strip()",
        "def f():\n    month = 1\n    return month",
        "def f(month): return month",
        "class A:\n    month = 1",
        "[month for month in range(3)]",
        "(lambda month: month)(1)",
        'print(month == "x", dict(month="y"))',
        'trips.month = "2021-01"',
        'trips["month"] = "2021-01"',
        "del month",
        "%%bash\nmonth=2021-01",
        "%%writefile x.py\nmonth = 1",
        'months = "2021-01"',
        "this is no Python",
    ],
)
def test_a_value_that_is_used_is_taken_whatever_becomes_of_it(write: Write, cell: str):
    contract = read_contract(write('month: str = "2021-02"  # a month', cell))
    check_request([contract], {"month": "2021-03"})
    assert contract.check({"month": "2021-03"}) == {"month": "2021-03"}


def test_what_a_value_becomes_is_followed_from_cell_to_cell(write: Write):
    used = read_contract(write("n: int = 1  # n", "more = n + 1", "n = more * 2"))
    assert used.check({"n": "5"}) == {"n": 5}


def test_a_cell_before_the_parameters_or_one_that_is_skipped_replaces_nothing(write: Write):
    path = write("n: int = 1  # n", "n = 2", before="n = 3")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].metadata["tags"] = ["skip-execution"]
    nbformat.write(notebook, path)
    assert read_contract(path).check({"n": 5}) == {"n": 5}


@pytest.mark.parametrize(
    "line",
    [
        'path = f"{month}.parquet"',
        "months = [month]",
        "def f(): return month\nresult = f()",
        "def f(m=month): return m",
        "%env MONTH={month}",
        "random.seed(month)",
        "if month: other = 1",
    ],
)
def test_a_value_that_comes_too_late_for_a_line_of_its_own_cell_is_refused(write: Write, line: str):
    contract = read_contract(write(f'month: str = "2021-02"  # a month\n{line}\nn: int = 1'))
    with refused(ContractError, "month cannot", "parameters cell", "to a cell below"):
        check_request([contract], {"month": "2021-03"})
    check_request([contract], {"n": "2"})


def test_a_function_that_is_called_later_sees_the_value(write: Write):
    lines = 'month: str = "2021-02"  # a month\ndef f(): return month\ng = lambda: month'
    assert read_contract(write(lines)).check({"month": "2021-03"}) == {"month": "2021-03"}


def test_a_parameter_that_its_own_cell_declares_twice_is_refused(write: Write):
    with refused(ContractError, "01_one.ipynb has 'n = 2'", "n is declared twice: keep one"):
        read_contract(write("n: int = 1  # n\nn = 2"))
    twice = read_contract(write("n: int = 1  # n\nn = n * 2"))
    with refused(ContractError, "n cannot be given", "sets it again in 'n = n * 2': keep one"):
        check_request([twice], {"n": "5"})


def test_a_path_that_a_later_cell_replaces_is_left_as_the_notebook_has_it(write: Write):
    path = write('import pathlib\nwhere: "pathlib.Path" = "a"', 'where = "x.csv"')
    assert read_contract(path).check({}) == {}


def test_a_source_that_a_later_cell_replaces_is_refused_in_every_walkthrough(write: Write):
    line = 'source: str = "auto"  # from where [one of auto, local, tlc, synthetic]'
    contract = read_contract(write(line, 'source = "auto"'))
    with refused(ContractError, "source cannot be given a value, because cell 3"):
        contract.check(given_to(contract, {}, "auto"))


def test_a_secret_that_a_later_cell_replaces_is_refused_also_by_default(write: Write):
    path = write('api_key: str = "env:KEY"  # key [secret]', 'api_key = "x"')
    with refused(ContractError, "api_key cannot be given a value, because cell 3"):
        check_request([read_contract(path)], {})
