"""Paying the validators: what was collected in fees, less what is burned, and what is minted, in parts of their stake.

    burned = floor(collected * fee_burn_ppm / 10^6)
    minted = min(floor(supply * inflation_ppb / 10^9), supply_cap - supply)
    pot    = collected - burned + minted
    share  = floor(pot * stake / stake of all who are paid)

Paid is who had a block ordered since the last time: a silent validator earns nothing, and how many blocks it had does
not matter, so nobody gains from keeping another's out of one commit. Who has signed two blocks for one slot is not paid
any more in this epoch. What the divisions leave over stays collected for the next time, and so does everything when
nobody is to be paid.
"""

from synaptic_mesh.ledger.context import CommitContext
from synaptic_mesh.ledger.economics import minted_of, share_ppm, shares_by_stake
from synaptic_mesh.ledger.events import RewardsPaid


def pay_rewards(context: CommitContext, active: set[bytes]) -> None:
    """Make the payments that are due at every `reward_commits`-th commit to the validators in `active`, which then is
    empty.
    """
    economics, bank = context.economics, context.bank
    if context.commit_index % economics.reward_commits:
        return
    burned = share_ppm(bank.collected, economics.fee_burn_ppm)
    bank.burn(burned)
    minted = minted_of(economics, bank.total())
    bank.mint(minted)
    paid = [entry for entry in context.committee.validators if entry.peer in active - context.convicted]
    active.clear()
    shares = shares_by_stake(bank.collected, [entry.stake for entry in paid])
    for entry, share in zip(paid, shares, strict=True):
        bank.reward(entry.peer, share)
    if burned or minted or any(shares):
        given = tuple((bytes(entry.peer), share) for entry, share in zip(paid, shares, strict=True))
        context.events.append(RewardsPaid(context.commit_index, minted, burned, given))
