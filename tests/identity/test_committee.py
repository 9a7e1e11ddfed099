import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic_mesh.base.codec import decode_untrusted, encode
from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.identity.committee import STAKE_TOTAL_MAX, Committee, Validator, committee_of


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(32, "big"))


def equal(count: int) -> Committee:
    return committee_of(0, {peer(number): 1 for number in range(count)})


@pytest.mark.parametrize(
    ("count", "quorum", "validity", "faulty"), [(1, 1, 1, 0), (2, 2, 1, 0), (3, 3, 1, 0), (4, 3, 2, 1), (7, 5, 3, 2)]
)
def test_quorums_of_equal_stake(count: int, quorum: int, validity: int, faulty: int) -> None:
    committee = equal(count)
    assert (committee.quorum, committee.validity, committee.faulty_stake_max) == (quorum, validity, faulty)


@given(st.lists(st.integers(1, 1 << 50), min_size=1, max_size=12))
def test_quorums_intersect_in_honest_stake(stakes: list[int]) -> None:
    committee = committee_of(3, {peer(i): stake for i, stake in enumerate(stakes)})
    total, quorum, faulty = committee.total_stake, committee.quorum, committee.faulty_stake_max
    assert 2 * quorum - total > faulty  # two quorums share more than may lie
    assert 3 * committee.validity >= total > 3 * (committee.validity - 1)
    assert 3 * quorum > 2 * total >= 3 * (quorum - 1)
    assert committee.validity > faulty


def test_positions_follow_peer_ids() -> None:
    committee = committee_of(1, {peer(9): 5, peer(2): 7})
    assert committee.peers == (peer(2), peer(9))
    assert committee.stakes == (7, 5)
    assert committee.index_of(peer(9)) == 1
    assert committee.index_of(peer(3)) is None
    assert (committee.stake_of(peer(9)), committee.stake_of(peer(3))) == (5, 0)
    assert peer(2) in committee
    assert peer(3) not in committee


def test_an_index_counts_once() -> None:
    committee = committee_of(1, {peer(1): 5, peer(2): 7})
    assert committee.stake([0, 0, 1, 0]) == 12
    assert not committee.is_quorum(committee.stake([1, 1, 1]))
    assert committee.is_valid(committee.stake([0]))
    assert committee.is_quorum(committee.stake([0, 1]))


@pytest.mark.parametrize(
    "validators",
    [
        (),
        (Validator(peer(2), 1), Validator(peer(1), 1)),
        (Validator(peer(1), 1), Validator(peer(1), 1)),
        (Validator(peer(1), 0),),
        (Validator(peer(1), -4),),
        (Validator(PeerId(b"short"), 1),),
        (Validator(peer(1), STAKE_TOTAL_MAX), Validator(peer(2), 1)),
    ],
)
def test_bad_committees_are_refused(validators: tuple[Validator, ...]) -> None:
    with pytest.raises(ValueError):
        Committee(0, validators)
    with pytest.raises(PeerError):
        decode_untrusted(Committee, encode([0, [[v.peer, v.stake] for v in validators]]))


def test_encoding_is_two_fields_whatever_was_computed() -> None:
    committee = equal(4)
    before = encode(committee)
    assert committee.quorum == 3
    assert committee.index_of(peer(1)) == 1
    assert encode(committee) == before
    assert decode_untrusted(Committee, before) == committee
    assert len(msgspec.msgpack.decode(before)) == 2
