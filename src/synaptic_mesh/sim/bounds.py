"""What a core may hold, and how much it holds: every collection that a peer can make grow, beside its named bound."""

from collections.abc import Iterator

from synaptic_mesh.consensus.core import Consensus
from synaptic_mesh.consensus.credit import BUCKETS_MAX
from synaptic_mesh.consensus.journal import UNWRITTEN_BLOCKS_MAX
from synaptic_mesh.consensus.serving import READS_MAX, WITHHELD_MAX
from synaptic_mesh.consensus.votes import RECENT_COMMITS_MAX

ROUNDS_OPEN_MAX = 400
"""Rounds between the gc round and the newest accepted block, beyond gc_depth and the window: rounds without a commit.
The protocol bounds them only by its liveness; a run in which they are more has lost it.
"""


def excesses(core: Consensus) -> list[str]:
    """One sentence for each collection of the core that is over its bound."""
    return [f"{name} holds {size}, over {bound}" for name, size, bound in sizes(core) if size > bound]


def sizes(core: Consensus) -> Iterator[tuple[str, int, int]]:
    """(name, size, bound) of every collection that grows with what peers send. Units: blocks, refs, bytes, slots."""
    settings, size, dag, suspended = core.settings, core.committee.size, core.dag, core.suspended
    rounds_max = core.rules.gc_depth + settings.round_window + ROUNDS_OPEN_MAX
    suspended_max = settings.suspended_per_author_max * size
    yield "rounds above the gc round", dag.highest_round - dag.gc_round, rounds_max
    yield "accepted blocks", len(dag), rounds_max * size * size
    for author in range(size):
        yield f"suspended blocks of {author}", len(suspended._by_author[author]), settings.suspended_per_author_max
        yield f"suspended bytes of {author}", suspended._bytes[author], settings.suspended_bytes_per_author_max
    yield "wanted refs", len(suspended.wanted), suspended_max * size
    yield "refs being fetched", len(core.fetcher._wants), 2 * suspended_max * size
    yield "old blocks", len(core.history._blocks), settings.history_blocks_max
    yield "old bytes", core.history.bytes, settings.history_bytes_max
    yield "transactions", len(core.pool._known), settings.pool_transactions_max
    yield "bytes of transactions", core.pool.bytes, settings.pool_bytes_max
    yield "recent commits", len(core.votes), RECENT_COMMITS_MAX + 1
    yield "peers ahead", len(core.rounds._ahead), size
    yield "peers with credit", len(core.serving.credit), BUCKETS_MAX
    yield "peers that keep too little", len(core.rounds._too_young), size
    yield "unwritten blocks", len(core.journal._blocks), UNWRITTEN_BLOCKS_MAX + suspended_max + 1
    yield "reads of the store", len(core.serving._reading), READS_MAX
    yield "own blocks held back", len(core.serving._withheld), WITHHELD_MAX
    yield "pushed peers", len(core._pushed), size
