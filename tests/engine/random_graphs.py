"""Random graphs and their inputs, and how a backend's bits compare with the definition's on them."""

import math
from collections import Counter
from random import Random

import numpy as np

from synaptic_mesh.base.arrays import Array, canonical_bytes
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.autodiff import gradients
from synaptic_mesh.engine.backend import Backend, StepInvalid
from synaptic_mesh.engine.ir import DType, Graph, Op, Shape
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.support import MISSING
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

SIZE_MAX = 6000
EXTENTS = (0, 1, 1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 31, 33, 65)
SPECIAL = np.array(
    [0, 0x80000000, 1, 0x80000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x3F800000],
    np.uint32,
).view(np.float32)
UNARY = (abs, exp, log, tanh, sigmoid, sqrt, floor, stop_gradient, lambda x: -x)
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

    def __init__(self, seed: int, wild: bool) -> None:
        self.random = Random(seed)
        self.numpy = np.random.default_rng(seed)
        self.wild = wild
        self.builder = Builder()
        self.values: dict[str, Array] = {}
        self.pool: list[Tensor] = []

    def grow(self, steps: int) -> Graph:
        for _ in range(self.random.randint(1, 3)):
            self.input(self.shape(), self.random.choice((DType.F32, DType.F32, DType.F32, DType.I32, DType.U32)))
        moves = (self.unary, self.binary, self.binary, self.move, self.move, self.reduce, self.contract, self.index)
        while len(self.pool) < steps:
            tensor = self.random.choice(moves)()
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
        if a.dtype is DType.F32 and self.random.random() < 0.2:
            return a / other
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

    def contract(self) -> Tensor:
        a = self.pick(DType.F32, rank=2)
        left, right = self.random.random() < 0.4, self.random.random() < 0.4
        k = a.shape[0] if left else a.shape[1]
        fits = [t for t in self.pool if t.dtype is DType.F32 and len(t.shape) == 2 and t.shape[1 if right else 0] == k]
        n = self.random.choice(EXTENTS)
        b = self.random.choice(fits) if fits else self.input((n, k) if right else (k, n), DType.F32)
        return matmul(a, b, transpose_left=left, transpose_right=right)

    def index(self) -> Tensor:
        x = self.pick(DType.F32, rank=2)
        count = self.random.choice(EXTENTS[1:])
        if self.random.random() < 0.3:
            classes = self.random.choice((1, 2, 3, 10, 33))
            return one_hot(self.input(self.shape(self.random.randint(0, 2)), DType.I32, classes), classes)
        bad = 0 if self.random.random() < 0.9 else 2
        if x.shape[0] and self.random.random() < 0.5:
            return gather(x, self.input((count,), DType.I32, x.shape[0] + bad))
        rows = self.random.choice((1, 3, 9))
        return scatter_add(x, self.input((x.shape[0],), DType.I32, rows + bad), rows)

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
    wrong: list[str] = []
    seen: Counter[str] = Counter()
    for seed in seeds:
        grower = Grower(seed, wild=seed % 2 == 0)
        try:
            graph = grower.grow(steps)
        except LocalError:
            seen["refused"] += 1
            continue
        seen.update(node.op.value for node in graph.nodes)
        expected = outcome(reference, graph, grower.values)
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
