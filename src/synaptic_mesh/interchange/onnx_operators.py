"""Every ONNX operator that is computed, and the trace of one model."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.trace import Builder
from synaptic_mesh.interchange.onnx_attention import ATTENTION
from synaptic_mesh.interchange.onnx_control import CONTROL
from synaptic_mesh.interchange.onnx_elementwise import ELEMENTWISE
from synaptic_mesh.interchange.onnx_folding import fold
from synaptic_mesh.interchange.onnx_neural import NEURAL
from synaptic_mesh.interchange.onnx_quantized import QUANTIZED
from synaptic_mesh.interchange.onnx_recurrent import RECURRENT
from synaptic_mesh.interchange.onnx_reductions import REDUCTIONS
from synaptic_mesh.interchange.onnx_resize import RESIZE
from synaptic_mesh.interchange.onnx_scatter import SCATTER
from synaptic_mesh.interchange.onnx_sequences import SEQUENCES
from synaptic_mesh.interchange.onnx_shapes import SHAPES, Handler
from synaptic_mesh.interchange.onnx_sklearn import SKLEARN
from synaptic_mesh.interchange.onnx_values import Call, Value

MISFITS = (LocalError, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError)
"""What a node that its file got wrong makes a handler, or NumPy, raise."""
OPSET_MIN, OPSET_MAX = 13, 28
OLD_OPSET_MIN = 7
"""Models from here to below OPSET_MIN are converted when they are read."""
ML_DOMAIN = "ai.onnx.ml"
OPERATORS: dict[str, dict[str, Handler]] = {
    "": {
        **ELEMENTWISE,
        **SHAPES,
        **REDUCTIONS,
        **NEURAL,
        **ATTENTION,
        **RECURRENT,
        **RESIZE,
        **QUANTIZED,
        **CONTROL,
        **SCATTER,
        **SEQUENCES,
    },
    ML_DOMAIN: SKLEARN,
}
"""Domain -> operator -> how it is traced."""
TREES = ": trees have no place in a network, keep them where they were trained"
HINTS = {
    "ZipMap": ": convert the model with options={'zipmap': False}",
    **dict.fromkeys(("TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"), TREES),
}
"""What to do about an operator that people meet."""


class OnnxNode(msgspec.Struct, frozen=True, eq=False):
    """One node; an empty input name is one that is left out."""

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


class OnnxInput(msgspec.Struct, frozen=True, eq=False):
    """An input or output: its type by NumPy's name, its extents (None where open)."""

    name: str
    kind: str
    shape: tuple[int | None, ...] | None


class OnnxGraph(msgspec.Struct, frozen=True, eq=False):
    """A graph without the library's types; in an attribute, one that sees the values around it. `inputs` are those
    that no initializer fills."""

    inputs: tuple[OnnxInput, ...]
    outputs: tuple[OnnxInput, ...]
    nodes: tuple[OnnxNode, ...]
    initializers: dict[str, Array]


class OnnxModel(OnnxGraph, frozen=True, eq=False, kw_only=True):
    """A model: its graph, and the version of the operators that it is written in."""

    opset: int


def unsupported(graph: OnnxGraph) -> list[str]:
    """Return a sentence for each node that cannot be imported, in the order of the nodes, branches and bodies first."""
    found = []
    for number, node in enumerate(graph.nodes, 1):
        for value in node.attributes.values():
            if isinstance(value, OnnxGraph):
                found += unsupported(value)
        if node.op not in OPERATORS.get(node.domain, {}):
            domain = f"{node.domain}." if node.domain else ""
            named = f" {node.name!r}" if node.name else ""
            hint = HINTS.get(node.op, "")
            found.append(f"operator {domain}{node.op} (node {number}{named}) is not supported{hint}")
    return found


def check_model(model: OnnxModel) -> None:
    """Raise LocalError for another opset, or naming the first node that is not supported."""
    if not OPSET_MIN <= model.opset <= OPSET_MAX and any(node.domain == "" for node in model.nodes):
        raise LocalError(f"the model has opset {model.opset}; opsets {OLD_OPSET_MIN} to {OPSET_MAX} are read")
    found = unsupported(model)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise LocalError(f"{found[0]}{more}")


def trace_model(builder: Builder, model: OnnxModel, values: Mapping[str, Value]) -> list[Value]:
    """Return the outputs for these inputs (and initializers that stand there as tensors).

    Raises NeedStatic when an input's values are needed while tracing; LocalError naming the node that does not fit.
    """
    return _trace_graph(builder, model, model.opset, values)


def _trace_graph(builder: Builder, graph: OnnxGraph, opset: int, values: Mapping[str, Value]) -> list[Value]:
    known: dict[str, Value] = {name: Value(str(array.dtype), array=array) for name, array in graph.initializers.items()}
    known |= values
    for number, node in enumerate(graph.nodes, 1):
        known |= zip(node.outputs, _trace_node(builder, opset, node, number, known), strict=False)
    missing = [output.name for output in graph.outputs if output.name not in known]
    if missing:
        raise LocalError(f"output {missing[0]!r} is computed by no node")
    return [known[output.name] for output in graph.outputs]


def _trace_node(builder: Builder, opset: int, node: OnnxNode, number: int, known: Mapping[str, Value]) -> list[Value]:
    missing = [name for name in node.inputs if name and name not in known]
    if missing:
        raise LocalError(
            f"node {number} {node.op} {node.name!r} needs {missing[0]!r}, which nothing computes before it"
        )
    inputs = [known[name] if name else None for name in node.inputs]

    def inside(graph: OnnxGraph, arguments: Sequence[Value]) -> list[Value]:
        own = {port.name: value for port, value in zip(graph.inputs, arguments, strict=True)}
        return _trace_graph(builder, graph, opset, {**known, **own})

    call = Call(builder, node.op, node.name, opset, inputs, node.attributes, len(node.outputs), inside)
    try:
        static = fold(call)
        if static is not None:
            return [Value(str(static.dtype), array=static)]
        found = OPERATORS[node.domain][node.op](call)
    except MISFITS as error:
        shapes = ", ".join(str(value.shape) for value in inputs if value is not None)
        named = f" {node.name!r}" if node.name else ""
        raise LocalError(f"node {number}{named}: {node.op} of shapes {shapes}: {error}") from None
    return found if isinstance(found, list) else [found]


def from_engine(array: Array, kind: str) -> Array:
    """Return a computed array in its ONNX type."""
    return array != 0 if kind == "bool" else np.asarray(array).astype(kind)
