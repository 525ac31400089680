"""What may fail in a cell, and how that is said: no Prefect in these."""

import errno
import os
import socket
import sqlite3
import urllib.error
from pathlib import Path

import httpx
import nbformat
import pytest
import requests
import urllib3

from support.notebooks import printed, raised, run_path, tag, write_cells
from taxi_lib.runner.cache import find, keep
from taxi_lib.runner.contracts import read_contract
from taxi_lib.runner.failures import explain, is_retryable
from taxi_lib.runner.fingerprints import Snapshot, inputs_of
from taxi_lib.runner.kernel.engine import CellFailedError
from taxi_lib.runner.kernel.errors import BESIDE, CommandFailedError, describe
from taxi_lib.runner.notebook_run import NotebookRun

# What a cell says, and how it fails; where it says itself that it may fail, it does not.
COMMANDS = {
    "!exit 3": "`!exit 3` ended with status 3",
    "x = !exit 3": "`!exit 3` ended with status 3",
    "!!exit 3": "`!exit 3` ended with status 3",
    "%sx exit 3": "`%sx exit 3` ended with status 3",
    "%system exit 3": "`%system exit 3` ended with status 3",
    "%%sx\nexit 3": "`%%sx` ended with status 3",
    "%cat nowhere": "`%cat nowhere` ended with status 1",
    "!no-such-command": "`!no-such-command` ended with status 127",
    "!exit 255": "`!exit 255` ended with status 255",
    '!sh -c "kill -9 \\$\\$"': '`!sh -c "kill -9 \\$\\$"` was stopped by SIGKILL',
    "name = 'nowhere'\n!cat {name}": "`!cat nowhere` ended with status 1",
    "%%bash\nexit 3": "`%%bash` ended with status 3",
    "%%script no-such-program\nx": "`%%script` needs no-such-program, which is missing",
    "%run fails.py": "ValueError: from the script",
    "%run exits.py": "`%run exits.py` ended with status 3",
    "%run gives_up.py": "`%run gives_up.py` ended with: no data for May",
    "%run -m json.tool nowhere": "`%run -m json.tool nowhere` ended with status 2",
    "%run nowhere.py": "Exception: File `'nowhere.py'` not found.",
    "%cd nowhere": "FileNotFoundError: [Errno 2] No such file or directory: 'nowhere'",
    "%%capture\n!exit 3": "`!exit 3` ended with status 3",
    "!(exit 3) || true": "",
    "!exit 3\nprint('status', _exit_code)": "",
    "%%bash --no-raise-error\nexit 3": "",
    "%%script --no-raise-error no-such-program\nx": "",
    "%run -e exits.py": "",
    "%run ends.py": "",
    "def f(word):\n    said = !echo $word; echo error >&2\n    print(said)\nf('local')": "",
}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return how each of the commands failed in a notebook whose cells may all fail."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "fails.py").write_text("raise ValueError('from the script')")
    (folder / "exits.py").write_text("import sys; sys.exit(3)")
    (folder / "gives_up.py").write_text("import sys; sys.exit('no data for May')")
    (folder / "ends.py").write_text("import sys; sys.exit()")
    run = run_path(tag(write_cells(folder, *COMMANDS), ["raises-exception"]), folder / "run")
    assert (run.status, run.error) == ("completed", None)
    assert "status 3" in printed(run) and "['local', 'error']" in printed(run)
    return dict(zip(COMMANDS, raised(run), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("source", COMMANDS)
def test_a_command_that_fails_is_an_error_of_its_cell(commands: dict[str, str], source: str):
    expected = COMMANDS[source]
    named = f"CommandFailedError: {expected}" if expected.startswith("`") else expected
    assert commands[source] == named


def run_cells(folder: Path, *sources: str, **arguments: object) -> NotebookRun:
    return run_path(write_cells(folder, *sources), folder / "run", **arguments)


@pytest.mark.slow
def test_a_command_that_fails_ends_its_notebook_and_log_and_page_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("API_KEY", "s3cret-key")
    line = 'api_key: str = ""  # of the API [secret]'
    path = write_cells(tmp_path, "!echo $api_key; exit 4", "print('never')", parameters=line)
    run = run_path(path, tmp_path / "run", {"api_key": "env:API_KEY"})
    expected = "CommandFailedError: `!echo ********; exit 4` ended with status 4"
    assert (run.status, run.error) == ("failed", f"cell 4/5 · Work: {expected}")
    assert printed(run).split() == ["********"]
    assert f"FAILED: {run.error}\n" in Path(run.log).read_text()
    assert "ended with status 4" in Path(run.html).read_text()


@pytest.mark.slow
def test_a_tagged_cell_may_raise_and_what_fails_later_is_named(tmp_path: Path):
    path = write_cells(tmp_path, "int('twenty')", "x = 1", "print('on')", "x / 0", "print('never')")
    run = run_path(tag(path, ["raises-exception"], 0, 1), tmp_path / "run")
    assert run.error == "cell 7/8 · Work: ZeroDivisionError: division by zero"
    assert run.cell == "x / 0" and printed(run) == "on\n"
    cells = nbformat.read(run.output, as_version=4).cells
    (mark,) = (n for n, cell in enumerate(cells) if "papermill-error-cell" in cell.source and n)
    assert cells[mark + 1].source == "x / 0"


@pytest.mark.slow
@pytest.mark.parametrize("tags", [["raises-exception"], "raises-exception"])
def test_a_notebook_whose_tagged_cell_raises_is_completed_and_shows_the_error(
    tmp_path: Path, tags: object
):
    run = run_path(tag(write_cells(tmp_path, "int('twenty')"), tags), tmp_path / "run")
    assert (run.status, run.error, len(raised(run)[0]) > 20) == ("completed", None, True)
    assert "ValueError" in Path(run.html).read_text()
    assert "papermill-error-cell" not in Path(run.output).read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import sys; sys.exit('no data for May')", "SystemExit: no data for May; it ended the"),
        ("import os; os.kill(os.getpid(), 9)", "the kernel died"),
        ("import time; time.sleep(60)", "it took longer than 3 seconds and was stopped"),
    ],
)
def test_a_tagged_cell_may_raise_but_not_leave_early_die_or_hang(
    tmp_path: Path, source: str, expected: str
):
    path = tag(write_cells(tmp_path, source, "print('never')"), ["raises-exception"])
    run = run_path(path, tmp_path / "run", cell_seconds=3)
    assert run.error.startswith(f"cell 4/5 · Work: {expected}")
    assert "never" not in printed(run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import sys; sys.exit('no data\\nfor May')", "SystemExit: no data; it ended the kernel"),
        ("import sys; sys.exit(3)", "SystemExit: 3; it ended the kernel"),
        ("raise SystemExit", "it ended the kernel"),
        ("quit()", "it ended the kernel"),
    ],
)
def test_a_notebook_that_leaves_early_says_why(tmp_path: Path, source: str, expected: str):
    run = run_cells(tmp_path, source, "print('never')")
    assert run.error == f"cell 4/5 · Work: {expected}, and nothing after that was run"


