"""The shared state of a job: what an outer step starts from, how it becomes bytes, and its root.

    blob = magic || step (u64, little-endian) || parameters || outer momentum      (canonical tensors, manifest order)
    root = Merkle root over H(rule), then per parameter H(name, digest), then per momentum H(name, digest)
    rule = (outer step, outer optimizer and aggregation with their constants, inner steps, codec)

The root covers everything that the next outer step depends on, so equal roots mean equal futures.
"""

import msgspec
import numpy as np
from msgspec.structs import replace

from synaptic_mesh.base.arrays import F32, array_digest
from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.digests import blob_digest, hash_bytes, merkle_root
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.collab.tensors import decode_finite_untrusted, encode_tensors
from synaptic_mesh.engine.initializers import he_uniform
from synaptic_mesh.ledger.manifest import BlobRef, Manifest, TensorSpec

MAGIC = b"SMstate1"
HEADER_BYTES = len(MAGIC) + 8
MATRIX_RANK = 2
ROOT_DOMAIN = "SM/state-root/v1"
MOMENTUM_PREFIX = "momentum:"  # no parameter has a colon in its name, so no two tensors of a state share one


class State(msgspec.Struct, frozen=True):
    """The parameters and outer momentum that outer step `step` starts from, f32 by parameter name."""

    step: int
    parameters: dict[str, F32]
    momentum: dict[str, F32]


def initial_state(manifest: Manifest) -> State:
    """Return the state of outer step 0: matrices (rank >= 2) He-uniform from `manifest.seed` and their names,
    everything else zero. Raises LocalError when an extent leaves nothing to scale by.
    """
    parameters = {
        spec.name: he_uniform(manifest.seed, spec.name, spec.shape)
        if len(spec.shape) >= MATRIX_RANK
        else np.zeros(spec.shape, np.float32)
        for spec in manifest.parameters
    }
    return State(0, parameters, zero_momentum(manifest))


def with_initial_state(manifest: Manifest) -> tuple[Manifest, bytes]:
    """Return the manifest with the root and blob of its initial state filled in, and that blob."""
    state = initial_state(manifest)
    named = replace(manifest, initial_root=state_root(manifest, state), initial_state=state_ref(manifest, state))
    return named, encode_state(manifest, state)


def momentum_specs(manifest: Manifest) -> tuple[TensorSpec, ...]:
    """Return the specifications of the outer momentum: one tensor for each parameter."""
    return tuple(TensorSpec(MOMENTUM_PREFIX + spec.name, spec.dtype, spec.shape) for spec in manifest.parameters)


def zero_momentum(manifest: Manifest) -> dict[str, F32]:
    """Return the outer momentum of outer step 0."""
    return {spec.name: np.zeros(spec.shape, np.float32) for spec in manifest.parameters}


def encode_state(manifest: Manifest, state: State) -> bytes:
    """Return the state blob."""
    header = MAGIC + state.step.to_bytes(8, "little")
    return (
        header
        + encode_tensors(manifest.parameters, state.parameters)
        + encode_tensors(manifest.parameters, state.momentum)
    )


def decode_state_untrusted(manifest: Manifest, data: bytes | memoryview) -> State:
    """Return the state that a blob holds. Raises PeerError: wrong length or magic, or a value that is not finite."""
    if len(data) < HEADER_BYTES or bytes(data[: len(MAGIC)]) != MAGIC:
        raise PeerError(f"a blob of {len(data)} bytes is no state blob: it does not begin with {MAGIC!r}")
    step = int.from_bytes(data[len(MAGIC) : HEADER_BYTES], "little")
    if step > manifest.outer_steps:
        raise PeerError(f"the state claims outer step {step}, the job has {manifest.outer_steps}")
    specs = manifest.parameters + momentum_specs(manifest)
    tensors = decode_finite_untrusted(specs, memoryview(data)[HEADER_BYTES:])
    names = [spec.name for spec in manifest.parameters]
    momentum = {name: tensors[MOMENTUM_PREFIX + name] for name in names}
    return State(step, {name: tensors[name] for name in names}, momentum)


def state_root(manifest: Manifest, state: State) -> Digest:
    """Return root_t of a state."""
    rule = encode((state.step, manifest.outer, manifest.inner_steps, manifest.codec))
    leaves = [hash_bytes("SM/state/rule", rule)]
    for part, tensors in (("parameter", state.parameters), ("momentum", state.momentum)):
        leaves += [
            hash_bytes("SM/state/tensor", encode((part, spec.name)), array_digest(tensors[spec.name]))
            for spec in manifest.parameters
        ]
    return merkle_root(leaves, ROOT_DOMAIN)


def state_ref(manifest: Manifest, state: State) -> BlobRef:
    """Return digest and size of the state's blob."""
    blob = encode_state(manifest, state)
    return BlobRef(blob_digest(blob), len(blob))
