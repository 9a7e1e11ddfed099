"""What the emitter made of a graph, for people: IR before and after simplification, plan, loop nests, module text,
sizes and times."""

import time

import wasmtime

from synaptic_mesh.base.codec import Record
from synaptic_mesh.engine.arena import arena_figures, format_plan
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.limits import admit, flops
from synaptic_mesh.engine.native.compiler import compile_native
from synaptic_mesh.engine.nest.text import format_loops
from synaptic_mesh.engine.text import format_graph
from synaptic_mesh.engine.verify import verify
from synaptic_mesh.engine.wasm.compiler import compile_graph
from synaptic_mesh.engine.wasm.wat import module_text


class Explanation(Record):
    """Texts, and figures whose unit stands at the end of their name."""

    graph: str
    simplified: str
    plan: str
    loops: str
    wat: str
    sizes: dict[str, float]


def explain(graph: Graph) -> Explanation:
    """Compile `graph` anew and return everything about it. Raises LocalError as `WasmBackend.compile` does."""
    verify(graph)
    admit(graph)
    started = time.perf_counter()
    compiled = compile_graph(graph)
    generated = time.perf_counter()
    engine = wasmtime.Engine()
    prepared = time.perf_counter()
    module = wasmtime.Module(engine, compiled.wasm)
    done = time.perf_counter()
    sizes = {
        "module_bytes": len(compiled.wasm),
        "native_bytes": len(module.serialize()),
        "arena_bytes": compiled.arena_bytes,
        "arena_waste_bytes": arena_figures(compiled.graph, compiled.plan).waste_bytes,
        "kernels_count": len(compiled.plan.kernels),
        "functions_count": len(compiled.module.functions),
        "flops": flops(graph),
        "generate_ms": (generated - started) * 1e3,
        "compile_ms": (done - prepared) * 1e3,
    }
    return Explanation(
        format_graph(graph),
        format_graph(compiled.graph),
        format_plan(compiled.graph, compiled.plan),
        format_loops(compiled.graph, compiled.plan),
        module_text(compiled.module),
        sizes,
    )


class NativeExplanation(Record):
    """What LLVM makes of a graph: its plan, the module's text, the assembly, and figures."""

    profile: str
    plan: str
    text: str
    assembly: str
    sizes: dict[str, float]


def explain_native(graph: Graph) -> NativeExplanation:
    """Compile `graph` anew to machine code for this processor and return everything about it. Raises LocalError as
    `NativeBackend.compile` does, and where llvmlite is not installed."""
    from synaptic_mesh.workers.native_runtime import NativeBackend  # llvmlite is an extra

    verify(graph)
    admit(graph)
    backend = NativeBackend().serving(graph)
    started = time.perf_counter()
    compiled = compile_native(graph, backend.profile)
    generated = time.perf_counter()
    found = backend.assemble(compiled.text, compiled.joined)
    done = time.perf_counter()
    sizes = {
        "text_bytes": len(compiled.text),
        "object_bytes": len(found),
        "arena_bytes": compiled.arena_bytes,
        "kernels_count": len(compiled.plan.kernels),
        "generate_ms": (generated - started) * 1e3,
        "compile_ms": (done - generated) * 1e3,
    }
    plan = format_plan(compiled.graph, compiled.plan)
    assembly = backend.assembly(compiled.text, compiled.joined)
    return NativeExplanation(backend.profile.name, plan, compiled.text, assembly, sizes)
