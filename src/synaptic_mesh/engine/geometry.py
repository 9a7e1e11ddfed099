"""Integers of an operation as named fields: they travel in `Attributes.axes`, whose order is written here.

A graph's canonical bytes hold every attribute of every node, so a new attribute would rename all graphs there are.
"""

from typing import NamedTuple, Self

from synaptic_mesh.engine.ir import Node, Shape

CONV_INTEGERS = 9
SCAN_INTEGERS = 4


class Stride(NamedTuple):
    """SLICE reads and PAD writes element `start + i * step` on each axis. axes = starts, then steps."""

    starts: tuple[int, ...]
    steps: tuple[int, ...]

    @classmethod
    def of(cls, node: Node) -> Self:
        """Of a lawful SLICE or PAD."""
        axes = node.attributes.axes
        return cls(axes[: len(axes) // 2], axes[len(axes) // 2 :])

    @property
    def axes(self) -> tuple[int, ...]:
        """The attribute."""
        return self.starts + self.steps


class ConvGeometry(NamedTuple):
    """CONV: tap k of output o lies at position `start + o * step + k * kernel_step` of the dilated input, in which
    input element i lies at `i * input_step`; pairs are (height, width). axes = the fields in this order."""

    starts: tuple[int, int]
    steps: tuple[int, int]
    kernel_steps: tuple[int, int]
    input_steps: tuple[int, int]
    groups: int

    @classmethod
    def of(cls, node: Node) -> Self:
        """Of a CONV with CONV_INTEGERS integers."""
        a = node.attributes.axes
        return cls((a[0], a[1]), (a[2], a[3]), (a[4], a[5]), (a[6], a[7]), a[8])

    @property
    def axes(self) -> tuple[int, ...]:
        """The attribute."""
        return (*self.starts, *self.steps, *self.kernel_steps, *self.input_steps, self.groups)

    def field(self, axis: int, outputs: int, taps: int) -> int:
        """Return how many positions of the dilated input the outputs of an axis (0: height, 1: width) span."""
        if outputs == 0 or taps == 0:
            return 0
        return (outputs - 1) * self.steps[axis] + (taps - 1) * self.kernel_steps[axis] + 1


class ScanGeometry(NamedTuple):
    """SCAN: `length` steps; the first `states` operands are carried from step to step, the next `sequences` are cut
    along their first axis; reverse is 1 when step i sees position length - 1 - i. axes = the fields in this order."""

    length: int
    states: int
    sequences: int
    reverse: int

    @classmethod
    def of(cls, node: Node) -> Self:
        """Of a SCAN with SCAN_INTEGERS integers."""
        return cls(*node.attributes.axes)

    @property
    def axes(self) -> tuple[int, ...]:
        """The attribute."""
        return tuple(self)


def shift_count(node: Node) -> int:
    """Return by how many bits SHIFT_LEFT or SHIFT_RIGHT moves."""
    return node.attributes.axes[0]


def threefry_key(node: Node) -> tuple[int, int]:
    """Return the two words of THREEFRY's key."""
    bits = node.attributes.bits
    return int.from_bytes(bits[:4], "little"), int.from_bytes(bits[4:], "little")


def conv_field_elements(node: Node, x: Shape, w: Shape) -> int:
    """Return the elements of a CONV's input after padding and dilation: what a schedule may write out in full."""
    geometry = ConvGeometry.of(node)
    height, width = (geometry.field(i, node.shape[2 + i], w[2 + i]) for i in (0, 1))
    return x[0] * x[1] * height * width
