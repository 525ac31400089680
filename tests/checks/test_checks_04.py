"""The checks of lesson 4: each answer gets the sentence that fits it."""

from pathlib import Path

import pytest

from support.exercises import cell, said
from taxi_lib.checks.verdicts import Box

FORMULAS = {
    "right": ("right", "removes the same share", "1 - share ** tries", 41),
    "counted by chance": ("right", "removes the same share", "1 - share ** tries", 36),
    "what fails": ("wrong", "*all* fail", "share ** tries", 41),
    "added up": ("wrong", "do not add up", "tries * (1 - share)", 41),
    "added up to one": ("wrong", "do not add up", "min(1, tries * (1 - share))", 41),
    "one try": ("wrong", "of one try", "1 - share", 41),
    "all succeed": ("wrong", "all *succeed*", "(1 - share) ** tries", 41),
    "one try more": ("wrong", "not beside them", "1 - share ** (tries + 1)", 41),
    "one try less": ("wrong", "five calls at most", "1 - share ** (tries - 1)", 41),
    "in per cent": ("wrong", "in per cent", "100 * (1 - share ** tries)", 41),
    "a constant": ("wrong", "not the share that is served", "1 - 0.7 ** 5", 41),
    "single tries counted": ("wrong", "too far from it", "1 - share ** tries", 15),
    "what failed counted": ("wrong", "too far from it", "1 - share ** tries", 8),
    "all of them counted": ("wrong", "hardly ever are all calls served", "1 - share ** tries", 50),
    "rounded": ("wrong", "Is it rounded?", "round(1 - share ** tries, 2)", 41),
    "a share": ("wrong", "How many of 50", "1 - share ** tries", 0.83),
    "more than all": ("wrong", "How many of 50", "1 - share ** tries", 83),
    "a misspelled name": ("raised", "Line 2 of your cell", "1 - part ** tries", 41),
    "not yet measured": ("not attempted", "check.hint(1)", "1 - share ** tries", ...),
    "untouched": ("not attempted", "check.hint(1)", ..., 41),
}


@pytest.mark.parametrize("case", FORMULAS)
def test_a_formula_is_tried_with_other_numbers_than_those_of_the_text(case: str):
    status, sentence, formula, served = FORMULAS[case]
    body = "..." if formula is ... else f"return {formula}"
    box = said("04", 1, cell(f"def share_served(share, tries):\n    {body}\n"), served)
    assert box.status == status and sentence in box.text


READ = "old = [l.split(',') for l in sheet.read_text().split()] if sheet.exists() else []"
WRITE = "sheet.write_text(''.join(f'{a},{b},{c}\\n' for a, b, c in {rows}))"
ROW = "[[month, trips, rmse]]"
OTHERS = "[row for row in old if row[0] != month]"
SHEETS = {
    "right": ("right", "changes nothing", READ, WRITE.replace("{rows}", f"{OTHERS} + {ROW}")),
    "appends": ("wrong", "has two lines", READ, WRITE.replace("{rows}", f"old + {ROW}")),
    "begins anew": ("wrong", "are gone", "pass", WRITE.replace("{rows}", ROW)),
    "keeps the old one": (
        "wrong",
        "has the old one",
        READ,
        f"if month not in [row[0] for row in old]: {WRITE.replace('{rows}', f'old + {ROW}')}",
    ),
    "with a heading": (
        "wrong",
        "the line `month,trips,rmse`",
        READ,
        WRITE.replace("{rows}", f"[['month', 'trips', 'rmse']] + {OTHERS} + {ROW}"),
    ),
    "without the trips": (
        "wrong",
        "not the number of trips",
        READ,
        WRITE.replace("{rows}", f"{OTHERS} + [[month, 1, rmse]]"),
    ),
    "elsewhere": ("wrong", "nothing in the file", "sheet = Path('/dev/null')", "pass"),
    "remembers in the kernel": (
        "wrong",
        "are gone",
        "known[month] = [month, trips, rmse]",
        WRITE.replace("{rows}", "known.values()"),
    ),
    "no sheet yet": ("raised", "FileNotFoundError", "old = sheet.read_text()", "pass"),
    "untouched": ("not attempted", "check.hint(2)", "...", ""),
}


@pytest.mark.parametrize("case", SHEETS)
def test_a_sheet_has_one_line_for_each_month(case: str):
    status, sentence, *lines = SHEETS[case]
    source = "\n    ".join(["def add_score(sheet, month, trips, rmse):", *lines])
    box = said("04", 2, cell(source, Path=Path, known={}))
    assert box.status == status and sentence in box.text


TRAIN = "python train.py a.parquet b.parquet http://127.0.0.1:9/fact"
LOG = ">> nightly.log 2>&1"
DONE = 'echo "The nightly training is done."'
SCRIPTS = {
    "stops": ("right", "learns the truth", f"set -e\n{TRAIN} {LOG}\n{DONE}\n"),
    "and": ("right", "learns the truth", f"{TRAIN} {LOG} && {DONE}"),
    "or": ("right", "learns the truth", f"{TRAIN} {LOG} || exit 1\n{DONE}\n"),
    "if": ("right", "learns the truth", f"if {TRAIN} {LOG}\nthen {DONE}\nelse exit 1\nfi\n"),
    "the lesson's": ("wrong", "still ends with status 0", f"{TRAIN} {LOG}\n{DONE}\n"),
    "the colleague's": ("wrong", "right before it", f"{TRAIN} {LOG}\n{DONE}; exit $?\n"),
    "tee": (
        "wrong",
        "status of its *last*",
        f"set -e\n{TRAIN} 2>&1 | tee -a nightly.log\n{DONE}\n",
    ),
    "always bad": ("wrong", "A good night ends", f"{TRAIN} {LOG}\n{DONE}\nexit 1\n"),
    "no log": ("wrong", "is not in `nightly.log`", f"{TRAIN} && {DONE}"),
    "no errors": ("wrong", "its errors are missing", f"{TRAIN} >> nightly.log && {DONE}"),
    "a new log": ("wrong", "only its last night", f"{TRAIN} > nightly.log 2>&1 && {DONE}"),
    "not done": ("wrong", 'nothing says "done"', f"{TRAIN} {LOG}"),
    "too early": ("wrong", 'still says "done"', f"{DONE}\n{TRAIN} {LOG}\n"),
    "remembered": ("wrong", 'still says "done"', f"{TRAIN} {LOG}\ns=$?\n{DONE}\nexit $s\n"),
    "a forgotten f": ("wrong", "begins with `f`", f"{TRAIN} {{month}} {LOG} && {DONE}"),
    "another shell's": ("wrong", "It says: ", f"set -o pipefail || exit 2\n{TRAIN}\n"),
    "no training": ("wrong", "has not run", f"{DONE}\n"),
    "not a text": ("wrong", "a text in quotes is asked for", 3),
    "untouched": ("not attempted", "check.hint(3)", ...),
}


@pytest.mark.parametrize("case", SCRIPTS)
def test_a_script_is_run_through_a_bad_night_and_a_good_one(case: str):
    status, sentence, script = SCRIPTS[case]
    box: Box = said("04", 3, script)
    assert box.status == status and sentence in box.text
