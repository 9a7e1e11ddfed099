"""The intermediate representation: one SSA graph of typed tensors with static shapes, and its written law.

A graph says *what* is computed, down to the bits (docs/protocol/semantics.md gives every operation as scalar code);
it never says how.

The law, checked by `verify` between passes and at every border:
 1. `nodes` is in topological order: a node's operands have smaller indices. A node computes one tensor.
 2. Every node states its shape and dtype, and they are what its row of `RULES` derives from operands and attributes.
    Elementwise operands have equal shapes and dtypes: nothing broadcasts by itself. Attributes that an operation does
    not use keep their default.
 3. dtypes are f32, i32, u32 and bool. A bool comes only from LT, LE, EQ and goes only into the condition of SELECT: it
    is never an input, an output, a constant or moved, so each backend stores it as it likes (numpy: bool; wasm: lanes
    of all ones or all zeros).
 4. `inputs` names exactly the INPUT nodes, each under its own name attribute; an input may be unused. `outputs` names
    any non-bool nodes, inputs included; two outputs may name one node. Names match NAME_PATTERN.
 5. `carried` maps an input to the output whose value it holds after the step: same shape and dtype, no output twice.
    All outputs are computed from the inputs' old values before any input changes. An input and an output share a name
    only if the one carries to the other: then the name has one value after the step.
 6. `checked` lists f32 outputs, sorted, without repeats: one non-finite element there makes the step invalid
    (StepInvalid). So does an index out of range in ONE_HOT, GATHER or SCATTER_ADD, even where nothing uses the result.
    After an invalid step carried inputs and outputs are undefined: write anew.
 7. Constants are u32 bit patterns, little-endian: one (a splat) or one per element; f32 NaN only as 0x7fc00000.
 8. Extents are >= 0 and bounded by ELEMENTS_MAX, ranks by RANK_MAX. Zero extents are legal everywhere but on ARGMAX's
    axis.
"""

import enum
import itertools
import math
import re
from collections.abc import Callable, Sequence

import msgspec

from synaptic_mesh.base.codec import Record
from synaptic_mesh.base.errors import LocalError

RANK_MAX = 6
ELEMENTS_MAX = 1 << 28
"""Most elements of one tensor: 1 GiB of f32."""
NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,63}")
CANONICAL_NAN = b"\x00\x00\xc0\x7f"

Shape = tuple[int, ...]


class DType(enum.Enum):
    """Element types. Integers are two's complement and wrap."""

    F32 = "f32"
    I32 = "i32"
    U32 = "u32"
    BOOL = "bool"


class Op(enum.Enum):
    """The primitives. Scalar code of each: docs/protocol/semantics.md."""

    INPUT = "input"
    CONSTANT = "constant"
    # elementwise, f32
    NEG = "neg"
    ABS = "abs"
    SQRT = "sqrt"
    FLOOR = "floor"
    EXP = "exp"
    LOG = "log"
    TANH = "tanh"
    SIGMOID = "sigmoid"
    DIV = "div"
    # elementwise, f32, i32, u32
    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    MIN = "min"
    MAX = "max"
    LT = "lt"
    LE = "le"
    EQ = "eq"
    SELECT = "select"
    CONVERT = "convert"
    # movement
    BROADCAST = "broadcast"
    RESHAPE = "reshape"
    TRANSPOSE = "transpose"
    # reductions of one axis, which disappears
    REDUCE_SUM = "reduce_sum"
    REDUCE_MAX = "reduce_max"
    ARGMAX = "argmax"
    # contractions and indexing
    MATMUL = "matmul"
    ONE_HOT = "one_hot"
    GATHER = "gather"
    SCATTER_ADD = "scatter_add"


class Attributes(Record):
    """What a node knows beyond its operands. Each operation uses the fields that its row of RULES names."""

    name: str = ""
    """INPUT: the input's name."""
    bits: bytes = b""
    """CONSTANT: little-endian u32 patterns, one (splat) or one per element, row-major."""
    axes: tuple[int, ...] = ()
    """BROADCAST: output axis of each operand axis, ascending. TRANSPOSE: operand axis of each output axis (as in
    numpy). REDUCE_*, ARGMAX: the one axis that disappears."""
    transpose_left: bool = False
    """MATMUL: the left operand is stored (k, m) and used as (m, k)."""
    transpose_right: bool = False
    """MATMUL: the right operand is stored (n, k) and used as (k, n)."""


NO_ATTRIBUTES = Attributes()


class Node(Record):
    """One operation and the tensor it computes. `inputs` are indices of earlier nodes."""

    op: Op
    inputs: tuple[int, ...]
    shape: Shape
    dtype: DType
    attributes: Attributes = NO_ATTRIBUTES

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_splat(self) -> bool:
        """True for a constant given by a single bit pattern."""
        return self.op is Op.CONSTANT and len(self.attributes.bits) == 4


