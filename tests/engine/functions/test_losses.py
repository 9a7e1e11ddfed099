"""Losses against their formulas in binary64; every option of the cross entropy is compared with torch elsewhere."""

import numpy as np
import pytest
from evaluating import assert_close, drawn, evaluate

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import StepInvalid
from synaptic_mesh.engine.functions import losses
from synaptic_mesh.engine.functions.losses import Reduction

P, T = drawn(3, 4, name="p"), drawn(3, 4, name="t")
SHARE = np.abs(T) / np.float32(2.5)
LABELS = np.array([1, 3, 0], np.int32)


@pytest.mark.parametrize(
    ("function", "each"),
    [
        (losses.mean_squared_error, (P - T) ** 2),
        (losses.mean_absolute_error, np.abs(P - T)),
        (losses.huber, np.where(np.abs(P - T) < 1, (P - T) ** 2 / 2, np.abs(P - T) - 0.5)),
        (losses.hinge, np.maximum(1 - T * P, 0)),
    ],
)
def test_losses_of_pairs_and_their_reductions(function, each):
    results = {Reduction.MEAN: each.mean(), Reduction.SUM: each.sum(), Reduction.NONE: each}
    for reduction, expected in results.items():
        assert_close(evaluate(lambda p, t, r=reduction: function(p, t, reduction=r), P, T), expected)


def test_binary_cross_entropy():
    share = 1 / (1 + np.exp(-P.astype(np.float64)))
    each = -(SHARE * np.log(share) + (1 - SHARE) * np.log(1 - share))
    assert_close(evaluate(losses.binary_cross_entropy_with_logits, P, SHARE), each.mean())
    assert_close(evaluate(losses.binary_cross_entropy, share.astype(np.float32), SHARE), each.mean())
    ends = np.array([0, 1], np.float32)
    assert evaluate(losses.binary_cross_entropy, ends, ends[::-1].copy()) == 100


def test_large_logits_stay_finite():
    logits = np.array([500, -500], np.float32)
    assert evaluate(losses.binary_cross_entropy_with_logits, logits, np.array([0, 1], np.float32)) == 500


def test_cross_entropy_with_weights_ignored_labels_and_smoothing():
    logits = drawn(3, 4, name="logits", limit=5.0)
    logs = logits - np.log(np.exp(logits.astype(np.float64)).sum(1, keepdims=True))
    rows = -logs[np.arange(3), LABELS]
    assert_close(evaluate(losses.softmax_cross_entropy, logits, LABELS), rows.mean())
    weights = np.array([1, 2, 3, 4], np.float32)
    weighted = evaluate(lambda z, y, w: losses.softmax_cross_entropy(z, y, class_weights=w), logits, LABELS, weights)
    assert_close(weighted, (rows * weights[LABELS]).sum() / weights[LABELS].sum())
    ignored = evaluate(lambda z, y: losses.softmax_cross_entropy(z, y, ignore_index=3), logits, LABELS)
    assert_close(ignored, rows[[0, 2]].mean())
    smooth = evaluate(lambda z, y: losses.softmax_cross_entropy(z, y, label_smoothing=0.2), logits, LABELS)
    assert_close(smooth, (0.8 * rows - 0.2 * logs.mean(1)).mean())


def test_a_label_outside_the_classes_is_invalid_unless_ignored():
    logits, labels = drawn(3, 4, name="logits"), np.array([1, -100, 0], np.int32)
    with pytest.raises(StepInvalid, match="index -100"):
        evaluate(losses.softmax_cross_entropy, logits, labels)
    assert np.isfinite(evaluate(lambda z, y: losses.softmax_cross_entropy(z, y, ignore_index=-100), logits, labels))


@pytest.mark.parametrize("name", ["mean_squared_error", "huber", "hinge", "binary_cross_entropy_with_logits"])
def test_shapes_must_agree(name):
    with pytest.raises(LocalError, match=r"shapes \(3, 4\) and \(4,\) differ"):
        evaluate(getattr(losses, name), P, T[0])


def test_labels_must_be_integers_of_the_batch():
    with pytest.raises(LocalError, match=r"not \(3, 4\) and f32 \(3,\)"):
        evaluate(losses.softmax_cross_entropy, P, T[:, 0].copy())
