"""The doctor, in environments that are broken in one way each."""

import ast
import errno
import fcntl
import http.server
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

from support import ROOT
from support.cli import run_command
from support.months import five_trips
from taxi_lib import doctor, services, settings
from taxi_lib.doctor import findings, kernel, machine, stores
from taxi_lib.services import pages, ports
from taxi_lib.services.ports import free_port

CONDUCT = "ok", "warning", "problem"
PORTS = "taxi_lib.services.ports"


def look(name: str) -> list[tuple[str, str]]:
    """Return what a check finds, by its name; a problem or a warning is one sentence."""
    (module,) = (module for _, module, check in doctor.CHECKS if check == name)
    found = doctor.look(module, name)
    assert found, "every check says something"
    for status, sentence in found:
        assert status in CONDUCT and "\n" not in sentence
        assert status == "ok" or (sentence.endswith(".") and ": " in sentence), sentence
    return found


def only(name: str) -> tuple[str, str]:
    """Return the one thing that a check finds."""
    (finding,) = look(name)
    return finding


@pytest.fixture(autouse=True)
def healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test folders of its own, in which nothing is wrong; return their parent."""
    for name in ("data", "runs", "home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TAXI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TAXI_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "runs" / "prefect"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("TAXI_TLC_URL", "MLFLOW_TRACKING_URI", "PREFECT_API_URL", "TAXI_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a workbook in which a test may change what it likes."""
    folder = tmp_path / "checkout"
    (folder / "notebooks").mkdir(parents=True)
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    monkeypatch.setattr(settings, "checkout", lambda: folder)
    return folder


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that puts a package's record before those that are installed."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def add(name: str, version: str, metadata: str = "Name: {}\nVersion: {}\n") -> None:
        record = site / f"{name}-{version}.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(metadata.format(name, version))

    return add


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], str]]:
    """Return a function that serves answers by their paths, and returns the address."""
    servers = []

    def serve(answers: dict[str, str]) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = answers.get(self.path)
                self.send_response(200 if found is not None else 404)
                self.end_headers()
                self.wfile.write((found or "").encode())

            def log_message(self, *_: object) -> None:
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=[0.05], daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


# Python and packages


@pytest.mark.parametrize("version", [(3, 8, 0), (3, 10, 14)])
def test_a_python_that_is_too_old_is_all_that_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], version: tuple
):
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert doctor.main() == 1
    first, summary = capsys.readouterr().out.splitlines()
    assert first.startswith("problem  Python") and "but the lessons need 3.11 to 3.13:" in first
    assert summary == "Problems that would stop a lesson: 1."


def test_a_python_that_is_too_new_is_a_problem_beside_the_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "CHECKS", doctor.CHECKS[-1:])
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    (title, (status, _)), (other, _) = doctor.examine()
    assert (title, status, other) == ("Python", "problem", "Other variables")


def test_the_bounds_of_python_are_those_of_the_project():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    (_, oldest), (_, newest) = doctor.OLDEST, doctor.NEWEST
    assert wanted == f">=3.{oldest},<3.{newest + 1}"


@pytest.mark.parametrize("file", ["doctor/__init__.py", "__init__.py", "__main__.py"])
def test_an_old_python_can_read_what_tells_it_that_it_is_too_old(file: str):
    ast.parse((ROOT / "taxi_lib" / file).read_text(), feature_version=(3, 8))


def test_the_locked_packages_are_ok():
    assert only("check_versions")[0] == "ok"


def test_a_missing_package_is_a_problem(checkout: Path):
    with (checkout / "requirements.lock").open("a") as lock:
        lock.write("no-such-package==1.0 \\\n")
    status, sentence = only("check_versions")
    assert status == "problem" and "has no no-such-package: " in sentence


def test_a_package_for_another_system_is_not_missing(checkout: Path):
    with (checkout / "requirements.lock").open("a") as lock:
        lock.write("no-such-package==1.0 ; sys_platform == 'plan9' \\\n")
    assert only("check_versions")[0] == "ok"


