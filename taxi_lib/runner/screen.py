"""Text as a terminal shows it: lines that are written over, and long text without its middle."""

import re

LONGEST = 500_000  # characters of one output that a browser can show
_HALF = LONGEST // 2
_LEFT_OUT = re.compile(r"\n\[… ([\d,]+) characters left out: see the log …\]\n")
_MOVES = re.compile(r"[\r\b]|\x1b\[[0-9;]*[A-GJK]")
_WAY_BACK = re.compile(r"(?:\x1b\[\d+A)?\r(?:\x1b\[\d+C)?\Z")
_PIECE = re.compile(r"\x1b\[([0-9;?]*)([@-~])|[^\x1b\n\r\b]+|[\s\S]")
_REACH = 50  # lines that a cursor can go up
_WIDEST = 20_000  # characters of lines that are written over


def visible(value: object) -> object:
    r"""Return a value with half characters in its texts written as ``\ud800``.

    No file, message or page can hold them as they are. Lists and mappings are searched, too.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list | tuple):
        return [visible(part) for part in value]
    if isinstance(value, dict):
        return {visible(key): visible(part) for key, part in value.items()}
    return value


def fold(text: str) -> str:
    r"""Return a text as a terminal shows it after carriage returns, backspaces and cursor moves.

    More text can be added, and the whole folded again: the place of the cursor is kept at the
    end, as in ``"50%\r"``.
    """
    first = _MOVES.search(text)
    if not first:
        return text
    start, screen = _start_of_reach(text, first.start(), text), _Screen()
    for piece in _PIECE.finditer(text, start):
        screen.take(piece)
    return text[:start] + screen.text()


def added(before: str, text: str) -> str:
    """Return a folded text with more after it, in a time that does not grow with its length."""
    if "\r" not in before[-16:] and not _MOVES.search(text):
        return before + text
    start = _start_of_reach(before, len(before), before[-16:] + text)
    if len(before) - start > _WIDEST:
        return before + text  # no progress bar, and too long to fold it each time
    return before[:start] + fold(before[start:] + text)


def _start_of_reach(text: str, place: int, moves: str) -> int:
    """Return where the lines start that a cursor can reach from a place by some moves."""
    for _ in range(_REACH if "\x1b" in moves else 1):
        place = text.rfind("\n", 0, max(place, 0))
    return place + 1


def settled(text: str) -> str:
    """Return a folded text without the place of the cursor: nothing will be added."""
    return _WAY_BACK.sub("", text)


def shortened(text: str, times: int = 1) -> str:
    """Return a text without its middle if it is longer than ``times`` what a browser can show."""
    if len(text) <= times * LONGEST + 100:  # room for the sentence itself
        return text
    before = _LEFT_OUT.match(text, _HALF)
    rest = text[before.end() if before else _HALF :]
    gone = len(rest) - _HALF + (int(before[1].replace(",", "")) if before else 0)
    return f"{text[:_HALF]}\n[… {gone:,} characters left out: see the log …]\n{rest[-_HALF:]}"


class _Screen:
    """Lines of characters, and a cursor. A colour belongs to the character after it."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = [[]]
        self.row, self.column, self.colour = 0, 0, ""

    def take(self, piece: re.Match[str]) -> None:
        """Show characters, one control character, or an escape sequence."""
        text, kind = piece[0], piece[2]
        if kind == "m":
            self.colour += text
        elif kind:
            self._move(kind, piece[1])
        elif text == "\n":
            line = self.lines[self.row]
            if self.colour and 0 < self.column == len(line):
                line[-1] += self.colour
                self.colour = ""
            self._go(self.row + 1, 0)
        elif text == "\r":
            self.column = 0
        elif text == "\b":
            self.column = max(0, self.column - 1)
        else:
            self._write(text)

    def _write(self, text: str) -> None:
        line = self.lines[self.row]
        line.extend(" " * (self.column - len(line)))
        line[self.column : self.column + len(text)] = [self.colour + text[0], *text[1:]]
        self.column, self.colour = self.column + len(text), ""

    def _move(self, kind: str, number: str) -> None:
        far = int(number) if number.isdigit() else 0
        line = self.lines[self.row]
        if kind in "AF":
            self._go(self.row - (far or 1), 0 if kind == "F" else self.column)
        elif kind in "BE":
            below = min(self.row + (far or 1), len(self.lines) - 1)  # moving down makes no lines
            self._go(below, 0 if kind == "E" else self.column)
        elif kind in "CDG":
            step = {"C": far or 1, "D": -(far or 1), "G": (far or 1) - 1 - self.column}[kind]
            self.column = min(max(0, self.column + step), 1000 + len(line))
        elif kind == "K" and far == 0:
            del line[self.column :]
        elif kind == "K":
            line[:] = [] if far == 2 else [" "] * self.column + line[self.column :]
        elif kind == "J" and far == 0:
            del line[self.column :], self.lines[self.row + 1 :]

    def _go(self, row: int, column: int) -> None:
        self.row, self.column = max(0, row), column
        while len(self.lines) <= self.row:
            self.lines.append([])

    def text(self) -> str:
        """Return all lines, with the way back to the cursor."""
        shown = "\n".join(map("".join, self.lines)) + self.colour
        up = len(self.lines) - 1 - self.row
        if not up and self.column == len(self.lines[-1]):
            return shown
        back = f"\x1b[{up}A" if up else ""
        return f"{shown}{back}\r" + (f"\x1b[{self.column}C" if self.column else "")
