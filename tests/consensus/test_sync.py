"""Asking for what is missing: whom, when, how much; and the history for late peers."""

from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.base.seeds import derive_random
from synaptic_mesh.consensus.block import BlockRef
from synaptic_mesh.consensus.drawing import dag
from synaptic_mesh.consensus.messages import RoundsRequest, Stranded
from synaptic_mesh.consensus.settings import Settings
from synaptic_mesh.consensus.sync import (
    IDLE_TIMEOUTS,
    NEVER_MS,
    STUCK_ATTEMPTS,
    Fetcher,
    History,
    RoundSync,
    blocks_from,
    bounded,
    find_blocks,
)
from synaptic_mesh.identity.committee import committee_of

PEERS = [PeerId(bytes([65 + i]) * 32) for i in range(4)]
SETTINGS = Settings(fetch_delay_ms=10, fetch_timeout_ms=250, sync_gap=4, fetch_refs_max=3, fetch_in_flight_max=5)


def full(*rounds: int) -> str:
    return "; ".join(f"{author}{round_}:[*]" for round_ in rounds for author in "ABCD")


def refs(count: int, author: int = 1) -> list[BlockRef]:
    return [BlockRef(round_, author, bytes([round_]) * 32) for round_ in range(1, count + 1)]


def fetcher() -> Fetcher:
    return Fetcher(SETTINGS, tuple(PEERS), derive_random(1, "fetch"))


def test_author_and_sender_are_asked_first_after_a_grace_then_anyone_after_each_timeout() -> None:
    fetch, (ref,) = fetcher(), refs(1)
    fetch.want([ref], PEERS[2], 100)
    assert fetch.next_ms == 110
    assert fetch.due({ref: None}, PEERS, 9, 110) == {PEERS[1]: [ref], PEERS[2]: [ref]}
    assert fetch.next_ms == 360
    assert fetch.due({ref: None}, PEERS, 9, 359) == {}
    asked = fetch.due({ref: None}, PEERS, 9, 360)
    assert list(asked.values()) == [[ref]]
    assert fetch.due({}, PEERS, 9, 610) == {}
    assert fetch.next_ms == NEVER_MS


def test_only_connected_peers_are_asked() -> None:
    fetch, (ref,) = fetcher(), refs(1)
    fetch.want([ref], PEERS[2], 0)
    assert list(fetch.due({ref: None}, [PEERS[3]], 9, 10)) == [PEERS[3]]
    assert fetch.due({ref: None}, [], 9, 260) == {}


def test_requests_and_refs_in_flight_are_bounded_lowest_rounds_first() -> None:
    fetch, many = fetcher(), refs(9)
    fetch.want(list(reversed(many)), PEERS[1], 0)
    wanted = dict.fromkeys(many)
    assert fetch.due(wanted, PEERS, 99, 10) == {PEERS[1]: many[:3]}
    later = fetch.due(wanted, PEERS, 99, 260)
    assert sum(len(asked) for asked in later.values()) <= 5


def test_refs_far_above_the_clock_are_left_to_round_sync() -> None:
    fetch, many = fetcher(), refs(9)
    fetch.want(many, PEERS[1], 0)
    assert fetch.due(dict.fromkeys(many), PEERS, 2, 10) == {PEERS[1]: many[:2]}


FLOOR = 0


def asked(
    sync: RoundSync, clock_round: int, now_ms: int, peers: list[PeerId] = PEERS, stuck_round: int | None = None
) -> tuple[PeerId, RoundsRequest] | None:
    return sync.due(clock_round, FLOOR, stuck_round, peers, now_ms)


def round_sync() -> RoundSync:
    return RoundSync(SETTINGS, derive_random(1, "rounds"))


def test_rounds_are_asked_for_only_beyond_the_gap() -> None:
    sync = round_sync()
    sync.note(PEERS[1], 24)
    assert asked(sync, 20, 0) is None
    sync.note(PEERS[1], 25)
    assert asked(sync, 20, 0) == (PEERS[1], RoundsRequest(19, FLOOR))


def test_one_request_at_a_time_and_somebody_else_after_the_timeout() -> None:
    sync = round_sync()
    sync.note(PEERS[1], 50)
    assert asked(sync, 20, 0) == (PEERS[1], RoundsRequest(19, FLOOR))
    sync.note(PEERS[2], 50)
    assert asked(sync, 20, 249) is None
    assert asked(sync, 20, 250) == (PEERS[2], RoundsRequest(19, FLOOR))


def test_an_answer_that_moves_the_clock_is_followed_by_the_next_request_at_once() -> None:
    drawing = dag(full(1, 2, 3))
    sync = round_sync()
    sync.note(PEERS[1], 50)
    assert asked(sync, 1, 0) == (PEERS[1], RoundsRequest(1, FLOOR))
    sync.answered(PEERS[1], (drawing["A3"].block,))  # a broadcast, not the answer
    assert asked(sync, 3, 5) is None
    sync.answered(PEERS[1], (drawing["A1"].block,))
    assert asked(sync, 1, 5) is None  # nothing came of it: not again before the timeout
    assert asked(sync, 9, 6) == (PEERS[1], RoundsRequest(8, FLOOR))


def test_a_peer_that_is_gone_or_cannot_serve_is_not_asked() -> None:
    sync = round_sync()
    sync.note(PEERS[1], 50)
    sync.forget(PEERS[1])
    assert asked(sync, 1, 0) is None
    sync.note(PEERS[2], 50)
    assert asked(sync, 1, 0, [PEERS[0]]) is None


