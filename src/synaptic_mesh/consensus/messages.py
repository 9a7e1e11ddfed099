"""What the consensus core takes (events), returns (effects) and sends to peers (messages, canonical Records).

A shell turns bytes from a peer into an event with `receive_untrusted`, and encodes messages with `encode_message`.
"""

from collections.abc import Callable
from typing import Any, cast

import msgspec

from synaptic_mesh.base.codec import Record, decode_untrusted, encode
from synaptic_mesh.base.ids import Digest, PeerId
from synaptic_mesh.consensus.block import U32, U63, BlockRef, Hash, VerifiedBlock

# --- messages between peers ------------------------------------------------------------------------------------------


class Blocks(Record, tag="blocks"):
    """Encoded blocks: a broadcast (one block) or the answer to a request (in ascending rounds)."""

    blocks: tuple[bytes, ...]


class BlocksRequest(Record, tag="ask_blocks"):
    """Send me these blocks, as far as you have them."""

    refs: tuple[BlockRef, ...]


class RoundsRequest(Record, tag="ask_rounds"):
    """Send me blocks of every author from this round up, in ascending rounds, as many as one answer holds.

    If you have to read your store for that: I have every block that I shall ever need up to `floor_round`, so begin
    above it; or at `place`, if that is not 0, where your answer before ended.
    """

    first_round: U32
    floor_round: U32 = 0
    place: U63 = 0


class StoredBlocks(Record, tag="stored"):
    """Part of the sender's store, in the order in which it accepted the blocks. It goes on at `place`."""

    blocks: tuple[bytes, ...]
    place: U63


class Advert(Record, tag="advert"):
    """How far the sender is: `clock_round` is the round it may propose next, `history_round` the oldest it can still
    serve, from memory or from its store.
    """

    clock_round: U32
    history_round: U32
    commit_index: U63


class OwnRoundRequest(Record, tag="ask_own"):
    """I may have lost my store: what is the newest block of mine that you have seen?"""

    nonce: U63


class OwnRoundAnswer(Record, tag="own"):
    """The newest accepted block of the asker, encoded, or empty when none is known."""

    nonce: U63
    block: bytes


Message = Blocks | StoredBlocks | BlocksRequest | RoundsRequest | Advert | OwnRoundRequest | OwnRoundAnswer


# --- what is stored ---------------------------------------------------------------------------------------------------


class Commit(Record):
    """One position of the total order; equal on every honest validator, whatever way it was decided.

    `previous` is the digest of the commit before (a fixed digest before the first), `blocks` are the newly ordered
    blocks, leader last in round. `gc_round` is the bound for the next commit: blocks at or below it are never ordered
    any more. The turn from the next round on: `demoted` are the authors that no longer lead, because two blocks of one
    slot of theirs have been ordered; those in `favoured` lead in place of those in `benched` until the period ends.
    """

    index: U63
    previous: Hash
    leader: BlockRef
    timestamp_ms: U63
    gc_round: U32
    blocks: tuple[BlockRef, ...]
    demoted: tuple[U32, ...] = ()
    benched: tuple[U32, ...] = ()
    favoured: tuple[U32, ...] = ()


# --- events -----------------------------------------------------------------------------------------------------------


class BlocksReceived(msgspec.Struct, frozen=True):
    """Verified blocks from a peer (broadcast or answer), in the order in which they were sent. `place` is where its
    store goes on, or 0 if they do not come from there.
    """

    peer: PeerId
    blocks: tuple[VerifiedBlock, ...]
    place: int = 0


class MessageReceived(msgspec.Struct, frozen=True):
    """Any message that carries no blocks."""

    peer: PeerId
    message: BlocksRequest | RoundsRequest | Advert | OwnRoundRequest


class OwnRoundAnswered(msgspec.Struct, frozen=True):
    """A peer's answer about our newest block; None when it knows none."""

    peer: PeerId
    nonce: int
    block: VerifiedBlock | None


class TransactionsSubmitted(msgspec.Struct, frozen=True):
    """Transactions of this node's clients for its next blocks."""

    transactions: tuple[bytes, ...]


class Appended(msgspec.Struct, frozen=True):
    """The Append with this token is on stable storage (fsync returned). Tokens come back in ascending order."""

    token: int


class StoredRead(msgspec.Struct, frozen=True):
    """What a ReadStored found: encoded blocks, the place behind them, and the oldest round that the store still has in
    full.
    """

    peer: PeerId
    blocks: tuple[bytes, ...]
    place: int
    oldest_round: int = 1


