"""The gradient of SCAN: another SCAN, which goes through the steps from the last to the first.

Its states are the gradients of the states. Its body is the way back through the forward body, differentiated like any
graph; a tensor of the forward step that it needs is kept of every step as one more output of the forward SCAN. Views,
comparisons and integers are computed again instead.

 1. The gradient of a state that a step leaves is what the following step gives it (after the last step: what the uses
    of the final state give), plus the gradient of the output that is the same tensor.
 2. The gradient of a sequence is an output of the way back, position by position.
 3. A fixed matrix whose only uses in the body are as the right operand of matrix products of one form, with a left
    operand stored (m, k) that the steps compute, gets one product over the rows of all steps: positions ascending,
    within a position in the order of use. For a scan that is not reversed this is what the written-out graph gives.
 4. Every other fixed tensor: total = +0, then total = total + contribution, from the last step to the first. The
    written-out graph adds the contributions from the first step to the last, beginning with the first itself.

Because the state after the last step begins at +0 where nothing uses it, a gradient of -0 can be +0 here.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from synaptic_mesh.engine.body_builder import add_scan, part_of, scan_results
from synaptic_mesh.engine.contributions import Contribution, total_gradient
from synaptic_mesh.engine.functions.movement import concat
from synaptic_mesh.engine.geometry import ScanGeometry, Stride
from synaptic_mesh.engine.ir import Attributes, DType, Graph, Node, Op
from synaptic_mesh.engine.scan_body import (
    FIXED,
    OUT,
    SLICE,
    STATE,
    body_bytes,
    name_of,
    operand_names,
    parts_of,
    scan_body,
    scan_parts,
)
from synaptic_mesh.engine.trace import Builder, Spec, Tensor, matmul
from synaptic_mesh.engine.verify import verify_node

BackThrough = Callable[
    [Builder, Sequence[tuple[Tensor, Tensor]], set[int], frozenset[int]],
    tuple[dict[int, Tensor], dict[int, list[Contribution]]],
]
"""`autodiff.back_through`."""
Depending = Callable[[Builder, int, set[int]], set[int]]
"""`autodiff.depending`."""
RECOMPUTED = frozenset({Op.BROADCAST, Op.RESHAPE, Op.TRANSPOSE})
"""Operations that cost nothing, so the way back repeats them instead of keeping their results."""


def scan_contributions(
    builder: Builder,
    index: int,
    uses: list[Contribution],
    active: set[int],
    depending: Depending,
    back_through: BackThrough,
) -> list[tuple[int, Contribution]]:
    """Return what SCAN node `index` contributes to its active operands, given the uses of its results."""
    states, outs = _part_gradients(builder, index, uses)
    step = _StepBack(builder, index, active, depending)
    if not step.go(states, outs, back_through):
        return []
    return _Loop(builder, index, step).contributions(states, outs)


def _part_gradients(
    builder: Builder, index: int, uses: list[Contribution]
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Return the gradient of every result, None where nothing uses it, added up in the order of use."""
    groups = []
    for parts in scan_parts(builder.nodes[index]):
        found: list[Tensor | None] = []
        for part in parts:
            total: Tensor | None = None
            for use in sorted(uses, key=lambda use: use[:2]):
                node = builder.nodes[use.user] if use.build is not None else None
                if node is not None and (Stride.of(node).starts[0], node.size) == (part.start, part.size):
                    term = use.gradient.reshape(*part.shape)
                elif node is not None and node.size and _misses(node, part.start, part.size):
                    continue
                else:
                    whole = use.gradient if use.build is None else use.build()
                    term = part_of(whole, part)
                total = term if total is None else total + term
            found.append(total)
        groups.append(found)
    return groups[0], groups[1]


def _misses(cut: Node, start: int, size: int) -> bool:
    """True when a SLICE of the packed tensor has no element of the part."""
    (first,), (step,) = Stride.of(cut)
    ends = sorted((first, first + (cut.size - 1) * step))
    return ends[1] < start or ends[0] >= start + size


class Product(NamedTuple):
    """Rule 3: the left operands and gradients, nodes of the step, of the products with one fixed matrix."""

    lefts: list[int]
    gradients: list[int]
    transpose_right: bool


