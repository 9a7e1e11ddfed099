"""Rounds on disk: where they begin, and parts that join without a gap."""

from synaptic_mesh.base.seeds import derive_random
from synaptic_mesh.consensus.stored import ROUNDS_PER_ENTRY, StoredIndex, read_blocks


def read_all(records: list[list[bytes]], begin: tuple[int, int], count_max: int, bytes_max: int) -> list[bytes]:
    found: list[bytes] = []
    while True:
        blocks, place = read_blocks(records[begin[0] :], begin, count_max, bytes_max)
        if not blocks:
            return found
        assert len(blocks) <= count_max
        assert len(blocks) == 1 or sum(map(len, blocks)) <= bytes_max
        found += blocks
        begin = StoredIndex().begin(place, 0)


def test_parts_join_without_a_gap_whatever_the_limits() -> None:
    random = derive_random(1, "stored")
    records = [[bytes([n, i]) * random.randint(1, 9) for i in range(random.randint(0, 4))] for n in range(40)]
    everything = [block for record in records for block in record]
    for count_max, bytes_max in ((1, 99), (3, 99), (99, 1), (99, 20), (5, 30)):
        assert read_all(records, (0, 0), count_max, bytes_max) == everything
    assert read_all(records, (7, 0), 3, 30) == [block for record in records[7:] for block in record]
    assert read_blocks([], (40, 0), 3, 30)[0] == ()


def test_no_block_of_a_round_stands_before_its_position_and_few_rounds_stand_behind_it() -> None:
    random = derive_random(2, "stored")
    index, tops = StoredIndex(), []
    for number in range(2_000):
        tops.append(0 if number % 7 == 0 else max(1, number - random.randint(0, 60)))
        index.note(tops[-1])
    for round_ in range(1, 1_990):
        position = index.position(round_)
        assert all(top < round_ for top in tops[:position])
        assert position == 0 or max(tops[: position + 1]) >= round_ - ROUNDS_PER_ENTRY
    assert index.position(5_000) == 2_000
    assert index.begin(0, 99) == (index.position(100), 0)
    assert index.begin(123 << 20 | 45, 99) == (123, 45)
