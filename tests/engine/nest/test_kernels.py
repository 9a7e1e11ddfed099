"""Every kernel over shapes with tails, empty and single axes, against the reference, bit for bit, in all renderers."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from kernel_checks import check
from random_graphs import SPECIAL, differing_steps, outcome

from synaptic_mesh.engine import trace as t
from synaptic_mesh.engine.autodiff import gradients
from synaptic_mesh.engine.backend import Backend
from synaptic_mesh.engine.functions.convolution import conv2d, conv_transpose2d, raw_conv
from synaptic_mesh.engine.functions.elementwise import cos, erf, round_even, sin, threefry
from synaptic_mesh.engine.functions.indexing import gather_last, scatter_add_last
from synaptic_mesh.engine.functions.movement import concat, flip, narrow, pad, place
from synaptic_mesh.engine.functions.order import cumsum, top_k_indices
from synaptic_mesh.engine.geometry import ConvGeometry, Stride
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import Spec, Tensor, f32, i32, matmul, maximum, minimum, trace
from synaptic_mesh.workers.native_runtime import NativeBackend, host_profiles
from synaptic_mesh.workers.wasm_runtime import WasmBackend

Specs = dict[str, Spec]
EXTENTS = (0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 33, 67)


@pytest.fixture(scope="module")
def backends() -> list[Backend]:
    pytest.importorskip("llvmlite")
    return [WasmBackend(), *(NativeBackend(profile=profile) for profile in host_profiles())]


@pytest.mark.parametrize("function", [erf, sin, cos, round_even], ids=lambda f: f.__name__)
def test_new_functions(backends: list[Backend], function: Callable[[Tensor], Tensor]) -> None:
    for extent in EXTENTS:
        check(backends, lambda x: function(x), {"x": f32(extent)})


def test_power(backends: list[Backend]) -> None:
    for extent in (1, 3, 16, 33):
        check(backends, lambda x, y: x**y, {"x": f32(5, extent), "y": f32(5, extent)})


@pytest.mark.parametrize("bound", [0.0, -0.0, 1.5, -3.0, math.inf, -math.inf, math.nan, 1e-45])
def test_bounds_are_exact_for_every_special_number(backends: list[Backend], bound: float) -> None:
    def bounded(x: Tensor) -> dict[str, Tensor]:
        constant = x.builder.constant(bound, x.shape)
        pairs = ((x, constant), (constant, x))
        return {
            f"{name}{i}": f(*pair) for i, pair in enumerate(pairs) for name, f in (("low", minimum), ("high", maximum))
        }

    graph = trace(bounded, {"x": f32(len(SPECIAL))})
    expected = outcome(ReferenceBackend(), graph, {"x": SPECIAL})
    for backend in backends:
        assert differing_steps(expected, outcome(backend, graph, {"x": SPECIAL})) == []


def test_bits(backends: list[Backend]) -> None:
    words = Spec((3, 17), DType.U32)

    def mixed(a: Tensor, b: Tensor, x: Tensor) -> dict[str, Tensor]:
        return {
            "logic": (a & b) ^ (a | b),
            "shifts": (a << 3) ^ (b >> 31) ^ (a >> 5),
            "signed": x.bitcast(DType.I32) >> 7,
            "cast": x.bitcast(DType.U32),
            "back": (a & 0x7FFFFF).bitcast(DType.F32),
            "random": threefry(a, b, (0x12345678, 0x9ABCDEF0)),
        }

    check(backends, mixed, {"a": words, "b": words, "x": f32(3, 17)})


@pytest.mark.parametrize("extent", EXTENTS)
def test_slices_are_views(backends: list[Backend], extent: int) -> None:
    def views(x: Tensor) -> dict[str, Tensor]:
        every_second = narrow(x, 1, 0, (extent + 1) // 2, 2)
        return {
            "flipped": flip(x, 0, 1) * 2.0,
            "second": every_second + 1.0,
            "third": narrow(x, 1, 0, (extent + 2) // 3, 3) * 1.5,
            "sums": flip(every_second, 1).sum(1),
            "greatest": narrow(x, 0, 1, 3, 1).max(1),
            "products": matmul(flip(x, 0), x, transpose_right=True),
            "shown": narrow(x, 0, 1, 2),
            "twice": narrow(narrow(x, 0, 1, 4), 0, 1, 2) * 3.0,
        }

    check(backends, views, {"x": f32(5, extent)})


@pytest.mark.parametrize("extent", EXTENTS)
def test_pads_and_concatenations(backends: list[Backend], extent: int) -> None:
    def moved(x: Tensor, i: Tensor) -> dict[str, Tensor]:
        shape = (9, 2 * extent + 3)
        return {
            "around": pad(x, (1, 3), (2, 0), value=1.5),
            "inside": place(x, Stride((1, 2), (2, 2)), shape),
            "backward": place(x, Stride((3, max(extent - 1, 0)), (-1, -1)), shape, value=-0.0),
            "rows": concat([x, x * 2.0, x], 0),
            "columns": concat([x, x.transpose().transpose(), narrow(x, 1, 0, extent // 2)], 1),
            "integers": concat([i, pad(i, (0, 1), (0, 1), value=7)], 1),
            "constant": concat([x, x * 0.0 + 1.0], 1),
        }

    check(backends, moved, {"x": f32(4, extent), "i": i32(4, extent)})


@pytest.mark.parametrize("extent", EXTENTS)
def test_running_sums_and_rankings(backends: list[Backend], extent: int) -> None:
    def ranked(x: Tensor, i: Tensor) -> dict[str, Tensor]:
        return {
            "down": cumsum(x, 0),
            "along": cumsum(x, 1),
            "integers": cumsum(i, 1),
            "top": top_k_indices(x, min(extent, 3), 1),
            "sorted": top_k_indices(x, extent, 1),
            "columns": top_k_indices(x, 4, 0),
        }

    check(backends, ranked, {"x": f32(5, extent), "i": i32(5, extent)})


@pytest.mark.parametrize("extent", EXTENTS[1:])
def test_argmax_along_rows(backends: list[Backend], extent: int) -> None:
    check(backends, lambda x: {"rows": x.argmax(1), "columns": x.argmax(0)}, {"x": f32(7, extent)})


@pytest.mark.parametrize("count", [0, 1, 5, 17])
@pytest.mark.parametrize("below", [3, 5])
def test_indexing_along_the_last_axis(backends: list[Backend], count: int, below: int) -> None:
    def indexed(x: Tensor, y: Tensor, i: Tensor) -> dict[str, Tensor]:
        return {
            "gathered": gather_last(x, i),
            "words": gather_last(i, i) if count > 4 else i,
            "added": scatter_add_last(y, i, 4),
        }

    check(backends, indexed, {"x": f32(2, 3, 4), "y": f32(2, 3, count), "i": i32(2, 3, count)}, below)


@pytest.mark.parametrize(
    "shape", [(2, 3, 4, 5, 6), (1, 2, 1, 7, 1), (3, 1, 5, 0, 4), (0, 2, 3, 4, 5), (2, 2, 9, 17, 33)]
)
def test_batched_products(backends: list[Backend], shape: tuple[int, int, int, int, int]) -> None:
    a, b, m, k, n = shape

    def products(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        turned = y.transpose(0, 1, 3, 2)
        return {
            "plain": matmul(x, y),
            "right": matmul(x, turned, transpose_right=True) + 1.0,
            "crossed": matmul(x.transpose(1, 0, 2, 3), y.transpose(1, 0, 2, 3)),
        }

    check(backends, products, {"x": f32(a, b, m, k), "y": f32(a, b, k, n)})


def test_large_batched_products_take_the_blocked_kernel(backends: list[Backend]) -> None:
    check(backends, lambda x, y: x @ y, {"x": f32(2, 5, 600), "y": f32(2, 600, 500)})


def test_gather_moves_words_of_any_type(backends: list[Backend]) -> None:
    check(backends, lambda x, i: t.gather(x, i), {"x": Spec((4, 9), DType.U32), "i": i32(7)})


@pytest.mark.parametrize(
    ("x", "w", "settings"),
    [
        ((1, 1, 28, 28), (8, 1, 3, 3), {}),
        ((2, 3, 9, 11), (5, 3, 3, 3), {"padding": 1}),
        ((1, 2, 7, 40), (3, 2, 2, 5), {"stride": 2, "padding": (1, 2)}),
        ((2, 4, 8, 8), (33, 4, 1, 1), {}),
        ((1, 4, 9, 9), (6, 2, 3, 3), {"groups": 2, "dilation": 2, "padding": 2}),
        ((2, 6, 5, 5), (6, 1, 3, 3), {"groups": 6, "padding": ((0, 2), (1, 0))}),
        ((1, 1, 6, 19), (2, 1, 6, 7), {"stride": 3}),
        ((0, 2, 5, 5), (3, 2, 3, 3), {}),
        ((1, 0, 5, 5), (3, 0, 3, 3), {"padding": 1}),
    ],
)
def test_convolutions_and_their_gradients(
    backends: list[Backend], x: tuple[int, ...], w: tuple[int, ...], settings: dict[str, Any]
) -> None:
    def convolved(x: Tensor, w: Tensor, b: Tensor) -> dict[str, Tensor]:
        y = conv2d(x, w, b, **settings)
        turned = {"groups": settings.get("groups", 1), "padding": 3}
        dx, dw = gradients((y * y).sum(), [x, w])
        return {
            "y": y,
            "dx": dx,
            "dw": dw,
            "turned": conv2d(x.transpose(0, 1, 3, 2), w.transpose(0, 1, 3, 2), **turned),
        }

    check(backends, convolved, {"x": f32(*x), "w": f32(*w), "b": f32(w[0])})


def test_transposed_convolution(backends: list[Backend]) -> None:
    check(backends, lambda x, w: conv_transpose2d(x, w, stride=2), {"x": f32(2, 3, 5, 7), "w": f32(3, 4, 3, 2)})


@pytest.mark.parametrize("starts", [(1, 3), (-1, 2), (0, -3)])
def test_convolutions_that_begin_between_elements(backends: list[Backend], starts: tuple[int, int]) -> None:
    geometry = ConvGeometry(starts, (1, 2), (1, 1), (2, 3), 1)
    check(backends, lambda x, w: raw_conv(x, w, geometry, (7, 8)), {"x": f32(1, 2, 5, 6), "w": f32(3, 2, 2, 3)})
