"""Jobs made from examples pass the ledger's and the participants' own checks, and are the same every time."""

from typing import Any

import msgspec
import pytest

from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.collab.execution import Executor
from synaptic_mesh.collab.state import with_initial_state
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.ledger.admission import check_manifest
from synaptic_mesh.ledger.manifest import job_id
from synaptic_mesh.training.columns import examples_from_table
from synaptic_mesh.training.digits import load_digits
from synaptic_mesh.training.examples import Examples
from synaptic_mesh.training.hyperparameters import (
    Hyperparameters,
    check_hyperparameters,
    choose_hyperparameters,
    digits_hyperparameters,
    table_hyperparameters,
)
from synaptic_mesh.training.job import JobTerms, PreparedJob, prepare_job
from synaptic_mesh.training.table import parse_csv

FIVE = JobTerms(shards=5, workers_min=3, workers_max=5)


def houses() -> Examples:
    rows = "".join(f"{at},{'old' if at % 3 else 'new'},{at * at % 17}.5\n" for at in range(40))
    return examples_from_table(parse_csv(b"size,state,price\n" + rows.encode(), "houses.csv"))


def job(examples: Examples, **changes: Any) -> PreparedJob:
    return prepare_job(examples, "mlp:8", FIVE, seed=1, hyperparameters=Hyperparameters(**changes))


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adamw"])
@pytest.mark.parametrize("examples", [load_digits(), houses()], ids=["digits", "houses"])
def test_ledger_and_participants_accept_the_job(examples: Examples, optimizer: str) -> None:
    prepared = job(examples, optimizer=optimizer, learning_rate=0.01, batch=4)
    manifest, state = with_initial_state(prepared.manifest)
    check_manifest(manifest, semantics_id(), validator_count=4)
    executor = Executor(ReferenceBackend(), lambda digest: prepared.blobs[digest])
    assert executor.prepare(manifest, semantics_id()) == state
    assert all(blob_digest(blob) == digest for digest, blob in prepared.blobs.items())


def test_the_same_arguments_give_the_same_job_and_another_seed_another() -> None:
    first, again = (prepare_job(load_digits(), "mlp:64,64", FIVE, seed=3) for _ in range(2))
    assert (job_id(first.manifest), first.blobs) == (job_id(again.manifest), again.blobs)
    assert job_id(prepare_job(load_digits(), "mlp:64,64", FIVE, seed=4).manifest) != job_id(first.manifest)


def test_hyperparameters_reach_manifest_and_graph() -> None:
    slow, fast = job(houses(), learning_rate=0.1).manifest, job(houses(), learning_rate=0.2).manifest
    assert slow.step_graph != fast.step_graph
    changed = job(houses(), batch=3, inner_steps=7, outer_steps=9, outer_momentum=0.5, outer_learning_rate=2.0).manifest
    assert (changed.batch, changed.inner_steps, changed.outer_steps) == (3, 7, 9)
    assert (changed.outer.momentum_bits, changed.outer.learning_rate_bits) == (0x3F000000, 0x40000000)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batch": 0}, "batch 0 must be from 1 to 65536"),
        ({"inner_steps": 10_001}, "inner_steps 10001 must be from 1 to 10000"),
        ({"outer_steps": -1}, "outer_steps -1 must be"),
        ({"learning_rate": float("nan")}, "learning_rate nan must be a number above 1e-30"),
        ({"learning_rate": 0.0}, "learning_rate 0.0 must be a number above 1e-30"),
        ({"outer_learning_rate": float("inf")}, "outer_learning_rate inf must be"),
        ({"outer_momentum": 1.0}, "outer_momentum 1.0 must be at least 0 and below 1"),
        ({"optimizer": "lyon"}, "optimizer 'lyon' is not known; choose one of sgd, momentum, nesterov"),
    ],
)
def test_a_senseless_hyperparameter_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LocalError) as caught:
        job(houses(), **changes)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("terms", "seed", "model", "sentence"),
    [
        (FIVE, -1, "mlp:8", "seed -1 must be from 0 to 9223372036854775807"),
        (FIVE, 1 << 63, "mlp:8", "seed 9223372036854775808 must be"),
        (FIVE, 1, "mlp", "mlp has 0 hidden layers"),
        (JobTerms(2, 1, 3), 1, "mlp:8", "workers_min 1, workers_max 3 and 2 shards must ascend from 1"),
        (JobTerms(2, 0, 1), 1, "mlp:8", "workers_min 0"),
        (JobTerms(33, 1, 1), 1, "mlp:8", "32 training rows cannot be dealt to 33 shards"),
    ],
)
def test_terms_that_do_not_fit_are_refused(terms: JobTerms, seed: int, model: str, sentence: str) -> None:
    with pytest.raises(LocalError) as caught:
        prepare_job(houses(), model, terms, seed=seed)
    assert str(caught.value).startswith(sentence)


def test_defaults_are_in_range_for_every_size() -> None:
    for rows in (1, 3, 7, 50, 1000, 100_000):
        check_hyperparameters(table_hyperparameters(rows, "classify"))
        check_hyperparameters(table_hyperparameters(rows, "regress"))
        assert table_hyperparameters(rows).batch <= rows
    for workers in (1, 2, 4, 50):
        check_hyperparameters(digits_hyperparameters(workers))


def test_another_optimizer_brings_its_own_learning_rate() -> None:
    defaults = digits_hyperparameters(5)
    assert choose_hyperparameters(defaults, {"optimizer": "adamw"}).learning_rate == 0.003
    assert choose_hyperparameters(defaults, {"optimizer": "adamw", "learning_rate": 0.5}).learning_rate == 0.5
    assert choose_hyperparameters(defaults, {"optimizer": "sgd", "batch": 8}).learning_rate == defaults.learning_rate
    with pytest.raises(LocalError, match="optimizer 'lyon' is not known"):
        choose_hyperparameters(defaults, {"optimizer": "lyon"})
    with pytest.raises(LocalError, match="hyperparameter 'epochs' is not known; there are batch, inner_steps"):
        choose_hyperparameters(defaults, {"epochs": 3})


def test_held_out_rows_are_in_no_shard() -> None:
    prepared = prepare_job(load_digits(), "linear", FIVE, seed=9)
    held_out = {row.tobytes() for row in prepared.dataset.x_test}
    trained = {row.tobytes() for row in prepared.dataset.x_train}
    assert len(held_out & trained) == 0
    assert msgspec.structs.replace(prepared.manifest.data, shards=()).test.rows == 355
