"""Who takes part: our backends and the rivals, each behind the same two calls. A rival's library is imported only in
its own file; where it is missing, the record says so."""

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple, Protocol

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.bench.cases import Case

RIVALS = {
    "numpy": "rival_numpy",
    "torch": "rival_torch",
    "torch.compile": "rival_torch_compile",
    "onnxruntime": "rival_onnx",
    "jax": "rival_jax",
}
"""Rival -> module of this package with a class `Entry`. Their bits are tolerant: close, and different from each
other."""


class Prepared(NamedTuple):
    """A contestant ready for one case. `run`: `case.steps` steps; `results`: output, or loss and parameters, after the
    runs so far; `close` releases what it holds."""

    run: Callable[[], object]
    results: Callable[[], dict[str, Array]]
    close: Callable[[], None] = lambda: None


class Contestant(Protocol):
    """Someone who can do the work."""

    name: str

    def prepare(self, case: Case) -> Prepared | None:
        """Return the case ready to be run from its initial values, or None when it cannot do this kind of work."""


def open_rivals(left_out: dict[str, str], skipped: dict[str, str]) -> list[Contestant]:
    """Return the rivals whose libraries are installed. Adds a reason to `left_out` for each other one; `skipped` are
    those that are not wanted, with the reason."""
    found: list[Contestant] = []
    for name, module in RIVALS.items():
        if name in skipped:
            left_out[name] = skipped[name]
            continue
        try:
            found.append(import_module(f"synaptic_mesh.bench.{module}").Entry())
        except ImportError as error:
            left_out[name] = f"not installed ({error}): make bench-rivals brings it"
    if not found:
        raise LocalError("no rival is left to compare with")
    return found
