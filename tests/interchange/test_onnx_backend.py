"""ONNX through the interface of onnx.backend: the node tests that the package ships, and what is refused."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402

from synaptic_mesh.base.errors import LocalError  # noqa: E402
from synaptic_mesh.interchange.onnx_backend import MeshBackend, OnnxRefusal  # noqa: E402
from synaptic_mesh.interchange.onnx_report import node_cases, report, run_cases  # noqa: E402
from synaptic_mesh.workers.wasm_runtime import open_wasm_backend  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "onnx.md"


@pytest.fixture(scope="module")
def outcomes():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(run_cases(node_cases()))


def test_every_node_test_passes_or_is_refused_with_a_reason(outcomes):
    failed = [f"{outcome.name}: {outcome.reason}" for outcome in outcomes if not (outcome.passed or outcome.skipped)]
    assert failed == []
    assert sum(outcome.passed for outcome in outcomes) > 1500
    assert all(outcome.reason for outcome in outcomes if outcome.skipped)


def test_the_page_is_what_was_found(outcomes):
    page = PAGE.read_text()
    if f"with onnx {onnx.__version__} " not in page:
        pytest.skip("the page was written with another version of onnx")
    assert page == report(outcomes)


def test_wasm_gives_the_same_outcomes(outcomes):
    cases = [
        case for case in node_cases() if re.match(r"test_(conv|gemm|matmul|lstm|softmax_axis|reduce_mean)", case.name)
    ]
    expected = {outcome.name: outcome.passed for outcome in outcomes}
    for outcome in run_cases(cases, open_wasm_backend()):
        assert outcome.passed == expected[outcome.name] or "cannot compile" in outcome.reason, outcome


def model_of(node, shapes, kind=TensorProto.FLOAT, opset=18):
    ports = [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    graph = helper.make_graph([node], "g", ports, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def test_nodes_run_alone_and_by_name():
    x = np.array([[1, -2], [3, -4]], np.float32)
    node = helper.make_node("Relu", ["x"], ["y"])
    (y,) = MeshBackend.run_node(node, [x])
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    prepared = MeshBackend.prepare(model_of(node, {"x": [2, 2]}))
    assert prepared.run({"x": x})[0].tolist() == prepared.run(x)[0].tolist() == y.tolist()
    assert MeshBackend.supports_device("CPU")
    assert not MeshBackend.supports_device("CUDA")


@pytest.mark.parametrize(
    ("node", "opset", "message"),
    [
        (("NonMaxSuppression", ["x"], ["y"]), 18, "operator NonMaxSuppression .node 1. is not supported"),
        (("Relu", ["x"], ["y"]), 6, "opset 6; opsets 7 to 28 are read"),
        (("Scan", ["x"], ["y"]), 8, "Scan of opset 8 runs over a batch"),
        (("Relu", ["z"], ["y"]), 18, "node 1 Relu '' needs 'z', which nothing computes before it"),
        (("MatMul", ["x", "x"], ["y"]), 18, r"node 1: MatMul of shapes \(2, 3\), \(2, 3\):"),
    ],
)
def test_what_is_refused_names_the_node(node, opset, message):
    op, inputs, outputs = node
    model = model_of(helper.make_node(op, inputs, outputs), {"x": [2, 3]}, opset=opset)
    with pytest.raises(OnnxRefusal, match=message):
        MeshBackend.run_model(model, [np.zeros((2, 3), np.float32)])


def test_flipped_bytes_are_refused_or_harmless():
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3, 2], np.arange(6, dtype=np.float32).tobytes(), raw=True)
    model = model_of(helper.make_node("Gemm", ["x", "w"], ["y"], alpha=2.0), {"x": [2, 3]})
    model.graph.initializer.append(weight)
    data = model.SerializeToString()
    outcomes = set()
    for at in range(len(data)):
        for change in (1, 16, 128):
            try:
                MeshBackend.run_model(
                    data[:at] + bytes([data[at] ^ change]) + data[at + 1 :], np.zeros((2, 3), np.float32)
                )
                outcomes.add("harmless")
            except LocalError:
                outcomes.add("refused")
    assert outcomes == {"harmless", "refused"}


def test_no_model_is_one_sentence(tmp_path):
    from synaptic_mesh.interchange.onnx_import import load_onnx

    (tmp_path / "a.onnx").write_bytes(b"\x00\x01 no model")
    with pytest.raises(LocalError, match=r"a\.onnx is no ONNX model"):
        load_onnx(tmp_path / "a.onnx")
    with pytest.raises(LocalError, match=r"cannot read .*none\.onnx"):
        load_onnx(tmp_path / "none.onnx")
