"""A FANN network as a network of ours: it predicts as libfann's fann_run does, and trains on.

Every layer is a sum of products with the layers that feed it, then s = sum * steepness cut at +-150 / steepness, as
libfann cuts it, then its activation functions. Connections that a sparse network lacks stay away: their weights are
multiplied by a constant 0, so training does not bring them in.
"""

from collections.abc import Iterator

import msgspec
import numpy as np

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.trace import Tensor, maximum, minimum, where
from synaptic_mesh.interchange.fann_activations import activate
from synaptic_mesh.interchange.fann_net import LAYERED, FannNet, Neuron
from synaptic_mesh.models.initial_values import Given
from synaptic_mesh.models.scope import Scope

CUT = np.float32(150)


class FannNetwork(msgspec.Struct, frozen=True):
    """The network of a record. x: (rows, inputs) -> (rows, outputs).

    Parameters: "layer<l>/from<k>" (units of k, units of l) for each layer k that feeds layer l, and "layer<l>/bias".
    """

    net: FannNet

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Trace the network. Raises LocalError when the width differs."""
        if len(x.shape) != 2 or x.shape[1] != self.net.inputs:
            raise LocalError(f"the FANN network takes rows of {self.net.inputs} inputs, not {x.shape}")
        values = {0: x}
        for index in range(1, len(self.net.layers)):
            values[index] = self._layer(scope.child(f"layer{index}"), index, values)
        return values[len(self.net.layers) - 1]

    def _layer(self, scope: Scope, index: int, values: dict[int, Tensor]) -> Tensor:
        units = units_of(self.net, index)
        rows = values[0].shape[0]
        weights, bias = layer_weights(self.net, index)
        total: Tensor | None = None
        for source, (weight, present) in weights.items():
            parameter = scope.parameter(f"from{source}", weight.shape, Given(weight))
            if not present.all():
                parameter = parameter * parameter.builder.array(present)
            product = values[source] @ parameter
            total = product if total is None else total + product
        shift = scope.parameter("bias", (len(units),), Given(bias))
        total = shift.broadcast_to((rows, len(units))) if total is None else total + shift
        return _activated(total, units)

    def parameters(self) -> Iterator[tuple[str, F32]]:
        """Yield the parameters as they stand in the record, under the names of the network."""
        for index in range(1, len(self.net.layers)):
            weights, bias = layer_weights(self.net, index)
            yield from ((f"layer{index}/from{source}", weight) for source, (weight, _) in weights.items())
            yield f"layer{index}/bias", bias


def with_parameters(net: FannNet, parameters: dict[str, F32]) -> FannNet:
    """Return the record with trained weights, ready for `write_fann_net`. Raises LocalError when one is missing."""
    starts = _starts(net)
    layers = [net.layers[0]]
    for index in range(1, len(net.layers)):
        places = {neuron: at for at, neuron in enumerate(_places(net, index))}
        made: list[Neuron] = []
        for at, neuron in enumerate(net.layers[index], starts[index]):
            if at not in places:
                made.append(neuron)
                continue
            links = tuple(
                (link, _weight(net, starts, parameters, index, places[at], link)) for link, _ in neuron.connections
            )
            made.append(msgspec.structs.replace(neuron, connections=links))
        layers.append(tuple(made))
    return msgspec.structs.replace(net, layers=tuple(layers))


def units_of(net: FannNet, index: int) -> list[Neuron]:
    """Return the neurons of a layer that compute something: all but inputs and bias."""
    layer = net.layers[index]
    has_bias = index == 0 or net.kind == LAYERED
    if has_bias and layer[-1].connections:
        raise LocalError(
            f"layer {index} of the FANN network ends with a neuron of {len(layer[-1].connections)} inputs, "
            "where a layered network has its bias"
        )
    return list(layer[:-1] if has_bias else layer)


def layer_weights(net: FannNet, index: int) -> tuple[dict[int, tuple[F32, F32]], F32]:
    """Return ({source layer: (weights, 1 where a connection is, else 0)}, bias) of a layer; sources ascend."""
    starts, units = _starts(net), units_of(net, index)
    bias = np.zeros(len(units), np.float32)
    found: dict[int, tuple[F32, F32]] = {}
    for column, neuron in enumerate(units):
        for link, weight in neuron.connections:
            source = int(np.searchsorted(starts, link, side="right")) - 1
            row = link - starts[source]
            if row >= len(units_of(net, source)):
                bias[column] += np.float32(weight)
                continue
            shape = (len(units_of(net, source)), len(units))
            if source not in found:
                found[source] = (np.zeros(shape, np.float32), np.zeros(shape, np.float32))
            found[source][0][row, column] += np.float32(weight)
            found[source][1][row, column] = 1
    return dict(sorted(found.items())), bias


def _activated(total: Tensor, units: list[Neuron]) -> Tensor:
    steepness = np.array([neuron.steepness for neuron in units], np.float32)
    builder = total.builder
    with np.errstate(divide="ignore"):
        most = builder.array(CUT / steepness)
    s = minimum(maximum(total * builder.array(steepness), -most), most)
    functions = sorted({neuron.function for neuron in units})
    result = activate(functions[0], s)
    for function in functions[1:]:
        chosen = np.array([neuron.function == function for neuron in units], np.int32)
        mask = builder.array(chosen).broadcast_to(s.shape) > 0
        result = where(mask, activate(function, s), result)
    return result


def _weight(net: FannNet, starts: list[int], parameters: dict[str, F32], index: int, column: int, link: int) -> float:
    source = int(np.searchsorted(starts, link, side="right")) - 1
    row = link - starts[source]
    is_bias = row >= len(units_of(net, source))
    name = f"layer{index}/bias" if is_bias else f"layer{index}/from{source}"
    if name not in parameters:
        raise LocalError(f"parameter {name!r} is missing among {', '.join(parameters)}")
    return float(parameters[name][column] if is_bias else parameters[name][row, column])


def _places(net: FannNet, index: int) -> list[int]:
    first = _starts(net)[index]
    return list(range(first, first + len(units_of(net, index))))


def _starts(net: FannNet) -> list[int]:
    return [0, *np.cumsum([len(layer) for layer in net.layers]).tolist()[:-1]]
