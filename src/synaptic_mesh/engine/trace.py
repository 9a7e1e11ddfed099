"""The frontend: a Python function called once on `Tensor`s leaves behind the graph of what it computed.

    graph = trace(lambda x, w: (x @ w).sum(), {"x": f32(32, 784), "w": f32(784, 10)})

Operators follow numpy where numpy is unambiguous: a Python number takes the other operand's dtype, shapes broadcast
from the right. Everything else (which axis, which dtype) is said by the caller. Nothing here chooses an order of
additions: that is written in the primitives.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import NO_ATTRIBUTES, Attributes, DType, Graph, Node, Op, Shape
from synaptic_mesh.engine.subscript import Key, read_key
from synaptic_mesh.engine.verify import verify, verify_node

Number = int | float
NUMPY_DTYPES = {DType.F32: np.dtype("<f4"), DType.I32: np.dtype("<i4"), DType.U32: np.dtype("<u4")}


class Spec(msgspec.Struct, frozen=True):
    """Shape and dtype of an input."""

    shape: Shape
    dtype: DType = DType.F32


def f32(*shape: int) -> Spec:
    """Return the spec of an f32 input: `f32(32, 784)`; `f32()` is a scalar."""
    return Spec(shape)


def i32(*shape: int) -> Spec:
    """Return the spec of an i32 input, for example labels: `i32(32)`."""
    return Spec(shape, DType.I32)


def spec_of(array: Array) -> Spec:
    """Return the spec that fits a numpy array. Raises LocalError unless it is f32, i32 or u32."""
    for dtype, kind in NUMPY_DTYPES.items():
        if array.dtype == kind:
            return Spec(array.shape, dtype)
    raise LocalError(f"tensors are f32, i32 or u32, not {array.dtype}: convert the array first")


def trace(
    function: Callable[..., "Tensor | Mapping[str, Tensor]"],
    inputs: Mapping[str, Spec],
    *,
    carried: Mapping[str, str] | None = None,
    checked: Sequence[str] = (),
) -> Graph:
    """Call `function` with one Tensor per input, by keyword, and return the verified graph of what it returned.

    A single returned Tensor becomes the output "output". Raises LocalError when a shape, dtype or name does not fit.
    """
    builder = Builder()
    result = function(**{name: builder.input(name, spec) for name, spec in inputs.items()})
    outputs = {"output": result} if isinstance(result, Tensor) else result
    return builder.finish(outputs, carried=carried, checked=checked)


class Builder:
    """Grows a graph node by node; every node is verified as it is added."""

    depth = 0
    """How many steps of a scan, one inside the other, this graph is the body of: see `body_builder`."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.stopped: set[int] = set()
        """Nodes that `autodiff` takes for constants."""
        self.bodies: dict[int, Builder] = {}
        """The traces of SCANs' bodies, by node: they know what is stopped inside."""
        self.open: Builder | None = None
        """The body that is being traced within this graph."""

    def input(self, name: str, spec: Spec) -> "Tensor":
        """Add an input."""
        return self.add(Op.INPUT, (), spec.shape, spec.dtype, Attributes(name=name))

    def constant(self, value: Number, shape: Shape = (), dtype: DType = DType.F32) -> "Tensor":
        """Add a splat of `value`, rounded to the nearest f32 if need be. Raises LocalError for an i32 out of range."""
        return self.splat(number_bits(value, dtype), shape, dtype)

    def splat(self, bits: int, shape: Shape = (), dtype: DType = DType.F32) -> "Tensor":
        """Add a constant whose every element has the u32 pattern `bits`."""
        return self.add(Op.CONSTANT, (), shape, dtype, Attributes(bits=bits.to_bytes(4, "little")))

    def array(self, values: Array) -> "Tensor":
        """Add a dense constant of a numpy array's bits."""
        spec = spec_of(values)
        bits = np.ascontiguousarray(values).tobytes()
        return self.add(Op.CONSTANT, (), spec.shape, spec.dtype, Attributes(bits=bits))

    def add(
        self, op: Op, operands: Sequence["Tensor"], shape: Shape, dtype: DType, attributes: Attributes = NO_ATTRIBUTES
    ) -> "Tensor":
        """Append one node and return its tensor. Raises LocalError when it breaks the law."""
        owner = max((operand.builder for operand in operands), key=lambda builder: builder.depth, default=self)
        if owner is not self and owner.depth > self.depth:
            return owner.add(op, operands, shape, dtype, attributes)
        operands = [self.adopt(op, operand) for operand in operands]
        node = Node(op, tuple(operand.index for operand in operands), shape, dtype, attributes)
        verify_node(node, len(self.nodes), self.nodes)
        self.nodes.append(node)
        return Tensor(self, len(self.nodes) - 1)

    def adopt(self, op: Op, operand: "Tensor") -> "Tensor":
        """Return an operand as a tensor of this graph. Raises LocalError when it belongs to another one."""
        if operand.builder is not self:
            raise LocalError(f"{op.value} mixes tensors of two traces: pass every value in as an input")
        return operand

    def finish(
        self,
        outputs: "Mapping[str, Tensor]",
        *,
        carried: Mapping[str, str] | None = None,
        checked: Sequence[str] = (),
    ) -> Graph:
        """Return the verified graph with these outputs."""
        graph = Graph(
            nodes=tuple(self.nodes),
            inputs={node.attributes.name: i for i, node in enumerate(self.nodes) if node.op is Op.INPUT},
            outputs={name: tensor.index for name, tensor in outputs.items()},
            carried=dict(carried or {}),
            checked=tuple(sorted(checked)),
        )
        verify(graph)
        return graph


