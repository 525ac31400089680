"""What an executed notebook keeps of its cells' outputs: as much as a person would read."""

from nbformat import NotebookNode
from nbformat.v4 import new_output

from taxi_lib.results import RESULTS_TYPE
from taxi_lib.runner.screen import added, shortened

MOST = 1000  # outputs of a cell
_LARGEST = 20_000_000  # characters of a cell's outputs, about
_LARGEST_IN_ALL = 100_000_000


class KeptOutputs:
    """The outputs that are kept so far.

    As in JupyterLab, text is added to the output before it, and lines are written over. When a
    cell has very many outputs, text is added to the last output of its stream, and further
    displays are only counted. Results are always kept.
    """

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.notes: dict[int, NotebookNode] = {}

    def merge(self, outputs: list[NotebookNode], msg: dict, cell_index: int) -> bool:
        """Add a message to an earlier output if it belongs there; return whether it does."""
        if not outputs:  # a new cell, or a cleared one
            self.sizes[cell_index] = 0
            self.notes.pop(cell_index, None)
        content = msg["content"]
        full = self._is_full(outputs, cell_index)
        if msg["msg_type"] == "stream":
            return self._merge_text(outputs, content, full)
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

    def _merge_text(self, outputs: list[NotebookNode], content: dict, full: bool) -> bool:
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
