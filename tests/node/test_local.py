"""The mesh of one: the same nodes, log and ledger as everywhere, over links in memory."""

from pathlib import Path

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.collab.verification import verify_run
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.ledger.jobs import CommittedStep
from synaptic_mesh.node.local import run_local_job, solo_terms
from synaptic_mesh.node.local_job import LocalJob
from synaptic_mesh.node.run_directory import read_run
from synaptic_mesh.training.digits import load_digits
from synaptic_mesh.training.hyperparameters import Hyperparameters
from synaptic_mesh.training.job import PreparedJob, prepare_job
from synaptic_mesh.training.model_file import load_model

pytestmark = pytest.mark.process


def small_job(learning_rate: float = 0.4) -> PreparedJob:
    small = Hyperparameters(batch=8, inner_steps=3, outer_steps=3, learning_rate=learning_rate)
    return prepare_job(load_digits(), "mlp:4", solo_terms(), seed=3, hyperparameters=small)


def test_a_job_runs_to_its_end_and_verifies(tmp_path: Path) -> None:
    run = run_local_job(small_job(), tmp_path / "run", "reference", lambda _: None)
    assert len(run.state.steps) == 3
    assert load_model(run.model).provenance.audit_label == "unaudited"
    record, get_blob = read_run(tmp_path / "run")
    report = verify_run(record, get_blob, ReferenceBackend(), semantics_id())
    assert report.finding is None
    assert report.root == run.state.root
    assert not (tmp_path / "run" / "node").exists()


def test_the_same_job_gives_the_same_root_on_both_backends(tmp_path: Path) -> None:
    roots = {
        run_local_job(small_job(), tmp_path / backend, backend, lambda _: None).state.root
        for backend in ("reference", "wasm")
    }
    assert len(roots) == 1


def test_a_job_is_followed_step_by_step(tmp_path: Path) -> None:
    steps: list[CommittedStep] = []
    with LocalJob(small_job(), tmp_path / "run", "reference") as job:
        steps += job
        result = job.result()
    assert [step.step for step in steps] == [0, 1, 2]
    assert steps[-1].root == result.state.root


def test_leaving_early_stops_the_mesh(tmp_path: Path) -> None:
    with LocalJob(small_job(), tmp_path / "run", "reference") as job:
        next(iter(job))
    with pytest.raises(LocalError, match="stopped"):
        job.result()


def test_a_diverging_job_ends_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="not finite"):
        run_local_job(small_job(learning_rate=1e29), tmp_path / "run", "reference", lambda _: None)
