"""Models on disk: damage, foreign files and functions."""

from pathlib import Path

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.engine.gradient_rules import ClipByValue, WeightDecay
from synaptic_mesh.engine.optimizers import SGD, AdamW
from synaptic_mesh.engine.schedules import cosine
from synaptic_mesh.facade.model import Model
from synaptic_mesh.facade.optimizer_text import decode_optimizer, encode_optimizer
from synaptic_mesh.models.layers.dense import Dense
from synaptic_mesh.models.layers.sequential import sequential


def small() -> Model:
    model = Model(sequential(Dense(2)), seed=1, optimizer=ClipByValue(AdamW(cosine(0.1, 4)), 1.0))
    model.fit(np.ones((4, 3)), [0, 1, 1, 0])
    return model


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    data = small().save(tmp_path).read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    for at in range(0, len(data), 41):
        damaged.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(LocalError, match="is damaged or not one that Model"):
            Model.load(damaged)


def test_what_else_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="cannot read model"):
        Model.load(tmp_path / "none")
    with pytest.raises(LocalError, match="has no parameters yet"):
        Model(sequential(Dense(2))).save(tmp_path)
    (tmp_path / "file").write_text("")
    model = small()
    with pytest.raises(ResourceError, match="cannot write model"):
        model.save(tmp_path / "file" / "model")


def test_labels_that_would_come_back_as_others_are_not_saved(tmp_path: Path) -> None:
    for labels in (np.array([b"a", b"b", b"b", b"a"]), np.array([np.int64(1), np.int64(2)] * 2, object)):
        model = Model(sequential(Dense(2)), seed=1)
        model.fit(np.ones((4, 3)), labels)
        with pytest.raises(LocalError, match="cannot be saved; train with labels that are text or numbers"):
            model.save(tmp_path)


def test_a_function_is_passed_again(tmp_path: Path) -> None:
    def network(scope, x):
        return Dense(2)(scope.child("only"), x)

    model = Model(network, optimizer=SGD(0.1), input_shape=(3,), seed=4)
    model.save(tmp_path)
    with pytest.raises(LocalError, match="is a Python function, which files do not hold: pass network="):
        Model.load(tmp_path)
    x = np.ones((2, 3))
    assert Model.load(tmp_path, network=network).scores(x).tobytes() == model.scores(x).tobytes()
    with pytest.raises(LocalError, match=r"parameter 'only/weight' has shape \(3, 2\), the network needs \(3, 5\)"):
        Model.load(tmp_path, network=lambda scope, x: Dense(5)(scope.child("only"), x))


def test_optimizers_as_text() -> None:
    optimizer = ClipByValue(WeightDecay(AdamW(cosine(0.1, 4), beta1=0.8), 0.5), 2.0)
    text = encode_optimizer(optimizer)
    assert text is not None
    assert decode_optimizer(text) == optimizer
    assert encode_optimizer(object()) is None  # type: ignore[arg-type]
    for broken in ("{}", "[]", '{"rule": "Adamant"}', '{"rule": "SGD", "learning_rate": "x"}'):
        with pytest.raises(LocalError, match="the optimizer's description cannot be read"):
            decode_optimizer(broken)
