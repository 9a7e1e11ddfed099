"""The definition is pinned, and a backend that differs in one bit is caught."""

import numpy as np
import pytest

from synaptic_mesh.engine import polynomials, reference
from synaptic_mesh.engine.executors.contraction import CONTRACTION
from synaptic_mesh.engine.golden import check_backend, format_digests, format_operations, semantics_id
from synaptic_mesh.engine.golden_digests import DIGESTS
from synaptic_mesh.engine.golden_operations import OPERATIONS
from synaptic_mesh.engine.ir import Op
from synaptic_mesh.engine.reference import ReferenceBackend

SEMANTICS_ID = "821c4a35c04b866b5c69510213ba9e3c4d31e30bcd1bef0c021084731a6fbf25"
"""Change it only together with docs/protocol/semantics.md: every old run then belongs to the old semantics."""


def test_the_semantics_did_not_change_by_accident():
    assert semantics_id().hex() == SEMANTICS_ID


def test_the_reference_passes():
    assert check_backend(ReferenceBackend()) == []


def test_the_digests_are_what_the_reference_writes():
    written = {}
    exec(format_digests(), written)
    assert written["DIGESTS"] == DIGESTS
    exec(format_operations(), written)
    assert written["OPERATIONS"] == OPERATIONS
    assert list(OPERATIONS) == list(dict.fromkeys(key.split(":")[0] for key in DIGESTS))


def failures_with(monkeypatch, op, executor):
    monkeypatch.setitem(reference.EXECUTORS, op, executor)
    return check_backend(ReferenceBackend())


def _fused(node, a, b):
    """Products kept in float64 until they are added: a fused multiply-add in all but name."""
    left = (a.mT if node.attributes.transpose_left else a).astype(np.float64)
    right = (b.mT if node.attributes.transpose_right else b).astype(np.float64)
    total = np.zeros(node.shape, np.float32)
    for k in range(left.shape[-1]):
        total = (total + left[..., k, None] * right[..., None, k, :]).astype(np.float32)
    return total


def _descending(node, x, w):
    """A convolution whose channels come from the last to the first."""
    return (
        CONTRACTION[Op.CONV](node, x[:, ::-1], w[:, ::-1])
        if w.shape[0] == 6 and x.shape[1] == w.shape[1]
        else (CONTRACTION[Op.CONV](node, x, w))
    )


def _first(node):
    return (slice(None),) * node.attributes.axes[0] + (slice(node.shape[node.attributes.axes[0]]),)


def _last_update(node, updates, index):
    table = np.zeros(node.shape, np.float32)
    np.put_along_axis(table, np.clip(index, 0, node.shape[-1] - 1), updates, -1)
    return table


def _flushing(_, a, b):
    product = np.multiply(a, b)
    return np.where(np.abs(product) < np.float32(2.0**-126), product * product.dtype.type(0), product)


def _library_sum(node, a):
    return a.sum(axis=node.attributes.axes[0], dtype=a.dtype)


def _argmax_of_zeros(node, a):
    """numpy's own, but with +0 above -0."""
    keys = np.where(np.isnan(a), np.inf, a.astype(np.float64)) + np.where(np.signbit(a) & (a == 0), -1e-60, 0.0)
    return keys.argmax(axis=node.attributes.axes[0]).astype(np.int32)


@pytest.mark.parametrize(
    ("op", "executor"),
    [
        (Op.MATMUL, _fused),
        (Op.MUL, _flushing),
        (Op.REDUCE_SUM, _library_sum),
        (Op.EXP, lambda _, a: np.exp(a)),
        (Op.ERF, lambda _, a: np.tanh(a)),
        (Op.SIN, lambda _, a: np.sin(a)),
        (Op.POW, lambda _, a, b: np.power(a, b)),
        (Op.CONV, _descending),
        (Op.CUMSUM, lambda node, a: np.cumsum(a, axis=node.attributes.axes[0], dtype=a.dtype) * a.dtype.type(1)),
        (Op.TOP_K, lambda node, a: np.argsort(-a, axis=node.attributes.axes[0])[_first(node)].astype(np.int32)),
        (Op.BITCAST, lambda node, a: a.view({"f32": np.float32, "i32": np.int32, "u32": np.uint32}[node.dtype.value])),
        (Op.SHIFT_RIGHT, lambda node, a: (a.view(np.uint32) >> np.uint32(node.attributes.axes[0])).view(a.dtype)),
        (Op.THREEFRY, lambda _, a, b: a ^ b),
        (Op.SCATTER_ADD_LAST, _last_update),
        (Op.ARGMAX, _argmax_of_zeros),
        (Op.ONE_HOT, lambda node, i: np.eye(node.shape[-1], dtype=np.float32)[np.clip(i, 0, node.shape[-1] - 1)]),
    ],
)
def test_usual_deviations_are_caught(monkeypatch, op, executor):
    assert failures_with(monkeypatch, op, executor)


def test_the_sign_of_zero_is_caught(monkeypatch):
    def sloppy(_, a, b):
        return np.where(np.isnan(a), a, np.where(np.greater(a, b), a, b))

    failures = failures_with(monkeypatch, Op.MAX, sloppy)
    assert any(line.startswith("elementwise:out/max:") for line in failures)


def test_one_coefficient_is_caught(monkeypatch):
    changed = (*polynomials.LOG_COEFFICIENTS[:-1], polynomials.LOG_COEFFICIENTS[-1] + 1)
    monkeypatch.setattr(polynomials, "LOG_COEFFICIENTS", changed)
    failures = check_backend(ReferenceBackend())
    assert any(line.startswith("elementwise:out/log:") for line in failures)
