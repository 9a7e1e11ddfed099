"""A graph as text, for people."""

from synaptic_mesh.engine.ir import Graph, Node, Op
from synaptic_mesh.engine.rules.table import RULES
from synaptic_mesh.engine.scan_body import scan_body


def format_graph(graph: Graph) -> str:
    """Return the graph as text, one node a line: `%3 = matmul(%0, %2) transpose_right : f32 (32, 10)`.
    The body of a SCAN follows it, indented."""
    lines = []
    for index, node in enumerate(graph.nodes):
        lines.append(f"%{index} = {_format_node(node)}")
        if node.op is Op.SCAN:
            lines += ["  " + line for line in format_graph(scan_body(node)).split("\n")]
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
