"""From graph to LLVM IR: one function per distinct kernel, one `run` that calls them in the plan's order.

Kernels take addresses as parameters, so layers of equal shape share one function. `run(arena, steps)` executes the
whole graph `steps` times and returns the flags, as the WebAssembly module's does: bit 0 a checked output is not finite,
bit 1 an index is out of range; it stops at the first step with a flag. Bit 2: the floating-point environment, which
`run` sets, was another one at the end, so the results are void. `init(arena)` writes the constants.
"""

import math
from typing import NamedTuple

from synaptic_mesh.engine.abi import ENVIRONMENT_CHANGED, INIT_EXPORT, RUN_EXPORT, Slot
from synaptic_mesh.engine.fusion import Kernel, KernelKind, matmul_extents
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.lowering import lower
from synaptic_mesh.engine.native.chain import LANES_MIN, Chain, exponents_full, raise_if_not_finite
from synaptic_mesh.engine.native.elementwise import emit_elementwise
from synaptic_mesh.engine.native.environment import environment_declarations, guarded_entry
from synaptic_mesh.engine.native.function import Function
from synaptic_mesh.engine.native.gemm import Layout, gemm_functions, k_block, workspace_bytes
from synaptic_mesh.engine.native.indexing import emit_copy, emit_gather, emit_one_hot, emit_scatter_add
from synaptic_mesh.engine.native.product import Product, emit_product
from synaptic_mesh.engine.native.profile import Profile
from synaptic_mesh.engine.native.reduction import Reduction, emit_argmax
from synaptic_mesh.engine.native.values import INT, Value, VectorOps, declarations
from synaptic_mesh.engine.passes import simplify
from synaptic_mesh.engine.planner import Plan
from synaptic_mesh.engine.wasm.chain import is_constant_view, splat_bits

STEPS = "steps"
WIDTHS = (2, 4, 8, 16)
ARENA, WORK = "%arena", "%work"


class CompiledNative(NamedTuple):
    """The module's text, where its inputs and outputs are, and the simplified graph and plan behind them."""

    graph: Graph
    text: str
    inputs: dict[str, Slot]
    outputs: dict[str, Slot]
    arena_bytes: int
    plan: Plan


def compile_native(graph: Graph, profile: Profile) -> CompiledNative:
    """Return the module of a verified, admitted graph. Raises LocalError when its arena is over the limit."""
    graph = simplify(graph)
    plan = lower(graph, lambda graph, kernel: _workspace_bytes(profile, graph, kernel))
    text = _Compiler(graph, plan, profile).build()
    inputs = {name: _slot(graph, index, plan.offsets[index]) for name, index in graph.inputs.items()}
    outputs = {
        name: _slot(graph, index, plan.offsets[plan.output_buffers[name]]) for name, index in graph.outputs.items()
    }
    return CompiledNative(graph, text, inputs, outputs, plan.arena_bytes, plan)


