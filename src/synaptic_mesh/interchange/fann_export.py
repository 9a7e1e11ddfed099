"""Networks of dense layers as FANN networks, for libfann to load.

FANN's sigmoid is 1 / (1 + e^-2s) and its symmetric form tanh(s), with s = sum * steepness. libfann cuts s at
+-150 / steepness, so a linear output beyond +-150 comes out as +-150 there.
"""

from collections.abc import Mapping, Sequence

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.interchange.fann_activations import LINEAR, SIGMOID, SIGMOID_SYMMETRIC
from synaptic_mesh.interchange.fann_net import FannNet, Neuron
from synaptic_mesh.models.layers.activation import Activation
from synaptic_mesh.models.layers.dense import Dense
from synaptic_mesh.models.layers.sequential import AnyLayer, Sequential
from synaptic_mesh.models.layers.shape import Flatten

FUNCTIONS = {"linear": (LINEAR, 1.0), "sigmoid": (SIGMOID, 0.5), "tanh": (SIGMOID_SYMMETRIC, 1.0)}
"""Activation -> (FANN's function, steepness)."""
INPUT = Neuron(0, 0.0)


def fann_net(network: Sequential, parameters: Mapping[str, F32], inputs: int) -> FannNet:
    """Return the FANN network of dense layers with linear, sigmoid or tanh. Raises LocalError naming another layer."""
    layers: list[tuple[Neuron, ...]] = [(INPUT,) * (inputs + 1)]
    start = 0
    for index, activation in _dense_layers(network.layers):
        if activation not in FUNCTIONS:
            raise LocalError(f"FANN has no activation {activation!r}; there are {', '.join(FUNCTIONS)}")
        weight = parameters[f"dense{index}/weight"]
        bias = parameters.get(f"dense{index}/bias")
        function, steepness = FUNCTIONS[activation]
        rows, columns = weight.shape
        if rows != len(layers[-1]) - 1:
            raise LocalError(f"layer {index} takes {rows} values, the one before gives {len(layers[-1]) - 1}")
        units = []
        for column in range(columns):
            links = [(start + row, float(weight[row, column])) for row in range(rows)]
            links.append((start + rows, 0.0 if bias is None else float(bias[column])))
            units.append(Neuron(function, steepness, tuple(links)))
        start += len(layers[-1])
        layers.append((*units, Neuron(function, 0.0)))
    if len(layers) == 1:
        raise LocalError("the network has no dense layer")
    return FannNet(tuple(layers))


def _dense_layers(layers: Sequence[AnyLayer]) -> list[tuple[int, str]]:
    """Return (place, activation) of each dense layer; an Activation after a linear one becomes its own."""
    found: list[tuple[int, str]] = []
    for index, layer in enumerate(layers):
        if isinstance(layer, Dense):
            found.append((index, layer.activation))
        elif isinstance(layer, Activation) and found and found[-1][1] == "linear":
            found[-1] = (found[-1][0], layer.name)
        elif not (isinstance(layer, Flatten) and not found):
            kind = layer.__struct_config__.tag
            raise LocalError(f"layer {index} ({kind}) has no form in FANN; there are dense layers and activations")
    return found
