"""Homework of 2023: a task's name, a schedule, two errors, an e-mail, an automation."""

import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from prefect import Flow, State, Task
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun
from prefect.events import Event
from prefect.events.filters import EventFilter, EventResourceFilter
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from sklearn.feature_extraction import DictVectorizer
from sklearn.pipeline import Pipeline
from xgboost import Booster, XGBRegressor

from taxi_lib.checks import schedules, server
from taxi_lib.checks.answers import UnreadableError, number, shown, text
from taxi_lib.checks.verdicts import Right, Wrong
from taxi_lib.models import COURSE_PARAMETERS

HINTS = {
    1: [
        "The name is an argument of `@task`. Put the cursor into `task(` and press Shift+Tab.",
        "`read_data.with_options(…)` copies a task with other arguments; the retries stay.",
    ],
    2: [
        "A cron expression has five parts: minute, hour, day of the month, month, weekday.",
        "`*` means every; three of the five parts are numbers here.",
    ],
    3: [
        "`main(*months(…), parameters, return_state=True)` returns the state of a run.",
        "`model, rmse = await state.aresult()` gives you what `main` returned.",
    ],
    4: [
        "Let your flow call `main`: a flow may call a flow. Then write the artifact.",
        'An artifact needs a `key` in small letters, and `markdown=f"RMSE: {rmse:.2f}"`.',
    ],
    5: [
        "`dir(prefect_email)` lists what the package offers; `type(…)` says which of it is a task.",
        "In a plain `def` flow call the task with `.submit(…)`, and then `.result()`.",
    ],
    6: [
        "Open the link to Prefect's page, and look at the steps above the form.",
        'An `EventTrigger` with `expect={"prefect.flow-run.Completed"}`, made before a flow runs.',
    ],
}
NAME = "Read taxi data"
PUBLISHED = 5.19931
_TIMES = ("lpep_pickup_datetime", "lpep_dropoff_datetime")
_ACTED = "prefect.automation.action.executed"
_FAILED = "prefect.automation.action.failed"
_PATIENCE = 10.0  # seconds that the server may need to act on an event


def q1(named: object) -> Right | Wrong:
    """Judge a copy of the task `read_data` that has another name on Prefect's page."""
    if type(named) is not Task:
        kind = "the flow" if type(named) is Flow else "a function or text, not a task"
        raise UnreadableError(f"The answer is {shown(named)}, {kind}; a task is asked for.")
    if named.name != NAME:
        return _other_name(named)
    if not _reads(named.fn):
        return Wrong("The name is right, but the function below it does not read a month any more.")
    if not named.retries:
        return Wrong(
            "The name is right, but the retries are gone: what you decorate anew begins anew.",
            "A task has a method that copies it with other options.",
        )
    return Right(
        "Prefect keeps the name with each run of the task, and the page shows it. The function's "
        "own name stays as it is, so the code that calls it need not change."
    )


def _other_name(named: Task) -> Wrong:
    if named.task_run_name:
        return Wrong(
            f"This names the single *runs*; the task itself is still called `{named.name}`.",
            "The run's name may hold the month. The task's name is a shorter argument.",
        )
    if named.name.casefold().split() == NAME.casefold().split():
        return Wrong(f"Nearly: Prefect keeps `{named.name}`. Compare it letter by letter.")
    return Wrong(
        f"Prefect keeps `{named.name}`. A description or a tag is not the name.",
        "Which argument of `task` does the help list first, after the function?",
    )


