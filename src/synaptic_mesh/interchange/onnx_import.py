"""ONNX files and models as records and networks. Needs the package onnx (`pip install 'synaptic-mesh[onnx]'`)."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import external_data_helper, helper, inliner, numpy_helper, version_converter

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor
from synaptic_mesh.interchange.onnx_operators import (
    OLD_OPSET_MIN,
    OPERATORS,
    OPSET_MIN,
    OnnxGraph,
    OnnxInput,
    OnnxModel,
    OnnxNode,
    check_model,
    trace_model,
)
from synaptic_mesh.interchange.onnx_values import FLOATS, NeedStatic, Value
from synaptic_mesh.interchange.parameter_names import parameter_names
from synaptic_mesh.interchange.row_chunks import in_chunks
from synaptic_mesh.interchange.row_kinds import LIMITS, check_whole, enter
from synaptic_mesh.models.initial_values import Given
from synaptic_mesh.models.scope import Scope

FILE_BYTES_MAX = 1 << 31
TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")


class OnnxNetwork(msgspec.Struct, frozen=True, eq=False):
    """A model with one input, rows first, as a network: predicts as the model does, and trains on.

    Rows for an input of integers or bools are whole numbers, which f32 holds exactly up to 2^24. Parameters are the
    float initializers of more than one element, under their names; the running statistics of BatchNormalization stay
    constants.
    """

    model: OnnxModel
    output: int = 0

    def check_rows(self, rows: F32) -> None:
        """Raise LocalError naming the first value that the input does not take."""
        (entry,) = self.model.inputs
        check_whole(rows, entry.kind, entry.name)

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Return output `output`. Raises LocalError naming the node that does not fit."""
        (entry,) = self.model.inputs
        rows = entry.shape[0] if entry.shape else None
        if rows is None or rows == x.shape[0]:
            return self._trace(scope, x)
        try:
            found = self._trace(scope, x)
        except LocalError:  # shapes inside hold the number of rows that the model was exported for
            return in_chunks(x, rows, lambda part: self._trace(scope, part))
        if found.shape[:1] == x.shape[:1]:
            return found
        return in_chunks(x, rows, lambda part: self._trace(scope, part))

    def _trace(self, scope: Scope, x: Tensor) -> Tensor:
        (entry,) = self.model.inputs
        fixed = fixed_names(self.model)
        values = {entry.name: Value(entry.kind, tensor=enter(x, entry.kind), source=entry.name)}
        trained = {
            name: array
            for name, array in self.model.initializers.items()
            if array.dtype == np.float32 and array.size > 1 and name not in fixed
        }
        for name, ours in parameter_names(trained).items():
            tensor = scope.parameter(ours, trained[name].shape, Given(trained[name]))
            values[name] = Value("float32", array=trained[name], tensor=tensor)
        try:
            found = trace_model(scope.builder, self.model, values)[self.output]
        except NeedStatic as need:
            raise LocalError(f"input {need.name!r} decides a shape; only data can be an input of a network") from None
        if found.tensor is None:
            raise LocalError(f"output {self.model.outputs[self.output].name!r} does not depend on the input")
        scores = found.tensor.bitcast(DType.I32) if found.tensor.dtype is DType.U32 else found.tensor
        return scores.convert(DType.F32)  # labels and counts are scores too


def load_onnx(source: Path | str | bytes | onnx.ModelProto) -> OnnxModel:
    """Return the record of a file, its bytes, or a model. Raises LocalError: unreadable, another opset, or naming the
    first node that is not supported.
    """
    record = read_model(_proto(source))
    check_model(record)
    return record


def onnx_network(source: Path | str | bytes | onnx.ModelProto, *, output: int = 0) -> OnnxNetwork:
    """Return a model as a network. Raises LocalError as `load_onnx`, or unless it has one input of numbers or bools."""
    record = load_onnx(source)
    if len(record.inputs) != 1:
        have = ", ".join(f"{entry.name} {entry.kind}" for entry in record.inputs)
        raise LocalError(
            f"a Model has one input, this one has {have or 'none'}; onnx_backend.MeshBackend runs models of several"
        )
    if record.inputs[0].kind not in (*FLOATS, *LIMITS):
        raise LocalError(f"input {record.inputs[0].name!r} is {record.inputs[0].kind}; rows are numbers or bools")
    if not 0 <= output < len(record.outputs):
        raise LocalError(f"output {output} is not among the model's {len(record.outputs)}, counted from 0")
    return OnnxNetwork(record, output)


def read_model(proto: onnx.ModelProto) -> OnnxModel:
    """Return the record of a model, whatever its operators."""
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    proto = _written_out(_modern(proto))
    graph = _graph(proto.graph)
    return OnnxModel(graph.inputs, graph.outputs, graph.nodes, graph.initializers, opset=_opset(proto))


