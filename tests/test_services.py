import json
import os
import smtplib
import socket
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import boto3
import pytest
import requests
from mlflow import MlflowClient
from prefect import flow, get_client
from prefect.blocks.system import Secret
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    VariableCreate,
    WorkPoolCreate,
)

from support.browser import CHROMIUM, page_in_browser
from taxi_lib import services
from taxi_lib.errors import TaxiError
from taxi_lib.services.commands import shell
from taxi_lib.services.ports import free_port, is_free, is_healthy
from taxi_lib.services.prefect_client import runs_naming, temporary_names
from taxi_lib.services.processes import Command, program
from taxi_lib.services.shared_process import shared_program


def port_of(address: str) -> int:
    return int(address.rsplit(":", 1)[1])


def statuses(calls: int = 20, **how: object) -> list[int]:
    with services.facts_api(**how) as address:
        return [requests.get(f"{address}/fact", timeout=30).status_code for _ in range(calls)]


def test_the_same_calls_fail_for_the_same_seed():
    first = statuses(failure_share=0.5, seed=3)
    assert first == statuses(failure_share=0.5, seed=3) != statuses(failure_share=0.5, seed=4)
    assert set(first) == {200, 503}


@pytest.mark.parametrize(("share", "expected"), [(0.0, {200}), (1.0, {503})])
def test_the_share_of_failures_is_as_asked(share: float, expected: set[int]):
    assert set(statuses(failure_share=share)) == expected


def test_a_slow_answer_comes_too_late_for_who_does_not_wait(capfd: pytest.CaptureFixture[str]):
    with services.facts_api(1.0, "slow", slow_seconds=0.6) as address:
        with pytest.raises(requests.Timeout):
            requests.get(address, timeout=0.2)
        assert requests.get(address, timeout=30).ok
    assert capfd.readouterr().err == ""


def test_facts_come_in_the_shape_of_the_public_ones():
    with services.facts_api(0.0) as address:
        cat = requests.get(f"{address}/fact", params={"max_length": 40}, timeout=30).json()
        dog = requests.get(f"{address}/api/v2/facts", timeout=30).json()
    assert len(cat["fact"]) == cat["length"] <= 40
    assert dog["data"][0]["attributes"]["body"]


@pytest.mark.slow
def test_s3_keeps_an_object_and_is_empty_the_next_time():
    def client(endpoint: str):
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)

    with services.s3_server() as endpoint:
        client(endpoint).create_bucket(Bucket="months")
        client(endpoint).put_object(Bucket="months", Key="a", Body=b"trips")
        assert client(endpoint).get_object(Bucket="months", Key="a")["Body"].read() == b"trips"
    assert is_free(port_of(endpoint))
    with services.s3_server() as endpoint:
        assert client(endpoint).list_buckets()["Buckets"] == []


def test_a_message_sent_is_in_the_inbox():
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "flow@here", "you@here", "Trained: 6.46"
    message.set_content("Ünïcode")
    with services.mail_server() as inbox:
        with smtplib.SMTP(inbox.host, inbox.port) as connection:
            connection.send_message(message)
        (received,) = inbox.wait(1)
        with pytest.raises(TaxiError, match="1 of 2 messages came within 0 seconds"):
            inbox.wait(2, seconds=0)
    assert received["Subject"] == "Trained: 6.46" and "Ünïcode" in received.get_content()
    assert is_free(inbox.port)


