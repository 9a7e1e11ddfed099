"""Networks of layers as models of a job: "layers:" and the layers as JSON, as encode_network writes them.

A job starts every matrix He-uniform and everything else at 0 (collab/state.py), so a parameter that a layer begins at
another constant, such as the scale of a norm at 1, is traced as that constant plus the job's tensor.
"""

from collections.abc import Mapping

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.ir import Shape
from synaptic_mesh.engine.trace import Builder, Tensor, f32
from synaptic_mesh.models.layers.sequential import Sequential, decode_network, encode_network
from synaptic_mesh.models.scope import Scope

PREFIX = "layers"
EXAMPLE = "layers:JSON, which a Python file given to --model is turned into"


class Layered(msgspec.Struct, frozen=True):
    """A network over rows of features; its last layer gives the outputs."""

    network: Sequential

    @property
    def spec(self) -> str:
        """ "layers:" and the layers as JSON."""
        return f"{PREFIX}:{encode_network(self.network)}"

    def shapes(self, width: int, outputs: int) -> dict[str, Shape]:
        """Parameters by name, in the order in which the layers ask for them.

        Raises LocalError: a layer that keeps state between steps, or another number of outputs than the data's.
        """
        builder = Builder()
        scope = Scope(builder, is_job=True)
        scores = self.network(scope, builder.input("x", f32(1, width)))
        if scores.shape != (1, outputs):
            raise LocalError(f"the network gives {scores.shape[1:]} for a row, the data need ({outputs},)")
        return {name: parameter.shape for name, parameter in scope.record.parameters.items()}

    def scores(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Returns (batch, outputs)."""
        return self.network(Scope(x.builder, given=parameters), x)

    def training_scores(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Returns (batch, outputs) with dropout."""
        return self.network(Scope(x.builder, is_training=True, given=parameters, batch=x), x)


def parse_layered(arguments: str) -> Layered:
    """Return the model that the JSON describes. Raises LocalError."""
    return Layered(decode_network(arguments))
