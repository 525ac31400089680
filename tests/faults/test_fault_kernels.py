"""What a notebook's kernel may do or suffer, and what is left of it: no Prefect in these."""

import fcntl
import json
import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path

import nbformat
import psutil
import pytest

from support.notebooks import printed, run_path, write_cells
from support.refusals import refused
from taxi_lib.errors import ContractError, TaxiError
from taxi_lib.runner.contracts import read_contract
from taxi_lib.runner.kernel.launch import scratch_folder
from taxi_lib.runner.masking import MASK, StreamMask, mask
from taxi_lib.runner.notebook_run import NotebookRun
from taxi_lib.services.processes import stop_tagged

SECRET = "hünter2-sécret"
DIED = "cell 5/5 · Work: the kernel died (out of memory, or killed)"


def run_cells(folder: Path, *sources: str, **arguments: object) -> NotebookRun:
    return run_path(write_cells(folder, *sources), folder / "run", **arguments)


@pytest.mark.slow
@pytest.mark.parametrize(
    "end",
    ["os.kill(os.getpid(), 9)", "os._exit(0)", "os._exit(1)", "import ctypes; ctypes.string_at(0)"],
)
def test_a_kernel_that_dies_in_a_cell_is_a_failure_worth_a_second_try(tmp_path: Path, end: str):
    run = run_cells(tmp_path, "print('before', flush=True)", f"import os; {end}")
    assert (run.status, run.error, run.is_retryable) == ("failed", DIED, True)
    assert "before" in printed(run) and "before" in Path(run.log).read_text()
    assert Path(run.html).is_file()


UNSTARTABLE = """import sys
from pathlib import Path
from support.notebooks import run_path
from taxi_lib.runner.kernel import launch
launch.OPTIONS[:] = ["--Session.packer=no.such.packer"]
run = run_path(Path(sys.argv[1]), Path(sys.argv[2]))
print(run.status, run.is_retryable, run.error, sep="\\n")"""


@pytest.mark.slow
def test_a_kernel_that_dies_before_it_answers_is_a_failure_worth_a_second_try(tmp_path: Path):
    paths = [str(write_cells(tmp_path, "1")), str(tmp_path / "run")]
    command = [sys.executable, "-c", UNSTARTABLE, *paths]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=300)
    error = "before the first cell: the kernel did not start (Kernel died before replying to "
    assert ran.stdout.startswith(f"failed\nTrue\n{error}")
    assert ran.stderr == ""  # nothing is left to fail at the end of the program


@pytest.mark.slow
def test_a_cell_that_runs_out_of_memory_is_named(tmp_path: Path):
    greedy = """import resource
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
hoard = bytearray(2**31)"""
    run = run_cells(tmp_path, greedy)
    assert run.error.startswith("cell 4/4 · Work: MemoryError") and not run.is_retryable
    assert "bytearray" in run.cell


@pytest.fixture
def small_group(tmp_path: Path) -> Iterator[Path]:
    """Yield the file that takes a process into a group of 200 MB, as a container has one."""
    size = str(200 << 20)
    for controls, limits in (
        ("memory", {"memory.limit_in_bytes": size, "memory.memsw.limit_in_bytes": size}),
        (".", {"memory.max": size, "memory.swap.max": "0"}),
    ):
        group = Path("/sys/fs/cgroup", controls, f"taxi-{os.getpid()}-{tmp_path.name}"[:100])
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            known = [name for name in limits if (group / name).exists()]
            for name in known:
                (group / name).write_text(limits[name])
            if known:
                yield group / "cgroup.procs"
                return
        finally:
            group.rmdir()
    pytest.skip("control groups cannot be made here: not Linux, or not root")


@pytest.mark.slow
def test_a_kernel_that_the_system_kills_for_want_of_memory_is_a_failure_worth_a_second_try(
    tmp_path: Path, small_group: Path
):
    join = f"import os; from pathlib import Path; Path({str(small_group)!r}).write_text('0')"
    greedy = "hoard = [bytearray(1 << 20) for _ in range(1000)]"
    run = run_cells(tmp_path, join, greedy)
    assert (run.status, run.error, run.is_retryable) == ("failed", DIED, True)
    assert run.cell == greedy


