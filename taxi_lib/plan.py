"""What is asked for, checked once: which notebooks to run, with which values, and what is stale."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, get_args

from taxi_lib import settings
from taxi_lib.atomic_files import fingerprint
from taxi_lib.errors import ContractError
from taxi_lib.months import PREVIOUS, Source, next_month, previous_month
from taxi_lib.results import Value
from taxi_lib.runner import run_folder
from taxi_lib.runner.cluster import THREADS
from taxi_lib.runner.contracts import Contract, check_request, find_notebooks
from taxi_lib.runner.each_value import folder_name, read_values
from taxi_lib.runner.fingerprints import Inputs
from taxi_lib.runner.notebook_run import NotebookRun
from taxi_lib.runner.references import Linked, behind, link
from taxi_lib.runner.steps import Step

# Returns which source the notebooks are given, and where the months come from.
FindMonths = Callable[[list[str], Source], tuple[Source, str | None]]


@dataclass(frozen=True)
class Request:
    """What is asked for: the parameters of :func:`taxi_lib.walkthrough.walkthrough`."""

    notebooks: list[str] | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    source: Source = "auto"
    folder: Path | None = None
    jobs: int | None = None
    cell_seconds: float = 900
    notebook_seconds: float = 3600
    stream: bool = False
    work_beside: bool = False
    each: str | None = None
    runner: str = THREADS

    def find_notebooks(self) -> list[Contract]:
        """Return the notebooks, or refuse names that fit none."""
        return find_notebooks(self.notebooks or (), self.folder)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Request":
        """Return the request that :meth:`to_json` has written."""
        folder = content.get("folder")
        return cls(**content | {"folder": Path(folder) if folder else None})

    def at(self, when: datetime) -> "Request":
        """Return the request with the month before `when` where a month is ``previous``."""
        if PREVIOUS not in self.parameters.values():
            return self
        linked = link(self.find_notebooks(), self.parameters)
        months = {p.name for each in linked for p in each.contract.parameters if p.is_month}
        month = previous_month(when.astimezone(UTC).strftime("%Y-%m"))
        values = {
            name: month if name in months and value == PREVIOUS else value
            for name, value in self.parameters.items()
        }
        return replace(self, parameters=values)

    def one_by_one(self) -> tuple[str, dict[str, "Request"]]:
        """Return the parameter of ``each``, and a request for each value, or refuse one."""
        ((name, values),) = read_values(self.each or "").items()
        if name in self.parameters:
            raise ContractError(f"{name} is given by -p and by --each: leave one of them out.")
        parts = {
            v: replace(self, each=None, parameters=self.parameters | {name: v}) for v in values
        }
        folders = Counter(map(folder_name, parts))
        if twice := [name for name, count in folders.items() if count > 1]:
            raise ContractError(f"--each has two values whose folder would be {twice[0]}.")
        for request in parts.values():
            request.link()
        return name, parts

    def link(self) -> list[Linked]:
        """Return the notebooks with those that they take from, or refuse a value."""
        linked = link(self.find_notebooks(), self.parameters)
        check_request([each.contract for each in linked], self.parameters)
        return linked

    def months(self, linked: list[Linked]) -> tuple[list[str], Source]:
        """Return the months that have to be there before a run, and where they come from."""
        notebooks, given, source = [each.contract for each in linked], self.parameters, self.source
        if any(map(takes_source, notebooks)):
            source = given.get("source", source)
        needed = [m for notebook in notebooks for m in notebook.months(given, needed=True).values()]
        return list(dict.fromkeys(needed)), source

    def with_options(self, **options: object) -> "Request":
        """Return the request with those options that are not None."""
        return replace(self, **{name: v for name, v in options.items() if v is not None})

    def to_json(self) -> dict[str, Any]:
        """Return the request as ``summary.json`` holds it."""
        return asdict(self) | {"folder": str(self.folder) if self.folder else None}


@dataclass(frozen=True)
class Plan:
    """The notebooks that a request means, with their values, and where their months come from."""

    request: Request
    steps: list[Step]
    data_source: str | None

    def run_folder(self, wanted: Path | None) -> Path:
        """Return the folder for the run's files, or refuse one that belongs to something else."""
        folder = run_folder.run_folder(wanted)
        if folder in {step.contract.path.resolve().parent for step in self.steps}:
            raise ContractError(
                f"{folder} holds the notebooks themselves: choose another --run-dir."
            )
        run_folder.check_folder(folder)
        return folder


def judge_months(months: list[str], source: Source) -> tuple[Source, str | None]:
    """Return where months would come from by what is in the data folder; nothing is fetched."""
    if source != "auto" or not months:
        return source, source if months else None
    from taxi_lib.trips.month_file import MonthFile, file_name, is_there
    from taxi_lib.trips.sources import is_synthetic

    path = settings.data_dir() / file_name(months[0])
    is_real = is_there(path) and not is_synthetic(MonthFile(months[0], path, "local"))
    return source, "local" if is_real else "synthetic"


