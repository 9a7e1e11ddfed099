import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.collab.state import (
    HEADER_BYTES,
    State,
    decode_state_untrusted,
    encode_state,
    initial_state,
    state_ref,
    state_root,
    with_initial_state,
)


@pytest.fixture(scope="module")
def manifest():
    from synaptic_mesh.ledger.manifest import (
        BlobRef,
        DataManifest,
        Economy,
        Manifest,
        OuterRule,
        Shard,
        TensorSpec,
        Timing,
    )

    blob = BlobRef(bytes(32), 1)
    data = DataManifest("d", (TensorSpec("x", "f32", (3,)),), (Shard(blob, 1),), Shard(blob, 1), b"")
    outer = OuterRule("diloco", 0, 0, "mean", 0, 0)
    parameters = (TensorSpec("w", "f32", (3, 2)), TensorSpec("b", "f32", (2,)))
    return Manifest(
        1, bytes(32), "m", "classify", blob, blob, parameters, (), blob, 7, b"", blob, data, 1, 1, 5, outer, "f32",
        1_000_000, 1, 1, Economy(0, 0, 0), Timing(1, 1, 1, 1, 1, 1, 1, 1, 1),
    )  # fmt: skip


def changed(array, value=9.0):
    copy = array.copy()
    copy.flat[-1] = value
    return copy


def test_blob_round_trip(manifest):
    state = initial_state(manifest)
    state = State(3, state.parameters, {"w": changed(state.momentum["w"]), "b": state.momentum["b"]})
    blob = encode_state(manifest, state)
    again = decode_state_untrusted(manifest, blob)
    assert again.step == 3
    assert encode_state(manifest, again) == blob
    assert state_root(manifest, again) == state_root(manifest, state)
    assert state_ref(manifest, state).size == len(blob)


def test_root_covers_everything_the_next_step_depends_on(manifest):
    state = initial_state(manifest)
    w, b = state.parameters["w"], state.parameters["b"]
    others = [
        (manifest, State(1, state.parameters, state.momentum)),
        (manifest, State(0, {"w": changed(w), "b": b}, state.momentum)),
        (manifest, State(0, {"w": w, "b": changed(b)}, state.momentum)),
        (manifest, State(0, {"w": w, "b": changed(b, -0.0)}, state.momentum)),
        (manifest, State(0, state.parameters, {"w": state.momentum["w"], "b": changed(state.momentum["b"])})),
        (manifest, State(0, {"w": state.momentum["w"], "b": b}, {"w": w, "b": b})),
        (replace(manifest, inner_steps=2), state),
        (replace(manifest, codec="other"), state),
        (replace(manifest, outer=replace(manifest.outer, momentum_bits=1)), state),
    ]
    roots = {state_root(*other) for other in others}
    assert len(roots) == len(others)
    assert state_root(manifest, state) not in roots


def test_initial_state_follows_from_seed_and_names(manifest):
    state = initial_state(manifest)
    assert np.array_equal(initial_state(manifest).parameters["w"], state.parameters["w"])
    assert state.parameters["w"].any()
    assert not state.parameters["b"].any()
    assert not any(tensor.any() for tensor in state.momentum.values())
    assert not np.array_equal(initial_state(replace(manifest, seed=8)).parameters["w"], state.parameters["w"])
    named, blob = with_initial_state(manifest)
    assert named.initial_root == state_root(named, state)
    assert named.initial_state == state_ref(named, state)
    assert blob == encode_state(named, state)


def test_damaged_state_blobs_are_refused(manifest):
    blob = encode_state(manifest, initial_state(manifest))
    infinite = blob[:HEADER_BYTES] + np.float32(np.inf).tobytes() + blob[HEADER_BYTES + 4 :]
    cases = {
        "begin with": b"X" + blob[1:],
        "outer step 6": blob[:8] + (6).to_bytes(8, "little") + blob[16:],
        "does not hold": blob[:-1],
        "not finite": infinite,
    }
    for named, data in cases.items():
        with pytest.raises(PeerError, match=named):
            decode_state_untrusted(manifest, data)


@given(st.binary(max_size=120))
def test_any_bytes_give_a_state_or_a_peer_error(manifest, data):
    for candidate in (data, b"SMstate1" + data, b"SMstate1" + bytes(8) + data):
        try:
            state = decode_state_untrusted(manifest, candidate)
        except PeerError:
            continue
        assert encode_state(manifest, state) == candidate
