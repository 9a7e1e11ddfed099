"""The machine's own ceiling for exact kernels: the register-only loop of `engine.wasm.peak`, ready to be timed."""

import wasmtime

from synaptic_mesh.base.errors import broken
from synaptic_mesh.engine.wasm.peak import OPERATIONS_PER_ITERATION, PEAK_EXPORT, peak_module

ITERATIONS = 1_000_000


class PeakLoop:
    """`run()` carries out `operations` f32 operations, half of them products and half sums."""

    def __init__(self, iterations: int = ITERATIONS) -> None:
        self.operations = iterations * OPERATIONS_PER_ITERATION
        self._iterations = iterations
        engine = wasmtime.Engine()
        self._store = wasmtime.Store(engine)
        exports = wasmtime.Instance(self._store, wasmtime.Module(engine, peak_module()), []).exports(self._store)
        function = exports[PEAK_EXPORT]
        if not isinstance(function, wasmtime.Func):
            broken("the peak module exports a function")
        self._function = function

    def run(self) -> None:
        """Run the loop once."""
        self._function(self._store, self._iterations)
