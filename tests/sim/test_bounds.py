"""What a core holds is measured, and an excess is named."""

import msgspec
import pytest

from synaptic_mesh.sim import bounds
from synaptic_mesh.sim.plan import Settings
from synaptic_mesh.sim.scenario import Run, run_seed

SHORT = Settings(node_count=4, rounds_min=30)


def test_an_ordinary_run_stays_within_every_bound_and_really_holds_something() -> None:
    run = Run(1, SHORT, None)
    run.play()
    _, node = next(run._validators())
    found = {name: (size, bound) for name, size, bound in bounds.sizes(node.core)}
    assert all(size <= bound for size, bound in found.values())
    assert found["accepted blocks"][0] > 10
    assert found["recent commits"][0] > 10
    assert bounds.excesses(node.core) == []


def test_a_run_that_holds_too_much_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "ROUNDS_OPEN_MAX", -200)
    failure = run_seed(1, msgspec.structs.replace(SHORT, byzantine_count=0)).failure
    assert "rounds above the gc round holds" in failure