@pytest.mark.slow
def test_quit_at_the_very_end_leaves_nothing_out(tmp_path: Path):
    assert run_cells(tmp_path, "quit()").status == "completed"


ERRORS = {
    "raise type('TooFew', (ValueError,), {})('3 trips\\nof 10')": "TooFew: 3 trips",
    "try:\n    {}['a']\nexcept KeyError as error:\n    raise RuntimeError() from error": (
        "RuntimeError: raise RuntimeError() from error"
    ),
    "raise ExceptionGroup('many', [ValueError('a\\nb'), KeyError('c')])": (
        "ExceptionGroup: many (2 sub-exceptions): ValueError: a; KeyError: 'c'"
    ),
    "class Mute(Exception):\n    def __str__(self): 1 / 0\nraise Mute": (
        "Mute: its message cannot be shown (ZeroDivisionError)"
    ),
    "%nope": "UsageError: Line magic function `%nope` not found.",
    "x = 1\nx = = 2": "SyntaxError: invalid syntax (line 2: x = = 2)",
    "get_ipython().showtraceback((ValueError, ValueError('shown'), None))": "ValueError: shown",
}


@pytest.mark.slow
@pytest.mark.parametrize("source", ERRORS)
def test_an_error_is_described_by_its_name_and_first_line(tmp_path: Path, source: str):
    run = run_cells(tmp_path, source, "print('never')", cell_seconds=20)
    assert run.error.startswith(f"cell 4/5 · Work: {ERRORS[source]}")
    assert "\n" not in run.error and run.cell == source and "never" not in printed(run)


