"""The same work in torch, eager, on one thread: nn.Linear layers and torch.optim.SGD, as its users write it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.bench.cases import Case, Mode
from synaptic_mesh.bench.contestant import Prepared
from synaptic_mesh.bench.networks import NetworkWork
from synaptic_mesh.bench.networks_torch import torch_network, torch_parameters
from synaptic_mesh.bench.workload import PARAMETERS, RATE, Kind


class Entry:
    """torch without its compiler."""

    name = "torch"

    def __init__(self) -> None:
        torch.set_num_threads(1)

    def prepare(self, case: Case) -> Prepared | None:
        """Return the case ready to be run."""
        return prepare_torch(case, lambda function: function)


def prepare_torch(case: Case, wrap: Callable[[Any], Any]) -> Prepared:
    """Return the case; `wrap` is applied to the function from inputs to output or loss."""
    inputs = case.work.inputs()
    brought = {
        name: torch.from_numpy(array.astype(np.int64) if name == "y" else array) for name, array in inputs.items()
    }
    if case.work.kind is Kind.GEMM:
        return _product(case, brought, wrap)
    work = case.work
    if isinstance(work, NetworkWork):
        model = torch_network(work.network, work.parameters())
    else:
        model = _model(work.parameters())
    if case.work.kind is Kind.FORWARD:
        return _forward(case, wrap(model), inputs["x"])
    loss_of = wrap(lambda x, y: torch.nn.functional.cross_entropy(model(x), y))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=RATE)
    last = [0.0]

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(brought["x"], brought["y"])
        loss.backward()
        optimizer.step()
        return loss

    def run() -> None:
        for _ in range(case.steps):
            loss = step()
        last[0] = loss.item()

    def results() -> dict[str, Array]:
        loss = np.array(last[0], np.float32)
        if isinstance(work, NetworkWork):
            return {"loss": loss, **torch_parameters(work.network, model)}
        layers = (model[0].weight.T, model[0].bias, model[2].weight.T, model[2].bias)
        arrays = {name: layer.detach().numpy().copy() for name, layer in zip(PARAMETERS, layers, strict=True)}
        return {"loss": loss, **arrays}

    return Prepared(run, results)


def _product(case: Case, brought: dict[str, Any], wrap: Callable[[Any], Any]) -> Prepared:
    a, b = brought["a"], brought["b"]
    out = torch.empty(a.shape[0], b.shape[1])
    multiply = wrap(lambda a, b, out: torch.mm(a, b, out=out))

    def run() -> None:
        for _ in range(case.steps):
            multiply(a, b, out)

    return Prepared(run, lambda: {"output": out.numpy().copy()})


def _forward(case: Case, model: Any, x: Array) -> Prepared:
    in_place = torch.from_numpy(x)
    outputs: list[Array] = []

    def run() -> None:
        with torch.inference_mode():
            if case.mode is Mode.CALL:
                outputs[:] = [model(torch.from_numpy(x)).numpy()]
                return
            for _ in range(case.steps):
                out = model(in_place)
            outputs[:] = [out.numpy()]

    return Prepared(run, lambda: {"output": outputs[0].copy()})


def _model(parameters: dict[str, Array]) -> Any:
    """Return dense, relu, dense; torch keeps the weights transposed."""
    w1, b1, w2, b2 = (torch.from_numpy(parameters[name].copy()) for name in PARAMETERS)
    model = torch.nn.Sequential(torch.nn.Linear(*w1.shape), torch.nn.ReLU(), torch.nn.Linear(*w2.shape))
    with torch.no_grad():
        for layer, weight, bias in ((model[0], w1, b1), (model[2], w2, b2)):
            layer.weight.copy_(weight.T)
            layer.bias.copy_(bias)
    return model
