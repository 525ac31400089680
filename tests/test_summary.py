import json
from pathlib import Path

import pytest

from taxi_lib import report, settings, summary
from taxi_lib.errors import ContractError
from taxi_lib.results import NotebookRun

GOOD = NotebookRun("01_good", "completed", seconds=1.5, results={"rmse": 7.7587, "rows": 73_908})
BAD = NotebookRun("02_bad", "failed", error="cell 3/9 · Work: KeyError: rows[0] of [/tmp/x]")


@pytest.fixture(autouse=True)
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAXI_RUNS_DIR", str(tmp_path / "runs with a space"))
    return settings.runs_dir()


def test_the_summary_is_kept_and_latest_leads_to_it(runs_dir: Path):
    for runs in ([BAD], [GOOD]):
        summary.write(runs, "local", 2.0, summary.run_folder())
    told = json.loads((runs_dir / "latest" / "summary.json").read_text())
    assert (told["status"], told["data_source"], told["seconds"]) == ("completed", "local", 2)
    assert told["notebooks"] == [GOOD.to_dict()]
    assert len(list(runs_dir.iterdir())) == 3


def test_one_failure_fails_the_whole_and_is_named(runs_dir: Path):
    told = summary.write([GOOD, BAD], "local", 2.0, runs_dir / "here")
    assert told["status"] == "failed"
    assert report.failures(told) == f"1 of 2 notebooks failed: 02_bad: {BAD.error}."
    assert report.failures(summary.write([GOOD], None, 2.0, runs_dir / "there")) == ""


def test_the_table_shows_results_and_errors_as_they_are(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
):
    report.show(summary.write([GOOD, BAD], "synthetic", 2.0, runs_dir / "here"))
    shown = capsys.readouterr().out
    assert "rmse 7.759, rows 73,908" in shown
    assert "rows[0] of [/tmp/x]" in shown
    assert f"TAXI_RUNS_DIR='{runs_dir}' " in shown and "-m taxi_lib ui" in shown


def test_the_link_to_the_last_run_is_no_folder_for_a_run(runs_dir: Path):
    with pytest.raises(ContractError, match="is the link to the last run"):
        summary.run_folder(runs_dir / "latest")
