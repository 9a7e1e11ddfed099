"""Model: fit, predict, evaluate, save and load, the same on every backend, and one sentence for what does not fit."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import ProgramLost, StepInvalid
from synaptic_mesh.engine.gradient_rules import ClipByGlobalNorm
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.optimizers import SGD, AdamW
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.schedules import cosine
from synaptic_mesh.engine.trace import Tensor
from synaptic_mesh.facade.batches import row_order
from synaptic_mesh.facade.callbacks import EarlyStopping
from synaptic_mesh.facade.model import Model
from synaptic_mesh.models.layers.dense import Dense
from synaptic_mesh.models.layers.dropout import Dropout
from synaptic_mesh.models.layers.embedding import Embedding
from synaptic_mesh.models.layers.normalization import BatchNorm, LayerNorm
from synaptic_mesh.models.layers.sequential import Sequential, sequential
from synaptic_mesh.models.layers.shape import Flatten
from synaptic_mesh.models.scope import Scope

GENERATOR = np.random.default_rng(3)
X = GENERATOR.normal(size=(90, 4)).astype(np.float32)
CLASSES = np.array(["ant", "bee", "cat"])
Y = CLASSES[np.argmax(X[:, :3], axis=1)]


def classifier(**options: object) -> Model:
    options = {"seed": 5, "optimizer": AdamW(0.05), **options}
    return Model(sequential(Dense(16, "relu"), Dense(3)), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_goes_on_as_the_model_does(copied: Callable[[Model], Model]) -> None:
    model = classifier()
    copied(model)  # before the first fit too
    model.fit(X, Y, epochs=2)
    twin = copied(model)
    for each in (model, twin):
        each.fit(X, Y, epochs=1)
    assert twin.epochs_done == 3
    assert {n: v.tobytes() for n, v in twin.get_values().items()} == {
        n: v.tobytes() for n, v in model.get_values().items()
    }
    assert twin.predict(X).tolist() == model.predict(X).tolist()


def test_a_column_of_labels_is_labels() -> None:
    flat, column = classifier(), classifier()
    flat.fit(X, Y)
    column.fit(X, Y[:, None])
    assert column.evaluate(X, Y[:, None]) == flat.evaluate(X, Y)


def test_learns_labels_of_any_kind() -> None:
    model = classifier()
    history = model.fit(X, Y, epochs=20, batch_size=16)
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert history.epoch == list(range(20))
    assert model.score(X, Y) > 0.9
    assert set(model.predict(X)) <= set(CLASSES)
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (CLASSES[probabilities.argmax(axis=1)] == model.predict(X)).all()
    found = model.evaluate(X, Y)
    assert found["accuracy"] == model.score(X, Y)
    np.testing.assert_allclose(
        found["loss"], -np.log(probabilities[np.arange(90), np.searchsorted(CLASSES, Y)]).mean(), 1e-4
    )


def test_learns_numbers() -> None:
    x = np.linspace(-2, 2, 64)[:, None]
    model = Model(sequential(Dense(32, "tanh"), Dense(1)), loss="mse", optimizer=AdamW(0.02), seed=1)
    model.fit(x, np.sin(2 * x[:, 0]), epochs=80, batch_size=16)
    assert model.score(x, np.sin(2 * x[:, 0])) > 0.95
    assert model.predict(x).shape == (64,)
    error = model.predict(x) - np.sin(2 * x[:, 0])
    np.testing.assert_allclose(model.evaluate(x, np.sin(2 * x[:, 0]))["mae"], np.abs(error).mean(), rtol=1e-4)


def test_learns_two_sides() -> None:
    y = (X[:, 0] > 0).astype(int)
    model = Model(sequential(Dense(1)), loss="binary_cross_entropy", optimizer=SGD(1.0))
    model.fit(X, y, epochs=10)
    assert model.score(X, y) > 0.95
    assert ((model.predict_proba(X)[:, 0] > 0.5) == model.predict(X)).all()


def test_bits_are_equal_on_every_backend_and_run() -> None:
    network = Sequential([Dense(8, "gelu"), LayerNorm(), BatchNorm(), Dense(3)])
    optimizer = ClipByGlobalNorm(AdamW(cosine(0.05, 12, warmup=2)), 1.0)

    def trained(backend: str, parts: tuple[int, ...] = (2,)) -> dict[str, bytes]:
        model = Model(network, optimizer=optimizer, seed=2, backend=backend)
        for epochs in parts:
            model.fit(X[:50], Y[:50], epochs=epochs, batch_size=16, class_weight="balanced")
        assert model.session.values()["rate/step"] == 8
        return {name: value.tobytes() for name, value in model.get_values().items()}

    assert trained("wasm") == trained("reference") == trained("wasm", (1, 1))


def test_row_order_depends_on_seed_and_epoch_only() -> None:
    one, two = classifier(), classifier()
    one.fit(X, Y, epochs=2)
    two.fit(X, Y)
    two.fit(X, Y)
    assert one.get_values()["dense0/weight"].tobytes() == two.get_values()["dense0/weight"].tobytes()
    three = classifier(seed=6)
    three.fit(X, Y, epochs=2)
    assert one.get_values()["dense0/weight"].tobytes() != three.get_values()["dense0/weight"].tobytes()


def test_every_epoch_has_an_order_of_its_own() -> None:
    orders = [row_order(1, epoch, 20).tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert orders[0] != row_order(2, 0, 20).tolist()


def test_weights_of_rows() -> None:
    """A weight of 0 is as good as a row left out; class weights are weights of rows."""
    kept = Y != "cat"
    weighted, fewer = classifier(), classifier()
    for model, rows in ((weighted, slice(None)), (fewer, kept)):
        model.fit(
            X[rows],
            Y[rows] if model is fewer else Y,
            epochs=1,
            batch_size=90,
            shuffle=False,
            class_weight={"cat": 0.0} if model is weighted else None,
        )
    assert weighted.classes_ is not None
    fewer_values, values = fewer.get_values(), weighted.get_values()
    np.testing.assert_allclose(values["dense0/weight"], fewer_values["dense0/weight"], atol=1e-5)
    sampled = classifier()
    sampled.fit(X, Y, epochs=1, batch_size=90, shuffle=False, sample_weight=kept)
    assert sampled.get_values()["dense0/weight"].tobytes() == values["dense0/weight"].tobytes()


def test_validation_rows_are_the_last_and_not_trained_on() -> None:
    model, same = classifier(), classifier()
    history = model.fit(X, Y, epochs=2, validation_split=0.2)
    again = same.fit(X[:72], Y[:72], epochs=2, validation_data=(X[72:], Y[72:]))
    assert history.history == again.history
    assert history["val_loss"][-1] == model.evaluate(X[72:], Y[72:])["loss"]


def test_plain_python_is_a_network() -> None:
    def network(scope: Scope, x: Tensor) -> Tensor:
        hidden = Dense(8, "tanh")(scope.child("shared"), x)
        again = Dense(8, "tanh")(scope.child("second"), hidden)
        return Dense(3)(scope.child("last"), hidden + again)

    model = Model(network, seed=1)
    model.fit(X, Y, epochs=1)
    assert [name for name in model.parameters if name.endswith("weight")] == [
        "shared/weight", "second/weight", "last/weight",
    ]  # fmt: skip
    assert "function" in str(model.summary())


def test_tokens() -> None:
    words = GENERATOR.integers(0, 7, size=(60, 3))
    y = (words == 2).any(axis=1)
    model = Model(sequential(Embedding(7, 4), Flatten(), Dense(8, "relu"), Dense(2)), optimizer=AdamW(0.02), seed=1)
    model.fit(words, y, epochs=30)
    assert model.score(words, y) > 0.95
    assert model.predict(words).dtype == bool
    with pytest.raises(LocalError, match=r"X of 60 rows has no prediction: .*index"):
        model.predict(words + 5)


def test_save_and_load_go_on_exactly(tmp_path: Path) -> None:
    model = classifier()
    model.fit(X, Y, epochs=2)
    path = model.save(tmp_path)
    loaded = Model.load(path)
    assert loaded.scores(X).tobytes() == model.scores(X).tobytes()
    assert (loaded.predict(X) == model.predict(X)).all()
    for each in (model, loaded):
        each.fit(X, Y, epochs=1)
    assert loaded.scores(X).tobytes() == model.scores(X).tobytes()
    assert model.save(tmp_path / "a.safetensors").read_bytes() == loaded.save(tmp_path / "b.safetensors").read_bytes()


def test_values_come_and_go_with_their_shapes() -> None:
    """Scalars too: the steps of dropout and of a schedule."""
    network = Sequential([Dense(8, "relu"), Dropout(0.5), Dense(3)])
    model = Model(network, optimizer=AdamW(cosine(0.05, 9)), seed=1)
    model.fit(X, Y, epochs=1)
    kept = model.get_values()
    model.fit(X, Y, epochs=1)
    model.set_values(kept)
    assert {name: (v.dtype, v.shape, v.tobytes()) for name, v in model.get_values().items()} == {
        name: (v.dtype, v.shape, v.tobytes()) for name, v in kept.items()
    }
    model.predict(X)
    model.fit(X, Y, epochs=1)


@pytest.mark.parametrize("backend", ["wasm", "reference", "native"])
def test_answers_are_those_of_the_newest_values(backend: str) -> None:
    if backend == "native":
        pytest.importorskip("llvmlite")
    x, y = X[:40], X[:40, 1]
    model = Model(sequential(Dense(8, "tanh"), Dense(1)), loss="mse", backend=backend, input_shape=(4,))
    fresh: list[bytes] = []
    for step in range(4):
        first = model.scores(x[:1]).tobytes()
        others = (model.scores(x[:1]), model.scores(x)[:1], model.prepared()(x[:1]))
        assert {first} == {other.tobytes() for other in others}
        assert first not in fresh
        fresh.append(first)
        if step % 2:
            model.set_values({name: value * np.float32(1.5) for name, value in model.parameters.items()})
        else:
            model.fit(x, y, epochs=1)
            model.evaluate(x, y)


def test_a_prepared_function_keeps_its_parameters_and_its_form() -> None:
    x, y = X[:40], X[:40, 1]
    model = Model(sequential(Dense(8, "relu"), Dense(1)), loss="mse", input_shape=(4,))
    answer = model.prepared(rows=5)
    before = model.scores(x[:5])
    model.fit(x, y, epochs=1)
    assert answer(x[:5]).tobytes() == before.tobytes() != model.scores(x[:5]).tobytes()
    assert answer(x[:10][::2]).tobytes() == answer(x[:10][::2].copy()).tobytes()
    for wrong in (x[:4], x[:5].astype(np.float64), x[0]):
        with pytest.raises(LocalError, match="input 'x' is float32"):
            answer(wrong)
    with pytest.raises(StepInvalid, match="not finite"):
        answer(np.full((5, 4), np.nan, np.float32))
    for rows in (0, 1.5, True):
        with pytest.raises(LocalError, match="at least 1"):
            model.prepared(rows=rows)  # type: ignore[arg-type]
    with pytest.raises(LocalError, match="no parameters yet"):
        Model(sequential(Dense(1))).prepared()


def test_after_a_refused_step_every_backend_has_the_same_values() -> None:
    pytest.importorskip("llvmlite")

    def after(backend: str) -> list[bytes]:
        model = Model(sequential(Dense(3)), loss="mse", optimizer=SGD(0.1), backend=backend, input_shape=(4,))
        targets = X[:, :3].copy()
        model.fit(X, targets, epochs=1, batch_size=30, shuffle=False)
        targets[70] = 3e38
        with pytest.raises(LocalError, match="batch 3"):
            model.fit(X, targets, epochs=1, batch_size=30, shuffle=False)
        found = [model.scores(X).tobytes()]
        model.fit(X, X[:, :3], epochs=1)
        return [*found, model.scores(X).tobytes()]

    assert after("reference") == after("wasm") == after("native")


class Losing(ReferenceBackend):
    """Programs that are gone, with the values of their inputs, at the run after `lose`."""

    def __init__(self) -> None:
        super().__init__()
        self.programs: list[Any] = []

    def lose(self) -> None:
        for program in self.programs:
            program.is_lost = True

    def compile(self, graph: Graph) -> Any:
        program: Any = super().compile(graph)
        run, program.is_lost = program.run, False

        def run_or_lose() -> None:
            if program.is_lost:
                program.is_lost = False
                for name, index in graph.inputs.items():
                    node = graph.nodes[index]
                    program.write(name, np.zeros(node.shape, np.float32 if name != "y" else np.int32))
                raise ProgramLost("gone")
            run()

        program.run = run_or_lose
        self.programs.append(program)
        return program


def test_a_lost_program_takes_no_values_with_it() -> None:
    backend = Losing()
    model = Model(sequential(Dense(3)), optimizer=SGD(0.1), backend=backend)
    model.fit(X, Y, epochs=1)
    answer, expected = model.prepared(), model.scores(X[:1])
    values = model.get_values()
    for ask in (lambda: answer(X[:1]), lambda: model.scores(X[:1]), lambda: model.fit(X, Y, epochs=1)):
        backend.lose()
        with pytest.raises(ProgramLost):
            ask()
        for program in backend.programs:
            program.is_lost = False
        assert answer(X[:1]).tobytes() == model.scores(X[:1]).tobytes() == expected.tobytes()
    assert {name: value.tobytes() for name, value in model.get_values().items()} == {
        name: value.tobytes() for name, value in values.items()
    }


def test_a_model_says_what_it_is() -> None:
    model = classifier()
    assert "not yet fitted" in repr(model)
    assert "<code>" in model._repr_html_()
    model = classifier(input_shape=(4,))
    summary = model.summary()
    assert [(line.name, line.shape, line.parameters) for line in summary.lines] == [
        ("dense0", (16,), 80),
        ("dense1", (3,), 51),
    ]
    assert "131 parameters are trained" in str(summary)
    assert "<table>" in model._repr_html_()


def test_few_rows_are_filled_up_with_rows_that_were_given() -> None:
    def along(scope: Scope, x: Tensor) -> Tensor:
        return Dense(3)(scope, x / (x * x).sum(-1).reshape(x.shape[0], 1))  # no answer for a row of zeros

    model = Model(along, seed=1, input_shape=(4,))
    assert (model.scores(X[:3]) == model.scores(X[:4])[:3]).all()


def test_data_that_were_refused_teach_nothing() -> None:
    model = classifier()
    with pytest.raises(LocalError, match="y holds 90 classes"):
        model.fit(X, np.arange(90))
    with pytest.raises(LocalError, match="must be equal"):
        model.fit(X[:, :2], Y[:5])
    model.fit(X, Y)
    assert set(model.predict(X)) <= set(CLASSES)


def test_rows_of_weight_0_teach_nothing() -> None:
    weight = np.ones(90, np.float32)
    weight[30:60] = 0
    some, few = classifier(), classifier()
    some.fit(X, Y, sample_weight=weight, batch_size=30, shuffle=False)
    kept = weight > 0
    few.fit(X[kept], Y[kept], sample_weight=weight[kept], batch_size=30, shuffle=False)
    assert (some.scores(X) == few.scores(X)).all()
    assert some.history["loss"] == few.history["loss"]


def test_settings_of_layers_may_be_numpys(tmp_path: Path) -> None:
    model = Model(Sequential([Dense(np.int64(3)), Dropout(np.float32(0.5))]), input_shape=(4,))
    assert Model.load(model.save(tmp_path)).network == model.network


def test_r2_is_the_mean_of_the_outputs() -> None:
    model = Model(sequential(Dense(2)), loss="mse", seed=1)
    values = X[:, :2] * np.float32([1, 100])
    model.fit(X, values)
    missed = ((values - model.predict(X)).astype(np.float64) ** 2).sum(0)
    expected = 1 - missed / ((values - values.astype(np.float64).mean(0)) ** 2).sum(0)
    assert model.score(X, values) == pytest.approx(expected.mean(), abs=1e-6)
    with pytest.raises(LocalError, match="X has 90 rows and y has 5"):
        model.score(X, values[:5])


def fitted() -> Model:
    model = classifier()
    model.fit(X, Y)
    return model


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: classifier().predict(X), "no parameters yet: fit it, or give input_shape="),
        (lambda: classifier().fit(X, Y[:5]), "X has 90 rows and y has 5; they must be equal"),
        (lambda: classifier().fit(X, Y, epochs=0), "epochs 0 and batch_size 32 must be at least 1"),
        (lambda: classifier().fit(X, np.eye(3)[GENERATOR.integers(0, 3, 90)]), r"pass labels, as y\.argmax"),
        (
            lambda: classifier().fit(X, np.arange(90) % 4),
            r"y holds 4 classes, the network has 3 outputs: end it with De",
        ),
        (lambda: classifier().fit(X, Y, class_weight={"dog": 1}), "class_weight 'dog': 1 needs a class of y"),
        (lambda: classifier().fit(X, Y, sample_weight=-np.ones(90)), "must be 90 numbers of at least 0"),
        (lambda: classifier().fit(X, Y, validation_split=0.005), "leaves nothing on one side"),
        (lambda: classifier().fit(X * 1e38, Y), "epoch 1, batch 1: .* lower the learning rate"),
        (lambda: classifier(loss="mse").fit(X, Y), "y row 1 is '.*', which is not a number"),
        (lambda: classifier(loss="mse").fit(X, np.ones(90)), r"y has shape \(90,\), the network gives \(90, 3\)"),
        (lambda: classifier(loss="l2"), "loss 'l2' is not known; choose one of cross_entropy"),
        (lambda: classifier(metrics=["f1"]), "metric 'f1' is not known"),
        (lambda: fitted().predict(X[:, :3]), r"X has rows of shape \(3,\), the model takes \(4,\)"),
        (lambda: fitted().evaluate(X, np.full(90, "dog")), "label .*'dog'.* is not among the model's classes ant, bee"),
        (lambda: fitted().set_values({"dense0/bias": np.zeros(2)}), r"'dense0/bias' of shape \(2,\) does not fit"),
        (lambda: classifier().fit(X, Y, epochs=2.5), "epochs 2.5 and batch_size 32 must be whole numbers"),
        (lambda: classifier().fit(X, Y, batch_size="8"), "batch_size '8' must be whole numbers"),
        (lambda: classifier().fit(X, Y, validation_split="half"), "validation_split 'half' must be a number"),
        (lambda: classifier().fit(X, Y, verbose="loud"), "verbose 'loud' is not known; choose one of auto, 0, 1, 2"),
        (lambda: classifier().fit(X, Y, validation_data=(X, Y, X)), r"validation_data is \(X, y\), not tuple of 3"),
        (lambda: classifier().fit(X, Y, validation_data=(X, Y[:5])), "validation X has 90 rows and validation y has 5"),
        (lambda: classifier().fit(X, Y, callbacks=EarlyStopping()), "callbacks is EarlyStopping; give a list"),
        (lambda: classifier().fit(X, Y, callbacks=[EarlyStopping]), "not an object of a class that derives from"),
        (lambda: classifier().fit(X, Y, class_weight=[1, 2]), "class_weight is list; give a dictionary"),
        (lambda: classifier().fit(X, Y, class_weight={"ant": None}), "class_weight 'ant': None needs a class"),
        (lambda: classifier().fit(X, Y, sample_weight=np.zeros(90)), "every row has weight 0"),
        (lambda: classifier().fit(X, [(1, 2), (3,)] * 45), "y of type list cannot be read as rows"),
        (lambda: classifier(optimizer=SGD), "optimizer SGD is no optimizer; give a name such as 'adam'"),
        (lambda: classifier(optimizer=ClipByGlobalNorm(SGD(float("nan")), 1.0)), "learning rate nan must be a finite"),
        (lambda: classifier(optimizer=SGD(-1.0)), "learning rate -1.0 must be a finite number of at least 0"),
        (lambda: classifier(input_shape=4), "input_shape 4 must be the extents of one row"),
        (
            lambda: Model(sequential(BatchNorm(), Dense(3))).fit(X[:33], Y[:33]),
            r"a batch \(1, 4\): one value .* choose a batch_size that leaves no row alone",
        ),
        (lambda: Model([Dense(3)]), r"the network is list; give Sequential\(\[...\]\)"),
        (lambda: Sequential(Dense(3)), "Sequential takes a list of layers, as"),
        (lambda: Sequential([Dense]), "Sequential layer 0 is .*Dense.*, which is no layer"),
        (lambda: Sequential([Dense(3), Dense(2.0)]), "Sequential layer 1, Dense.*: Expected `int`, got `float`"),
        (lambda: Model(lambda _, x: x.transpose(1, 0), input_shape=(2,)), r"turns \(1, 2\) into \(2, 1\)"),
        (lambda: Model(lambda *_: None, input_shape=(2,)), "the network returns NoneType and no tensor"),
        (lambda: Model(sequential(Dense(3, "rely")), input_shape=(2,)), "dense0: activation 'rely' is not known"),
    ],
)
def test_what_does_not_fit_is_one_sentence(act, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LocalError, match=message):
        act()
