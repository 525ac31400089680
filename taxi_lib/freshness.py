"""Which notebooks a walkthrough would run again, and why."""

from collections.abc import Iterator
from typing import Any

from taxi_lib import contracts, evidence, settings
from taxi_lib.files import MonthFile, file_name, is_there
from taxi_lib.fingerprints import inputs_of, named_as_texts
from taxi_lib.settings import Source
from taxi_lib.sources import is_made_up


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
    made_up = _made_up(lessons, given, given.get("source", source))
    for lesson in lessons:
        values = lesson.check(given)
        inputs, named = inputs_of(lesson, values, made_up), named_as_texts(lesson, values, None)
        record, reason = evidence.find(lesson, inputs, named)
        yield lesson.name, "" if record else reason


def _made_up(lessons: list[contracts.Contract], given: dict[str, Any], source: Source) -> bool:
    """Tell whether the months would be made up: real ones are found by the first one's file."""
    months = [m for lesson in lessons for m in lesson.months(given, needed=True).values()]
    if source != "auto" or not months:
        return source == "synthetic"
    path = settings.data_dir() / file_name(months[0])
    return not is_there(path) or is_made_up(MonthFile(months[0], path, "local"))