def test_a_version_that_the_lessons_cannot_use_is_a_problem(installed: Callable):
    installed("prefect", "2.20.0")
    status, sentence = only("check_versions")
    assert status == "problem" and "prefect 2.20.0 (needed: <4,>=3.9.1)" in sentence


def test_a_version_that_was_not_tested_is_a_warning(installed: Callable):
    installed("tqdm", "4.99.0")
    status, sentence = only("check_versions")
    assert status == "warning" and "tqdm 4.99.0 (locked: 4." in sentence


@pytest.mark.parametrize("metadata", ["", "Name: tqdm\n", "\0\n\n: :\n", "Version: 4\n"])
def test_a_damaged_record_of_a_package_does_not_hide_a_good_one(installed: Callable, metadata: str):
    installed("tqdm", "1.0", metadata)
    assert only("check_versions")[0] == "ok"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0 no lock", None])
def test_a_lock_file_that_says_nothing_is_a_warning(checkout: Path, content: bytes | None):
    (checkout / "requirements.lock").unlink()
    if content is not None:
        (checkout / "requirements.lock").write_bytes(content)
    assert only("check_versions")[0] == "warning"


def test_a_damaged_project_file_does_not_matter_to_the_lock(checkout: Path):
    (checkout / "pyproject.toml").write_text("[project\n")
    assert only("check_versions")[0] == "ok"


def test_what_was_installed_from_a_wheel_needs_no_lock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settings, "checkout", lambda: None)
    status, sentence = only("check_versions")
    assert status == "ok" and sentence.endswith("within their bounds")
    monkeypatch.setattr("taxi_lib.doctor.packages.metadata.requires", lambda _: ["no-such>=1"])
    status, sentence = only("check_versions")
    assert status == "problem" and "has no no-such: install the workbook again" in sentence


@pytest.mark.parametrize("own", [".venv", "conda"])
def test_the_remedy_fits_the_environment(checkout: Path, monkeypatch: pytest.MonkeyPatch, own: str):
    (checkout / "requirements.lock").write_text("no-such-package==1.0\n")
    (checkout / own / "conda-meta").mkdir(parents=True)
    if own == "conda":
        monkeypatch.setattr(sys, "prefix", str(checkout / own))
    remedy = only("check_versions")[1].partition(": ")[2]
    wanted = {".venv": f"{checkout}/.venv/bin/python.", "conda": "conda env update"}
    assert wanted[own] in remedy


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("y = 2\n# half")])
def test_a_file_of_a_package_that_is_gone_or_changed_is_a_problem(
    healthy: Path, installed: Callable, change: Callable[[Path], object]
):
    installed("mine", "1.0")
    module = healthy / "site" / "mine.py"
    module.write_text("x = 1\n")
    record = "mine.py,,6\n../bin/mine,,600\n__pycache__/mine.pyc,,\nRECORD,,\n"
    (healthy / "site" / "mine-1.0.dist-info" / "RECORD").write_text(record)
    assert only("check_files")[0] == "ok"
    change(module)
    status, sentence = only("check_files")
    assert status == "problem" and "Damaged: mine (mine.py): rm -r .venv" in sentence


def test_all_files_of_packages_are_looked_at_for_a_second_only(
    healthy: Path, installed: Callable, monkeypatch: pytest.MonkeyPatch
):
    installed("mine", "1.0")
    record = healthy / "site" / "mine-1.0.dist-info" / "RECORD"
    record.write_text("mine/deep/library.so,sha256=x,6\n")
    monkeypatch.setattr("taxi_lib.doctor.packages._SECONDS", 100)
    assert only("check_files")[0] == "problem"
    monkeypatch.setattr("taxi_lib.doctor.packages._SECONDS", -1)
    assert only("check_files")[0] == "ok"
    record.write_text("mine/__init__.py,sha256=x,6\n")
    assert only("check_files")[0] == "problem"


