"""The same module bytes in another engine: V8, which is Chromium's, gives the reference's bits; so do worker
threads over one memory, and V8's own schedule."""

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
from synaptic_mesh.engine import fusion
from synaptic_mesh.engine.abi import WORD_OFFSET
from synaptic_mesh.engine.backend import StepInvalid
from synaptic_mesh.engine.golden_case import Case
from synaptic_mesh.engine.golden_cases import cases
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.support import missing_features
from synaptic_mesh.engine.trace import NUMPY_DTYPES
from synaptic_mesh.engine.wasm import compiler
from synaptic_mesh.engine.wasm.compiler import CompiledModule, compile_graph
from synaptic_mesh.engine.wasm.gemm import V8_SCHEDULE

NODE = shutil.which("node")
SCRIPT = Path(__file__).with_name("run_modules.mjs")
THREADS_SCRIPT = Path(__file__).with_name("run_threads.mjs")
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


@pytest.fixture
def everything_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion, "STRIP_RIGHT_ELEMENTS_MAX", 0)
    monkeypatch.setattr(compiler, "SHARED_PRODUCT_MIN", 1)
    monkeypatch.setattr(compiler, "SHARED_ROWS_MIN", 4)


@pytest.mark.usefixtures("everything_is_packed")
@pytest.mark.parametrize("threads", [2, 4])
def test_worker_threads_take_parts(threads: int) -> None:
    parameters, x, y = step_data()
    case = Case("784-128-10 step", classifier_step(), {**parameters, "x": x, "y": y}, runs=5)
    compiled = compile_graph(case.graph, threads)
    assert compiled.threads == threads
    request = {
        "wasm": base64.b64encode(compiled.wasm).decode(),
        "pages": compiled.module.pages,
        "word": WORD_OFFSET,
        "helpers": threads - 1,
        "writes": [
            [compiled.inputs[name].offset, base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()]
            for name, array in case.inputs.items()
        ],
        "runs": case.runs,
        "reads": [[slot.offset, 4 * int(np.prod(slot.shape))] for slot in compiled.outputs.values()],
    }
    assert NODE is not None
    done = subprocess.run(
        [NODE, str(THREADS_SCRIPT)], input=json.dumps(request), capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    expected = run_reference(case)
    assert (answer["flags"], expected is None) == (0, False)
    for name, data in zip(compiled.outputs, answer["reads"], strict=True):
        assert base64.b64decode(data) == (expected or {})[name].tobytes(), name


@pytest.mark.usefixtures("everything_is_packed")
def test_the_schedule_for_v8_has_the_same_bits() -> None:
    wanted = [case for case in all_cases() if "matmul" in case.name or "step" in case.name]
    assert wanted
    found = run_in_node([compile_graph(case.graph, schedule=V8_SCHEDULE) for case in wanted], wanted)
    for case, (flags, outputs) in zip(wanted, found, strict=True):
        expected = run_reference(case)
        assert (flags == 0) == (expected is not None), case.name
        for name, array in (expected or {}).items():
            assert canonical_bytes(outputs[name]) == canonical_bytes(array), f"{case.name}: {name}"
