"""Graphs as bytes: they come back equal, and nothing but PeerError comes out of bad ones."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.engine.golden_cases import cases
from synaptic_mesh.engine.ir import Attributes, DType, Graph, Node, Op
from synaptic_mesh.engine.limits import Limits
from synaptic_mesh.engine.serialize import graph_digest, graph_from_bytes_untrusted, graph_to_bytes
from synaptic_mesh.engine.trace import f32, tanh, trace, where
from synaptic_mesh.engine.verify import verify

SMALL = trace(
    lambda x: {"y": tanh(x @ x.transpose()) + where(x.sum() < 1.0, 2.0, x.sum())}, {"x": f32(2, 3)}, checked=["y"]
)
DATA = graph_to_bytes(SMALL)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_round_trip(case):
    data = graph_to_bytes(case.graph)
    back = graph_from_bytes_untrusted(data)
    assert back == case.graph
    assert graph_to_bytes(back) == data


def test_the_digest_depends_on_everything():
    variants = [
        SMALL,
        replace(SMALL, checked=()),
        replace(SMALL, outputs={"z": SMALL.outputs["y"]}, checked=()),
        trace(lambda x: {"y": tanh(x)}, {"x": f32(2, 3)}),
        trace(lambda x: {"y": tanh(x)}, {"x": f32(3, 2)}),
        trace(lambda x: {"y": x * 0.1}, {"x": f32(3, 2)}),
        trace(lambda x: {"y": x * float(np.nextafter(np.float32(0.1), np.float32(1)))}, {"x": f32(3, 2)}),
    ]
    assert len({graph_digest(graph) for graph in variants}) == len(variants)


def test_the_digest_does_not_depend_on_the_order_of_names():
    both = {"a": 0, "b": 1}
    graph = trace(lambda a, b: {"y": a, "z": b}, {"a": f32(), "b": f32()})
    turned = replace(graph, inputs=dict(reversed(both.items())), outputs={"z": 1, "y": 0})
    assert graph_digest(turned) == graph_digest(graph)


@pytest.mark.parametrize(
    ("sentence", "graph"),
    [
        ("unlawful graph: node %0 neg", Graph((Node(Op.NEG, (0,), (), DType.F32),), {}, {})),
        ("are not the input nodes", replace(SMALL, inputs={})),
        ("over", Graph((Node(Op.INPUT, (), (1 << 62, 1 << 62), DType.F32, Attributes(name="x")),), {"x": 0}, {})),
        ("negative", Graph((Node(Op.INPUT, (), (-(1 << 63),), DType.F32, Attributes(name="x")),), {"x": 0}, {})),
        ("rank", Graph((Node(Op.INPUT, (), (1,) * 10_000, DType.F32, Attributes(name="x")),), {"x": 0}, {})),
    ],
)
def test_unlawful_graphs_are_refused(sentence, graph):
    with pytest.raises(PeerError, match=sentence):
        graph_from_bytes_untrusted(encode(graph))


def test_too_many_nodes_are_refused_before_they_are_verified():
    nodes = (Node(Op.NEG, (9,), (), DType.F32),) * 11
    with pytest.raises(PeerError, match="11 nodes, the limit is 10"):
        graph_from_bytes_untrusted(encode(Graph(nodes, {}, {})), Limits(nodes_max=10))


def test_an_expensive_graph_is_refused():
    with pytest.raises(PeerError, match="FLOPs, the limit is 100"):
        graph_from_bytes_untrusted(DATA, Limits(flops_max=100))


@given(st.binary(max_size=200))
def test_noise_raises_only_peer_error(data):
    with contextlib.suppress(PeerError):
        graph_from_bytes_untrusted(data)


@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_bytes_give_a_lawful_graph_or_peer_error(changes):
    damaged = bytearray(DATA)
    for at, byte in changes:
        damaged[at] = byte
    with contextlib.suppress(PeerError):
        verify(graph_from_bytes_untrusted(bytes(damaged)))


shapes = st.lists(st.integers(-1, 5), max_size=4).map(tuple)
attributes = st.builds(
    Attributes,
    name=st.sampled_from(["", "x"]),
    bits=st.sampled_from([b"", b"\0\0\0\0", b"\1\0\x80\x7f", b"\0" * 8]),
    axes=st.lists(st.integers(-1, 3), max_size=9).map(tuple),
    transpose_left=st.booleans(),
)
nodes = st.builds(
    Node,
    op=st.sampled_from(Op),
    inputs=st.lists(st.integers(-1, 3), max_size=3).map(tuple),
    shape=shapes,
    dtype=st.sampled_from(DType),
    attributes=attributes,
)


@given(st.lists(nodes, max_size=4), st.dictionaries(st.text(max_size=3), st.integers(-1, 4), max_size=2))
def test_well_typed_nonsense_raises_only_peer_error(drawn, names):
    for inputs in (names, {"x": 0}):
        with contextlib.suppress(PeerError):
            verify(graph_from_bytes_untrusted(encode(Graph(tuple(drawn), inputs, names))))
