"""Blocks that wait, what frees them, and the bounds."""

from synaptic_mesh.consensus.block import BlockRef
from synaptic_mesh.consensus.drawing import Drawing, dag
from synaptic_mesh.consensus.suspended import Suspended


def full(*rounds: int) -> str:
    return "; ".join(f"{author}{round_}:[*]" for round_ in rounds for author in "ABCD")


def holding(drawing: Drawing, *names: str, per_author_max: int = 8, bytes_max: int = 1 << 20) -> Suspended:
    suspended = Suspended(4, per_author_max, bytes_max)
    for name in names:
        block = drawing[name].block
        suspended.add(block, [ref for ref in block.header.ancestors if ref.round > 0])
    return suspended


def wanted(drawing: Drawing, suspended: Suspended) -> set[str]:
    return {name for name, vertex in drawing.vertices.items() if vertex.block.ref in suspended.wanted}


def test_a_block_is_freed_by_its_last_ancestor() -> None:
    drawing = dag(full(1, 2))
    suspended = holding(drawing, "A2")
    assert wanted(drawing, suspended) == {"A1", "B1", "C1", "D1"}
    for name in ("A1", "B1", "C1"):
        assert suspended.accepted(drawing[name].block.ref) == []
    assert suspended.accepted(drawing["D1"].block.ref) == [drawing["A2"].block]
    assert len(suspended) == 0
    assert suspended.wanted == {}


def test_a_suspended_ancestor_is_not_wanted() -> None:
    drawing = dag(full(1, 2, 3))
    suspended = holding(drawing, "A3", "A2")
    assert wanted(drawing, suspended) == {"B2", "C2", "D2", "A1", "B1", "C1", "D1"}


def test_a_full_share_gives_up_its_highest_round_and_wants_it_again() -> None:
    drawing = dag(full(1, 2, 3, 4))
    suspended = holding(drawing, "A3", "B4", per_author_max=1)
    block = drawing["A2"].block
    evicted = suspended.add(block, list(block.header.ancestors))
    assert evicted is drawing["A3"].block
    assert drawing["A3"].block.ref in suspended.wanted  # B4 waits for it
    assert drawing["B4"].digest in suspended  # another author's share is untouched


def test_bytes_bound_a_share_too() -> None:
    drawing = dag(full(1, 2, 3))
    size = len(drawing["A2"].block.encoded)
    suspended = holding(drawing, "A2", bytes_max=size + 1)
    block = drawing["A3"].block
    assert suspended.add(block, list(block.header.ancestors)) is block
    assert len(suspended) == 1
    assert wanted(drawing, suspended) == {"A1", "B1", "C1", "D1"}  # nothing is fetched for the evicted block


def test_the_gc_round_frees_what_waited_for_older_blocks_only() -> None:
    drawing = dag(full(1, 2, 3))
    suspended = holding(drawing, "A2", "B3")
    assert suspended.expire(1) == [drawing["A2"].block]
    assert suspended.expire(2) == [drawing["B3"].block]
    assert suspended.wanted == {}


def test_blocks_below_the_gc_round_are_forgotten() -> None:
    drawing = dag(full(1, 2))
    suspended = holding(drawing, "A2")
    assert suspended.expire(2) == []
    assert len(suspended) == 0
    assert suspended.wanted == {}


def test_slot_finds_suspended_twins() -> None:
    drawing = dag(f"{full(1)}; A2:[*]; A2':[*]; B2:[*]")
    suspended = holding(drawing, "A2", "A2'", "B2")
    assert suspended.slot(2, 0) == [drawing["A2"].block, drawing["A2'"].block]


def test_a_ref_with_a_wrong_round_is_another_ancestor() -> None:
    """The lie must neither free its block when the true one comes, nor free others when its own round is collected."""
    drawing = dag(full(1, 2, 3))
    true = drawing["B2"].block.ref
    lie = BlockRef(1, true.author, true.digest)
    suspended = holding(drawing, "A3")
    suspended.add(drawing["D2"].block, [lie])
    assert suspended.expire(1) == [drawing["D2"].block]
    assert true in suspended.wanted
    suspended.add(drawing["D3"].block, [BlockRef(1, 3, true.digest)])
    assert suspended.accepted(true) == []
    assert drawing["D3"].digest in suspended
