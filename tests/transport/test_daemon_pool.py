"""Calls are carried out in order, and one that never returns keeps no process alive."""

import asyncio
import subprocess
import sys
import threading

import pytest

from synaptic_mesh.transport.daemon_pool import DaemonPool

HANGING = """
import sys, threading
from synaptic_mesh.transport.daemon_pool import DaemonPool
pool, begun = DaemonPool(1, "test"), threading.Event()
pool.submit(lambda: (begun.set(), threading.Event().wait()))
begun.wait()
pool.shutdown(wait=False, cancel_futures=True)
print("over")
"""


def test_results_and_errors_come_back() -> None:
    pool = DaemonPool(2, "test")
    assert [pool.submit(pow, 2, n).result() for n in range(4)] == [1, 2, 4, 8]
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 // 0).result()
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(pow, 2, 2)


def test_an_event_loop_may_use_it() -> None:
    async def scenario() -> int:
        return await asyncio.get_running_loop().run_in_executor(pool, pow, 3, 2)

    pool = DaemonPool(1, "test")
    assert asyncio.run(scenario()) == 9
    pool.shutdown()


def test_what_waits_is_cancelled_and_what_runs_is_not() -> None:
    pool, begun, go_on = DaemonPool(1, "test"), threading.Event(), threading.Event()

    def first() -> str:
        begun.set()
        go_on.wait()
        return "done"

    running, waiting = pool.submit(first), pool.submit(pow, 2, 2)
    begun.wait()
    pool.shutdown(wait=False, cancel_futures=True)
    assert waiting.cancelled()
    go_on.set()
    assert running.result() == "done"


@pytest.mark.process
def test_a_call_that_never_returns_keeps_no_process_alive() -> None:
    done = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "over\n"
