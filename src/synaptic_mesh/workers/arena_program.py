"""What the fast runtimes' programs have in common: named tensors in one block of memory, and one function that steps.

A runtime adds how memory is got and how the function is called. The way of a call through here is kept short: a small
model's whole step takes a microsecond or two, so each attribute that is looked up twice would show.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NoReturn

from synaptic_mesh.base.arrays import DTYPES, Array
from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.engine.abi import ENVIRONMENT_CHANGED, NOT_FINITE
from synaptic_mesh.engine.backend import StepInvalid
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.workers.call import Call, prepare_call
from synaptic_mesh.workers.program_cache import CachedProgram, CachedSlot

STEPS_PER_CALL_MAX = 1 << 20


class ArenaProgram:
    """A compiled graph over `memory`, the bytes of its arena, stepped by `execute(steps) -> flags`. See
    `engine.backend.Program`. One thread at a time."""

    def __init__(self, graph: Graph, layout: CachedProgram, memory: Array, execute: Callable[[int], int]) -> None:
        self.graph = graph
        self.layout = layout
        self._execute = execute
        self._has_run = False
        self._is_closed = False
        self._inputs = {name: _view(memory, slot) for name, slot in layout.inputs.items()}
        self._outputs = {name: _view(memory, slot) for name, slot in layout.outputs.items()}
        self._forms = {name: (view, view.shape, view.dtype) for name, view in self._inputs.items()}

    def write(self, name: str, array: Array) -> None:
        """Copy `array` into input `name`. Raises LocalError when dtype or shape differ from the graph's."""
        form = self._forms.get(name)
        if form is None:
            raise LocalError(f"the graph has no input {name!r}, only {sorted(self._inputs)}")
        view, shape, dtype = form
        if array.shape != shape or array.dtype != dtype:
            raise LocalError(f"input {name!r} is {dtype} {shape}, not {array.dtype} {array.shape}")
        view[...] = array

    def run(self) -> None:
        """Execute once. Raises StepInvalid for a non-finite checked output or an index out of range, ResourceError
        when the floating-point environment changed meanwhile."""
        flags = self._execute(1)
        if flags:
            refuse(flags)
        self._has_run = True

    def run_many(self, steps: int) -> None:
        """Execute `steps` times in one call, carried inputs feeding the next step; stops at the first invalid one."""
        if not 0 <= steps <= STEPS_PER_CALL_MAX:
            raise LocalError(f"{steps} steps in one call: choose 0 to {STEPS_PER_CALL_MAX}")
        flags = self._execute(steps)
        if flags:
            refuse(flags)
        self._has_run = self._has_run or steps > 0

    def read(self, name: str) -> Array:
        """Return a copy of output (or input) `name`. Before the first run, outputs that are no inputs are missing."""
        view = self._inputs.get(name)
        if view is None and self._has_run:
            view = self._outputs.get(name)
        if view is not None:
            return view.copy()
        raise LocalError(f"no value {name!r}: the graph has outputs {sorted(self._outputs)}; run it first")

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Write all `inputs`, run, and return every output by name."""
        for name, array in inputs.items():
            self.write(name, array)
        self.run()
        return {name: self.read(name) for name in self.graph.outputs}

    def function(self, inputs: Sequence[str], outputs: Sequence[str]) -> Call:
        """Return a function that takes the arrays of `inputs` in this order, runs once, and returns copies of
        `outputs`: write, run and read without looking names up. Other inputs keep what they hold. The function raises
        what those three raise, and TypeError for another number of arrays. Raises LocalError for names that the graph
        does not have."""
        for name in inputs:
            if name not in self._inputs:
                raise LocalError(f"the graph has no input {name!r}, only {sorted(self._inputs)}")
        for name in outputs:
            if name not in self._outputs:
                raise LocalError(f"the graph has no output {name!r}, only {sorted(self._outputs)}")
        places = [(name, self._inputs[name]) for name in inputs]
        found = [self._inputs.get(name, self._outputs[name]) for name in outputs]
        call = prepare_call(self, places, found, self._single_step(), refuse)
        return self._fast_call(call, [place for _, place in places], found)

    def _fast_call(self, call: Call, _places: Sequence[Array], _results: Sequence[Array]) -> Call:
        """Return what does the same as `call` and is faster, or `call`."""
        return call

    def _note_run(self) -> None:
        self._has_run = True

    def _single_step(self) -> Callable[[], int]:
        """Return what executes once, for as long as the program is open."""
        return partial(self._execute, 1)

    def close(self) -> None:
        """Release code and memory. Arrays that `read` returned are copies and stay valid."""
        self._execute = _refuse_closed
        self._is_closed = True
        self._inputs.clear()
        self._outputs.clear()
        self._forms.clear()


def _view(memory: Array, slot: CachedSlot) -> Array:
    """Return a tensor in place."""
    dtype = DTYPES[slot.dtype]
    size = math.prod(slot.shape) * dtype.itemsize
    return memory[slot.offset : slot.offset + size].view(dtype).reshape(slot.shape)


def refuse(flags: int, completed: int = 0) -> NoReturn:
    """Raise what flags mean, after so many `completed` steps of the call: StepInvalid, or ResourceError."""
    if flags & ENVIRONMENT_CHANGED:
        raise ResourceError("the floating-point environment changed during a run: its results are discarded")
    reason = "a checked output is not finite" if flags & NOT_FINITE else "an index is out of range"
    raise StepInvalid(f"the step is invalid: {reason}", completed)


def _refuse_closed(_: int) -> int:
    raise LocalError("the program is closed")
