"""The checks of lesson 17: each answer gets the sentence that fits it."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from support.exercises import asked, cell, said
from taxi_lib.checks import lesson_17

WORKERS = {
    "right": ("right", "last half minute is lost", 39),
    "right as a float": ("right", "37.5 workers would do", 39.0),
    "by the seconds alone": ("wrong", "cut in two", 38),
    "the minutes": ("wrong", "with how many workers", 19.5),
    "not rounded": ("wrong", "Workers are whole", 37.5),
    "a minute each": ("wrong", "if each notebook took a minute", 25),
    "rounded down": ("wrong", "need 21 minutes", 37),
    "too many": ("wrong", "fewer would do", 45),
    "none": ("wrong", "wait for ever", 0),
    "a text": ("wrong", "a number is asked for", "39"),
    "untouched": ("not attempted", "check.hint(1)", ...),
}


@pytest.mark.parametrize("case", WORKERS)
def test_the_fewest_workers_that_are_done_in_time(case: str):
    status, sentence, answer = WORKERS[case]
    box = said("17", 1, answer)
    assert box.status == status and sentence in box.text


def test_the_same_number_of_workers_twice_is_explained_further():
    check = asked("17")
    first, second = (check.judge(1, 38) for _ in range(2))
    assert second.text.startswith(first.text) and "How many whole notebooks" in second.text


def sums(part: pd.DataFrame) -> pd.DataFrame:
    squared = part.assign(square=part["minutes"] ** 2).groupby("pair")
    added = squared[["minutes", "square"]].sum().rename(columns={"minutes": "sum"})
    return added.assign(count=squared.size())


def spread(added: pd.DataFrame, less: int = 1) -> pd.DataFrame:
    mean = added["sum"] / added["count"]
    variance = (added["square"] - added["count"] * mean**2) / (added["count"] - less)
    return pd.DataFrame({"mean": mean, "std": variance**0.5})


def merged(summaries: list[pd.DataFrame]) -> pd.DataFrame:
    return spread(pd.concat(summaries).groupby(level=0).sum())


def each(part: pd.DataFrame) -> pd.DataFrame:
    return part.groupby("pair")["minutes"].agg(["mean", "std"])


def averaged(summaries: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(summaries).groupby(level=0).mean()


def with_mean_right(summaries: list[pd.DataFrame], std: pd.Series) -> pd.DataFrame:
    return merged(summaries).assign(std=std)


def by_deviation(part: pd.DataFrame) -> pd.DataFrame:
    return part.groupby("pair")["minutes"].agg(["count", "sum", "std"])


def back_to_squares(summaries: list[pd.DataFrame]) -> pd.DataFrame:
    """Merge what has no deviation where a part has a single trip of a pair."""
    found = pd.concat(summaries)
    mean = found["sum"] / found["count"]
    square = (found["count"] - 1) * found["std"] ** 2 + found["count"] * mean**2
    return spread(found.assign(square=square).groupby(level=0).sum())


def within(summaries: list[pd.DataFrame]) -> pd.DataFrame:
    found = pd.concat(summaries)
    free = found["count"] - 1
    found = found.assign(square=free * found["std"].fillna(0) ** 2, free=free)
    added = found.groupby(level=0).sum()
    std = (added["square"] / added["free"]) ** 0.5
    return pd.DataFrame({"mean": added["sum"] / added["count"], "std": std})


def both(part: pd.DataFrame) -> pd.DataFrame:
    return sums(part).join(each(part))


SPREADS: dict[str, tuple[str, Callable, Callable]] = {
    "right": ("Three numbers for each pair", sums, merged),
    "right, in another order": (
        "Three numbers for each pair",
        sums,
        lambda found: merged(found).sort_index(ascending=False),
    ),
    "mean of means": ("the mean of the parts' means", each, averaged),
    "mean of deviations": (
        "the mean of the parts' standard deviations",
        both,
        lambda found: with_mean_right(found, averaged(found)["std"]),
    ),
    "a single trip has no deviation": (
        "the standard deviations are not",
        by_deviation,
        lambda found: back_to_squares(found).fillna(0),
    ),
    "a single trip is lost": (
        "not those of all trips",
        lambda part: by_deviation(part).dropna(),
        back_to_squares,
    ),
    "within the parts": ("their means differ, too", by_deviation, within),
    "divided by the count": (
        "a little too small",
        sums,
        lambda found: spread(pd.concat(found).groupby(level=0).sum(), less=0),
    ),
    "variance": (
        "That is the variance",
        sums,
        lambda found: with_mean_right(found, merged(found)["std"] ** 2),
    ),
    "another deviation": (
        "the standard deviations are not",
        sums,
        lambda found: with_mean_right(found, merged(found)["mean"]),
    ),
    "another mean": ("not those of all trips", sums, lambda found: merged(found) * 2),
    "all trips": ("nearly all trips would travel", lambda part: part, merged),
    "all trips in lists": (
        "nearly all trips would travel",
        lambda part: part.groupby("pair")["minutes"].agg(list).to_frame(),
        lambda found: each(pd.concat(found).explode("minutes").astype(float).reset_index()),
    ),
    "added with a plus": ("Some pairs have no number", sums, lambda f: spread(f[0] + f[1] + f[2])),
    "the first part only": ("whose index is not these pairs", sums, lambda f: merged(f[:1])),
    "no deviation": ("no column `std`", sums, lambda f: merged(f)[["mean"]]),
    "no table": ("a DataFrame is asked for", sums, lambda f: merged(f)["mean"]),
    "no summary": ("a DataFrame is asked for", lambda part: part["minutes"].mean(), merged),
}


@pytest.mark.parametrize("case", SPREADS)
def test_a_spread_is_judged_by_what_it_makes_of_other_parts(case: str):
    sentence, one, together = SPREADS[case]
    check = asked("17")
    boxes = [check.judge(2, one, together) for _ in range(2)]
    assert all(sentence in box.text for box in boxes)
    assert boxes[0].status == ("right" if case.startswith("right") else "wrong")


def test_a_summary_that_raises_is_shown_with_its_line():
    broken = cell("def summary(part):\n    return part.mystery\n")
    box = said("17", 2, broken, merged)
    assert box.status == "raised" and "Line 2 of your cell" in box.text


@pytest.mark.parametrize("answer", [..., cell('def merge(found):\n    """Say it."""\n    ...\n')])
def test_half_a_spread_is_not_an_attempt(answer: object):
    assert said("17", 2, sums, answer).status == "not attempted"


def to(name: Callable[[str, pd.DataFrame], str], **how: object) -> Callable[..., None]:
    """Return a function that keeps sums in a file that is named by part and sums."""

    def keep(part: str, sums: pd.DataFrame, folder: Path) -> None:
        sums.to_csv(folder / name(part, sums), **{"header": False} | how)

    return keep


def unless_there(part: str, sums: pd.DataFrame, folder: Path) -> None:
    if not (file := folder / f"{part}.csv").exists():
        sums.to_csv(file, header=False)


def by_turns() -> Callable[[str, pd.DataFrame], str]:
    """Return a name that is another one each time, as that of a process is."""
    numbers = itertools.count()
    return lambda part, sums: f"{part}-{next(numbers)}.csv"


KEPT: dict[str, tuple[str, Callable[..., None]]] = {
    "right": ("idempotent", to(lambda part, sums: f"{part}.csv")),
    "right, with a prefix": ("idempotent", to(lambda part, sums: f"sums-{part}.csv", mode="w")),
    "as it was": ("it counts twice", to(lambda part, sums: "sums.csv", mode="a")),
    "a new name each time": ("it counts twice", to(by_turns())),
    "appended to its own": ("it counts twice", to(lambda part, sums: f"{part}.csv", mode="a")),
    "one file for all": ("of both together are not there", to(lambda part, sums: "sums.csv")),
    "by content": (
        "only one of them counts",
        to(lambda part, sums: f"{hash(sums.to_csv())}.csv"),
    ),
    "the first one stays": ("the old sums are still there", unless_there),
    "with a heading": ("no heading", to(lambda part, sums: f"{part}.csv", header=True)),
    "without the pair": (
        "the pair, which is the index, first",
        to(lambda part, sums: f"{part}.csv", index=False),
    ),
    "another ending": ("no file that ends in", to(lambda part, sums: f"{part}.txt")),
    "nothing": ("no file that ends in", lambda part, sums, folder: part),
}


@pytest.mark.parametrize("case", KEPT)
def test_sums_are_judged_by_what_is_there_after_a_bad_night(case: str):
    sentence, keep = KEPT[case]
    box = said("17", 3, keep)
    assert sentence in box.text
    assert box.status == ("right" if case.startswith("right") else "wrong")


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("appended to its own", "goes to the same file"),
        ("as it was", "goes to the same file"),
        ("a new name each time", "be the same at the second time"),
    ],
)
def test_the_second_sentence_says_whether_the_name_or_the_writing_is_wrong(
    case: str, sentence: str
):
    check = asked("17")
    assert sentence in [check.judge(3, KEPT[case][1]) for _ in range(2)][-1].text


def test_sums_that_nobody_kept_differently_are_not_an_attempt():
    assert said("17", 3, ...).status == "not attempted"


def test_parts_differ_in_size_and_some_pairs_are_not_in_all_of_them():
    parts = lesson_17._parts(np.random.default_rng(1))
    pairs = [set(part["pair"]) for part in parts]
    assert all((part["pair"].value_counts() == 1).any() for part in parts)
    assert pd.concat(parts)["pair"].value_counts().min() > 1
    assert len(set.intersection(*pairs)) < len(set.union(*pairs))
    assert max(map(len, parts)) > 5 * min(map(len, parts))


def test_there_is_a_hint_for_each_exercise():
    assert set(lesson_17.HINTS) == {1, 2, 3}
