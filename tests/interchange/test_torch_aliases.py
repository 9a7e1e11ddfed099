"""Memory that an exported torch module shares: what is changed in place and read under an older name is refused."""

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.interchange.torch_aliases import Reference, TorchNode, check_aliases


def node(name: str, op: str, *arguments: str) -> TorchNode:
    return TorchNode(name, f"aten.{op}", tuple(Reference(each) for each in arguments), {})


DOUBLED = node("y", "mul.Tensor", "x")


def test_changes_in_place_that_nobody_reads_under_another_name() -> None:
    check_aliases([DOUBLED, node("z", "relu_.default", "y"), node("s", "add.Tensor", "x", "z")], Reference("s"))
    check_aliases([node("v", "view.default", "x"), node("z", "relu_.default", "v")], Reference("z"))
    check_aliases([node("v", "view.default", "x"), DOUBLED, node("z", "relu_.default", "y")], (Reference("v"),))


@pytest.mark.parametrize("view", ["view.default", "slice.Tensor", "t.default", "detach.default", "unsqueeze.default"])
def test_changes_in_place_that_a_view_shares(view: str) -> None:
    with pytest.raises(LocalError, match=r"aten.add_.Tensor \(node 'z'\) changes a tensor in place .* later as 'y'"):
        check_aliases([DOUBLED, node("v", view, "y"), node("z", "add_.Tensor", "v")], (Reference("y"),))
    with pytest.raises(LocalError, match="that is read later as 'v'"):
        check_aliases(
            [DOUBLED, node("v", view, "y"), node("z", "add_.Tensor", "y"), node("s", "add.Tensor", "z", "v")],
            Reference("s"),
        )
