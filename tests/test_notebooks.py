import ast
import re
import statistics
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from support import ROOT
from support.flow_runs import on_the_server, temporary
from support.months import link_real_months, real_month_path
from support.sandbox import Sandbox
from taxi_lib.runner.contracts import read_contract

LESSONS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
EVERY_LESSON = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
# What another test may be deploying at the same time.
DEPLOYED = {"pool taxi"} | {
    f"deployment {name}" for name in ("walkthrough", "train_duration_model", "backfill")
}
COURSE_ROWS = {"train_rows": 73_908, "val_rows": 61_921, "unseen_trips": 5_257}
COURSE_MODEL = COURSE_ROWS | {"xgboost_rmse": (6.4587, 0.01)}
# What the course's months give: a number is exact, a pair is a number and how near it must be.
RESULTS_2021 = {
    "01": COURSE_ROWS
    | {
        "features": 13_221,
        "linear_rmse": (7.758715, 1e-6),
        "ridge_rmse": (7.703735, 1e-5),
        "lasso_rmse": (12.143234, 1e-3),
    },
    "02": {
        "xgboost_rmse": (6.4587, 0.01),
        "baseline_rmse": (12.213, 1e-3),
        "best_rmse": (6.1, 0.2),
    },
    "03": COURSE_MODEL,
    "06": COURSE_MODEL,
}


# The mean of 2021-01 for every trip is off by 12.2 minutes: a model that has learned is not.
NOTHING_LEARNED = 11.0
LEARN_NOTHING = {"baseline_rmse", "lasso_rmse", "rmse_one_long_trip"}


def cells_of(path: Path, kind: str | None = None) -> list[NotebookNode]:
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if kind in (None, cell.cell_type)]


@pytest.fixture
def sandbox(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Return where a lesson is run: folders, a home and a mark of its own."""
    if link_real_months(tmp_path / "data", "2021-01", "2021-02"):
        monkeypatch.setenv("TAXI_DATA_DIR", str(tmp_path / "data"))
    return Sandbox(tmp_path, scratch)


def test_every_lesson_has_its_number():
    assert [path.stem[:2] for path in LESSONS] == [f"{n:02d}" for n in range(1, len(LESSONS) + 1)]


@pytest.mark.slow
@EVERY_LESSON
@pytest.mark.usefixtures("prefect_api")
def test_every_lesson_runs_and_leaves_nothing_behind(
    path: Path, sandbox: Sandbox, request: pytest.FixtureRequest
):
    before = on_the_server()
    copies = 2 if request.config.getoption("--twice") else 1
    for notebook, ending in sandbox.execute(path, copies):
        assert complaints(notebook) == []
        check_results(path, sandbox.results_of(notebook))
        assert not [name for name in on_the_server() if ending and name.endswith(ending)]
    assert sandbox.processes() == []
    assert sandbox.files() == []
    # What bears another ending belongs to a lesson that runs at the same time.
    new = on_the_server() - before
    assert new - temporary(new) - DEPLOYED == set()


def check_results(path: Path, results: dict) -> None:
    """Compare a lesson's results with what the course's months give, where they are here."""
    real = bool(real_month_path("2021-01") and real_month_path("2021-02"))
    assert results
    read_contract(path).check_results(results)
    if "source" in {p.name for p in read_contract(path).parameters}:
        assert results["data_source"] == ("local" if real else "synthetic")
    for name, expected in RESULTS_2021.get(path.stem[:2], {}).items() if real else ():
        value, tolerance = expected if isinstance(expected, tuple) else (expected, 0)
        assert results[name] == pytest.approx(value, abs=tolerance), name
    for name in (n for n in results if "rmse" in n and n not in LEARN_NOTHING):
        assert results[name] is None or results[name] < NOTHING_LEARNED, name
    if path.stem.startswith("02") and real and not real_month_path("2021-03"):
        assert results["test_rmse"] is None


def complaints(notebook: NotebookNode) -> list[str]:
    """Return what the kernel wrote to its error stream: warnings, mostly."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.text for output in outputs if output.get("name") == "stderr"]


@EVERY_LESSON
def test_no_outputs_counts_or_editor_settings_are_kept(path: Path):
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@EVERY_LESSON
def test_cell_ids_are_words_that_stay(path: Path):
    ids = [cell.id for cell in cells_of(path)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]+", cell_id) for cell_id in ids)


@EVERY_LESSON
def test_the_first_code_cell_holds_the_parameters(path: Path):
    assert cells_of(path, "code")[0].metadata.tags == ["parameters"]
    assert all(p.help for p in read_contract(path).parameters)


@EVERY_LESSON
def test_a_lesson_opens_with_its_goals_and_closes_with_what_was_seen(path: Path):
    first, *_, last = cells_of(path)
    number = int(path.stem[:2])
    assert first.source.startswith(f"# {number}. ")
    assert "**You will learn to**" in first.source and "**You need**" in first.source
    assert re.search(r"\d+ seconds", first.source)
    assert last.cell_type == "markdown" and last.source.startswith("## What we saw")
    headings = [c.source.splitlines()[0] for c in cells_of(path, "markdown") if "## " in c.source]
    assert "## Check yourself" in headings
    assert 5 <= len([h for h in headings if h.startswith("## ")]) <= 11


@EVERY_LESSON
def test_what_a_lesson_starts_it_stops_in_its_last_code_cell(path: Path):
    code = cells_of(path, "code")
    starts = any("ExitStack()" in cell.source for cell in code)
    assert starts == code[-1].source.startswith("services.close()")


@pytest.mark.parametrize("path", LESSONS[3:], ids=lambda path: path.stem)
def test_a_lesson_ends_with_then_and_now(path: Path):
    then_and_now = cells_of(path)[-2]
    assert then_and_now.source.startswith("## Then and now")
    rows = [line for line in then_and_now.source.splitlines() if line.startswith("| ")]
    assert len(rows) >= 4 and all(row.count(" | ") == 2 for row in rows)


@EVERY_LESSON
def test_links_lead_to_lessons_that_are_there(path: Path):
    text = "".join(cell.source for cell in cells_of(path, "markdown"))
    for target in re.findall(r"\]\(([^)]+\.(?:ipynb|md))\)", text):
        assert (path.parent / target).is_file(), target


@EVERY_LESSON
def test_code_cells_are_short_and_prose_keeps_pace(path: Path):
    sizes = [len(re.findall(r"^.*\S", c.source, re.MULTILINE)) for c in cells_of(path, "code")]
    assert max(sizes) <= 20 and statistics.median(sizes) <= 6
    assert len(cells_of(path, "markdown")) >= 0.6 * len(sizes)


@EVERY_LESSON
def test_every_figure_has_labels_a_title_and_a_description(path: Path):
    for cell in cells_of(path, "code"):
        if "plt.subplots" in cell.source:
            for part in ("title=", "xlabel=", "ylabel=", "alt="):
                assert part in cell.source, (cell.id, part)


@EVERY_LESSON
def test_a_cell_neither_installs_nor_silences_nor_looks_for_itself(path: Path):
    for cell in cells_of(path, "code"):
        for word in ("!pip", "%pip", "sys.path", "filterwarnings", "simplefilter", "chdir"):
            assert word not in cell.source, (cell.id, word)


@EVERY_LESSON
def test_imports_stand_in_one_cell(path: Path):
    def imports(cell: NotebookNode) -> bool:
        tree = ast.parse(re.sub(r"^outcome = await ", "", cell.source, flags=re.MULTILINE))
        return any(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body)

    ids = [cell.id for cell in cells_of(path, "code") if imports(cell)]
    assert ids in (["imports"], ["workspace", "imports"])