def test_damaged_packages_are_not_imported(monkeypatch: pytest.MonkeyPatch):
    damaged = findings.problem("Damaged", "repair")
    monkeypatch.setattr("taxi_lib.doctor.packages.check_files", lambda: [damaged])
    found = dict(doctor.examine())
    assert found["Packages' files"] == damaged
    for title, _, name in doctor.CHECKS:
        left_out = "This is not checked while packages are damaged" in found[title][1]
        assert left_out == (name in doctor.COMPILED)


def test_a_folder_that_hides_a_package_is_a_problem(healthy: Path, monkeypatch: pytest.MonkeyPatch):
    (healthy / "mine" / "papermill").mkdir(parents=True)
    (healthy / "mine" / "papermill" / "__init__.py").touch()
    monkeypatch.syspath_prepend(healthy / "mine")
    monkeypatch.delitem(sys.modules, "papermill", raising=False)
    status, sentence = only("check_imports")
    assert status == "problem" and "/mine/papermill/__init__.py for the package" in sentence


@pytest.mark.parametrize("name", ["random.py", "pandas.py", "prefect/__init__.py"])
def test_a_file_beside_the_lessons_that_hides_a_package_is_a_problem(checkout: Path, name: str):
    (checkout / "notebooks" / name).parent.mkdir(exist_ok=True)
    (checkout / "notebooks" / name).touch()
    status, sentence = only("check_imports")
    assert status == "problem" and f"notebooks/{name.split('/')[0]}" in sentence


def test_a_file_in_the_working_directory_that_hides_a_package_is_a_warning(healthy: Path):
    (healthy / "here" / "json.py").touch()
    (healthy / "here" / "my_steps.py").touch()
    status, sentence = only("check_imports")
    assert status == "warning" and "here/json.py hides the module of that name" in sentence


# The kernel


def kernel_of(folder: Path, monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    place = folder / "kernels" / "python3"
    place.mkdir(parents=True)
    (place / "kernel.json").write_text(spec)
    monkeypatch.setenv("JUPYTER_PATH", str(folder))


def test_a_kernel_of_another_python_is_a_problem(healthy: Path, monkeypatch: pytest.MonkeyPatch):
    argv = ["/opt/other/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
    kernel_of(healthy / "jupyter", monkeypatch, json.dumps(spec))
    status, sentence = only("check_kernel")
    assert status == "problem" and "starts /opt/other/bin/python, not this Python" in sentence


@pytest.mark.parametrize("spec", ["", "{", "[]", "{}", '{"argv": []}', '{"argv": 3}', "null"])
def test_a_damaged_kernelspec_is_a_problem(
    healthy: Path, monkeypatch: pytest.MonkeyPatch, spec: str
):
    kernel_of(healthy / "jupyter", monkeypatch, spec)
    status, sentence = only("check_kernel")
    assert status == "problem" and "python3 cannot be used (" in sentence


def test_the_kernel_of_this_python_is_ok():
    assert kernel._THIS and only("check_kernel") == ("ok", f"python3 starts {sys.executable}")


@pytest.mark.parametrize("home", ["/dev/null", "/dev/null/below"])
def test_a_home_that_cannot_be_written_is_a_problem(monkeypatch: pytest.MonkeyPatch, home: str):
    monkeypatch.setenv("HOME", home)
    status, sentence = only("check_runtime_folder")
    assert status == "problem" and f"HOME is '{home}'" in sentence


# The machine


def test_missing_programs_are_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    (git, no_git), (make, no_make) = look("check_programs")
    assert (git, make) == ("problem", "warning")
    assert no_git.endswith(": install git.") and "-m taxi_lib" in no_make


def test_windows_is_a_problem(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine.sys, "platform", "win32")
    assert ("problem", "Windows has no fork, which the lessons need: work in WSL.") in look(
        "check_programs"
    )


def test_a_working_directory_that_is_gone_is_a_problem(healthy: Path):
    (healthy / "here").rmdir()
    assert look("check_programs")[0][1].startswith("The working directory was removed")
    assert only("check_imports")[0] == only("check_prefect_profile")[0] == "ok"


@pytest.mark.parametrize(("taken", "page"), [(4200, "prefect"), (4201, "pages"), (5000, "mlflow")])
def test_a_port_of_another_program_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, taken: int, page: str
):
    monkeypatch.setattr(ports, "is_free", lambda port: port != taken)
    status, sentence = only("check_ports")
    assert status == "warning" and f'make ui ARGS="--{page}-port {taken + 100}"' in sentence


def test_the_port_of_our_own_pages_is_ok_while_they_are_shown(
    healthy: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TAXI_RUNS_DIR", str(healthy / "runs"))
    with services.run_pages(port := free_port()):
        monkeypatch.setattr(pages, "PORT", port)
        assert only("check_ports")[0] == "ok"


@pytest.mark.parametrize(("is_held", "status"), [(True, "ok"), (False, "warning")])
def test_a_port_of_a_page_of_ours_is_ok_while_that_runs(
    healthy: Path, monkeypatch: pytest.MonkeyPatch, is_held: bool, status: str
):
    lock = healthy / "runs" / ".locks" / "mlflow-page.lock"
    lock.parent.mkdir()
    lock.write_text('{"address": "http://127.0.0.1:5000", "supervisor": 1}')
    monkeypatch.setattr(ports, "is_free", lambda port: port != 5000)
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH if is_held else fcntl.LOCK_UN)
        assert only("check_ports")[0] == status


@pytest.mark.parametrize(("free", "status"), [(1e7, "problem"), (1e9, "warning"), (1e10, "ok")])
def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch, free: float, status: str):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1e12, 0, free))
    assert only("check_disk")[0] == status


