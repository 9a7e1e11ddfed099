"""Models from other programs and back. What needs torch, onnx or scikit-learn runs where they are installed."""

from pathlib import Path

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.optimizers import AdamW
from synaptic_mesh.facade.formats import from_fann, from_onnx, from_torch, to_fann, to_onnx
from synaptic_mesh.facade.model import Model
from synaptic_mesh.interchange.fann_data import read_fann_data
from synaptic_mesh.models.layers.activation import Activation
from synaptic_mesh.models.layers.attention import TransformerBlock
from synaptic_mesh.models.layers.convolution import Conv2d
from synaptic_mesh.models.layers.dense import Dense
from synaptic_mesh.models.layers.normalization import BatchNorm
from synaptic_mesh.models.layers.pooling import MaxPool, MeanOverSteps
from synaptic_mesh.models.layers.recurrent import GRU, LSTM
from synaptic_mesh.models.layers.sequential import Sequential
from synaptic_mesh.models.layers.shape import Flatten

FANN = Path(__file__).parents[1] / "interchange" / "fann"
GENERATOR = np.random.default_rng(5)

NETWORKS = {
    "dense": (Sequential([Dense(8, "gelu"), Dense(3)]), (4,)),
    "cnn": (
        Sequential([Conv2d(4, 3, padding="same", activation="relu"), BatchNorm(), MaxPool(2), Flatten(), Dense(3)]),
        (2, 6, 6),
    ),
    "lstm": (Sequential([LSTM(6, return_sequences=True), GRU(5), Dense(3)]), (5, 4)),
    "transformer": (Sequential([TransformerBlock(2, 16, causal=True), MeanOverSteps(), Dense(3)]), (5, 8)),
}


def trained(name: str) -> tuple[Model, np.ndarray]:
    network, row = NETWORKS[name]
    x = GENERATOR.normal(size=(12, *row)).astype(np.float32)
    model = Model(network, optimizer=AdamW(0.01), seed=3)
    model.fit(x, np.arange(12) % 3, epochs=1)
    return model, x


def test_fann_models_train_and_go_back(tmp_path: Path) -> None:
    data = read_fann_data(FANN / "xor_train.data")
    model = from_fann(FANN / "xor.net", optimizer="irprop-")
    before = model.evaluate(data.x, data.y)["loss"]
    model.fit(data.x, data.y, epochs=20, batch_size=4, shuffle=False)
    assert model.evaluate(data.x, data.y)["loss"] < before
    again = from_fann(to_fann(model, tmp_path / "xor.net"))
    assert again.scores(data.x).tobytes() == model.scores(data.x).tobytes()
    with pytest.raises(LocalError, match="a Python function has no layers that FANN could hold"):
        to_fann(Model(lambda scope, x: Dense(1)(scope.child("a"), x), input_shape=(2,)), tmp_path / "b.net")


