"""What is kept of the outputs of cells: bars as a terminal shows them, enough and not too much."""

import time
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat import NotebookNode

from support.notebooks import run_path, write_cells
from taxi_lib.runner.cell_progress import CellProgress
from taxi_lib.runner.kernel.outputs import MOST
from taxi_lib.runner.notebook_file import read_notebook
from taxi_lib.runner.notebook_run import NotebookRun
from taxi_lib.runner.screen import LONGEST, added, fold, settled, shortened


@pytest.mark.parametrize(
    ("printed", "seen"),
    [
        ("10%\r20%\r100%\n", "100%\n"),
        ("long line\rab", "abng line"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("abc\b\bX", "aXc"),
        ("50%\r\x1b[Kdone", "done"),
        ("50%\x1b[2K\rdone", "done"),
        ("outer 1\ninner 1\x1b[A\router 2\n\rinner 2", "outer 2\ninner 2"),
        ("a\nb\x1b[1F\x1b[Jc", "c"),
        ("\x1b[31mred\x1b[0m\r\x1b[32mgreen\x1b[0m\n", "\x1b[0m\x1b[32mgreen\x1b[0m\n"),
        ("plain\x1b[31m red\x1b[0m\n", "plain\x1b[31m red\x1b[0m\n"),
        ("50%\r", "50%"),
        ("\n\n\rx", "\n\nx"),
        ("", ""),
    ],
)
def test_a_text_is_folded_as_a_terminal_shows_it(printed: str, seen: str):
    assert settled(fold(printed)) == seen
    whole = ""
    for piece in printed.replace("\r", "\0\r\0").replace("\n", "\0\n\0").split("\0"):
        whole = added(whole, piece)
    assert settled(whole) == seen


@pytest.mark.slow
def test_a_text_that_grows_is_folded_in_time():
    text, started = "", time.process_time()
    for step in range(20_000):
        text = added(text, f"{step % 100}%\r" if step % 2 else f"line {step}\n")
    text = "x" * LONGEST
    for step in range(2000):
        text = added(text, f"\r{step}")
    assert time.process_time() - started < 5
    assert fold("\x1b[A" * 50_000 + "a") == "a"
    assert fold("\x1b[50Ba" * 50_000).count("\n") == 0


def test_a_long_text_loses_its_middle_and_says_how_much_however_often():
    text = ""
    for _ in range(9):
        text = shortened(text + "x" * 300_000)
    assert len(text) < LONGEST + 100
    assert "[… 2,200,000 characters left out: see the log …]" in text


def test_the_log_has_of_a_line_that_is_written_over_its_last_state(tmp_path: Path):
    texts, notebook = [], read_notebook(write_cells(tmp_path, "1"))
    with (tmp_path / "log").open("w") as log:
        progress = CellProgress("01", "Test", notebook, log, lambda line, done: None, texts.append)
        for step in range(1000):
            progress.text(f"\r{step}%")
        progress.text("\nnext")
        progress.text(" line\nunfinished")
        progress.settle()
    assert (tmp_path / "log").read_text() == "999%\nnext line\nunfinished\n" == "".join(texts)


TALK = {
    "bar": """
for step in range(300):
    print(f"\\rstep {step + 1}/300", end="", flush=True)
print()""",
    "streams": """
import sys
for number in range(600):
    print("out", number, flush=True)
    print("err", number, file=sys.stderr, flush=True)""",
    "displays": """
from IPython.display import HTML, clear_output, display
from taxi_lib.results import report_results
for number in range(1100):
    display(HTML(f"<b>{number}</b>"))
report_results(rmse=1.5)
display({"text/plain": "said late"}, raw=True)
1 + 1""",
    "order": """
print("before")
handle = display({"text/plain": "first"}, raw=True, display_id=True)
print("after", end="")
handle.update({"text/plain": "second"}, raw=True)
print(" it")""",
    "frames": """
for frame in range(1020):
    clear_output(wait=True)
    print("frame", frame)
    display({"text/plain": f"picture {frame}"}, raw=True)""",
    "long": "print('x' * 3_000_000); print('the end')",
    "widget": """
from tqdm.notebook import tqdm
for _ in tqdm(range(50), desc="rows"):
    pass""",
}


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> NotebookRun:
    """Run a notebook that has very much to say."""
    folder = tmp_path_factory.mktemp("talk")
    run = run_path(write_cells(folder, *TALK.values()), folder / "run")
    assert run.status == "completed", run.error
    return run


def outputs_of(run: NotebookRun, name: str) -> list[NotebookNode]:
    cells = nbformat.read(run.output, as_version=4).cells
    return next(cell.outputs for cell in cells if cell.source == TALK[name])


@pytest.fixture(scope="module")
def page(talk: NotebookRun) -> BeautifulSoup:
    return BeautifulSoup(Path(talk.html).read_text(), "html.parser")


def shown_of(page: BeautifulSoup, name: str) -> str:
    cell = page.select(".jp-CodeCell")[1 + list(TALK).index(name)]
    return cell.select_one(".jp-OutputArea").get_text(" ")


@pytest.mark.slow
def test_of_a_bar_its_last_state_is_kept(talk: NotebookRun, page: BeautifulSoup):
    assert [o.text for o in outputs_of(talk, "bar")] == ["step 300/300\n"]
    assert shown_of(page, "bar").split() == ["step", "300/300"]
    assert Path(talk.log).read_text().count("step ") < 10


@pytest.mark.slow
def test_of_many_outputs_the_notebook_keeps_some_and_the_log_each_line(talk: NotebookRun):
    streams = outputs_of(talk, "streams")
    assert MOST <= len(streams) <= MOST + 1
    assert sum(o.text.count("\n") for o in streams) == 1200
    log = Path(talk.log).read_text()
    assert all(f"out {number}\n" in log and f"err {number}\n" in log for number in range(600))


@pytest.mark.slow
def test_of_many_displays_results_and_the_cells_value_are_kept(talk: NotebookRun):
    displays = outputs_of(talk, "displays")
    assert len(displays) == MOST + 3
    assert displays[MOST].data["text/plain"].startswith("[… 101 more outputs are not kept")
    assert displays[-1].data["text/plain"] == "2"
    assert talk.results == {"rmse": 1.5}
    assert "said late\n" in Path(talk.log).read_text()


@pytest.mark.slow
def test_outputs_stay_in_their_order_and_can_be_changed(page: BeautifulSoup):
    assert shown_of(page, "order").split() == ["before", "second", "after", "it"]
    assert shown_of(page, "frames").split() == ["frame", "1019", "picture", "1019"]


@pytest.mark.slow
def test_of_a_long_text_the_middle_is_left_out(talk: NotebookRun):
    (output,) = outputs_of(talk, "long")
    assert len(output.text) < LONGEST + 100 and output.text.endswith("xx\nthe end\n")
    assert Path(talk.log).stat().st_size > 3_000_000
    assert Path(talk.html).stat().st_size < 3_000_000


@pytest.mark.slow
def test_a_bar_that_is_a_widget_is_shown_in_the_page_at_its_end(page: BeautifulSoup):
    assert "rows: 100%" in shown_of(page, "widget") and "50/50" in shown_of(page, "widget")


@pytest.mark.slow
def test_what_is_printed_faster_than_it_is_read_arrives_all_the_same(tmp_path: Path):
    source = "for number in range(2500): print(number, flush=True)"
    path = write_cells(tmp_path, source)
    run = run_path(path, tmp_path / "run", on_text=lambda _: time.sleep(0.002))
    assert (run.status, run.error) == ("completed", None)
    lines = Path(run.log).read_text().splitlines()
    assert [line for line in lines if line.isdigit()] == [str(n) for n in range(2500)]
