"""The record of how columns became tensors: canonical, bounded, refused when it makes no sense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.training.digits import digits_prepared
from synaptic_mesh.training.prepared import (
    ONE_BITS,
    CategoricalColumn,
    ClassTarget,
    NumberTarget,
    NumericColumn,
    Prepared,
    decode_prepared_untrusted,
    encode_prepared,
)

CLASSES = ClassTarget("y", ("a", "b"))
A = NumericColumn("a")


@pytest.mark.parametrize(
    "prepared",
    [
        digits_prepared(),
        Prepared((A, CategoricalColumn("c", ("x", "y", "z"))), CLASSES),
        Prepared((A,), NumberTarget(("u", "v"), (0, 0), (ONE_BITS,) * 2, (ONE_BITS,) * 2)),
    ],
)
def test_round_trip(prepared: Prepared) -> None:
    assert decode_prepared_untrusted(encode_prepared(prepared)) == prepared


def test_sizes_follow_from_the_columns() -> None:
    prepared = Prepared((A, CategoricalColumn("c", ("x", "y", "z"))), CLASSES)
    assert (prepared.width, prepared.outputs, prepared.task, prepared.target_names) == (4, 2, "classify", ("y",))


@pytest.mark.parametrize(
    "prepared",
    [
        Prepared((), CLASSES),
        Prepared((A, A), CLASSES),
        Prepared((NumericColumn("y"),), CLASSES),
        Prepared((NumericColumn("a", 0x7F800000),), CLASSES),
        Prepared((NumericColumn("a", -1),), CLASSES),
        Prepared((NumericColumn("a", 1 << 32),), CLASSES),
        Prepared((CategoricalColumn("c", ()), A), CLASSES),
        Prepared((CategoricalColumn("c", ("x", "x")),), CLASSES),
        Prepared((CategoricalColumn("c", tuple(map(str, range(257)))),), CLASSES),
        Prepared((A,), ClassTarget("y", ("a",))),
        Prepared((A,), ClassTarget("y", ("a", "a"))),
        Prepared((A,), NumberTarget((), (), (), ())),
        Prepared((A,), NumberTarget(("u",), (0, 0), (ONE_BITS,), (ONE_BITS,))),
        Prepared((A,), NumberTarget(("u",), (0,), (ONE_BITS,), ())),
        Prepared((A,), NumberTarget(("u",), (0x7FC00000,), (ONE_BITS,), (ONE_BITS,))),
    ],
)
def test_a_senseless_record_is_refused(prepared: Prepared) -> None:
    with pytest.raises(PeerError):
        decode_prepared_untrusted(encode(prepared))


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_peer_error(data: bytes) -> None:
    with pytest.raises(PeerError):
        decode_prepared_untrusted(data)


def test_an_over_long_record_is_refused() -> None:
    columns = tuple(NumericColumn(f"{at:0200}") for at in range(3000))
    with pytest.raises(LocalError, match="over the limit of 262144"):
        encode_prepared(Prepared(columns, CLASSES))
