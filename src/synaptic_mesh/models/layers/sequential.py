"""One layer after the other, sums with a shortcut, and the union of all layers that a saved network can name."""

from typing import Any

import msgspec
import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.trace import Tensor
from synaptic_mesh.models.layers.activation import Activation
from synaptic_mesh.models.layers.attention import MultiHeadAttention, TransformerBlock
from synaptic_mesh.models.layers.convolution import Conv1d, Conv2d
from synaptic_mesh.models.layers.dense import Dense
from synaptic_mesh.models.layers.dropout import Dropout
from synaptic_mesh.models.layers.embedding import Embedding, PositionEmbedding
from synaptic_mesh.models.layers.normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from synaptic_mesh.models.layers.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool, MeanOverSteps
from synaptic_mesh.models.layers.recurrent import GRU, LSTM
from synaptic_mesh.models.layers.shape import Flatten, Reshape
from synaptic_mesh.models.scope import Network, Scope

LAYERS_MAX = 1024


class Sequential(msgspec.Struct, frozen=True, tag="sequential"):
    """The layers in order. Layer i has the scope "<kind><i>": "dense0", "layer_norm1", ..."""

    layers: tuple["AnyLayer", ...]

    def __post_init__(self) -> None:
        layers = checked_layers("Sequential", self.layers)
        if not 1 <= len(layers) <= LAYERS_MAX:
            raise LocalError(f"Sequential of {len(layers)} layers must have 1 to {LAYERS_MAX}")
        msgspec.structs.force_setattr(self, "layers", layers)

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError naming the layer that x does not fit."""
        return run_layers(self.layers, scope, x)


class Residual(msgspec.Struct, frozen=True, tag="residual"):
    """x plus what the layers make of it; they keep its shape. He et al. 2016, arXiv:1512.03385."""

    layers: tuple["AnyLayer", ...]

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "layers", checked_layers("Residual", self.layers))

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError when the layers change the shape."""
        result = run_layers(self.layers, scope, x)
        if result.shape != x.shape:
            raise LocalError(f"Residual: the layers turn {x.shape} into {result.shape}, which cannot be added to it")
        return x + result


AnyLayer = (
    Dense
    | Activation
    | Flatten
    | Reshape
    | Embedding
    | PositionEmbedding
    | LayerNorm
    | RMSNorm
    | GroupNorm
    | BatchNorm
    | Dropout
    | Conv1d
    | Conv2d
    | MaxPool
    | AveragePool
    | GlobalMaxPool
    | GlobalAveragePool
    | MeanOverSteps
    | LSTM
    | GRU
    | MultiHeadAttention
    | TransformerBlock
    | Sequential
    | Residual
)


def sequential(*layers: AnyLayer) -> Sequential:
    """Return the layers as one network: sequential(Dense(32, "relu"), Dense(10))."""
    return Sequential(tuple(layers))


def checked_layers(name: str, layers: Any) -> tuple[AnyLayer, ...]:
    """Return a list, which is what most people write, as a tuple, with NumPy's numbers as Python's: files hold them.

    Raises LocalError naming the place of what is no layer, or of a setting of another type.
    """
    if not isinstance(layers, list | tuple):
        raise LocalError(f"{name} takes a list of layers, as {name}([Dense(8), Dense(2)]), not {layers!r}")
    found: list[AnyLayer] = []
    for index, layer in enumerate(layers):
        if not isinstance(layer, AnyLayer):
            raise LocalError(f"{name} layer {index} is {layer!r}, which is no layer")
        if isinstance(layer, Sequential | Residual):  # their own layers have been checked
            found.append(layer)
            continue
        try:
            plain = msgspec.to_builtins(layer, enc_hook=_plain_number)
            found.append(msgspec.convert(plain, type=type(layer)))
        except (msgspec.ValidationError, TypeError) as error:
            raise LocalError(f"{name} layer {index}, {layer!r}: {error}") from None
    return tuple(found)


def _plain_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is no setting of a layer")


def run_layers(layers: tuple[AnyLayer, ...], scope: Scope, x: Tensor) -> Tensor:
    """Return what the last layer gives. Raises LocalError naming the place of the layer that fails."""
    for index, layer in enumerate(layers):
        kind = str(layer.__struct_config__.tag)
        inner = scope.child(f"{kind}{index}")
        try:
            x = layer(inner, x)
        except LocalError as error:
            raise LocalError(f"{inner.prefix.rstrip('/')}: {error}") from None
        scope.record.trail.append((inner.prefix.rstrip("/"), kind, x.shape))
    return x


def encode_network(network: Network) -> str | None:
    """Return a network of layers as JSON, or None for one that is a Python function."""
    return msgspec.json.encode(network).decode() if isinstance(network, Sequential) else None


def decode_network(text: str) -> Sequential:
    """Return the network that `encode_network` wrote. Raises LocalError when the text is something else."""
    try:
        return msgspec.json.decode(text, type=Sequential)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise LocalError(f"the network's description cannot be read: {error}") from None
