"""What `fit` and Model are asked for, checked before anything is computed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.facade.callbacks import Callback

Whole = (int, np.integer)
VERBOSE = ("auto", 0, 1, 2)


def check_fit(epochs: Any, batch_size: Any, validation_split: Any, verbose: Any, shuffle: Any) -> None:
    """Raise LocalError naming the number that cannot be."""
    if not isinstance(epochs, Whole) or not isinstance(batch_size, Whole):
        raise LocalError(f"epochs {epochs!r} and batch_size {batch_size!r} must be whole numbers")
    if not isinstance(validation_split, float | int | np.floating):
        raise LocalError(f"validation_split {validation_split!r} must be a number from 0 to below 1")
    if epochs < 1 or batch_size < 1 or not 0 <= validation_split < 1:
        raise LocalError(
            f"epochs {epochs} and batch_size {batch_size} must be at least 1, validation_split {validation_split} "
            "from 0 to below 1"
        )
    if verbose not in VERBOSE:
        raise LocalError(f"verbose {verbose!r} is not known; choose one of {', '.join(map(str, VERBOSE))}")
    if not isinstance(shuffle, bool | np.bool_):
        raise LocalError(f"shuffle {shuffle!r} must be True or False")


def check_callbacks(callbacks: Any) -> None:
    """Raise LocalError unless these are a list or tuple of callbacks, not classes of them."""
    if not isinstance(callbacks, Sequence):
        raise LocalError(f"callbacks is {type(callbacks).__name__}; give a list, as callbacks=[EarlyStopping()]")
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise LocalError(f"callback {callback!r} is not an object of a class that derives from Callback")


def check_pair(validation_data: Any) -> None:
    """Raise LocalError unless this is (X, y)."""
    if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
        count = f" of {len(validation_data)}" if isinstance(validation_data, tuple | list) else ""
        raise LocalError(f"validation_data is (X, y), not {type(validation_data).__name__}{count}")


def check_row(input_shape: Any) -> tuple[int, ...]:
    """Return the shape of a row. Raises LocalError unless it is a sequence of counts."""
    shape = tuple(input_shape) if isinstance(input_shape, Sequence) else (None,)
    if not all(isinstance(extent, Whole) and extent >= 1 for extent in shape):
        raise LocalError(f"input_shape {input_shape!r} must be the extents of one row, such as (4,) or (1, 28, 28)")
    return tuple(int(extent) for extent in shape)


def check_network(network: Any) -> None:
    """Raise LocalError unless this can be called as a network."""
    if isinstance(network, type) or not callable(network):
        name = network.__name__ if isinstance(network, type) else type(network).__name__
        raise LocalError(f"the network is {name}; give Sequential([...]) or a function of (scope, x)")


def check_seed(seed: Any) -> int:
    """Return the seed. Raises LocalError unless it is a whole number."""
    if isinstance(seed, bool) or not isinstance(seed, Whole):
        raise LocalError(f"seed {seed!r} must be a whole number")
    return int(seed)


def check_rows_count(rows: Any) -> int:
    """Return the number of rows. Raises LocalError unless it is a whole number of at least 1."""
    if isinstance(rows, bool) or not isinstance(rows, Whole) or rows < 1:
        raise LocalError(f"rows {rows!r} must be a whole number of at least 1")
    return int(rows)


def check_names(metrics: Any) -> tuple[str, ...]:
    """Return the metrics. Raises LocalError unless they are a list or tuple of names."""
    if isinstance(metrics, str) or not isinstance(metrics, Sequence):
        raise LocalError(f"metrics is {metrics!r}; give a list of names, as metrics=['accuracy']")
    return tuple(metrics)


def check_path(path: Any) -> Path:
    """Return the path. Raises LocalError unless it is text or a Path, without a zero byte."""
    if not isinstance(path, str | Path):
        raise LocalError(f"the path is {type(path).__name__}; give text or a pathlib.Path")
    if "\0" in str(path):
        raise LocalError(f"the path {str(path)!r} holds a zero byte, which no file name can")
    return Path(path)
