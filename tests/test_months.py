import pytest

from taxi_lib.errors import ContractError
from taxi_lib.months import check_different, check_month, next_month


@pytest.mark.parametrize("month", ["2009-01", "2021-12", "2099-06"])
def test_a_month_is_returned_as_it_is(month: str):
    assert check_month(month) == month


@pytest.mark.parametrize(
    "month",
    [
        *("2021-13", "2021-00", "", "2021", "2021-1", "2008-12", "21-01", "2021-01 ", "2021-01\n"),
        *("../../etc/passwd", 202101, None, "٢٠٢١-٠١"),  # the last one in Arabic digits
    ],
)
def test_what_is_not_a_month_is_refused_with_its_value(month: object):
    with pytest.raises(ContractError, match=r"val_month is .* which is not a month") as refusal:
        check_month(month, "val_month")
    assert repr(month) in str(refusal.value)


def test_december_is_followed_by_january():
    assert next_month("2021-12") == "2022-01"
    assert next_month("2021-01") == "2021-02"


def test_the_same_month_twice_is_refused():
    check_different({"train_month": "2021-01", "val_month": "2021-02"})
    with pytest.raises(ContractError, match="train_month and val_month are both 2021-01"):
        check_different({"train_month": "2021-01", "val_month": "2021-01"})
