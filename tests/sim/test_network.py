"""Loss, duplication, order, partitions and delays of the network."""

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.sim.network import MILLION, LinkSettings, Network
from synaptic_mesh.sim.queue import EventQueue


def arrivals(settings: LinkSettings, count: int = 2_000, seed: int = 1) -> list[tuple[int, int]]:
    """Send `count` messages from 0 to 1, one each millisecond; return (number, arrival time) in order of arrival."""
    queue, seen = EventQueue(), []
    network = Network(queue, 2, settings, seed)
    for number in range(count):
        queue.at(number, lambda number=number: network.send(0, 1, lambda: seen.append((number, queue.now_ms - number))))
    while queue.run_next():
        pass
    return seen


def test_without_faults_every_message_arrives_once_within_the_stated_delays() -> None:
    seen = arrivals(LinkSettings(base_ms=5, spread_ms=20, tail_ppm=0))
    assert sorted(number for number, _ in seen) == list(range(2_000))
    delays = [delay for _, delay in seen]
    assert min(delays) == 5
    assert 20 <= max(delays) <= 25
    assert abs(sum(delays) / len(delays) - LinkSettings().mean_ms()) < 1


def test_messages_overtake_unless_fifo() -> None:
    order = [number for number, _ in arrivals(LinkSettings())]
    assert order != sorted(order)
    order = [number for number, _ in arrivals(LinkSettings(fifo=True))]
    assert order == sorted(order)


def test_loss_and_duplication_happen_as_often_as_stated() -> None:
    lost = 2_000 - len(arrivals(LinkSettings(loss_ppm=100_000)))
    assert 150 < lost < 250
    twice = len(arrivals(LinkSettings(duplicate_ppm=100_000))) - 2_000
    assert 150 < twice < 250
    assert arrivals(LinkSettings(loss_ppm=MILLION)) == []


def test_the_tail_and_extra_delay_lengthen_the_way() -> None:
    assert max(delay for _, delay in arrivals(LinkSettings(spread_ms=0, tail_ppm=MILLION, tail_factor=8))) == 40
    queue, seen = EventQueue(), []
    network = Network(queue, 3, LinkSettings(spread_ms=0, tail_ppm=0), seed=1)
    network.extra_delay_ms[1] = 100
    network.send(0, 1, lambda: seen.append(queue.now_ms))
    network.send(0, 2, lambda: seen.append(queue.now_ms))
    while queue.run_next():
        pass
    assert seen == [5, 105]


def test_a_partition_stops_messages_between_groups_only() -> None:
    queue, seen = EventQueue(), []
    network = Network(queue, 3, LinkSettings(), seed=1)
    network.groups = [0, 0, 1]
    network.send(0, 1, lambda: seen.append("inside"))
    network.send(0, 2, lambda: seen.append("across"))
    while queue.run_next():
        pass
    assert seen == ["inside"]
    assert network.partitioned_count == 1


def test_the_seed_decides_every_delay() -> None:
    settings = LinkSettings(loss_ppm=10_000, duplicate_ppm=10_000)
    assert arrivals(settings, seed=3) == arrivals(settings, seed=3)
    assert arrivals(settings, seed=3) != arrivals(settings, seed=4)


def test_settings_that_are_no_probability_are_refused() -> None:
    with pytest.raises(LocalError, match="loss_ppm is 1000001"):
        LinkSettings(loss_ppm=MILLION + 1)
    with pytest.raises(LocalError, match="negative"):
        LinkSettings(base_ms=-1)
