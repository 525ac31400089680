import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from support.notebooks import run_path, write_cells
from taxi_lib.errors import TaxiError
from taxi_lib.services.ports import free_port, is_free
from taxi_lib.services.processes import Command
from taxi_lib.services.shared_process import shared_program
from taxi_lib.services.waiting import wait_for

# A web service that has started a child, as a worker starts its runs.
SERVICE = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "child"])
print("child", child.pid, flush=True)
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""
USER = """
import sys, time
from pathlib import Path
from test_shared_process import share
with share(Path(sys.argv[1])) as address:
    print(address, flush=True)
    time.sleep(600)
"""


def start(_: str | None) -> Command:
    port = free_port()
    return Command([sys.executable, "-c", SERVICE, str(port)], dict(os.environ), str(port))


def share(lock_file: Path, command: Callable = start):
    return shared_program(lock_file, command, lambda port: not is_free(int(port)))


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    return tmp_path / "service.lock"


def gone(pid: int, seconds: float = 20) -> bool:
    def is_gone() -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return wait_for(is_gone, seconds)


def child_of(lock_file: Path) -> int:
    return int(lock_file.with_suffix(".log").read_text().split()[1])


@pytest.mark.slow
def test_a_second_user_joins(lock_file: Path):
    with share(lock_file) as first, share(lock_file) as second:
        assert first == second


@pytest.mark.slow
def test_the_program_and_its_children_are_gone_when_its_user_has_left(lock_file: Path):
    with share(lock_file) as port:
        child = child_of(lock_file)
        assert not is_free(int(port))
    assert is_free(int(port)) and gone(child)


@pytest.mark.slow
def test_it_stays_while_one_user_is_left(lock_file: Path):
    with share(lock_file) as port:
        with share(lock_file):
            pass
        time.sleep(1)  # its supervisor looks four times a second
        assert not is_free(int(port))


@pytest.mark.slow
def test_it_stays_for_others_when_the_one_who_started_it_leaves(lock_file: Path):
    first = share(lock_file)
    port = first.__enter__()
    with share(lock_file) as joined:
        first.__exit__(None, None, None)
        time.sleep(1)
        assert joined == port and not is_free(int(port))
    assert is_free(int(port))


@pytest.mark.slow
def test_it_stops_when_its_user_fails(lock_file: Path):
    with pytest.raises(ZeroDivisionError), share(lock_file) as port:
        1 / 0  # noqa: B018
    assert is_free(int(port))


@pytest.mark.slow
def test_it_stops_when_its_user_is_killed(lock_file: Path):
    command = [sys.executable, "-c", USER, str(lock_file)]
    user = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent)
    with user:
        port = int(user.stdout.readline())
        child = child_of(lock_file)
        user.send_signal(signal.SIGKILL)
    assert gone(child)
    assert is_free(port)


@pytest.mark.slow
def test_a_program_that_died_is_started_anew_and_its_children_are_gone(lock_file: Path):
    with share(lock_file) as port:
        child = child_of(lock_file)
        psutil.Process(child).parent().kill()
        assert gone(child)
        with share(lock_file) as again:
            assert not is_free(int(again)) and is_free(int(port))


@pytest.mark.slow
def test_a_program_whose_supervisor_was_killed_is_stopped_by_the_next_user(lock_file: Path):
    with share(lock_file) as port:
        child = child_of(lock_file)
        supervisor = psutil.Process(child).parent().parent()
        supervisor.kill()
        assert gone(supervisor.pid)  # until then, a new user joins the program, which still answers
        with share(lock_file) as again:
            assert gone(child) and again != port
    assert is_free(int(port)) and is_free(int(again))


@pytest.mark.slow
def test_it_outlives_the_notebook_that_started_it_when_another_uses_it(
    lock_file: Path, tmp_path: Path
):
    """The notebook's kernel takes all that it has started with it, but not this."""
    cell = f"""import sys, time
from pathlib import Path
sys.path.append({str(Path(__file__).parent)!r})
from test_shared_process import share
user = share(Path({str(lock_file)!r}))
user.__enter__()
Path({str(tmp_path / "started")!r}).touch()
while not Path({str(tmp_path / "joined")!r}).exists():
    time.sleep(0.1)
import os; os.kill(os.getpid(), 9)"""
    arguments = (write_cells(tmp_path, cell), tmp_path / "run")
    notebook = threading.Thread(target=run_path, args=arguments)
    notebook.start()
    wait_for((tmp_path / "started").exists)
    with share(lock_file) as port:
        (tmp_path / "joined").touch()
        notebook.join(60)
        child = psutil.Process(child_of(lock_file))
        time.sleep(1)  # its supervisor looks four times a second
        assert child.is_running() and child.parent() and not is_free(int(port))
    assert is_free(int(port)) and gone(child.pid)


@pytest.mark.slow
def test_it_stops_soon_after_its_last_user_also_when_its_first_left_earlier(lock_file: Path):
    starter = share(lock_file)
    port = starter.__enter__()
    with share(lock_file):
        starter.__exit__(None, None, None)
        began = time.monotonic()
    assert is_free(int(port)) and time.monotonic() - began < 15


@pytest.mark.slow
def test_two_who_start_at_once_share_one(lock_file: Path):
    slow = SERVICE.replace("child =", "import time; time.sleep(2); child =")

    def slowly(_: str | None) -> Command:
        port = free_port()
        arguments = [sys.executable, "-c", slow, str(port)]
        return Command(arguments, dict(os.environ), str(port))

    addresses, both = [], threading.Barrier(2)

    def use() -> None:
        with share(lock_file, slowly) as address:
            addresses.append(address)
            both.wait(60)

    users = [threading.Thread(target=use) for _ in range(2)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert len(addresses) == 2 and len(set(addresses)) == 1 and is_free(int(addresses[0]))


def test_a_program_that_cannot_start_is_reported_with_its_last_words(lock_file: Path):
    def broken(_: str | None) -> Command:
        arguments = [sys.executable, "-c", "raise SystemExit('no disk left')"]
        return Command(arguments, dict(os.environ), str(free_port()))

    with pytest.raises(TaxiError, match=r"did not start \(no disk left\): see"):
        share(lock_file, broken).__enter__()
