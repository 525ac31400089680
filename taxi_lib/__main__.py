"""The command line, ``python -m taxi_lib``: run, list, data, doctor, ui, lab and more."""

import os
import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    # Until there is something to clean up.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130 if os.write(2, b"Stopped.\n") else 1))
# `python -m` looks for every module in the working directory first, where a `json.py` or an
# `mlflow/` may lie.
try:
    _here = os.getcwd()  # noqa: PTH109 (pathlib comes later)
except FileNotFoundError:  # it was removed
    _here = ""
if sys.path[0] == _here and not getattr(sys.flags, "safe_path", False):
    del sys.path[0]
if __name__ == "__main__" and sys.argv[1:] == ["doctor"]:
    # Now, because the packages below may be missing, and Python too old for what follows.
    from taxi_lib import doctor as _doctor

    sys.exit(_doctor.main())
# isort: split (the imports below come after that)
import atexit
import gc
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taxi_lib import settings
from taxi_lib.errors import BrokenOffError, ContractError, TaxiError, UnreachableError
from taxi_lib.months import Source
from taxi_lib.runner.console import say, show, show_rows
from taxi_lib.runner.contracts import find_notebooks
from taxi_lib.runner.references import drawing, link

if TYPE_CHECKING:
    from taxi_lib import plan

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Run the lessons of the Taxi Workbook.",
)
Notebooks = Annotated[list[str] | None, typer.Argument(help="Numbers or names, such as 01 06.")]
Parameters = Annotated[list[str], typer.Option("-p", "--parameter", help="name=value; repeatable.")]
SourceOption = Annotated[Source, typer.Option(help="Where the months come from.")]
DataDir = Annotated[
    Path | None, typer.Option(help="The folder of the months.", exists=True, file_okay=False)
]
Folder = Annotated[
    Path | None, typer.Option(help="Notebooks of your own.", exists=True, file_okay=False)
]
RunDir = Annotated[Path | None, typer.Option(help="The folder of this run.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="How many at once (the cores; of --folder: 1).")
]
Seconds = Annotated[float | None, typer.Option(min=0.1, help="How long it may take (900, 3600).")]


@app.command()
def run(
    notebooks: Notebooks = None,
    parameters: Parameters = [],  # noqa: B006 (typer reads it)
    source: SourceOption | None = None,
    data_dir: DataDir = None,
    folder: Folder = None,
    run_dir: RunDir = None,
    jobs: Jobs = None,
    each: Annotated[
        str | None, typer.Option(help="Once for each value: month=2021-01..2021-06, or n=1,5,9.")
    ] = None,
    runner: Annotated[
        str | None, typer.Option(help="dask, or the address of a scheduler (threads).")
    ] = None,
    force: Annotated[bool, typer.Option(help="Run also what has not changed.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on with the last run, if it failed.")] = False,
    stream: Annotated[bool, typer.Option(help="Show what the cells print.")] = False,
    work_beside: Annotated[bool, typer.Option(help="Work where the notebooks lie.")] = False,
    cell_seconds: Seconds = None,
    notebook_seconds: Seconds = None,
) -> None:
    """Run lessons through papermill, as one Prefect flow; what has not changed is not run again."""
    if resume and (notebooks or source or folder or each):
        raise ContractError(
            "--resume asks again for what that run was asked for: leave out the notebooks, "
            "--source, --folder and --each."
        )
    if resume:
        run_dir, data_dir, request = _to_resume(run_dir, data_dir, parameters)
    else:
        request = _request(notebooks, parameters, source, folder)
    _use_data_dir(data_dir)
    request = request.with_options(
        each=each,
        jobs=jobs,
        runner=runner,
        stream=stream or None,
        work_beside=work_beside or None,
        cell_seconds=cell_seconds,
        notebook_seconds=notebook_seconds,
    )
    report = _reuse(request, run_dir, force) or _run_flow(request, run_dir, force)
    show(report)
    raise typer.Exit(0 if report["status"] == "completed" else 1)


def _to_resume(
    run_dir: Path | None, data_dir: Path | None, parameters: list[str]
) -> tuple[Path, Path | None, "plan.Request"]:
    """Return where to go on, and with what: as that run was asked for, except for parameters."""
    from taxi_lib import plan
    from taxi_lib.runner import past_runs

    run_dir, before = past_runs.to_resume(run_dir)
    request, again = plan.repaired(before, _values(parameters))
    say(f"Going on with {run_dir} ({before['status']}) …")
    if again:
        say(f"Done before, but the new values may change them: {', '.join(again)}.")
    data_dir = data_dir or (Path(before["data_dir"]) if before.get("data_dir") else None)
    return run_dir, data_dir, request


def _use_data_dir(data_dir: Path | None) -> None:
    if data_dir:
        os.environ["TAXI_DATA_DIR"] = str(data_dir.resolve())


def _request(
    notebooks: list[str] | None,
    parameters: list[str],
    source: Source | None,
    folder: Path | None,
) -> "plan.Request":
    from taxi_lib import plan

    values = _values(parameters)
    request = plan.Request(notebooks, values, source or "auto", folder and folder.resolve())
    request = request.at(datetime.now(UTC))
    if source and "source" in values and any(map(plan.takes_source, request.find_notebooks())):
        raise ContractError("Say the source once: --source, or -p source=….")
    return request


def _values(parameters: list[str]) -> dict[str, str]:
    values = dict(_split(parameter) for parameter in parameters)
    if len(values) < len(parameters):
        raise ContractError(f"A parameter is given twice in {', '.join(parameters)}: say it once.")
    return values


def _reuse(request: "plan.Request", run_dir: Path | None, force: bool) -> dict[str, Any] | None:
    """Refuse a run; or do it without Prefect, if nothing has to be run, and return its summary."""
    from taxi_lib import plan
    from taxi_lib.runner.reuse import reuse_all

    if request.each:
        request.one_by_one()
        settings.use_workspace()
        return None
    try:
        planned = plan.make_plan(request, _find_months)
    except UnreachableError as error:
        if error.no_network:
            raise
        return None  # the flow tries again
    if force or request.work_beside:
        return None
    folder = planned.run_folder(run_dir)
    return reuse_all(planned.steps, planned.data_source, folder, request.to_json())


def _find_months(months: list[str], source: Source) -> tuple[Source, str | None]:
    """Make the workspace, now that all that is asked for is in order, and find months."""
    from taxi_lib import plan

    settings.use_workspace()
    return plan.find_months(months, source)


def _run_flow(request: "plan.Request", run_dir: Path | None, force: bool) -> dict[str, Any]:
    """Run the flow, which is imported while Prefect's server starts; return its summary."""
    from taxi_lib import services

    # Failures are shown in the terminal's own words; Prefect's log keeps the rest.
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    say("Starting Prefect …")
    with services.prefect_server(meanwhile=_import_flow, wait=False):
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        from taxi_lib.walkthrough import walkthrough

        _on_interrupt("")  # the flow says itself what it stops
        arguments = request.to_json() | {"run_dir": run_dir, "force": force}
        # The thread that sends heartbeats ends up to a second after the flow; see live_run.
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            state = walkthrough(**arguments, return_state=True)
        report = state.result(raise_on_failure=False)
    if isinstance(report, TaxiError | BrokenOffError):
        raise report
    if isinstance(report, Exception):
        say(f"{type(report).__name__}: {report}", sys.stderr)
        raise typer.Exit(1)
    return report


def _import_flow() -> None:
    gc.disable()  # searching all that this imports takes half a second, and finds nothing
    import_module("taxi_lib.walkthrough")
    gc.freeze()
    gc.enable()


@app.command()
def status(
    notebooks: Notebooks = None,
    parameters: Parameters = [],  # noqa: B006
    source: SourceOption | None = None,
    data_dir: DataDir = None,
    folder: Folder = None,
) -> None:
    """Say for each lesson whether it would be run again, and which input has changed."""
    from taxi_lib import plan

    _use_data_dir(data_dir)
    for name, reason in plan.stale_reasons(_request(notebooks, parameters, source, folder)):
        say(f"{name}: {f'stale ({reason})' if reason else 'fresh'}")


@app.command()
def prune(keep: Annotated[int, typer.Option(min=1, help="How many runs stay.")] = 10) -> None:
    """Remove the files of all but the newest runs, but none that something still needs."""
    from taxi_lib.runner import past_runs

    for folder in past_runs.prune(keep, warn=print):
        say(f"Removed {folder}")


@app.command("list")
def list_(
    folder: Folder = None,
    graph: Annotated[bool, typer.Option(help="Only who takes what from whom.")] = False,
) -> None:
    """List the lessons with what they take and give."""
    linked = link(find_notebooks(folder=folder))
    if graph:
        say(drawing(linked))
        return
    for contract in (each.contract for each in linked):
        say(f"{contract.name}\n    {contract.title}")
        for p in contract.parameters:
            say(f"    {p.name}: {p.type} = {p.default!r}  # {p.comment}".removesuffix("  # "))
            if p.name in contract.fixed:
                say(f"        {contract.fixed[p.name]}")
        for line in contract.computed:
            say(f"    no parameter: {line}")
        for p in contract.results:
            say(f"    gives {p.name}: {p.type}  # {p.comment}")


@app.command()
def compare(
    runs: Annotated[list[str] | None, typer.Argument(help="Two runs (the last two).")] = None,
) -> None:
    """Say which parameters, inputs, results, seconds and figures differ between two runs."""
    from taxi_lib.atomic_files import write_text
    from taxi_lib.runner import compare as comparing
    from taxi_lib.runner.html.comparison import comparison_page

    if len(runs or []) > 2:
        raise ContractError(f"compare takes two runs at most, not {len(runs)}.")
    before, now = comparing.two_runs(runs or [])
    notebooks = comparing.compare(before, now)
    page = now / f"compared-with-{before.name}.html"
    write_text(page, comparison_page(before, now, notebooks))
    say(f"Before: {before}\nNow   : {now}")
    for each in notebooks:
        if each.before is None or each.now is None:
            say(f"{each.name}: only in the {'later' if each.now else 'earlier'} run")
        elif rows := each.rows():
            show_rows(each.name, rows)
        else:
            say(f"{each.name}: no difference ({each.seconds.before} s, now {each.seconds.now} s)")
    say(f"Side by side: {page}")


@app.command()
def history(
    notebook: Annotated[str, typer.Argument(help="Its number or name, such as 02.")],
    folder: Folder = None,
) -> None:
    """Show the past runs of a notebook: when, how long, and with which results."""
    from taxi_lib.runner import history as past

    folder = folder and folder.resolve()
    for contract in find_notebooks([notebook], folder):
        runs = past.history(contract.name, folder)
        show_rows(contract.name, past.rows(runs))
        for name, bars in past.trends(runs).items():
            say(f"{bars}  {name}")


@app.command()
def progress(
    forget: Annotated[bool, typer.Option(help="Begin anew: remove what was passed.")] = False,
) -> None:
    """Show which exercises you have passed; only you see it, in a file of the runs folder."""
    from taxi_lib.checks import progress as kept

    if forget:
        kept.forget()
    for lesson, times in kept.overview(settings.notebooks_dir()).items():
        signs = "  ".join(f"{n} {'✓' if when else '·'}" for n, when in times.items())
        say(f"{signs}  {lesson}")
    say(f"Kept in {kept.progress_file()}; --forget removes it.")


@app.command()
def data(
    months: Annotated[list[str] | None, typer.Argument(help="Such as 2021-01 2021-02.")] = None,
    source: SourceOption = "tlc",
) -> None:
    """Fetch months into the data folder."""
    from taxi_lib.trips.sources import fetch_months

    wanted = dict.fromkeys(months or ["2021-01", "2021-02"])
    for file in fetch_months(*wanted, source=source):
        say(f"{file.month}  {file.source:9}  {file.path}")


@app.command()
def ui(
    prefect_port: Annotated[int, typer.Option(help="Of Prefect's page.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Of MLflow's page.")] = 5000,
    pages_port: Annotated[int, typer.Option(help="Of the runs' own pages.")] = 4201,
) -> None:
    """Show Prefect's, MLflow's and the runs' pages until Ctrl-C; new runs appear there."""
    from taxi_lib import services

    settings.use_workspace()
    say("Starting Prefect and MLflow …")
    with ExitStack() as started:
        runs = started.enter_context(services.run_pages(pages_port))
        api = started.enter_context(services.prefect_server(prefect_port))
        page = started.enter_context(services.mlflow_page(mlflow_port))
        say(f"Prefect: {api.removesuffix('/api')}\nMLflow : {page}\nRuns   : {runs}")
        say("Ctrl-C stops all of them.")
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


@app.command()
def doctor() -> None:
    """Say whether the lessons will run here, and what to do if they will not; change nothing."""
    from taxi_lib.doctor import main as examine

    raise typer.Exit(examine())


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(context: typer.Context) -> None:
    """Open the lessons in JupyterLab, with its own options."""
    from taxi_lib.services.processes import module

    where = f"--ServerApp.root_dir={settings.notebooks_dir()}"
    settings.use_workspace()  # its kernels have other working directories
    command = [*module("jupyterlab"), where, *context.args]
    os.execv(command[0], command)


def _split(parameter: str) -> tuple[str, str]:
    name, equals, value = parameter.partition("=")
    if not equals:
        raise ContractError(f"-p takes name=value, not {parameter!r}.")
    return name.strip(), value


def _as_text(argument: str) -> str:
    """Return an argument as it was typed, whatever the terminal's encoding."""
    try:
        return os.fsencode(argument).decode()
    except UnicodeDecodeError:
        raise ContractError(
            f"{argument!a} is not in UTF-8: type it in UTF-8, or give the file another name."
        ) from None


def _on_interrupt(message: str) -> None:
    """Stop at the first Ctrl-C, and ignore the next ones, which would stop the cleaning up."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.write(2, message.encode())
        raise KeyboardInterrupt

    if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, stop)


def _end_as_interrupted() -> None:
    """End with status 130 if Ctrl-C was pressed.

    Python would end by a signal if the interrupt fell into an ``exec``, such as a dataclass's,
    even if it was caught.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)


def main() -> None:
    """Run the command line; a refusal is one sentence and exit status 2, a run cut short 1."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in a background job of a shell
        atexit.register(_end_as_interrupted)  # the first one registered is the last one called
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # its encoding may lack some characters
            stream.reconfigure(errors="backslashreplace")
    try:
        _on_interrupt("Stopped.\n")
        app(list(map(_as_text, sys.argv[1:])))
    except (TaxiError, BrokenOffError) as error:
        say(error, sys.stderr)
        sys.exit(2 if isinstance(error, TaxiError) else 1)
    except KeyboardInterrupt:  # before the command itself began, which ends so by itself
        sys.exit(130)


if __name__ == "__main__":
    main()
