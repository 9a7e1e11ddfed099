"""The networks in jax, as functions of a dictionary of parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from synaptic_mesh.bench.networks import BLOCKS, HEADS, HIDDEN, KERNELS, POOL, POOLED, TOKENS, WIDTH, Network

EPSILON = 1e-5


def jax_logits(network: Network) -> Callable[..., Any]:
    """Return f(parameters, x) -> (rows, classes)."""
    body = {Network.CNN: _cnn, Network.LSTM: _lstm, Network.TRANSFORMER: _transformer}[network]
    return lambda p, x: body(p, x) @ p["head"] + p["head.bias"]


def _cnn(p: dict[str, Any], x: Any) -> Any:
    maps = jax.lax.conv(x, p["conv"], (1, 1), "VALID") + p["conv.bias"][:, None, None]
    window = (1, 1, POOL, POOL)
    pooled = jax.lax.reduce_window(jnp.maximum(maps, 0), -jnp.inf, jax.lax.max, window, window, "VALID")
    return pooled.reshape(x.shape[0], KERNELS * POOLED * POOLED)


def _lstm(p: dict[str, Any], x: Any) -> Any:
    start = jnp.zeros((x.shape[1], HIDDEN))

    def step(state: Any, gates: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(gates + h @ p["u"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    return jax.lax.scan(step, (start, start), x @ p["w"] + p["bias"])[0][0]


def _transformer(p: dict[str, Any], x: Any) -> Any:
    for block in range(BLOCKS):
        x = _block({name.split(".", 1)[1]: value for name, value in p.items() if name.startswith(f"block{block}.")}, x)
    return x.mean(axis=1)


def _block(p: dict[str, Any], x: Any) -> Any:
    rows = x.shape[0]
    joined = _norm(x, p["norm1.scale"], p["norm1.shift"]) @ p["qkv"] + p["qkv.bias"]
    q, k, v = joined.reshape(rows, TOKENS, 3, HEADS, WIDTH // HEADS).transpose(2, 0, 3, 1, 4)
    shares = jax.nn.softmax(q @ k.swapaxes(-1, -2) / (WIDTH // HEADS) ** 0.5)
    x = x + (shares @ v).transpose(0, 2, 1, 3).reshape(rows, TOKENS, WIDTH) @ p["join"] + p["join.bias"]
    hidden = jax.nn.gelu(_norm(x, p["norm2.scale"], p["norm2.shift"]) @ p["up"] + p["up.bias"], approximate=False)
    return x + hidden @ p["down"] + p["down.bias"]


def _norm(x: Any, scale: Any, shift: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred * centred).mean(axis=-1, keepdims=True) + EPSILON) * scale + shift
