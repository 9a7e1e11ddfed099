"""What a validator may choose for itself (`Settings`) and what all must share (`Rules`, and limits in `admission`)."""

from dataclasses import dataclass, replace

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.identity.committee import Committee


@dataclass(frozen=True, slots=True)
class Rules:
    """Thresholds of the commit rule in stake, equal on every validator of an epoch. Waves have three rounds.

    The names follow the parameterised committer of mysticeti and its relatives, so that another protocol of the family
    is another set of numbers.
    """

    parent_stake: int  # blocks of the round before that a block must reference
    certificate_stake: int  # votes for a leader within the history of one block that make it a certificate
    commit_stake: int  # certificates that commit a leader directly
    skip_stake: int  # blocks of the next round without the leader that skip it directly
    link_stake: int  # certificates within an anchor's history that commit a leader indirectly
    faulty_stake_max: int  # f: stake that may lie
    gc_depth: int  # rounds below the last committed leader that can still be ordered; Sui uses 60


def mysticeti(committee: Committee, gc_depth: int = 60) -> Rules:
    """Return Mysticeti-C's thresholds: every quorum is q = 2S//3 + 1, one certificate links. arXiv:2310.14821."""
    if gc_depth < 8:
        raise LocalError(f"gc_depth {gc_depth} is below 8 rounds: a wave has 3 and late blocks need the rest")
    q = committee.quorum
    return Rules(q, q, q, q, 1, committee.faulty_stake_max, gc_depth)


@dataclass(frozen=True, slots=True)
class Settings:
    """One validator's times and bounds. Differing settings cost speed, never agreement."""

    min_round_delay_ms: int = 20  # between own blocks; three rounds make a commit
    idle_round_ms: int = 1_000  # between own blocks while no transaction waits anywhere
    leader_timeout_ms: int = 250  # wait for a leader after a quorum of its round; Sui's value
    backoff_ms_max: int = 4_000  # cap of every repeated timer
    drift_ms_max: int = 500  # blocks from further in the future are not referenced yet; Sui's value
    advert_ms: int = 5_000  # how often a node says how far it is
    round_window: int = 40  # rounds above the clock at which a block is still kept; below gc_depth
    sync_gap: int = 4  # rounds behind at which whole rounds are asked for instead of single blocks
    fetch_delay_ms: int = 10  # grace before a missing ancestor is asked for: it is often just late
    fetch_timeout_ms: int = 250  # wait for an answer before another peer is asked
    fetch_refs_max: int = 128  # refs in one request, and answered from one request
    fetch_in_flight_max: int = 512  # refs asked for at one time
    answer_blocks_max: int = 512  # blocks in one answer
    answer_bytes_max: int = 960 << 10  # bytes in one answer, at least one block: an answer is one control message
    suspended_per_author_max: int = 256  # blocks that wait for ancestors
    suspended_bytes_per_author_max: int = 16 << 20
    history_blocks_max: int = 50_000  # blocks below the gc round kept in memory to serve late peers
    history_bytes_max: int = 64 << 20
    block_transactions_max: int = 1_024  # put into one own block
    block_payload_bytes_max: int = 512 << 10
    pool_transactions_max: int = 65_536
    pool_bytes_max: int = 64 << 20

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise LocalError(f"consensus setting {name} is {getattr(self, name)}; it must be positive")
        if self.idle_round_ms < self.min_round_delay_ms:
            raise LocalError(
                f"idle_round_ms {self.idle_round_ms} is below min_round_delay_ms {self.min_round_delay_ms}"
            )


def lan() -> Settings:
    """One machine or one building."""
    return Settings()


def wan() -> Settings:
    """Continents apart: a leader's block may need half a second."""
    return replace(
        Settings(), min_round_delay_ms=50, leader_timeout_ms=1_000, fetch_delay_ms=50, fetch_timeout_ms=1_000
    )
