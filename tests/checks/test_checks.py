"""What is said about an answer, whatever the question."""

import json
from pathlib import Path
from types import ModuleType

import pytest

from support.cli import run_command
from support.exercises import asked, cell
from taxi_lib import checks
from taxi_lib.checks import Questions, progress, questions
from taxi_lib.checks.answers import function, names, number, numbers, one_of, table, text, truth
from taxi_lib.checks.verdicts import Box, Right, Wrong
from taxi_lib.errors import ContractError, TaxiError


def judge(answer: object) -> Right | Wrong:
    if callable(answer):
        answer = answer(3)
    return Right("Three it is.") if number(answer) == 3 else Wrong("Look at it.", "Count it.")


@pytest.fixture
def check() -> Questions:
    return Questions("07", {"q1": judge}, {1: ["vague", "clear"]}, record=False)


ANSWERED = {
    "nothing at all": ("not attempted", ()),
    "dots": ("not attempted", (...,)),
    "dots in a list": ("not attempted", ([1, ...],)),
    "dots in a dict": ("not attempted", ({"a": ...},)),
    "right": ("right", (3,)),
    "right as a NumPy number": ("right", (pytest.importorskip("numpy").float64(3),)),
    "wrong": ("wrong", (4,)),
    "another kind": ("wrong", ("three",)),
    "not a number": ("wrong", (float("nan"),)),
    "too many": ("wrong", (3, 4)),
}


@pytest.mark.parametrize("case", ANSWERED)
def test_an_answer_gets_its_status(check: Questions, case: str):
    status, answers = ANSWERED[case]
    assert check.judge(1, *answers).status == status


BODIES = {
    "...": "not attempted",
    '"""What to do."""\n    ...': "not attempted",
    '"""What to do."""': "not attempted",
    "pass": "not attempted",
    "return limit": "right",
    "return 4": "wrong",
    "return 1 / 0": "raised",
    "return nothing": "raised",
}


@pytest.mark.parametrize("body", BODIES)
def test_a_function_is_untouched_as_long_as_its_body_does_nothing(check: Questions, body: str):
    assert check.judge(1, cell(f"def f(limit):\n    {body}\n")).status == BODIES[body]


def test_an_error_in_the_learners_code_is_shown_with_its_line(check: Questions):
    said = check.judge(1, cell("def f(limit):\n    a = 0\n    return limit / a\n"))
    assert "Line 3 of your cell" in said.text and "ZeroDivisionError" in said.text


def test_the_second_time_the_same_mistake_is_made_more_is_said(check: Questions):
    first, second = check.judge(1, 4), check.judge(1, 5)
    assert "Count it." not in first.text and second.text.endswith("Count it.")


def test_hints_come_one_after_the_other(check: Questions, capsys: pytest.CaptureFixture):
    for _ in range(3):
        check.hint(1)
    shown = capsys.readouterr().out
    assert shown.count("vague") == 1 and shown.count("clear") == 2


class Agreeable:
    """Says yes to everything that it is compared with."""

    def __eq__(self, other: object) -> bool:
        return True

    def __float__(self) -> float:
        return 3.0

    __hash__ = object.__hash__


class ThreeOfMyOwn(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize("read", [number, numbers, text, truth, names, function, table])
@pytest.mark.parametrize("answer", [Agreeable(), ThreeOfMyOwn(4), type("Str", (str,), {})("a")])
def test_no_object_passes_by_agreeing_with_everything(read, answer: object):
    with pytest.raises(TaxiError, match="The answer is"):
        read(answer)


def test_a_choice_is_read_whatever_its_case_and_another_one_is_refused():
    assert one_of(" Larger", "larger", "smaller") == "larger"
    with pytest.raises(TaxiError, match='"larger" or "smaller" is asked for'):
        one_of("bigger", "larger", "smaller")


def test_a_box_can_be_read_without_colour_and_holds_no_markup_of_the_learner():
    box = Box(2, "raised", "Line 1: `x<script>`\n<b>bold</b> *again* `a * b * c`")
    assert repr(box).startswith("! Exercise 2: your code raised an error\n")
    page = box._repr_html_()
    assert "your code raised an error" in page and "<code>x&lt;script&gt;</code>" in page
    assert "<b>" not in page and "<script" not in page
    assert "<em>again</em>" in page and "<code>a * b * c</code>" in page


def test_unknown_exercises_are_refused_in_a_sentence(check: Questions):
    with pytest.raises(ContractError, match="There are no exercises '99'"):
        questions("99")
    with pytest.raises(AttributeError, match="There is no question 'q9': q1"):
        check.q9(3)
    assert dir(check) == ["hint", "q1"]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAXI_RUNS_DIR", str(tmp_path))
    return tmp_path


def test_what_is_passed_is_kept_once_and_can_be_forgotten(runs: Path, check: Questions):
    recording = Questions("07", {"q1": judge}, {}, record=True)
    check.judge(1, 3)
    recording.judge(1, 4)
    assert progress.passed() == {}
    recording.judge(1, 3)
    first = progress.passed()
    recording.judge(1, 3)
    assert progress.passed() == first and list(first["07"]) == ["1"]
    progress.forget()
    assert progress.passed() == {} and not (runs / "progress.json").exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"07": 3}', "null", "\\xff"])
def test_a_damaged_file_of_progress_counts_as_empty(runs: Path, content: str):
    (runs / "progress.json").write_text(content)
    assert progress.passed() == {}


def test_progress_shows_what_was_passed(runs: Path):
    (runs / "progress.json").write_text(json.dumps({"01": {"2": "2026-01-01T00:00:00+00:00"}}))
    shown = run_command("progress", TAXI_RUNS_DIR=str(runs))
    assert "1 ·  2 ✓  3 ·  01_duration_prediction_original\n" in shown.stdout
    assert run_command("progress", "--forget", TAXI_RUNS_DIR=str(runs)).returncode == 0
    assert not (runs / "progress.json").exists()


def modules() -> list[str]:
    folder = Path(checks.__file__).parent
    kinds = ("lesson_", "homework_", "lab_")
    return sorted(path.stem for path in folder.glob("*.py") if path.stem.startswith(kinds))


@pytest.mark.parametrize("name", modules())
def test_every_question_has_hints_that_differ(name: str):
    asked_of: Questions = asked(name.removeprefix("lesson_"))
    judges: ModuleType = __import__(f"taxi_lib.checks.{name}", fromlist=["HINTS"])
    numbers = {int(question[1:]) for question in dir(asked_of) if question != "hint"}
    assert judges.HINTS.keys() == numbers
    assert all(len(set(hints)) == len(hints) >= 2 for hints in judges.HINTS.values())
