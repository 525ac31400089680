import os
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_notebook

from support.notebooks import printed, run_path, write_cells
from taxi_lib.errors import ContractError
from taxi_lib.results import read_results, report_results
from taxi_lib.runner import failures
from taxi_lib.runner.notebook_run import NotebookRun

RunCells = Callable[..., NotebookRun]


@pytest.fixture
def run_cells(tmp_path: Path) -> RunCells:
    """Return a function that runs a notebook made of some cells."""

    def run(*sources: str, parameters: dict | None = None, **options: object) -> NotebookRun:
        # Braces in a folder's name are placeholders to papermill; here they are only a name.
        folder = tmp_path / "a {folder} with spaces"
        return run_path(write_cells(tmp_path, *sources), folder, parameters, **options)

    return run


@pytest.mark.slow
def test_a_good_notebook_leaves_its_results_and_its_page(run_cells: RunCells):
    report = (
        "from taxi_lib.results import report_results; report_results(rmse=1.5, rows=3, none=None)"
    )
    run = run_cells(report)
    assert (run.status, run.error) == ("completed", None)
    assert run.results == {"rmse": 1.5, "rows": 3, "none": None}
    assert Path(run.html).stat().st_size > 1000
    assert sorted(p.name for p in Path(run.output).parent.iterdir()) == [
        "01_test.html",
        "01_test.ipynb",
        "01_test.log",
    ]


@pytest.mark.slow
def test_a_failing_cell_is_named_with_its_error_and_the_evidence_is_kept(run_cells: RunCells):
    run = run_cells("print('before')", "1 / 0", "print('after')")
    assert run.status == "failed"
    assert run.error == "cell 5/6 · Work: ZeroDivisionError: division by zero"
    assert printed(run) == "before\n"
    assert "ZeroDivisionError" in Path(run.html).read_text()


@pytest.mark.slow
def test_a_failing_assert_without_a_message_shows_its_line(run_cells: RunCells):
    assert run_cells("assert 1 == 2").error.endswith("Work: AssertionError: assert 1 == 2")


@pytest.mark.slow
def test_a_notebook_that_ends_its_kernel_early_has_failed(run_cells: RunCells):
    run = run_cells("import sys; sys.exit(0)", "print('never')")
    assert run.status == "failed" and "nothing after that was run" in run.error


@pytest.mark.slow
def test_a_notebook_that_ends_its_kernel_within_its_last_cell_has_failed(run_cells: RunCells):
    run = run_cells("import sys\nif 1: sys.exit(0)\nprint('never')")
    assert run.status == "failed" and "nothing after that was run" in run.error


@pytest.mark.slow
def test_a_table_that_is_too_long_to_clean_is_left_out_of_the_page_and_kept_in_the_notebook(
    run_cells: RunCells,
):
    run = run_cells("from IPython.display import HTML; HTML('<b>bold</b>' * 100_000)")
    assert "1,100,000 characters of HTML: open the notebook" in Path(run.html).read_text()
    assert Path(run.output).stat().st_size > 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("parameters", [{}, {"greeting": "ho"}])
def test_each_cell_is_reported_with_its_number_and_section(run_cells: RunCells, parameters: dict):
    lines = []
    run_cells(
        "1",
        "2",
        parameters=parameters,
        on_progress=lambda line, _: lines.append(line),
    )
    given = ["01 · the parameters as given"] if parameters else []
    later = ["01 · cell 4/5 · Work", "01 · cell 5/5 · Work"]
    assert lines == ["01 · cell 2/5 · 1. Test", *given, *later]


@pytest.mark.slow
def test_the_kernel_is_this_environments_and_works_in_the_run_folder(run_cells: RunCells):
    run = run_cells("import os, sys; print(sys.prefix, os.getcwd(), sep='\\n')")
    assert printed(run).split("\n")[:2] == [sys.prefix, str(Path(run.output).parent)]


@pytest.mark.slow
def test_the_kernel_sees_the_environment_that_it_was_given(run_cells: RunCells):
    run = run_cells("import os; print(os.environ['TAXI'])", env=os.environ | {"TAXI": "green"})
    assert printed(run) == "green\n"


@pytest.mark.slow
def test_the_page_shows_prose_tables_and_figures_and_nothing_that_acts(run_cells: RunCells):
    figure = """
import matplotlib.pyplot as plt
from IPython.display import HTML, display
from taxi_lib.plots import show
show(plt.subplots()[0], alt='An "empty" figure.')
display(HTML("<table><tr><th>head</th></tr></table><script>alert(1)</script>"))
display(HTML('<img src="x" onerror="alert(2)">'))
"""
    page = BeautifulSoup(Path(run_cells(figure).html).read_text(), "html.parser")
    assert page.find("img")["alt"] == 'An "empty" figure.'
    assert page.th.text == "head" and page.h1["id"] == "1.-Test"
    assert not page.find_all("script") and not page.find_all(onerror=True)


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), np.float32("nan"), [1.0, float("nan")], {"a": object()}, {1, 2}],
)
def test_a_result_that_is_not_finite_or_no_value_of_json_is_refused(value: object):
    with pytest.raises(ContractError, match=r"^Result rmse is .*, expected finite numbers, texts"):
        report_results(rmse=value)


@pytest.mark.slow
def test_numpys_numbers_and_arrays_are_results(run_cells: RunCells):
    report = "report_results(rmse=np.float32(0.5), errors=np.array([1, 2]))"
    run = run_cells(f"import numpy as np; from taxi_lib.results import report_results; {report}")
    assert run.results == {"rmse": 0.5, "errors": [1, 2]}


@pytest.mark.slow
def test_what_an_earlier_run_left_in_the_same_folder_is_kept_and_not_taken_for_this_one(
    run_cells: RunCells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel to be had")

    folder = Path(run_cells("print('first')").output).parent
    monkeypatch.setattr("papermill.execute_notebook", fail)
    run = run_path(tmp_path / "01_test.ipynb", folder)
    assert run.error == "before the first cell: RuntimeError: no kernel to be had"
    assert (run.status, run.output, run.html, run.results) == ("failed", None, None, {})
    assert "first" in (folder / "01_test.attempt-1.ipynb").read_text()


def test_a_notebook_without_results_has_none(tmp_path: Path):
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), tmp_path / "empty.ipynb")
    assert read_results(tmp_path / "empty.ipynb") == {}


@pytest.mark.parametrize(
    "error",
    [
        "AttributeError: module 'mlflow' has no attribute 'set_experiment'",
        "ModuleNotFoundError: No module named 'mlflow.tracking'; 'mlflow' is not a package",
        "ImportError: cannot import name 'MlflowClient' from 'mlflow' (mlflow.py)",
    ],
)
@pytest.mark.parametrize("name", ["mlflow.py", "mlflow/__init__.py"])
def test_a_file_beside_the_notebook_that_a_package_comes_before_is_named(
    tmp_path: Path, error: str, name: str
):
    assert failures.name_shadow(error, tmp_path) == error
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    expected = f"{error} ({tmp_path / name} is not imported, another mlflow comes first: rename it)"
    assert failures.name_shadow(error, tmp_path) == expected


def test_a_module_of_ones_own_is_in_nobodys_way(tmp_path: Path):
    (tmp_path / "helper.py").write_text("")
    for error in ("AttributeError: module 'helper' has no attribute 'x'", "ValueError: 'mlflow'"):
        assert failures.name_shadow(error, tmp_path) == error
