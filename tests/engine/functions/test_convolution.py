"""Convolutions against numpy's own correlation of each pair of channels."""

import numpy as np
import pytest
from evaluating import assert_close, drawn, evaluate

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions import convolution

X, W = drawn(2, 4, 7, 8, name="conv/x"), drawn(6, 2, 3, 2, name="conv/w")


def correlate(x, w, steps=(1, 1), dilation=(1, 1), groups=1):
    """Windows of an already padded x times w, summed by einsum in binary64."""
    spans = [(w.shape[2 + i] - 1) * dilation[i] + 1 for i in (0, 1)]
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), spans, (2, 3))
    windows = windows[:, :, :: steps[0], :: steps[1], :: dilation[0], :: dilation[1]]
    apart = windows.reshape(x.shape[0], groups, -1, *windows.shape[2:])
    taps = w.astype(np.float64).reshape(groups, -1, *w.shape[1:])
    found = np.einsum("ngchwij,gocij->ngohw", apart, taps)
    return found.reshape(x.shape[0], w.shape[0], *found.shape[3:])


def test_conv2d():
    padded = np.pad(X, ((0, 0), (0, 0), (1, 0), (2, 3)))
    found = evaluate(
        lambda x, w: convolution.conv2d(x, w, stride=(2, 1), padding=((1, 0), (2, 3)), dilation=(1, 3), groups=2), X, W
    )
    assert_close(found, correlate(padded, W, (2, 1), (1, 3), 2))


def test_a_bias_is_added_per_channel():
    bias = drawn(6, name="conv/b")
    found = evaluate(lambda x, w, b: convolution.conv2d(x, w, b, groups=2), X, W, bias)
    assert_close(found, correlate(X, W, groups=2) + bias[:, None, None])


def test_conv1d_is_conv2d_of_height_one():
    found = evaluate(lambda x, w: convolution.conv1d(x, w, stride=2, padding=(1, 2), groups=2), X[:, :, 0], W[:, :, 0])
    padded = np.pad(X[:, :, :1], ((0, 0), (0, 0), (0, 0), (1, 2)))
    assert_close(found, correlate(padded, W[:, :, :1], (1, 2), groups=2)[:, :, 0])


def test_a_transposed_convolution_is_the_gradient():
    """<conv(x, w), g> = <x, conv_transpose(g, w)> for every x."""
    g = drawn(2, 6, 3, 4, name="conv/g")
    back = evaluate(
        lambda g, w: convolution.conv_transpose2d(g, w, stride=2, padding=1, output_padding=(1, 0), groups=2), g, W
    )
    assert back.shape == (2, 4, 6, 6)
    x = drawn(*back.shape, name="conv/back")
    forth = correlate(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), W, (2, 2), groups=2)
    np.testing.assert_allclose((forth * g).sum(), (x.astype(np.float64) * back).sum(), rtol=1e-5)


def test_sides_of_a_transposed_convolution_are_cut_off():
    w = drawn(4, 3, 3, 2, name="conv/t")
    whole = evaluate(lambda x, w: convolution.conv_transpose2d(x, w, stride=2, groups=2), X, w)
    padding = ((1, 0), (0, 2))
    cut = evaluate(lambda x, w: convolution.conv_transpose2d(x, w, stride=2, padding=padding, groups=2), X, w)
    np.testing.assert_array_equal(cut, whole[:, :, 1:, :-2])


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x, w: convolution.conv2d(x, w), "1 groups of 2 channels are not 4"),
        (lambda x, w: convolution.conv2d(x, w, groups=2, dilation=4), "does not fit"),
        (lambda x, w: convolution.conv2d(x, w, groups=2, stride=0), "does not fit"),
        (lambda x, w: convolution.conv2d(x[0], w), "2-d convolution needs rank 4"),
        (lambda x, w: convolution.conv1d(x, w), "1-d convolution needs rank 3"),
        (lambda x, w: convolution.conv2d(x, w, x[0, 0, 0], groups=2), r"a bias of \(8,\) does not fit 6 channels"),
        (lambda x, w: convolution.conv2d(x, w, stride=(1, 2, 3), groups=2), "not one number"),
        (lambda x, w: convolution.conv_transpose2d(x, w, groups=4), "4 groups do not divide"),
        (lambda _, w: convolution.conv_transpose2d(w, w, padding=9), "leaves nothing"),
    ],
)
def test_mistakes_are_named(function, sentence):
    with pytest.raises(LocalError, match=sentence):
        evaluate(function, X, W)
