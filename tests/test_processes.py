"""Run tags, the names of programs, waiting, and whether a service is healthy: without services."""

import os
import subprocess
import sys

import pytest

from taxi_lib.errors import TaxiError
from taxi_lib.services.ports import free_port, is_healthy
from taxi_lib.services.processes import RUN_TAG, Command, module, run_tag, stop_tagged, tagged
from taxi_lib.services.waiting import wait_for

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_run_tag_continues_the_one_of_the_environment():
    assert run_tag({}, "a1") == "a1"
    assert run_tag({RUN_TAG: "a1"}, "01_lesson", "b2") == "a1/01_lesson/b2"


def test_a_notebooks_name_cannot_add_parts_to_a_run_tag_nor_end_a_query():
    assert run_tag({RUN_TAG: "a1"}, "it's 100 %/x") == "a1/it-s-100-x"


def test_a_notebook_cannot_have_the_run_tag_of_a_shared_program():
    assert run_tag({}, "shared:0") == "shared-0"


def test_processes_of_a_run_are_found_and_stopped_and_those_of_a_similar_tag_are_not():
    ours, similar = f"test-{os.getpid()}", f"test-{os.getpid()}0"
    processes = [
        subprocess.Popen(SLEEP, env=os.environ | {RUN_TAG: tag})
        for tag in (ours, f"{ours}/01/x", similar)
    ]
    try:
        wait_for(lambda: len(tagged(ours)) == 2, seconds=30)
        assert {process.pid for process in tagged(ours)} == {p.pid for p in processes[:2]}
        assert [process.pid for process in tagged(f"{ours}/01")] == [processes[1].pid]
        stop_tagged(ours)
        assert [process.poll() is None for process in processes] == [False, False, True]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [([*module("uvicorn"), "-m", "x"], "uvicorn"), (["/usr/bin/mlflow", "ui"], "mlflow")],
)
def test_a_command_has_its_programs_name(arguments: list[str], name: str):
    assert Command(arguments, {}, "").name == name


def test_waiting_returns_what_is_found_or_gives_up():
    answers = iter([None, [], "found"])
    assert wait_for(lambda: next(answers), pause=0) == "found"
    with pytest.raises(TaxiError, match="Waited 0 seconds in vain: look at"):
        wait_for(lambda: None, seconds=0)


@pytest.mark.parametrize("address", ["", "nonsense", "http://[", "http://127.0.0.1:{}"])
def test_where_no_service_answers_none_is_healthy(address: str):
    assert not is_healthy(address.format(free_port()), seconds=5)
