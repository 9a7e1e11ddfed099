"""Work that threads share: one word in the arena's first line says what is to be done and how much of it is taken.

A *job* is a kernel that can be computed in parts, each of which writes other outputs; which thread computes a part, and
how many threads there are, cannot change a bit. `share` opens a job and takes parts itself until none is left, then
waits for those that others took. So nobody is waited for who has not begun: helpers may come late, leave early, or not
come at all.

The word holds the job's number, the number of its parts, and the next part to take. A part is taken by comparing and
swapping the whole word, so whoever succeeds took a part of the job that is open now, whatever happened since it looked.

    assist(arena)  what a helper calls: takes parts until the run is over (0) or nothing came for a while (IDLE)

A second word has a bit for each helper that is inside. Who comes takes the lowest free one, whose number + 1 is its
*slot*, that of its own workspace (slot 0 is the thread that called `run`), and goes home when there is none. So a
helper that was called for one run and comes during the next is welcome. At its end `run` closes the first word and then
looks at the second: once it is zero, nobody is inside, and who comes later finds the run over and touches nothing.
Python's threads would have to sleep and wake each other to tell the same, a fiftieth of ten milliseconds' work.
"""

from collections.abc import Sequence

from synaptic_mesh.engine.abi import (
    ASSIST_EXPORT,
    ENVIRONMENT_CHANGED,
    HELPER_IDLE,
    HELPERS_INSIDE,
    INSIDE_OFFSET,
    WORD_CLOSED,
    WORD_OFFSET,
)
from synaptic_mesh.engine.native.environment import guarded_entry
from synaptic_mesh.engine.native.profile import NEON, Profile

DONE_OFFSET = WORD_OFFSET + 8
"""Parts of the open job that are finished."""
PARTS_MAX = (1 << 16) - 1
SPINS = 4000
"""Pauses of a helper without work before it goes, some 100 us: longer gaps are for the system to bridge."""
_ASSIST_BODY, _ASSIST_GUARDED = "assist_body", "assist_guarded"
_LEAVE = "leave"


def job_word(job: int, parts: int) -> int:
    """Return the word that opens a job none of whose parts is taken."""
    return job << 32 | parts << 16


def leave_call(arena: str) -> str:
    """Return the call that sends helpers home and waits for them; its value is 0 or HELPERS_INSIDE."""
    return f"call i32 @{_LEAVE}(ptr {arena})"


def parts_text(jobs: Sequence[str], profile: Profile, helpers: int) -> str:
    """Return `take`, `share`, `leave` and `assist`. `jobs`: functions (arena, part, slot), by number; `helpers`: how
    many are let in at once."""
    is_arm = profile == NEON
    pause = "call void @llvm.aarch64.hint(i32 1)" if is_arm else "call void @llvm.x86.sse2.pause()"
    declared = "declare void @llvm.aarch64.hint(i32)" if is_arm else "declare void @llvm.x86.sse2.pause()"
    guarded = guarded_entry(_ASSIST_GUARDED, _ASSIST_BODY, ENVIRONMENT_CHANGED, profile)
    entry = _ASSIST.replace("ROOM", str((1 << helpers) - 1))
    waiting = [text.replace("PAUSE", pause) for text in (_SHARE, _LEAVE_TEXT, _WORK)]
    return "\n".join([declared, "declare i64 @llvm.cttz.i64(i64, i1)", _take(jobs), *waiting, guarded, entry])


def _take(jobs: Sequence[str]) -> str:
    """take(arena, slot): parts of the open job, one after another, until all are taken; true if there was one."""
    cases = " ".join(f"i64 {number}, label %job{number}" for number in range(len(jobs)))
    calls = "".join(
        f"job{number}:\n  call void @{name}(ptr %arena, i64 %next, i64 %slot)\n  br label %finished\n"
        for number, name in enumerate(jobs)
    )
    return _TAKE.replace("CASES", cases).replace("CALLS", calls)


_TAKE = f"""define internal i1 @take(ptr %arena, i64 %slot) nounwind noinline {{
entry:
  %word = getelementptr i8, ptr %arena, i64 {WORD_OFFSET}
  %done = getelementptr i8, ptr %arena, i64 {DONE_OFFSET}
  br label %look
look:
  %worked = phi i1 [ false, %entry ], [ true, %finished ]
  %seen = load atomic i64, ptr %word acquire, align 8
  br label %try
try:
  %now = phi i64 [ %seen, %look ], [ %other, %swap ]
  %next = and i64 %now, {PARTS_MAX}
  %above = lshr i64 %now, 16
  %parts = and i64 %above, {PARTS_MAX}
  %some = icmp ult i64 %next, %parts
  br i1 %some, label %swap, label %none
swap:
  %following = add i64 %now, 1
  %pair = cmpxchg ptr %word, i64 %now, i64 %following acq_rel acquire, align 8
  %other = extractvalue {{ i64, i1 }} %pair, 0
  %won = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %won, label %mine, label %try
mine:
  %job = lshr i64 %now, 32
  switch i64 %job, label %finished [ CASES ]
CALLSfinished:
  %before = atomicrmw add ptr %done, i64 1 release, align 8
  br label %look
none:
  ret i1 %worked
}}
"""

