"""papermill's and nbclient's own example notebooks, run by them and by our runner.

The notebooks are not ours to keep: pip fetches the two packages' sources, if it can.
"""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import nbformat
import papermill
import pytest
from filelock import FileLock
from nbclient import NotebookClient
from nbformat import NotebookNode

from support.notebooks import run_path
from taxi_lib.errors import ContractError
from taxi_lib.runner import failures
from taxi_lib.runner.contracts import read_contract

SOURCES = {
    "papermill": ("papermill==2.7.0", "papermill/tests/notebooks"),
    "nbclient": ("nbclient==0.11.0", "tests/files"),
}
# What ends well with both, or fails with both.
ALIKE = [
    *("nbclient/Autokill", "nbclient/Check History in Memory", "nbclient/Clear Output"),
    *("nbclient/Disable Stdin", "nbclient/Empty Cell", "nbclient/Error", "nbclient/Factorials"),
    *("nbclient/HelloWorld", "nbclient/Inline Image", "nbclient/Interrupt"),
    *("nbclient/JupyterWidgets", "nbclient/Other Comms", "nbclient/Output", "nbclient/SVG"),
    *("nbclient/Skip Exceptions", "nbclient/Skip Exceptions with Cell Tags"),
    *("nbclient/Skip Execution with Cell Tag", "nbclient/Unicode"),
    *("nbclient/UnicodePy3", "nbclient/update-display-id"),
    *("papermill/blank-vscode", "papermill/broken", "papermill/broken1", "papermill/broken2"),
    *("papermill/line_magic_error",),
    *("papermill/nb_version_4.4", "papermill/no_parameters", "papermill/read_check"),
    *("papermill/report_mode_test", "papermill/result_no_exec", "papermill/simple_execute"),
    *("papermill/sysexit1", "papermill/test_autosave", "papermill/test_logging"),
    *("papermill/test_notebooknode_io",),
]
# papermill calls these a success, although their last cell was never run.
CLEARER = ["papermill/sysexit", "papermill/sysexit0", "papermill/systemexit"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the examples of both packages, fetched once for all workers."""
    folder = tmp_path_factory.getbasetemp().parent / "examples"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            for name, (package, inside) in SOURCES.items():
                fetch(package, folder.with_name(f"fetched-{name}"))
                (archive,) = folder.with_name(f"fetched-{name}").glob("*.tar.gz")
                with tarfile.open(archive) as tar:
                    tar.extractall(archive.parent, filter="data")
                (notebooks,) = archive.parent.glob(f"*/{inside}")
                shutil.copytree(notebooks, folder.with_name("copying") / name)
            folder.with_name("copying").rename(folder)
    return folder


def fetch(package: str, folder: Path) -> None:
    from_source = ["--no-deps", "--no-binary", package.split("==")[0], "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *from_source, "--dest", str(folder)]
    done = subprocess.run([*command, package], capture_output=True, text=True, check=False)
    if not list(folder.glob("*.tar.gz")):
        pytest.skip(f"{package} cannot be fetched: {done.stderr[-200:]}")


@pytest.fixture
def example(examples: Path, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a copy of an example."""
    package, name = request.param.split("/", 1)
    shutil.copytree(examples / package, tmp_path / package)
    return tmp_path / package / f"{name}.ipynb"


def by_them(path: Path) -> tuple[NotebookNode, bool]:
    """Run an example as its own package does: the executed notebook, and whether it went well."""
    notebook = nbformat.read(path, as_version=4)
    try:
        if path.parent.name == "nbclient":
            how = {"kernel_name": "python3", "timeout": 5}
            NotebookClient(
                notebook, resources={"metadata": {"path": str(path.parent)}}, **how
            ).execute()
        else:
            done = path.with_name("done.ipynb")
            how = {"kernel_name": "python3", "progress_bar": False, "cwd": path.parent}
            notebook = papermill.execute_notebook(path, done, **how)
    except Exception:
        return notebook, False
    return notebook, True


def beside(path: Path) -> Path:
    """Return a folder for a run, with the files that the example reads."""
    only_files = shutil.ignore_patterns("*.ipynb")
    return shutil.copytree(path.parent, path.parent.with_name("run"), ignore=only_files)


def texts(notebook: NotebookNode) -> list[str]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output["text"] for output in outputs if output.get("name") == "stdout"]


@pytest.mark.parametrize("example", ALIKE, indirect=True)
@pytest.mark.filterwarnings("ignore")  # theirs: old formats without cell ids, and their own
def test_an_example_behaves_in_our_runner_as_in_its_own(example: Path):
    ours = run_path(example, beside(example), cell_seconds=5)
    executed = nbformat.read(ours.output, as_version=4)
    theirs, well = by_them(example)
    assert (ours.error is None) == well, ours.error
    if well:
        assert "".join(texts(executed)) == "".join(texts(theirs))
    else:
        assert "\n" not in ours.error.strip() and ours.error.startswith("cell ")


@pytest.mark.parametrize("example", CLEARER, indirect=True)
@pytest.mark.filterwarnings("ignore")
def test_an_example_that_leaves_early_is_a_failure_here_and_says_why(example: Path):
    _, well = by_them(example)
    ours = run_path(example, beside(example))
    assert well and ours.error.endswith(failures.ENDED_EARLY)


@pytest.mark.parametrize("example", ["papermill/complex_parameters"], indirect=True)
@pytest.mark.filterwarnings("ignore")
def test_an_example_whose_parameters_are_no_python_is_refused_before_it_runs(example: Path):
    with pytest.raises(ContractError, match=r"parameters cell of complex_parameters\.ipynb"):
        read_contract(example)
    _, well = by_them(example)
    assert not well


def test_an_example_for_another_language_is_refused(examples: Path):
    with pytest.raises(ContractError, match=r"is for the kernel 'r.*', and this environment has"):
        read_contract(examples / "papermill" / "notimplemented_translator.ipynb")