def number_bits(value: Number, dtype: DType) -> int:
    """Return the u32 pattern of a Python number as `dtype`; an f32 is rounded to nearest even, NaN is canonical."""
    if dtype is DType.F32:
        with np.errstate(over="ignore"):
            rounded = np.float32(value)
        return 0x7FC00000 if np.isnan(rounded) else int(rounded.view(np.uint32))
    low, high = (-(1 << 31), 1 << 31) if dtype is DType.I32 else (0, 1 << 32)
    if dtype is DType.BOOL or value != int(value) or not low <= value < high:
        raise LocalError(f"{value} is not a {dtype.value}")
    return int(value) & 0xFFFFFFFF


class Tensor:
    """One node of a graph under construction. Immutable; Python operators append nodes."""

    __slots__ = ("builder", "index")
    __hash__ = None  # type: ignore[assignment]  # == builds a node

    def __init__(self, builder: Builder, index: int) -> None:
        self.builder = builder
        self.index = index

    @property
    def node(self) -> Node:
        """The node that computes this tensor."""
        return self.builder.nodes[self.index]

    @property
    def shape(self) -> Shape:
        """Extents, outermost first."""
        return self.node.shape

    @property
    def dtype(self) -> DType:
        """Element type."""
        return self.node.dtype

    def __repr__(self) -> str:
        return f"Tensor(%{self.index} {self.node.op.value}: {self.dtype.value} {self.shape})"

    # arithmetic

    def __add__(self, other: "Tensor | Number") -> "Tensor":
        return _binary(Op.ADD, self, other)

    def __radd__(self, other: Number) -> "Tensor":
        return _binary(Op.ADD, _lift(other, self), self)

    def __sub__(self, other: "Tensor | Number") -> "Tensor":
        return _binary(Op.SUB, self, other)

    def __rsub__(self, other: Number) -> "Tensor":
        return _binary(Op.SUB, _lift(other, self), self)

    def __mul__(self, other: "Tensor | Number") -> "Tensor":
        return _binary(Op.MUL, self, other)

    def __rmul__(self, other: Number) -> "Tensor":
        return _binary(Op.MUL, _lift(other, self), self)

    def __truediv__(self, other: "Tensor | Number") -> "Tensor":
        return _binary(Op.DIV, self, other)

    def __rtruediv__(self, other: Number) -> "Tensor":
        return _binary(Op.DIV, _lift(other, self), self)

    def __matmul__(self, other: "Tensor") -> "Tensor":
        return matmul(self, other)

    def __neg__(self) -> "Tensor":
        return _unary(Op.NEG, self)

    def __abs__(self) -> "Tensor":
        return _unary(Op.ABS, self)

    def __pow__(self, exponent: "Tensor | Number") -> "Tensor":
        """The POW primitive; the plain numbers 1, 2, 3, 0.5 and -1 are products, sqrt and a quotient instead."""
        plain = _plain_power(self, exponent)
        return _binary(Op.POW, self, exponent) if plain is None else plain

    def __rpow__(self, base: Number) -> "Tensor":
        return _binary(Op.POW, _lift(base, self), self)

    # bits: i32 and u32

    def __and__(self, other: "Tensor | int") -> "Tensor":
        return _binary(Op.AND, self, other)

    def __or__(self, other: "Tensor | int") -> "Tensor":
        return _binary(Op.OR, self, other)

    def __xor__(self, other: "Tensor | int") -> "Tensor":
        return _binary(Op.XOR, self, other)

    def __lshift__(self, count: int) -> "Tensor":
        return self.builder.add(Op.SHIFT_LEFT, [self], self.shape, self.dtype, Attributes(axes=(count,)))

    def __rshift__(self, count: int) -> "Tensor":
        """Arithmetic for i32, logical for u32."""
        return self.builder.add(Op.SHIFT_RIGHT, [self], self.shape, self.dtype, Attributes(axes=(count,)))

    # comparison: bool tensors, which only `where` takes

    def __lt__(self, other: "Tensor | Number") -> "Tensor":
        return _binary(Op.LT, self, other)

    def __le__(self, other: "Tensor | Number") -> "Tensor":
        return _binary(Op.LE, self, other)

    def __gt__(self, other: "Tensor | Number") -> "Tensor":
        return _binary(Op.LT, _lift(other, self), self)

    def __ge__(self, other: "Tensor | Number") -> "Tensor":
        return _binary(Op.LE, _lift(other, self), self)

    def __eq__(self, other: "Tensor | Number") -> "Tensor":  # type: ignore[override]
        return _binary(Op.EQ, self, other)

    def __bool__(self) -> bool:
        raise LocalError(f"{self!r} has no value while tracing: use where(condition, a, b) instead of if")

    # shape

    def reshape(self, *shape: int) -> "Tensor":
        """The same elements in row-major order under another shape."""
        return self.builder.add(Op.RESHAPE, [self], shape, self.dtype)

    def transpose(self, *axes: int) -> "Tensor":
        """Axes in another order (default: reversed), as in numpy."""
        order = axes or tuple(reversed(range(len(self.shape))))
        if sorted(order) != list(range(len(self.shape))):
            raise LocalError(f"transpose axes {order} are no permutation of the axes of {self.shape}")
        shape = tuple(self.shape[axis] for axis in order)
        return self.builder.add(Op.TRANSPOSE, [self], shape, self.dtype, Attributes(axes=order))

    def broadcast_to(self, shape: Shape) -> "Tensor":
        """Repeat over new leading axes and over axes of extent 1, as numpy does. Raises LocalError if it cannot."""
        return broadcast_to(self, shape)

    def repeat(self, axis: int, extent: int) -> "Tensor":
        """Insert a new axis of `extent` equal copies at position `axis` of the result: undoes a reduction's shape."""
        shape = (*self.shape[:axis], extent, *self.shape[axis:])
        kept = tuple(i for i in range(len(shape)) if i != axis)
        if self.node.is_splat:
            return _as_shape(self, shape)
        return self.builder.add(Op.BROADCAST, [self], shape, self.dtype, Attributes(axes=kept))

    def __getitem__(self, key: "Key | tuple[Key, ...]") -> "Tensor":
        """Integers, slices with any step, `...` and None, as in numpy; an integer removes its axis, None adds one."""
        starts, steps, taken, shown = read_key(self.shape, key if isinstance(key, tuple) else (key,))
        part = self.strided(starts, steps, taken)
        return part if part.shape == shown else part.reshape(*shown)

    def strided(self, starts: tuple[int, ...], steps: tuple[int, ...], shape: Shape) -> "Tensor":
        """Elements start + i * step of each axis. A step may be negative; where there is no second element it is 1."""
        used = tuple(step if extent > 1 else 1 for step, extent in zip(steps, shape, strict=True))
        if shape == self.shape and not any(starts) and all(step == 1 for step in used):
            return self
        return self.builder.add(Op.SLICE, [self], shape, self.dtype, Attributes(axes=(*starts, *used)))

    # reductions

    def sum(self, axis: int | None = None) -> "Tensor":
        """Sum over one axis, or over all from the last to the first; the axis disappears."""
        return _reduce(Op.REDUCE_SUM, self, axis)

    def max(self, axis: int | None = None) -> "Tensor":
        """Greatest element over one axis, or over all; NaN if there is one."""
        return _reduce(Op.REDUCE_MAX, self, axis)

    def min(self, axis: int | None = None) -> "Tensor":
        """Least element over one axis, or over all; NaN if there is one: the negated maximum of the negated tensor."""
        return -(-self).max(axis)

    def argmin(self, axis: int) -> "Tensor":
        """i32 index of the least element, the lowest if several; a NaN counts as least."""
        return (-self).argmax(axis)

    def argmax(self, axis: int) -> "Tensor":
        """i32 index of the greatest element, the lowest if several; a NaN counts as greatest."""
        at = _axis(self, axis)
        kept = self.shape[:at] + self.shape[at + 1 :]
        return self.builder.add(Op.ARGMAX, [self], kept, DType.I32, Attributes(axes=(at,)))

    def convert(self, dtype: DType) -> "Tensor":
        """f32 -> i32 toward zero, saturating, NaN -> 0; i32 -> f32 to nearest even."""
        return self if dtype is self.dtype else self.builder.add(Op.CONVERT, [self], self.shape, dtype)

    def bitcast(self, dtype: DType) -> "Tensor":
        """The same bits as another type; a NaN is 0x7fc00000."""
        return self if dtype is self.dtype else self.builder.add(Op.BITCAST, [self], self.shape, dtype)