def failed(error: BaseException) -> CellFailedError:
    return CellFailedError(describe(error, ""))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (type("Übel", (Exception,), {})("größer"), "Übel: größer"),
        (ValueError("\n\n  deep\nmore"), "ValueError: deep"),
        (ValueError(), "ValueError"),
        (ExceptionGroup("a", [ExceptionGroup("b", [OSError("c\nd")])]), "ExceptionGroup: a (1 sub"),
        (ValueError("x" * 10_000), "ValueError: " + "x" * 1000 + " …"),
    ],
)
def test_an_error_is_one_line_whatever_its_message(error: Exception, expected: str):
    sentence = explain(failed(error), 0)
    assert sentence.startswith(expected) and "\n" not in sentence


def test_of_many_members_of_a_group_three_are_named():
    group = ExceptionGroup("many", [ValueError(n) for n in range(5)])
    assert explain(failed(group), 0).endswith("ValueError: 0; ValueError: 1; ValueError: 2; …")


def test_signals_and_statuses_are_distinguished():
    for code, end in ((-9, "was stopped by SIGKILL"), (-127, "ended with status 255"), (4, "4")):
        assert str(CommandFailedError(code, "!x")).endswith(end)


@pytest.mark.slow
def test_the_copy_that_papermill_left_after_a_failure_names_the_right_cell(tmp_path: Path):
    copy = run_cells(tmp_path, "x = 1", "x / 0", "print('never')")
    again = Path(copy.output).rename(tmp_path / "02_again.ipynb")
    run = run_path(again, tmp_path / "run")
    number = 1 + next(
        n for n, c in enumerate(nbformat.read(again, as_version=4).cells) if c.source == "x / 0"
    )
    assert run.error == f"cell {number}/8 · Work: ZeroDivisionError: division by zero"
    assert run.cell == "x / 0"


@pytest.mark.slow
def test_what_run_reads_beside_the_notebook_is_found_and_is_an_input(tmp_path: Path):
    (tmp_path / "work" / "sub").mkdir(parents=True)
    (tmp_path / "work" / "sub" / "helper.py").write_text("answer = 42")
    (tmp_path / "shared.py").write_text("shared = 5")
    write_cells(tmp_path / "work", "%run ../shared", name="02_other")
    show = "print(answer, shared)\n!pwd"
    path = write_cells(tmp_path / "work", "%run sub/helper.py", "%run 02_other.ipynb", show)
    run = run_path(path, tmp_path / "work" / "run")
    assert printed(run).split() == ["42", "5", str(tmp_path / "work" / "run")]
    assert set(run.reads) == {
        str(tmp_path / name) for name in ("work/sub/helper.py", "work/02_other.ipynb", "shared.py")
    }
    contract = read_contract(path)
    before = Snapshot(inputs_of(contract, {}, {}), {})
    keep(run, contract, before, tmp_path / "work" / "run")
    assert find(contract, before)[1] == ""
    (tmp_path / "shared.py").write_text("shared = 6")
    assert find(contract, before) == (None, "shared.py was changed")
    (tmp_path / "shared.py").write_text("shared = 5")
    (tmp_path / "work" / "sub" / "helper.py").write_text("answer = 43")
    after = Snapshot(inputs_of(contract, {}, {}), {})
    assert find(contract, after) == (None, "helpers, helper.py was changed")


@pytest.mark.slow
def test_run_prefers_what_the_notebook_has_written_itself(tmp_path: Path):
    (tmp_path / "step.py").write_text("print('stale')")
    run = run_cells(tmp_path, "%%writefile step.py\nprint('fresh')", "%run step")
    assert printed(run).endswith("fresh\n") and run.reads == {}


@pytest.mark.slow
def test_a_failing_assert_counts_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    startup = tmp_path / "startup.py"
    startup.write_text("mine = 1")
    env = {"PYTHONOPTIMIZE": "2", "PYTHONSTARTUP": str(startup), "MPLBACKEND": "agg"}
    draw = "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.show()"
    run = run_cells(tmp_path, draw, "assert 'mine' in globals()", env=dict(os.environ) | env)
    assert run.error == "cell 5/5 · Work: AssertionError: assert 'mine' in globals()"
    assert "image/png" in Path(run.output).read_text()
    assert f"without {', '.join(env)} in its env" in Path(run.log).read_text()


