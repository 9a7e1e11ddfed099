"""FANN networks predict as libfann does, and train on."""

from pathlib import Path

import numpy as np
import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.interchange.fann_data import read_fann_data
from synaptic_mesh.interchange.fann_net import parse_fann_net, read_fann_net
from synaptic_mesh.interchange.fann_network import FannNetwork, with_parameters

FIXTURES = Path(__file__).parent / "fann"
XOR = (FIXTURES / "xor.net").read_text()


@pytest.mark.parametrize("name", ["xor", "deep", "activations", "sparse", "shortcut", "cut"])
def test_predicts_as_libfann_does(name, run_network):
    """Within 1e-6 of fann_run, which sums in another order and calls libm."""
    data = read_fann_data(FIXTURES / f"{name}.data")
    y = run_network(FannNetwork(read_fann_net(FIXTURES / f"{name}.net")), data.x)
    assert y.shape == data.y.shape
    np.testing.assert_allclose(y, data.y, rtol=0, atol=1e-6)


def test_trained_parameters_go_back_into_the_record(run_network):
    net = read_fann_net(FIXTURES / "shortcut.net")
    x = read_fann_data(FIXTURES / "shortcut.data").x
    trained = {name: value * np.float32(0.5) for name, value in FannNetwork(net).parameters()}
    changed = with_parameters(net, trained)
    assert changed != net
    expected = run_network(FannNetwork(net), x, trained)
    assert run_network(FannNetwork(changed), x).tobytes() == expected.tobytes()
    with pytest.raises(LocalError, match="parameter 'layer1/bias' is missing"):
        with_parameters(net, {k: v for k, v in trained.items() if k != "layer1/bias"})


def test_a_sparse_network_keeps_its_gaps(run_network):
    net = read_fann_net(FIXTURES / "sparse.net")
    x = read_fann_data(FIXTURES / "sparse.data").x
    parameters = dict(FannNetwork(net).parameters())
    gaps = {name: np.where(value == 0, np.float32(9), value) for name, value in parameters.items()}
    assert any((gaps[name] != parameters[name]).any() for name in gaps)
    assert run_network(FannNetwork(net), x, gaps).tobytes() == run_network(FannNetwork(net), x).tobytes()


def test_what_is_refused(run_network):
    with pytest.raises(LocalError, match=r"takes rows of 2 inputs, not \(1, 3\)"):
        run_network(FannNetwork(parse_fann_net(XOR, "a")), np.zeros((1, 3), np.float32))
    with pytest.raises(LocalError, match="activation function 9 is not known"):
        run_network(FannNetwork(parse_fann_net(XOR.replace("(3, 5, ", "(3, 9, "), "a")), np.zeros((1, 2), np.float32))
    cut = XOR.replace("layer_sizes=3 4 2 ", "layer_sizes=3 4 1 ")
    short = parse_fann_net(cut.replace(" (0, 5, 0.00000000000000000000e+00) \n", " \n"), "a")
    with pytest.raises(LocalError, match="layer 2 of the FANN network ends with a neuron of 4 inputs"):
        run_network(FannNetwork(short), np.zeros((1, 2), np.float32))
