"""The law of the IR: every breach is refused with a sentence that names node and shapes."""

import pytest
from msgspec.structs import replace

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import Attributes, DType, Graph, Node, Op
from synaptic_mesh.engine.rules.table import RULES
from synaptic_mesh.engine.text import format_graph
from synaptic_mesh.engine.verify import verify

F32, I32, BOOL = DType.F32, DType.I32, DType.BOOL
ONE = (0x3F800000).to_bytes(4, "little")


def value(name="x", shape=(2, 3), dtype=F32):
    return Node(Op.INPUT, (), shape, dtype, Attributes(name=name))


def graph(*nodes, **fields):
    inputs = {node.attributes.name: i for i, node in enumerate(nodes) if node.op is Op.INPUT}
    return Graph(nodes, inputs, fields.pop("outputs", {"y": len(nodes) - 1}), **fields)


def test_every_operation_has_a_rule():
    assert set(RULES) == set(Op)


def test_a_lawful_graph_passes_and_is_readable():
    lawful = graph(
        value("x"),
        value("w", (4, 3)),
        Node(Op.MATMUL, (0, 1), (2, 4), F32, Attributes(transpose_right=True)),
        Node(Op.CONSTANT, (), (2, 4), F32, Attributes(bits=ONE)),
        Node(Op.MAX, (2, 3), (2, 4), F32),
        Node(Op.REDUCE_SUM, (4,), (2,), F32, Attributes(axes=(1,))),
        outputs={"y": 5},
        checked=("y",),
    )
    verify(lawful)
    assert format_graph(lawful).splitlines() == [
        "%0 = input x : f32 (2, 3)",
        "%1 = input w : f32 (4, 3)",
        "%2 = matmul(%0, %1) transpose_right : f32 (2, 4)",
        "%3 = constant 0x3f800000 : f32 (2, 4)",
        "%4 = max(%2, %3) : f32 (2, 4)",
        "%5 = reduce_sum(%4) axes=(1,) : f32 (2,)",
        "output y = %5  (checked)",
    ]


