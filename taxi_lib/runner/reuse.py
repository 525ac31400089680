"""A run in which nothing has to be executed: done with what earlier runs left, without Prefect."""

import os
import time
from pathlib import Path
from secrets import token_hex
from typing import Any

from taxi_lib.runner import cache, live_run, run_folder
from taxi_lib.runner.console import say
from taxi_lib.runner.live_run import LiveRun
from taxi_lib.runner.steps import Step
from taxi_lib.services.processes import run_tag


def reuse_all(
    steps: list[Step], data_source: str | None, folder: Path, request: dict[str, Any]
) -> dict[str, Any] | None:
    """Do a whole run with the files of earlier runs, if all notebooks are fresh.

    Parameters
    ----------
    steps : list of Step
        The notebooks of the run.
    data_source : str or None
        Where their months come from.
    folder : pathlib.Path
        The folder of the run.
    request : dict
        What was asked for.

    Returns
    -------
    dict or None
        The summary; None when Prefect is needed: a notebook has to be run, a server was named by
        ``PREFECT_API_URL``, or another run is live or has crashed.
    """
    started, found = time.monotonic(), []
    if os.environ.get("PREFECT_API_URL") or live_run.registered_runs():
        return None
    for step in steps:
        now, record, _ = step.find_record(folder)
        if not record:
            return None
        found.append((step, now, record))
    run = LiveRun(str(folder), run_tag(os.environ, token_hex(4)))
    with live_run.registered(run), run_folder.recorded(folder, request):
        runs = []
        for step, now, record in found:
            runs.append(cache.reuse(record, step.contract, now, folder))
            say(f"{step.label} · cached")
        return run_folder.finish(runs, data_source, time.monotonic() - started, folder)
