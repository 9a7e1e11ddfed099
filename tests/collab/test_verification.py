"""A run record: what it holds, what it refuses, and that whatever was changed in it is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.base.digests import blob_digest, hash_bytes
from synaptic_mesh.base.errors import PeerError, ResourceError
from synaptic_mesh.base.ids import short
from synaptic_mesh.collab.record import HEADER_BYTES, MAGIC, decode_record_untrusted, encode_record, list_blobs
from synaptic_mesh.collab.verification import verify_run
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.ledger.manifest import BlobRef
from synaptic_mesh.ledger.transactions import SignedTransaction


@pytest.fixture
def run(finished_run):
    """(record, blobs) of a run with a liar in it."""
    return finished_run


def verify(record, blobs, **options):
    def get(digest):
        if digest not in blobs:
            raise ResourceError(f"blob {short(digest)} is missing")
        return blobs[digest]

    return verify_run(record, get, ReferenceBackend(), bytes(semantics_id()), **options)


def with_step(record, at, /, **changes):
    """Return the record with fields of one committed step changed."""
    steps = list(record.steps)
    steps[at] = replace(steps[at], committed=replace(steps[at].committed, **changes))
    return replace(record, steps=tuple(steps))


def flip(data, at=-1):
    copy = bytearray(data)
    copy[at] ^= 1
    return bytes(copy)


def test_a_run_is_confirmed_from_its_record_and_listed_blobs_alone(run):
    record, blobs = run
    listed = {blob.digest: blobs[blob.digest] for blob in list_blobs(record)}
    confirmed = []
    report = verify(decode_record_untrusted(encode_record(record)), listed, on_step=confirmed.append)
    assert report.finding is None
    assert report.is_confirmed
    assert (report.steps_confirmed, report.updates_confirmed) == (2, 8)
    assert report.root == record.steps[-1].committed.root
    assert confirmed == [0, 1]
    assert [caught.step for caught in record.caught] == [0]
    assert all(len(step.votes) >= 3 for step in record.steps)


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("position", [0, 2])
def test_one_flipped_byte_of_a_stored_update_names_step_and_worker(run, step, position):
    record, blobs = run
    worker, delta = record.steps[step].committed.included[position]
    for at in (0, delta.size // 2, delta.size - 1):
        report = verify(record, {**blobs, delta.digest: flip(blobs[delta.digest], at)})
        assert (report.finding.step, report.finding.worker) == (step, worker)
        assert report.finding.sentence().startswith(
            f"outer step {step}, worker {short(worker)}: the stored bytes of blob"
        )
        assert report.steps_confirmed == step


def test_a_missing_update_names_step_and_worker(run):
    record, blobs = run
    worker, delta = record.steps[1].committed.included[3]
    report = verify(record, {digest: data for digest, data in blobs.items() if digest != delta.digest})
    assert (report.finding.step, report.finding.worker) == (1, worker)
    assert "is missing" in report.finding.what


def test_a_false_update_under_its_own_digest_is_named(run):
    """The record's author exchanged an update and its digest: executing the assignment again shows it."""
    record, blobs = run
    worker, delta = record.steps[0].committed.included[1]
    false = (np.frombuffer(blobs[delta.digest], "<f4") * 2).tobytes()
    included = list(record.steps[0].committed.included)
    included[1] = (worker, BlobRef(blob_digest(false), len(false)))
    report = verify(with_step(record, 0, included=tuple(included)), {**blobs, blob_digest(false): false})
    assert (report.finding.step, report.finding.worker) == (0, worker)
    assert "executing the update again gives delta" in report.finding.what


CHANGES = {
    "claims to start from root": {"root_before": bytes(32)},
    "holds outer step 5": {"step": 5},
    "aggregation gives root": {"root": bytes(32)},
    "aggregation gives state blob": {"state": BlobRef(bytes(32), 8)},
    "evaluation gives": {"metrics": (1, 2, 3)},
    "assignments are not those": {"attempt": 1},
    "are not one or more": {"included": ()},
}


