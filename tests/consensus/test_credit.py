"""What a peer may be answered with."""

import pytest

from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.consensus import credit as module
from synaptic_mesh.consensus.credit import QUESTION_BYTES, Credit

ONE, OTHER = PeerId(bytes([1]) * 32), PeerId(bytes([2]) * 32)


def test_a_bucket_empties_with_answers_and_fills_with_time() -> None:
    credit = Credit(bytes_per_s=1_000, bytes_max=10_000)
    assert credit.left(ONE, 0) == 10_000
    credit.spend(ONE, 9_000, 0)
    assert credit.left(ONE, 0) == 1_000 - QUESTION_BYTES
    assert credit.left(ONE, 2_000) == 3_000 - QUESTION_BYTES
    assert credit.left(ONE, 1_000_000) == 10_000
    assert credit.left(OTHER, 0) == 10_000


def test_an_overdrawn_bucket_waits_longer() -> None:
    credit = Credit(bytes_per_s=1_000, bytes_max=10_000)
    credit.spend(ONE, 14_744, 0)
    assert credit.left(ONE, 0) == -5_000
    assert credit.left(ONE, 5_000) == 0
    assert credit.left(ONE, 5_001) == 1


def test_questions_without_an_answer_cost_too() -> None:
    credit = Credit(bytes_per_s=1, bytes_max=10 * QUESTION_BYTES)
    asked = 0
    while credit.left(ONE, 0) > 0:
        credit.spend(ONE, 0, 0)
        asked += 1
    assert asked == 10


def test_buckets_are_bounded_and_full_ones_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUCKETS_MAX", 4)
    credit = Credit(bytes_per_s=1_000, bytes_max=10_000)
    peers = [PeerId(bytes([n]) * 32) for n in range(9)]
    credit.spend(peers[0], 15_000, 0)
    for n, peer in enumerate(peers[1:], 1):
        credit.spend(peer, 10, n * 1_000)
        assert len(credit) <= 4
    assert credit.left(peers[0], 8_000) < 10_000  # who owes most is still remembered
