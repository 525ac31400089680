"""The kernel that runs notebooks: IPython's, but a command that fails is an error.

Only the runner starts it. JupyterLab and bare papermill start their usual kernel.
"""

import hashlib
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ENOENT
from functools import partial, update_wrapper
from pathlib import Path
from types import CodeType
from typing import Any

import zmq
from ipykernel import ipkernel, zmqshell
from IPython.core.interactiveshell import ExecutionResult
from IPython.utils.path import get_py_filename
from IPython.utils.process import arg_split, process_handler, system
from IPython.utils.text import LSString, SList
from traitlets import Type

from taxi_lib.runner.kernel.errors import BESIDE, CommandFailedError, describe, text_of
from taxi_lib.runner.kernel.streams import OutStream


# Libraries ask for this name, IPython's own, to find out that they are in a notebook.
class ZMQInteractiveShell(zmqshell.ZMQInteractiveShell):
    """IPython's shell, with an error for what IPython lets fail in silence."""

    def __init__(self, *arguments: object, **options: object) -> None:
        self.reads: dict[str, str] = {}
        self.failure: dict[str, Any] | None = None
        super().__init__(*arguments, **options)
        self.events.register("post_run_cell", self._describe_error)

    def _describe_error(self, result: ExecutionResult) -> None:
        error = result.error_before_exec or result.error_in_exec
        self.failure = describe(error, result.info.raw_cell or "") if error else None

    async def run_code(
        self, code_obj: CodeType, result: ExecutionResult | None = None, *, async_: bool = False
    ) -> bool:
        """Run a part of a cell. Its exception gets a message if it cannot show its own."""
        failed = await super().run_code(code_obj, result, async_=async_)
        if result and result.error_in_exec:
            result.error_in_exec = _sayable(result.error_in_exec)
        return failed

    def _showtraceback(self, etype: type, evalue: BaseException, stb: list[str]) -> None:
        super()._showtraceback(etype, _sayable(evalue), stb)

    def system(self, cmd: str) -> None:
        """Run a command of a cell, ``!command``. When it fails, the cell fails."""
        command = self._expanded(cmd, 2)
        self._check(command, system(command))

    def getoutput(self, cmd: str, split: bool = True, depth: int = 0) -> SList | LSString:
        """Return what a command of a cell prints, ``x = !command``, unless it fails."""
        command = self._expanded(cmd, depth + 2)

        def read(process: subprocess.Popen) -> tuple[bytes, int]:
            return process.communicate()[0], process.returncode

        printed, status = process_handler(command, read, subprocess.STDOUT) or (b"", -2)
        text = printed.decode(errors="replace")
        if status:
            sys.stdout.write(text)
        self._check(command, 128 - status if status > 128 else status)
        return SList(text.splitlines()) if split else LSString(text)

    def _expanded(self, command: str, depth: int) -> str:
        """Return a command with the values of the cell's variables in it."""
        if command.rstrip().endswith("&"):
            raise OSError("Background processes not supported.")
        return self.var_expand(command, depth=depth)

    def _check(self, command: str, status: int) -> None:
        self.user_ns["_exit_code"] = status
        cell = self.get_parent().get("content", {}).get("code", "")
        if status and "_exit_code" not in cell:  # such a cell looks at the status itself
            raise CommandFailedError(status, f"!{command}")

    def run_line_magic(self, magic_name: str, line: str, _stack_depth: int = 1) -> object:
        """Run ``%magic``. A command that fails in it is named after the magic."""
        if magic_name == "run":
            self._extend_run()
        before = Path.cwd()
        with _named_after(f"%{magic_name} {line}", line):
            result = super().run_line_magic(magic_name, line, _stack_depth + 1)
        name = line.strip().strip("'\"")
        stayed = magic_name == "cd" and name and not name.startswith("-") and Path.cwd() == before
        if stayed and not Path(name).expanduser().is_dir():  # IPython only prints that
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), name)
        return result

    def run_cell_magic(self, magic_name: str, line: str, cell: str) -> object:
        """Run ``%%magic``. A command that fails in it is named after the magic."""
        if self.find_cell_magic(magic_name):
            self._check_program(magic_name, line)
        try:
            return super().run_cell_magic(magic_name, line, cell)
        except CommandFailedError as error:
            if magic_name in ("sx", "system", "!"):
                error.cmd, error.script = f"%%{magic_name}", cell
            raise
        except subprocess.CalledProcessError as error:
            if not isinstance(error.cmd, bytes):  # the cell ran this command itself
                raise
            raise CommandFailedError(error.returncode, f"%%{magic_name}", script=cell) from None

    def _check_program(self, magic_name: str, line: str) -> None:
        """Refuse a script whose program is missing. IPython only prints that."""
        scripts = self.magics_manager.registry.get("ScriptMagics")
        if not scripts or magic_name not in ("script", *scripts.script_magics):
            return
        text = line if magic_name == "script" else f"{magic_name} {line}"
        how, command = scripts.shebang.parser.parse_known_args(arg_split(text, posix=True))
        if how.raise_error and command and not shutil.which(command[0]):
            raise CommandFailedError(
                127, f"%%{magic_name}", f"needs {command[0]}, which is missing"
            )

    def _extend_run(self) -> None:
        """Let ``%run`` find files beside the notebook, and record what it reads."""
        run = self.find_line_magic("run")
        if not isinstance(run, partial):
            extended = update_wrapper(partial(run, file_finder=self._find), run)
            self.register_magic_function(extended, "line", "run")

    def _find(self, name: str) -> str:
        """Return the path of a script in the working folder, or else beside the notebook."""
        try:
            return get_py_filename(name)
        except OSError:
            found = Path(os.environ.get(BESIDE, "."), name)
            found = found if found.is_file() else found.with_name(f"{found.name}.py")
            if not found.is_file():
                raise
        found = found.resolve()
        self.reads[str(found)] = hashlib.sha256(found.read_bytes()).hexdigest()
        return str(found)

    def find_user_code(self, target: str, *arguments: object, **options: object) -> str:
        """Return the code that ``%load`` and similar magics name, also beside the notebook."""
        with suppress(OSError):  # the target may be lines of the history, or a variable
            target = self._find(target)
        return super().find_user_code(target, *arguments, **options)

    def safe_execfile(
        self, fname: str, *where: dict, exit_ignore: bool = False, **options: object
    ) -> None:
        """Run a script. When it fails, the cell fails, too."""
        with suppress(*[SystemExit] if exit_ignore else []):
            super().safe_execfile(fname, *where, **options | {"raise_exceptions": True})

    def safe_run_module(self, mod_name: str, where: dict) -> None:
        """Run a module. When it fails, the cell fails, too."""
        where.update(runpy.run_module(str(mod_name), run_name="__main__", alter_sys=True))


