"""Rewrites keep every bit, and each one does something."""

import numpy as np
import pytest

from synaptic_mesh.engine.golden import run_case
from synaptic_mesh.engine.golden_cases import cases
from synaptic_mesh.engine.ir import Attributes, DType, Op
from synaptic_mesh.engine.passes import simplify
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import f32, i32, matmul, one_hot, tanh, trace


class Simplifying(ReferenceBackend):
    """The reference behind the passes."""

    def compile(self, graph):
        return super().compile(simplify(graph))


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_no_bit_changes(case):
    assert run_case(case, Simplifying()) == run_case(case, ReferenceBackend())


def ops(function, **specs):
    return [node.op for node in simplify(trace(function, specs)).nodes]


def test_dead_nodes_go_but_inputs_and_checks_stay():
    def function(x, unused, i):  # noqa: ARG001
        tanh(x)
        one_hot(i, 3)
        return x * 2.0

    kept = ops(function, x=f32(), unused=f32(), i=i32(2))
    assert kept == [Op.INPUT, Op.INPUT, Op.INPUT, Op.ONE_HOT, Op.CONSTANT, Op.MUL]


def test_equal_nodes_are_shared():
    assert ops(lambda x: tanh(x) * tanh(x), x=f32()) == [Op.INPUT, Op.TANH, Op.MUL]


def test_nodes_that_differ_in_attributes_are_not_shared():
    assert ops(lambda x: x.sum(0) + x.sum(1), x=f32(2, 2)).count(Op.REDUCE_SUM) == 2


def test_identities_of_movement_go():
    def function(x):
        wide = x.builder.add(Op.BROADCAST, [x], (2, 3), DType.F32, Attributes(axes=(0, 1)))
        return wide.reshape(2, 3).transpose(0, 1)

    assert ops(function, x=f32(2, 3)) == [Op.INPUT]


def test_identities_of_slices_pads_and_joins_go():
    def function(x):
        stride = Attributes(axes=(0, 0, 1, 1))
        same = x.builder.add(Op.SLICE, [x], (2, 3), DType.F32, stride)
        same = x.builder.add(Op.PAD, [same], (2, 3), DType.F32, Attributes(axes=(0, 0, 1, 1), bits=bytes(4)))
        return x.builder.add(Op.CONCAT, [same], (2, 3), DType.F32, Attributes(axes=(1,)))

    assert ops(function, x=f32(2, 3)) == [Op.INPUT]
    assert ops(lambda x: x[::-1], x=f32(2)) == [Op.INPUT, Op.SLICE]


def test_transposes_of_batches_fold_into_flags():
    def function(a, b):
        return matmul(a.transpose(0, 2, 1), b.transpose(1, 0, 2))

    graph = simplify(trace(function, {"a": f32(3, 4, 2), "b": f32(4, 3, 5)}))
    assert [node.op for node in graph.nodes] == [Op.INPUT, Op.INPUT, Op.TRANSPOSE, Op.MATMUL]
    assert graph.nodes[3].attributes == Attributes(transpose_left=True)
    exchanged = trace(lambda a: matmul(a.transpose(1, 0, 3, 2), a.transpose(0, 1, 3, 2)), {"a": f32(2, 2, 3, 3)})
    flags = [node.attributes for node in simplify(exchanged).nodes if node.op is Op.MATMUL]
    assert flags == [Attributes(transpose_right=True)]


def test_identities_of_arithmetic_stay():
    assert ops(lambda x: (x + 0.0) - (x * 0.0), x=f32()).count(Op.MUL) == 1


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("right", [False, True])
def test_transposes_fold_into_flags(left, right):
    def function(a, b):
        return matmul(a.transpose(), b.transpose(), transpose_left=left, transpose_right=right)

    graph = trace(function, {"a": f32(4, 4), "b": f32(4, 4)})
    simple = simplify(graph)
    assert [node.op for node in simple.nodes] == [Op.INPUT, Op.INPUT, Op.MATMUL]
    values = {name: np.arange(16, dtype=np.float32).reshape(4, 4) + i for i, name in enumerate("ab")}
    found = [ReferenceBackend().compile(g)(values)["output"].tobytes() for g in (graph, simple)]
    assert found[0] == found[1]
