"""Work that threads share, in WebAssembly: `engine.native.parts` with words of 32 bits.

Each thread has an instance of the same module over one shared memory. The word at `WORD_OFFSET` holds the number of the
open job, the number of its parts and the next part to take; the word after next counts finished parts. A part is taken
by comparing and swapping the whole word, so whoever succeeds took a part of the job that is open now.
"""

from collections.abc import Sequence

from synaptic_mesh.engine.abi import ASSIST_EXPORT, HELPER_IDLE, WORD_OFFSET
from synaptic_mesh.engine.wasm.function import Function, Local
from synaptic_mesh.engine.wasm.opcodes import ValueType

I32 = ValueType.I32
DONE_OFFSET = WORD_OFFSET + 8
PARTS_MAX = 255
JOBS_MAX = (1 << 16) - 1
CLOSED = -1
"""The word after the last step: helpers go home."""
LOOKS = 20_000
"""How often a helper without work looks before it goes: about 100 us."""
_WORD_ALIGNMENT = 2
"""Atomic accesses state their natural alignment, as a power of two."""


def job_word(job: int, parts: int) -> int:
    """Return the word that opens a job none of whose parts is taken."""
    return job << 16 | parts << 8


def emit_take(jobs: Sequence[int]) -> Function:
    """take(slot): parts of the open job, one after another, until all are taken; 1 if there was one, else 0. `jobs`:
    functions (part, slot), by number."""
    f = Function("take", (I32,), (I32,))
    slot = Local(0, I32)
    now, part, job, worked = f.locals_of(I32, 4)
    with f.block() as none, f.loop() as again:
        _load_word(f)
        f.set(now)
        f.get(now)
        f.i32(PARTS_MAX)
        f.emit("i32.and")
        f.set(part)
        f.get(part)
        f.get(now)
        f.i32(8)
        f.emit("i32.shr_u")
        f.i32(PARTS_MAX)
        f.emit("i32.and")
        f.emit("i32.ge_u")
        f.br_if(none)
        f.i32(0)
        f.get(now)
        f.get(now)
        f.i32(1)
        f.emit("i32.add")
        f.emit("i32.atomic.rmw.cmpxchg", _WORD_ALIGNMENT, WORD_OFFSET)
        f.get(now)
        f.emit("i32.ne")
        f.br_if(again)
        f.get(now)
        f.i32(16)
        f.emit("i32.shr_u")
        f.set(job)
        for number, index in enumerate(jobs):
            f.get(job)
            f.i32(number)
            f.emit("i32.eq")
            with f.if_():
                f.get(part)
                f.get(slot)
                f.call(index, (I32, I32))
        f.i32(0)
        f.i32(1)
        f.emit("i32.atomic.rmw.add", _WORD_ALIGNMENT, DONE_OFFSET)
        f.set(job)
        f.i32(1)
        f.set(worked)
        f.i32(1)
        f.br_if(again)
    f.get(worked)
    return f


def emit_share(take: int) -> Function:
    """share(word): open a job, take parts until none is left, and wait for those that others took."""
    f = Function("share", (I32,))
    word, worked = Local(0, I32), f.local(I32)
    f.i32(0)
    f.i32(0)
    f.emit("i32.atomic.store", _WORD_ALIGNMENT, DONE_OFFSET)
    f.i32(0)
    f.get(word)
    f.emit("i32.atomic.store", _WORD_ALIGNMENT, WORD_OFFSET)
    f.i32(0)
    f.call(take, (I32,), (I32,))
    f.set(worked)
    with f.loop() as again:
        f.i32(0)
        f.emit("i32.atomic.load", _WORD_ALIGNMENT, DONE_OFFSET)
        f.get(word)
        f.i32(8)
        f.emit("i32.shr_u")
        f.i32(PARTS_MAX)
        f.emit("i32.and")
        f.emit("i32.ne")
        f.br_if(again)
    return f


def emit_assist(take: int) -> Function:
    """assist(slot): what a helper calls; takes parts until the run is over (0) or nothing came for a while (IDLE)."""
    f = Function(ASSIST_EXPORT, (I32,), (I32,))
    looks, result = f.locals_of(I32, 2)
    with f.block() as end, f.loop() as again:
        f.get(looks)
        f.i32(1)
        f.emit("i32.add")
        f.i32(0)
        f.get(Local(0, I32))
        f.call(take, (I32,), (I32,))
        f.emit("i32.eqz")
        f.select()
        f.set(looks)
        _load_word(f)
        f.i32(CLOSED)
        f.emit("i32.eq")
        f.br_if(end)
        f.get(looks)
        f.i32(LOOKS)
        f.emit("i32.lt_u")
        f.br_if(again)
        f.i32(HELPER_IDLE)
        f.set(result)
    f.get(result)
    return f


def emit_close(f: Function) -> None:
    """Send helpers home."""
    f.i32(0)
    f.i32(CLOSED)
    f.emit("i32.atomic.store", _WORD_ALIGNMENT, WORD_OFFSET)


def _load_word(f: Function) -> None:
    f.i32(0)
    f.emit("i32.atomic.load", _WORD_ALIGNMENT, WORD_OFFSET)
