from msgspec.structs import replace

from synaptic_mesh.base.codec import decode_untrusted
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.ledger.checkpoint import Checkpoint, CheckpointCertificate, CheckpointVote
from synaptic_mesh.ledger.checkpoint_effects import Dissent, DoubleVote
from synaptic_mesh.ledger.events import EquivocationPunished, Paid, RewardsPaid, TransactionApplied, Unbonded
from synaptic_mesh.node.journal import describe, describe_metrics, disclosure, float_of_bits
from synaptic_mesh.node.local import solo_terms
from synaptic_mesh.node.messages import CheckpointNote, CommitExecuted, LedgerNote, SendMessage
from synaptic_mesh.training.digits import load_digits
from synaptic_mesh.training.job import prepare_job


def test_amounts_are_integer_strings_and_ids_hex() -> None:
    line = describe(LedgerNote(Paid(b"\x01" * 32, 3, b"\x02" * 32, 2**60 + 1)))
    assert line == {"kind": "paid", "job": "01" * 32, "step": 3, "account": "02" * 32, "amount": str(2**60 + 1)}


def test_a_commit_names_its_state_root() -> None:
    line = describe(CommitExecuted(7, 9, 1_000, 2, True, Digest(b"\x03" * 32)))
    assert line is not None
    assert (line["index"], line["state_root"], line["direct"]) == (7, "03" * 32, True)


def test_refused_transactions_are_told_and_accepted_ones_are_not() -> None:
    refused = TransactionApplied(Digest(bytes(32)), b"\x04" * 32, 5, False, "no such job")
    assert describe(LedgerNote(refused)) == {
        "kind": "refused",
        "sender": "04" * 32,
        "nonce": 5,
        "reason": "no such job",
    }
    assert describe(LedgerNote(TransactionApplied(Digest(bytes(32)), b"", 5, True, ""))) is None
    assert describe(SendMessage(None, "consensus", b"")) is None


def test_what_moves_money_beside_jobs_is_told() -> None:
    told = [
        describe(LedgerNote(RewardsPaid(100, 5, 2, ((b"\x01" * 32, 7),)))),
        describe(LedgerNote(Unbonded(b"\x02" * 32, 9))),
        describe(LedgerNote(EquivocationPunished(b"\x03" * 32, b"\x04" * 32, 50, 5))),
    ]
    assert told == [
        {"kind": "rewards", "minted": "5", "burned": "2", "paid": {"01" * 32: "7"}},
        {"kind": "unbonded", "account": "02" * 32, "amount": "9"},
        {"kind": "punished", "validator": "03" * 32, "reporter": "04" * 32, "slashed": "50", "reward": "5"},
    ]


def test_accuracy_is_for_classes_only() -> None:
    assert float_of_bits(0x3F000000) == 0.5
    assert describe_metrics("classify", (9, 10, 0x3F000000)) == {"rows": 10, "loss": 0.5, "accuracy": 0.9}
    assert "accuracy" not in describe_metrics("regress", (0, 10, 0x3F000000))
    assert describe_metrics("regress", (0, 10, 0x7FC00000))["loss"] is None


def test_a_sponsor_is_told_what_becomes_visible() -> None:
    manifest = prepare_job(load_digits(), "linear", solo_terms(), seed=1).manifest
    rows = sum(shard.rows for shard in manifest.data.shards)
    assert f"{rows} training rows" in disclosure(manifest)
    assert "every peer of the network" in disclosure(manifest)


def test_checkpoints_and_those_who_sign_others_are_told() -> None:
    own = Checkpoint(bytes(32), 0, bytes(32), 32, bytes(32), 5, b"\x01" * 32, 2**60)
    other = replace(own, state_root=b"\x02" * 32)
    votes = [CheckpointVote(state, 3, bytes(64)) for state in (own, other)]
    assert describe(CheckpointNote(CheckpointCertificate(own, ((0, bytes(64)), (3, bytes(64)))), 2**60)) == {
        "kind": "checkpoint",
        "index": 32,
        "state_root": "01" * 32,
        "supply": str(2**60),
        "signatures": 2,
        "stake": str(2**60),
    }
    assert describe(Dissent(votes[1], own)) == {
        "kind": "dissent",
        "author": 3,
        "index": 32,
        "state_root": "02" * 32,
        "own_state_root": "01" * 32,
    }
    line = describe(DoubleVote(*votes))
    assert line is not None
    assert [decode_untrusted(CheckpointVote, bytes.fromhex(vote)) for vote in line["votes"]] == votes
