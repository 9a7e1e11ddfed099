"""Recurrences: a step function applied to every index of an axis, its states handed on.

From LOOP_STEPS_MIN steps on this is one SCAN operation: graph, code and time to compile do not grow with the length. A
shorter one, and one whose states and outputs have several dtypes, is written out into the graph step by step. Both
compute the same bits; `engine.differentiate_scan` says which gradients do.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.body_builder import BodyBuilder, add_scan, scan_results, slice_inputs
from synaptic_mesh.engine.functions.movement import axis_of, move_axis, narrow, stack
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.scan_body import SLICE, STATE
from synaptic_mesh.engine.trace import Builder, Tensor

Tensors = dict[str, Tensor]
Step = Callable[[Tensors, Tensors], tuple[Mapping[str, Tensor], Mapping[str, Tensor]]]
"""(states, slices of the inputs) -> (new states, outputs of this step)."""
LOOP_STEPS_MIN = 8
"""Fewest steps that become a SCAN."""


class Scanned(NamedTuple):
    """The states after the last step, and each output stacked along the time axis."""

    states: Tensors
    outputs: Tensors


def scan(
    step: Step,
    states: Mapping[str, Tensor],
    inputs: Mapping[str, Tensor],
    *,
    axis: int = 0,
    reverse: bool = False,
    unroll: bool | None = None,
) -> Scanned:
    """Run `step` once for every index of `axis` of the inputs, whose slices lose that axis; reverse: from the last.

    Outputs are stacked at `axis`, always in the order of the inputs. `unroll` decides between one operation and a
    written-out graph where the length is not to. Raises LocalError when lengths differ or are 0, when a state changes
    its shape or dtype, or when a step of a SCAN refers to a tensor of another one's step.
    """
    lengths = {name: x.shape[axis_of(x, axis)] for name, x in inputs.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise LocalError(f"scan needs inputs of one length of at least 1, not {lengths}")
    length = next(iter(lengths.values()))
    is_short = length < LOOP_STEPS_MIN
    if is_short if unroll is None else unroll:
        return _written_out(step, states, inputs, length, axis, reverse)
    done = _looped(step, states, inputs, length, axis, reverse)
    return done or _written_out(step, states, inputs, length, axis, reverse)


def _looped(
    step: Step, states: Mapping[str, Tensor], inputs: Mapping[str, Tensor], length: int, axis: int, reverse: bool
) -> Scanned | None:
    """Return the results of one SCAN, or None where they have several dtypes, or there are none."""
    sequences = {name: move_axis(x, axis, 0) for name, x in inputs.items()}
    outer = _innermost([*states.values(), *inputs.values()])
    body = BodyBuilder(outer)
    before = dict(zip(states, slice_inputs(body, STATE, list(states.values())), strict=True))
    slices = dict(zip(sequences, slice_inputs(body, SLICE, list(sequences.values())), strict=True))
    outer.open = body
    try:
        after, outputs = step(dict(before), slices)
    finally:
        outer.open = None
    _need_same(before, after)
    kinds = {x.dtype for x in (*after.values(), *outputs.values())}
    if len(kinds) != 1 or DType.BOOL in kinds:
        return None
    graph = body.finish_body([after[name] for name in states], list(outputs.values()))
    operands = (list(states.values()), list(sequences.values()), body.fixed)
    packed = add_scan(outer, graph, length, operands, reverse)
    packed.builder.bodies[packed.index] = body
    last, stacked = scan_results(packed)
    shown = [move_axis(x, 0, axis) for x in stacked]
    return Scanned(dict(zip(states, last, strict=True)), dict(zip(outputs, shown, strict=True)))


def _written_out(
    step: Step, states: Mapping[str, Tensor], inputs: Mapping[str, Tensor], length: int, axis: int, reverse: bool
) -> Scanned:
    current: Tensors = dict(states)
    collected: list[Mapping[str, Tensor]] = []
    for t in reversed(range(length)) if reverse else range(length):
        slices = {name: _at(x, axis, t) for name, x in inputs.items()}
        after, outputs = step(current, slices)
        _need_same(current, after)
        current = dict(after)
        collected.append(outputs)
    if reverse:
        collected.reverse()
    stacked = {name: stack([outputs[name] for outputs in collected], axis) for name in collected[0]}
    return Scanned(current, stacked)


def _innermost(tensors: Sequence[Tensor]) -> Builder:
    """Return the graph that a scan over these tensors belongs to: the innermost that is being traced."""
    found = max((x.builder for x in tensors), key=lambda builder: builder.depth)
    while found.open is not None:
        found = found.open
    return found


def _at(x: Tensor, axis: int, t: int) -> Tensor:
    at = axis_of(x, axis)
    return narrow(x, at, t, 1).reshape(*x.shape[:at], *x.shape[at + 1 :])


def _need_same(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    kinds = [{name: (x.dtype.value, x.shape) for name, x in group.items()} for group in (before, after)]
    if kinds[0] != kinds[1]:
        raise LocalError(f"scan states {kinds[0]} became {kinds[1]}")
