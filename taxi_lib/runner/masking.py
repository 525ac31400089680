"""Secrets: looked up by their reference, and hidden in everything that a run shows or keeps.

A notebook's inputs hold the reference, so a new secret in the same place makes nothing stale.
"""

import html
import json
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import quote, quote_plus

from taxi_lib.errors import ContractError

MASK = "********"
SHORTEST = 6  # characters of a secret: shorter ones turn up in names and numbers by chance


def resolve_secret(name: str, reference: str) -> str:
    """Return the secret of a parameter that a reference leads to.

    The reference is ``env:VARIABLE``, or ``block:NAME`` for a Secret block on Prefect's server. A
    secret that is not there, or that cannot be hidden, is refused.
    """
    secret = _find(name, reference)
    if fault := _not_to_hide(secret, name):
        raise ContractError(
            f"{name} is kept in {reference}, which holds {fault}: hiding that would garble "
            "other text, so keep a longer secret there."
        )
    return secret


def _not_to_hide(secret: str, name: str) -> str:
    """Return why hiding a secret would hide more than itself; empty when it would not."""
    text = secret.strip().casefold()
    if len(text) < SHORTEST:
        return f"fewer than {SHORTEST} characters" if text else "nothing"
    if text in name.casefold() or text in _words_of_notebooks():
        return "a word that notebook files contain"
    return ""


@cache
def _words_of_notebooks() -> str:
    """Return the names and values of the notebook format, as its schema lists them."""
    from nbformat import v4

    schema = Path(v4.__file__).with_name(v4.nbformat_schema[None, None])
    more = "text/plain text/html image/png stdout stderr python3"
    return f"{schema.read_text(encoding='utf-8')} {more}".casefold()


def _find(name: str, reference: str) -> str:
    place, _, key = reference.partition(":")
    if place == "env":
        if key not in os.environ:
            raise ContractError(
                f"{name} is kept in the environment variable {key}, which is not set: set it."
            )
        return os.environ[key]
    from prefect.blocks.system import Secret

    try:
        return str(Secret.load(key, _sync=True).get())
    except ValueError as error:
        raise ContractError(
            f"{name} is kept in the Secret block {key!r}, which is not on Prefect's server: "
            "save it there."
        ) from error


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return a text with every secret in it hidden, however it is spelled there."""
    return _any_of(_all_spellings(secrets)).sub(MASK, text)


def mask_all(value: object, secrets: Iterable[str]) -> object:
    """Return a value with every secret hidden in its texts, lists and mappings."""
    if isinstance(value, str):
        return mask(value, secrets)
    if isinstance(value, list):
        return [mask_all(part, secrets) for part in value]
    if isinstance(value, dict):
        parts = {mask(key, secrets): mask_all(part, secrets) for key, part in value.items()}
        return type(value)(parts)
    return value


class StreamMask:
    """Hides secrets in a text that comes in pieces, even a secret that is split between two."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self.spellings = _all_spellings(secrets)
        self.any = _any_of(self.spellings)
        self.held = ""

    def feed(self, piece: str) -> str:
        """Return what can be shown now: all but an end that may be the beginning of a secret."""
        text = self.held + piece
        longest = len(self.spellings[0]) if self.spellings else 1
        ends = range(max(0, len(text) - longest + 1), len(text))
        cut = next((at for at in ends if self._may_begin(text[at:])), len(text))
        # A secret that is whole is not cut in two.
        cut = min([cut, *(found.start() for found in self.any.finditer(text) if found.end() > cut)])
        self.held = text[cut:]
        return self.any.sub(MASK, text[:cut])

    def flush(self) -> str:
        """Return what was held back; nothing comes after it."""
        text, self.held = self.held, ""
        return self.any.sub(MASK, text)

    def _may_begin(self, end: str) -> bool:
        return any(spelling.startswith(end) for spelling in self.spellings)


def _any_of(spellings: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, spellings)) or "(?!)")


def _all_spellings(secrets: Iterable[str]) -> list[str]:
    """Return all spellings of some secrets, the longest first."""
    spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
    return sorted(spellings - {""}, key=len, reverse=True)


def _spellings(secret: str) -> Iterator[str]:
    """Yield how Python, JSON, HTML and an address show a secret, and each line of a long one."""
    long_lines = [line for line in secret.splitlines() if len(line) > 7]
    for text in (secret, secret.strip(), *long_lines):
        yield from (text, html.escape(text), quote(text), quote_plus(text), repr(text)[1:-1])
        yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
