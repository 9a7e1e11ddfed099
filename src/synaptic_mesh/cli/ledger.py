"""`synaptic ledger checkpoint`: the newest state that a quorum signed, from a node's log. `synaptic ledger verify`:
whether a checkpoint file holds, by the genesis file alone.
"""

import sys
from pathlib import Path
from typing import Any

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.ids import short
from synaptic_mesh.cli.dag import find_node, newest_run
from synaptic_mesh.cli.output import Exit, emit
from synaptic_mesh.ledger.amounts import format_amount
from synaptic_mesh.ledger.checkpoint import CERTIFICATE_BYTES_MAX, CheckpointCertificate, checkpoint_rules
from synaptic_mesh.ledger.genesis import Genesis, genesis_committee
from synaptic_mesh.ledger.light_client import verify_certificate_untrusted
from synaptic_mesh.node.directory import read_file, read_genesis
from synaptic_mesh.node.messages import LogRecord
from synaptic_mesh.storage.recent import recent_records

LOG_BYTES_READ = (16 << 20, 1 << 30)
"""Newest part of a log that is looked at, and as much as is looked at when no certificate is in that."""


def show(directory: Path | None, node: str, output: Path | None, as_json: bool) -> int:
    """Print the newest certified checkpoint of a node, which may be running; write it to `output` too. Raises
    LocalError or ResourceError naming what cannot be read.
    """
    place = find_node(directory or newest_run(), node)
    genesis = read_genesis(place / "genesis")
    certificate = newest_certificate(place, genesis)
    if output is not None:
        output.write_bytes(encode(certificate))
    emit("ledger.checkpoint", {"node": place.name, **describe(genesis, certificate)}, as_json)
    if not as_json:
        sys.stdout.write("\n".join(lines(genesis, certificate)) + "\n")
    return Exit.OK


def verify(file: Path, genesis_file: Path, as_json: bool) -> int:
    """Check a checkpoint file against a genesis file; return OK when a quorum signed it, PROMISE_FAILED otherwise."""
    genesis = read_genesis(genesis_file)
    data = read_file(file, CERTIFICATE_BYTES_MAX)
    try:
        certificate = verify_certificate_untrusted(genesis, data)
    except PeerError as error:
        sentence = f"{file} does not hold: {error}"
        emit("ledger.verify", {"holds": False, "reason": sentence, "checkpoint": None}, as_json)
        if not as_json:
            sys.stdout.write(sentence + "\n")
        return Exit.PROMISE_FAILED
    emit("ledger.verify", {"holds": True, "reason": "", "checkpoint": describe(genesis, certificate)}, as_json)
    if not as_json:
        sys.stdout.write("\n".join(lines(genesis, certificate)) + "\n")
    return Exit.OK


def newest_certificate(place: Path, genesis: Genesis) -> CheckpointCertificate:
    """Return the newest certificate in a node's log, checked. Raises LocalError when there is none."""
    found: list[CheckpointCertificate] = []
    for bytes_max in LOG_BYTES_READ:
        try:
            for data in recent_records(place / "log", bytes_max):
                record = decode_untrusted(LogRecord, data, 1 << 30)
                found += [each for each in record.checkpoints if isinstance(each, CheckpointCertificate)]
        except PeerError as error:
            raise LocalError(f"{place / 'log'} holds records of another version of this program: {error}") from None
        if found:
            break
    else:
        commits = genesis.consensus.checkpoint_commits
        raise LocalError(f"{place} has no signed checkpoint yet: there is one every {commits} commits, try again later")
    newest = max(found, key=lambda each: each.checkpoint.index)
    try:
        checkpoint_rules(genesis).check_certificate_untrusted(newest)
    except PeerError as error:
        raise LocalError(f"the checkpoint in {place / 'log'} does not fit its genesis: {error}") from None
    return newest


def describe(genesis: Genesis, certificate: CheckpointCertificate) -> dict[str, Any]:
    """The checkpoint and who signed it as one object."""
    committee, checkpoint = genesis_committee(genesis), certificate.checkpoint
    authors = [author for author, _ in certificate.signatures]
    return {
        "network": checkpoint.network.hex(),
        "epoch": checkpoint.epoch,
        "committee": checkpoint.committee.hex(),
        "index": checkpoint.index,
        "commit": checkpoint.commit.hex(),
        "timestamp_ms": checkpoint.timestamp_ms,
        "state_root": checkpoint.state_root.hex(),
        "supply": str(checkpoint.supply),
        "scheme": "ed25519+ml-dsa-65" if committee.is_hybrid else "ed25519",
        "signers": [committee.peers[author].hex() for author in authors],
        "stake": str(committee.stake(authors)),
        "quorum": str(committee.quorum),
        "total_stake": str(committee.total_stake),
    }


def lines(genesis: Genesis, certificate: CheckpointCertificate) -> list[str]:
    """The same for people."""
    found, checkpoint = describe(genesis, certificate), certificate.checkpoint
    signers = ", ".join(peer[:8] for peer in found["signers"])
    stake = f"stake {found['stake']} of {found['total_stake']}, a quorum is {found['quorum']}"
    return [
        f"Commit {checkpoint.index} of network {short(checkpoint.network)}, digest {found['commit']}",
        f"state root {found['state_root']}, supply {format_amount(checkpoint.supply)} rUv",
        f"signed ({found['scheme']}) by {signers}: {stake}",
    ]