def exp(x: Tensor) -> Tensor:
    """e^x."""
    return _unary(Op.EXP, x)


def log(x: Tensor) -> Tensor:
    """Natural logarithm."""
    return _unary(Op.LOG, x)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return _unary(Op.TANH, x)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e^-x)."""
    return _unary(Op.SIGMOID, x)


def sqrt(x: Tensor) -> Tensor:
    """Correctly rounded square root."""
    return _unary(Op.SQRT, x)


def floor(x: Tensor) -> Tensor:
    """Greatest integral value that is not above x."""
    return _unary(Op.FLOOR, x)


def minimum(a: Tensor, b: Tensor | Number) -> Tensor:
    """Elementwise lesser value; NaN if either is; -0 is below +0."""
    return _binary(Op.MIN, a, b)


def maximum(a: Tensor, b: Tensor | Number) -> Tensor:
    """Elementwise greater value; NaN if either is; +0 is above -0."""
    return _binary(Op.MAX, a, b)


def where(condition: Tensor, yes: Tensor | Number, no: Tensor | Number) -> Tensor:
    """Elementwise `yes` where the bool tensor holds, else `no`. The chosen value's bits are kept."""
    like = yes if isinstance(yes, Tensor) else no if isinstance(no, Tensor) else None
    dtype = like.dtype if like is not None else DType.F32
    pair = [_as_shape(_lift_to(value, condition.builder, dtype), condition.shape) for value in (yes, no)]
    return condition.builder.add(Op.SELECT, [condition, *pair], condition.shape, dtype)