class PeerConnected(msgspec.Struct, frozen=True):
    """Messages can be exchanged with this peer now (validator or observer). Requests go to connected peers only."""

    peer: PeerId


class PeerDisconnected(msgspec.Struct, frozen=True):
    """Messages to this peer would be lost."""

    peer: PeerId


Event = (
    BlocksReceived
    | MessageReceived
    | OwnRoundAnswered
    | TransactionsSubmitted
    | Appended
    | StoredRead
    | PeerConnected
    | PeerDisconnected
)


# --- effects ----------------------------------------------------------------------------------------------------------


class Append(msgspec.Struct, frozen=True):
    """Write blocks, then commits, in this order, fsync, then feed Appended(token). Appends are never reordered."""

    token: int
    blocks: tuple[VerifiedBlock, ...]
    commits: tuple[Commit, ...]


class ReadStored(msgspec.Struct, frozen=True):
    """Read stored records from `place` on, or if that is 0 from the first one with a block above `floor_round`
    (`stored.StoredIndex`, `stored.read_blocks`), and feed StoredRead. At most one for each peer is under way.
    """

    peer: PeerId
    floor_round: int
    place: int
    blocks_max: int
    bytes_max: int


class Stranded(msgspec.Struct, frozen=True):
    """Nobody who is connected keeps the rounds that this node needs next: `needed_round`; the oldest that is kept is
    `oldest_round`. Only a state that a quorum has signed helps now.
    """

    needed_round: int
    oldest_round: int


class Broadcast(msgspec.Struct, frozen=True):
    """Send to every connected peer."""

    message: Message


class Send(msgspec.Struct, frozen=True):
    """Send to one peer."""

    peer: PeerId
    message: Message


class Committed(msgspec.Struct, frozen=True):
    """The next commit, already on stable storage. `blocks` holds commit.blocks in order. Commits come without gaps.

    `direct` says how this node decided it (direct or indirect); it may differ between nodes and is not part of the
    commit.
    """

    commit: Commit
    digest: Digest
    blocks: tuple[VerifiedBlock, ...]
    direct: bool


class Skipped(msgspec.Struct, frozen=True):
    """A leader slot was decided as skipped. For counting; nothing needs to be done."""

    round: int
    author: int
    direct: bool


class Evidence(msgspec.Struct, frozen=True):
    """An author signed two blocks for one slot. `proof` is an encoded `evidence.EvidenceRecord`, fit for a transaction.
    Emitted once for each author in the life of a core, so in an epoch once for each start of the node.
    """

    author: int
    round: int
    proof: bytes


class TransactionsRefused(msgspec.Struct, frozen=True):
    """Transactions that did not enter the pool, and one sentence why. Known duplicates are not refused but ignored."""

    transactions: tuple[bytes, ...]
    reason: str


class Dropped(msgspec.Struct, frozen=True):
    """Something from a peer was dropped: for counting. `reason` is one of a few fixed words."""

    peer: PeerId
    reason: str
    count: int


Effect = (
    Append | ReadStored | Broadcast | Send | Committed | Skipped | Evidence | TransactionsRefused | Dropped | Stranded
)


# --- the border -------------------------------------------------------------------------------------------------------

Verify = Callable[[bytes], VerifiedBlock]
"""`admission.Admission.verify_untrusted`, or a memo of it: encoded block -> VerifiedBlock, raises PeerError."""


def encode_message(message: Message) -> bytes:
    """Return the bytes of a message for a peer."""
    return encode(message)


def receive_untrusted(peer: PeerId, data: bytes | memoryview, verify: Verify) -> Event:
    """Return the event that these bytes from a peer mean. Raises PeerError; one bad block spoils its whole message."""
    message = cast(Message, decode_untrusted(cast(Any, Message), data))
    return to_event(peer, message, verify)


def to_event(peer: PeerId, message: Message, verify: Verify) -> Event:
    """Return the event for a decoded message. Raises PeerError when a block in it breaks a rule."""
    if isinstance(message, Blocks):
        return BlocksReceived(peer, tuple([verify(data) for data in message.blocks]))
    if isinstance(message, StoredBlocks):
        return BlocksReceived(peer, tuple([verify(data) for data in message.blocks]), message.place)
    if isinstance(message, OwnRoundAnswer):
        return OwnRoundAnswered(peer, message.nonce, verify(message.block) if message.block else None)
    return MessageReceived(peer, message)
