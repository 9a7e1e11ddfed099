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


def unsigned_leb(number: int) -> bytes:
    """Return `number` >= 0 in unsigned LEB128."""
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


I, F, V = ValueType.I32, ValueType.F32, ValueType.V128


def _table() -> dict[str, Opcode]:
    table: dict[str, Opcode] = {}

    def plain(code: int, name: str, pops: tuple[ValueType, ...], pushes: tuple[ValueType, ...]) -> None:
        table[name] = Opcode(bytes([code]), pops, pushes)

    def simd(
        code: int,
        name: str,
        pops: tuple[ValueType, ...],
        pushes: tuple[ValueType, ...] = (V,),
        immediate: Immediate = Immediate.NONE,
    ) -> None:
        table[name] = Opcode(b"\xfd" + unsigned_leb(code), pops, pushes, immediate)

    plain(0x00, "unreachable", (), ())
    plain(0x1A, "drop", (I,), ())
    table["i32.load"] = Opcode(b"\x28", (I,), (I,), Immediate.MEMORY)
    table["f32.load"] = Opcode(b"\x2a", (I,), (F,), Immediate.MEMORY)
    table["i32.load8_u"] = Opcode(b"\x2d", (I,), (I,), Immediate.MEMORY)
    table["i32.store"] = Opcode(b"\x36", (I, I), (), Immediate.MEMORY)
    table["f32.store"] = Opcode(b"\x38", (I, F), (), Immediate.MEMORY)
    table["i32.store8"] = Opcode(b"\x3a", (I, I), (), Immediate.MEMORY)
    table["i32.const"] = Opcode(b"\x41", (), (I,), Immediate.I32)
    table["f32.const"] = Opcode(b"\x43", (), (F,), Immediate.F32)
    plain(0x45, "i32.eqz", (I,), (I,))
    comparisons = "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u"
    for index, name in enumerate(comparisons.split()):
        plain(0x46 + index, f"i32.{name}", (I, I), (I,))
    for index, name in enumerate(["eq", "ne", "lt", "gt", "le", "ge"]):
        plain(0x5B + index, f"f32.{name}", (F, F), (I,))
    for index, name in enumerate(["add", "sub", "mul", "div_s", "div_u", "rem_s", "rem_u", "and", "or", "xor", "shl", "shr_s", "shr_u"]):
        plain(0x6A + index, f"i32.{name}", (I, I), (I,))
    for index, name in enumerate(["abs", "neg", "ceil", "floor", "trunc", "nearest", "sqrt"]):
        plain(0x8B + index, f"f32.{name}", (F,), (F,))
    for index, name in enumerate(["add", "sub", "mul", "div", "min", "max", "copysign"]):
        plain(0x92 + index, f"f32.{name}", (F, F), (F,))
    plain(0xB2, "f32.convert_i32_s", (I,), (F,))
    plain(0xB3, "f32.convert_i32_u", (I,), (F,))
    plain(0xBC, "i32.reinterpret_f32", (F,), (I,))
    plain(0xBE, "f32.reinterpret_i32", (I,), (F,))
    table["i32.trunc_sat_f32_s"] = Opcode(b"\xfc\x00", (F,), (I,))
    table["i32.trunc_sat_f32_u"] = Opcode(b"\xfc\x01", (F,), (I,))
    table["memory.copy"] = Opcode(b"\xfc\x0a\x00\x00", (I, I, I), ())
    table["memory.fill"] = Opcode(b"\xfc\x0b\x00", (I, I, I), ())

    simd(0, "v128.load", (I,), (V,), Immediate.MEMORY)
    simd(9, "v128.load32_splat", (I,), (V,), Immediate.MEMORY)
    simd(11, "v128.store", (I, V), (), Immediate.MEMORY)
    simd(12, "v128.const", (), (V,), Immediate.V128)
    simd(13, "i8x16.shuffle", (V, V), (V,), Immediate.SHUFFLE)
    simd(17, "i32x4.splat", (I,))
    simd(19, "f32x4.splat", (F,))
    simd(27, "i32x4.extract_lane", (V,), (I,), Immediate.LANE)
    simd(28, "i32x4.replace_lane", (V, I), (V,), Immediate.LANE)
    simd(31, "f32x4.extract_lane", (V,), (F,), Immediate.LANE)
    simd(32, "f32x4.replace_lane", (V, F), (V,), Immediate.LANE)
    for index, name in enumerate(comparisons.split()):
        simd(55 + index, f"i32x4.{name}", (V, V))
    for index, name in enumerate(["eq", "ne", "lt", "gt", "le", "ge"]):
        simd(65 + index, f"f32x4.{name}", (V, V))
    simd(77, "v128.not", (V,))
    for index, name in enumerate(["and", "andnot", "or", "xor"]):
        simd(78 + index, f"v128.{name}", (V, V))
    simd(82, "v128.bitselect", (V, V, V))
    simd(83, "v128.any_true", (V,), (I,))
    simd(84, "v128.load8_lane", (I, V), (V,), Immediate.MEMORY_LANE)
    simd(86, "v128.load32_lane", (I, V), (V,), Immediate.MEMORY_LANE)
    simd(90, "v128.store32_lane", (I, V), (), Immediate.MEMORY_LANE)
    simd(91, "v128.store64_lane", (I, V), (), Immediate.MEMORY_LANE)
    simd(92, "v128.load32_zero", (I,), (V,), Immediate.MEMORY)
    simd(93, "v128.load64_zero", (I,), (V,), Immediate.MEMORY)
    for index, name in enumerate(["ceil", "floor", "trunc", "nearest"]):
        simd(103 + index if index < 3 else 106, f"f32x4.{name}", (V,))
    simd(160, "i32x4.abs", (V,))
    simd(161, "i32x4.neg", (V,))
    simd(163, "i32x4.all_true", (V,), (I,))
    for index, name in enumerate(["shl", "shr_s", "shr_u"]):
        simd(171 + index, f"i32x4.{name}", (V, I))
    simd(174, "i32x4.add", (V, V))
    simd(177, "i32x4.sub", (V, V))
    simd(181, "i32x4.mul", (V, V))
    for index, name in enumerate(["min_s", "min_u", "max_s", "max_u"]):
        simd(182 + index, f"i32x4.{name}", (V, V))
    simd(224, "f32x4.abs", (V,))
    simd(225, "f32x4.neg", (V,))
    simd(227, "f32x4.sqrt", (V,))
    for index, name in enumerate(["add", "sub", "mul", "div", "min", "max", "pmin", "pmax"]):
        simd(228 + index, f"f32x4.{name}", (V, V))
    simd(248, "i32x4.trunc_sat_f32x4_s", (V,))
    simd(249, "i32x4.trunc_sat_f32x4_u", (V,))
    simd(250, "f32x4.convert_i32x4_s", (V,))
    simd(251, "f32x4.convert_i32x4_u", (V,))
    return table


OPCODES = _table()
"""Every instruction that may be emitted, control flow and variables aside (those have methods of their own)."""
