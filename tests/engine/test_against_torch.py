"""Every function's value and gradient against torch in binary64; runs where torch is installed."""

from functools import partial

import numpy as np
import pytest

from synaptic_mesh.engine import composites
from synaptic_mesh.engine.autodiff import gradients
from synaptic_mesh.engine.functions import (
    activations,
    attention,
    convolution,
    elementwise,
    indexing,
    losses,
    movement,
    normalization,
    order,
    pooling,
    recurrence,
)
from synaptic_mesh.engine.initializers import uniform
from synaptic_mesh.engine.reference import ReferenceBackend
from synaptic_mesh.engine.trace import matmul, spec_of, trace

torch = pytest.importorskip("torch")
F = torch.nn.functional

RTOL, ATOL = 1e-5, 1e-5
"""Some hundred f32 roundings of values near one."""


def draw(*shape, limit=1.0, name=""):
    return uniform(0, f"torch/{name}{shape}", shape, limit)


def ours(function, arrays, extra):
    def build(**tensors):
        y = function(*tensors.values())
        weights = y.builder.array(uniform(9, "weights", y.shape, 1.0))
        found = gradients((y * weights).sum(), [tensors[name] for name in arrays])
        return {"y": y, **{f"d_{name}": g for name, g in zip(arrays, found, strict=True)}}

    inputs = {**arrays, **extra}
    graph = trace(build, {name: spec_of(array) for name, array in inputs.items()})
    return ReferenceBackend().compile(graph)(inputs)


def theirs(function, arrays, extra):
    leaves = {name: torch.tensor(array.astype(np.float64), requires_grad=True) for name, array in arrays.items()}
    integers = {
        name: torch.tensor(array.astype(np.int64) if array.dtype == np.int32 else array)
        for name, array in extra.items()
    }
    y = function(*leaves.values(), *integers.values())
    weights = torch.tensor(uniform(9, "weights", tuple(y.shape), 1.0).astype(np.float64))
    (y * weights).sum().backward()
    found = {name: leaf.grad if leaf.grad is not None else torch.zeros_like(leaf) for name, leaf in leaves.items()}
    return {"y": y.detach().numpy(), **{f"d_{name}": g.numpy() for name, g in found.items()}}


def check(ours_function, torch_function, arrays, **extra):
    named = {f"a{i}": array for i, array in enumerate(arrays)}
    found, expected = ours(ours_function, named, extra), theirs(torch_function, named, extra)
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        np.testing.assert_allclose(found[name], array, rtol=RTOL, atol=ATOL, err_msg=name)


