"""README, CONTRIBUTING and docs: what they name is there."""

import ast
import re
import runpy
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer

from taxi_lib.__main__ import app

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
COMMANDS = typer.main.get_command(app).commands
MOST_BYTES_OF_A_PICTURE = 60_000


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@EVERY_PAGE
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if target.startswith(("https://", "http://127.0.0.1")):
            continue
        path, _, heading = unquote(target).partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not heading or heading in anchors(file), target


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EVERY_PAGE
def test_every_file_of_ours_that_a_page_names_exists(page: Path):
    folders = "benchmarks|docs|notebooks|taxi_lib|tests|tools"
    for path in re.findall(rf"(?<![\w/(])(?:{folders})/[\w/]*(?:\.\w+)?(?![\w…])", text_of(page)):
        assert (ROOT / path).exists(), path


@EVERY_PAGE
def test_every_make_target_that_a_page_names_exists(page: Path):
    (phony,) = re.findall(r"^\.PHONY: (.+)$", text_of(ROOT / "Makefile"), flags=re.MULTILINE)
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", text_of(page), flags=re.MULTILINE))
    assert named <= set(phony.split())


@EVERY_PAGE
def test_every_command_and_option_that_a_page_names_exists(page: Path):
    for command, rest in re.findall(r"-m taxi_lib ([a-z]+)([^`\n#|]*)", text_of(page)):
        assert command in COMMANDS
        known = {option for param in COMMANDS[command].params for option in param.opts}
        assert set(re.findall(r"(?<= )--?[a-z][a-z-]*", rest)) <= known, rest


def test_every_option_of_run_is_in_its_reference():
    reference = text_of(ROOT / "docs" / "running_notebooks.md")
    options = [option for p in COMMANDS["run"].params for option in p.opts if p.name != "notebooks"]
    assert [option for option in options if f"`{option}" not in reference] == ["--parameter"]


def test_the_readme_is_read_in_five_minutes():
    assert len(text_of(README).splitlines()) <= 120


def test_the_readme_lists_the_lessons_in_order_and_says_how_long_each_takes():
    rows = re.findall(
        r"^\| (\d+) \| \[(.+)\]\((.+)\) \| .+ \| (\d+) \|$", text_of(README), flags=re.MULTILINE
    )
    lessons = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    assert [ROOT / path for _, _, path, _ in rows] == lessons
    for (number, name, _, seconds), lesson in zip(rows, lessons, strict=True):
        assert lesson.stem == f"{int(number):02}_{name}"
        assert f"about {seconds} seconds" in text_of(lesson)


def test_the_readme_shows_the_rooms_that_are_there():
    tree = re.search(r"^taxi_lib/.*?^\S", text_of(README), flags=re.MULTILINE | re.DOTALL)[0]
    shown = {
        name.strip("/")
        for line in tree.splitlines()[1:-1]
        for name in re.split(r" {3,}", line.strip())[0].split()
    }
    library = ROOT / "taxi_lib"
    there = {path.stem for path in library.glob("[a-z]*.py")}
    there |= {path.parent.name for path in library.glob("[a-z]*/__init__.py")}
    assert shown == there


@EVERY_PAGE
def test_pictures_are_small_and_described(page: Path):
    for described, path in re.findall(r"!\[(.*?)\]\((.+?)\)", text_of(page)):
        assert len(described.split()) > 8, path
        assert (page.parent / path).stat().st_size < MOST_BYTES_OF_A_PICTURE


def test_the_page_of_then_and_now_holds_what_the_lessons_say():
    tool = runpy.run_path(str(ROOT / "tools" / "then_and_now.py"))
    assert text_of(tool["PAGE"]) == tool["collect"](ROOT / "notebooks"), (
        "run python tools/then_and_now.py"
    )


def messages() -> list[str]:
    """Return the messages that the page of failures quotes."""
    rows = re.findall(r"^\|.+\|$", text_of(ROOT / "docs" / "when_something_fails.md"), re.MULTILINE)
    shown = [re.split(r"(?<!\\)\|", row)[2] for row in rows]
    quoted = [a or b for cell in shown for a, b in re.findall(r"``(.+?)``|`(.+?)`", cell)]
    return [message.strip() for message in quoted if len(message) > 40]


@pytest.fixture(scope="module")
def texts() -> list[re.Pattern[str]]:
    """Return the texts in the library of two words or more, with a group for each gap."""
    found = set()
    for path in (ROOT / "taxi_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "%s" for v in node.values]
            else:
                parts = [node.value] if isinstance(getattr(node, "value", None), str) else []
            text = "".join(parts)
            if len(text.replace("%s", " ").split()) > 1:
                found.add(re.escape(text).replace("%s", "(.+?)"))
    return [re.compile(text) for text in found]


@pytest.mark.parametrize("message", messages())
def test_the_library_says_what_the_page_of_failures_quotes(
    message: str, texts: list[re.Pattern[str]]
):
    said = set()
    for match in (match for text in texts for match in text.finditer(message)):
        gaps = (range(*match.span(number + 1)) for number in range(match.re.groups))
        said |= set(range(*match.span())).difference(*gaps)
    assert len(said) > len(message) / 3, "word for word, but for names and values"
