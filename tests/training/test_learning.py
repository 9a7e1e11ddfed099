"""Jobs learn: the whole arithmetic of outer steps (assignment, inner steps, aggregation) on the reference backend.

Ledger, network and audits are left out, so this says what the defaults reach and nothing about agreement.
"""

import numpy as np
import pytest

from synaptic_mesh.collab.execution import Executor
from synaptic_mesh.collab.state import decode_state_untrusted, with_initial_state
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.ledger.assignment import draw_assignments
from synaptic_mesh.ledger.manifest import job_id
from synaptic_mesh.training.columns import examples_from_table
from synaptic_mesh.training.digits import load_digits
from synaptic_mesh.training.evaluate import ClassEvaluation, NumberEvaluation, evaluate
from synaptic_mesh.training.examples import Examples
from synaptic_mesh.training.hyperparameters import Hyperparameters, digits_hyperparameters, table_hyperparameters
from synaptic_mesh.training.job import JobTerms, PreparedJob, prepare_job
from synaptic_mesh.training.model import Provenance, TrainedModel
from synaptic_mesh.training.table import parse_csv

BACKEND = ReferenceBackend()
ACCURACY_MIN = 0.95


def train(job: PreparedJob, ignored: int | None = None) -> TrainedModel:
    """Return the model after all outer steps. Updates of worker `ignored` never count, as if they were false."""
    manifest, state_blob = with_initial_state(job.manifest)
    blobs = {**job.blobs, manifest.initial_state.digest: state_blob}
    executor = Executor(BACKEND, lambda digest: blobs[digest])
    peers = [bytes([at]) * 32 for at in range(manifest.workers_max)]
    state, root = manifest.initial_state, manifest.initial_root
    for step in range(manifest.outer_steps):
        included = []
        for assignment in draw_assignments(job_id(manifest), step, 0, root, peers, len(manifest.data.shards)):
            if ignored is None or assignment.worker != peers[ignored]:
                result, delta = executor.execute(manifest, state, root, assignment)
                blobs[result.delta.digest] = delta
                included.append((assignment.worker, result.delta))
        after = executor.aggregate(manifest, state, root, included)
        blobs[after.ref.digest] = after.blob
        state, root = after.ref, after.root
    last = decode_state_untrusted(manifest, blobs[state.digest])
    provenance = Provenance(
        semantics_id=manifest.semantics_id.hex(), network="", job=job_id(manifest).hex(), root=root.hex(),
        data=manifest.data.name, seed=manifest.seed, outer_steps=manifest.outer_steps, audited=False,
    )  # fmt: skip
    return TrainedModel(manifest.model, job.dataset.prepared, last.parameters, provenance)


def train_digits(seed: int, workers: int, ignored: int | None) -> float:
    hyperparameters = digits_hyperparameters(workers)
    job = prepare_job(
        load_digits(), "mlp:64,64", JobTerms(workers, 1, workers), seed=seed, hyperparameters=hyperparameters
    )
    found = evaluate(train(job, ignored), job.dataset.x_test, job.dataset.y_test, BACKEND)
    assert isinstance(found, ClassEvaluation)
    return found.accuracy


@pytest.mark.slow
def test_digits_with_one_of_five_workers_ignored() -> None:
    assert train_digits(seed=1, workers=5, ignored=2) >= ACCURACY_MIN


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 11))
def test_digits_reach_the_promised_accuracy_for_every_seed(seed: int) -> None:
    assert train_digits(seed, workers=5, ignored=seed % 5) >= ACCURACY_MIN
    assert train_digits(seed, workers=1, ignored=None) >= ACCURACY_MIN


def table(task: str) -> Examples:
    """120 rows whose target follows from two numbers and a category."""
    lines = ["a,b,colour,y"]
    for at in range(120):
        a, b, colour = at % 7 - 3, at * at % 11 / 4, "red" if at % 2 else "blue"
        score = 2 * a - b + (3 if colour == "red" else 0)
        lines.append(f"{a},{b},{colour},{score * 10 + 500 if task == 'regress' else 'high' if score > 0 else 'low'}")
    return examples_from_table(parse_csv("\n".join(lines).encode(), "t.csv"))


def train_table(task: str) -> ClassEvaluation | NumberEvaluation:
    job = prepare_job(table(task), "mlp:16", JobTerms(2, 1, 2), seed=3, hyperparameters=table_hyperparameters(48, task))
    assert job.manifest.task == task
    return evaluate(train(job), job.dataset.x_test, job.dataset.y_test, BACKEND)


def test_a_table_with_classes_is_learnt() -> None:
    found = train_table("classify")
    assert isinstance(found, ClassEvaluation)
    assert found.accuracy >= 0.9


def test_a_table_with_numbers_is_learnt() -> None:
    found = train_table("regress")
    assert isinstance(found, NumberEvaluation)
    assert found.numbers[0].r2 is not None
    assert found.numbers[0].r2 >= 0.9


def test_training_twice_gives_the_same_bits() -> None:
    job = prepare_job(
        table("classify"), "linear", JobTerms(2, 1, 2), seed=1, hyperparameters=Hyperparameters(batch=4, inner_steps=3)
    )
    first, again = train(job), train(job)
    assert all(np.array_equal(first.parameters[k], again.parameters[k]) for k in first.parameters)
    assert first.provenance.root == again.provenance.root