# The stores


@pytest.mark.parametrize("place", ["file", "file/below", "circle"])
def test_runs_that_cannot_be_kept_are_a_problem(
    healthy: Path, monkeypatch: pytest.MonkeyPatch, place: str
):
    (healthy / "file").touch()
    (healthy / "circle").symlink_to(healthy / "circle")
    monkeypatch.setenv("TAXI_RUNS_DIR", str(healthy / place))
    monkeypatch.delenv("PREFECT_HOME")
    for check in ("check_runs", "check_mlflow", "check_prefect"):
        assert only(check)[0] == "problem"
    assert look("check_disk")


def test_a_read_only_folder_is_a_problem(healthy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != healthy / "runs")
    assert "runs is read-only): set TAXI_RUNS_DIR" in only("check_runs")[1]


def garbage(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)


def cut_short(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE trips (place TEXT)")
        database.executemany("INSERT INTO trips VALUES (?)", [("x" * 3000,)] * 50)
    os.truncate(path, path.stat().st_size // 2)


def foreign(path: Path, revision: str = "cafecafecafe") -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES (?)", [revision])


DATABASES = pytest.mark.parametrize(
    ("check", "file"), [("check_mlflow", "mlflow.db"), ("check_prefect", "prefect/prefect.db")]
)


@DATABASES
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (garbage, "file is not a database): move it away"),
        (cut_short, "malformed): move it away"),
        (foreign, "does not know cafecafecafe: install that"),
        (Path.mkdir, "Is a directory): make it a file of yours"),
    ],
)
def test_a_database_that_cannot_be_used_is_a_problem(
    healthy: Path, check: str, file: str, damage: Callable[[Path], None], told: str
):
    (healthy / "runs" / file).parent.mkdir(exist_ok=True)
    damage(healthy / "runs" / file)
    status, sentence = only(check)
    assert status == "problem" and told in sentence


@DATABASES
def test_an_empty_database_is_ok(healthy: Path, check: str, file: str):
    (healthy / "runs" / file).parent.mkdir(exist_ok=True)
    (healthy / "runs" / file).touch()
    assert only(check)[0] == "ok"


@pytest.mark.slow
def test_a_store_of_this_mlflow_is_ok(healthy: Path, empty_store: Path):
    shutil.copy(empty_store, healthy / "runs" / "mlflow.db")
    assert only("check_mlflow") == ("ok", str(healthy / "runs" / "mlflow.db"))


