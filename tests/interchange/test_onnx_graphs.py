"""Graphs as other programs write them, against onnxruntime: NHWC layers, shapes from shapes, tokens, masks, control
flow with known counts, recurrences with every setting, quantised layers, sequences, odd and missing names."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from onnx import TensorProto as T  # noqa: E402
from onnx import helper as H  # noqa: E402
from onnx import numpy_helper as NH  # noqa: E402

from synaptic_mesh.base.errors import LocalError  # noqa: E402
from synaptic_mesh.facade.formats import from_onnx  # noqa: E402
from synaptic_mesh.interchange.onnx_backend import MeshBackend  # noqa: E402

rng = np.random.default_rng(0)
N = H.make_node
CASES = {}


def w(name, *shape, dt=np.float32):
    return NH.from_array(rng.normal(size=shape).astype(dt), name)


def c(name, values, dt=np.int64):
    return NH.from_array(np.array(values, dt), name)


def f(*shape):
    return rng.normal(size=shape).astype(np.float32)


def port(name, kind, shape=None):
    return H.make_tensor_value_info(name, kind, shape)


def model(nodes, inits, rows, out="y", opset=17, itype=T.FLOAT, otype=T.FLOAT, extra=()):
    outputs = [port(name, kind) for name, kind in (out if isinstance(out, list) else [(out, otype)])]
    graph = H.make_graph(nodes, "g", [port("x", itype, rows)], outputs, initializer=inits)
    made = H.make_model(graph, opset_imports=[H.make_opsetid("", opset), *extra])
    made.ir_version = 8
    return made


def add(name, made, x):
    CASES[name] = (made, x)


# keras NHWC
add(
    "keras_cnn",
    model(
        [
            N("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
            N("Conv", ["t", "k", "b"], ["cv"], auto_pad="SAME_UPPER", strides=[2, 2]),
            N("Relu", ["cv"], ["r"]),
            N("BatchNormalization", ["r", "g", "be", "me", "va"], ["bn"], epsilon=1e-3),
            N("Transpose", ["bn"], ["n"], perm=[0, 2, 3, 1]),
            N("GlobalAveragePool", ["bn"], ["p"]),
            N("Squeeze", ["p", "ax"], ["s"]),
            N("MatMul", ["s", "w"], ["mm"]),
            N("Add", ["mm", "b2"], ["y0"]),
            N("Softmax", ["y0"], ["y"]),
        ],
        [
            w("k", 4, 3, 3, 3),
            w("b", 4),
            w("g", 4),
            w("be", 4),
            w("me", 4),
            NH.from_array(abs(rng.normal(size=4)).astype(np.float32), "va"),
            c("ax", [2, 3]),
            w("w", 4, 5),
            w("b2", 5),
        ],
        ["N", 7, 7, 3],
        "y",
    ),
    f(3, 7, 7, 3),
)
add(
    "keras_flat",
    model(
        [
            N("Shape", ["x"], ["sh"]),
            N("Slice", ["sh", "z", "o"], ["n"]),
            N("Concat", ["n", "m1"], ["ns"], axis=0),
            N("Reshape", ["x", "ns"], ["r"]),
            N("Gemm", ["r", "w"], ["y"], transB=1),
        ],
        [c("z", [0]), c("o", [1]), c("m1", [-1]), w("w", 3, 12)],
        ["N", 2, 6],
        "y",
    ),
    f(5, 2, 6),
)
add(
    "keras_cast_shape",
    model(
        [
            N("Shape", ["x"], ["sh"]),
            N("Cast", ["sh"], ["sf"], to=6),
            N("Gather", ["sf", "i0"], ["n"]),
            N("Cast", ["n"], ["nn"], to=7),
            N("Unsqueeze", ["nn", "a0"], ["nu"]),
            N("Concat", ["nu", "t12"], ["ns"], axis=0),
            N("Reshape", ["x", "ns"], ["y"]),
        ],
        [c("i0", 0), c("a0", [0]), c("t12", [12])],
        ["N", 2, 6],
        "y",
    ),
    f(5, 2, 6),
)
add(
    "tile_dynamic",
    model(
        [
            N("Shape", ["x"], ["sh"]),
            N("Gather", ["sh", "i0"], ["n"]),
            N("Unsqueeze", ["n", "a0"], ["nu"]),
            N("Concat", ["nu", "one", "one"], ["rep"], axis=0),
            N("Tile", ["tok", "rep"], ["tt"]),
            N("Concat", ["tt", "x"], ["y"], axis=1),
        ],
        [c("i0", 0), c("a0", [0]), c("one", [1]), w("tok", 1, 1, 4)],
        ["N", 3, 4],
        "y",
    ),
    f(5, 3, 4),
)
add(
    "expand_dynamic",
    model(
        [
            N("Shape", ["x"], ["sh"]),
            N("Gather", ["sh", "i0"], ["n"], axis=0),
            N("Unsqueeze", ["n", "a0"], ["nu"]),
            N("Concat", ["nu", "t3"], ["shp"], axis=0),
            N("Expand", ["row", "shp"], ["e"]),
            N("Add", ["e", "x"], ["y"]),
        ],
        [c("i0", 0), c("a0", [0]), c("t3", [3]), w("row", 1, 3)],
        ["N", 3],
        "y",
    ),
    f(5, 3),
)
add(
    "const_of_shape",
    model(
        [
            N("Shape", ["x"], ["sh"]),
            N("ConstantOfShape", ["sh"], ["z"], value=NH.from_array(np.array([1.5], np.float32))),
            N("Add", ["z", "x"], ["y"]),
        ],
        [],
        ["N", 3],
        "y",
    ),
    f(4, 3),
)
add(
    "range_mask",
    model(
        [
            N("Shape", ["x"], ["sh"]),
            N("Gather", ["sh", "i1"], ["t"]),
            N("Range", ["z0", "t", "s1"], ["r"]),
            N("Cast", ["r"], ["rf"], to=1),
            N("Mul", ["rf", "x"], ["y"]),
        ],
        [c("i1", 1), c("z0", 0), c("s1", 1)],
        ["N", 4],
        "y",
    ),
    f(3, 4),
)
add(
    "nonames_unused",
    model(
        [N("Relu", ["x"], ["a"]), N("Split", ["a", "sp"], ["b", "unused"], axis=1), N("Identity", ["b"], ["y"])],
        [c("sp", [2, 3]), w("never", 7, 7)],
        ["N", 5],
        "y",
    ),
    f(3, 5),
)
add(
    "drop_outputs",
    model(
        [N("Dropout", ["x", "r"], ["a", "mask"]), N("Identity", ["a"], ["y"])], [c("r", 0.5, np.float32)], ["N", 5], "y"
    ),
    f(3, 5),
)
add(
    "multi_out",
    model([N("Relu", ["x"], ["y"]), N("Neg", ["x"], ["z"])], [], ["N", 5], [("y", T.FLOAT), ("z", T.FLOAT)]),
    f(3, 5),
)
add(
    "odd names",
    model(
        [N("Mul", ["x", "w/a:0"], ["très/étrange name"]), N("Add", ["très/étrange name", "w a:0"], ["y"])],
        [w("w/a:0", 5), w("w a:0", 5)],
        ["N", 5],
        "y",
    ),
    f(3, 5),
)
add(
    "ids",
    model(
        [
            N("Gather", ["emb", "x"], ["e"]),
            N("ReduceMean", ["e"], ["p"], axes=[1], keepdims=0),
            N("MatMul", ["p", "w"], ["y"]),
        ],
        [w("emb", 10, 4), w("w", 4, 2)],
        ["N", 6],
        "y",
        itype=T.INT64,
    ),
    rng.integers(0, 10, (3, 6)),
)
add(
    "ids32mask",
    model(
        [
            N("Equal", ["x", "zero"], ["m"]),
            N("Cast", ["m"], ["mf"], to=1),
            N("Not", ["m"], ["nm"]),
            N("Where", ["m", "neg", "fz"], ["b"]),
            N("Cast", ["x"], ["xf"], to=1),
            N("Add", ["b", "xf"], ["s"]),
            N("Mul", ["s", "mf"], ["y"]),
        ],
        [c("zero", 0, np.int32), c("neg", -1e9, np.float32), c("fz", 0, np.float32)],
        ["N", 6],
        "y",
        itype=T.INT32,
    ),
    rng.integers(0, 3, (3, 6)).astype(np.int32),
)
add(
    "bool_in",
    model([N("Cast", ["x"], ["f"], to=1), N("MatMul", ["f", "w"], ["y"])], [w("w", 6, 2)], ["N", 6], "y", itype=T.BOOL),
    rng.integers(0, 2, (3, 6)).astype(bool),
)
add(
    "uint8_img",
    model(
        [N("Cast", ["x"], ["f"], to=1), N("Div", ["f", "s"], ["d"]), N("Conv", ["d", "k"], ["y"])],
        [c("s", 255.0, np.float32), w("k", 2, 1, 3, 3)],
        ["N", 1, 5, 5],
        "y",
        itype=T.UINT8,
    ),
    rng.integers(0, 256, (3, 1, 5, 5)).astype(np.uint8),
)
add(
    "f64_cast",
    model(
        [N("Cast", ["x"], ["f"], to=1), N("MatMul", ["f", "w"], ["y"])], [w("w", 6, 2)], ["N", 6], "y", itype=T.DOUBLE
    ),
    rng.normal(size=(3, 6)),
)
add(
    "f64_all",
    model(
        [N("MatMul", ["x", "w"], ["y"])], [w("w", 6, 2, dt=np.float64)], ["N", 6], "y", itype=T.DOUBLE, otype=T.DOUBLE
    ),
    rng.normal(size=(3, 6)),
)
add(
    "f16_cast",
    model(
        [N("Cast", ["x"], ["f"], to=10), N("MatMul", ["f", "w"], ["m"]), N("Cast", ["m"], ["y"], to=1)],
        [w("w", 6, 2, dt=np.float16)],
        ["N", 6],
        "y",
    ),
    f(3, 6),
)
add(
    "int_arith",
    model(
        [
            N("Div", ["x", "d"], ["q"]),
            N("Mod", ["x", "d"], ["r"]),
            N("Add", ["q", "r"], ["a"]),
            N("Pow", ["a", "two"], ["p"]),
            N("Cast", ["p"], ["y"], to=1),
        ],
        [c("d", 7), c("two", 2)],
        ["N", 6],
        "y",
        itype=T.INT64,
    ),
    rng.integers(-1000, 1000, (3, 6)),
)
add("argmax_out", model([N("ArgMax", ["x"], ["y"], axis=1, keepdims=0)], [], ["N", 6], "y", otype=T.INT64), f(3, 6))
then = H.make_graph([N("Relu", ["x"], ["o1"])], "t", [], [port("o1", T.FLOAT, None)])
els = H.make_graph([N("Neg", ["x"], ["o2"])], "e", [], [port("o2", T.FLOAT, None)])
add(
    "if_const",
    model(
        [
            N("Constant", [], ["cond"], value=NH.from_array(np.array(True))),
            N("If", ["cond"], ["y"], then_branch=then, else_branch=els),
        ],
        [],
        ["N", 6],
        "y",
    ),
    f(3, 6),
)
add(
    "if_shape",
    model(
        [
            N("Shape", ["x"], ["s"]),
            N("Gather", ["s", "i"], ["n"]),
            N("Equal", ["n", "six"], ["cond"]),
            N("If", ["cond"], ["y"], then_branch=els, else_branch=then),
        ],
        [c("i", 1), c("six", 6)],
        ["N", 6],
        "y",
    ),
    f(3, 6),
)
body = H.make_graph(
    [N("Add", ["h", "h"], ["h2"]), N("Identity", ["cin"], ["cout"]), N("Identity", ["h2"], ["sc"])],
    "b",
    [port("it", T.INT64, []), port("cin", T.BOOL, []), port("h", T.FLOAT, None)],
    [port(n, t, None) for n, t in (("cout", T.BOOL), ("h2", T.FLOAT), ("sc", T.FLOAT))],
)
add("loop", model([N("Loop", ["m", "", "x"], ["y", "sc"], body=body)], [c("m", 3)], ["N", 6], "y"), f(3, 6))
sb = H.make_graph(
    [N("Mul", ["h", "dec"], ["hd"]), N("Add", ["hd", "xt"], ["h2"]), N("Identity", ["h2"], ["o"])],
    "s",
    [port("h", T.FLOAT, None), port("xt", T.FLOAT, None)],
    [port("h2", T.FLOAT, None), port("o", T.FLOAT, None)],
)
add(
    "scan",
    model(
        [
            N("Shape", ["x"], ["s"]),
            N("Slice", ["s", "a0", "a1"], ["n"]),
            N("Concat", ["n", "four"], ["hs"], axis=0),
            N("ConstantOfShape", ["hs"], ["h0"]),
            N("Scan", ["h0", "x"], ["hN", "o"], body=sb, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1]),
            N("Identity", ["o"], ["y"]),
        ],
        [c("a0", [0]), c("a1", [1]), c("four", [4]), c("dec", 0.5, np.float32)],
        ["N", 5, 4],
        "y",
    ),
    f(3, 5, 4),
)
add(
    "lstm_seq_lens",
    model(
        [
            N("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            N("LSTM", ["t", "W", "R", "B", "lens"], ["yy", "h", "cc"], hidden_size=3),
            N("Squeeze", ["h", "a0"], ["y"]),
        ],
        [w("W", 1, 12, 4), w("R", 1, 12, 3), w("B", 1, 24), c("lens", [2, 5, 3], np.int32), c("a0", [0])],
        [3, 5, 4],
        "y",
    ),
    f(3, 5, 4),
)
add(
    "lstm_peep",
    model(
        [
            N("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            N(
                "LSTM",
                ["t", "W", "R", "B", "", "", "", "P"],
                ["yy", "h", "cc"],
                hidden_size=3,
                clip=0.5,
                input_forget=0,
            ),
            N("Squeeze", ["h", "a0"], ["y"]),
        ],
        [w("W", 1, 12, 4), w("R", 1, 12, 3), w("B", 1, 24), w("P", 1, 9), c("a0", [0])],
        ["N", 5, 4],
        "y",
    ),
    f(3, 5, 4),
)
add(
    "gru_keras",
    model(
        [
            N("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            N(
                "GRU",
                ["t", "W", "R", "B"],
                ["yy", "h"],
                hidden_size=3,
                linear_before_reset=1,
                activations=["HardSigmoid", "Tanh"],
            ),
            N("Squeeze", ["h", "a0"], ["y"]),
        ],
        [w("W", 1, 9, 4), w("R", 1, 9, 3), w("B", 1, 18), c("a0", [0])],
        ["N", 5, 4],
        "y",
    ),
    f(3, 5, 4),
)
add(
    "rnn_bi",
    model(
        [
            N("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            N(
                "RNN",
                ["t", "W", "R", "B"],
                ["yy", "h"],
                hidden_size=3,
                direction="bidirectional",
                activations=["Tanh", "Softsign"],
            ),
            N("Transpose", ["yy"], ["y"], perm=[2, 0, 1, 3]),
        ],
        [w("W", 2, 3, 4), w("R", 2, 3, 3), w("B", 2, 6)],
        ["N", 5, 4],
        "y",
    ),
    f(3, 5, 4),
)
add(
    "qdq",
    model(
        [
            N("QuantizeLinear", ["x", "s", "z"], ["q"]),
            N("DequantizeLinear", ["q", "s", "z"], ["d"]),
            N("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=1),
            N("MatMul", ["d", "wd"], ["y"]),
        ],
        [
            c("s", 0.05, np.float32),
            c("z", 10, np.uint8),
            NH.from_array(rng.integers(-127, 127, (6, 2)).astype(np.int8), "wq"),
            NH.from_array(np.array([0.01, 0.02], np.float32), "ws"),
            NH.from_array(np.array([0, 0], np.int8), "wz"),
        ],
        ["N", 6],
        "y",
    ),
    f(3, 6),
)
add("scalar_out_rows", model([N("ReduceSum", ["x", "a"], ["y"], keepdims=0)], [c("a", [1])], ["N", 6], "y"), f(3, 6))
add(
    "empty_slice",
    model(
        [N("Slice", ["x", "s", "e", "a"], ["t"]), N("Concat", ["t", "x"], ["y"], axis=1)],
        [c("s", [6]), c("e", [9]), c("a", [1])],
        ["N", 6],
        "y",
    ),
    f(3, 6),
)
add(
    "sequence",
    model(
        [
            N("SplitToSequence", ["x", "sp"], ["s"], axis=1),
            N("SequenceAt", ["s", "i1"], ["a"]),
            N("SequenceAt", ["s", "i0"], ["b"]),
            N("Add", ["a", "b"], ["y"]),
        ],
        [c("sp", 3), c("i0", 0), c("i1", 1)],
        ["N", 6],
        "y",
    ),
    f(3, 6),
)
add(
    "seqcat",
    model(
        [
            N("Neg", ["x"], ["n"]),
            N("SequenceConstruct", ["x", "n"], ["s"]),
            N("ConcatFromSequence", ["s"], ["y"], axis=1),
        ],
        [],
        ["N", 6],
        "y",
    ),
    f(3, 6),
)
add(
    "nonzero_const",
    model(
        [N("NonZero", ["m"], ["nz"]), N("Squeeze", ["nz", "a0"], ["ix"]), N("Gather", ["x", "ix"], ["y"], axis=1)],
        [c("m", [1, 0, 1, 0, 0, 1]), c("a0", [0])],
        ["N", 6],
        "y",
    ),
    f(3, 6),
)
add(
    "compress",
    model([N("Compress", ["x", "m"], ["y"], axis=1)], [c("m", [1, 0, 1, 0, 0, 1], bool)], ["N", 6], "y"),
    f(3, 6),
)
add(
    "topk_int",
    model(
        [N("TopK", ["x", "k"], ["v", "i"], axis=1), N("Cast", ["v"], ["y"], to=1)],
        [c("k", [2])],
        ["N", 6],
        "y",
        itype=T.INT64,
    ),
    rng.integers(-9, 9, (3, 6)),
)
add(
    "reducemax_int",
    model(
        [N("ReduceMax", ["x"], ["v"], axes=[1], keepdims=0), N("Cast", ["v"], ["y"], to=1)],
        [],
        ["N", 6],
        "y",
        itype=T.INT32,
    ),
    rng.integers(-9, 9, (3, 6)).astype(np.int32),
)
add(
    "maxpool_idx",
    model(
        [
            N("MaxPool", ["x"], ["v", "i"], kernel_shape=[2, 2], strides=[2, 2]),
            N("Cast", ["i"], ["fi"], to=1),
            N("Concat", ["v", "fi"], ["y"], axis=1),
        ],
        [],
        ["N", 1, 4, 4],
        "y",
    ),
    f(3, 1, 4, 4),
)
add(
    "scatternd_max",
    model(
        [N("ScatterElements", ["x", "i", "u"], ["y"], axis=1, reduction="max")],
        [NH.from_array(np.array([[0, 0], [1, 2], [5, 5]]), "i"), w("u", 3, 2)],
        [3, 6],
        "y",
        opset=18,
    ),
    f(3, 6),
)
add(
    "scatter_dyn",
    model(
        [N("ArgMax", ["x"], ["am"], axis=1, keepdims=1), N("ScatterElements", ["x", "am", "u"], ["y"], axis=1)],
        [NH.from_array(np.zeros((3, 1), np.float32), "u")],
        [3, 6],
        "y",
    ),
    f(3, 6),
)
add(
    "gathernd_dyn",
    model(
        [N("ArgMax", ["x"], ["am"], axis=1, keepdims=1), N("GatherND", ["x", "am"], ["y"], batch_dims=1)],
        [],
        ["N", 6],
        "y",
    ),
    f(3, 6),
)
add(
    "einsum3",
    model([N("Einsum", ["x", "a", "b"], ["y"], equation="ni,ij,jk->nk")], [w("a", 6, 4), w("b", 4, 2)], ["N", 6], "y"),
    f(3, 6),
)
add(
    "resize_cast",
    model(
        [
            N("Shape", ["x"], ["s"]),
            N("Slice", ["s", "two", "four"], ["hw"]),
            N("Mul", ["hw", "k2"], ["hw2"]),
            N("Slice", ["s", "z", "two"], ["nc"]),
            N("Concat", ["nc", "hw2"], ["sz"], axis=0),
            N("Resize", ["x", "", "", "sz"], ["y"], mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
        ],
        [c("two", [2]), c("four", [4]), c("k2", [2]), c("z", [0])],
        ["N", 2, 3, 3],
        "y",
    ),
    f(3, 2, 3, 3),
)
add(
    "scale_from_shape",
    model(
        [
            N("Shape", ["x"], ["s"]),
            N("Cast", ["s"], ["sf"], to=1),
            N("Gather", ["sf", "i1"], ["d"]),
            N("Sqrt", ["d"], ["rt"]),
            N("Div", ["x", "rt"], ["y"]),
        ],
        [c("i1", 1)],
        ["N", 6],
        "y",
    ),
    f(3, 6),
)
add(
    "float_shape",
    model(
        [
            N("Shape", ["x"], ["s"]),
            N("Cast", ["s"], ["sf"], to=1),
            N("Mul", ["sf", "half"], ["sh"]),
            N("Floor", ["sh"], ["fl"]),
            N("Cast", ["fl"], ["si"], to=7),
            N("Gather", ["si", "i1"], ["k"]),
            N("Unsqueeze", ["k", "a0"], ["ku"]),
            N("Slice", ["x", "z", "ku", "a1"], ["y"]),
        ],
        [c("half", 0.5, np.float32), c("i1", 1), c("a0", [0]), c("z", [0]), c("a1", [1])],
        ["N", 6],
        "y",
    ),
    f(3, 6),
)
fn = H.make_function("my", "Twice", ["a"], ["b"], [N("Add", ["a", "a"], ["b"])], [H.make_opsetid("", 17)])
mm = model([N("Twice", ["x"], ["y"], domain="my")], [], ["N", 6], "y", extra=(H.make_opsetid("my", 1),))
mm.functions.append(fn)
add("function", mm, f(3, 6))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_graphs_agree_with_onnxruntime(name):
    made, x = CASES[name]
    expected = runtime.InferenceSession(made.SerializeToString()).run(None, {"x": x})
    tolerance = {"rtol": 2e-3, "atol": 2e-3} if "f16" in name else {"rtol": 1e-4, "atol": 1e-5}
    for wanted, found in zip(expected, MeshBackend.run_model(made, [x]), strict=True):
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, **tolerance)
    scores = from_onnx(made, loss="mse").scores(x)
    assert scores.shape == expected[0].shape
    np.testing.assert_allclose(scores, expected[0], **tolerance)


def test_a_long_sequence_is_one_loop_of_the_graph():
    nodes = [
        N("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        N("LSTM", ["t", "W", "R", "B"], ["all", "h", "c"], hidden_size=8),
        N("Squeeze", ["h", "a0"], ["y"]),
    ]
    inits = [w("W", 1, 32, 4), w("R", 1, 32, 8), w("B", 1, 64), c("a0", [0])]
    made, x = model(nodes, inits, ["N", 600, 4]), f(2, 600, 4)
    (expected,) = runtime.InferenceSession(made.SerializeToString()).run(None, {"x": x})
    found = from_onnx(made, loss="mse")
    assert len(found.session.shape.graph.nodes) < 100
    np.testing.assert_allclose(found.scores(x), expected, atol=1e-5)


def test_rows_that_an_input_does_not_take():
    tokens, masks = from_onnx(CASES["ids"][0], loss="mse"), from_onnx(CASES["bool_in"][0], loss="mse")
    with pytest.raises(LocalError, match=r"X row 2 holds 0\.5; input 'x' of the model is int64, whose rows are whole"):
        tokens.scores([[0] * 6, [0.5] * 6])
    with pytest.raises(
        LocalError, match=r"X row 1 holds 2\.0; input 'x' of the model is bool, whose rows are whole numbers"
    ):
        masks.scores([[2] * 6])
    with pytest.raises(LocalError, match=r"holds 16777218\.0; .* from -16777216 to 16777216"):
        tokens.scores([[(1 << 24) + 2] * 6])
    with pytest.raises(LocalError, match=r"X of 1 rows has no prediction: .*index"):
        tokens.scores([[99] * 6])


INT = np.iinfo(np.int32)


def test_quotients_and_remainders_of_integers_are_exact():
    wide = np.random.default_rng(3).integers(INT.min + 1, INT.max, 4000)
    small = np.random.default_rng(4).integers(1, 300, 2000) * np.random.default_rng(5).choice([-1, 1], 2000)
    edges = np.array([INT.max, INT.max, INT.min + 1, INT.min + 1, 0, -1, 1, 7, -7, INT.max - 1, 16777217, -16777217])
    a = np.concatenate([wide, edges]).astype(np.int32)
    b = np.concatenate([small, wide[:2000], [1, -1, 2, INT.max, 5, 3, -3, -2, 2, INT.max, 3, 16777216]]).astype(
        np.int32
    )
    b[b == 0] = 1
    whole = a.astype(np.int64)
    (quotient,) = MeshBackend.run_node(N("Div", ["a", "b"], ["q"]), [a, b])
    (rest,) = MeshBackend.run_node(N("Mod", ["a", "b"], ["r"]), [a, b])
    assert (quotient == np.trunc(whole / b.astype(np.int64).astype(np.float64))).all()
    assert (rest == whole % b).all()


def test_casts_round_as_numpy():
    values = np.random.default_rng(6).normal(size=4000).astype(np.float32) * np.exp2(np.arange(4000) % 60 - 40)
    edges = [0.0, -0.0, 65504, 65519.99, 65520, -65520, 1e30, np.inf, -np.inf, np.nan, 2.0**-24, 2.0**-25, 3 * 2.0**-25]
    x = np.concatenate([values.astype(np.float32), np.float32(edges)])
    (half,) = MeshBackend.run_node(N("Cast", ["x"], ["y"], to=T.FLOAT16), [x])
    with np.errstate(over="ignore"):
        assert half.tobytes() == x.astype(np.float16).tobytes()
    (brain,) = MeshBackend.run_node(N("Cast", ["x"], ["y"], to=T.BFLOAT16), [x])
    assert brain.view(np.uint16)[:-4].tolist() == x.astype(brain.dtype).view(np.uint16)[:-4].tolist()


def test_old_linear_upsampling_maps_places_as_it_did():
    scales = NH.from_array(np.float32([1, 1, 2, 2]), "s")
    made = model([N("Upsample", ["x", "s"], ["y"], mode="linear")], [scales], [1, 1, 2, 3], opset=9)
    x = f(1, 1, 2, 3)
    (expected,) = runtime.InferenceSession(made.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(MeshBackend.run_model(made, [x])[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (N("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml"), "trees have no place in a network"),
        (N("ZipMap", ["x"], ["y"], domain="ai.onnx.ml"), "convert the model with options={'zipmap': False}"),
        (N("FusedMatMul", ["x", "x"], ["y"], domain="com.microsoft"), "operator com.microsoft.FusedMatMul .node 1."),
        (N("NonZero", ["x"], ["y"]), "decides a shape; only data can be an input of a network"),
    ],
)
def test_what_is_refused_says_what_to_do(node, message):
    extra = (H.make_opsetid("ai.onnx.ml", 3), H.make_opsetid("com.microsoft", 1))
    with pytest.raises(LocalError, match=message):
        from_onnx(model([node], [], [None, 4], extra=extra))


def test_models_of_several_inputs_are_sent_elsewhere():
    graph = H.make_graph([N("Add", ["x", "z"], ["y"])], "g", [port(n, 1, [None, 2]) for n in "xz"], [port("y", 1)])
    with pytest.raises(LocalError, match=r"a Model has one input, this one has x float32, z float32; .*MeshBackend"):
        from_onnx(H.make_model(graph, opset_imports=[H.make_opsetid("", 17)]))
