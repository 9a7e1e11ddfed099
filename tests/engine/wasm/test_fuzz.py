"""The emitter against the definition: random graphs, every bit, in the runtime that users run."""

import pytest
from random_graphs import differences, operations_of

from synaptic_mesh.workers.wasm_runtime import WasmBackend


@pytest.mark.slow
def test_random_graphs_have_the_bits_of_the_reference() -> None:
    wrong, seen = differences(range(300), 16, [WasmBackend()])
    assert not wrong, "\n".join(wrong[:10])
    assert [name for name in operations_of([WasmBackend()]) if not seen[name]] == []
    assert seen["valid"] >= 180
    assert seen["invalid"] >= 30
    assert seen["refused"] <= 50


@pytest.mark.long
def test_many_random_graphs_have_the_bits_of_the_reference() -> None:
    wrong, _ = differences(range(1000, 6000), 22, [WasmBackend()])
    assert not wrong, "\n".join(wrong[:10])
