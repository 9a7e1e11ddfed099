"""The floating-point environment inside generated code: every call sets the default and looks again before it returns.

A thread may have flush-to-zero or another rounding set (a library linked with -ffast-math is enough), and bits would
change silently. Two instructions in the code itself cost nanoseconds, where asking the C library from outside costs as
much as a small model's step. The work lies in a function of its own that is never inlined, so no operation can move in
front of the instruction that sets the environment.

x86-64: MXCSR, Intel 64 manual volume 1, section 10.2.3. AArch64: FPCR, Arm ARM C5.2.
"""

from synaptic_mesh.engine.native.profile import NEON, Profile

MXCSR_DEFAULT = 0x1F80
"""All exceptions masked, round to nearest, subnormals kept."""
MXCSR_CONTROL = 0xFFC0
"""What is not a sticky exception flag: masks, rounding, flush-to-zero, denormals-are-zero."""


def guarded_entry(name: str, body: str, flag: int, profile: Profile) -> str:
    """Return `i32 name(arena, steps)`, which calls `body` under the default environment and adds `flag` to the result
    when the environment is another one afterwards."""
    set_default, read_back = _AARCH64 if profile == NEON else _X86
    return f"""define i32 @{name}(ptr %arena, i64 %steps) nounwind {{
entry:
{set_default}  %flags = call i32 @{body}(ptr %arena, i64 %steps)
{read_back}  %flag = select i1 %changed, i32 {flag}, i32 0
  %result = or i32 %flags, %flag
  ret i32 %result
}}
"""


def environment_declarations(profile: Profile) -> str:
    """Return the declarations that `guarded_entry` needs."""
    if profile == NEON:
        return "declare i64 @llvm.aarch64.get.fpcr()\ndeclare void @llvm.aarch64.set.fpcr(i64)\n"
    return "declare void @llvm.x86.sse.ldmxcsr(ptr)\ndeclare void @llvm.x86.sse.stmxcsr(ptr)\n"


_X86 = (
    f"""  %word = alloca i32, align 4
  store i32 {MXCSR_DEFAULT}, ptr %word, align 4
  call void @llvm.x86.sse.ldmxcsr(ptr %word)
""",
    f"""  call void @llvm.x86.sse.stmxcsr(ptr %word)
  %after = load i32, ptr %word, align 4
  %control = and i32 %after, {MXCSR_CONTROL}
  %changed = icmp ne i32 %control, {MXCSR_DEFAULT}
""",
)
_AARCH64 = (
    "  call void @llvm.aarch64.set.fpcr(i64 0)\n",
    "  %after = call i64 @llvm.aarch64.get.fpcr()\n  %changed = icmp ne i64 %after, 0\n",
)
