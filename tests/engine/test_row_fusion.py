"""Which kernels of short rows become one."""

from synaptic_mesh.engine.composites import cross_entropy, softmax
from synaptic_mesh.engine.fusion import Kernel, KernelKind
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.lowering import lower
from synaptic_mesh.engine.optimizers import SGD, training_step
from synaptic_mesh.engine.passes import simplify
from synaptic_mesh.engine.row_fusion import ROW_COLUMNS_MAX, ROWS_COST_MAX
from synaptic_mesh.engine.trace import Tensor, exp, f32, i32, tanh, trace


def kernels_of(graph: Graph, row_columns_max: int = ROW_COLUMNS_MAX) -> list[Kernel]:
    return list(lower(simplify(graph), lambda *_: 0, row_columns_max).kernels)


def kinds(graph: Graph, row_columns_max: int = ROW_COLUMNS_MAX) -> list[str]:
    return [kernel.kind.value for kernel in kernels_of(graph, row_columns_max)]


def test_a_softmax_of_short_rows_is_one_kernel() -> None:
    for shape in ((8, 4), (2, 3, 5), (1, 16), (7, 2)):
        assert kinds(trace(softmax, {"x": f32(*shape)})) == ["rows"], shape
    assert kinds(trace(softmax, {"x": f32(8, 17)})) == ["reduce_max", "fused", "reduce_sum", "fused"]
    assert kinds(trace(softmax, {"x": f32(8, 5)}), 4) == ["reduce_max", "fused", "reduce_sum", "fused"]


def test_a_loss_and_its_gradient_store_only_what_others_read() -> None:
    def loss(p: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        return cross_entropy(b["x"] @ p["w"], b["y"])

    graph = simplify(training_step(loss, {"w": f32(40, 3)}, {"x": f32(20, 40), "y": i32(20)}, SGD(0.1)))
    (rows,) = [k for k in kernels_of(graph) if k.kind is KernelKind.ROWS]
    assert len(rows.nodes) > 12
    assert [graph.nodes[node].shape for node, _ in rows.stores] == [(20,), (20, 3)]


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
