"""What a check says: right or wrong, with a reason, in a box that can be read without colour."""

import re
from dataclasses import dataclass
from html import escape
from textwrap import fill
from typing import Literal

Status = Literal["not attempted", "right", "wrong", "raised"]
# Sign, words and colours (border and background) of each status. The text is always black.
_LOOKS = {
    "not attempted": ("○", "not attempted yet", "#6b7280", "#f3f4f6"),
    "right": ("✓", "right", "#15803d", "#f0fdf4"),
    "wrong": ("✗", "not yet", "#b45309", "#fffbeb"),
    "raised": ("!", "your code raised an error", "#b91c1c", "#fef2f2"),
    "hint": ("→", "hint", "#1d4ed8", "#eff6ff"),
}


@dataclass(frozen=True)
class Right:
    """The answer is right.

    Parameters
    ----------
    why : str
        Why it matters, in a sentence or two.
    """

    why: str


@dataclass(frozen=True)
class Wrong:
    """The answer is wrong, in a way that is known.

    Parameters
    ----------
    hint : str
        What this mistake should make the learner look at; it never holds the answer.
    more : str
        What is added when the same mistake is made again.
    """

    hint: str
    more: str = ""


@dataclass(frozen=True)
class Box:
    """What is shown below a cell: a title, and a text with `code` and *emphasis*."""

    question: int
    status: Status | Literal["hint"]
    text: str

    @property
    def title(self) -> str:
        """Return the first line: a sign, the question and the status in words."""
        sign, words, *_ = _LOOKS[self.status]
        return f"{sign} Exercise {self.question}: {words}"

    def __repr__(self) -> str:
        """Return the box as text, for a terminal and for readers who cannot see it."""
        paragraphs = [fill(line, 90) if line[:1].strip() else line for line in self.lines()]
        return "\n".join([self.title, *paragraphs])

    def _repr_html_(self) -> str:
        *_, edge, ground = _LOOKS[self.status]
        style = (
            f"border: 1px solid {edge}; border-left: 0.5em solid {edge}; background: {ground}; "
            "color: #111; border-radius: 4px; padding: 0.5em 1em; margin: 0.3em 0; max-width: 45em"
        )
        body = "".join(f"<p style='margin: 0.4em 0 0'>{_html(line)}</p>" for line in self.lines())
        return f"<div role='status' style='{style}'><strong>{self.title}</strong>{body}</div>"

    def lines(self) -> list[str]:
        """Return the lines of the text."""
        return [line for line in self.text.splitlines() if line.strip()]


def _html(line: str) -> str:
    """Set `code` and *emphasis*; inside of code an asterisk is only an asterisk."""
    indent = len(line) - len(line.lstrip())
    parts = re.split(r"`([^`]+)`", escape(line.strip()))  # every second one is code
    parts[::2] = [re.sub(r"\*([^*]+)\*", r"<em>\1</em>", part) for part in parts[::2]]
    parts[1::2] = [f"<code>{part}</code>" for part in parts[1::2]]
    return "&nbsp;" * indent + "".join(parts)
