import os
from pathlib import Path

import pytest

from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.workers.program_cache import CachedProgram, CachedSlot, ProgramCache, program_key

KEY = Digest(bytes(range(32)))
OTHER = Digest(bytes(32))
PROGRAM = CachedProgram(
    b"wasm", b"native", {"x": CachedSlot(64, (2, 3), "f32")}, {"y": CachedSlot(128, (), "i32")}, 192
)


@pytest.fixture
def cache(tmp_path: Path) -> ProgramCache:
    return ProgramCache(tmp_path / "programs")


def entry(cache: ProgramCache) -> Path:
    (path,) = cache.directory.iterdir()
    return path


def test_what_was_stored_is_loaded(cache: ProgramCache) -> None:
    assert cache.load(KEY) is None
    cache.store(KEY, PROGRAM)
    assert cache.load(KEY) == PROGRAM
    assert cache.load(OTHER) is None
    assert (cache.hits, cache.misses, cache.rebuilt) == (1, 2, [])


@pytest.mark.parametrize("position", [0, 7, 40, -1])
def test_one_changed_byte_is_never_believed(cache: ProgramCache, position: int) -> None:
    cache.store(KEY, PROGRAM)
    data = bytearray(entry(cache).read_bytes())
    data[position] ^= 1
    entry(cache).write_bytes(data)
    assert cache.load(KEY) is None
    assert len(cache.rebuilt) == 1
    assert KEY.hex() in cache.rebuilt[0]
    assert list(cache.directory.iterdir()) == []


@pytest.mark.parametrize("length", [0, 4, 30, 60])
def test_a_cut_entry_is_never_believed(cache: ProgramCache, length: int) -> None:
    cache.store(KEY, PROGRAM)
    entry(cache).write_bytes(entry(cache).read_bytes()[:length])
    assert cache.load(KEY) is None
    assert len(cache.rebuilt) == 1


def test_an_entry_under_another_name_is_never_believed(cache: ProgramCache) -> None:
    cache.store(KEY, PROGRAM)
    entry(cache).rename(cache.directory / f"{OTHER.hex()}.program")
    assert cache.load(OTHER) is None
    assert "digest" in cache.rebuilt[0]


@pytest.mark.skipif(os.name != "posix", reason="file modes and links of POSIX")
def test_an_entry_that_others_may_write_or_a_link_is_never_believed(cache: ProgramCache, tmp_path: Path) -> None:
    cache.store(KEY, PROGRAM)
    entry(cache).chmod(0o666)
    assert cache.load(KEY) is None
    cache.store(KEY, PROGRAM)
    elsewhere = tmp_path / "elsewhere"
    path = entry(cache)
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert cache.load(KEY) is None
    assert len(cache.rebuilt) == 2
    assert elsewhere.exists()


@pytest.mark.skipif(os.name != "posix", reason="file modes of POSIX")
def test_a_directory_that_others_may_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ResourceError, match="can be written by other users"):
        ProgramCache(tmp_path)


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "programs"
    path.write_text("")
    with pytest.raises(ResourceError, match="cannot use the program cache"):
        ProgramCache(path)


def test_keys_differ_with_everything_that_matters() -> None:
    keys = {program_key(KEY, "a"), program_key(OTHER, "a"), program_key(KEY, "b"), program_key(KEY, "a", "b")}
    assert len(keys) == 4