@pytest.mark.slow
def test_a_cell_that_hangs_is_stopped(tmp_path: Path):
    run = run_cells(tmp_path, "import time; time.sleep(600)", cell_seconds=1)
    assert run.error == "cell 4/4 · Work: it took longer than 1 seconds and was stopped"
    assert run.seconds < 60 and not run.is_retryable


@pytest.mark.slow
def test_a_notebook_that_no_interrupt_can_reach_is_stopped(tmp_path: Path):
    deaf = "import re; re.match('(a+)+$', 'a' * 50 + 'b')"  # one call, which keeps the GIL
    run = run_cells(tmp_path, deaf, notebook_seconds=4)
    assert run.error.endswith("the notebook took longer than 4 seconds and was stopped")
    assert run.seconds < 60


# Ways to get out of a notebook's reach; each says that it has begun.
ESCAPES = {
    "deaf": "import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 3, 15)]; wait()",
    "stopped": "begin(); os.kill(os.getpid(), 19)",
    "daemon": "os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); wait()",
    "runner": "begin()\nfor _ in range(10**5): os.fork() and os._exit(0)",
    "changer": "begin()\nfor _ in range(10**5): os.fork() and os._exit(0); os.setsid()",
    "crowd": "begin()\nfor _ in range(100): os.fork() or wait()",
}
ESCAPE = """import os, sys, time
begin = lambda: open(f"{sys.argv[1]}-{sys.argv[2]}", "w").close()
wait = lambda: (begin(), time.sleep(600))
"""
LEAVE = """import os, subprocess, sys, threading, time
from pathlib import Path
escapes, begun = {escapes!r}, Path({begun!r})
for name, way in escapes.items():
    command = [sys.executable, "-S", "-c", {escape!r} + way, str(begun), name]
    subprocess.Popen(command, env={{}}, start_new_session=True)
while len(list(begun.parent.glob("begun-*"))) < len(escapes):
    time.sleep(0.05)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "expected", "limits"),
    [
        ("print('well')", None, {}),
        ("1 / 0", "ZeroDivisionError", {}),
        ("os.kill(os.getpid(), 9)", "the kernel died", {}),
        ("time.sleep(600)", "it took longer than 2 seconds", {"cell_seconds": 2}),
        (
            "__import__('re').match('(a+)+$', 'a' * 50 + 'b')",
            "the notebook took",
            {"notebook_seconds": 4},
        ),
        ("threading.Thread(target=time.sleep, args=[600]).start()", None, {}),
    ],
    ids=["good", "failed", "killed", "cell too long", "notebook too long", "thread"],
)
def test_all_that_a_notebook_has_started_ends_with_it(
    tmp_path: Path, last: str, expected: str | None, limits: dict
):
    begun = str(tmp_path / "begun")
    leave = LEAVE.format(escapes=ESCAPES, escape=ESCAPE, begun=begun)
    run = run_cells(tmp_path, leave, last, **limits)
    assert expected in run.error if expected else run.error is None
    assert len(list(tmp_path.glob("begun-*"))) == len(ESCAPES)
    assert naming(begun) == []


def naming(word: str) -> list[list[str]]:
    """Return the command lines of what runs and was given a word."""
    found = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [command for command in found if word in command]


# Each writes the secret in another way; the last line is too long for one read.
TELL = """import os, subprocess, sys
say = f"<{api_key}>"
subprocess.run(["echo", "child", say]); print("print", say)
subprocess.run(["echo", "given", say], stdout=sys.stdout, stderr=sys.stderr)
os.system(f"echo system '{say}' >&2")
print("beneath", say, file=sys.__stdout__, flush=True); print("beneath", say, file=sys.__stderr__)
sys.__stderr__.flush()
for byte in f"bytes {say}\\n".encode():
    os.write(1, bytes([byte]))
os.write(2, b"x" * 65530 + say.encode() + b" \\xff\\n")
print("no terminal:", not any(map(os.isatty, range(3))))
try:
    open("/dev/tty")
