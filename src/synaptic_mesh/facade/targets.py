"""Targets: labels of any kind become class numbers and come back; numbers become f32 of the scores' shape."""

from typing import Any

import numpy as np
import numpy.typing as npt

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.facade.rows import as_array, as_f32, check_finite
from synaptic_mesh.models.losses import Loss

I32 = npt.NDArray[np.int32]


def find_classes(y: Any) -> Array:
    """Return the sorted distinct labels. Raises LocalError for labels that have no order or look like one-hot rows."""
    labels = as_array(y, "y")
    _check_missing(labels)
    if labels.dtype.kind == "f" and not (labels == np.floor(labels)).all():
        raise LocalError(f"y holds {labels[labels != np.floor(labels)].ravel()[0]}; classes are labels, use loss 'mse'")
    try:
        return np.unique(labels)
    except TypeError:
        raise LocalError("y mixes labels of types that cannot be compared; use one type") from None


def _check_missing(labels: Array) -> None:
    """Raise LocalError naming the first label that is missing: NaN, None, or what compares to nothing."""
    if labels.dtype.kind == "f":
        missing = ~np.isfinite(labels)
    elif labels.dtype.kind == "O":
        missing = np.array([_is_missing(label) for label in labels.ravel()], bool).reshape(labels.shape)
    else:
        return
    if missing.any():
        place = tuple(int(i) for i in np.argwhere(missing)[0])
        raise LocalError(f"y row {place[0] + 1} is {labels[place]}; fill in or leave out missing labels")


def _is_missing(label: Any) -> bool:
    """None, NaN, and pandas' NA, whose comparison with itself has no truth."""
    try:
        return label is None or not bool(label == label)
    except (TypeError, ValueError):
        return True


def class_numbers(y: Any, classes: Array, scores_shape: tuple[int, ...]) -> I32:
    """Return i32 numbers of labels for scores (rows, ..., classes). Raises LocalError naming label or shapes."""
    labels = as_array(y, "y")
    if labels.shape == (*scores_shape[:-1], 1):  # a column of labels, as frames and Keras have them
        labels = labels[..., 0]
    if labels.shape != scores_shape[:-1]:
        hint = "; pass labels, as y.argmax(axis=1) gives them" if labels.shape == scores_shape else ""
        raise LocalError(f"y has shape {labels.shape}, the network gives {scores_shape}{hint}")
    if len(classes) > scores_shape[-1]:
        raise LocalError(
            f"y holds {len(classes)} classes, the network has {scores_shape[-1]} outputs: end it with "
            f"Dense({len(classes)})"
        )
    found = np.searchsorted(classes, labels)
    wrong = classes[np.minimum(found, len(classes) - 1)] != labels
    if np.any(wrong):
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        known = ", ".join(str(name) for name in classes[:12])
        label = labels[place].item() if hasattr(labels[place], "item") else labels[place]
        raise LocalError(f"y row {place[0] + 1}: label {label!r} is not among the model's classes {known}")
    return np.ascontiguousarray(found, dtype=np.int32)


def number_targets(y: Any, loss: Loss, scores_shape: tuple[int, ...]) -> F32:
    """Return f32 targets of the scores' shape; (rows,) fits scores (rows, 1). Raises LocalError."""
    raw = as_array(y, "y")
    values = as_f32(raw, "y")
    if values.shape != scores_shape and scores_shape == (*values.shape, 1):
        values = values.reshape(scores_shape)
    if values.shape != scores_shape:
        raise LocalError(f"y has shape {raw.shape}, the network gives {scores_shape}; they must fit")
    check_finite(values, "y")
    if loss.name == "binary_cross_entropy" and not ((values >= 0) & (values <= 1)).all():
        place = int(np.argwhere((values < 0) | (values > 1))[0][0])
        raise LocalError(f"y row {place + 1} is {values[place].ravel()[0]}; binary cross entropy takes 0 to 1")
    return values


def class_weights(weights: Any, classes: Array, numbers: I32) -> F32:
    """Return each row's weight. `weights`: {label: weight}, or "balanced" (rows / (classes * rows of the class))."""
    if numbers.ndim != 1:
        raise LocalError(f"class_weight needs one label per row, not labels of shape {numbers.shape}")
    table = np.ones(len(classes), np.float64)
    if isinstance(weights, str):
        if weights != "balanced":
            raise LocalError(f"class_weight {weights!r} is not known; give a dictionary or 'balanced'")
        for index in range(len(classes)):
            table[index] = len(numbers) / (len(classes) * max(1, int((numbers == index).sum())))
    else:
        if not isinstance(weights, dict):
            raise LocalError(f"class_weight is {type(weights).__name__}; give a dictionary or 'balanced'")
        known = {label.item() if hasattr(label, "item") else label: index for index, label in enumerate(classes)}
        for label, weight in weights.items():
            is_weight = isinstance(weight, float | int | np.number) and 0 <= weight < np.inf
            if label not in known or not is_weight:
                raise LocalError(f"class_weight {label!r}: {weight} needs a class of y and a weight of at least 0")
            table[known[label]] = weight
    return np.ascontiguousarray(table[numbers], dtype=np.float32)
