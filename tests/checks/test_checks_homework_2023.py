"""The checks of the homework of 2023: each answer gets the sentence that fits it."""

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import prefect
import prefect_email
import pytest
from prefect import State, flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.automations import Automation
from prefect.cache_policies import NO_CACHE
from prefect.events import EventTrigger
from prefect.events.actions import DoNothing, SendNotification
from prefect.settings import PREFECT_API_URL, temporary_settings
from sklearn.feature_extraction import DictVectorizer
from sklearn.pipeline import Pipeline, make_pipeline
from xgboost import XGBRegressor

from support.exercises import said
from taxi_lib import checks
from taxi_lib.checks import homework_2023
from taxi_lib.models import COURSE_PARAMETERS
from taxi_lib.services import mail_server
from taxi_lib.services.prefect_client import temporary_names

HOMEWORK = "homework_2023"
COLUMNS = ["PU_DO", "trip_distance"]
BEGIN, END = "lpep_pickup_datetime", "lpep_dropoff_datetime"


def read(path: Path) -> pd.DataFrame:
    """Read a month as the homework does."""
    trips = pd.read_parquet(path)
    minutes = (trips[END] - trips[BEGIN]).dt.total_seconds() / 60
    return trips.assign(duration=minutes).query("1 <= duration <= 60")


read_data = task(retries=3)(read)

NAMES = {
    "with_options": ("right", "shows it", read_data.with_options(name="Read taxi data")),
    "decorated": ("right", "shows it", task(name="Read taxi data", retries=3)(read)),
    "the runs' name": (
        "wrong",
        "single *runs*",
        read_data.with_options(task_run_name="Read taxi data"),
    ),
    "a description": ("wrong", "Prefect keeps `read`", task(description="Read taxi data")(read)),
    "other letters": ("wrong", "letter by letter", task(name="Read Taxi Data")(read)),
    "no retries": ("wrong", "the retries are gone", task(name="Read taxi data")(read)),
    "another function": (
        "wrong",
        "does not read a month",
        task(name="Read taxi data", retries=3)(pd.read_parquet),
    ),
    "the function": ("wrong", "not a task", read),
    "a flow": ("wrong", "the flow; a task", flow(name="Read taxi data")(read)),
}


@pytest.mark.parametrize("case", NAMES)
def test_the_name_of_a_task(case: str):
    status, sentence, answer = NAMES[case]
    if case == "another function":
        answer.fn = lambda path: pd.read_parquet(path).assign(duration=1.0)
    box = said(HOMEWORK, 1, answer)
    assert box.status == status and sentence in box.text


CRONS = {
    "0 9 3 * *": "right",
    "00 09 03 1-12 *": "right",
    "0 9 3 */1 *": "right",
    "9 0 3 * *": "changed places",
    "0 9 * * 3": "the day of the week",
    "0 9 */3 * *": "too often",
    "0 9 3 * 1": "too often",
    "* 9 3 * *": "too often",
    "0 9 3 */2 *": "leaves months out",
    "0 0 9 3 *": "leaves months out",
    "0 21 3 * *": "Read the five parts",
    "0 9 3": "Prefect does not take",
    "0 9 31 2 *": "Prefect does not take",
    "": "Prefect does not take",
}


@pytest.mark.parametrize("cron", CRONS)
def test_a_cron_expression_is_judged_by_the_times_that_it_gives(cron: str):
    box = said(HOMEWORK, 2, cron)
    assert box.status == "right" if CRONS[cron] == "right" else CRONS[cron] in box.text
    assert "0 9 3 * *" not in box.text


def month_of_trips(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    miles, n = rng.exponential(4, 400), 400
    minutes = 4 + 3 * miles + rng.normal(0, 4, n)
    begin = pd.Series(pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 9**6, n), "s"))
    return pd.DataFrame(
        {
            BEGIN: begin,
            END: begin + pd.to_timedelta(minutes.clip(0.5, 70), unit="min"),
            "PULocationID": rng.integers(1, 4 + seed, n),
            "DOLocationID": rng.integers(1, 5, n),
            "trip_distance": miles.round(2),
        }
    )


