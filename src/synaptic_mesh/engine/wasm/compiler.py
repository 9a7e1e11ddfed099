"""From graph to module: one function per distinct kernel, one `run` that calls them in the plan's order.

Kernels take addresses as parameters, so layers of equal shape share one function. `run(steps)` executes the whole
graph `steps` times and returns the flags: bit 0 a checked output is not finite, bit 1 an index is out of range; it
stops at the first step with a flag.
"""

from typing import NamedTuple

from synaptic_mesh.engine.abi import RUN_EXPORT, Slot
from synaptic_mesh.engine.fusion import CHECKS_STORES, Kernel, KernelKind, is_strip, matmul_extents
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.loop_plan import Loops
from synaptic_mesh.engine.lowering import lower
from synaptic_mesh.engine.nest.batches import each_batch, matrix_kernel
from synaptic_mesh.engine.nest.chain import Spot
from synaptic_mesh.engine.nest.check import emit_check
from synaptic_mesh.engine.nest.convolution import conv_workspace_bytes
from synaptic_mesh.engine.nest.form import kernel_form, kernel_spots
from synaptic_mesh.engine.nest.kernels import emit_kernel, must_run
from synaptic_mesh.engine.nest.movement import Place
from synaptic_mesh.engine.passes import simplify
from synaptic_mesh.engine.planner import Plan
from synaptic_mesh.engine.row_fusion import RowProfile
from synaptic_mesh.engine.support import refuse_missing
from synaptic_mesh.engine.views import dense_strides
from synaptic_mesh.engine.wasm.chain import Chain
from synaptic_mesh.engine.wasm.encoder import Module
from synaptic_mesh.engine.wasm.function import Function, Local
from synaptic_mesh.engine.wasm.gemm import (
    DEFAULT_SCHEDULE,
    GemmCalls,
    GemmSchedule,
    gemm,
    micro_kernel,
    pack_columns,
    pack_rows,
)
from synaptic_mesh.engine.wasm.loops import counted, push, repeated
from synaptic_mesh.engine.wasm.opcodes import ValueType
from synaptic_mesh.engine.wasm.parts import emit_assist, emit_close, emit_share, emit_take, job_word
from synaptic_mesh.engine.wasm.renderer import FLAGS_ADDRESS, LANES, WasmBuilder
from synaptic_mesh.engine.wasm.scan import Walker
from synaptic_mesh.engine.wasm.strip import Pointers, Product, emit_product

I32 = ValueType.I32
SHARED_PRODUCT_MIN = 384**3
"""Multiplications of a product from which threads share it: below, a helper comes too late to be worth waiting for."""
PARTS_PER_THREAD = 2
SHARED_ROWS_MIN = 64
"""Rows of a part at least: each part packs the right operand for itself."""
ROWS = RowProfile(columns_max=LANES, lanes=LANES)
SHARE = -1
"""Stands for the function that opens a job until its number is known."""


class CompiledModule(NamedTuple):
    """The module's bytes, where its inputs and outputs are, and the simplified graph and plan behind them."""

    graph: Graph
    wasm: bytes
    inputs: dict[str, Slot]
    outputs: dict[str, Slot]
    arena_bytes: int
    plan: Plan
    module: Module
    threads: int = 1
    """How many may work on a run; 1 where no kernel is large enough to be shared."""


def compile_graph(graph: Graph, threads: int = 1, schedule: GemmSchedule = DEFAULT_SCHEDULE) -> CompiledModule:
    """Return the module of a verified, admitted graph, whose large products up to `threads` threads share, with the
    `schedule` of the engine that will run it. Raises LocalError when its arena is over the limit."""
    refuse_missing(graph, "wasm")
    graph = simplify(graph)
    loops = Loops(lambda graph, kernel, loops: workspace_bytes(graph, kernel, 1, schedule, loops), ROWS)
    plan = lower(graph, lambda graph, kernel: workspace_bytes(graph, kernel, threads, schedule, loops), ROWS)
    compiler = _Compiler(graph, plan, threads, schedule, loops)
    module = compiler.build()
    inputs = {name: _slot(graph, index, plan.offsets[index]) for name, index in graph.inputs.items()}
    outputs = {
        name: _slot(graph, index, plan.offsets[plan.output_buffers[name]]) for name, index in graph.outputs.items()
    }
    shared = threads if compiler.jobs else 1
    return CompiledModule(graph, module.encode(), inputs, outputs, plan.arena_bytes, plan, module, shared)


