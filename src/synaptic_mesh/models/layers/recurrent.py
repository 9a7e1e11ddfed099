"""Recurrent layers over (rows, steps, features): loops of `engine.functions.scan`, of any length."""

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.recurrence import GruWeights, LstmWeights, gru, lstm
from synaptic_mesh.engine.trace import Tensor
from synaptic_mesh.models.initial_values import AnyInitializer, Constant, GlorotUniform, Orthogonal
from synaptic_mesh.models.scope import Scope


class LSTM(msgspec.Struct, frozen=True, tag="lstm"):
    """The last hidden state (rows, units), or with return_sequences all of them (rows, steps, units).

    Parameters: "input" (features, 4 units), "recurrent" (units, 4 units), "bias" (4 units,), gates in the order input,
    forget, cell, output. States begin at 0. Hochreiter and Schmidhuber 1997.
    """

    units: int
    return_sequences: bool = False
    reverse: bool = False
    initializer: AnyInitializer = GlorotUniform()

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError unless x is a sequence."""
        steps = _time_first("LSTM", x, self.units)
        width = 4 * self.units
        weights = LstmWeights(
            scope.parameter("input", (x.shape[2], width), self.initializer),
            scope.parameter("recurrent", (self.units, width), Orthogonal()),
            scope.parameter("bias", (width,), Constant(0.0)),
        )
        start = _zeros(x, self.units)
        outputs, last, _ = lstm(steps, start, start, weights, reverse=self.reverse)
        return outputs.transpose(1, 0, 2) if self.return_sequences else last


class GRU(msgspec.Struct, frozen=True, tag="gru"):
    """The last hidden state (rows, units), or with return_sequences all of them (rows, steps, units).

    Parameters: "input" (features, 3 units), "recurrent" (units, 3 units), "bias" and "recurrent_bias" (3 units,), gates
    in the order reset, update, new. The state begins at 0. Cho et al. 2014, arXiv:1406.1078, as torch has it.
    """

    units: int
    return_sequences: bool = False
    reverse: bool = False
    initializer: AnyInitializer = GlorotUniform()

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError unless x is a sequence."""
        steps = _time_first("GRU", x, self.units)
        width = 3 * self.units
        weights = GruWeights(
            scope.parameter("input", (x.shape[2], width), self.initializer),
            scope.parameter("recurrent", (self.units, width), Orthogonal()),
            scope.parameter("bias", (width,), Constant(0.0)),
            scope.parameter("recurrent_bias", (width,), Constant(0.0)),
        )
        outputs, last = gru(steps, _zeros(x, self.units), weights, reverse=self.reverse)
        return outputs.transpose(1, 0, 2) if self.return_sequences else last


def _time_first(name: str, x: Tensor, units: int) -> Tensor:
    if len(x.shape) != 3 or not x.shape[1] or units < 1:
        raise LocalError(f"{name}({units}) needs at least 1 unit and x (rows, steps, features), not {x.shape}")
    return x.transpose(1, 0, 2)


def _zeros(x: Tensor, units: int) -> Tensor:
    return x.builder.constant(0.0, (x.shape[0], units))
