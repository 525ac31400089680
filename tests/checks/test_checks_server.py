"""What checks read from Prefect's server, and what they say when it is not there."""

import math
from uuid import uuid4

import httpx
import pytest
from prefect import Flow, flow, task
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed

from support.exercises import cell
from taxi_lib.checks import server
from taxi_lib.checks.answers import UnreadableError
from taxi_lib.checks.web import service


@task(retries=1)
def ask(url: str) -> str:
    return httpx.get(url).raise_for_status().text


@flow
def asking(url: str) -> str:
    return ask(url)


@pytest.mark.usefixtures("prefect_api")
def test_a_flow_is_run_without_its_log_and_its_task_runs_are_found(capfd: pytest.CaptureFixture):
    with service(failures=1) as shaky:
        ended = server.run_flow(asking, shaky.address)
    (asked,) = server.task_runs(ended.run)
    assert ended.result == shaky.fact and len(shaky.calls) == asked.run_count == 2
    assert "Retry" not in "".join(capfd.readouterr())
    names = [state.name for state in server.states(asked)]
    assert names == ["Pending", "Running", "Retrying", "Completed"]
    assert server.flow_run(str(ended.run.id)).tags == ["check"]


@pytest.mark.usefixtures("prefect_api")
def test_a_flow_that_fails_gives_its_exception_but_a_mistake_in_its_code_is_raised():
    with service(failures=math.inf) as down:
        ended = server.run_flow(asking, down.address)
    assert isinstance(ended.result, httpx.HTTPStatusError) and ended.run.state_name == "Failed"
    with pytest.raises(NameError):
        server.run_flow(flow(cell("def broken() -> str:\n    return nothing\n")))


NO_RUNS = {
    "a number": (3, "a flow run is asked for"),
    "no id": ("the last one", "a flow run is asked for"),
    "a state made by hand": (Completed(), "a flow run is asked for"),
    "the id of nothing": (uuid4(), "knows no flow run"),
    "the function": (asking, "a flow run is asked for"),
}


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("case", NO_RUNS)
def test_what_names_no_flow_run_is_refused_in_a_sentence(case: str):
    answer, sentence = NO_RUNS[case]
    with pytest.raises(UnreadableError, match=sentence):
        server.flow_run(answer)


class Agreeable(Flow):
    """Does what its maker likes, whatever it was asked to do."""


async def late() -> None: ...


@pytest.mark.parametrize("answer", [late, flow(late), ask, Agreeable(fn=lambda: None, name="a")])
def test_only_a_plain_flow_is_read_as_a_flow(answer: object):
    with pytest.raises(UnreadableError, match="flow"):
        server.flow(answer)


@pytest.mark.parametrize("address", [None, "http://127.0.0.1:9/api"])
def test_a_server_that_has_stopped_is_said_and_none_is_started(address: str | None):
    with temporary_settings({PREFECT_API_URL: address}):
        with pytest.raises(UnreadableError, match="set `keep = True`"):
            server.flow_run(uuid4())
        with pytest.raises(UnreadableError, match="set `keep = True`"):
            server.run_flow(asking, "http://127.0.0.1:9")
