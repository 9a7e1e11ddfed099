"""ONNX's If, Loop and Scan, where the graph can be written out: conditions and counts are known while tracing.

The nodes of a chosen branch, or of a body as often as it runs, become nodes of the graph like all others; they see the
values of the graph around them.
"""

import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.movement import concat, narrow
from synaptic_mesh.interchange.onnx_shapes import Handler, axis_of
from synaptic_mesh.interchange.onnx_values import Call, Value, as_tensor

RUNS_MAX = 4096
"""Most times that a body is written out. The operation limit of the engine is reached before where it is long."""


def _if(call: Call) -> list[Value]:
    chosen = bool(call.static(0).reshape(-1)[0])
    return call.inside(call.get("then_branch" if chosen else "else_branch"), [])


def _loop(call: Call) -> list[Value]:
    body = call.get("body")
    most = call.integers(0)[0] if call.has(0) else RUNS_MAX + 1
    goes_on = bool(call.static(1).reshape(-1)[0]) if call.has(1) else True
    states = [call.value(i) for i in range(2, len(call.inputs))]
    collected: list[list[Value]] = []
    runs = 0
    while goes_on and runs < most:
        if runs == RUNS_MAX:
            raise LocalError(f"a body that runs over {RUNS_MAX} times is not computed")
        number, flag = (call.number(np.array(value)) for value in (np.int64(runs), np.bool_(True)))
        found = call.inside(body, [number, flag, *states])
        if found[0].array is None:
            raise LocalError("a condition that is computed from data is not computed")
        goes_on = bool(found[0].array.reshape(-1)[0])
        states = found[1 : 1 + len(states)]
        collected.append(found[1 + len(states) :])
        runs += 1
    if call.outputs > len(states) and not collected:
        raise LocalError("a body that never runs leaves its outputs without a shape")
    stacked = [_stacked(call, [run[i] for run in collected], 0) for i in range(call.outputs - len(states))]
    return [*states, *stacked]


def _scan(call: Call) -> list[Value]:
    body, count = call.get("body"), call.get("num_scan_inputs")
    starts = len(call.inputs) - count
    states = [call.value(i) for i in range(starts)]
    sequences = [call.tensor(starts + i) for i in range(count)]
    kinds = [call.kind(starts + i) for i in range(count)]
    axes = [axis_of(axis, len(sequences[i].shape)) for i, axis in enumerate(call.get("scan_input_axes") or [0] * count)]
    turned = call.get("scan_input_directions") or [0] * count
    lengths = {sequence.shape[axis] for sequence, axis in zip(sequences, axes, strict=True)}
    if len(lengths) != 1 or 0 in lengths:
        raise LocalError(f"sequences of lengths {sorted(lengths)} do not fit; there is one length of at least 1")
    (length,) = lengths
    collected: list[list[Value]] = []
    for run in range(length):
        slices = []
        for sequence, kind, axis, way in zip(sequences, kinds, axes, turned, strict=True):
            part = narrow(sequence, axis, length - 1 - run if way else run, 1)
            shape = (*sequence.shape[:axis], *sequence.shape[axis + 1 :])
            slices.append(Value(kind, tensor=part.reshape(*shape)))
        found = call.inside(body, [*states, *slices])
        states = found[:starts]
        collected.append(found[starts:])
    outputs = call.outputs - starts
    ways = call.get("scan_output_directions") or [0] * outputs
    places = call.get("scan_output_axes") or [0] * outputs
    stacked = []
    for i in range(outputs):
        parts = [run[i] for run in collected]
        stacked.append(_stacked(call, parts[::-1] if ways[i] else parts, places[i]))
    return [*states, *stacked]


def _stacked(call: Call, parts: list[Value], axis: int) -> Value:
    """Join the outputs of all runs along a new axis."""
    tensors = [as_tensor(call.builder, part) for part in parts]
    shape = tensors[0].shape
    at = axis_of(axis, len(shape) + 1)
    wide = [tensor.reshape(*shape[:at], 1, *shape[at:]) for tensor in tensors]
    return Value(parts[0].kind, tensor=concat(wide, at))


CONTROL: dict[str, Handler] = {"If": _if, "Loop": _loop, "Scan": _scan}
