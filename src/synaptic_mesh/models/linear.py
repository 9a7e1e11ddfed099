"""Linear models: "linear" is softmax regression for classes and least squares by gradient descent for numbers."""

from collections.abc import Mapping

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.composites import dense
from synaptic_mesh.engine.ir import Shape
from synaptic_mesh.engine.trace import Tensor

EXAMPLE = "linear"


class Linear(msgspec.Struct, frozen=True):
    """One dense layer from features to outputs."""

    @property
    def spec(self) -> str:
        """ "linear"."""
        return "linear"

    def shapes(self, width: int, outputs: int) -> dict[str, Shape]:
        """weight (width, outputs) and bias (outputs,)."""
        return {"weight": (width, outputs), "bias": (outputs,)}

    def scores(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """x @ weight + bias. Returns (batch, outputs)."""
        return dense(x, parameters["weight"], parameters["bias"])

    def training_scores(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """The scores: nothing is left out while training."""
        return self.scores(parameters, x)


def parse_linear(arguments: str) -> Linear:
    """Return the model. Raises LocalError when `arguments` is not empty."""
    if arguments.strip():
        raise LocalError(f"linear takes no sizes, but {arguments!r} was given; write {EXAMPLE}")
    return Linear()