_SHARE = f"""define internal void @share(ptr %arena, i64 %job) nounwind noinline {{
entry:
  %word = getelementptr i8, ptr %arena, i64 {WORD_OFFSET}
  %done = getelementptr i8, ptr %arena, i64 {DONE_OFFSET}
  store atomic i64 0, ptr %done monotonic, align 8
  store atomic i64 %job, ptr %word release, align 8
  %above = lshr i64 %job, 16
  %parts = and i64 %above, {PARTS_MAX}
  %worked = call i1 @take(ptr %arena, i64 0)
  br label %wait
wait:
  %finished = load atomic i64, ptr %done acquire, align 8
  %all = icmp eq i64 %finished, %parts
  br i1 %all, label %end, label %again
again:
  PAUSE
  br label %wait
end:
  ret void
}}
"""

_LEAVE_TEXT = f"""define internal i32 @{_LEAVE}(ptr %arena) nounwind noinline {{
entry:
  %word = getelementptr i8, ptr %arena, i64 {WORD_OFFSET}
  %inside = getelementptr i8, ptr %arena, i64 {INSIDE_OFFSET}
  store atomic i64 {WORD_CLOSED}, ptr %word seq_cst, align 8
  br label %look
look:
  %count = phi i64 [ 0, %entry ], [ %next, %again ]
  %helpers = load atomic i64, ptr %inside seq_cst, align 8
  %none = icmp eq i64 %helpers, 0
  br i1 %none, label %end, label %wait
wait:
  %next = add i64 %count, 1
  %tired = icmp ugt i64 %next, {SPINS}
  br i1 %tired, label %end, label %again
again:
  PAUSE
  br label %look
end:
  %flag = phi i32 [ 0, %look ], [ {HELPERS_INSIDE}, %wait ]
  ret i32 %flag
}}
"""

_WORK = f"""define internal i32 @{_ASSIST_BODY}(ptr %arena, i64 %slot) nounwind noinline {{
entry:
  %word = getelementptr i8, ptr %arena, i64 {WORD_OFFSET}
  br label %look
look:
  %count = phi i64 [ 0, %entry ], [ %next, %again ]
  %worked = call i1 @take(ptr %arena, i64 %slot)
  %now = load atomic i64, ptr %word acquire, align 8
  %over = icmp eq i64 %now, {WORD_CLOSED}
  br i1 %over, label %home, label %idle
idle:
  %more = add i64 %count, 1
  %next = select i1 %worked, i64 0, i64 %more
  %tired = icmp ugt i64 %next, {SPINS}
  br i1 %tired, label %leave, label %again
again:
  PAUSE
  br label %look
leave:
  ret i32 {HELPER_IDLE}
home:
  ret i32 0
}}
"""

_ASSIST = f"""define i32 @{ASSIST_EXPORT}(ptr %arena) nounwind {{
entry:
  %inside = getelementptr i8, ptr %arena, i64 {INSIDE_OFFSET}
  %seen = load atomic i64, ptr %inside monotonic, align 8
  br label %try
try:
  %now = phi i64 [ %seen, %entry ], [ %other, %claim ]
  %not = xor i64 %now, -1
  %free = and i64 %not, ROOM
  %full = icmp eq i64 %free, 0
  br i1 %full, label %home, label %claim
claim:
  %minus = sub i64 0, %free
  %bit = and i64 %free, %minus
  %with = or i64 %now, %bit
  %pair = cmpxchg ptr %inside, i64 %now, i64 %with seq_cst monotonic, align 8
  %other = extractvalue {{ i64, i1 }} %pair, 0
  %won = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %won, label %work, label %try
work:
  %place = call i64 @llvm.cttz.i64(i64 %free, i1 true)
  %slot = add i64 %place, 1
  %flags = call i32 @{_ASSIST_GUARDED}(ptr %arena, i64 %slot)
  %changed = and i32 %flags, {ENVIRONMENT_CHANGED}
  %sound = icmp eq i32 %changed, 0
  br i1 %sound, label %done, label %tell
tell:
  %before = atomicrmw or ptr %arena, i32 %changed monotonic, align 4
  br label %done
done:
  %others = xor i64 %bit, -1
  %left = atomicrmw and ptr %inside, i64 %others seq_cst, align 8
  ret i32 %flags
home:
  ret i32 0
}}
"""