def test_a_store_of_an_older_mlflow_is_a_problem_with_the_command_that_upgrades_it(healthy: Path):
    store = healthy / "runs" / "mlflow.db"
    foreign(store, "0584bdc529eb")
    status, sentence = only("check_mlflow")
    assert status == "problem" and f"mlflow db upgrade sqlite:///{store}." in sentence


def test_a_locked_store_is_a_warning(healthy: Path):
    store = healthy / "runs" / "mlflow.db"
    foreign(store)
    with closing(sqlite3.connect(store, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        status, sentence = only("check_mlflow")
    assert status == "warning" and "is in use (database is locked): wait" in sentence


def test_a_large_database_is_not_read_to_its_end(healthy: Path, monkeypatch: pytest.MonkeyPatch):
    store = healthy / "runs" / "mlflow.db"
    with closing(sqlite3.connect(store)) as database, database:
        database.execute("CREATE TABLE runs (name TEXT)")
        database.executemany("INSERT INTO runs VALUES (?)", [("x" * 50,)] * 20_000)
    monkeypatch.setattr(stores, "_SECONDS", -1)  # time is up at once
    with (
        pytest.raises(sqlite3.OperationalError, match="interrupted"),
        closing(stores._connect(store)) as database,
    ):
        database.execute("PRAGMA quick_check(1)").fetchall()
    assert only("check_mlflow")[0] == "ok"


@pytest.mark.parametrize("profiles", [b"active = [", b"\xff", b"[profiles]\n[profiles]\n"])
def test_damaged_profiles_are_a_problem(healthy: Path, profiles: bytes):
    (healthy / "runs" / "prefect").mkdir()
    (healthy / "runs" / "prefect" / "profiles.toml").write_bytes(profiles)
    status, sentence = only("check_prefect")
    assert status == "problem" and "profiles.toml cannot be read (" in sentence


# The months


def month_in(folder: Path, month: str = "2021-01") -> Path:
    path = folder / "data" / f"green_tripdata_{month}.parquet"
    five_trips("2021-01").to_parquet(path)
    return path


def test_good_months_are_ok(healthy: Path):
    for month in ("2021-01", "2021-02"):
        five_trips(month).to_parquet(month_in(healthy, month))
    for other in ("notes.txt", "green_tripdata_2021-13.parquet"):
        (healthy / "data" / other).touch()
    assert only("check_months") == ("ok", f"2 in {healthy / 'data'}")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: os.truncate(path, 900), "cannot be read as a parquet file"),
        (lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
        (lambda path: path.write_text("<html>"), "or a web page under its name?"),
        (lambda path: path.rename(path.with_name(path.name.replace("-03", "-04"))), "2021-04:"),
        (lambda path: path.with_name(f"{path.name}.sha256").write_text("0" * 64), "has changed"),
        (lambda path: path.with_name(f"{path.name}.sha256").write_text("?"), "no SHA-256"),
        (lambda path: path.with_name(f"{path.name}.sha256").mkdir(), "Is a directory"),
        (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
        (lambda path: (path.unlink(), path.symlink_to(path)), "is not there"),
    ],
)
def test_a_damaged_month_is_a_problem(healthy: Path, damage: Callable[[Path], object], told: str):
    damage(month_in(healthy, "2021-03"))
    status, sentence = only("check_months")
    assert status == "problem" and told in sentence


def test_a_month_without_the_one_it_is_compared_with_is_a_warning(healthy: Path):
    month_in(healthy)
    (status, sentence), (other, _) = look("check_months")
    assert (status, other) == ("warning", "ok")
    assert "but not green_tripdata_2021-02.parquet: make data" in sentence


def test_many_months_are_read_for_a_second_only(healthy: Path, monkeypatch: pytest.MonkeyPatch):
    month_in(healthy, "2021-03").write_text("damaged")
    monkeypatch.setattr("taxi_lib.doctor.months._SECONDS", -1)
    assert look("check_months") == [("ok", "0 of 1 were read, in -1 second")]


@pytest.mark.parametrize("place", ["data", "data/none"])
def test_no_months_are_ok(healthy: Path, monkeypatch: pytest.MonkeyPatch, place: str):
    monkeypatch.setattr(settings, "data_dir", lambda: healthy / place)
    assert only("check_months")[0] == "ok"


def test_a_data_folder_that_cannot_be_read_is_a_problem(
    healthy: Path, monkeypatch: pytest.MonkeyPatch
):
    (healthy / "file").touch()
    monkeypatch.setattr(settings, "data_dir", lambda: healthy / "file")
    status, sentence = only("check_months")
    assert status == "problem" and "(Not a directory): make it a folder" in sentence


# Variables


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TAXI_DATA_DIR", "/no/such/folder", "which is no folder: make it"),
        ("TAXI_TLC_URL", "nowhere", "which is no web address: write it like"),
        ("MLFLOW_TRACKING_URI", "sqlite:///100%/mlflow.db", "choose a folder without them"),
    ],
)
def test_a_variable_that_names_nothing_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
):
    monkeypatch.setenv(name, value)
    status, sentence = only("check_taxi")
    assert status == "problem" and told in sentence
    for _, module, check in doctor.CHECKS:
        assert "failed itself" not in str(doctor.look(module, check))


