"""Who gets room and turns when everybody wants everything."""

from random import Random

import pytest

from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.transport import fair_queue
from synaptic_mesh.transport.fair_queue import (
    FIRST_COST_MAX,
    FIRST_TURN_COST,
    FRAME_COST,
    OTHERS_COST_MAX,
    OTHERS_TURN_COST,
    QUANTUM,
    FairQueue,
    frame_cost,
)
from synaptic_mesh.transport.links import Frame

A, B, C, D = (PeerId(bytes([name]) * 32) for name in b"ABCD")
SMALL: Frame = (b"", b"")
LARGE: Frame = (b"", bytes(1 << 20))


def fill(queue: FairQueue, peer: PeerId, frame: Frame = SMALL) -> int:
    """Put frames of one peer until one is dropped; return how many were taken."""
    count = 0
    while queue.put(peer, frame):
        count += 1
    return count


def turns(queue: FairQueue, count: int) -> list[PeerId]:
    return [peer for _ in range(count) for peer, _ in queue.take()]


def test_frames_of_one_peer_stay_in_order() -> None:
    queue = FairQueue()
    frames = [(b"", bytes(size)) for size in (0, 1 << 20, 5, 70_000, 0)]
    for frame in frames:
        assert queue.put(A, frame)
    taken: list[tuple[PeerId, Frame]] = []
    while queue:
        taken += queue.take()
    assert taken == [(A, frame) for frame in frames]
    assert queue.take() == []


def test_one_peer_fills_half_and_as_much_is_left_for_the_next() -> None:
    queue = FairQueue()
    assert fill(queue, A) == OTHERS_COST_MAX // FRAME_COST // 2
    assert fill(queue, B) == OTHERS_COST_MAX // FRAME_COST // 4
    assert fill(queue, C) == OTHERS_COST_MAX // FRAME_COST // 8
    assert queue.put(D, SMALL)


def test_all_peers_together_stay_within_the_bounds() -> None:
    random, queue, waiting = Random(1), FairQueue(), 0
    for _ in range(20_000):
        frame = (b"", bytes(random.choice([0, 100, 10_000, 1 << 20])))
        if queue.put(PeerId(random.randbytes(32)), frame):
            waiting += frame_cost(frame)
    assert OTHERS_COST_MAX - frame_cost(LARGE) < waiting <= OTHERS_COST_MAX
    assert FIRST_COST_MAX + OTHERS_COST_MAX == 64 << 20


def test_strangers_take_no_room_of_validators() -> None:
    queue = FairQueue({A})
    for number in range(5_000):
        queue.put(PeerId(number.to_bytes(32, "big")), SMALL)
    assert fill(queue, A) == FIRST_COST_MAX // FRAME_COST // 2


@pytest.mark.parametrize("flood", [SMALL, LARGE])
def test_a_flood_delays_another_peer_by_less_than_a_turn(flood: Frame) -> None:
    queue = FairQueue()
    fill(queue, A, flood)
    queue.put(B, SMALL)
    ahead = turns(queue, 1).index(B)
    assert ahead * frame_cost(flood) <= QUANTUM


def test_busy_peers_get_equal_shares_whatever_sizes_they_choose() -> None:
    queue = FairQueue({A, B})
    fill(queue, A, SMALL)
    fill(queue, B, LARGE)
    taken: dict[PeerId, int] = {A: 0, B: 0}
    for _ in range(60):
        for peer, frame in queue.take():
            taken[peer] += frame_cost(frame)
    assert abs(taken[A] - taken[B]) <= frame_cost(LARGE) + QUANTUM
    assert sum(taken.values()) >= 60 * FIRST_TURN_COST


def test_validators_and_the_others_have_their_own_share_of_a_turn() -> None:
    queue = FairQueue({A})
    fill(queue, A)
    for stranger in (B, C, D):
        fill(queue, stranger)
    first = turns(queue, 1)
    assert first.count(A) == FIRST_TURN_COST // FRAME_COST
    assert len(first) - first.count(A) == OTHERS_TURN_COST // FRAME_COST
    assert {B, C} < set(first)
    assert D in turns(queue, 1)


def test_a_peer_that_is_served_gathers_no_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_queue, "QUANTUM", FRAME_COST)
    queue = FairQueue()
    for _ in range(100):
        queue.put(A, SMALL)
        assert turns(queue, 1) == [A]
    for _ in range(8):
        queue.put(A, SMALL)
        queue.put(B, SMALL)
    assert turns(queue, 1)[:4] == [A, B, A, B]


def test_nothing_is_left_after_clear() -> None:
    queue = FairQueue({A})
    fill(queue, A)
    fill(queue, B)
    queue.clear()
    assert len(queue) == 0
    assert queue.take() == []
    assert queue.put(A, LARGE)
