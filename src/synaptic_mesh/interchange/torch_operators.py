"""The operators that torch.export writes for the usual modules, in terms of the engine. Imports no torch."""

import math

from synaptic_mesh.interchange.torch_call import Handler
from synaptic_mesh.interchange.torch_elementwise import ELEMENTWISE
from synaptic_mesh.interchange.torch_neural import NEURAL
from synaptic_mesh.interchange.torch_reductions import REDUCTIONS
from synaptic_mesh.interchange.torch_tensors import TENSORS

CHECKS = ("ge", "le", "eq", "ne", "lt", "gt")
TORCH_OPERATORS: dict[str, Handler] = {
    **{f"aten.{name}": handler for name, handler in {**ELEMENTWISE, **TENSORS, **REDUCTIONS, **NEURAL}.items()},
    "<built-in function getitem>": lambda call: call.get(0)[call.get(1)],
    "aten.sym_size.int": lambda call: call.tensor().shape[call.get(1)],
    "aten.sym_numel.default": lambda call: math.prod(call.tensor().shape),
    "<built-in function mul>": lambda call: call.get(0) * call.get(1),
    "<built-in function add>": lambda call: call.get(0) + call.get(1),
    "<built-in function sub>": lambda call: call.get(0) - call.get(1),
    "<built-in function floordiv>": lambda call: call.get(0) // call.get(1),
    **{f"<built-in function {name}>": (lambda _: None) for name in CHECKS},
    "aten._assert_scalar.default": lambda _: None,
    "aten._assert_tensor_metadata.default": lambda _: None,
}


def find_operator(name: str) -> Handler | None:
    """Return what computes an operator, or None. One that works in place is computed as the one without underscore."""
    found = TORCH_OPERATORS.get(name)
    stem, _, form = name.rpartition(".")
    return TORCH_OPERATORS.get(f"{stem[:-1]}.{form}") if found is None and stem.endswith("_") else found
