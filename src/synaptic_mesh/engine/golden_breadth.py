"""Golden cases of the operations that came second: long polynomials, bits, slices, running sums, ranking, batched
products, convolutions, lines of indices, random words; and of the compositions over them."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from synaptic_mesh.engine.autodiff import gradients
from synaptic_mesh.engine.functions.attention import attention
from synaptic_mesh.engine.functions.convolution import conv1d, conv2d, conv_transpose2d
from synaptic_mesh.engine.functions.elementwise import cos, erf, round_even, sin
from synaptic_mesh.engine.functions.indexing import gather_last, scatter_add_last
from synaptic_mesh.engine.functions.movement import concat, flip, pad
from synaptic_mesh.engine.functions.normalization import group_norm, layer_norm, rms_norm
from synaptic_mesh.engine.functions.order import cumsum, top_k_indices
from synaptic_mesh.engine.functions.pooling import average_pool, max_pool
from synaptic_mesh.engine.functions.random import dropout, random_normal, random_uniform, random_words, stream_key
from synaptic_mesh.engine.golden_case import Builders, Tensors, draw_case
from synaptic_mesh.engine.golden_inputs import Inputs, awkward, awkward_values, floats, integer_pairs, pairs
from synaptic_mesh.engine.initializers import random_u32, uniform
from synaptic_mesh.engine.ir import DType, Shape
from synaptic_mesh.engine.trace import Tensor, gather, matmul

BATCHES: tuple[tuple[Shape, Shape], ...] = (
    ((3, 5, 7), (3, 7, 9)),
    ((2, 2, 1, 33), (2, 2, 33, 6)),
    ((2, 0, 3), (2, 3, 4)),
)
ORDER_SHAPES: tuple[Shape, ...] = ((1,), (37,), (3, 21), (2, 17, 5))


def breadth_cases() -> Builders:
    """Return what makes each of them, by name, always the same."""
    makers: dict[str, tuple[Callable[..., Tensors], Callable[[], Inputs]]] = {
        "polynomials": (_polynomials, pairs),
        "angles": (_angles, lambda: {"x": _angle_values()}),
        "bits": (_bits, lambda: {**integer_pairs(), "x": _patterns()}),
        "strides": (_strides, lambda: {"x": awkward("strides", (5, 7, 9)), "i": _integers((6, 4))}),
        "order": (_order, lambda: {f"x{i}": awkward(f"order/{i}", s) for i, s in enumerate(ORDER_SHAPES)}),
        "integer_sums": (_integer_sums, lambda: {"i": _integers((5, 33))}),
        "batches": (_batches, _batch_inputs),
        "convolutions": (_convolutions, _convolution_inputs),
        "windows": (_windows, lambda: {"x": awkward("windows", (2, 3, 9, 8))}),
        "lines": (_lines, lambda: _line_inputs(0, 8)),
    }
    for kind, function in LINES.items():
        for fault, low, high in (("low", -1, 8), ("high", 0, 9)):
            makers[f"{kind}_{fault}"] = (function, partial(_line_inputs, low, high))
    makers["words"] = (_words, lambda: {"step": np.array(7, np.uint32)})
    makers["blocks"] = (_blocks, _block_inputs)
    return {name: partial(draw_case, name, *maker) for name, maker in makers.items()}


def _polynomials(a: Tensor, b: Tensor) -> Tensors:
    return {"erf": erf(a), "round": round_even(a), "pow": a**b}


def _angles(x: Tensor) -> Tensors:
    return {"sin": sin(x), "cos": cos(x)}


def _bits(a: Tensor, b: Tensor, c: Tensor, d: Tensor, x: Tensor) -> Tensors:
    outputs: Tensors = {"f32/u32": x.bitcast(DType.U32), "f32/i32": x.bitcast(DType.I32)}
    for kind, p, q in (("i32", a, b), ("u32", c, d)):
        outputs |= {
            f"{kind}/and": p & q,
            f"{kind}/or": p | q,
            f"{kind}/xor": p ^ q,
            f"{kind}/f32": p.bitcast(DType.F32),
            f"{kind}/there_and_back": p.bitcast(DType.F32).bitcast(p.dtype),  # payloads of NaN are lost
        }
        outputs |= {f"{kind}/left{n}": p << n for n in (0, 1, 13, 31)}
        outputs |= {f"{kind}/right{n}": p >> n for n in (0, 1, 13, 31)}
    return outputs


def _strides(x: Tensor, i: Tensor) -> Tensors:
    outputs = {"slice": x[1:4, ::3, 2], "flip": flip(x, 0, 2), "back": x[::-2, 5:1:-1, 1:8:3], "none": x[:, 3:3]}
    outputs |= {"pad": pad(x, (1, 0, 2), (0, 3, 1), value=-1.5), "spread": pad(x, (0, 1, 0), (2, 0, 0), (1, 2, 0))}
    outputs |= {"concat": concat([x, x[:, 2:4], x], 1), "last": concat([x[..., :3], x], 2), "i32/slice": i[::-1, 1::2]}
    return outputs | {"i32/pad": pad(i, (1, 1), (1, 1), value=7), "chain": x[:, 0:6:2] * x[:, 1::2] + x[:, 6:3:-1]}


def _order(**inputs: Tensor) -> Tensors:
    outputs: Tensors = {}
    for name, x in inputs.items():
        for axis, extent in enumerate(x.shape):
            outputs[f"{name}/{axis}/cumsum"] = cumsum(x, axis)
            outputs[f"{name}/{axis}/top"] = top_k_indices(x, min(3, extent), axis)
            outputs[f"{name}/{axis}/sort"] = top_k_indices(x, extent, axis)
    return outputs


def _integer_sums(i: Tensor) -> Tensors:
    return {f"axis{axis}": cumsum(i, axis) for axis in (0, 1)} | {"u32": cumsum(i.bitcast(DType.U32), 1)}


def _batches(**inputs: Tensor) -> Tensors:
    outputs: Tensors = {}
    for at in range(len(BATCHES)):
        a, b = inputs[f"a{at}"], inputs[f"b{at}"]
        swap = (*range(len(a.shape) - 2), len(a.shape) - 1, len(a.shape) - 2)
        outputs[f"nn{at}"] = matmul(a, b)
        outputs[f"tt{at}"] = matmul(a.transpose(*swap), b.transpose(*swap), transpose_left=True, transpose_right=True)
    return outputs


def _convolutions(x: Tensor, w: Tensor, g: Tensor, d: Tensor, v: Tensor) -> Tensors:
    outputs = {
        "plain": conv2d(x, w),
        "strided": conv2d(x, w, stride=(2, 3), padding=((1, 2), (0, 1))),
        "dilated": conv2d(x, w, padding=2, dilation=(2, 1)),
        "groups": conv2d(x, g, padding=1, groups=2),
        "depthwise": conv2d(x, d, stride=2, groups=4),
        "transposed": conv_transpose2d(x, w.transpose(1, 0, 2, 3), stride=2, padding=1, output_padding=(1, 0)),
        "line": conv1d(x[:, :, 0], v, padding=(2, 0), dilation=2),
    }
    loss = (outputs["strided"] * outputs["strided"]).sum() + outputs["groups"].sum()
    names = {"x": x, "w": w, "g": g}
    return outputs | {f"d_{n}": t for n, t in zip(names, gradients(loss, list(names.values())), strict=True)}


def _windows(x: Tensor) -> Tensors:
    greatest = max_pool(x, (3, 2), stride=(2, 2), padding=((1, 1), (0, 0)), ceil_mode=True)
    average = average_pool(x, (3, 3), stride=(2, 2), padding=((1, 1), (1, 1)), count_include_pad=False)
    small = x * 0.25
    return {"max": greatest, "average": average, "d_max": gradients(max_pool(small, (2, 2)).sum(), [small])[0]}


LINES: dict[str, Callable[..., Tensors]] = {
    "gather_last": lambda x, i, **_: {"gather_last": gather_last(x, i)},
    "scatter_add_last": lambda u, i, **_: {"scatter_add_last": scatter_add_last(u, i, 9)},
}


def _lines(**inputs: Tensor) -> Tensors:
    outputs = {name: y for function in LINES.values() for name, y in function(**inputs).items()}
    table = inputs["x"].bitcast(DType.U32)
    return outputs | {
        "gather/u32": gather(table, inputs["i"][0] & 1),
        "gather_last/u32": gather_last(table, inputs["i"]),
    }


def _words(step: Tensor) -> Tensors:
    key = stream_key(0, "golden")
    ones = step.builder.constant(1.0, (5, 7))
    return {
        "words": random_words(key, step, (3, 11)),
        "uniform": random_uniform(key, step, (19,)),
        "normal": random_normal(key, step, (4, 5)),
        "dropout": dropout(ones, 0.3, key, step),
        "next": step + 1,
    }


def _blocks(x: Tensor, q: Tensor, scale: Tensor, shift: Tensor) -> Tensors:
    wide = x.reshape(2, 6, 5, 1)
    return {
        "layer": layer_norm(x, scale, shift),
        "rms": rms_norm(x, scale),
        "group": group_norm(wide, 3, scale.reshape(5)[:1].broadcast_to((6,)), shift[:1].broadcast_to((6,))),
        "attention": attention(q, q * 0.5, q + 1.0, causal=True),
    }


# --- inputs -----------------------------------------------------------------------------------------------------------


def _angle_values() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Awkward values, angles of all sizes up to and beyond the domain, and neighbours of multiples of pi / 2."""
    turns = (np.arange(-40, 41).astype(np.float64) * (np.pi / 2)).astype(np.float32)
    near = np.concatenate([turns, np.nextafter(turns, np.float32(9)), np.nextafter(turns, np.float32(-9))])
    ends = np.array([32767.998, 32768, 32768.004, -32768, 40000], np.float32)
    drawn = np.concatenate([uniform(0, f"golden/angles/{limit}", (301,), limit) for limit in (1.0, 10.0, 33000.0)])
    return np.concatenate([awkward_values(), near, ends, drawn])


