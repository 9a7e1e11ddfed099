"""Direct convolution: vectors run over outputs only, so every schedule has the bits of the law.

Each output is acc = acc + x*w from +0 over channel, kernel row, kernel column, ascending, product and sum rounded by
themselves. A tile of accumulators stays in registers for the whole sum. Its vectors lie along a row of outputs, where
weights are broadcast, or along output channels, where elements of the image are: whichever fills the lanes better.
An image with a margin or gaps between its elements is written out once; what lies outside is +0 and is multiplied.
"""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from synaptic_mesh.engine.geometry import ConvGeometry
from synaptic_mesh.engine.ir import Graph, Node, Shape
from synaptic_mesh.engine.nest.builder import FLOAT, Builder, Carried, Part, Walk, parts_of
from synaptic_mesh.engine.nest.movement import Place, emit_move

H = TypeVar("H")
ROW_VECTORS_MAX = 4
"""Vectors of a tile along a row of outputs."""
CHANNEL_VECTORS_MAX = 2
"""Vectors of a tile along output channels."""
UNROLL_TAPS_MAX = 5
"""Kernel columns that stand one behind the other instead of as a loop."""
ALONG_ROWS = 0.9
"""Along channels results are stored one by one and weights are packed: rows are preferred up to this disadvantage."""
LINE_BYTES = 64


