"""What is not run again, and what is noticed.

A rule that compares files and records is tested on what one real walkthrough has left; the rest
runs notebooks on the tests' real server.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from support.flow_runs import run_flow, statuses, summary_of, task_states
from support.months import five_trips
from support.notebooks import GREETING, run_path, write_cells
from taxi_lib import plan, settings
from taxi_lib.errors import ContractError
from taxi_lib.runner import past_runs
from taxi_lib.runner.contracts import read_contract
from taxi_lib.runner.fingerprints import named_as_texts

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]
# A notebook that counts its own runs, where no fingerprint looks.
COUNT = "with open({file!r}, 'a') as file: file.write('run ')"
REPORT = "from taxi_lib.results import report_results; report_results(rmse=6.5)"
SOURCE = 'source: str = "auto"  # where from [one of auto, local, tlc, synthetic]'
TRAIN_MONTH = f'train_month: str = "2021-01"  # month [month]\n{SOURCE}'
TEST_MONTH = f"test_month: str | None = None  # the next one [month]\n{SOURCE}"
JANUARY = "green_tripdata_2021-01.parquet"


@pytest.fixture
def project(project: Path) -> Path:
    """Return the folder with one notebook in it."""
    write_one(project)
    return project


def write_one(folder: Path, *more: str, **arguments: str) -> Path:
    count = COUNT.format(file=str(folder / "count"))
    return write_cells(folder, count, *more, REPORT, name="01_one", **arguments)


def times_run(folder: Path) -> int:
    return (folder / "count").read_text().count("run")


def why_stale(folder: Path, *notebooks: str, **given: object) -> str:
    request = plan.Request(list(notebooks), given, folder=folder)
    return next(reason for _, reason in plan.stale_reasons(request))


@pytest.fixture(scope="module")
def walked(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a folder of notebooks once, and return a copy of all that was there afterwards."""
    base = tmp_path_factory.mktemp("walked")
    project = base / "here" / "project"
    for folder in (project, base / "here" / "data"):
        folder.mkdir(parents=True)
    five_trips().to_parquet(base / "here" / "data" / JANUARY)
    (project / "table.csv").write_text("a")
    write_one(project)
    write_cells(project, "1", name="02_month", parameters=TRAIN_MONTH)
    next_month = TRAIN_MONTH.replace(SOURCE, TEST_MONTH)
    write_cells(project, "1", name="03_next", parameters=next_month)
    table = f'table: "Path" = {str(project / "table.csv")!r}  # what is read'
    write_cells(project, "1", name="04_table", parameters=table)
    write_cells(project, "assert False", name="05_failed")
    write_cells(project, "1", name="06_any_month", parameters=TEST_MONTH)
    with (
        pytest.MonkeyPatch.context() as patch,
        temporary_settings({PREFECT_API_URL: prefect_server}),
    ):
        patch.setenv("PREFECT_API_URL", prefect_server)
        use(base / "here", patch)
        report = run_flow(project)
    assert set(statuses(report).values()) == {"completed", "failed"}
    shutil.copytree(base / "here", base / "kept", symlinks=True)
    return base