def matmul(a: Tensor, b: Tensor, *, transpose_left: bool = False, transpose_right: bool = False) -> Tensor:
    """Matrix product of (..., m, k) and (..., k, n); a transposed operand is stored (..., k, m) or (..., n, k).

    Leading axes are a batch and broadcast as in numpy. A batch times one matrix is a single product of (batch m, k).
    """
    if len(a.shape) < 2 or len(b.shape) < 2:
        raise LocalError(f"matmul needs two matrices, not {a.shape} and {b.shape}")
    if len(a.shape) > 2 and len(b.shape) == 2 and not transpose_left:
        rows = a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
        product = matmul(rows, b, transpose_right=transpose_right)
        return product.reshape(*a.shape[:-1], product.shape[1])
    batch = _common_shape(Op.MATMUL, a.shape[:-2], b.shape[:-2])
    left, right = broadcast_to(a, (*batch, *a.shape[-2:])), broadcast_to(b, (*batch, *b.shape[-2:]))
    m = a.shape[-1] if transpose_left else a.shape[-2]
    n = b.shape[-2] if transpose_right else b.shape[-1]
    flags = Attributes(transpose_left=transpose_left, transpose_right=transpose_right)
    return a.builder.add(Op.MATMUL, [left, right], (*batch, m, n), a.dtype, flags)


def one_hot(index: Tensor, classes: int) -> Tensor:
    """f32 of shape index.shape + (classes,): 1 at the index, else +0. An index outside 0..classes-1 is invalid."""
    return index.builder.add(Op.ONE_HOT, [index], (*index.shape, classes), DType.F32)


