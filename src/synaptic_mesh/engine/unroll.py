"""SCANs written out: the same tensors from a graph without loops, for formats that have none and for checks.

Not a rewrite for compiling: the result grows with the lengths, and may be over the admission limits.
"""

import msgspec

from synaptic_mesh.engine.geometry import ScanGeometry
from synaptic_mesh.engine.ir import Attributes, Graph, Node, Op, Shape
from synaptic_mesh.engine.rules.rule import OPERANDS_MAX
from synaptic_mesh.engine.scan_body import OUT, SLICE, STATE, name_of, operand_names, scan_body
from synaptic_mesh.engine.verify import verify


def unrolled(graph: Graph) -> Graph:
    """Return a verified graph that computes the same bits without SCAN."""
    if all(node.op is not Op.SCAN for node in graph.nodes):
        return graph
    nodes: list[Node] = []
    place = _append(nodes, graph, {})
    flat = msgspec.structs.replace(
        graph,
        nodes=tuple(nodes),
        inputs={name: place[index] for name, index in graph.inputs.items()},
        outputs={name: place[index] for name, index in graph.outputs.items()},
    )
    verify(flat)
    return flat


def _append(nodes: list[Node], graph: Graph, given: dict[str, int]) -> list[int]:
    """Append the graph's nodes, with `given` nodes for its inputs; return the place of each."""
    place: list[int] = []
    for node in graph.nodes:
        if node.op is Op.INPUT and node.attributes.name in given:
            place.append(given[node.attributes.name])
            continue
        moved = msgspec.structs.replace(node, inputs=tuple(place[i] for i in node.inputs))
        if node.op is Op.SCAN:
            place.append(_append_scan(nodes, moved))
        else:
            nodes.append(moved)
            place.append(len(nodes) - 1)
    return place


def _append_scan(nodes: list[Node], scan: Node) -> int:
    body, geometry = scan_body(scan), ScanGeometry.of(scan)
    operands = dict(zip(operand_names(geometry, len(scan.inputs)), scan.inputs, strict=True))
    slices = [name for name in operands if name.startswith(SLICE)]
    sequences = {name: operands[name] for name in slices}
    outs = len(body.outputs) - geometry.states
    kept: list[list[int]] = [[] for _ in range(outs)]
    for step in range(geometry.length):
        at = geometry.length - 1 - step if geometry.reverse else step
        given = operands | {name: _slice(nodes, index, at) for name, index in sequences.items()}
        place = _append(nodes, body, given)
        found = {name: place[index] for name, index in body.outputs.items()}
        operands |= {name: found[name] for name in found if name.startswith(STATE)}
        for number in range(outs):
            kept[number].append(found[name_of(OUT, number)])
    parts = [operands[name_of(STATE, number)] for number in range(geometry.states)]
    for steps in kept:
        parts += reversed(steps) if geometry.reverse else steps
    return _concat(nodes, [_reshape(nodes, part, (nodes[part].size,)) for part in parts])


def _slice(nodes: list[Node], index: int, at: int) -> int:
    source = nodes[index]
    rest = source.shape[1:]
    starts, steps = (at, *(0 for _ in rest)), (1,) * len(source.shape)
    nodes.append(Node(Op.SLICE, (index,), (1, *rest), source.dtype, Attributes(axes=(*starts, *steps))))
    return _reshape(nodes, len(nodes) - 1, rest)


def _reshape(nodes: list[Node], index: int, shape: Shape) -> int:
    nodes.append(Node(Op.RESHAPE, (index,), shape, nodes[index].dtype))
    return len(nodes) - 1


def _concat(nodes: list[Node], parts: list[int]) -> int:
    while len(parts) > 1:
        parts = [_join(nodes, parts[at : at + OPERANDS_MAX]) for at in range(0, len(parts), OPERANDS_MAX)]
    return parts[0]


def _join(nodes: list[Node], parts: list[int]) -> int:
    size = sum(nodes[part].size for part in parts)
    nodes.append(Node(Op.CONCAT, tuple(parts), (size,), nodes[parts[0]].dtype, Attributes(axes=(0,))))
    return len(nodes) - 1