class _StepBack:
    """The way back through one step: the body's nodes, then those of their gradients."""

    def __init__(self, builder: Builder, index: int, active: set[int], depending: Depending) -> None:
        node = builder.nodes[index]
        self.body, self.geometry = scan_body(node), ScanGeometry.of(node)
        self.count = len(self.body.nodes)
        """Nodes below are the forward step's."""
        self.inner = Builder()
        self.inner.nodes = list(self.body.nodes)
        if index in builder.bodies:
            self.inner.stopped = set(builder.bodies[index].stopped)
            self.inner.bodies = dict(builder.bodies[index].bodies)
        names = operand_names(self.geometry, len(node.inputs))
        self.wanted = {
            self.body.inputs[name]
            for name, operand in zip(names, node.inputs, strict=True)
            if operand in active and builder.nodes[operand].dtype is DType.F32
        }
        self.active = depending(self.inner, self.count - 1, self.wanted)
        while more := {at for at, after in self._states() if after in self.active} - self.wanted:
            self.wanted |= more
            self.active = depending(self.inner, self.count - 1, self.wanted)
        self.states: list[tuple[int, int, int]] = []
        """(number, node of its gradient after the step, node of its gradient before)."""
        self.outs: dict[int, int] = {}
        """Node of the gradient of each output that has one."""
        self.sequences: dict[int, int] = {}
        self.sums: dict[int, tuple[int, int]] = {}
        """Of fixed inputs: (node of the sum so far, node of the sum)."""
        self.products: dict[int, Product] = {}

    def _states(self) -> list[tuple[int, int]]:
        names = [name_of(STATE, number) for number in range(self.geometry.states)]
        return [(self.body.inputs[name], self.body.outputs[name]) for name in names]

    def go(self, states: list[Tensor | None], outs: list[Tensor | None], back_through: BackThrough) -> bool:
        """Differentiate the step; false when no gradient comes out of it."""
        inner = self.inner
        seeds: list[tuple[Tensor, Tensor]] = []
        carried = [(number, at, after) for number, (at, after) in enumerate(self._states()) if at in self.wanted]
        found: dict[int, int] = {}
        for number, at, after in carried:
            gradient = inner.input(f"gradient.state.{number}", Spec(inner.nodes[at].shape))
            found[number] = gradient.index
            if after in self.active:
                seeds.append((Tensor(inner, after), gradient))
        for number, given in enumerate(outs):
            node = self.body.outputs[name_of(OUT, number)]
            if given is not None and node in self.active:
                gradient = inner.input(f"gradient.out.{number}", Spec(inner.nodes[node].shape))
                self.outs[number] = gradient.index
                seeds.append((Tensor(inner, node), gradient))
        if not seeds or all(given is None for given in (*states, *outs)):
            return False
        fixed = {name_of(FIXED, number): number for number in range(self._fixed_count())}
        kept = {self.body.inputs[name]: number for name, number in fixed.items()}
        total, uses = back_through(inner, seeds, self.active, frozenset(self.wanted & kept.keys()))
        for number, at, _ in carried:
            before = total[at] if at in total else inner.constant(0.0, inner.nodes[at].shape)
            self.states.append((number, found[number], before.index))
        for number in range(self.geometry.sequences):
            at = self.body.inputs[name_of(SLICE, number)]
            if at in self.wanted and at in total:
                self.sequences[number] = total[at].index
        for at in sorted(uses.keys() & kept.keys(), key=lambda at: kept[at]):
            self._place_fixed(kept[at], at, uses[at])
        return True

    def _fixed_count(self) -> int:
        return len(self.body.inputs) - self.geometry.states - self.geometry.sequences

    def _place_fixed(self, number: int, at: int, uses: list[Contribution]) -> None:
        product = self._product(uses)
        if product is not None:
            self.products[number] = product
            return
        so_far = self.inner.input(f"gradient.fixed.{number}", Spec(self.inner.nodes[at].shape))
        self.sums[number] = (so_far.index, (so_far + total_gradient(Tensor(self.inner, at), uses)).index)

    def _product(self, uses: list[Contribution]) -> Product | None:
        ordered = sorted(uses, key=lambda use: use[:2])
        users = [self.inner.nodes[use.user] if use.build is not None else None for use in ordered]
        lefts, flags = [], set()
        for user in users:
            if user is None or user.op is not Op.MATMUL or user.attributes.transpose_left:
                return None
            lefts.append(user.inputs[0])
            flags.add(user.attributes.transpose_right)
        if len(flags) != 1 or not self.moving().issuperset(lefts):
            return None
        return Product(lefts, [use.gradient.index for use in ordered], flags.pop())

    def moving(self) -> set[int]:
        """Return the forward nodes that differ from step to step."""
        found: set[int] = set()
        for at, node in enumerate(self.inner.nodes[: self.count]):
            is_fixed = node.op is Op.INPUT and node.attributes.name.startswith(FIXED)
            if (node.op is Op.INPUT and not is_fixed) or any(i in found for i in node.inputs):
                found.add(at)
        return found


