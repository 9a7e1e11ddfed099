"""Punishing a validator that signed two blocks for one slot.

What is a proof is consensus' business: the ledger is given a judge and asks it. It takes nobody's word: everybody may
report, every replica asks the judge again, and a validator is punished once in an epoch, however often it did it.
"""

from collections.abc import Callable

from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.base.ids import PeerId, short
from synaptic_mesh.ledger.context import CommitContext
from synaptic_mesh.ledger.economics import share_ppm
from synaptic_mesh.ledger.events import EquivocationPunished
from synaptic_mesh.ledger.reject import LedgerReject
from synaptic_mesh.ledger.transactions import EVIDENCE_BYTES_MAX, ReportEquivocation

Judge = Callable[[bytes], PeerId]
"""From evidence to the validator of this network and epoch that it convicts; raises PeerError when it convicts nobody.
It depends on the bytes, the network and the committee alone: replicas with different judges would fork.
"""


def no_judge(evidence: bytes) -> PeerId:
    """Convict nobody: for networks whose consensus cannot be lied to, of one validator."""
    raise PeerError(f"{len(evidence)} bytes of evidence: this network has no judge of equivocation")


def report_equivocation(context: CommitContext, judge: Judge, sender: bytes, action: ReportEquivocation) -> None:
    """Take the convicted validator's share of voting and unbonding stake; part of it goes to who reported, unless they
    are the same.
    """
    if len(action.evidence) > EVIDENCE_BYTES_MAX:
        raise LedgerReject(f"{len(action.evidence)} bytes of evidence are over the limit of {EVIDENCE_BYTES_MAX}")
    try:
        author = judge(action.evidence)
    except PeerError as error:
        raise LedgerReject(f"the evidence convicts nobody: {error}") from None
    voting = context.committee.stake_of(author)
    if not voting:
        raise LedgerReject(f"{short(author)} is not a validator of epoch {context.committee.epoch}")
    if author in context.convicted:
        raise LedgerReject(f"validator {short(author)} is punished already in epoch {context.committee.epoch}")
    context.convicted.add(author)
    ppm = context.economics.equivocation_slash_ppm
    unbonding = share_ppm(context.bank.get(author).unbonding, ppm)
    slashed = share_ppm(voting, ppm) + unbonding
    context.bank.seize_unbonding(author, unbonding)
    context.bank.seize(author, slashed - unbonding)
    reward = 0 if sender == author else share_ppm(slashed, context.economics.reporter_reward_ppm)
    context.bank.grant(sender, reward)
    context.events.append(EquivocationPunished(author, sender, slashed, reward))
