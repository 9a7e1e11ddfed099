"""Model: a network that is fitted, predicts and is evaluated in one line each, with the same bits on every backend.

model = Model(Sequential([Dense(32, "relu"), Dense(3)]), seed=1)
model.fit(X, y, epochs=20, validation_split=0.2)
model.predict(X), model.evaluate(X, y), model.save("iris")
"""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import Backend, StepInvalid
from synaptic_mesh.engine.optimizer_names import make_optimizer
from synaptic_mesh.engine.optimizers import Optimizer
from synaptic_mesh.facade.batches import Batches, row_order
from synaptic_mesh.facade.callbacks import Callback
from synaptic_mesh.facade.fit_settings import (
    check_callbacks,
    check_fit,
    check_names,
    check_network,
    check_pair,
    check_path,
    check_row,
    check_rows_count,
    check_seed,
)
from synaptic_mesh.facade.history import History
from synaptic_mesh.facade.progress import FitProgress
from synaptic_mesh.facade.rate import check_optimizer, rate_of, with_rate
from synaptic_mesh.facade.rows import Rows, as_array, as_rows, check_columns
from synaptic_mesh.facade.session import Session
from synaptic_mesh.facade.summary import Summary, summarize
from synaptic_mesh.facade.targets import class_numbers, class_weights, find_classes, number_targets
from synaptic_mesh.models.losses import find_loss
from synaptic_mesh.models.scope import Network
from synaptic_mesh.node.backends import open_backend

Data = Any
"""Whatever facade/rows.py reads."""


