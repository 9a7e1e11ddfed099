from synaptic_mesh.base.seeds import derive_bytes, derive_int, derive_random


def test_labels_separate_streams() -> None:
    streams = {derive_bytes(1), derive_bytes(2), derive_bytes(1, "a"), derive_bytes(1, b"a"), derive_bytes(1, "a", "b")}
    streams |= {derive_bytes(1, "ab"), derive_bytes(1, 1), derive_bytes(1, "1")}
    assert len(streams) == 8


def test_streams_are_pinned() -> None:
    """A change of derivation would silently change every simulation and every job."""
    assert derive_bytes(7, "pin", 1).hex() == "d49b8b398910b0f91be2bf65719f7bf16246a3e77520c87e70c9fc32d2e53db4"
    assert derive_random(7, "pin").random() == derive_random(7, "pin").random()
    assert derive_int(7, "pin", bits=8) < 256
