"""The network's rules about money, as genesis fixes them. docs/economy.md works every formula out with numbers.

Everything is an integer: amounts in the smallest unit, shares in parts per million, inflation in parts per billion,
times in commits. Divisions round down, and what they leave over stays where it was.
"""

from collections.abc import Sequence

from synaptic_mesh.base.codec import Record
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.ledger.amounts import SUPPLY_MAX
from synaptic_mesh.ledger.manifest import PPM

PPB = 1_000_000_000
"""Inflation is in parts per billion of the supply for each reward interval."""
FEE_MAX = 1 << 40
"""About 1,100 rUv: above it a fee is a mistake."""
COMMITS_MAX = 1 << 40


class Economics(Record):
    """Fees, rewards, and what equivocation costs. Jobs choose their own pay and stakes in the manifest."""

    fee_flat: int = 1_000
    """Units for each transaction that asks for something. What a job's protocol asks of its participants pays it only
    when it is refused."""
    fee_per_record: int = 100
    """Units for each transfer, and for each 40 bytes of a manifest or of evidence begun."""
    fee_open_account: int = 1_000_000
    """Units for each account that a transfer opens: it stays in the state for ever."""
    fee_open_job: int = 100_000_000
    """Units for each job that is opened, beside its escrow: it takes one of few places."""
    fee_burn_ppm: int = 0
    """Share of the collected fees that is destroyed when the rest is paid out."""
    reward_commits: int = 100
    """After each so many commits validators are paid what was collected and minted."""
    inflation_ppb: int = 0
    """Units minted at that time for each 10^9 of supply."""
    supply_cap: int = SUPPLY_MAX
    """Nothing is minted beyond it."""
    unbonding_commits: int = 600_000
    """Commits from Unstake until the money is free: a week at one a second. 0: at once."""
    equivocation_slash_ppm: int = 500_000
    """Share of a validator's voting stake, and of what it is unbonding, that two blocks in one slot cost it."""
    reporter_reward_ppm: int = 100_000
    """Share of that for who reported it; the rest goes to the treasury."""


def no_fees() -> Economics:
    """Everything is free, and stake is withdrawn at once: for a mesh of one, and for tests about something else."""
    return Economics(fee_flat=0, fee_per_record=0, fee_open_account=0, fee_open_job=0, unbonding_commits=0)


def check_economics(economics: Economics, supply: int) -> None:
    """Raise LocalError, naming the value, unless a ledger with this supply at its start can run by these rules."""
    bounds = {
        "fee_flat": (0, FEE_MAX),
        "fee_per_record": (0, FEE_MAX),
        "fee_open_account": (0, FEE_MAX),
        "fee_open_job": (0, FEE_MAX),
        "fee_burn_ppm": (0, PPM),
        "reward_commits": (1, COMMITS_MAX),
        "inflation_ppb": (0, PPB),
        "supply_cap": (supply, SUPPLY_MAX),
        "unbonding_commits": (0, COMMITS_MAX),
        "equivocation_slash_ppm": (0, PPM),
        "reporter_reward_ppm": (0, PPM),
    }
    for name, (low, high) in bounds.items():
        value = getattr(economics, name)
        if not low <= value <= high:
            raise LocalError(f"economics.{name} is {value}, it must be between {low} and {high}")


def share_ppm(amount: int, ppm: int) -> int:
    """Return floor(amount * ppm / 10^6)."""
    return amount * ppm // PPM


def minted_of(economics: Economics, supply: int) -> int:
    """Return what one reward interval mints: floor(supply * inflation / 10^9), and nothing beyond the cap."""
    return max(min(supply * economics.inflation_ppb // PPB, economics.supply_cap - supply), 0)


def shares_by_stake(pot: int, stakes: Sequence[int]) -> list[int]:
    """Return floor(pot * stake / sum of stakes) for each stake: together at most the pot, and short of it by less than
    their number. Nothing for nobody's stake.
    """
    total = sum(stakes)
    return [pot * stake // total for stake in stakes] if total else [0] * len(stakes)