X, Y = value("x"), value("y", (3, 2))
UNLAWFUL_NODES = [
    ("takes 2 operands", Node(Op.ADD, (0,), (2, 3), F32)),
    ("not earlier nodes", Node(Op.NEG, (2,), (2, 3), F32)),
    ("not earlier nodes", Node(Op.NEG, (-1,), (2, 3), F32)),
    (r"\(2, 3\) and \(3, 2\) differ", Node(Op.ADD, (0, 1), (2, 3), F32)),
    (r"must be f32 \(2, 3\), not f32 \(3,\)", Node(Op.NEG, (0,), (3,), F32)),
    ("must be bool", Node(Op.LT, (0, 0), (2, 3), F32)),
    ("does not use attribute axes", Node(Op.NEG, (0,), (2, 3), F32, Attributes(axes=(1,)))),
    ("does not take f32", Node(Op.ONE_HOT, (0,), (2, 3, 4), F32)),
    ("no conversion", Node(Op.CONVERT, (0,), (2, 3), DType.U32)),
    ("not ascending", Node(Op.BROADCAST, (0,), (3, 2), F32, Attributes(axes=(1, 0)))),
    ("does not fit axes", Node(Op.BROADCAST, (0,), (2, 4, 4), F32, Attributes(axes=(0, 2)))),
    ("do not lie in", Node(Op.BROADCAST, (0,), (2, 3), F32, Attributes(axes=(0, 2)))),
    ("do not name every axis", Node(Op.BROADCAST, (0,), (2, 3), F32, Attributes(axes=(0,)))),
    ("as many elements", Node(Op.RESHAPE, (0,), (5,), F32)),
    ("no permutation", Node(Op.TRANSPOSE, (0,), (3, 2), F32, Attributes(axes=(1, 1)))),
    ("not one axis", Node(Op.REDUCE_SUM, (0,), (), F32, Attributes(axes=(0, 1)))),
    ("not one axis", Node(Op.REDUCE_MAX, (0,), (2,), F32, Attributes(axes=(2,)))),
    (r"inner extents of \(2, 3\) and \(2, 3\)", Node(Op.MATMUL, (0, 0), (2, 3), F32)),
    ("i32 indices", Node(Op.GATHER, (0, 0), (2, 3), F32)),
    ("do not fit updates", Node(Op.SCATTER_ADD, (0, 0), (4, 3), F32)),
    ("constant bytes", Node(Op.CONSTANT, (), (2, 3), F32, Attributes(bits=ONE * 5))),
    ("NaN at element 1", Node(Op.CONSTANT, (), (2,), F32, Attributes(bits=ONE + b"\1\0\xc0\x7f"))),
    ("cannot be bool", Node(Op.CONSTANT, (), (), BOOL, Attributes(bits=ONE))),
    ("cannot be bool", value("z", dtype=BOOL)),
    ("not allowed", value("no spaces")),
    ("not allowed", value("x" * 65)),
    ("negative extent", value("z", (-1,))),
    ("over", value("z", (1 << 29,))),
    ("over", value("z", (1 << 20, 1 << 20))),
    ("rank", value("z", (1,) * 7)),
    ("count 32 is outside", Node(Op.SHIFT_LEFT, (2,), (4,), I32, Attributes(axes=(32,)))),
    ("not one count", Node(Op.SHIFT_RIGHT, (2,), (4,), I32)),
    ("does not take f32", Node(Op.XOR, (0, 0), (2, 3), F32)),
    ("does not take i32", Node(Op.THREEFRY, (2, 2), (4,), I32, Attributes(bits=bytes(8)))),
    ("a key has 8 bytes", Node(Op.THREEFRY, (3, 3), (4,), DType.U32, Attributes(bits=ONE))),
    ("no bitcast f32 -> f32", Node(Op.BITCAST, (0,), (2, 3), F32)),
    ("no bitcast f32 -> bool", Node(Op.BITCAST, (0,), (2, 3), BOOL)),
    ("not a start and a step per axis", Node(Op.SLICE, (0,), (2, 3), F32, Attributes(axes=(0, 0, 1)))),
    ("ranks of", Node(Op.SLICE, (0,), (2,), F32, Attributes(axes=(0, 1)))),
    ("step 0 on axis 1", Node(Op.SLICE, (0,), (2, 2), F32, Attributes(axes=(0, 0, 1, 0)))),
    ("step 2 on axis 1 of 1 elements", Node(Op.SLICE, (0,), (2, 1), F32, Attributes(axes=(0, 0, 1, 2)))),
    ("0 to 4 on axis 1 is outside", Node(Op.SLICE, (0,), (2, 3), F32, Attributes(axes=(0, 0, 1, 2)))),
    ("1 to -1 on axis 0 is outside", Node(Op.SLICE, (0,), (2, 3), F32, Attributes(axes=(1, 0, -2, 1)))),
    ("4 to 4 on axis 1 is outside", Node(Op.SLICE, (0,), (2, 0), F32, Attributes(axes=(0, 4, 1, 1)))),
    ("0 to 2 on axis 1 is outside", Node(Op.PAD, (0,), (2, 2), F32, Attributes(axes=(0, 0, 1, 1), bits=ONE))),
    ("a fill has 4 bytes", Node(Op.PAD, (0,), (2, 3), F32, Attributes(axes=(0, 0, 1, 1)))),
    ("not canonical", Node(Op.PAD, (0,), (2, 3), F32, Attributes(axes=(0, 0, 1, 1), bits=b"\1\0\xc0\x7f"))),
    ("differ beside axis 0", Node(Op.CONCAT, (0, 1), (5, 3), F32, Attributes(axes=(0,)))),
    ("must be f32", Node(Op.CONCAT, (0, 0), (2, 3), F32, Attributes(axes=(0,)))),
    ("takes 1 to 64 operands, got 65", Node(Op.CONCAT, (0,) * 65, (130, 3), F32, Attributes(axes=(0,)))),
    ("takes 1 to 64 operands, got 0", Node(Op.CONCAT, (), (0,), F32, Attributes(axes=(0,)))),
    ("not one axis", Node(Op.CUMSUM, (0,), (2, 3), F32, Attributes(axes=(2,)))),
    ("4 of 3 elements", Node(Op.TOP_K, (0,), (2, 4), I32, Attributes(axes=(1,)))),
    ("must be i32", Node(Op.TOP_K, (0,), (2, 2), F32, Attributes(axes=(1,)))),
    ("batches of equal rank", Node(Op.MATMUL, (0, 4), (2, 2), F32)),
    ("batch extents of", Node(Op.MATMUL, (4, 5), (1, 2, 2), F32)),
    ("i32, not f32", Node(Op.GATHER_LAST, (0, 0), (2, 3), F32)),
    ("more than the last axis", Node(Op.GATHER_LAST, (0, 2), (4,), F32)),
    ("more than the last axis", Node(Op.SCATTER_ADD_LAST, (0, 2), (2, 3), F32)),
    ("do not fit updates", Node(Op.SCATTER_ADD_LAST, (0, 2), (9,), F32)),
]


def conv(numbers, shape=(1, 4, 2, 2), inputs=(6, 7)):
    return Node(Op.CONV, inputs, shape, F32, Attributes(axes=numbers))


