"""From graph to LLVM IR: one function per distinct kernel, one `run` that calls them in the plan's order.

Kernels take addresses as parameters, so layers of equal shape share one function. `run(arena, steps)` executes the
whole graph `steps` times and returns the flags, as the WebAssembly module's does: bit 0 a checked output is not finite,
bit 1 an index is out of range; it stops at the first step with a flag. Bit 2: the floating-point environment, which
`run` sets, was another one at the end, so the results are void. `init(arena)` writes the constants.
"""

from typing import NamedTuple

from synaptic_mesh.engine.abi import ENVIRONMENT_CHANGED, INIT_EXPORT, RUN_EXPORT, Slot
from synaptic_mesh.engine.fusion import CHECKS_STORES, Kernel, KernelKind, is_strip, matmul_extents
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.limits import flops
from synaptic_mesh.engine.loop_plan import Loops
from synaptic_mesh.engine.lowering import lower
from synaptic_mesh.engine.native.chain import Chain
from synaptic_mesh.engine.native.environment import environment_declarations, guarded_entry
from synaptic_mesh.engine.native.function import Function
from synaptic_mesh.engine.native.gemm import Layout, gemm_functions, grid, k_block, row_block, workspace_bytes
from synaptic_mesh.engine.native.parts import job_word, leave_call, parts_text
from synaptic_mesh.engine.native.product import Product, emit_product
from synaptic_mesh.engine.native.profile import SMALL_FLOPS_MAX, Profile
from synaptic_mesh.engine.native.renderer import LlvmBuilder
from synaptic_mesh.engine.native.scan import Walker, call_line
from synaptic_mesh.engine.native.values import Value, declarations
from synaptic_mesh.engine.nest.batches import each_batch, matrix_kernel
from synaptic_mesh.engine.nest.builder import POINTER
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

STEPS = "steps"
WIDTHS = (2, 4, 8, 16)
ARENA, WORK = "%arena", "%work"
SHARED_ROWS_MIN = 48
"""Rows of a part of a product with its chain, at least: each part packs the right operand for itself."""
SHARED_PRODUCT_MIN = 384**3
"""Multiplications of a product from which threads share it: below, a helper comes too late to be worth waiting for."""
PARTS_PER_THREAD = 4
JOINED_KERNELS_MAX = 16
"""Kernels of a small graph whose functions LLVM may join and optimise as one: it takes as long as all the rest."""
_JOINED_KINDS = frozenset({KernelKind.FUSED, KernelKind.ROWS, KernelKind.REDUCE_SUM, KernelKind.REDUCE_MAX})
_JOINED = "nounwind alwaysinline"
_NO_LIBRARY = '"no-builtins"'
"""Keeps LLVM from making a call of the C library from a loop that copies or fills."""


class CompiledNative(NamedTuple):
    """The module's text, where its inputs and outputs are, and the simplified graph and plan behind them. `threads`:
    how many may work on a run; 1 where no kernel is large enough to be shared. `joined`: LLVM's passes are to run over
    the text."""

    graph: Graph
    text: str
    inputs: dict[str, Slot]
    outputs: dict[str, Slot]
    arena_bytes: int
    plan: Plan
    threads: int
    joined: bool


def compile_native(graph: Graph, profile: Profile, threads: int = 1) -> CompiledNative:
    """Return the module of a verified, admitted graph, whose large products up to `threads` threads share. Raises
    LocalError when its arena is over the limit."""
    refuse_missing(graph, "native")
    graph = simplify(graph)
    rows = RowProfile(lanes=profile.lanes)
    loops = Loops(lambda graph, kernel, loops: _workspace_bytes(profile, graph, kernel, 1, loops), rows)
    plan = lower(graph, lambda graph, kernel: _workspace_bytes(profile, graph, kernel, threads, loops), rows)
    compiler = _Compiler(graph, plan, profile, threads, loops)
    text = compiler.build()
    inputs = {name: _slot(graph, index, plan.offsets[index]) for name, index in graph.inputs.items()}
    outputs = {
        name: _slot(graph, index, plan.offsets[plan.output_buffers[name]]) for name, index in graph.outputs.items()
    }
    shared = threads if compiler.jobs else 1
    return CompiledNative(graph, text, inputs, outputs, plan.arena_bytes, plan, shared, compiler.joined)


