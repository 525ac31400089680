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
    """A month is not in the data folder, and the TLC cannot be reached: that may pass."""
