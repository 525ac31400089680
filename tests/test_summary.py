import json
import shutil
from pathlib import Path

import pytest

from support.refusals import refused
from taxi_lib import settings
from taxi_lib.errors import ContractError, TaxiError
from taxi_lib.runner import console, each_value, past_runs, run_folder
from taxi_lib.runner.notebook_run import NotebookRun

GOOD = NotebookRun("01_good", "completed", seconds=1.5, results={"rmse": 7.7587, "rows": 73_908})
BAD = NotebookRun("02_bad", "failed", error="cell 3/9 · Work: KeyError: rows[0] of [/tmp/x]")


@pytest.fixture(autouse=True)
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAXI_RUNS_DIR", str(tmp_path / "runs with a space"))
    return settings.runs_dir()


def test_the_summary_is_kept_and_latest_leads_to_it(runs_dir: Path):
    for runs in ([BAD], [GOOD]):
        run_folder.finish(runs, "local", 2.0, run_folder.run_folder())
    told = json.loads((runs_dir / "latest" / "summary.json").read_text())
    assert (told["status"], told["data_source"], told["seconds"]) == ("completed", "local", 2)
    assert told["notebooks"] == [GOOD.to_dict()]
    assert len(list(runs_dir.iterdir())) == 3


def test_one_failure_fails_the_whole_and_is_named(runs_dir: Path):
    told = run_folder.finish([GOOD, BAD], "local", 2.0, runs_dir / "here")
    assert told["status"] == "failed"
    assert console.failures(told) == f"1 of 2 notebooks failed: 02_bad: {BAD.error}."
    assert console.failures(run_folder.finish([GOOD], None, 2.0, runs_dir / "there")) == ""


