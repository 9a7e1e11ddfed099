"""Whole jobs in memory."""

from synaptic_mesh.ledger.jobs import JobStatus


def test_four_peers_finish_a_job(make_mesh):
    mesh = make_mesh()
    state = mesh.run()
    assert state.status is JobStatus.FINISHED
    assert len(state.steps) == 2
