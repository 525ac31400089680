"""The kernel that JupyterLab and papermill start for a lesson, and the folder of its files."""

import os
import sys
from pathlib import Path

from taxi_lib.doctor.findings import Findings, ok, problem
from taxi_lib.doctor.folders import fault_of

# jupyter_client takes these for the Python that it runs in.
_THIS = {"python", f"python{sys.version_info[0]}", "python{}.{}".format(*sys.version_info)}


def check_kernel() -> Findings:
    """Look whether the kernel python3, which the lessons name, starts this Python."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_core.paths import jupyter_path

    remedy = f"{sys.executable} -m ipykernel install --sys-prefix"
    try:
        # By default it would look into IPython's folder as well, and make that.
        spec = KernelSpecManager(kernel_dirs=jupyter_path("kernels")).get_kernel_spec("python3")
        program = spec.argv[0]
    except Exception as error:  # it is missing, or its kernel.json is damaged
        told = " ".join(str(error).split()) or "it names no program"
        yield problem(f"The kernel python3 cannot be used ({told})", remedy)
        return
    # A link to the same Python from another environment brings other packages.
    if program in _THIS or Path(program).parent == Path(sys.executable).parent:
        yield ok(f"python3 starts {sys.executable}")
    else:
        where = f"{spec.resource_dir}: remove that folder, or" if spec.resource_dir else ""
        yield problem(f"The kernel python3 starts {program}, not this Python", f"{where} {remedy}")


def check_runtime_folder() -> Findings:
    """Look whether Jupyter can keep the files of a running kernel."""
    from jupyter_core.paths import jupyter_runtime_dir

    folder = Path(jupyter_runtime_dir())
    if fault := fault_of(folder):
        home = os.environ.get("HOME", "")
        fault = f"Jupyter cannot write to {folder} ({fault}; HOME is {home!r})"
        yield problem(fault, "set HOME or JUPYTER_RUNTIME_DIR to a folder of yours")
    else:
        yield ok(str(folder))
