"""Every decoder of bytes from outside, with valid frames to start from.

The name of a target is the module and qualified name of the function that it calls; functions that are only reached
through another one stand in `THROUGH`. `test_decoders.py` finds by reflection which functions there are.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import msgspec

from synaptic_mesh.base.arrays import from_canonical_untrusted
from synaptic_mesh.base.codec import FRAME_BYTES_MAX, decode_untrusted, encode
from synaptic_mesh.base.digests import blob_digest, hash_bytes
from synaptic_mesh.base.errors import invariant
from synaptic_mesh.base.ids import Digest, NetworkId, PeerId
from synaptic_mesh.collab import record as run_record
from synaptic_mesh.collab.state import decode_state_untrusted, with_initial_state
from synaptic_mesh.collab.tensors import check_specs_untrusted, decode_finite_untrusted, decode_tensors_untrusted
from synaptic_mesh.consensus import messages as consensus
from synaptic_mesh.consensus.admission import Admission, verify_block_untrusted
from synaptic_mesh.consensus.block import BlockRef, CommitVote, VerifiedBlock, genesis_ref, seal_block
from synaptic_mesh.consensus.evidence import check_evidence_untrusted, evidence_bytes_max, evidence_of
from synaptic_mesh.engine.autodiff import gradients
from synaptic_mesh.engine.functions.scan import Tensors, scan
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.scan_body import decode_body_untrusted
from synaptic_mesh.engine.serialize import GRAPH_BYTES_MAX, graph_from_bytes_untrusted, graph_to_bytes
from synaptic_mesh.engine.trace import Tensor, f32, tanh, trace
from synaptic_mesh.facade import network_file
from synaptic_mesh.identity.certificates import (
    Issuer,
    check_issuer_untrusted,
    leaf_peer_untrusted,
    make_credentials,
    peer_of_name_untrusted,
    trust_bundle,
)
from synaptic_mesh.identity.committee import committee_of
from synaptic_mesh.identity.envelope import PAYLOAD_BYTES_MAX, Opener, Sealer
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.account_proof import verify_account_untrusted
from synaptic_mesh.ledger.certifier import Certifier
from synaptic_mesh.ledger.checkpoint import (
    CERTIFICATE_BYTES_MAX,
    CheckpointCertificate,
    CheckpointQuestion,
    checkpoint_rules,
    sign_checkpoint,
)
from synaptic_mesh.ledger.genesis import (
    GENESIS_BYTES_MAX,
    Genesis,
    GenesisAccount,
    GenesisValidator,
    genesis_of,
    load_genesis_untrusted,
    network_id,
    save_genesis,
)
from synaptic_mesh.ledger.ledger import Ledger
from synaptic_mesh.ledger.light_client import verify_balance_untrusted, verify_certificate_untrusted
from synaptic_mesh.ledger.manifest import BlobRef, Manifest, Shard, TensorSpec
from synaptic_mesh.ledger.signing import open_transaction_untrusted, sign_transaction, verify_transaction_untrusted
from synaptic_mesh.ledger.transactions import (
    SignedTransaction,
    Stake,
    SubmitJob,
    Transaction,
    Transfer,
    TransferMany,
    decode_transaction_untrusted,
    encode_transaction,
)
from synaptic_mesh.ledger.transfers import check_records_untrusted
from synaptic_mesh.node import messages as node
from synaptic_mesh.node.assembly import Assembly
from synaptic_mesh.node.build import build_assembly
from synaptic_mesh.node.settings import PacingSettings
from synaptic_mesh.training import model_file
from synaptic_mesh.training.dataset import decode_shard_untrusted
from synaptic_mesh.training.digits import load_digits
from synaptic_mesh.training.hyperparameters import Hyperparameters
from synaptic_mesh.training.job import JobTerms, PreparedJob, prepare_job
from synaptic_mesh.training.prepared import decode_prepared_untrusted
from synaptic_mesh.training.safetensors import decode_safetensors_untrusted, encode_safetensors
from synaptic_mesh.transport.exchange import BlobServer, WantChunk, WantManifest
from synaptic_mesh.transport.network import Counters
from synaptic_mesh.workers.native_messages import (
    Answer,
    Say,
    decode_answer_untrusted,
    decode_layout_untrusted,
    encode_answer,
    offsets_bytes,
)

NOW_MS = 1_790_000_000_000
FILE_BYTES_MAX = 1 << 20
"""Files come from a user, who may name any: fuzzed up to this size."""
KEYS = tuple(sorted((KeyPair(bytes([number]) * 32) for number in range(1, 5)), key=lambda key: key.peer_id))
NETWORK = NetworkId(Digest(b"n" * 32))
COMMITTEE = committee_of(0, {key.peer_id: 1 for key in KEYS})


@dataclass(frozen=True)
class Target:
    """`run` may raise PeerError and nothing else, whatever bytes it is given."""

    name: str
    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    bytes_max: int = PAYLOAD_BYTES_MAX
    frame_bytes_max: int = PAYLOAD_BYTES_MAX
    """Where more than a message gets in: the size that the decoder itself allows."""


THROUGH = {
    "engine.scan_body._decode_untrusted": "engine.scan_body.decode_body_untrusted",
    "engine.scan_body.count_nodes_untrusted": "engine.serialize.graph_from_bytes_untrusted",
    "identity.certificates._parse_untrusted": "identity.certificates.leaf_peer_untrusted",
    "identity.envelope.Opener._decode_untrusted": "identity.envelope.Opener.open_untrusted",
    "ledger.genesis._check_version_untrusted": "ledger.genesis.load_genesis_untrusted",
    "ledger.checkpoint.CheckpointRules.check_place_untrusted": "ledger.light_client.verify_certificate_untrusted",
    "ledger.checkpoint.CheckpointRules.check_signature_untrusted": "ledger.light_client.verify_certificate_untrusted",
    "ledger.checkpoint.CheckpointRules.check_certificate_untrusted": "ledger.light_client.verify_certificate_untrusted",
    "ledger.certifier.Certifier._receive_vote_untrusted": "ledger.certifier.Certifier.receive_untrusted",
    "ledger.certifier.Certifier._receive_certificate_untrusted": "ledger.certifier.Certifier.receive_untrusted",
    "node.assembly.Assembly._receive_consensus_untrusted": "node.assembly.Assembly.handle consensus",
    "node.assembly.Assembly._receive_transactions_untrusted": "node.assembly.Assembly.handle transactions",
    "node.assembly.Assembly._receive_client_untrusted": "node.assembly.Assembly.handle client",
    "node.assembly.Assembly._prove_untrusted": "node.assembly.Assembly.handle client",
    "node.assembly.Assembly._answer_untrusted": "node.assembly.Assembly.handle client",
    "node.checks.Checks._open_untrusted": "node.assembly.Assembly.handle transactions",
    "workers.native_messages._slot_untrusted": "workers.native_messages.decode_layout_untrusted",
}
"""A decoder that nobody outside its module calls, and the target that reaches it."""


@cache
def targets() -> dict[str, Target]:
    """Every target by name. A name may carry a word more: the same function in another situation."""
    found = (*_identity(), *_consensus(), *_ledger(), *_files(), *_tensors(), *_nodes())
    invariant(len({target.name for target in found}) == len(found), "two targets have one name")
    return {target.name: target for target in found}


# --- identity ---------------------------------------------------------------------------------------------------------


def _identity() -> tuple[Target, ...]:
    sealer = Sealer(KEYS[0], NETWORK, 1)
    header = sealer.seal("consensus", b"payload", KEYS[1].peer_id)

    def open_header(data: bytes) -> object:
        return Opener(NETWORK, KEYS[1].peer_id, lambda _: True).open_untrusted(data, b"payload")

    def open_payload(data: bytes) -> object:
        return Opener(NETWORK, KEYS[1].peer_id, lambda _: True).open_untrusted(header, data)

    issuer = Issuer(KEYS[0], NOW_MS)
    leaf = make_credentials(KEYS[1], issuer, trust_bundle([issuer.certificate]), NOW_MS).certificate
    certificates = (issuer.certificate, leaf)
    return (
        Target("identity.envelope.Opener.open_untrusted", open_header, (header,)),
        Target("identity.envelope.Opener.open_untrusted payload", open_payload, (b"payload",)),
        Target("identity.certificates.check_issuer_untrusted", check_issuer_untrusted, certificates),
        Target("identity.certificates.leaf_peer_untrusted", leaf_peer_untrusted, certificates),
        Target(
            "identity.certificates.peer_of_name_untrusted",
            lambda data: peer_of_name_untrusted(data.decode("latin-1")),
            (KEYS[0].peer_id.hex().encode(),),
        ),
    )


# --- consensus --------------------------------------------------------------------------------------------------------


def block(round_: int, author: int, *transactions: bytes) -> VerifiedBlock:
    """A valid block; above round 1 its ancestors are invented, which no stateless rule can see."""
    others = [other for other in range(4) if other != author]
    refs = [
        genesis_ref(NETWORK, 0, each) if round_ == 1 else BlockRef(round_ - 1, each, bytes([each]) * 32)
        for each in (author, *others)
    ]
    return seal_block(
        KEYS[author].sign,
        network=NETWORK,
        epoch=0,
        round_=round_,
        author=author,
        incarnation=1,
        timestamp_ms=NOW_MS,
        ancestors=tuple(refs),
        transactions=transactions,
        commit_votes=(CommitVote(3, b"c" * 32),) if round_ > 1 else (),
    )


def believe(_peer: bytes, _domain: str, _message: bytes, _signature: bytes) -> bool:
    """A check that lets every signature pass, so that what comes after it is reached."""
    return True


def _consensus() -> tuple[Target, ...]:
    blocks = (block(1, 0), block(9, 1, b"transaction", b"another"))
    frames = tuple(each.encoded for each in blocks)
    ref = blocks[1].ref
    messages = tuple(
        consensus.encode_message(message)
        for message in (
            consensus.Blocks(frames),
            consensus.BlocksRequest((ref, ref)),
            consensus.RoundsRequest(3),
            consensus.RoundsRequest(3, 2, 1 << 40),
            consensus.StoredBlocks(frames, 1 << 40),
            consensus.Advert(4, 1, 9),
            consensus.OwnRoundRequest(5),
            consensus.OwnRoundAnswer(5, frames[0]),
        )
    )
    strict = Admission(COMMITTEE, NETWORK).verify_untrusted
    credulous = Admission(COMMITTEE, NETWORK, believe)
    proof = evidence_of(block(9, 1, b"one"), block(9, 1, b"other"))

    def check_evidence(data: bytes) -> object:
        return check_evidence_untrusted(data, COMMITTEE, NETWORK)

    def check_evidence_believing(data: bytes) -> object:
        return check_evidence_untrusted(data, COMMITTEE, NETWORK, believe)

    return (
        Target(
            "consensus.messages.receive_untrusted",
            lambda data: consensus.receive_untrusted(KEYS[0].peer_id, data, credulous.verify_untrusted),
            messages,
        ),
        Target("consensus.admission.Admission.verify_untrusted", strict, frames),
        Target("consensus.admission.Admission.verify_untrusted believing", credulous.verify_untrusted, frames),
        Target(
            "consensus.admission.verify_block_untrusted",
            lambda data: verify_block_untrusted(data, COMMITTEE, NETWORK),
            frames,
        ),
        Target("consensus.evidence.check_evidence_untrusted", check_evidence, (proof,), evidence_bytes_max(COMMITTEE)),
        Target("consensus.evidence.check_evidence_untrusted believing", check_evidence_believing, (proof,)),
        Target(
            "base.codec.decode_untrusted",
            lambda data: decode_untrusted(cast(Any, consensus.Message), data),
            messages,
            frame_bytes_max=FRAME_BYTES_MAX,
        ),
    )


# --- ledger -----------------------------------------------------------------------------------------------------------


@cache
def job() -> tuple[PreparedJob, Manifest, bytes]:
    """A job, its manifest with initial state, and that state."""
    small = Hyperparameters(batch=8, inner_steps=2, outer_steps=2, learning_rate=0.4)
    prepared = prepare_job(
        load_digits(), "linear", JobTerms(shards=3, workers_min=2, workers_max=3), seed=1, hyperparameters=small
    )
    return prepared, *with_initial_state(prepared.manifest)


@cache
def genesis() -> Genesis:
    """Four validators."""
    validators = [GenesisValidator(key.peer_id, 10**12) for key in KEYS]
    accounts = [GenesisAccount(key.peer_id, 10**15, 10**12) for key in KEYS]
    return genesis_of(Digest(semantics_id()), "fuzz", validators, accounts)


@cache
def transactions() -> tuple[Transaction, ...]:
    """A few of each size."""
    receiver = KEYS[1].peer_id
    actions = (
        Transfer(receiver, 5),
        Stake(7),
        TransferMany((receiver + (3).to_bytes(8, "little")) * 3),
        SubmitJob(job()[1]),
    )
    network = network_id(genesis())
    return tuple(Transaction(network, 0, KEYS[0].peer_id, nonce, action) for nonce, action in enumerate(actions))


@cache
def checkpoint_messages() -> tuple[bytes, ...]:
    """A vote, a certificate and a question."""
    rules = checkpoint_rules(genesis())
    checkpoint = rules.checkpoint(rules.commits, b"c" * 32, 5, Ledger(genesis()).state_root(), 7)
    votes = [sign_checkpoint(checkpoint, author, KEYS[author].sign) for author in range(rules.committee.size)]
    certificate = CheckpointCertificate(checkpoint, tuple((vote.author, vote.signature) for vote in votes[1:]))
    return encode(certificate), encode(votes[1]), encode(CheckpointQuestion(0))


def _ledger() -> tuple[Target, ...]:
    network = network_id(genesis())
    bodies = tuple(encode_transaction(transaction) for transaction in transactions())
    signed = tuple(sign_transaction(KEYS[0], transaction) for transaction in transactions())
    ledger = Ledger(genesis())
    certifier = Certifier(checkpoint_rules(genesis()))
    certificate, proof = checkpoint_messages()[0], encode(ledger.prove(KEYS[0].peer_id))

    def open_body(data: bytes) -> object:
        return open_transaction_untrusted(encode(SignedTransaction(data, bytes(64))), network, 0)

    return (
        Target("ledger.transactions.decode_transaction_untrusted", decode_transaction_untrusted, bodies),
        Target(
            "ledger.signing.open_transaction_untrusted",
            lambda data: open_transaction_untrusted(data, network, 0),
            signed,
        ),
        Target("ledger.signing.open_transaction_untrusted body", open_body, bodies, PAYLOAD_BYTES_MAX // 2),
        Target(
            "ledger.signing.verify_transaction_untrusted",
            lambda data: verify_transaction_untrusted(data, network, 0),
            signed,
        ),
        Target(
            "ledger.transfers.check_records_untrusted",
            check_records_untrusted,
            (bytes(40), bytes(40 * 4_096), bytes(41)),
        ),
        Target(
            "ledger.account_proof.verify_account_untrusted",
            lambda data: verify_account_untrusted(network, ledger.state_root(), KEYS[0].peer_id, data),
            (proof,),
        ),
        Target(
            "ledger.light_client.verify_certificate_untrusted",
            lambda data: verify_certificate_untrusted(genesis(), data),
            (certificate,),
            frame_bytes_max=CERTIFICATE_BYTES_MAX,
        ),
        Target(
            "ledger.light_client.verify_balance_untrusted",
            lambda data: verify_balance_untrusted(genesis(), certificate, KEYS[0].peer_id, data),
            (proof,),
        ),
        Target(
            "ledger.certifier.Certifier.receive_untrusted",
            lambda data: certifier.receive_untrusted(KEYS[1].peer_id, data, NOW_MS),
            checkpoint_messages()[1:],
        ),
        Target(
            "ledger.genesis.load_genesis_untrusted",
            load_genesis_untrusted,
            (save_genesis(genesis()),),
            frame_bytes_max=GENESIS_BYTES_MAX,
        ),
    )


# --- files and records ------------------------------------------------------------------------------------------------


def _files() -> tuple[Target, ...]:
    prepared = job()[0].dataset.prepared
    record = run_record.RunRecord(save_genesis(genesis()), b"j" * 32, job()[1], (), ())
    body = encode(record)

    def wrap_record(data: bytes) -> object:
        magic = run_record.MAGIC + hash_bytes("SM/run-record/v1", data)
        return run_record.decode_record_untrusted(magic + data)

    def wrap_model(data: bytes) -> object:
        text = data.decode("utf-8", "replace")
        metadata = {model_file.METADATA_KEY: text, model_file.DIGEST_KEY: model_file._digest(text, {})}
        return model_file.decode_model_untrusted(encode_safetensors({}, metadata))

    def wrap_network(data: bytes) -> object:
        text = data.decode("utf-8", "replace")
        metadata = {network_file.METADATA_KEY: text, network_file.DIGEST_KEY: network_file._digest(text, {})}
        return network_file._decode_untrusted(encode_safetensors({}, metadata))

    manifest = {
        "schema": model_file.SCHEMA,
        "model": "linear",
        "task": "classify",
        "audit": "unaudited",
        "target": ["y"],
        "classes": ["a", "b"],
        "columns": ["x"],
        "prepared": "AAAA",
        "provenance": {},
    }
    tensors = encode_safetensors({"w": job()[0].dataset.x_test[:2]}, {"k": "v"})
    described = {"schema": network_file.SCHEMA, "network": None, "row": [], "integers": {}}
    prepared_bytes = job()[1].data.prepared
    invariant(decode_prepared_untrusted(prepared_bytes) == prepared, "the seed is not what it should be")
    return (
        Target("training.prepared.decode_prepared_untrusted", decode_prepared_untrusted, (prepared_bytes,)),
        Target("training.safetensors.decode_safetensors_untrusted", decode_safetensors_untrusted, (tensors,)),
        Target("training.safetensors.decode_safetensors_untrusted header", _wrap_header, (tensors[8:60],)),
        Target("training.model_file.decode_model_untrusted", model_file.decode_model_untrusted, (tensors,)),
        Target("training.model_file.decode_model_untrusted text", wrap_model, (msgspec.json.encode(manifest),)),
        Target("facade.network_file._decode_untrusted", network_file._decode_untrusted, (tensors,)),
        Target("facade.network_file._decode_untrusted text", wrap_network, (msgspec.json.encode(described),)),
        Target(
            "collab.record.decode_record_untrusted",
            run_record.decode_record_untrusted,
            (run_record.encode_record(record),),
        ),
        Target("collab.record.decode_record_untrusted body", wrap_record, (body,)),
    )


def _wrap_header(data: bytes) -> object:
    return decode_safetensors_untrusted(len(data).to_bytes(8, "little") + data + bytes(64))


# --- tensors and graphs -----------------------------------------------------------------------------------------------


def loop() -> Graph:
    """A scan within a scan and its gradient: bodies are graphs inside of bytes inside of a graph."""

    def inner(states: Tensors, slices: Tensors) -> tuple[Tensors, Tensors]:
        return {"h": tanh(states["h"] + slices["x"])}, {"o": states["h"]}

    def outer(states: Tensors, slices: Tensors) -> tuple[Tensors, Tensors]:
        done = scan(inner, {"h": states["h"]}, {"x": slices["x"]}, unroll=False)
        return {"h": done.states["h"]}, {"o": done.outputs["o"].sum()}

    def whole(x: Tensor, h: Tensor) -> Tensors:
        done = scan(outer, {"h": h}, {"x": x}, unroll=False)
        return {"y": done.outputs["o"], "d": gradients(done.states["h"].sum(), [h])[0]}

    return trace(whole, {"x": f32(3, 2, 4), "h": f32(4)})


def _tensors() -> tuple[Target, ...]:
    prepared, manifest, state = job()
    graph = prepared.blobs[manifest.step_graph.digest]
    shard = prepared.blobs[manifest.data.shards[0].blob.digest]
    specs = (TensorSpec("a", "f32", (2, 3)), TensorSpec("b", "i32", ()))
    rows = manifest.data.shards[0].rows

    def decode_shard(data: bytes) -> object:
        ref = BlobRef(blob_digest(data), len(data))
        return decode_shard_untrusted(manifest.data, Shard(ref, rows), data)

    step = graph_from_bytes_untrusted(graph)
    answers = tuple(encode_answer(Answer(kind, 0, text="no" * (kind > Say.DONE))) for kind in Say)

    def decode_layout(data: bytes) -> object:
        return decode_layout_untrusted(step, data, 1 << 20)

    def check_specs(data: bytes) -> object:
        return check_specs_untrusted(decode_untrusted(tuple[TensorSpec, ...], data))

    return (
        Target(
            "base.arrays.from_canonical_untrusted",
            lambda data: from_canonical_untrusted(data, "f32", (2, 3)),
            (bytes(24),),
        ),
        Target("collab.tensors.check_specs_untrusted", check_specs, (encode(specs),), PAYLOAD_BYTES_MAX // 8),
        Target(
            "collab.tensors.decode_tensors_untrusted", lambda data: decode_tensors_untrusted(specs, data), (bytes(28),)
        ),
        Target(
            "collab.tensors.decode_finite_untrusted", lambda data: decode_finite_untrusted(specs, data), (bytes(28),)
        ),
        Target("collab.state.decode_state_untrusted", lambda data: decode_state_untrusted(manifest, data), (state,)),
        Target("training.dataset.decode_shard_untrusted", decode_shard, (shard,), FILE_BYTES_MAX),
        Target("engine.scan_body.decode_body_untrusted", decode_body_untrusted, (graph,)),
        Target(
            "engine.serialize.graph_from_bytes_untrusted",
            graph_from_bytes_untrusted,
            (graph,),
            frame_bytes_max=GRAPH_BYTES_MAX,
        ),
        Target(
            "engine.serialize.graph_from_bytes_untrusted loop",
            graph_from_bytes_untrusted,
            (graph_to_bytes(loop()),),
            PAYLOAD_BYTES_MAX // 16,
        ),
        Target("workers.native_messages.decode_answer_untrusted", decode_answer_untrusted, answers),
        Target("workers.native_messages.decode_layout_untrusted", decode_layout, (bytes(offsets_bytes(step)),)),
    )


# --- nodes ------------------------------------------------------------------------------------------------------------


@cache
def _assembly() -> Assembly:
    """A validator that has started and knows its peers."""
    assembly = build_assembly(KEYS[0], genesis(), PacingSettings(), works=True, incarnation=1)
    assembly.start([], NOW_MS)
    for key in KEYS[1:]:
        assembly.handle(node.PeerUp(key.peer_id), NOW_MS)
    return assembly


def _nodes() -> tuple[Target, ...]:
    def receive(topic: str) -> Callable[[bytes], object]:
        return lambda data: _assembly().handle(node.Received(KEYS[1].peer_id, topic, data), NOW_MS)

    server = BlobServer(Counters())
    server.source = lambda digest: b"blob" if digest == b"d" * 32 else None

    def answer(data: bytes) -> object:
        return asyncio.run(server.answer_untrusted(PeerId(b"p" * 32), data))

    signed = tuple(sign_transaction(KEYS[0], transaction) for transaction in transactions()[:3])
    questions = (encode(WantManifest(Digest(b"d" * 32))), encode(WantChunk(Digest(b"d" * 32), 0)))
    network = network_id(genesis())
    adverts = (
        consensus.encode_message(consensus.Advert(4, 1, 9)),
        consensus.encode_message(consensus.RoundsRequest(1)),
        consensus.encode_message(consensus.Blocks((block(1, 1).encoded,))),
        consensus.encode_message(consensus.BlocksRequest((genesis_ref(network, 0, 1),))),
    )
    return (
        Target("node.assembly.Assembly.handle consensus", receive(node.TOPIC_CONSENSUS), adverts),
        Target(
            "node.assembly.Assembly.handle transactions",
            receive(node.TOPIC_TRANSACTIONS),
            (encode(node.Transactions(signed)),),
        ),
        Target("node.assembly.Assembly.handle checkpoint", receive(node.TOPIC_CHECKPOINT), checkpoint_messages()),
        Target(
            "node.assembly.Assembly.handle client",
            receive(node.TOPIC_CLIENT),
            (
                encode(node.Submission(0, signed)),
                encode(node.AccountsQuestion(1, (KEYS[0].peer_id,))),
                encode(node.ProofQuestion(1, KEYS[0].peer_id)),
            ),
        ),
        Target("transport.exchange.BlobServer.answer_untrusted", answer, questions),
    )
