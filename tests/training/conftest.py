"""Small models with chosen parameters, for the tests of files, predictions and figures."""

import numpy as np
import pytest

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.training.model import HeldOutMetrics, Provenance, TrainedModel
from synaptic_mesh.training.prepared import (
    CategoricalColumn,
    ClassTarget,
    NumberTarget,
    NumericColumn,
    Prepared,
    f32_bits,
)

PROVENANCE = Provenance(
    semantics_id="ab" * 32,
    network="",
    job="cd" * 32,
    root="ef" * 32,
    data="plants.csv",
    seed=1,
    outer_steps=3,
    audited=False,
    metrics=HeldOutMetrics(rows=10, correct=9, loss=0.25, measured="at the last root, unaudited"),
)


@pytest.fixture
def classifier() -> TrainedModel:
    """Columns length (mean 10, std 2) and colour; class "moss" where scaled length is below 0, else "rose"."""
    columns = (NumericColumn("length", f32_bits(10), f32_bits(0.5)), CategoricalColumn("colour", ("green", "red")))
    weight: F32 = np.array([[-2, 2], [0, 0], [0, 0]], np.float32)
    prepared = Prepared(columns, ClassTarget("kind", ("moss", "rose")))
    return TrainedModel("linear", prepared, {"weight": weight, "bias": np.zeros(2, np.float32)}, PROVENANCE)


@pytest.fixture
def regressor() -> TrainedModel:
    """price = 100 + 20 * (size - 5) / 2: columns size (mean 5, std 2), target mean 100, std 10, weight 2."""
    columns = (NumericColumn("size", f32_bits(5), f32_bits(0.5)),)
    target = NumberTarget(("price",), (f32_bits(100),), (f32_bits(10),), (f32_bits(0.1),))
    parameters: dict[str, F32] = {"weight": np.array([[2]], np.float32), "bias": np.zeros(1, np.float32)}
    return TrainedModel("linear", Prepared(columns, target), parameters, PROVENANCE)
