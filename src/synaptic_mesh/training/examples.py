"""Labelled rows before they are split: raw features, targets, and the record of how columns become features."""

import msgspec

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.training.prepared import CLASSES_MAX, Prepared

CLASSES_GUESS_MAX = 20
"""A target of at most so many different integers is taken for classes unless the task is stated."""


class Examples(msgspec.Struct, frozen=True):
    """x: (rows, prepared.width) f32, unscaled. y: (rows,) i32 labels, or (rows, prepared.outputs) f32, unscaled.

    `scaling_fixed` keeps the constants in `prepared`; otherwise they are fitted to the training rows after the split.
    """

    name: str
    prepared: Prepared
    x: F32
    y: Array
    scaling_fixed: bool = False


def check_task(task: str | None) -> None:
    """Raise LocalError unless `task` is None, "classify" or "regress"."""
    if task not in (None, "classify", "regress"):
        raise LocalError(f"task {task!r} is not known; choose classify or regress")


def check_classes(source: str, target: str, count: int) -> None:
    """Raise LocalError unless `count` different values can be classes."""
    if count < 2:
        raise LocalError(f"{source}: target {target!r} has a single value in every row; there is nothing to learn")
    if count > CLASSES_MAX:
        raise LocalError(
            f"{source}: target {target!r} has {count} different values, over {CLASSES_MAX} classes; "
            "use --task regress for numbers or another target"
        )