def _reads(function: Callable[..., object]) -> bool:
    """Return whether a function reads a month as the homework's `read_data` does."""
    begin = pd.Series(pd.date_range("2023-01-05 08:00", periods=6, freq="h"))
    seconds = np.random.default_rng().permutation([30, 90, 1800, 3500, 3700, 90_000])
    month = pd.DataFrame({"lpep_pickup_datetime": begin, "trip_distance": seconds / 600})
    month["lpep_dropoff_datetime"] = begin + pd.to_timedelta(seconds, unit="s")
    with TemporaryDirectory() as folder:
        path = Path(folder, "green_tripdata_2023-01.parquet")
        month.to_parquet(path)
        trips = function(path)
    kept = [one / 60 for one in seconds if 60 <= one <= 3600]
    found = trips["duration"].tolist() if isinstance(trips, pd.DataFrame) else []
    return len(found) == len(kept) and np.allclose(found, kept)


def q2(cron: object) -> Right | Wrong:
    """Judge a cron expression for nine o'clock on the third of each month."""
    return schedules.monthly(cron, day=3, hour=9) or Right(
        "It starts once a month, twelve times a year, whichever way you write it. An interval of "
        "30 days would drift through the month. Nine o'clock is that of the schedule's time "
        "zone, which is UTC when you give none."
    )


def q3(rmse: object, state: object) -> Right | Wrong:
    """Judge the RMSE of a model of 2023-01 on the trips of 2023-02."""
    said, run = number(rmse), server.flow_run(state)
    found = _model_and_trips(state, run, ("2023-01", "2023-02"))
    if isinstance(found, Wrong):
        return found
    model, train, val = found
    right = _rmse(model, val)
    if abs(said - right) < 1e-5:
        return Right(
            f"{right:.5f} minutes. On the real months {PUBLISHED} was published, which XGBoost "
            "still gives when it begins at `base_score=0.5` as it did in 2023. Today it begins at "
            "the mean. A number can be repeated only with its library's version or settings."
        )
    if abs(said - right) < 5e-3:
        return Wrong("Nearly: give five decimals, or the number as your code returned it.")
    if abs(said - right**2) < 1e-2:
        return Wrong("That is the mean *squared* error, in squared minutes.", "Take its root.")
    if abs(said - _rmse(model, train)) < 5e-3:
        return Wrong(
            "That is the error on the month that the model learned from, which flatters it.",
            "Which of the two months has the model never seen?",
        )
    if abs(said - PUBLISHED) < 5e-3:
        return Wrong("This was published for the real months in 2023. What does *your* run give?")
    return Wrong(
        f"The model of this run is not off by {said:g} minutes on the trips of the second month.",
        "Give what `main` returned in this very run.",
    )


def q4(state: object) -> Right | Wrong:
    """Judge a flow run that left its RMSE on 2023-03 in a Markdown artifact."""
    run = server.flow_run(state)
    found = _model_and_trips(state, run, ("2023-02", "2023-03"))
    if isinstance(found, Wrong):
        return found
    model, train, val = found
    with server.server() as client:
        made_here = filters.ArtifactFilterFlowRunId(any_=[run.id])
        artifacts = client.read_artifacts(
            artifact_filter=filters.ArtifactFilter(flow_run_id=made_here)
        )
    reports = [str(one.data) for one in artifacts if one.type == "markdown"]
    if not reports:
        kinds = ", ".join(f"`{one.type}`" for one in artifacts if one.type != "result")
        return Wrong(
            f"This run left no Markdown artifact{f', but {kinds}' if kinds else ''}: is it written "
            "inside your flow?",
            "`create_markdown_artifact` has to be called while the flow runs, with a `key`.",
        )
    return _judge_report(" ".join(reports), model, train, val)


def _judge_report(
    report: str, model: Pipeline, train: pd.DataFrame, val: pd.DataFrame
) -> Right | Wrong:
    numbers = re.findall(r"(?<![\d.])\d+\.\d+", report)
    right = _rmse(model, val)
    if f"{right:.2f}" in numbers:
        return Right(
            f"The report says {right:.2f} minutes, and it stays with the run: if you look for "
            "the number in a year, you find it beside the parameters, the log and the time."
        )
    if any(abs(float(one) - right) < 0.1 for one in numbers):
        return Wrong("The number is in the report: round it to two decimals.", "`{rmse:.2f}`")
    training = _rmse(model, train)
    if any(abs(float(one) - training) < 0.01 for one in numbers):
        return Wrong("The report holds the error on the month that the model learned from.")
    said = ", ".join(numbers[:3]) or "no number with decimals"
    return Wrong(
        f"The report holds {said}, which is not the RMSE of this run's model on its second month.",
        "Put in what `main` returned: the second of its two values.",
    )


