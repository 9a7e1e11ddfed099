"""Multilayer perceptrons: "mlp:64,64" has two hidden layers of 64 units with relu between, then a linear layer."""

from collections.abc import Mapping
from itertools import pairwise

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.composites import dense, relu
from synaptic_mesh.engine.ir import Shape
from synaptic_mesh.engine.trace import Tensor

EXAMPLE = "mlp:64,64"
LAYERS_MAX = 32
UNITS_MAX = 16_384


class Mlp(msgspec.Struct, frozen=True):
    """Hidden layer sizes, from the input on."""

    hidden: tuple[int, ...]

    @property
    def spec(self) -> str:
        """ "mlp:64,64"."""
        return "mlp:" + ",".join(str(units) for units in self.hidden)

    def shapes(self, width: int, outputs: int) -> dict[str, Shape]:
        """Layer i has layer<i>/weight (fan_in, fan_out) and layer<i>/bias (fan_out,)."""
        shapes: dict[str, Shape] = {}
        for index, (fan_in, fan_out) in enumerate(pairwise((width, *self.hidden, outputs))):
            shapes[f"layer{index}/weight"] = (fan_in, fan_out)
            shapes[f"layer{index}/bias"] = (fan_out,)
        return shapes

    def scores(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Dense layers with relu after each but the last. Returns (batch, outputs)."""
        for index in range(len(self.hidden) + 1):
            x = dense(x, parameters[f"layer{index}/weight"], parameters[f"layer{index}/bias"])
            if index < len(self.hidden):
                x = relu(x)
        return x

    def training_scores(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """The scores: nothing is left out while training."""
        return self.scores(parameters, x)


def parse_mlp(arguments: str) -> Mlp:
    """Return the model whose sizes `arguments` lists: "64,64". Raises LocalError naming what does not fit."""
    sizes = [part.strip() for part in arguments.split(",")] if arguments.strip() else []
    if not 1 <= len(sizes) <= LAYERS_MAX:
        raise LocalError(
            f"mlp has {len(sizes)} hidden layers; list the sizes of 1 to {LAYERS_MAX}, for example {EXAMPLE}"
        )
    for size in sizes:
        digits = size.isascii() and size.isdecimal() and len(size) <= len(str(UNITS_MAX))
        if not digits or not 1 <= int(size) <= UNITS_MAX:
            raise LocalError(
                f"mlp layer size {size!r} is not a number from 1 to {UNITS_MAX}; write for example {EXAMPLE}"
            )
    return Mlp(tuple(int(size) for size in sizes))
