"""Where a loop's tensors lie: states that change places, outputs that are states or inputs, both ways, compiled."""

import pytest
from evaluating import drawn

from synaptic_mesh.base.arrays import canonical_bytes
from synaptic_mesh.engine.functions.scan import scan
from synaptic_mesh.engine.ir import DType, Op
from synaptic_mesh.engine.loop_plan import REGION_BITS, RESULT, plan_loop, split_address
from synaptic_mesh.engine.passes import simplify
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import spec_of, tanh, trace
from synaptic_mesh.workers.wasm_runtime import WasmBackend

X = drawn(5, 3, 17, name="loop_plan/x", limit=1.0)
W = drawn(17, 17, name="loop_plan/w", limit=0.5)


def exchanged(states, slices, _):
    return {"a": states["b"], "b": states["a"] + slices["x"]}, {"a": states["a"]}


def output_is_the_state(states, slices, w):
    after = tanh(states["a"] @ w + slices["x"])
    return {"a": after, "b": states["b"] * 0.5}, {"y": after, "again": after, "turned": after.transpose()}


def nothing_changes(states, slices, _):
    return dict(states), {"x": slices["x"], "b": states["b"]}


def both_become_one(states, slices, w):
    after = states["a"] @ w + states["b"] * slices["x"]
    return {"a": after, "b": after}, {"before": states["a"]}


def fixed_results(states, slices, w):
    return {"a": states["a"] + slices["x"], "b": states["a"]}, {"w": w, "row": w[3]}


def integers(states, slices, _):
    x = slices["x"].convert(DType.I32)
    return {"a": states["a"] + x, "b": states["b"] ^ states["a"]}, {"y": states["a"] >> 1}


STEPS = (exchanged, output_is_the_state, nothing_changes, both_become_one, fixed_results, integers)


def graph_of(step, reverse):
    def build(x, w):
        start = {"a": x[0] * 2.0, "b": x[1]}
        if step is integers:
            start = {name: (value * 100.0).convert(DType.I32) for name, value in start.items()}
        done = scan(lambda s, i: step(s, i, w), start, {"x": x}, reverse=reverse, unroll=False)
        return {f"last/{n}": t for n, t in done.states.items()} | {f"all/{n}": t for n, t in done.outputs.items()}

    return trace(build, {"x": spec_of(X), "w": spec_of(W)})


def backends():
    found = [WasmBackend()]
    native = pytest.importorskip("synaptic_mesh.workers.native_runtime") if _has_llvm() else None
    return found if native is None else [*found, native.NativeBackend()]


def _has_llvm():
    try:
        import llvmlite  # noqa: F401 - an extra
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_compiled_loops_have_the_bits_of_the_reference(step, reverse):
    graph = graph_of(step, reverse)
    expected = ReferenceBackend().compile(graph)({"x": X, "w": W})
    for backend in backends():
        program = backend.compile(graph)
        for _ in range(2):  # nothing of the first run may be left in the second
            found = program({"x": X, "w": W})
            for name, array in expected.items():
                assert canonical_bytes(found[name]) == canonical_bytes(array), (backend.name, name)


def test_a_body_places_only_what_is_its_own():
    graph = simplify(graph_of(output_is_the_state, True))
    node = next(node for node in graph.nodes if node.op is Op.SCAN)
    loop = plan_loop(node, lambda *_: 0)
    assert loop.length == 5
    sequence = next(region for region in loop.regions if region.operand == 2)
    assert (sequence.start, sequence.step) == (4 * 4 * 51, -4 * 51)
    assert [region.start for region in loop.regions if region.operand == RESULT][:2] == [0, 4 * 51]
    assert loop.plan.arena_bytes < 4 * W.size  # the matrix lies outside
    assert split_address(3 << REGION_BITS | 20) == (3, 20)
    assert len(loop.after) <= 3
