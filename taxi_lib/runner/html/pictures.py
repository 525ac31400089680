"""Pictures put into a page, so that it needs no other file and asks no server."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from taxi_lib.runner.html.sanitiser import data_address

LARGEST = 5_000_000  # bytes of one picture beside a notebook
_LARGEST_IN_TOTAL = 20_000_000  # bytes of all of them in a page
_BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}


class Pictures:
    """Finds the pictures that prose and outputs name, in some folders and below them."""

    def __init__(self, *folders: Path) -> None:
        self.folders = [folder.resolve() for folder in folders]
        self.left = _LARGEST_IN_TOTAL

    def find(self, address: str, attachments: object) -> str | None:
        """Return a picture as a ``data:`` address, or None when the page cannot have it.

        ``address`` may be ``"plots/map.png"``, or ``"attachment:map.png"`` for a picture that was
        pasted into the cell: base64 by type, by name.
        """
        try:
            scheme, host, path, *_ = urlsplit(address)
            path = unquote(path)
            if scheme == "attachment":
                kind, content = next(iter(attachments[path].items()))
                return f"data:{kind};base64,{''.join(content.split())}"
        except (ValueError, LookupError, TypeError, AttributeError, StopIteration):
            return None  # no address, or no attachment of that name
        if scheme or host or not path:
            return None
        found = (self._read(folder, path) for folder in self.folders)
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
        return data_address(kind, content)


def _kind(content: bytes) -> str | None:
    """Return the type of a picture by its content: a file's name proves nothing."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"<" and b"<svg" in content[:2000]:
        return "image/svg+xml"
    return next((k for start, k in _BEGINNINGS.items() if content.startswith(start)), None)
