"""Networks of FANN as libfann 2.2 saves them: FANN_FLO_2.1 .net files (fann_save, fann_create_from_file).

After the first line come NAME=VALUE lines. Most are settings of training, which are kept as they stand. The network is
in layer_sizes (bias neurons included), `neurons` (inputs, activation function, steepness; layer by layer) and
`connections` (from neuron, weight; in the order of the neurons that they lead to).
"""

import re
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.interchange.fann_data import write_text
from synaptic_mesh.training.table import decode_text, read_file

MAGIC = "FANN_FLO_2.1"
NEURONS_MAX = 1 << 16
CONNECTIONS_MAX = 1 << 22
LAYERS_MAX = 64
LAYERED, SHORTCUT = 0, 1
NEURONS = "neurons (num_inputs, activation_function, activation_steepness)"
CONNECTIONS = "connections (connected_to_neuron, weight)"
_GROUP = re.compile(r"\(([^()]*)\)")
DEFAULTS = {
    "learning_rate": "0.700000",
    "connection_rate": "1.000000",
    "network_type": "0",
    "learning_momentum": "0.000000",
    "training_algorithm": "2",
    "train_error_function": "1",
    "train_stop_function": "0",
    "cascade_output_change_fraction": "0.010000",
    "quickprop_decay": "-0.000100",
    "quickprop_mu": "1.750000",
    "rprop_increase_factor": "1.200000",
    "rprop_decrease_factor": "0.500000",
    "rprop_delta_min": "0.000000",
    "rprop_delta_max": "50.000000",
    "rprop_delta_zero": "0.100000",
    "cascade_output_stagnation_epochs": "12",
    "cascade_candidate_change_fraction": "0.010000",
    "cascade_candidate_stagnation_epochs": "12",
    "cascade_max_out_epochs": "150",
    "cascade_min_out_epochs": "50",
    "cascade_max_cand_epochs": "150",
    "cascade_min_cand_epochs": "50",
    "cascade_num_candidate_groups": "2",
    "bit_fail_limit": "3.49999994039535522461e-01",
    "cascade_candidate_limit": "1.00000000000000000000e+03",
    "cascade_weight_multiplier": "4.00000005960464477539e-01",
    "cascade_activation_functions_count": "10",
    "cascade_activation_functions": "3 5 7 8 10 11 14 15 16 17 ",
    "cascade_activation_steepnesses_count": "4",
    "cascade_activation_steepnesses": "2.5e-01 5.0e-01 7.5e-01 1.0e+00 ",
    "scale_included": "0",
}
"""What libfann 2.2 writes for a network that nobody has configured, in its order."""


class Neuron(msgspec.Struct, frozen=True):
    """A neuron with its own connections: (from neuron, weight as f32). Neurons are numbered through all layers.

    One without connections behind the first layer is a bias: its value is 1.
    """

    function: int
    steepness: float
    connections: tuple[tuple[int, float], ...] = ()


class FannNet(msgspec.Struct, frozen=True):
    """A network file. `settings`: every other line by name, as text."""

    layers: tuple[tuple[Neuron, ...], ...]
    settings: dict[str, str] = msgspec.field(default_factory=lambda: dict(DEFAULTS))

    @property
    def kind(self) -> int:
        """LAYERED, or SHORTCUT: every layer sees all before it, and only the first has a bias."""
        return int(self.settings.get("network_type", "0"))

    @property
    def inputs(self) -> int:
        """Inputs without the bias neuron."""
        return len(self.layers[0]) - 1

    @property
    def outputs(self) -> int:
        """Outputs without the bias neuron that layered networks have there too."""
        return len(self.layers[-1]) - (self.kind == LAYERED)


def read_fann_net(path: Path | str) -> FannNet:
    """Return the network of a .net file. Raises LocalError naming what cannot be read."""
    path = Path(path)
    return parse_fann_net(decode_text(read_file(path), path.name), path.name)