def _model_and_trips(
    state: object, run: FlowRun, months: tuple[str, str]
) -> Wrong | tuple[Pipeline, pd.DataFrame, pd.DataFrame]:
    """Return the model of a run, and the trips of its months; or what is wrong with the run."""
    if not run.state.is_completed():
        return Wrong(f"The run {run.name} ended as {run.state_name}: read its log on its page.")
    paths = [str(run.parameters.get(name, "")) for name in ("train_path", "val_path")]
    took = tuple((re.findall(r"\d{4}-\d\d(?=\.parquet$)", path) or ["?"])[0] for path in paths)
    if took != months:
        if took == months[::-1]:
            return Wrong("The months have changed places: which one does the model learn from?")
        return Wrong(
            f"The server says that this run took {took[0]} and {took[1]} as `train_path` and "
            f"`val_path`; {months[0]} and {months[1]} are asked for."
        )
    train, val = (_read(Path(path)) for path in paths)
    model = _model(state)
    return _wrong_model(model, train) or (model, train, val)


def _model(state: object) -> Pipeline:
    """Return the fitted pipeline among what a flow returned."""
    if type(state) is not State:
        raise UnreadableError(f"The answer is {shown(state)}; the flow's state is asked for.")
    returned = state.result(raise_on_failure=False, _sync=True)
    parts = returned if type(returned) in (tuple, list) else [returned]
    models = [one for one in parts if type(one) is Pipeline]
    if not models or [type(part) for part in models[0][:]] != [DictVectorizer, XGBRegressor]:
        raise UnreadableError("The flow has to return its model, as `main` does: alone or first.")
    return models[0]


def _wrong_model(model: Pipeline, train: pd.DataFrame) -> Wrong | None:
    pairs = {name for name in model[0].feature_names_ if name.startswith("PU_DO=")}
    if pairs != {f"PU_DO={pair}" for pair in train["PU_DO"].unique()}:
        return Wrong(
            "The model's columns are not the pairs of the training month: its vectoriser was "
            "fitted on other trips.",
            "Call `fit` with the training trips only; the other month is only transformed.",
        )
    given = XGBRegressor.get_xgb_params(model[1])
    wanted = {n: v for n, v in COURSE_PARAMETERS.items() if n not in ("n_estimators", "objective")}
    other = [name for name, value in wanted.items() if given.get(name) != value]
    rounds = Booster.num_boosted_rounds(model[1].get_booster())
    if rounds != COURSE_PARAMETERS["n_estimators"]:
        other.append(f"n_estimators ({rounds} rounds)")
    if other:
        return Wrong(f"The model was not trained with the given parameters: {', '.join(other)}.")
    return None


def _read(path: Path) -> pd.DataFrame:
    """Return the features and minutes of a month's trips of 1 to 60 minutes."""
    zones, ends = (
        ["PULocationID", "DOLocationID"],
        ["lpep_pickup_datetime", "lpep_dropoff_datetime"],
    )
    trips = pd.read_parquet(path, columns=[*zones, *ends, "trip_distance"])
    trips["duration"] = (trips[ends[1]] - trips[ends[0]]).dt.total_seconds() / 60
    trips = trips[trips["duration"].between(1, 60)]
    pair = trips[zones[0]].astype(str) + "_" + trips[zones[1]].astype(str)
    return trips.assign(PU_DO=pair)


