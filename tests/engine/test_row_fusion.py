"""Which kernels of short rows become one."""

from synaptic_mesh.engine.composites import cross_entropy, softmax
from synaptic_mesh.engine.fusion import Kernel, KernelKind
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.lowering import lower
from synaptic_mesh.engine.optimizers import SGD, training_step
from synaptic_mesh.engine.passes import simplify
from synaptic_mesh.engine.row_fusion import ROWS_COST_MAX, RowProfile
from synaptic_mesh.engine.trace import Tensor, exp, f32, i32, tanh, trace

WIDE = RowProfile(lanes=16)


def kernels_of(graph: Graph, profile: RowProfile = WIDE) -> list[Kernel]:
    return list(lower(simplify(graph), lambda *_: 0, profile).kernels)


def kinds(graph: Graph, profile: RowProfile = WIDE) -> list[str]:
    return [kernel.kind.value for kernel in kernels_of(graph, profile)]


def test_a_softmax_of_short_rows_is_one_kernel() -> None:
    for shape in ((8, 4), (2, 3, 5), (1, 16), (7, 2)):
        assert kinds(trace(softmax, {"x": f32(*shape)})) == ["rows"], shape
    assert kinds(trace(softmax, {"x": f32(8, 17)})) == ["reduce_max", "fused", "reduce_sum", "fused"]
    assert kinds(trace(softmax, {"x": f32(8, 5)}), RowProfile(columns_max=4)) == [
        "reduce_max",
        "fused",
        "reduce_sum",
        "fused",
    ]


def test_a_loss_and_its_gradient_store_only_what_others_read() -> None:
    def loss(p: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        return cross_entropy(b["x"] @ p["w"], b["y"])

    graph = simplify(training_step(loss, {"w": f32(32, 3)}, {"x": f32(20, 32), "y": i32(20)}, SGD(0.1)))
    (rows,) = [k for k in kernels_of(graph) if k.kind is KernelKind.ROWS]
    assert len(rows.nodes) > 12
    assert [graph.nodes[node].shape for node, _ in rows.stores] == [(20,), (20, 3)]


def test_a_product_is_of_rows_where_columns_would_waste_lanes() -> None:
    def product(m: int, n: int, lanes: int, k: int = 40) -> str:
        graph = trace(lambda a, b: a @ b + 1.0, {"a": f32(m, k), "b": f32(k, n)})
        return " ".join(kinds(graph, RowProfile(lanes=lanes)))

    assert [product(16, n, 16) for n in (1, 12, 13)] == ["rows", "rows", "fused"]
    assert [product(15, 1, 16), product(4, 3, 4), product(4, 4, 4), product(8, 6, 8)] == [
        "fused",
        "rows",
        "fused",
        "rows",
    ]


def test_few_rows_ride_only_on_a_reduction() -> None:
    def summed(a: Tensor, b: Tensor) -> Tensor:
        return softmax(a @ b)

    assert kinds(trace(summed, {"a": f32(2, 7), "b": f32(7, 4)})) == ["rows"]
    assert kinds(trace(summed, {"a": f32(3, 7), "b": f32(7, 4)})) == ["fused", "rows"]
    assert kinds(trace(lambda a, b: a @ b, {"a": f32(2, 7), "b": f32(7, 4)})) == ["fused"]


def test_a_product_waits_for_all_of_its_operands() -> None:
    def after(x: Tensor, w: Tensor) -> Tensor:
        return exp(x - x.max(1).repeat(1, 4)) @ w

    assert kinds(trace(after, {"x": f32(16, 4), "w": f32(4, 4)})) == ["rows", "rows"]


def test_what_is_read_across_rows_stays_outside() -> None:
    def crossed(x: Tensor) -> Tensor:
        return exp(x).sum(1).repeat(0, 4) * exp(x)  # the sum of row j in column j

    assert kinds(trace(crossed, {"x": f32(4, 4)})) == ["rows", "fused"]


def test_no_path_leaves_and_returns() -> None:
    def around(x: Tensor, w: Tensor) -> Tensor:
        sums = exp(x).sum(1)
        return (sums.reshape(1, 8) @ w).reshape(8).repeat(1, 4) * exp(x) + sums.repeat(1, 4)

    kernels = kernels_of(trace(around, {"x": f32(8, 4), "w": f32(8, 8)}))
    assert [kernel.kind.value for kernel in kernels] == ["rows", "fused", "fused"]


def test_kernels_of_rows_stay_small() -> None:
    def long(x: Tensor) -> Tensor:
        for _ in range(20):
            x = tanh(x) - x.max(1).repeat(1, 8)
        return x

    graph = trace(long, {"x": f32(8, 8)})
    assert sum(kind == "rows" for kind in kinds(graph)) > 20 * 8 * 8 // ROWS_COST_MAX - 1
