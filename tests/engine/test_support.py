"""A backend that lacks an operation says so; the suites and the golden check leave such graphs out."""

import pytest

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine import golden, support
from synaptic_mesh.engine.golden import check_backend
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.support import BATCHED_MATMUL, missing_features, refuse_missing
from synaptic_mesh.engine.trace import f32, matmul, tanh, trace

BATCHED = trace(lambda x: tanh(matmul(x, x)), {"x": f32(2, 3, 3)})
PLAIN = trace(lambda x: tanh(x @ x), {"x": f32(3, 3)})


@pytest.fixture(autouse=True)
def _lacking(monkeypatch):
    monkeypatch.setattr(support, "MISSING", {"slow": frozenset({BATCHED_MATMUL}), "slower": frozenset({"tanh"})})


def test_what_is_missing_is_named():
    with pytest.raises(LocalError, match="the slow backend cannot compile matmul/batched yet"):
        refuse_missing(BATCHED, "slow")
    refuse_missing(PLAIN, "slow")
    refuse_missing(BATCHED, "reference")


def test_a_backend_of_two_lacks_what_either_lacks():
    assert missing_features(BATCHED, "slow, then slower") == [BATCHED_MATMUL, "tanh"]
    assert missing_features(PLAIN, "slow, then slower") == ["tanh"]


def test_the_golden_check_leaves_missing_cases_out(monkeypatch):
    class Slower(ReferenceBackend):
        name = "slower"

    def run_case(case, backend):
        assert not missing_features(case.graph, backend.name)
        return real(case, backend)

    real = golden.run_case
    monkeypatch.setattr(golden, "run_case", run_case)
    assert check_backend(Slower()) == []
