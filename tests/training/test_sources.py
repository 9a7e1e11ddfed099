"""What a data argument names, for training and for a model that is at hand."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.training.columns import ColumnOptions
from synaptic_mesh.training.dataset import split_examples
from synaptic_mesh.training.digits import digits_prepared, load_digits
from synaptic_mesh.training.model import TrainedModel
from synaptic_mesh.training.sources import load_examples, load_features, load_labelled

replace = msgspec.structs.replace


def test_digits_and_files_are_told_apart(tmp_path: Path) -> None:
    assert load_examples("digits").name == "digits"
    (tmp_path / "t.CSV").write_text("a,y\n1,p\n2,q\n")
    assert load_examples(str(tmp_path / "t.CSV")).name == "t.CSV"
    np.savez(tmp_path / "t.npz", x=np.ones((4, 2)), y=np.arange(4))
    assert load_examples(str(tmp_path / "t.npz"), ColumnOptions(task="regress")).prepared.task == "regress"


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        ("mnist", ColumnOptions(), "data 'mnist' is neither 'digits' nor a file ending in .csv or .npz"),
        ("digits", ColumnOptions(target="a"), "the digits have fixed columns"),
        ("none.csv", ColumnOptions(), "cannot read none.csv: No such file"),
        ("none.npz", ColumnOptions(target="a"), "none.npz is an NPZ file, whose arrays are x and y"),
    ],
)
def test_a_source_that_does_not_fit_is_refused(source: str, options: ColumnOptions, sentence: str) -> None:
    with pytest.raises(LocalError) as caught:
        load_examples(source, options)
    assert str(caught.value).startswith(sentence)


def test_csv_rows_are_scaled_as_in_training(tmp_path: Path, classifier: TrainedModel) -> None:
    path = tmp_path / "new.csv"
    path.write_text("length,colour,kind,note\n12,red,rose,?\n,red,moss,x\n")
    with pytest.raises(LocalError, match=r"new.csv line 3: column 'length' has no value"):
        load_features(classifier, str(path))
    assert load_features(classifier, str(path), drop_missing=True).tolist() == [[1, 0, 1]]
    labelled = load_labelled(classifier, str(path), drop_missing=True)
    assert (labelled.x.tolist(), labelled.y.tolist(), labelled.held_out) == ([[1, 0, 1]], [1], False)


def test_number_targets_are_scaled(tmp_path: Path, regressor: TrainedModel) -> None:
    (tmp_path / "n.csv").write_text("size,price\n7,110\n")
    assert load_labelled(regressor, str(tmp_path / "n.csv")).y.tolist() == [[1]]
    np.savez(tmp_path / "n.npz", x=np.array([[7.0]]), y=np.array([110.0]))
    assert load_labelled(regressor, str(tmp_path / "n.npz")).y.tolist() == [[1]]
    np.savez(tmp_path / "two.npz", x=np.array([[7.0]]), y=np.array([[110.0, 1.0]]))
    with pytest.raises(LocalError, match="y has 2 numbers in a row, the model predicts 1"):
        load_labelled(regressor, str(tmp_path / "two.npz"))


def test_arrays_must_have_the_width_and_classes_of_the_model(tmp_path: Path, classifier: TrainedModel) -> None:
    path = str(tmp_path / "a.npz")
    np.savez(path, x=np.ones((2, 3)), y=np.array(["rose", "rose"]))
    assert load_labelled(classifier, path).y.tolist() == [1, 1]
    assert load_features(classifier, path).shape == (2, 3)
    np.savez(path, x=np.ones((2, 2)), y=np.array(["rose", "rose"]))
    with pytest.raises(LocalError, match=r"a.npz has 2 features in a row, the model takes 3"):
        load_features(classifier, path)
    np.savez(path, x=np.ones((1, 3)), y=np.array(["fern"]))
    with pytest.raises(LocalError, match="y has the class 'fern', which was not there in training"):
        load_labelled(classifier, path)
    np.savez(path, y=np.array(["fern"]))
    with pytest.raises(LocalError, match="no array 'x'"):
        load_features(classifier, path)


def test_digits_are_evaluated_on_the_rows_held_out_in_training(classifier: TrainedModel) -> None:
    provenance = replace(classifier.provenance, data="digits", seed=4)
    model = replace(classifier, prepared=digits_prepared(), provenance=provenance)
    labelled = load_labelled(model, "digits")
    assert (labelled.x.shape, labelled.held_out) == ((355, 64), True)
    assert labelled.x.tobytes() == split_examples(load_digits(), 4).x_test.tobytes()
    assert load_features(model, "digits").shape == (1797, 64)
    with pytest.raises(LocalError, match=r"not trained on the digits but on 'plants.csv'; give its data"):
        load_labelled(classifier, "digits")
