"""What lies on a node's disk is changed while it is stopped: one sentence, and nothing of it believed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from attack_mesh import NodeUnderAttack, over

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.demo.scenario import Scenario, write_scenario
from synaptic_mesh.node.clock import NodeClock
from synaptic_mesh.node.directory import read_node
from synaptic_mesh.node.open import check_identity

Harm = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    return write_scenario(tmp_path_factory.mktemp("damage") / "nodes", 3, 2, NodeClock().now_ms())


@pytest.fixture
def directory(scenario: Scenario, tmp_path: Path) -> Path:
    place = tmp_path / "node"
    shutil.copytree(scenario.members[0].directory, place)
    return place


def flipped(position: int) -> Harm:
    def harm(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[position] ^= 1
        return bytes(changed)

    return harm


def complaint(directory: Path) -> str:
    """Start the node alone; return what it said when it refused to run."""
    node = NodeUnderAttack.of("node A", directory)
    assert node.process.wait(60) == 1
    node.stop()
    return node.stderr()


def test_an_undamaged_node_has_an_identity(directory: Path) -> None:
    check_identity(directory, read_node(directory))


@pytest.mark.parametrize("position", [0, 17, 31])
def test_a_changed_key_is_not_another_peer(directory: Path, position: int) -> None:
    path = directory / "key"
    path.write_bytes(flipped(position)(path.read_bytes()))
    with pytest.raises(LocalError, match="put back the file that was changed"):
        check_identity(directory, read_node(directory))


def test_credentials_of_another_peer_are_refused(directory: Path, scenario: Scenario) -> None:
    shutil.copy(scenario.members[1].directory / "credentials", directory / "credentials")
    with pytest.raises(LocalError, match="put back the file that was changed"):
        check_identity(directory, read_node(directory))


@pytest.mark.parametrize("position", [0, 40, 500, -1])
def test_a_changed_job_is_not_another_job(directory: Path, position: int) -> None:
    path = directory / "job"
    path.write_bytes(flipped(position)(path.read_bytes()))
    with pytest.raises(LocalError, match="job is damaged"):
        read_node(directory)


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "harm", "named"),
    [
        ("incarnation", lambda _: b"7\n", "incarnation is damaged"),
        ("credentials", lambda data: data[:500], "credentials"),
        ("genesis", lambda data: data[:-1], "genesis"),
        ("node.toml", lambda data: data.replace(b"listen", b"listne"), "listne"),
    ],
    ids=["incarnation", "credentials", "genesis", "node.toml"],
)
def test_a_node_refuses_to_run_with_one_sentence(directory: Path, name: str, harm: Harm, named: str) -> None:
    path = directory / name
    path.write_bytes(harm(path.read_bytes()) if path.exists() else harm(b""))
    sentence = complaint(directory)
    assert named in sentence
    assert len(sentence.splitlines()) == 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a sponsor whose job is over."""
    scenario = write_scenario(tmp_path_factory.mktemp("finished") / "nodes", 4, 2, NodeClock().now_ms())
    nodes = [NodeUnderAttack(member) for member in scenario.members]
    for node in nodes:
        node.wait_for(over)
    assert [node.stop() for node in nodes] == [0] * len(nodes)
    return scenario.members[0].directory


@pytest.mark.process
def test_a_sponsor_without_its_blobs_reports_and_goes_on(finished: Path, tmp_path: Path) -> None:
    place = tmp_path / "node"
    shutil.copytree(finished, place)
    shutil.rmtree(place / "run")
    for path in (place / "blobs").glob("??/*"):
        path.write_bytes(b"x" + path.read_bytes()[1:])
    node = NodeUnderAttack.of("node A", place)
    assert "cannot be written" in node.wait_for_kind("failure")["text"]
    node.wait_for_kind("up")
    assert node.stop() == 0
    assert node.stderr() == ""


@pytest.mark.process
@pytest.mark.parametrize("harm", [lambda data: data[: len(data) // 2 // 4_096 * 4_096], lambda data: data[:8_192]])
def test_a_node_whose_log_was_cut_reports_it_and_comes_up(finished: Path, tmp_path: Path, harm: Harm) -> None:
    place = tmp_path / "node"
    shutil.copytree(finished, place)
    log = place / "log" / "data.mdb"
    log.write_bytes(harm(log.read_bytes()))
    node = NodeUnderAttack.of("node A", place)
    assert "the log is damaged at record" in node.wait_for_kind("notice")["text"]
    node.wait_for_kind("up")
    assert node.stop() == 0
    assert node.stderr() == ""


@pytest.mark.process
def test_a_log_of_another_network_is_refused(finished: Path, directory: Path) -> None:
    shutil.copytree(finished / "log", directory / "log")
    sentence = complaint(directory)
    assert "does not belong to this node's genesis" in sentence
    assert len(sentence.splitlines()) == 1


@pytest.mark.process
def test_a_second_process_on_one_directory_is_refused(finished: Path, tmp_path: Path) -> None:
    place = tmp_path / "node"
    shutil.copytree(finished, place)
    first = NodeUnderAttack.of("first", place)
    first.wait_for_kind("up")
    assert "in use by another node" in complaint(place)
    assert first.stop() == 0
