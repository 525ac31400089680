"""How an error of the library has to read."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from taxi_lib.errors import TaxiError


@contextmanager
def refused(kind: type[TaxiError], *parts: str) -> Iterator[None]:
    """Expect an error of exactly this type: one sentence that holds these parts, in this order."""
    with pytest.raises(TaxiError) as refusal:
        yield
    sentence = str(refusal.value)
    assert type(refusal.value) is kind, sentence
    assert sentence.endswith((".", "?")) and ". " not in sentence and "\n" not in sentence
    places = [sentence.find(part) for part in parts]
    assert -1 not in places and places == sorted(places), sentence
