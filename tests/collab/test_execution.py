"""The executor serves many jobs: what it keeps of one must not show in another, and what it keeps is bounded."""

from typing import Any

import numpy as np
import pytest

from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.collab.execution import Executor, Recent
from synaptic_mesh.collab.state import with_initial_state
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.engine.optimizers import SGD
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.ledger.jobs import Assignment
from synaptic_mesh.ledger.manifest import BlobRef, DataManifest, Economy, Manifest, OuterRule, Shard, Timing
from synaptic_mesh.models.graphs import build_job_graphs
from synaptic_mesh.models.mlp import Mlp
from synaptic_mesh.training.dataset import row_specs
from synaptic_mesh.training.job import assemble_manifest
from synaptic_mesh.training.prepared import NumberTarget, NumericColumn, Prepared, encode_prepared

ONE = 0x3F800000
WORDS = np.random.default_rng(3).normal(size=60).astype("<f4").tobytes()
"""15 rows of three features and a value, or 20 rows of two features and a value."""


def regression(width: int, rows: int) -> tuple[Manifest, dict[bytes, bytes]]:
    """A job whose only shard, and whose held-out rows, are WORDS."""
    columns = tuple(NumericColumn(f"c{i}") for i in range(width))
    prepared = Prepared(columns, NumberTarget(("value",), (0,), (ONE,), (ONE,)))
    shard = Shard(BlobRef(blob_digest(WORDS), len(WORDS)), rows)
    data = DataManifest("words", row_specs(prepared), (shard,), shard, encode_prepared(prepared))
    graphs = build_job_graphs(Mlp((2,)), "regress", width=width, outputs=1, batch=5, optimizer=SGD(0.1))
    terms: Any = {
        "model": "mlp:2", "task": "regress", "seed": 1, "batch": 5, "inner_steps": 2, "outer_steps": 1,
        "outer": OuterRule("diloco", ONE, ONE, "mean", ONE, 0), "audit_rate_ppm": 1_000_000, "workers_min": 1,
        "workers_max": 1, "economy": Economy(0, 0, 0), "timing": Timing(1, 1, 1, 1, 1, 1, 1, 1, 1),
    }  # fmt: skip
    draft, blobs = assemble_manifest(graphs, data, **terms)
    manifest, state = with_initial_state(draft)
    return manifest, {**blobs, blob_digest(WORDS): WORDS, manifest.initial_state.digest: state}


def outcome(executor: Executor, manifest: Manifest) -> tuple[Any, Any]:
    """An update and the next state of the job."""
    assignment = Assignment(bytes(32), 0, bytes(32))
    result, delta = executor.execute(manifest, manifest.initial_state, manifest.initial_root, assignment)
    assert result.delta.digest == blob_digest(delta)
    source = executor._get_blob  # the delta is stored like any other blob
    executor._get_blob = lambda digest: delta if digest == result.delta.digest else source(digest)
    included = [(bytes(32), result.delta)]
    after = executor.aggregate(manifest, manifest.initial_state, manifest.initial_root, included)
    return result, after


def test_the_same_bytes_are_other_rows_in_another_job() -> None:
    """A sponsor submits two jobs over one blob: whoever ran the first must not judge the second by its rows."""
    first, second = regression(3, 15), regression(2, 20)
    blobs = first[1] | second[1]
    for manifest in (first[0], second[0]):
        Executor(ReferenceBackend(), blobs.__getitem__).prepare(manifest, semantics_id())
    fresh = Executor(ReferenceBackend(), blobs.__getitem__)
    used = Executor(ReferenceBackend(), blobs.__getitem__)
    outcome(used, first[0])
    assert outcome(used, second[0]) == outcome(fresh, second[0])


def test_the_least_recently_used_makes_room_before_the_new_one_is_made() -> None:
    kept = Recent[str, str](entries_max=2, bytes_max=100)
    assert [kept.get(key, 10, key.upper) for key in ("a", "b", "a", "c")] == ["A", "B", "A", "C"]
    assert [kept.find(key) for key in ("a", "b", "c")] == ["A", None, "C"]

    def while_made() -> str:
        assert [kept.find(key) for key in ("a", "c")] == [None, None]
        return "D"

    assert kept.get("d", 95, while_made) == "D"
    with pytest.raises(ZeroDivisionError):
        kept.get("e", 1, lambda: str(1 // 0))
    assert kept.find("e") is None
