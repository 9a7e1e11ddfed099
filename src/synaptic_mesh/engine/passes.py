"""Rewrites that keep every bit. Anything not on this list is not done (x+0, x*0, x-x are not identities).

1. Dead code: a node that no output needs is dropped. No value changes. Inputs stay (they are the interface), and so do
   the operations of CHECKED_INDEX: a bad index makes the step invalid.
2. Common subexpressions: two nodes equal in operation, operands, shape, dtype and attributes compute the same tensor,
   because every operation is a function of these alone.
3. Identities of movement: RESHAPE and BROADCAST to the same shape, TRANSPOSE by the identity, SLICE and PAD of all
   elements in order, CONCAT of one operand. They move no element.
4. TRANSPOSE of a MATMUL operand's last two axes becomes the operand's flag: MATMUL's law reads elements by (i, k) and
   (k, j), and the flag names the same elements in the same order.
5. The reverse of 4 for a matrix that several thin products use transposed, as in the gradient of a recurrence: one
   TRANSPOSE serves them all, and a backend writes it out once instead of reading columns each time.

6. A SCAN does not keep of its steps what nothing outside uses, and its body is simplified by these rewrites. A fixed
   matrix whose only uses in it are those of 5 is turned outside, once for all steps.

A manifest hashes the graph before these passes.
"""

from collections import Counter
from collections.abc import Callable

import msgspec

from synaptic_mesh.engine.geometry import Stride
from synaptic_mesh.engine.ir import Attributes, Graph, Node, Op
from synaptic_mesh.engine.scan_body import checks_index
from synaptic_mesh.engine.scan_passes import simplify_scans
from synaptic_mesh.engine.verify import verify

TURN_USES_MIN = 4
"""Fewest products that make one turned copy of their right operand worth its time."""
TURN_ROWS_MAX = 8
"""Most rows of such a product: with more, it spends its time on arithmetic."""


def simplify(graph: Graph) -> Graph:
    """Return a verified graph with the same inputs, outputs and bits, by the rewrites above."""
    if any(node.op is Op.SCAN for node in graph.nodes):
        graph = simplify_scans(_drop_dead(graph), simplify, is_turned)
    graph = _rebuild(graph, _fold_transposes)
    graph = _rebuild(graph, _Turner(graph).rewrite)
    graph = _rebuild(graph, lambda node, _: node)
    graph = _drop_dead(graph)
    verify(graph)
    return graph


def _rebuild(graph: Graph, rewrite: Callable[[Node, list[Node]], Node]) -> Graph:
    """Pass every node through `rewrite`, sharing equal nodes and skipping identities of movement."""
    nodes: list[Node] = []
    known: dict[Node, int] = {}
    place: list[int] = []
    for old in graph.nodes:
        node = rewrite(msgspec.structs.replace(old, inputs=tuple(place[i] for i in old.inputs)), nodes)
        if _moves_nothing(node, nodes):
            place.append(node.inputs[0])
        elif node in known:
            place.append(known[node])
        else:
            known[node] = len(nodes)
            place.append(len(nodes))
            nodes.append(node)
    return _with_nodes(graph, nodes, dict(enumerate(place)))


def _moves_nothing(node: Node, nodes: list[Node]) -> bool:
    if node.op in (Op.RESHAPE, Op.BROADCAST):
        return node.shape == nodes[node.inputs[0]].shape
    if node.op in (Op.SLICE, Op.PAD):
        stride = Stride.of(node)
        return node.shape == nodes[node.inputs[0]].shape and not any(stride.starts)  # all steps are 1 by law
    if node.op is Op.CONCAT:
        return len(node.inputs) == 1
    return node.op is Op.TRANSPOSE and node.attributes.axes == tuple(range(len(node.shape)))


def _fold_transposes(node: Node, nodes: list[Node]) -> Node:
    if node.op is not Op.MATMUL:
        return node
    left, right = (nodes[i] for i in node.inputs)
    flags, sources = node.attributes, list(node.inputs)
    if _exchanges_last(left):
        sources[0] = left.inputs[0]
        flags = msgspec.structs.replace(flags, transpose_left=not flags.transpose_left)
    if _exchanges_last(right):
        sources[1] = right.inputs[0]
        flags = msgspec.structs.replace(flags, transpose_right=not flags.transpose_right)
    return msgspec.structs.replace(node, inputs=tuple(sources), attributes=flags)


class _Turner:
    """Rewrite 5. `rewrite` is given the nodes in their order, each with its operands' places in the new graph."""

    def __init__(self, graph: Graph) -> None:
        users = Counter(node.inputs[1] for node in graph.nodes if _is_thin(node))
        self.nodes = graph.nodes
        self.wanted = {index for index, count in users.items() if count >= TURN_USES_MIN}
        self.turned: dict[int, int] = {}
        self.at = -1

    def rewrite(self, node: Node, nodes: list[Node]) -> Node:
        self.at += 1
        old = self.nodes[self.at]
        if not _is_thin(old) or old.inputs[1] not in self.wanted:
            return node
        left, right = node.inputs
        if right not in self.turned:
            shape = nodes[right].shape[::-1]
            self.turned[right] = len(nodes)
            nodes.append(Node(Op.TRANSPOSE, (right,), shape, nodes[right].dtype, Attributes(axes=(1, 0))))
        flags = msgspec.structs.replace(node.attributes, transpose_right=False)
        return msgspec.structs.replace(node, inputs=(left, self.turned[right]), attributes=flags)


def is_turned(uses: list[Node], times: int) -> bool:
    """True for a matrix whose uses, all as the right operand and `times` as often as written, deserve a turned copy."""
    return len(uses) * times >= TURN_USES_MIN and all(map(_is_thin, uses))


def _is_thin(node: Node) -> bool:
    thin = node.op is Op.MATMUL and len(node.shape) == 2 and node.shape[0] <= TURN_ROWS_MAX
    return thin and node.attributes.transpose_right


def _exchanges_last(node: Node) -> bool:
    """True for a TRANSPOSE that exchanges the last two axes and nothing else."""
    batch = len(node.shape) - 2
    return node.op is Op.TRANSPOSE and batch >= 0 and node.attributes.axes == (*range(batch), batch + 1, batch)


def _drop_dead(graph: Graph) -> Graph:
    alive = set(graph.outputs.values())
    for index in reversed(range(len(graph.nodes))):
        node = graph.nodes[index]
        if index in alive or node.op is Op.INPUT or checks_index(node):
            alive.add(index)
            alive.update(node.inputs)
    place = {old: new for new, old in enumerate(sorted(alive))}
    nodes = [
        msgspec.structs.replace(graph.nodes[old], inputs=tuple(place[i] for i in graph.nodes[old].inputs))
        for old in sorted(alive)
    ]
    return _with_nodes(graph, nodes, place)


def _with_nodes(graph: Graph, nodes: list[Node], place: dict[int, int]) -> Graph:
    return msgspec.structs.replace(
        graph,
        nodes=tuple(nodes),
        inputs={name: place[index] for name, index in graph.inputs.items()},
        outputs={name: place[index] for name, index in graph.outputs.items()},
    )
