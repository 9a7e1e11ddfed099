"""Tables of short rows as columns: a vector's lanes are rows, and each column is a vector.

Rows that lie one behind another are read and written as whole vectors and exchanged with columns by shuffles: zipping
the two halves of a sequence of vectors moves the highest bit of each element's position to the lowest place, so after
as many rounds as a row number has bits rows and columns have changed places.
"""

from collections.abc import Callable
from functools import cache
from typing import TypeVar

from synaptic_mesh.engine.nest.builder import Builder, Part

H = TypeVar("H")
Vector = Callable[[int], H]
"""The vector with a number, built when it is first asked for."""


def load_columns(b: Builder[H], kind: str, part: Part, count: int, strides: tuple[int, int], start: H) -> list[H]:
    """Return `count` columns of `part.lanes` rows whose elements lie `strides` (row, column) elements apart; one vector
    where a column is like the other. The first row lies at `start`. Lanes beyond the rows hold anything."""
    row, column = strides
    if column == 0:
        return [_load_column(b, kind, part, row, start, 0)]
    if column == 1 and row > 1 and part.lanes > 1:
        if row == count and part.lanes == part.width and is_power(count) and count <= part.width:
            return _unzipped(b, kind, part.width, count, start)
        return _transposed_rows(b, kind, part, count, row, start)
    return [_load_column(b, kind, part, row, start, 4 * column * at) for at in range(count)]


def _load_column(b: Builder[H], kind: str, part: Part, row: int, start: H, offset: int) -> H:
    if row == 0 or part.lanes == 1:
        return b.load_splat(kind, part.width, start, offset)
    if row == 1:
        return b.load(kind, part.width, start, offset)
    return b.load_strided(kind, part, 4 * row, start, offset)


def _unzipped(b: Builder[H], kind: str, width: int, count: int, start: H) -> list[H]:
    """Dense rows whose length is a power of two: evens and odds, until a column is left."""
    vectors = [b.load(kind, width, start, 4 * width * at) for at in range(count)]
    evens, odds = range(0, 2 * width, 2), range(1, 2 * width, 2)
    for _ in range(count.bit_length() - 1):
        pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
        vectors = [b.shuffle(kind, width, *pair, picked) for picked in (evens, odds) for pair in pairs]
    return vectors


def _transposed_rows(b: Builder[H], kind: str, part: Part, count: int, row: int, start: H) -> list[H]:
    """A block of as many columns as a vector has lanes after another; rows beyond the last repeat it."""
    width, columns = part.width, []

    for first in range(0, count, width):

        def line(at: int, first: int = first) -> H:
            return b.load(kind, width, start, 4 * (row * min(at, part.lanes - 1) + first))

        block = _zipped(b, kind, width, width, line, width.bit_length() - 1)
        columns += [block(at) for at in range(min(width, count - first))]
    return columns


def store_columns(b: Builder[H], kind: str, part: Part, columns: list[H], count: int, start: H) -> None:
    """Write `part.lanes` rows of `count` columns one behind another; a single vector stands for all columns."""
    columns = columns if len(columns) == count else columns * count
    width = part.width
    if is_power(count) and count <= width:
        store_rows(b, kind, part, rows_of(b, kind, part, columns), count, start)
        return
    for first in range(0, count, width):
        some = columns[first : first + width]
        padded = some + some[-1:] * (width - len(some))
        block = _zipped(b, kind, width, width, padded.__getitem__, width.bit_length() - 1)
        for at in range(part.lanes):
            b.store(kind, Part(0, len(some), width), block(at), start, 4 * (count * at + first))


def rows_of(b: Builder[H], kind: str, part: Part, columns: list[H]) -> list[H]:
    """Return rows one behind another, as many vectors as hold those that there are; the columns are a power of two."""
    count = len(columns)
    block = _zipped(b, kind, part.width, count, columns.__getitem__, count.bit_length() - 1)
    return [block(at) for at in range(-(-part.lanes * count // part.width))]


def flat_part(part: Part, count: int, at: int) -> Part:
    """Return how many lanes of the vector number `at` are of rows that there are."""
    return Part(0, min(part.width, part.lanes * count - at * part.width), part.width)


def load_rows(b: Builder[H], kind: str, part: Part, count: int, start: H) -> list[H]:
    """Return rows of `count` elements that lie one behind another, as `rows_of` does."""
    vectors = -(-part.lanes * count // part.width)
    return [b.load(kind, part.width, start, 4 * part.width * at) for at in range(vectors)]


def store_rows(b: Builder[H], kind: str, part: Part, rows: list[H], count: int, start: H) -> None:
    """Write what `rows_of` returned."""
    for at, vector in enumerate(rows):
        b.store(kind, flat_part(part, count, at), vector, start, 4 * part.width * at)


def _zipped(b: Builder[H], kind: str, width: int, count: int, source: Vector[H], rounds: int) -> Vector[H]:
    """Return the vectors after so many rounds, in each of which the lower and the upper half of `count` vectors are
    zipped. Only what is asked for is built."""
    if rounds == 0:
        return cache(source)
    before, half = _zipped(b, kind, width, count, source, rounds - 1), count // 2
    low = [lane + other for lane in range(width // 2) for other in (0, width)]
    high = [lane + width // 2 for lane in low]

    @cache
    def vector(at: int) -> H:
        return b.shuffle(kind, width, before(at // 2), before(at // 2 + half), high if at % 2 else low)

    return vector


def is_power(count: int) -> bool:
    """True for 1, 2, 4, 8, ...: so many columns fill whole vectors of rows."""
    return count & (count - 1) == 0