class _Loop:
    """Makes the step back a body, and the SCANs on both ways."""

    def __init__(self, builder: Builder, index: int, step: _StepBack) -> None:
        self.builder = builder
        self.index = index
        self.step = step
        self.nodes = step.inner.nodes
        self.moving = step.moving()
        self.kept: list[int] = []
        """Forward nodes that the forward SCAN must keep of every step, beyond its outputs."""
        self.input_names = {at: name for name, at in step.body.inputs.items()}

    def contributions(self, states: list[Tensor | None], outs: list[Tensor | None]) -> list[tuple[int, Contribution]]:
        """Add both SCANs and return what they give the operands."""
        step, builder = self.step, self.builder
        results = [before for _, _, before in step.states] + [after for _, after in step.sums.values()]
        stacks = [*step.sequences.values()]
        stacks += [gradient for product in step.products.values() for gradient in product.gradients]
        stacks = list(dict.fromkeys(stacks))
        needed, leaves = self._needed([*results, *stacks])
        lefts = {left for product in step.products.values() for left in product.lefts}
        self.kept = [at for at in sorted((set(leaves) | lefts) - self._given()) if at < step.count]
        packed = self._extend()
        initial = [self._or_zeros(states[number], at) for number, at, _ in step.states]
        initial += [self._or_zeros(None, so_far) for so_far, _ in step.sums.values()]
        carried = [at for _, at, _ in step.states] + [so_far for so_far, _ in step.sums.values()]
        cut = [at for at in leaves if not self._is_fixed(at)]
        given = {at: outs[number] for number, at in step.outs.items()}
        sequences = [self._stack(packed, at, given.get(at)) for at in cut]
        fixed = [at for at in leaves if self._is_fixed(at)]
        names = {at: name_of(STATE, i) for i, at in enumerate(carried)}
        names |= {at: name_of(SLICE, i) for i, at in enumerate(cut)}
        names |= {at: name_of(FIXED, i) for i, at in enumerate(fixed)}
        graph = _assemble(self.nodes, needed, names, results, stacks)
        operands = (initial, sequences, [self._operand(at) for at in fixed])
        back = add_scan(builder, graph, step.geometry.length, operands, not step.geometry.reverse)
        last, stacked = scan_results(back)
        return self._hand_out(packed, last, dict(zip(stacks, stacked, strict=True)))

    def _needed(self, targets: list[int]) -> tuple[list[int], list[int]]:
        """Return, ascending, the nodes of the way back, and those of them that come from outside."""
        carried = {at for _, at, _ in self.step.states} | {so_far for so_far, _ in self.step.sums.values()}
        needed, leaves = {*targets, *carried}, set()
        for at in range(len(self.nodes) - 1, -1, -1):
            if at in needed and at not in carried:
                if self._comes_from_outside(at):
                    leaves.add(at)
                else:
                    needed.update(self.nodes[at].inputs)
        return sorted(needed), sorted(leaves)

    def _comes_from_outside(self, at: int) -> bool:
        node = self.nodes[at]
        if node.op is Op.INPUT:
            return True
        if at >= self.step.count or at not in self.moving or node.dtype is not DType.F32:
            return False
        source = self.nodes[node.inputs[0]]
        return not (node.op in RECOMPUTED or (node.op is Op.SLICE and source.op is Op.INPUT))

    def _given(self) -> set[int]:
        """Forward nodes whose values of all steps exist outside, or are the same in all."""
        outputs = {index for name, index in self.step.body.outputs.items() if name.startswith(OUT)}
        return outputs | {at for at, name in self.input_names.items() if not name.startswith(STATE)}

    def _is_fixed(self, at: int) -> bool:
        return at < self.step.count and self.input_names.get(at, "").startswith(FIXED)

    def _operand(self, at: int) -> Tensor:
        node = self.builder.nodes[self.index]
        names = operand_names(self.step.geometry, len(node.inputs))
        return Tensor(self.builder, node.inputs[names.index(self.input_names[at])])

    def _or_zeros(self, given: Tensor | None, at: int) -> Tensor:
        return self.builder.constant(0.0, self.nodes[at].shape) if given is None else given

    def _extend(self) -> Tensor:
        """Let the forward SCAN keep what the way back needs; return its tensor. Its results so far stay where they are,
        so slices of it need not change; where something else uses it, there is a second SCAN."""
        step, builder = self.step, self.builder
        old = builder.nodes[self.index]
        outs = len(step.body.outputs) - step.geometry.states
        more = {name_of(OUT, outs + i): at for i, at in enumerate(self.kept)}
        nodes = tuple(self.nodes[: step.count])
        if not more and nodes == step.body.nodes:
            return Tensor(builder, self.index)
        body = msgspec.structs.replace(step.body, nodes=nodes, outputs=step.body.outputs | more)
        states, stacks = parts_of(body, step.geometry)
        size = sum(part.size for part in (*states, *stacks))
        attributes = Attributes(axes=step.geometry.axes, bits=body_bytes(body))
        node = Node(Op.SCAN, old.inputs, (size,), old.dtype, attributes)
        if any(self.index in user.inputs and user.op is not Op.SLICE for user in builder.nodes):
            return builder.add(Op.SCAN, [Tensor(builder, i) for i in old.inputs], (size,), old.dtype, attributes)
        verify_node(node, self.index, builder.nodes)
        builder.nodes[self.index] = node
        return Tensor(builder, self.index)

    def _stack(self, packed: Tensor, at: int, given: Tensor | None = None) -> Tensor:
        """Return the values of a node in all steps, by position."""
        if given is not None:
            return given
        if self.input_names.get(at, "").startswith(SLICE):
            return self._operand(at)
        body = scan_body(packed.node)
        number = next(
            i for i in range(len(body.outputs) - self.step.geometry.states) if body.outputs[name_of(OUT, i)] == at
        )
        return part_of(packed, scan_parts(packed.node)[1][number])

    def _hand_out(
        self, packed: Tensor, last: list[Tensor], stacked: dict[int, Tensor]
    ) -> list[tuple[int, Contribution]]:
        step, node = self.step, self.builder.nodes[self.index]
        found: dict[int, Tensor] = {}
        for (number, _, _), gradient in zip(step.states, last, strict=False):
            found[number] = gradient
        for number, at in step.sequences.items():
            found[step.geometry.states + number] = stacked[at]
        first = step.geometry.states + step.geometry.sequences
        for number, gradient in zip(step.sums, last[len(step.states) :], strict=True):
            found[first + number] = gradient
        for number, product in step.products.items():
            found[first + number] = self._multiply(packed, product, stacked)
        return [
            (node.inputs[position], Contribution(self.index, position, gradient))
            for position, gradient in sorted(found.items(), key=lambda pair: pair[0])
        ]

    def _multiply(self, packed: Tensor, product: Product, stacked: dict[int, Tensor]) -> Tensor:
        left = concat([self._stack(packed, at) for at in product.lefts], 1)  # (T, rows, k)
        gradient = concat([stacked[at] for at in product.gradients], 1)  # (T, rows, n)
        rows = left.shape[0] * left.shape[1]
        left, gradient = (x.reshape(rows, x.shape[2]) for x in (left, gradient))
        if product.transpose_right:
            return matmul(gradient, left, transpose_left=True)
        return matmul(left, gradient, transpose_left=True)


def _assemble(nodes: list[Node], needed: list[int], names: dict[int, str], states: list[int], outs: list[int]) -> Graph:
    """Return the body of the `needed` nodes, those in `names` as inputs."""
    place = {old: new for new, old in enumerate(needed)}
    made = []
    for old in needed:
        node = nodes[old]
        if old in names:
            made.append(Node(Op.INPUT, (), node.shape, node.dtype, Attributes(name=names[old])))
        else:
            made.append(msgspec.structs.replace(node, inputs=tuple(place[i] for i in node.inputs)))
    results = {name_of(STATE, i): place[at] for i, at in enumerate(states)}
    kept = {name_of(OUT, i): place[at] for i, at in enumerate(outs)}
    inputs = {name: place[at] for at, name in names.items()}
    return Graph(tuple(made), inputs, results | kept, {name: name for name in results})
