"""Graphs of the engine as ONNX models. Needs the package onnx (`pip install 'synaptic-mesh[onnx]'`).

Every operation becomes one to three ONNX nodes, in the order of the graph. Shapes are static, so the number of rows is
part of the model. Other runtimes add in other orders: they agree within rounding, not bit for bit.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.engine.geometry import ConvGeometry, Stride, shift_count
from synaptic_mesh.engine.ir import DType, Graph, Node, Op
from synaptic_mesh.engine.unroll import unrolled

OPSET = 18
IR_VERSION = 9
TYPES = {
    DType.F32: TensorProto.FLOAT,
    DType.I32: TensorProto.INT32,
    DType.U32: TensorProto.UINT32,
    DType.BOOL: TensorProto.BOOL,
}
DTYPES = {DType.F32: np.float32, DType.I32: np.int32, DType.U32: np.uint32}
SAME: dict[Op, str] = {
    Op.NEG: "Neg",
    Op.ABS: "Abs",
    Op.SQRT: "Sqrt",
    Op.FLOOR: "Floor",
    Op.EXP: "Exp",
    Op.LOG: "Log",
    Op.TANH: "Tanh",
    Op.SIGMOID: "Sigmoid",
    Op.ERF: "Erf",
    Op.SIN: "Sin",
    Op.COS: "Cos",
    Op.ROUND: "Round",
    Op.ADD: "Add",
    Op.SUB: "Sub",
    Op.MUL: "Mul",
    Op.DIV: "Div",
    Op.POW: "Pow",
    Op.MIN: "Min",
    Op.MAX: "Max",
    Op.LT: "Less",
    Op.LE: "LessOrEqual",
    Op.EQ: "Equal",
    Op.SELECT: "Where",
    Op.AND: "BitwiseAnd",
    Op.OR: "BitwiseOr",
    Op.XOR: "BitwiseXor",
}
"""Operations that are one ONNX operator on the same operands."""


class Writer:
    """The nodes and initializers of one model. Node i of the graph is the value "n<i>"."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.names: dict[int, str] = {}

    def emit(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node and return its output's name."""
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def array(self, values: Array, name: str) -> str:
        """Add an initializer and return its name."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def integers(self, values: Any, name: str) -> str:
        """Add an initializer of int64."""
        return self.array(np.array(list(values), np.int64), name)


def export_graph(graph: Graph, values: Mapping[str, Array], *, outputs: tuple[str, ...] = ()) -> onnx.ModelProto:
    """Return the model of a graph. `values` fill inputs as initializers; `outputs` default to all of the graph's.

    A SCAN is written out step by step. Raises LocalError naming an operation that ONNX has no form for.
    """
    graph = unrolled(graph)
    writer = Writer(graph)
    for index in _needed(graph, outputs):
        node = graph.nodes[index]
        name = f"n{index}"
        if node.op is Op.INPUT:
            name = node.attributes.name
            if name in values:
                writer.array(np.asarray(values[name]), name)
        else:
            _write(writer, node, name)
        writer.names[index] = name
    chosen = outputs or tuple(graph.outputs)
    for output in chosen:
        writer.emit(
            "Identity", [writer.names[graph.outputs[output]]], f"{output}_out" if output in graph.inputs else output
        )
    ports = [
        _port(name, graph.nodes[index])
        for name, index in graph.inputs.items()
        if name not in values and index in writer.names
    ]
    results = [_port(f"{o}_out" if o in graph.inputs else o, graph.nodes[graph.outputs[o]]) for o in chosen]
    made = helper.make_graph(writer.nodes, "synaptic-mesh", ports, results, writer.initializers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="synaptic-mesh")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model


def write_onnx(path: Path | str, model: onnx.ModelProto) -> Path:
    """Write a model's file and return its path. Raises ResourceError."""
    try:
        Path(path).write_bytes(model.SerializeToString())
    except OSError as error:
        raise ResourceError(f"cannot write {path}: {error.strerror}") from None
    return Path(path)


def _needed(graph: Graph, outputs: tuple[str, ...]) -> list[int]:
    alive = {graph.outputs[name] for name in (outputs or graph.outputs)}
    for index in reversed(range(len(graph.nodes))):
        if index in alive:
            alive.update(graph.nodes[index].inputs)
    return sorted(alive)


def _port(name: str, node: Node) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TYPES[node.dtype], list(node.shape))