A, B = draw(3, 4, limit=2.0, name="a"), draw(3, 4, limit=2.0, name="b")
POSITIVE = np.abs(A) + np.float32(0.2)
WIDE = draw(5, 40, limit=8.0, name="wide")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (elementwise.erf, torch.erf),
        (elementwise.sin, torch.sin),
        (elementwise.cos, torch.cos),
        (elementwise.round_even, torch.round),
        (elementwise.ceil, torch.ceil),
        (elementwise.truncate, torch.trunc),
        (elementwise.sign, torch.sign),
        (lambda x: elementwise.clip(x, -1.5, 2.5), lambda x: torch.clip(x, -1.5, 2.5)),
        (lambda x: elementwise.remainder(x, 1.7), lambda x: torch.remainder(x, 1.7)),
        (activations.leaky_relu, F.leaky_relu),
        (lambda x: activations.elu(x, 0.7), lambda x: F.elu(x, 0.7)),
        (activations.selu, F.selu),
        (lambda x: activations.celu(x, 1.3), lambda x: F.celu(x, 1.3)),
        (activations.softplus, F.softplus),
        (activations.softsign, F.softsign),
        (activations.silu, F.silu),
        (activations.mish, F.mish),
        (activations.gelu, F.gelu),
        (activations.gelu_tanh, lambda x: F.gelu(x, approximate="tanh")),
        (activations.hard_sigmoid, F.hardsigmoid),
        (activations.hard_swish, F.hardswish),
        (activations.hard_tanh, F.hardtanh),
        (activations.relu6, F.relu6),
        (activations.glu, F.glu),
        (lambda x: activations.threshold_relu(x, 0.4), lambda x: F.threshold(x, 0.4, 0.0)),
        (lambda x: activations.softmax_along(x, 0), lambda x: torch.softmax(x, 0)),
        (lambda x: activations.log_softmax_along(x, 0), lambda x: torch.log_softmax(x, 0)),
        (lambda x: activations.logsumexp(x, 0), lambda x: torch.logsumexp(x, 0)),
        (lambda x: activations.logsumexp(x, 1), lambda x: torch.logsumexp(x, 1)),
        (composites.relu, F.relu),
        (lambda x: x**2, lambda x: x**2),
        (lambda x: x**3, lambda x: x**3),
        (lambda x: 1.3**x, lambda x: 1.3**x),
        (lambda x: x.min(1), lambda x: torch.amin(x, 1)),
        (lambda x: normalization.mean_over(x, (0, 1)), torch.mean),
        (lambda x: normalization.variance_over(x, (1,)), lambda x: torch.var(x, 1, correction=0)),
        (lambda x: normalization.variance_over(x, (0,), correction=1), lambda x: torch.var(x, 0)),
        (normalization.rms_norm, lambda x: F.rms_norm(x, (40,), eps=1e-6)),
        (lambda x: order.cumsum(x, 0), lambda x: torch.cumsum(x, 0)),
        (lambda x: order.cumsum(x, 1, reverse=True), lambda x: torch.flip(torch.cumsum(torch.flip(x, [1]), 1), [1])),
        (lambda x: order.cumsum(x, 1, exclusive=True), lambda x: torch.cumsum(x, 1) - x),
        (lambda x: order.top_k(x, 3)[0], lambda x: torch.topk(x, 3)[0]),
        (lambda x: order.top_k(x, 2, 0, largest=False)[0], lambda x: torch.topk(x, 2, 0, largest=False)[0]),
        (lambda x: order.sort(x)[0], lambda x: torch.sort(x)[0]),
        (lambda x: order.sort(x, 0, descending=True)[0], lambda x: torch.sort(x, 0, descending=True)[0]),
        (lambda x: movement.flip(x, 1), lambda x: torch.flip(x, [1])),
        (lambda x: movement.pad(x, (1, 2), (0, 3), value=5), lambda x: F.pad(x, (2, 3, 1, 0), value=5)),
        (lambda x: movement.pad(x, (-1, 2), (0, -3)), lambda x: F.pad(x, (2, -3, -1, 0))),
        (lambda x: x[1:4, ::3] * x[0:3, 13::-1][:, :14], lambda x: x[1:4, ::3] * torch.flip(x[0:3, :14], [1])),
        (lambda x: x[..., -1], lambda x: x[..., -1]),
        (lambda x: x[2, None, 3:9:2], lambda x: x[2, None, 3:9:2]),
        (lambda x: movement.concat([x, x[:2], x], 0), lambda x: torch.cat([x, x[:2], x], 0)),
        (lambda x: movement.stack([x, -x], 1), lambda x: torch.stack([x, -x], 1)),
        (lambda x: movement.split(x, [1, 30, 9], 1)[1], lambda x: torch.split(x, [1, 30, 9], 1)[1]),
        (
            lambda x: movement.concat([p * float(i + 1) for i, p in enumerate(movement.split(x, [9, 30, 1], 1))], 1),
            lambda x: torch.cat([p * float(i + 1) for i, p in enumerate(torch.split(x, [9, 30, 1], 1))], 1),
        ),
    ],
)
def test_functions_of_one_tensor(function, expected):
    check(function, expected, [WIDE])


def test_powers():
    check(lambda a, b: a**b, torch.pow, [POSITIVE, B])
    whole = np.array([[-2, 3, 0, 1], [2, -1, 0, 3], [1, 2, -3, 2]], np.float32)
    check(lambda a, b: a**b, torch.pow, [A, whole])
    check(lambda a: a**-1.7, lambda a: a**-1.7, [POSITIVE])
    zeros = np.array([[0, 0, 2, -2]], np.float32)
    check(lambda a, b: a**b, torch.pow, [zeros, np.array([[2, 1, 0, 0]], np.float32)])


def test_other_pairs():
    check(activations.prelu, F.prelu, [draw(2, 3, 4), draw(1)])
    check(lambda x, y: elementwise.clip(x, y, 0.5), lambda x, y: torch.clip(x, y, torch.tensor(0.5)), [A, -POSITIVE])


