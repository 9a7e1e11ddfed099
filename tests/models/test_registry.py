"""Texts become models, or one sentence that says what to write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.models.linear import Linear
from synaptic_mesh.models.mlp import Mlp
from synaptic_mesh.models.registry import parse_model


def test_known_specifications() -> None:
    assert parse_model("mlp:64,64") == Mlp((64, 64))
    assert parse_model(" mlp: 8 , 16384 ") == Mlp((8, 16384))
    assert parse_model("linear") == Linear()


@given(st.lists(st.integers(1, 16384), min_size=1, max_size=32).map(tuple))
def test_a_specification_reads_back_into_its_model(hidden: tuple[int, ...]) -> None:
    model = Mlp(hidden)
    if len(model.spec) <= 200:
        assert parse_model(model.spec) == model


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            "cnn:3",
            "model 'cnn:3' is not known; the families are layers (for example layers:JSON, which",
        ),
        ("", "model '' is not known"),
        ("MLP:64", "model 'MLP:64' is not known"),
        ("mlp", "mlp has 0 hidden layers; list the sizes of 1 to 32, for example mlp:64,64"),
        ("mlp:", "mlp has 0 hidden layers"),
        ("mlp:" + ",".join("1" * 33), "mlp has 33 hidden layers"),
        ("mlp:64,,64", "mlp layer size '' is not a number from 1 to 16384"),
        ("mlp:0", "mlp layer size '0' is not a number from 1 to 16384"),
        ("mlp:-3", "mlp layer size '-3' is not a number"),
        ("mlp:6.5", "mlp layer size '6.5' is not a number"),
        ("mlp:16385", "mlp layer size '16385' is not a number"),
        ("mlp:9999999999999999999999", "mlp layer size '9999999999999999999999' is not a number"),
        ("mlp:\u0663", "mlp layer size '\u0663' is not a number"),
        ("linear:3", "linear takes no sizes, but '3' was given; write linear"),
        ("mlp:" + "1" * 300, "a model specification of 304 characters is over 200"),
    ],
)
def test_a_bad_specification_is_refused_with_an_example(spec: str, sentence: str) -> None:
    with pytest.raises(LocalError) as caught:
        parse_model(spec)
    assert str(caught.value).startswith(sentence)