@task(cache_policy=NO_CACHE)
def fit(train: pd.DataFrame, others: list[pd.DataFrame], parameters: dict) -> Pipeline:
    model = make_pipeline(DictVectorizer(), XGBRegressor(**parameters))
    model[0].fit(pd.concat([train, *others])[COLUMNS].to_dict("records"))
    matrix = model[0].transform(train[COLUMNS].to_dict("records"))
    model[1].fit(matrix, train["duration"])
    return model


def with_pair(path: Path) -> pd.DataFrame:
    trips = read(path)
    pair = trips["PULocationID"].astype(str) + "_" + trips["DOLocationID"].astype(str)
    return trips.assign(PU_DO=pair)


def error(model: Pipeline, trips: pd.DataFrame) -> float:
    predicted = model.predict(trips[COLUMNS].to_dict("records"))
    return math.sqrt(((trips["duration"] - predicted) ** 2).mean())


def train_and_report(
    train_path: Path, val_path: Path, parameters: dict, report: str = "", leak: bool = False
) -> tuple[Pipeline, float]:
    train, val = with_pair(train_path), with_pair(val_path)
    model = fit(train, [val] if leak else [], parameters)
    rmse, training = error(model, val), error(model, train)
    if report == "table":
        create_table_artifact(key="report", table=[{"rmse": rmse}])
    elif report:
        create_markdown_artifact(key="report", markdown=report.format(rmse=rmse, training=training))
    return model, rmse


@pytest.fixture(scope="module")
def server(prefect_server: str) -> Iterator[str]:
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield prefect_server


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("months")
    paths = {}
    for seed, month in enumerate(("2021-01", "2023-01", "2023-02", "2023-03")):
        paths[month] = folder / f"green_tripdata_{month}.parquet"
        month_of_trips(seed).to_parquet(paths[month])
    return paths


def run(files: dict[str, Path], train: str, val: str, **options: object) -> State:
    given = {"train_path": files[train], "val_path": files[val], "parameters": COURSE_PARAMETERS}
    return flow(name="train")(train_and_report)(**(given | options), return_state=True)


@pytest.fixture(scope="module")
def trained(server: str, files: dict[str, Path]) -> tuple[State, float, float]:
    """Return a run on the months of the third question, and its errors on both of them."""
    state = run(files, "2023-01", "2023-02")
    model, rmse = state.result()
    return state, rmse, error(model, with_pair(files["2023-01"]))


