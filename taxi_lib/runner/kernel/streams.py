r"""A kernel's output streams and messages, so that nothing gets lost; used inside the kernel.

Subprocesses and C code write past Python to the kernel's standard output, which is a pipe. While
cells run, the kernel reads that pipe, as ipykernel does, and shows the text as output of the cell.
Before the first cell, after the last, and when the kernel dies, the runner reads the pipe.

Unlike ipykernel's streams, these repeat nothing to a terminal, where no secret would be hidden.
They read all output before a cell is done, and show bytes that are not UTF-8, and half
characters, as ``\xff`` and ``\ud800``.
"""

import codecs
import fcntl
import os
import select
import struct
import sys
import termios
import threading
import time

import orjson
from ipykernel import iostream
from jupyter_client.jsonutil import json_default
from jupyter_client.session import json_packer

from taxi_lib.runner.screen import visible

_PIPE = "TAXI_PIPE_{}"  # as launch.PIPE


def pack(message: object) -> bytes:
    """Return a message as JSON, with half characters as escapes."""
    try:
        return orjson.dumps(
            message, default=json_default, option=orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
        )
    except TypeError:  # a half character, or a type that only the other packer can send
        return json_packer(visible(message))


class OutStream(iostream.OutStream):
    """A kernel's standard output or error, together with what is written past Python.

    It overrides private methods of ipykernel's class.
    """

    _live = False  # whether cells are running

    def __init__(self, *arguments: object, **options: object) -> None:
        # ipykernel would not watch the output of subprocesses during a test.
        super().__init__(*arguments, **options | {"watchfd": "force"})

    def _setup_stream_redirects(self, name: str) -> None:
        self._original_stdstream_fd = getattr(sys, name).fileno()
        self._fid = int(os.environ.pop(_PIPE.format(name)))  # the end to read from
        os.set_inheritable(self._fid, False)
        self._reading, self._first = threading.RLock(), threading.Event()
        self._ready = select.poll()
        self._ready.register(self._fid, select.POLLIN)
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        threading.Thread(target=self._watch_pipe_fd, daemon=True).start()

    def set_parent(self, parent: dict) -> None:
        """Note which request is being served."""
        super().set_parent(parent)
        if not self._first.is_set() and parent["header"]["msg_type"] == "execute_request":
            self._live = True
            self._first.set()

    def leave(self) -> None:
        """Stop reading the pipe, after the last cell: the runner reads it from now on."""
        self.flush()
        self._live = self._should_watch = False

    def write(self, string: str) -> int | None:
        """Write to the cell's output; before the first cell and after the last, to the pipe."""
        if self._live or not isinstance(string, str):
            self._take()  # first what a subprocess wrote earlier
            return super().write(string)
        os.write(self._original_stdstream_fd, string.encode("utf-8", "backslashreplace"))
        return len(string)

    def fileno(self) -> int:
        """Return the file to which a subprocess may write: the pipe."""
        return self._original_stdstream_fd

    def flush(self) -> None:
        """Send all that was written until now, also by subprocesses."""
        self._take()
        super().flush()

    def close(self) -> None:
        """Close the stream, but not the file below it."""
        self._live, self._should_watch, self.pub_thread = False, False, None

    def _watch_pipe_fd(self) -> None:
        self._first.wait()
        more = select.poll()  # other threads use the one in self._ready
        more.register(self._fid, select.POLLIN)
        while self._should_watch:
            more.poll()
            self._wait_for_more()
            self._take()

    def _wait_for_more(self) -> None:
        """Leave a short text in the pipe for a moment: if we die now, the runner reads it there."""
        for _ in range(10):
            waiting = struct.unpack("i", fcntl.ioctl(self._fid, termios.FIONREAD, b"\0" * 4))[0]
            if 0 < waiting < 1 << 15 and self._should_watch:
                time.sleep(0.01)

    def _take(self) -> None:
        if not self._is_master_process():
            return
        with self._reading:
            for _ in range(16):  # at most the megabyte that a pipe holds: a writer may never end
                if self._live and self._ready.poll(0):
                    super().write(self._decoder.decode(os.read(self._fid, 1 << 16)))
