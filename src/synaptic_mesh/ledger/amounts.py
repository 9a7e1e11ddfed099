"""Amounts of money: integers in the smallest unit, decimal strings for people, never a float.

1 rUv = 10^9 units. An amount stays below 2^63 and the whole supply below 2^62, so the sum of any two legal amounts fits
in a signed 64-bit integer in every language that will ever read the state.
"""

import re

from synaptic_mesh.base.errors import LocalError

DECIMALS = 9
UNITS_PER_RUV = 10**DECIMALS
AMOUNT_MAX = (1 << 63) - 1
SUPPLY_MAX = (1 << 62) - 1
_DECIMAL = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,9}))?", re.ASCII)


def format_amount(units: int) -> str:
    """Return units as an exact decimal string of rUv without trailing zeros: 1_500_000_000 -> "1.5"."""
    whole, rest = divmod(abs(units), UNITS_PER_RUV)
    fraction = f".{rest:0{DECIMALS}d}".rstrip("0") if rest else ""
    return f"{'-' if units < 0 else ''}{whole}{fraction}"


def parse_amount(text: str) -> int:
    """Return the units that a decimal string of rUv names, exactly. Raises LocalError for anything that is not a plain
    non-negative decimal with at most nine decimals and below 2^63 units.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise LocalError(f"{text!r} is not an amount: give digits with at most {DECIMALS} decimals, for example 12.5")
    units: int = int(match[1]) * UNITS_PER_RUV + int((match[2] or "").ljust(DECIMALS, "0"))
    if units > AMOUNT_MAX:
        raise LocalError(f"amount {text} is over the largest one, {format_amount(AMOUNT_MAX)} rUv")
    return units
