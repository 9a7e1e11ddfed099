"""From stored records to the state before the crash.

The store holds every accepted block, ancestors first, and every commit, as the journal wrote them. Feeding the blocks
through the same machine gives the same commits, because a commit is a function of the DAG; the stored ones must be a
prefix of them, or the store is damaged (or the rules have changed) and the node must not go on. Our highest own block
says which rounds are taken: it was written before it was sent.
"""

from collections.abc import Sequence

from synaptic_mesh.base.errors import broken
from synaptic_mesh.consensus.messages import Commit, Committed


def check_commits(
    recomputed: Sequence[Committed], stored: Sequence[Commit], executed_index: int
) -> tuple[list[Committed], list[Committed]]:
    """Compare what the blocks lead to with what was stored.

    Returns (to hand out again: stored, above executed_index; to write first: not stored yet). Raises InvariantBroken
    naming the first difference, or an executed_index beyond the store.
    """
    for position, commit in enumerate(stored):
        if position >= len(recomputed):
            broken(f"the stored blocks lead to {len(recomputed)} commits, but commit {commit.index} is stored")
        ours = recomputed[position].commit
        if ours != commit:
            broken(f"stored commit {commit.index} of leader {commit.leader} is {ours.leader} when decided again")
    if executed_index > len(stored):
        broken(f"commit {executed_index} is executed, but only {len(stored)} commits are stored")
    return list(recomputed[executed_index : len(stored)]), list(recomputed[len(stored) :])
