"""Lesson 4: a formula for retries, an idempotent sheet, and a script that says how it ended."""

import os
import random
import re
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from taxi_lib.checks.answers import function, number, text
from taxi_lib.checks.verdicts import Right, Wrong

HINTS = {
    1: [
        "It is easier to say when a call is *not* served.",
        "All its tries must fail. What is the share of calls whose first two tries fail?",
    ],
    2: [
        "The sheet must be read before it is written.",
        "Keep the lines of the other months, replace the one of this month, write all of them; "
        "and `sheet.exists()` says whether there is something to read.",
    ],
    3: [
        "A script ends with the status of its last command, and goes on after one that failed.",
        "Either the script stops at the first failure, or `echo` runs only after a success: a "
        "shell has `set -e`, `&&`, `||` and `if`.",
    ],
}
CALLS, SHARE, TRIES = 50, 0.7, 5  # what exercise 1 measures


def q1(share_served: object, served: object) -> Right | Wrong:
    """Judge a formula for the share of served calls, and how many of fifty were."""
    formula, counted = function(share_served), number(served)
    cases = [(_failing(tries), tries) for tries in random.sample(range(2, 8), 3)]
    said = [number(formula(share, tries)) for share, tries in cases]

    def is_(other: Callable[[float, int], float]) -> bool:
        return all(
            abs(value - other(*case)) < 1e-3 for value, case in zip(said, cases, strict=True)
        )

    if not is_(lambda share, tries: 1 - share**tries):
        return next(
            (wrong for other, wrong in _FORMULAS if is_(other)),
            Wrong(
                f"With a failure share of {cases[0][0]:.2f} and {cases[0][1]} tries your formula "
                f"gives {said[0]:.4f}, which is not the share that is served. Is it rounded?",
                "A call fails only if its first try fails *and* its second *and* so on.",
            ),
        )
    expected = CALLS * (1 - SHARE**TRIES)
    if counted == CALLS:
        return Wrong(
            "The formula is right, but with such a service hardly ever are all calls served.",
            "Has your loop counted the calls that raised, too?",
        )
    if counted != int(counted) or not 0 <= counted <= CALLS:
        return Wrong(f"The formula is right. How many of {CALLS} calls got a fact when you tried?")
    if abs(counted - expected) > 4.5 * (expected * SHARE**TRIES) ** 0.5:
        return Wrong(
            "The formula is right, and your count is too far from it for chance alone.",
            f"Call `fetch_fact`, which tries five times, {CALLS} times; count those that return.",
        )
    return Right(
        "Each further try removes the same share of what is still failing, so retries are cheap "
        "against failures that pass. The formula holds only if the tries fail independently: a "
        "service that stays down fails all of them."
    )


def _failing(tries: int) -> float:
    """Return a share of failing tries; the share that is served is not near to whole per cent."""
    served = (random.randrange(60, 90) + random.uniform(0.3, 0.7)) / 100  # rounding shows
    return (1 - served) ** (1 / tries)


_FORMULAS = [
    (lambda share, tries: share**tries, Wrong("That is the share whose tries *all* fail.")),
    (
        lambda share, tries: tries * (1 - share),
        Wrong("Shares do not add up: ten tries would serve more calls than there are."),
    ),
    (
        lambda share, tries: min(1, tries * (1 - share)),
        Wrong("Shares do not add up: many tries would serve every call, without exception."),
    ),
    (lambda share, tries: 1 - share, Wrong("That is the share of one try. What do more of them?")),
    (
        lambda share, tries: (1 - share) ** tries,
        Wrong("That is the share whose tries all *succeed*. One success is enough."),
    ),
    (
        lambda share, tries: 1 - share ** (tries + 1),
        Wrong("The first call is one of the tries, not beside them."),
    ),
    (
        lambda share, tries: 1 - share ** (tries - 1),
        Wrong("The first call is one of the tries: five tries are five calls at most."),
    ),
    (
        lambda share, tries: 100 * (1 - share**tries),
        Wrong("That is in per cent. A share goes from 0 to 1."),
    ),
]


class Row(NamedTuple):
    """A line of the score sheet."""

    month: str
    trips: int
    rmse: float


def q2(add_score: object) -> Right | Wrong:
    """Judge a function that writes a month's score once, however often it is called."""
    answer = function(add_score)
    rows = [_row(month) for month in random.sample([f"2022-{m:02d}" for m in range(1, 13)], 4)]
    # More than a minute from the first: what is kept of that is not taken for this one, rounded.
    again = _row(rows[0].month, 8)
    cases = [
        ([], [rows[0], rows[1], again, again]),  # the sheet is not there at first
        (rows[:3], [rows[3], again]),  # lines of an earlier run are there
    ]
    for before, calls in cases:
        if wrong := _problem(answer, before, calls):
            return wrong
    return Right(
        "A second run now changes nothing, and a run that was interrupted may simply be repeated. "
        "That is what a retry needs, too."
    )


def _row(month: str, least: int = 5) -> Row:
    rmse = random.randrange(100 * least, 100 * least + 200) / 100
    return Row(month, random.randrange(50_000, 90_000), rmse)


