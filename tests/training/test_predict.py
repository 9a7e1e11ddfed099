"""Predictions of models whose answers are known by hand."""

import msgspec
import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import Trust
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.training.model import TrainedModel
from synaptic_mesh.training.predict import ClassPredictions, NumberPredictions, predict, predict_scores
from synaptic_mesh.training.sources import table_features
from synaptic_mesh.training.table import parse_csv

BACKEND = ReferenceBackend()


def test_raw_rows_become_labels_and_probabilities(classifier: TrainedModel) -> None:
    table = parse_csv(b"colour,length\nred,8\ngreen,14\nred,10\n", "new.csv")
    found = predict(classifier, table_features(classifier.prepared, table), BACKEND)
    assert isinstance(found, ClassPredictions)
    assert found.labels == ("moss", "rose", "moss")
    assert found.trust is Trust.EXACT
    logits = np.array([[2, -2], [-4, 4], [0, 0]], np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-6)


def test_numbers_come_back_in_their_units(regressor: TrainedModel) -> None:
    table = parse_csv(b"size\n5\n7\n1\n", "new.csv")
    found = predict(regressor, table_features(regressor.prepared, table), BACKEND)
    assert isinstance(found, NumberPredictions)
    assert found.names == ("price",)
    assert found.values.tolist() == [[100], [120], [60]]


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 200])
def test_a_row_does_not_depend_on_the_rows_beside_it(classifier: TrainedModel, rows: int) -> None:
    x = np.linspace(-3, 3, rows * 3, dtype=np.float32).reshape(rows, 3)
    together = predict_scores(classifier, x, BACKEND)
    alone = np.concatenate([predict_scores(classifier, x[at : at + 1], BACKEND) for at in range(rows)])
    assert together.tobytes() == alone.tobytes()


@pytest.mark.parametrize("shape", [(0, 3), (2, 4), (3,)])
def test_features_that_do_not_fit_are_refused(classifier: TrainedModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(LocalError, match=r"features of shape .* do not fit the model, which takes \(rows, 3\)"):
        predict(classifier, np.zeros(shape, np.float32), BACKEND)


def test_an_overflow_is_told_not_returned(classifier: TrainedModel, regressor: TrainedModel) -> None:
    huge = np.full((1, 3), 3e38, np.float32)
    with pytest.raises(LocalError, match=r"rows 1 to 1 have no prediction: output 'scores' is not finite"):
        predict(classifier, huge, BACKEND)
    steep = msgspec.structs.replace(
        regressor, parameters={**regressor.parameters, "bias": np.full(1, 3e38, np.float32)}
    )
    with pytest.raises(LocalError, match="row 1: the prediction leaves the range"):
        predict(steep, np.zeros((1, 1), np.float32), BACKEND)
