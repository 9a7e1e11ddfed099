"""The WebAssembly instructions this emitter may use, as one table: name -> bytes, operands, results, kind of immediate.

What is not in the table cannot be emitted. Relaxed SIMD is absent on purpose: its results may differ between machines.
Source: WebAssembly Core Specification 2.0, section 5.4 (opcodes) and appendix "Index of Instructions".
"""

import enum
from typing import NamedTuple


class ValueType(enum.IntEnum):
    """A value type with its binary code."""

    I32 = 0x7F
    F32 = 0x7D
    V128 = 0x7B


class Immediate(enum.Enum):
    """What follows the opcode bytes."""

    NONE = "none"
    MEMORY = "memory"  # (log2 of the alignment, offset)
    I32 = "i32"
    F32 = "f32"  # u32 bit pattern: NaN payloads and signed zeros survive
    V128 = "v128"  # 16 bytes
    LANE = "lane"
    SHUFFLE = "shuffle"  # 16 lane numbers
    MEMORY_LANE = "memory lane"  # (log2 of the alignment, offset, lane)


class Opcode(NamedTuple):
    """One instruction: its bytes, the types it pops (last is on top) and pushes, and its immediate."""

    code: bytes
    pops: tuple[ValueType, ...]
    pushes: tuple[ValueType, ...]
    immediate: Immediate = Immediate.NONE


_SMALL = [bytes([number]) for number in range(0x80)]


def unsigned_leb(number: int) -> bytes:
    """Return `number` >= 0 in unsigned LEB128."""
    if number < 0x80:  # nearly always
        return _SMALL[number]
    out = bytearray()
    while True:
        low = number & 0x7F
        number >>= 7
        if not number:
            out.append(low)
            return bytes(out)
        out.append(low | 0x80)


def signed_leb(number: int) -> bytes:
    """Return `number` in signed LEB128."""
    out = bytearray()
    while True:
        low = number & 0x7F
        number >>= 7
        if (number == 0 and not low & 0x40) or (number == -1 and low & 0x40):
            out.append(low)
            return bytes(out)
        out.append(low | 0x80)


I32, F32, V128 = ValueType.I32, ValueType.F32, ValueType.V128


COMPARISONS = "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u"
FLOAT_COMPARISONS = "eq ne lt gt le ge"
Kinds = tuple[ValueType, ...]


def _run(first: int, prefix: str, names: str, pops: Kinds, pushes: Kinds) -> dict[str, Opcode]:
    """Instructions with consecutive one-byte opcodes."""
    return {f"{prefix}.{n}": Opcode(bytes([first + i]), pops, pushes) for i, n in enumerate(names.split())}


def _simd(code: int, pops: Kinds, pushes: Kinds = (V128,), immediate: Immediate = Immediate.NONE) -> Opcode:
    return Opcode(b"\xfd" + unsigned_leb(code), pops, pushes, immediate)


def _simd_run(first: int, prefix: str, names: str, pops: Kinds) -> dict[str, Opcode]:
    """Vector instructions with consecutive opcodes; a dot leaves one out."""
    return {f"{prefix}.{n}": _simd(first + i, pops) for i, n in enumerate(names.split()) if n != "."}


