"""How raw columns became tensors: the canonical record that a job's data manifest carries and a model keeps.

Whoever has the record turns raw rows into the same bits: a number is rounded to f32 and becomes
`(value - mean) * inverse_std`, each operation rounded to f32; a category becomes a row of zeros with a one. The
constants are f32 bit patterns, computed once when a job is prepared (`scaling`).
"""

import math
import struct
from typing import Any, cast

import numpy as np

from synaptic_mesh.base.codec import Record, decode_untrusted, encode
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.ledger.admission import PREPARED_BYTES_MAX

WIDTH_MAX = 16_384
"""Most input features of one row after categories are spread."""
CATEGORIES_MAX = 256
CLASSES_MAX = 4096
OUTPUTS_MAX = 4096
ONE_BITS = 0x3F800000


class NumericColumn(Record, tag="numeric"):
    """A number: feature = (value - mean) * inverse_std."""

    name: str
    mean_bits: int = 0
    inverse_std_bits: int = ONE_BITS


class CategoricalColumn(Record, tag="categorical"):
    """One of `categories`: as many features, all 0 but the category's own, which is 1."""

    name: str
    categories: tuple[str, ...]


class ClassTarget(Record, tag="classes"):
    """The target is one of `classes`; a label is its position."""

    name: str
    classes: tuple[str, ...]


class NumberTarget(Record, tag="number"):
    """The targets are numbers, one per name, trained on as (value - mean) * inverse_std; predictions are
    output * std + mean."""

    names: tuple[str, ...]
    mean_bits: tuple[int, ...]
    std_bits: tuple[int, ...]
    inverse_std_bits: tuple[int, ...]


Column = NumericColumn | CategoricalColumn
Target = ClassTarget | NumberTarget


class Prepared(Record):
    """The inputs in feature order, and the target."""

    columns: tuple[Column, ...]
    target: Target

    @property
    def width(self) -> int:
        """Features of one row."""
        return sum(len(c.categories) if isinstance(c, CategoricalColumn) else 1 for c in self.columns)

    @property
    def task(self) -> str:
        """ "classify" or "regress"."""
        return "classify" if isinstance(self.target, ClassTarget) else "regress"

    @property
    def outputs(self) -> int:
        """Classes, or numbers predicted for a row."""
        return len(self.target.classes if isinstance(self.target, ClassTarget) else self.target.names)

    @property
    def target_names(self) -> tuple[str, ...]:
        """Columns of a table that hold the target."""
        return (self.target.name,) if isinstance(self.target, ClassTarget) else self.target.names


def encode_prepared(prepared: Prepared) -> bytes:
    """Return the canonical bytes. Raises LocalError when they are over PREPARED_BYTES_MAX."""
    data = encode(prepared)
    if len(data) > PREPARED_BYTES_MAX:
        raise LocalError(
            f"the description of the columns takes {len(data)} bytes, over the limit of {PREPARED_BYTES_MAX}; "
            "use fewer columns, categories or shorter names"
        )
    return data


def decode_prepared_untrusted(data: bytes) -> Prepared:
    """Return the record that `data` encodes, within bounds and with finite constants. Raises PeerError."""
    prepared = cast(Prepared, decode_untrusted(cast(Any, Prepared), data, PREPARED_BYTES_MAX))
    if not 1 <= prepared.width <= WIDTH_MAX:
        raise PeerError(f"{prepared.width} features are not between 1 and {WIDTH_MAX}")
    names = [column.name for column in prepared.columns] + list(prepared.target_names)
    if len(set(names)) != len(names):
        raise PeerError("a column is named twice")
    for column in prepared.columns:
        if isinstance(column, NumericColumn):
            _check_finite(column.name, column.mean_bits, column.inverse_std_bits)
        elif not 1 <= len(set(column.categories)) == len(column.categories) <= CATEGORIES_MAX:
            raise PeerError(f"column {column.name!r} has repeated, no or too many categories")
    _check_target(prepared.target)
    return prepared


def _check_target(target: Target) -> None:
    if isinstance(target, ClassTarget):
        if not 2 <= len(set(target.classes)) == len(target.classes) <= CLASSES_MAX:
            raise PeerError(f"target {target.name!r} has repeated, too few or too many classes")
        return
    count = len(target.names)
    if not 1 <= count <= OUTPUTS_MAX or {len(target.mean_bits), len(target.std_bits)} != {count}:
        raise PeerError(f"{count} targets with {len(target.mean_bits)} means")
    if len(target.inverse_std_bits) != count:
        raise PeerError(f"{count} targets with {len(target.inverse_std_bits)} scales")
    for bits in zip(target.mean_bits, target.std_bits, target.inverse_std_bits, strict=True):
        _check_finite(target.names[0], *bits)


def _check_finite(name: str, *patterns: int) -> None:
    for bits in patterns:
        if not 0 <= bits < 1 << 32 or not math.isfinite(bits_f32(bits)):
            raise PeerError(f"column {name!r} has the scaling constant 0x{bits:x}, which is not a finite f32")


def f32_bits(value: float) -> int:
    """Return the bit pattern of the f32 nearest to `value`; one beyond the range of f32 gives infinity."""
    with np.errstate(over="ignore"):
        return int(np.float32(value).view(np.uint32))


def bits_f32(bits: int) -> float:
    """Return the f32 with this bit pattern, as a Python float."""
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])