def answer_to(port: int, request: str) -> str:
    """Return what a server says to a request that is sent as it stands."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request.replace("PORT", str(port)).replace("\n", "\r\n").encode())
        told = b""
        while b" 101 " not in told and (more := connection.recv(100_000)):
            told += more
        return told.decode()


SITE = "Host: 127.0.0.1:PORT\nSec-Fetch-Site:"
UPGRADE = """Connection: Upgrade
Upgrade: websocket
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
Sec-WebSocket-Protocol: prefect"""
ASKED_BY_US = [
    "Host: 127.0.0.1:PORT",
    "Host: LocalHost:PORT",
    "host: [::1]:PORT",
    "Host: 127.0.0.1:PORT\nOrigin: http://127.0.0.1:PORT",
    f"{SITE} cross-site\nOrigin: http://localhost:PORT",  # the page under its other name
    f"{SITE} same-origin",
    f"{SITE} none\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document",
    f"{SITE} cross-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document",  # a link
]
ASKED_BY_OTHERS = [
    "Host: evil.com",
    "Host: evil.com:PORT",
    "Host: 127.0.0.1",
    "Host: 127.0.0.1:1",
    "Host: 127.0.0.1.:PORT",
    "Host: localhost.:PORT",
    "Host: 127.0.0.1.evil.com:PORT",
    "Host: localhost@evil.com:PORT",
    "Host: evil.com@127.0.0.1:PORT",
    "Host: 127.0.0.1:PORT, evil.com",
    "Host: 127.0.0.1:PORT\nHost: evil.com",
    "Host:",
    "X-Forwarded-Host: 127.0.0.1:PORT",
    "Host: evil.com\nX-Forwarded-Host: 127.0.0.1:PORT",
    "Host: 127.0.0.1:PORT\nOrigin: null",
    "Host: 127.0.0.1:PORT\nOrigin: http://evil.com",
    "Host: 127.0.0.1:PORT\nOrigin: https://127.0.0.1:PORT",
    "Host: 127.0.0.1:PORT\nOrigin: http://127.0.0.1:8888",  # somebody's notebook
    "Host: 127.0.0.1:PORT\nOrigin: http://127.0.0.1:PORT.evil.com",
    "Host: 127.0.0.1:PORT\nOrigin: http://127.0.0.1:PORT\nOrigin: http://evil.com",
    f"{SITE} cross-site",
    f"{SITE} same-site\nSec-Fetch-Mode: no-cors\nSec-Fetch-Dest: script",
    f"{SITE} cross-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: iframe",
]


@pytest.fixture(scope="module")
def our_servers() -> Iterator[dict[str, int]]:
    """Serve facts and S3 for several tests; the ports."""
    with services.facts_api(0.0) as facts, services.s3_server() as s3:
        yield {"GET /": port_of(facts), "GET /moto-api/": port_of(s3)}


@pytest.mark.parametrize("headers", ASKED_BY_US)
def test_programs_and_pages_of_this_machine_are_answered(headers: str, our_servers: dict[str, int]):
    for line, port in our_servers.items():
        told = answer_to(port, f"{line} HTTP/1.1\n{headers}\nConnection: close\n\n")
        assert told.startswith("HTTP/1.1 200 "), line


@pytest.mark.parametrize("headers", ASKED_BY_OTHERS)
def test_a_page_from_outside_or_another_name_is_refused(headers: str, our_servers: dict[str, int]):
    for line, port in our_servers.items():
        told = answer_to(port, f"{line} HTTP/1.1\n{headers}\nConnection: close\n\n")
        assert told[8:13] in (" 403 ", " 400 "), line


@pytest.mark.parametrize("target", ["http://evil.com/", "http://evil.com@127.0.0.1:PORT/", "*"])
def test_an_address_in_full_as_for_a_proxy_is_refused(target: str, our_servers: dict[str, int]):
    for port in our_servers.values():
        head = f"GET {target} HTTP/1.1\nHost: 127.0.0.1:PORT\nConnection: close"
        told = answer_to(port, f"{head}\n\n")
        assert told[8:13] in (" 403 ", " 400 ", " 404 ") and "meow" not in told


@pytest.mark.slow
def test_prefects_server_tells_its_secrets_to_nobody_else(prefect_api: str):
    port = port_of(prefect_api.removesuffix("/api"))
    Secret(value="hunter22").save("of-this-workspace", overwrite=True)
    asked = json.dumps({"include_secrets": True})
    sent = f"Content-Type: application/json\nContent-Length: {len(asked)}\nConnection: close"
    line = "POST /api/block_documents/filter HTTP/1.1"
    try:
        refused = {h: answer_to(port, f"{line}\n{h}\n{sent}\n\n{asked}") for h in ASKED_BY_OTHERS}
        given = {h: answer_to(port, f"{line}\n{h}\n{sent}\n\n{asked}") for h in ASKED_BY_US[:6]}
    finally:
        Secret.delete("of-this-workspace")
    assert not [headers for headers, told in refused.items() if told[8:12] not in (" 403", " 400")]
    assert not [headers for headers, told in given.items() if "hunter22" not in told]
    listen = f"GET /api/events/out HTTP/1.1\n{UPGRADE}"
    for headers in ASKED_BY_OTHERS:
        assert answer_to(port, f"{listen}\n{headers}\n\n")[8:12] in (" 403", " 400"), headers
    assert " 101 " in answer_to(port, f"{listen}\n{ASKED_BY_US[3]}\n\n")


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_runs_that_name_a_folder_are_found_on_every_page_of_the_server():
    @flow
    def walk(folder: str) -> None:
        """Run nothing."""

    folders = ("runs/named-here", "runs/elsewhere", "runs/named-here")
    with get_client(sync_client=True) as client:
        ids = [client.create_flow_run(walk, parameters={"folder": each}).id for each in folders]
    found = [run.id for run in runs_naming("named-here", page=1)]
    assert sorted(found) == sorted([ids[0], ids[2]])


def test_what_a_web_page_posts_to_the_mail_server_is_no_message():
    browser = ["Connection: keep-alive", "Content-Length: 99", "User-Agent: x", "Accept: */*"]
    mail = "HELO x\nMAIL FROM:<a@b.c>\nRCPT TO:<a@b.c>\nDATA\nSubject: x\n\nx\n.\nQUIT\n"
    head = "\n".join(["POST / HTTP/1.1", "Host: 127.0.0.1:PORT", *browser])
    with services.mail_server() as inbox:
        with socket.create_connection((inbox.host, inbox.port), timeout=30) as connection:
            connection.sendall(f"{head}\n\n{mail}".replace("\n", "\r\n").encode())
            while connection.recv(1000):
                pass
        assert inbox.messages == []


def test_what_is_posted_is_kept():
    with services.webhook_sink() as (address, received):
        assert requests.post(address, json={"state": "Failed"}, timeout=30).ok
        assert requests.post(address, data="no json", timeout=30).status_code == 422
    assert received == [{"state": "Failed"}]
    assert is_free(port_of(address))


def test_a_server_that_does_not_answer_is_not_joined(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(TaxiError, match="No server answers at PREFECT_API_URL="):
        services.prefect_server().__enter__()


@pytest.mark.parametrize("own", [None, "http://127.0.0.1:4200/mine"])
def test_links_lead_to_the_page_of_a_server_that_is_joined(
    monkeypatch: pytest.MonkeyPatch, prefect_server: str, own: str | None
):
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    monkeypatch.delenv("PREFECT_UI_URL", raising=False)
    if own:
        monkeypatch.setenv("PREFECT_UI_URL", own)
    with services.prefect_server():
        page = os.environ["PREFECT_UI_URL"]
    assert page == (own or prefect_server.removesuffix("/api") + "/v2")
    assert os.environ.get("PREFECT_UI_URL") == own


def test_a_free_port_is_none_that_an_outgoing_connection_may_be_given():
    ports = {free_port() for _ in range(20)}
    assert len(ports) > 1 and all(port < 32_768 and is_free(port) for port in ports)


def test_a_taken_port_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with services.webhook_sink() as (address, _):
        port = port_of(address)
        with pytest.raises(TaxiError, match=f"Port {port} is taken"):
            services.prefect_server(port).__enter__()


def test_a_worker_without_a_server_is_refused():
    with pytest.raises(TaxiError, match="A worker needs a server"):
        services.process_worker("taxi").__enter__()


@pytest.mark.slow
def test_a_server_is_started_by_its_first_user_and_joined_by_its_second(tmp_path: Path):
    # A process of its own: in this one Prefect is bound to the tests' server already.
    code = (
        "import os; from taxi_lib.services import prefect_server, process_worker\n"
        "with prefect_server() as first:\n"
        "    del os.environ['PREFECT_API_URL']\n"
        "    with prefect_server() as second:\n"
        "        os.environ['PREFECT_API_URL'] += '/'  # as Prefect's own client writes it\n"
        "        with process_worker('alone', say=print) as worker:\n    "
        "        print(first, second, worker)\n"
    )
    env = f"env PREFECT_HOME={tmp_path / 'home'} python -c"
    said, printed = shell(f'{env} "{code}"', show=False).splitlines()
    assert said == "$ prefect worker start --pool alone --type process"
    first, second, worker = printed.split()
    assert first == second and worker.startswith("worker-")
    assert is_free(port_of(first.removesuffix("/api")))
    record = json.loads((tmp_path / "home" / "server.lock").read_text())
    assert record["address"] == first


@pytest.mark.slow
def test_temporary_names_are_removed_and_others_are_not(prefect_api: str):
    with temporary_names() as theirs, get_client(sync_client=True) as client:

        def names(read: Callable[[], list]) -> set[str]:
            return {thing.name for thing in read()}

        client.create_variable(VariableCreate(name=theirs("rmse"), value=1))
        with temporary_names() as named:
            client.create_variable(VariableCreate(name=named("rmse"), value=2))
            client.create_work_pool(WorkPoolCreate(name=named("pool"), type="process"))
            limit = GlobalConcurrencyLimitCreate(name=named("limit"), limit=1)
            client.create_global_concurrency_limit(limit)
            Secret(value="x").save(named("secret"))
            assert {theirs("rmse"), named("rmse")} <= names(client.read_variables)
        assert theirs("rmse") in names(client.read_variables)
        assert named("rmse") not in names(client.read_variables)
        assert named("pool") not in names(client.read_work_pools)
        assert named("secret") not in names(client.read_block_documents)
        limits = partial(client.read_global_concurrency_limits, limit=200)
        assert named("limit") not in names(limits)


def test_a_command_shows_what_it_prints(capsys: pytest.CaptureFixture[str]):
    assert shell("python -c 'print(1 + 1)'") == "2"
    assert capsys.readouterr().out == "$ python -c 'print(1 + 1)'\n2\n\n"
    assert shell("python -c 'print(1); print(2)'", hide="2") == "1\n2"
    assert capsys.readouterr().out.endswith("\n1\n\n")


def test_a_command_that_ends_otherwise_than_expected_is_an_error():
    with pytest.raises(TaxiError, match="ended with status 3, expected 0: oh"):
        shell("python -c 'import sys; print(\"oh\"); sys.exit(3)'", show=False)
    assert shell("python -c 'import sys; sys.exit(3)'", expect=3, show=False) == ""


def test_a_command_that_takes_too_long_is_stopped():
    with pytest.raises(TaxiError, match=r"took longer than 0.5 seconds: stopped"):
        shell("python -c 'import time; time.sleep(60)'", seconds=0.5, show=False)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the printed commands are for a POSIX shell")
def test_the_pages_are_shown_by_one_command(tmp_path: Path):
    prefect_port, mlflow_port = free_port(), free_port()
    ports = ["--prefect-port", str(prefect_port), "--mlflow-port", str(mlflow_port)]
    own = {"PREFECT_HOME": str(tmp_path / "prefect"), "TAXI_RUNS_DIR": str(tmp_path)}
    env = os.environ | own | {"MLFLOW_TRACKING_URI": ""}  # MLflow sets it in any process
    command = [program("python"), "-m", "taxi_lib", "ui", *ports]
    page = f"http://127.0.0.1:{mlflow_port}"
    start = Command(command, env, page)
    log = tmp_path / "ui.log"
    with shared_program(
        tmp_path / "ui.lock", lambda _: start, lambda _: "Ctrl-C" in log.read_text()
    ):
        told = log.read_text()
        with urlopen(page, timeout=30) as first:
            # Nothing of it may come from, or go to, anywhere else.
            assert first.headers["Content-Security-Policy"].startswith("default-src 'self' data:")
        client = MlflowClient(page)
        number = client.get_experiment_by_name("nyc-green-taxi").experiment_id
        client.log_text(client.create_run(number, run_name="a-run-of-mine").info.run_id, "a", "a")
        theirs = client.get_experiment(client.create_experiment("made on the page"))
        assert theirs.artifact_location.startswith((tmp_path / "mlartifacts").as_uri())
        if CHROMIUM:
            opened, home = (page_in_browser(page + at, tmp_path / "browser") for at in ("", "/#/?"))
            assert "a-run-of-mine" in opened and "Welcome to MLflow" in home
            assert "usage data" not in opened + home
        assert is_healthy(f"http://127.0.0.1:{prefect_port}/api")
        for name in ("evil.com", f"10.evil.com:{mlflow_port}", f"127.0.0.1:{mlflow_port + 1}"):
            foreign = f"GET / HTTP/1.1\nHost: {name}\nConnection: close\n\n"
            assert " 403 " in answer_to(mlflow_port, foreign)
    assert f"MLflow : {page}/#/experiments/{number}/runs\n" in told
    assert is_free(mlflow_port) and is_free(prefect_port)
