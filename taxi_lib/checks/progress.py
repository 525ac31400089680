"""Which exercises a learner has passed: a small file in the runs folder, theirs alone."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from taxi_lib import atomic_files, settings

Passed = dict[str, dict[str, str]]


def progress_file() -> Path:
    """Return the file that holds what was passed; delete it to begin anew."""
    return settings.runs_dir() / "progress.json"


def passed() -> Passed:
    """Return when each exercise was first passed: lesson → number → time in UTC (ISO 8601).

    A file that cannot be read counts as empty: nothing depends on it.
    """
    try:
        found = json.loads(progress_file().read_text(encoding="utf-8"))
        return {lesson: dict(times) for lesson, times in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def record(lesson: str, question: int) -> None:
    """Remember that an exercise was passed, unless it was before."""
    with FileLock(settings.lock_file("progress")):
        found = passed()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        found.setdefault(lesson, {}).setdefault(str(question), now)
        atomic_files.write_text(progress_file(), json.dumps(found, indent=1, sort_keys=True) + "\n")


def forget() -> None:
    """Remove what was passed."""
    progress_file().unlink(missing_ok=True)


def overview(notebooks: Path) -> dict[str, dict[int, str | None]]:
    """Return for each notebook with exercises when each of them was passed, or None.

    Parameters
    ----------
    notebooks : pathlib.Path
        The folder of the lessons, of which those count that call ``questions("…")``.
    """
    found = passed()
    rows = {}
    for path in sorted(notebooks.glob("*.ipynb")):
        code = path.read_text(encoding="utf-8")
        if name := re.search(r'questions\(\\"(\w+)\\"\)', code):
            numbers = sorted({int(number) for number in re.findall(r"check\.q(\d+)\(", code)})
            rows[path.stem] = {n: found.get(name[1], {}).get(str(n)) for n in numbers}
    return rows
