"""Golden cases of the first operations: elementwise, reductions, movement, matrix product, indexing.

Shapes have extents 0, 1, odd and larger than any vector or tile.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from synaptic_mesh.engine.composites import relu, softmax
from synaptic_mesh.engine.golden_case import Builders, Tensors, draw_case, make_case
from synaptic_mesh.engine.golden_inputs import INTEGERS, Inputs, awkward, awkward_values, floats, integer_pairs, pairs
from synaptic_mesh.engine.initializers import random_u32, uniform
from synaptic_mesh.engine.ir import DType, Shape
from synaptic_mesh.engine.trace import (
    Tensor,
    exp,
    floor,
    gather,
    log,
    matmul,
    maximum,
    minimum,
    one_hot,
    scatter_add,
    sigmoid,
    sqrt,
    tanh,
    where,
)


def primitive_cases() -> Builders:
    """Return what makes each of them, by name, always the same."""
    builders: Builders = {
        "elementwise": lambda: make_case("elementwise", _elementwise, pairs()),
        "integers": lambda: make_case("integers", _integers, integer_pairs()),
        "conversions": lambda: make_case("conversions", _conversions, _conversion_inputs()),
        "extents": lambda: make_case("extents", _extents, {f"x{n}": floats(f"extents/{n}", (n,)) for n in EXTENTS}),
        "reductions": lambda: make_case("reductions", _reductions, _reduction_inputs()),
        "sums": lambda: make_case("sums", _sums, {f"x{i}": floats(f"sum/{i}", s) for i, s in enumerate(REDUCE_SHAPES)}),
        "movement": lambda: make_case(
            "movement", _movement, {"x": awkward("movement", (3, 5, 7)), "v": awkward("movement/v", (5,))}
        ),
        "matmul": lambda: make_case("matmul", _matmuls, _matmul_inputs()),
        "indexing": lambda: make_case("indexing", _indexing, _indexing_inputs(0, 6)),
    }
    for kind, function in INDEXING.items():
        for fault, low, high in (("low", -1, 6), ("least", -(2**31), 6), ("high", 0, 7)):
            name, inputs = f"{kind}_{fault}", partial(_indexing_inputs, low, high)
            builders[name] = partial(draw_case, name, function, inputs)
    builders["unused_index"] = lambda: make_case("unused_index", _unused_index, _indexing_inputs(0, 7))
    builders["not_finite"] = lambda: make_case(
        "not_finite", lambda x: {"y": x}, {"x": awkward("not_finite", (9,))}, checked=["y"]
    )
    return builders


EXTENTS = (0, 1, 2, 3, 4, 5, 7, 8, 17, 33)
REDUCE_SHAPES: tuple[Shape, ...] = ((1,), (2, 16), (5, 17), (3, 1), (2, 3, 33), (4, 100), (67, 9))
PLAIN_SHAPES = ((1, 1, 1), (3, 0, 5), (0, 4, 3), (1, 40, 24), (40, 24, 1), (7, 513, 520))
TURNED_SHAPES = ((13, 18, 9),)
"""(m, k, n); the last plain one is past the size from which kernels pack."""
ORIENTATIONS = ("nn", "tn", "nt", "tt")
"""Of left and right operand: n as used, t stored transposed."""


def _elementwise(a: Tensor, b: Tensor) -> Tensors:
    unary: dict[str, Callable[[Tensor], Tensor]] = {
        "exp": exp,
        "log": log,
        "tanh": tanh,
        "sigmoid": sigmoid,
        "sqrt": sqrt,
        "floor": floor,
        "abs": abs,
    }
    outputs = {name: function(a) for name, function in unary.items()}
    outputs |= {"neg": -a, "add": a + b, "sub": a - b, "mul": a * b, "div": a / b}
    outputs |= {"min": minimum(a, b), "max": maximum(a, b), "relu": relu(a)}
    return outputs | {"lt": where(a < b, a, b), "le": where(a <= b, a, b), "eq": where(a == b, 1.0, b)}


def _integers(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensors:
    outputs: Tensors = {}
    for kind, x, y in (("i32", a, b), ("u32", c, d)):
        outputs |= {f"{kind}/add": x + y, f"{kind}/sub": x - y, f"{kind}/mul": x * y}
        outputs |= {f"{kind}/min": minimum(x, y), f"{kind}/max": maximum(x, y), f"{kind}/sum": x.sum(0)}
        outputs |= {
            f"{kind}/lt": where(x < y, 1, x),
            f"{kind}/le": where(x <= y, 1, y),
            f"{kind}/eq": where(x == y, 1, 0),
        }
    return outputs


def _conversions(x: Tensor, i: Tensor) -> Tensors:
    return {"to_i32": x.convert(DType.I32), "to_f32": i.convert(DType.F32)}


def _extents(**inputs: Tensor) -> Tensors:
    return {f"{name}/{kind}": y for name, x in inputs.items() for kind, y in (("map", tanh(x) * x), ("sum", x.sum(0)))}


def _reductions(**inputs: Tensor) -> Tensors:
    outputs: Tensors = {}
    for name, x in inputs.items():
        for axis in range(len(x.shape)):
            outputs |= {f"{name}/{axis}/max": x.max(axis), f"{name}/{axis}/argmax": x.argmax(axis)}
    return outputs


def _sums(**inputs: Tensor) -> Tensors:
    return {f"{name}/{axis}": x.sum(axis) for name, x in inputs.items() for axis in range(len(x.shape))}


def _movement(x: Tensor, v: Tensor) -> Tensors:
    table = x.reshape(15, 7)
    outputs = {f"transpose{''.join(map(str, axes))}": x.transpose(*axes) for axes in ((2, 1, 0), (1, 0, 2), (0, 2, 1))}
    outputs |= {"reshape": x.reshape(7, 15), "transpose": table.transpose(), "repeat0": v.repeat(0, 4)}
    return outputs | {"repeat1": v.repeat(1, 6), "mixed": x.transpose(0, 2, 1) + v, "softmax": softmax(v.reshape(1, 5))}


def _matmuls(**inputs: Tensor) -> Tensors:
    outputs: Tensors = {}
    for key in sorted({name[2:] for name in inputs}):
        for kind in ORIENTATIONS if f"at{key}" in inputs else ORIENTATIONS[:1]:
            flags = [side == "t" for side in kind]
            operands = [inputs[f"{name}{side}{key}"] for name, side in zip("ab", kind, strict=True)]
            outputs[f"{kind}{key}"] = matmul(*operands, transpose_left=flags[0], transpose_right=flags[1])
    return outputs


INDEXING: dict[str, Callable[..., Tensors]] = {
    "one_hot": lambda index, **_: {"one_hot": one_hot(index, 7)},
    "gather": lambda index, table, **_: {"gather": gather(table, index)},
    "scatter_add": lambda index, updates, **_: {"scatter_add": scatter_add(updates, index, 7)},
}


def _indexing(**inputs: Tensor) -> Tensors:
    return {name: y for function in INDEXING.values() for name, y in function(**inputs).items()}


def _unused_index(index: Tensor, table: Tensor, **_: Tensor) -> Tensors:
    one_hot(index, 7)
    return {"negated": -table}


def _reduction_inputs() -> Inputs:
    """Awkward values, and rows in which zeros of both signs tie for the maximum."""
    ties = np.array([[-0.0, 0.0, -0.0, 0.0], [0.0, -0.0, -1.0, 0.0], [-1.0, -0.0, 0.0, -1.0]], np.float32)
    drawn = {f"x{i}": awkward(f"reduce/{i}", shape) for i, shape in enumerate(REDUCE_SHAPES)}
    return {**drawn, "ties": ties, "ascending": floats("reduce/ascending", (3, 5))}


def _conversion_inputs() -> Inputs:
    integers = np.concatenate([np.array(INTEGERS, np.uint32), random_u32(0, "golden/integers", 101)])
    drawn = np.concatenate([awkward_values(), uniform(0, "golden/convert", (53,), 3e9), floats("convert", (30,))])
    return {"x": drawn, "i": integers.view(np.int32)}


def _matmul_inputs() -> Inputs:
    """a and b for every shape; for some also stored transposed, so that each orientation reads its own layout."""
    inputs: Inputs = {"an_awkward": awkward("matmul/a", (6, 3)), "bn_awkward": awkward("matmul/b", (3, 11))}
    for m, k, n in (*PLAIN_SHAPES, *TURNED_SHAPES):
        key = f"{m}x{k}x{n}"
        inputs |= {f"an{key}": floats(f"a{key}", (m, k)), f"bn{key}": floats(f"b{key}", (k, n))}
        if (m, k, n) in TURNED_SHAPES:
            turned = {f"{name}t{key}": np.ascontiguousarray(inputs[f"{name}n{key}"].T) for name in "ab"}
            inputs |= turned
    return inputs


def _indexing_inputs(low: int, high: int) -> Inputs:
    index = np.array([3, 0, 6, 3, 3, high, low, 1, 0], np.int32)
    return {"table": awkward("table", (7, 5)), "updates": floats("updates", (9, 5)), "index": index}
