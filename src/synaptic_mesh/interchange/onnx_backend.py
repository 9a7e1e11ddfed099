"""The engine behind the interface of onnx.backend, so that outside test suites can drive it.

Inputs that decide shapes are looked at while tracing: a program is made for each set of their values and of the shapes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.backend.base import Backend as OnnxBackendBase
from onnx.backend.base import BackendRep
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import Backend, Program
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import Builder, Spec
from synaptic_mesh.interchange.onnx_import import load_onnx
from synaptic_mesh.interchange.onnx_operators import OnnxModel, from_engine, trace_model
from synaptic_mesh.interchange.onnx_values import KINDS, NeedStatic, Value, as_tensor, engine_dtype, to_engine


class OnnxRefusal(LocalError, BackendIsNotSupposedToImplementIt):  # type: ignore[misc]
    """A model that the engine does not compute. Test suites of onnx skip such a case."""


PROGRAMS_MAX = 64
"""Programs that a prepared model keeps; the oldest goes first."""


class PreparedModel(BackendRep):  # type: ignore[misc]
    """A model ready to run."""

    def __init__(self, model: OnnxModel, backend: Backend) -> None:
        self.model, self.backend = model, backend
        self._static: set[str] = set()
        self._programs: dict[Any, _Compiled] = {}

    def run(self, inputs: Sequence[Any] | Mapping[str, Any] | Any, **_: Any) -> tuple[Any, ...]:
        """Return the outputs in the model's types, lists for sequences.

        inputs: in the model's order, or by name. Raises OnnxRefusal.
        """
        given = self._named(inputs)
        while True:
            try:
                return self._compiled(given).run(given)
            except LocalError as error:
                raise OnnxRefusal(str(error)) from None
            except NeedStatic as need:
                if need.name in self._static:
                    raise
                self._static.add(need.name)

    def _named(self, inputs: Any) -> dict[str, Array]:
        if isinstance(inputs, Mapping):
            named = dict(inputs)
        else:
            values = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
            named = dict(zip([entry.name for entry in self.model.inputs], values, strict=False))
        missing = [entry.name for entry in self.model.inputs if entry.name not in named]
        if missing:
            raise LocalError(f"input {missing[0]!r} is missing")
        return {entry.name: _plain(named[entry.name]) for entry in self.model.inputs}

    def _compiled(self, given: dict[str, Array]) -> "_Compiled":
        key = tuple(
            (name, array.dtype.str, array.shape, array.tobytes() if name in self._static else b"")
            for name, array in given.items()
        )
        if key not in self._programs:
            if len(self._programs) >= PROGRAMS_MAX:
                del self._programs[next(iter(self._programs))]
            self._programs[key] = _Compiled(self.model, self.backend, given, self._static)
        return self._programs[key]


def _plain(value: Any) -> Array:
    if isinstance(value, list) and value and not np.isscalar(value[0]) and len({np.shape(v) for v in value}) > 1:
        raise LocalError("a sequence is given; sequences live inside a model, not at its inputs")
    return np.asarray(numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value)


class _Compiled:
    """One program: inputs become "in<i>", outputs "out<i>"."""

    def __init__(self, model: OnnxModel, backend: Backend, given: dict[str, Array], static: set[str]) -> None:
        builder = Builder()
        values: dict[str, Value] = {}
        self.inputs: dict[str, tuple[str, str]] = {}
        for index, entry in enumerate(model.inputs):
            kind = str(given[entry.name].dtype)
            if entry.name in static:
                values[entry.name] = Value(kind, array=given[entry.name])
                continue
            if kind not in KINDS:
                raise LocalError(f"input {entry.name!r} is {kind}; there are {', '.join(KINDS)}")
            tensor = builder.input(f"in{index}", Spec(given[entry.name].shape, engine_dtype(kind)))
            values[entry.name] = Value(kind, tensor=tensor, source=entry.name)
            self.inputs[entry.name] = (f"in{index}", kind)
        self.results = trace_model(builder, model, values)
        outputs = {}
        for i, value in enumerate(self.results):
            for name, part in _ports(f"out{i}", value):
                if part.tensor is not None:
                    outputs[name] = as_tensor(builder, part)
        self.program: Program | None = backend.compile(builder.finish(outputs)) if outputs else None

    def run(self, given: dict[str, Array]) -> tuple[Array, ...]:
        """Write, run, and read the outputs back in their types."""
        if self.program is not None:
            for name, (port, kind) in self.inputs.items():
                self.program.write(port, to_engine(given[name], kind, f"input {name!r}"))
            self.program.run()
        return tuple(self._output(f"out{index}", value) for index, value in enumerate(self.results))

    def _output(self, name: str, value: Value) -> Any:
        """The array of a port, or the list of a sequence's; text labels by their positions."""
        if value.items is not None:
            return [self._output(port, part) for port, part in _ports(name, value)]
        if value.tensor is None or self.program is None:
            return np.asarray(value.array)
        found = self.program.read(name)
        return value.names[found] if value.names is not None else from_engine(found, value.kind)


def _ports(name: str, value: Value) -> list[tuple[str, Value]]:
    """A value's port; a sequence has one for each of its values."""
    if value.items is None:
        return [(name, value)]
    return [(f"{name}.{i}", part) for i, part in enumerate(value.items)]


class MeshBackend(OnnxBackendBase):  # type: ignore[misc]
    """onnx.backend.base.Backend over an engine backend; the reference interpreter unless one is given."""

    engine: Backend | None = None

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **options: Any) -> PreparedModel:
        """Return the model ready to run. `backend=`: an engine backend. Raises OnnxRefusal as `load_onnx`."""
        if not cls.supports_device(device):
            raise OnnxRefusal(f"device {device!r} is not there; the engine runs on CPU")
        try:
            record = load_onnx(model)
        except LocalError as error:
            raise OnnxRefusal(str(error)) from None
        return PreparedModel(record, options.get("backend") or cls.engine or ReferenceBackend())

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **_: Any) -> bool:
        """True when `prepare` takes the model."""
        try:
            cls.prepare(model, device)
        except OnnxRefusal:
            return False
        return True

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **options: Any) -> tuple[Array, ...]:
        """Prepare and run once."""
        return cls.prepare(model, device, **options).run(inputs)

    @classmethod
    def run_node(
        cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None, **options: Any
    ) -> tuple[Array, ...]:
        """Run one node on these inputs."""
        del outputs_info
        arrays = [np.asarray(array) for array in inputs]
        names = [name for name in node.input if name]
        ports = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip(names, arrays, strict=True)
        ]
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
        opset = options.pop("opset", 23)
        model = helper.make_model(
            helper.make_graph([node], "node", ports, outputs),
            opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)],
        )
        return cls.run_model(model, arrays, device, **options)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """CPU, under any index."""
        return device.split(":")[0] == "CPU"
