"""From digests to results: reads the blobs that a task names, checks them, and runs the engine on them.

One `Executor` belongs to one thread: its compiled programs hold memory. It is pure but for the blob source it is given,
so workers, the simulator and the verifier of run records share it.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.ids import short
from synaptic_mesh.collab.admission import check_job
from synaptic_mesh.collab.aggregate import apply_outer_step, outer_step_graph, parameter_count
from synaptic_mesh.collab.evaluate import FEATURES, TARGET, Metrics, evaluate, metrics_graph, scores_shape
from synaptic_mesh.collab.state import State, decode_state_untrusted, encode_state, initial_state, state_ref, state_root
from synaptic_mesh.collab.tensors import decode_finite_untrusted, decode_tensors_untrusted
from synaptic_mesh.collab.update import UpdateResult, execute_update
from synaptic_mesh.engine.backend import Backend, Program, ProgramLost
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.limits import arena_bytes
from synaptic_mesh.engine.serialize import graph_from_bytes_untrusted
from synaptic_mesh.ledger.jobs import Assignment
from synaptic_mesh.ledger.manifest import BlobRef, Manifest, Shard
from synaptic_mesh.training.dataset import decode_shard_untrusted

PROGRAMS_MAX = 16
SHARDS_MAX = 8
STATES_MAX = 2
CACHE_BYTES_MAX = 2 << 30
"""Arenas of the programs kept, and again shards, and again states: one of each always fits."""

BlobSource = Callable[[bytes], bytes]
"""Returns the bytes stored under a digest; raises ResourceError or PeerError when it cannot."""
Included = Sequence[tuple[bytes, BlobRef]]
K = TypeVar("K")
V = TypeVar("V")


class NextState(msgspec.Struct, frozen=True):
    """What an outer step leads to: root, blob (named and in full), and metrics over the held-out rows."""

    root: bytes
    ref: BlobRef
    blob: bytes
    metrics: Metrics


class Executor:
    """See the module's docstring. Raises PeerError for blobs that are damaged or do not fit their manifest."""

    def __init__(self, backend: Backend, get_blob: BlobSource) -> None:
        self._backend = backend
        self._get_blob = get_blob
        self._programs = Recent[object, Program](PROGRAMS_MAX)
        self._shards = Recent[tuple[bytes, int, bytes], dict[str, Array]](SHARDS_MAX)
        self._states = Recent[tuple[bytes, bytes], State](STATES_MAX)

    def prepare(self, manifest: Manifest, semantics_id: bytes) -> bytes:
        """Check everything that an attestation vouches for; return the blob of the initial state.

        Raises LocalError or PeerError, naming the value, when the job is not in order.
        """
        if manifest.semantics_id != semantics_id:
            raise LocalError(
                f"the job is written in engine semantics {short(manifest.semantics_id)}, this engine is "
                f"{short(semantics_id)}: use the version of this program that the job was made with"
            )
        check_job(manifest, self._graph(manifest.step_graph), self._graph(manifest.predict_graph))
        self._program(manifest.step_graph)
        self._program(manifest.predict_graph)
        self._optimizer(manifest)
        for shard in (*manifest.data.shards, manifest.data.test):
            decode_shard_untrusted(manifest.data, shard, self.read(shard.blob))
        state = initial_state(manifest)
        if state_root(manifest, state) != manifest.initial_root or state_ref(manifest, state) != manifest.initial_state:
            raise LocalError(
                f"seed {manifest.seed} gives the initial root {short(state_root(manifest, state))}, "
                f"the manifest claims {short(manifest.initial_root)}"
            )
        return encode_state(manifest, state)

    def execute(
        self, manifest: Manifest, state: BlobRef, root: bytes, assignment: Assignment
    ) -> tuple[UpdateResult, bytes]:
        """Execute one assignment from the state; return the result and its delta blob."""
        return begun_again(
            lambda: execute_update(
                self._program(manifest.step_graph),
                manifest,
                assignment,
                self.state(manifest, state, root),
                self._optimizer(manifest),
                self._shard(manifest, manifest.data.shards[assignment.shard]),
            )
        )

    def aggregate(self, manifest: Manifest, state: BlobRef, root: bytes, included: Included) -> "NextState":
        """Return the state after the outer step, evaluated. Raises StepInvalid when it is not finite."""
        return begun_again(lambda: self._aggregate(manifest, state, root, included))

    def _aggregate(self, manifest: Manifest, state: BlobRef, root: bytes, included: Included) -> "NextState":
        start = self.state(manifest, state, root)
        deltas: list[dict[str, F32]] = [
            decode_finite_untrusted(manifest.parameters, self.read(delta)) for _, delta in included
        ]
        size = parameter_count(manifest)
        program = self._compiled(
            ("outer step", manifest.outer, len(deltas), size),
            lambda: outer_step_graph(manifest.outer, len(deltas), size),
        )
        after = apply_outer_step(program, manifest, start, deltas)
        predict = self._program(manifest.predict_graph)
        test = self._shard(manifest, manifest.data.test)
        scores, target = scores_shape(predict.graph, manifest.data.test.rows), test[TARGET].shape
        measure = self._compiled(
            ("metrics", manifest.task, scores, target), lambda: metrics_graph(manifest.task, scores, target)
        )
        metrics = evaluate(predict, measure, manifest, after, test)
        blob = encode_state(manifest, after)
        return NextState(state_root(manifest, after), BlobRef(blob_digest(blob), len(blob)), blob, metrics)

    def state(self, manifest: Manifest, blob: BlobRef, root: bytes) -> State:
        """Return the state that a blob holds, its root checked. Raises PeerError."""
        return self._states.get((blob.digest, root), blob.size, lambda: self._read_state(manifest, blob, root))

    def read(self, blob: BlobRef) -> bytes:
        """Return a blob's bytes, size and digest checked. Raises PeerError when they differ."""
        if not blob.size:
            return b""
        data = self._get_blob(blob.digest)
        if len(data) != blob.size or blob_digest(data) != blob.digest:
            raise PeerError(
                f"the stored bytes of blob {short(blob.digest)} ({len(data)} of {blob.size}) "
                f"hash to {short(blob_digest(data))}: the copy is damaged"
            )
        return data

    def _read_state(self, manifest: Manifest, blob: BlobRef, root: bytes) -> State:
        state = decode_state_untrusted(manifest, self.read(blob))
        found = state_root(manifest, state)
        if found != root:
            raise PeerError(f"state blob {short(blob.digest)} has root {short(found)}, not {short(root)}")
        return state

    def _optimizer(self, manifest: Manifest) -> dict[str, Array]:
        return decode_tensors_untrusted(manifest.optimizer_state, self.read(manifest.optimizer_init))

    def _shard(self, manifest: Manifest, shard: Shard) -> dict[str, Array]:
        # The same bytes may be other rows in another job.
        key = (shard.blob.digest, shard.rows, encode((manifest.data.row, manifest.data.prepared)))
        return self._shards.get(key, shard.blob.size, lambda: self._read_shard(manifest, shard))

    def _read_shard(self, manifest: Manifest, shard: Shard) -> dict[str, Array]:
        x, y = decode_shard_untrusted(manifest.data, shard, self.read(shard.blob))
        return {FEATURES: x, TARGET: y}

    def _graph(self, blob: BlobRef) -> Graph:
        return graph_from_bytes_untrusted(self.read(blob))

    def _program(self, blob: BlobRef) -> Program:
        return self._compiled(blob.digest, lambda: self._graph(blob))

    def _compiled(self, key: object, make_graph: Callable[[], Graph]) -> Program:
        program = self._programs.find(key)
        if program is None:
            graph = make_graph()
            program = self._programs.get(key, arena_bytes(graph), lambda: self._backend.compile(graph))
        return program


def begun_again(work: Callable[[], V]) -> V:
    """Return what `work` gives, beginning anew where it lost a program: everything it writes and runs follows from its
    arguments, so nothing is counted twice. Lost again, it raises."""
    try:
        return work()
    except ProgramLost:
        return work()


class Recent(Generic[K, V]):
    """Values by key; the least recently used ones make room for a new one before it is made."""

    def __init__(self, entries_max: int, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._entries: dict[K, tuple[V, int]] = {}  # oldest use first

    def find(self, key: K) -> V | None:
        """Return the value if it is kept."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        self._entries[key] = entry
        return entry[0]

    def get(self, key: K, size: int, make: Callable[[], V]) -> V:
        """Return the value, of about `size` bytes, making it if need be."""
        value = self.find(key)
        if value is None:
            while self._entries and (len(self._entries) >= self._entries_max or self._bytes + size > self._bytes_max):
                del self._entries[next(iter(self._entries))]
            value = make()
            self._entries[key] = (value, size)
        return value

    @property
    def _bytes(self) -> int:
        return sum(size for _, size in self._entries.values())
