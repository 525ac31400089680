"""Where a walkthrough runs: full disks, folders of others, no home, and secrets kept from view."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from prefect.blocks.system import Secret

from support import ROOT
from support.cli import run
from support.flow_runs import run_flow, statuses, summary_of
from support.notebooks import printed, run_path, write_cells
from support.refusals import refused
from taxi_lib.errors import ContractError, TaxiError
from taxi_lib.runner import masking
from taxi_lib.runner.contracts import read_contract

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]
SECRET = 'hunter2-"quoted"-ü'
ASK = 'api_key: str = ""  # key of the API [secret]\nname: str = "x"  # a name'
TELL = """import html, json, urllib.parse
from IPython.display import HTML, display
print(api_key); print([api_key]); print(json.dumps(api_key), urllib.parse.quote(api_key))
display(HTML(html.escape(api_key)), {api_key: api_key})
for character in api_key:
    print(character, end="", flush=True)
print()
print(len(api_key))"""


@pytest.fixture
def project(project: Path) -> Path:
    """Return the folder with one notebook in it."""
    write_cells(project, "print('small')", name="01_small")
    return project


def mounted(folder: Path, *options: str) -> bool:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    return bool(shutil.which("mount")) and not subprocess.run(command, check=False).returncode


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder on a disk of one megabyte."""
    if not mounted(tmp_path / "disk", "size=1m"):
        pytest.skip("only root may make a small disk")
    yield tmp_path / "disk"
    subprocess.run(["umount", str(tmp_path / "disk")], check=True)


