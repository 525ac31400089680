"""Homework of 2022: a future, the months of a date, a vectoriser, a schedule, runs, a queue."""

import datetime as dt
import pickle
import re
import sys
import time
from pathlib import Path
from types import FunctionType
from typing import NamedTuple
from uuid import UUID

import numpy as np
import pandas as pd
from prefect import Task
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import filters
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from sklearn.feature_extraction import DictVectorizer

from taxi_lib.checks import schedules, server
from taxi_lib.checks.answers import UnreadableError, function, number, shown, text
from taxi_lib.checks.verdicts import Right, Wrong

HINTS = {
    1: [
        "Run the flow as it is, with `return_state=True`: the message names the line.",
        "A task opens the futures that it is given. Which future does the *flow* try to open?",
    ],
    2: [
        "Count months, not days: `pd.Period(date, 'M') - 1` is the month before a date's month.",
        "`main(*months(*months_of(dt.date(2021, 8, 15))), return_state=True)` is the run.",
    ],
    3: [
        "A task may be called outside of a flow: `train_model(prepare_features(read_data(path)))`.",
        "`path.write_bytes(pickle.dumps(vectorizer))`, then `path.stat().st_size`.",
    ],
    4: [
        "A cron expression has five parts: minute, hour, day of the month, month, weekday.",
        "`*` means every; three of the five parts are numbers here.",
    ],
    5: [
        "`flow.from_source(…)`, `.to_deployment(…)`, `.apply()`: lesson 12 deploys in this way.",
        "`client.read_flow_runs(deployment_filter=…)` lists the runs, planned ones included.",
    ],
    6: [
        "`prefect work-pool ls` and `prefect work-queue ls` print tables; so does Prefect's page.",
        "`client.read_deployment(deployment_id)` has both names.",
    ],
}
_DATE = dt.date(2021, 8, 15)
_ZONES = ["PUlocationID", "DOlocationID"]
_PATIENCE = 10.0  # seconds that the scheduler may need


class Future:
    """Stands for the future of a task run, and notes when it is opened."""

    def __init__(self, name: str, value: object, opened: list[str]) -> None:
        self._name, self._value, self._opened = name, value, opened

    def result(self, *_: object, **__: object) -> object:
        """Return the value."""
        self._opened.append(self._name)
        return self._value

    def wait(self, *_: object, **__: object) -> None:
        """Do nothing: the value stays in the future."""


class _Played(NamedTuple):
    """What a flow did with its tasks."""

    submitted: list[str]
    opened: list[str]
    called: list[str]
    last: tuple  # what the last task was given


class _Step:
    """Stands for a task: does nothing, and notes how it was used."""

    def __init__(self, task: Task, played: _Played) -> None:
        self._name, self._played = task.fn.__name__, played
        self._value = _MODEL if self._name == "train_model" else object()

    def submit(self, *given: object, **named: object) -> Future:
        self._played.submitted.append(self._name)
        self._played.last[:] = [*given, *named.values()]
        return Future(self._name, self._value, self._played.opened)

    def __call__(self, *_: object, **__: object) -> object:
        self._played.called.append(self._name)
        return self._value


_MODEL = (object(), object())  # stands for model and vectoriser


def q1(name: object, flow: object) -> Right | Wrong:
    """Judge which future has to be opened, and the flow that opens it."""
    said, played = text(name).strip().removesuffix(".submit"), _play(server.flow(flow).fn)
    if played.called:
        return Wrong(
            f"`{played.called[0]}` is called here. That is how you would write it today: a call "
            "waits and returns the value. The question is about futures: leave `.submit` there."
        )
    if any(all(part is not given for given in played.last) for part in _MODEL):
        return Wrong(
            "The flow does not hand both model and vectoriser, as values, to the last task.",
            "Which line takes the result of a task apart? There the flow itself needs a value.",
        )
    needed = set(played.opened) - {played.submitted[-1]}  # that of the last line
    if len(needed) > 1:
        return Wrong(
            f"It works, but it opens the futures of {', '.join(sorted(needed))}, and waits at each "
            "of them. A task takes a future as it is: leave out what is not needed."
        )
    if said not in needed:
        return Wrong(
            f"The flow is right, but it is not `{said}` whose future it opens.",
            "Read the name of the task off your own flow.",
        )
    return Right(
        "A task opens the futures that it is given, but only `.result()` gives the flow itself a "
        "value to take apart. In 2022 every call of a task returned a future; in Prefect 3 a "
        "call returns the value, and only `.submit` returns a future."
    )


def _play(function: FunctionType) -> _Played:
    """Call a flow's function with tasks that do nothing, and return what it did with them."""
    played = _Played([], [], [], [])
    tasks = {n: one for n, one in function.__globals__.items() if isinstance(one, Task)}
    scope = function.__globals__ | {n: _Step(task, played) for n, task in tasks.items()}
    copy = FunctionType(function.__code__, scope, function.__name__, None, function.__closure__)
    copy(Path("train.parquet"), Path("val.parquet"))
    return played


