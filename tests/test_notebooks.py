import ast
import re
import statistics
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, real_month_path
from nbclient import NotebookClient
from nbformat import NotebookNode

from taxi_lib.contracts import read_contract
from taxi_lib.results import read_results

LESSONS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
EVERY_LESSON = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
COURSE_MODEL = {"train_rows": 73_908, "val_rows": 61_921, "xgboost_rmse": (6.4587, 0.01)}
# What the course's months give: a number is exact, a pair is a number and how near it must be.
RESULTS_2021 = {
    "01": {
        "train_rows": 73_908,
        "val_rows": 61_921,
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


def cells_of(path: Path, kind: str | None = None) -> list[NotebookNode]:
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if kind in (None, cell.cell_type)]


def test_there_are_lessons():
    assert len(LESSONS) >= 4


@pytest.mark.slow
@EVERY_LESSON
def test_every_lesson_runs_alone(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
):
    if "import prefect" in path.read_text() or "from prefect" in path.read_text():
        request.getfixturevalue("prefect_api")  # else it would start a server of its own
    real = real_month_path("2021-01") and real_month_path("2021-02")
    if real:
        monkeypatch.setenv("TAXI_DATA_DIR", str(real.parent))
    monkeypatch.chdir(tmp_path)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    nbformat.write(notebook, tmp_path / path.name)
    results = read_results(tmp_path / path.name)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name], "left files behind"
    assert complaints(notebook) == []
    assert results["data_source"] == ("local" if real else "synthetic")
    for name, expected in RESULTS_2021.get(path.stem[:2], {}).items() if real else ():
        value, tolerance = expected if isinstance(expected, tuple) else (expected, 0)
        assert results[name] == pytest.approx(value, abs=tolerance), name
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
def test_links_lead_to_lessons_that_are_there(path: Path):
    text = "".join(cell.source for cell in cells_of(path, "markdown"))
    for target in re.findall(r"\]\(([^)]+\.ipynb)\)", text):
        assert (path.parent / target).is_file(), target


@EVERY_LESSON
def test_code_cells_are_short_and_prose_keeps_pace(path: Path):
    sizes = [len(cell.source.splitlines()) for cell in cells_of(path, "code")]
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
