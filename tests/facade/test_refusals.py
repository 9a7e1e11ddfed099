"""What Model does not take, in one sentence each; and what a fit that was broken off leaves behind."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.facade.callbacks import Callback, ModelCheckpoint
from synaptic_mesh.facade.formats import from_fann, to_fann, to_onnx
from synaptic_mesh.facade.model import Model
from synaptic_mesh.interchange.fann_data import read_fann_data
from synaptic_mesh.models.layers.dense import Dense
from synaptic_mesh.models.layers.embedding import Embedding
from synaptic_mesh.models.layers.sequential import Sequential
from synaptic_mesh.models.layers.shape import Flatten

X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
Y = np.arange(20) % 3
LABELS = np.array(list("abc"), object)[Y]


def model(**options):
    return Model(Sequential([Dense(3)]), **options)


def fit(x=X, y=Y, **options):
    return model().fit(x, y, verbose=0, **options)


def fitted():
    made = model()
    made.fit(X, Y, verbose=0)
    return made


def spoilt():
    fitted().set_values({"dense0/bias": np.full(3, np.nan)})


def tokens(x):
    return Model(Sequential([Embedding(5, 2), Flatten(), Dense(3)])).fit(x, Y, verbose=0)


def with_missing(values, missing):
    return np.array([missing, *values[1:]], object)


REFUSED = [
    (lambda: Model.load(None), "the path is NoneType; give text or a pathlib.Path"),
    (lambda: model(input_shape=(4,)).save(3), "the path is int; give text"),
    (lambda: from_fann(None), "the path is NoneType"),
    (lambda: read_fann_data(b"x"), "the path is bytes"),
    (lambda: to_fann(3, "a.net"), "to_fann takes a Model, not int"),
    (lambda: model(seed=1.5), "seed 1.5 must be a whole number"),
    (lambda: model(seed="a"), "seed 'a' must be a whole number"),
    (lambda: model(seed=True), "seed True must be a whole number"),
    (lambda: model(metrics="accuracy"), "metrics is 'accuracy'; give a list of names"),
    (lambda: model(backend=None), "backend None is no backend; give wasm"),
    (lambda: fit(None), "X of type NoneType holds no rows; give lists, an array"),
    (lambda: fit(row for row in X), "X of type generator holds no rows"),
    (lambda: fit({"a": X}), "X of type dict holds no rows"),
    (lambda: fit(X[:0], Y[:0]), "X of shape (0, 4) holds no rows"),
    (lambda: fit(X[:, :0]), "X of shape (20, 0) holds no features"),
    (lambda: fit(X[:, 0]), "rows of one number are x.reshape(-1, 1)"),
    (lambda: fit([["a"] * 4] * 20), "X row 1, position (1,), is 'a', which is not a number"),
    (lambda: fit(np.where(X > 9, X, None)), "X row 1, position (1,), is nan; fill in or leave out"),
    (lambda: fit([[1, 2], [3]], [0, 1]), "X of type list cannot be read as rows"),
    (lambda: fit(y=Y[:5]), "X has 20 rows and y has 5"),
    (lambda: fit(y=None), "y of type NoneType holds no rows"),
    (lambda: fit(y=iter(Y)), "holds no rows; give a list, an array or a column"),
    (lambda: fit(y=np.eye(3)[Y]), "pass labels, as y.argmax(axis=1) gives them"),
    (lambda: fit(y=np.where(Y == 1, np.nan, Y)), "y row 2 is nan; fill in or leave out missing labels"),
    (lambda: fit(y=with_missing(LABELS, None)), "y row 1 is None; fill in or leave out missing labels"),
    (lambda: fit(y=with_missing(LABELS, np.nan)), "y row 1 is nan"),
    (lambda: fit(y=with_missing(LABELS, 3)), "y mixes labels of types that cannot be compared"),
    (lambda: fitted().evaluate(X, Y + 5), "y row 1: label 5 is not among the model's classes 0, 1, 2"),
    (lambda: fitted().predict(X[0]), "X has rows of shape (), the model takes (4,); one row is X[None]"),
    (lambda: fit(class_weight={7: 1.0}), "class_weight 7: 1.0 needs a class of y"),
    (lambda: fit(class_weight={0: np.nan}), "class_weight 0: nan needs a class of y"),
    (lambda: fit(sample_weight=[1, 2]), "sample_weight of shape (2,) must be 20 numbers"),
    (lambda: fit(sample_weight=2.0), "sample_weight of type float holds no rows"),
    (lambda: fit(sample_weight=np.full(20, np.nan)), "sample_weight row 1 is nan"),
    (lambda: fit(validation_data=(X * np.nan, Y)), "validation X row 1, position (1,), is nan"),
    (lambda: fit(validation_data=(X, Y[:3])), "validation X has 20 rows and validation y has 3"),
    (lambda: fit(validation_data=(X[:, :2], Y)), "validation X has rows of shape (2,), the model takes (4,)"),
    (lambda: fitted().save("a\0b"), "the path 'a\\x00b' holds a zero byte"),
    (lambda: spoilt(), "value 'dense0/bias' holds numbers that are not finite"),
    (lambda: copy.deepcopy(model(backend=ReferenceBackend())), "a model on a backend object (reference) has no copy"),
    (lambda: fit(shuffle="batch"), "shuffle 'batch' must be True or False"),
    (lambda: tokens(np.full((20, 4), 7)), "an index is out of range; tokens must be rows of the embedding's table"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_one_sentence(number: int) -> None:
    call, message = REFUSED[number]
    with pytest.raises(LocalError, match=re.escape(message)) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_exports_of_what_is_no_model() -> None:
    pytest.importorskip("onnx")
    with pytest.raises(LocalError, match="to_onnx takes a Model, not int"):
        to_onnx(3, "a.onnx")  # type: ignore[arg-type]
    with pytest.raises(LocalError, match=r"rows 1\.5 must be a whole number"):
        to_onnx(model(input_shape=(4,)), "a.onnx", rows=1.5)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore")
def test_frames_and_tables_with_gaps() -> None:
    pd, pa = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame.loc[3, "b"] = None
    with pytest.raises(LocalError, match="X row 4, column 'b', is nan; fill in or leave out missing values"):
        fit(frame)
    numbers = pd.Series(Y, dtype="Int64").where(pd.Series(Y) > 0)
    with pytest.raises(LocalError, match=r"y row 1 is (nan|<NA>); fill in or leave out missing labels"):
        fit(y=numbers)
    with pytest.raises(LocalError, match="y has 10 missing values"):
        fit(y=pa.array(["a", None] * 10))
    with pytest.raises(LocalError, match="X row 2, column 'a', is nan"):
        fit(pa.table({"a": pa.array([1, None] * 10), "b": pa.array([1] * 20)}))
    made = model()
    made.fit(pa.table({name: X[:, i] for i, name in enumerate("abcd")}), pa.array(LABELS.tolist()), verbose=0)
    assert set(made.predict(pd.DataFrame(X, columns=list("abcd")))) <= set("abc")


class Breaks(Callback):
    """Raises after the second epoch."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_epoch_end(self, model, epoch, figures):
        del model, figures
        if epoch == 1:
            raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("mine")], ids=["interrupt", "callback"])
def test_a_fit_that_is_broken_off_goes_on_where_it_stopped(error: BaseException) -> None:
    whole, broken = model(), model()
    whole.fit(X, Y, epochs=4, verbose=0)
    with pytest.raises(type(error)):
        broken.fit(X, Y, epochs=4, verbose=0, callbacks=[Breaks(error)])
    assert broken.epochs_done == 2
    assert broken.history.epoch == [0, 1]
    assert broken.fit(X, Y, epochs=2, verbose=0).epoch == [2, 3]
    assert broken.scores(X).tobytes() == whole.scores(X).tobytes()


def test_a_checkpoint_goes_on_after_its_epoch(tmp_path: Path) -> None:
    whole = model()
    whole.fit(X, Y, epochs=3, verbose=0, callbacks=[ModelCheckpoint(tmp_path / "{epoch}.safetensors")])
    again = Model.load(tmp_path / "2.safetensors")
    assert again.epochs_done == 2
    again.fit(X, Y, verbose=0)
    assert again.scores(X).tobytes() == whole.scores(X).tobytes()
