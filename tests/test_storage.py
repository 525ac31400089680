from pathlib import Path

import pytest

from support.refusals import refused
from taxi_lib.atomic_files import write_text
from taxi_lib.errors import TaxiError


@pytest.mark.parametrize("length", [1, 235, 255])
def test_a_file_may_have_any_name_that_the_disk_allows(tmp_path: Path, length: int):
    write_text(tmp_path / ("x" * length), "text")
    assert [path.name for path in tmp_path.iterdir()] == ["x" * length]


@pytest.mark.parametrize("name", ["x" * 256, "ü" * 128, f"{'x' * 256}/file"])
def test_a_name_that_is_too_long_is_not_called_a_full_disk(tmp_path: Path, name: str):
    with refused(TaxiError, name, "File name too long", "choose a shorter name"):
        write_text(tmp_path / name, "text")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with refused(TaxiError, "file/inside cannot be written", "choose a folder"):
        write_text(tmp_path / "file" / "inside", "text")
