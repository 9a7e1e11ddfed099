"""What a quorum of auditors says of an update. Pure functions of committed facts.

"It matches" is nearly always right, so agreement alone would prove nothing. Each result carries a witness, a hash over
all intermediate states, which its auditor committed to before any was open: only who ran the update can know it. A
group of equal (delta, trace root, witness) with a quorum of stake is the truth: q = 2S//3 + 1 > 2S/3, so more than S/3
of it, at least one honest validator, computed it, and two such groups cannot exist.
"""

import enum
from collections.abc import Mapping

import msgspec

from synaptic_mesh.base.ids import PeerId, short
from synaptic_mesh.identity.committee import Committee
from synaptic_mesh.ledger.jobs import UpdateState
from synaptic_mesh.ledger.transactions import Verdict


class Outcome(enum.Enum):
    """What becomes of an available update."""

    ACCEPTED = "accepted"
    FALSE = "false"
    SILENT = "silent"
    UNDECIDED = "undecided"


class Judgement(msgspec.Struct, frozen=True):
    """The outcome, the auditors whose equal results decided it (ascending), and a sentence."""

    outcome: Outcome
    auditors: tuple[bytes, ...]
    reason: str


def judge(update: UpdateState, verdicts: Mapping[bytes, Verdict], committee: Committee) -> Judgement:
    """Compare an update with what the auditors (auditor -> its verdict on this worker) obtained."""
    truth, auditors = find_truth(verdicts, committee)
    if truth is None:
        return Judgement(Outcome.UNDECIDED, (), "no quorum of auditors obtained equal results")
    if truth.delta != update.delta.digest:
        claim, found, what = update.delta.digest, truth.delta, "delta"
    elif truth.trace_root != update.trace_root:
        claim, found, what = update.trace_root, truth.trace_root, "trace root"
    elif not update.witness:
        return Judgement(Outcome.SILENT, auditors, "the worker did not open its witness")
    elif truth.witness != update.witness:
        claim, found, what = update.witness, truth.witness, "witness"
    else:
        return Judgement(Outcome.ACCEPTED, auditors, "")
    return Judgement(Outcome.FALSE, auditors, f"the {what} is {short(found)}, not {short(claim)}")


def find_truth(verdicts: Mapping[bytes, Verdict], committee: Committee) -> tuple[Verdict | None, tuple[bytes, ...]]:
    """Return the verdict that a quorum of stake shares and who shares it, or (None, ())."""
    groups: dict[Verdict, list[bytes]] = {}
    for auditor in sorted(verdicts):
        groups.setdefault(verdicts[auditor], []).append(auditor)
    for verdict, auditors in groups.items():
        if committee.is_quorum(sum(committee.stake_of(PeerId(auditor)) for auditor in auditors)):
            return verdict, tuple(auditors)
    return None, ()
