"""Gathers the signatures of checkpoints; signs those of its own replica; compares, and stops a replica that is alone.

1. `executed`: a commit that has a checkpoint has run here. A validator signs it, unless it has signed this or a later
   one, or a quorum has. The vote leaves as StoreVote: nothing is sent before `stored` says that it is on the disk, so
   after a restart the own signature for an index is known, and never made again over another state.
2. `stored`: the vote is broadcast.
3. Votes for one checkpoint with stake of a quorum become a certificate, whether this replica has got so far or not.
4. Whoever has executed a checkpoint that nobody certified yet repeats its vote every RESEND_MS and asks one peer for
   its newest certificate; so does a new link. Messages may be lost; older checkpoints are superseded.
5. Two votes of one author for one commit are a DoubleVote. A vote for another state than the own is a Dissent. When
   the dissenting stake is more than f = S - q, an honest validator is among it: then at least one honest replica
   computed another state than this one, and it halts instead of executing further.

Bounds: for each author VOTES_KEPT commits with two votes each; whose index is higher displaces only the same author's
older ones, so a liar cannot displace anybody's.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, cast

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.base.ids import PeerId, short
from synaptic_mesh.ledger.checkpoint import (
    Checkpoint,
    CheckpointCertificate,
    CheckpointMessage,
    CheckpointQuestion,
    CheckpointRules,
    CheckpointVote,
    Sign,
    sign_checkpoint,
)
from synaptic_mesh.ledger.checkpoint_effects import (
    Broadcast,
    Contradiction,
    Dissent,
    DoubleVote,
    Effect,
    Halt,
    Send,
    StoreCertificate,
    StoreVote,
)

VOTES_KEPT = 4
"""Newest commits of which an author's votes are kept, two votes for each: the second convicts it."""
OWN_KEPT = 64
"""Newest own checkpoints, to compare others' with."""
SIGNED_KEPT = 256
"""Newest own votes that a restart compares with what it executes again."""
RESEND_MS = 2_000
"""Pause between two tries to get the newest checkpoint certified."""
ANSWER_MS = 500
"""Least time between two answers to one peer."""
ANSWER_BYTES_MAX = 1_000_000
"""A larger certificate does not fit into a message and is not sent: one of more than 295 hybrid signatures."""


