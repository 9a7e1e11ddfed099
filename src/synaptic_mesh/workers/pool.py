"""The threads of this process that help with large kernels: one pool for all programs.

    with shared_pool().assist(helper, 3):      # up to 3 threads call helper(1), helper(2), helper(3)
        ...                                     # what they help with; on leaving, all have returned

or, where the helpers' own code knows what there is to do and who is at it (`engine.native.parts`),

    shared_pool().wake(helper, 3)              # up to 3 threads call helper(); nobody waits for them

which takes less of Python: after a large product nothing of the interpreter is in a cache, and each line takes 10 us.

Helping is voluntary. A thread that is busy elsewhere is not waited for, one that comes too late is sent home, and who
asks for help works meanwhile: generated code takes parts one by one, so the same bits come out whoever took which part,
and a machine that has no second core to spare loses a few microseconds.
"""

import contextlib
import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.abi import (
    ENVIRONMENT_CHANGED,
    HELPER_IDLE,
    HELPERS_INSIDE,
    INSIDE_OFFSET,
    WORD_CLOSED,
    WORD_OFFSET,
)

Helper = Callable[[int], bool]
"""helper(slot): help; True to be called again soon, False when there is nothing left to do."""
NAP_S = 50e-6
"""How long a helper that found nothing to do rests before it looks again."""
LOOKS_EVERY = 64
"""After so many times a helper's processors are chosen anew though its caller is where it was: it may be free to use
others by then."""
THREADS_MAX = 64
HELPERS_MAX = THREADS_MAX - 1


