"""Models from other programs, and models for them. The libraries are imported when they are needed."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.trace import f32
from synaptic_mesh.facade.fit_settings import Whole, check_path
from synaptic_mesh.facade.model import Model
from synaptic_mesh.interchange.fann_export import fann_net
from synaptic_mesh.interchange.fann_net import read_fann_net, write_fann_net
from synaptic_mesh.interchange.fann_network import FannNetwork, with_parameters
from synaptic_mesh.models.graphs import SCORES
from synaptic_mesh.models.layers.sequential import Sequential
from synaptic_mesh.models.network_graphs import READING, network_forward


def from_onnx(source: Any, *, output: int = 0, input_shape: tuple[int, ...] | None = None, **options: Any) -> Model:
    """Return a Model of an ONNX file, bytes or ModelProto with one float input. `options` are those of Model.

    input_shape is needed when the file leaves the shape of a row open. Raises LocalError naming the first node that is
    not supported.
    """
    _need("onnx", "onnx")
    from synaptic_mesh.interchange.onnx_import import onnx_network

    network = onnx_network(source, output=output)
    declared = network.model.inputs[0].shape
    if input_shape is None:
        if not declared or None in declared[1:]:
            raise LocalError(f"the model leaves the shape of a row open ({declared}); give input_shape=")
        input_shape = tuple(int(extent or 0) for extent in declared[1:])
    return Model(network, input_shape=input_shape, **options)


def to_onnx(model: Model, path: Path | str, *, rows: int = 1) -> Path:
    """Write what a model predicts from as ONNX, for batches of `rows`: "x" to "scores" and "reading" (probabilities or
    values). Raises LocalError before the first fit without input_shape, or naming an operation ONNX has no form for.
    """
    _need("onnx", "onnx")
    from synaptic_mesh.interchange.onnx_export import export_graph, write_onnx

    if not isinstance(model, Model):
        raise LocalError(f"to_onnx takes a Model, not {type(model).__name__}")
    if not isinstance(rows, Whole) or rows < 1:
        raise LocalError(f"rows {rows!r} must be a whole number of at least 1")
    path = check_path(path)
    values = model.get_values()
    if not model.session.is_begun:
        raise LocalError("the model has no parameters yet: fit it, or give input_shape=, before exporting")
    graph = network_forward(model.network, model.loss, f32(rows, *model.session.row)).graph
    needed = {name: value for name, value in values.items() if name in graph.inputs}
    return write_onnx(path, export_graph(graph, needed, outputs=(SCORES, READING)))


def from_torch(module: Any, example: Any, **options: Any) -> Model:
    """Return a Model of a torch module with one float input. `example`: some rows as the module takes them.

    Raises LocalError when torch cannot export the module, or naming the first operator that is not supported.
    """
    _need("torch", "torch")
    from synaptic_mesh.interchange.torch_import import torch_network

    return Model(torch_network(module, example), input_shape=tuple(np.shape(example))[1:], **options)


def from_fann(path: Path | str, **options: Any) -> Model:
    """Return a Model of a FANN_FLO_2.1 network; the loss is "mse" unless said. Raises LocalError."""
    net = read_fann_net(check_path(path))
    return Model(FannNetwork(net), input_shape=(net.inputs,), **{"loss": "mse", **options})


def to_fann(model: Model, path: Path | str) -> Path:
    """Write a model that came from `from_fann`, or one of dense layers with linear, sigmoid or tanh, for libfann.

    Raises LocalError naming a layer that FANN does not have, or for a network that is a function.
    """
    if not isinstance(model, Model):
        raise LocalError(f"to_fann takes a Model, not {type(model).__name__}")
    path = check_path(path)
    parameters: dict[str, F32] = model.parameters
    if isinstance(model.network, FannNetwork):
        net = with_parameters(model.network.net, parameters)
    elif isinstance(model.network, Sequential):
        net = fann_net(model.network, parameters, math.prod(model.session.row))
    else:
        raise LocalError("a network that is a Python function has no layers that FANN could hold")
    write_fann_net(path, net)
    return path


def _need(package: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise LocalError(f"this needs the package {package}: pip install 'synaptic-mesh[{extra}]'")
