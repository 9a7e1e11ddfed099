"""What a kernel is written against: loops with carried values, addresses, loads and stores of vectors.

A *handle* is what a renderer calls a value by: a WebAssembly local, the name of an LLVM value, a word of text. Integers
known while building stay Python numbers. There is no fused multiply-add and no reduction among the operations, so a
kernel's order of operations is the order in which it calls them, whatever renders it.
"""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from synaptic_mesh.engine.nest.vectors import Vectors

H = TypeVar("H")

FLOAT, INT, MASK = "float", "i32", "i1"
"""Types of lanes. A mask is what a comparison gives; in memory it is words of all ones or all zeros."""
POINTER, WORD, INDEX = "ptr", "word", "index"
"""Types of single values: an address, a 32-bit integer, and an integer as wide as an address."""
LANES_MIN = 4
"""The narrowest vector: the end of a row is computed in one that covers it and stored in part."""
NOT_FINITE = 1
BAD_INDEX = 2
"""Bits of the flags word: a checked output is not finite, an index is out of range."""


class Part(NamedTuple):
    """A piece of a row: `lanes` elements from `first` on, computed in a vector of `width`."""

    first: int
    lanes: int
    width: int


class Carried(NamedTuple, Generic[H]):
    """A value that a loop hands from one iteration to the next. `width` is 1 for single values."""

    kind: str
    width: int
    initial: H


class Walk(NamedTuple, Generic[H]):
    """An address that moves by `step` bytes with each iteration of a loop."""

    start: H
    step: int


class Schedule(NamedTuple):
    """How loops over rows are laid out. None of it changes a result."""

    lanes: int
    """Lanes of a full vector."""
    widest: int
    """Lanes of the widest vector that the renderer divides by itself: a row's partial sums stand in such vectors."""
    unroll: int
    """Vectors in one iteration of a short chain's loop."""
    straight_max: int
    """Vectors of a short chain that are built one after another instead of as a loop."""
    accumulators: int
    """Vectors that may be summed into at once while registers are left for operands."""


Body = Callable[[H, Sequence[H], Sequence[H]], Sequence[H]]
"""A loop's body: (position, walked addresses, carried values) -> carried values of the next iteration."""


class Builder(Protocol[H]):
    """A kernel's function under construction."""

    schedule: Schedule

    def vectors(self, width: int) -> Vectors[H]:
        """Return the operations on vectors of `width` lanes."""

    # --- addresses and memory; offsets are bytes ---

    def at(self, pointer: H, offset: int) -> H:
        """Return the address `offset` bytes on."""

    def indexed(self, pointer: H, index: H, stride: int) -> H:
        """Return the address pointer + index * stride."""

    def load(self, kind: str, width: int, pointer: H, offset: int = 0) -> H:
        """Return `width` neighbouring lanes."""

    def load_splat(self, kind: str, width: int, pointer: H, offset: int = 0) -> H:
        """Return one element in every lane."""

    def load_strided(self, kind: str, part: Part, stride: int, pointer: H, offset: int = 0) -> H:
        """Return `part.lanes` elements that lie `stride` bytes apart; the other lanes hold zeros."""

    def store(self, kind: str, part: Part, value: H, pointer: H, offset: int = 0) -> None:
        """Write the first `part.lanes` lanes of a vector."""

    def store_strided(self, kind: str, part: Part, value: H, stride: int, pointer: H, offset: int = 0) -> None:
        """Write the first `part.lanes` lanes `stride` bytes apart."""

    def fill(self, pointer: H, size: int) -> None:
        """Set `size` bytes, whole words, to zero."""

    def copy(self, source: H, target: H, size: int) -> None:
        """Copy `size` bytes, whole words, between places that do not overlap."""

    # --- lanes ---

    def keep_lanes(self, kind: str, part: Part, value: H, neutral: int, width: int) -> H:
        """Return a vector of `width` lanes: the first `part.lanes` of `value`, then the pattern `neutral`."""

    def halves(self, kind: str, width: int, value: H) -> tuple[H, H]:
        """Return the lower and the upper half of a vector, as vectors of half the width."""

    def shuffle(self, kind: str, width: int, a: H, b: H, picked: Sequence[int]) -> H:
        """Return the lanes `picked` of two vectors; those of the second are numbered from `width` on."""

    # --- single values ---

    def load_word(self, pointer: H, offset: int = 0) -> H:
        """Return the 32-bit integer at an address."""

    def store_word(self, word: H | int, pointer: H, offset: int = 0) -> None:
        """Write a 32-bit integer."""

    def index(self, word: H) -> H:
        """Return a word that is not negative as an index."""

    def splat_index(self, index: H, width: int) -> H:
        """Return an index as a 32-bit integer in every lane."""

    def lane_numbers(self, width: int) -> H:
        """Return 0, 1, 2, ... as 32-bit integers."""

    def below(self, word: H, extent: int) -> H:
        """Return the condition 0 <= word < extent."""

    # --- control ---

    def loop(
        self,
        count: int,
        body: Body[H],
        walks: Sequence[Walk[H]] = (),
        carried: Sequence[Carried[H]] = (),
        step: int = 1,
    ) -> list[H]:
        """Run the body `count` times with position 0, step, 2 step, ... Return the carried values afterwards: the
        initial ones without an iteration."""

    def sequence(
        self, steps: int, step: Callable[[int, Sequence[H]], Sequence[H]], carried: Sequence[Carried[H]], guard: H
    ) -> list[H]:
        """Return the carried values after step 0, 1, ... one behind the other. The operands of different steps are not
        in registers at the same time; `guard` is an address that is not zero."""

    def branch(self, condition: H, yes: Callable[[], None], no: Callable[[], None]) -> None:
        """Run `yes` when the condition holds, else `no`."""

    def raise_flag(self, bit: int) -> None:
        """Set a bit of the step's flags word."""

    def raise_if_negative(self, state: H, bit: int = NOT_FINITE, width: int = 0) -> None:
        """Set a bit of the step's flags word when a lane of a vector of i32 is negative, of a full one or of `width`
        lanes."""


def parts_of(extent: int, lanes: int) -> list[Part]:
    """Return a row of `extent` elements as full vectors and the narrowest one that covers the rest."""
    whole = extent // lanes * lanes
    parts = [Part(first, lanes, lanes) for first in range(0, whole, lanes)]
    rest = extent - whole
    if rest:
        width = LANES_MIN
        while width < rest:
            width *= 2
        parts.append(Part(whole, rest, width))
    return parts


def walk_row(
    b: Builder[H], count: int, walks: Sequence[H], body: Callable[[Sequence[H], Part], None], width: int = 0
) -> None:
    """Call `body(addresses, part)` for every vector of a row of `count` words; the addresses follow the row."""
    lanes = width or b.schedule.lanes
    whole = count // lanes

    def vector(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
        body(here, Part(0, lanes, lanes))
        return ()

    b.loop(whole, vector, [Walk(start, 4 * lanes) for start in walks])
    for part in parts_of(count - whole * lanes, lanes):
        body([b.at(start, 4 * whole * lanes) for start in walks], part)
