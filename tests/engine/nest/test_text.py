"""Loop nests as text: what a reader must find in them."""

from synaptic_mesh.engine.functions.convolution import conv2d
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.nest.text import format_loops
from synaptic_mesh.engine.trace import exp, f32, gather, i32, maximum, trace
from synaptic_mesh.engine.wasm.compiler import compile_graph


def loops(graph: Graph) -> str:
    compiled = compile_graph(graph)
    return format_loops(compiled.graph, compiled.plan)


def test_a_chain_loads_computes_and_stores_vector_by_vector() -> None:
    text = loops(trace(lambda x, y: {"z": x * y + 1.0}, {"x": f32(100), "y": f32(100)}))
    assert "for i1 in 0..96 step 16:" in text
    assert "f32.mul v1, v2" in text
    assert "f32.add v3, 0x3f800000" in text
    lines = [line.strip() for line in text.splitlines()]
    assert (
        sum(line.startswith("store f32x4") for line in lines) == 4 + 1
    )  # an unrolled loop, and the last four elements


def test_checked_outputs_raise_the_flag() -> None:
    text = loops(trace(lambda x: {"z": x * 2.0}, {"x": f32(9)}, checked=["z"]))
    assert "flags |= 1 if a lane of" in text
    assert "the first 1 lanes of" in text


def test_equal_kernels_are_shown_once() -> None:
    text = loops(trace(lambda x, y: {"a": exp(x), "b": exp(y)}, {"x": f32(5), "y": f32(5)}))
    assert text.count("f32.mul") == text.split("fused_0 again")[0].count("f32.mul")
    assert "fused_0 again: p0 = " in text


def test_products_name_their_extents_and_show_what_rides_on_a_tile() -> None:
    text = loops(trace(lambda x, w, b: maximum(x @ w + b, 0.0), {"x": f32(8, 4), "w": f32(4, 6), "b": f32(6)}))
    assert "matrix product 8 x 4 x 6: tiles of outputs, k ascending" in text
    assert "f32.add tile, v1" in text


def test_indices_are_guarded() -> None:
    text = loops(trace(lambda x, i: gather(x, i), {"x": f32(7, 3), "i": i32(5)}))
    assert "if 0 <= v1 < 7:" in text
    assert "flags |= 2" in text


def test_convolutions_keep_a_tile_of_sums() -> None:
    text = loops(trace(lambda x, w: conv2d(x, w), {"x": f32(1, 2, 6, 10), "w": f32(4, 2, 3, 3)}))
    assert "for i1 in 0..4:" in text  # rows of the result
    assert "for i2 in 0..2:" in text  # channels of the sum
    assert "for i3 in 0..3:" in text  # kernel rows; its three columns stand one behind the other
    sums = 4 * 2  # output channels, vectors of a row
    assert text.count("f32.mul") == 3 * sums
    assert text.count("store") == sums