@pytest.fixture
def with_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of a notebook with files beside it; we work in another one."""
    beside = tmp_path / "work"
    (beside / "data").mkdir(parents=True)
    (beside / "data" / "zones.csv").write_text("41\n")
    (tmp_path / "zones.txt").write_text("42\n")
    (beside / "script.py").write_text("import sys; sys.exit(3)")
    monkeypatch.setenv(BESIDE, str(beside))
    (tmp_path / "runs" / "run").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "runs" / "run")
    return beside


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file", "data/zones.csv"), "data/zones.csv"),
        (FileNotFoundError("Failed to open local file 'data/zones.csv'"), "data/zones.csv"),
        (OSError("data/zones.csv: No such file or directory"), "data/zones.csv"),
        (RuntimeError('Could not find "data/zones.csv".'), "data/zones.csv"),
        (CommandFailedError(1, "!sort --key=1 < data/zones.csv|head"), "data/zones.csv"),
        (CommandFailedError(1, "%%bash", script="cd data\nls"), "data"),
        (CommandFailedError(3, "%run script.py"), ""),
        (FileNotFoundError(errno.ENOENT, "No such file", "elsewhere.csv"), ""),
        (KeyError("data"), ""),
        (ValueError("data is too short"), ""),
        (OSError("\0"), ""),
    ],
)
def test_a_name_that_was_not_found_and_lies_beside_the_notebook_is_named(
    with_files: Path, error: Exception, name: str
):
    expected = explain(failed(error), 0)
    hint = f" ({name} lies beside the notebook, which works in the folder of its run: take the path"
    assert (hint in expected) == bool(name) == ("--work-beside" in expected)


@pytest.mark.slow
def test_what_lies_beside_is_named_in_a_notebooks_failure_and_found_when_it_works_there(
    with_files: Path,
):
    path = write_cells(with_files, "open('data/zones.csv').read()", "!cat data/zones.csv")
    folder = with_files.parent / "run"
    run = run_path(path, folder)
    assert "'data/zones.csv' (data/zones.csv lies beside the notebook" in run.error
    there = run_path(path, folder, work_beside=True)
    assert (there.status, printed(there).split()) == ("completed", ["41"])


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConnectionError("away"), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (urllib.error.URLError(ConnectionRefusedError()), True),
        (socket.gaierror(-2, "Name or service not known"), True),
        (requests.exceptions.ReadTimeout(), True),
        (httpx.ConnectError("away"), True),
        (urllib3.exceptions.MaxRetryError(None, "/"), True),
        (sqlite3.OperationalError("database is locked"), True),
        (requests.exceptions.HTTPError("404"), False),
        (urllib.error.HTTPError("http://x", 404, "gone", {}, None), False),
        (sqlite3.OperationalError("no such table: trips"), False),
        (ValueError("ConnectionError: TimeoutError: database is locked"), False),
        (FileNotFoundError(), False),
    ],
)
def test_a_second_try_is_for_what_may_pass_by_the_type_of_its_error(error: Exception, passes: bool):
    assert is_retryable(failed(error)) == passes
    try:
        raise RuntimeError("the month cannot be had") from error
    except RuntimeError as wrapped:
        assert is_retryable(failed(wrapped)) == (passes and "locked" not in str(error))
    if isinstance(error, urllib.error.HTTPError):
        error.close()


@pytest.mark.slow
def test_a_cell_asks_for_a_second_try_by_its_tag(tmp_path: Path):
    path = write_cells(tmp_path, "raise ValueError('once')")
    assert not run_path(path, tmp_path / "run").is_retryable
    assert run_path(tag(path, ["retry"]), tmp_path / "run").is_retryable


@pytest.mark.slow
def test_an_error_and_a_log_hold_nothing_that_acts_on_a_terminal(tmp_path: Path):
    shout = "print('\\x1b]0;owned\\x07\\x1b[31mred\\x1b[0m', end='\\r\\n')"
    run = run_cells(tmp_path, shout, "raise ValueError('\\x1b[2Ja\\x08b\\u202ec\\x9b1m\\rd')")
    assert run.error == "cell 5/5 · Work: ValueError: abc"
    log = Path(run.log).read_text()
    assert "red" in log and not set(log) & set("\x1b\x07\x08\u202e\x9b")
