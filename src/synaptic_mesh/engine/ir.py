"""The intermediate representation: one SSA graph of typed tensors with static shapes, and its written law.

A graph says *what* is computed, down to the bits (docs/protocol/semantics.md gives every operation as scalar code);
it never says how.

The law, checked by `verify.verify` between passes and at every border:
 1. `nodes` is in topological order: a node's operands have smaller indices. A node computes one tensor.
 2. Every node states its shape and dtype, and they are what its row of `rules.table.RULES` derives from operands and
    attributes.
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
    (StepInvalid). So does an index out of range in an operation of CHECKED_INDEX, even where nothing uses the result.
    After an invalid step carried inputs and outputs are undefined: write anew.
 7. Constants are u32 bit patterns, little-endian: one (a splat) or one per element; f32 NaN only as 0x7fc00000.
 8. Extents are >= 0 and bounded by ELEMENTS_MAX, ranks by RANK_MAX. Zero extents are legal everywhere but on ARGMAX's
    axis.
 9. SCAN holds a graph of its own, its body, and runs it `length` times (`scan_body` has its names and bounds). The
    body is lawful, checks no output and has no dense constants. Its operands are the states before the first step,
    then the sequences, which have the steps as their first axis, then what is the same in every step. The node's tensor
    is (n,): the states after the last step, then each output of all steps, one behind the other, each row-major; they
    all have one dtype.
"""

import enum
import math
import re

import msgspec

from synaptic_mesh.base.codec import Record

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
    ERF = "erf"
    SIN = "sin"
    COS = "cos"
    ROUND = "round"
    DIV = "div"
    POW = "pow"
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
    BITCAST = "bitcast"
    # elementwise, i32, u32
    AND = "and"
    OR = "or"
    XOR = "xor"
    SHIFT_LEFT = "shift_left"
    SHIFT_RIGHT = "shift_right"
    THREEFRY = "threefry"
    # movement
    BROADCAST = "broadcast"
    RESHAPE = "reshape"
    TRANSPOSE = "transpose"
    SLICE = "slice"
    PAD = "pad"
    CONCAT = "concat"
    # reductions of one axis, which disappears
    REDUCE_SUM = "reduce_sum"
    REDUCE_MAX = "reduce_max"
    ARGMAX = "argmax"
    # order along one axis
    CUMSUM = "cumsum"
    TOP_K = "top_k"
    # contractions and indexing
    MATMUL = "matmul"
    CONV = "conv"
    ONE_HOT = "one_hot"
    GATHER = "gather"
    SCATTER_ADD = "scatter_add"
    GATHER_LAST = "gather_last"
    SCATTER_ADD_LAST = "scatter_add_last"
    # repetition
    SCAN = "scan"


CHECKED_INDEX = frozenset({Op.ONE_HOT, Op.GATHER, Op.SCATTER_ADD, Op.GATHER_LAST, Op.SCATTER_ADD_LAST})
"""Operations that run even where nothing uses them: a bad index makes the step invalid (law 6). So does a SCAN whose
body holds one."""


class Attributes(Record):
    """What a node knows beyond its operands. Each operation uses the fields that its row of RULES names."""

    name: str = ""
    """INPUT: the input's name."""
    bits: bytes = b""
    """CONSTANT: little-endian u32 patterns, one (splat) or one per element, row-major. PAD: the pattern of the fill.
    THREEFRY: the key, two patterns. SCAN: the canonical bytes of the body."""
    axes: tuple[int, ...] = ()
    """BROADCAST: output axis of each operand axis, ascending. TRANSPOSE: operand axis of each output axis (as in
    numpy). REDUCE_*, ARGMAX: the one axis that disappears. CONCAT, CUMSUM, TOP_K: the one axis.
    SLICE, PAD, CONV, SHIFT_*, SCAN: other integers, see `geometry`."""
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
