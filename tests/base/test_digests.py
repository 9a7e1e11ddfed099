from blake3 import blake3

from synaptic_mesh.base.digests import EMPTY_ROOT, blob_digest, hash_bytes, merkle_root


def test_domains_separate() -> None:
    assert hash_bytes("a", b"bc") != hash_bytes("ab", b"c")
    assert hash_bytes("a", b"bc") == hash_bytes("a", b"b", b"c") == blake3(b"\x01abc").digest()


def test_blob_digest_is_plain_blake3() -> None:
    # First vector of the BLAKE3 reference implementation's test_vectors.json (input length 0).
    assert blob_digest(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def test_merkle_root_depends_on_order_count_and_domain() -> None:
    leaves = [bytes([i]) * 32 for i in range(5)]
    roots = {merkle_root(leaves[:k], "d") for k in range(6)}
    assert len(roots) == 6
    assert merkle_root([], "d") == EMPTY_ROOT
    assert merkle_root(leaves[::-1], "d") not in roots
    assert merkle_root(leaves, "e") not in roots


def test_a_node_cannot_pose_as_a_leaf() -> None:
    a, b, c = (bytes([i]) * 32 for i in range(3))
    inner = hash_bytes("d/node", hash_bytes("d/leaf", a), hash_bytes("d/leaf", b))
    assert merkle_root([inner, c], "d") != merkle_root([a, b, c], "d")
