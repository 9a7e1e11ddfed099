"""Order of the event queue."""

from synaptic_mesh.sim.queue import EventQueue


def test_calls_run_by_time_and_then_by_the_order_they_were_asked_for() -> None:
    queue, seen = EventQueue(), []
    for name, time_ms in (("c", 9), ("a", 3), ("b", 3), ("d", 9)):
        queue.at(time_ms, lambda name=name: seen.append((queue.now_ms, name)))
    while queue.run_next():
        pass
    assert seen == [(3, "a"), (3, "b"), (9, "c"), (9, "d")]
    assert queue.event_count == 4


def test_a_call_asked_for_in_the_past_runs_now_and_time_does_not_go_back() -> None:
    queue, seen = EventQueue(), []
    queue.at(10, lambda: queue.at(2, lambda: seen.append(queue.now_ms)))
    while queue.run_next():
        pass
    assert seen == [10]
