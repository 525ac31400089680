"""The workbook's errors. A message is one sentence: what was wrong, the value, what to do."""


class TaxiError(ValueError):
    """Something the workbook was given cannot be used."""


class BrokenOffError(Exception):
    """A run broke off after it had begun."""


class ContractError(TaxiError):
    """There is no such notebook or parameter, or its value is wrong."""


class DataError(TaxiError):
    """A month's file cannot be used."""


class MissingMonthError(DataError):
    """A month is neither in the data folder nor available from the TLC."""


class UnreachableError(MissingMonthError):
    """A month is not in the data folder, and cannot be downloaded now; later it may.

    Attributes
    ----------
    no_network : bool
        True when no server was reached; False when a server failed.
    """

    def __init__(self, message: str, no_network: bool = False) -> None:
        super().__init__(message)
        self.no_network = no_network


def check_package(name: str) -> None:
    """Refuse a file or folder that Python imports in place of an installed package.

    Parameters
    ----------
    name : str
        The package's name, such as ``"mlflow"``.

    Raises
    ------
    TaxiError
        With the path of the file or folder.
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
