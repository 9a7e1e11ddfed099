"""ONNX's Attention (opsets 23 to 25) and RotaryEmbedding.

What a query may see is made of up to four rules: a mask, the causal frontier, a window, and how many keys are no
padding. The rules are joined as integers 0 and 1; a mask of floats is added.
"""

import math

import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import activations, indexing, movement
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, matmul, tanh, where
from synaptic_mesh.interchange.onnx_shapes import Handler
from synaptic_mesh.interchange.onnx_values import Call, Value, truth

ATTRIBUTES = {
    "is_causal", "kv_num_heads", "q_num_heads", "scale", "softcap", "softmax_precision", "qk_matmul_output_mode",
    "left_window_size", "right_window_size",
}  # fmt: skip


def _attention(call: Call) -> list[Value]:
    """(batch, heads, steps, size), or (batch, steps, heads * size) with q_num_heads."""
    strange = sorted(set(call.attributes) - ATTRIBUTES)
    if strange:
        raise LocalError(f"attribute {strange[0]!r} is not computed")
    q, k, v = call.floats(0), call.floats(1), call.floats(2)
    is_flat = len(q.shape) == 3
    if is_flat:
        heads, kv_heads = call.get("q_num_heads"), call.get("kv_num_heads")
        q, k, v = _apart(q, heads), _apart(k, kv_heads), _apart(v, kv_heads)
    past = call.floats(4).shape[2] if call.has(4) else 0
    if call.has(4):
        k, v = movement.concat([call.floats(4), k], 2), movement.concat([call.floats(5), v], 2)
    present = [k, v]
    k, v = per_query(k, q.shape[1]), per_query(v, q.shape[1])
    root = math.sqrt(call.get("scale") or 1.0 / math.sqrt(q.shape[-1]))
    stages = [matmul(q * root, k * root, transpose_right=True)]  # (batch, heads, queries, keys)
    stages.append(_capped(stages[0], call.get("softcap", 0.0)))
    stages.append(_masked(call, stages[1], past))
    stages.append(_seen_share(stages[2]))
    found = matmul(stages[3], v)
    if is_flat:
        batch, heads, steps, size = found.shape
        found = found.transpose(0, 2, 1, 3).reshape(batch, steps, heads * size)
    shown = stages[call.get("qk_matmul_output_mode", 0)]
    return [call.result(t) for t in (found, *present, shown)][: call.outputs]


def _capped(scores: Tensor, cap: float) -> Tensor:
    return tanh(scores / cap) * cap if cap else scores


def _masked(call: Call, scores: Tensor, past: int) -> Tensor:
    """Add the mask, and -infinity where a query may not see a key."""
    allowed = _frontier(call, scores, past)
    if call.has(3):
        mask = _whole_mask(call.tensor(3), scores.shape[-1])
        if mask.dtype is DType.F32:
            scores = scores + mask
        else:
            wide = mask.broadcast_to(scores.shape)
            allowed = wide if allowed is None else allowed & wide
    return scores if allowed is None else where(allowed == 1, scores, -math.inf)


def _whole_mask(mask: Tensor, keys: int) -> Tensor:
    """A mask that is shorter than the keys hides the rest."""
    missing = keys - mask.shape[-1]
    if missing <= 0:
        return mask
    sides = [0] * (len(mask.shape) - 1)
    return movement.pad(mask, [*sides, 0], [*sides, missing], value=-math.inf if mask.dtype is DType.F32 else 0)


def _frontier(call: Call, scores: Tensor, past: int) -> Tensor | None:
    """i32 1 where the causal rule, the window and the count of real keys let a query see a key; None when all do."""
    queries, keys = scores.shape[-2:]
    builder = scores.builder
    key = builder.array(np.arange(keys, dtype=np.int32)).broadcast_to(scores.shape)
    own = builder.array(np.arange(queries, dtype=np.int32).reshape(queries, 1)).broadcast_to(scores.shape)
    offset = builder.constant(past, scores.shape, DType.I32)
    rules = []
    if call.has(6):
        lengths = call.tensor(6)
        wide = lengths.reshape(lengths.shape[0], 1, 1, 1).broadcast_to(scores.shape)
        rules.append(truth(key < wide))
        offset = wide - queries
    place = own + offset
    if call.get("is_causal", 0):
        rules.append(truth(key <= place))
    left, right = call.get("left_window_size", -1), call.get("right_window_size", -1)
    if left >= 0:
        rules.append(truth(key >= place - left))
    if right >= 0:
        rules.append(truth(key <= place + right))
    if not rules:
        return None
    total = rules[0]
    for rule in rules[1:]:
        total = total & rule
    return total


def _seen_share(scores: Tensor) -> Tensor:
    """softmax; a query that may see nothing sees nothing, instead of NaN."""
    empty = scores.max(-1).repeat(len(scores.shape) - 1, scores.shape[-1]) == -math.inf
    return where(empty, 0.0, activations.softmax_along(where(empty, 0.0, scores), -1))


def _apart(x: Tensor, heads: int) -> Tensor:
    batch, steps, width = x.shape
    return x.reshape(batch, steps, heads, width // heads).transpose(0, 2, 1, 3)


def per_query(x: Tensor, heads: int) -> Tensor:
    """Return keys or values for grouped queries: every key head serves heads / key heads query heads."""
    batch, own, steps, size = x.shape
    if own == heads:
        return x
    return x.repeat(2, heads // own).reshape(batch, heads, steps, size)


def _rotary(call: Call) -> Value:
    """RotaryEmbedding of opset 23."""
    x, cosine, sine = call.floats(0), call.floats(1), call.floats(2)
    is_flat = len(x.shape) == 3
    heads = call.get("num_heads", 0)
    wide = x.reshape(*x.shape[:2], heads, x.shape[2] // heads) if is_flat else x.transpose(0, 2, 1, 3)
    turned = call.get("rotary_embedding_dim", 0) or wide.shape[-1]
    half = turned // 2
    if call.has(3):
        positions = call.tensor(3)
        cosine, sine = (indexing.take(t, positions, 0) for t in (cosine, sine))
    cosine, sine = (t[..., :half].reshape(*t.shape[:2], 1, half) for t in (cosine, sine))
    head, rest = wide[..., :turned], wide[..., turned:]
    is_mixed = bool(call.get("interleaved", 0))
    first = head[..., 0::2] if is_mixed else head[..., :half]
    second = head[..., 1::2] if is_mixed else head[..., half:]
    real, imaginary = first * cosine - second * sine, first * sine + second * cosine
    if is_mixed:
        joined = movement.stack([real, imaginary], len(real.shape)).reshape(*head.shape)
    else:
        joined = movement.concat([real, imaginary], -1)
    found = movement.concat([joined, rest], -1) if rest.shape[-1] else joined
    return call.result(found.reshape(*x.shape) if is_flat else found.transpose(0, 2, 1, 3))


ATTENTION: dict[str, Handler] = {
    "Attention": _attention,
    "RotaryEmbedding": _rotary,
}
