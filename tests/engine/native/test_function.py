"""Functions as text: what loops carry, what is folded, how numbers are written."""

import pytest

from synaptic_mesh.base.errors import InvariantBroken
from synaptic_mesh.engine.native.chain import Part, parts_of
from synaptic_mesh.engine.native.function import Function, float_text


def test_numbers_known_while_emitting_are_folded() -> None:
    f = Function("f", [])
    assert f.add(2, 3) == 5
    assert f.mul("%x", 0) == 0
    assert f.mul("%x", 1) == "%x"
    assert f.add("%x", 0) == "%x"
    assert f.at("%p", 0) == "%p"
    assert f.least(4, 9) == 4
    assert f.lines == []


def test_a_loop_carries_values_and_returns_the_last() -> None:
    f = Function("f", [("i64", "%n")])
    (total,) = f.loop(
        0, "%n", 1, lambda position, values: [f.value(f"add i64 {values[0]}, {position}")], [("i64", "7")]
    )
    text = f.text()
    assert "= phi i64 [ 7, %entry ]" in text
    assert f"{total} = phi i64" in text
    assert text.count("br i1") == 2  # the guard, and the test at the end


def test_a_loop_without_iterations_is_no_code() -> None:
    f = Function("f", [])
    assert f.loop(0, 0, 1, lambda *_: ["%never"], [("i64", "7")]) == ["7"]
    assert f.lines == []


def test_a_body_must_return_what_the_loop_carries() -> None:
    f = Function("f", [])
    with pytest.raises(InvariantBroken, match="carries 1 values, got 0"):
        f.loop(0, 4, 1, lambda *_: [], [("i64", "7")])


def test_floats_are_written_as_the_same_number_in_f64() -> None:
    assert float_text(0x3F800000) == "0x3FF0000000000000"
    assert float_text(0x00000001) == "0x36A0000000000000"
    assert float_text(0x7FC00000) == "0x7FF8000000000000"
    assert float_text(0x80000000) == "0x8000000000000000"


def test_rows_end_in_the_narrowest_vector() -> None:
    assert parts_of(21, 8) == [Part(0, 8, 8), Part(8, 8, 8), Part(16, 5, 8)]
    assert parts_of(10, 8) == [Part(0, 8, 8), Part(8, 2, 4)]
    assert parts_of(0, 8) == []


def test_a_partial_store_writes_no_lane_more() -> None:
    f = Function("f", [])
    f.store_lanes("%v", "float", 8, 7, "%p")
    stores = [line.strip().split(">")[0] for line in f.lines if "store" in line]
    assert stores == ["store <4 x float", "store <2 x float", "store <1 x float"]
