"""What a plan says about its memory."""

import pytest

from synaptic_mesh.bench.engine_suite import classifier_step
from synaptic_mesh.engine.arena import ArenaFigures, arena_figures, format_plan
from synaptic_mesh.engine.functions.convolution import conv2d
from synaptic_mesh.engine.functions.pooling import max_pool
from synaptic_mesh.engine.functions.recurrence import LstmWeights, lstm
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.planner import HEADER_BYTES, TAIL_BYTES
from synaptic_mesh.engine.trace import Tensor, f32, tanh, trace
from synaptic_mesh.engine.wasm.compiler import compile_graph

WASTE_MAX = 0.03


def small_cnn() -> Graph:
    def predict(x: Tensor, kernel: Tensor, w: Tensor) -> Tensor:
        return max_pool(conv2d(x, kernel), (2, 2)).reshape(8, 1352) @ w

    return trace(predict, {"x": f32(8, 1, 28, 28), "kernel": f32(8, 1, 3, 3), "w": f32(1352, 10)})


def small_lstm() -> Graph:
    def run(x: Tensor, h: Tensor, w: Tensor, u: Tensor, bias: Tensor) -> Tensor:
        return lstm(x, h, h, LstmWeights(w, u, bias))[0]

    shapes = {"x": f32(16, 1, 32), "h": f32(1, 64), "w": f32(32, 256), "u": f32(64, 256), "bias": f32(256)}
    return trace(run, shapes)


def figures(graph: Graph) -> ArenaFigures:
    compiled = compile_graph(graph)
    return arena_figures(compiled.graph, compiled.plan)


@pytest.mark.parametrize("graph", [classifier_step, small_cnn, small_lstm], ids=lambda f: f.__name__)
def test_waste_is_small(graph: object) -> None:
    assert callable(graph)
    found = figures(graph())
    assert 0 <= found.waste < WASTE_MAX, found


def test_the_figures_add_up_to_the_arena() -> None:
    compiled = compile_graph(classifier_step())
    assert sum(arena_figures(compiled.graph, compiled.plan)) + HEADER_BYTES + TAIL_BYTES == compiled.arena_bytes


def test_temporaries_count_while_they_hold_something() -> None:
    def chain(x: Tensor, w: Tensor) -> Tensor:
        for _ in range(5):
            x = tanh(x @ w)
        return x

    found = figures(trace(chain, {"x": f32(16, 16), "w": f32(16, 16)}))
    assert found.kept_bytes == 3 * 4 * 256  # two inputs and the output
    assert found.peak_bytes == 2 * 4 * 256  # what a product reads and what it writes


def test_the_text_ends_with_the_figures() -> None:
    compiled = compile_graph(classifier_step())
    last = format_plan(compiled.graph, compiled.plan).splitlines()[-1]
    assert f"arena {compiled.arena_bytes} bytes" in last
    assert "waste" in last
