"""What is asked for: which notebooks would be run again, and why."""

from collections.abc import Iterator
from typing import Any, get_args

from taxi_lib import settings
from taxi_lib.atomic_files import fingerprint
from taxi_lib.months import Source, next_month, previous_month
from taxi_lib.results import Value
from taxi_lib.runner import cache, contracts
from taxi_lib.runner.fingerprints import Inputs, inputs_of, named_as_texts


def reasons(request: dict[str, Any], source: Source = "auto") -> Iterator[tuple[str, str]]:
    """Yield each notebook's name, and why it would be run again; nothing when it would not.

    Parameters
    ----------
    request : dict
        ``notebooks``, ``parameters`` and ``folder``, as the walkthrough takes them.
    source : {"auto", "local", "tlc", "synthetic"}
        Where the months come from. Nothing is fetched here: what ``auto`` would find is judged
        by the data folder.
    """
    folder, given = request["folder"], request["parameters"]
    lessons = contracts.find_notebooks(request["notebooks"] or (), folder)
    source = source_of(lessons, given, source)
    made_up = _made_up(lessons, given, source)
    for lesson in lessons:
        values = lesson.check(given_to(lesson, given, source))
        inputs, named = inputs_now(lesson, values, made_up), named_as_texts(lesson, values, None)
        record, reason = cache.find(lesson, inputs, named)
        yield lesson.name, "" if record else reason


def takes_source(lesson: contracts.Contract) -> bool:
    """Tell whether a notebook asks where its months come from.

    It does so with a parameter ``source`` that is limited to just the sources of months, as by
    ``[one of auto, local, tlc, synthetic]``. Any other parameter of that name is the notebook's
    own: ``--source`` is not given to it.
    """
    choices = (set(p.choices) for p in lesson.parameters if p.name == "source")
    return set(get_args(Source)) in choices


def source_of(lessons: list[contracts.Contract], given: dict[str, Any], source: Source) -> Source:
    """Return where the months come from: ``-p source=…`` says it, too, where a notebook asks."""
    return given.get("source", source) if any(map(takes_source, lessons)) else source


def given_to(lesson: contracts.Contract, given: dict[str, Any], source: Source) -> dict[str, Any]:
    """Return what is given to one notebook: the source only if it asks for it."""
    return given | ({"source": source} if takes_source(lesson) else {})


def inputs_now(lesson: contracts.Contract, values: dict[str, Value], made_up: bool) -> Inputs:
    """Return what a notebook's outcome depends on, its months among it, as it is at the moment.

    Parameters
    ----------
    lesson, values
        The notebook, and what it is given.
    made_up : bool
        Whether its months are made up; how, is part of the library's source.
    """
    months = {"months": "made up"} if made_up else _months(lesson, values)
    if takes_source(lesson):  # the months' fingerprints say more than where they were looked for
        values = {name: value for name, value in values.items() if name != "source"}
    return inputs_of(lesson, values, months)


def _months(contract: contracts.Contract, values: dict[str, Value]) -> Inputs:
    """Return the months named, and those beside them: a lesson may use them."""
    from taxi_lib.trips.month_file import file_name  # brings pandas, which a refusal does without

    named = set(contract.months(values).values())
    near = named | {shift(month) for month in named for shift in (previous_month, next_month)}
    files = {name: fingerprint(settings.data_dir() / name) for name in map(file_name, sorted(near))}
    # A lesson looks for a month that may be None by itself, and may find it elsewhere.
    looks = len(named) < sum(field.is_month for field in contract.parameters)
    missing = looks and not all(files.values())
    return files | ({"source": values.get("source") or "auto"} if missing else {})


def _made_up(lessons: list[contracts.Contract], given: dict[str, Any], source: Source) -> bool:
    """Tell whether the months would be made up: real ones are found by the first one's file."""
    months = [m for lesson in lessons for m in lesson.months(given, needed=True).values()]
    if source != "auto" or not months:
        return source == "synthetic"
    from taxi_lib.trips.month_file import MonthFile, file_name, is_there
    from taxi_lib.trips.sources import is_synthetic

    path = settings.data_dir() / file_name(months[0])
    return not is_there(path) or is_synthetic(MonthFile(months[0], path, "local"))
