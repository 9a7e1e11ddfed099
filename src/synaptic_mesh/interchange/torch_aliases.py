"""Which tensors of an exported torch module share memory. Imports no torch.

Operators with a name such as add_ change their first argument where it lies. In a graph of values that is harmless as
long as nobody reads another name of that memory afterwards; torch.export renames the tensor itself, but not its views.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from synaptic_mesh.base.errors import LocalError

VIEWS = (
    "alias", "broadcast_to", "chunk", "contiguous", "detach", "detach_", "expand", "expand_as", "flatten", "mT",
    "moveaxis", "movedim", "narrow", "numpy_T", "permute", "reshape", "select", "slice", "split", "split_with_sizes",
    "squeeze", "swapaxes", "swapdims", "t", "to", "transpose", "type_as", "unbind", "unflatten", "unsqueeze", "view",
    "view_as",
)  # fmt: skip
"""Operators whose result may lie in their argument's memory."""
GETITEM = "<built-in function getitem>"


class Reference(msgspec.Struct, frozen=True):
    """The value of a node or input."""

    name: str


class TorchNode(msgspec.Struct, frozen=True, eq=False):
    """One operator: its arguments hold Reference where another node's value stands."""

    name: str
    op: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    kind: str = ""
    """The type of the (first) result, by torch's name."""

    @property
    def is_view(self) -> bool:
        """True when the result may share the first argument's memory."""
        return self.op == GETITEM or self._stem in VIEWS

    @property
    def is_in_place(self) -> bool:
        """True when the first argument is changed."""
        return self.op.startswith("aten.") and self._stem.endswith("_") and self._stem != "detach_"

    @property
    def _stem(self) -> str:
        return self.op.removeprefix("aten.").split(".")[0]


def check_aliases(nodes: Sequence[TorchNode], result: Any) -> None:
    """Raise LocalError naming the first operator that changes memory which is read later under an older name."""
    memory: dict[str, str] = {}
    written: dict[str, tuple[int, TorchNode]] = {}
    made: dict[str, int] = {}
    end = TorchNode("", "", (result,), {})
    for at, node in enumerate((*nodes, end)):
        for name in _names((node.arguments, tuple(node.keywords.values()))):
            changed = written.get(memory.get(name, name))
            if changed is not None and made.get(name, -1) < changed[0]:
                raise LocalError(
                    f"torch operator {changed[1].op} (node {changed[1].name!r}) changes a tensor in place that is read "
                    f"later as {name!r}; write it without the underscore"
                )
        first = next(_names(node.arguments), node.name)
        is_shared = node.is_view or node.is_in_place
        memory[node.name] = memory.get(first, first) if is_shared else node.name
        made[node.name] = at
        if node.is_in_place:
            written[memory[node.name]] = (at, node)


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, Reference):
        yield value.name
    elif isinstance(value, tuple):
        for each in value:
            yield from _names(each)
