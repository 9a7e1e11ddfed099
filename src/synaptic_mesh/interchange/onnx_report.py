"""The public node tests that are shipped inside the package onnx, run on an engine backend.

    python -m synaptic_mesh.interchange.onnx_report > docs/guide/onnx.md

A case passes when every output has the expected type and shape and is as near as the case asks. It is skipped when the
importer refuses it, and its sentence is the reason. Anything else has failed.
"""

import collections
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import numpy_helper

from synaptic_mesh.base.arrays import Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.backend import Backend, StepInvalid
from synaptic_mesh.interchange.onnx_backend import MeshBackend

_NUMBERS = re.compile(r"node \d+( '[^']*')?|\bof shapes .*?: |\(node \d+[^)]*\)")


class Outcome(msgspec.Struct, frozen=True):
    """One case. reason: empty when it passed."""

    name: str
    operators: tuple[str, ...]
    passed: bool
    skipped: bool
    reason: str = ""


def node_cases() -> list[Any]:
    """Return the node tests of the installed package."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases are generated with overflow on purpose
        found: list[Any] = load_model_tests(kind="node")
    return found


def run_cases(cases: Iterable[Any], backend: Backend | None = None) -> Iterator[Outcome]:
    """Yield what becomes of each case, in the order of their names."""
    for case in sorted(cases, key=lambda case: str(case.name)):
        model = case.model or onnx.load(os.path.join(case.model_dir, "model.onnx"))
        operators = tuple(sorted({f"{node.domain}.{node.op_type}".lstrip(".") for node in model.graph.node}))
        try:
            reason = _run_case(case, model, backend)
            yield Outcome(case.name, operators, not reason, False, reason)
        except LocalError as error:
            yield Outcome(case.name, operators, False, True, str(error))
        except Exception as error:  # a report names what broke instead of ending
            yield Outcome(case.name, operators, False, False, f"{type(error).__name__}: {error}")


def _run_case(case: Any, model: onnx.ModelProto, backend: Backend | None) -> str:
    """Return what differs, or an empty text. Raises LocalError when the importer refuses the case."""
    prepared = MeshBackend.prepare(model, backend=backend)
    for inputs, expected in case.data_sets or list(_stored_sets(case, model)):
        try:
            found = prepared.run(inputs)
        except StepInvalid as error:
            raise LocalError(str(error)) from None
        for wanted, given in _pairs(expected, found):
            plain = numpy_helper.to_array(wanted) if isinstance(wanted, onnx.TensorProto) else np.asarray(wanted)
            difference = _difference(plain, given, case.rtol, case.atol)
            if difference:
                return difference
    return ""


def _pairs(expected: Iterable[Any], found: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield what is compared: sequences value by value."""
    for wanted, given in zip(expected, found, strict=True):
        if isinstance(given, list):
            yield from zip(wanted, given, strict=True)
        else:
            yield wanted, given


def _stored_sets(case: Any, model: onnx.ModelProto) -> Iterator[tuple[list[Array], list[Array]]]:
    root = os.path.join(case.model_dir)
    for folder in sorted(name for name in os.listdir(root) if name.startswith("test_data_set")):
        yield (
            _stored(os.path.join(root, folder), "input", len(model.graph.input)),
            _stored(os.path.join(root, folder), "output", len(model.graph.output)),
        )


def _stored(folder: str, kind: str, count: int) -> list[Array]:
    found = []
    for index in range(count):
        tensor = onnx.TensorProto()
        with open(os.path.join(folder, f"{kind}_{index}.pb"), "rb") as file:
            tensor.ParseFromString(file.read())
        found.append(numpy_helper.to_array(tensor))
    return found


def _difference(wanted: Array, given: Array, rtol: float, atol: float) -> str:
    if wanted.shape != given.shape or wanted.dtype != given.dtype:
        return f"gave {given.dtype} {given.shape}, expected {wanted.dtype} {wanted.shape}"
    if wanted.dtype.name == "bfloat16":
        wanted, given = wanted.astype(np.float32), given.astype(np.float32)
    if wanted.dtype.kind in "fc":
        with np.errstate(invalid="ignore"):
            near = np.isclose(given, wanted, rtol=rtol, atol=atol, equal_nan=True)
        return "" if near.all() else f"{int((~near).sum())} of {wanted.size} values differ"
    return "" if np.array_equal(wanted, given) else "values differ"


def short_reason(reason: str) -> str:
    """Return a reason without what differs from case to case."""
    return re.sub(r"(?<![A-Za-z0-9_])\d+", "N", _NUMBERS.sub("", reason)).strip(": ").replace("|", "\\|")


def report(outcomes: list[Outcome]) -> str:
    """Return the page for docs/guide."""
    passed = [outcome for outcome in outcomes if outcome.passed]
    skipped = [outcome for outcome in outcomes if outcome.skipped]
    failed = [outcome for outcome in outcomes if not outcome.passed and not outcome.skipped]
    supported = sorted({op for outcome in passed for op in outcome.operators})
    lines = [
        "# ONNX operators",
        "",
        f"Written by `python -m synaptic_mesh.interchange.onnx_report` with onnx {onnx.__version__} on the reference",
        "backend. It runs the node tests that are shipped inside the package onnx.",
        "",
        f"{len(passed)} of {len(outcomes)} cases pass, {len(failed)} fail, {len(skipped)} are skipped: the importer",
        "refuses them with the reason below.",
        "",
        "## Operators with passing cases",
        ", ".join(f"`{op}`" for op in supported),
        "",
        "## Failed",
        *([f"- `{o.name}`: {o.reason}" for o in failed] or ["None."]),
        "",
        "## Skipped, by reason",
        "| cases | reason | which |",
        "|---|---|---|",
    ]
    groups: dict[str, list[str]] = collections.defaultdict(list)
    for outcome in skipped:
        groups[short_reason(outcome.reason)].append(outcome.name.removeprefix("test_"))
    for reason, names in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        lines.append(f"| {len(names)} | {reason} | {', '.join(names)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(report(list(run_cases(node_cases()))))