def test_the_table_shows_results_and_errors_as_they_are(
    runs_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("COLUMNS", raising=False)  # a terminal that is too narrow for these lines
    console.show(run_folder.finish([GOOD, BAD], "synthetic", 2.0, runs_dir / "here"))
    shown = capsys.readouterr().out
    assert "rmse 7.759, rows 73,908" in shown
    assert "rows[0] of [/tmp/x]" in shown and "Data            : synthetic\n" in shown
    assert f"TAXI_RUNS_DIR='{runs_dir}' " in shown and "-m taxi_lib ui" in shown


def test_the_errors_of_a_run_over_several_values_come_below_its_table(
    runs_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    reports = [run_folder.finish([run], None, 1.0, runs_dir / run.name) for run in (GOOD, BAD)]
    months = zip(("2021-01", "2021-02"), reports, strict=True)
    runs = [each_value.run_of(month, report, "its folder") for month, report in months]
    run_folder.begin(runs_dir / "all", {})
    monkeypatch.setenv("COLUMNS", "60")
    console.show(run_folder.finish_each("month", runs, None, 2.0, runs_dir / "all"))
    table, _, rest = capsys.readouterr().out.partition(f"2021-02: 02_bad: {BAD.error}")
    assert "│ 2021-02 │ failed" in table and "error" not in table
    assert "Executed" in rest and "Data" not in rest  # no notebook takes a month


def run_in(folder: Path, *runs: NotebookRun) -> Path:
    """Leave what a run of a folder of notebooks leaves there, and nothing when it is refused."""
    run_folder.check_folder(folder)
    run_folder.begin(folder, {"folder": "steps"})
    if runs:
        run_folder.finish(list(runs), None, 1.0, folder)
    return folder


def test_the_run_to_go_on_with_is_the_last_one_wherever_it_is(runs_dir: Path, tmp_path: Path):
    run_in(runs_dir / "abandoned", BAD)
    for last in (tmp_path / "elsewhere", runs_dir / "here"):
        assert past_runs.to_resume(run_in(last, BAD)) == past_runs.to_resume()
        assert past_runs.to_resume()[0] == last
        run_in(last, GOOD)
        with refused(TaxiError, str(last), "was completed, there is nothing", "run without"):
            past_runs.to_resume()
    assert past_runs.to_resume(runs_dir / "abandoned")[1]["status"] == "failed"


def test_a_run_that_was_killed_is_the_last_one_though_an_older_one_was_written_to_later(
    runs_dir: Path,
):
    older, last = run_in(runs_dir / "older", BAD), run_in(runs_dir / "last")
    run_folder.mark_interrupted(older)
    assert past_runs.to_resume()[0] == last


def test_what_a_lesson_ran_in_a_folder_of_its_own_is_not_the_last_run(runs_dir: Path):
    last = run_in(runs_dir / "last", BAD)
    run_in(runs_dir / "project-x" / "called", GOOD)
    assert past_runs.to_resume()[0] == last


def test_a_last_run_that_was_removed_is_not_replaced_by_an_older_one(runs_dir: Path):
    run_in(runs_dir / "older", BAD)
    last = run_in(runs_dir / "last", BAD)
    (last / "summary.json").unlink()
    with refused(TaxiError, "There is no run to go on with in", str(last), "without --resume"):
        past_runs.to_resume()


@pytest.mark.parametrize(
    "content", ["{}", "[]", "null", "", '"x"', '{"status": "failed"}', '{"status": [], "a": 1}']
)
def test_a_summary_of_something_else_is_neither_gone_on_with_nor_written_over(
    runs_dir: Path, content: str
):
    theirs = runs_dir / "theirs" / "summary.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text(content)
    with refused(TaxiError, "There is no run to go on with"):
        past_runs.to_resume(theirs.parent)
    with refused(TaxiError, "There is no run to go on with"):
        past_runs.to_resume()
    with refused(ContractError, str(theirs.parent), "(summary.json)", "new or empty folder"):
        run_in(theirs.parent)
    assert theirs.read_text() == content


@pytest.mark.parametrize("name", ["01_one.ipynb", "01_one.log", "thesis.docx", "folder/x"])
def test_a_folder_with_files_that_no_run_left_is_refused(tmp_path: Path, name: str):
    path = tmp_path / "theirs" / name
    path.parent.mkdir(parents=True)
    path.write_text("x")
    with refused(ContractError, str(tmp_path / "theirs"), f"({name.split('/')[0]})"):
        run_in(tmp_path / "theirs")
    with refused(ContractError, f"{path} cannot be a run's folder (Not a directory)"):
        run_folder.check_folder(path)


def test_a_new_an_empty_and_a_runs_own_folder_are_taken(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").touch()
    for folder in (tmp_path / "new", tmp_path / "empty"):
        (run_in(folder, BAD) / "what a notebook wrote").touch()
        assert run_folder.read(run_in(folder, GOOD))["status"] == "completed"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_folder_or_a_file_in_the_links_place_is_told_before_anything_runs(
    runs_dir: Path, kind: str
):
    last = run_in(runs_dir / "last", BAD)
    latest = runs_dir / "latest"
    latest.unlink()
    shutil.copytree(last, latest) if kind == "folder" else latest.write_text("last")
    with refused(ContractError, f"{latest} is a {kind}, not the link", "give it another name"):
        run_in(runs_dir / "next", GOOD)
    assert not (runs_dir / "next").exists() and latest.exists()
    assert past_runs.to_resume()[0] == last and past_runs.past_runs() == [last]
    run_in(runs_dir / "project-x" / "called", GOOD)  # leads nowhere


@pytest.mark.parametrize("target", ["nowhere", "latest"])
def test_a_link_to_the_last_run_that_leads_nowhere_or_in_a_circle_is_made_anew(
    runs_dir: Path, target: str
):
    last = run_in(runs_dir / "last", BAD)
    (runs_dir / "latest").unlink()
    (runs_dir / "latest").symlink_to(target)
    assert past_runs.prune(keep=1) == [] and past_runs.past_runs() == [last]
    run_in(runs_dir / "next", GOOD)
    assert (runs_dir / "latest").resolve() == runs_dir / "next"


@pytest.mark.parametrize("name", ["latest", "../runs with a space/latest"])
def test_the_link_to_the_last_run_is_no_folder_for_a_run(runs_dir: Path, name: str):
    with pytest.raises(ContractError, match="is the link to the last run"):
        run_folder.run_folder(runs_dir / name)
