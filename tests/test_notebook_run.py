"""What came of one notebook, and the files of earlier attempts."""

from pathlib import Path

from taxi_lib.runner.notebook_run import NotebookFailedError, NotebookRun, archive_attempt


def test_a_run_is_the_same_after_it_was_written_and_read():
    run = NotebookRun("01_one", "failed", 1.5, "01.ipynb", results={"a": 1}, error="cell 1: no")
    assert NotebookRun.from_dict(run.to_dict()) == run
    assert run.to_dict()["may_pass"] == run.is_retryable
    assert run.files == ["01.ipynb"]


def test_a_failure_says_which_notebook_and_why():
    run = NotebookRun("01_one", "failed", error="cell 1/2 · Work: ValueError: no")
    assert str(NotebookFailedError(run)) == "01_one: cell 1/2 · Work: ValueError: no"


def test_each_attempt_keeps_its_files_under_a_number(tmp_path: Path):
    for attempt in (1, 2):
        for ending in ("ipynb", "html", "log"):
            (tmp_path / f"01_one.{ending}").write_text(str(attempt))
        archive_attempt(tmp_path, "01_one")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"01_one.attempt-{attempt}.{ending}"
        for attempt in (1, 2)
        for ending in ("html", "ipynb", "log")
    ]
    assert (tmp_path / "01_one.attempt-2.log").read_text() == "2"


def test_without_an_earlier_attempt_nothing_is_renamed(tmp_path: Path):
    (tmp_path / "01_one_more.log").touch()
    archive_attempt(tmp_path, "01_one")
    assert [path.name for path in tmp_path.iterdir()] == ["01_one_more.log"]