@pytest.mark.parametrize(
    ("a", "b"),
    [((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (3, 4, 2)), ((0, 2, 3), (3, 1))],
)
def test_batched_products(a, b):
    check(matmul, torch.matmul, [draw(*a), draw(*b)])


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("right", [False, True])
def test_batched_products_of_turned_operands(left, right):
    a, b = draw(2, 4, 3) if left else draw(2, 3, 4), draw(2, 5, 4) if right else draw(2, 4, 5)

    def expected(a, b):
        return (a.mT if left else a) @ (b.mT if right else b)

    check(lambda a, b: matmul(a, b, transpose_left=left, transpose_right=right), expected, [a, b])


@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((2, 3, 7, 8), (4, 3, 3, 2), {}),
        ((2, 3, 7, 8), (4, 3, 3, 3), {"stride": 2, "padding": 1}),
        ((1, 2, 9, 6), (4, 2, 2, 3), {"stride": (3, 2), "padding": (2, 1), "dilation": (2, 2)}),
        ((2, 4, 6, 5), (6, 2, 3, 3), {"padding": 1, "groups": 2}),
        ((2, 3, 6, 5), (6, 1, 3, 3), {"padding": 2, "groups": 3, "stride": 2}),
        ((1, 1, 1, 1), (1, 1, 1, 1), {}),
        ((2, 3, 8, 8), (2, 3, 1, 1), {"stride": 3}),
    ],
)
def test_convolutions(x, w, options):
    check(
        lambda x, w, b: convolution.conv2d(x, w, b, **options),
        lambda x, w, b: F.conv2d(x, w, b, **options),
        [draw(*x), draw(*w), draw(w[0])],
    )


def test_other_convolutions():
    check(
        lambda x, w, b: convolution.conv1d(x, w, b, stride=2, padding=3, dilation=2),
        lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=3, dilation=2),
        [draw(2, 3, 11), draw(4, 3, 3), draw(4)],
    )
    check(
        lambda x, w: convolution.conv2d(x, w, padding=((1, 0), (2, 3))),
        lambda x, w: F.conv2d(F.pad(x, (2, 3, 1, 0)), w),
        [draw(2, 3, 5, 6), draw(4, 3, 3, 3)],
    )
    for options in (
        {"stride": 2},
        {"stride": (2, 3), "padding": (1, 2), "output_padding": (1, 0), "dilation": (2, 1)},
        {"stride": 2, "padding": 1, "groups": 2},
    ):
        check(
            lambda x, w, b, options=options: convolution.conv_transpose2d(x, w, b, **options),
            lambda x, w, b, options=options: F.conv_transpose2d(x, w, b, **options),
            [draw(2, 4, 5, 4), draw(4, 3, 3, 3), draw(3 * options.get("groups", 1))],
        )


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "ceil"),
    [
        ((2, 2), (2, 2), (0, 0), (1, 1), False),
        ((3, 3), (2, 2), (1, 1), (1, 1), False),
        ((3, 2), (2, 3), (1, 0), (1, 2), True),
        ((2, 3), (1, 1), (1, 1), (2, 1), False),
        ((3, 3), (2, 2), (0, 0), (1, 1), True),
    ],
)
def test_pooling(kernel, stride, padding, dilation, ceil):
    x = draw(2, 3, 8, 9)
    sides = [(p, p) for p in padding]
    check(
        lambda x: pooling.max_pool(x, kernel, stride=stride, padding=sides, dilation=dilation, ceil_mode=ceil),
        lambda x: F.max_pool2d(x, kernel, stride, padding, dilation, ceil),
        [x],
    )
    for counted in (False, True):
        options = {"stride": stride, "padding": sides, "ceil_mode": ceil, "count_include_pad": counted}
        check(
            partial(pooling.average_pool, kernel=kernel, **options),
            partial(
                F.avg_pool2d,
                kernel_size=kernel,
                stride=stride,
                padding=padding,
                ceil_mode=ceil,
                count_include_pad=counted,
            ),
            [x],
        )


def test_ties_in_a_window_go_to_the_first_maximum():
    x = np.array([[0, 1, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1]], np.float32).reshape(1, 1, 4, 4)
    for kernel, stride in (((2, 2), (2, 2)), ((3, 3), (1, 1))):
        check(
            partial(pooling.max_pool, kernel=kernel, stride=stride),
            partial(F.max_pool2d, kernel_size=kernel, stride=stride),
            [x],
        )


