"""Who works on what: a draw that every node repeats from committed facts.

The seed is H(job, step, attempt, root). A leader that orders root votes can grind it a little. While every update is
audited that gains nothing: pay does not depend on the shard, a false update is caught whichever shard it pretends to
come from, and no audit duty is drawn from it. When audits become sampled, duties must come from the hash chains of the
design's draws and not from here.
"""

from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.ledger.jobs import Assignment


def draw_assignments(
    job: bytes, step: int, attempt: int, root: bytes, workers: list[bytes], shard_count: int
) -> tuple[Assignment, ...]:
    """Return one assignment for each worker, in the given (ascending) order: shards in the order of their hashes with
    the seed, one worker per shard, len(workers) <= shard_count.
    """
    position = step.to_bytes(8, "little") + attempt.to_bytes(8, "little")
    seed = hash_bytes("SM/assignment/v1", job, position, root)
    drawn = sorted(range(shard_count), key=lambda shard: _shard_key(seed, shard))
    return tuple(
        Assignment(worker, shard, hash_bytes("SM/batch-order/v1", job, position, worker, root))
        for worker, shard in zip(workers, drawn[: len(workers)], strict=True)
    )


def _shard_key(seed: Digest, shard: int) -> bytes:
    return hash_bytes("SM/shard-order/v1", seed, shard.to_bytes(8, "little"))
