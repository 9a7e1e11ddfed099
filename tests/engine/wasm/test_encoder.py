import pytest
import wasmtime

from synaptic_mesh.base.errors import InvariantBroken
from synaptic_mesh.engine.abi import PAGE_BYTES
from synaptic_mesh.engine.wasm.encoder import Module, local_order
from synaptic_mesh.engine.wasm.function import Function, Local
from synaptic_mesh.engine.wasm.loops import counted
from synaptic_mesh.engine.wasm.opcodes import OPCODES, Immediate, ValueType, signed_leb, unsigned_leb
from synaptic_mesh.engine.wasm.wat import module_text

I32, F32, V128 = ValueType.I32, ValueType.F32, ValueType.V128


def triangle() -> Function:
    """sum(n) = 0 + 1 + ... + (n - 1)"""
    f = Function("sum", (I32,), (I32,))
    total, i = f.local(I32), f.local(I32)
    with counted(f, i, 0, Local(0, I32), 1):
        f.get(total)
        f.get(i)
        f.emit("i32.add")
        f.set(total)
    f.get(total)
    return f


def run(module: Module, name: str, *arguments: int) -> object:
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    function = wasmtime.Instance(store, wasmtime.Module(engine, module.encode()), []).exports(store)[name]
    assert isinstance(function, wasmtime.Func)
    return function(store, *arguments)


def test_leb128_of_the_specification() -> None:
    assert unsigned_leb(624485) == bytes.fromhex("e58e26")
    assert signed_leb(-123456) == bytes.fromhex("c0bb78")
    assert [unsigned_leb(0), signed_leb(-1), signed_leb(63), signed_leb(64)] == [b"\0", b"\x7f", b"\x3f", b"\xc0\x00"]


def test_a_loop_runs() -> None:
    module = Module(1)
    module.add(triangle(), export=True)
    assert [run(module, "sum", n) for n in (0, 1, 5)] == [0, 0, 10]


@pytest.mark.parametrize("name", sorted(OPCODES))
def test_every_opcode_is_known_to_an_engine_with_our_types(name: str) -> None:
    opcode = OPCODES[name]
    f = Function("f", opcode.pops, opcode.pushes)
    for index, kind in enumerate(opcode.pops):
        f.get(Local(index, kind))
    immediates: dict[Immediate, tuple[int | bytes, ...]] = {
        Immediate.NONE: (),
        Immediate.MEMORY: (2 if "atomic" in name else 0, 8),  # atomic operations are always aligned
        Immediate.MEMORY_LANE: (0, 8, 0),
        Immediate.I32: (-7,),
        Immediate.F32: (0x7FC00001,),
        Immediate.V128: (bytes(range(16)),),
        Immediate.SHUFFLE: (bytes(range(16)),),
        Immediate.LANE: (1,),
    }
    f.emit(name, *immediates[opcode.immediate])
    module = Module(PAGE_BYTES)
    module.add(f, export=True)
    config = wasmtime.Config()
    config.wasm_threads = True
    wasmtime.Module.validate(wasmtime.Engine(config), module.encode())


def test_the_table_holds_no_instruction_whose_bits_may_differ() -> None:
    assert not [name for name in OPCODES if "relaxed" in name or "madd" in name or "dot" in name]
    assert all(len(opcode.code) < 4 or opcode.code[0] != 0xFD for opcode in OPCODES.values())  # relaxed: 0xfd 0x100..


def test_wrong_operands_are_refused_while_emitting() -> None:
    f = Function("f")
    f.i32(1)
    with pytest.raises(InvariantBroken, match="finds"):
        f.emit("f32.sqrt")
    with pytest.raises(InvariantBroken, match="too few"):
        Function("g").emit("i32.add")
    g = Function("h", (), (I32,))
    with pytest.raises(InvariantBroken, match="leaves"):
        g.finish()


def test_a_block_must_leave_the_stack_as_it_found_it() -> None:
    f = Function("f")
    with pytest.raises(InvariantBroken, match="operands"), f.block():
        f.i32(1)


def test_an_operand_from_outside_a_block_is_out_of_reach() -> None:
    f = Function("f")
    f.i32(1)
    with pytest.raises(InvariantBroken, match="too few"), f.block():
        f.emit("i32.eqz")


def test_set_and_get_become_tee() -> None:
    f = Function("f", (), (I32,))
    f.i32(3)
    f.get(f.keep(I32))
    assert [name for name, _ in f.instructions] == ["i32.const", "local.tee"]


def test_locals_of_one_type_are_declared_together() -> None:
    f = Function("f", (), (I32,))
    first, vector, second = f.local(I32), f.local(V128), f.local(I32)
    f.i32(7)
    f.set(second)
    f.splat_bits(0)
    f.set(vector)
    f.get(second)
    f.get(first)
    f.emit("i32.add")
    module = Module(1)
    module.add(f, export=True)
    assert run(module, "f") == 7
    assert "(local i32 i32)" in module_text(module)


def test_locals_that_are_read_most_have_the_shortest_numbers() -> None:
    f = Function("f", (), (ValueType.I32,))
    rare, often, unread = f.locals_of(ValueType.I32, 3)
    f.i32(1)
    f.set(unread)
    f.i32(5)
    f.set(rare)
    for _ in range(3):
        f.get(often)
        f.get(rare if _ == 0 else often)
        f.emit("i32.add")
        f.set(often)
    f.get(often)
    f.finish()
    order, groups = local_order(f)
    assert (order[often.number], order[rare.number], groups) == (0, 1, [(ValueType.I32, 2)])


def test_text_is_indented_by_nesting_and_names_calls() -> None:
    module = Module(1)
    index = module.add(triangle())
    caller = Function("twice", (), (I32,))
    caller.i32(4)
    caller.call(index, (I32,), (I32,))
    module.add(caller, export=True)
    text = module_text(module)
    assert '(func $twice (export "twice") (result i32)' in text
    assert "    call $sum" in text
    assert "\n        loop" not in text.split("block")[0]
    assert "      loop\n        local.get " in text
    assert run(module, "twice") == 6