def test_the_store_of_a_peer_is_read_on_where_its_answer_ended() -> None:
    block = dag(full(1))["A1"].block
    sync = round_sync()
    for peer in PEERS[1:]:
        sync.note(peer, 500)
    first = asked(sync, 20, 0)
    assert first is not None
    reader = first[0]
    for place in range(1, 9):
        sync.answered(reader, (block,), place)
        assert asked(sync, 20 + place, place) == (reader, RoundsRequest(19 + place, FLOOR, place))
    sync.begin_anew(PEERS[0])  # somebody else's blocks are no reason
    sync.answered(reader, (block,), 9)
    assert asked(sync, 40, 10) == (reader, RoundsRequest(39, FLOOR, 9))
    sync.answered(reader, (block,), 10)
    sync.begin_anew(reader)
    assert asked(sync, 50, 11) is None
    again = asked(sync, 50, 10 + SETTINGS.fetch_timeout_ms)
    assert again is not None
    assert again[0] != reader
    assert again[1] == RoundsRequest(49, FLOOR)


def test_a_store_that_does_not_move_the_clock_is_left() -> None:
    block = dag(full(1))["A1"].block
    sync = round_sync()
    for peer in PEERS[1:]:
        sync.note(peer, 500)
    now_ms, readers = 0, []
    for place in range(1, 3 * IDLE_TIMEOUTS):
        request = asked(sync, 20, now_ms)
        if request is not None:
            readers.append((request[0], request[1].place > 0))
            sync.answered(request[0], (block,), place)
        now_ms += SETTINGS.fetch_timeout_ms
    assert readers[1] == (readers[0][0], True)
    assert False in [has_place for _, has_place in readers[1:]]
    assert len({peer for peer, _ in readers}) > 1


def test_an_ancestor_that_nobody_has_in_memory_is_looked_for_in_stores() -> None:
    fetch, ref = fetcher(), refs(7)[6]
    fetch.want([ref], PEERS[1], 0)
    now_ms = 10
    for _ in range(STUCK_ATTEMPTS):
        assert fetch.stuck_round() is None
        fetch.due({ref: None}, PEERS, 99, now_ms)
        now_ms = fetch.next_ms
    assert fetch.stuck_round() == 7
    sync = round_sync()
    sync.note(PEERS[1], 500)
    assert asked(sync, 20, 0, stuck_round=7) == (PEERS[1], RoundsRequest(19, FLOOR))
    assert asked(sync, 20, 250, stuck_round=7) == (PEERS[1], RoundsRequest(7, FLOOR))
    sync.answered(PEERS[1], (dag(full(1))["A1"].block,), 5)
    assert asked(sync, 20, 251) == (PEERS[1], RoundsRequest(7, FLOOR, 5))
    assert asked(sync, 21, 600, stuck_round=7) == (PEERS[1], RoundsRequest(20, FLOOR))


def test_that_nobody_keeps_the_needed_rounds_is_said_once_when_an_honest_one_says_so() -> None:
    committee = committee_of(0, dict.fromkeys(PEERS, 1))
    sync = round_sync()
    sync.note_too_young(PEERS[1], 90)
    assert sync.stranded(committee, 7) is None  # one of four may lie
    sync.note_too_young(PEERS[2], 80)
    assert sync.stranded(committee, 7) == Stranded(7, 80)
    assert sync.stranded(committee, 7) is None
    sync.note(PEERS[3], 500)
    assert sync.stranded(committee, 8) is None  # somebody may have them
    sync.forget(PEERS[3])
    assert sync.stranded(committee, 8) == Stranded(8, 80)


def test_history_serves_pruned_blocks_and_drops_the_oldest_rounds() -> None:
    drawing = dag(full(1, 2, 3, 4))
    history = History(blocks_max=9, bytes_max=1 << 20)
    history.add(drawing.dag.prune(2))
    assert history.first_round() == 1
    assert [b.round for b in blocks_from(drawing.dag, history, 1, 6)] == [1] * 4 + [2] * 4
    assert [b.round for b in blocks_from(drawing.dag, history, 2, 99)] == [2] * 4 + [3] * 4 + [4] * 4
    history.add(drawing.dag.prune(3))
    assert history.first_round() == 2
    assert history.get(drawing["A1"].digest) is None
    assert history.get(drawing["A2"].digest) is drawing["A2"].block
    small = History(blocks_max=99, bytes_max=2 * len(drawing["A4"].block.encoded))
    small.add(drawing.dag.prune(4))
    assert small.bytes == 0
    assert small.first_round() is None


def test_blocks_are_found_by_their_whole_ref_in_ascending_rounds() -> None:
    drawing = dag(full(1, 2))
    history = History(99, 1 << 20)
    a1, a2 = drawing["A1"].block, drawing["A2"].block
    history.add(drawing.dag.prune(1))
    lie = BlockRef(2, 0, a1.digest)
    assert find_blocks(drawing.dag, history, (a2.ref, lie, a1.ref)) == [a1, a2]


def test_an_answer_holds_at_least_one_block() -> None:
    drawing = dag(full(1))
    blocks = [drawing[name].block for name in ("A1", "B1", "C1")]
    size = len(blocks[0].encoded)
    assert bounded(blocks, 9, 2 * size) == tuple(b.encoded for b in blocks[:2])
    assert bounded(blocks, 1, 9 * size) == (blocks[0].encoded,)
    assert bounded(blocks, 9, 1) == (blocks[0].encoded,)
    assert bounded([], 9, 1) == ()
