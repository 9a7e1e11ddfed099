"""What becomes a kernel, what stays a view, and what is computed in place."""

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.bench.engine_suite import classifier_step
from synaptic_mesh.engine.arena import format_plan
from synaptic_mesh.engine.fusion import KERNEL_COST_MAX, STRIP_FORMS_MAX, KernelKind
from synaptic_mesh.engine.ir import Graph, Op
from synaptic_mesh.engine.lowering import lower
from synaptic_mesh.engine.passes import simplify
from synaptic_mesh.engine.planner import Plan
from synaptic_mesh.engine.trace import exp, f32, matmul, maximum, tanh, trace
from synaptic_mesh.engine.wasm.compiler import compile_graph


def plan_of(graph: Graph) -> Plan:
    return lower(simplify(graph), lambda *_: 0)


def shape_of_plan(graph: Graph) -> list[str]:
    """Each kernel as its operations."""
    simplified = simplify(graph)
    plan = lower(simplified, lambda *_: 0)
    return [" ".join(simplified.nodes[i].op.value for i in kernel.nodes) or "copy" for kernel in plan.kernels]


def test_a_chain_is_one_kernel() -> None:
    graph = trace(lambda x, y: tanh(exp(x) * y) + x, {"x": f32(5, 7), "y": f32(5, 7)})
    assert shape_of_plan(graph) == ["exp mul tanh add"]


def test_bias_and_activation_ride_on_a_small_product() -> None:
    graph = trace(lambda x, w, b: maximum(x @ w + b, 0.0), {"x": f32(8, 4), "w": f32(4, 6), "b": f32(6)})
    assert shape_of_plan(graph) == ["matmul add max"]


def test_a_large_product_stands_alone() -> None:
    graph = trace(lambda x, w: maximum(x @ w, 0.0), {"x": f32(8, 600), "w": f32(600, 600)})
    assert plan_of(graph).kernels[0].kind is KernelKind.GEMM
    assert shape_of_plan(graph) == ["matmul", "max"]


def test_many_rows_of_a_wide_product_are_blocked_and_few_are_not() -> None:
    def kind(m: int, k: int, n: int) -> KernelKind:
        return plan_of(trace(lambda a, b: a @ b, {"a": f32(m, k), "b": f32(k, n)})).kernels[0].kind

    assert kind(512, 512, 512) is KernelKind.GEMM
    assert kind(32, 512, 512) is KernelKind.FUSED
    assert kind(4096, 784, 128) is KernelKind.FUSED


def test_an_operand_of_a_product_is_finished_before_it() -> None:
    graph = trace(lambda x, w: exp(x) @ w + exp(x), {"x": f32(4, 4), "w": f32(4, 4)})
    assert shape_of_plan(graph) == ["exp", "matmul add"]


def test_a_kernel_never_waits_for_itself() -> None:
    graph = trace(lambda x: exp(x) / exp(x).sum(1).repeat(1, 17), {"x": f32(3, 17)})
    assert shape_of_plan(graph) == ["exp", "reduce_sum", "div"]


def test_long_chains_are_cut_so_that_any_lawful_graph_compiles() -> None:
    def chain(x):  # type: ignore[no-untyped-def]
        for _ in range(2000):
            x = tanh(x) * x
        return x

    graph = trace(chain, {"x": f32(8, 8)})
    plan = plan_of(graph)
    assert len(plan.kernels) > 100
    assert all(len(kernel.nodes) <= KERNEL_COST_MAX for kernel in plan.kernels)
    assert len(compile_graph(graph).wasm) < 100_000  # equal kernels share one function


def test_products_of_many_shapes_share_the_blocked_kernel() -> None:
    def products(**inputs):  # type: ignore[no-untyped-def]
        return {f"y{name}": x @ x.transpose() for name, x in inputs.items()}

    plan = plan_of(trace(products, {f"x{i}": f32(i + 1, 3) for i in range(80)}))
    kinds = [kernel.kind for kernel in plan.kernels]
    assert kinds.count(KernelKind.FUSED) == STRIP_FORMS_MAX
    assert kinds.count(KernelKind.GEMM) == 80 - STRIP_FORMS_MAX


def test_views_cost_nothing_until_an_output_shows_them() -> None:
    graph = trace(lambda x, y: x.transpose() + y.repeat(0, 7), {"x": f32(5, 7), "y": f32(5)})
    assert shape_of_plan(graph) == ["add"]
    assert shape_of_plan(trace(lambda x: x.transpose(), {"x": f32(5, 7)})) == ["copy"]


def test_a_training_step_updates_its_parameters_in_place() -> None:
    graph = simplify(classifier_step())
    plan = lower(graph, lambda *_: 0)
    assert plan.copies_last == ()
    for source, target in graph.carried.items():
        assert plan.offsets[plan.output_buffers[target]] == plan.offsets[graph.inputs[source]]


def test_a_product_of_the_old_value_is_not_in_place() -> None:
    carried = {"w": "output"}
    square = {"w": f32(6, 6)}
    assert len(plan_of(trace(lambda w: matmul(w, w), square, carried=carried)).copies_last) == 1
    assert len(plan_of(trace(lambda w: w.transpose() + 1.0, square, carried=carried)).copies_last) == 1
    assert plan_of(trace(lambda w: w + 1.0, square, carried=carried)).copies_last == ()


def test_readers_of_the_old_value_run_first() -> None:
    graph = trace(lambda w, x: {"w": w - 1.0, "y": x @ w}, {"w": f32(6, 6), "x": f32(2, 6)}, carried={"w": "w"})
    assert shape_of_plan(graph) == ["matmul", "sub"]
    assert plan_of(graph).copies_last == ()


def test_swapped_inputs_are_copied() -> None:
    graph = trace(lambda a, b: {"p": b, "q": a}, {"a": f32(3), "b": f32(3)}, carried={"a": "p", "b": "q"})
    assert len(plan_of(graph).copies_last) == 2


def test_live_buffers_never_overlap_and_dead_ones_share() -> None:
    def chain(x, w):  # type: ignore[no-untyped-def]
        for _ in range(6):
            x = tanh(x @ w)
        return x

    graph = simplify(trace(chain, {"x": f32(16, 16), "w": f32(16, 16)}))
    plan = lower(graph, lambda *_: 0)
    temporaries = {plan.offsets[buffer] for kernel in plan.kernels[:-1] for _, buffer in kernel.stores}
    assert len(plan.kernels) == 6
    assert len(temporaries) == 2
    assert all(offset % 64 == 0 for offset in plan.offsets.values())


def test_an_arena_over_the_limit_is_refused() -> None:
    graph = trace(lambda x: x + 1.0, {"x": f32(1 << 28)})
    with pytest.raises(LocalError, match="bytes of memory"):
        lower(graph, lambda *_: 0)


def test_the_plan_as_text_names_kernels_and_sizes() -> None:
    graph = simplify(classifier_step())
    text = format_plan(graph, lower(graph, lambda *_: 0))
    assert "fused (32, 128): matmul add max 32x784x128" in text
    assert "arena" in text
    assert sum(node.op is Op.MATMUL for node in graph.nodes) == text.count(" matmul")
