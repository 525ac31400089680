r"""What a kernel prints and sends, so that all of it arrives; used inside the kernel.

Subprocesses and C code write past Python to the kernel's standard output. While cells run, the
kernel reads that itself, as ipykernel does, and shows it as if the cell had printed it. What is
written before the first cell, after the last, or just before the kernel dies, stays in the pipe:
the run reads it from there. Unlike with ipykernel nothing is repeated to a terminal, where no
secret would be hidden; all is read before a cell is done; and what is no UTF-8, or no character,
is shown as ``\xff`` or ``\ud800``.
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

_PIPE = "TAXI_PIPE_{}"  # as kernels.PIPE


def pack(message: object) -> bytes:
    """Return a message as it is sent: JSON, in which half a character is shown as an escape."""
    try:
        return orjson.dumps(
            message, default=json_default, option=orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
        )
    except TypeError:  # a text that is none, or what only the other packer can send
        return json_packer(visible(message))


class OutStream(iostream.OutStream):
    """A kernel's standard output or error, with what is written past Python in its place.

    What begins with an underscore and is not explained here is ipykernel's.
    """

    _live = False  # whether cells are being run

    def __init__(self, *arguments: object, **options: object) -> None:
        # Also in a test, where ipykernel would not watch what subprocesses write.
        super().__init__(*arguments, **options | {"watchfd": "force"})

    def _setup_stream_redirects(self, name: str) -> None:
        self._original_stdstream_fd = getattr(sys, name).fileno()
        self._fid = int(os.environ.pop(_PIPE.format(name)))  # what is written there comes out here
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
        """Leave what is written from now on to the run: no cell is to come."""
        self.flush()
        self._live = self._should_watch = False

    def write(self, string: str) -> int | None:
        """Write to where cells print, or before the first and after the last to the run."""
        if self._live or not isinstance(string, str):
            self._take()  # what a subprocess wrote before comes before
            return super().write(string)
        os.write(self._original_stdstream_fd, string.encode("utf-8", "backslashreplace"))
        return len(string)

    def fileno(self) -> int:
        """Return where subprocesses may write: it is shown like what they write by themselves."""
        return self._original_stdstream_fd

    def flush(self) -> None:
        """Send all that was written so far, also by subprocesses."""
        self._take()
        super().flush()

    def close(self) -> None:
        """Close the stream, but not what is below it."""
        self._live, self._should_watch, self.pub_thread = False, False, None

    def _watch_pipe_fd(self) -> None:
        self._first.wait()
        more = select.poll()  # not one that another thread asks meanwhile
        more.register(self._fid, select.POLLIN)
        while self._should_watch:
            more.poll()
            self._wait_for_more()
            self._take()

    def _wait_for_more(self) -> None:
        """Leave a little in the pipe for a moment: if we die now, the run reads it from there."""
        for _ in range(10):
            waiting = struct.unpack("i", fcntl.ioctl(self._fid, termios.FIONREAD, b"\0" * 4))[0]
            if 0 < waiting < 1 << 15 and self._should_watch:
                time.sleep(0.01)

    def _take(self) -> None:
        if not self._is_master_process():
            return
        with self._reading:
            for _ in range(16):  # a pipe holds a megabyte at most; somebody may write without end
                if self._live and self._ready.poll(0):
                    super().write(self._decoder.decode(os.read(self._fid, 1 << 16)))
