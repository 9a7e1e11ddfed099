"""The networks in torch: modules as its users write them, with our parameters copied in."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.bench.networks import (
    BLOCKS,
    CLASSES,
    FEATURES,
    HEADS,
    HIDDEN,
    INNER,
    KERNEL,
    KERNELS,
    POOL,
    POOLED,
    TOKENS,
    WIDTH,
    Network,
)


class Recurrent(torch.nn.Module):  # type: ignore[misc]  # torch brings no types where it is not installed
    """LSTM and a dense layer on its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(FEATURES, HIDDEN)
        self.head = torch.nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: Any) -> Any:
        """(time, rows, features) -> (rows, classes)."""
        return self.head(self.lstm(x)[0][-1])


class Block(torch.nn.Module):  # type: ignore[misc]  # torch brings no types where it is not installed
    """Attention and a network of two layers, each after a layer norm and beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = torch.nn.LayerNorm(WIDTH), torch.nn.LayerNorm(WIDTH)
        self.qkv, self.join = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.up, self.down = torch.nn.Linear(WIDTH, INNER), torch.nn.Linear(INNER, WIDTH)

    def forward(self, x: Any) -> Any:
        """(rows, tokens, width) -> the same."""
        rows = x.shape[0]
        joined = self.qkv(self.norm1(x)).view(rows, TOKENS, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(joined[0], joined[1], joined[2])
        x = x + self.join(seen.transpose(1, 2).reshape(rows, TOKENS, WIDTH))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Transformer(torch.nn.Module):  # type: ignore[misc]  # torch brings no types where it is not installed
    """Blocks, the mean over tokens, a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.head = torch.nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Any) -> Any:
        """(rows, tokens, width) -> (rows, classes)."""
        return self.head(self.blocks(x).mean(1))


def torch_network(network: Network, parameters: Mapping[str, Array]) -> Any:
    """Return the module, holding copies of `parameters`."""
    module = _MAKERS[network]()
    with torch.no_grad():
        for name, (place, turned) in _places(network, module).items():
            array = torch.from_numpy(parameters[name].copy())
            place.copy_(array.T if turned else array)
        if network is Network.LSTM:
            module.lstm.bias_hh_l0.zero_()
            module.lstm.bias_hh_l0.requires_grad_(False)  # our LSTM has one bias
    return module


def torch_parameters(network: Network, module: Any) -> dict[str, Array]:
    """Return the module's parameters under our names and in our orientation."""
    return {
        name: (place.T if turned else place).detach().numpy().copy()
        for name, (place, turned) in _places(network, module).items()
    }


def _places(network: Network, module: Any) -> dict[str, tuple[Any, bool]]:
    """Our name -> torch's parameter, and whether it is stored transposed: as (out, in)."""
    if network is Network.CNN:
        conv, head = module[0], module[4]
        return {"conv": (conv.weight, False), "conv.bias": (conv.bias, False), **_linear("head", head)}
    if network is Network.LSTM:
        cell = module.lstm
        places = {"w": (cell.weight_ih_l0, True), "u": (cell.weight_hh_l0, True), "bias": (cell.bias_ih_l0, False)}
        return {**places, **_linear("head", module.head)}
    found: dict[str, tuple[Any, bool]] = {}
    for number, block in enumerate(module.blocks):
        for norm in ("norm1", "norm2"):
            layer = getattr(block, norm)
            found |= {f"block{number}.{norm}.scale": (layer.weight, False)}
            found |= {f"block{number}.{norm}.shift": (layer.bias, False)}
        for name in ("qkv", "join", "up", "down"):
            found |= _linear(f"block{number}.{name}", getattr(block, name))
    return found | _linear("head", module.head)


def _linear(name: str, layer: Any) -> dict[str, tuple[Any, bool]]:
    return {name: (layer.weight, True), f"{name}.bias": (layer.bias, False)}


def _cnn() -> Any:
    conv, pool = torch.nn.Conv2d(1, KERNELS, KERNEL), torch.nn.MaxPool2d(POOL)
    head = torch.nn.Linear(KERNELS * POOLED * POOLED, CLASSES)
    return torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), head)


_MAKERS = {Network.CNN: _cnn, Network.LSTM: Recurrent, Network.TRANSFORMER: Transformer}
