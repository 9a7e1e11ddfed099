"""Admission by integer formulas."""

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.convolution import conv2d, raw_conv
from synaptic_mesh.engine.functions.elementwise import erf
from synaptic_mesh.engine.functions.order import top_k_indices
from synaptic_mesh.engine.geometry import ConvGeometry
from synaptic_mesh.engine.limits import LIMITS, Limits, admit, arena_bytes, flops
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import exp, f32, matmul, trace

PRODUCT = trace(lambda a, b: a @ b, {"a": f32(3, 5), "b": f32(5, 7)})


def test_formulas():
    assert flops(PRODUCT) == 2 * 3 * 5 * 7
    assert flops(trace(lambda a, b: matmul(a, b, transpose_left=True), {"a": f32(5, 3), "b": f32(5, 7)})) == 210
    assert flops(trace(lambda x: x.sum(1), {"x": f32(4, 9)})) == 36
    assert flops(trace(lambda x: exp(x) * 2.0, {"x": f32(10)})) == 330
    assert arena_bytes(PRODUCT) == 64 + 192 + 128
    assert arena_bytes(trace(lambda x: x * 2.0, {"x": f32(16)})) == 128


def test_formulas_of_the_other_operations():
    image, kernel = {"x": f32(2, 3, 8, 9)}, {"w": f32(4, 3, 3, 2)}
    graph = trace(lambda x, w: conv2d(x, w, stride=2, padding=1), {**image, **kernel})
    outputs, field = 2 * 4 * 4 * 5, 2 * 3 * 9 * 10  # windows of 3 x 2 at steps of 2 span 9 x 10 positions
    assert flops(graph) == 2 * outputs * 3 * 3 * 2 + field
    tensors = [-(-4 * size // 64) * 64 for size in (2 * 3 * 8 * 9, 4 * 3 * 3 * 2, outputs, field)]
    assert arena_bytes(graph) == sum(tensors)
    assert flops(trace(lambda a, b: matmul(a, b), {"a": f32(6, 3, 5), "b": f32(6, 5, 7)})) == 6 * 210
    assert flops(trace(lambda x: top_k_indices(x, 3), {"x": f32(4, 9)})) == 3 * 36
    assert flops(trace(lambda x: x**x, {"x": f32(10)})) == 1920
    assert flops(trace(erf, {"x": f32(10)})) == 640


def test_a_convolution_over_a_huge_field_is_refused():
    x = trace(lambda x, w: raw_conv(x, w, ConvGeometry((0, 0), (1 << 20,) * 2, (1, 1), (1, 1), 1), (2, 2)), SMALL)
    with pytest.raises(LocalError, match="arena bytes"):
        admit(x)


SMALL = {"x": f32(1, 1, 2, 2), "w": f32(1, 1, 1, 1)}


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (Limits(operations_max=0), "1 operations, the limit is 0"),
        (Limits(nodes_max=2), "3 nodes, the limit is 2"),
        (Limits(arena_bytes_max=383), "384 arena bytes, the limit is 383"),
        (Limits(flops_max=209), "210 FLOPs, the limit is 209"),
    ],
)
def test_each_limit_names_its_figure(limits, sentence):
    with pytest.raises(LocalError, match=sentence):
        admit(PRODUCT, limits)


def test_the_exact_limit_is_allowed():
    admit(PRODUCT, Limits(operations_max=1, nodes_max=3, arena_bytes_max=384, flops_max=210))


def test_backends_admit_before_they_run():
    huge = trace(lambda x: x + 1.0, {"x": f32(1 << 28)})
    with pytest.raises(LocalError, match="arena bytes"):
        ReferenceBackend().compile(huge)
    assert LIMITS.arena_bytes_max == 1 << 30