except OSError as error:
    print(error.strerror)"""
AT_THE_END = """import atexit, subprocess, sys
atexit.register(lambda: os.write(1, f"at exit {say}\\n".encode()))
print("split", api_key[:5], end="", flush=True); os.write(1, api_key[5:].encode())"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what a notebook that writes its secret leaves: terminal, log, notebook, stream."""
    folder, (ours, terminal) = tmp_path_factory.mktemp("written"), pty.openpty()
    key = 'api_key: str = ""  # a key [secret]'
    path = write_cells(folder, TELL, AT_THE_END, parameters=key)
    code = f"""import sys
from pathlib import Path
from support.notebooks import run_path
with open({str(folder / "stream")!r}, "w") as stream:
    values = {{"api_key": "env:TAXI_TEST_KEY"}}
    run_path(Path({str(path)!r}), Path({str(folder / "run")!r}), values, on_text=stream.write)"""
    own = {"TAXI_TEST_KEY": SECRET, "PYTHONPATH": str(Path(__file__).parents[1])}

    take = partial(fcntl.ioctl, terminal, termios.TIOCSCTTY, 0)
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
    command = [sys.executable, "-c", code]
    subprocess.run(
        command,
        env=os.environ | own,
        start_new_session=True,
        preexec_fn=take,
        check=True,
        **streams,
    )
    os.close(terminal)
    shown = bytearray()
    with suppress(OSError):  # nobody has the terminal open any longer
        while more := os.read(ours, 1 << 16):
            shown += more
    os.close(ours)
    texts = {"terminal": shown.decode(), "stream": (folder / "stream").read_text()}
    texts["log"] = (folder / "run" / "01_test.log").read_text()
    cells = nbformat.read(folder / "run" / "01_test.ipynb", as_version=4).cells
    texts["notebook"] = "".join(o.get("text", "") for c in cells for o in c.get("outputs", []))
    return texts


@pytest.mark.slow
def test_what_a_notebook_writes_reaches_no_terminal(written: dict[str, str]):
    assert written["terminal"] == ""
    assert "no terminal: True\nNo such device or address\n" in written["log"]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["log", "notebook", "stream"])
def test_a_secret_is_hidden_in_whatever_way_it_is_written(written: dict[str, str], where: str):
    text = written[where]
    assert SECRET not in text and SECRET[5:] not in text
    ways = ["child", "print", "given", "system", "beneath", "beneath", "bytes"]
    for way in ways:
        assert text.count(f"{way} <{MASK}>\n") == ways.count(way), way
    assert f"x<{MASK}> \\xff\n" in text and f"split {MASK}" in text
    assert text.index("child <") < text.index("print <") < text.index("given <")


@pytest.mark.slow
def test_what_is_written_after_the_last_cell_is_in_the_log(written: dict[str, str]):
    assert written["log"].endswith(f"at exit <{MASK}>\n")


@pytest.mark.slow
def test_last_words_are_in_the_log(tmp_path: Path):
    die = "import os; print('before'); os.write(2, b'free(): invalid pointer'); os.abort()"
    assert "free(): invalid pointer" in Path(run_cells(tmp_path, die).log).read_text()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("secrets", [["hunter2"], ["hunter2", "2 + 2"], ["aba", "ababc"], []])
def test_a_secret_is_hidden_when_it_comes_in_pieces(size: int, secrets: list[str]):
    text = "hunter hunter2 hunter2 + 2 ababab ababc ab\nhunt"
    stream = StreamMask(secrets)
    pieces = [stream.feed(text[at : at + size]) for at in range(0, len(text), size)]
    shown = "".join(pieces) + stream.flush()
    assert not any(secret in shown for secret in secrets)
    assert len(secrets) == 2 or shown == mask(text, secrets)


def test_no_more_is_held_back_than_may_begin_a_secret():
    stream = StreamMask(["hunter2"])
    assert [stream.feed(piece) for piece in ("a dot .", "10 % hun", "dred")] == [
        "a dot .",
        "10 % ",
        "hundred",
    ]


