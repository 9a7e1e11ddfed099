from hypothesis import given
from hypothesis import strategies as st

from synaptic_mesh.base.digests import EMPTY_ROOT, hash_bytes, merkle_root
from synaptic_mesh.ledger.merkle import MerkleTable


def test_no_leaves() -> None:
    assert MerkleTable("d").root() == EMPTY_ROOT


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5), st.booleans()), max_size=80))
def test_root_is_that_of_the_definition_after_any_changes(changes: list[tuple[int, int, bool]]) -> None:
    table, leaves = MerkleTable("d"), []
    for position, value, look in changes:
        leaf = hash_bytes("leaf", bytes([value]))
        if position >= len(leaves):
            position = len(leaves)
            leaves.append(leaf)
        else:
            leaves[position] = leaf
        table.set(position, leaf)
        if look:
            assert table.root() == merkle_root(leaves, "d")
    assert table.root() == merkle_root(leaves, "d")
    assert len(table) == len(leaves)
