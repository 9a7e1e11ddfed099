"""Law of SCAN, given a body that is lawful in itself (`verify` sees to that first)."""

from collections.abc import Sequence

from synaptic_mesh.engine.geometry import SCAN_INTEGERS, ScanGeometry
from synaptic_mesh.engine.ir import DType, Graph, Node, Op, Shape
from synaptic_mesh.engine.rules.rule import NUMERIC, Rule, need
from synaptic_mesh.engine.scan_body import (
    OUT,
    SCAN_LENGTH_MAX,
    SCAN_OPERANDS_MAX,
    SLICE,
    name_of,
    operand_names,
    parts_of,
    scan_body,
)


def _scan(node: Node, operands: Sequence[Node]) -> tuple[Shape, DType]:
    body, geometry = scan_body(node), _geometry(node, len(operands))
    _need_names(body, geometry, len(operands))
    names = operand_names(geometry, len(operands))
    for at, (name, operand) in enumerate(zip(names, operands, strict=True)):
        inside = body.nodes[body.inputs[name]]
        shape = (geometry.length, *inside.shape) if name.startswith(SLICE) else inside.shape
        fits = operand.shape == shape and operand.dtype is inside.dtype
        need(
            fits,
            f"operand {at} is {operand.dtype.value} {operand.shape}, body input {name!r} takes {inside.dtype.value} "
            f"{shape}",
        )
    dtypes = {body.nodes[index].dtype for index in body.outputs.values()}
    need(len(dtypes) == 1, f"results of one dtype are needed, not {sorted(dtype.value for dtype in dtypes)}")
    states, outs = parts_of(body, geometry)
    return (sum(part.size for part in (*states, *outs)),), dtypes.pop()


def _geometry(node: Node, operands: int) -> ScanGeometry:
    numbers = node.attributes.axes
    need(len(numbers) == SCAN_INTEGERS, f"axes {numbers} are not the {SCAN_INTEGERS} integers of a scan")
    geometry = ScanGeometry.of(node)
    need(1 <= geometry.length <= SCAN_LENGTH_MAX, f"length {geometry.length} is outside 1..{SCAN_LENGTH_MAX}")
    need(geometry.reverse in (0, 1), f"reverse {geometry.reverse} is not 0 or 1")
    counts = (geometry.states, geometry.sequences)
    need(
        min(counts) >= 0 and sum(counts) <= operands, f"{counts} states and sequences are not among {operands} operands"
    )
    return geometry


def _need_names(body: Graph, geometry: ScanGeometry, operands: int) -> None:
    inputs = operand_names(geometry, operands)
    need(body.inputs.keys() == set(inputs), f"body inputs {sorted(body.inputs)} are not {sorted(inputs)}")
    states = inputs[: geometry.states]
    outs = [name_of(OUT, number) for number in range(len(body.outputs) - geometry.states)]
    outputs = {*states, *outs}
    need(body.outputs.keys() == outputs, f"body outputs {sorted(body.outputs)} are not {sorted(outputs)}")
    need(bool(outputs), "a body without results")
    need(body.carried == {name: name for name in states}, f"the body carries {body.carried}, not every state to itself")


LOOP: dict[Op, Rule] = {Op.SCAN: Rule(None, NUMERIC, _scan, ("axes", "bits"), operands_max=SCAN_OPERANDS_MAX)}