def _is_joined(graph: Graph, plan: Plan) -> bool:
    """A step of a few hundred results, each of which waits for the one before: calls, and trips through memory between
    kernels and from step to step, are a twentieth of it. The text of larger graphs goes to LLVM's code generator as it
    is, since passes have little to gain there and take longer than all the rest."""
    few = len(plan.kernels) <= JOINED_KERNELS_MAX and flops(graph) <= SMALL_FLOPS_MAX
    return few and all(kernel.kind in _JOINED_KINDS for kernel in plan.kernels)


def _workspace_bytes(profile: Profile, graph: Graph, kernel: Kernel, threads: int, loops: Loops) -> int:
    if kernel.kind is KernelKind.SCAN:
        return loops.of(graph, kernel).plan.arena_bytes
    if kernel.kind is KernelKind.CONV and 0 not in kernel.shape:
        return conv_workspace_bytes(graph, graph.nodes[kernel.nodes[0]], profile.lanes)
    if kernel.kind is KernelKind.BATCHED:
        one = matrix_kernel(graph, kernel)
        _, k, n = matmul_extents(graph, kernel.nodes[0])
        one = one if is_strip(k, n) else one._replace(kind=KernelKind.GEMM)
        return _workspace_bytes(profile, graph, one, 1, loops)
    if kernel.kind is KernelKind.GEMM:
        m, k, n = matmul_extents(graph, kernel.nodes[0])
        return workspace_bytes(profile, m, k) * (threads if _is_shared(m, k, n, threads) else 1)
    if kernel.kind is KernelKind.FUSED and kernel.root is not None and 0 not in kernel.shape:
        rows = part_rows(graph, kernel, threads)
        if rows:
            return threads * _part_workspace_bytes(profile, graph, kernel, rows)
        return _product(graph, kernel, kernel.root).workspace_bytes(profile)
    return 0