ERRORS = {
    "right": ("right", "was published", lambda rmse, training: rmse),
    "to five decimals": ("right", "was published", lambda rmse, training: round(rmse, 5)),
    "to two decimals": ("wrong", "five decimals", lambda rmse, training: round(rmse, 2) + 0.001),
    "squared": ("wrong", "mean *squared* error", lambda rmse, training: rmse**2),
    "of the training month": ("wrong", "learned from", lambda rmse, training: training),
    "the published one": ("wrong", "was published", lambda rmse, training: 5.19931),
    "another one": ("wrong", "not off by", lambda rmse, training: rmse + 1),
    "a text": ("wrong", "a number is asked for", lambda rmse, training: f"{rmse}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ERRORS)
def test_the_error_on_the_next_month(case: str, trained: tuple[State, float, float]):
    status, sentence, answer = ERRORS[case]
    state, *errors = trained
    box = said(HOMEWORK, 3, answer(*errors), state)
    assert box.status == status and sentence in box.text


WRONG_RUNS = {
    "months swapped": ("changed places", "2023-02", "2023-01", {}),
    "months of 2021": ("this run took 2021-01 and 2023-02", "2021-01", "2023-02", {}),
    "fitted on both": ("fitted on other trips", "2023-01", "2023-02", {"leak": True}),
    "few rounds": (
        "n_estimators (5 rounds)",
        "2023-01",
        "2023-02",
        {"parameters": COURSE_PARAMETERS | {"n_estimators": 5}},
    ),
    "XGBoost's own parameters": (
        "max_depth",
        "2023-01",
        "2023-02",
        {"parameters": {"n_estimators": 100}},
    ),
    "a failure": ("ended as Failed", "2023-01", "2023-02", {"parameters": {"max_depth": "deep"}}),
}


@pytest.mark.slow
@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("case", WRONG_RUNS)
def test_a_run_that_the_third_question_did_not_ask_for(case: str, files: dict[str, Path]):
    sentence, train, val, options = WRONG_RUNS[case]
    state = run(files, train, val, **options)
    box = said(HOMEWORK, 3, 5.0, state)
    assert box.status == "wrong" and sentence in box.text


@pytest.mark.slow
def test_a_model_of_which_the_method_that_predicts_was_replaced_does_not_pass(
    server: str, files: dict[str, Path]
):
    state = run(files, "2023-01", "2023-02")
    model, rmse = state.result()
    model.predict = model[1].predict = lambda matrix: with_pair(files["2023-02"])["duration"]
    assert said(HOMEWORK, 3, 0.0, state).status == "wrong"
    assert said(HOMEWORK, 3, rmse, state).status == "right"


REPORTS = {
    "right": ("right", "it stays with the run", "RMSE: {rmse:.2f}"),
    "in a table": (
        "right",
        "it stays with the run",
        "| RMSE |\n|---|\n| {rmse:.2f} |",
    ),
    "not rounded": ("wrong", "round it to two decimals", "RMSE: {rmse}"),
    "of the training month": ("wrong", "learned from", "RMSE: {training:.2f}"),
    "another number": ("wrong", "The report holds 99.99", "RMSE: 99.99"),
    "no number": ("wrong", "no number with decimals", "RMSE"),
    "no report": ("wrong", "left no Markdown artifact: is it", ""),
    "another kind": ("wrong", "no Markdown artifact, but `table`", "table"),
}


@pytest.mark.slow
@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("case", REPORTS)
def test_the_report_of_a_run(case: str, files: dict[str, Path]):
    status, sentence, report = REPORTS[case]
    box = said(HOMEWORK, 4, run(files, "2023-02", "2023-03", report=report))
    assert box.status == status and sentence in box.text


@pytest.mark.slow
def test_a_report_on_the_months_of_the_question_before_is_not_enough(
    trained: tuple[State, float, float],
):
    assert "2023-02 and 2023-03 are asked for" in said(HOMEWORK, 4, trained[0]).text


@flow
def send(awaited: bool, port: int) -> None:
    where = {"smtp_server": "127.0.0.1", "smtp_port": port, "smtp_type": "INSECURE"}
    mail = {
        "subject": "RMSE",
        "msg": "5.20",
        "email_server_credentials": prefect_email.EmailServerCredentials(**where),
        "email_from": "prefect@example.org",
        "email_to": "you@example.org",
    }
    if awaited:
        prefect_email.email_send_message.submit(**mail).result()


@pytest.fixture(scope="module")
def sent(server: str) -> dict[str, State]:
    """Return a run that has sent an e-mail, one that has not, and one that failed."""
    with mail_server() as inbox:
        states = {
            "sent": send(True, inbox.port, return_state=True),
            "nothing": send(False, inbox.port, return_state=True),
        }
        assert len(inbox.messages) == 1
    return states | {"failed": send(True, inbox.port, return_state=True)}


MAILS = {
    "right": ("right", "the mail server took the message", "email_send_message", "sent"),
    "words swapped": ("wrong", "has no task `send_email_message`", "send_email_message", "sent"),
    "the block": ("wrong", "That is the block", "EmailServerCredentials", "sent"),
    "a module": ("wrong", "has no task `message`", "message", "sent"),
    "nothing was sent": ("wrong", "no completed run of this task", "email_send_message", "nothing"),
    "it failed": ("wrong", "ended as Failed", "email_send_message", "failed"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", MAILS)
def test_the_task_that_sends_e_mail(
    case: str, sent: dict[str, State], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(checks.server, "_PATIENCE", 3)  # seconds to wait for what was not sent
    status, sentence, name, state = MAILS[case]
    box = said(HOMEWORK, 5, name, sent[state])
    assert box.status == status and sentence in box.text


@pytest.mark.slow
def test_a_task_of_ones_own_with_the_right_name_sends_nothing(server: str):
    @flow
    def pretend() -> None:
        task(name="email_send_message")(lambda: None)()

    box = said(HOMEWORK, 5, "email_send_message", pretend(return_state=True))
    assert box.status == "wrong" and "no completed run of this task" in box.text


def on(event: str) -> EventTrigger:
    about = {"prefect.resource.id": "prefect.flow-run.*"}
    flow_ = {"prefect.resource.role": "flow", "prefect.resource.name": "homework-done"}
    return EventTrigger(expect={event}, match=about, match_related=flow_)


@flow(name="homework-done")
def done() -> None: ...


@pytest.fixture(scope="module")
def automations(server: str) -> Iterator[dict[str, str]]:
    """Return the names of automations that have acted, failed to, or wait for something else."""
    with temporary_names() as named:
        mail_block = prefect_email.EmailServerCredentials().save(named("mail"))
        made = {
            "acted": Automation(
                name=named("acted"), trigger=on("prefect.flow-run.Completed"), actions=[DoNothing()]
            ),
            "failed": Automation(
                name=named("failed"),
                trigger=on("prefect.flow-run.Completed"),
                actions=[SendNotification(block_document_id=mail_block, subject="a", body="b")],
            ),
            "of failures": Automation(
                name=named("of-failures"),
                trigger=on("prefect.flow-run.Failed"),
                actions=[DoNothing()],
            ),
        }
        for automation in made.values():
            automation.create()
        time.sleep(0.5)  # until they are active
        done()
        yield {key: automation.name for key, automation in made.items()} | {"none": "none"}


STEPS = {
    "right": ("right", "no flow knows of it", "Actions", "acted"),
    "one of them": ("right", "no flow knows of it", " action", "acted"),
    "the first": ("wrong", "the first step", "Trigger", "acted"),
    "the last": ("wrong", "not the second step", "Details", "acted"),
    "no automation": ("wrong", "has no automation `none`", "Actions", "none"),
    "on failures": ("wrong", "a run that *completes* is asked for", "Actions", "of failures"),
    "its action failed": ("wrong", "its action failed", "Actions", "failed"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", STEPS)
def test_the_second_step_of_an_automation(case: str, automations: dict[str, str]):
    status, sentence, step, name = STEPS[case]
    box = said(HOMEWORK, 6, step, automations[name])
    assert box.status == status and sentence in box.text


@pytest.mark.slow
def test_an_automation_that_has_not_acted(server: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(homework_2023, "_PATIENCE", 0.5)
    with temporary_names() as named:
        later = Automation(
            name=named("later"), trigger=on("prefect.flow-run.Completed"), actions=[DoNothing()]
        )
        later.create()
        assert "has not acted yet" in said(HOMEWORK, 6, "Actions", later.name).text


def test_the_page_of_an_automation_has_the_steps_that_the_check_expects():
    """Prefect's page gives its steps in this order, from when to what to which name."""
    pages = (Path(prefect.__file__).parent / "server" / "ui-v2" / "assets").glob(
        "automation-wizard-*.js"
    )
    steps = r"Trigger\W{1,9}Actions\W{1,9}Details"
    assert any(re.search(steps, page.read_text(encoding="utf-8")) for page in pages)


def test_answers_that_are_asked_of_the_server_say_when_it_has_stopped():
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        for question, before in {3: [5.2], 4: [], 5: ["x"], 6: ["Actions"]}.items():
            assert "set `keep = True`" in said(HOMEWORK, question, *before, str(uuid4())).text
