"""What an executed notebook keeps of its cells' outputs: all that a person reads, not all of it."""

from nbformat import NotebookNode
from nbformat.v4 import new_output

from taxi_lib.results import RESULTS_TYPE
from taxi_lib.runner.screen import added, shortened

MOST = 1000  # outputs of a cell
_LARGEST = 20_000_000  # characters of a cell's outputs, about
_LARGEST_IN_ALL = 100_000_000


class Kept:
    """Decides, output by output, how a cell's outputs grow.

    Text goes on in the output before it, as in JupyterLab, and lines are written over as in a
    terminal. When a cell has very many outputs, its text goes on in the last output of that
    stream, and further displays are counted only; results are always kept.
    """

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.notes: dict[int, NotebookNode] = {}

    def goes_on(self, outputs: list[NotebookNode], msg: dict, cell_index: int) -> bool:
        """Tell whether a message needs no output of its own, having dealt with it."""
        if not outputs:  # a new cell, or one that has been cleared
            self.sizes[cell_index] = 0
            self.notes.pop(cell_index, None)
        content = msg["content"]
        full = self._is_full(outputs, cell_index)
        if msg["msg_type"] == "stream":
            return self._text_goes_on(outputs, content, full)
        data = content.get("data", {})
        if full and msg["msg_type"] == "display_data" and RESULTS_TYPE not in data:
            self._count(outputs, cell_index)
            return True
        self.sizes[cell_index] += sum(map(len, map(str, data.values())))
        return False

    def _is_full(self, outputs: list[NotebookNode], cell_index: int) -> bool:
        return (
            len(outputs) >= MOST
            or self.sizes[cell_index] > _LARGEST
            or sum(self.sizes.values()) > _LARGEST_IN_ALL
        )

    def _text_goes_on(self, outputs: list[NotebookNode], content: dict, full: bool) -> bool:
        before = reversed(outputs if full else outputs[-1:])
        output = next((o for o in before if o.get("name") == content["name"]), None)
        if output is None:
            content["text"] = added("", content["text"])
            return False
        output["text"] = shortened(added(output["text"], content["text"]), times=2)
        return True

    def _count(self, outputs: list[NotebookNode], cell_index: int) -> None:
        if cell_index not in self.notes:
            self.notes[cell_index] = new_output("display_data", metadata={"left_out": 0})
            outputs.append(self.notes[cell_index])
        note = self.notes[cell_index]
        note.metadata["left_out"] += 1
        note.data["text/plain"] = (
            f"[… {note.metadata['left_out']:,} more outputs are not kept: the log has their text …]"
        )