@pytest.mark.slow
def test_what_lies_beside_a_notebook_comes_after_what_is_installed(tmp_path: Path):
    """It may be in the folder of the run, too: another notebook has written it there."""
    for folder in (tmp_path, tmp_path / "run"):
        folder.mkdir(exist_ok=True)
        for name in ("json", "runpy", "sitecustomize", "ipykernel", "tornado", "unused_name"):
            (folder / f"{name}.py").write_text("raise SystemExit('in the way')")
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "__init__.py").write_text("raise SystemExit('in the way')")
    (tmp_path / "helper.py").write_text("answer = 42")
    use = "import os, json as j, helper\nfrom mlflow import version\nprint(j.dumps(helper.answer))"
    run = run_cells(tmp_path, use, "j.mine")
    assert printed(run) == "42\n"
    why = f"({tmp_path / 'json.py'} is not imported, another json comes first: rename it)"
    assert run.error.endswith(f"AttributeError: module 'json' has no attribute 'mine' {why}")
    beside = "beside the notebook is not imported,"
    assert (
        Path(run.log)
        .read_text()
        .startswith(
            f"json.py {beside} Python's own json comes first: give it another name.\n"
            f"mlflow {beside} the installed mlflow comes first: give it another name.\n"
        )
    )


HALF = r"\ud83d"  # of a character: no file in UTF-8 can hold it


@pytest.mark.slow
def test_half_a_character_is_shown_as_an_escape_wherever_it_comes_from(tmp_path: Path):
    say = f"""from IPython.display import HTML, display
from taxi_lib.results import report_results
half = "{HALF}"
print("printed", half); display(HTML(f"shown {{half}}"))
report_results(text=half)
class Odd:
    def __repr__(self): return f"result {{half}}"
Odd()"""
    path = write_cells(tmp_path, say, "# it is OURS\nraise ValueError(f'raised {half} OURS')")
    path.write_text(path.read_text().replace("OURS", HALF))  # as JSON holds it
    run = run_path(path, tmp_path / "run")
    assert run.error.endswith(rf"ValueError: raised {HALF} {HALF}")
    assert run.results == {"text": HALF}
    assert printed(run) == f"printed {HALF}\n" and printed(run) in Path(run.log).read_text()
    cells = nbformat.read(run.output, as_version=4).cells
    for text in (Path(run.html).read_text(), str(cells).replace("\\\\", "\\")):
        assert all(f"{way} {HALF}" in text for way in ("printed", "shown", "result", "raised"))


SHOW_SOCKETS = """import os, ipykernel
file = ipykernel.get_connection_file()
info = ipykernel.get_connection_info(unpack=True)
print(info["transport"], oct(os.stat(os.path.dirname(file)).st_mode)[-3:], bool(info["key"]))
print(file)"""


@pytest.mark.slow
@pytest.mark.parametrize(("shorter", "transport"), [(True, "ipc"), (False, "tcp")])
def test_a_long_path_for_temporary_files_stops_no_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shorter: bool, transport: str
):
    """A socket's path may have 107 bytes; where there is no shorter one, there is a port."""
    deep = tmp_path / ("x" * 90)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    if not shorter:
        monkeypatch.setattr("taxi_lib.runner.kernel.launch._SHORT", (str(tmp_path / "nowhere"),))
    run = run_cells(tmp_path, SHOW_SOCKETS)
    assert run.error is None
    connection, file = printed(run).splitlines()
    assert connection == f"{transport} 700 True"
    assert not Path(file).parent.exists() and list(deep.iterdir()) == []


def test_no_folder_for_temporary_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    nowhere = str(tmp_path / "nowhere")
    monkeypatch.setattr("tempfile.tempdir", nowhere)
    monkeypatch.setattr("taxi_lib.runner.kernel.launch._SHORT", (f"{nowhere}-else",))
    expected = f"neither to {nowhere} nor to {nowhere}-else: set TMPDIR to a folder"
    with refused(TaxiError, expected), scratch_folder():
        pass


@pytest.mark.slow
def test_fifty_megabytes_of_output_leave_a_page_that_opens_and_a_log_with_all(tmp_path: Path):
    run = run_cells(tmp_path, "for _ in range(50): print('x' * 1_000_000)")
    assert run.status == "completed"
    assert "characters left out: see the log" in printed(run)
    assert Path(run.output).stat().st_size < 2_000_000 > Path(run.html).stat().st_size
    assert Path(run.log).stat().st_size > 50_000_000


