"""Results handed from notebook to notebook: values, files, failures, and what is cached."""

from pathlib import Path

import nbformat
import pytest

from support.flow_runs import flow_run_in, run_flow, statuses, task_states
from support.notebooks import write_cells
from taxi_lib.services.prefect_client import tasks_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]

TYPES = "from pathlib import Path\n"
REPORT = "from taxi_lib.results import report_results\n"


def write_prepare(project: Path, code: str = "Path('t.txt').write_text(words)") -> Path:
    report = f"{TYPES}{REPORT}clean: Path  # the file\nlength: int\n"
    return write_cells(
        project,
        code,
        name="01_prepare",
        parameters=f"{TYPES}words: str = 'a b'  # to write\nseed: int = 1  # changes nothing",
        results=f"{report}report_results(clean=Path('t.txt'), length=len(words))",
    )


def write_train(project: Path, name: str = "02_train", more: str = "") -> Path:
    taken = (
        f"{TYPES}clean: Path = 'nothing.txt'  # [from 01_prepare]\n"
        "letters: int = 99  # [from 01_prepare.length]"
    )
    report = f"{REPORT}score: float\nreport_results(score=letters + len(Path(clean).read_text()))"
    return write_cells(project, more or "1", name=name, parameters=taken, results=report)


@pytest.fixture
def chain(project: Path) -> Path:
    """Write three notebooks of which each takes from the one before it."""
    write_prepare(project)
    write_train(project)
    taken = "score: float = 99.0  # [0 or more] [from 02_train]"
    write_cells(project, "print('score', score)", name="03_judge", parameters=taken)
    return project


def printed(folder: Path, name: str) -> str:
    cells = nbformat.read(folder / f"{name}.ipynb", as_version=4).cells
    return "".join(o.get("text", "") for c in cells for o in c.get("outputs", []))


def run(project: Path, folder: Path, **values: object) -> dict[str, str]:
    return statuses(run_flow(project, run_dir=folder, parameters=values, jobs=2))


def test_each_notebook_works_with_what_the_one_before_it_reported(chain: Path, tmp_path: Path):
    report = run_flow(chain, run_dir=tmp_path / "one", jobs=3)
    assert set(statuses(report).values()) == {"completed"}
    assert "score 6.0" in printed(tmp_path / "one", "03_judge")
    kept = tmp_path / "one" / "01_prepare" / "t.txt"
    assert report["notebooks"][0]["results"] == {"clean": str(kept), "length": 3}
    assert f"clean = {str(kept)!r}, from 01_prepare.clean" in (
        (tmp_path / "one" / "02_train.log").read_text()
    )


def test_prefect_draws_an_edge_for_what_is_taken(chain: Path, tmp_path: Path):
    run(chain, tmp_path / "one")
    tasks = {task.name: task for task in tasks_of(flow_run_in(tmp_path / "one").id)}
    (edge,) = tasks["02_train"].task_inputs["wait_for"]
    assert edge.id == tasks["01_prepare"].id


def test_the_same_content_leaves_what_is_behind_it_cached(chain: Path, tmp_path: Path):
    run(chain, tmp_path / "one")
    again = run(chain, tmp_path / "two", seed=2)
    assert again == {"01_prepare": "completed", "02_train": "cached", "03_judge": "cached"}
    other = run(chain, tmp_path / "three", words="a b c")
    assert set(other.values()) == {"completed"}
    assert "score 10.0" in printed(tmp_path / "three", "03_judge")


def test_a_cached_step_has_its_files_in_the_new_run(chain: Path, tmp_path: Path):
    run(chain, tmp_path / "one")
    report = run_flow(chain, run_dir=tmp_path / "two")
    assert set(statuses(report).values()) == {"cached"}
    copy = tmp_path / "two" / "01_prepare" / "t.txt"
    assert report["notebooks"][0]["results"]["clean"] == str(copy)
    (tmp_path / "one" / "01_prepare" / "t.txt").unlink()
    assert set(run(chain, tmp_path / "three").values()) == {"cached"}


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_text("edited")])
def test_a_file_that_is_gone_or_edited_makes_its_maker_stale(
    chain: Path, tmp_path: Path, harm: object
):
    run(chain, tmp_path / "one")
    harm(tmp_path / "one" / "01_prepare" / "t.txt")
    again = run(chain, tmp_path / "two")
    assert again == {"01_prepare": "completed", "02_train": "cached", "03_judge": "cached"}


def test_what_is_behind_a_failure_is_skipped_and_names_the_first(chain: Path, tmp_path: Path):
    write_prepare(chain, "1 / 0")
    write_cells(chain, "print('alone')", name="04_other")
    report = run_flow(chain, run_dir=tmp_path / "one")
    assert report["status"] == "failed"
    assert statuses(report) == {
        "01_prepare": "failed",
        "02_train": "skipped",
        "03_judge": "skipped",
        "04_other": "completed",
    }
    assert {each["error"] for each in report["notebooks"][1:3]} == {
        "not run, because 01_prepare failed"
    }
    assert task_states(tmp_path / "one")["03_judge"] == "NotReady"