def parse_fann_net(text: str, source: str) -> FannNet:
    """Return the network that `text` holds. Raises LocalError; `source` names the file in it."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != MAGIC:
        first = lines[0][:40] if lines else ""
        raise LocalError(f"{source} begins with {first!r}; only floating-point networks of FANN 2.1 ({MAGIC}) are read")
    fields: dict[str, str] = {}
    for number, line in enumerate(lines[1:], 2):
        name, equals, value = line.partition("=")
        if name.startswith(("neurons", "connections")):  # their names hold a list of columns
            name, equals, value = line.partition(")=")
            name += ")"
        if line.strip() and not equals:
            raise LocalError(f"{source} line {number}: {line[:40]!r} is not NAME=VALUE")
        if line.strip():
            fields[name] = value
    try:
        return _assemble(fields, source)
    except ValueError as error:
        raise LocalError(f"{source}: {error}") from None


def format_fann_net(net: FannNet) -> str:
    """Return the file's text: the same fields in libfann's order."""
    neurons = [neuron for layer in net.layers for neuron in layer]
    settings = {**DEFAULTS, **net.settings}
    is_scale = settings.pop("scale_included")
    scales = {name: settings.pop(name) for name in list(settings) if name.startswith("scale_")}
    lines = [MAGIC, f"num_layers={len(net.layers)}", *(f"{name}={value}" for name, value in settings.items())]
    lines += [f"layer_sizes={''.join(f'{len(layer)} ' for layer in net.layers)}", f"scale_included={is_scale}"]
    lines += [f"{name}={value}" for name, value in scales.items()]
    shown = (f"({len(n.connections)}, {n.function}, {n.steepness:.20e}) " for n in neurons)
    lines.append(f"{NEURONS}={''.join(shown)}")
    links = (f"({source}, {weight:.20e}) " for n in neurons for source, weight in n.connections)
    lines.append(f"{CONNECTIONS}={''.join(links)}")
    return "\n".join(lines) + "\n"


def write_fann_net(path: Path | str, net: FannNet) -> None:
    """Write a network as libfann reads it. Raises ResourceError."""
    write_text(Path(path), format_fann_net(net))


def _assemble(fields: dict[str, str], source: str) -> FannNet:
    """Raises ValueError for fields that do not fit each other."""
    for name in ("layer_sizes", NEURONS, CONNECTIONS):
        if name not in fields:
            raise LocalError(f"{source} has no line {name.split(' ', maxsplit=1)[0]}=; the file is cut off")
    sizes = [int(word) for word in fields.pop("layer_sizes").split()]
    neurons = _groups(fields.pop(NEURONS), 3, NEURONS_MAX, "neurons")
    links = _groups(fields.pop(CONNECTIONS), 2, CONNECTIONS_MAX, "connections")
    if not 2 <= len(sizes) <= LAYERS_MAX or min(sizes) < 1 or sum(sizes) != len(neurons):
        raise ValueError(f"layer sizes {sizes[:8]} do not add up to {len(neurons)} neurons in 2 to {LAYERS_MAX} layers")
    if int(fields.get("network_type", "0")) not in (LAYERED, SHORTCUT):
        raise ValueError(f"network type {fields['network_type']} is neither layered (0) nor shortcut (1)")
    counts = [int(count) for count, _, _ in neurons]
    if min(counts) < 0 or sum(counts) != len(links):
        raise ValueError(f"the neurons have {sum(counts)} inputs in all, but {len(links)} connections are listed")
    ends = np.cumsum([0, *counts]).tolist()
    made = [
        Neuron(int(function), _single(steepness), tuple((int(a), _single(w)) for a, w in links[first:last]))
        for (_, function, steepness), (first, last) in zip(neurons, pairwise(ends), strict=True)
    ]
    starts = np.cumsum([0, *sizes]).tolist()
    layers = tuple(tuple(made[first:last]) for first, last in pairwise(starts))
    _check_links(layers, starts)
    fields.pop("num_layers", None)
    return FannNet(layers, fields)


def _check_links(layers: tuple[tuple[Neuron, ...], ...], starts: list[int]) -> None:
    for index, layer in enumerate(layers):
        for place, neuron in enumerate(layer, starts[index]):
            for link, _ in neuron.connections:
                if not 0 <= link < starts[index]:
                    raise ValueError(f"neuron {place} is fed by neuron {link}, which is not in a layer before it")


def _groups(text: str, width: int, most: int, what: str) -> list[tuple[str, ...]]:
    found = [tuple(part.strip() for part in group.split(",")) for group in _GROUP.findall(text)]
    if len(found) > most:
        raise ValueError(f"{len(found)} {what} are over {most}")
    for at, group in enumerate(found):
        if len(group) != width:
            raise ValueError(f"entry {at + 1} of {what} is ({', '.join(group)[:40]}); it must have {width} values")
    return found


def _single(word: str) -> float:
    try:
        with np.errstate(over="ignore"):
            value = float(np.float32(float(word)))
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise ValueError(f"{word[:40]!r} is not a finite 32-bit float")
    return value
