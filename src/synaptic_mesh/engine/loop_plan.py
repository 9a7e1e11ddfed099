"""The loop of a SCAN for backends that compile: where each buffer of the body lies in which step.

Addresses of a body are numbers of two parts: the region that a buffer lies in and the bytes from there. Region 0 is the
SCAN's scratch memory, where the body's plan places temporaries and scratch memory of its own; the others are operands
and parts of the result, some of which move on with every step. States live where the result has them: the first step
finds them copied there.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from synaptic_mesh.engine.fusion import Kernel
from synaptic_mesh.engine.geometry import ScanGeometry
from synaptic_mesh.engine.ir import Graph, Node
from synaptic_mesh.engine.lowering import DEFAULT_ROWS, lower
from synaptic_mesh.engine.planner import Plan
from synaptic_mesh.engine.row_fusion import RowProfile
from synaptic_mesh.engine.scan_body import FIXED, OUT, SLICE, STATE, name_of, scan_body, scan_parts

REGION_BITS = 40
"""An address of a body is region << REGION_BITS | bytes."""
RESULT = -1
"""Stands for the tensor of the SCAN where a region otherwise names an operand."""


class Region(NamedTuple):
    """Where a region begins: an operand of the SCAN, or RESULT; bytes from there in step 0; bytes more in each step."""

    operand: int
    start: int
    step: int


class Copy(NamedTuple):
    """Bytes moved from one address of the body to another."""

    source: int
    target: int
    size: int


class Loop(NamedTuple):
    """A body, its plan with addresses as above, and what to copy before the first step and after each."""

    length: int
    body: Graph
    plan: Plan
    regions: tuple[Region, ...]
    first: tuple[tuple[int, Copy], ...]
    """(operand that the source address lies in, copy): states before the first step."""
    after: tuple[Copy, ...]


class Loops:
    """The loops of the SCANs of one program, each planned once. The settings are those of `lowering.lower`."""

    def __init__(
        self, workspace_bytes: Callable[[Graph, Kernel, "Loops"], int], rows: RowProfile = DEFAULT_ROWS
    ) -> None:
        self._workspace_bytes = workspace_bytes
        self._rows = rows
        self._known: dict[Node, Loop] = {}

    def of(self, graph: Graph, kernel: Kernel) -> Loop:
        """Return the loop of a SCAN kernel."""
        node = graph.nodes[kernel.nodes[0]]
        key = msgspec.structs.replace(node, inputs=tuple(range(len(node.inputs))))
        if key not in self._known:
            self._known[key] = plan_loop(key, self._scratch, self._rows)
        return self._known[key]

    def _scratch(self, graph: Graph, kernel: Kernel) -> int:
        return self._workspace_bytes(graph, kernel, self)


def plan_loop(node: Node, workspace_bytes: Callable[[Graph, Kernel], int], rows: RowProfile = DEFAULT_ROWS) -> Loop:
    """Return the loop of a lawful SCAN. Raises LocalError when its memory would be over the limit."""
    body, geometry = scan_body(node), ScanGeometry.of(node)
    plan = lower(body, workspace_bytes, rows, is_body=True)
    regions = _regions(node, body, geometry)
    number = {name: at for at, name in enumerate(regions, 1)}
    offsets = plan.offsets | {buffer: number[name] << REGION_BITS for buffer, name in plan.homes.items()}
    after = []
    for name, buffer in plan.output_buffers.items():
        if name.startswith(OUT) and plan.homes.get(buffer) != name:
            after.append(Copy(offsets[buffer], number[name] << REGION_BITS, 4 * body.nodes[body.outputs[name]].size))
    for new, old in plan.copies_last:
        after.append(Copy(offsets[new], offsets[old], 4 * body.nodes[old].size))
    first = [
        (i, Copy(0, number[name_of(STATE, i)] << REGION_BITS, 4 * body.nodes[body.inputs[name_of(STATE, i)]].size))
        for i in range(geometry.states)
    ]
    placed = plan._replace(offsets=offsets)
    return Loop(geometry.length, body, placed, tuple(regions.values()), tuple(first), tuple(after))


def split_address(address: int) -> tuple[int, int]:
    """Return region and bytes of an address of a body."""
    return address >> REGION_BITS, address & ((1 << REGION_BITS) - 1)


def _regions(node: Node, body: Graph, geometry: ScanGeometry) -> dict[str, Region]:
    states, outs = scan_parts(node)
    found = {name_of(STATE, i): Region(RESULT, 4 * part.start, 0) for i, part in enumerate(states)}
    for i in range(geometry.sequences):
        size = body.nodes[body.inputs[name_of(SLICE, i)]].size
        found[name_of(SLICE, i)] = _walked(geometry, geometry.states + i, 0, size)
    first = geometry.states + geometry.sequences
    found |= {name_of(FIXED, i): Region(first + i, 0, 0) for i in range(len(node.inputs) - first)}
    for i, part in enumerate(outs):
        found[name_of(OUT, i)] = _walked(geometry, RESULT, part.start, part.size // geometry.length)
    return found


def _walked(geometry: ScanGeometry, operand: int, start: int, size: int) -> Region:
    """The region of a tensor of `size` elements a step."""
    if geometry.reverse:
        return Region(operand, 4 * (start + (geometry.length - 1) * size), -4 * size)
    return Region(operand, 4 * start, 4 * size)
