"""FANN network files."""

from pathlib import Path

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.interchange.fann_net import format_fann_net, parse_fann_net, read_fann_net, write_fann_net

FIXTURES = Path(__file__).parent / "fann"
NETS = sorted(FIXTURES.glob("*.net"))
XOR = (FIXTURES / "xor.net").read_text()


@pytest.mark.parametrize("path", NETS, ids=lambda path: path.stem)
def test_written_as_libfann_writes_it(path: Path, tmp_path: Path) -> None:
    net = read_fann_net(path)
    assert format_fann_net(net) == path.read_text()
    write_fann_net(tmp_path / path.name, net)
    assert read_fann_net(tmp_path / path.name) == net


def test_what_a_record_says() -> None:
    net = read_fann_net(FIXTURES / "xor.net")
    assert (net.inputs, net.outputs, [len(layer) for layer in net.layers]) == (2, 1, [3, 4, 2])
    assert net.settings["rprop_increase_factor"] == "1.200000"
    assert net.layers[1][0].connections[0] == (0, -4.226047039031982)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("FANN_FLO_2.1", "FANN_FIX_2.0", "begins with 'FANN_FIX_2.0'; only floating-point networks of FANN 2.1"),
        ("layer_sizes=3 4 2 ", "layer_sizes=3 4 3 ", r"layer sizes \[3, 4, 3\] do not add up to 9 neurons"),
        ("layer_sizes=", "sizes=", "a.net has no line layer_sizes="),
        ("network_type=0", "network_type=7", "network type 7 is neither layered"),
        ("(3, 5, 5.0", "(4, 5, 5.0", "the neurons have 16 inputs in all, but 13 connections"),
        ("(0, 0, 0.0", "(0, 0, 0, 0.0", "entry 1 of neurons is .* it must have 3 values"),
        ("(0, -4.2", "(7, -4.2", "neuron 3 is fed by neuron 7, which is not in a layer before it"),
        ("(0, -4.2", "(0, x", "'x260.*' is not a finite 32-bit float"),
        ("(0, -4.22604703903198242188e+00)", "(0, 1e99)", "'1e99' is not a finite"),
        ("learning_rate=0.7", "learning_rate 0.7", "a.net line 3: 'learning_rate 0.700000' is not NAME=VALUE"),
    ],
)
def test_a_bad_file_is_one_sentence(old: str, new: str, message: str) -> None:
    assert old in XOR
    with pytest.raises(LocalError, match=message):
        parse_fann_net(XOR.replace(old, new), "a.net")
