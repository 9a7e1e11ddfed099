"""Figures of models whose answers are known by hand."""

import math

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.training.evaluate import ClassEvaluation, NumberEvaluation, evaluate
from synaptic_mesh.training.model import TrainedModel

BACKEND = ReferenceBackend()


def test_classes(classifier: TrainedModel) -> None:
    x = np.array([[-1, 0, 1], [-1, 1, 0], [1, 0, 1]], np.float32)
    found = evaluate(classifier, x, np.array([0, 1, 1], np.int32), BACKEND)
    assert isinstance(found, ClassEvaluation)
    assert (found.rows, found.correct, found.accuracy) == (3, 2, 2 / 3)
    assert found.confusion == ((1, 0), (1, 1))
    assert [(c.name, c.rows, c.recall, c.precision) for c in found.classes] == [
        ("moss", 1, 1.0, 0.5),
        ("rose", 2, 0.5, 1.0),
    ]
    right, wrong = math.log(1 + math.exp(-4)), math.log(1 + math.exp(4))
    assert found.loss == pytest.approx((2 * right + wrong) / 3, rel=1e-6)


def test_a_class_without_rows_has_no_recall(classifier: TrainedModel) -> None:
    found = evaluate(classifier, np.array([[-1, 0, 1]], np.float32), np.array([0], np.int32), BACKEND)
    assert isinstance(found, ClassEvaluation)
    assert (found.classes[1].recall, found.classes[1].precision) == (None, None)


def test_numbers(regressor: TrainedModel) -> None:
    x = np.array([[0], [1], [-1]], np.float32)  # predicts 100, 120, 80
    y = np.array([[0], [1], [-1]], np.float32)  # is 100, 110, 90
    found = evaluate(regressor, x, y, BACKEND)
    assert isinstance(found, NumberEvaluation)
    assert found.loss == pytest.approx(2 / 3)
    price = found.numbers[0]
    assert (price.name, price.rmse, price.mae) == ("price", pytest.approx(math.sqrt(200 / 3)), pytest.approx(20 / 3))
    assert price.r2 == pytest.approx(0.0)


def test_targets_that_do_not_vary_have_no_r2(regressor: TrainedModel) -> None:
    found = evaluate(regressor, np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32), BACKEND)
    assert isinstance(found, NumberEvaluation)
    assert found.numbers[0].r2 is None


def test_rows_and_targets_must_pair(classifier: TrainedModel) -> None:
    with pytest.raises(LocalError, match="2 targets do not fit 1 rows"):
        evaluate(classifier, np.zeros((1, 3), np.float32), np.zeros(2, np.int32), BACKEND)
