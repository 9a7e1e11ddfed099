"""The forward pass in onnxruntime on one thread: a Gemm-Relu-Gemm model, a session, one `run` per step."""

import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.bench.cases import Case
from synaptic_mesh.bench.contestant import Prepared
from synaptic_mesh.bench.networks import NetworkWork
from synaptic_mesh.bench.networks_onnx import onnx_network
from synaptic_mesh.bench.workload import PARAMETERS, Kind

OPSET = 17
IR_VERSION = 8
"""What goes with opset 17 (onnx/docs/Versioning.md): runtimes refuse a version that is newer than they are."""


class Entry:
    """onnxruntime's CPU provider."""

    name = "onnxruntime"

    def prepare(self, case: Case) -> Prepared | None:
        """Return the case ready to be run, or None: it infers only."""
        if case.work.kind is not Kind.FORWARD:
            return None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        if isinstance(case.work, NetworkWork):
            model = onnx_network(case.work.network, case.work.parameters(), case.work.rows)
        else:
            model = forward_model(case.work.parameters(), case.work.rows)
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        feed, outputs = case.work.inputs(), list[Array]()

        def run() -> None:
            for _ in range(case.steps):
                outputs[:] = session.run(["output"], feed)

        return Prepared(run, lambda: {"output": outputs[0]})


def forward_model(parameters: dict[str, F32], rows: int) -> bytes:
    """Return the classifier's forward pass in ONNX."""
    features, classes = parameters["w1"].shape[0], parameters["w2"].shape[1]
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["before"]),
        helper.make_node("Relu", ["before"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "w2", "b2"], ["output"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, features])
    out = helper.make_tensor_value_info("output", TensorProto.FLOAT, [rows, classes])
    weights = [numpy_helper.from_array(parameters[name], name) for name in PARAMETERS]
    graph = helper.make_graph(nodes, "classifier", [x], [out], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())
