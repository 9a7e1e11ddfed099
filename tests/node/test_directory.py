import stat
from pathlib import Path

import pytest

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.identity.certificates import Credentials
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.genesis import GenesisValidator, genesis_of
from synaptic_mesh.node.directory import NodeFiles, read_node, write_node
from synaptic_mesh.node.settings import (
    FOREIGN_BACKENDS,
    NodeSettings,
    PeerSettings,
    load_settings,
    save_settings,
)

KEY = KeyPair(bytes(range(32)))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    genesis = genesis_of(Digest(bytes(32)), "test", [GenesisValidator(KEY.peer_id, 5)])
    settings = NodeSettings("127.0.0.1:7000", (PeerSettings("ab" * 32, "127.0.0.1:7001"),), works=False)
    place = tmp_path / "node"
    write_node(place, NodeFiles(settings, KEY, genesis, Credentials(b"a", b"b", b"c"), None))
    return place


def test_what_is_written_is_read(directory: Path) -> None:
    files = read_node(directory)
    assert files.key.peer_id == KEY.peer_id
    assert files.settings.peers[0].endpoint == "127.0.0.1:7001"
    assert files.settings.works is False
    assert files.genesis.validators[0].stake == 5
    assert files.credentials == Credentials(b"a", b"b", b"c")
    assert files.job is None


@pytest.mark.parametrize("name", ["key", "credentials"])
def test_secrets_are_for_their_owner_only(directory: Path, name: str) -> None:
    assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["genesis", "credentials", "node.toml", "key"])
def test_a_damaged_file_is_named(directory: Path, name: str) -> None:
    path = directory / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(LocalError):
        read_node(directory)


@pytest.mark.parametrize("name", ["genesis", "credentials", "node.toml", "key"])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(ResourceError, match=name):
        read_node(directory)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("listen = 1", "listen"),
        ('listen = "a"\nlisten_to = "b"', "listen_to"),
        ('listen = "a"\nbackend = "x"', "'x'"),
        ('listen = "a"\nnative_after_ms = -1', "native_after_ms is -1"),
    ],
)
def test_bad_settings_name_the_field(directory: Path, text: str, named: str) -> None:
    (directory / "node.toml").write_text(text)
    with pytest.raises(LocalError, match=named):
        read_node(directory)


@pytest.mark.parametrize("backend", FOREIGN_BACKENDS)
def test_backends_for_graphs_of_others_can_be_chosen(directory: Path, backend: str) -> None:
    save_settings(directory, NodeSettings("127.0.0.1:7000", backend=backend, native_after_ms=0))
    assert load_settings(directory).backend == backend


def test_one_changed_byte_of_genesis_is_another_network(directory: Path) -> None:
    path = directory / "genesis"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"test", b"tess"))
    with pytest.raises(LocalError, match="of network"):
        read_node(directory)


def test_an_existing_directory_is_not_overwritten(directory: Path) -> None:
    with pytest.raises(ResourceError, match="cannot write"):
        write_node(directory, read_node(directory))
