"""The server of the runs' pages: what it shows, and what it keeps to itself."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from taxi_lib.services.pages import page_of, run_pages
from taxi_lib.services.ports import free_port


@pytest.fixture
def pages(runs_dir: Path) -> Iterator[str]:
    run = runs_dir / "2026-01-01" / "01_step"
    run.mkdir(parents=True)
    for name in ("summary.json", "index.html", "01_step.html", "01_step.log", "01_step/t.parquet"):
        (run.parent / name).write_text(f"<p>{name}</p>")
    (run.parent / ".hidden.json").write_text("{}")
    (runs_dir / "mlflow.db").write_text("a store")
    (runs_dir / "prefect").mkdir()
    (runs_dir / "prefect" / "profile.json").write_text("{}")
    (runs_dir.parent / "secret.html").write_text("outside")
    with run_pages(free_port()) as address:
        yield address


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/", 'href="2026-01-01/index.html"'),
        ("/2026-01-01/", "index.html"),
        ("/2026-01-01/01_step.html", "01_step.html"),
        ("/2026-01-01/01_step.log", "01_step.log"),
    ],
)
def test_what_a_run_left_to_be_read_is_shown(pages: str, path: str, text: str):
    answer = httpx.get(f"{pages}{path}")
    assert answer.status_code == 200 and text in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/mlflow.db",
        "/prefect/profile.json",
        "/2026-01-01/.hidden.json",
        "/2026-01-01/01_step/t.parquet",
        "/2026-01-01/nothing.html",
        "/%2e%2e/secret.html",
        "/2026-01-01/..%2f..%2fsecret.html",
        "//etc/hostname",
    ],
)
def test_nothing_else_is_shown(pages: str, path: str):
    assert httpx.get(f"{pages}{path}").status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(pages: str, method: str):
    assert httpx.request(method, f"{pages}/2026-01-01/index.html").status_code == 405


def test_a_page_from_elsewhere_may_not_ask(pages: str):
    assert httpx.get(pages, headers={"Origin": "http://example.org"}).status_code == 403


def test_a_file_of_a_run_has_an_address_and_others_have_none(runs_dir: Path, tmp_path: Path):
    page = page_of(runs_dir / "one" / "01 a.html", 4201)
    assert page == "http://127.0.0.1:4201/one/01%20a.html"
    assert page_of(tmp_path / "elsewhere.html") is None
