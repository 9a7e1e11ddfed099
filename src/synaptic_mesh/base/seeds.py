"""The one way randomness enters a core: a generator derived from (seed, purpose, ids)."""

from random import Random

from synaptic_mesh.base.digests import hash_bytes


def derive_bytes(seed: int | bytes, *labels: str | int | bytes) -> bytes:
    """Return 32 bytes that depend on every label and on nothing else."""
    material = seed if isinstance(seed, bytes) else str(seed).encode()
    for label in labels:
        part = label if isinstance(label, bytes) else str(label).encode()
        kind = b"b" if isinstance(label, bytes) else b"i" if isinstance(label, int) else b"s"
        material = hash_bytes("SM/seed", material, kind, part)
    return bytes(hash_bytes("SM/seed/out", material))


def derive_random(seed: int | bytes, *labels: str | int | bytes) -> Random:
    """Return a `random.Random` for (seed, labels): same labels, same stream, on every machine."""
    return Random(int.from_bytes(derive_bytes(seed, *labels), "little"))


def derive_int(seed: int | bytes, *labels: str | int | bytes, bits: int = 64) -> int:
    """Return an integer of `bits` bits (at most 256) for (seed, labels)."""
    return int.from_bytes(derive_bytes(seed, *labels), "little") & ((1 << bits) - 1)
