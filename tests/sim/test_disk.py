"""What a crash leaves on the disk."""

from random import Random

from synaptic_mesh.sim.disk import Disk, DiskSettings, frame, read_frames
from synaptic_mesh.sim.queue import EventQueue

RECORDS = [bytes([number]) * (number * 7 % 50) for number in range(40)]


def test_a_record_is_durable_only_after_its_fsync() -> None:
    queue, done = EventQueue(), []
    disk = Disk(queue, DiskSettings(base_ms=5, spread_ms=0), Random(1))
    disk.append(b"a", lambda: done.append(("a", queue.now_ms)))
    disk.append(b"b", lambda: done.append(("b", queue.now_ms)))
    disk.append(b"c", lambda: done.append(("c", queue.now_ms)))
    while queue.run_next():
        pass
    assert done == [("a", 5), ("b", 10), ("c", 10)]  # b and c arrived during the first fsync: one more for both
    assert disk.fsync_count == 2


def test_a_crash_keeps_every_synced_record_and_a_prefix_of_the_others() -> None:
    kept_counts = set()
    called: list[bytes] = []
    for seed in range(60):
        queue = EventQueue()
        disk = Disk(queue, DiskSettings(base_ms=5, spread_ms=0), Random(seed))
        called.clear()
        disk.append(RECORDS[0], lambda: None)
        queue.run_next()
        for record in RECORDS[1:]:
            disk.append(record, lambda: called.append(b"early"))
        disk.crash()
        kept = disk.records()
        assert kept == RECORDS[: len(kept)]
        assert kept
        kept_counts.add(len(kept))
        while queue.run_next():
            pass
        assert called == []  # an fsync begun before the crash finishes for nobody
        disk.append(b"next", lambda: called.append(b"next"))
        queue.run_next()
        assert disk.records() == [*kept, b"next"]
        assert called == [b"next"]
    assert len(kept_counts) > 10  # the tail really is torn at many places


def test_reading_stops_at_the_first_frame_that_does_not_match() -> None:
    log = b"".join(frame(record) for record in RECORDS[:5])
    assert read_frames(log) == (RECORDS[:5], len(log))
    for end in range(len(log)):
        records, whole_bytes = read_frames(log[:end])
        assert records == RECORDS[: len(records)]
        assert whole_bytes == len(b"".join(map(frame, records)))
    damaged = bytearray(log)
    damaged[len(frame(RECORDS[0])) + 13] ^= 1  # inside the second record
    assert read_frames(bytes(damaged))[0] == RECORDS[:1]
