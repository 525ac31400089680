"""Notebooks that feed each other, over several values at two jobs, against one value alone.

First small ones, then the monthly pipeline on made-up months.
"""

from pathlib import Path

from benchmarks.made_up import write_chain
from benchmarks.paired import Row, Spent, in_turn, main, own_workspace, program
from taxi_lib import settings
from taxi_lib.services import prefect_server

RUN = ["-m", "taxi_lib", "run", "--jobs", "2", "--force", "--folder"]
COUNTS = [1, 3, 6, 12]


# Two months at a time: each is judged against whichever champion there is by then.
PIPELINE = ["-p", "source=synthetic", "--each"]
MONTHS = {1: "2021-02", 12: "2021-02..2022-01"}


def run(folder: Path, *each: str) -> Spent:
    """Return what a run over some values took."""
    return program([*RUN, folder, *each])


def measure(quick: bool) -> list[Row]:
    """Compare seconds a value, and memory."""
    return [*compare_counts(quick), *([] if quick else compare_months())]


def compare_months() -> list[Row]:
    """Run the monthly pipeline for one month and for twelve, each in a workspace of its own."""
    spent = {}
    for count, months in MONTHS.items():
        with own_workspace(), prefect_server():
            folder = settings.notebooks_dir() / "pipeline"
            spent[count] = run(folder, *PIPELINE, f"month={months}")
    one, most = spent[1], spent[12]
    each = [most.seconds / 12]
    return [
        Row("the monthly pipeline over 12 months, each", "one month", each, [one.seconds]),
        Row("its memory", "one month", [most.memory], [one.memory], bound=1.1, unit="MB"),
    ]


def compare_counts(quick: bool) -> list[Row]:
    """Run small notebooks over each count of values in turn."""
    counts = [1, 2] if quick else COUNTS
    spent: dict[int, list[Spent]] = {count: [] for count in counts}

    def seconds_a_value(count: int) -> float:
        spent[count].append(run(folder, "--each", f"n=1..{count}"))
        return spent[count][-1].seconds / count

    with own_workspace() as base, prefect_server():
        folder = write_chain(base / "chain", 1 if quick else 3)
        ways = (lambda count=count: seconds_a_value(count) for count in counts)
        a_value = dict(zip(counts, in_turn(1 if quick else 3, *ways), strict=True))
    *_, before, most = counts
    memory = ([each.memory for each in spent[count]] for count in (most, 1))
    rows = [
        Row(f"{count} values at two jobs, each", "one value", a_value[count], a_value[1])
        for count in counts[1:]
    ]
    linear = (f"{most} values at two jobs, each", f"{before} values, each")
    return [
        *rows,
        Row(*linear, a_value[most], a_value[before], bound=1.1),
        Row(f"memory of a run over {most} values", "one value", *memory, bound=1.1, unit="MB"),
    ]


if __name__ == "__main__":
    main(measure)
