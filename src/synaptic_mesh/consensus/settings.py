"""What a validator may choose for itself (`Settings`) and what all must share (`Rules`, and limits in `admission`)."""

from dataclasses import dataclass, replace

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.identity.committee import Committee

SINGLE_LEADER_SIZE_MAX = 7
"""Up to this many validators a round has one leader: a silent one of two would cost a time-out in half of the rounds.
"""
TWO_DELAY_SIZE_MIN = 6
"""5f + 1 with f = 1: below it the 2-delay rule tolerates no liar at all."""
GC_DEPTH_MIN = 8


@dataclass(frozen=True, slots=True)
class Rules:
    """Thresholds of the commit rule in stake, equal on every validator of an epoch.

    The names follow the parameterised committer of mysticeti and its relatives, so that another protocol of the family
    is another set of numbers: `mysticeti` (three message delays, n >= 3f + 1), `two_delay` (two, n >= 5f + 3c + 1).
    """

    wave_rounds: int  # 3: leader, vote, certificate; 2: leader, and votes that are certificates
    parent_stake: int  # blocks of the round before that a block must reference
    certificate_stake: int  # votes for a leader within the history of one block that make it a certificate (wave of 3)
    commit_stake: int  # certificates that commit a leader directly
    skip_stake: int  # blocks of the next round without the leader that skip it directly
    link_stake: int  # certificates within an anchor's history that commit a leader indirectly
    faulty_stake_max: int  # f: stake that may lie
    leader_count: int = 1  # L: leader slots of a round
    is_pipelined: bool = True  # a wave starts in every round; otherwise in rounds divisible by wave_rounds
    reputation_commits: int = 100  # commits after which silent leaders are swapped; Sui uses 300
    gc_depth: int = 60  # rounds below the last committed leader that can still be ordered; Sui's value

    def __post_init__(self) -> None:
        if self.wave_rounds not in (2, 3):
            raise LocalError(f"a wave of {self.wave_rounds} rounds: this rule knows waves of 2 and of 3")
        for name in ("parent_stake", "certificate_stake", "commit_stake", "skip_stake", "link_stake"):
            if getattr(self, name) < 1:
                raise LocalError(f"{name} is {getattr(self, name)}; a threshold is at least 1")
        if self.leader_count < 1 or self.reputation_commits < 1:
            raise LocalError(
                f"{self.leader_count} leaders a round, chosen every {self.reputation_commits} commits: use 1 or more"
            )

    def has_leaders(self, round_: int) -> bool:
        """Does a wave start in this round?"""
        return round_ >= 1 and (self.is_pipelined or round_ % self.wave_rounds == 0)


def mysticeti(committee: Committee, gc_depth: int = 60) -> Rules:
    """Return Mysticeti-C's thresholds: every quorum is q = 2S//3 + 1, one certificate links. arXiv:2310.14821."""
    _check_depth(gc_depth)
    q = committee.quorum
    return Rules(3, q, q, q, q, 1, committee.faulty_stake_max, _leader_count(committee), gc_depth=gc_depth)


def two_delay(committee: Committee, faulty_stake: int = 0, crashed_stake: int = 0, gc_depth: int = 60) -> Rules:
    """Return the rule that commits after two message delays, for S >= 5f + 3c + 1: f stake may lie and c more may fall
    silent. faulty_stake 0 means the most that S allows.

    Commit, certificate and parents need S-f-c, a skip 4f+2c+1, a link S-3f-2c. A commit's votes and an anchor's parents
    share (S-f-c) + (S-f-c) - S - f = S-3f-2c honest stake, so an anchor always finds a committed leader; after a skip
    or beside a committed twin only S - (4f+2c+1) + f or 2f + c votes are left, fewer than a link.
    Orcaella (Sonnino et al. 2026); Sui's committer version 3. Raises LocalError if the committee is too small.
    """
    total = committee.total_stake
    f = faulty_stake or (total - 3 * crashed_stake - 1) // 5
    c = crashed_stake
    if committee.size < TWO_DELAY_SIZE_MIN or f < 1 or c < 0 or total < 5 * f + 3 * c + 1:
        raise LocalError(
            f"{committee.size} validators with stake {total} cannot decide in two delays with f = {max(f, 0)}, c = {c}"
            f": that needs at least {TWO_DELAY_SIZE_MIN} validators and stake 5f + 3c + 1; use the three-delay rule"
        )
    _check_depth(gc_depth)
    q = total - f - c
    return Rules(
        2, q, q, q, 4 * f + 2 * c + 1, q - 2 * f - c, f, leader_count=_leader_count(committee), gc_depth=gc_depth
    )


def _leader_count(committee: Committee) -> int:
    return 1 if committee.size <= SINGLE_LEADER_SIZE_MAX else 2


def _check_depth(gc_depth: int) -> None:
    if gc_depth < GC_DEPTH_MIN:
        raise LocalError(f"gc_depth {gc_depth} is below {GC_DEPTH_MIN} rounds: a wave has 3, late blocks need the rest")


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
    answer_bytes_per_s: int = 16 << 20  # answered to one peer in the long run
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
