import os
from pathlib import Path

import pytest

from support.refusals import refused
from taxi_lib.atomic_files import (
    copy_into,
    fingerprint,
    newest_first,
    replacing,
    sha256_of,
    write_text,
)
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


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(ValueError, match="half way"), replacing(path) as partial:
        partial.write_text("ne")
        raise ValueError("half way")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_half_a_character_is_written_as_its_escape(tmp_path: Path):
    write_text(tmp_path / "file", "half: \ud83d")
    assert (tmp_path / "file").read_text() == r"half: \ud83d"


def test_a_copy_is_refused_when_its_file_was_changed(tmp_path: Path):
    (tmp_path / "file").write_text("text")
    before = fingerprint(tmp_path / "file")
    assert copy_into(tmp_path / "file", tmp_path / "a", before).read_text() == "text"
    (tmp_path / "file").write_text("other text")
    with refused(TaxiError, "file was changed while it was to be used again"):
        copy_into(tmp_path / "file", tmp_path / "b", before)
    assert not (tmp_path / "b").exists()


def test_a_file_that_cannot_be_read_has_no_fingerprint(tmp_path: Path):
    assert fingerprint(tmp_path) is None and fingerprint(tmp_path / "nowhere") is None


def test_two_contents_are_not_one_that_is_cut_elsewhere():
    assert sha256_of("ab", "c") != sha256_of("a", "bc")
    assert sha256_of("ab") == sha256_of(b"ab")


def test_files_are_sorted_by_time_and_those_that_are_gone_come_last(tmp_path: Path):
    paths = [tmp_path / name for name in ("old", "new", "gone")]
    for time, path in enumerate(paths[:2]):
        path.touch()
        os.utime(path, (time + 1, time + 1))
    assert newest_first(paths) == [tmp_path / "new", tmp_path / "old", tmp_path / "gone"]
