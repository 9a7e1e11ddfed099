"""Networks of layers as models of a job."""

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.initializers import he_uniform
from synaptic_mesh.engine.optimizers import AdamW
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import Builder, f32
from synaptic_mesh.models.graphs import build_job_graphs
from synaptic_mesh.models.layered import Layered
from synaptic_mesh.models.layers.convolution import Conv2d
from synaptic_mesh.models.layers.dense import Dense
from synaptic_mesh.models.layers.dropout import Dropout
from synaptic_mesh.models.layers.normalization import BatchNorm, LayerNorm
from synaptic_mesh.models.layers.sequential import Residual, Sequential
from synaptic_mesh.models.layers.shape import Flatten, Reshape
from synaptic_mesh.models.registry import parse_model
from synaptic_mesh.workers.wasm_runtime import open_wasm_backend

NETWORK = Sequential([Dense(16, "gelu"), Residual([LayerNorm(), Dense(16)]), Dense(3)])
IMAGES = Sequential([Reshape((1, 4, 4)), Conv2d(4, activation="relu"), Flatten(), Dense(2)])


@pytest.mark.parametrize("network", [NETWORK, IMAGES])
def test_a_specification_reads_back(network: Sequential) -> None:
    assert parse_model(Layered(network).spec) == Layered(network)


def test_a_job_of_layers_learns() -> None:
    """Started as a job starts: matrices He-uniform, everything else at 0; the norm's scale is then 1."""
    generator = np.random.default_rng(2)
    x = generator.normal(size=(32, 4)).astype(np.float32)
    y = x[:, :3].argmax(axis=1).astype(np.int32)
    graphs = build_job_graphs(Layered(NETWORK), "classify", width=4, outputs=3, batch=32, optimizer=AdamW(0.02))
    program = ReferenceBackend().compile(graphs.step)
    for name, shape in graphs.parameters.items():
        program.write(name, he_uniform(1, name, shape) if len(shape) > 1 else np.zeros(shape, np.float32))
    for name, value in graphs.optimizer_init.items():
        program.write(name, value)
    program.write("x", x)
    program.write("y", y)
    losses = []
    for _ in range(40):
        program.run()
        losses.append(float(program.read("loss")))
    assert losses[-1] < 0.3 * losses[0]


def test_a_scale_of_a_job_begins_at_one() -> None:
    """The job's tensor is 0 and the norm multiplies by 1 plus it."""
    network = Layered(Sequential([LayerNorm(), Dense(3)]))
    builder = Builder()
    given = {name: builder.input(name, f32(*shape)) for name, shape in network.shapes(4, 3).items()}
    scores = network.scores(given, builder.input("x", f32(2, 4)))
    program = ReferenceBackend().compile(builder.finish({"y": scores}))
    program.write("x", np.arange(8, dtype=np.float32).reshape(2, 4) ** 2)
    program.write("dense1/weight", np.ones((4, 3), np.float32) * np.arange(4, dtype=np.float32)[:, None])
    program.run()
    assert (program.read("y") > 1).all()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Sequential([Dense(4), BatchNorm(), Dense(3)]), "'batch_norm1/mean' is state, .* take GroupNorm or LayerNorm"),
        (Sequential([Dense(4)]), r"the network gives \(4,\) for a row, the data need \(3,\)"),
        (Sequential([Reshape((3, 3)), Dense(3)]), "reshape0: Reshape"),
    ],
)
def test_what_no_job_can_carry(network: Sequential, message: str) -> None:
    with pytest.raises(LocalError, match=message):
        Layered(network).shapes(4, 3)


def test_dropout_in_a_job_follows_from_the_batch_alone() -> None:
    """Other rows, or the same in another order, leave out other elements; nothing is left out of a prediction."""
    model = Layered(Sequential([Dropout(0.5)]))
    assert model.shapes(40, 40) == {}
    builder = Builder()
    rows = builder.input("x", f32(3, 40))
    outputs = {"y": model.training_scores({}, rows), "plain": model.scores({}, rows)}
    x = np.random.default_rng(1).normal(size=(3, 40)).astype(np.float32)
    graph = builder.finish(outputs)
    found = []
    for backend in (ReferenceBackend(), open_wasm_backend()):
        program = backend.compile(graph)
        for given in (x, x[::-1].copy(), x + 1, x):
            program.write("x", given)
            program.run()
            assert (program.read("plain") == given).all()
            kept = program.read("y") != 0
            assert (program.read("y") == np.where(kept, given * 2, 0)).all()
            assert 30 < kept.sum() < 90
            found.append(kept.tobytes())
    assert found[:4] == found[4:]
    assert found[0] == found[3]
    assert len(set(found)) == 3


def test_a_text_that_is_no_network() -> None:
    for text in ("layers:", "layers:{}", "layers:[1]", 'layers:{"type":"dense","units":3}'):
        with pytest.raises(LocalError, match="the network's description cannot be read"):
            parse_model(text)
    with pytest.raises(LocalError, match="of 5007 characters is over 4096"):
        parse_model("layers:" + " " * 5000)
