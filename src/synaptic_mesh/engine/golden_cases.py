"""The graphs and inputs behind the golden digests.

Inputs hold every pair of awkward values: both zeros, subnormals, infinities, NaN, integer limits; shapes have extents
0, 1, odd and larger than any vector or tile.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.engine.composites import cross_entropy, dense, mse, relu, softmax
from synaptic_mesh.engine.initializers import random_u32, uniform
from synaptic_mesh.engine.ir import DType, Graph, Shape
from synaptic_mesh.engine.optimizers import SGD, AdamW, Momentum, Optimizer, Tensors, initial_state, training_step
from synaptic_mesh.engine.trace import (
    Spec,
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
    spec_of,
    sqrt,
    tanh,
    trace,
    where,
)

Inputs = dict[str, Array]


class Case(msgspec.Struct, frozen=True):
    """A graph, its inputs, and how often it runs before its outputs are read."""

    name: str
    graph: Graph
    inputs: Inputs
    runs: int = 1


def cases() -> Iterator[Case]:
    """Yield every golden case, always the same."""
    yield _case("elementwise", _elementwise, _pairs())
    yield _case("integers", _integers, _integer_pairs())
    yield _case("conversions", _conversions, _conversion_inputs())
    yield _case("extents", _extents, {f"x{n}": _floats(f"extents/{n}", (n,)) for n in (0, 1, 2, 3, 4, 5, 7, 8, 17, 33)})
    yield _case("reductions", _reductions, _reduction_inputs())
    yield _case("sums", _sums, {f"x{i}": _floats(f"sum/{i}", s) for i, s in enumerate(REDUCE_SHAPES)})
    yield _case("movement", _movement, {"x": _awkward("movement", (3, 5, 7)), "v": _awkward("movement/v", (5,))})
    yield _case("matmul", _matmuls, _matmul_inputs())
    yield _case("indexing", _indexing, _indexing_inputs(0, 6))
    for kind, function in INDEXING.items():
        for fault, low, high in (("low", -1, 6), ("least", -(2**31), 6), ("high", 0, 7)):
            yield _case(f"{kind}_{fault}", function, _indexing_inputs(low, high))
    yield _case("unused_index", _unused_index, _indexing_inputs(0, 7))
    yield _case("not_finite", lambda x: {"y": x}, {"x": _awkward("not_finite", (9,))}, checked=["y"])
    yield _classifier("classifier_sgd", SGD(0.05), hidden=True)
    yield _classifier("linear_adamw", AdamW(0.01), hidden=False)
    yield _regressor("regressor_momentum", Momentum(0.05, 0.9))


# --- cases ------------------------------------------------------------------------------------------------------------

REDUCE_SHAPES: tuple[Shape, ...] = ((1,), (2, 16), (5, 17), (3, 1), (2, 3, 33), (4, 100), (67, 9))
PLAIN_SHAPES = ((1, 1, 1), (3, 0, 5), (0, 4, 3), (1, 40, 24), (40, 24, 1), (7, 513, 520))
TURNED_SHAPES = ((13, 18, 9),)
"""(m, k, n); the last plain one is past the size from which kernels pack."""
ORIENTATIONS = ("nn", "tn", "nt", "tt")
"""Of left and right operand: n as used, t stored transposed."""
AWKWARD_BITS = (
    *(0x00000000, 0x00000001, 0x00000123, 0x007FFFFF, 0x00800000, 0x00800001, 0x33800000, 0x3F7FFFFF, 0x3F800000),
    *(0x3F800001, 0x3FC00000, 0x40200000, 0x4B000001, 0x4EFFFFFF, 0x4F000000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000),
    *(0x42B17218, 0x42CFF1B5, 0x3F200000, 0x3FB504F3, 0x41100000, 0x3DCCCCCD),
)
INTEGERS = (0, 1, 2, 3, 1000, 46341, 65536, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF, 0xFFFFFFFE)


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


def _classifier_loss(p: Tensors, batch: Tensors) -> Tensor:
    hidden = relu(dense(batch["x"], p["w1"], p["b1"]))
    return cross_entropy(dense(hidden, p["w2"], p["b2"]), batch["y"])


def _linear_loss(p: Tensors, batch: Tensors) -> Tensor:
    return cross_entropy(dense(batch["x"], p["w1"], p["b1"]), batch["y"])


def _regressor_loss(p: Tensors, batch: Tensors) -> Tensor:
    hidden = tanh(dense(batch["x"], p["w1"], p["b1"]))
    return mse(sigmoid(dense(hidden, p["w2"], p["b2"])), batch["y"])


# --- inputs -----------------------------------------------------------------------------------------------------------


def _case(
    name: str, function: Callable[..., Mapping[str, Tensor]], inputs: Inputs, checked: list[str] | None = None
) -> Case:
    specs = {key: spec_of(array) for key, array in inputs.items()}
    return Case(name, trace(function, specs, checked=checked or ()), inputs)


def _training(
    name: str, loss: Callable[[Tensors, Tensors], Tensor], optimizer: Optimizer, sizes: Shape, batch: Inputs
) -> Case:
    shapes: dict[str, Shape] = {}
    for i, (inner, outer) in enumerate(itertools.pairwise(sizes), 1):
        shapes |= {f"w{i}": (inner, outer), f"b{i}": (outer,)}
    specs = {key: Spec(shape) for key, shape in shapes.items()}
    graph = training_step(loss, specs, {key: spec_of(array) for key, array in batch.items()}, optimizer)
    parameters = {key: uniform(0, f"golden/{name}/{key}", shape, 0.5) for key, shape in shapes.items()}
    return Case(name, graph, {**parameters, **initial_state(optimizer, specs), **batch}, runs=3)


def _classifier(name: str, optimizer: Optimizer, hidden: bool) -> Case:
    labels = (random_u32(0, f"golden/{name}/y", 9) % np.uint32(5)).astype(np.int32)
    batch: Inputs = {"x": _floats(f"{name}/x", (9, 21)), "y": labels}
    loss, sizes = (_classifier_loss, (21, 18, 5)) if hidden else (_linear_loss, (21, 5))
    return _training(name, loss, optimizer, sizes, batch)


def _regressor(name: str, optimizer: Optimizer) -> Case:
    batch: Inputs = {"x": _floats(f"{name}/x", (8, 5)), "y": uniform(0, f"golden/{name}/y", (8, 3), 1.0)}
    return _training(name, _regressor_loss, optimizer, (5, 16, 3), batch)


def _floats(name: str, shape: Shape) -> Array:
    return uniform(0, f"golden/{name}", shape, 3.0)


def _awkward_values() -> Array:
    bits = np.array(AWKWARD_BITS, np.uint32)
    signed = np.concatenate([bits, bits | np.uint32(0x80000000)]).view(np.float32)
    values: Array = np.where(np.isnan(signed), np.float32("nan"), signed)
    return values


def _awkward(name: str, shape: Shape) -> Array:
    """Values drawn from the awkward ones."""
    values = _awkward_values()
    chosen = random_u32(0, f"golden/{name}", int(np.prod(shape))) % np.uint32(values.size)
    drawn: Array = values[chosen].reshape(shape)
    return drawn


def _pairs() -> Inputs:
    """Every pair of awkward values, random bit patterns of all exponents, then the ranges where polynomials work."""
    values = _awkward_values()
    bits = random_u32(0, "golden/bits", 2 * 1003).view(np.float32)
    bits = np.where(np.isnan(bits), np.float32(1.5), bits)
    limits = (12.0, 1.0, 90.0)
    near = np.concatenate([uniform(0, f"golden/near/{limit}", (2 * 1000,), limit) for limit in limits])
    first = np.concatenate([np.repeat(values, values.size), bits[:1003], near[: near.size // 2]])
    second = np.concatenate([np.tile(values, values.size), bits[1003:], near[near.size // 2 :]])
    return {"a": first, "b": second}


def _reduction_inputs() -> Inputs:
    """Awkward values, and rows in which zeros of both signs tie for the maximum."""
    ties = np.array([[-0.0, 0.0, -0.0, 0.0], [0.0, -0.0, -1.0, 0.0], [-1.0, -0.0, 0.0, -1.0]], np.float32)
    drawn = {f"x{i}": _awkward(f"reduce/{i}", shape) for i, shape in enumerate(REDUCE_SHAPES)}
    return {**drawn, "ties": ties, "ascending": _floats("reduce/ascending", (3, 5))}


def _integer_pairs() -> Inputs:
    values = np.array(INTEGERS, np.uint32)
    first, second = np.repeat(values, values.size), np.tile(values, values.size)
    return {"a": first.view(np.int32), "b": second.view(np.int32), "c": first, "d": second}


def _conversion_inputs() -> Inputs:
    integers = np.concatenate([np.array(INTEGERS, np.uint32), random_u32(0, "golden/integers", 101)])
    floats = np.concatenate([_awkward_values(), uniform(0, "golden/convert", (53,), 3e9), _floats("convert", (30,))])
    return {"x": floats, "i": integers.view(np.int32)}


def _matmul_inputs() -> Inputs:
    """a and b for every shape; for some also stored transposed, so that each orientation reads its own layout."""
    inputs: Inputs = {"an_awkward": _awkward("matmul/a", (6, 3)), "bn_awkward": _awkward("matmul/b", (3, 11))}
    for m, k, n in (*PLAIN_SHAPES, *TURNED_SHAPES):
        key = f"{m}x{k}x{n}"
        inputs |= {f"an{key}": _floats(f"a{key}", (m, k)), f"bn{key}": _floats(f"b{key}", (k, n))}
        if (m, k, n) in TURNED_SHAPES:
            turned = {f"{name}t{key}": np.ascontiguousarray(inputs[f"{name}n{key}"].T) for name in "ab"}
            inputs |= turned
    return inputs


def _indexing_inputs(low: int, high: int) -> Inputs:
    index = np.array([3, 0, 6, 3, 3, high, low, 1, 0], np.int32)
    return {"table": _awkward("table", (7, 5)), "updates": _floats("updates", (9, 5)), "index": index}
