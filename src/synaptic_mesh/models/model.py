"""What a model family offers: parameter shapes, and scores of a batch as a traced function."""

from collections.abc import Mapping
from typing import Protocol

from synaptic_mesh.engine.ir import Shape
from synaptic_mesh.engine.trace import Tensor

PARAMETERS_MAX = 1 << 26
"""Most trained numbers of a model: 256 MiB of f32."""


class Model(Protocol):
    """An architecture, independent of how many features and outputs the data ask for."""

    @property
    def spec(self) -> str:
        """The text that `registry.parse_model` reads back into this model."""

    def shapes(self, width: int, outputs: int) -> dict[str, Shape]:
        """Return the trained tensors by name, in the order in which states hold them. All are f32."""

    def scores(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Return (batch, outputs): logits for classes, values for regression. x: (batch, width) f32."""

    def training_scores(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Return what the loss of a training step sees: the scores, or with dropout what is left of them."""
