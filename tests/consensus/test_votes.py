"""Commit votes: the quorum's commit, and chains that contradict ours."""

import pytest

from synaptic_mesh.base.errors import InvariantBroken
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.consensus.block import CommitVote, Header
from synaptic_mesh.consensus.drawing import DRAWN_NETWORK, drawn_committee
from synaptic_mesh.consensus.votes import RECENT_COMMITS_MAX, CommitVotes

OURS, THEIRS = Digest(bytes([1]) * 32), Digest(bytes([2]) * 32)


def vote(author: int, index: int, digest: Digest = OURS) -> Header:
    votes = (CommitVote(index, digest),)
    return Header(DRAWN_NETWORK, 0, 9, author, 0, 0, (), bytes(32), 1, 0, votes)


def test_the_quorum_index_is_what_a_quorum_has_reached() -> None:
    votes = CommitVotes(drawn_committee((1,) * 4))
    for author, index, quorum in ((0, 9, 0), (1, 4, 0), (2, 7, 4), (1, 8, 7), (1, 3, 7), (3, 6, 7), (2, 20, 8)):
        votes.note(vote(author, index))
        assert votes.quorum_index == quorum


def test_stake_counts_for_the_quorum() -> None:
    votes = CommitVotes(drawn_committee((5, 1, 1, 1)))
    votes.note(vote(1, 5))
    votes.note(vote(2, 5))
    assert votes.quorum_index == 0
    votes.note(vote(0, 3))
    assert votes.quorum_index == 3


def test_one_liar_is_no_dispute_but_validity_stake_is() -> None:
    votes = CommitVotes(drawn_committee((1,) * 4))
    votes.note_own(3, OURS)
    votes.note(vote(1, 3, THEIRS))
    votes.note(vote(1, 3, THEIRS))
    votes.note(vote(2, 4, THEIRS))  # not ours to judge yet
    with pytest.raises(InvariantBroken, match=r"authors \[1, 3\] committed 02020202 at 3, we 01010101"):
        votes.note(vote(3, 3, THEIRS))


def test_old_own_commits_are_forgotten() -> None:
    votes = CommitVotes(drawn_committee((1,) * 4))
    for index in range(1, RECENT_COMMITS_MAX + 50):
        votes.note_own(index, OURS)
    assert len(votes) == RECENT_COMMITS_MAX
