"""A client's transactions through one validator: in order, within a window, again after a loss."""

from synaptic_mesh.node.messages import Outcomes, Refusal, Submission
from synaptic_mesh.node.submitter import MESSAGE_BYTES, PAUSE_MS, RESEND_MS, Finished, Submitter


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
