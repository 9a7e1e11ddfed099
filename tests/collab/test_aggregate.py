"""The outer step against the rule written out one number at a time, and against plain float64 arithmetic."""

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.collab.aggregate import outer_step_graph
from synaptic_mesh.engine.backend import StepInvalid
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.ledger.manifest import OuterRule

F = np.float32


def bits(value):
    return int(F(value).view(np.uint32))


def rule(aggregation="centered-clip", iterations=3):
    return OuterRule("diloco", bits(0.7), bits(0.9), aggregation, bits(1.5), iterations)


def outer_step(outer, deltas, theta=None, momentum=None, backend=None):
    size = deltas.shape[1]
    theta = np.zeros(size, F) if theta is None else theta
    momentum = np.zeros(size, F) if momentum is None else momentum
    program = (backend or ReferenceBackend()).compile(outer_step_graph(outer, len(deltas), size))
    return program({"theta": theta, "momentum": momentum, "deltas": deltas})


def scalar_sum_last(values):
    """Sixteen interleaved partial sums, then the tree 8-4-2-1 (semantics rule 3)."""
    partials = [F(0)] * 16
    for i, value in enumerate(values):
        partials[i % 16] = F(partials[i % 16] + value)
    for half in (8, 4, 2, 1):
        partials = [F(partials[i] + partials[i + half]) for i in range(half)]
    return partials[0]


def scalar_centered_clip(deltas, factor, iterations):
    """docs/protocol/learning.md in f32 scalars."""
    count, size = deltas.shape
    norms = [np.sqrt(scalar_sum_last([F(x * x) for x in row])) for row in deltas]
    tau = F(F(factor) * sorted(norms)[(count - 1) // 2])
    center = [F(0)] * size
    for _ in range(iterations):
        away = [[F(x - c) for x, c in zip(row, center, strict=True)] for row in deltas]
        lengths = [np.sqrt(scalar_sum_last([F(x * x) for x in row])) for row in away]
        scales = [F(1) if length <= tau else F(tau / length) for length in lengths]
        kept = [[F(s * x) for x in row] for s, row in zip(scales, away, strict=True)]
        moves = [[row[j] for row in kept] for j in range(size)]
        center = [F(c + F(sum_ascending(move) / F(count))) for c, move in zip(center, moves, strict=True)]
    return np.array(center, F)


def sum_ascending(values):
    """Sum over an axis that is not the last: from +0, ascending (semantics, section 5)."""
    total = F(0)
    for value in values:
        total = F(total + value)
    return total


@pytest.fixture
def deltas():
    random = np.random.default_rng(3)
    return (random.normal(size=(8, 37)) * 0.01).astype(F)


def test_centered_clip_is_the_written_rule_to_the_bit(deltas):
    deltas[2] *= F(1e4)
    found = outer_step(rule(), deltas)
    aggregate = scalar_centered_clip(deltas, 1.5, 3)
    assert np.array_equal(found["next_momentum"].view(np.uint32), aggregate.view(np.uint32))


def test_nesterov_outer_step_to_the_bit(deltas):
    random = np.random.default_rng(4)
    theta, momentum = random.normal(size=(2, 37)).astype(F)
    found = outer_step(rule("mean"), deltas, theta, momentum)
    g = np.array([F(sum_ascending(column) / F(8)) for column in deltas.T], F)
    moved = F(0.9) * momentum + g
    assert np.array_equal(found["next_momentum"], moved)
    assert np.array_equal(found["next_theta"], theta - F(0.7) * (g + F(0.9) * moved))


def test_one_huge_update_among_eight_is_bounded(deltas):
    honest = np.linalg.norm(outer_step(rule(), deltas)["next_momentum"])
    median = np.median(np.linalg.norm(deltas, axis=1))
    deltas[5] *= F(1e4)
    clipped = np.linalg.norm(outer_step(rule(), deltas)["next_momentum"])
    unclipped = np.linalg.norm(outer_step(rule("mean"), deltas)["next_momentum"])
    assert clipped < honest + 3 * 1.5 * median / 8 * 1.5  # at most tau / n for each of three iterations
    assert unclipped > 100 * clipped


def test_median_is_the_lower_middle():
    """Four norms 1, 2, 4, 8: tau = 1.5 * 2, so the longer two are clipped to 3 in the first iteration."""
    deltas = np.diag([1, 2, 4, 8]).astype(F)
    found = outer_step(rule(iterations=1), deltas)["next_momentum"]
    assert found.tolist() == [0.25, 0.5, 0.75, 0.75]


def test_equal_norms_have_a_median():
    deltas = np.array([[3, 4]] * 5, F)
    assert outer_step(rule(iterations=1), deltas)["next_momentum"].tolist() == [3.0, 4.0]


def test_one_update_alone_is_its_own_aggregate():
    deltas = np.array([[1.0, -2.0, 0.5]], F)
    assert np.array_equal(outer_step(rule(), deltas)["next_momentum"], deltas[0])


def test_no_movement_at_all():
    assert not outer_step(rule(), np.zeros((3, 5), F))["next_momentum"].any()


def test_a_delta_whose_norm_overflows_adds_nothing(deltas):
    deltas[1] = F(3e38)
    found = outer_step(rule(iterations=1), deltas)["next_momentum"]
    deltas[1] = 0
    median = sorted(np.linalg.norm(deltas, axis=1))[4]
    assert np.isfinite(found).all()
    assert np.linalg.norm(found) < median


def test_a_next_state_that_is_not_finite_is_invalid(deltas):
    deltas[:] = F(3e38)
    with pytest.raises(StepInvalid):
        outer_step(rule("mean"), deltas)


def test_the_order_of_rows_is_part_of_the_rule():
    """Callers sort by worker id; the graph does not."""
    random = np.random.default_rng(5)
    deltas = random.normal(size=(7, 64)).astype(F)
    forward = outer_step(rule("mean"), deltas)["next_momentum"]
    shuffled = outer_step(rule("mean"), deltas[::-1])["next_momentum"]
    assert np.allclose(forward, shuffled, atol=1e-6)
    assert not np.array_equal(forward, shuffled)


def test_no_updates_is_refused():
    with pytest.raises(LocalError, match="at least one"):
        outer_step_graph(rule(), 0, 4)