def _part_workspace_bytes(profile: Profile, graph: Graph, kernel: Kernel, rows: int) -> int:
    """Scratch memory of a part of a fused product, in whole lines."""
    if kernel.root is None:
        return 0
    return -(-_product(graph, kernel, kernel.root)._replace(m=rows).workspace_bytes(profile) // 64) * 64


def part_rows(graph: Graph, kernel: Kernel, threads: int) -> int:
    """Return the rows of a part of a product with its chain, when threads share it, else 0. All parts are equal, so one
    function serves them; each packs the right operand for itself, so parts have many rows."""
    if kernel.root is None or kernel.kind is not KernelKind.FUSED or _row_strides(graph, kernel) is None:
        return 0
    m, k, n = matmul_extents(graph, kernel.root)
    if not _is_shared(m, k, n, threads):
        return 0
    for parts in range(threads * PARTS_PER_THREAD, threads - 1, -1):
        if m % parts == 0 and m // parts >= SHARED_ROWS_MIN:
            return m // parts
    return 0


def _row_strides(graph: Graph, kernel: Kernel) -> dict[Spot, int] | None:
    """Return by how many elements each address of a fused product moves from row to row; None where one address is
    walked in two ways."""
    if kernel.root is None:
        return None
    left, right = graph.nodes[kernel.root].inputs
    a_row = _product(graph, kernel, kernel.root).a_row // 4
    walks = [(kernel.operands[left], a_row), (kernel.operands[right], 0)]
    walks += [(view, view.strides[0]) for view in kernel.leaves.values()]
    found: dict[Spot, int] = {(buffer, 0): kernel.shape[-1] for _, buffer in kernel.stores}
    for view, stride in walks:
        if found.setdefault((view.base, view.offset), stride) != stride:
            return None
    return found


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
    def __init__(self, graph: Graph, plan: Plan, profile: Profile, threads: int, loops: Loops) -> None:
        self.graph = graph
        self.plan = plan
        self.loops = loops
        self.profile = profile
        self.threads = threads
        self.jobs: list[str] = []
        self.functions: list[Function] = []
        self.names: dict[object, str] = {}
        self.joined = _is_joined(graph, plan)
        self.checked = frozenset(plan.output_buffers[name] for name in graph.checked)

    def build(self) -> str:
        kernels = [kernel for kernel in self.plan.kernels if must_run(kernel)]
        calls = [self._call(kernel) for kernel in kernels]
        run, data = self._run(calls), self._init()
        if self.joined:
            for function in (*self.functions, run):
                is_entry = function.export or function is run
                function.attributes = f"{function.attributes if is_entry else _JOINED} {_NO_LIBRARY}"
        texts = [function.text() for function in (*self.functions, run)]
        head = declarations(WIDTHS) + environment_declarations(self.profile)
        entries = [guarded_entry(RUN_EXPORT, STEPS, ENVIRONMENT_CHANGED, self.profile)]
        if self.jobs:
            entries.append(parts_text(self.jobs, self.profile, self.threads - 1))
        return "\n".join([head, *data, *texts, *entries])

    def _builder(self, f: Function) -> LlvmBuilder:
        return LlvmBuilder(f, self.profile, ARENA, is_shared=self.threads > 1)

    def _run(self, calls: list[str]) -> Function:
        f = Function(STEPS, [("ptr", ARENA), ("i64", "%steps")], "i32", inline=False)
        f.store("i32", "0", ARENA)
        some = f.value("icmp ne i64 %steps, 0")
        f.line(f"br i1 {some}, label %step, label %stop")
        f.start("step")
        f.line("%done = phi i64 [ 0, %entry ], [ %next, %copy ]")
        for call in calls:
            call_line(f, call, lambda address: f.at(ARENA, address))
        self._check_the_rest(f)
        bad = f.value(f"icmp ne i32 {f.load('i32', ARENA)}, 0")
        f.line(f"br i1 {bad}, label %stop, label %carry")
        f.start("carry")
        b = self._builder(f)
        for buffer, node in self.plan.copies_last:
            source, target = (f.at(ARENA, self.plan.offsets[at]) for at in (buffer, node))
            b.copy(Value(source, POINTER), Value(target, POINTER), 4 * self.graph.nodes[node].size)
        f.line("br label %copy")
        f.start("copy")
        f.line("%next = add nuw nsw i64 %done, 1")
        more = f.value("icmp ult i64 %next, %steps")
        f.line(f"br i1 {more}, label %step, label %stop")
        f.start("stop")
        left = f.value(leave_call(ARENA)) if self.jobs else "0"
        flags = f.value(f"or i32 {f.load('i32', ARENA)}, {left}")
        f.line(f"ret i32 {flags}")
        return f

    def _init(self) -> list[str]:
        """Return the constants as data; adds the function that writes them."""
        f = Function(INIT_EXPORT, [("ptr", ARENA)], export=True)
        b = self._builder(f)
        data = []
        for node in self.plan.constants:
            bits = self.graph.nodes[node].attributes.bits
            if bits:
                padded = bits + bytes(-len(bits) % 64)  # the copy reads whole vectors
                data.append(
                    f'@constant_{node} = internal constant [{len(padded)} x i8] c"{_escaped(padded)}", align 64'
                )
                target = f.at(ARENA, self.plan.offsets[node])
                b.copy(Value(f"@constant_{node}", POINTER), Value(target, POINTER), len(bits))
        self.functions.append(f)
        return data

    # --- kernels ------------------------------------------------------------------------------------------------------

    def _call(self, kernel: Kernel) -> str:
        """Return the call of a kernel's function, which is emitted if no kernel of the same form was."""
        spots = kernel_spots(self.graph, kernel)
        offsets = [*(self.plan.offsets[buffer] + 4 * at for buffer, at in spots), self.plan.workspace]
        if kernel.kind is KernelKind.GEMM:
            return self._gemm_call(kernel)
        rows = part_rows(self.graph, kernel, self.threads)
        if rows:
            return self._fused_job(kernel, rows)
        return f"{self._function(kernel)}({', '.join(f'ptr {offset}' for offset in offsets)}, ptr {ARENA})"

    def _function(self, kernel: Kernel) -> str:
        """Return the name of a kernel's function, emitted if no kernel of the same form was."""
        spots = kernel_spots(self.graph, kernel)
        form = kernel_form(self.graph, kernel, self.checked)
        if form not in self.names:
            parameters = {spot: f"%p{at}" for at, spot in enumerate(spots)}
            f = Function(
                f"{kernel.kind.value}_{len(self.names)}",
                [("ptr", name) for name in (*parameters.values(), WORK, ARENA)],
                inline=False,
            )
            self.names[form] = f.name
            self._emit(f, kernel, {spot: Value(name, POINTER) for spot, name in parameters.items()})
            self.functions.append(f)
        return self.names[form]

    def _emit(self, f: Function, kernel: Kernel, parameters: dict[Spot, Value]) -> None:
        b = self._builder(f)
        if kernel.kind is KernelKind.BATCHED:
            self._emit_batched(b, kernel, parameters)
        elif kernel.kind is KernelKind.SCAN:
            self._emit_scan(b, kernel, parameters)
        elif kernel.kind is KernelKind.FUSED and kernel.root is not None:
            left, right = self._factors(kernel, kernel.root, parameters)
            self._emit_product(b, kernel, parameters, left, right)
        else:
            emit_kernel(b, self.graph, kernel, parameters, self.checked, Value(WORK, POINTER))

    def _emit_scan(self, b: LlvmBuilder, kernel: Kernel, parameters: dict[Spot, Value]) -> None:
        """The body's kernels in a loop; each of them is a function like those outside."""
        loop = self.loops.of(self.graph, kernel)
        body = _Compiler(loop.body, loop.plan, self.profile, 1, self.loops)
        body.functions, body.names = self.functions, self.names
        calls = [body._call(inner) for inner in loop.plan.kernels if must_run(inner)]
        (index,) = kernel.nodes
        walker = Walker(b, loop, self._factors(kernel, index, parameters), parameters[index, 0], Value(WORK, POINTER))
        walker.before()

        def step(position: str, _: list[str]) -> list[str]:
            walker.begin(position)
            for call in calls:
                call_line(b.f, call, walker.address)
            walker.after()
            return []

        b.f.loop(0, loop.length, 1, step)

    def _factors(self, kernel: Kernel, index: int, parameters: dict[Spot, Value]) -> list[Value]:
        """Return the addresses of an operation's operands."""
        views = [kernel.operands[i] for i in self.graph.nodes[index].inputs]
        return [parameters[view.base, view.offset] for view in views]

    def _emit_product(
        self, b: LlvmBuilder, kernel: Kernel, parameters: dict[Spot, Value], left: Value, right: Value
    ) -> None:
        if kernel.root is not None:
            chain = Chain(b, self.graph, kernel, parameters, self.checked)
            product = _product(self.graph, kernel, kernel.root)._replace(m=kernel.shape[0])
            emit_product(b.f, self.profile, product, (left.text, right.text, WORK), chain, ARENA)

    def _emit_batched(self, b: LlvmBuilder, kernel: Kernel, parameters: dict[Spot, Value]) -> None:
        (index,) = kernel.nodes
        node, one = self.graph.nodes[index], matrix_kernel(self.graph, kernel)
        _, k, n = matmul_extents(self.graph, index)
        strides = [kernel.operands[i].strides[:-2] for i in node.inputs] + [dense_strides(node.shape)[:-2]]
        pointers = [*self._factors(kernel, index, parameters), parameters[index, 0]]

        def product(here: list[Value]) -> None:
            left, right, target = here
            if is_strip(k, n):
                self._emit_product(b, one, {**parameters, (index, 0): target}, left, right)
            else:
                p = _product(self.graph, one, index)
                arguments = self._gemm_arguments(p, (left.text, right.text, target.text), WORK)
                b.f.line(f"call void @{self._gemm(p)}({arguments})")

        each_batch(b, node.shape[:-2], [Place(*pair) for pair in zip(pointers, strides, strict=True)], product)

    def _gemm_call(self, kernel: Kernel) -> str:
        """Return the call of the packed product of one pair of matrices, shared among threads where it is large."""
        (index,) = kernel.nodes
        p = _product(self.graph, kernel, index)
        views = [kernel.operands[i] for i in self.graph.nodes[index].inputs]
        left, right = (self.plan.offsets[view.base] + 4 * view.offset for view in views)
        target = self.plan.offsets[index]
        if _is_shared(p.m, p.k, p.n, self.threads):
            return self._job(self._gemm(p), p, (left, right, target))
        pointers = (str(left), str(right), str(target))
        return f"{self._gemm(p)}({self._gemm_arguments(p, pointers, str(self.plan.workspace))})"

    def _gemm(self, p: Product) -> str:
        """Return the name of the packed product, which is emitted once for each layout of operands."""
        layout = Layout.of(p.a_row, p.a_k, p.b_k, p.b_column)
        if layout not in self.names:
            functions = gemm_functions(self.profile, layout)
            self.functions += functions
            self.names[layout] = functions[-1].name
        return self.names[layout]

    def _gemm_arguments(self, p: Product, pointers: tuple[str, str, str], work: str) -> str:
        left, right, target = pointers
        arguments = (
            *(f"ptr {left}", f"i64 {p.a_row}", f"i64 {p.a_k}", f"ptr {right}", f"i64 {p.b_k}", f"i64 {p.b_column}"),
            *(f"ptr {target}", f"i64 {4 * p.n}", f"i64 {p.m}", f"i64 {p.k}", f"i64 {p.n}"),
            *(f"i64 {k_block(p.k)}", f"i64 {row_block(self.profile, p.m, p.k)}", f"ptr {work}"),
        )
        return ", ".join(arguments)

    def _job(self, name: str, p: Product, places: tuple[int, int, int]) -> str:
        """Return the call that shares a product among threads; adds the function of one part: a block of rows and
        columns of C, in the workspace of the thread that took it."""
        rows, columns = grid(self.profile, p.m, p.n, self.threads * PARTS_PER_THREAD)
        down, across = -(-p.m // rows), -(-p.n // columns)
        f = Function(f"job_{len(self.jobs)}", [("ptr", ARENA), ("i64", "%part"), ("i64", "%slot")], inline=False)
        row = f.mul(f.value(f"urem i64 %part, {down}"), rows)
        column = f.mul(f.value(f"udiv i64 %part, {down}"), columns)
        a, b, c = (f.at(ARENA, place) for place in places)
        a, b = f.at(a, f.mul(row, p.a_row)), f.at(b, f.mul(column, p.b_column))
        c = f.at(c, f.add(f.mul(row, 4 * p.n), f.mul(column, 4)))
        work = f.at(ARENA, f.add(self.plan.workspace, f.mul("%slot", workspace_bytes(self.profile, p.m, p.k))))
        m, n = f.least(f.sub(p.m, row), rows), f.least(f.sub(p.n, column), columns)
        arguments = (
            *(f"ptr {a}", f"i64 {p.a_row}", f"i64 {p.a_k}", f"ptr {b}", f"i64 {p.b_k}", f"i64 {p.b_column}"),
            *(f"ptr {c}", f"i64 {4 * p.n}", f"i64 {m}", f"i64 {p.k}", f"i64 {n}"),
            *(f"i64 {k_block(p.k)}", f"i64 {row_block(self.profile, rows, p.k)}", f"ptr {work}"),
        )
        f.line(f"call void @{name}({', '.join(arguments)})")
        self.functions.append(f)
        self.jobs.append(f.name)
        return f"share(ptr 0, i64 {job_word(len(self.jobs) - 1, down * across)})"

    def _fused_job(self, kernel: Kernel, rows: int) -> str:
        """Return the call that shares a product with its chain among threads: a part is the same kernel over fewer
        rows, its addresses moved."""
        strides = _row_strides(self.graph, kernel) or {}
        name = self._function(kernel._replace(shape=(rows, kernel.shape[1])))
        f = Function(f"job_{len(self.jobs)}", [("ptr", ARENA), ("i64", "%part"), ("i64", "%slot")], inline=False)
        row = f.mul("%part", rows)
        pointers = [
            f.at(f.at(ARENA, self.plan.offsets[buffer] + 4 * at), f.mul(row, 4 * strides[buffer, at]))
            for buffer, at in kernel_spots(self.graph, kernel)
        ]
        size = _part_workspace_bytes(self.profile, self.graph, kernel, rows)
        work = f.at(ARENA, f.add(self.plan.workspace, f.mul("%slot", size)))
        f.line(f"call void @{name}({', '.join(f'ptr {pointer}' for pointer in (*pointers, work, ARENA))})")
        self.functions.append(f)
        self.jobs.append(f.name)
        return f"share(ptr 0, i64 {job_word(len(self.jobs) - 1, kernel.shape[0] // rows)})"

    def _check_the_rest(self, f: Function) -> None:
        """Scan the checked outputs that no kernel looked at."""
        written = {buffer for k in self.plan.kernels if k.kind in CHECKS_STORES for _, buffer in k.stores}
        for buffer in sorted(self.checked - written):
            size = self.graph.nodes[buffer].size
            if (form := ("check", size)) not in self.names:
                check = Function(f"check_{size}", [("ptr", "%at"), ("ptr", ARENA)], inline=False)
                emit_check(self._builder(check), size, Value("%at", POINTER))
                self.functions.append(check)
                self.names[form] = check.name
            f.line(f"call void @{self.names[form]}(ptr {f.at(ARENA, self.plan.offsets[buffer])}, ptr {ARENA})")


def _escaped(data: bytes) -> str:
    """Return bytes as LLVM writes a string."""
    return "".join(f"\\{byte:02X}" for byte in data)
