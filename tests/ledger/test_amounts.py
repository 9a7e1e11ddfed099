import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.ledger.amounts import AMOUNT_MAX, format_amount, parse_amount


@pytest.mark.parametrize(
    ("units", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (1_500_000_000, "1.5"),
        (12 * 10**9, "12"),
        (-1_000_000_001, "-1.000000001"),
        (AMOUNT_MAX, "9223372036.854775807"),
    ],
)
def test_amounts_read_as_exact_decimals(units: int, text: str) -> None:
    assert format_amount(units) == text


@given(st.integers(0, AMOUNT_MAX))
def test_every_amount_survives_the_way_to_text_and_back(units: int) -> None:
    assert parse_amount(format_amount(units)) == units


@pytest.mark.parametrize("text", ["", "1.", ".5", "-1", "+1", "1e3", "1,5", "1.0000000001", " 1", "1\n", "1_0", "٣"])
def test_anything_but_a_plain_decimal_is_refused_by_name(text: str) -> None:
    with pytest.raises(LocalError, match="is not an amount: give digits"):
        parse_amount(text)


def test_amounts_of_2_to_the_63_and_more_are_refused() -> None:
    with pytest.raises(LocalError, match="over the largest one"):
        parse_amount("9223372036.854775808")
