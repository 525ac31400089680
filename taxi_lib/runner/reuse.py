"""A run in which nothing has to be executed: done with what earlier runs left, without Prefect."""

import os
import time
from pathlib import Path
from secrets import token_hex
from typing import Any

from taxi_lib.errors import ContractError
from taxi_lib.runner import cache, live_run, run_folder
from taxi_lib.runner.console import say
from taxi_lib.runner.live_run import LiveRun
from taxi_lib.runner.steps import Step
from taxi_lib.services.processes import run_tag


def reuse_all(
    steps: list[Step], data_source: str | None, folder: Path, request: dict[str, Any]
) -> dict[str, Any] | None:
    """Do a whole run with the files of earlier runs, and return its summary.

    The answer is None when Prefect is needed: a notebook has to be run, ``PREFECT_API_URL`` names
    a server to record the run on, or another run is live or has crashed.
    """
    started, found, earlier = time.monotonic(), [], {}
    if os.environ.get("PREFECT_API_URL") or live_run.registered_runs():
        return None
    for waiting in steps:
        try:
            step = waiting.with_results(earlier)
        except ContractError:  # what it takes does not fit: the run says so of this step
            return None
        now, record, _ = step.find_record(folder)
        if not record:
            return None
        earlier[step.name] = record.run
        found.append((step, now, record))
    run = LiveRun(str(folder), run_tag(os.environ, token_hex(4)))
    with live_run.registered(run), run_folder.recorded(folder, request):
        runs = []
        for step, now, record in found:
            runs.append(cache.reuse(record, step.contract, now, folder))
            say(f"{step.label} · cached")
        return run_folder.finish(runs, data_source, time.monotonic() - started, folder)
