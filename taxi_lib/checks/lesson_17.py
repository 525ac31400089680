"""Lesson 17: how many workers, a spread from partial sums, and sums that are kept only once."""

from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from taxi_lib.checks.answers import UnreadableError, function, number, table
from taxi_lib.checks.verdicts import Right, Wrong

HINTS = {
    1: [
        "How many notebooks can one worker do in 20 minutes, one after the other?",
        "A notebook that is two thirds done when the time is up does not count.",
        "`minutes_for(500, workers, seconds=90)` says how long it takes: try 30, and go on.",
    ],
    2: [
        "Which numbers of two parts can be added up, and give the same as for all trips together?",
        "A mean needs a sum and a count. What does a variance need, besides these two?",
        "The sum of the squares. `pd.concat(summaries).groupby(level=0).sum()` adds all three up, "
        'if the index is the pair. `std` divides by the count less one, as `groupby("pair")` does.',
    ],
    3: [
        "Call the colleague's function twice for the same part. What is in the folder?",
        "If a part always writes to the same place, what happens at the second time?",
        "`all_sums` reads every file that ends in `.csv`. How would you name them?",
    ],
}

_NOTEBOOKS, _SECONDS, _MINUTES = 500, 90, 20


def q1(workers: object) -> Right | Wrong:
    """Judge the lowest number of workers that do all notebooks in time."""
    said = number(workers)
    each = 60 * _MINUTES // _SECONDS  # whole notebooks that a worker finishes
    right = -(-_NOTEBOOKS // each)
    if said == each * _SECONDS / 60:
        return Wrong("That is how many minutes it takes: with how many workers?")
    if said != int(said):
        return Wrong("Workers are whole: there is no part of one.", "Up or down, and why?")
    took = -(-_NOTEBOOKS // max(int(said), 1)) * _SECONDS / 60
    if said == right:
        return Right(
            f"Each does at most {each} notebooks, one after the other, in {took:g} minutes. By "
            "the seconds alone, 37.5 workers would do; but for each of them the last half minute "
            "is lost, because no whole notebook fits in. Longer steps can lose more."
        )
    return _mistaken_workers(int(said), right, took)


def _mistaken_workers(said: int, right: int, took: float) -> Wrong:
    """Return what is wrong with a number of workers."""
    seconds = _NOTEBOOKS * _SECONDS / (60 * _MINUTES)  # workers, if notebooks could be cut
    if said < 1:
        return Wrong("Without workers, the notebooks wait for ever.")
    if said == int(np.ceil(seconds)):
        return Wrong(
            "That many have seconds enough, if a notebook could be cut in two. "
            f"It cannot, so they need {took:g} minutes.",
            "How many whole notebooks does a worker finish in 20 minutes?",
        )
    if said == _NOTEBOOKS // _MINUTES:
        return Wrong("That would do if each notebook took a minute.", "Each takes 90 seconds.")
    if said < right:
        return Wrong(
            f"They need {took:g} minutes, and there are {_MINUTES}.",
            "The last wave takes as long as a full one, also if it is nearly empty.",
        )
    return Wrong(f"They are done after {took:g} minutes; fewer would do.", "Try one less.")


def q2(summary: object, merge: object) -> Right | Wrong:
    """Judge a mean and a standard deviation that are put together from summaries of parts."""
    one, together = function(summary), function(merge)
    parts = _parts(np.random.default_rng(SystemRandom().getrandbits(64)))
    summaries = [table(one(part.copy())) for part in parts]
    if any(map(_is_long, summaries, parts)):
        return Wrong(
            "A summary has more rows than its part has pairs, or more in a cell than a number: "
            "nearly all trips would travel.",
            "`groupby` gives one row for each pair: which numbers have to be in it?",
        )
    SystemRandom().shuffle(summaries)
    merged = table(together([found.copy() for found in summaries]))
    wrong = _misformed(merged, parts) or _misjudged(merged, parts)
    if wrong:
        return wrong
    return Right(
        "Three numbers for each pair travel, whatever the number of trips, and they can be added "
        "in any order: that is what makes a step fit for many machines. A mean of means, or of "
        "standard deviations, forgets how many trips each part had. (For numbers far from zero, "
        "squares lose digits; then sum the squares around a common mean.)"
    )


def _is_long(summary: pd.DataFrame, part: pd.DataFrame) -> bool:
    """Return whether a summary has more than a few numbers for each pair, such as lists."""
    return len(summary) > part["pair"].nunique() or "object" in map(str, summary.dtypes)


def _parts(rng: np.random.Generator) -> list[pd.DataFrame]:
    """Draw parts of very different sizes; each has one trip of a pair that others have more of."""
    sizes = {600: (range(1, 9), 11), 40: (range(1, 6), 8), 25: (range(4, 12), 1)}
    parts = []
    for size, (pairs, alone) in sizes.items():
        pair = np.concatenate([list(pairs) * 2, rng.choice(pairs, size), [alone]])
        minutes = rng.uniform(1, 20, len(pair)) + pair + 15 * (size < 100)
        order, labels = rng.permutation(len(pair)), rng.permutation(5 * len(pair))[: len(pair)]
        parts.append(pd.DataFrame({"pair": pair, "minutes": minutes}).iloc[order].set_axis(labels))
    return parts


def _misformed(merged: pd.DataFrame, parts: list[pd.DataFrame]) -> Wrong | None:
    """Return what is wrong with the form of the merged table."""
    if missing := [name for name in ("mean", "std") if name not in merged]:
        return Wrong(f"The merged table has no column `{missing[0]}`.")
    pairs = set(pd.concat(parts)["pair"])
    if set(merged.index) != pairs or len(merged) != len(pairs):
        return Wrong(
            f"There are {len(pairs)} pairs in the parts, and the merged table has "
            f"{len(merged)} rows, whose index is not these pairs.",
            "The index is the pair, once. What becomes of a pair that only one part has?",
        )
    if merged[["mean", "std"]].isna().to_numpy().any():
        return Wrong(
            "Some pairs have no number.",
            "A pair that one part lacks: with `+`, pandas makes NaN of it; `pd.concat` does not. "
            "And a single trip of a pair has no `std`.",
        )
    return None


def _misjudged(merged: pd.DataFrame, parts: list[pd.DataFrame]) -> Wrong | None:
    """Return what is wrong with the numbers of the merged table."""
    merged = merged.sort_index()
    right = _aggregated(pd.concat(parts))
    means = pd.concat([_aggregated(part) for part in parts]).groupby(level=0).mean()
    if not _same(merged["mean"], right["mean"]):
        if _same(merged["mean"], means["mean"]):
            return Wrong(
                "That is the mean of the parts' means: a part with few trips counts as much as "
                "one with many.",
                "What has to travel so that the mean can be made at the end?",
            )
        return Wrong(
            "The means are not those of all trips together.",
            "Add up sums and counts of all parts first, and divide once, at the end. Also those of "
            "a trip that is the only one of its pair in a part.",
        )
    if _same(merged["std"], right["std"]):
        return None
    if _same(merged["std"], means["std"]):
        return Wrong(
            "That is the mean of the parts' standard deviations.",
            "Two parts may each vary little, and lie far apart. Which sums know about that?",
        )
    if _same(merged["std"], right["population"]):
        return Wrong(
            "The standard deviations are a little too small.",
            "By what does pandas divide the squares: the count, or the count less one?",
        )
    if _same(merged["std"], _within(parts)):
        return Wrong(
            "That is how much the trips vary within the parts: their means differ, too.",
            "The sum of the squares knows about both.",
        )
    if _same(merged["std"], right["std"] ** 2):
        return Wrong("That is the variance: how does a standard deviation come from it?")
    return Wrong(
        "The means are right, the standard deviations are not.",
        "The sum of the squares less the count times the squared mean; then divide. (A part with "
        "a single trip of a pair has no `std` from which one could get back to the squares.)",
    )


def _aggregated(trips: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation of each pair, and the latter divided by the count."""
    groups = trips.groupby("pair")["minutes"]
    return groups.agg(["mean", "std"]).assign(population=groups.std(ddof=0))


def _within(parts: list[pd.DataFrame]) -> pd.Series:
    """Return the standard deviation of each pair around the means of the parts."""
    spread = [part.groupby("pair")["minutes"].agg(["var", "size"]) for part in parts]
    squares = [found["var"].fillna(0) * (found["size"] - 1) for found in spread]
    free = [found["size"] - 1 for found in spread]
    return (
        pd.concat(squares).groupby(level=0).sum() / pd.concat(free).groupby(level=0).sum()
    ) ** 0.5


def _same(left: pd.Series, right: pd.Series) -> bool:
    return bool(np.allclose(left.to_numpy(dtype=float), right.to_numpy(), rtol=1e-6))


_Keep = Callable[[str, pd.DataFrame, Path], object]


def q3(keep_sums: object) -> Right | Wrong:
    """Judge a function that keeps the sums of a part, by what is there after a bad night."""
    keep = function(keep_sums)
    rng = np.random.default_rng(SystemRandom().getrandbits(64))
    first, second, twin = _sums(rng), _sums(rng), _sums(rng)
    corrected = first + 1
    months = [f"2021-{n:02d}" for n in rng.permutation(np.arange(1, 13))[:3]]
    one, other, alike = months
    once = {one: first, other: second}
    if not _as_expected(keep, list(once.items()), once):
        return Wrong(
            "Two parts were kept once each, and the sums of both together are not there.",
            "Each part needs its own place, and `all_sums` reads the files that end in `.csv`.",
        )
    if not _as_expected(keep, [(one, first), (other, second), (one, first)], once):
        return Wrong(
            "A part was kept, its worker was lost, and another kept it again: it counts twice.",
            "The second time it goes to the same file: what becomes of what is in there?"
            if _kept(keep, [(one, first)]).keys() == _kept(keep, [(one, first)] * 2).keys()
            else "What in a file's name should be the same at the second time, and what should "
            "not be in it at all?",
        )
    if not _as_expected(keep, [(one, twin), (alike, twin)], {one: twin, alike: twin}):
        return Wrong(
            "Two parts have the same sums, and only one of them counts.",
            "What tells parts apart is their name, not their content.",
        )
    if not _as_expected(keep, [(one, first), (one, corrected)], {one: corrected}):
        return Wrong(
            "A month was corrected and run again, and the old sums are still there.",
            "What was kept last counts.",
        )
    return Right(
        "A task that writes to the same place each time can be run again: it is *idempotent*. "
        "Schedulers run tasks again after a lost worker, a retry or a backfill, and none of them "
        "knows whether the first attempt had written already. A worker may even die while it "
        "writes: write beside, under a name that does not end in `.csv`, and rename at the end."
    )


def _sums(rng: np.random.Generator) -> pd.DataFrame:
    """Draw the sums of a part."""
    pairs = pd.Index(np.sort(rng.choice(np.arange(1000, 1050), 6, replace=False)), name="pair")
    count = rng.integers(1, 30, 6)
    return pd.DataFrame({"sum": (4 * count).astype(float), "count": count}, index=pairs)


def _as_expected(
    keep: _Keep, calls: list[tuple[str, pd.DataFrame]], expected: dict[str, pd.DataFrame]
) -> bool:
    """Return whether a folder has the sums of these parts after these calls."""
    found = pd.concat(_kept(keep, calls).values()).groupby("pair").sum()
    wanted = pd.concat(expected.values()).groupby("pair").sum()
    return (
        found.index.equals(wanted.index)
        and _same(found["sum"], wanted["sum"])
        and _same(found["count"], wanted["count"])
    )


def _kept(keep: _Keep, calls: list[tuple[str, pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """Return what is in each file of a folder after these calls, by its name."""
    with TemporaryDirectory() as folder:
        for part, sums in calls:
            keep(part, sums.copy(), Path(folder))
        kept = {file.name: _read(file) for file in Path(folder).glob("*.csv")}
    if not kept:
        raise UnreadableError("After the call, the folder has no file that ends in `.csv`.")
    return kept


def _read(file: Path) -> pd.DataFrame:
    """Read a file as the lesson's ``all_sums`` does."""
    kept = pd.read_csv(file, names=["pair", "sum", "count"])
    numbers = kept.apply(pd.to_numeric, errors="coerce")
    if numbers.isna().to_numpy().any():
        raise UnreadableError(
            f"`{file.name}` has a line that is not a pair, a sum and a count: `all_sums` expects "
            "no heading (`header=False`), and the pair, which is the index, first."
        )
    return numbers
