"""What can happen between the passes of `fit`: stop early, keep the best, change the learning rate."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError, ResourceError

Figures = dict[str, float]


class Trained(Protocol):
    """What a callback may do with the model in training."""

    learning_rate: float
    stop_training: bool

    def get_values(self) -> dict[str, Array]:
        """Return copies of parameters and state."""

    def set_values(self, values: dict[str, Array]) -> None:
        """Replace parameters and state."""

    def save(self, path: Path | str) -> Path:
        """Write the model."""


class Callback:
    """Does nothing; subclasses override what they need. Epochs count from 0."""

    def on_train_begin(self, model: Trained) -> None:
        """Before the first epoch of a fit."""

    def on_epoch_begin(self, model: Trained, epoch: int) -> None:
        """Before the first batch of an epoch."""

    def on_epoch_end(self, model: Trained, epoch: int, figures: Figures) -> None:
        """After an epoch, with its figures: loss, metrics, and the same with val_ before them."""

    def on_train_end(self, model: Trained) -> None:
        """After the last epoch."""


class _Watching(Callback):
    """Knows the best value so far of one figure. mode "auto" makes accuracy large and everything else small."""

    def __init__(self, monitor: str, mode: str, min_delta: float) -> None:
        if mode not in ("auto", "min", "max"):
            raise LocalError(f"mode {mode!r} is not known; choose auto, min or max")
        self.monitor = monitor
        self.sign = -1.0 if mode == "max" or (mode == "auto" and monitor.endswith("accuracy")) else 1.0
        self.min_delta = abs(min_delta)
        self.best = math.inf
        self.waited = 0

    def on_train_begin(self, model: Trained) -> None:
        """Forget the last fit."""
        del model
        self.best, self.waited = math.inf, 0

    def improved(self, figures: Figures) -> bool:
        """Note the figures; return whether they are the best so far. Raises LocalError for an unknown figure."""
        if self.monitor not in figures:
            raise LocalError(
                f"{type(self).__name__} watches {self.monitor!r}, but there are only {', '.join(figures)}; "
                "val_ figures need validation_split or validation_data"
            )
        value = self.sign * figures[self.monitor]
        if value < self.best - self.min_delta:
            self.best, self.waited = value, 0
            return True
        self.waited += 1
        return False


class EarlyStopping(_Watching):
    """Stops after `patience` epochs without a better figure; with restore_best_weights the best epoch's come back."""

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        patience: int = 0,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best_weights: bool = False,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.restore_best_weights = restore_best_weights
        self.stopped_epoch: int | None = None
        self._kept: dict[str, Array] | None = None

    def on_epoch_end(self, model: Trained, epoch: int, figures: Figures) -> None:
        """Keep the best values; ask the model to stop when nothing became better for too long."""
        if self.improved(figures):
            self._kept = model.get_values() if self.restore_best_weights else None
        elif self.waited >= self.patience:
            self.stopped_epoch = epoch
            model.stop_training = True

    def on_train_end(self, model: Trained) -> None:
        """Bring the best values back."""
        if self._kept is not None:
            model.set_values(self._kept)


class ModelCheckpoint(_Watching):
    """Saves the model after every epoch, or only when the figure is the best. "{epoch}" in the path is the number."""

    def __init__(
        self, path: Path | str, monitor: str = "val_loss", *, save_best_only: bool = False, mode: str = "auto"
    ) -> None:
        super().__init__(monitor, mode, 0.0)
        self.path = str(path)
        self.save_best_only = save_best_only

    def on_epoch_end(self, model: Trained, epoch: int, figures: Figures) -> None:
        """Write the file."""
        if not self.save_best_only or self.improved(figures):
            model.save(Path(self.path.replace("{epoch}", str(epoch + 1))))


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch to schedule(epoch, rate now). For a rate per step: engine schedules."""

    def __init__(self, schedule: Callable[[int, float], float]) -> None:
        self.schedule = schedule

    def on_epoch_begin(self, model: Trained, epoch: int) -> None:
        """Set the rate."""
        model.learning_rate = float(self.schedule(epoch, model.learning_rate))


class ReduceLROnPlateau(_Watching):
    """Multiplies the learning rate by `factor` after `patience` epochs without a better figure, down to `min_lr`."""

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        factor: float = 0.1,
        patience: int = 10,
        min_lr: float = 0.0,
        mode: str = "auto",
    ) -> None:
        super().__init__(monitor, mode, 1e-4)
        self.factor, self.patience, self.min_lr = factor, patience, min_lr

    def on_epoch_end(self, model: Trained, epoch: int, figures: Figures) -> None:
        """Lower the rate when it is time."""
        del epoch
        if not self.improved(figures) and self.waited >= self.patience:
            model.learning_rate = max(model.learning_rate * self.factor, self.min_lr)
            self.waited = 0


class CSVLogger(Callback):
    """Writes one line per epoch: epoch (from 1) and every figure."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._names: list[str] = []

    def on_train_begin(self, model: Trained) -> None:
        """Begin anew."""
        del model
        self._names = []

    def on_epoch_end(self, model: Trained, epoch: int, figures: Figures) -> None:
        """Append the line, after a header the first time. Raises ResourceError."""
        del model
        mode = "a" if self._names else "w"
        lines = [] if self._names else [",".join(["epoch", *figures])]
        self._names = self._names or list(figures)
        lines.append(",".join([str(epoch + 1), *(repr(figures[name]) for name in self._names)]))
        try:
            with self.path.open(mode) as file:
                file.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            raise ResourceError(f"cannot write {self.path}: {error.strerror}") from None


class LambdaCallback(Callback):
    """Calls a function after every epoch: on_epoch_end(epoch, figures)."""

    def __init__(self, on_epoch_end: Callable[[int, Figures], None]) -> None:
        self.function = on_epoch_end

    def on_epoch_end(self, model: Trained, epoch: int, figures: Figures) -> None:
        """Call it."""
        del model
        self.function(epoch, figures)