class Certifier:
    """See the module's docstring. author, sign: of this validator; None for an observer."""

    def __init__(self, rules: CheckpointRules, author: int | None = None, sign: Sign | None = None) -> None:
        self.rules = rules
        self.certified: CheckpointCertificate | None = None
        self._author = author
        self._sign = sign
        self._own: dict[int, Checkpoint] = {}
        self._signed: dict[int, Checkpoint] = {}
        self._storing: deque[CheckpointVote] = deque()
        self._vote: CheckpointVote | None = None  # the newest own vote that is stored
        self._votes: dict[int, dict[int, list[CheckpointVote]]] = {}  # author -> commit -> one or two votes
        self._ahead: CheckpointCertificate | None = None  # the next one that this replica has to reach
        self._peers: dict[PeerId, int] = {}  # connected peer -> when it may be answered again
        self._contradiction: Contradiction | None = None  # the first
        self._turn = 0
        self._due_ms: int | None = None
        self._is_live = False

    @property
    def certified_index(self) -> int:
        """The commit of the newest certificate, 0 when there is none."""
        return 0 if self.certified is None else self.certified.checkpoint.index

    @property
    def executed_index(self) -> int:
        """The newest own checkpoint, 0 when there is none."""
        return max(self._own, default=0)

    # --- start

    def restore(self, each: CheckpointVote | CheckpointCertificate) -> None:
        """Take what the log holds, one after the other in its order, before anything is executed."""
        if isinstance(each, CheckpointVote):
            self._vote = each
            self._signed[each.checkpoint.index] = each.checkpoint
            if len(self._signed) > SIGNED_KEPT:
                del self._signed[next(iter(self._signed))]  # they ascend
        elif each.checkpoint.index > self.certified_index:
            self.certified = self._ahead = each

    def resume(self, now_ms: int) -> list[Effect]:
        """The log has been executed again: from now on checkpoints are signed and sent."""
        self._is_live = True
        effects: list[Effect] = [] if self._contradiction is None else [self._contradiction]
        newest = self._own.get(self.executed_index)
        effects += [] if newest is None else self._sign_own(newest)
        if self._vote is not None:
            effects += self._take(self._vote)
        self._arm(now_ms)
        return effects

    # --- the own replica

    def executed(self, checkpoint: Checkpoint, now_ms: int) -> list[Effect]:
        """The replica's state after a commit that has a checkpoint. Commits ascend."""
        index = checkpoint.index
        self._own[index] = checkpoint
        if len(self._own) > OWN_KEPT:
            del self._own[min(self._own)]
        effects: list[Effect] = []
        signed = self._signed.get(index, checkpoint)
        if signed != checkpoint and self._contradiction is None:
            self._contradiction, self._vote = Contradiction(signed, checkpoint), None
        votes = [vote for kept in self._votes.values() for vote in kept.get(index, ())]
        effects += self._dissents(votes, checkpoint)
        if self._ahead is not None and self._ahead.checkpoint.index <= index:
            if self._ahead.checkpoint.index == index and self._ahead.checkpoint != checkpoint:
                effects.append(self._halt(checkpoint, self._ahead.checkpoint, self._stake_of(self._ahead)))
            self._ahead = self.certified if self.certified_index > index else None
        if self._is_live:
            effects += self._sign_own(checkpoint)
            self._arm(now_ms)
        return effects

    def stored(self, now_ms: int) -> list[Effect]:
        """The oldest StoreVote is on the disk."""
        vote = self._vote = self._storing.popleft()
        effects: list[Effect] = []
        if vote.checkpoint.index > self.certified_index:
            effects.append(Broadcast(vote))
        effects += self._take(vote)
        self._arm(now_ms)
        return effects

    def _sign_own(self, checkpoint: Checkpoint) -> list[Effect]:
        if self._author is None or self._sign is None:
            return []
        if checkpoint.index <= max(self.certified_index, max(self._signed, default=0)):
            return []
        vote = sign_checkpoint(checkpoint, self._author, self._sign)
        self._signed = {checkpoint.index: checkpoint}  # nothing is executed twice any more: the highest is enough
        self._storing.append(vote)
        return [StoreVote(vote)]

    # --- others

    def connected(self, peer: PeerId, now_ms: int) -> list[Effect]:
        """Messages reach this peer now."""
        self._peers[peer] = now_ms
        effects: list[Effect] = [Send(peer, CheckpointQuestion(self.certified_index))]
        if self._vote is not None and self._vote.checkpoint.index > self.certified_index:
            effects.append(Send(peer, self._vote))
        return effects

    def disconnected(self, peer: PeerId) -> None:
        """Messages to this peer would be lost."""
        self._peers.pop(peer, None)

    def receive_untrusted(self, peer: PeerId, data: bytes, now_ms: int) -> list[Effect]:
        """Take a message. Raises PeerError."""
        message = cast(CheckpointMessage, decode_untrusted(cast(Any, CheckpointMessage), data))
        if isinstance(message, CheckpointVote):
            return self._receive_vote_untrusted(peer, message)
        if isinstance(message, CheckpointCertificate):
            return self._receive_certificate_untrusted(message)
        return self._answer(peer, message.above, now_ms)

    def _receive_vote_untrusted(self, peer: PeerId, vote: CheckpointVote) -> list[Effect]:
        """Known and old votes cost no check of a signature."""
        checkpoint = vote.checkpoint
        if vote.author != self.rules.committee.index_of(peer):
            raise PeerError(f"a vote of author {vote.author} on checkpoint {checkpoint.index} came from {short(peer)}")
        self.rules.check_place_untrusted(checkpoint)
        kept = self._votes.get(vote.author, {})
        same = kept.get(checkpoint.index, [])
        is_known = any(each.checkpoint == checkpoint for each in same)
        if is_known or (not same and len(kept) == VOTES_KEPT and checkpoint.index < min(kept)):
            return []
        if len(same) == 2:
            raise PeerError(f"author {vote.author} signed a third state for commit {checkpoint.index}")
        self.rules.check_signature_untrusted(checkpoint, vote.author, vote.signature)
        return self._take(vote)

    def _receive_certificate_untrusted(self, certificate: CheckpointCertificate) -> list[Effect]:
        if certificate.checkpoint.index <= self.certified_index:
            return []
        self.rules.check_certificate_untrusted(certificate)
        return self._certify(certificate)

    def _answer(self, peer: PeerId, above: int, now_ms: int) -> list[Effect]:
        if self.certified is None or self.certified_index <= above or self._peers.get(peer, now_ms + 1) > now_ms:
            return []
        self._peers[peer] = now_ms + ANSWER_MS
        return [Send(peer, self.certified)] if len(encode(self.certified)) <= ANSWER_BYTES_MAX else []

    # --- votes and certificates

    def _take(self, vote: CheckpointVote) -> list[Effect]:
        """A vote whose signature is right."""
        kept = self._votes.setdefault(vote.author, {})
        same = kept.setdefault(vote.checkpoint.index, [])
        same.append(vote)
        if len(kept) > VOTES_KEPT:
            del kept[min(kept)]
        effects: list[Effect] = [DoubleVote(*same)] if len(same) == 2 else []
        own = self._own.get(vote.checkpoint.index)
        if own is not None:
            effects += self._dissents([vote], own)
        return effects + self._try_certify(vote.checkpoint)

    def _try_certify(self, checkpoint: Checkpoint) -> list[Effect]:
        if checkpoint.index <= self.certified_index:
            return []
        found = {
            author: vote.signature
            for author, kept in self._votes.items()
            for vote in kept.get(checkpoint.index, ())
            if vote.checkpoint == checkpoint
        }
        if not self.rules.committee.is_quorum(self.rules.committee.stake(found)):
            return []
        return self._certify(CheckpointCertificate(checkpoint, tuple(sorted(found.items()))))

    def _certify(self, certificate: CheckpointCertificate) -> list[Effect]:
        """A valid certificate, newer than all before."""
        self.certified = certificate
        checkpoint = certificate.checkpoint
        own = self._own.get(checkpoint.index)
        if own is not None and own != checkpoint:
            return [self._halt(own, checkpoint, self._stake_of(certificate))]
        if self._ahead is None and checkpoint.index > self.executed_index:
            self._ahead = certificate
        return [StoreCertificate(certificate)]

    def _dissents(self, votes: Sequence[CheckpointVote], own: Checkpoint) -> list[Effect]:
        """Report new votes for another state; halt when an honest validator must be among their authors."""
        effects: list[Effect] = [Dissent(vote, own) for vote in votes if vote.checkpoint != own]
        if not effects:
            return []
        others = {
            author: vote.checkpoint
            for author, kept in self._votes.items()
            for vote in kept.get(own.index, ())
            if vote.checkpoint != own
        }
        stake = self.rules.committee.stake(others)
        if stake > self.rules.committee.faulty_stake_max:
            effects.append(self._halt(own, next(iter(others.values())), stake))
        return effects

    def _stake_of(self, certificate: CheckpointCertificate) -> int:
        return self.rules.committee.stake(author for author, _ in certificate.signatures)

    def _halt(self, own: Checkpoint, other: Checkpoint, stake: int) -> Halt:
        names = [name for name in Checkpoint.__struct_fields__ if getattr(own, name) != getattr(other, name)]
        return Halt(
            f"this replica stops at commit {own.index}: validators with stake {stake} of "
            f"{self.rules.committee.total_stake} signed another state ({', '.join(names)}; root "
            f"{short(other.state_root)}, here {short(own.state_root)}): compare program versions, test this machine's "
            "memory, and start again from an empty log"
        )

    # --- time

    def handle_deadline(self, now_ms: int) -> list[Effect]:
        """Called at or after `deadline_ms()`."""
        if self._due_ms is None or now_ms < self._due_ms:
            return []
        if self.executed_index <= self.certified_index:
            self._due_ms = None
            return []
        self._due_ms = now_ms + RESEND_MS
        effects: list[Effect] = []
        if self._vote is not None and self._vote.checkpoint.index > self.certified_index:
            effects.append(Broadcast(self._vote))
        if self._peers:
            self._turn += 1
            peer = sorted(self._peers)[self._turn % len(self._peers)]
            effects.append(Send(peer, CheckpointQuestion(self.certified_index)))
        return effects

    def deadline_ms(self) -> int | None:
        """When to look whether the newest own checkpoint is certified, and to try again if not."""
        return self._due_ms

    def _arm(self, now_ms: int) -> None:
        if self._due_ms is None and self.executed_index > self.certified_index:
            self._due_ms = now_ms + RESEND_MS
