"""Nothing that a notebook is called, prints or reports acts on the terminal."""

import os
import pty
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from support.notebooks import write_cells
from taxi_lib.__main__ import main
from taxi_lib.errors import TaxiError
from taxi_lib.runner.console import Board, printable, say, show
from taxi_lib.runner.screen import fold, settled

HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07\x1b]52;c;cm0=\x1b\\\x9b31mre\x08\x00d\x85\u202e\u2066\x1bPx\x1b\\"
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain größer 日本 👩‍🔬\tand\nmore", "plain größer 日本 👩‍🔬\tand\nmore"),
        ("\x1b[1;31mred\x1b[0m \x1b[38;5;28mgreen\x1b[39m", "red green"),
        ("\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("10 %\r20 %\r\nend", "10 % 20 % end"),
        ("never \x1b]ended", "never ended"),
        ("\x1b", ""),
        ("\x9d0;title\x9cc1 \x9b2J", "c1 "),
        ("a\x00b\x07c\x08d\x7fe", "abcde"),
        ("txt\u202egpj.exe \ud800", "txtgpj.exe \\ud800"),
        ("one\u2028two", "one two"),
        (HOSTILE, "red "),
    ],
)
def test_a_text_is_shown_without_what_acts(text: str, shown: str):
    assert printable(text) == shown


def test_progress_errors_and_results_are_shown_without_what_acts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    board = Board(stream=True)
    board.update("01_x", f"01 · {HOSTILE}")
    board.text(f"01{HOSTILE}_x", f"{HOSTILE}\nmore")
    board.end("01_x", f"01 · ValueError: {HOSTILE}")
    run = {"status": "failed", "seconds": 1.0, "error": HOSTILE, "results": {}, "changed": ""}
    runs = [
        run | {"name": f"01{HOSTILE}"},
        run | {"name": "02", "error": "", "results": {HOSTILE: HOSTILE}},
    ]
    show(
        {
            "status": "failed",
            "seconds": 1,
            "notebooks": runs,
            "data_source": None,
            "folder": HOSTILE,
        }
    )
    say(TaxiError(HOSTILE), sys.stderr)
    shown = capsys.readouterr()
    assert shown.out.count("red") >= 7 and shown.err == "red \n"
    assert not set(shown.out + shown.err) & set("\x1b\x07\x08\x00\x9b\x85\u202e\u2066\r")


def test_a_password_in_the_address_of_a_store_is_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hunter2@db.example/mlflow")
    run = {"name": "01", "status": "completed", "seconds": 1.0, "error": None, "changed": ""}
    report = {"status": "completed", "seconds": 1.0, "data_source": None, "folder": "runs/one"}
    show(report | {"notebooks": [run | {"results": {}}]})
    shown = capsys.readouterr().out
    assert "postgresql://me:***@db.example/mlflow" in shown and "hunter2" not in shown


BOARD = """from taxi_lib.runner.console import Board, say
board = Board(stream=True)
board.update("01_a", "01 · cell 1/3")
board.update("02_b", "02 · " + "日本" * 100)
board.text("01", "one\\ntwo \\x1b[2J")
say("beside it")
board.end("01_a", "01 · completed")
board.end("02_b", "02 · failed")
board.update("03_c", "03 · cell 1/3")
board.close()
say("after it")"""
LINES = ["01 │ one", "01 │ two", "beside it", "01 · completed", "02 · failed", "after it"]


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_terminal_shows_what_runs_in_one_line_below_the_others(term: str):
    pid, terminal = pty.fork()
    if not pid:
        env = os.environ | {"TERM": term, "COLUMNS": "60"}
        os.execve(sys.executable, [sys.executable, "-c", BOARD], env)
    written = b""
    with suppress(OSError):  # the other end is closed
        while part := os.read(terminal, 4096):
            written += part
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    seen = [line.strip() for line in settled(fold(written.decode())).splitlines()]
    if term == "xterm":
        assert list(filter(None, seen)) == LINES and not written.endswith(b"\x1b[?25l")
    else:
        assert [line for line in seen if line in LINES] == LINES
        assert "01 · cell 1/3" in seen and b"\x1b" not in written


def test_names_and_titles_are_listed_without_what_acts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    write_cells(tmp_path, "1", name="01_\x1b[31mred")
    monkeypatch.setattr(sys, "argv", ["taxi_lib", "list", "--folder", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert capsys.readouterr().out.startswith("01_red\n")
