"""Callbacks of fit."""

from pathlib import Path

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.engine.optimizers import SGD
from synaptic_mesh.engine.schedules import warm_up
from synaptic_mesh.facade.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from synaptic_mesh.facade.model import Model
from synaptic_mesh.models.layers.dense import Dense
from synaptic_mesh.models.layers.sequential import sequential

X = np.linspace(-1, 1, 16)[:, None]


def regressor(rate: float = 0.1) -> Model:
    return Model(sequential(Dense(1)), loss="mse", optimizer=SGD(rate), seed=1)


class Script:
    """A model whose losses are written down; counts what callbacks do."""

    def __init__(self) -> None:
        self.learning_rate, self.stop_training, self.values, self.saved = 1.0, False, {"w": 0}, []

    def get_values(self):
        return dict(self.values)

    def set_values(self, values):
        self.values = values

    def save(self, path):
        self.saved.append(str(path))


def play(callback: Callback, losses: list[float]) -> tuple[Script, int]:
    """Return the model and the epoch that stopped it, or the number of losses."""
    model = Script()
    callback.on_train_begin(model)
    for epoch, loss in enumerate(losses):
        model.values = {"w": epoch}
        callback.on_epoch_end(model, epoch, {"val_loss": loss})
        if model.stop_training:
            break
    callback.on_train_end(model)
    return model, epoch


def test_early_stopping_waits_and_brings_the_best_back():
    model, stopped = play(EarlyStopping(patience=2, restore_best_weights=True), [3, 1, 2, 1, 0])
    assert (stopped, model.values) == (3, {"w": 1})
    model, stopped = play(EarlyStopping(patience=2), [3, 1, 2, 0.5, 1, 1])
    assert (stopped, model.values) == (5, {"w": 5})
    assert play(EarlyStopping(min_delta=0.5, patience=1), [3, 2.9, 2.8])[1] == 1


def test_checkpoint_keeps_the_best():
    assert play(ModelCheckpoint("m{epoch}", save_best_only=True), [2, 3, 1])[0].saved == ["m1", "m3"]
    assert play(ModelCheckpoint("m"), [2, 3, 1])[0].saved == ["m", "m", "m"]


def test_rates_fall_on_a_plateau():
    assert play(ReduceLROnPlateau(factor=0.5, patience=2), [1, 1, 1, 1, 1])[0].learning_rate == 0.25
    assert play(ReduceLROnPlateau(factor=0.1, patience=1, min_lr=0.05), [1, 1, 1, 1])[0].learning_rate == 0.05


def test_a_scheduler_changes_the_rate_of_the_running_optimizer():
    model = regressor()
    seen: list[float] = []
    model.fit(
        X,
        X,
        epochs=3,
        callbacks=[
            LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate),
            LambdaCallback(lambda *_: seen.append(model.learning_rate)),
        ],
    )
    assert seen == [0.1, 0.05, 0.025]
    with pytest.raises(LocalError, match="a schedule decides the learning rate"):
        Model(sequential(Dense(1)), loss="mse", optimizer=SGD(warm_up(0.1, 2))).fit(
            X, X, callbacks=[LearningRateScheduler(lambda _, rate: rate)]
        )


def test_in_a_fit(tmp_path: Path):
    model = regressor(0.5)
    stop = EarlyStopping("loss", min_delta=0.01, patience=1)
    history = model.fit(X, X, epochs=50, callbacks=[stop, CSVLogger(tmp_path / "log.csv"), ModelCheckpoint(tmp_path)])
    assert history.stopped_early
    assert stop.stopped_epoch == history.epoch[-1] < 49
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss,mae"
    assert len(lines) == len(history.epoch) + 1
    assert Model.load(tmp_path).epochs_done == len(history.epoch)  # saved at the end of the last epoch


def test_an_unknown_figure_is_named():
    with pytest.raises(LocalError, match="EarlyStopping watches 'val_loss', but there are only loss, mae"):
        regressor().fit(X, X, callbacks=[EarlyStopping()])
    with pytest.raises(LocalError, match="mode 'best' is not known"):
        EarlyStopping(mode="best")


def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(ResourceError, match=r"cannot write .*log\.csv: No such file or directory"):
        regressor().fit(X, X, callbacks=[CSVLogger(tmp_path / "none" / "log.csv")])