class Graph(Record):
    """A whole computation, for example one training step. See the module's docstring for its law."""

    nodes: tuple[Node, ...]
    inputs: dict[str, int]
    outputs: dict[str, int]
    carried: dict[str, str] = msgspec.field(default_factory=dict)
    checked: tuple[str, ...] = ()


# --- rules: one row per operation -------------------------------------------------------------------------------------

NUMERIC = (DType.F32, DType.I32, DType.U32)
FLOAT = (DType.F32,)


class Rule(msgspec.Struct, frozen=True):
    """Arity, legal dtypes of the first operand, used attributes, and how shape and dtype follow from node and operands.

    `derive` returns the (shape, dtype) that the node must have; it raises ValueError with a reason when the operands do
    not fit.
    """

    arity: int
    dtypes: tuple[DType, ...]
    derive: Callable[[Node, Sequence[Node]], tuple[Shape, DType]]
    attributes: tuple[str, ...] = ()
    elementwise: bool = False


def _need(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(reason)


def _need_equal(a: Node, b: Node) -> None:
    _need(a.shape == b.shape, f"shapes {a.shape} and {b.shape} differ")
    _need(a.dtype is b.dtype, f"dtypes {a.dtype.value} and {b.dtype.value} differ")


def _input(node: Node, _: Sequence[Node]) -> tuple[Shape, DType]:
    _need(
        NAME_PATTERN.fullmatch(node.attributes.name) is not None, f"input name {node.attributes.name!r} is not allowed"
    )
    _need(node.dtype in NUMERIC, "an input cannot be bool")
    return node.shape, node.dtype


def _constant(node: Node, _: Sequence[Node]) -> tuple[Shape, DType]:
    bits = node.attributes.bits
    _need(len(bits) in (4, 4 * node.size), f"{len(bits)} constant bytes do not fill shape {node.shape}")
    _need(node.dtype in NUMERIC, "a constant cannot be bool")
    if node.dtype is DType.F32:
        for at in range(0, len(bits), 4):
            magnitude = int.from_bytes(bits[at : at + 4], "little") & 0x7FFFFFFF
            _need(
                magnitude <= 0x7F800000 or bits[at : at + 4] == CANONICAL_NAN,
                f"NaN at element {at // 4} is not canonical",
            )
    return node.shape, node.dtype


def _unary(_: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    return operands[0].shape, operands[0].dtype


def _binary(_: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    _need_equal(operands[0], operands[1])
    return operands[0].shape, operands[0].dtype


def _compare(_: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    _need_equal(operands[0], operands[1])
    return operands[0].shape, DType.BOOL


def _select(_: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    condition, yes, no = operands
    _need_equal(yes, no)
    _need(condition.shape == yes.shape, f"condition shape {condition.shape} differs from {yes.shape}")
    _need(yes.dtype in NUMERIC, "select chooses numbers, not bool")
    return yes.shape, yes.dtype


def _convert(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    pair = (operands[0].dtype, node.dtype)
    _need(pair in ((DType.F32, DType.I32), (DType.I32, DType.F32)), f"no conversion {pair[0].value} -> {pair[1].value}")
    return operands[0].shape, node.dtype


def _broadcast(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    axes, source = node.attributes.axes, operands[0]
    _need(len(axes) == len(source.shape), f"axes {axes} do not name every axis of {source.shape}")
    _need(all(a < b for a, b in itertools.pairwise(axes)), f"axes {axes} are not ascending")
    _need(all(0 <= axis < len(node.shape) for axis in axes), f"axes {axes} do not lie in {node.shape}")
    kept = tuple(node.shape[axis] for axis in axes)
    _need(kept == source.shape, f"shape {source.shape} does not fit axes {axes} of {node.shape}")
    return node.shape, source.dtype


def _reshape(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    _need(node.size == operands[0].size, f"shape {operands[0].shape} has not as many elements as {node.shape}")
    return node.shape, operands[0].dtype


def _transpose(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    axes, shape = node.attributes.axes, operands[0].shape
    _need(sorted(axes) == list(range(len(shape))), f"axes {axes} are no permutation of the axes of {shape}")
    return tuple(shape[axis] for axis in axes), operands[0].dtype


def _without_axis(node: Node, operands: Sequence[Node]) -> Shape:
    axes, shape = node.attributes.axes, operands[0].shape
    _need(len(axes) == 1 and 0 <= axes[0] < len(shape), f"axes {axes} are not one axis of {shape}")
    return shape[: axes[0]] + shape[axes[0] + 1 :]


def _reduce(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    return _without_axis(node, operands), operands[0].dtype


def _argmax(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    kept = _without_axis(node, operands)
    _need(operands[0].shape[node.attributes.axes[0]] > 0, f"argmax over an axis of extent 0 in {operands[0].shape}")
    return kept, DType.I32


def _matmul(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    left, right = operands
    _need(left.dtype is right.dtype, f"dtypes {left.dtype.value} and {right.dtype.value} differ")
    _need(len(left.shape) == len(right.shape) == 2, f"matmul needs two matrices, not {left.shape} and {right.shape}")
    m, k = left.shape[::-1] if node.attributes.transpose_left else left.shape
    k_right, n = right.shape[::-1] if node.attributes.transpose_right else right.shape
    _need(k == k_right, f"inner extents of ({m}, {k}) and ({k_right}, {n}) differ")
    return (m, n), left.dtype


def _one_hot(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    _need(
        node.shape[:-1] == operands[0].shape and len(node.shape) > 0,
        f"{node.shape} is not {operands[0].shape} + (classes,)",
    )
    return node.shape, DType.F32


def _gather(_: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    table, index = operands
    _need(len(table.shape) == 2, f"gather needs a table (rows, width), not {table.shape}")
    _need(
        len(index.shape) == 1 and index.dtype is DType.I32,
        f"gather needs i32 indices (n,), not {index.dtype.value} {index.shape}",
    )
    return (index.shape[0], table.shape[1]), table.dtype


def _scatter_add(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    updates, index = operands
    _need(len(updates.shape) == 2, f"scatter_add needs updates (n, width), not {updates.shape}")
    _need(
        index.shape == updates.shape[:1] and index.dtype is DType.I32,
        f"indices {index.dtype.value} {index.shape} do not fit updates",
    )
    _need(len(node.shape) == 2 and node.shape[1] == updates.shape[1], f"{node.shape} is not (rows, {updates.shape[1]})")
    return node.shape, updates.dtype


RULES: dict[Op, Rule] = {
    Op.INPUT: Rule(0, (), _input, ("name",)),
    Op.CONSTANT: Rule(0, (), _constant, ("bits",)),
    **{
        op: Rule(1, FLOAT, _unary, elementwise=True)
        for op in (Op.NEG, Op.ABS, Op.SQRT, Op.FLOOR, Op.EXP, Op.LOG, Op.TANH, Op.SIGMOID)
    },
    Op.DIV: Rule(2, FLOAT, _binary, elementwise=True),
    **{op: Rule(2, NUMERIC, _binary, elementwise=True) for op in (Op.ADD, Op.SUB, Op.MUL, Op.MIN, Op.MAX)},
    **{op: Rule(2, NUMERIC, _compare, elementwise=True) for op in (Op.LT, Op.LE, Op.EQ)},
    Op.SELECT: Rule(3, (DType.BOOL,), _select, elementwise=True),
    Op.CONVERT: Rule(1, (DType.F32, DType.I32), _convert, elementwise=True),
    Op.BROADCAST: Rule(1, NUMERIC, _broadcast, ("axes",)),
    Op.RESHAPE: Rule(1, NUMERIC, _reshape),
    Op.TRANSPOSE: Rule(1, NUMERIC, _transpose, ("axes",)),
    Op.REDUCE_SUM: Rule(1, NUMERIC, _reduce, ("axes",)),
    Op.REDUCE_MAX: Rule(1, FLOAT, _reduce, ("axes",)),
    Op.ARGMAX: Rule(1, FLOAT, _argmax, ("axes",)),
    Op.MATMUL: Rule(2, FLOAT, _matmul, ("transpose_left", "transpose_right")),
    Op.ONE_HOT: Rule(1, (DType.I32,), _one_hot),
    Op.GATHER: Rule(2, FLOAT, _gather),
    Op.SCATTER_ADD: Rule(2, FLOAT, _scatter_add),
}


# --- verification -----------------------------------------------------------------------------------------------------


def verify(graph: Graph) -> None:
    """Check the law: returns when the graph is lawful, else raises LocalError naming node, operation and shapes."""
    for index, node in enumerate(graph.nodes):
        verify_node(node, index, graph.nodes)
    _verify_inputs(graph)
    _verify_outputs(graph)
    _verify_carried(graph)


def verify_node(node: Node, index: int, nodes: Sequence[Node]) -> None:
    """Check laws 1, 2, 3, 7 and 8 for the node that stands (or is about to stand) at `index`. Raises LocalError."""
    rule = RULES[node.op]
    try:
        _need(len(node.inputs) == rule.arity, f"takes {rule.arity} operands, got {len(node.inputs)}")
        _need(all(0 <= i < index for i in node.inputs), f"operands {node.inputs} are not earlier nodes")
        _need(len(node.shape) <= RANK_MAX, f"rank of {node.shape} is over {RANK_MAX}")
        _need(all(extent >= 0 for extent in node.shape), f"shape {node.shape} has a negative extent")
        _need(
            all(extent <= ELEMENTS_MAX for extent in node.shape), f"shape {node.shape} is over {ELEMENTS_MAX} elements"
        )
        _need(node.size <= ELEMENTS_MAX, f"shape {node.shape} is over {ELEMENTS_MAX} elements")
        for field in Attributes.__struct_fields__:
            unused = field not in rule.attributes and getattr(node.attributes, field) != getattr(NO_ATTRIBUTES, field)
            _need(not unused, f"does not use attribute {field}")
        operands = [nodes[i] for i in node.inputs]
        if operands:
            _need(operands[0].dtype in rule.dtypes, f"does not take {operands[0].dtype.value}")
        shape, dtype = rule.derive(node, operands)
        _need(
            node.shape == shape and node.dtype is dtype,
            f"must be {dtype.value} {shape}, not {node.dtype.value} {node.shape}",
        )
    except ValueError as error:
        raise LocalError(f"node %{index} {node.op.value}: {error}") from None


def _verify_inputs(graph: Graph) -> None:
    found = [(node.attributes.name, index) for index, node in enumerate(graph.nodes) if node.op is Op.INPUT]
    if len(found) != len(dict(found)) or dict(found) != graph.inputs:
        raise LocalError(f"inputs {sorted(graph.inputs.items())} are not the input nodes {found}")


def _verify_outputs(graph: Graph) -> None:
    for name, index in graph.outputs.items():
        if NAME_PATTERN.fullmatch(name) is None:
            raise LocalError(f"output name {name!r} is not allowed")
        if not 0 <= index < len(graph.nodes) or graph.nodes[index].dtype is DType.BOOL:
            raise LocalError(f"output {name!r} names node %{index}, which is missing or bool")
    if list(graph.checked) != sorted(set(graph.checked)):
        raise LocalError(f"checked outputs {graph.checked} are not sorted and distinct")
    for name in graph.checked:
        if name not in graph.outputs or graph.nodes[graph.outputs[name]].dtype is not DType.F32:
            raise LocalError(f"checked output {name!r} is not an f32 output")


def _verify_carried(graph: Graph) -> None:
    if len(set(graph.carried.values())) != len(graph.carried):
        raise LocalError(f"carried inputs {graph.carried} share an output")
    for name in graph.inputs.keys() & graph.outputs.keys():
        if graph.carried.get(name) != name:
            raise LocalError(f"input {name!r} and an output share a name, but it is not carried to itself: rename one")
    for source, target in graph.carried.items():
        if source not in graph.inputs or target not in graph.outputs:
            raise LocalError(f"carried {source!r} -> {target!r} does not join an input and an output")
        before, after = graph.nodes[graph.inputs[source]], graph.nodes[graph.outputs[target]]
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            raise LocalError(
                f"carried input {source!r} is {before.dtype.value} {before.shape}, "
                f"its output {target!r} is {after.dtype.value} {after.shape}"
            )


# --- text -------------------------------------------------------------------------------------------------------------


def format_graph(graph: Graph) -> str:
    """Return the graph as text, one node a line: `%3 = matmul(%0, %2) transpose_right : f32 (32, 10)`."""
    lines = [f"%{index} = {_format_node(node)}" for index, node in enumerate(graph.nodes)]
    carried_from = {target: source for source, target in graph.carried.items()}
    for name, index in graph.outputs.items():
        notes = [f"carried to {carried_from[name]}"] if name in carried_from else []
        notes += ["checked"] if name in graph.checked else []
        lines.append(f"output {name} = %{index}" + (f"  ({', '.join(notes)})" if notes else ""))
    return "\n".join(lines)


def _format_node(node: Node) -> str:
    attributes = node.attributes
    operands = ", ".join(f"%{i}" for i in node.inputs)
    notes = [f"axes={attributes.axes}"] if "axes" in RULES[node.op].attributes else []
    notes += [attributes.name] if attributes.name else []
    notes += [flag for flag in ("transpose_left", "transpose_right") if getattr(attributes, flag)]
    if node.op is Op.CONSTANT:
        notes.append(
            f"0x{int.from_bytes(attributes.bits[:4], 'little'):08x}" + ("" if len(attributes.bits) == 4 else "...")
        )
    body = f"({operands})" if operands else ""
    return " ".join([f"{node.op.value}{body}", *notes, f": {node.dtype.value} {node.shape}"])