def q2(months_of: object, state: object) -> Right | Wrong:
    """Judge a function that works out the months of a date, and a run on those of 2021-08-15."""
    answer = function(months_of)
    for day in _days():
        said = answer(day)
        if not _is_pair(said) or list(said) != _months(day):
            return _other_months(day, said)
    days = _todays()
    said = answer(None)
    if not _is_pair(said) or list(said) not in map(_months, days | _todays()):
        return Wrong(f"Without a date it returns {shown(said)}: the date is today's then.")
    run = server.flow_run(state)
    paths = [str(run.parameters.get(name, "")) for name in ("train_path", "val_path")]
    took = [
        (re.findall(r"fhv_tripdata_(\d{4}-\d\d)\.parquet$", path) or ["?"])[0] for path in paths
    ]
    if took != _months(_DATE):
        return Wrong(
            f"The function is right, but this run took {took[0]} and {took[1]}, which are not the "
            f"FHV months of {_DATE}."
        )
    if not run.state.is_completed():
        return Wrong(f"The run {run.name} ended as {run.state_name}: read its log on its page.")
    return Right(
        "The date decides, so a run can be repeated for any month. For a scheduled run take "
        "`runtime.flow_run.scheduled_start_time` in place of today: a run that is late then "
        "takes the months of the day on which it was due (lesson 11)."
    )


def _todays() -> set[dt.date]:
    """Return today's date, here and in UTC."""
    now = dt.datetime.now(dt.UTC)
    return {now.date(), now.astimezone().date()}


def _days() -> list[dt.date]:
    """Return days at the ends of months and years, the same each time, and others drawn anew."""
    ends = [(1, 1), (1, 31), (2, 28), (3, 1), (3, 31), (5, 31), (7, 31), (12, 31)]
    drawn = np.random.default_rng().integers(0, 3650, 20)
    days = [dt.date(2015, 1, 1) + dt.timedelta(days=int(n)) for n in drawn]
    return [*(dt.date(2023, *end) for end in ends), *days]


def _months(day: dt.date, back: tuple[int, int] = (2, 1)) -> list[str]:
    """Return the months so many months before that of a day."""
    counted = (day.year * 12 + day.month - 1 - n for n in back)
    return [f"{month // 12}-{month % 12 + 1:02d}" for month in counted]


def _is_pair(said: object) -> bool:
    return type(said) in (list, tuple) and [type(one) for one in said] == [str, str]


