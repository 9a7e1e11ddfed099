"""Rewrite 6 of `passes`: what can be taken out of a SCAN."""

from collections.abc import Callable

import msgspec

from synaptic_mesh.engine.geometry import ScanGeometry, Stride
from synaptic_mesh.engine.ir import Attributes, Graph, Node, Op
from synaptic_mesh.engine.scan_body import FIXED, OUT, Part, body_bytes, name_of, parts_of, scan_body, scan_parts

Simplify = Callable[[Graph], Graph]
IsTurned = Callable[[list[Node], int], bool]
"""(uses of a matrix as right operand, how often they run) -> whether one turned copy serves them better."""


def simplify_scans(graph: Graph, simplify: Simplify, is_turned: IsTurned) -> Graph:
    """Return the graph with smaller SCANs. No node of it is dead."""
    outputs = set(graph.outputs.values())
    kept = {
        index: _used_outputs(graph, index, index in outputs)
        for index, node in enumerate(graph.nodes)
        if node.op is Op.SCAN
    }
    nodes: list[Node] = []
    place: list[int] = []
    moved: dict[int, list[tuple[Part, int]]] = {}
    for index, old in enumerate(graph.nodes):
        node = msgspec.structs.replace(old, inputs=tuple(place[i] for i in old.inputs))
        if old.op is Op.SCAN:
            node, moved[index] = _without(node, kept[index])
            node = _simplified(node, simplify)
            node = _turned(node, nodes, is_turned)
        elif old.op is Op.SLICE and old.inputs[0] in moved:
            node = _moved(node, moved[old.inputs[0]])
        place.append(len(nodes))
        nodes.append(node)
    return msgspec.structs.replace(
        graph,
        nodes=tuple(nodes),
        inputs={name: place[index] for name, index in graph.inputs.items()},
        outputs={name: place[index] for name, index in graph.outputs.items()},
    )


def _used_outputs(graph: Graph, index: int, is_output: bool) -> list[int]:
    """Return which outputs of SCAN node `index` something uses; all, unless every use is a slice of one part."""
    states, outs = scan_parts(graph.nodes[index])
    used: set[int] = set()
    for user in graph.nodes:
        if index in user.inputs:
            found = _part_of_slice(user, [*states, *outs]) if user.op is Op.SLICE else None
            if found is None:
                return list(range(len(outs)))
            used.add(found - len(states))
    return list(range(len(outs))) if is_output else [number for number in range(len(outs)) if number in used]


def _part_of_slice(cut: Node, parts: list[Part]) -> int | None:
    if not cut.size:
        return None
    (start,), (step,) = Stride.of(cut)
    low, high = sorted((start, start + (cut.size - 1) * step))
    return next((i for i, part in enumerate(parts) if part.start <= low and high < part.start + part.size), None)


def _without(node: Node, kept: list[int]) -> tuple[Node, list[tuple[Part, int]]]:
    """Return the SCAN that keeps only some outputs, and by how much each part moves towards the front."""
    body, geometry = scan_body(node), ScanGeometry.of(node)
    states, outs = scan_parts(node)
    if len(kept) == len(outs) or not (kept or states):
        return node, []
    outputs = {name: index for name, index in body.outputs.items() if not name.startswith(OUT)}
    outputs |= {name_of(OUT, new): body.outputs[name_of(OUT, old)] for new, old in enumerate(kept)}
    smaller = msgspec.structs.replace(body, outputs=outputs)
    new_states, new_outs = parts_of(smaller, geometry)
    size = sum(part.size for part in (*new_states, *new_outs))
    pairs = zip([*states, *(outs[i] for i in kept)], [*new_states, *new_outs], strict=True)
    moved = [(old, old.start - new.start) for old, new in pairs]
    return _with_body(msgspec.structs.replace(node, shape=(size,)), smaller), moved


def _moved(cut: Node, moved: list[tuple[Part, int]]) -> Node:
    found = _part_of_slice(cut, [part for part, _ in moved])
    if found is None:
        return cut
    (start,), (step,) = Stride.of(cut)
    axes = (start - moved[found][1], step)
    return msgspec.structs.replace(cut, attributes=msgspec.structs.replace(cut.attributes, axes=axes))


def _simplified(node: Node, simplify: Simplify) -> Node:
    body = scan_body(node)
    smaller = simplify(body)
    return node if smaller == body else _with_body(node, smaller)


def _turned(node: Node, nodes: list[Node], is_turned: IsTurned) -> Node:
    """Add to `nodes` the turned copies of the fixed matrices that want one, and return the SCAN over them."""
    body, geometry = scan_body(node), ScanGeometry.of(node)
    first = geometry.states + geometry.sequences
    inputs, inside = list(node.inputs), list(body.nodes)
    for number in range(len(node.inputs) - first):
        at = body.inputs[name_of(FIXED, number)]
        users = [user for user in body.nodes if at in user.inputs]
        is_right = all(user.op is Op.MATMUL and user.inputs[1] == at != user.inputs[0] for user in users)
        if at in body.outputs.values() or not is_right or not is_turned(users, geometry.length):
            continue
        source = nodes[inputs[first + number]]
        shape = source.shape[::-1]
        nodes.append(Node(Op.TRANSPOSE, (inputs[first + number],), shape, source.dtype, Attributes(axes=(1, 0))))
        inputs[first + number] = len(nodes) - 1
        inside[at] = msgspec.structs.replace(inside[at], shape=shape)
        for index, user in enumerate(inside):
            if at in user.inputs:
                flags = msgspec.structs.replace(user.attributes, transpose_right=False)
                inside[index] = msgspec.structs.replace(user, attributes=flags)
    if tuple(inputs) == node.inputs:
        return node
    turned = msgspec.structs.replace(node, inputs=tuple(inputs))
    return _with_body(turned, msgspec.structs.replace(body, nodes=tuple(inside)))


def _with_body(node: Node, body: Graph) -> Node:
    attributes = msgspec.structs.replace(node.attributes, bits=body_bytes(body))
    return msgspec.structs.replace(node, attributes=attributes)