def test_a_run_goes_on_behind_what_has_been_mended(chain: Path, tmp_path: Path):
    write_train(chain, more="1 / 0")
    run(chain, tmp_path / "one")
    write_train(chain)
    again = run(chain, tmp_path / "one")
    assert again == {"01_prepare": "cached", "02_train": "completed", "03_judge": "completed"}


def test_a_value_out_of_its_limit_fails_the_step_that_takes_it(chain: Path, tmp_path: Path):
    results = f"{REPORT}score: float\nreport_results(score=-3.0)"
    write_cells(chain, "1", name="02_train", parameters="a: int = 1", results=results)
    report = run_flow(chain, run_dir=tmp_path / "one")
    assert report["notebooks"][2]["status"] == "failed"
    assert report["notebooks"][2]["error"].startswith("02_train.score does not fit: score is -3.0")


def test_a_file_that_is_deleted_between_steps_fails_the_step_that_takes_it(
    chain: Path, tmp_path: Path
):
    between = f"import os; os.remove({str(tmp_path / 'one' / '01_prepare' / 't.txt')!r})"
    taken = "length: int = 1  # [from 01_prepare]"
    write_cells(chain, between, name="01.5_between", parameters=taken)
    late = f"{TYPES}clean: Path = 'n'  # [from 01_prepare]\nlength: int = 1  # [from 01_prepare]"
    write_cells(chain, "1", name="02_train", parameters=late, results="score: float")
    report = run_flow(chain, run_dir=tmp_path / "one", jobs=1)
    assert "01_prepare.clean, is gone: run once more." in report["notebooks"][2]["error"]


@pytest.mark.parametrize(
    ("reported", "reason"),
    [
        ("'nothing.txt'", "which does not exist"),
        ("'.'", "which is a folder"),
        ("'/etc/hostname'", "which lies outside the run's folder"),
    ],
)
def test_a_file_that_is_no_file_of_the_run_is_refused(
    project: Path, tmp_path: Path, reported: str, reason: str
):
    results = f"{TYPES}{REPORT}clean: Path\nreport_results(clean={reported})"
    write_cells(project, "1", name="01_prepare", results=results)
    (only,) = run_flow(project, run_dir=tmp_path / "one")["notebooks"]
    assert only["status"] == "failed" and reason in only["error"]


def test_two_steps_that_write_the_same_name_at_once_do_not_meet(project: Path, tmp_path: Path):
    for name, words in (("01_a", "from a"), ("02_b", "from b")):
        write = f"import time\nPath('t.txt').write_text({words!r}); time.sleep(1)"
        results = f"{REPORT}clean: Path\nreport_results(clean='t.txt')"
        write_cells(project, write, name=name, parameters=f"{TYPES}a: int = 1", results=results)
    taken = f"{TYPES}a: Path = 'n'  # [from 01_a.clean]\nb: Path = 'n'  # [from 02_b.clean]"
    both = "print(Path(a).read_text(), Path(b).read_text())"
    write_cells(project, both, name="03_both", parameters=taken)
    run(project, tmp_path / "one")
    assert "from a from b" in printed(tmp_path / "one", "03_both")


def test_a_value_that_looks_like_code_is_handed_on_as_a_text(project: Path, tmp_path: Path):
    words = '__import__(\'os\').abort()"""\\n{x}'
    results = f"{REPORT}words: str\nreport_results(words={words!r})"
    write_cells(project, "1", name="01_say", results=results)
    write_cells(
        project,
        f"assert words == {words!r}",
        name="02_hear",
        parameters="words: str = ''  # [from 01_say]",
    )
    assert set(run(project, tmp_path / "one").values()) == {"completed"}


def test_the_executed_copy_runs_again_by_itself(chain: Path, tmp_path: Path):
    run(chain, tmp_path / "one")
    executed = nbformat.read(tmp_path / "one" / "03_judge.ipynb", as_version=4)
    injected = [c.source for c in executed.cells if "injected-parameters" in c.metadata.tags]
    assert injected and "score = 6.0" in injected[0]


def test_a_value_that_is_given_is_used_and_the_log_says_so(chain: Path, tmp_path: Path):
    report = run_flow(chain, notebooks=["03"], run_dir=tmp_path / "one", parameters={"score": 2.5})
    assert statuses(report) == {"03_judge": "completed"}
    assert "score = 2.5, as given, not from 02_train" in (
        (tmp_path / "one" / "03_judge.log").read_text()
    )
