"""Reading what a learner gives: strictly, since a check must not be passed by a clever object."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from taxi_lib.errors import TaxiError


class UnreadableError(TaxiError):
    """The answer is not of the kind that the exercise asks for."""


def number(answer: object) -> float:
    """Return a number as a plain float.

    Raises
    ------
    UnreadableError
        When it is something else, NaN, or infinite.
    """
    plain = answer.item() if isinstance(answer, np.generic) else answer
    if type(plain) not in (int, float) or not np.isfinite(plain):
        raise UnreadableError(f"The answer is {shown(answer)}; a number is asked for.")
    return float(plain)


def numbers(answer: object) -> list[float]:
    """Return the numbers of a list or tuple, in their order; raise for anything else."""
    if type(answer) not in (list, tuple):
        raise UnreadableError(f"The answer is {shown(answer)}; a list of numbers is asked for.")
    return [number(one) for one in answer]


def text(answer: object) -> str:
    """Return a text as it was given; raise :class:`UnreadableError` for anything else."""
    if type(answer) is not str:
        raise UnreadableError(f"The answer is {shown(answer)}; a text in quotes is asked for.")
    return answer


def one_of(answer: object, *choices: str) -> str:
    """Return which of some texts was chosen; raise :class:`UnreadableError` for any other."""
    chosen = text(answer).strip().casefold()
    if chosen not in choices:
        listed = " or ".join(f'"{choice}"' for choice in choices)
        raise UnreadableError(f"The answer is {shown(answer)}; {listed} is asked for.")
    return chosen


def truth(answer: object) -> bool:
    """Return a truth value; raise :class:`UnreadableError` for anything else."""
    if type(answer) not in (bool, np.bool_):
        raise UnreadableError(f"The answer is {shown(answer)}; True or False is asked for.")
    return bool(answer)


def names(answer: object) -> list[str]:
    """Return the texts of a list, set or tuple, sorted; raise for anything else."""
    if type(answer) not in (list, set, tuple) or not all(type(one) is str for one in answer):
        raise UnreadableError(f"The answer is {shown(answer)}; a list of texts is asked for.")
    return sorted(answer)


def function(answer: object) -> Callable[..., Any]:
    """Return a function that was written with ``def`` or ``lambda``; raise for anything else."""
    if not inspect.isfunction(answer):
        raise UnreadableError(f"The answer is {shown(answer)}; a function is asked for.")
    return answer


def table(answer: object) -> pd.DataFrame:
    """Return a copy of a table; raise :class:`UnreadableError` for anything else."""
    if type(answer) is not pd.DataFrame:
        raise UnreadableError(f"The answer is {shown(answer)}; a DataFrame is asked for.")
    return answer.copy()


def is_untouched(answer: object) -> bool:
    """Return whether an answer, or a part of it, is ``...`` or a function whose body is."""
    if type(answer) in (list, tuple, set):
        return any(map(is_untouched, answer))
    if type(answer) is dict:
        return any(map(is_untouched, answer.values()))
    answer = getattr(answer, "fn", answer)  # of a Prefect task or flow
    if not inspect.isfunction(answer):
        return answer is ...
    code = answer.__code__
    constants = [one for one in code.co_consts if one not in (None, answer.__doc__)]
    return code.co_code[::2] == _EMPTY and not constants


def shown(answer: object) -> str:
    """Return how an answer is quoted: its beginning and its type."""
    return f"`{answer!r:.60}` ({type(answer).__name__})"


def _nothing() -> None: ...


_EMPTY = _nothing.__code__.co_code[::2]  # without the places of the constants