def _patterns() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Bit patterns of all kinds; NaN is canonical, so that inputs have one encoding."""
    drawn = random_u32(0, "golden/patterns", 64).view(np.float32)
    return np.concatenate([awkward_values(), np.where(np.isnan(drawn), np.float32("nan"), drawn)])


def _integers(shape: Shape) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return random_u32(0, f"golden/integers/{shape}", math.prod(shape)).view(np.int32).reshape(shape)


def _batch_inputs() -> Inputs:
    sides = {"a": 0, "b": 1}
    return {f"{n}{at}": floats(f"batch/{n}{at}", pair[i]) for at, pair in enumerate(BATCHES) for n, i in sides.items()}


def _convolution_inputs() -> Inputs:
    shapes: dict[str, Shape] = {
        "x": (2, 4, 7, 9),
        "w": (6, 4, 3, 2),
        "g": (6, 2, 3, 3),
        "d": (4, 1, 2, 3),
        "v": (3, 4, 3),
    }
    return {name: floats(f"conv/{name}", shape) for name, shape in shapes.items()}


def _line_inputs(low: int, high: int) -> Inputs:
    index = np.array([[3, 0, 8, 3], [3, high, low, 1], [0, 0, 0, 5]], np.int32)
    return {"x": awkward("lines", (3, 9)), "u": floats("lines/u", (3, 4)), "i": index}


def _block_inputs() -> Inputs:
    shapes: dict[str, Shape] = {"x": (12, 5), "q": (2, 2, 7, 5), "scale": (5,), "shift": (5,)}
    return {name: floats(f"blocks/{name}", shape) for name, shape in shapes.items()}
