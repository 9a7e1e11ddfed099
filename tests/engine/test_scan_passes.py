"""What simplifying takes out of a SCAN, and that compiled loops do not grow with their length."""

import numpy as np
import pytest
from evaluating import drawn

from synaptic_mesh.base.arrays import canonical_bytes
from synaptic_mesh.engine.functions.recurrence import LstmWeights, lstm
from synaptic_mesh.engine.functions.scan import scan
from synaptic_mesh.engine.ir import Op
from synaptic_mesh.engine.optimizers import SGD, training_step
from synaptic_mesh.engine.passes import simplify
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.scan_body import all_nodes, scan_body
from synaptic_mesh.engine.trace import Spec, f32, spec_of, tanh, trace
from synaptic_mesh.engine.unroll import unrolled
from synaptic_mesh.engine.wasm.compiler import compile_graph
from synaptic_mesh.workers.wasm_runtime import WasmBackend

X, W = drawn(9, 2, 3, name="scan_passes/x", limit=1.0), drawn(3, 3, name="scan_passes/w", limit=1.0)


def three_outputs(x, w):
    def step(states, slices):
        after = tanh(states["h"] @ w + slices["x"])
        return {"h": after}, {"unused": after * 2.0, "kept": after - slices["x"], "dead": after * after}

    done = scan(step, {"h": x[0]}, {"x": x}, unroll=False)
    return {"h": done.states["h"], "kept": done.outputs["kept"]}


def scans(graph):
    return [node for node in graph.nodes if node.op is Op.SCAN]


def test_outputs_that_nothing_uses_are_not_kept():
    graph = trace(three_outputs, {"x": spec_of(X), "w": spec_of(W)})
    simple = simplify(graph)
    (before,), (after,) = scans(graph), scans(simple)
    assert before.shape == (6 + 3 * 54,)
    assert after.shape == (6 + 54,)
    assert Op.MUL not in {node.op for node in scan_body(after).nodes}
    run = ReferenceBackend().compile
    expected, found = (run(g)({"x": X, "w": W}) for g in (graph, simple))
    assert all(canonical_bytes(found[name]) == canonical_bytes(array) for name, array in expected.items())


@pytest.mark.parametrize(("rows", "is_turned"), [(1, True), (32, False)])
def test_a_matrix_that_thin_products_use_transposed_is_turned_once(rows, is_turned):
    simple = simplify(lstm_step(12, rows))
    flags = [node.attributes.transpose_right for node in all_nodes(simple) if node.op is Op.MATMUL]
    inside = [node for scan in scans(simple) for node in scan_body(scan).nodes if node.op is Op.MATMUL]
    assert len(inside) == 2
    assert any(node.attributes.transpose_right for node in inside) is not is_turned
    assert len(flags) > len(inside)


def lstm_step(steps, rows, units=4):
    def loss(p, batch):
        start = batch["x"].builder.constant(0.0, (rows, units))
        _, last, _ = lstm(batch["x"], start, start, LstmWeights(p["w"], p["u"], p["b"]))
        error = last.sum(1) - batch["y"]
        return (error * error).sum()

    shapes = {"w": Spec((2, 4 * units)), "u": Spec((units, 4 * units)), "b": Spec((4 * units,))}
    return training_step(loss, shapes, {"x": f32(steps, rows, 2), "y": f32(rows)}, SGD(0.01))


def test_code_does_not_grow_with_the_length():
    graphs = [lstm_step(steps, 2) for steps in (128, 512, 1024)]
    assert len({len(graph.nodes) for graph in graphs}) == 1
    modules = [compile_graph(graph) for graph in graphs]
    assert len({len(module.module.functions) for module in modules}) == 1
    sizes = [len(module.wasm) for module in modules]
    assert max(sizes) < 1.2 * min(sizes)  # longer numbers, and how far the product over all steps is unrolled


def test_a_training_step_over_512_steps_learns():
    """The sum of a sequence's first column, remembered over 512 steps."""
    steps, rows = 512, 4
    program = WasmBackend().compile(lstm_step(steps, rows, 6))
    for name, shape in {"w": (2, 24), "u": (6, 24), "b": (24,)}.items():
        program.write(name, drawn(*shape, name=f"512/{name}", limit=0.5))
    x = drawn(steps, rows, 2, name="512/x", limit=1.0)
    program.write("x", x)
    program.write("y", np.float32(0.05) * x[:, :, 0].sum(0, dtype=np.float32))
    program.run()
    before = program.read("loss")
    program.run_many(100)
    assert program.read("loss") < 0.5 * before


def test_written_out_graphs_have_no_loop_and_the_same_outputs():
    graph = trace(three_outputs, {"x": spec_of(X), "w": spec_of(W)})
    flat = unrolled(graph)
    assert not scans(flat)
    assert flat.inputs.keys() == graph.inputs.keys()
    run = ReferenceBackend().compile
    expected, found = (run(g)({"x": X, "w": W}) for g in (graph, flat))
    assert all(canonical_bytes(found[name]) == canonical_bytes(array) for name, array in expected.items())