def test_dense_layers_go_to_fann(tmp_path: Path) -> None:
    network = Sequential([Flatten(), Dense(5, "tanh"), Dense(4), Activation("sigmoid"), Dense(2)])
    model = Model(network, loss="mse", input_shape=(3, 1), seed=2)
    x = GENERATOR.normal(size=(6, 3, 1)).astype(np.float32)
    again = from_fann(to_fann(model, tmp_path / "a.net"))
    np.testing.assert_allclose(again.scores(x[..., 0]), model.scores(x), rtol=0, atol=1e-6)
    for layer, message in (
        (Dense(2, "relu"), "FANN has no activation 'relu'"),
        (BatchNorm(), r"layer 1 \(batch_norm\)"),
    ):
        with pytest.raises(LocalError, match=message):
            to_fann(Model(Sequential([Dense(2), layer]), input_shape=(2,)), tmp_path / "b.net")


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_round_trip_keeps_every_bit(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    model, x = trained(name)
    path = to_onnx(model, tmp_path / "model.onnx", rows=len(x))
    again = from_onnx(path)
    assert again.scores(x).tobytes() == model.scores(x).tobytes()
    assert from_onnx(path, output=1, loss="mse").scores(x).tobytes() == model.predict_proba(x).tobytes()


@pytest.mark.parametrize("name", NETWORKS)
def test_onnxruntime_agrees(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model, x = trained(name)
    path = to_onnx(model, tmp_path / "model.onnx", rows=len(x))
    scores, reading = runtime.InferenceSession(str(path)).run(["scores", "reading"], {"x": x})
    np.testing.assert_allclose(scores, model.scores(x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(reading, model.predict_proba(x), rtol=1e-4, atol=1e-5)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(LocalError, match=r"this needs the package onnx: pip install 'synaptic-mesh\[onnx\]'"):
        from_onnx(tmp_path / "a.onnx")
    with pytest.raises(LocalError, match="this needs the package torch"):
        from_torch(None, None)


def onnx_model(nodes, rows, answers, values):
    """A model of opset 17 from "x" to "y"; nodes are (operator, inputs, output, attributes)."""
    onnx = pytest.importorskip("onnx")
    made = [onnx.helper.make_node(op, inputs, [output], **attributes) for op, inputs, output, attributes in nodes]
    kept = [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]
    ends = [onnx.helper.make_tensor_value_info(n, 1, s) for n, s in (("x", rows), ("y", answers))]
    graph = onnx.helper.make_graph(made, "graph", ends[:1], ends[1:], initializer=kept)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])


def test_onnx_names_that_differ_in_odd_characters_are_different_tensors() -> None:
    values = {"w:1": np.float32([1, 2]), "w 1": np.float32([3, 5])}
    nodes = [("Mul", ["x", "w:1"], "t", {}), ("Add", ["t", "w 1"], "y", {})]
    model = from_onnx(onnx_model(nodes, [None, 2], [None, 2], values), loss="mse")
    assert model.scores(np.ones((3, 2))).tolist() == [[4, 7]] * 3


def test_onnx_models_for_a_fixed_number_of_rows_take_any() -> None:
    x = np.arange(20, dtype=np.float32).reshape(5, 2, 2)
    nodes = [("Reshape", ["x", "shape"], "y", {})]
    model = from_onnx(onnx_model(nodes, [2, 2, 2], [2, 4], {"shape": np.array([2, -1])}), loss="mse")
    assert (model.scores(x) == x.reshape(5, 4)).all()
    with pytest.raises(LocalError, match=r"turns \(1, 4\) into \(4, 1\); answers come row by row"):
        from_onnx(onnx_model([("Transpose", ["x"], "y", {})], [None, 4], [4, None], {}))


def test_onnx_activations_by_name() -> None:
    weights = {"w": np.ones((1, 1, 2), np.float32), "r": np.zeros((1, 1, 1), np.float32)}
    nodes = [
        ("Transpose", ["x"], "steps", {"perm": [1, 0, 2]}),
        ("RNN", ["steps", "w", "r"], "found", {"hidden_size": 1, "activations": ["Relu"]}),
        ("Transpose", ["found"], "y", {"perm": [2, 0, 1, 3]}),
    ]
    model = from_onnx(onnx_model(nodes, [None, 1, 2], [None, 1, 1, 1], weights), loss="mse")
    assert model.scores(np.float32([[[1, 2]], [[-1, -2]]])).reshape(-1).tolist() == [3, 0]


def test_onnx_sources_that_cannot_be_read(tmp_path: Path) -> None:
    proto = onnx_model([("Mul", ["x", "w"], "y", {})], [None, 2], [None, 2], {"w": np.ones(2, np.float32)})
    with pytest.raises(LocalError, match="output 1 is not among the model's 1"):
        from_onnx(proto, output=1)
    with pytest.raises(LocalError, match="a path, bytes or a ModelProto, not int"):
        from_onnx(7)
    onnx = pytest.importorskip("onnx")
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    assert from_onnx(tmp_path / "m.onnx").scores(np.ones((1, 2))).tolist() == [[1, 1]]
    (tmp_path / "m.bin").unlink()
    with pytest.raises(LocalError, match="keeps tensors in a file beside it, which cannot be read"):
        from_onnx(tmp_path / "m.onnx")


def torch_modules():
    from torch import nn

    class Recurrent(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.recurrent = kind(8, 16, batch_first=True, num_layers=2, bidirectional=True)
            self.last = nn.Linear(32, 3)

        def forward(self, x):
            return self.last(self.recurrent(x)[0][:, -1])

    layer = nn.TransformerEncoderLayer(8, 2, 32, batch_first=True, activation="gelu")
    return {
        "mlp": (nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3)), (8,)),
        "cnn": (
            nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                nn.Dropout(0.2), nn.Linear(8, 5),
            ),
            (1, 12, 12),
        ),
        "lstm": (Recurrent(nn.LSTM), (6, 8)),
        "gru": (Recurrent(nn.GRU), (6, 8)),
        "transformer": (nn.TransformerEncoder(layer, 2), (6, 8)),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm", "gru", "transformer"])
@pytest.mark.filterwarnings("ignore")
def test_torch_modules_predict_the_same(name: str, tmp_path: Path) -> None:
    """Within 1e-5 of torch, through torch.export and through ONNX, for more rows than the example had."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module, row = torch_modules()[name]
    module.eval()
    x = torch.randn(7, *row)
    expected = module(x).detach().numpy()
    found = from_torch(module, x[:2], loss="mse").scores(x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    pytest.importorskip("onnx")
    path = tmp_path / "module.onnx"
    torch.onnx.export(module, (x[:2],), str(path), dynamo=False)
    np.testing.assert_allclose(from_onnx(path, loss="mse").scores(x), expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_torch_modules_with_settings_predict_the_same() -> None:
    torch = pytest.importorskip("torch")
    from torch import nn

    torch.manual_seed(0)
    x = torch.randn(5, 4, 6)
    settings = [nn.Softplus(2.0, 0.5), nn.GroupNorm(2, 4), nn.PReLU(4), nn.CELU(0.7), nn.SELU(), nn.ReLU6(), nn.GLU(1)]
    for module in (*settings, nn.ELU(0.3), nn.Hardsigmoid(), nn.LogSigmoid(), nn.LeakyReLU(0.3)):
        expected = module(x).detach().numpy()
        np.testing.assert_allclose(from_torch(module, x[:2], loss="mse").scores(x), expected, rtol=0, atol=1e-5)
    with pytest.raises(LocalError, match="a mean with divisor_override is not computed"):
        from_torch(nn.AvgPool2d(2, divisor_override=3), torch.randn(2, 1, 4, 4))
    with pytest.raises(LocalError, match=r"not a torch\.nn\.Module"):
        from_torch(abs, x)
    with pytest.raises(LocalError, match="holds no rows"):
        from_torch(settings[0], x[:0])


@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_models_predict_the_same() -> None:
    convert = pytest.importorskip("skl2onnx")
    from sklearn.datasets import load_diabetes, load_iris
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from synaptic_mesh.interchange.onnx_backend import MeshBackend

    x, y = load_iris(return_X_y=True)
    numbers, target = load_diabetes(return_X_y=True)
    x, numbers = x.astype(np.float32), numbers.astype(np.float32)
    network = {"hidden_layer_sizes": (8,), "max_iter": 60, "random_state": 1}
    for model in (LogisticRegression(max_iter=500), make_pipeline(StandardScaler(), MLPClassifier(**network))):
        model.fit(x, y)
        labels, shares = MeshBackend.run_model(convert.to_onnx(model, x[:1], options={"zipmap": False}), [x])
        assert (labels == model.predict(x)).all()
        np.testing.assert_allclose(shares, model.predict_proba(x), atol=1e-5)
    for model in (LinearRegression(), make_pipeline(StandardScaler(), MLPRegressor(**network))):
        model.fit(numbers, target)
        (found,) = MeshBackend.run_model(convert.to_onnx(model, numbers[:1]), [numbers])
        np.testing.assert_allclose(found[:, 0], model.predict(numbers), rtol=1e-5)