class Conv(NamedTuple):
    """Extents of a convolution; groups g of `outputs` channels each read `channels` of the image."""

    geometry: ConvGeometry
    images: int
    channels: int
    image: tuple[int, int]
    outputs: int
    kernel: tuple[int, int]
    result: tuple[int, int]

    @staticmethod
    def of(node: Node, x: Shape, w: Shape) -> "Conv":
        """Return the convolution of a node whose operands have these shapes."""
        geometry = ConvGeometry.of(node)
        result = (node.shape[2], node.shape[3])
        return Conv(geometry, x[0], w[1], (x[2], x[3]), w[0] // geometry.groups, (w[2], w[3]), result)

    @property
    def field(self) -> tuple[int, int]:
        """Rows and columns of the image that outputs read, margins included."""
        high, wide = (self.geometry.field(axis, self.result[axis], self.kernel[axis]) for axis in (0, 1))
        return high, wide

    def is_inside(self) -> bool:
        """True when every element that is read lies in the image."""
        g = self.geometry
        return g.input_steps == (1, 1) and all(
            start >= 0 and start + field <= extent
            for start, field, extent in zip(g.starts, self.field, self.image, strict=True)
        )

    def runs_along_rows(self, lanes: int, is_dense: bool) -> bool:
        """True when vectors lie along rows of outputs."""
        along_rows = self.result[1] / max(1, -(-self.result[1] // lanes) * lanes)
        along_channels = self.outputs / max(1, -(-self.outputs // lanes) * lanes)
        return along_rows * (1.0 if is_dense else 0.6) >= ALONG_ROWS * along_channels

    def padded_outputs(self, lanes: int) -> int:
        """Output channels of a group in whole vectors."""
        return -(-self.outputs // lanes) * lanes

    def field_bytes(self) -> int:
        """Scratch memory of one image written out."""
        high, wide = self.field
        return 0 if self.is_inside() else _lines(4 * self.geometry.groups * self.channels * high * wide)

    def workspace_bytes(self, lanes: int) -> int:
        """Scratch memory of an image and of packed weights, and room behind them."""
        taps = self.channels * self.kernel[0] * self.kernel[1]
        return (
            self.field_bytes() + _lines(4 * self.geometry.groups * taps * self.padded_outputs(lanes)) + 2 * LINE_BYTES
        )


def conv_workspace_bytes(graph: Graph, node: Node, lanes: int) -> int:
    """Return how much scratch memory a CONV node needs."""
    x, w = (graph.nodes[i].shape for i in node.inputs)
    return Conv.of(node, x, w).workspace_bytes(lanes)


def emit_conv(b: Builder[H], conv: Conv, x: Place[H], w: Place[H], target: H, work: H) -> None:
    """x: (images, groups * channels, height, width); w: (groups * outputs, channels, rows, columns)."""
    _Convolution(b, conv, x, w, target, work).emit()


class _Axis(NamedTuple):
    """One axis of the sum: how many terms, and bytes from one to the next for vectors and for broadcast elements."""

    terms: int
    vector_step: int
    scalar_step: int


class _Convolution(Generic[H]):
    def __init__(self, b: Builder[H], conv: Conv, x: Place[H], w: Place[H], target: H, work: H) -> None:
        self.b = b
        self.conv = conv
        self.w = w
        self.target = target
        self.packed = b.at(work, conv.field_bytes())
        self.x = x
        self.field: Place[H] | None = None
        if not conv.is_inside():
            high, wide = conv.field
            self.field = Place(work, (high * wide, wide, 1))
        # strides of what is read, in elements: channel, row, column
        self.strides = self.field.strides if self.field else x.strides[1:]
        dense = self.strides[2] * conv.geometry.steps[1] == 1
        self.along_rows = conv.runs_along_rows(b.schedule.lanes, dense)

    def emit(self) -> None:
        """Build the kernel."""
        b, conv = self.b, self.conv
        if self.field:
            b.fill(self.field.pointer, 4 * conv.geometry.groups * conv.channels * conv.field[0] * conv.field[1])
        if not self.along_rows:
            self._pack()
        area = conv.result[0] * conv.result[1]

        def image(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
            source = here[0]
            if self.field:
                self._write_out(source)
                source = self.field.pointer
            else:
                starts = conv.geometry.starts
                source = b.at(source, 4 * (starts[0] * self.strides[1] + starts[1] * self.strides[2]))
            self._groups(source, here[1])
            return ()

        outputs = conv.geometry.groups * conv.outputs
        b.loop(conv.images, image, [Walk(self.x.pointer, 4 * self.x.strides[0]), Walk(self.target, 4 * outputs * area)])

    def _write_out(self, source: H) -> None:
        """Copy one image into the field; margins and gaps keep their zeros."""
        conv, (channel, down, across) = self.conv, self.x.strides[1:]
        high, wide = conv.field
        rows, columns = (self._copied(axis) for axis in (0, 1))
        shape = (conv.geometry.groups * conv.channels, rows.taken, columns.taken)
        steps = conv.geometry.input_steps
        start = self.b.at(source, 4 * (rows.first * down + columns.first * across))
        place = self.b.at(self.field.pointer, 4 * (rows.at * wide + columns.at)) if self.field else source
        target = Place(place, (high * wide, steps[0] * wide, steps[1]))
        emit_move(self.b, shape, Place(start, (channel, down, across)), target)

    def _copied(self, axis: int) -> "_Span":
        """Which elements of an axis of the image lie in the field, and where the first of them."""
        g, extent, field = self.conv.geometry, self.conv.image[axis], self.conv.field[axis]
        step, start = g.input_steps[axis], g.starts[axis]
        first = max(0, -(-start // step))
        last = min(extent - 1, (start + field - 1) // step)
        return _Span(first, max(0, last - first + 1), first * step - start)

    def _pack(self) -> None:
        """Weights with output channels innermost."""
        conv = self.conv
        (high, wide), padded = conv.kernel, conv.padded_outputs(self.b.schedule.lanes)
        taps = conv.channels * high * wide
        shape = (conv.geometry.groups, conv.outputs, conv.channels, high, wide)
        output, channel, row, column = self.w.strides
        source = Place(self.w.pointer, (output * conv.outputs, output, channel, row, column))
        target = Place(self.packed, (taps * padded, 1, high * wide * padded, wide * padded, padded))
        order = (0, 2, 3, 4, 1)
        emit_move(
            self.b,
            tuple(shape[axis] for axis in order),
            Place(source.pointer, tuple(source.strides[axis] for axis in order)),
            Place(target.pointer, tuple(target.strides[axis] for axis in order)),
        )

    def _groups(self, source: H, result: H) -> None:
        conv, area = self.conv, self.conv.result[0] * self.conv.result[1]
        lanes = self.b.schedule.lanes
        taps = conv.channels * conv.kernel[0] * conv.kernel[1]
        weights = self.w.pointer if self.along_rows else self.packed
        step = self.w.strides[0] * conv.outputs if self.along_rows else taps * conv.padded_outputs(lanes)

        def group(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
            (self._rows if self.along_rows else self._channels)(here[0], here[1], here[2])
            return ()

        walks = [
            Walk(source, 4 * self.strides[0] * conv.channels),
            Walk(weights, 4 * step),
            Walk(result, 4 * conv.outputs * area),
        ]
        self.b.loop(conv.geometry.groups, group, walks)

    # --- vectors along rows of outputs ---

    def _rows(self, source: H, weights: H, result: H) -> None:
        """Tiles of several output channels, each a few vectors of one row."""
        conv, b = self.conv, self.b
        high, wide = conv.result
        row_parts = parts_of(wide, b.schedule.lanes)
        vectors = min(len(row_parts), ROW_VECTORS_MAX)
        tall = max(1, min(conv.outputs, b.schedule.accumulators // vectors))
        down = 4 * self.strides[1] * conv.geometry.steps[0]

        def outputs(count: int) -> Callable[[H, Sequence[H], Sequence[H]], Sequence[H]]:
            def tile(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
                def row(_: H, at: Sequence[H], __: Sequence[H]) -> Sequence[H]:
                    for first in range(0, len(row_parts), vectors):
                        parts = row_parts[first : first + vectors]
                        self._row_tile(at[0], here[0], at[1], count, parts)
                    return ()

                b.loop(high, row, [Walk(source, down), Walk(here[1], 4 * wide)])
                return ()

            return tile

        whole = conv.outputs // tall
        walks = [Walk(weights, 4 * tall * self.w.strides[0]), Walk(result, 4 * tall * high * wide)]
        b.loop(whole, outputs(tall), walks)
        if conv.outputs > whole * tall:
            rest = [b.at(walk.start, whole * walk.step) for walk in walks]
            outputs(conv.outputs - whole * tall)(source, rest, ())

    def _row_tile(self, source: H, weights: H, result: H, count: int, parts: list[Part]) -> None:
        conv, b = self.conv, self.b
        across = self.strides[2] * conv.geometry.steps[1]

        def load(pointer: H, part: Part, offset: int) -> H:
            start = offset + 4 * across * part.first
            if across == 1:
                return b.load(FLOAT, part.width, pointer, start)
            return b.load_strided(FLOAT, part, 4 * across, pointer, start)

        offsets = [4 * self.w.strides[0] * number for number in range(count)]
        axes = [
            _Axis(count, 4 * step, 4 * stride)
            for count, step, stride in zip(
                (conv.channels, *conv.kernel), self._image_steps(), self.w.strides[1:], strict=True
            )
        ]
        sums = self._sum(source, weights, parts, offsets, axes, load)
        area = conv.result[0] * conv.result[1]
        for number, line in enumerate(sums):
            for part, total in zip(parts, line, strict=True):
                b.store(FLOAT, part, total, result, 4 * (number * area + part.first))

    # --- vectors along output channels ---

    def _channels(self, source: H, weights: H, result: H) -> None:
        """Tiles of several places of the result, each a few vectors of output channels."""
        conv, b = self.conv, self.b
        high, wide = conv.result
        channel_parts = parts_of(conv.outputs, b.schedule.lanes)
        vectors = min(len(channel_parts), CHANNEL_VECTORS_MAX)
        places = max(1, b.schedule.accumulators // vectors)
        tile = (min(high, max(1, places // min(wide, places))), min(wide, places))
        down, across = (4 * s * t for s, t in zip(self.strides[1:], conv.geometry.steps, strict=True))
        for first in range(0, len(channel_parts), vectors):
            parts = channel_parts[first : first + vectors]

            def emit(at: Sequence[H], extents: tuple[int, int], parts: list[Part] = parts) -> None:
                self._channel_tile(at[0], weights, at[1], extents, parts)

            self._places(source, result, (down, across), tile, emit)

    def _places(
        self,
        source: H,
        result: H,
        steps: tuple[int, int],
        tile: tuple[int, int],
        emit: Callable[[Sequence[H], tuple[int, int]], None],
    ) -> None:
        """Cover the result by tiles: whole ones in loops, the rest by themselves."""
        b, (high, wide) = self.b, self.conv.result

        def column_tiles(at: Sequence[H], rows: int) -> None:
            def one(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
                emit(here, (rows, tile[1]))
                return ()

            whole = wide // tile[1]
            walks = [Walk(at[0], steps[1] * tile[1]), Walk(at[1], 4 * tile[1])]
            b.loop(whole, one, walks)
            if wide > whole * tile[1]:
                emit([b.at(walk.start, whole * walk.step) for walk in walks], (rows, wide - whole * tile[1]))

        def row_tiles(_: H, here: Sequence[H], __: Sequence[H]) -> Sequence[H]:
            column_tiles(here, tile[0])
            return ()

        whole = high // tile[0]
        walks = [Walk(source, steps[0] * tile[0]), Walk(result, 4 * wide * tile[0])]
        b.loop(whole, row_tiles, walks)
        if high > whole * tile[0]:
            column_tiles([b.at(walk.start, whole * walk.step) for walk in walks], high - whole * tile[0])

    def _channel_tile(self, source: H, weights: H, result: H, extents: tuple[int, int], parts: list[Part]) -> None:
        conv, b, wide = self.conv, self.b, self.conv.result[1]
        down, across = (4 * s * t for s, t in zip(self.strides[1:], conv.geometry.steps, strict=True))
        places = [(row, column) for row in range(extents[0]) for column in range(extents[1])]
        padded = conv.padded_outputs(b.schedule.lanes)

        def load(pointer: H, part: Part, offset: int) -> H:
            return b.load(FLOAT, part.width, pointer, offset + 4 * part.first)

        rows, columns = conv.kernel
        packed = (4 * rows * columns * padded, 4 * columns * padded, 4 * padded)
        axes = [
            _Axis(count, step, 4 * stride)
            for count, step, stride in zip((conv.channels, rows, columns), packed, self._image_steps(), strict=True)
        ]
        offsets = [row * down + column * across for row, column in places]
        sums = self._sum(weights, source, parts, offsets, axes, load)
        area = conv.result[0] * wide
        for (row, column), line in zip(places, sums, strict=True):
            for part, total in zip(parts, line, strict=True):
                at = 4 * (row * wide + column + part.first * area)
                b.store_strided(FLOAT, part, total, 4 * area, result, at)

    # --- the sum ---

    def _image_steps(self) -> tuple[int, int, int]:
        """Elements of the image from one channel, kernel row and kernel column to the next."""
        (channel, down, across), steps = self.strides, self.conv.geometry.kernel_steps
        return channel, down * steps[0], across * steps[1]

    def _sum(
        self,
        vectors: H,
        scalars: H,
        parts: list[Part],
        offsets: list[int],
        axes: list[_Axis],
        load: Callable[[H, Part, int], H],
    ) -> list[list[H]]:
        """Return the accumulators, one line for each of `offsets`, after all terms."""
        b = self.b
        kinds = [Carried(FLOAT, part.width, b.vectors(part.width).constant(0)) for _ in offsets for part in parts]

        def term(at: Sequence[H], values: Sequence[H], number: int, axis: _Axis) -> list[H]:
            line = [load(at[0], part, number * axis.vector_step) for part in parts]
            after = []
            for row, offset in enumerate(offsets):
                splats: dict[int, H] = {}
                for place, (part, vector) in enumerate(zip(parts, line, strict=True)):
                    ops = b.vectors(part.width)
                    if part.width not in splats:
                        start = offset + number * axis.scalar_step
                        splats[part.width] = b.load_splat(FLOAT, part.width, at[1], start)
                    total = values[row * len(parts) + place]
                    after.append(ops.add(total, ops.mul(vector, splats[part.width])))
            return after

        def walk(depth: int, at: Sequence[H], values: Sequence[H]) -> list[H]:
            axis = axes[depth]
            carried = [kind._replace(initial=value) for kind, value in zip(kinds, values, strict=True)]
            if depth == len(axes) - 1 and axis.terms <= UNROLL_TAPS_MAX:
                return b.sequence(axis.terms, lambda number, now: term(at, now, number, axis), carried, at[0])

            def body(_: H, here: Sequence[H], now: Sequence[H]) -> Sequence[H]:
                return term(here, now, 0, axis) if depth == len(axes) - 1 else walk(depth + 1, here, now)

            walks = [Walk(at[0], axis.vector_step), Walk(at[1], axis.scalar_step)]
            return b.loop(axis.terms, body, walks, carried)

        sums = walk(0, (vectors, scalars), [kind.initial for kind in kinds])
        return [sums[row * len(parts) : (row + 1) * len(parts)] for row in range(len(offsets))]


class _Span(NamedTuple):
    """Elements of an axis: the first, how many, and the place of the first in the field."""

    first: int
    taken: int
    at: int


def _lines(size: int) -> int:
    return -(-size // LINE_BYTES) * LINE_BYTES
