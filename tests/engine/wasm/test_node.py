"""The same module bytes in another engine: V8, which is Chromium's, gives the reference's bits."""

import base64
import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from synaptic_mesh.base.arrays import Array, canonical_bytes
from synaptic_mesh.bench.engine_suite import classifier_step, step_data
from synaptic_mesh.engine.backend import StepInvalid
from synaptic_mesh.engine.golden_case import Case
from synaptic_mesh.engine.golden_cases import cases
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.support import missing_features
from synaptic_mesh.engine.trace import NUMPY_DTYPES
from synaptic_mesh.engine.wasm.compiler import CompiledModule, compile_graph

NODE = shutil.which("node")
SCRIPT = Path(__file__).with_name("run_modules.mjs")
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        NODE is None, reason="node is not installed: the check in a second WebAssembly engine is left out"
    ),
]


def all_cases() -> list[Case]:
    parameters, x, y = step_data()
    able = [case for case in cases() if not missing_features(case.graph, "wasm")]
    return [*able, Case("784-128-10 step", classifier_step(), {**parameters, "x": x, "y": y}, runs=3)]


def run_in_node(compiled: list[CompiledModule], wanted: list[Case]) -> list[tuple[int, dict[str, Array]]]:
    request = [
        {
            "wasm": base64.b64encode(module.wasm).decode(),
            "writes": [
                [module.inputs[name].offset, base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()]
                for name, array in case.inputs.items()
            ],
            "runs": case.runs,
            "reads": [[slot.offset, 4 * math.prod(slot.shape)] for slot in module.outputs.values()],
        }
        for module, case in zip(compiled, wanted, strict=True)
    ]
    assert NODE is not None
    done = subprocess.run([NODE, str(SCRIPT)], input=json.dumps(request), capture_output=True, text=True, check=True)
    results = []
    for module, answer in zip(compiled, json.loads(done.stdout), strict=True):
        outputs = {
            name: np.frombuffer(base64.b64decode(data), NUMPY_DTYPES[slot.dtype]).reshape(slot.shape)
            for (name, slot), data in zip(module.outputs.items(), answer["reads"], strict=True)
        }
        results.append((answer["flags"], outputs))
    return results


def run_reference(case: Case) -> dict[str, Array] | None:
    """Outputs, or None for an invalid step."""
    program = ReferenceBackend().compile(case.graph)
    for name, array in case.inputs.items():
        program.write(name, array)
    try:
        for _ in range(case.runs):
            program.run()
    except StepInvalid:
        return None
    return {name: program.read(name) for name in case.graph.outputs}


def test_node_gives_the_bits_of_the_reference() -> None:
    wanted = all_cases()
    found = run_in_node([compile_graph(case.graph) for case in wanted], wanted)
    for case, (flags, outputs) in zip(wanted, found, strict=True):
        expected = run_reference(case)
        assert (flags == 0) == (expected is not None), case.name
        for name, array in (expected or {}).items():
            assert canonical_bytes(outputs[name]) == canonical_bytes(array), f"{case.name}: {name}"
