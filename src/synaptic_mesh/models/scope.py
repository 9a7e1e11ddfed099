"""What a network asks for while it is traced: parameters, state and randomness by name; names nest.

A network is any callable `(scope, x) -> Tensor`; layers are such callables with settings. Calling a network
once leaves behind the graph and, in `scope.record`, every parameter that it asked for. So shapes are said once, where
they are used:

    def network(scope, x):
        x = relu(Dense(32)(scope.child("first"), x))
        return Dense(10)(scope.child("second"), x)
"""

import math
from collections.abc import Callable, Mapping

import msgspec

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.elementwise import threefry
from synaptic_mesh.engine.functions.random import positions, stream_key
from synaptic_mesh.engine.ir import NAME_PATTERN, DType, Shape
from synaptic_mesh.engine.trace import Builder, Spec, Tensor, spec_of
from synaptic_mesh.models.initial_values import Constant, Initializer

NAME_CHARACTERS_MAX = 56
"""Names of a graph have at most 64 characters, and optimizer state puts up to 6 before a parameter's."""


class Parameter(msgspec.Struct, frozen=True):
    """A trained tensor and how it begins."""

    shape: Shape
    initializer: Initializer

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class Record(msgspec.Struct):
    """What a network asked for, in the order in which it did."""

    parameters: dict[str, Parameter] = msgspec.field(default_factory=dict)
    state: dict[str, Array] = msgspec.field(default_factory=dict)
    """Values before the first step of tensors that are carried and not trained."""
    tensors: dict[str, Tensor] = msgspec.field(default_factory=dict)
    after: dict[str, Tensor] = msgspec.field(default_factory=dict)
    """State after the step."""
    word: Tensor | None = None
    """What `batch_word` gave."""
    trail: list[tuple[str, str, Shape]] = msgspec.field(default_factory=list)
    """(place, kind, shape of the result) of each layer, as they were called: what a summary shows."""


class Scope:
    """One place in a network. `is_training` is True in a training step."""

    def __init__(
        self,
        builder: Builder,
        *,
        is_training: bool = False,
        seed: int | bytes = 0,
        given: Mapping[str, Tensor] | None = None,
        is_job: bool = False,
        batch: Tensor | None = None,
    ) -> None:
        """`given`: a job's parameters by full name, which begin at 0 where they are no matrices; nothing else may be
        asked for. is_job: steps carry no state. batch: the rows of a job's training step."""
        self.builder = builder
        self.is_training = is_training
        self.seed = seed
        self.record = Record()
        self.prefix = ""
        self._given = given
        self.is_job = is_job or given is not None
        self.batch = batch

    def child(self, name: str) -> "Scope":
        """Return the scope `name` inside this one; its names begin with "<name>/"."""
        inner = object.__new__(Scope)
        inner.builder, inner.is_training, inner.seed = self.builder, self.is_training, self.seed
        inner.record, inner._given = self.record, self._given
        inner.is_job, inner.batch = self.is_job, self.batch
        inner.prefix = f"{self.prefix}{name}/"
        return inner

    def parameter(self, name: str, shape: Shape, initializer: Initializer) -> Tensor:
        """Return the trained f32 tensor `name`. Asking twice gives the same tensor: that is how weights are shared.

        Raises LocalError for a name or a shape that does not fit.
        """
        full = self._full(name)
        if full in self.record.tensors:
            return self._again(full, shape)
        if self._given is not None:
            if full not in self._given:
                raise LocalError(f"parameter {full!r} is not among those given: {', '.join(self._given)}")
            tensor = self._given[full]
            if tensor.shape != shape:
                raise LocalError(f"parameter {full!r} has shape {tensor.shape}, the layer needs {shape}")
            if isinstance(initializer, Constant) and initializer.value != 0:
                tensor = tensor + initializer.value  # what is given begins at 0
        else:
            tensor = self.builder.input(full, Spec(shape))
        self.record.parameters[full] = Parameter(shape, initializer)
        self.record.tensors[full] = tensor
        return tensor

    def state(self, name: str, value: Array) -> Tensor:
        """Return the carried tensor `name`, which is not trained and begins as `value`.

        Raises LocalError where steps cannot carry anything: in a job of a mesh.
        """
        full = self._full(name)
        if self.is_job:
            raise LocalError(
                f"{full!r} is state, which a job does not carry from step to step: take GroupNorm or LayerNorm in the "
                "place of BatchNorm"
            )
        if full in self.record.tensors:
            return self._again(full, value.shape)
        self.record.state[full] = value
        self.record.tensors[full] = self.builder.input(full, spec_of(value))
        return self.record.tensors[full]

    def keep(self, name: str, value: Tensor) -> None:
        """Make `value` the state `name` after this step."""
        self.record.after[self._full(name)] = value

    def batch_word(self) -> Tensor:
        """Return a u32 scalar that stands for the step where none is counted: a digest of the rows of this batch.

        The sum, wrapping, of a Threefry word for each element's bits and place: equal on every machine, and another
        one for other rows or another order. Raises LocalError outside a job's training step.
        """
        if self.batch is None:
            raise LocalError("only a training step of a job has a batch to draw from")
        if self.record.word is None:
            bits = self.batch.reshape(self.batch.node.size).bitcast(DType.U32)
            words = threefry(bits, positions(self.builder, bits.shape), stream_key(0, "job/batch"))
            self.record.word = words.sum()
        return self.record.word

    def _again(self, full: str, shape: Shape) -> Tensor:
        tensor = self.record.tensors[full]
        if tensor.shape != shape:
            raise LocalError(
                f"parameter {full!r} is asked for with shape {shape} and with {tensor.shape}: "
                "give the layers scopes of their own"
            )
        return tensor

    def _full(self, name: str) -> str:
        full = f"{self.prefix}{name}"
        if len(full) > NAME_CHARACTERS_MAX or not NAME_PATTERN.fullmatch(full):
            raise LocalError(
                f"parameter name {full!r} must begin with a letter, hold letters, digits and _./- and have at most "
                f"{NAME_CHARACTERS_MAX} characters"
            )
        return full


Network = Callable[[Scope, Tensor], Tensor]
"""x (rows, ...) to scores (rows, ...). A row's scores may depend on other rows only in training (batch norm)."""
