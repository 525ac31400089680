"""Pictures that a page shows: put into it, so that it needs no other file and asks nobody."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from taxi_lib.runner.html.sanitiser import as_data

LARGEST = 5_000_000  # bytes of one picture beside a notebook
_IN_ALL = 20_000_000  # bytes of all of them on a page
_BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}


class Pictures:
    """Finds the pictures that prose and outputs name.

    Parameters
    ----------
    *folders : pathlib.Path
        Where they may lie: the notebook's folder and that of its run, and below.
    """

    def __init__(self, *folders: Path) -> None:
        self.folders, self.left = [folder.resolve() for folder in folders], _IN_ALL

    def find(self, address: str, attachments: Mapping[str, Mapping[str, str]]) -> str | None:
        """Return a picture as a ``data:`` address, or None when the page cannot have it.

        Parameters
        ----------
        address : str
            As it is written: ``"plots/map.png"``, ``"attachment:map.png"``.
        attachments : mapping of str to mapping of str to str
            What was pasted into the cell: base64 by type, by name.
        """
        scheme, host, path, *_ = urlsplit(address)
        if scheme == "attachment":
            kinds = attachments.get(unquote(path), {}).items()
            shown = (f"data:{kind};base64,{''.join(str(text).split())}" for kind, text in kinds)
            return next(shown, None)
        if scheme or host or not path:
            return None
        found = (self._read(folder, unquote(path)) for folder in self.folders)
        return next(filter(None, found), None)

    def _read(self, folder: Path, name: str) -> str | None:
        try:
            path = (folder / name).resolve()  # a link may lead outside
            size = path.stat().st_size if path.is_file() else 0
            if not path.is_relative_to(folder) or not 0 < size <= min(LARGEST, self.left):
                return None
            content = path.read_bytes()
        except (OSError, ValueError):  # a name that no file can have
            return None
        kind = _kind(content)
        if not kind:
            return None
        self.left -= size
        return as_data(kind, content)


def _kind(content: bytes) -> str | None:
    """Return what kind of picture it is by its content: a name proves nothing."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"<" and b"<svg" in content[:2000]:
        return "image/svg+xml"
    return next((k for start, k in _BEGINNINGS.items() if content.startswith(start)), None)
