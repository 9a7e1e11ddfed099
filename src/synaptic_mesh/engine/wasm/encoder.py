"""Functions, one memory and exports to the bytes of a module (WebAssembly Core Specification 2.0, chapter 5)."""

import struct
from collections.abc import Iterable
from functools import lru_cache

from synaptic_mesh.base.errors import broken, invariant
from synaptic_mesh.engine.abi import MEMORY_EXPORT, MEMORY_MODULE, PAGE_BYTES
from synaptic_mesh.engine.wasm.function import Function
from synaptic_mesh.engine.wasm.opcodes import OPCODES, Immediate, ValueType, signed_leb, unsigned_leb

PAGES_MAX = 1 << 16
_EMPTY_BLOCK = b"\x40"
_CONTROL = {"else": b"\x05", "end": b"\x0b", "drop": b"\x1a", "select": b"\x1b"}
_BLOCKS = {"block": b"\x02", "loop": b"\x03", "if": b"\x04"}
_INDEXED = {"br_if": b"\x0d", "call": b"\x10"}
_VARIABLES = {"local.get": b"\x20", "local.set": b"\x21", "local.tee": b"\x22"}


class Module:
    """Functions that share one memory of fixed size, exported as "memory". No tables, no globals; nothing imported, but
    the memory itself where `is_shared`: instances on several threads then work on one."""

    def __init__(self, memory_bytes: int, is_shared: bool = False) -> None:
        self.pages = pages_of(memory_bytes)
        self.is_shared = is_shared
        invariant(self.pages <= PAGES_MAX, f"{memory_bytes} bytes do not fit in a 32-bit memory")
        self.functions: list[Function] = []
        self.exports: list[str | None] = []
        self.data: list[tuple[int, bytes]] = []

    def add(self, function: Function, export: bool = False) -> int:
        """Add a finished function, exported under its name if asked; return its index for calls."""
        function.finish()
        self.functions.append(function)
        self.exports.append(function.name if export else None)
        return len(self.functions) - 1

    def add_data(self, offset: int, data: bytes) -> None:
        """Let the memory hold `data` at `offset` when an instance is made."""
        invariant(offset + len(data) <= self.pages * PAGE_BYTES, "a data segment leaves the memory")
        if data:
            self.data.append((offset, data))

    def encode(self) -> bytes:
        """Return the module's bytes."""
        signatures = [(function.params, function.results) for function in self.functions]
        types = list(dict.fromkeys(signatures))
        # min = max: the engine can reserve once, and growth cannot fail later.
        limits = (b"\x03" if self.is_shared else b"\x01") + unsigned_leb(self.pages) * 2
        memory_import = _text(MEMORY_MODULE) + _text(MEMORY_EXPORT) + b"\x02" + limits
        exports = [_text(MEMORY_EXPORT) + b"\x02\x00"]
        exports += [
            _text(name) + b"\x00" + unsigned_leb(index) for index, name in enumerate(self.exports) if name is not None
        ]
        sections = [
            (1, _vector(b"\x60" + _types(params) + _types(results) for params, results in types)),
            *([(2, _vector([memory_import]))] if self.is_shared else []),
            (3, _vector(unsigned_leb(types.index(signature)) for signature in signatures)),
            *([] if self.is_shared else [(5, _vector([limits]))]),
            (7, _vector(exports)),
            (10, _vector(encode_function(function) for function in self.functions)),
        ]
        if self.data:
            segments = (b"\x00\x41" + signed_leb(at) + b"\x0b" + unsigned_leb(len(d)) + d for at, d in self.data)
            sections.append((11, _vector(segments)))
        return b"\0asm\1\0\0\0" + b"".join(bytes([n]) + unsigned_leb(len(body)) + body for n, body in sections)


def pages_of(memory_bytes: int) -> int:
    """Return how many pages hold so many bytes, at least one."""
    return max(1, -(-memory_bytes // PAGE_BYTES))


def encode_function(function: Function) -> bytes:
    """Return a code section entry. Locals that are read are renumbered so that each type is declared in one run."""
    order, groups = local_order(function)
    names = [unsigned_leb(number) for number in order]
    body = bytearray(_vector(unsigned_leb(count) + bytes([kind]) for kind, count in groups))
    for name, arguments in function.instructions:
        variable = _VARIABLES.get(name)
        body += _encoded(name, arguments) if variable is None else variable + names[_number(arguments[0])]
    body += b"\x0b"
    return unsigned_leb(len(body)) + bytes(body)


def local_order(function: Function) -> tuple[list[int], list[tuple[ValueType, int]]]:
    """Return the final number of each local, and the declared (type, count) runs after the parameters. Of a type those
    that are read most come first: numbers below 128 take one byte."""
    order = list(range(len(function.locals)))
    following = len(function.params)
    reads = [function.reads[number] for number in order]
    declared = sorted(filter(reads.__getitem__, order[following:]), key=lambda number: -reads[number])
    groups = []
    for kind in ValueType:
        first = following
        for number in declared:
            if function.locals[number] is kind:
                order[number] = following
                following += 1
        if following > first:
            groups.append((kind, following - first))
    return order, groups


@lru_cache(maxsize=1 << 14)
def _encoded(name: str, arguments: tuple[int | bytes, ...]) -> bytes:
    """Return the bytes of an instruction that names no local."""
    if name in _BLOCKS:
        return _BLOCKS[name] + _EMPTY_BLOCK
    if name in _CONTROL:
        return _CONTROL[name]
    if name in _INDEXED:
        return _INDEXED[name] + unsigned_leb(_number(arguments[0]))
    opcode = OPCODES[name]
    return opcode.code + _immediate(opcode.immediate, arguments)


def _immediate(kind: Immediate, arguments: tuple[int | bytes, ...]) -> bytes:
    match kind:
        case Immediate.NONE:
            return b""
        case Immediate.I32:
            return signed_leb(_number(arguments[0]))
        case Immediate.F32:
            return struct.pack("<I", arguments[0])
        case Immediate.V128 | Immediate.SHUFFLE:
            return bytes(arguments[0])
        case Immediate.LANE:
            return bytes([_number(arguments[0])])
        case Immediate.MEMORY | Immediate.MEMORY_LANE:
            alignment, offset, *lane = map(_number, arguments)
            return unsigned_leb(alignment) + unsigned_leb(offset) + bytes(lane)


def _number(argument: int | bytes) -> int:
    if not isinstance(argument, int):
        broken("an immediate is an integer here")
    return argument


def _vector(items: Iterable[bytes]) -> bytes:
    parts = list(items)
    return unsigned_leb(len(parts)) + b"".join(parts)


def _types(kinds: tuple[ValueType, ...]) -> bytes:
    return _vector(bytes([kind]) for kind in kinds)


def _text(name: str) -> bytes:
    data = name.encode()
    return unsigned_leb(len(data)) + data
