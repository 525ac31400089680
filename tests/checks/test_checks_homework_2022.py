"""The checks of the homework of 2022: each answer gets the sentence that fits it."""

import datetime as dt
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pandas as pd
import pytest
from prefect import State, flow, get_client, task
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.schedules import Cron
from prefect.settings import PREFECT_API_URL, temporary_settings
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LinearRegression

from support.exercises import asked, cell, said
from taxi_lib.services.prefect_client import temporary_names

HOMEWORK = "homework_2022"
TASKS = {
    name: task(lambda *given: None, name=name)
    for name in ("read_data", "prepare_features", "train_model", "run_model")
}
for name, made in TASKS.items():
    made.fn.__name__ = name
RIGHT = """
    def main(train_path, val_path):
        train = prepare_features.submit(read_data.submit(train_path))
        val = prepare_features.submit(read_data.submit(val_path))
        model, vectorizer = train_model.submit(train).result()
        return run_model.submit(val, model, vectorizer).result()
"""


def main_with(old: str, new: str) -> object:
    return flow(cell(RIGHT.replace(old, new), **TASKS))


TRAIN, OPEN = "train_model.submit(train)", "train_model.submit(train).result()"
FLOWS = {
    "right": ("right", "only `.result()` gives", "train_model", "", ""),
    "right, in two lines": (
        "right",
        "only `.result()` gives",
        "train_model",
        f"model, vectorizer = {OPEN}",
        f"trained = {TRAIN}\n        model, vectorizer = trained.result()",
    ),
    "as the homework gives it": (
        "raised",
        "cannot unpack",
        "train_model",
        "(train).result()",
        "(train)",
    ),
    "another name": ("wrong", "it is not `prepare_features`", "prepare_features", "", ""),
    "that of the last line": ("wrong", "it is not `run_model`", "run_model", "", ""),
    "opened everywhere": (
        "wrong",
        "waits at each of them",
        "train_model",
        "read_data.submit(val_path))",
        "read_data.submit(val_path)).result()",
    ),
    "called": (
        "wrong",
        "is called here",
        "train_model",
        "train_model.submit(train).result()",
        "train_model(train)",
    ),
    "handed over as a future": (
        "wrong",
        "as values",
        "train_model",
        f"model, vectorizer = {OPEN}",
        f"model = vectorizer = {TRAIN}",
    ),
    "waited for": (
        "raised",
        "cannot unpack",
        "train_model",
        "(train).result()",
        "(train).wait() or 1",
    ),
}


@pytest.mark.parametrize("case", FLOWS)
def test_the_future_that_a_flow_has_to_open(case: str):
    status, sentence, name, old, new = FLOWS[case]
    box = said(HOMEWORK, 1, name, main_with(old, new))
    assert box.status == status and sentence in box.text


def test_a_plain_function_is_no_flow():
    assert "a function below `@flow`" in said(HOMEWORK, 1, "train_model", lambda a, b: 1).text


CLOCK = "dt.datetime.now(dt.UTC).date()"
MONTHS_OF = """
    import datetime as dt

    def months_of(date=None):
        day = date or dt.datetime.now(dt.UTC).date()
        month = day.year * 12 + day.month - 1
        return [f"{n // 12}-{n % 12 + 1:02d}" for n in (month - 2, month - 1)]
"""
DATES = {
    "swapped": ("the training month is first", "(month - 2, month - 1)", "(month - 1, month - 2)"),
    "the month itself": ("is not over yet", "(month - 2, month - 1)", "(month - 1, month)"),
    "thirty days": (
        "count months",
        'return [f"{n // 12}-{n % 12 + 1:02d}" for n in (month - 2, month - 1)]',
        'return [f"{day - dt.timedelta(days=n):%Y-%m}" for n in (60, 30)]',
    ),
    "one digit": ("not both months as in 2021-01", "+ 1:02d", "+ 1"),
    "the same year": (
        "not both months as in 2021-01",
        'f"{n // 12}-{n % 12 + 1:02d}" for n in (month - 2, month - 1)',
        'f"{day.year}-{day.month - n:02d}" for n in (2, 1)',
    ),
    "always the same": (
        "Which are the two months",
        'f"{n // 12}-{n % 12 + 1:02d}" for n in (month - 2, month - 1)',
        'n for n in ("2021-06", "2021-07")',
    ),
    "three months back": (
        "Which are the two months",
        "month - 2, month - 1",
        "month - 3, month - 2",
    ),
    "one text": ("Two texts", "return [", 'return " ".join(['),
    "a fixed date": (
        "Without a date",
        "date or dt.datetime.now(dt.UTC).date()",
        "date or dt.date(2021, 3, 1)",
    ),
}


@pytest.mark.parametrize("case", DATES)
def test_the_months_of_a_date(case: str):
    sentence, old, new = DATES[case]
    assert old in MONTHS_OF
    source = MONTHS_OF.replace(old, new)
    source = source.replace("month - 1)]", "month - 1)])") if case == "one text" else source
    for _ in range(3):  # the dates are drawn
        box = said(HOMEWORK, 2, cell(source), str(uuid4()))
        assert box.status == "wrong" and sentence in box.text