def _workspace_bytes(profile: Profile, graph: Graph, kernel: Kernel) -> int:
    if kernel.kind is KernelKind.GEMM:
        _, k, n = matmul_extents(graph, kernel.nodes[0])
        return workspace_bytes(profile, k, n)
    if kernel.root is not None and 0 not in kernel.shape:
        return _product(graph, kernel, kernel.root).workspace_bytes(profile)
    return 0


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
    def __init__(self, graph: Graph, plan: Plan, profile: Profile) -> None:
        self.graph = graph
        self.plan = plan
        self.profile = profile
        self.functions: list[Function] = []
        self.names: dict[object, str] = {}
        self.checked = frozenset(plan.output_buffers[name] for name in graph.checked)

    def build(self) -> str:
        kernels = [kernel for kernel in self.plan.kernels if 0 not in kernel.shape or _checks(kernel)]
        calls = [self._call(kernel) for kernel in kernels]
        run, data = self._run(calls), self._init()
        texts = [function.text() for function in (*self.functions, run)]
        head = declarations(WIDTHS) + environment_declarations(self.profile)
        return "\n".join([head, *data, *texts, guarded_entry(RUN_EXPORT, STEPS, ENVIRONMENT_CHANGED, self.profile)])

    def _run(self, calls: list[str]) -> Function:
        f = Function(STEPS, [("ptr", ARENA), ("i64", "%steps")], "i32", inline=False)
        f.store("i32", "0", ARENA)
        some = f.value("icmp ne i64 %steps, 0")
        f.line(f"br i1 {some}, label %step, label %stop")
        f.start("step")
        f.line("%done = phi i64 [ 0, %entry ], [ %next, %copy ]")
        for call in calls:
            self._line(f, call)
        self._check_the_rest(f)
        bad = f.value(f"icmp ne i32 {f.load('i32', ARENA)}, 0")
        f.line(f"br i1 {bad}, label %stop, label %carry")
        f.start("carry")
        for buffer, node in self.plan.copies_last:
            source, target = (f.at(ARENA, self.plan.offsets[at]) for at in (buffer, node))
            emit_copy(f, self.profile.lanes, source, target, self.graph.nodes[node].size)
        f.line("br label %copy")
        f.start("copy")
        f.line("%next = add nuw nsw i64 %done, 1")
        more = f.value("icmp ult i64 %next, %steps")
        f.line(f"br i1 {more}, label %step, label %stop")
        f.start("stop")
        f.line(f"ret i32 {f.load('i32', ARENA)}")
        return f

    def _line(self, f: Function, call: str) -> None:
        """Add a call; "{offset}" in its arguments becomes that address of the arena."""
        name, _, arguments = call.partition("(")
        parts = []
        for argument in arguments[:-1].split(", "):
            kind, value = argument.split(" ")
            parts.append(f"ptr {f.at(ARENA, int(value))}" if kind == "ptr" else argument)
        f.line(f"call void @{name}({', '.join(parts)})")

    def _init(self) -> list[str]:
        """Return the constants as data; adds the function that writes them."""
        f = Function(INIT_EXPORT, [("ptr", ARENA)], export=True)
        data = []
        for node in self.plan.constants:
            bits = self.graph.nodes[node].attributes.bits
            if bits:
                padded = bits + bytes(-len(bits) % (4 * LANES_MIN))  # the copy reads whole vectors
                data.append(
                    f'@constant_{node} = internal constant [{len(padded)} x i8] c"{_escaped(padded)}", align 64'
                )
                emit_copy(f, LANES_MIN, f"@constant_{node}", f.at(ARENA, self.plan.offsets[node]), len(bits) // 4)
        self.functions.append(f)
        return data

    # --- kernels ------------------------------------------------------------------------------------------------------

    def _call(self, kernel: Kernel) -> str:
        """Return the call of a kernel's function, which is emitted if no kernel of the same form was."""
        buffers = list(dict.fromkeys((*kernel.reads, *(buffer for _, buffer in kernel.stores))))
        offsets = [*(self.plan.offsets[buffer] for buffer in buffers), self.plan.workspace, 0]
        if kernel.kind is KernelKind.GEMM:
            return self._gemm(kernel)
        form = self._form(kernel, buffers)
        if form not in self.names:
            parameters = {buffer: f"%p{at}" for at, buffer in enumerate(buffers)}
            f = Function(
                f"{kernel.kind.value}_{len(self.names)}",
                [("ptr", name) for name in (*parameters.values(), WORK, ARENA)],
                inline=False,
            )
            self._emit(f, kernel, parameters)
            self.functions.append(f)
            self.names[form] = f.name
        return f"{self.names[form]}({', '.join(f'ptr {offset}' for offset in offsets)})"

    def _form(self, kernel: Kernel, buffers: list[int]) -> object:
        """Everything the emitted code depends on, with nodes and buffers numbered by position."""
        number = {node: at for at, node in enumerate((*kernel.operands, *kernel.nodes))}
        place = {buffer: at for at, buffer in enumerate(buffers)}
        nodes = self.graph.nodes
        return (
            kernel.kind,
            kernel.shape,
            tuple(
                (nodes[i].op, nodes[i].dtype, nodes[i].attributes, tuple(number[o] for o in nodes[i].inputs))
                for i in kernel.nodes
            ),
            tuple(
                (nodes[i].shape, nodes[i].dtype, view.strides, place.get(view.base), i in kernel.leaves)
                if not is_constant_view(self.graph, kernel, view)
                else splat_bits(self.graph, view.base)
                for i, view in kernel.operands.items()
            ),
            tuple((number[node], place[buffer], buffer in self.checked) for node, buffer in kernel.stores),
        )

    def _emit(self, f: Function, kernel: Kernel, parameters: dict[int, str]) -> None:
        if kernel.kind is KernelKind.FUSED:
            self._emit_fused(f, kernel, parameters)
            return
        (index,) = kernel.nodes
        node, lanes = self.graph.nodes[index], self.profile.lanes
        target = parameters[index]
        sources = [parameters[kernel.operands[i].base] for i in node.inputs]
        shapes = [self.graph.nodes[i].shape for i in node.inputs]
        match kernel.kind:
            case KernelKind.REDUCE_SUM | KernelKind.REDUCE_MAX:
                is_sum = kernel.kind is KernelKind.REDUCE_SUM
                axis = node.attributes.axes[0]
                Reduction(f, self.profile, shapes[0], axis, node.dtype, is_sum).emit(sources[0], target)
            case KernelKind.ARGMAX:
                emit_argmax(f, shapes[0], node.attributes.axes[0], sources[0], target)
            case KernelKind.ONE_HOT:
                emit_one_hot(f, lanes, math.prod(shapes[0]), node.shape[-1], sources[0], target, ARENA)
            case KernelKind.GATHER:
                extents = (shapes[0][0], shapes[0][1])
                emit_gather(f, lanes, shapes[1][0], extents, sources[0], sources[1], target, ARENA)
            case KernelKind.SCATTER_ADD:
                extents = (node.shape[0], node.shape[1])
                emit_scatter_add(f, lanes, shapes[1][0], extents, sources[0], sources[1], target, ARENA)

    def _emit_fused(self, f: Function, kernel: Kernel, parameters: dict[int, str]) -> None:
        chain = Chain(f, self.profile, self.graph, kernel, parameters, self.checked)
        if kernel.root is None:
            emit_elementwise(f, chain, ARENA)
        else:
            left, right = (parameters[kernel.operands[i].base] for i in self.graph.nodes[kernel.root].inputs)
            product = _product(self.graph, kernel, kernel.root)
            emit_product(f, self.profile, product, (left, right, WORK), chain, ARENA)

    def _gemm(self, kernel: Kernel) -> str:
        """Return the call of the packed product, emitted once for each layout of operands."""
        (index,) = kernel.nodes
        p = _product(self.graph, kernel, index)
        left, right = (self.plan.offsets[kernel.operands[i].base] for i in self.graph.nodes[index].inputs)
        layout = Layout.of(p.a_row, p.a_k, p.b_k, p.b_column)
        if layout not in self.names:
            functions = gemm_functions(self.profile, layout)
            self.functions += functions
            self.names[layout] = functions[-1].name
        arguments = (
            *(f"ptr {left}", f"i64 {p.a_row}", f"i64 {p.a_k}", f"ptr {right}", f"i64 {p.b_k}", f"i64 {p.b_column}"),
            *(f"ptr {self.plan.offsets[index]}", f"i64 {p.m}", f"i64 {p.k}", f"i64 {p.n}", f"i64 {k_block(p.k)}"),
            f"ptr {self.plan.workspace}",
        )
        return f"{self.names[layout]}({', '.join(arguments)})"

    def _check_the_rest(self, f: Function) -> None:
        """Scan the checked outputs that no fused kernel wrote."""
        written = {buffer for k in self.plan.kernels if k.kind is KernelKind.FUSED for _, buffer in k.stores}
        for buffer in sorted(self.checked - written):
            size = self.graph.nodes[buffer].size
            if "check" not in self.names:
                self.functions.append(_check_function(self.profile))
                self.names["check"] = "check"
            f.line(f"call void @check(ptr {f.at(ARENA, self.plan.offsets[buffer])}, i64 {size}, ptr {ARENA})")


def _check_function(profile: Profile) -> Function:
    """check(address, count, flags): raise the flag when one of `count` f32 is NaN or infinite."""
    f = Function("check", [("ptr", "%at"), ("i64", "%count"), ("ptr", ARENA)], inline=False)
    lanes = profile.lanes
    ops = VectorOps(f, profile, lanes)
    kind = ops.int

    def step(position: str, values: list[str]) -> list[str]:
        found = f.load(kind, f.at("%at", f.mul(position, 4)))
        return [f.value(f"or {kind} {values[0]}, {exponents_full(ops, Value(found, INT))}")]

    whole = f.value(f"and i64 %count, {-lanes}")
    (state,) = f.loop(0, whole, lanes, step, [(kind, "zeroinitializer")])

    def single(position: str, values: list[str]) -> list[str]:
        found = f.splat(f.load("i32", f.at("%at", f.mul(position, 4))), INT, lanes)
        return [f.value(f"or {kind} {values[0]}, {exponents_full(ops, Value(found, INT))}")]

    (state,) = f.loop(whole, "%count", 1, single, [(kind, state)])
    raise_if_not_finite(f, lanes, ARENA, state)
    return f


def _escaped(data: bytes) -> str:
    """Return bytes as LLVM writes a string."""
    return "".join(f"\\{byte:02X}" for byte in data)


def _checks(kernel: Kernel) -> bool:
    """True for kernels that must run even when they write nothing."""
    return kernel.kind in (KernelKind.ONE_HOT, KernelKind.GATHER, KernelKind.SCATTER_ADD)