def test_a_workspace_that_is_no_folder_is_a_problem(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settings, "checkout", lambda: None)
    monkeypatch.setenv("TAXI_WORKSPACE", "/dev/null")
    status, sentence = only("check_taxi")
    assert status == "problem" and "/dev/null is no folder): correct it" in sentence


def test_a_misspelled_variable_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TAXI_DATADIR", "x")
    assert only("check_taxi") == (
        "warning",
        "Nothing reads TAXI_DATADIR: did you mean TAXI_DATA_DIR.",
    )


HEALTHY = {"/api/health": "true", "/api/admin/version": '"3.0.0"'}


def test_a_prefect_server_of_another_version_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, answer: Callable
):
    monkeypatch.setenv("PREFECT_API_URL", f"{answer(HEALTHY)}/api/")
    status, sentence = only("check_prefect_server")
    assert status == "warning" and "is Prefect 3.0.0, installed is 3." in sentence


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"/api/health": "true"}, "/api answers"),
        (HEALTHY | {"/api/admin/version": f'"{version("prefect")}"'}, f" {version('prefect')}"),
    ],
)
def test_a_prefect_server_that_answers_is_ok(
    monkeypatch: pytest.MonkeyPatch, answer: Callable, answers: dict[str, str], told: str
):
    monkeypatch.setenv("PREFECT_API_URL", f"{answer(answers)}/api")
    status, sentence = only("check_prefect_server")
    assert status == "ok" and sentence.endswith(told)


def test_a_server_on_this_machine_is_asked_without_the_proxy(
    monkeypatch: pytest.MonkeyPatch, answer: Callable
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("PREFECT_API_URL", f"{answer(HEALTHY)}/api")
    assert "is Prefect 3.0.0" in only("check_prefect_server")[1]


@pytest.mark.parametrize("page", ["/health", "/api/health"])
def test_an_address_of_a_page_is_no_address_of_an_api(
    monkeypatch: pytest.MonkeyPatch, answer: Callable, page: str
):
    # Prefect's server shows its page at every address outside of its API.
    address = answer({page: "<html>"}) + page.removesuffix("/health")
    monkeypatch.setenv("PREFECT_API_URL", address)
    status, sentence = only("check_prefect_server")
    remedy = "start it, or unset it." if "/api" in page else "let it end in /api, or unset it."
    assert status == "problem" and sentence.endswith(f"{address}: {remedy}")


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:1/api", "nonsense", "http://[::1/api", "http://no.such.host.example/api"],
)
def test_a_server_that_does_not_answer_is_a_problem(monkeypatch: pytest.MonkeyPatch, address: str):
    monkeypatch.setenv("PREFECT_API_URL", address)
    assert only("check_prefect_server")[0] == "problem"


