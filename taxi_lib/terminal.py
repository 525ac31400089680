"""Text for the terminal, without what would act on it."""

import re
import sys
from typing import TextIO

# Colours, moves of the cursor, titles of the window, links: sequences that begin with ESC, or with
# one character that stands for ESC and another.
_SEQUENCES = re.compile(
    r"(?:\x1b\]|\x9d)[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c\n]*(?:\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]"
)
# Ends of lines that are not \n; what else controls, or turns the direction of writing.
_BREAKS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)


def printable(text: str) -> str:
    r"""Return a text that a terminal only shows: letters, signs, tabs and ends of lines.

    Examples
    --------
    >>> printable("\x1b[31mred\x1b[0m and \x1b]0;a title\x07plain\x08")
    'red and plain'
    """
    whole = text.encode("utf-8", "backslashreplace").decode()  # half a character is none
    return _CONTROLS.sub("", _BREAKS.sub(" ", _SEQUENCES.sub("", whole)))


def say(text: object, file: TextIO | None = None) -> None:
    """Print a text to the terminal at once, whatever is in it."""
    file = file or sys.stdout
    file.write(f"{printable(str(text))}\n")
    file.flush()
