"""Helpers help while they are wanted, are waited for once they have begun, and are missed by nobody."""

import os
import sys
import threading

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.workers import pool as pool_module
from synaptic_mesh.workers.pool import HELPERS_MAX, THREADS_MAX, WorkerPool, check_threads


def test_helpers_have_slots_of_their_own_and_are_back_when_the_context_ends() -> None:
    pool, seen, begun = WorkerPool(), [], threading.Barrier(4)

    def helper(slot: int) -> bool:
        begun.wait()
        seen.append(slot)
        return False

    for _ in range(3):
        seen.clear()
        with pool.assist(helper, 3):
            begun.wait()
        assert sorted(seen) == [1, 2, 3]
    assert pool._count == 3


def test_a_helper_that_found_nothing_is_called_again_until_the_end() -> None:
    calls: list[int] = []
    enough = threading.Event()

    def helper(slot: int) -> bool:
        calls.append(slot)
        if len(calls) == 3:
            enough.set()
        return True

    with WorkerPool().assist(helper, 1):
        enough.wait()
    count = len(calls)
    assert count >= 3
    assert len(calls) == count


def test_busy_helpers_are_not_waited_for() -> None:
    pool, gate, begun = WorkerPool(), threading.Event(), threading.Barrier(HELPERS_MAX + 1)

    def busy(_: int) -> bool:
        begun.wait()
        gate.wait()
        return False

    def never(_: int) -> bool:
        raise AssertionError("there is nobody left to call this")

    with pool.assist(busy, HELPERS_MAX):
        begun.wait()
        with pool.assist(never, 2):
            pass
        gate.set()


def test_who_is_woken_calls_once_and_is_back_whatever_happened() -> None:
    back = threading.Semaphore(0)

    class Watched(WorkerPool):
        def _give_back(self, thread: pool_module._Thread) -> None:
            super()._give_back(thread)
            back.release()

    pool, begun = Watched(), threading.Barrier(4)
    calls: list[None] = []

    def helper() -> None:
        calls.append(None)
        begun.wait()
        raise LocalError("no")

    for _ in range(3):
        calls.clear()
        pool.wake(helper, 3)
        begun.wait()
        assert len(calls) == 3
        for _ in range(3):
            assert back.acquire(timeout=30)
    assert pool._count == 3


def test_nobody_is_woken_when_all_are_busy() -> None:
    pool, gate, begun = WorkerPool(), threading.Event(), threading.Barrier(HELPERS_MAX + 1)

    def busy() -> None:
        begun.wait()
        gate.wait()

    called: list[None] = []
    pool.wake(busy, HELPERS_MAX)
    begun.wait()
    pool.wake(lambda: called.append(None), 2)
    gate.set()
    assert pool._count == HELPERS_MAX
    assert called == []


def test_what_a_helper_raises_is_raised_at_the_end() -> None:
    failed = threading.Event()

    def helper(_: int) -> bool:
        failed.set()
        raise LocalError("no")

    with pytest.raises(LocalError), WorkerPool().assist(helper, 1):
        failed.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="affinity as Linux has it")
def test_helpers_leave_its_processor_to_the_thread_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere = os.sched_getaffinity(0)
    monkeypatch.setattr(pool_module, "_getcpu", lambda: min(everywhere))
    found: list[set[int]] = []

    def helper(_: int) -> bool:
        found.append(os.sched_getaffinity(0))
        begun.set()
        return False

    begun = threading.Event()
    with WorkerPool().assist(helper, 1):
        begun.wait()
    assert found == [everywhere - {min(everywhere)} or everywhere]
    assert os.sched_getaffinity(0) == everywhere


def test_impossible_numbers_of_threads_are_refused() -> None:
    assert check_threads(THREADS_MAX) == THREADS_MAX
    for threads in (0, -1, THREADS_MAX + 1):
        with pytest.raises(LocalError):
            check_threads(threads)
