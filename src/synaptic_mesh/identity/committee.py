"""The committee of one epoch: who votes, with what stake, and how much stake decides.

With total stake S, at most a third may lie. quorum q = 2S//3 + 1: any two quorums share more than S/3 of stake, so at
least one honest validator. validity v = (S+2)//3 = ceil(S/3): that much stake holds at least one honest validator. f =
S - q is what may fail or lie while a quorum remains. For S = 1, 2, 3, 4, 7: q = 1, 2, 3, 3, 5; v = 1, 1, 1, 2, 3; f =
0, 0, 0, 1, 2.
"""

from collections.abc import Iterable
from functools import cached_property

from synaptic_mesh.base.codec import Record
from synaptic_mesh.base.ids import PEER_ID_BYTES, AuthorIndex, PeerId, short

COMMITTEE_SIZE_MAX = 1_000
"""Validators in one committee. Committers use one bit for each."""

STAKE_TOTAL_MAX = (1 << 62) - 1
"""Sum of stakes: equals the supply bound, so no sum of stakes leaves 64 bits, in any language."""

POST_QUANTUM_KEY_BYTES = 1_952
"""An ML-DSA-65 public key."""


class Validator(Record):
    """One voting member: its key and its stake in the smallest unit (> 0). In a network with hybrid signatures also its
    ML-DSA-65 key, otherwise that is empty.
    """

    peer: PeerId
    stake: int
    post_quantum_key: bytes = b""


class Committee(Record, dict=True):
    """Validators of one epoch, sorted by peer id. Position in `validators` is the author index.

    Raises ValueError (PeerError when decoded from bytes) if empty, unsorted, doubled, or a stake is out of range.
    """

    epoch: int
    validators: tuple[Validator, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.epoch < 1 << 63:
            raise ValueError(f"epoch {self.epoch} is out of range")
        if not 1 <= len(self.validators) <= COMMITTEE_SIZE_MAX:
            raise ValueError(f"a committee has 1 to {COMMITTEE_SIZE_MAX} validators, not {len(self.validators)}")
        previous = b""
        for validator in self.validators:
            if len(validator.peer) != PEER_ID_BYTES:
                raise ValueError(f"validator id has {len(validator.peer)} bytes, not {PEER_ID_BYTES}")
            if validator.stake <= 0:
                raise ValueError(f"validator {short(validator.peer)} has stake {validator.stake}; it must be positive")
            if validator.peer <= previous:
                raise ValueError(f"validator {short(validator.peer)} is doubled or out of order; sort by peer id")
            size = len(validator.post_quantum_key)
            if size not in (0, POST_QUANTUM_KEY_BYTES):
                raise ValueError(f"validator {short(validator.peer)} has a post-quantum key of {size} bytes")
            previous = validator.peer
        if len({len(validator.post_quantum_key) for validator in self.validators}) > 1:
            raise ValueError("some validators have a post-quantum key and some have none: all sign alike")
        if self.total_stake > STAKE_TOTAL_MAX:
            raise ValueError(f"total stake {self.total_stake} is over {STAKE_TOTAL_MAX}")

    @property
    def is_hybrid(self) -> bool:
        """Do its members sign with Ed25519 and ML-DSA-65?"""
        return bool(self.validators[0].post_quantum_key)

    @property
    def size(self) -> int:
        """n, the number of validators."""
        return len(self.validators)

    @cached_property
    def total_stake(self) -> int:
        """S."""
        return sum(validator.stake for validator in self.validators)

    @cached_property
    def quorum(self) -> int:
        """q = 2S//3 + 1: the smallest stake above two thirds."""
        return 2 * self.total_stake // 3 + 1

    @cached_property
    def validity(self) -> int:
        """v = (S+2)//3 = ceil(S/3): the smallest stake that cannot all be dishonest."""
        return (self.total_stake + 2) // 3

    @cached_property
    def faulty_stake_max(self) -> int:
        """f = S - q: stake that may be silent or lie while the rest still makes a quorum."""
        return self.total_stake - self.quorum

    @cached_property
    def peers(self) -> tuple[PeerId, ...]:
        """Peer ids by author index."""
        return tuple(validator.peer for validator in self.validators)

    @cached_property
    def stakes(self) -> tuple[int, ...]:
        """Stakes by author index."""
        return tuple(validator.stake for validator in self.validators)

    @cached_property
    def _indices(self) -> dict[PeerId, AuthorIndex]:
        return {peer: AuthorIndex(index) for index, peer in enumerate(self.peers)}

    def __contains__(self, peer: object) -> bool:
        return peer in self._indices

    def index_of(self, peer: PeerId) -> AuthorIndex | None:
        """Author index of a peer, or None if it does not vote in this epoch."""
        return self._indices.get(peer)

    def stake_of(self, peer: PeerId) -> int:
        """Stake of a peer, 0 if it does not vote in this epoch."""
        index = self._indices.get(peer)
        return 0 if index is None else self.stakes[index]

    def stake(self, indices: Iterable[int]) -> int:
        """Sum of stake of distinct author indices, each in 0..n-1; an index given twice counts once."""
        stakes = self.stakes
        return sum(stakes[index] for index in set(indices))

    def is_quorum(self, stake: int) -> bool:
        """stake >= q = 2S//3 + 1."""
        return stake >= self.quorum

    def is_valid(self, stake: int) -> bool:
        """stake >= v = ceil(S/3): one honest validator stands behind it."""
        return stake >= self.validity


def committee_of(epoch: int, stakes: dict[PeerId, int], keys: dict[PeerId, bytes] | None = None) -> Committee:
    """Return the committee of `stakes` (peer id to stake), sorted; `keys` are ML-DSA-65 keys for hybrid signatures.
    Raises ValueError like `Committee`.
    """
    post_quantum = keys or {}
    return Committee(
        epoch, tuple(Validator(peer, stakes[peer], post_quantum.get(peer, b"")) for peer in sorted(stakes))
    )
