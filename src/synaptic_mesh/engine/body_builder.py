"""The frontend of SCAN: a step function traced into a graph of its own.

The step may use tensors from outside. Operations on those alone belong to the graph outside, where they run once; where
one meets a tensor of the step it becomes a fixed input of the body, and a splat is repeated inside. A tensor of the
step that is used after the step has been traced is refused.
"""

from collections.abc import Sequence

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.geometry import ScanGeometry
from synaptic_mesh.engine.ir import NO_ATTRIBUTES, Attributes, DType, Graph, Op, Shape
from synaptic_mesh.engine.scan_body import (
    FIXED,
    OUT,
    SLICE,
    STATE,
    Part,
    body_bytes,
    name_of,
    scan_parts,
)
from synaptic_mesh.engine.trace import Builder, Spec, Tensor


class BodyBuilder(Builder):
    """Grows a body within the trace of `parent`."""

    def __init__(self, parent: Builder) -> None:
        super().__init__()
        self.parent = parent
        self.depth = parent.depth + 1
        self.fixed: list[Tensor] = []
        """Tensors of the parent, in the order of the body's fixed inputs."""
        self._known: dict[int, Tensor] = {}
        self._is_closed = False

    def add(
        self, op: Op, operands: Sequence[Tensor], shape: Shape, dtype: DType, attributes: Attributes = NO_ATTRIBUTES
    ) -> Tensor:
        """Append one node to the body. Raises LocalError when it breaks the law, or after the step."""
        if self._is_closed:
            raise LocalError(f"{op.value} uses a tensor of a scan's step after the step: return it as an output")
        return super().add(op, operands, shape, dtype, attributes)

    def adopt(self, op: Op, operand: Tensor) -> Tensor:
        """Return an operand as a tensor of this body: the same, a splat, or a fixed input."""
        if operand.builder is self:
            return operand
        outer = self.parent.adopt(op, operand)
        if outer.index not in self._known:
            node = outer.node
            if node.is_splat:
                inside = self.add(Op.CONSTANT, (), node.shape, node.dtype, node.attributes)
            else:
                inside = self.input(name_of(FIXED, len(self.fixed)), Spec(node.shape, node.dtype))
                self.fixed.append(outer)
            self._known[outer.index] = inside
        return self._known[outer.index]

    def array(self, values: Array) -> Tensor:
        """A dense constant stands outside."""
        return self.adopt(Op.CONSTANT, self.parent.array(values))

    def finish_body(self, states: Sequence[Tensor], outputs: Sequence[Tensor]) -> Graph:
        """Return the body with these results; from now on nothing can be added."""
        names = {name_of(STATE, i): x for i, x in enumerate(states)}
        results = names | {name_of(OUT, i): x for i, x in enumerate(outputs)}
        inside = {name: self.adopt(Op.SCAN, x) for name, x in results.items()}
        self._is_closed = True
        return Graph(
            nodes=tuple(self.nodes),
            inputs={node.attributes.name: i for i, node in enumerate(self.nodes) if node.op is Op.INPUT},
            outputs={name: x.index for name, x in inside.items()},
            carried={name: name for name in names},
        )


def slice_inputs(builder: BodyBuilder, kind: str, like: Sequence[Tensor]) -> list[Tensor]:
    """Add the inputs of a body for states, or for sequences, whose first axis falls away."""
    drop = 1 if kind == SLICE else 0
    return [builder.input(name_of(kind, i), Spec(x.shape[drop:], x.dtype)) for i, x in enumerate(like)]


def add_scan(
    builder: Builder,
    body: Graph,
    length: int,
    operands: tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]],
    reverse: bool,
) -> Tensor:
    """Add the SCAN of a body over (states, sequences, fixed tensors); it is the packed tensor of all its results."""
    states, sequences, fixed = operands
    geometry = ScanGeometry(length, len(states), len(sequences), int(reverse))
    attributes = Attributes(axes=geometry.axes, bits=body_bytes(body))
    size = length * sum(body.nodes[i].size for name, i in body.outputs.items() if name.startswith(OUT))
    size += sum(body.nodes[i].size for name, i in body.outputs.items() if name.startswith(STATE))
    dtype = next((body.nodes[i].dtype for i in body.outputs.values()), DType.F32)
    return builder.add(Op.SCAN, [*states, *sequences, *fixed], (size,), dtype, attributes)


def scan_results(packed: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return the states after the last step and the outputs of all steps of a SCAN."""
    states, outs = scan_parts(packed.node)
    return [part_of(packed, part) for part in states], [part_of(packed, part) for part in outs]


def part_of(packed: Tensor, part: Part) -> Tensor:
    """Return one result of a SCAN."""
    cut = packed.builder.add(Op.SLICE, [packed], (part.size,), packed.dtype, Attributes(axes=(part.start, 1)))
    return cut.reshape(*part.shape)