def test_a_server_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("PREFECT_API_URL", f"{address}/api")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert only("check_prefect_server")[0] == only("check_mlflow_address")[0] == "problem"


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("./mlruns", "problem"),
        ("file:///tmp/mlruns", "problem"),
        ("databricks", "warning"),
        ("postgresql://no.such.host.example/db", "problem"),
        ("mysql+nodriver://me@127.0.0.1/db", "problem"),
        ("sqlite:///mine.db", "ok"),
    ],
)
def test_an_address_of_mlflow_is_judged(monkeypatch: pytest.MonkeyPatch, address: str, status: str):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert only("check_mlflow_address")[0] == status
    assert only("check_mlflow")[0] == "ok"


def test_a_server_of_mlflow_that_answers_is_ok(monkeypatch: pytest.MonkeyPatch, answer: Callable):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", answer({"/health": "OK"}))
    assert only("check_mlflow_address")[0] == "ok"


@pytest.mark.parametrize("name", ["PREFECT_PROFILE", "PREFECT_PROFILES_PATH"])
def test_a_profile_of_yours_is_a_warning(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(name, "mine")
    status, sentence = only("check_prefect_profile")
    assert status == "warning" and f"unset {name} before" in sentence


@pytest.mark.parametrize("name", ["prefect.toml", ".env"])
def test_settings_of_prefect_in_a_file_are_a_warning(healthy: Path, name: str):
    (healthy / "here" / name).write_text("PREFECT_API_URL=http://elsewhere/api")
    status, sentence = only("check_prefect_profile")
    assert status == "warning" and f"here/{name}: move it away" in sentence


def test_damaged_profiles_of_yours_are_a_warning(healthy: Path):
    (healthy / "home" / ".prefect").mkdir()
    (healthy / "home" / ".prefect" / "profiles.toml").write_text("[")
    assert only("check_prefect_profile")[0] == "warning"


@pytest.mark.parametrize(
    ("direct", "status"),
    [
        ({}, "warning"),
        ({"NO_PROXY": "localhost"}, "warning"),
        ({"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "example.org"}, "warning"),
        ({"NO_PROXY": "127.0.0.1, localhost"}, "ok"),
        ({"no_proxy": "*"}, "ok"),
    ],
)
def test_a_proxy_for_this_machine_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, direct: dict[str, str], status: str
):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    for name, value in direct.items():
        monkeypatch.setenv(name, value)
    assert only("check_proxy")[0] == status


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("OPENBLAS_NUM_THREADS", "1", "ok"),
        ("OPENBLAS_NUM_THREADS", "8", "warning"),
        ("PYTHONOPTIMIZE", "1", "warning"),
        ("MLFLOW_REGISTRY_URI", "http://elsewhere", "warning"),
    ],
)
def test_a_variable_that_changes_what_lessons_do_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, status: str
):
    monkeypatch.setenv(name, value)
    assert only("check_effects")[0] == status


def test_a_profile_of_yours_that_leads_elsewhere_is_named(healthy: Path):
    (healthy / "home" / ".prefect").mkdir()
    (healthy / "home" / ".prefect" / "profiles.toml").write_text(
        'active = "cloud"\n[profiles.cloud]\nPREFECT_API_URL = "https://cloud.example/api"\n'
    )
    found = "lessons have their own; yours, cloud, leads to https://cloud.example/api"
    assert only("check_prefect_profile") == ("ok", found)


