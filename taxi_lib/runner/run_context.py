"""What the notebooks of one run share, and what one notebook's kernel is started with."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING

from taxi_lib.runner.console import Board

if TYPE_CHECKING:
    from taxi_lib.runner.cluster import Cluster


class Once:
    """What several runs side by side need only once: the first one does it, the others wait."""

    def __init__(self) -> None:
        self.done: set[str] = set()
        self._locks: dict[str, Lock] = defaultdict(Lock)
        self._choosing = Lock()

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Let one run at a time do what has this key."""
        with self._choosing:
            lock = self._locks[key]
        with lock:
            yield


@dataclass(frozen=True)
class RunContext:
    """Where, how and for how long the notebooks of one run are executed.

    Attributes
    ----------
    folder : pathlib.Path
        Where the evidence goes; also the kernels' working directory.
    env : dict of str to str
        The kernels' environment.
    cell_seconds, notebook_seconds : float
        How long a cell and a whole notebook may take.
    work_beside : bool
        Let each kernel work where its notebook lies.
    board : Board
        Shows progress in the terminal.
    stopping : threading.Event
        Set once the run is interrupted: nothing more begins, and nothing is tried again.
    once : Once, optional
        Shared by runs side by side whose notebooks may have the same inputs.
    cluster : Cluster, optional
        Where the notebooks are executed; in this process's threads when left out.
    """

    folder: Path
    env: dict[str, str]
    cell_seconds: float = 900
    notebook_seconds: float = 3600
    work_beside: bool = False
    board: Board = field(default_factory=Board)
    stopping: Event = field(default_factory=Event)
    once: Once | None = None
    cluster: "Cluster | None" = None


@dataclass
class Session:
    """One notebook's kernel: what it is started with, and what comes out of it."""

    context: RunContext
    folder: Path  # its working directory
    env: dict[str, str]  # its environment
    run_tag: str  # of its processes: see taxi_lib.services.processes
    on_cell: Callable[..., None]  # called with each cell as it starts
    on_text: Callable[[str], None]  # called with each text that a cell prints
    secrets: dict[str, str] = field(default_factory=dict)  # values to assign unseen, by name
    reads: dict[str, str] = field(default_factory=dict)  # fingerprints of what %run reads, by path