def test_global_pooling():
    check(pooling.global_average_pool, lambda x: x.mean((2, 3)), [draw(2, 3, 5, 6)])
    check(pooling.global_max_pool, lambda x: x.amax((2, 3)), [draw(2, 3, 5, 6)])


def test_norms():
    x, scale, shift = draw(4, 6, 3, 5), draw(6), draw(6, name="shift")
    check(
        lambda x, s, b: normalization.layer_norm(x, s, b, axes=2),
        lambda x, s, b: F.layer_norm(x, (3, 5), s, b),
        [x, draw(3, 5), draw(3, 5, name="shift")],
    )
    check(
        lambda x, s, b: normalization.group_norm(x, 3, s, b),
        lambda x, s, b: F.group_norm(x, 3, s, b),
        [x, scale, shift],
    )
    mean, variance = draw(6, name="mean"), np.abs(draw(6, name="variance")) + np.float32(0.5)
    check(
        normalization.batch_norm,
        lambda x, s, b, m, v: torch_batch_norm(x, s, b, m, v),
        [x, scale, shift, mean, variance],
    )


def torch_batch_norm(x, scale, shift, mean, variance):
    """torch's own has no gradient for given statistics."""
    apart = (x - mean.reshape(1, -1, 1, 1)) / torch.sqrt(variance.reshape(1, -1, 1, 1) + 1e-5)
    return apart * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


def test_batch_norm_in_training_carries_its_statistics():
    x, scale, shift = draw(4, 6, 3, 5), draw(6), draw(6, name="shift")
    mean, variance = draw(6, name="mean"), np.abs(draw(6, name="variance")) + np.float32(0.5)

    def trained(x, s, b, m, v):
        m, v = m.double(), v.double()
        y = F.batch_norm(x, m, v, s, b, training=True)
        return torch.cat([y.reshape(-1), m, v])

    def ours_trained(x, s, b, m, v):
        done = normalization.batch_norm_train(x, s, b, m, v)
        return movement.concat([done.y.reshape(done.y.node.size), done.mean, done.variance])

    extra = {"mean": mean, "variance": variance}
    check(ours_trained, trained, [x, scale, shift], **extra)


@pytest.mark.parametrize("kind", ["plain", "causal", "added", "forbidden"])
def test_attention(kind):
    q, k, v = draw(2, 3, 5, 4, name="q"), draw(2, 3, 6, 4, name="k"), draw(2, 3, 6, 7, name="v")
    if kind == "plain":
        check(attention.attention, F.scaled_dot_product_attention, [q, k, v])
    elif kind == "causal":
        check(
            lambda q, k, v: attention.attention(q, k, v, causal=True),
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            [q, k, v],
        )
    elif kind == "added":
        check(
            lambda q, k, v, m: attention.attention(q, k, v, mask=m, scale=0.3),
            lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m, scale=0.3),
            [q, k, v, draw(5, 6)],
        )
    else:
        check(
            lambda q, k, v, m: attention.attention(q, k, v, mask=m),
            lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m == 1),
            [q, k, v],
            mask=np.array([[1, 0, 1, 1, 0, 1]] * 5, np.int32),
        )


LABELS = np.array([1, 3, 0, 3, 2], np.int32)


@pytest.mark.parametrize("reduction", list(losses.Reduction))
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored", [None, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy(reduction, smoothing, ignored, weighted):
    weights = np.array([0.5, 1.0, 2.0, 1.5], np.float32)

    def function(z, y):
        given = z.builder.array(weights) if weighted else None
        return losses.softmax_cross_entropy(
            z, y, class_weights=given, ignore_index=ignored, label_smoothing=smoothing, reduction=reduction
        )

    def expected(z, y):
        given = torch.tensor(weights.astype(np.float64)) if weighted else None
        index = -100 if ignored is None else ignored
        return F.cross_entropy(z, y, given, ignore_index=index, label_smoothing=smoothing, reduction=reduction.value)

    check(function, expected, [draw(5, 4, limit=3.0)], labels=LABELS)


