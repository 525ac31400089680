"""The questions of a lesson: an answer is judged, the verdict shown, and what is passed kept."""

import importlib
import linecache
import re
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from IPython.display import display

from taxi_lib.checks import progress
from taxi_lib.checks.answers import UnreadableError, is_untouched
from taxi_lib.checks.verdicts import Box, Right, Wrong
from taxi_lib.errors import ContractError

Judge = Callable[..., Right | Wrong]


def questions(lesson: str, record: bool = True) -> "Questions":
    """Return the questions of a lesson, as ``check.q1(answer)`` and so on.

    Parameters
    ----------
    lesson : str
        Its number, such as ``"07"``, or the name of a homework or a lab.
    record : bool
        Whether to remember what is passed; the worked solutions do not.

    Raises
    ------
    ContractError
        When there are no questions of that name.
    """
    module = f"taxi_lib.checks.lesson_{lesson}" if lesson.isdigit() else f"taxi_lib.checks.{lesson}"
    try:
        judges = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ContractError(f"There are no exercises {lesson!r}: give a number, as 07.") from None
    found = {name: judge for name, judge in vars(judges).items() if re.fullmatch(r"q\d+", name)}
    return Questions(lesson, found, judges.HINTS, record)


class Questions:
    """The questions of one lesson.

    ``q1``, ``q2``, … take an answer and show what is to be said about it;
    ``hint(1)`` shows the next hint for the first question.

    Parameters
    ----------
    lesson : str
        Its number or name.
    judges : dict
        A function for each question; it takes the answers and returns the verdict.
    hints : dict
        For each question, what a learner may be told who has not answered, the vague first.
    record : bool
        Whether to remember what is passed.
    """

    def __init__(
        self, lesson: str, judges: dict[str, Judge], hints: dict[int, list[str]], record: bool
    ) -> None:
        self._lesson, self._judges, self._hints, self._record = lesson, judges, hints, record
        self._mistakes: Counter[tuple[int, str]] = Counter()
        self._asked: Counter[int] = Counter()

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Return what checks an answer to one question."""
        if name not in self._judges:
            raise AttributeError(f"There is no question {name!r}: {', '.join(self._judges)}.")

        def check(*answers: object) -> None:
            display(self.judge(int(name[1:]), *answers))

        return check

    def __dir__(self) -> list[str]:
        """Return the names that JupyterLab proposes after ``check.``."""
        return [*self._judges, "hint"]

    def hint(self, question: int) -> None:
        """Show the next hint for a question; the last one is shown again.

        Parameters
        ----------
        question : int
            Its number, 1 for the first.
        """
        hints = self._hints[question]
        place = min(self._asked[question], len(hints) - 1)
        self._asked[question] += 1
        left = len(hints) - 1 - place
        more = f"\nAsk again for more: {left} left." if left else ""
        display(Box(question, "hint", hints[place] + more))

    def judge(self, question: int, *answers: object) -> Box:
        """Return what is to be shown about an answer.

        Parameters
        ----------
        question : int
            Its number.
        *answers : object
            What the learner gives, in the order of the exercise.
        """
        if not answers or any(map(is_untouched, answers)):
            return Box(question, "not attempted", f"For a hint: `check.hint({question})`.")
        try:
            verdict = self._judges[f"q{question}"](*answers)
        except UnreadableError as error:
            verdict = Wrong(str(error))
        except Exception as error:  # whatever the learner's code raises
            return _explain(question, error)
        if isinstance(verdict, Right):
            if self._record:
                progress.record(self._lesson, question)
            return Box(question, "right", verdict.why)
        self._mistakes[question, verdict.hint] += 1
        again = self._mistakes[question, verdict.hint] > 1 and verdict.more
        return Box(question, "wrong", f"{verdict.hint}\n{again}" if again else verdict.hint)


def _explain(question: int, error: Exception) -> Box:
    """Show where the learner's own code raised, or that an answer could not be used."""
    name = f"{type(error).__name__}: {error}".strip().removesuffix(":")
    own = [f for f in traceback.extract_tb(error.__traceback__) if _is_a_cell(f.filename)]
    if not own:
        return Box(question, "wrong", f"The check cannot use this answer: `{name:.300}`.")
    where = f"Line {own[0].lineno} of your cell: `{_source(own[0])}`"
    if own[-1].filename != own[0].filename:  # a function of the lesson's
        where += f"\nIt called line {own[-1].lineno} of another cell: `{_source(own[-1])}`"
    elif own[-1].lineno != own[0].lineno:
        where = f"Line {own[-1].lineno} of your cell: `{_source(own[-1])}`"
    return Box(question, "raised", f"{where}\n`{name:.300}`")


def _source(frame: traceback.FrameSummary) -> str:
    return linecache.getline(frame.filename, frame.lineno or 0).strip()


def _is_a_cell(filename: str) -> bool:
    """Return whether a line belongs to a cell of a notebook, not to a library."""
    shell: Any = sys.modules.get("ipykernel.compiler")
    kernel_cells = shell.get_tmp_directory() if shell else "\0"
    return filename.startswith((kernel_cells, "<ipython-input", "<cell"))