@pytest.fixture
def sealed_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder that nobody may write to."""
    if not mounted(tmp_path / "sealed", "size=1m", "ro"):
        pytest.skip("only root may make a disk that is read-only")
    yield tmp_path / "sealed"
    subprocess.run(["umount", str(tmp_path / "sealed")], check=True)


def test_a_full_disk_is_told_and_leaves_no_half_file(project: Path, small_disk: Path):
    write_cells(project, "print('x' * 2_000_000)", name="02_large")
    status, told = run("--folder", project, "--run-dir", small_disk / "run", "--jobs", 1)
    assert status == 1 and "No space left on device" in told and "Traceback" not in told
    assert "free some space" in told
    for path in (small_disk / "run").glob("*.ipynb"):
        assert "part" not in path.name and nbformat.read(path, as_version=4)
    for path in (small_disk / "run").glob("*.html"):
        assert path.read_text().rstrip().endswith("</html>")


def test_a_disk_that_is_full_before_an_earlier_run_is_copied_is_told_in_a_sentence(
    project: Path, small_disk: Path, tmp_path: Path
):
    write_cells(project, "print('x' * 2_000_000)", name="02_large")
    env = {"TAXI_RUNS_DIR": str(tmp_path / "runs")}
    status, told = run("--folder", project, **env)
    assert status == 0, told
    env |= {"PREFECT_API_URL": None}  # nothing has changed: Prefect is not needed
    status, told = run("--folder", project, "--run-dir", small_disk / "run", **env)
    assert status == 1 and "Traceback" not in told and "Starting Prefect" not in told
    assert "The run broke off: " in told and "No space left on device" in told
    assert summary_of(small_disk / "run")["status"] in ("interrupted", "running")


def test_a_folder_that_is_read_only_is_told_before_a_kernel_starts(
    project: Path, sealed_disk: Path
):
    status, told = run("--folder", project, "--run-dir", sealed_disk / "run")
    assert status == 2
    assert "cannot be written (Read-only file system): free some space, or choose" in told
    assert "cell" not in told


@pytest.mark.parametrize("home", [None, "/proc", "/proc/nowhere"])
def test_a_home_that_is_not_there_or_not_writable_does_not_matter(
    project: Path, tmp_path: Path, home: str | None
):
    status, told = run("--folder", project, "--run-dir", tmp_path / "run", HOME=home)
    assert status == 0, told
    assert statuses(summary_of(tmp_path / "run")) == {"01_small": "completed"}


def test_the_whole_workbook_in_a_folder_with_spaces_and_unicode(tmp_path: Path):
    copy = tmp_path / "mein Arbeitsbuch {1} – 工作簿"
    for name in ("taxi_lib", "notebooks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.lock", copy)
    where = "import taxi_lib; print(taxi_lib.__file__)"
    write_cells(copy / "notebooks", where, name="00_where")
    env = {"TAXI_RUNS_DIR": None, "MLFLOW_TRACKING_URI": None, "PYTHONPATH": str(copy)}
    status, told = run("00", cwd=copy, **env)
    assert status == 0, told
    log = copy / "runs" / "latest" / "00_where.log"
    assert str(copy / "taxi_lib") in log.read_text()


def test_a_path_that_leads_out_of_the_workspace_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(ROOT)
    inside = 'out: "Path | None" = None  # where [inside the workspace]'
    contract = read_contract(write_cells(tmp_path, "1", parameters=inside))
    assert contract.check({"out": "benchmarks"}) == {"out": str(ROOT / "benchmarks")}
    link = tmp_path / "runs" / "link"
    link.parent.mkdir()
    link.symlink_to("/etc")  # the runs folder of this test lies inside, what it leads to does not
    for path in ("../../etc/passwd", "/etc/passwd", "benchmarks/../../x", str(link / "passwd")):
        with pytest.raises(ContractError, match="which lies outside the workspace"):
            contract.check({"out": path})


@pytest.mark.parametrize("folder", ["../../nowhere", "/etc/passwd"])
def test_a_data_folder_that_is_none_is_refused(folder: str, project: Path):
    path = write_cells(project, "1", parameters='month: str = "2021-01"  # month [month]')
    status, told = run("--folder", path.parent, TAXI_DATA_DIR=folder)
    assert status == 2 and "which is no folder: make it, or correct it." in told


def text_of(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files)


def test_a_secret_from_the_environment_reaches_the_cell_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TAXI_TEST_KEY", SECRET)
    env = {name: value for name, value in os.environ.items() if name != "TAXI_TEST_KEY"}
    fail = "raise ValueError(f'refused: {api_key}')"
    path = write_cells(tmp_path, TELL, fail, parameters=ASK)
    run_of = run_path(path, tmp_path / "run", {"api_key": "env:TAXI_TEST_KEY"}, env=env)
    assert printed(run_of).splitlines()[-1] == str(len(SECRET))
    assert run_of.error.endswith("ValueError: refused: ********")
    left = text_of(tmp_path / "run")
    assert "hunter2" not in left and left.count(masking.MASK) >= 3
    assert 'api_key = "env:TAXI_TEST_KEY"' in left.replace('\\"', '"')


def test_a_secret_block_is_read_where_it_is_used_and_shown_nowhere(project: Path, tmp_path: Path):
    Secret(value=SECRET).save("fault-test-key", overwrite=True)
    write_cells(project, TELL, name="01_small", parameters=ASK)
    try:
        report = run_flow(project, parameters={"api_key": "block:fault-test-key"})
    finally:
        Secret.delete("fault-test-key")
    assert report["status"] == "completed"
    assert "hunter2" not in text_of(Path(report["folder"])) + str(report)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("hunter2", "api_key is secret: say where it is kept, as env:VARIABLE or block:NAME"),
        ("env:NO_SUCH_VARIABLE", "variable NO_SUCH_VARIABLE, which is not set: set it."),
        ("block:no-such-block", "in the Secret block 'no-such-block', which is not on Prefect's"),
    ],
)
def test_a_secret_that_is_told_or_is_not_there_is_refused(project: Path, value: str, told: str):
    write_cells(project, TELL, name="01_small", parameters=ASK)
    with pytest.raises(TaxiError, match=told) as refusal:
        run_flow(project, parameters={"api_key": value})
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("", "nothing"),
        (" \n\t   ", "nothing"),
        ("7", "fewer than 6 characters"),
        (" hunt2 ", "fewer than 6 characters"),
        ("stream", "a word that notebook files contain"),
        ("text/plain", "a word that notebook files contain"),
        ("Api_Key", "a word that notebook files contain"),
    ],
)
def test_a_secret_that_would_garble_other_text_is_refused(
    monkeypatch: pytest.MonkeyPatch, secret: str, told: str
):
    monkeypatch.setenv("TAXI_TEST_KEY", secret)
    with refused(ContractError, "api_key is kept in env:TAXI_TEST_KEY, which holds", told):
        masking.resolve_secret("api_key", "env:TAXI_TEST_KEY")


def test_a_parameter_that_sounds_like_a_secret_has_to_be_marked(tmp_path: Path):
    for name in ("password", "api_token", "SECRET", "aws_credentials"):
        path = write_cells(tmp_path, "1", parameters=f'{name}: str = ""  # a help')
        with pytest.raises(ContractError, match=f"{name} sounds like a secret: end its line with"):
            read_contract(path)
    read_contract(write_cells(tmp_path, "1", parameters="max_tokens: int = 5  # how many"))


def test_a_secret_does_not_stand_in_the_notebook_itself(tmp_path: Path):
    line = 'api_key: str = "hunter2"  # key [secret]'
    with pytest.raises(ContractError, match="api_key is secret: say where it is kept"):
        read_contract(write_cells(tmp_path, "1", parameters=line))


def test_where_a_secret_is_kept_may_be_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TAXI_TEST_KEY", SECRET)
    line = 'api_key: str = "env:TAXI_TEST_KEY"  # key [secret]'
    run_of = run_path(write_cells(tmp_path, TELL, parameters=line), tmp_path / "run")
    assert printed(run_of).splitlines()[-1] == str(len(SECRET))
    assert "hunter2" not in text_of(tmp_path / "run")
