"""The newest records of a log, read beside its writer."""

import asyncio
from pathlib import Path

import lmdb
import pytest

from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.storage.inspection import POSITION
from synaptic_mesh.storage.log import WriteAheadLog
from synaptic_mesh.storage.recent import newest_first, recent_records

RECORDS = [bytes([n]) * 100 for n in range(10)]


def test_the_newest_are_read_while_the_writer_has_the_log_open(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path, durable=False)
    asyncio.run(log.append(RECORDS))
    assert recent_records(tmp_path, 350) == RECORDS[-3:]
    assert recent_records(tmp_path, 1) == RECORDS[-1:]
    assert recent_records(tmp_path, 1 << 20) == RECORDS
    asyncio.run(log.close())


def test_reading_stops_where_the_chain_is_broken(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path, durable=False)
    asyncio.run(log.append(RECORDS))
    asyncio.run(log.close())
    with lmdb.open(str(tmp_path), max_dbs=0) as environment, environment.begin(write=True) as transaction:
        value = transaction.get(POSITION.pack(6))
        assert value is not None
        transaction.put(POSITION.pack(6), value[:-1] + b"x")
    assert newest_first(tmp_path, 1 << 20) == RECORDS[:6:-1]


def test_no_log_and_no_sense_are_named(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="holds no log"):
        recent_records(tmp_path, 1)
    (tmp_path / "data.mdb").write_bytes(b"no database" * 1_000)
    with pytest.raises(ResourceError, match="cannot be read"):
        recent_records(tmp_path, 1)
