from hypothesis import given
from hypothesis import strategies as st

from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.identity.committee import committee_of
from synaptic_mesh.ledger.jobs import UpdateState
from synaptic_mesh.ledger.judging import Outcome, find_truth, judge
from synaptic_mesh.ledger.manifest import BlobRef
from synaptic_mesh.ledger.transactions import Verdict

AUDITORS = [PeerId(bytes([letter]) * 32) for letter in range(1, 5)]
COMMITTEE = committee_of(0, dict.fromkeys(AUDITORS, 1))
WORKER = bytes(32)


def verdict(delta: str = "d", trace: str = "t", witness: str = "x") -> Verdict:
    return Verdict(WORKER, delta.encode(), trace.encode(), witness.encode())


def update(delta: str = "d", trace: str = "t", witness: str = "x") -> UpdateState:
    return UpdateState(WORKER, BlobRef(delta.encode(), 1), trace.encode(), b"", (), witness.encode(), None)


def outcome(claim: UpdateState, *verdicts: Verdict) -> Outcome:
    return judge(claim, dict(zip(AUDITORS, verdicts, strict=False)), COMMITTEE).outcome


def test_three_equal_results_of_four_decide() -> None:
    lazy = verdict(witness="guess")
    judgement = judge(update(), dict(zip(AUDITORS, [verdict(), lazy, verdict(), verdict()], strict=True)), COMMITTEE)
    assert judgement.outcome is Outcome.ACCEPTED
    assert judgement.auditors == (AUDITORS[0], AUDITORS[2], AUDITORS[3])


def test_each_differing_part_is_a_lie() -> None:
    for claim in (update(delta="e"), update(trace="e"), update(witness="e"), update(delta="e", witness="")):
        assert outcome(claim, verdict(), verdict(), verdict()) is Outcome.FALSE


def test_silence_is_not_a_lie() -> None:
    assert outcome(update(witness=""), verdict(), verdict(), verdict()) is Outcome.SILENT


def test_without_a_quorum_of_equal_results_nothing_is_known() -> None:
    assert outcome(update(delta="e"), verdict(), verdict()) is Outcome.UNDECIDED
    assert outcome(update(delta="e"), verdict(), verdict(), verdict("1"), verdict("2")) is Outcome.UNDECIDED
    assert outcome(update()) is Outcome.UNDECIDED


def test_equal_deltas_with_different_witnesses_are_not_one_result() -> None:
    guesses = [verdict(witness=str(index)) for index in range(4)]
    assert find_truth(dict(zip(AUDITORS, guesses, strict=True)), COMMITTEE) == (None, ())


def test_stake_decides_and_not_heads() -> None:
    committee = committee_of(0, dict(zip(AUDITORS, [7, 1, 1, 1], strict=True)))
    truth, auditors = find_truth({AUDITORS[0]: verdict(), AUDITORS[1]: verdict("e")}, committee)
    assert (truth, auditors) == (verdict(), (AUDITORS[0],))


@given(data=st.data())
def test_up_to_f_of_lying_stake_neither_convicts_the_honest_nor_pays_a_liar(data: st.DataObject) -> None:
    """Whatever stakes there are, whoever of the honest is absent, and whatever the liars agree on."""
    stakes = data.draw(st.lists(st.integers(1, 50), min_size=1, max_size=7))
    auditors = [PeerId(bytes([letter]) * 32) for letter in range(1, len(stakes) + 1)]
    committee = committee_of(0, dict(zip(auditors, stakes, strict=True)))
    parts = st.sampled_from("dtxe")
    liars: set[PeerId] = set()
    for auditor in data.draw(st.permutations(auditors)):
        if sum(map(committee.stake_of, (*liars, auditor))) <= committee.faulty_stake_max:
            liars.add(auditor)
    present = set(auditors) - data.draw(st.sets(st.sampled_from(auditors), max_size=2))
    invented = st.builds(verdict, parts, parts, parts)
    verdicts = {auditor: data.draw(invented) if auditor in liars else verdict() for auditor in present}
    any_claim = st.builds(update, parts, parts, st.sampled_from(["", "d", "t", "x", "e"]))
    claim = data.draw(st.one_of(st.just(update()), any_claim))
    found = judge(claim, verdicts, committee)
    assert (claim == update()) <= (found.outcome in (Outcome.ACCEPTED, Outcome.UNDECIDED))
    assert (found.outcome is Outcome.ACCEPTED) <= (claim == update())
    if len(present - liars) == len(auditors) - len(liars):
        assert found.outcome is not Outcome.UNDECIDED
    if found.outcome is Outcome.ACCEPTED:
        assert all(verdicts[auditor] == verdict() for auditor in found.auditors)