def _opset(proto: onnx.ModelProto) -> int:
    return max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def _modern(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model of opset OLD_OPSET_MIN to OPSET_MIN - 1 in opset OPSET_MIN, by the converter of the package onnx.

    Raises LocalError for what it cannot convert.
    """
    opset = _opset(proto)
    if not OLD_OPSET_MIN <= opset < OPSET_MIN or all(node.domain not in ("", "ai.onnx") for node in proto.graph.node):
        return proto
    if opset < 9 and any(node.op_type == "Scan" for node in proto.graph.node):
        raise LocalError(f"Scan of opset {opset} runs over a batch, which the later one does not; export it anew")
    try:
        return _asymmetric(version_converter.convert_version(proto, OPSET_MIN), opset)
    except Exception as error:  # the converter raises types of its own
        raise LocalError(
            f"the model has opset {opset}, which the converter of the package onnx does not bring to {OPSET_MIN}: "
            f"{str(error).splitlines()[0][:200]}"
        ) from None


def _asymmetric(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Say how Upsample, and Resize before opset 11, mapped places: the converter leaves the later default instead."""
    for node in proto.graph.node if opset < 11 else ():
        if node.op_type == "Resize" and all(a.name != "coordinate_transformation_mode" for a in node.attribute):
            node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
            node.attribute.append(helper.make_attribute("nearest_mode", "floor"))
    return proto


def _written_out(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with operators that are not computed here, but defined by others, replaced by these.

    What the package onnx cannot write out stays, and is refused by its name.
    """
    wanted = {
        (node.domain, node.op_type)
        for node in proto.graph.node
        if node.op_type not in OPERATORS.get("" if node.domain == "ai.onnx" else node.domain, {})
    }
    for key in sorted(wanted):
        try:
            proto = inliner.inline_selected_functions(proto, [key], False, True)
        except Exception:  # the package raises what its C++ does: an operator without a definition is none of them
            continue
    return proto


def _graph(graph: onnx.GraphProto) -> OnnxGraph:
    initializers = {tensor.name: _array(tensor) for tensor in graph.initializer}
    if graph.sparse_initializer:
        raise LocalError("the model has sparse initializers, which are not read")
    return OnnxGraph(
        inputs=tuple(_port(entry) for entry in graph.input if entry.name not in initializers),
        outputs=tuple(_port(entry) for entry in graph.output),
        nodes=tuple(_node(node) for node in graph.node),
        initializers=initializers,
    )


def fixed_names(model: OnnxModel) -> set[str]:
    """Return the initializers that training does not change: running means and variances."""
    return {name for node in model.nodes if node.op == "BatchNormalization" for name in node.inputs[3:5] if name}


def _proto(source: Path | str | bytes | onnx.ModelProto) -> onnx.ModelProto:
    if isinstance(source, onnx.ModelProto):
        return source
    if isinstance(source, bytes):
        return _parse(source, "the model")
    if not isinstance(source, str | Path):
        raise LocalError(f"an ONNX model is a path, bytes or a ModelProto, not {type(source).__name__}")
    path = Path(source)
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise LocalError(f"{path} is over {FILE_BYTES_MAX} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from None
    proto = _parse(data, str(path))
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer):
        try:
            external_data_helper.load_external_data_for_model(proto, str(path.parent))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise LocalError(f"{path} keeps tensors in a file beside it, which cannot be read: {error}") from None
    return proto


def _parse(data: bytes, name: str) -> onnx.ModelProto:
    try:
        proto = onnx.load_model_from_string(data)
    except Exception as error:  # the parser of protobuf raises types of its own, by version
        raise LocalError(f"{name} is no ONNX model: {error}") from None
    if not proto.graph.node and not proto.graph.output:
        raise LocalError(f"{name} is no ONNX model: it holds no graph")
    return proto


def _port(entry: onnx.ValueInfoProto) -> OnnxInput:
    if not entry.type.HasField("tensor_type"):
        return OnnxInput(entry.name, entry.type.WhichOneof("value") or "nothing", None)
    tensor = entry.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return OnnxInput(entry.name, _kind(tensor.elem_type), shape)


def _kind(element: int) -> str:
    if element == onnx.TensorProto.STRING:
        return "string"
    try:
        return str(np.dtype(helper.tensor_dtype_to_np_dtype(element)).name)
    except (KeyError, TypeError, ValueError):
        return f"type {element}"


def _array(tensor: onnx.TensorProto) -> Array:
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError) as error:
        raise LocalError(f"tensor {tensor.name!r} of the model cannot be read: {error}") from None


def _node(node: onnx.NodeProto) -> OnnxNode:
    domain = "" if node.domain == "ai.onnx" else node.domain
    attributes = {attribute.name: _attribute(attribute) for attribute in node.attribute}
    return OnnxNode(node.op_type, domain, node.name, tuple(node.input), tuple(node.output), attributes)


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if attribute.name in TYPE_ATTRIBUTES and isinstance(value, int):
        return _kind(value)
    if isinstance(value, onnx.TensorProto):
        return _array(value)
    if isinstance(value, onnx.GraphProto):
        return _graph(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if attribute.type == onnx.AttributeProto.STRINGS:
        return [each.decode(errors="replace") for each in value]
    return list(value) if attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS) else value