@pytest.mark.parametrize("named", CHANGES)
@pytest.mark.parametrize("step", [0, 1])
def test_changed_facts_name_the_step(run, step, named):
    record, blobs = run
    report = verify(with_step(record, step, **CHANGES[named]), blobs)
    assert (report.finding.step, report.finding.worker, report.steps_confirmed) == (step, b"", step)
    assert named in report.finding.what


def test_an_update_without_assignment_names_its_worker(run):
    record, blobs = run
    committed = record.steps[0].committed
    stranger = (b"\xff" * 32, committed.included[0][1])
    report = verify(with_step(record, 0, included=(*committed.included, stranger)), blobs)
    assert report.finding.worker == b"\xff" * 32


def test_leaving_an_update_out_is_seen(run):
    record, blobs = run
    report = verify(with_step(record, 1, included=record.steps[1].committed.included[1:]), blobs)
    assert report.finding.step == 1
    assert "aggregation gives root" in report.finding.what


def with_votes(record, step, votes):
    steps = list(record.steps)
    steps[step] = replace(steps[step], votes=tuple(votes))
    return replace(record, steps=tuple(steps))


def test_evidence_of_the_quorum_cannot_be_thin_or_doubled(run):
    record, blobs = run
    votes = record.steps[1].votes
    for thin in (votes[:2], votes[:1] * 4, ()):
        report = verify(with_votes(record, 1, thin), blobs)
        assert report.finding.step == 1
        assert "are no quorum" in report.finding.what


def test_votes_for_another_step_or_with_a_bad_signature_are_refused(run):
    record, blobs = run
    signed = decode_untrusted(SignedTransaction, record.steps[0].votes[0])
    forged = encode(replace(signed, signature=flip(signed.signature)))
    rest = record.steps[0].votes[1:]
    report = verify(with_votes(record, 0, (forged, *rest)), blobs)
    assert report.finding.step == 0
    assert "not signed by its sender" in report.finding.what
    report = verify(with_votes(record, 0, record.steps[1].votes), blobs)
    assert report.finding.step == 0
    assert "is for something else" in report.finding.what


def test_another_genesis_makes_the_votes_worthless(run):
    record, blobs = run
    report = verify(replace(record, genesis=record.genesis[:-1]), blobs)
    assert "genesis cannot be read" in report.finding.what


@pytest.mark.parametrize("what", ["step_graph", "predict_graph", "optimizer_init", "shard", "test"])
def test_a_damaged_input_is_found_before_anything_is_executed(run, what):
    record, blobs = run
    data = record.manifest.data
    blob = {"shard": data.shards[1].blob, "test": data.test.blob}.get(what) or getattr(record.manifest, what)
    report = verify(record, {**blobs, blob.digest: flip(blobs[blob.digest])})
    assert report.finding.step is None
    assert report.finding.sentence().startswith("the job: ")
    assert report.steps_confirmed == 0


def test_the_stored_model_must_be_whole(run):
    record, blobs = run
    state = record.steps[-1].committed.state.digest
    report = verify(record, {**blobs, state: flip(blobs[state])})
    assert report.finding.step == 1
    assert "stored state" in report.finding.what


def test_other_semantics_and_other_manifests_are_refused(run):
    record, blobs = run
    report = verify_run(record, blobs.__getitem__, ReferenceBackend(), bytes(32))
    assert "engine semantics" in report.finding.what
    report = verify(replace(record, job=bytes(32)), blobs)
    assert "the manifest is of job" in report.finding.what


def test_damaged_records_are_reported_in_one_sentence(run):
    data = encode_record(run[0])
    for at in range(0, len(data), 97):
        with pytest.raises(PeerError, match=r"^[^\n.]*$"):
            decode_record_untrusted(flip(data, at))
    for size in (0, HEADER_BYTES - 1, HEADER_BYTES, len(data) - 1):
        with pytest.raises(PeerError):
            decode_record_untrusted(data[:size])


@given(st.binary(max_size=80))
def test_any_bytes_give_a_record_or_a_peer_error(data):
    body = hash_bytes("SM/run-record/v1", data) + data
    for candidate in (data, MAGIC + data, MAGIC + body):
        with pytest.raises(PeerError):
            decode_record_untrusted(candidate)
