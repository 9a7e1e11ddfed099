import asyncio
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import lmdb
import pytest

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.storage import log as log_module
from synaptic_mesh.storage.inspection import CHECK_BYTES, Damage
from synaptic_mesh.storage.log import DAMAGED_NAME, WriteAheadLog

PAGE_BYTES = 4_096


def fill(directory: Path, records: list[bytes]) -> None:
    log = WriteAheadLog(directory, durable=False)
    log.append_now(records)
    log.close_now()


def read(directory: Path) -> tuple[list[bytes], Damage | None]:
    log = WriteAheadLog(directory, durable=False)
    found = list(log.records()), log.damage
    log.close_now()
    return found


def tamper(directory: Path, position: int, value: bytes | None) -> None:
    environment = lmdb.open(str(directory))
    with environment.begin(write=True) as transaction:
        key = position.to_bytes(8, "big")
        if value is None:
            transaction.delete(key)
        else:
            transaction.put(key, value)
    environment.close()


def test_what_was_appended_is_read_in_order_after_reopening(tmp_path: Path) -> None:
    async def write() -> None:
        log = WriteAheadLog(tmp_path)
        assert await log.append([b"a", b"", b"c"]) == 0
        assert await log.append([b"d"]) == 3
        assert await log.append([]) == 4
        assert list(log.records()) == [b"a", b"", b"c", b"d"]
        await log.close()
        await log.close()

    asyncio.run(write())
    assert read(tmp_path) == ([b"a", b"", b"c", b"d"], None)


def test_appends_that_wait_share_a_commit_and_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[int] = []
    write_once = WriteAheadLog._write_once

    def counted(self: WriteAheadLog, batches: list[Sequence[bytes]]) -> list[int]:
        commits.append(len(batches))
        return write_once(self, batches)

    monkeypatch.setattr(WriteAheadLog, "_write_once", counted)

    async def write() -> None:
        log = WriteAheadLog(tmp_path)
        starts = await asyncio.gather(*(log.append([b"%d" % number, b"x"]) for number in range(100)))
        assert starts == list(range(0, 200, 2))
        assert list(log.records())[::2] == [b"%d" % number for number in range(100)]
        await log.close()

    asyncio.run(write())
    assert sum(commits) == 100
    assert len(commits) <= 3


def test_the_map_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MAP_BYTES_START", 1 << 16)
    records = [bytes([number]) * 50_000 for number in range(40)]
    fill(tmp_path, records)
    assert read(tmp_path) == (records, None)


@pytest.mark.parametrize(
    ("position", "value"), [(1, None), (1, b"short"), (1, bytes(CHECK_BYTES) + b"b"), (3, bytes(CHECK_BYTES) + b"new")]
)
def test_nothing_behind_a_damaged_record_is_believed(tmp_path: Path, position: int, value: bytes | None) -> None:
    fill(tmp_path, [b"a", b"b", b"c"])
    tamper(tmp_path, position, value)
    believed, damage = read(tmp_path)
    assert believed == [b"a", b"b", b"c"][:position]
    assert damage is not None
    assert damage.position == position


def test_one_flipped_bit_in_the_file_is_noticed(tmp_path: Path) -> None:
    fill(tmp_path, [b"first record", b"a sentence to be found", b"last record"])
    file = tmp_path / "data.mdb"
    data = bytearray(file.read_bytes())
    data[data.rindex(b"sentence")] ^= 1
    file.write_bytes(data)
    believed, damage = read(tmp_path)
    assert believed == [b"first record"]
    assert damage == Damage(1, "its check does not fit")


def test_swapped_and_replayed_records_break_the_chain(tmp_path: Path) -> None:
    fill(tmp_path, [b"a", b"b", b"b"])
    environment = lmdb.open(str(tmp_path))
    with environment.begin() as transaction:
        second = transaction.get((1).to_bytes(8, "big"))
    environment.close()
    tamper(tmp_path, 2, second)
    assert read(tmp_path)[0] == [b"a", b"b"]


def test_a_damaged_log_takes_nothing_until_it_is_repaired(tmp_path: Path) -> None:
    fill(tmp_path, [b"a", b"b", b"c"])
    tamper(tmp_path, 1, b"")
    log = WriteAheadLog(tmp_path, durable=False)
    with pytest.raises(ResourceError, match="damaged at record 1"):
        log.append_now([b"x"])
    log.repair()
    assert log.damage is None
    assert list(log.records()) == [b"a"]
    assert (tmp_path / DAMAGED_NAME).is_file()
    assert log.append_now([b"x"]) == 1
    log.close_now()
    assert read(tmp_path) == ([b"a", b"x"], None)


def page(number: int) -> slice:
    return slice(number * PAGE_BYTES, (number + 1) * PAGE_BYTES)