@pytest.mark.slow
def test_ten_thousand_lines_are_all_in_the_log(tmp_path: Path):
    lines: list[str] = []
    run = run_cells(tmp_path, "for n in range(10_000): print('line', n)", on_text=lines.append)
    assert Path(run.log).read_text().count("line ") == 10_000
    assert "".join(lines).count("line ") == 10_000
    assert printed(run).endswith("line 9999\n")


@pytest.mark.slow
def test_another_python3_kernel_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    foreign = tmp_path / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "x", "language": "python"}
    (foreign / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    assert sys.prefix in printed(run_cells(tmp_path, "import sys; print(sys.prefix)"))


def test_a_notebook_for_an_unknown_kernel_is_refused(tmp_path: Path):
    path = write_cells(tmp_path, "1")
    for kernel in ({"name": "ir", "language": "R"}, {"name": "nowhere"}):
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata["kernelspec"] = kernel | {"display_name": "x"}
        nbformat.write(notebook, path)
        with pytest.raises(ContractError, match=f"is for the kernel '{kernel['name']}', and this"):
            read_contract(path)


VALUES = {
    "text: str": "quo\"te 'single' back\\slash new\nline {brace} ünï ''' \"\"\" $(x) `x` \x00",
    "code: str": '__import__("os").system("touch injected")',
    "none: str | None": None,
    "whole: int": -(10**20),
    "share: float": 1e-300,
    "switch: bool": False,
    "zones: list": [1, "two", None, [3.5]],
    "table: dict": {"a b": {"ü": [True]}},
    "where: Path": "/räume/mit leerzeichen",
    "day: date": "2021-02-28",
    'how: Literal["one", "two"]': "two",
}


@pytest.mark.slow
def test_every_value_arrives_as_it_was_given_and_none_becomes_code(tmp_path: Path):
    imports = "from datetime import date\nfrom pathlib import Path\nfrom typing import Literal\n"
    empty = {"str": "''", "int": "0", "float": "0.0", "bool": "True", "list": "[]", "dict": "{}"}
    lines = []
    for field in VALUES:
        kind = field.split(": ")[1]
        default = {"Path": "'.'", "date": "'2021-01-01'"}.get(kind, empty.get(kind, "None"))
        default = '"one"' if kind.startswith("Literal") else default
        lines.append(f"{field} = {default}  # a value")
    names = [field.split(":")[0] for field in VALUES]
    show = f"import json; print(json.dumps([{', '.join(names)}]))"
    path = write_cells(tmp_path, show, parameters=imports + "\n".join(lines))
    given = dict(zip(names, VALUES.values(), strict=True))
    run = run_path(path, tmp_path / "run", given | {"day": date(2021, 2, 28)})
    assert json.loads(printed(run)) == list(VALUES.values())
    assert not (tmp_path / "run" / "injected").exists()


@pytest.mark.slow
def test_names_with_dots_do_not_share_files(tmp_path: Path):
    for name in ("02_model_v1.0", "02_model_v1.1"):
        write_cells(tmp_path, f"print({name!r})", name=name)
        run_path(tmp_path / f"{name}.ipynb", tmp_path / "run")
    for name in ("02_model_v1.0", "02_model_v1.1"):
        assert (tmp_path / "run" / f"{name}.log").read_text().endswith(f"{name}\n")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::nbformat.warnings.MissingIDFieldWarning")
def test_a_notebook_of_an_older_format_has_no_cell_ids_and_runs(tmp_path: Path):
    path = write_cells(tmp_path, "1", "1 / 0")
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        del cell["id"]
    path.write_text(json.dumps(notebook | {"nbformat_minor": 4}))
    for values in ({}, {"greeting": "ho"}):
        run = run_path(path, tmp_path / "run", values)
        assert run.error == "cell 5/5 · Work: ZeroDivisionError: division by zero"
        assert run.cell == "1 / 0"


@pytest.mark.slow
def test_an_executed_copy_is_refused(tmp_path: Path):
    run = run_path(write_cells(tmp_path, "1"), tmp_path / "run", {"greeting": "ho"})
    with pytest.raises(ContractError, match="is an executed copy, with parameters put in: run"):
        read_contract(Path(run.output))


@pytest.mark.slow
def test_an_error_that_only_quotes_a_busy_store_is_for_good(tmp_path: Path):
    quoting = "raise ValueError('somebody said: database is locked')"
    assert not run_cells(tmp_path, quoting).is_retryable
    busy = "import sqlite3; raise sqlite3.OperationalError('database is locked')"
    assert run_cells(tmp_path, busy).is_retryable


@pytest.mark.slow
def test_a_result_that_is_no_mapping_leaves_the_evidence(tmp_path: Path):
    spoil = """from IPython.display import display
display({"application/vnd.taxi-workbook.results+json": [1]}, raw=True)"""
    run = run_cells(tmp_path, spoil)
    assert run.status == "failed" and run.error.startswith("its page or its results: ")
    assert Path(run.output).is_file() and Path(run.log).is_file()


def test_an_empty_run_tag_is_refused() -> None:
    with pytest.raises(ValueError, match="would match every process"):
        stop_tagged("")


@pytest.mark.slow
def test_a_path_reaches_the_cell_in_full_also_by_default(tmp_path: Path):
    (tmp_path / "table.csv").write_text("here")
    line = 'table: "Path" = "table.csv"  # what is read'
    run = run_path(
        write_cells(tmp_path, "print(open(table).read())", parameters=line), tmp_path / "run"
    )
    assert printed(run) == "here\n"


@pytest.mark.slow
def test_a_broken_promise_fails_a_notebook_that_ran_to_its_end(tmp_path: Path):
    report = "from taxi_lib.results import report_results; report_results(rmse={}, {})"
    promise = "rmse: float  # minutes [0 to 60]\nrows: int  # read"
    for value, more, expected in (
        ("61.5", "rows=3", "its results: rmse is 61.5, expected float, 0 to 60: minutes."),
        ("'6'", "rows=3", "its results: rmse is '6', expected float"),
        ("6.5", "", "its results: rows was promised and not reported"),
        ("6.5", "rows=3, extra=1", "its results: extra was reported and not promised"),
    ):
        path = write_cells(tmp_path, report.format(value, more), results=promise)
        run = run_path(path, tmp_path / "run")
        assert run.status == "failed" and run.error.startswith(expected)
        assert Path(run.html).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_jumps_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
):
    now, jumped = time.time, []
    monkeypatch.setattr("time.time", lambda: now() + 86_400 * days * len(jumped))
    wait = "import time; print('jump', flush=True); time.sleep(1); print('landed')"
    run = run_cells(tmp_path, wait, "print('well')", on_text=lambda _: jumped or jumped.append(1))
    monkeypatch.undo()
    assert (run.status, run.error, bool(jumped)) == ("completed", None, True)
    assert printed(run).endswith("well\n") and 0 < run.seconds < 60


def test_a_month_that_has_not_begun_by_the_clock_is_refused(tmp_path: Path):
    path = write_cells(tmp_path, "1", parameters='month: str = "2009-01"  # month [month]')
    with pytest.raises(ContractError, match=r"month is '2099-12', which has not begun \(this mach"):
        read_contract(path).check({"month": "2099-12"})


@pytest.mark.slow
def test_unicode_and_spaces_in_every_path(tmp_path: Path):
    folder = tmp_path / "räume mit {leer}zeichen #1 '日本'"
    folder.mkdir()
    run = run_cells(folder, "import os; print(os.getcwd())")
    assert printed(run) == f"{folder / 'run'}\n"


@pytest.mark.slow
@pytest.mark.parametrize("home", [None, "/proc", "/proc/nowhere"])
def test_a_home_that_is_not_there_or_not_writable(tmp_path: Path, home: str | None):
    env = {name: value for name, value in os.environ.items() if name != "HOME"}
    draw = "import matplotlib.pyplot as plt; fig = plt.figure(); print('drawn')"
    run = run_cells(tmp_path, draw, env=env | ({"HOME": home} if home else {}))
    assert (run.status, run.error) == ("completed", None)
    assert printed(run).startswith("drawn")
