import errno
from pathlib import Path

import pytest

from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.storage import blobs as blobs_module
from synaptic_mesh.storage.blobs import BlobStore


def path_of(store: BlobStore, digest: Digest) -> Path:
    return store.directory / digest.hex()[:2] / digest.hex()


def test_what_is_put_is_got_by_its_hash(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs")
    digest = store.put(b"hello")
    assert digest == blob_digest(b"hello")
    assert store.get(digest) == b"hello"
    assert BlobStore(tmp_path / "blobs").get(digest) == b"hello"
    assert store.put(memoryview(b"hello")) == digest
    assert store.size == 5
    assert store.has(digest)
    assert store.digests() == [digest]
    assert store.delete(digest)
    assert not store.delete(digest)
    assert (store.get(digest), store.has(digest), store.size) == (None, False, 0)


@pytest.mark.parametrize("damage", [b"hellp", b"hell", b"", b"hello!"])
def test_a_damaged_blob_is_reported_removed_and_can_be_put_again(tmp_path: Path, damage: bytes) -> None:
    digest = BlobStore(tmp_path).put(b"hello")
    store = BlobStore(tmp_path)
    path_of(store, digest).write_bytes(damage)
    assert store.get(digest) is None
    assert store.damaged == [digest]
    assert not store.has(digest)
    store.put(b"hello")
    assert store.get(digest) == b"hello"


def test_putting_repairs_a_damaged_file(tmp_path: Path) -> None:
    digest = BlobStore(tmp_path).put(b"hello")
    store = BlobStore(tmp_path)
    path_of(store, digest).write_bytes(b"other")
    store.put(b"hello")
    assert path_of(store, digest).read_bytes() == b"hello"
    assert store.size == 5


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BlobStore(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ResourceError, match="free some"):
        store.put(b"hello")
    assert store.size == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    digest = BlobStore(tmp_path).put(b"hello")
    left = tmp_path / digest.hex()[:2] / ".half.1.tmp"
    left.write_bytes(b"hel")
    assert BlobStore(tmp_path).digests() == [digest]
    assert not left.exists()


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BlobStore(tmp_path, bytes_max=8)
    store.put(b"hello")
    with pytest.raises(ResourceError, match="holds 5 bytes of at most 8"):
        store.put(b"other")
    monkeypatch.setattr(blobs_module, "BLOB_BYTES_MAX", 4)
    with pytest.raises(LocalError, match="over the limit of 4"):
        store.put(b"large")
    with pytest.raises(LocalError, match="32 bytes"):
        store.get(Digest(b"short"))


def test_the_cache_is_bounded_and_forgets_what_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_module, "CACHE_BYTES_MAX", 10)
    store = BlobStore(tmp_path)
    digests = [store.put(bytes([number]) * 4) for number in range(5)]
    for digest in digests:
        assert store.get(digest) is not None
    assert store._cache_bytes == sum(len(data) for data in store._cache.values()) == 8
    store.delete(digests[-1])
    assert store.get(digests[-1]) is None
    assert store._cache_bytes == 4


def test_a_directory_without_permission_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(ResourceError, match="check its owner and permissions"):
        BlobStore(tmp_path / "blobs")