def workspace_bytes(graph: Graph, kernel: Kernel, threads: int, schedule: GemmSchedule, loops: Loops) -> int:
    """Return how much scratch memory a kernel needs."""
    if kernel.kind is KernelKind.SCAN:
        return loops.of(graph, kernel).plan.arena_bytes
    if kernel.kind is KernelKind.CONV and 0 not in kernel.shape:
        return conv_workspace_bytes(graph, graph.nodes[kernel.nodes[0]], LANES)
    if kernel.kind is KernelKind.BATCHED:
        one = matrix_kernel(graph, kernel)
        _, k, n = matmul_extents(graph, kernel.nodes[0])
        one = one if is_strip(k, n) else one._replace(kind=KernelKind.GEMM)
        return workspace_bytes(graph, one, 1, schedule, loops)
    if kernel.kind is KernelKind.GEMM:
        m, k, n = matmul_extents(graph, kernel.nodes[0])
        return schedule.workspace_bytes(k, n) * (threads if _is_shared(m, k, n, threads) else 1)
    if kernel.kind is KernelKind.FUSED and kernel.root is not None and 0 not in kernel.shape:
        return _product(graph, kernel, kernel.root).workspace_bytes
    return 0


def _is_shared(m: int, k: int, n: int, threads: int) -> bool:
    return threads > 1 and m * k * n >= SHARED_PRODUCT_MIN


def _slot(graph: Graph, index: int, offset: int) -> Slot:
    node = graph.nodes[index]
    return Slot(offset, node.shape, node.dtype)


def _product(graph: Graph, kernel: Kernel, index: int) -> Product:
    """Extents and byte strides of a matrix product whose operands are views."""
    node = graph.nodes[index]
    left, right = (kernel.operands[i] for i in node.inputs)
    a_row, a_k = left.strides[::-1] if node.attributes.transpose_left else left.strides
    b_k, b_column = right.strides[::-1] if node.attributes.transpose_right else right.strides
    m, k, n = matmul_extents(graph, index)
    return Product(m, k, n, 4 * a_row, 4 * a_k, 4 * b_k, 4 * b_column)


