"""Golden vectors: the digests of what small graphs compute, and the check that a backend computes them too.

They pin the definition (a change of any order, coefficient or decomposition changes `semantics_id`), and a backend is
exact on a machine only after `check_backend` found nothing there. The graphs and inputs are in `golden_cases.py`; the
digests in `golden_digests.py`, which `format_digests()` writes when the definition is changed on purpose:

    python -c "from synaptic_mesh.engine.golden import format_digests as f; print(f(), end='')" > golden_digests.py

`golden_operations.py` is written by `format_operations()` in the same way.
"""

from collections.abc import Collection

from synaptic_mesh.base.arrays import array_digest
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.errors import MeshError
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.engine.backend import Backend, StepInvalid
from synaptic_mesh.engine.golden_case import Case
from synaptic_mesh.engine.golden_cases import build_case, cases
from synaptic_mesh.engine.golden_digests import DIGESTS
from synaptic_mesh.engine.golden_operations import OPERATIONS
from synaptic_mesh.engine.ir import Op
from synaptic_mesh.engine.scan_body import all_nodes
from synaptic_mesh.engine.serialize import graph_digest
from synaptic_mesh.engine.support import missing_features

INVALID = "invalid"
DIGEST_CHARS = 32
"""Digests are cut to 16 bytes here: they guard against accidents and differing machines, not against forgers."""


def semantics_id() -> Digest:
    """Return the name of these semantics: the digest of all golden digests. Stands in manifests and handshakes."""
    text = "\n".join(f"{key} {value}" for key, value in sorted(DIGESTS.items()))
    return hash_bytes("SM/semantics", text.encode())


def check_backend(backend: Backend, operations: Collection[Op] | None = None) -> list[str]:
    """Return one line per output of `backend` that differs from the golden digest; an empty list means exact here.

    With `operations`, only the cases that `cases_for` names. Cases that the backend says it cannot compile
    (`support.MISSING`) are left out.
    """
    failures = []
    for case in cases() if operations is None else map(build_case, cases_for(operations)):
        if missing_features(case.graph, backend.name):
            continue
        found = run_case(case, backend)
        expected = {key: value for key, value in DIGESTS.items() if key.startswith(case.name + ":")}
        wrong = [key for key in sorted(found.keys() | expected.keys()) if found.get(key) != expected.get(key)]
        failures += [f"{key}: {found.get(key, 'missing')}, expected {expected.get(key, 'none')}" for key in wrong]
    return failures


def cases_for(operations: Collection[Op]) -> list[str]:
    """Return the names of the cases that show these operations: for each the first case that holds it, and every case
    that holds nothing else."""
    wanted = {op.value for op in operations}
    chosen = {name for name, held in OPERATIONS.items() if wanted.issuperset(held)}
    for op in sorted(wanted):
        chosen.update([name for name, held in OPERATIONS.items() if op in held][:1])
    return [name for name in OPERATIONS if name in chosen]


def run_case(case: Case, backend: Backend) -> dict[str, str]:
    """Return digests of graph, inputs and every output as `backend` computes it; or that the step is invalid."""
    inputs = hash_bytes("SM/golden", *(array_digest(array) for _, array in sorted(case.inputs.items())))
    found = {"graph": graph_digest(case.graph).hex(), "inputs": inputs.hex()}
    try:
        program = backend.compile(case.graph)
        for name, array in case.inputs.items():
            program.write(name, array)
        for _ in range(case.runs):
            program.run()
        found |= {f"out/{name}": array_digest(program.read(name)).hex() for name in case.graph.outputs}
    except StepInvalid:
        found["out"] = INVALID
    except MeshError as error:
        found["out"] = f"{type(error).__name__}: {error}"
    return {f"{case.name}:{key}": value[:DIGEST_CHARS] for key, value in found.items()}


def format_digests() -> str:
    """Return the text of `golden_digests.py` for the reference as it is now."""
    from synaptic_mesh.engine.reference import ReferenceBackend  # who only checks a backend does not need it

    lines = ['"""Written by golden.format_digests(): the digests that pin the semantics. Not edited by hand."""', ""]
    lines.append("DIGESTS = {")
    for case in cases():
        lines += [f'    "{key}": "{value}",' for key, value in run_case(case, ReferenceBackend()).items()]
    return "\n".join([*lines, "}", ""])


def format_operations() -> str:
    """Return the text of `golden_operations.py`, before the house format, for the cases as they are now."""
    lines = ['"""Written by golden.format_operations(): the operations in each golden case. Not edited by hand."""', ""]
    lines.append("OPERATIONS = {")
    for case in cases():
        held = sorted({node.op.value for node in all_nodes(case.graph)})
        lines.append(f'    "{case.name}": ({"".join(f"{chr(34)}{op}{chr(34)}, " for op in held).rstrip()}),')
    return "\n".join([*lines, "}", ""])
