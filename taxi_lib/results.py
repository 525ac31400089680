"""What a notebook promises: its results, kept in the executed notebook itself.

:func:`report_results` leaves them there as an output of a type of its own;
:func:`read_results` finds them, whoever ran the notebook.
"""

import math
from pathlib import Path

from taxi_lib.errors import ContractError

RESULTS_TYPE = "application/vnd.taxi-workbook.results+json"
Value = str | int | float | bool | None


def report_results(**results: Value) -> None:
    """Report a notebook's results: shown as text, and kept in the executed notebook.

    Parameters
    ----------
    **results : float, int, str or None
        None stands for "could not be had"; a number that is not finite is refused.
    """
    from IPython.display import display

    for name, value in results.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ContractError(f"Result {name} is {value}, expected a finite number.")
    plain = {k: v.item() if hasattr(v, "item") else v for k, v in results.items()}
    text = "\n".join(f"{name:>14} : {value}" for name, value in plain.items())
    display({"text/plain": text, RESULTS_TYPE: plain}, raw=True)


def read_results(path: Path) -> dict[str, Value]:
    """Return the results that an executed notebook reported; empty when it reported none."""
    import nbformat

    results: dict[str, Value] = {}
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            results |= output.get("data", {}).get(RESULTS_TYPE, {})
    return results