class Kernel(ipkernel.IPythonKernel):
    """IPython's kernel, with replies that hold a cell's error and the files it has read."""

    shell_class = Type(ZMQInteractiveShell)

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        # After the installed packages: a json.py beside a notebook must not replace Python's.
        sys.path += ["", os.environ[BESIDE]]
        # Otherwise ZeroMQ drops messages that are sent faster than they are read.
        out = self.iopub_thread
        out.schedule(lambda: out.socket.setsockopt(zmq.XPUB_NODROP, 1))

    async def do_execute(self, *arguments: object, **options: object) -> dict[str, Any]:
        """Execute a cell. The reply also holds ``failure`` and ``reads``."""
        self.shell.failure = None
        reply = await super().do_execute(*arguments, **options)
        return reply | {"failure": self.shell.failure, "reads": self.shell.reads}

    async def do_shutdown(self, restart: bool) -> dict[str, Any]:
        """End the output of cells: from now on the runner reads the pipe."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, OutStream):  # a cell may have replaced it
                stream.leave()
        return super().do_shutdown(restart)


def _sayable(error: BaseException) -> BaseException:
    """Return an exception, or one of the same name if it cannot show its message."""
    try:
        str(error)
    except Exception:
        named = type(type(error).__name__, (Exception,), {"__module__": type(error).__module__})
        return named(text_of(error)).with_traceback(error.__traceback__)
    return error


@contextmanager
def _named_after(magic: str, line: str) -> Iterator[None]:
    try:
        yield
    except CommandFailedError as error:
        if line.strip() and line.strip() in error.cmd:
            error.cmd = magic
        raise
    except SystemExit as end:
        if not magic.startswith("%run "):
            raise
        if end.code in (None, 0):
            return
        status = end.code if isinstance(end.code, int) else 1
        reason = "" if isinstance(end.code, int) else f"ended with: {end.code}"
        raise CommandFailedError(status, magic, reason) from None
