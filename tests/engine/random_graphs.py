"""Random graphs and their inputs, and how a backend's bits compare with the definition's on them."""

import math
from collections import Counter
from collections.abc import Callable
from random import Random

import numpy as np

from synaptic_mesh.base.arrays import Array, canonical_bytes
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.autodiff import gradients
from synaptic_mesh.engine.backend import Backend, StepInvalid
from synaptic_mesh.engine.functions.convolution import raw_conv
from synaptic_mesh.engine.functions.elementwise import cos, erf, round_even, sin, threefry
from synaptic_mesh.engine.functions.indexing import gather_last, scatter_add_last
from synaptic_mesh.engine.functions.movement import concat, place
from synaptic_mesh.engine.functions.order import cumsum, top_k_indices
from synaptic_mesh.engine.functions.scan import scan
from synaptic_mesh.engine.geometry import ConvGeometry, Stride
from synaptic_mesh.engine.golden_inputs import awkward_values
from synaptic_mesh.engine.ir import DType, Graph, Op, Shape
from synaptic_mesh.engine.limits import executions
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.support import MISSING, feature
from synaptic_mesh.engine.trace import (
    NUMPY_DTYPES,
    Builder,
    Spec,
    Tensor,
    exp,
    floor,
    gather,
    log,
    matmul,
    maximum,
    minimum,
    one_hot,
    scatter_add,
    sigmoid,
    sqrt,
    stop_gradient,
    tanh,
    where,
)
from synaptic_mesh.engine.unroll import unrolled

SIZE_MAX = 6000
WRITTEN_OUT_MAX = 2000
"""Most operations of a graph whose scans are written out and compared."""
EXTENTS = (0, 1, 1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 31, 33, 65)
SPECIAL = awkward_values()
UNARY = (abs, exp, log, tanh, sigmoid, sqrt, floor, stop_gradient, erf, sin, cos, round_even, lambda x: -x)
BINARY = (
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    minimum,
    maximum,
    lambda a, b: where(a < b, a, b),
    lambda a, b: where(a <= b, b, a),
    lambda a, b: where(a == b, b, a),
)