_SCALAR: dict[str, Opcode] = {
    "i32.load": Opcode(b"\x28", (I32,), (I32,), Immediate.MEMORY),
    "f32.load": Opcode(b"\x2a", (I32,), (F32,), Immediate.MEMORY),
    "i32.store": Opcode(b"\x36", (I32, I32), (), Immediate.MEMORY),
    "f32.store": Opcode(b"\x38", (I32, F32), (), Immediate.MEMORY),
    "i32.const": Opcode(b"\x41", (), (I32,), Immediate.I32),
    "f32.const": Opcode(b"\x43", (), (F32,), Immediate.F32),
    "i32.eqz": Opcode(b"\x45", (I32,), (I32,)),
    **_run(0x46, "i32", COMPARISONS, (I32, I32), (I32,)),
    **_run(0x5B, "f32", FLOAT_COMPARISONS, (F32, F32), (I32,)),
    **_run(0x6A, "i32", "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u", (I32, I32), (I32,)),
    **_run(0x8B, "f32", "abs neg ceil floor trunc nearest sqrt", (F32,), (F32,)),
    **_run(0x92, "f32", "add sub mul div min max copysign", (F32, F32), (F32,)),
    "memory.copy": Opcode(b"\xfc\x0a\x00\x00", (I32, I32, I32), ()),
    "memory.fill": Opcode(b"\xfc\x0b\x00", (I32, I32, I32), ()),
}
_VECTOR: dict[str, Opcode] = {
    "v128.load": _simd(0, (I32,), immediate=Immediate.MEMORY),
    "v128.load32_splat": _simd(9, (I32,), immediate=Immediate.MEMORY),
    "v128.store": _simd(11, (I32, V128), (), Immediate.MEMORY),
    "v128.const": _simd(12, (), immediate=Immediate.V128),
    "i8x16.shuffle": _simd(13, (V128, V128), immediate=Immediate.SHUFFLE),
    "i32x4.splat": _simd(17, (I32,)),
    "f32x4.splat": _simd(19, (F32,)),
    "i32x4.extract_lane": _simd(27, (V128,), (I32,), Immediate.LANE),
    "f32x4.extract_lane": _simd(31, (V128,), (F32,), Immediate.LANE),
    **_simd_run(55, "i32x4", COMPARISONS, (V128, V128)),
    **_simd_run(65, "f32x4", FLOAT_COMPARISONS, (V128, V128)),
    "v128.not": _simd(77, (V128,)),
    **_simd_run(78, "v128", "and andnot or xor", (V128, V128)),
    "v128.bitselect": _simd(82, (V128, V128, V128)),
    "v128.any_true": _simd(83, (V128,), (I32,)),
    "v128.load32_lane": _simd(86, (I32, V128), (V128,), Immediate.MEMORY_LANE),
    "v128.store32_lane": _simd(90, (I32, V128), (), Immediate.MEMORY_LANE),
    "v128.store64_lane": _simd(91, (I32, V128), (), Immediate.MEMORY_LANE),
    "v128.load32_zero": _simd(92, (I32,), immediate=Immediate.MEMORY),
    **_simd_run(103, "f32x4", "ceil floor trunc nearest", (V128,)),
    "i32x4.all_true": _simd(163, (V128,), (I32,)),
    "i32x4.bitmask": _simd(164, (V128,), (I32,)),
    **_simd_run(171, "i32x4", "shl shr_s shr_u", (V128, I32)),
    **_simd_run(174, "i32x4", "add . . sub . . . mul min_s min_u max_s max_u", (V128, V128)),
    **_simd_run(224, "f32x4", "abs neg . sqrt", (V128,)),
    **_simd_run(228, "f32x4", "add sub mul div min max pmin pmax", (V128, V128)),
    **_simd_run(248, "i32x4", "trunc_sat_f32x4_s trunc_sat_f32x4_u", (V128,)),
    **_simd_run(250, "f32x4", "convert_i32x4_s convert_i32x4_u", (V128,)),
}
_ATOMIC: dict[str, Opcode] = {
    "i32.atomic.load": Opcode(b"\xfe\x10", (I32,), (I32,), Immediate.MEMORY),
    "i32.atomic.store": Opcode(b"\xfe\x17", (I32, I32), (), Immediate.MEMORY),
    "i32.atomic.rmw.add": Opcode(b"\xfe\x1e", (I32, I32), (I32,), Immediate.MEMORY),
    "i32.atomic.rmw.cmpxchg": Opcode(b"\xfe\x48", (I32, I32, I32), (I32,), Immediate.MEMORY),
}
"""Of the threads proposal: on memory that several instances share."""
OPCODES = {**_SCALAR, **_VECTOR, **_ATOMIC}
"""Every instruction that may be emitted, control flow and variables aside (those have methods of their own)."""