SIMPLE = (0, 0, 1, 1, 1, 1, 1, 1, 1)
UNLAWFUL_NODES += [
    ("not the 9 integers", conv(SIMPLE[:8])),
    (r"steps \(0, 1, 1, 1, 1, 1\)", conv((0, 0, 0, 1, 1, 1, 1, 1, 1))),
    ("3 groups do not divide 4", conv((*SIMPLE[:8], 3))),
    ("0 groups do not divide", conv((*SIMPLE[:8], 0))),
    ("2 groups of 2 channels are not 2", conv((*SIMPLE[:8], 2))),
    ("over 268435456", conv((1 << 29, *SIMPLE[1:]))),
    ("must be f32", conv(SIMPLE, (2, 4, 2, 2))),
    ("conv needs", conv(SIMPLE, (1, 4, 2), (6, 7))),
    ("conv needs", conv(SIMPLE, (1, 4, 2, 2), (0, 7))),
]
OPERANDS = (
    *(value("x"), value("y", (3, 2)), value("i", (4,), I32), value("u", (4,), DType.U32)),
    *(value("b", (2, 2, 3)), value("c", (1, 3, 2)), value("f", (1, 2, 3, 3)), value("w", (4, 2, 2, 2))),
)


@pytest.mark.parametrize(("reason", "node"), UNLAWFUL_NODES)
def test_an_unlawful_node_is_named(reason, node):
    at = len(OPERANDS)
    moved = replace(node, inputs=tuple(at if i == 2 and "earlier" in reason else i for i in node.inputs))
    with pytest.raises(LocalError, match=rf"node %{at} {node.op.value}: .*{reason}"):
        verify(graph(*OPERANDS, moved))


def test_lawful_neighbours_of_unlawful_nodes_pass():
    verify(graph(*OPERANDS, conv(SIMPLE), conv((-5, 7, 3, 1, 2, 1, 1, 4, 1), (1, 4, 0, 9)), outputs={"out": 9}))
    flipped = Node(Op.SLICE, (0,), (2, 2), F32, Attributes(axes=(1, 2, -1, -2)))
    empty = Node(Op.SLICE, (0,), (2, 0), F32, Attributes(axes=(0, 3, 1, 1)))
    placed = Node(Op.PAD, (0,), (2, 9), F32, Attributes(axes=(1, 1, -1, 3), bits=ONE))
    verify(graph(*OPERANDS, flipped, empty, placed, outputs={"p": 8, "q": 9, "r": 10}))


def test_argmax_needs_an_element():
    with pytest.raises(LocalError, match="extent 0"):
        verify(graph(value("x", (2, 0)), Node(Op.ARGMAX, (0,), (2,), I32, Attributes(axes=(1,)))))


def test_bool_goes_only_into_select():
    less = Node(Op.LT, (0, 0), (2, 3), BOOL)
    with pytest.raises(LocalError, match="missing or bool"):
        verify(graph(X, less))
    with pytest.raises(LocalError, match="does not take bool"):
        verify(graph(X, less, Node(Op.RESHAPE, (1,), (6,), BOOL)))
    with pytest.raises(LocalError, match="not bool"):
        verify(graph(X, less, Node(Op.SELECT, (1, 1, 1), (2, 3), BOOL), outputs={}))
    verify(graph(X, less, Node(Op.SELECT, (1, 0, 0), (2, 3), F32)))


BASE = graph(X, Y, Node(Op.NEG, (0,), (2, 3), F32))


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("are not the input nodes", {"inputs": {"x": 0}}),
        ("are not the input nodes", {"inputs": {"x": 1, "y": 0}}),
        ("share a name", {}),
        ("missing or bool", {"outputs": {"out": 3}}),
        ("missing or bool", {"outputs": {"out": -1}}),
        ("is not allowed", {"outputs": {"": 2}}),
        ("not sorted", {"outputs": {"a": 2, "b": 2}, "checked": ("b", "a")}),
        ("not an f32 output", {"outputs": {"out": 2}, "checked": ("x",)}),
        ("does not join", {"outputs": {"out": 2}, "carried": {"z": "out"}}),
        (r"is f32 \(3, 2\), its output 'out' is f32 \(2, 3\)", {"outputs": {"out": 2}, "carried": {"y": "out"}}),
        ("share an output", {"outputs": {"out": 2}, "carried": {"x": "out", "y": "out"}}),
    ],
)
def test_an_unlawful_border_is_refused(reason, changes):
    with pytest.raises(LocalError, match=reason):
        verify(replace(BASE, **changes))


def test_two_inputs_of_one_name_are_refused():
    with pytest.raises(LocalError, match="are not the input nodes"):
        verify(graph(value("x"), value("x"), Node(Op.ADD, (0, 1), (2, 3), F32)))
