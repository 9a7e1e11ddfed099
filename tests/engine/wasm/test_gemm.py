"""Every schedule of the packed product has the bits of the definition."""

import ctypes

import numpy as np
import pytest
import wasmtime

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.engine.executors.contraction import multiply_ascending
from synaptic_mesh.engine.wasm.encoder import Module
from synaptic_mesh.engine.wasm.function import Function
from synaptic_mesh.engine.wasm.gemm import GemmCalls, GemmSchedule, gemm, micro_kernel, pack_columns, pack_rows
from synaptic_mesh.engine.wasm.opcodes import ValueType
from synaptic_mesh.engine.wasm.strip import Product

SCHEDULES = (
    GemmSchedule(),
    GemmSchedule(mr=6, nr=8, unroll=3, kc=20, nc=16),
    GemmSchedule(mr=3, nr=12, unroll=1, kc=7, nc=24),
    GemmSchedule(mr=2, nr=16, barrier=False, presplat=False, kc=64, nc=32),
)
SHAPES = ((1, 1, 1), (3, 5, 7), (4, 10, 8), (5, 300, 9), (33, 257, 41), (64, 21, 64))


def product_in_wasm(schedule: GemmSchedule, a: F32, b: F32, transposed: bool) -> F32:
    (m, k), n = a.shape, b.shape[1]
    left, right = (np.ascontiguousarray(x.T if transposed else x) for x in (a, b))
    at_a, at_b = 64, 64 + left.nbytes + 64
    at_c = at_b + right.nbytes + 64
    work = at_c + 4 * m * n + 64
    module = Module(work + schedule.workspace_bytes(k, n) + 64)
    calls = GemmCalls(
        module.add(micro_kernel(schedule, "tile")),
        module.add(pack_rows(schedule, "pack_a")),
        module.add(pack_columns(schedule, "pack_b")),
    )
    index = module.add(gemm(schedule, "gemm", calls))
    f = Function("run")
    strides = (4, 4 * m, 4, 4 * k) if transposed else (4 * k, 4, 4 * n, 4)
    for value in (at_a, *strides[:2], at_b, *strides[2:], at_c, m, k, n, work):
        f.i32(value)
    f.call(index, (ValueType.I32,) * 11)
    module.add(f, export=True)
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    exports = wasmtime.Instance(store, wasmtime.Module(engine, module.encode()), []).exports(store)
    memory, run = exports["memory"], exports["run"]
    assert isinstance(memory, wasmtime.Memory)
    assert isinstance(run, wasmtime.Func)
    memory.write(store, left.tobytes(), at_a)
    memory.write(store, right.tobytes(), at_b)
    run(store)
    base = ctypes.addressof(memory.data_ptr(store).contents)
    return np.frombuffer(ctypes.string_at(base + at_c, 4 * m * n), np.float32).reshape(m, n)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("transposed", [False, True])
def test_every_schedule_has_the_bits_of_the_definition(schedule: GemmSchedule, transposed: bool) -> None:
    random = np.random.default_rng(3)
    for m, k, n in SHAPES:
        a, b = random.standard_normal((m, k), np.float32), random.standard_normal((k, n), np.float32)
        found = product_in_wasm(schedule, a, b, transposed)
        assert found.tobytes() == multiply_ascending(a.T, b).tobytes(), (m, k, n)


def test_a_sum_in_another_order_would_be_seen() -> None:
    random = np.random.default_rng(3)
    a, b = random.standard_normal((5, 300), np.float32), random.standard_normal((300, 9), np.float32)
    assert multiply_ascending(a.T[::-1], b[::-1]).tobytes() != multiply_ascending(a.T, b).tobytes()


def test_blocks_are_even_and_whole_iterations() -> None:
    assert [GemmSchedule().k_block(k) for k in (1, 10, 256, 1000, 1025)] == [10, 10, 260, 250, 210]


def test_right_operands_are_packed_when_that_pays() -> None:
    dense = Product(m=32, k=784, n=128, a_row=3136, a_k=4, b_k=512, b_column=4)
    assert dense.packs_left
    assert dense.packs_right
    assert not dense._replace(m=4).packs_right
    assert not dense._replace(k=8).packs_right
    assert dense._replace(m=1, b_k=4, b_column=512).packs_right
    assert not dense._replace(n=8).packs_left