# The whole


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModuleNotFoundError("x", name="pandas"), "because the package pandas is missing"),
        (ImportError("libx.so: cannot open"), "a package is damaged (libx.so: cannot open)"),
        (SyntaxError("invalid"), "a package is damaged (invalid)"),
        (OSError(errno.EIO, "Input/output error"), "failed itself (OSError: [Errno 5] Input"),
        (SystemExit(3), "failed itself (SystemExit: 3)"),
        (RecursionError("deep\nin it"), "failed itself (RecursionError: deep in it)"),
    ],
)
def test_a_check_that_fails_is_a_finding_after_those_it_made(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, told: str
):
    def check() -> findings.Findings:
        sys.stdout.write("a package prints")
        yield findings.ok("one")
        raise error

    monkeypatch.setattr(machine, "check_disk", check)
    (first, (status, sentence)) = look("check_disk")
    assert first == ("ok", "one") and status == "problem" and told in sentence


def test_control_characters_do_not_reach_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(doctor, "CHECKS", [("Disk", "machine", "check_disk")])
    monkeypatch.setattr(machine, "check_disk", lambda: [findings.ok("\x1b[31m \udcff ü")])
    assert doctor.main() == 0
    assert r"\x1b[31m \udcff ü" in capsys.readouterr().out


def test_a_password_in_an_address_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    checks = [check for check in doctor.CHECKS if check[2] == "check_mlflow_address"]
    monkeypatch.setattr(doctor, "CHECKS", checks)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:1/")
    assert doctor.main() == 1
    shown = capsys.readouterr().out
    assert "MLFLOW_TRACKING_URI=http://***@127.0.0.1:1/" in shown and "hunter2" not in shown


def tree(folder: Path) -> dict[str, tuple]:
    """Return each file and folder with its size, time and content."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.slow
def test_nothing_is_changed_and_nothing_heavy_is_imported(healthy: Path, empty_store: Path):
    month_in(healthy)
    shutil.copy(empty_store, healthy / "runs" / "mlflow.db")
    (healthy / "runs" / "prefect").mkdir()
    with closing(sqlite3.connect(healthy / "runs" / "prefect" / "prefect.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE flow (name TEXT)")
    before = tree(healthy)
    heavy = "{'prefect', 'mlflow', 'sklearn', 'xgboost', 'typer'}"
    code = "import sys; from taxi_lib import doctor; assert doctor.main() == 0; "
    code += f"assert not {heavy} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert tree(healthy) == before
    (healthy / "runs" / "later").touch()
    assert tree(healthy) != before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "status", "told"),
    [
        ({}, 0, "Nothing here would stop a lesson"),
        ({"TAXI_DATA_DIR": "/nowhere"}, 1, "Problems that would stop a lesson: 2."),
        ({"HOME": "/dev/null"}, 1, "set HOME or JUPYTER_RUNTIME_DIR"),
        ({"HOME": None, "PATH": "/nowhere"}, 1, "install git"),
        ({"PYTHONPATH": "{broken}"}, 1, "a package is damaged"),
        ({"PYTHONIOENCODING": "ascii", "TAXI_RUNS_DIR": "ü"}, 0, r"\xfc"),
    ],
)
def test_the_command_ends_without_a_traceback(
    healthy: Path, env: dict[str, str | None], status: int, told: str
):
    (healthy / "broken" / "pandas").mkdir(parents=True)
    (healthy / "broken" / "pandas" / "__init__.py").write_text("this is no Python")
    env = {name: value and value.format(broken=healthy / "broken") for name, value in env.items()}
    done = run_command("doctor", **env)
    assert (done.returncode, done.stderr) == (status, ""), done.stdout
    assert told in done.stdout and "Traceback" not in done.stdout


@pytest.mark.slow
def test_without_any_package_the_doctor_says_which_python_to_use():
    command = [sys.executable, "-S", "-m", "taxi_lib", "doctor"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert "has no aiobotocore, " in done.stdout and "package jupyter_core is" in done.stdout


@pytest.mark.slow
def test_a_reader_who_stops_reading_does_no_harm():
    command = f"{sys.executable} -m taxi_lib doctor | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == "" and done.stdout.startswith("ok       Python")


@pytest.mark.slow
def test_the_command_works_where_the_working_directory_is_gone(healthy: Path):
    command = f"rmdir {healthy / 'here'} && {sys.executable} -m taxi_lib doctor"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert "The working directory was removed" in done.stdout
