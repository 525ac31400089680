"""What can be refused: each message is one sentence that says what was wrong and what to do."""


class TaxiError(ValueError):
    """Something the workbook was given cannot be used."""


class BrokenOffError(Exception):
    """A run that had begun could not be brought to its end."""


class ContractError(TaxiError):
    """A notebook or a parameter was asked for that no notebook has, or with a wrong value."""


class DataError(TaxiError):
    """A month's file cannot be used."""


class MissingMonthError(DataError):
    """A month is neither in the data folder nor to be had from the TLC."""


class UnreachableError(MissingMonthError):
    """A month is not in the data folder, and the TLC does not give it now: that may pass.

    Attributes
    ----------
    no_network : bool
        Whether nobody answered at all; otherwise a server was reached and failed.
    """

    def __init__(self, message: str, no_network: bool = False) -> None:
        super().__init__(message)
        self.no_network = no_network


def check_package(name: str) -> None:
    """Refuse a file or a folder that Python takes for a package, because it is called the same.

    Parameters
    ----------
    name : str
        Of a package that is installed, such as ``"mlflow"``.

    Raises
    ------
    TaxiError
        When Python finds another one first; it names that.
    """
    from importlib.metadata import distribution
    from importlib.util import find_spec
    from pathlib import Path

    found = find_spec(name)
    meant = Path(str(distribution(name).locate_file(name)), "__init__.py")
    if found and found.origin and Path(found.origin).resolve() != meant.resolve():
        raise TaxiError(
            f"Python takes {found.origin} for the package {name}: "
            "rename it, or work in another folder."
        )
