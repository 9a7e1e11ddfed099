"""The reference interpreter: numpy, one rounding per operation. It is the definition: others equal it bit for bit.

Only elementwise numpy operations that IEEE 754 rounds correctly are used (add, subtract, multiply, divide, sqrt,
compare, rint, floor), each on whole arrays; sums run in the written order. No library sum, dot or transcendental.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import StepInvalid, Trust
from synaptic_mesh.engine.executors.table import EXECUTORS
from synaptic_mesh.engine.geometry import ScanGeometry
from synaptic_mesh.engine.ir import Graph, Node, Op
from synaptic_mesh.engine.limits import admit
from synaptic_mesh.engine.scan_body import FIXED, OUT, SLICE, STATE, name_of, scan_body
from synaptic_mesh.engine.trace import NUMPY_DTYPES
from synaptic_mesh.engine.verify import verify


class ReferenceBackend:
    """Executes graphs on numpy arrays, node by node."""

    name = "reference"
    trust = Trust.EXACT

    def compile(self, graph: Graph) -> "ReferenceProgram":
        """Return a program for `graph`. Raises LocalError when it breaks the IR's law or the admission limits."""
        verify(graph)
        admit(graph)
        return ReferenceProgram(graph)


class ReferenceProgram:
    """A graph with the current values of its inputs and outputs. See `backend.Program`."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._inputs: dict[str, Array] = {}
        for name, index in graph.inputs.items():
            node = graph.nodes[index]
            self._inputs[name] = np.zeros(node.shape, NUMPY_DTYPES[node.dtype])
        self._outputs: dict[str, Array] = {}
        self._interpreter = _Interpreter(graph)

    def write(self, name: str, array: Array) -> None:
        """Copy `array` into input `name`. Raises LocalError when dtype or shape differ from the graph's."""
        current = self._inputs.get(name)
        if current is None:
            raise LocalError(f"the graph has no input {name!r}, only {sorted(self._inputs)}")
        if array.shape != current.shape or array.dtype != current.dtype:
            raise LocalError(f"input {name!r} is {current.dtype} {current.shape}, not {array.dtype} {array.shape}")
        self._inputs[name] = np.array(array, dtype=current.dtype, order="C")

    def run(self) -> None:
        """Execute once. Raises StepInvalid for a non-finite checked output or an index out of range."""
        with np.errstate(all="ignore"):
            outputs = self._interpreter.execute(self._inputs)
        for name in self.graph.checked:
            if not np.isfinite(outputs[name]).all():
                raise StepInvalid(f"output {name!r} is not finite")
        self._outputs = outputs
        self._inputs.update((source, outputs[target]) for source, target in self.graph.carried.items())

    def read(self, name: str) -> Array:
        """Return a copy of output (or input) `name`. Before the first run, outputs that are no inputs are missing."""
        if name in self._inputs:
            return self._inputs[name].copy()
        if name not in self._outputs:
            raise LocalError(f"no value {name!r}: the graph has outputs {sorted(self.graph.outputs)}; run it first")
        return self._outputs[name].copy()

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Write all `inputs`, run, and return every output by name."""
        for name, array in inputs.items():
            self.write(name, array)
        self.run()
        return {name: self.read(name) for name in self.graph.outputs}


class _Interpreter:
    """Executes a lawful graph, node by node."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._constants = {i: _constant(node) for i, node in enumerate(graph.nodes) if node.op is Op.CONSTANT}
        self._bodies = {i: _Interpreter(scan_body(node)) for i, node in enumerate(graph.nodes) if node.op is Op.SCAN}
        self._last_use = _last_uses(graph)

    def execute(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output. Raises StepInvalid for an index out of range."""
        values: dict[int, Array] = dict(self._constants)
        for index, node in enumerate(self.graph.nodes):
            if node.op is Op.INPUT:
                values[index] = inputs[node.attributes.name]
            elif node.op is not Op.CONSTANT:
                operands = [values[i] for i in node.inputs]
                if node.op is Op.SCAN:
                    values[index] = _scan(node, self._bodies[index], operands)
                else:
                    values[index] = np.asarray(EXECUTORS[node.op](node, *operands))
            for used in self._last_use.get(index, ()):
                del values[used]
        return {name: values[index] for name, index in self.graph.outputs.items()}


def _scan(node: Node, body: _Interpreter, operands: Sequence[Array]) -> Array:
    """Run the body for every step and return the states after the last, then the outputs of all steps."""
    length, states, sequences, reverse = ScanGeometry.of(node)
    cut, rest = operands[states : states + sequences], operands[states + sequences :]
    names = [name_of(STATE, i) for i in range(states)]
    values = dict(zip(names, operands, strict=False))
    values |= {name_of(FIXED, i): array for i, array in enumerate(rest)}
    kept: list[list[Array]] = [[] for _ in range(len(body.graph.outputs) - states)]
    for step in range(length):
        at = length - 1 - step if reverse else step
        values |= {name_of(SLICE, i): np.asarray(array[at]) for i, array in enumerate(cut)}
        found = body.execute(values)
        values |= {name: found[name] for name in names}
        for i, steps in enumerate(kept):
            steps.append(found[name_of(OUT, i)])
    parts = [values[name].ravel() for name in names]
    parts += [np.asarray(array).ravel() for steps in kept for array in (reversed(steps) if reverse else steps)]
    return np.concatenate(parts)


def _constant(node: Node) -> Array:
    bits = np.frombuffer(node.attributes.bits, "<u4")
    filled = np.full(node.shape, bits[0], "<u4") if node.is_splat else bits.reshape(node.shape)
    return filled.view(NUMPY_DTYPES[node.dtype])


def _last_uses(graph: Graph) -> dict[int, list[int]]:
    """Return for each node which values nobody needs after it, so that memory follows liveness."""
    last = {used: index for index, node in enumerate(graph.nodes) for used in node.inputs}
    kept = set(graph.outputs.values())
    frees: dict[int, list[int]] = {}
    for used, index in last.items():
        if used not in kept:
            frees.setdefault(index, []).append(used)
    return frees