def _write(writer: Writer, node: Node, name: str) -> None:
    inputs = [writer.names[index] for index in node.inputs]
    if node.op in SAME:
        writer.emit(SAME[node.op], inputs, name)
    elif node.op in WRITERS:
        WRITERS[node.op](writer, node, inputs, name)
    else:
        raise LocalError(f"operation {node.op.value} of shape {node.shape} has no form in ONNX here")


def _constant(writer: Writer, node: Node, _: list[str], name: str) -> None:
    bits = np.frombuffer(node.attributes.bits, DTYPES[node.dtype])
    if not node.is_splat or node.size == 1:
        writer.array(bits.reshape(node.shape), name)
        return
    writer.array(bits.reshape(()), f"{name}_value")
    writer.emit("Expand", [f"{name}_value", writer.integers(node.shape, f"{name}_shape")], name)


def _convert(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
    writer.emit("Cast", inputs, name, to=TYPES[node.dtype])


def _broadcast(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
    extents = [node.shape[i] if i in node.attributes.axes else 1 for i in range(len(node.shape))]
    wide = writer.emit("Reshape", [inputs[0], writer.integers(extents, f"{name}_ones")], f"{name}_wide", allowzero=1)
    writer.emit("Expand", [wide, writer.integers(node.shape, f"{name}_shape")], name)


def _reshape(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
    writer.emit("Reshape", [inputs[0], writer.integers(node.shape, f"{name}_shape")], name, allowzero=1)


def _transpose(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
    writer.emit("Transpose", inputs, name, perm=list(node.attributes.axes))


def _reduce(op: str) -> Callable[[Writer, Node, list[str], str], None]:
    def write(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
        writer.emit(op, [inputs[0], writer.integers(node.attributes.axes, f"{name}_axes")], name, keepdims=0)

    return write


def _argmax(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
    found = writer.emit("ArgMax", inputs, f"{name}_wide", axis=node.attributes.axes[0], keepdims=0)
    writer.emit("Cast", [found], name, to=TensorProto.INT32)


def _matmul(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
    rank = len(node.shape)
    turned = [*range(rank - 2), rank - 1, rank - 2]
    flags = (node.attributes.transpose_left, node.attributes.transpose_right)
    sides = [
        writer.emit("Transpose", [operand], f"{name}_{side}", perm=turned) if flag else operand
        for operand, flag, side in zip(inputs, flags, ("left", "right"), strict=True)
    ]
    writer.emit("MatMul", sides, name)


def _one_hot(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
    depth = writer.integers([node.shape[-1]], f"{name}_depth")
    values = writer.array(np.array([0, 1], np.float32), f"{name}_values")
    writer.emit("OneHot", [inputs[0], depth, values], name, axis=-1)


def _slice(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
    stride = Stride.of(node)
    ends = [
        _end(start, step, extent) for start, step, extent in zip(stride.starts, stride.steps, node.shape, strict=True)
    ]
    parts = [("starts", stride.starts), ("ends", ends), ("axes", range(len(node.shape))), ("steps", stride.steps)]
    writer.emit("Slice", [inputs[0], *(writer.integers(v, f"{name}_{part}") for part, v in parts)], name)


def _end(start: int, step: int, extent: int) -> int:
    end = start + step * extent
    return end if end >= 0 else -(1 << 40)


def _pad(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
    stride, source = Stride.of(node), writer.graph.nodes[node.inputs[0]]
    if any(step != 1 and extent > 1 for step, extent in zip(stride.steps, source.shape, strict=True)):
        raise LocalError("padding between elements has no form in ONNX")
    after = [full - start - extent for full, start, extent in zip(node.shape, stride.starts, source.shape, strict=True)]
    fill = writer.array(np.frombuffer(node.attributes.bits, DTYPES[node.dtype]).reshape(()), f"{name}_fill")
    writer.emit("Pad", [inputs[0], writer.integers([*stride.starts, *after], f"{name}_pads"), fill], name)


def _concat(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
    writer.emit("Concat", inputs, name, axis=node.attributes.axes[0])


def _cumsum(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
    axis = writer.array(np.array(node.attributes.axes[0], np.int64), f"{name}_axis")
    writer.emit("CumSum", [inputs[0], axis], name)


def _top_k(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
    axis = node.attributes.axes[0]
    count = writer.integers([node.shape[axis]], f"{name}_k")
    outputs = [f"{name}_values", f"{name}_wide"]
    writer.nodes.append(helper.make_node("TopK", [inputs[0], count], outputs, axis=axis))
    writer.emit("Cast", [outputs[1]], name, to=TensorProto.INT32)


def _conv(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
    geometry = ConvGeometry.of(node)
    if tuple(geometry.input_steps) != (1, 1):
        raise LocalError("a transposed convolution has no form in ONNX here")
    x, w = (writer.graph.nodes[index] for index in node.inputs)
    pads = []
    for i in (0, 1):
        reach = (node.shape[2 + i] - 1) * geometry.steps[i] + (w.shape[2 + i] - 1) * geometry.kernel_steps[i] + 1
        pads.append((-geometry.starts[i], reach + geometry.starts[i] - x.shape[2 + i]))
    crop = [max(-side, 0) for pair in pads for side in pair]
    source = inputs[0]
    if any(crop):
        ends = [extent - crop[2 * i + 1] for i, extent in enumerate(x.shape[2:])]
        parts = [("starts", [crop[0], crop[2]]), ("ends", ends), ("axes", [2, 3])]
        source = writer.emit("Slice", [source, *(writer.integers(v, f"{name}_{p}") for p, v in parts)], f"{name}_cut")
    writer.emit(
        "Conv",
        [source, inputs[1]],
        name,
        strides=list(geometry.steps),
        dilations=list(geometry.kernel_steps),
        group=geometry.groups,
        pads=[max(pads[0][0], 0), max(pads[1][0], 0), max(pads[0][1], 0), max(pads[1][1], 0)],
    )


def _gather(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
    del node
    writer.emit("Gather", inputs, name, axis=0)


def _gather_last(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
    del node
    writer.emit("GatherElements", inputs, name, axis=-1)


def _shift(direction: str) -> Callable[[Writer, Node, list[str], str], None]:
    def write(writer: Writer, node: Node, inputs: list[str], name: str) -> None:
        if node.dtype is not DType.U32:
            raise LocalError("a shift of i32 has no form in ONNX")
        count = writer.array(np.array(shift_count(node), np.uint32), f"{name}_count")
        writer.emit("BitShift", [inputs[0], count], name, direction=direction)

    return write


WRITERS: dict[Op, Callable[[Writer, Node, list[str], str], None]] = {
    Op.CONSTANT: _constant,
    Op.CONVERT: _convert,
    Op.BROADCAST: _broadcast,
    Op.RESHAPE: _reshape,
    Op.TRANSPOSE: _transpose,
    Op.REDUCE_SUM: _reduce("ReduceSum"),
    Op.REDUCE_MAX: _reduce("ReduceMax"),
    Op.ARGMAX: _argmax,
    Op.MATMUL: _matmul,
    Op.ONE_HOT: _one_hot,
    Op.GATHER: _gather,
    Op.GATHER_LAST: _gather_last,
    Op.SLICE: _slice,
    Op.PAD: _pad,
    Op.CONCAT: _concat,
    Op.CUMSUM: _cumsum,
    Op.TOP_K: _top_k,
    Op.CONV: _conv,
    Op.SHIFT_LEFT: _shift("LEFT"),
    Op.SHIFT_RIGHT: _shift("RIGHT"),
}