@pytest.mark.parametrize("reduction", list(losses.Reduction))
def test_losses_of_pairs(reduction):
    r, a, b = reduction.value, A, np.abs(B) / np.float32(2.5)
    pairs = [
        (losses.mean_squared_error, F.mse_loss, {}, {}),
        (losses.mean_absolute_error, F.l1_loss, {}, {}),
        (losses.huber, F.huber_loss, {"delta": 0.7}, {"delta": 0.7}),
        (losses.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits, {}, {}),
        (
            losses.binary_cross_entropy_with_logits,
            F.binary_cross_entropy_with_logits,
            {"positive_weight": 2.5},
            {"pos_weight": torch.tensor(2.5)},
        ),
    ]
    for function, expected, options, torch_options in pairs:
        check(
            lambda p, t: function(p, t, reduction=reduction, **options),  # noqa: B023
            lambda p, t: expected(p, t, reduction=r, **torch_options),  # noqa: B023
            [a, b],
        )
    inside = np.abs(A) / np.float32(2.1) + np.float32(0.01)
    check(
        lambda p, t: losses.binary_cross_entropy(p, t, reduction=reduction),
        lambda p, t: F.binary_cross_entropy(p, t.double(), reduction=r),
        [inside],
        target=b,
    )


def test_indexing():
    index = np.array([[2, 0], [1, 2], [2, 2]], np.int32)
    check(lambda t, i: indexing.embedding(t, i), lambda t, i: F.embedding(i, t), [draw(3, 5)], i=index)
    check(lambda x, i: indexing.take(x, i, 1), lambda x, i: x[:, i], [draw(2, 3, 4)], i=index)
    along = np.array([[2, 0, 1, 1], [0, 0, 2, 1]], np.int32)
    check(lambda x, i: indexing.gather_along(x, i, 0), lambda x, i: torch.gather(x, 0, i), [draw(3, 4)], i=along)
    check(
        lambda u, i: indexing.scatter_add_along(u, i, 0, 3),
        lambda u, i: torch.zeros(3, 4, dtype=u.dtype).scatter_add(0, i, u),
        [draw(2, 4)],
        i=along,
    )
    distinct = np.array([[2, 0, 1, 1], [0, 1, 2, 0]], np.int32)
    check(
        lambda x, u, i: indexing.scatter_along(x, u, i, 0),
        lambda x, u, i: x.scatter(0, i, u),
        [draw(3, 4), draw(2, 4, name="u")],
        i=distinct,
    )
    one_hot = ours(lambda x, i: indexing.one_hot_along(i, 4, 0) * x, {"a0": draw(4, 3, 2)}, {"i": index})["y"]
    expected = np.moveaxis(np.eye(4)[index], -1, 0) * draw(4, 3, 2)
    np.testing.assert_array_equal(one_hot, expected.astype(np.float32))


@pytest.mark.parametrize("steps", [5, 12], ids=["written out", "one operation"])
@pytest.mark.parametrize("reverse", [False, True])
def test_recurrences(reverse, steps):
    batch, inputs, hidden = 3, 4, 6
    x, h, c = draw(steps, batch, inputs), draw(batch, hidden, name="h"), draw(batch, hidden, name="c")

    def turned(y):
        return torch.flip(y, [0]) if reverse else y

    def call(module, x, states, w, u, b, r):
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        values = dict(zip(names, (w.T, u.T, b, r), strict=True))
        return turned(torch.func.functional_call(module.double(), values, (turned(x), states))[0])

    def expected_lstm(x, h, c, w, u, b):
        return call(torch.nn.LSTM(inputs, hidden), x, (h[None], c[None]), w, u, b, torch.zeros_like(b))

    def expected_gru(x, h, w, u, b, r):
        return call(torch.nn.GRU(inputs, hidden), x, h[None], w, u, b, r)

    check(
        lambda x, h, c, w, u, b: recurrence.lstm(x, h, c, recurrence.LstmWeights(w, u, b), reverse=reverse)[0],
        expected_lstm,
        [x, h, c, draw(inputs, 4 * hidden), draw(hidden, 4 * hidden, name="u"), draw(4 * hidden)],
    )
    check(
        lambda x, h, w, u, b, r: recurrence.gru(x, h, recurrence.GruWeights(w, u, b, r), reverse=reverse)[0],
        expected_gru,
        [
            x,
            h,
            draw(inputs, 3 * hidden),
            draw(hidden, 3 * hidden, name="u"),
            draw(3 * hidden),
            draw(3 * hidden, name="r"),
        ],
    )
