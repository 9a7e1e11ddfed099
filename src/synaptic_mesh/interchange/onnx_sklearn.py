"""Operators of ai.onnx.ml that scikit-learn's converter writes for linear models, scalers and networks."""

import math

import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.composites import softmax
from synaptic_mesh.engine.functions import indexing
from synaptic_mesh.engine.functions.movement import concat
from synaptic_mesh.engine.ir import DType
from synaptic_mesh.engine.trace import Tensor, sigmoid, sqrt, where
from synaptic_mesh.interchange.onnx_shapes import Handler
from synaptic_mesh.interchange.onnx_values import Call, Value


def _f32(call: Call) -> Tensor:
    x = call.tensor()
    return x if x.dtype is DType.F32 else x.convert(DType.F32)


def _scaler(call: Call) -> Value:
    offset, scale = (np.array(call.get(name), np.float32) for name in ("offset", "scale"))
    x = _f32(call)
    return call.result((x - x.builder.array(offset)) * x.builder.array(scale), "float32")


def _linear(call: Call, x: Tensor, outputs: int) -> Tensor:
    weight = np.array(call.get("coefficients"), np.float32).reshape(outputs, x.shape[1]).T
    found = x @ x.builder.array(np.ascontiguousarray(weight))
    bias = call.get("intercepts")
    return found if not bias else found + x.builder.array(np.array(bias, np.float32))


def _transformed(call: Call, scores: Tensor) -> Tensor:
    name = call.get("post_transform", "NONE")
    if name == "NONE":
        return scores
    if name == "LOGISTIC":
        return sigmoid(scores)
    if name == "SOFTMAX":
        return softmax(scores)
    raise LocalError(f"post_transform {name} is not computed; there are NONE, LOGISTIC and SOFTMAX")


def _regressor(call: Call) -> Value:
    return call.result(_transformed(call, _linear(call, _f32(call), call.get("targets", 1))), "float32")


def _classifier(call: Call) -> list[Value]:
    labels = call.get("classlabels_ints") or call.get("classlabels_strings") or []
    x = _f32(call)
    outputs = len(call.get("coefficients")) // x.shape[1]
    raw = _linear(call, x, outputs)
    if outputs == 1 and len(labels) == 2:
        side = where(raw[:, 0] > 0.0, 1, x.builder.constant(0, (x.shape[0],), DType.I32))
        high = _transformed(call, raw)
        scores = concat([1.0 - high if call.get("post_transform") == "LOGISTIC" else -high, high], 1)
    else:
        side, scores = raw.argmax(1), _transformed(call, raw)
    if call.get("classlabels_ints"):
        found = call.result(indexing.take(x.builder.array(np.array(labels, np.int32)), side, 0), "int64")
    else:
        found = Value("string", tensor=side, names=np.array(labels, object))
    return [found, call.result(scores, "float32")][: call.outputs]


def _normalizer(call: Call) -> Value:
    x, norm = _f32(call), call.get("norm", "MAX")
    size = abs(x).max(1) if norm == "MAX" else abs(x).sum(1) if norm == "L1" else sqrt((x * x).sum(1))
    wide = size.repeat(1, x.shape[1])
    return call.result(where(wide == 0.0, x, x / wide), "float32")


def _binarizer(call: Call) -> Value:
    return call.result(where(_f32(call) > call.get("threshold", 0.0), 1.0, 0.0), "float32")


def _imputer(call: Call) -> Value:
    """NaN, or the number that stands for a missing one, becomes the feature's value."""
    x = _f32(call)
    values = call.get("imputed_value_floats") or call.get("imputed_value_int64s")
    wide = x.builder.array(np.array(values, np.float32)).broadcast_to(x.shape)
    missing = call.get("replaced_value_float", math.nan)
    if math.isnan(missing):
        return call.result(where(x == x, x, wide), "float32")
    return call.result(where(x == missing, wide, x), "float32")


def _extract(call: Call) -> Value:
    if call.kind() == "string":  # the labels of a classifier, by position
        return Value("string", tensor=call.tensor(1), names=call.static(0).reshape(-1))
    x = call.tensor()
    index = call.tensor(1)
    flat = index.reshape(index.node.size)
    found = indexing.take(x, flat, len(x.shape) - 1)
    return call.result(found.reshape(1, flat.shape[0]) if len(x.shape) == 1 else found)


SKLEARN: dict[str, Handler] = {
    "Scaler": _scaler,
    "LinearRegressor": _regressor,
    "LinearClassifier": _classifier,
    "Normalizer": _normalizer,
    "Binarizer": _binarizer,
    "Imputer": _imputer,
    "ArrayFeatureExtractor": _extract,
}
