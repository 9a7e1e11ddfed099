"""`synaptic dag decide`: what the commit rule says about a drawn DAG. `synaptic dag show`: a node's recent DAG."""

import json
import sys
from pathlib import Path
from typing import Any

from synaptic_mesh.base.codec import decode_untrusted
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.ids import short
from synaptic_mesh.cli.output import Exit, emit
from synaptic_mesh.consensus.block import Header, WireBlock, header_digest
from synaptic_mesh.consensus.case import WORDS, author_letters, decide_case, read_case, slot_name
from synaptic_mesh.consensus.messages import Commit
from synaptic_mesh.consensus.picture import Picture
from synaptic_mesh.identity.committee import Committee
from synaptic_mesh.ledger.genesis import genesis_committee
from synaptic_mesh.node.build import consensus_rules
from synaptic_mesh.node.directory import read_genesis
from synaptic_mesh.node.messages import LogRecord
from synaptic_mesh.storage.recent import recent_records

LOG_BYTES_READ = 64 << 20
"""Newest part of a log that is looked at: at 4 validators with 100 KiB blocks about 160 rounds."""


def decide(file: Path, as_json: bool) -> int:
    """Print the decisions on the DAG in the file as JSON; with as_json the object names its schema. Raises LocalError
    naming the file and what is wrong with it.
    """
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        result = decide_case(read_case(data))
    except OSError as error:
        raise LocalError(f"{file} cannot be read: {error.strerror or error}") from None
    except LocalError as error:
        raise LocalError(f"{file}: {error}") from None
    if as_json:
        emit("dag.decide", result, as_json)
    else:
        sys.stdout.write(json.dumps(result) + "\n")
    return Exit.OK


def show(directory: Path | None, node: str, rounds: int, as_json: bool) -> int:
    """Print the picture of a node's newest rounds. Raises LocalError or ResourceError naming what cannot be read."""
    place = find_node(directory or newest_run(), node)
    genesis = read_genesis(place / "genesis")
    committee = genesis_committee(genesis)
    blocks, commits = read_log(place / "log")
    picture = Picture(committee, consensus_rules(genesis, committee), blocks, commits, rounds)
    if as_json:
        emit("dag.show", describe(picture, place.name, committee, commits), as_json)
        return Exit.OK
    for author, validator in enumerate(committee.validators):
        sys.stdout.write(f"{author_letters(author)} is {short(validator.peer)}, stake {validator.stake}\n")
    sys.stdout.write("".join(f"{line}\n" for line in picture.lines()))
    return Exit.OK


def newest_run() -> Path:
    """Return the run below runs/ that kept its nodes and was made last."""
    runs = sorted((path.parent for path in Path("runs").glob("*/nodes")), key=lambda run: run.stat().st_mtime_ns)
    if not runs:
        raise LocalError("no run below runs/ has kept its nodes: name the directory of a node or run")
    return runs[-1]


def find_node(directory: Path, name: str) -> Path:
    """Return the node's directory that is meant."""
    if (directory / "genesis").is_file() and not name:
        return directory
    nodes = sorted(path.parent for path in (directory / "nodes").glob("*/genesis"))
    if not nodes:
        raise LocalError(f"{directory} is no directory of a node, and holds no nodes/: give one with a genesis file")
    found = [place for place in nodes if place.name == name or not name]
    if not found:
        known = ", ".join(place.name for place in nodes)
        raise LocalError(f"{directory} has no node {name!r}; it has {known}")
    return next((place for place in found if (place / "job").exists()), found[0])


def read_log(directory: Path) -> tuple[list[tuple[bytes, Header]], list[Commit]]:
    """Return the headers, with digests, and the commits in the newest part of a log."""
    blocks: list[tuple[bytes, Header]] = []
    commits: list[Commit] = []
    try:
        for data in recent_records(directory, LOG_BYTES_READ):
            record = decode_untrusted(LogRecord, data, 1 << 30)
            for encoded in record.blocks:
                wire = decode_untrusted(WireBlock, encoded, 1 << 30)
                blocks.append((header_digest(wire.header), decode_untrusted(Header, wire.header, 1 << 30)))
            commits += record.commits
    except PeerError as error:
        raise LocalError(f"{directory} holds records of another version of this program: {error}") from None
    return blocks, commits


def describe(picture: Picture, name: str, committee: Committee, commits: list[Commit]) -> dict[str, Any]:
    """The picture as one object."""
    authors = [
        {"letter": author_letters(author), "peer": validator.peer.hex(), "stake": str(validator.stake)}
        for author, validator in enumerate(committee.validators)
    ]
    digests = {name: digest.hex() for digest, name in picture.names.items()}
    rounds = []
    for round_ in range(picture.first, picture.last + 1):
        blocks = []
        for author in range(committee.size):
            for twin, header in enumerate(picture.blocks(round_, author)):
                title = slot_name(author, round_) + "'" * twin
                blocks.append(
                    {
                        "name": title,
                        "digest": digests[title],
                        "ancestors": [picture.name(ref) for ref in header.ancestors],
                        "transactions": header.transaction_count,
                    }
                )
        leaders = [
            {"slot": slot_name(s.author, round_), "verdict": WORDS[s.verdict], "commit": s.commit or None}
            for s in picture.leaders(round_)
        ]
        rounds.append({"round": round_, "blocks": blocks, "leaders": leaders})
    newest = commits[-1].index if commits else 0
    return {"node": name, "authors": authors, "commits": newest, "rounds": rounds}