def _other_months(day: dt.date, said: object) -> Wrong:
    returned = f"For {day} it returns {shown(said)}."
    if not _is_pair(said):
        return Wrong(f"{returned} Two texts such as 2021-01 are asked for.")
    if list(said) == _months(day)[::-1]:
        return Wrong(f"{returned} The months have changed places: the training month is first.")
    if list(said) == [f"{day - dt.timedelta(days=n):%Y-%m}" for n in (60, 30)]:
        return Wrong(f"{returned} Months have no fixed number of days: count months.")
    if list(said) == _months(day, (1, 0)):
        return Wrong(f"{returned} The month of the date itself is not over yet.")
    if any(not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", one) for one in said):
        return Wrong(
            f"{returned} These are not both months as in 2021-01.",
            "Is the month written with two digits, and does the year change in January?",
        )
    return Wrong(f"{returned} Which are the two months before the month of the date?")


def q3(size: object, path: object, train_path: object) -> Right | Wrong:
    """Judge the size of a saved vectoriser, which has to be that of the training month."""
    said, file = number(size), _file(path)
    if file.name != f"dv-{_DATE}.b":
        return Wrong(f"The file is called {file.name}: its name should hold the date of the run.")
    kept = pickle.loads(file.read_bytes())  # the learner's own file
    if type(kept) is not DictVectorizer:
        return Wrong(f"The file holds a {type(kept).__name__}, not the vectoriser.")
    train = _file(train_path)
    if not train.name.endswith(f"_{_months(_DATE)[0]}.parquet"):
        return Wrong(f"{train.name} is not the training month of {_DATE}.")
    if set(kept.feature_names_) == set(_ZONES):
        return Wrong(
            "The vectoriser has two columns: it took the zones for numbers.",
            "Zone 82 is not twice zone 41. What type does `prepare_features` give the zones?",
        )
    if sorted(kept.feature_names_) != _columns(train):
        return Wrong("Its columns are not the zones of the training month: what was it fitted on?")
    right = file.stat().st_size
    if said == right:
        return Right(
            f"{right:,} bytes hold {len(kept.feature_names_)} names, one for each zone that "
            "occurs, however many trips there were. Nobody can use the model without them: they "
            "say which column is which zone. The course's own month gave about 13,000 bytes."
        )
    return _other_size(said, right, kept)


def _other_size(said: float, right: int, kept: DictVectorizer) -> Wrong:
    if said == sys.getsizeof(kept):
        return Wrong(
            "`sys.getsizeof` counts the object without what it refers to.", "Ask the file."
        )
    if said == len(kept.feature_names_):
        return Wrong("That is the number of its columns. How many bytes has the file?")
    if any(abs(said - right / unit) < 1 for unit in (1000, 1024)):
        return Wrong("Give the size in bytes, not in kilobytes.")
    return Wrong(f"The file has another size than {said:g} bytes.", "`path.stat().st_size`")


def _file(answer: object) -> Path:
    if not isinstance(answer, str | Path) or not Path(answer).is_file():
        raise UnreadableError(f"The answer is {shown(answer)}; the path of a file is asked for.")
    return Path(answer)


def _columns(month: Path) -> list[str]:
    """Return the columns that a one-hot encoding of a month's zones has."""
    trips = pd.read_parquet(month, columns=["pickup_datetime", "dropOff_datetime", *_ZONES])
    taken = (trips["dropOff_datetime"] - trips["pickup_datetime"]).dt.total_seconds()
    zones = trips.loc[taken.between(60, 3600), _ZONES].fillna(-1).astype(int)
    return sorted(f"{name}={zone}" for name in _ZONES for zone in zones[name].unique())


def q4(cron: object) -> Right | Wrong:
    """Judge a cron expression for nine o'clock on the fifteenth of each month."""
    return schedules.monthly(cron, day=15, hour=9) or Right(
        "It starts on the fifteenth, however long the month is; an interval of 30 days would "
        "drift. In Prefect 3 a deployment has a list of such schedules, each with its time zone."
    )


def q5(count: object, deployment_id: object) -> Right | Wrong:
    """Judge how many runs of a monthly deployment the server has planned."""
    said = number(count)
    with server.server() as client:
        deployment = _deployment(client, deployment_id)
        crons = [
            each.schedule.cron
            for each in deployment.schedules
            if each.active and isinstance(each.schedule, CronSchedule)
        ]
        if deployment.paused or not crons:
            return Wrong("This deployment has no active cron schedule, so nothing is planned.")
        if len(crons) > 1 or schedules.monthly(crons[0], day=15, hour=9):
            return Wrong(f"Its schedule is `{', '.join(crons)}`, not that of question 4.")
        planned = _planned(client, deployment.id)
    if said == planned:
        return Right(
            f"{planned} runs: the scheduler looks 100 days ahead, and plans at least 3 runs and at "
            "most 100. So the number of runs a month decides, and the day on which you look; "
            "3 was published in 2022."
        )
    if said == 0:
        return Wrong("You counted before the scheduler had planned: it takes some seconds.")
    if said == 1:
        return Wrong("That is the next one. Prefect plans several runs ahead.")
    if said in (100, 12):
        return Wrong("That many are planned for a schedule that fires more often.")
    return Wrong(
        f"The server has not planned {said:g} runs of this deployment.",
        "Its page has a tab *Upcoming*.",
    )


def _deployment(client: SyncPrefectClient, answer: object) -> DeploymentResponse:
    try:
        return client.read_deployment(UUID(str(answer)))
    except (ValueError, ObjectNotFound):
        raise UnreadableError(
            f"The answer is {shown(answer)}; the id of a deployment is asked for, which `.apply()` "
            "returns."
        ) from None


def _planned(client: SyncPrefectClient, deployment_id: UUID) -> int:
    """Return how many runs of a deployment are planned, once the scheduler has seen it."""
    only = filters.DeploymentFilter(id=filters.DeploymentFilterId(any_=[deployment_id]))
    state = filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=["SCHEDULED"]))
    waiting = filters.FlowRunFilter(state=state)
    deadline, counts = time.monotonic() + _PATIENCE, [0]
    while (counts[-1] == 0 or counts[-1] != counts[-2]) and time.monotonic() < deadline:
        counts.append(len(client.read_flow_runs(deployment_filter=only, flow_run_filter=waiting)))
        time.sleep(0.3 if len(counts) > 2 or not counts[-1] else 0)
    return counts[-1]


def q6(pool: object, queue: object, deployment_id: object) -> Right | Wrong:
    """Judge the names of the pool and the queue in which a deployment's runs wait."""
    pool_said, queue_said = text(pool).strip(), text(queue).strip()
    with server.server() as client:
        deployment = _deployment(client, deployment_id)
        if not deployment.work_pool_name:
            return Wrong("This deployment has no work pool, so no worker would find its runs.")
        kind = client.read_work_pool(deployment.work_pool_name).type
    if pool_said != deployment.work_pool_name:
        if pool_said == kind:
            return Wrong("That is the *type* of the pool, which says how a run is started.")
        if pool_said == deployment.name:
            return Wrong("That is the deployment. It names a pool; which one?")
        return Wrong(f"The runs do not wait in the pool `{pool_said}`.")
    if queue_said != deployment.work_queue_name:
        if queue_said == pool_said:
            return Wrong("The pool is right, but a queue *in* the pool has a name of its own.")
        return Wrong(
            f"The pool is right, but its runs do not wait in a queue `{queue_said}`.",
            "You made no queue, so it is the one that each pool has from the beginning.",
        )
    return Right(
        "In 2022 an agent took runs from a queue. Now a worker serves a pool, which also says how "
        "a run is started; queues are shelves inside the pool, with priorities and limits."
    )
