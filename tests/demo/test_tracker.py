from synaptic_mesh.demo.tracker import Tracker


def commit(index: int, root: str, time_ms: int = 0) -> dict[str, object]:
    return {"kind": "commit", "index": index, "state_root": root, "time_ms": time_ms}


def test_the_newest_common_commit_is_that_of_the_slowest_node() -> None:
    tracker = Tracker({"a": "validator", "b": "validator"})
    for index in (1, 2, 3):
        tracker.take("a", commit(index, f"r{index}"))
    tracker.take("b", commit(1, "r1"))
    assert tracker.common_commit() == 1
    assert tracker.disagreement() is None


def test_two_roots_for_one_commit_are_noticed() -> None:
    tracker = Tracker({"a": "validator", "b": "validator"})
    tracker.take("a", commit(7, "one"))
    tracker.take("b", commit(7, "two"))
    assert tracker.disagreement() == "commit 7: a has state root one, b has two"


def test_commit_rate_counts_the_last_seconds() -> None:
    tracker = Tracker({"a": "validator"})
    for index in range(100):
        tracker.take("a", commit(index + 1, "r", time_ms=100 * index))
    assert round(tracker.commits_per_s) == 10


def test_a_job_is_over_when_every_node_says_so() -> None:
    tracker = Tracker({"a": "validator", "b": "worker"})
    tracker.take("a", {"kind": "job", "status": "finished"})
    tracker.take("b", {"kind": "job", "status": "running"})
    assert not tracker.all_finished
    tracker.take("b", {"kind": "job", "status": "aborted"})
    assert tracker.all_finished
