"""The outer step: accepted deltas become one aggregate, the aggregate moves the shared parameters.

Both are one engine graph, so their bits are defined where all others are, and every exact backend reaches them. With n
deltas x_i of d values as rows, ascending by worker id (docs/protocol/learning.md says the same in scalar code):

    mean            g = (sum_i x_i) / n
    centered-clip   tau = factor * median_i ||x_i||        the lower of two middle norms
                    v = 0;  repeat:  s_i = 1 if ||x_i - v|| <= tau else tau / ||x_i - v||
                                     v = v + (sum_i s_i (x_i - v)) / n          g = v
    diloco          m = mu m + g;  theta = theta - lr (g + mu m)                Nesterov; arXiv:2311.08105

A delta whose norm overflows has s_i = 0 and adds nothing; its distances stay finite, because |v| is at most tau times
the iterations and a finite tau is below 2^66. Centered clipping: Karimireddy et al. 2021, arXiv:2012.10333: one false
delta moves v by at most tau / n in an iteration, however long it is. A next state that is not finite makes the outer
step invalid: nobody can vote for it, and the ledger starts another attempt.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.collab.state import State
from synaptic_mesh.collab.tensors import tensor_bytes
from synaptic_mesh.engine.backend import Program
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.trace import Tensor, f32, sqrt, trace, where
from synaptic_mesh.ledger.manifest import Manifest, OuterRule

F32_BYTES = 4


def apply_outer_step(program: Program, manifest: Manifest, state: State, deltas: Sequence[Mapping[str, F32]]) -> State:
    """Return the state after the outer step.

    program: compiled `outer_step_graph` for len(deltas) updates. deltas: ascending by worker id, each by parameter
    name.
    Raises StepInvalid when the next state is not finite.
    """
    program.write("theta", _flatten(manifest, state.parameters))
    program.write("momentum", _flatten(manifest, state.momentum))
    program.write("deltas", np.stack([_flatten(manifest, delta) for delta in deltas]))
    program.run()
    parameters = _unflatten(manifest, program.read("next_theta"))
    return State(state.step + 1, parameters, _unflatten(manifest, program.read("next_momentum")))


def outer_step_graph(outer: OuterRule, updates: int, size: int) -> Graph:
    """Return the graph of one outer step over `updates` deltas of `size` values each.

    Inputs theta (d,), momentum (d,), deltas (n, d); outputs next_theta, next_momentum, both checked.
    """
    if updates < 1:
        raise LocalError("an outer step needs at least one accepted update")

    def outer_step(theta: Tensor, momentum: Tensor, deltas: Tensor) -> dict[str, Tensor]:
        aggregate = _mean(deltas) if outer.aggregation == "mean" else _centered_clip(deltas, outer)
        mu = theta.builder.splat(outer.momentum_bits, theta.shape)
        rate = theta.builder.splat(outer.learning_rate_bits, theta.shape)
        moved = mu * momentum + aggregate
        return {"next_theta": theta - rate * (aggregate + mu * moved), "next_momentum": moved}

    inputs = {"theta": f32(size), "momentum": f32(size), "deltas": f32(updates, size)}
    return trace(outer_step, inputs, checked=("next_momentum", "next_theta"))


def parameter_count(manifest: Manifest) -> int:
    """Return d: how many values the parameters hold together."""
    return sum(tensor_bytes(spec) for spec in manifest.parameters) // F32_BYTES


def _mean(deltas: Tensor) -> Tensor:
    return deltas.sum(axis=0) / float(deltas.shape[0])  # (d,)


def _centered_clip(deltas: Tensor, outer: OuterRule) -> Tensor:
    size = deltas.shape[1]
    builder = deltas.builder
    tau = builder.splat(outer.clip_factor_bits) * _lower_median(_norms(deltas))  # ()
    center = builder.constant(0.0, (size,))
    for _ in range(outer.clip_iterations):
        away = deltas - center  # (n, d)
        norms = _norms(away)  # (n,)
        scale = where(norms <= tau, 1.0, tau / norms)  # (n,)
        center = center + _mean(scale.reshape(scale.shape[0], 1) * away)
    return center


def _norms(rows: Tensor) -> Tensor:
    return sqrt((rows * rows).sum(axis=1))  # (n,)


def _lower_median(norms: Tensor) -> Tensor:
    """The element of rank (n - 1) // 2 by (value, index), found by counting: only comparisons and small integers."""
    count = norms.shape[0]
    mine, other = norms.reshape(count, 1), norms.reshape(1, count)
    earlier = norms.builder.array(np.tril(np.ones((count, count), np.float32), -1))  # 1 where other's index is lower
    rank = where(other < mine, 1.0, where(other == mine, earlier, 0.0)).sum(axis=1)  # (n,)
    return where(rank == float((count - 1) // 2), norms, 0.0).sum()


def _flatten(manifest: Manifest, tensors: Mapping[str, F32]) -> F32:
    return np.concatenate([tensors[spec.name].reshape(-1) for spec in manifest.parameters])


def _unflatten(manifest: Manifest, flat: F32) -> dict[str, F32]:
    tensors: dict[str, F32] = {}
    at = 0
    for spec in manifest.parameters:
        size = tensor_bytes(spec) // F32_BYTES
        tensors[spec.name] = flat[at : at + size].reshape(spec.shape)
        at += size
    return tensors
