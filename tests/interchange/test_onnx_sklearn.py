"""scikit-learn's models through its converter: the labels and numbers of onnxruntime, by MeshBackend and as a Model."""

import numpy as np
import pytest

convert = pytest.importorskip("skl2onnx")
runtime = pytest.importorskip("onnxruntime")

from sklearn import datasets, discriminant_analysis, feature_selection, impute  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.linear_model import (  # noqa: E402  # noqa: E402
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.naive_bayes import GaussianNB  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import (  # noqa: E402  # noqa: E402
    Binarizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC  # noqa: E402
from sklearn.tree import DecisionTreeClassifier  # noqa: E402

from synaptic_mesh.base.errors import LocalError  # noqa: E402
from synaptic_mesh.facade.formats import from_onnx  # noqa: E402
from synaptic_mesh.interchange.onnx_backend import MeshBackend  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
NET = {"hidden_layer_sizes": (8,), "max_iter": 60, "random_state": 1}
CLASSIFIERS = [
    LogisticRegression(max_iter=300),
    MLPClassifier(**NET),
    MLPClassifier(activation="tanh", **NET),
    MLPClassifier(activation="logistic", **NET),
    *(make_pipeline(scaler, LogisticRegression(max_iter=300)) for scaler in (
        StandardScaler(), MinMaxScaler(), RobustScaler(), MaxAbsScaler(), Normalizer(), PolynomialFeatures(2), PCA(2),
        Binarizer(threshold=1.0), feature_selection.SelectKBest(k=2), impute.SimpleImputer(),
        ColumnTransformer([("a", StandardScaler(), [0, 1]), ("b", MinMaxScaler(), [2, 3])]),
    )),
    make_pipeline(StandardScaler(), MLPClassifier(**NET)),
    RidgeClassifier(),
    SGDClassifier(loss="log_loss"),
    LinearSVC(),
    GaussianNB(),
    KNeighborsClassifier(),
    KMeans(3, n_init=1),
    discriminant_analysis.LinearDiscriminantAnalysis(),
]  # fmt: skip
REGRESSORS = [
    LinearRegression(),
    Ridge(),
    Lasso(0.1),
    PoissonRegressor(),
    make_pipeline(StandardScaler(), MLPRegressor(**NET)),
    make_pipeline(PolynomialFeatures(2), StandardScaler(), Ridge()),
]


def converted(model, x):
    return convert.to_onnx(model, x[:1], options={"zipmap": False} if hasattr(model, "predict_proba") else None)


def check(proto, x):
    expected = runtime.InferenceSession(proto.SerializeToString()).run(None, {"X": x})
    for wanted, found in zip(expected, MeshBackend.run_model(proto, [x]), strict=True):
        assert found.shape == wanted.shape
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
        else:
            assert (found == wanted).all()
    scores = from_onnx(proto, output=len(expected) - 1, loss="mse").scores(x)
    np.testing.assert_allclose(scores, expected[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("number", range(len(CLASSIFIERS)))
def test_classifiers(number):
    x, y = datasets.load_iris(return_X_y=True)
    x = x.astype(np.float32)
    model = CLASSIFIERS[number].fit(x, y)
    check(converted(model, x), x)


@pytest.mark.parametrize("labels", [[0, 1, 1], ["setosa", "other", "other"], ["setosa", "versicolor", "virginica"]])
def test_labels(labels):
    x, y = datasets.load_iris(return_X_y=True)
    x = x.astype(np.float32)
    check(converted(LogisticRegression(max_iter=300).fit(x, np.array(labels)[y]), x), x)


@pytest.mark.parametrize("number", range(len(REGRESSORS)))
def test_regressors(number):
    x, y = datasets.load_diabetes(return_X_y=True)
    x = x.astype(np.float32)
    check(converted(REGRESSORS[number].fit(x, y), x), x)


def test_trees_are_refused():
    x, y = datasets.load_iris(return_X_y=True)
    proto = converted(DecisionTreeClassifier().fit(x, y), x.astype(np.float32))
    with pytest.raises(
        LocalError, match=r"TreeEnsembleClassifier .* is not supported: trees have no place in a network"
    ):
        from_onnx(proto)