def _problem(answer: Callable[..., object], before: list[Row], calls: list[Row]) -> Wrong | None:
    with TemporaryDirectory() as folder:
        sheet = Path(folder) / "scores.csv"
        if before:
            sheet.write_text("".join(f"{month},{trips},{rmse}\n" for month, trips, rmse in before))
        for call in calls:
            answer(sheet, *call)
        lines = sheet.read_text().splitlines() if sheet.is_file() else []
    found = [[value.strip() for value in line.split(",")] for line in lines]
    if not found:
        return Wrong("After the calls there is nothing in the file whose path the function got.")
    odd = [line for line, row in zip(lines, found, strict=True) if not _is_row(row)]
    if odd:
        return Wrong(
            f"The sheet has the line `{odd[0]:.40}`, which is not a month, its trips and its RMSE."
        )
    months, due = [row[0] for row in found], {row.month: row for row in before + calls}
    return _compare(months, {row[0]: Row(row[0], *map(float, row[1:])) for row in found}, due)


def _compare(months: list[str], found: dict[str, Row], due: dict[str, Row]) -> Wrong | None:
    if len(set(months)) < len(months):
        return Wrong(
            "A month has two lines after it was written twice: the function still appends.",
            "The old line of the month has to go.",
        )
    if due.keys() - found.keys():
        return Wrong(
            f"Months that were in the sheet before are gone: it has only {', '.join(months)}.",
            "Mode `w` empties a file at once. Have you read it before?",
        )
    rounded = {month: abs(found[month].rmse - row.rmse) for month, row in due.items()}
    if all(difference <= 0.5 for difference in rounded.values()) and any(rounded.values()):
        return Wrong("The sheet has the RMSE rounded: write it as it is given, with its digits.")
    if any(found[month].rmse != row.rmse for month, row in due.items()):
        return Wrong(
            "A month was written again with another RMSE, and the sheet has the old one.",
            "Which of the two lines is thrown away, the old or the new?",
        )
    if found != due:
        return Wrong("The months and their RMSE are right, but not the number of trips.")
    return None


def _is_row(row: list[str]) -> bool:
    return len(row) == 3 and all(re.fullmatch(r"\d+(\.\d+)?", value) for value in row[1:])


class Night(NamedTuple):
    """How the learner's script went through a night."""

    status: int
    said: str  # in the terminal
    logged: bool  # whether the log has what the training printed, and its error
    complained: str  # the last line that the shell wrote to its error stream


def q3(mended: object) -> Right | Wrong:
    """Judge a shell script whose status tells a bad night from a good one."""
    script = text(mended)
    with TemporaryDirectory() as folder:
        bad, good = (_night(script, Path(folder), status) for status in (3, 0))
        log = Path(folder) / "nightly.log"
        kept = log.read_text().count("night ") if log.is_file() else 0
        runs = (Path(folder) / "runs").exists()
    if left := re.search(r"{\w+}", script):
        return Wrong(
            f"The script has `{left[0]}` in it: a text with values in braces begins with `f`."
        )
    if not runs:
        complaint = f" It says: `{bad.complained:.100}`." if bad.complained else ""
        return Wrong(f"The script has not run `python train.py`.{complaint}")
    return _judge(script, bad, good, kept) or Right(
        "Cron, or any other program that starts the script, now learns the truth from its status. "
        "Every tool that runs commands looks at exit statuses, so they should be right."
    )


def _night(script: str, folder: Path, status: int) -> Night:
    """Run the script beside a training that prints something and ends with a status."""
    token = secrets.token_hex(8)
    training = f'open("runs", "a").write("x")\nprint("night {token}", flush=True)\n'
    training += f'import sys\nprint("error {token}", file=sys.stderr)\nsys.exit({status})\n'
    (folder / "train.py").write_text(training)
    (folder / "nightly.sh").write_text(script)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    night = subprocess.run(
        ["sh", "nightly.sh"],
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    log = folder / "nightly.log"
    logged = log.read_text() if log.is_file() else ""
    complained = (night.stderr.strip().splitlines() or [""])[-1]
    return Night(night.returncode, night.stdout, logged.count(token) == 2, complained)


def _judge(script: str, bad: Night, good: Night, kept: int) -> Wrong | None:
    if bad.status == 0:
        return _silent(script)
    if not bad.logged or not good.logged:
        return Wrong(
            "What the training prints is not in `nightly.log`, or its errors are missing there.",
            "`>> nightly.log 2>&1` adds both to the log.",
        )
    if kept < 2:
        return Wrong("The log has only its last night.", "`>` begins anew each time, `>>` adds.")
    if good.status != 0:
        complaint = f" The shell says: `{good.complained:.100}`." if good.complained else ""
        return Wrong(
            f"A good night ends with status {good.status}.{complaint}",
            "The status must depend on the night.",
        )
    if "done" not in good.said:
        return Wrong('After a good night nothing says "done".')
    if "done" in bad.said:
        return Wrong(
            'After a bad night the status is right, but the script still says "done".',
            "Which commands may run only if the training has succeeded?",
        )
    return None


def _silent(script: str) -> Wrong:
    if re.search(r"exit\s+\"?\$\?", script):
        return Wrong(
            "After a bad night the script ends with status 0. `$?` is the status of the command "
            "right before it: which one is that?",
            "Ask for `$?` at once, or let the script stop there.",
        )
    if re.search(r"\|\s*tee\b", script):
        return Wrong(
            "After a bad night the script ends with status 0. A pipe has the status of its *last* "
            "program."
        )
    return Wrong(
        "After a bad night the script still ends with status 0.",
        "Its last command has succeeded. Why did it run at all?",
    )