def test_the_second_time_the_same_mistake_is_made_with_dates_more_is_said():
    check, one_digit = asked(HOMEWORK), cell(MONTHS_OF.replace("+ 1:02d", "+ 1"))
    assert "two digits" not in check.judge(2, one_digit, str(uuid4())).text
    assert "two digits" in check.judge(2, one_digit, str(uuid4())).text


def test_a_function_that_fails_on_a_date_is_shown_with_its_line():
    source = MONTHS_OF.replace(f"date or {CLOCK}", "date.replace(day=31)")
    assert "Line 5 of your cell" in said(HOMEWORK, 2, cell(source), str(uuid4())).text


@pytest.fixture(scope="module")
def server(prefect_server: str) -> Iterator[str]:
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield prefect_server


def run_on(train: str, val: str, fails: bool = False) -> State:
    @flow(name="fhv")
    def main(train_path: str, val_path: str) -> float:
        return 1 / (not fails)

    folder = "/data/fhv_tripdata"
    return main(f"{folder}_{train}.parquet", f"{folder}_{val}.parquet", return_state=True)


RUNS = {
    "right": ("right", "a run can be repeated", lambda: run_on("2021-06", "2021-07")),
    "other months": ("wrong", "took 2021-01 and 2021-02", lambda: run_on("2021-01", "2021-02")),
    "a failure": ("wrong", "ended as Failed", lambda: run_on("2021-06", "2021-07", True)),
}


@pytest.mark.slow
@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("case", RUNS)
def test_a_run_on_the_months_of_a_date(case: str):
    status, sentence, run = RUNS[case]
    box = said(HOMEWORK, 2, cell(MONTHS_OF), run())
    assert box.status == status and sentence in box.text


ZONES = ["PUlocationID", "DOlocationID"]


@pytest.fixture
def month(tmp_path: Path) -> Path:
    begin = pd.Series(pd.date_range("2021-06-05 08:00", periods=60, freq="h"))
    minutes = [0.5, 90.0, *([10.0, 20.0] * 29)]
    trips = pd.DataFrame(
        {
            "pickup_datetime": begin,
            "dropOff_datetime": begin + pd.to_timedelta(minutes, unit="min"),
            "PUlocationID": [250.0, 251.0, *([None, 7.0] * 29)],
            "DOlocationID": [260.0, 261.0, *range(1, 59)],
        }
    )
    trips.to_parquet(tmp_path / "fhv_tripdata_2021-06.parquet")
    return tmp_path / "fhv_tripdata_2021-06.parquet"


def vectoriser(month: Path, rows: slice = slice(2, None), kind: type = str) -> DictVectorizer:
    zones = pd.read_parquet(month)[ZONES].iloc[rows].fillna(-1).astype(int).astype(kind)
    return DictVectorizer().fit(zones.to_dict("records"))


def saved(month: Path, thing: object, name: str = "dv-2021-08-15.b") -> Path:
    path = month.with_name(name)
    path.write_bytes(pickle.dumps(thing))
    return path


Size = Callable[[Path, DictVectorizer], float]
SIZES: dict[str, tuple[str, str, Size]] = {
    "right": ("right", "names, one for each zone", lambda path, _: path.stat().st_size),
    "of the object": ("wrong", "without what it refers to", lambda _, dv: sys.getsizeof(dv)),
    "its columns": ("wrong", "number of its columns", lambda _, dv: len(dv.feature_names_)),
    "kilobytes": ("wrong", "not in kilobytes", lambda path, _: path.stat().st_size / 1000),
    "another number": ("wrong", "another size", lambda path, _: path.stat().st_size + 10),
}


@pytest.mark.parametrize("case", SIZES)
def test_the_size_of_the_vectoriser(case: str, month: Path):
    status, sentence, size = SIZES[case]
    thing = vectoriser(month)
    path = saved(month, thing)
    # The size of the object is asked of the one that is read from the file.
    box = said(HOMEWORK, 3, size(path, pickle.loads(path.read_bytes())), path, month)
    assert box.status == status and sentence in box.text


OTHER_ZONES = "not the zones of the training month"
FILES: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "zones as numbers": ("took the zones for numbers", lambda m: saved(m, vectoriser(m, kind=int))),
    "all rows": (
        "not the zones of the training month",
        lambda m: saved(m, vectoriser(m, slice(None))),
    ),
    "few rows": (
        "not the zones of the training month",
        lambda m: saved(m, vectoriser(m, slice(5))),
    ),
    "the model": ("holds a LinearRegression", lambda m: saved(m, LinearRegression())),
    "another name": ("is called dv.b", lambda m: saved(m, vectoriser(m), "dv.b")),
    "no file": ("the path of a file is asked for", lambda m: m.with_name("dv-2021-08-15.b")),
}


@pytest.mark.parametrize("case", FILES)
def test_the_file_of_the_vectoriser(case: str, month: Path):
    sentence, save = FILES[case]
    path = save(month)
    size = path.stat().st_size if path.exists() else 12_000
    box = said(HOMEWORK, 3, size, str(path), str(month))
    assert box.status == "wrong" and sentence in box.text


