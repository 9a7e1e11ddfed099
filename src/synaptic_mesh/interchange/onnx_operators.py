"""Every ONNX operator that is computed, and the trace of one model."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.trace import Builder
from synaptic_mesh.interchange.onnx_elementwise import ELEMENTWISE
from synaptic_mesh.interchange.onnx_folding import fold
from synaptic_mesh.interchange.onnx_neural import NEURAL
from synaptic_mesh.interchange.onnx_recurrent import RECURRENT
from synaptic_mesh.interchange.onnx_reductions import REDUCTIONS
from synaptic_mesh.interchange.onnx_shapes import SHAPES, Handler
from synaptic_mesh.interchange.onnx_sklearn import SKLEARN
from synaptic_mesh.interchange.onnx_values import Call, Value

MISFITS = (LocalError, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError)
"""What a node that its file got wrong makes a handler, or NumPy, raise."""
OPSET_MIN, OPSET_MAX = 13, 28
ML_DOMAIN = "ai.onnx.ml"
OPERATORS: dict[str, dict[str, Handler]] = {
    "": {**ELEMENTWISE, **SHAPES, **REDUCTIONS, **NEURAL, **RECURRENT},
    ML_DOMAIN: SKLEARN,
}
"""Domain -> operator -> how it is traced."""


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


class OnnxModel(msgspec.Struct, frozen=True, eq=False):
    """A model without the library's types. `inputs` are those that no initializer fills."""

    opset: int
    inputs: tuple[OnnxInput, ...]
    outputs: tuple[OnnxInput, ...]
    nodes: tuple[OnnxNode, ...]
    initializers: dict[str, Array]


def unsupported(model: OnnxModel) -> list[str]:
    """Return a sentence for each node that cannot be imported, in the order of the nodes."""
    found = []
    for number, node in enumerate(model.nodes, 1):
        if node.op not in OPERATORS.get(node.domain, {}):
            domain = f"{node.domain}." if node.domain else ""
            named = f" {node.name!r}" if node.name else ""
            found.append(f"operator {domain}{node.op} (node {number}{named}) is not supported")
    return found


def check_model(model: OnnxModel) -> None:
    """Raise LocalError for another opset, or naming the first node that is not supported."""
    if not OPSET_MIN <= model.opset <= OPSET_MAX and any(node.domain == "" for node in model.nodes):
        raise LocalError(f"the model has opset {model.opset}; opsets {OPSET_MIN} to {OPSET_MAX} are read")
    found = unsupported(model)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise LocalError(f"{found[0]}{more}")


def trace_model(builder: Builder, model: OnnxModel, values: Mapping[str, Value]) -> list[Value]:
    """Return the outputs for these inputs (and initializers that stand there as tensors).

    Raises NeedStatic when an input's values are needed while tracing; LocalError naming the node that does not fit.
    """
    known: dict[str, Value] = {name: Value(str(array.dtype), array=array) for name, array in model.initializers.items()}
    known |= values
    for number, node in enumerate(model.nodes, 1):
        known |= zip(node.outputs, _trace_node(builder, model, node, number, known), strict=False)
    missing = [output.name for output in model.outputs if output.name not in known]
    if missing:
        raise LocalError(f"output {missing[0]!r} is computed by no node")
    return [known[output.name] for output in model.outputs]


def _trace_node(
    builder: Builder, model: OnnxModel, node: OnnxNode, number: int, known: Mapping[str, Value]
) -> list[Value]:
    missing = [name for name in node.inputs if name and name not in known]
    if missing:
        raise LocalError(
            f"node {number} {node.op} {node.name!r} needs {missing[0]!r}, which nothing computes before it"
        )
    inputs = [known[name] if name else None for name in node.inputs]
    call = Call(builder, node.op, node.name, model.opset, inputs, node.attributes, len(node.outputs))
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