def use(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("TAXI_RUNS_DIR", str(folder / "runs"))
    patch.setenv("TAXI_DATA_DIR", str(folder / "data"))
    patch.setenv("MLFLOW_TRACKING_URI", "")


@pytest.fixture
def ran(walked: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of notebooks as it was when all of them had been run."""
    shutil.rmtree(walked / "here")
    shutil.copytree(walked / "kept", walked / "here", symlinks=True)
    use(walked / "here", monkeypatch)
    return walked / "here" / "project"


def left(name: str) -> Path:
    """Return a file of the last run."""
    return (settings.runs_dir() / "latest").resolve() / name


def record(name: str) -> Path:
    (path,) = settings.runs_dir().glob(f".records/{name}/*.json")
    return path


def test_a_second_walkthrough_with_nothing_changed_runs_nothing(project: Path, tmp_path: Path):
    first = run_flow(project)
    assert why_stale(project) == ""
    second = run_flow(project, run_dir=tmp_path / "second")
    assert (statuses(first), statuses(second)) == ({"01_one": "completed"}, {"01_one": "cached"})
    assert times_run(project) == 1
    before, now = (report["notebooks"][0] for report in (first, second))
    assert now["results"] == before["results"] == {"rmse": 6.5}
    for name in ("output", "html", "log"):  # every run has its own copy
        assert Path(now[name]).parent == tmp_path / "second"
        assert Path(now[name]).read_bytes() == Path(before[name]).read_bytes()
    assert task_states(tmp_path / "second") == {"01_one": "Cached"}


def test_a_run_that_works_beside_its_notebook_reuses_nothing_and_is_not_reused(project: Path):
    write_one(project, "print(open('beside.txt').read())")
    (project / "beside.txt").write_text("found")
    for times in (1, 2):
        report = run_flow(project, work_beside=True)
        assert (statuses(report), times_run(project)) == ({"01_one": "completed"}, times)
        assert why_stale(project) == "no good run yet"
    assert report["request"]["work_beside"] is True  # --resume asks for it again


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def edit(path: Path) -> None:
    path.write_text(path.read_text().replace("6.5", "5.6"))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(Path.unlink, "is gone"), (truncate, "was changed"), (edit, "was changed")],
)
def test_an_executed_notebook_that_was_tampered_with_is_stale(
    ran: Path, spoil: Callable[[Path], None], reason: str
):
    spoil(left("01_one.ipynb"))
    assert why_stale(ran, "01") == f"01_one.ipynb {reason}"


@pytest.mark.parametrize("content", ["", "{", '{"run": {}}', "null"])
def test_a_damaged_record_is_not_believed(ran: Path, content: str):
    record("01_one").write_text(content)
    assert why_stale(ran, "01") == "no good run yet"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda: edit(left("01_one.ipynb")),
        lambda: record("01_one").write_text('{"run": {}}'),
    ],
    ids=["notebook", "record"],
)
def test_what_was_tampered_with_is_made_anew(ran: Path, spoil: Callable[[], object]):
    spoil()
    report = run_flow(ran, notebooks=["01"])
    assert times_run(ran) == 2 and statuses(report) == {"01_one": "completed"}
    assert "6.5" in Path(report["notebooks"][0]["output"]).read_text()
    assert why_stale(ran, "01") == ""


def test_changed_prose_is_put_in_without_a_run(ran: Path):
    path = ran / "01_one.ipynb"
    path.write_text(path.read_text().replace("# 1. Test", "# 1. Another title"))
    assert why_stale(ran, "01") == ""
    (run,) = run_flow(ran, notebooks=["01"])["notebooks"]
    assert (run["status"], times_run(ran)) == ("cached", 1)
    assert "Another title" in Path(run["html"]).read_text()
    cells = nbformat.read(run["output"], as_version=4).cells
    assert [cell.execution_count for cell in cells if cell.cell_type == "code"] == [1, 2, 3]
    assert why_stale(ran, "01") == ""
    (again,) = run_flow(ran, notebooks=["01"])["notebooks"]
    assert again["status"] == "cached"


def change_code(folder: Path) -> dict[str, Any]:
    write_one(folder, "1 + 1")
    return {}


def change_helper(folder: Path) -> dict[str, Any]:
    (folder / "helper.py").write_text("")
    return {}


def change_parameter(_: Path) -> dict[str, Any]:
    return {"greeting": "good day"}


CHANGES = pytest.mark.parametrize(
    ("change", "reason"),
    [
        (change_code, "cells"),
        (change_helper, "helpers"),
        (change_parameter, "parameters (greeting)"),
    ],
)


@CHANGES
def test_a_changed_input_is_named(ran: Path, change: Callable[[Path], dict[str, Any]], reason: str):
    given = change(ran)
    assert why_stale(ran, "01", **given) == reason


def test_a_changed_input_runs_the_notebook_once_more(ran: Path):
    given = change_code(ran) | change_helper(ran) | change_parameter(ran)
    assert why_stale(ran, "01", **given) == "cells, parameters (greeting), helpers"
    for status in ("completed", "cached"):
        report = run_flow(ran, notebooks=["01"], parameters=given)
        assert statuses(report) == {"01_one": status}
    assert times_run(ran) == 2 and why_stale(ran, "01", **given) == ""


def test_a_file_that_a_parameter_names_is_data(ran: Path):
    assert why_stale(ran, "04") == ""
    (ran / "table.csv").write_text("b")
    assert why_stale(ran, "04") == f"data ({ran / 'table.csv'})"


def test_a_month_that_no_parameter_names_changes_nothing(ran: Path):
    five_trips("2023-01").to_parquet(settings.data_dir() / "green_tripdata_2023-01.parquet")
    assert why_stale(ran, "02") == ""


def test_a_month_that_stands_for_the_next_one_is_waited_for(ran: Path):
    assert why_stale(ran, "03") == ""
    five_trips("2021-02").to_parquet(settings.data_dir() / "green_tripdata_2021-02.parquet")
    assert why_stale(ran, "03").startswith("data (green_tripdata_2021-02.parquet")


def test_a_month_that_may_be_none_needs_no_other(ran: Path):
    assert why_stale(ran, "06") == ""  # it has run


def test_a_module_beside_a_notebook_can_be_imported(project: Path):
    (project / "helper.py").write_text("ANSWER = 42")
    path = write_one(project, "import helper; assert helper.ANSWER == 42")
    assert run_path(path, project.parent / "run").error is None


def test_a_notebook_that_failed_is_stale_for_that(ran: Path):
    assert why_stale(ran, "05") == "its last run failed"


def test_changed_data_is_named(ran: Path):
    path = settings.data_dir() / JANUARY
    five_trips().assign(trip_distance=7.0).to_parquet(path)
    path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)  # a change on purpose
    assert why_stale(ran, "02") == f"data ({JANUARY})"


def test_the_same_data_found_elsewhere_is_the_same(ran: Path):
    assert why_stale(ran, "02", source="local") == ""


def test_force_runs_all(ran: Path):
    assert statuses(run_flow(ran, notebooks=["01"], force=True)) == {"01_one": "completed"}
    assert times_run(ran) == 2


def test_a_run_that_failed_is_gone_on_with_where_it_failed(project: Path, tmp_path: Path):
    write_cells(
        project,
        f"from pathlib import Path; assert Path({str(tmp_path / 'mended')!r}).exists(), 'broken'",
        name="02_two",
        parameters=GREETING,
    )
    failed = run_flow(project)
    assert statuses(failed) == {"01_one": "completed", "02_two": "failed"}
    (tmp_path / "mended").touch()
    folder, before = past_runs.to_resume()
    request = before["request"]
    resumed = run_flow(**request | {"folder": Path(request["folder"]), "run_dir": folder})
    assert statuses(resumed) == {"01_one": "cached", "02_two": "completed"}
    assert times_run(project) == 1
    assert resumed["folder"] == failed["folder"]
    assert "broken" in (folder / "02_two.attempt-1.html").read_text()  # nothing is lost


def test_old_runs_are_removed_and_what_was_kept_of_them_is_forgotten(ran: Path):
    run_flow(ran, notebooks=["01"], parameters={"greeting": "2"})
    removed = past_runs.prune(keep=1)
    assert len(removed) == 1 and not removed[0].exists()
    assert why_stale(ran, "01", greeting="2") == ""
    assert why_stale(ran, "01") == "parameters (greeting)"
    assert summary_of(settings.runs_dir() / "latest")["status"] == "completed"


def test_a_notebook_that_was_edited_while_it_ran_is_not_taken_for_what_it_is_now(project: Path):
    path = str(project / "01_one.ipynb")
    change = "text = open(path).read(); open(path, 'w').write(text.replace('6.5', '5.5'))"
    write_one(project, f"path = {path!r}", change)
    run_flow(project)
    assert why_stale(project) == "cells"


def test_what_was_edited_beside_a_notebook_while_it_ran_is_not_believed(project: Path):
    helper = project / "helper.py"
    helper.write_text("VALUE = 1")
    edit = f"from pathlib import Path; Path({str(helper)!r}).write_text('VALUE = 2')"
    write_one(project, edit, "import helper; assert helper.VALUE == 2")
    run_flow(project)
    assert why_stale(project) == "helpers"
    helper.write_text("VALUE = 1")
    assert why_stale(project) == "helpers changed while it ran"


MADE = "from pathlib import Path\nmade: Path = 'made.txt'  # written by one, read by others"
FACTOR = "factor: int = 1  # what to write"
WRITE = "open(made, 'w').write(str(factor))"
READ = "from taxi_lib.results import report_results; report_results(read=open(made).read())"


@pytest.fixture
def chain(project: Path) -> Path:
    """Return the project with a notebook that writes and one that reads what it wrote."""
    (project / "01_one.ipynb").unlink()
    write_cells(project, WRITE, name="01_make", parameters=f"{MADE}\n{FACTOR}")
    write_cells(project, READ, name="02_use", parameters=MADE)
    return project


def read_by(report: dict[str, Any], name: str) -> str:
    (run,) = (run for run in report["notebooks"] if run["name"] == name)
    return run["results"]["read"]


def test_notebooks_of_ones_own_run_one_after_another_in_the_order_of_their_numbers(chain: Path):
    for factor in (1, 2, 1, 1, 1):
        report = run_flow(chain, parameters={"factor": factor})
        assert read_by(report, "02_use") == str(factor)
    assert statuses(report) == {"01_make": "cached", "02_use": "cached"}


@pytest.mark.parametrize(
    "made",
    ["made: str = 'made.txt'  # in the folder of the run", "made: list = ['{}/made.txt']  # full"],
)
def test_a_file_that_is_named_as_a_text_is_judged_too(project: Path, made: str):
    (project / "01_one.ipynb").unlink()
    made, name = made.format(project), "made" if "str" in made else "made[0]"
    write = f"import time; open({name}, 'w').write(str(factor))"
    write_cells(project, write, name="01_make", parameters=f"{made}\n{FACTOR}")
    write_cells(project, READ.replace("(made)", f"({name})"), name="02_use", parameters=made)
    assert read_by(run_flow(project), "02_use") == "1"
    assert set(statuses(run_flow(project)).values()) == {"cached"}
    report = run_flow(project, parameters={"factor": 2})
    assert read_by(report, "02_use") == "2" and report["status"] == "completed"


@pytest.mark.parametrize("text", ["/dev/zero", "/etc", "/\0", "/" + "x" * 5000, "/nowhere", "~/x"])
def test_a_text_that_names_no_file_is_only_a_text(project: Path, text: str):
    contract = read_contract(project / "01_one.ipynb")
    assert named_as_texts(contract, {"greeting": text}, project / "nowhere") == {}


def test_what_a_later_notebook_writes_is_not_called_fresh_for_an_earlier_one(
    project: Path, capsys: pytest.CaptureFixture[str]
):
    (project / "01_one.ipynb").unlink()
    (project / "made.txt").write_text("0")
    write_cells(project, READ, name="01_use", parameters=MADE)
    write_cells(project, WRITE, name="02_make", parameters=f"{MADE}\n{FACTOR}")
    first = run_flow(project)
    told = f"data ({project / 'made.txt'})"
    assert [run["changed"] for run in first["notebooks"]] == [told, told]
    assert statuses(run_flow(project)) == {"01_use": "completed", "02_make": "completed"}
    assert statuses(run_flow(project)) == {"01_use": "cached", "02_make": "cached"}
    for jobs in (1, 2):
        report = run_flow(project, parameters={"factor": 10 + jobs}, jobs=jobs)
        assert statuses(report) == {"01_use": "completed", "02_make": "completed"}
        assert read_by(report, "01_use") == str(10 + jobs)
        assert f"01 · {told} changed since it was found unchanged" in capsys.readouterr().out


def test_what_changed_while_a_good_run_went_on_is_said(chain: Path):
    report = run_flow(chain)
    told = f"data ({chain / 'made.txt'})"
    assert [run["changed"] for run in report["notebooks"]] == [told, ""]
    assert list(plan.stale_reasons(plan.Request(folder=chain))) == [
        ("01_make", told),
        ("02_use", ""),
    ]


def test_side_by_side_a_file_that_several_name_and_one_changes_is_no_success(chain: Path):
    made, wait = chain / "made.txt", "import time; time.sleep({})"
    made.write_text("0")
    write_cells(chain, wait.format(2), WRITE, name="01_make", parameters=f"{MADE}\n{FACTOR}")
    write_cells(chain, READ, wait.format(6), name="02_use", parameters=MADE)
    write_cells(chain, WRITE.replace("factor", "2"), wait.format(6), name="03_too", parameters=MADE)
    report = run_flow(chain, jobs=3)
    assert report["status"] == "failed"
    errors = {run["name"]: run["error"] for run in report["notebooks"]}
    assert errors["02_use"] == f"{made} changed while 01_make ran beside it: run them with --jobs 1"
    assert errors["03_too"] == f"{made} changed while 01_make ran beside it: run them with --jobs 1"


def test_a_notebook_that_goes_on_with_its_own_file_is_run_every_time(project: Path):
    add = "before = int(open(made).read()); open(made, 'w').write(str(before + 1))"
    (project / "made.txt").write_text("0")
    write_cells(project, add, name="01_one", parameters=MADE)
    for number in (1, 2, 3):
        assert statuses(run_flow(project)) == {"01_one": "completed"}
        assert (project / "made.txt").read_text() == str(number)
        assert why_stale(project) == f"data ({project / 'made.txt'})"


@pytest.mark.parametrize("name", [".#helper.py", ".venv/lib.py", "folder.py/x.txt"])
def test_what_only_looks_like_a_module_beside_a_notebook_is_none(ran: Path, name: str):
    path = ran / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to("nowhere")
    assert why_stale(ran, "01") == ""


def test_a_run_in_the_folder_of_the_notebooks_is_refused(project: Path):
    with pytest.raises(ContractError, match="holds the notebooks themselves: choose another"):
        run_flow(project, run_dir=project)
    assert sorted(path.name for path in project.iterdir()) == ["01_one.ipynb"]


def test_a_folder_without_notebooks_is_refused(tmp_path: Path):
    with pytest.raises(ContractError, match=r"There is no notebook in .*: name another folder"):
        run_flow(tmp_path)


def test_a_run_into_a_folder_of_something_else_is_refused_before_anything_runs(
    project: Path, tmp_path: Path
):
    theirs = tmp_path / "theirs" / "summary.json"
    theirs.parent.mkdir()
    theirs.write_text('{"status": "completed"}')
    with pytest.raises(ContractError, match="holds what no run has left there"):
        run_flow(project, run_dir=theirs.parent)
    assert theirs.read_text() == '{"status": "completed"}' and not (project / "count").exists()


def test_runs_that_are_reached_through_a_link_are_the_same_runs(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("TAXI_RUNS_DIR", str(tmp_path / "link"))
    write_cells(project, "assert False", name="02_two")
    failed = run_flow(project)
    folder, _ = past_runs.to_resume()
    again = run_flow(project, run_dir=folder)
    assert statuses(again) == {"01_one": "cached", "02_two": "failed"}
    assert again["folder"] == failed["folder"]
    assert not list(folder.glob("01_one.attempt*"))


def test_what_is_resumed_takes_the_data_and_the_options_that_it_is_told(
    project: Path, write_month: Callable[..., Path]
):
    write_month("2021-01")
    write_one(project, "assert False", parameters='month: str = "2021-01"  # [month]')
    report = run_flow(project, cell_seconds=5)
    _, before = past_runs.to_resume()
    assert before["data_dir"] == str(settings.data_dir())
    assert before["request"]["cell_seconds"] == 5 and "run_dir" not in before["request"]
    assert report["status"] == "failed"