class WorkerPool:
    """Threads that wait for work. Any thread may ask for help; threads are made when they are first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Thread] = []
        self._count = 0

    def assist(self, helper: Helper, helpers: int) -> "Assistance":
        """Let up to `helpers` threads call `helper` with slots from 1 on, until the returned context ends."""
        assistance = Assistance(helper)
        for slot in range(1, min(helpers, HELPERS_MAX) + 1):
            thread = self._take()
            if thread is None:
                break
            thread.give(partial(assistance.serve, slot))
        return assistance

    def wake(self, helper: Callable[[], object], helpers: int) -> None:
        """Let up to `helpers` threads call `helper`, each once."""
        for _ in range(min(helpers, HELPERS_MAX)):
            thread = self._take()
            if thread is None:
                return
            thread.give(helper)

    def _take(self) -> "_Thread | None":
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if self._count == HELPERS_MAX:
                return None
            self._count += 1
        try:
            return _Thread(self._give_back)
        except RuntimeError:  # the system gives no more threads: then there is one helper less
            with self._lock:
                self._count -= 1
            return None

    def _give_back(self, thread: "_Thread") -> None:
        with self._lock:
            self._idle.append(thread)


class Assistance:
    """One call for help. Leaving the context sends helpers home and waits for those who began; an exception of one of
    them is raised then."""

    def __init__(self, helper: Helper) -> None:
        self._helper = helper
        self._lock = threading.Lock()
        self._active = 0
        self._is_over = False
        self._failure: BaseException | None = None
        self._end = threading.Lock()  # held until the context ends: helpers nap on it
        self._end.acquire()
        self._last_left = threading.Lock()  # held until the last helper has left
        self._last_left.acquire()

    def serve(self, slot: int) -> None:
        """Help until the context ends or nothing is left to do. For threads of the pool."""
        with self._lock:
            if self._is_over:
                return
            self._active += 1
        try:
            while self._helper(slot) and not self._is_over:
                if self._end.acquire(timeout=NAP_S):
                    self._end.release()
        except BaseException as error:
            self._failure = error
        with self._lock:
            self._active -= 1
            self._release_if_last()

    def _release_if_last(self) -> None:
        if self._is_over and not self._active:
            self._last_left.release()

    def __enter__(self) -> "Assistance":
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_over = True
            busy = self._active > 0
        self._end.release()
        if busy:
            self._last_left.acquire()
        if self._failure is not None:
            raise self._failure


class _Thread:
    """A thread that sleeps until it is given something to help with, and reports back when it has."""

    def __init__(self, give_back: "Callable[[_Thread], None]") -> None:
        self._give_back = give_back
        self._work: Callable[[], object] | None = None
        self._left_alone: int | None = None
        self._count = 0
        self._wake = threading.Lock()
        self._wake.acquire()
        self._thread = threading.Thread(target=self._serve, name="synaptic-helper", daemon=True)
        self._thread.start()

    def give(self, work: Callable[[], object]) -> None:
        here = _getcpu() if _getcpu is not None else None
        self._count += 1
        is_due = here != self._left_alone or self._count % LOOKS_EVERY == 0
        if here is not None and is_due and self._thread.native_id is not None:
            with contextlib.suppress(OSError):  # it is advice; a processor may just have been taken away
                os.sched_setaffinity(self._thread.native_id, other_processors(here))
            self._left_alone = here
        self._work = work
        self._wake.release()

    def _serve(self) -> None:
        while True:
            self._wake.acquire()
            if self._work is not None:
                work, self._work = self._work, None
                with contextlib.suppress(Exception):  # who asked for help and wants to know is told by other means
                    work()
                del work
            self._give_back(self)


class SharedRun:
    """`run(steps) -> flags` with helpers. `assist(slot) -> flags`: what each of them calls; `word`: see
    `engine.abi.WORD_OFFSET`."""

    def __init__(
        self, run: Callable[[int], int], assist: Callable[[int], int], word: npt.NDArray[np.uint64], helpers: int
    ) -> None:
        self._run = run
        self._assist = assist
        self._word = word
        self._helpers = helpers
        self._flags = 0

    def __call__(self, steps: int) -> int:
        """Run, and return the flags of everyone who worked on it."""
        self._flags = 0
        self._word[0] = 0
        with shared_pool().assist(self._help, self._helpers):
            flags = self._run(steps)
        return flags | self._flags

    def _help(self, slot: int) -> bool:
        flags = self._assist(slot)
        self._flags |= flags & ENVIRONMENT_CHANGED
        return bool(flags & HELPER_IDLE)


class HelpedRun:
    """`run(steps) -> flags` of an object, whose code itself tells who is inside. `assist() -> flags`: what helpers
    call; `memory`: the arena."""

    def __init__(self, run: Callable[[int], int], assist: Callable[[], int], memory: Array, helpers: int) -> None:
        self._run = run
        self._assist = assist
        self._word = word_view(memory)
        self._inside = memory[INSIDE_OFFSET : INSIDE_OFFSET + 8].view(np.uint64)
        self._status = memory[:4].view(np.uint32)
        self._helpers = helpers
        self._pool = shared_pool()

    def __call__(self, steps: int) -> int:
        """Run, and return the flags of everyone who worked on it."""
        pool = shared_pool()
        if pool is not self._pool:  # in a child of a fork: who was inside is not here
            self._inside[0], self._pool = 0, pool
        flags: int | None = None
        try:
            self._word[0] = 0
            pool.wake(self._help, self._helpers)
            flags = self._run(steps)
        finally:
            if flags is None:  # it did not come to its end, or not begin
                self._word[0] = WORD_CLOSED % (1 << 64)
        if flags & HELPERS_INSIDE:
            while self._inside[0]:
                time.sleep(NAP_S)
            flags = flags & ~HELPERS_INSIDE | int(self._status[0])
        return flags

    def _help(self) -> None:
        """Help until the run is over. A run that begins meanwhile is helped as well as the one that asked."""
        while self._assist() & HELPER_IDLE:
            time.sleep(NAP_S)


def word_view(memory: Array) -> npt.NDArray[np.uint64]:
    """Return the word by which threads share kernels, in place."""
    view: npt.NDArray[np.uint64] = memory[WORD_OFFSET : WORD_OFFSET + 8].view(np.uint64)
    return view


def check_threads(threads: int) -> int:
    """Return `threads`. Raises LocalError for a number that makes no sense."""
    if not 1 <= threads <= THREADS_MAX:
        raise LocalError(f"{threads} threads: choose 1 to {THREADS_MAX}")
    return threads


def other_processors(here: int) -> set[int]:
    """Return the processors that this thread may use, without number `here`, which it is using; all of them where there
    is no other. On a busy machine a system wakes a thread where its waker runs, and there it would wait for the very
    work it should help with."""
    everywhere = os.sched_getaffinity(0)
    return everywhere - {here} or everywhere


_getcpu: Callable[[], int] | None = (
    getattr(ctypes.CDLL(None), "sched_getcpu", None)
    if sys.platform == "linux" and hasattr(os, "sched_setaffinity")
    else None
)
_pool = WorkerPool()


def shared_pool() -> WorkerPool:
    """Return this process's pool."""
    return _pool


def _begin_anew() -> None:
    """After a fork the child has none of the threads."""
    global _pool
    _pool = WorkerPool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