def _rmse(model: Pipeline, trips: pd.DataFrame) -> float:
    """Return how far a model is off, with neither its `predict` nor a library's score."""
    matrix = DictVectorizer.transform(
        model[0], trips[["PU_DO", "trip_distance"]].to_dict("records")
    )
    predicted = XGBRegressor.predict(model[1], matrix)
    return math.sqrt(np.mean((predicted - trips["duration"].to_numpy()) ** 2))


def q5(name: object, state: object) -> Right | Wrong:
    """Judge the name of the task that sends e-mails, and a flow run that used it."""
    import prefect_email

    said, run = text(name).strip(), server.flow_run(state)
    found = getattr(prefect_email, said, None)
    if isinstance(found, type) and issubclass(found, Block):
        return Wrong("That is the block, which knows server and password. Which *task* uses it?")
    if not isinstance(found, Task):
        return Wrong(
            f"`prefect_email` has no task `{said}`.", "Its name begins with what is being sent."
        )
    if not run.state.is_completed():
        return Wrong(f"The run {run.name} ended as {run.state_name}: was the mail server there?")
    sent = [one for one in server.task_runs(run) if one.task_key == found.task_key]
    if not any(one.state and one.state.is_completed() for one in sent):
        return Wrong(
            f"The name is right, but in the run {run.name} the server has no completed run of "
            "this task. A plain call of an `async` task in a `def` flow sends nothing.",
            "Python warns that it was never awaited: submit the task.",
        )
    return Right(
        "The server has a run of this task, so the mail server took the message. The block holds "
        "what the code should not: with another block the same flow uses another account."
    )


def q6(step: object, automation: object) -> Right | Wrong:
    """Judge the second step of making an automation, and one that has posted a message."""
    said, name = text(step).strip().casefold(), text(automation)
    parts = list(AutomationCore.model_fields)
    place = parts.index("trigger")
    if said not in (parts[place + 1], parts[place + 1].removesuffix("s")):
        if said == parts[place]:
            return Wrong("That is the first step: it says *when*. What has to be said next?")
        return Wrong(
            "That is not the second step. The first says when, the last what it is called.",
            "The class `Automation` has a part of this name, too.",
        )
    with server.server() as client:
        found = client.read_automations_by_name(name)
        if not found:
            return Wrong(f"The step is right, but the server has no automation `{name}`.")
        return _judge_automation(found[0]) or _judge_events(client, found[0])


def _judge_automation(made: Automation) -> Wrong | None:
    trigger = made.trigger
    if not isinstance(trigger, EventTrigger) or trigger.posture != Posture.Reactive:
        return Wrong("The trigger of this automation does not react to an event of a run.")
    if "prefect.flow-run.Completed" not in trigger.expect:
        expected = ", ".join(sorted(trigger.expect)) or "any event"
        return Wrong(f"It waits for {expected}; a run that *completes* is asked for.")
    if not made.enabled or not made.actions:
        return Wrong("It has no action or is switched off, so it does nothing.")
    return None


def _judge_events(client: SyncPrefectClient, made: Automation) -> Right | Wrong:
    about = EventFilter(resource=EventResourceFilter(id=[f"prefect.automation.{made.id}"]))
    deadline = time.monotonic() + _PATIENCE
    seen: dict[str, Event] = {}
    while not seen.keys() & {_ACTED, _FAILED} and time.monotonic() < deadline:
        seen = {one.event: one for one in client.read_events(about, limit=50).events}
        time.sleep(0.2)
    if _ACTED in seen:
        return Right(
            "It has acted, and no flow knows of it. In 2023 automations were for Prefect's cloud "
            "only; today your own server has them."
        )
    if failed := seen.get(_FAILED):
        return Wrong(f"It fired, but its action failed: {failed.payload.get('reason')!s:.200}")
    return Wrong(
        "It has not acted yet: let a flow run to its end after the automation was made.",
        "A new automation becomes active half a second after it was made.",
    )
