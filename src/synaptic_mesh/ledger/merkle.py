"""A Merkle tree whose leaves change one by one: hashing is proportional to what changed."""

from collections.abc import Iterable

from synaptic_mesh.base.digests import EMPTY_ROOT, hash_bytes
from synaptic_mesh.base.ids import Digest


class MerkleTable:
    """Leaves by position. `root()` equals `base.digests.merkle_root(leaves, domain)` at all times; after k changes it
    costs about k * log2(n) hashes.
    """

    def __init__(self, domain: str) -> None:
        self._leaf_domain = domain + "/leaf"
        self._node_domain = domain + "/node"
        self._levels: list[list[Digest]] = [[]]
        self._dirty: set[int] = set()

    def __len__(self) -> int:
        return len(self._levels[0])

    def set(self, index: int, leaf: bytes) -> None:
        """Replace the leaf at `index`, or append when `index` is the number of leaves."""
        _store(self._levels[0], index, hash_bytes(self._leaf_domain, leaf))
        self._dirty.add(index)

    def root(self) -> Digest:
        """Return the root over all leaves, and remember every inner node."""
        if not self._levels[0]:
            return EMPTY_ROOT
        dirty = sorted(self._dirty)
        self._dirty.clear()
        depth = 0
        while len(self._levels[depth]) > 1:
            if depth + 1 == len(self._levels):
                self._levels.append([])
            below, above = self._levels[depth], self._levels[depth + 1]
            dirty = sorted({index // 2 for index in dirty})
            for index in dirty:
                _store(above, index, self._parent(below, 2 * index))
            depth += 1
        return self._levels[depth][0]

    def path(self, index: int) -> tuple[tuple[bool, Digest], ...]:
        """Return what leads from the leaf at `index` to the root, upwards: (is it on the left, the other node). A level
        on which the node is the odd last one adds nothing.
        """
        self.root()
        steps = []
        for level in self._levels[:-1]:
            sibling = index ^ 1
            if sibling < len(level):
                steps.append((sibling < index, level[sibling]))
            index //= 2
        return tuple(steps)

    def _parent(self, below: list[Digest], left: int) -> Digest:
        if left + 1 == len(below):
            return below[left]  # an odd node moves up unchanged
        return hash_bytes(self._node_domain, below[left], below[left + 1])


def root_of_path(leaf: bytes, path: Iterable[tuple[bool, bytes]], domain: str) -> Digest:
    """Return the root of the tree in which `path` leads upwards from `leaf`. No other leaf has a path to that root,
    unless it is in the tree too: leaves and nodes are hashed in different domains.
    """
    node = hash_bytes(domain + "/leaf", leaf)
    for is_left, other in path:
        node = hash_bytes(domain + "/node", other, node) if is_left else hash_bytes(domain + "/node", node, other)
    return node


def _store(level: list[Digest], index: int, value: Digest) -> None:
    if index == len(level):
        level.append(value)
    else:
        level[index] = value