def cut_to(size: int) -> Callable[[bytearray], bytes]:
    return lambda data: bytes(data[:size])


def zero_pages(data: bytearray) -> bytes:
    for number in range(2, len(data) // PAGE_BYTES):
        data[page(number)] = bytes(PAGE_BYTES)
    return bytes(data)


def random_headers(data: bytearray) -> bytes:
    rng = random.Random(4)
    for number in range(2, len(data) // PAGE_BYTES):
        data[number * PAGE_BYTES + 8 : number * PAGE_BYTES + 32] = rng.randbytes(24)
    return bytes(data)


@pytest.mark.process
@pytest.mark.parametrize(
    "harm",
    [
        cut_to(1),
        cut_to(2 * PAGE_BYTES),
        cut_to(3 * PAGE_BYTES + 7),
        zero_pages,
        random_headers,
        lambda _: b"not a database" * 1_000,
    ],
    ids=["one byte", "two pages", "three pages", "zero pages", "random headers", "text"],
)
def test_a_file_that_would_end_its_reader_is_reported_and_rebuilt(
    tmp_path: Path, harm: Callable[[bytearray], bytes]
) -> None:
    records = [bytes([number]) * 900 for number in range(60)]
    fill(tmp_path, records)
    file = tmp_path / "data.mdb"
    file.write_bytes(harm(bytearray(file.read_bytes())))
    log = WriteAheadLog(tmp_path, durable=False)
    assert log.damage is not None
    believed = list(log.records())
    assert believed == records[: log.damage.position] != records
    log.repair()
    assert list(log.records()) == believed
    log.append_now([b"after"])
    log.close_now()
    assert read(tmp_path) == ([*believed, b"after"], None)


def test_a_log_that_cannot_be_inspected_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, [b"a"])
    monkeypatch.setattr(sys, "executable", "/usr/bin/false")
    for _ in range(2):  # the lock is given back
        with pytest.raises(ResourceError, match="cannot be checked"):
            WriteAheadLog(tmp_path)
    monkeypatch.undo()
    assert read(tmp_path) == ([b"a"], None)


def test_two_owners_of_one_directory_are_refused(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path)
    with pytest.raises(ResourceError, match="in use by another node"):
        WriteAheadLog(tmp_path)
    log.close_now()
    WriteAheadLog(tmp_path).close_now()


@pytest.mark.process
def test_another_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from synaptic_mesh.storage.log import WriteAheadLog\n"
        "log = WriteAheadLog(pathlib.Path(sys.argv[1]))\n"
        "log.append_now([b'kept'])\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(ResourceError, match="in use by another node"):
            WriteAheadLog(tmp_path)
        other.kill()
    assert read(tmp_path) == ([b"kept"], None)


def test_bounds_and_use_after_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "RECORD_BYTES_MAX", 10)
    log = WriteAheadLog(tmp_path, durable=False)
    with pytest.raises(LocalError, match="over the limit of 10"):
        log.append_now([b"x" * 11])
    log.close_now()
    with pytest.raises(ResourceError, match="closed"):
        log.append_now([b"x"])


def test_a_disk_that_refuses_is_reported_and_nothing_was_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def write() -> None:
        log = WriteAheadLog(tmp_path, durable=False)
        await log.append([b"a"])

        def full(*_: object) -> None:
            raise lmdb.DiskError("No space left on device")

        monkeypatch.setattr("synaptic_mesh.storage.log.check_of", full)
        with pytest.raises(ResourceError, match="free space"):
            await log.append([b"b"])
        monkeypatch.undo()
        assert await log.append([b"c"]) == 1
        await log.close()

    asyncio.run(write())
    assert read(tmp_path) == ([b"a", b"c"], None)


def test_a_directory_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="file"):
        WriteAheadLog(tmp_path / "file" / "log")


def test_the_file_is_mapped_anew_while_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "REMAP_BYTES", 10_000)
    log = WriteAheadLog(tmp_path, durable=False)
    written = [bytes([number]) * 4_000 for number in range(20)]
    for record in written:
        log.append_now([record])
        assert log._written < 10_000
    assert list(log.records()) == written
    log.close_now()
    again = WriteAheadLog(tmp_path, durable=False)
    assert list(again.records()) == written
    again.close_now()


def test_part_of_the_log_is_read_while_it_is_open(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path, durable=False)
    log.append_now([b"%d" % n for n in range(9)])
    assert log.read(3, 2) == [b"3", b"4"]
    assert log.read(7, 9) == [b"7", b"8"]
    assert log.read(9, 9) == log.read(1 << 40, 1) == []
    log.append_now([b"more"])
    assert log.read(9, 9) == [b"more"]
    log.close_now()
