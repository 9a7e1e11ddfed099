"""The law of SCAN: what a body may be, what a graph with loops may cost, and bytes of peers."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.engine.functions.scan import scan
from synaptic_mesh.engine.geometry import ScanGeometry
from synaptic_mesh.engine.golden_cases import build_case
from synaptic_mesh.engine.ir import Attributes, DType, Graph, Node, Op
from synaptic_mesh.engine.limits import Limits, admit, arena_bytes, executions, flops
from synaptic_mesh.engine.scan_body import SCAN_DEPTH_MAX, SCAN_LENGTH_MAX, body_bytes, checks_index, scan_body
from synaptic_mesh.engine.serialize import graph_digest, graph_from_bytes_untrusted, graph_to_bytes
from synaptic_mesh.engine.text import format_graph
from synaptic_mesh.engine.trace import f32, tanh, trace
from synaptic_mesh.engine.verify import verify


def running(length):
    return trace(
        lambda x: scan(
            lambda s, i: ({"s": tanh(s["s"] * 0.5 + i["x"])}, {"y": s["s"]}), {"s": x[0]}, {"x": x}, unroll=False
        ).outputs["y"],
        {"x": f32(length, 3)},
    )


GRAPH = running(10)
AT = next(index for index, node in enumerate(GRAPH.nodes) if node.op is Op.SCAN)
SCAN = GRAPH.nodes[AT]
BODY = scan_body(SCAN)
DATA = graph_to_bytes(GRAPH)


def with_scan(node):
    return replace(GRAPH, nodes=(*GRAPH.nodes[:AT], node, *GRAPH.nodes[AT + 1 :]))


def with_body(body):
    return with_scan(replace(SCAN, attributes=replace(SCAN.attributes, bits=body_bytes(body))))


def with_numbers(**changes):
    geometry = ScanGeometry.of(SCAN)._replace(**changes)
    return with_scan(replace(SCAN, attributes=replace(SCAN.attributes, axes=geometry.axes)))


def dense_constant():
    constant = Node(Op.CONSTANT, (), (3,), DType.F32, Attributes(bits=bytes(12)))
    return replace(BODY, nodes=(*BODY.nodes, constant))


def nested(depth):
    """Loops of 3 steps inside one another."""

    def build(x):
        def step(level):
            def run(states, slices):
                if level == 0:
                    return {"s": states["s"] + slices["x"]}, {}
                return {"s": scan(step(level - 1), states, {"x": x}, unroll=False).states["s"]}, {}

            return run

        return scan(step(depth - 1), {"s": x[0]}, {"x": x}, unroll=False).states["s"]

    return trace(build, {"x": f32(3, 2)})


@pytest.mark.parametrize(
    ("sentence", "graph"),
    [
        ("body: cannot decode", with_scan(replace(SCAN, attributes=replace(SCAN.attributes, bits=b"no body")))),
        ("body: node %0", with_body(replace(BODY, nodes=(Node(Op.NEG, (0,), (), DType.F32), *BODY.nodes[1:])))),
        ("length 0 is outside", with_numbers(length=0)),
        ("is outside 1..", with_numbers(length=SCAN_LENGTH_MAX + 1)),
        ("operand 1 is f32 (10, 3), body input 'slice.0' takes f32 (11, 3)", with_numbers(length=11)),
        ("reverse 2 is not 0 or 1", with_numbers(reverse=2)),
        ("are not among 2 operands", with_numbers(states=1 << 62)),
        ("are not among 2 operands", with_numbers(states=-1)),
        ("body inputs ['slice.0', 'state.0'] are not", with_numbers(states=2, sequences=0)),
        (
            "axes (1, 2) are not the 4 integers",
            with_scan(replace(SCAN, attributes=replace(SCAN.attributes, axes=(1, 2)))),
        ),
        ("must be f32 (33,), not f32 (34,)", with_scan(replace(SCAN, shape=(34,)))),
        ("not carried to itself", with_body(replace(BODY, carried={}, outputs=BODY.outputs))),
        ("are checked", with_body(replace(BODY, checked=("out.0",)))),
        ("dense constant: make it an operand", with_body(dense_constant())),
        ("takes 1 to 256 operands", with_scan(replace(SCAN, inputs=SCAN.inputs * 200))),
    ],
)
def test_unlawful_scans_are_refused(sentence, graph):
    with pytest.raises(LocalError, match=re.escape(sentence)):
        verify(graph)
    with pytest.raises(PeerError):
        graph_from_bytes_untrusted(encode(graph))


def test_scans_may_stand_so_deep_inside_one_another():
    graph = nested(SCAN_DEPTH_MAX)
    assert graph_from_bytes_untrusted(graph_to_bytes(graph)) == graph
    with pytest.raises(LocalError, match=f"more than {SCAN_DEPTH_MAX} deep"):
        nested(SCAN_DEPTH_MAX + 1)


def test_bodies_deeper_than_the_stack_are_refused():
    bits = body_bytes(BODY)
    for _ in range(2000):
        bits = body_bytes(Graph((replace(SCAN, inputs=(), attributes=Attributes(bits=bits)),), {}, {}))
    node = replace(SCAN, attributes=replace(SCAN.attributes, bits=bits))
    with pytest.raises(PeerError, match="deep"):
        graph_from_bytes_untrusted(encode(with_scan(node)))


def test_every_step_costs():
    short, long = running(10), running(1000)
    body = sum(node.op not in (Op.INPUT, Op.CONSTANT) for node in BODY.nodes)
    assert executions(long) - executions(short) == 990 * body
    assert flops(long) - flops(short) >= 990 * flops(BODY)
    assert arena_bytes(short) > sum(4 * node.size for node in BODY.nodes)
    with pytest.raises(LocalError, match=r"3\d{3} executions of operations, the limit is 2000"):
        admit(long, Limits(executions_max=2000))
    deep = nested(3)
    assert executions(deep) > 27
    with pytest.raises(LocalError, match="operations, the limit is 4"):
        admit(deep, Limits(operations_max=4))


def test_nodes_of_bodies_count():
    with pytest.raises(PeerError, match=r"nodes, the limit is 8"):
        graph_from_bytes_untrusted(DATA, Limits(nodes_max=8))
    assert len(GRAPH.nodes) <= 8


def test_a_body_that_checks_an_index_makes_its_scan_checking():
    assert not checks_index(SCAN)
    graph = build_case("loop_lookup").graph
    assert any(checks_index(node) for node in graph.nodes if node.op is Op.SCAN)


def test_the_digest_depends_on_the_body():
    assert graph_digest(running(10)) == graph_digest(GRAPH)
    assert len({graph_digest(running(length)) for length in (10, 11)}) == 2


def test_text_shows_the_body():
    assert "\n  %0 = input state.0" in format_graph(GRAPH)


@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_bytes_give_a_lawful_graph_or_peer_error(changes):
    damaged = bytearray(DATA)
    for at, byte in changes:
        damaged[at] = byte
    with contextlib.suppress(PeerError):
        verify(graph_from_bytes_untrusted(bytes(damaged)))


BODY_DATA = body_bytes(BODY)


@given(st.lists(st.tuples(st.integers(0, len(BODY_DATA) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_damaged_bodies_give_a_lawful_graph_or_peer_error(changes):
    damaged = bytearray(BODY_DATA)
    for at, byte in changes:
        damaged[at] = byte
    node = replace(SCAN, attributes=replace(SCAN.attributes, bits=bytes(damaged)))
    with contextlib.suppress(PeerError):
        verify(graph_from_bytes_untrusted(encode(with_scan(node))))