class Grower:
    """Grows one random graph and its inputs from a seed."""

    def __init__(self, seed: int, wild: bool, left_out: frozenset[str] = frozenset()) -> None:
        self.random = Random(seed)
        self.numpy = np.random.default_rng(seed)
        self.wild = wild
        self.left_out = left_out
        self.builder = Builder()
        self.values: dict[str, Array] = {}
        self.pool: list[Tensor] = []
        self.moves: list[Callable[[], Tensor | None]] = []

    def grow(self, steps: int) -> Graph:
        for _ in range(self.random.randint(1, 3)):
            self.input(self.shape(), self.random.choice((DType.F32, DType.F32, DType.F32, DType.I32, DType.U32)))
        self.moves = [
            *(self.unary, self.binary, self.binary, self.move, self.move, self.reduce, self.contract, self.index),
            *(self.bits, self.cut, self.place, self.join, self.order),
            *([] if Op.CONV.value in self.left_out else [self.convolve]),
            *([] if Op.SCAN.value in self.left_out else [self.repeat]),
        ]
        while len(self.pool) < steps:
            tensor = self.random.choice(self.moves)()
            if tensor is not None and math.prod(tensor.shape) <= SIZE_MAX:
                self.pool.append(tensor)
        return self.finish()

    def shape(self, rank: int | None = None) -> Shape:
        for _ in range(100):
            chosen = self.random.randint(0, 4) if rank is None else rank
            shape = tuple(self.random.choice(EXTENTS) for _ in range(chosen))
            if math.prod(shape) <= SIZE_MAX:
                return shape
        return (1,) * (rank or 0)

    def input(self, shape: Shape, dtype: DType, high: int | None = None) -> Tensor:
        name = f"i{len(self.values)}"
        if dtype is DType.F32:
            array = self.numpy.standard_normal(shape).astype(np.float32)
            if self.wild:
                special = self.numpy.choice(SPECIAL, shape)
                array = np.where(self.numpy.random(shape) < 0.2, special, array).astype(np.float32)
        elif high is not None:
            array = self.numpy.integers(0, max(high, 1), shape).astype(np.int32)
        else:
            array = self.numpy.integers(-(1 << 31), 1 << 31, shape).astype(np.int64).astype(NUMPY_DTYPES[dtype])
        self.values[name] = np.asarray(array)
        tensor = self.builder.input(name, Spec(shape, dtype))
        self.pool.append(tensor)
        return tensor

    def pick(self, *dtypes: DType, rank: int | None = None) -> Tensor:
        fits = [t for t in self.pool if t.dtype in dtypes and rank in (None, len(t.shape))]
        return self.random.choice(fits[-8:]) if fits else self.input(self.shape(rank), dtypes[0])

    def unary(self) -> Tensor:
        if self.random.random() < 0.15:
            x = self.pick(DType.F32, DType.I32)
            return x.convert(DType.I32 if x.dtype is DType.F32 else DType.F32)
        return self.random.choice(UNARY)(self.pick(DType.F32))

    def binary(self) -> Tensor:
        a = self.pick(DType.F32, DType.F32, DType.F32, DType.I32, DType.U32)
        same = [t for t in self.pool if t.dtype is a.dtype and t.shape == a.shape]
        other = self.random.choice(
            [*same, self.partner(a), self.builder.constant(self.random.choice((0, 1, 2)), a.shape, a.dtype)]
        )
        if a.dtype is DType.F32 and self.random.random() < 0.3:
            return a / other if self.random.random() < 0.6 else a**other
        return self.random.choice(BINARY)(a, other)

    def partner(self, a: Tensor) -> Tensor:
        """Something of the pool, or new, that is broadcast to the shape of `a`."""
        kept = [axis for axis in range(len(a.shape)) if self.random.random() < 0.5]
        shape = tuple(a.shape[axis] for axis in kept)
        fits = [t for t in self.pool if t.shape == shape and t.dtype is a.dtype]
        small = self.random.choice(fits) if fits else self.input(shape, a.dtype)
        return small.reshape(*(e if i in kept else 1 for i, e in enumerate(a.shape))).broadcast_to(a.shape)

    def move(self) -> Tensor:
        x = self.pick(DType.F32, DType.I32, DType.U32)
        kind = self.random.randint(0, 3)
        if kind == 0 and len(x.shape) < 4:
            return x.repeat(self.random.randint(0, len(x.shape)), self.random.choice((0, 1, 2, 3, 5)))
        if kind == 1 and x.shape:
            return x.reshape(
                *self.random.choice(((math.prod(x.shape),), x.shape[::-1], (*x.shape[:1], math.prod(x.shape[1:]))))
            )
        axes = list(range(len(x.shape)))
        self.random.shuffle(axes)
        return x.transpose(*axes) if axes else x.reshape(1)

    def reduce(self) -> Tensor | None:
        x = self.pick(DType.F32, DType.F32, DType.I32, DType.U32)
        if not x.shape:
            return None
        axis = self.random.randrange(len(x.shape))
        if x.dtype is not DType.F32 or self.random.random() < 0.5:
            return x.sum(axis)
        if x.shape[axis] and self.random.random() < 0.4:
            return x.argmax(axis)
        return x.max(axis)

    def bits(self) -> Tensor:
        a = self.pick(self.random.choice((DType.I32, DType.U32, DType.F32)))
        others = [dtype for dtype in NUMPY_DTYPES if dtype is not a.dtype]
        kind = self.random.randint(0, 6)
        if a.dtype is DType.F32 or kind == 0:
            return a.bitcast(self.random.choice(others))
        if kind <= 2:
            count = self.random.randint(0, 31)
            return a << count if kind == 1 else a >> count
        if kind == 3 and a.dtype is DType.U32:
            return threefry(a, self.partner(a), (self.random.getrandbits(32), self.random.getrandbits(32)))
        other = self.partner(a)
        return self.random.choice((lambda: a & other, lambda: a | other, lambda: a ^ other))()

    def stride(self, large: Shape) -> tuple[Stride, Shape]:
        """A random part of a shape: start + i * step on each axis, and the part's extents."""
        starts, steps, extents = [], [], []
        for room in large:
            count = self.random.choice((0, 1, room, room, self.random.randint(0, room))) if room else 0
            step = self.random.randint(1, max(1, (room - 1) // (count - 1))) if count > 1 else 1
            start = self.random.randint(0, room - 1 - (count - 1) * step) if count else 0
            if count > 1 and self.random.random() < 0.4:
                start, step = start + (count - 1) * step, -step
            starts.append(start)
            steps.append(step)
            extents.append(count)
        return Stride(tuple(starts), tuple(steps)), tuple(extents)

    def cut(self) -> Tensor:
        x = self.pick(DType.F32, DType.F32, DType.I32, DType.U32)
        stride, extents = self.stride(x.shape)
        return x.strided(stride.starts, stride.steps, extents)

    def place(self) -> Tensor:
        x = self.pick(DType.F32, DType.F32, DType.I32, DType.U32)
        steps = tuple(self.random.choice((-2, -1, 1, 1, 1, 2, 3)) if extent > 1 else 1 for extent in x.shape)
        spans = tuple(max(extent - 1, 0) * abs(step) for extent, step in zip(x.shape, steps, strict=True))
        lows = tuple(self.random.randint(0, 3) for _ in x.shape)
        shape = tuple(
            a + b + min(e, 1) + self.random.randint(0, 3) for a, b, e in zip(lows, spans, x.shape, strict=True)
        )
        if math.prod(shape) > SIZE_MAX:
            return x
        starts = tuple(a if step > 0 else a + b for a, b, step in zip(lows, spans, steps, strict=True))
        return place(x, Stride(starts, steps), shape, self.random.choice((0, 0, 1)))

    def join(self) -> Tensor | None:
        x = self.pick(DType.F32, DType.F32, DType.I32, DType.U32)
        if not x.shape:
            return None
        axis = self.random.randrange(len(x.shape))
        rest = x.shape[:axis] + x.shape[axis + 1 :]
        alike = [t for t in self.pool if t.dtype is x.dtype and len(t.shape) == len(x.shape)]
        fits = [t for t in alike if t.shape[:axis] + t.shape[axis + 1 :] == rest]
        return concat([self.random.choice(fits) for _ in range(self.random.randint(1, 4))], axis)

    def order(self) -> Tensor | None:
        x = self.pick(DType.F32, DType.F32, DType.I32, DType.U32)
        if not x.shape:
            return None
        axis = self.random.randrange(len(x.shape))
        if x.dtype is DType.F32 and self.random.random() < 0.5:
            return top_k_indices(x, self.random.randint(0, min(x.shape[axis], 20)), axis)
        return cumsum(x, axis)

    def contract(self) -> Tensor:
        a = self.pick(DType.F32, rank=self.random.choice((2, 2, 2, 3, 4)))
        left, right = self.random.random() < 0.4, self.random.random() < 0.4
        k = a.shape[-2] if left else a.shape[-1]
        fits = [
            t
            for t in self.pool
            if t.dtype is DType.F32 and t.shape[:-2] == a.shape[:-2] and len(t.shape) == len(a.shape)
            if t.shape[-1 if right else -2] == k
        ]
        n = self.random.choice(EXTENTS)
        shape = (*a.shape[:-2], *((n, k) if right else (k, n)))
        if not fits and math.prod(shape) > SIZE_MAX:
            return a
        b = self.random.choice(fits) if fits else self.input(shape, DType.F32)
        return matmul(a, b, transpose_left=left, transpose_right=right)

    def convolve(self) -> Tensor:
        draw = self.random.randint
        groups, outer, inner = draw(1, 3), draw(1, 5), draw(0 if draw(0, 9) == 0 else 1, 4)
        x_shape = (draw(0 if draw(0, 9) == 0 else 1, 3), groups * inner, draw(1, 7), self.random.choice(EXTENTS[1:13]))
        w_shape = (groups * outer, inner, draw(1, 3), draw(1, 4))
        extents = (draw(0 if draw(0, 9) == 0 else 1, 6), self.random.choice(EXTENTS[1:13]))
        geometry = ConvGeometry(
            (draw(-4, 2), draw(-4, 2)),
            (draw(1, 3), draw(1, 3)),
            (draw(1, 2), draw(1, 2)),
            (draw(1, 2), draw(1, 3)),
            groups,
        )
        x, w = (self.find(shape) for shape in (x_shape, w_shape))
        return raw_conv(x, w, geometry, extents)

    def find(self, shape: Shape) -> Tensor:
        """An f32 tensor of this shape out of the pool, by any movement, or a new input."""
        fits = [t for t in self.pool if t.dtype is DType.F32 and math.prod(t.shape) == math.prod(shape)]
        return self.random.choice(fits).reshape(*shape) if fits else self.input(shape, DType.F32)

    def index(self) -> Tensor | None:
        count = self.random.choice(EXTENTS[1:])
        bad = 0 if self.random.random() < 0.9 else 2
        kind = self.random.randint(0, 9)
        if kind <= 2:
            classes = self.random.choice((1, 2, 3, 10, 33))
            return one_hot(self.input(self.shape(self.random.randint(0, 2)), DType.I32, classes), classes)
        if kind <= 4:
            x = self.pick(DType.F32, DType.F32, DType.U32, rank=2)
            return gather(x, self.input((count,), DType.I32, x.shape[0] + bad)) if x.shape[0] else None
        if kind <= 6:
            x, rows = self.pick(DType.F32, rank=2), self.random.choice((1, 3, 9))
            return scatter_add(x, self.input((x.shape[0],), DType.I32, rows + bad), rows)
        x = self.pick(DType.F32, DType.F32, DType.I32, DType.U32)
        if not x.shape or math.prod(x.shape[:-1]) * count > SIZE_MAX:
            return None
        if kind == 7 and x.dtype is DType.F32:
            return scatter_add_last(x, self.input(x.shape, DType.I32, count + bad), count)
        lines = (*x.shape[:-1], count if x.shape[-1] else 0)
        return gather_last(x, self.input(lines, DType.I32, x.shape[-1] + bad))

    def repeat(self) -> Tensor | None:
        """A scan whose step is grown like the graph around it; its results have one dtype, mostly f32."""
        if self.builder.open is not None and self.random.random() < 0.7:
            return None
        dtype = self.random.choice((DType.F32, DType.F32, DType.F32, DType.I32))
        length = self.random.choice((1, 2, 3, 5, 9))
        shapes = [self.shape(self.random.randint(0, 2)) for _ in range(self.random.randint(1, 2))]
        sequences = {f"x{i}": self.sequence(length, self.shape(self.random.randint(0, 2))) for i in range(2)}
        states = {f"s{i}": self.like(shape, dtype) for i, shape in enumerate(shapes)}
        around = self.pool

        def step(before: dict[str, Tensor], slices: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            self.pool = [*self.random.sample(around, min(2, len(around))), *before.values(), *slices.values()]
            for _ in range(self.random.randint(1, 6)):
                tensor = self.random.choice(self.moves)()
                if tensor is not None and math.prod(tensor.shape) <= SIZE_MAX:
                    self.pool.append(tensor)
            after = {name: self.next_state(x) for name, x in before.items()}
            outs = {f"y{i}": self.pick(dtype) for i in range(self.random.randint(0, 2))}
            return after, {name: x for name, x in outs.items() if length * math.prod(x.shape) <= SIZE_MAX}

        try:
            done = scan(step, states, sequences, reverse=self.random.random() < 0.3, unroll=False)
        finally:
            self.pool = around
        results = [*done.states.values(), *done.outputs.values()]
        self.pool += results[1:]
        return results[0]

    def sequence(self, length: int, shape: Shape) -> Tensor:
        fits = [t for t in self.pool if t.shape[:1] == (length,)]
        whole = (length, *shape)
        return (
            self.random.choice(fits)
            if fits
            else self.input(whole if math.prod(whole) <= SIZE_MAX else (length,), DType.F32)
        )

    def like(self, shape: Shape, dtype: DType) -> Tensor:
        fits = [t for t in self.pool if t.dtype is dtype and t.shape == shape]
        return self.random.choice(fits) if fits else self.input(shape, dtype)

    def next_state(self, before: Tensor) -> Tensor:
        """What a step makes of a state: something of its shape, or a mix with the sum of something else."""
        fits = [t for t in self.pool if t.dtype is before.dtype and t.shape == before.shape]
        if self.random.random() < 0.6:
            return self.random.choice(fits)
        other = self.pick(before.dtype)
        return self.random.choice(fits) + other.sum().broadcast_to(before.shape)

    def finish(self) -> Graph:
        outputs = {f"o{i}": t for i, t in enumerate(self.random.sample(self.pool, min(4, len(self.pool))))}
        outputs["last"] = self.pool[-1]
        floats = [t for t in self.pool if t.dtype is DType.F32]
        if floats and self.random.random() < 0.5:
            loss = self.random.choice(floats[-4:]).sum()
            wrt = [t for t in floats if t.node.op is Op.INPUT][:3]
            outputs |= {f"g{i}": g for i, g in enumerate(gradients(loss, wrt))}
        carried: dict[str, str] = {}
        for name, tensor in outputs.items():
            for source, index in ((n, i) for n, i in self.input_nodes() if n not in carried):
                node = self.builder.nodes[index]
                if (node.shape, node.dtype) == (tensor.shape, tensor.dtype) and name not in carried.values():
                    carried[source] = name
                    break
        checked = [n for n, t in outputs.items() if t.dtype is DType.F32 and self.random.random() < 0.1]
        return self.builder.finish(outputs, carried=carried, checked=checked)

    def input_nodes(self) -> list[tuple[str, int]]:
        return [(n.attributes.name, i) for i, n in enumerate(self.builder.nodes) if n.op is Op.INPUT]


def outcome(backend: Backend, graph: Graph, values: dict[str, Array]) -> list[dict[str, bytes] | str]:
    """What three runs give: canonical bytes of all outputs and inputs, or "invalid"."""
    program = backend.compile(graph)
    for name, array in values.items():
        program.write(name, array)
    found: list[dict[str, bytes] | str] = []
    for _ in range(3):
        try:
            program.run()
        except StepInvalid:
            return [*found, "invalid"]
        found.append({name: canonical_bytes(program.read(name)) for name in (*graph.outputs, *graph.inputs)})
    return found


def differences(seeds: range, steps: int, backends: list[Backend]) -> tuple[list[str], Counter[str]]:
    """Return the seeds whose graph a backend computes differently, and how often each operation occurred."""
    reference = ReferenceBackend()
    left_out = frozenset[str]().union(*(MISSING.get(backend.name, frozenset()) for backend in backends))
    wrong: list[str] = []
    seen: Counter[str] = Counter()
    for seed in seeds:
        grower = Grower(seed, seed % 2 == 0, left_out)
        try:
            graph = grower.grow(steps)
        except LocalError:
            seen["refused"] += 1
            continue
        if not left_out.isdisjoint(map(feature, graph.nodes)):
            seen["left out"] += 1
            continue
        seen.update(node.op.value for node in graph.nodes)
        expected = outcome(reference, graph, grower.values)
        if Op.SCAN in {node.op for node in graph.nodes} and executions(graph) < WRITTEN_OUT_MAX:
            found = outcome(reference, unrolled(graph), grower.values)
            wrong += [f"seed {seed}, written out, {line}" for line in differing_steps(expected, found)][:1]
        seen["invalid" if expected[-1] == "invalid" else "valid"] += 1
        for number, backend in enumerate(backends):
            found = outcome(backend, graph, grower.values)
            wrong += [f"seed {seed}, backend {number}, {line}" for line in differing_steps(expected, found)][:1]
    return wrong, seen


def operations_of(backends: list[Backend]) -> list[str]:
    """Return the operations that every one of `backends` compiles."""
    return [op.value for op in Op if not any(op.value in MISSING.get(b.name, ()) for b in backends)]


def differing_steps(expected: list[dict[str, bytes] | str], found: list[dict[str, bytes] | str]) -> list[str]:
    """Return a line for each step whose outcome differs."""
    lines = []
    for step, (a, b) in enumerate(zip(expected, found, strict=False)):
        if a != b:
            one_is_invalid = isinstance(a, str) or isinstance(b, str)
            names = "invalid in one" if one_is_invalid else [n for n in a if a[n] != b[n]]
            lines.append(f"step {step}: {names}")
    return lines
