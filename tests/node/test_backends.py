from collections.abc import Callable

import pytest

from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.engine import reference
from synaptic_mesh.engine.backend import Trust
from synaptic_mesh.node.backends import open_backend


@pytest.mark.parametrize("name", ["reference", "wasm"])
def test_a_backend_is_exact_once_it_has_passed_the_golden_vectors(name: str) -> None:
    assert open_backend(name).trust is Trust.EXACT


def test_a_reference_that_computes_other_bits_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    right: Callable[..., object] = reference.sum_interleaved
    monkeypatch.setattr(reference, "sum_interleaved", lambda a: right(a[..., ::-1]))
    with pytest.raises(ResourceError, match="golden vectors differently"):
        open_backend("reference")


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(LocalError, match="'abacus'"):
        open_backend("abacus")