def find_months(months: list[str], source: Source) -> tuple[Source, str | None]:
    """Fetch months, or make them up; return the source to ask for, and where they came from."""
    if not months:
        return source, None
    from taxi_lib.trips.sources import fetch_months

    found = fetch_months(*months, source=source)[0].source
    return (source if found == "local" else found), found


def make_plan(request: Request, find: FindMonths = judge_months) -> Plan:
    """Check a request, find the months that it needs, and return the plan.

    Raises
    ------
    ContractError, DataError
        When a notebook, a value or a month is refused.
    """
    linked, given = request.link(), request.parameters
    source, data_source = find(*request.months(linked))
    return Plan(request, [_step(each, given, source, data_source) for each in linked], data_source)


def takes_source(notebook: Contract) -> bool:
    """Return whether a notebook asks where its months come from.

    It does so with a parameter ``source`` whose limit lists just the sources of months:
    ``[one of auto, local, tlc, synthetic]``. Any other parameter of that name is the notebook's
    own, and ``--source`` is not given to it.
    """
    choices = (set(p.choices) for p in notebook.parameters if p.name == "source")
    return set(get_args(Source)) in choices


def given_to(notebook: Contract, given: dict[str, Any], source: Source) -> dict[str, Any]:
    """Return the values for a notebook: the given ones, and the source if it asks for that."""
    return given | ({"source": source} if takes_source(notebook) else {})


def _step(linked: Linked, given: dict[str, Any], source: Source, data_source: str | None) -> Step:
    notebook = linked.contract
    values = notebook.check(given_to(notebook, given, source))
    read_data = partial(_month_fingerprints, notebook, data_source)
    # The fingerprints of the months say more than where they were looked for.
    no_inputs = frozenset({"source"} if takes_source(notebook) else ())
    return Step(notebook, values, read_data, no_inputs, linked.takes)


def _month_fingerprints(
    notebook: Contract, data_source: str | None, values: dict[str, Value]
) -> Inputs:
    """Return the fingerprints of a notebook's months and of those beside them, which it may use."""
    if data_source == "synthetic":
        return {"months": "made up"}  # how, is part of the library's source
    named = set(notebook.months(values).values())
    if not any(p.is_month for p in notebook.parameters):
        return {}
    from taxi_lib.trips.month_file import file_name  # brings pandas

    near = named | {shift(month) for month in named for shift in (previous_month, next_month)}
    files = {name: fingerprint(settings.data_dir() / name) for name in map(file_name, sorted(near))}
    # A notebook whose month is left None chooses one itself, and may fetch it.
    chooses = any(p.is_month and values.get(p.name, p.default) is None for p in notebook.parameters)
    missing = chooses and not all(files.values())
    return files | ({"source": values.get("source") or "auto"} if missing else {})


def repaired(
    before: dict[str, Any], values: dict[str, Any], now: datetime | None = None
) -> tuple[Request, list[str]]:
    """Return the request of a run to go on with, with other values; and what is done anew.

    Parameters
    ----------
    before : dict
        The summary of that run.
    values : dict
        The values by parameter, in place of those that it was asked for.
    now : datetime, optional
        The time that ``previous`` counts from.

    Returns
    -------
    request, again
        The request, and the notebooks that were done and are run again, because they take one of
        the parameters or something from a notebook that does.
    """
    request = Request.from_json(before["request"])
    if not values:
        return request, []
    request = replace(request, parameters=request.parameters | values)
    request = request.at(now or datetime.now(UTC))
    linked = request.link()
    takers = {each.contract.name for each in linked if values.keys() & _names(each.contract)}
    done = {
        run["name"].rpartition("/")[2]
        for run in before["notebooks"]
        if run["status"] in ("completed", "cached")
    }
    return request, [name for name in behind(linked, takers) if name in done]


def _names(contract: Contract) -> set[str]:
    return {parameter.name for parameter in contract.parameters}


def stale_reasons(request: Request) -> Iterator[tuple[str, str]]:
    """Yield each notebook's name, and why it would be run again; "" when it would not.

    Nothing is fetched: what ``auto`` would find is judged by the data folder.
    """
    fresh: dict[str, NotebookRun] = {}
    for step in make_plan(request).steps:
        if not_fresh := [name for name in step.sources if name not in fresh]:
            yield step.name, f"waits for {', '.join(not_fresh)}"
            continue
        try:
            _, record, reason = step.with_results(fresh).find_record()
        except ContractError as error:  # what it takes does not fit
            record, reason = None, str(error)
        if record:
            fresh[step.name] = record.run
        yield step.name, reason
