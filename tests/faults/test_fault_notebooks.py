"""Files that are no notebook, or an odd one: read as it is meant, or refused in one sentence."""

import codecs
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from support import ROOT
from support.notebooks import printed, run_path, write_cells
from support.processes import as_anybody
from support.refusals import refused
from taxi_lib.errors import ContractError
from taxi_lib.runner.contracts import check_request, read_contract
from taxi_lib.runner.execution import run_notebook
from taxi_lib.runner.fingerprints import code_of
from taxi_lib.runner.notebook_file import headings, read_notebook
from taxi_lib.runner.run_context import RunContext

TEXT = 'month: str = "2021-01"  # a month'
Write = Callable[..., Path]


def a_cell(source: object, **fields: object) -> dict:
    return {"cell_type": "code", "metadata": {}, "outputs": [], "source": source} | fields


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a notebook as JSON, as wrong as you like."""

    def write(*cells: object, **fields: object) -> Path:
        notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)}
        path = tmp_path / "01_odd.ipynb"
        path.write_text(json.dumps(notebook | fields), encoding="utf-8")
        return path

    return write


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    return write_cells(tmp_path, "print(greeting)", name="01_odd").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (bytes(4096), "it is empty"),
        (b"<!DOCTYPE html><html></html>", "it is a web page"),
        (b"\n<html>", "it is a web page"),
        (b"<<<<<<< HEAD\n", "marks of a merge conflict, in line 1"),
        (b'{"cells": [\n<<<<<<< HEAD\n1\n=======\n2\n>>>>>>> b\n]}', "merge conflict, in line 2"),
        (b"PK\x03\x04\xff\xfe\x00\x00\x81", "it holds no text"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "it holds no text"),
        (b"print(1)", "no JSON, line 1: Expecting value"),
        (b'{"cells": [1,, 2], "nbformat": 4}', "no JSON, line 1"),
        (b'{"cells": []} more', "no JSON, line 1: Extra data"),
        (b"[" * 100_000, "it is nested too deep"),
        (b"[]", "it holds only a list"),
        (b"null", "it holds only a NoneType"),
        (b"{}", "it has no nbformat"),
        (b'{"nbformat": 5, "cells": []}', "its nbformat is 5; 1 to 4 are known"),
        (b'{"nbformat": "4", "cells": []}', "its nbformat is '4'"),
        (b'{"nbformat": 4}', "it has no list of cells"),
        (b'{"nbformat": 4, "cells": null}', "it has no list of cells"),
        (b'{"nbformat": 4, "cells": {"a": 1}}', "it has no list of cells"),
        (b'{"nbformat": 3, "worksheets": [5]}', "its format 3 cannot be converted"),
    ],
)
def test_a_file_that_is_no_notebook_is_refused_with_what_it_is(
    tmp_path: Path, content: bytes, why: str
):
    (tmp_path / "01_odd.ipynb").write_bytes(content)
    with refused(ContractError, "01_odd.ipynb is not a notebook (", why, "): "):
        read_contract(tmp_path / "01_odd.ipynb")


def test_a_notebook_that_is_cut_short_is_refused_wherever_it_was_cut(whole: bytes, tmp_path: Path):
    path = tmp_path / "01_odd.ipynb"
    for end in range(1, len(whole.rstrip()), 5):
        path.write_bytes(whole[:end])
        line = 1 + whole[:end].rstrip().count(b"\n")
        with refused(ContractError, "is not a notebook (it is cut short, in line", f" {line}): "):
            read_notebook(path)


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
)
def test_a_byte_order_mark_does_no_harm(tmp_path: Path, whole: bytes, mark: bytes, encoding: str):
    (tmp_path / "01_odd.ipynb").write_bytes(mark + whole.decode().encode(encoding))
    assert read_contract(tmp_path / "01_odd.ipynb").parameters[0].name == "greeting"


def test_what_is_no_plain_file_is_refused(tmp_path: Path):
    path = tmp_path / "01_odd.ipynb"
    path.mkdir()
    with refused(ContractError, "01_odd.ipynb is not a notebook (it is a folder)"):
        read_contract(path)
    path.rmdir()
    os.mkfifo(path)
    with refused(ContractError, "01_odd.ipynb is not a notebook (it is no plain file)"):
        read_contract(path)
    path.unlink()
    path.symlink_to("nowhere")
    with refused(ContractError, "01_odd.ipynb cannot be read (No such file or directory)"):
        read_contract(path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, whole: bytes):
    tmp_path.chmod(0o755)
    path = tmp_path / "01_odd.ipynb"
    path.write_bytes(whole)
    path.chmod(0)
    command = [*as_anybody(), sys.executable, "-m", "taxi_lib", "list", "--folder", str(tmp_path)]
    refusal = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refusal.returncode == 2
    assert refusal.stderr.startswith("01_odd.ipynb cannot be read (Permission denied): ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "why"),
    [
        (5, "cell 1 is 5, expected a mapping"),
        (a_cell(1), "the source of cell 1 is 1, expected a text or a list of texts"),
        (a_cell([1]), "the source of cell 1 is [1]"),
        (a_cell({}), "the source of cell 1 is {}"),
        (a_cell("", metadata=[]), "the metadata of cell 1 is []"),
        (a_cell("", metadata={"tags": 1}), "the tags of cell 1 is 1"),
        (a_cell("", metadata={"tags": [["parameters"]]}), "the tags of cell 1 is [['parameters']]"),
        (a_cell("", cell_type="heading"), "the type of cell 1 is 'heading', expected code"),
        (a_cell("", cell_type=None), "the type of cell 1 is None"),
    ],
)
def test_a_field_of_another_type_is_refused_with_its_place(write: Write, cell: object, why: str):
    with refused(ContractError, "01_odd.ipynb is not a notebook (", why):
        read_contract(write(cell))


def test_half_a_character_is_read_as_its_escape_wherever_it_is(write: Write):
    path = write(a_cell("text = '\ud800'"), metadata={"title": "\udfff"})
    notebook = read_notebook(path)
    assert notebook.cells[0].source == r"text = '\ud800'"  # to Python the same
    assert notebook.metadata["title"] == r"\udfff"


@pytest.mark.parametrize("fields", [{"kernelspec": "ir"}, {"language_info": ["python"]}])
def test_a_kernel_that_is_no_mapping_is_refused(write: Write, fields: dict):
    with refused(ContractError, "is not a notebook (", f"{next(iter(fields))} is "):
        read_contract(write(metadata=fields))


def test_what_is_null_or_missing_is_as_if_it_were_empty(write: Write):
    nothing = {"kernelspec": None, "language_info": None, "papermill": None, "title": None}
    cells = (
        a_cell(None, metadata=None, outputs=None, id=None),
        a_cell([TEXT, None], metadata={"tags": "parameters", "jupyter": None}, id="a b"),
        {"cell_type": "code", "source": ["month\n", "# x"], "id": "same"},
        {"cell_type": "markdown", "source": "text", "id": "same", "metadata": {"tags": None}},
        a_cell("1", metadata={"tags": [None, "kept, parameter", "papermill"], "papermill": None}),
    )
    for path in (
        write(*cells, metadata=nothing),
        write(*cells, metadata=None, nbformat_minor=None),
    ):
        notebook = read_notebook(path)
        nbformat.validate(notebook)
        assert len({cell.id for cell in notebook.cells}) == 5
        assert [cell.source for cell in notebook.cells[1:3]] == [TEXT, "month\n# x"]
        assert notebook.cells[4].metadata == {"tags": ["kept", "parameter", "papermill"]}
        assert [p.name for p in read_contract(path).parameters] == ["month"]
        assert notebook == read_notebook(path)


@pytest.mark.parametrize("tags", ["parameters", ["parameters"], ["a,parameters"]])
def test_two_tagged_cells_are_refused_in_whatever_form_they_are_tagged(write: Write, tags: object):
    first, second = (a_cell(TEXT, metadata={"tags": t}) for t in (["parameters"], tags))
    with refused(ContractError, "01_odd.ipynb has 2 cells tagged parameters: keep one"):
        read_contract(write(first, second))
    with refused(ContractError, "01_odd.ipynb has 2 cells tagged parameters: keep one"):
        read_contract(write(a_cell(None, metadata={"tags": "parameters"}), second))


@pytest.mark.slow
def test_values_are_put_behind_the_code_cell_that_is_tagged(tmp_path: Path):
    tagged = {"tags": ["parameters"]}
    cells = [
        new_markdown_cell("# 1. Two tags", metadata=tagged),
        nbformat.v4.new_raw_cell("raw", metadata=tagged),
        new_code_cell("# nothing", metadata={"tags": ["other-parameters"]}),
        new_code_cell(TEXT, metadata=tagged),
        new_markdown_cell("The parameters end here", metadata=tagged),
        new_code_cell("print('MONTH', month)"),
        new_code_cell("1 / 0"),
    ]
    path = tmp_path / "{1}.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    before = path.read_bytes()
    run = run_path(path, tmp_path / "run", {"month": "2023-01"})
    assert printed(run) == "MONTH 2023-01\n" and path.read_bytes() == before
    assert run.error == "cell 7/7 · 1. Two tags: ZeroDivisionError: division by zero"
    executed = nbformat.read(run.output, as_version=4)
    assert executed.metadata.papermill.input_path == str(path)
    assert code_of(executed.cells[1:]) == code_of(read_notebook(path).cells)


@pytest.mark.slow
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.filterwarnings("ignore::nbformat.warnings.MissingIDFieldWarning")
def test_a_notebook_of_an_old_format_runs_with_its_values(tmp_path: Path, version: int):
    said = {"cell_type": "code", "language": "python", "outputs": [], "collapsed": False}
    tagged = said | {"input": TEXT, "metadata": {"tags": ["parameters"]}, "prompt_number": 1}
    heading = {"cell_type": "heading", "level": 1, "source": "Old", "metadata": {}}
    heading = heading if version == 3 else {"cell_type": "markdown", "source": "# Old"}
    cells = [heading, tagged, said | {"input": "print('MONTH', month)", "metadata": {}}]
    content = {"nbformat": version, "metadata": {"name": "x"}, "worksheets": [{"cells": cells}]}
    path = tmp_path / "01_old.ipynb"
    path.write_text(json.dumps(content | {"nbformat_minor": 0}))
    assert read_contract(path).title == "Old"
    if version == 3:  # one kernel is enough
        assert printed(run_path(path, tmp_path / "run", {"month": "2023-01"})) == "MONTH 2023-01\n"
    assert [p.name for p in read_contract(path).parameters] == ["month"]


def test_a_notebook_is_not_run_once_it_takes_something_else_than_was_checked(tmp_path: Path):
    path = write_cells(tmp_path, "1")
    contract = read_contract(path)
    write_cells(tmp_path, 'greeting = "hello"')
    run = run_notebook(contract, {"greeting": "ho"}, RunContext(tmp_path / "run", env={}))
    assert run.status == "failed" and "something else than when the run began" in run.error


def test_other_words_are_no_other_contract(tmp_path: Path):
    path = write_cells(tmp_path, "1")
    before = read_contract(path).terms
    path.write_text(path.read_text().replace("what to say", "whom to greet").replace("Test", "Try"))
    assert read_contract(path).terms == before
    path.write_text(path.read_text().replace("hello", "ho"))
    assert read_contract(path).terms != before


def test_a_value_for_what_one_of_several_notebooks_computes_is_refused(tmp_path: Path):
    write_cells(tmp_path, "1", parameters="n: int = 1  # n")
    write_cells(tmp_path, "1", name="02_two", parameters="n = 1 + 1")
    contracts = [read_contract(path) for path in sorted(tmp_path.glob("*.ipynb"))]
    with refused(ContractError, "n cannot be given a value", "02_two.ipynb computes it"):
        check_request(contracts, {"n": "5"})


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("# One\n\ntext\n\n## Two #\n\n###### Six", [(1, "One"), (2, "Two"), (6, "Six")]),
        ("One\n===\n\nTwo\n---", [(1, "One"), (2, "Two")]),
        ("   ### Three", [(3, "Three")]),
        ("```sh\n# no heading\n```\n~~~\n## nor this\n~~~\n\n    # nor this", []),
        ("#no heading\n\n####### nor this\n\n# ", []),
        ("text\n# One", [(1, "One")]),
    ],
)
def test_headings_are_those_that_the_page_shows(source: str, found: list):
    assert headings(source) == found


@pytest.mark.slow
def test_the_place_of_a_failure_is_the_nearest_heading_of_any_level(tmp_path: Path):
    path = write_cells(tmp_path, "1", "1 / 0")
    notebook = nbformat.read(path, as_version=4)
    fenced = "#### Deeper\n\n```\n# comment\n```"
    notebook.cells[4:4] = [new_markdown_cell(fenced)]
    nbformat.write(notebook, path)
    run = run_path(path, tmp_path / "run")
    assert run.error == "cell 6/6 · Deeper: ZeroDivisionError: division by zero"
