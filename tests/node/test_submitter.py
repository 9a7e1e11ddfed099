"""A client's transactions through one validator: in order, within a window, again after a loss."""

from synaptic_mesh.node.messages import Outcomes, Refusal, Submission
from synaptic_mesh.node.submitter import (
    GATHER_MS_MAX,
    GATHER_SHARE,
    MESSAGE_BYTES,
    PAUSE_MS,
    RESEND_MS,
    Finished,
    Submitter,
)


def filled(count: int, window: int = 100) -> Submitter:
    submitter = Submitter(window)
    assert [submitter.push(b"%d" % number) for number in range(count)] == list(range(count))
    return submitter


def busy(first: int, count: int) -> Outcomes:
    return Outcomes(0, (), (Refusal(first, count, "later", False),))


def test_what_is_pushed_is_sent_once_and_finished_once() -> None:
    submitter = filled(3)
    assert submitter.take(0) == [Submission(0, (b"0", b"1", b"2"))]
    assert submitter.take(0) == []
    done = submitter.outcomes(Outcomes(7, ((0, 2),), (Refusal(2, 1, "too poor", True),)), 10)
    assert done == [Finished(0, 7, ""), Finished(1, 7, ""), Finished(2, 7, "too poor")]
    assert submitter.outcomes(Outcomes(7, ((0, 2),), ()), 20) == []
    assert len(submitter) == 0
    assert submitter.deadline_ms() is None


def test_only_a_window_is_on_its_way() -> None:
    submitter = filled(5, window=2)
    assert submitter.take(0) == [Submission(0, (b"0", b"1"))]
    assert submitter.take(0) == []
    submitter.outcomes(Outcomes(1, ((1, 1),), ()), 0)
    assert submitter.take(0) == [Submission(2, (b"2",))]
    assert submitter.queue_count == 2


def test_bytes_count_against_window_and_message() -> None:
    submitter = Submitter(window=100, window_bytes=2 * MESSAGE_BYTES)
    for _ in range(5):
        submitter.push(bytes(MESSAGE_BYTES * 3 // 4))
    assert [len(message.transactions) for message in submitter.take(0)] == [1, 1, 1]
    assert submitter.queue_count == 2


def test_what_is_refused_for_now_comes_again_before_everything_younger() -> None:
    submitter = filled(4, window=3)
    submitter.take(0)
    assert submitter.outcomes(busy(0, 2), 100) == []
    assert submitter.refused_count == 2
    assert submitter.take(100 + PAUSE_MS - 1) == []
    assert submitter.deadline_ms() == 100 + PAUSE_MS
    assert submitter.take(100 + PAUSE_MS) == [Submission(0, (b"0", b"1"))]


def test_what_gets_no_word_is_sent_again() -> None:
    submitter = filled(2)
    submitter.take(0)
    submitter.push(b"2")
    submitter.take(1_000)
    assert submitter.deadline_ms() == RESEND_MS
    submitter.handle_deadline(RESEND_MS)
    assert submitter.take(RESEND_MS) == [Submission(0, (b"0", b"1"))]
    assert submitter.deadline_ms() == 1_000 + RESEND_MS


def test_numbers_that_are_not_in_a_row_make_messages_of_their_own() -> None:
    submitter = filled(4)
    submitter.take(0)
    submitter.outcomes(Outcomes(1, ((1, 1),), ()), 0)
    submitter.outcomes(busy(0, 4), 0)
    assert submitter.take(PAUSE_MS) == [Submission(0, (b"0",)), Submission(2, (b"2", b"3"))]


def test_ranges_that_a_validator_makes_up_cost_no_more_than_the_window() -> None:
    submitter = filled(2)
    submitter.take(0)
    assert submitter.outcomes(Outcomes(1, ((5, 1 << 60), (1, 1 << 60)), ()), 0) == [Finished(1, 1, "")]
    assert submitter.outcomes(busy(-5, -1), 0) == []
    assert len(submitter) == 1


def executed(submitter: Submitter, first: int, count: int, now_ms: int) -> None:
    submitter.outcomes(Outcomes(1, ((first, count),), ()), now_ms)


def test_messages_are_gathered_for_a_share_of_the_time_that_transactions_take() -> None:
    submitter = filled(1)
    submitter.take(0)
    executed(submitter, 0, 1, 160)
    submitter.push(b"1")
    assert submitter.take(160) == [Submission(1, (b"1",))]
    submitter.push(b"2")
    assert submitter.take(161) == []
    assert submitter.deadline_ms() == 160 + 160 // GATHER_SHARE
    submitter.push(b"3")
    assert submitter.take(170) == [Submission(2, (b"2", b"3"))]


def test_nobody_waits_longer_than_the_most_or_with_half_a_window() -> None:
    submitter = filled(1, window=8)
    submitter.take(0)
    executed(submitter, 0, 1, 60_000)
    submitter.push(b"1")
    assert len(submitter.take(60_000)) == 1
    for number in range(3):
        submitter.push(b"%d" % number)
    assert submitter.take(60_001) == []
    assert submitter.deadline_ms() == 60_000 + GATHER_MS_MAX
    submitter.push(b"4")
    assert [len(message.transactions) for message in submitter.take(60_001)] == [4]


def test_without_a_known_time_nothing_waits() -> None:
    submitter = filled(1)
    submitter.take(0)
    submitter.push(b"1")
    assert submitter.take(1) == [Submission(1, (b"1",))]


def test_a_window_full_of_bytes_asks_for_nothing_before_an_outcome() -> None:
    submitter = Submitter(window=100, window_bytes=10)
    for _ in range(4):
        submitter.push(bytes(6))
    assert len(submitter.take(0)) == 1
    assert submitter.queue_count == 2
    assert submitter.deadline_ms() == RESEND_MS