def test_the_vectoriser_of_another_month_is_not_the_one_that_is_asked_for(month: Path):
    other = month.rename(month.with_name("fhv_tripdata_2021-07.parquet"))
    path = saved(other, vectoriser(other))
    assert "is not the training month" in said(HOMEWORK, 3, 1, path, other).text


CRONS = {
    "0 9 15 * *": "right",
    "0 9 15 1-12 *": "right",
    "9 0 15 * *": "changed places",
    "0 15 9 * *": "Read the five parts",
    "0 9 */15 * *": "too often",
    "9 15 * * *": "too often",
    "0 9 3 * *": "Read the five parts",
}


@pytest.mark.parametrize("cron", CRONS)
def test_a_schedule_for_the_fifteenth(cron: str):
    box = said(HOMEWORK, 4, cron)
    assert box.status == "right" if CRONS[cron] == "right" else CRONS[cron] in box.text
    assert "0 9 15 * *" not in box.text


@pytest.fixture(scope="module")
def deployed(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """Return the ids of deployments, and the name of their pool and of one of them."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "homework.py").write_text("from prefect import flow\n\n\n@flow\ndef main(): ...\n")
    with temporary_names() as named, get_client(sync_client=True) as client:
        pool = client.create_work_pool(WorkPoolCreate(name=named("pool"), type="process")).name
        main = flow.from_source(source=str(folder), entrypoint="homework.py:main")

        def deploy(name: str, **how: object) -> object:
            return main.to_deployment(named(name), work_pool_name=pool, **how).apply()

        yield {
            "pool": pool,
            "name": named("fhv"),
            "fhv": deploy("fhv", schedules=[Cron("0 9 15 * *", timezone="America/New_York")]),
            "weekly": deploy("weekly", schedules=[Cron("0 9 * * 1")]),
            "twice": deploy("twice", schedules=[Cron("0 9 15 * *"), Cron("0 9 3 * *")]),
            "paused": deploy("paused", schedules=[Cron("0 9 15 * *")], paused=True),
            "none": deploy("none"),
        }


def next_runs(deployment_id: object) -> int:
    """Return how many runs come within 100 days: the server's rule, counted by hand."""
    now = dt.datetime.now(dt.UTC)
    days = [now.date() + dt.timedelta(days=n) for n in range(102)]
    times = [dt.datetime(d.year, d.month, d.day, 14, tzinfo=dt.UTC) for d in days if d.day == 15]
    coming = [time for time in times if now < time < now + dt.timedelta(days=100)]
    return max(len(coming), 3)


COUNTS = {
    "right": ("right", "looks 100 days ahead", "fhv", 0),
    "too many": ("wrong", "has not planned", "fhv", 3),
    "weekly": ("wrong", "not that of question 4", "weekly", 0),
    "two schedules": ("wrong", "not that of question 4", "twice", 0),
    "paused": ("wrong", "no active cron schedule", "paused", 0),
    "no schedule": ("wrong", "no active cron schedule", "none", 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", COUNTS)
def test_the_runs_that_are_planned(case: str, deployed: dict[str, object]):
    status, sentence, which, more = COUNTS[case]
    box = said(HOMEWORK, 5, next_runs(deployed["fhv"]) + more, deployed[which])
    assert box.status == status and sentence in box.text


@pytest.mark.slow
@pytest.mark.parametrize(
    "count, sentence", {0: "before the scheduler", 1: "the next one", 100: "more often"}.items()
)
def test_numbers_of_runs_that_learners_give(count: int, sentence: str, deployed: dict[str, object]):
    assert sentence in said(HOMEWORK, 5, count, deployed["fhv"]).text


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["fhv", "00000000-0000-4000-8000-000000000000", 3])
def test_what_is_no_deployment_is_refused_in_a_sentence(answer: object, server: str):
    assert "the id of a deployment is asked for" in said(HOMEWORK, 5, 3, answer).text


QUEUES = {
    "right": ("right", "a worker serves a pool", "{pool}", "default"),
    "the type": ("wrong", "the *type* of the pool", "process", "default"),
    "the deployment": ("wrong", "That is the deployment", "{name}", "default"),
    "another pool": ("wrong", "do not wait in the pool `taxi`", "taxi", "default"),
    "the pool twice": ("wrong", "has a name of its own", "{pool}", "{pool}"),
    "another queue": ("wrong", "in a queue `ml`", "{pool}", "ml"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", QUEUES)
def test_where_the_runs_wait(case: str, deployed: dict[str, object]):
    status, sentence, pool, queue = QUEUES[case]
    names = [text.format(**deployed) for text in (pool, queue)]
    box = said(HOMEWORK, 6, *names, deployed["fhv"])
    assert box.status == status and sentence in box.text


def test_answers_that_are_asked_of_the_server_say_when_it_has_stopped():
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        for question, before in {2: [cell(MONTHS_OF)], 5: [3], 6: ["a", "b"]}.items():
            assert "set `keep = True`" in said(HOMEWORK, question, *before, str(uuid4())).text