class _Compiler:
    def __init__(self, graph: Graph, plan: Plan, threads: int, schedule: GemmSchedule, loops: Loops) -> None:
        self.graph = graph
        self.plan = plan
        self.loops = loops
        self.threads = threads
        self.schedule = schedule
        self.module = Module(plan.arena_bytes)
        self.functions: dict[object, int] = {}
        self.jobs: list[int] = []
        self.checked = frozenset(plan.output_buffers[name] for name in graph.checked)

    def build(self) -> Module:
        for node in self.plan.constants:
            self.module.add_data(self.plan.offsets[node], self.graph.nodes[node].attributes.bits)
        calls = [self._call(kernel) for kernel in self.plan.kernels if must_run(kernel)]
        share = self._add_sharing() if self.jobs else SHARE
        run = Function(RUN_EXPORT, (I32,), (I32,))
        step = run.local(I32)
        run.i32(FLAGS_ADDRESS)
        run.i32(0)
        run.store("i32.store")
        with run.block() as stop, counted(run, step, 0, Local(0, I32), 1):
            for index, arguments in calls:
                for argument in arguments:
                    run.i32(argument)
                run.call(share if index == SHARE else index, (I32,) * len(arguments))
            self._check_the_rest(run)
            run.i32(FLAGS_ADDRESS)
            run.load("i32.load")
            run.br_if(stop)
            self._copy_carried(run)
        if self.jobs:
            emit_close(run)
        run.i32(FLAGS_ADDRESS)
        run.load("i32.load")
        self.module.add(run, export=True)
        return self.module

    def _add_sharing(self) -> int:
        """Add what threads share kernels with; return the number of `share`."""
        self.module.is_shared = True
        take = self.module.add(emit_take(self.jobs))
        self.module.add(emit_assist(take), export=True)
        return self.module.add(emit_share(take))

    def _copy_carried(self, run: Function) -> None:
        for buffer, node in self.plan.copies_last:
            run.i32(self.plan.offsets[node])
            run.i32(self.plan.offsets[buffer])
            run.i32(4 * self.graph.nodes[node].size)
            run.emit("memory.copy")

    def _call(self, kernel: Kernel) -> tuple[int, list[int]]:
        """Return the function of a kernel, emitted if no kernel of the same form was, and its arguments."""
        if kernel.kind is KernelKind.GEMM and _is_shared(*matmul_extents(self.graph, kernel.nodes[0]), self.threads):
            return SHARE, [self._job(kernel, kernel.nodes[0])]
        spots = kernel_spots(self.graph, kernel)
        arguments = [*(self.plan.offsets[buffer] + 4 * at for buffer, at in spots), self.plan.workspace]
        form = kernel_form(self.graph, kernel, self.checked)
        if form not in self.functions:
            f = Function(f"{kernel.kind.value}_{len(self.functions)}", (I32,) * len(arguments))
            parameters = {spot: Local(at, I32) for at, spot in enumerate(spots)}
            self._emit(f, kernel, parameters, Local(len(spots), I32))
            self.functions[form] = self.module.add(f)
        return self.functions[form], arguments

    def _emit(self, f: Function, kernel: Kernel, parameters: dict[Spot, Local], work: Local) -> None:
        b = WasmBuilder(f)
        if kernel.kind is KernelKind.GEMM:
            left, right = self._factors(kernel, kernel.nodes[0], parameters)
            self._emit_gemm(f, kernel, [left, right], parameters[kernel.nodes[0], 0], work)
        elif kernel.kind is KernelKind.BATCHED:
            self._emit_batched(b, kernel, parameters, work)
        elif kernel.kind is KernelKind.SCAN:
            self._emit_scan(f, kernel, parameters, work)
        elif kernel.kind is KernelKind.FUSED and kernel.root is not None:
            left, right = self._factors(kernel, kernel.root, parameters)
            self._emit_product(f, kernel, parameters, Pointers(left, right, work))
        else:
            emit_kernel(b, self.graph, kernel, parameters, self.checked, work)

    def _emit_scan(self, f: Function, kernel: Kernel, parameters: dict[Spot, Local], work: Local) -> None:
        """The body's kernels in a loop; each of them is a function like those outside."""
        loop = self.loops.of(self.graph, kernel)
        body = _Compiler(loop.body, loop.plan, 1, self.schedule, self.loops)
        body.module, body.functions = self.module, self.functions
        calls = [body._call(inner) for inner in loop.plan.kernels if must_run(inner)]
        (index,) = kernel.nodes
        operands = self._factors(kernel, index, parameters)
        walker = Walker(f, loop, operands, parameters[index, 0], work)
        walker.before()
        with repeated(f, f.local(I32), 0, loop.length, 1):
            for number, arguments in calls:
                for argument in arguments:
                    walker.push(argument)
                f.call(number, (I32,) * len(arguments))
            walker.after()

    def _factors(self, kernel: Kernel, index: int, parameters: dict[Spot, Local]) -> list[Local]:
        """Return the addresses of an operation's operands."""
        views = [kernel.operands[i] for i in self.graph.nodes[index].inputs]
        return [parameters[view.base, view.offset] for view in views]

    def _emit_product(self, f: Function, kernel: Kernel, parameters: dict[Spot, Local], pointers: Pointers) -> None:
        chain = Chain(f, self.graph, kernel, parameters, self.checked)
        if kernel.root is not None:
            emit_product(f, _product(self.graph, kernel, kernel.root), pointers, chain)
        chain.finish()

    def _emit_batched(self, b: WasmBuilder, kernel: Kernel, parameters: dict[Spot, Local], work: Local) -> None:
        (index,) = kernel.nodes
        node, one = self.graph.nodes[index], matrix_kernel(self.graph, kernel)
        _, k, n = matmul_extents(self.graph, index)
        strides = [kernel.operands[i].strides[:-2] for i in node.inputs] + [dense_strides(node.shape)[:-2]]
        pointers = [*self._factors(kernel, index, parameters), parameters[index, 0]]

        def product(here: list[Local]) -> None:
            left, right, target = here
            if is_strip(k, n):
                self._emit_product(b.f, one, {**parameters, (index, 0): target}, Pointers(left, right, work))
            else:
                self._emit_gemm(b.f, one, [left, right], target, work)

        each_batch(b, node.shape[:-2], [Place(*pair) for pair in zip(pointers, strides, strict=True)], product)

    def _emit_gemm(self, f: Function, kernel: Kernel, sources: list[Local], target: Local, work: Local) -> None:
        product = _product(self.graph, kernel, kernel.nodes[0])
        left, right = sources
        f.get(left)
        f.i32(product.a_row)
        f.i32(product.a_k)
        f.get(right)
        f.i32(product.b_k)
        f.i32(product.b_column)
        f.get(target)
        for extent in (product.m, product.k, product.n):
            f.i32(extent)
        f.get(work)
        f.call(self._gemm(), (I32,) * 11)

    def _job(self, kernel: Kernel, index: int) -> int:
        """Return the word that shares a product among threads; adds the function (part, slot) of one part: a block of
        rows of C, in the workspace of the thread that took it."""
        p = _product(self.graph, kernel, index)
        mr = self.schedule.mr
        rows = max(SHARED_ROWS_MIN, -(-p.m // (self.threads * PARTS_PER_THREAD * mr)) * mr)
        f = Function(f"job_{len(self.jobs)}", (I32, I32))
        row, a, c, work = f.locals_of(I32, 4)
        _scaled(f, Local(0, I32), rows, 0, row)
        left, right = (kernel.operands[i] for i in self.graph.nodes[index].inputs)
        _scaled(f, row, p.a_row, self.plan.offsets[left.base] + 4 * left.offset, a)
        _scaled(f, row, 4 * p.n, self.plan.offsets[index], c)
        _scaled(f, Local(1, I32), self.schedule.workspace_bytes(p.k, p.n), self.plan.workspace, work)
        at_b = self.plan.offsets[right.base] + 4 * right.offset
        for value in (a, p.a_row, p.a_k, at_b, p.b_k, p.b_column, c):
            push(f, value)
        f.i32(p.m)
        f.get(row)
        f.emit("i32.sub")
        left_over = f.keep(I32)
        f.get(left_over)
        f.i32(rows)
        f.get(left_over)
        f.i32(rows)
        f.emit("i32.lt_s")
        f.select()
        for value in (p.k, p.n, work):
            push(f, value)
        f.call(self._gemm(), (I32,) * 11)
        self.jobs.append(self.module.add(f))
        return job_word(len(self.jobs) - 1, -(-p.m // rows))

    def _gemm(self) -> int:
        """The packed product, emitted once per module."""
        if "gemm" not in self.functions:
            schedule, add = self.schedule, self.module.add
            calls = GemmCalls(
                add(micro_kernel(schedule, "gemm_tile")),
                add(pack_rows(schedule, "gemm_pack_a")),
                add(pack_columns(schedule, "gemm_pack_b")),
            )
            self.functions["gemm"] = add(gemm(schedule, "gemm", calls))
        return self.functions["gemm"]

    def _check_the_rest(self, run: Function) -> None:
        """Scan the checked outputs that no kernel looked at."""
        written = {buffer for k in self.plan.kernels if k.kind in CHECKS_STORES for _, buffer in k.stores}
        for buffer in sorted(self.checked - written):
            size = self.graph.nodes[buffer].size
            if (form := ("check", size)) not in self.functions:
                f = Function(f"check_{size}", (I32,))
                emit_check(WasmBuilder(f), size, Local(0, I32))
                self.functions[form] = self.module.add(f)
            run.i32(self.plan.offsets[buffer])
            run.call(self.functions[form], (I32,))


def _scaled(f: Function, count: Local, stride: int, start: int, out: Local) -> None:
    """out = start + count * stride."""
    f.get(count)
    f.i32(stride)
    f.emit("i32.mul")
    f.i32(start)
    f.emit("i32.add")
    f.set(out)
