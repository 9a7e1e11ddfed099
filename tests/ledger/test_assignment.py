from synaptic_mesh.ledger.assignment import draw_assignments

JOB, ROOT = bytes([1]) * 32, bytes([2]) * 32
WORKERS = [bytes([letter]) * 32 for letter in range(10, 15)]


def test_every_worker_gets_one_shard_and_no_two_the_same() -> None:
    drawn = draw_assignments(JOB, 0, 0, ROOT, WORKERS, 5)
    assert [each.worker for each in drawn] == WORKERS
    assert sorted(each.shard for each in drawn) == [0, 1, 2, 3, 4]
    assert len({each.order_seed for each in drawn}) == 5


def test_the_draw_depends_on_all_of_its_facts() -> None:
    facts = [(JOB, 0, 0, ROOT), (ROOT, 0, 0, ROOT), (JOB, 1, 0, ROOT), (JOB, 0, 1, ROOT), (JOB, 0, 0, JOB)]
    draws = [draw_assignments(*fact, WORKERS, 4_096) for fact in facts]
    assert len({tuple(each.shard for each in drawn) for drawn in draws}) == len(facts)
    assert len({each.order_seed for drawn in draws for each in drawn}) == len(facts) * len(WORKERS)
    assert draws[0] == draw_assignments(*facts[0], WORKERS, 4_096)


def test_over_many_steps_every_shard_is_used_about_equally() -> None:
    counts = [0] * 8
    for step in range(800):
        for each in draw_assignments(JOB, step, 0, ROOT, WORKERS[:2], 8):
            counts[each.shard] += 1
    assert all(140 < count < 260 for count in counts)  # mean 200, deviation about 12
