"""A module as text: the instruction lists that `encoder` writes, in WebAssembly's linear text format (Core
Specification 2.0, chapter 6)."""

import struct
from collections.abc import Iterator

from synaptic_mesh.engine.abi import MEMORY_EXPORT, MEMORY_MODULE
from synaptic_mesh.engine.wasm.encoder import Module, local_order
from synaptic_mesh.engine.wasm.function import Function
from synaptic_mesh.engine.wasm.opcodes import OPCODES, Immediate, ValueType

_OPENING = ("block", "loop", "if")


def module_text(module: Module) -> str:
    """Return the module as text."""
    memory = f"{module.pages} {module.pages}"
    if module.is_shared:
        memory = f'(import "{MEMORY_MODULE}" "{MEMORY_EXPORT}") {memory} shared'
    lines = ["(module", f'  (memory (export "{MEMORY_EXPORT}") {memory})']
    for function, export in zip(module.functions, module.exports, strict=True):
        lines += ["  " + line for line in function_lines(function, export, module)]
    for offset, data in module.data:
        lines.append(f"  (data (i32.const {offset}) (; {len(data)} bytes ;))")
    return "\n".join([*lines, ")"])


def function_lines(function: Function, export: str | None, module: Module) -> Iterator[str]:
    """Yield a function line by line, indented by nesting."""
    signature = "".join(f" (param{_kinds(function.params)})" if function.params else "")
    signature += f" (result{_kinds(function.results)})" if function.results else ""
    exported = f' (export "{export}")' if export is not None else ""
    yield f"(func ${function.name}{exported}{signature}"
    order, groups = local_order(function)
    for kind, count in groups:
        yield f"  (local{_kinds((kind,) * count)})"
    depth = 1
    for name, arguments in function.instructions:
        if name in ("end", "else"):
            depth -= 1
        yield "  " * depth + _text(name, arguments, order, module)
        if name in (*_OPENING, "else"):
            depth += 1
    yield ")"


def _text(name: str, arguments: tuple[int | bytes, ...], order: list[int], module: Module) -> str:
    numbers = [argument for argument in arguments if isinstance(argument, int)]
    if name.startswith("local."):
        return f"{name} {order[numbers[0]]}"
    if name == "call":
        return f"call ${module.functions[numbers[0]].name}"
    if name not in OPCODES:
        return " ".join([name, *map(str, numbers)])
    return name + _immediate(OPCODES[name].immediate, arguments)


def _immediate(kind: Immediate, arguments: tuple[int | bytes, ...]) -> str:
    match kind, arguments:
        case Immediate.F32, (int(bits),):
            (value,) = struct.unpack("<f", struct.pack("<I", bits))
            return f" {value.hex()}" if value - value == 0.0 else f" (; bits {bits:#010x} ;)"
        case Immediate.V128, (bytes(data),):
            return " i32x4 " + " ".join(f"{lane:#010x}" for lane in struct.unpack("<4I", data))
        case Immediate.SHUFFLE, (bytes(data),):
            return " " + " ".join(map(str, data))
        case Immediate.MEMORY, (int(alignment), int(offset)):
            return _place(alignment, offset)
        case Immediate.MEMORY_LANE, (int(alignment), int(offset), int(lane)):
            return f"{_place(alignment, offset)} {lane}"
    return "".join(f" {argument!r}" for argument in arguments)


def _place(alignment: int, offset: int) -> str:
    return (f" offset={offset}" if offset else "") + f" align={1 << alignment}"


def _kinds(kinds: tuple[ValueType, ...]) -> str:
    return "".join(f" {kind.name.lower()}" for kind in kinds)