def gather(table: Tensor, index: Tensor) -> Tensor:
    """Rows `index` (n,) of `table` (rows, width). An index outside 0..rows-1 makes the step invalid."""
    return table.builder.add(Op.GATHER, [table, index], (*index.shape, *table.shape[1:]), table.dtype)


def scatter_add(updates: Tensor, index: Tensor, rows: int) -> Tensor:
    """(rows, width) from +0, with updates[i] added to row index[i], i ascending. Bad indices make the step invalid."""
    return updates.builder.add(Op.SCATTER_ADD, [updates, index], (rows, *updates.shape[1:]), updates.dtype)


def stop_gradient(x: Tensor) -> Tensor:
    """Return x itself, marked so that no gradient flows into it (from any user)."""
    x.builder.stopped.add(x.index)
    return x


def broadcast_to(x: Tensor, shape: Shape) -> Tensor:
    """See `Tensor.broadcast_to`."""
    if x.shape == shape:
        return x
    lead = len(shape) - len(x.shape)
    if lead < 0 or any(extent not in (1, shape[lead + i]) for i, extent in enumerate(x.shape)):
        raise LocalError(f"shape {x.shape} does not broadcast to {shape}")
    axes = tuple(lead + i for i, extent in enumerate(x.shape) if extent == shape[lead + i])
    kept = tuple(shape[axis] for axis in axes)
    source = x if x.shape == kept else x.reshape(*kept)
    return x.builder.add(Op.BROADCAST, [source], shape, x.dtype, Attributes(axes=axes))


def _plain_power(x: Tensor, exponent: Tensor | Number) -> Tensor | None:
    """Return x to a power that needs few exactly rounded operations, or None."""
    if isinstance(exponent, Tensor) or x.dtype is not DType.F32:
        return None
    powers: dict[float, Callable[[], Tensor]] = {
        1.0: lambda: x,
        2.0: lambda: x * x,
        3.0: lambda: (x * x) * x,
        0.5: lambda: sqrt(x),
        -1.0: lambda: 1.0 / x,
    }
    return powers[exponent]() if exponent in powers else None


def _unary(op: Op, x: Tensor) -> Tensor:
    return x.builder.add(op, [x], x.shape, x.dtype)


def _binary(op: Op, a: Tensor, b: Tensor | Number) -> Tensor:
    right = _lift(b, a) if not isinstance(b, Tensor) else b
    shape = _common_shape(op, a.shape, right.shape)
    dtype = DType.BOOL if op in (Op.LT, Op.LE, Op.EQ) else a.dtype
    return a.builder.add(op, [_as_shape(a, shape), _as_shape(right, shape)], shape, dtype)


def _common_shape(op: Op, a: Shape, b: Shape) -> Shape:
    try:
        return tuple(int(extent) for extent in np.broadcast_shapes(a, b))
    except ValueError:
        raise LocalError(f"{op.value}: shapes {a} and {b} do not broadcast") from None


def _lift(value: "Tensor | Number", like: Tensor) -> Tensor:
    return _lift_to(value, like.builder, like.dtype)


def _lift_to(value: "Tensor | Number", builder: Builder, dtype: DType) -> Tensor:
    return value if isinstance(value, Tensor) else builder.constant(value, (), dtype)


def _as_shape(x: Tensor, shape: Shape) -> Tensor:
    """Broadcast; a splat becomes a splat of the full shape instead, which costs nothing."""
    node = x.node
    if node.is_splat and x.shape != shape:
        return x.builder.splat(int.from_bytes(node.attributes.bits, "little"), shape, x.dtype)
    return broadcast_to(x, shape)


def _axis(x: Tensor, axis: int) -> int:
    if not -len(x.shape) <= axis < len(x.shape):
        raise LocalError(f"axis {axis} is not an axis of shape {x.shape}")
    return axis % len(x.shape)


def _reduce(op: Op, x: Tensor, axis: int | None) -> Tensor:
    if axis is None:
        for last in reversed(range(len(x.shape))):
            x = _reduce(op, x, last)
        return x
    at = _axis(x, axis)
    return x.builder.add(op, [x], x.shape[:at] + x.shape[at + 1 :], x.dtype, Attributes(axes=(at,)))
