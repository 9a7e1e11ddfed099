"""One worker's work in one outer step: inner steps on a shard, a delta, a trace and a witness.

    theta, s   = shared parameters (root_t), optimizer_init
    repeat H:    theta, s = step graph(theta, s, next batch of the assigned shard)
    D_1 .. D_n = H("SM/inner-state/v1", theta) after every 8th inner step, and after the last
    delta      = theta_t - theta_H, each element rounded once to f32   (DiLoCo's sign, arXiv:2311.08105)
    trace_root = Merkle root over the D_k, whose leaves are H("SM/trace/v1/leaf", D_k)
    witness    = H("SM/witness-x/v1", D_1 || ... || D_n)

The trace is coarse: whoever disputes re-runs one segment and hashes it finely. A D_k depends on every inner step before
it, so skipping one changes all that follow; hashing after each would cost a small model half as much as its steps.
The D_k stay secret, and a leaf of the trace does not reveal its D_k: so the witness cannot be derived from anything
published, only from running the whole update. They cover the parameters alone: whatever else the step graph carries
shows in the parameters of the next inner step or does not matter. A non-finite checked value, an index out of range or
a non-finite delta makes the update invalid: a worker submits nothing then, and an auditor's verdict carries zeros in
place of delta and trace, so a claim to have completed such an update is a proved lie.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
from blake3 import blake3

from synaptic_mesh.base.arrays import CANONICAL_NAN_BITS, F32, Array
from synaptic_mesh.base.digests import blob_digest, hash_bytes, merkle_root
from synaptic_mesh.base.ids import DIGEST_BYTES, Digest
from synaptic_mesh.collab.batches import iterate_batches
from synaptic_mesh.collab.state import State
from synaptic_mesh.collab.tensors import encode_tensors
from synaptic_mesh.engine.backend import Program, StepInvalid, run_feed
from synaptic_mesh.ledger.jobs import Assignment
from synaptic_mesh.ledger.manifest import BlobRef, Manifest, TensorSpec

INNER_STATE_DOMAIN = "SM/inner-state/v1"
TRACE_DOMAIN = "SM/trace/v1"
WITNESS_DOMAIN = "SM/witness-x/v1"
TRACE_STRIDE = 8
"""Inner steps between two digests of the trace."""
FEED_BYTES_MAX = 4 << 20
"""Rows copied out of the shard for one call of several inner steps."""
NO_DIGEST = Digest(bytes(DIGEST_BYTES))


class UpdateResult(msgspec.Struct, frozen=True):
    """What executing an assignment gives. `invalid` says why there is no delta; it is empty for a valid update."""

    delta: BlobRef
    trace_root: bytes
    witness: bytes
    invalid: str = ""


def execute_update(
    program: Program,
    manifest: Manifest,
    assignment: Assignment,
    state: State,
    optimizer: Mapping[str, Array],
    shard: Mapping[str, Array],
) -> tuple[UpdateResult, bytes]:
    """Run one assignment; return the result and the bytes of its delta blob (empty when invalid).

    program: the compiled step graph; its inputs are all overwritten. state: the shared state at root_t. optimizer: the
    tensors of `optimizer_init` by name. shard: the rows of the assigned shard by name, each (rows, ...).
    """
    tape = InnerStates(program, manifest.parameters)
    for spec in manifest.parameters:
        program.write(spec.name, state.parameters[spec.name])
    for spec in manifest.optimizer_state:
        program.write(spec.name, optimizer[spec.name])
    rows = len(next(iter(shard.values())))
    batches = iterate_batches(assignment.order_seed, rows, manifest.batch)
    done = 0
    for count in _group_sizes(manifest, shard):
        chosen = np.stack(list(itertools.islice(batches, count)))  # (count, batch)
        try:
            run_feed(program, {name: tensor.take(chosen, axis=0) for name, tensor in shard.items()})
        except StepInvalid as error:
            return _invalid(tape.digests, f"inner step {done + error.completed}: {error}"), b""
        done += count
        if done % TRACE_STRIDE == 0 or done == manifest.inner_steps:
            tape.add()
    delta = _delta(program, manifest, state)
    if delta is None:
        return _invalid(tape.digests, "the delta holds a value that is not finite"), b""
    blob = encode_tensors(manifest.parameters, delta)
    return UpdateResult(BlobRef(blob_digest(blob), len(blob)), _trace_root(tape.digests), _witness(tape.digests)), blob


def _group_sizes(manifest: Manifest, shard: Mapping[str, Array]) -> Iterator[int]:
    """Yield how many inner steps go into one call, to the end: none over a digest, and none of more rows than
    `FEED_BYTES_MAX` has room for, but one step at least."""
    row_bytes = sum(tensor[:1].nbytes for tensor in shard.values())
    most = min(TRACE_STRIDE, max(1, FEED_BYTES_MAX // max(1, row_bytes * manifest.batch)))
    for start in range(0, manifest.inner_steps, TRACE_STRIDE):
        left = min(TRACE_STRIDE, manifest.inner_steps - start)
        while left:
            yield min(left, most)
            left -= min(left, most)


class InnerStates:
    """The digests D_1, D_2, ... of a program's parameters, taken without allocating.

    D_k = BLAKE3(H("SM/inner-state/v1") || canonical bytes of every parameter, in manifest order). Shapes are fixed by
    the manifest, so nothing need stand between the tensors. A program may offer `view(name)`, the tensor in place; it
    saves one copy.
    """

    def __init__(self, program: Program, parameters: Sequence[TensorSpec]) -> None:
        self.digests: list[Digest] = []
        self._read: Callable[[str], Array] = getattr(program, "view", program.read)
        sizes = [math.prod(spec.shape) for spec in parameters]
        header = np.frombuffer(hash_bytes(INNER_STATE_DOMAIN), "<f4")
        self._buffer = np.empty(header.size + sum(sizes), "<f4")
        self._buffer[: header.size] = header
        self._values = self._buffer[header.size :]
        self._bytes = self._buffer.view(np.uint8).data
        ends = itertools.accumulate(sizes)
        self._slots = [
            (spec.name, self._values[end - size : end].reshape(spec.shape))
            for spec, size, end in zip(parameters, sizes, ends, strict=True)
        ]

    def add(self) -> None:
        """Append the digest of the parameters as they are now."""
        for name, slot in self._slots:
            slot[...] = self._read(name)
        if np.isnan(self._values.min(initial=0)):  # NaN spreads through a minimum; payloads differ between CPUs
            self._values[np.isnan(self._values)] = np.uint32(CANONICAL_NAN_BITS).view(np.float32)
        self.digests.append(Digest(blake3(self._bytes).digest()))


def _delta(program: Program, manifest: Manifest, state: State) -> dict[str, F32] | None:
    delta: dict[str, F32] = {}
    for spec in manifest.parameters:
        with np.errstate(all="ignore"):
            delta[spec.name] = np.subtract(state.parameters[spec.name], program.read(spec.name))
        if not np.isfinite(delta[spec.name]).all():
            return None
    return delta


def _trace_root(digests: Sequence[Digest]) -> Digest:
    return merkle_root(digests, TRACE_DOMAIN)


def _witness(digests: Sequence[Digest]) -> Digest:
    return hash_bytes(WITNESS_DOMAIN, *digests)


def _invalid(digests: Sequence[Digest], reason: str) -> UpdateResult:
    return UpdateResult(BlobRef(NO_DIGEST, 0), NO_DIGEST, _witness(digests), reason)