class Model:
    """A network, how it is trained, and what it has learned.

    network: a Sequential, or any function (scope, x) -> scores. loss: "cross_entropy" (labels), "binary_cross_entropy",
    "mse", "mae" or "huber". optimizer: a name or an engine optimizer. metrics: default accuracy for labels. seed: the
    start of the parameters, the order of rows and dropout derive from it. backend: "wasm", "native", "reference" or a
    Backend; all give the same bits. input_shape: the shape of one row, if it is to be known before the first fit.
    """

    def __init__(
        self,
        network: Network,
        *,
        loss: str = "cross_entropy",
        optimizer: str | Optimizer = "adam",
        metrics: Sequence[str] | None = None,
        seed: int = 0,
        backend: str | Backend = "wasm",
        input_shape: Sequence[int] | None = None,
    ) -> None:
        check_network(network)
        self.network = network
        self.loss = find_loss(loss)
        self.seed = check_seed(seed)
        chosen = make_optimizer(optimizer) if isinstance(optimizer, str) else optimizer
        check_optimizer(chosen)
        figures = check_names(metrics) if metrics is not None else default_metrics(loss)
        self._backend = backend if isinstance(backend, str) else None
        self.session = Session(network, self.loss, chosen, figures, cached_backend(backend), self.seed)
        self.classes_: Array | None = None
        self.columns: tuple[str, ...] | None = None
        self.epochs_done = 0
        self.stop_training = False
        self.history = History()
        if input_shape is not None:
            self.session.begin(check_row(input_shape))

    # --- training

    def fit(
        self,
        X: Data,
        y: Data,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        validation_split: float = 0.0,
        validation_data: tuple[Data, Data] | None = None,
        callbacks: Sequence[Callback] = (),
        class_weight: dict[Any, float] | str | None = None,
        sample_weight: Data = None,
        shuffle: bool = True,
        verbose: int | str = "auto",
    ) -> History:
        """Train for `epochs` passes over the rows and return the figures of each; a second fit goes on from the first.

        validation_split takes that share of the rows from the end, before shuffling. The order of rows in epoch e
        derives from (seed, e), so equal arguments give equal bits. verbose: 1 a bar, 2 a line per epoch, 0 nothing,
        "auto" a bar where there is a terminal. Raises LocalError in one sentence for data that do not fit and for a
        loss that is no longer finite.
        """
        check_fit(epochs, batch_size, validation_split, verbose, shuffle)
        check_callbacks(callbacks)
        if validation_data is not None:
            check_pair(validation_data)
        known = self.session.is_begun, self.classes_, self.columns
        try:
            data, held_out = self._data(
                X, y, batch_size, class_weight, sample_weight, validation_split, validation_data
            )
        except LocalError:
            self._forget(*known)
            raise
        return self._train(data, held_out, epochs, callbacks, shuffle, verbose)

    def _data(
        self,
        X: Data,
        y: Data,
        batch_size: int,
        class_weight: Any,
        sample_weight: Data,
        validation_split: float,
        validation_data: Any,
    ) -> tuple[Batches, tuple[F32, Array] | None]:
        rows = self._rows(X, is_fit=True)
        targets = self._targets(y, len(rows.values), is_fit=True)
        weights = self._weights(targets, class_weight, sample_weight)
        data = Batches(rows.values, targets, weights, batch_size)
        if validation_data is not None:
            seen = self._rows(validation_data[0], "validation X")
            return data, (seen.values, self._targets(validation_data[1], len(seen.values), "validation y"))
        return data.split(validation_split) if validation_split else (data, None)

    def _forget(self, was_begun: bool, classes: Array | None, columns: tuple[str, ...] | None) -> None:
        """Data that were refused teach nothing: not their shape, not their labels, not their columns."""
        self.classes_, self.columns = classes, columns
        if not was_begun:
            self.session.forget()

    def _train(
        self,
        data: Batches,
        held_out: tuple[F32, Array] | None,
        epochs: int,
        callbacks: Sequence[Callback],
        shuffle: bool,
        verbose: int | str,
    ) -> History:
        self.stop_training = False
        self.history = History()
        for callback in callbacks:
            callback.on_train_begin(self)
        with FitProgress(epochs, data.count, verbose) as progress:
            for number in range(1, epochs + 1):
                for callback in callbacks:
                    callback.on_epoch_begin(self, self.epochs_done)
                figures = self._epoch(data, shuffle, progress)
                if held_out is not None:
                    figures |= {f"val_{name}": value for name, value in self._judge(*held_out).items()}
                epoch = self.epochs_done
                self.history.add(epoch, figures)
                self.epochs_done += 1  # before the callbacks: one that saves, or raises, finds the epoch done
                progress.epoch(number, figures)
                for callback in callbacks:
                    callback.on_epoch_end(self, epoch, figures)
                if self.stop_training:
                    self.history.stopped_early = True
                    break
        for callback in callbacks:
            callback.on_train_end(self)
        return self.history

    def _epoch(self, data: Batches, shuffle: bool, progress: FitProgress) -> dict[str, float]:
        sums: dict[str, list[float]] = {}
        rows = 0
        order = row_order(self.seed, self.epochs_done, len(data.x)) if shuffle else np.arange(len(data.x))
        for number, (x, y, weight) in enumerate(data.walk(order), 1):
            progress.batch()
            if weight is not None and not weight.any():
                continue  # nothing to learn: a mean over rows of weight 0 is no number
            rows += len(x)
            try:
                figures = self.session.train(x, y, weight)
            except StepInvalid as error:
                is_index = "index" in str(error)
                advice = (
                    "tokens must be rows of the embedding's table, counted from 0"
                    if is_index
                    else "lower the learning rate, clip gradients or scale the inputs"
                )
                raise LocalError(f"epoch {self.epochs_done + 1}, batch {number}: {error}; {advice}") from None
            for name, value in figures.items():
                sums.setdefault(name, []).append(value * len(x))
        return {name: math.fsum(values) / rows for name, values in sums.items()}

    # --- answers

    def predict(self, X: Data) -> Array:
        """Return labels (cross entropy), 0 or 1 (binary cross entropy), or values; one per row where there is one."""
        scores, reading = self._forward(X)
        if self.loss.is_class:
            best: Array = scores.argmax(axis=-1)
            return best if self.classes_ is None else np.take(self.classes_, best, mode="clip")
        answers = (scores > 0).astype(np.int32) if self.loss.name == "binary_cross_entropy" else reading
        return answers[:, 0] if answers.ndim == 2 and answers.shape[1] == 1 else answers

    def predict_proba(self, X: Data) -> F32:
        """Return the probability of each class (rows, classes). Raises LocalError for a loss without classes."""
        if self.loss.name not in ("cross_entropy", "binary_cross_entropy"):
            raise LocalError(f"loss {self.loss.name!r} has no probabilities; use predict")
        return self._forward(X)[1]

    def scores(self, X: Data) -> F32:
        """Return what the network gives: logits or values (rows, ...)."""
        return self._forward(X)[0]

    def prepared(self, rows: int = 1) -> Callable[[F32], F32]:
        """Return a function of exactly `rows` rows that gives their scores with the parameters of this moment: for a
        service that answers request after request. The bits are those of `scores` where the network answers each row
        by itself, as all layers do. It looks at the array's shape and dtype and at nothing else. The function raises
        LocalError for an array that is not f32 (rows, ...), and StepInvalid where a score is not finite. One thread at
        a time. Raises LocalError for a number of rows below 1, and before the first fit without input_shape."""
        self._shape()
        return self.session.prepared(check_rows_count(rows))

    def evaluate(self, X: Data, y: Data) -> dict[str, float]:
        """Return loss and metrics over all rows, by name."""
        return self._judge(self._rows(X).values, self._targets(y))

    def score(self, X: Data, y: Data) -> float:
        """Return accuracy for classes, else R2 (the mean of the outputs' where there are several), as scikit-learn."""
        if self.loss.name in ("cross_entropy", "binary_cross_entropy"):
            found = self._rows(X).values
            expected = self._targets(y, len(found))
            scores, _ = self._answer(found)
            hit = scores.argmax(axis=-1) == expected if self.loss.is_class else (scores > 0) == (expected > 0.5)
            return float(np.count_nonzero(hit)) / int(np.size(hit))
        values = self._forward(X)[1].astype(np.float64)
        actual = self._targets(y, len(values)).astype(np.float64)
        shares = [determination(a, v) for a, v in zip(columns_of(actual), columns_of(values), strict=True)]
        return math.fsum(shares) / len(shares)

    # --- inside

    @property
    def learning_rate(self) -> float:
        """The optimizer's rate; setting it goes on with the optimizer's state. Raises LocalError if there is none."""
        return rate_of(self.session.optimizer)

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        if rate != self.learning_rate:
            self.session.retune(with_rate(self.session.optimizer, rate))

    @property
    def parameters(self) -> dict[str, F32]:
        """Copies of the trained tensors by name. Raises LocalError before the first fit without input_shape."""
        names = self._shape().parameters
        return {name: value for name, value in self.session.values().items() if name in names}

    def get_values(self) -> dict[str, Array]:
        """Return copies of parameters, network state and optimizer state."""
        return self.session.values()

    def set_values(self, values: dict[str, Array]) -> None:
        """Replace parameters or state by name. Raises LocalError for an unknown name, another shape, or what is not
        finite."""
        known = self.session.values()
        for name, value in values.items():
            if name not in known or known[name].shape != np.shape(value):
                have = known[name].shape if name in known else "no such name"
                raise LocalError(f"value {name!r} of shape {np.shape(value)} does not fit the model: {have}")
            if not np.isfinite(value).all():
                raise LocalError(
                    f"value {name!r} holds numbers that are not finite; no step of the model could be valid"
                )
        self.session.replace({n: np.array(v, dtype=known[n].dtype, order="C") for n, v in values.items()})

    def summary(self) -> Summary:
        """Return layers, shapes and parameter counts; it prints as a table. Raises LocalError as `parameters`."""
        return summarize(self._shape(), self.session.row, type(self.network).__name__)

    def save(self, path: Path | str) -> Path:
        """Write network, values and training settings as a .safetensors file; return its path. See network_file."""
        from synaptic_mesh.facade.network_file import save_model

        return save_model(self, check_path(path))

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        network: Network | None = None,
        optimizer: str | Optimizer | None = None,
        backend: str | Backend = "wasm",
    ) -> "Model":
        """Return a saved model. A network that is a Python function is not in the file: pass the same one again, and
        so for an optimizer of your own."""
        from synaptic_mesh.facade.network_file import load_saved_model

        return load_saved_model(check_path(path), network, backend, optimizer)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle holds: the network and all values, not the compiled programs. Raises
        LocalError for a backend that was given as an object: it belongs to this process."""
        session = self.session
        if self._backend is None:
            raise LocalError(f"a model on a backend object ({session.backend.name}) has no copy; name the backend")
        return {
            "settings": (self.loss.name, session.optimizer, session.metrics, self.seed, self._backend),
            "network": self.network,
            "row": session.row if session.is_begun else None,
            "values": session.values(),
            "seen": (self.classes_, self.columns, self.epochs_done, self.history),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the model that `state` describes."""
        loss, optimizer, metrics, seed, backend = state["settings"]
        Model.__init__(
            self, state["network"], loss=loss, optimizer=optimizer, metrics=metrics, seed=seed, backend=backend
        )
        if state["row"] is not None:
            self.session.begin(state["row"], state["values"])
        self.classes_, self.columns, self.epochs_done, self.history = state["seen"]

    def __repr__(self) -> str:
        state = f"{self.epochs_done} epochs" if self.session.is_begun else "not yet fitted"
        return (
            f"Model({self.loss.name}, {state}, backend {self.session.backend.name}: {self.session.backend.trust.value})"
        )

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_() if self.session.is_begun else f"<code>{self!r}</code>"

    def _shape(self) -> Any:
        if self.session.shape is None:
            raise LocalError("the model has no parameters yet: fit it, or give input_shape=")
        return self.session.shape

    def _rows(self, X: Data, name: str = "X", is_fit: bool = False) -> Rows:
        rows = as_rows(X, name)
        shape = rows.values.shape[1:]
        if not self.session.is_begun and is_fit:
            self.session.begin(shape)
        self._shape()
        if shape != self.session.row:
            hint = f"; one row is {name}[None]" if rows.values.shape == self.session.row else ""
            raise LocalError(f"{name} has rows of shape {shape}, the model takes {self.session.row}{hint}")
        check_rows = getattr(self.network, "check_rows", None)
        if check_rows is not None:
            check_rows(rows.values)
        if is_fit and self.columns is None:
            self.columns = rows.columns
        check_columns(rows.columns, self.columns)
        return rows

    def _targets(self, y: Data, rows: int | None = None, name: str = "y", is_fit: bool = False) -> Array:
        found = as_array(y, name)
        if not found.ndim:
            raise LocalError(f"{name} of type {type(y).__name__} holds no rows; give a list, an array or a column")
        count = len(found)
        if rows is not None and count != rows:
            rows_name = "X" if name == "y" else "validation X"
            raise LocalError(f"{rows_name} has {rows} rows and {name} has {count}; they must be equal")
        shape = self.session.scores_shape(count)
        if not self.loss.is_class:
            return number_targets(y, self.loss, shape)
        if self.classes_ is None and is_fit:
            self.classes_ = find_classes(y)
        if self.classes_ is None:
            raise LocalError("the model has not seen any labels yet: fit it first")
        return class_numbers(y, self.classes_, shape)

    def _weights(self, targets: Array, class_weight: Any, sample_weight: Data) -> F32 | None:
        weights: F32 | None = None
        if class_weight is not None:
            if self.classes_ is None:
                raise LocalError(f"class_weight needs labels; loss {self.loss.name!r} has none")
            weights = class_weights(class_weight, self.classes_, targets)
        if sample_weight is not None:
            given = as_rows(sample_weight, "sample_weight").values
            if given.shape != (len(targets),) or (given < 0).any():
                raise LocalError(f"sample_weight of shape {given.shape} must be {len(targets)} numbers of at least 0")
            weights = given if weights is None else weights * given
        if weights is not None and not weights.any():
            raise LocalError("every row has weight 0, so there is nothing to learn from")
        return weights

    def _forward(self, X: Data) -> tuple[F32, F32]:
        return self._answer(self._rows(X).values)

    def _answer(self, x: F32) -> tuple[F32, F32]:
        try:
            return self.session.forward(x)
        except StepInvalid as error:
            raise LocalError(f"X of {len(x)} rows has no prediction: {error}") from None

    def _judge(self, x: F32, y: Array) -> dict[str, float]:
        if len(x) != len(y):
            raise LocalError(f"X has {len(x)} rows and y has {len(y)}; they must be equal")
        try:
            found = self.session.judge(x, y)
        except StepInvalid as error:
            raise LocalError(f"X of {len(x)} rows has no score: {error}") from None
        return {name: math.fsum(values.tolist()) / len(x) for name, values in found.items()}


def default_metrics(loss: str) -> tuple[str, ...]:
    """Return accuracy for classes, the absolute error for numbers."""
    if loss in ("cross_entropy", "binary_cross_entropy"):
        return ("accuracy",)
    return () if loss == "mae" else ("mae",)


def columns_of(values: Array) -> Array:
    """Return one line for each output of a row: (outputs, rows)."""
    return values.reshape(len(values), -1).T


def determination(actual: Array, values: Array) -> float:
    """Return R2 = 1 - sum (a - v)^2 / sum (a - mean a)^2; NaN where nothing varies."""
    center = math.fsum(actual.tolist()) / len(actual)
    spread = math.fsum(((actual - center) ** 2).tolist())
    missed = math.fsum(((actual - values) ** 2).tolist())
    return 1.0 - missed / spread if spread else math.nan


def cached_backend(backend: str | Backend) -> Backend:
    """Return the backend; one of a name is opened and checked once."""
    if not isinstance(backend, str) and not hasattr(backend, "compile"):
        raise LocalError(f"backend {backend!r} is no backend; give wasm, native, reference or auto, or a Backend")
    return _open(backend) if isinstance(backend, str) else backend


@functools.cache
def _open(name: str) -> Backend:
    return open_backend(name)
