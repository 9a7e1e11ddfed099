"""Whether a graph is lawful (the law is in `ir`'s docstring)."""

from collections.abc import Sequence
from functools import lru_cache

from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.engine.ir import (
    ELEMENTS_MAX,
    NAME_PATTERN,
    NO_ATTRIBUTES,
    RANK_MAX,
    Attributes,
    DType,
    Graph,
    Node,
    Op,
)
from synaptic_mesh.engine.rules.rule import Rule
from synaptic_mesh.engine.rules.table import RULES
from synaptic_mesh.engine.scan_body import BODIES_KEPT, decode_body_untrusted


def verify(graph: Graph) -> None:
    """Check the law: returns when the graph is lawful, else raises LocalError naming node, operation and shapes."""
    for index, node in enumerate(graph.nodes):
        verify_node(node, index, graph.nodes)
    _verify_inputs(graph)
    _verify_outputs(graph)
    _verify_carried(graph)


def verify_node(node: Node, index: int, nodes: Sequence[Node]) -> None:
    """Check laws 1, 2, 3, 7 and 8 for the node that stands (or is about to stand) at `index`. Raises LocalError."""
    try:
        _verify_node(node, index, nodes)
    except ValueError as error:
        raise LocalError(f"node %{index} {node.op.value}: {error}") from None


def _verify_node(node: Node, index: int, nodes: Sequence[Node]) -> None:
    """Raise ValueError for a node that breaks the law. Every traced node passes here several times, so a reason is
    put into words only when there is one."""
    rule = RULES[node.op]
    _need_arity(node, rule)
    for operand in node.inputs:
        if not 0 <= operand < index:
            raise ValueError(f"operands {node.inputs} are not earlier nodes")
    _verify_shape(node)
    if node.attributes is not NO_ATTRIBUTES:
        for field in Attributes.__struct_fields__:
            if field not in rule.attributes and getattr(node.attributes, field) != getattr(NO_ATTRIBUTES, field):
                raise ValueError(f"does not use attribute {field}")
    if node.op is Op.SCAN:
        _verify_body(node.attributes.bits)
    operands = [nodes[i] for i in node.inputs]
    if operands and operands[0].dtype not in rule.dtypes:
        raise ValueError(f"does not take {operands[0].dtype.value}")
    shape, dtype = rule.derive(node, operands)
    if node.shape != shape or node.dtype is not dtype:
        raise ValueError(f"must be {dtype.value} {shape}, not {node.dtype.value} {node.shape}")


def _verify_shape(node: Node) -> None:
    shape = node.shape
    if len(shape) > RANK_MAX:
        raise ValueError(f"rank of {shape} is over {RANK_MAX}")
    for extent in shape:
        if extent < 0:
            raise ValueError(f"shape {shape} has a negative extent")
        if extent > ELEMENTS_MAX:
            raise ValueError(f"shape {shape} is over {ELEMENTS_MAX} elements")
    if node.size > ELEMENTS_MAX:
        raise ValueError(f"shape {shape} is over {ELEMENTS_MAX} elements")


@lru_cache(maxsize=BODIES_KEPT)
def _verify_body(bits: bytes) -> None:
    """Raise ValueError unless the bytes are a lawful body; what an operand must be is the rule's."""
    try:
        body = decode_body_untrusted(bits)
        verify(body)
    except (PeerError, LocalError) as error:
        raise ValueError(f"body: {error}") from None
    if body.checked:
        raise ValueError(f"body: outputs {body.checked} are checked, which is for whole steps")
    for index, node in enumerate(body.nodes):
        if node.op is Op.CONSTANT and not node.is_splat:
            raise ValueError(f"body: node %{index} is a dense constant: make it an operand")


def _need_arity(node: Node, rule: Rule) -> None:
    count = len(node.inputs)
    if rule.arity is None:
        if not 1 <= count <= rule.operands_max:
            raise ValueError(f"takes 1 to {rule.operands_max} operands, got {count}")
    elif count != rule.arity:
        raise ValueError(f"takes {rule.arity} operands, got {count}")


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
