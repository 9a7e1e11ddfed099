"""What a node and a worker process say to each other: one encoding for each answer, nothing outside the arena."""

import struct

import pytest

from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.planner import ARENA_BYTES_MAX
from synaptic_mesh.engine.trace import f32, trace
from synaptic_mesh.workers.native_messages import (
    ANSWER_BYTES,
    FEED_BYTES_MAX,
    FEED_STEPS_MAX,
    REQUEST_BYTES,
    TEXT_BYTES_MAX,
    Answer,
    Ask,
    Request,
    Say,
    decode_answer_untrusted,
    decode_layout_untrusted,
    decode_request,
    encode_answer,
    encode_request,
    plan_memory,
)

ANSWERS = (
    Answer(Say.READY, 0, 4096),
    Answer(Say.DONE, 7, 3),
    Answer(Say.DONE, 1 << 40, 0, 5),
    Answer(Say.REFUSED, 0, text="too large"),
    Answer(Say.UNQUALIFIED, 0, text="x" * TEXT_BYTES_MAX),
)


def step() -> Graph:
    return trace(lambda w, x: {"w": w + x, "loss": (w * x).sum()}, {"w": f32(3), "x": f32(3)}, carried={"w": "w"})


def test_requests_come_back() -> None:
    request = Request(Ask.FEED, 3, 1 << 20)
    assert len(encode_request(request)) == REQUEST_BYTES
    assert decode_request(encode_request(request)) == request


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_come_back(answer: Answer) -> None:
    assert len(encode_answer(answer)) == ANSWER_BYTES
    assert decode_answer_untrusted(encode_answer(answer)) == answer


def test_text_of_an_answer_is_plain_and_cut() -> None:
    said = decode_answer_untrusted(encode_answer(Answer(Say.REFUSED, 0, text="caf\u00e9\n" + "y" * 900))).text
    assert said == "caf??" + "y" * (TEXT_BYTES_MAX - 5)


@pytest.mark.parametrize("position", range(4, ANSWER_BYTES))
def test_no_two_encodings_mean_the_same(position: int) -> None:
    # One changed byte is another answer or none; the padding has no room for anything.
    data = bytearray(encode_answer(ANSWERS[1]))
    data[position] ^= 0x41
    try:
        assert decode_answer_untrusted(bytes(data)) != ANSWERS[1]
    except PeerError:
        assert not 8 <= position < 24  # number and value may be anything here


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encode_answer(ANSWERS[0])[:-1],
        encode_answer(ANSWERS[0]) + b"\0",
        b"\0" + encode_answer(ANSWERS[0])[1:],
        encode_answer(Answer(Say.DONE, 1, 1, 1 << 20)),
        encode_answer(Answer(Say.READY, 0, 1, 1)),
        encode_answer(Answer(Say.READY, 0, 1, text="hello")),
        encode_answer(Answer(Say.REFUSED, 0)),
        encode_answer(Answer(Say.REFUSED, 0, 9, text="no")),
        encode_answer(ANSWERS[3])[:-1] + b"x",
        encode_answer(ANSWERS[3]).replace(b"large", b"lar\x07e"),
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(PeerError):
        decode_answer_untrusted(data)


def test_names_of_tensors_are_sorted_and_lie_inside_the_arena() -> None:
    layout = decode_layout_untrusted(step(), struct.pack("<4Q", 0, 64, 128, 192), 256)
    assert {name: slot.offset for name, slot in layout.inputs.items()} == {"w": 0, "x": 64}
    assert {name: slot.offset for name, slot in layout.outputs.items()} == {"loss": 128, "w": 192}
    assert layout.inputs["w"].shape == (3,)


@pytest.mark.parametrize(
    ("offsets", "arena_bytes"),
    [
        ((0, 64, 128, 256), 256),
        ((0, 64, 128, 1 << 63), 256),
        ((0, 64, 4, 192), 256),
        ((0, 64, 128), 256),
        ((0, 0, 0, 0, 0), 256),
        ((0, 0, 0, 0), 0),
        ((0, 0, 0, 0), ARENA_BYTES_MAX + 1),
    ],
)
def test_impossible_places_are_refused(offsets: tuple[int, ...], arena_bytes: int) -> None:
    with pytest.raises(PeerError):
        decode_layout_untrusted(step(), struct.pack(f"<{len(offsets)}Q", *offsets), arena_bytes)


def test_the_plan_is_the_same_for_the_graph_that_was_decoded() -> None:
    graph = trace(lambda b, a: {"y": b + a, "a": a}, {"b": f32(2), "a": f32(2)}, carried={"a": "a"})
    other = trace(lambda a, b: {"a": a, "y": b + a}, {"a": f32(2), "b": f32(2)}, carried={"a": "a"})
    assert plan_memory(graph) == plan_memory(other)
    assert [slot.name for slot in plan_memory(graph).feed] == ["b"]


@pytest.mark.parametrize(("rows", "steps"), [(4, FEED_STEPS_MAX), (1 << 18, 16), (1 << 22, 1), (1 << 23, 0)])
def test_the_feed_is_bounded(rows: int, steps: int) -> None:
    plan = plan_memory(trace(lambda x: x + x, {"x": f32(rows)}))
    assert plan.feed_steps == steps
    (slot,) = plan.feed
    assert slot.offset + 4 * rows * steps <= plan.arena <= slot.offset + FEED_BYTES_MAX + (1 << 16)
    assert plan.total_bytes >= plan.arena + ARENA_BYTES_MAX
