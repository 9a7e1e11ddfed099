"""What a node and the worker process of one graph say to each other: records of fixed size, and memory that both see.

    node -> worker, 24 bytes     magic u32 | kind u32 | number u64 | steps u64
    worker -> node, 256 bytes    magic u32 | kind u32 | number u64 | value u64 | flags u32 | text length u32 | text

All integers are little-endian; what is not used is zero. An answer carries the number of its request; READY and the two
refusals answer request 0, which is the start of the process. The memory, sealed to its size before the process exists:

    head     first the graph's canonical bytes; after READY the offsets of its tensors in the arena, u64 each, inputs
             and then outputs, sorted by name: encoding a graph sorts them too
    feed     for each input that is not carried, the values of `feed_steps` steps
    arena    where the generated code works

The worker is not trusted: machine code made from a stranger's graph runs in it. So nothing it says is decoded by
anything that could build an object, an answer with one wrong field is no answer, offsets are checked against the arena,
and shapes and types are the graph's own.
"""

import enum
import math
import struct
from typing import NamedTuple

from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.engine.abi import ENVIRONMENT_CHANGED, INDEX_OUT_OF_RANGE, NOT_FINITE
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.planner import ALIGNMENT_BYTES, ARENA_BYTES_MAX
from synaptic_mesh.engine.serialize import GRAPH_BYTES_MAX
from synaptic_mesh.workers.program_cache import CachedProgram, CachedSlot

MAGIC = 0x31574D53
_REQUEST = struct.Struct("<IIQQ")
_ANSWER = struct.Struct("<IIQQII224s")
REQUEST_BYTES = _REQUEST.size
ANSWER_BYTES = _ANSWER.size
TEXT_BYTES_MAX = 224
_OFFSET_BYTES = 8
_PAGE_BYTES = 1 << 16
FEED_BYTES_MAX = 16 << 20
"""Values of several steps that wait in the shared memory; an input larger than this is written step by step."""
FEED_STEPS_MAX = 64
FLAGS_KNOWN = NOT_FINITE | INDEX_OUT_OF_RANGE | ENVIRONMENT_CHANGED


class Ask(enum.IntEnum):
    """What a node asks for."""

    RUN = 1
    """Execute `steps` times over the inputs as they are."""
    FEED = 2
    """Execute `steps` times, each with the next values of the feed."""


class Say(enum.IntEnum):
    """What a worker answers."""

    READY = 1
    """The graph is compiled; `value` is the arena's size in bytes."""
    DONE = 2
    """A request was carried out; `value` steps were completed, `flags` are those of the last."""
    REFUSED = 3
    """This graph cannot be compiled; `text` says why."""
    UNQUALIFIED = 4
    """No graph can be: LLVM or its bits are not as they should be on this machine; `text` says why."""


class Request(NamedTuple):
    """One request. `number` counts up from 1."""

    kind: Ask
    number: int
    steps: int


class Answer(NamedTuple):
    """One answer, its fields checked by themselves."""

    kind: Say
    number: int
    value: int = 0
    flags: int = 0
    text: str = ""


def encode_request(request: Request) -> bytes:
    """Return the bytes of a request."""
    return _REQUEST.pack(MAGIC, request.kind, request.number, request.steps)


def decode_request(data: bytes) -> Request:
    """Return the request that the node wrote. The worker believes its node: bytes of another kind raise ValueError."""
    _, kind, number, steps = _REQUEST.unpack(data)
    return Request(Ask(kind), number, steps)


def encode_answer(answer: Answer) -> bytes:
    """Return the bytes of an answer; what is not printable ASCII is replaced, and what is too long is cut."""
    text = bytes(byte if 0x20 <= byte < 0x7F else 0x3F for byte in answer.text.encode("ascii", "replace"))
    text = text[:TEXT_BYTES_MAX]
    return _ANSWER.pack(MAGIC, answer.kind, answer.number, answer.value, answer.flags, len(text), text)


def decode_answer_untrusted(data: bytes) -> Answer:
    """Return the answer that a worker's bytes encode. Raises PeerError unless they are the only encoding of one."""
    if len(data) != ANSWER_BYTES:
        raise PeerError(f"an answer of {len(data)} bytes, not {ANSWER_BYTES}")
    magic, kind, number, value, flags, length, text = _ANSWER.unpack(data)
    if magic != MAGIC or kind not in tuple(Say) or length > TEXT_BYTES_MAX or flags & ~FLAGS_KNOWN:
        raise PeerError(f"no answer: magic {magic:#x}, kind {kind}, flags {flags:#x}, text of {length} bytes")
    if any(text[length:]) or not all(0x20 <= byte < 0x7F for byte in text[:length]):
        raise PeerError("the text of an answer is not plain ASCII")
    is_refusal = kind in (Say.REFUSED, Say.UNQUALIFIED)
    if (length > 0) != is_refusal or (kind != Say.DONE and flags) or (is_refusal and value):
        raise PeerError(f"an answer of kind {kind} with value {value}, flags {flags:#x} and text of {length} bytes")
    return Answer(Say(kind), number, value, flags, text[:length].decode("ascii"))


class FeedSlot(NamedTuple):
    """Where the values of one input lie, those of step k after those of step k - 1."""

    name: str
    offset: int


class SharedPlan(NamedTuple):
    """Where everything lies in the memory of one graph's worker, for both sides: a function of the graph alone."""

    feed: tuple[FeedSlot, ...]
    feed_steps: int
    """Steps whose values fit; 0 when not even those of one do."""
    arena: int
    total_bytes: int


def plan_memory(graph: Graph) -> SharedPlan:
    """Return the plan. The arena has room for the largest that any graph may have: pages nobody writes to cost
    nothing."""
    offset = _pages(max(GRAPH_BYTES_MAX, offsets_bytes(graph)))
    fed = sorted(graph.inputs.keys() - graph.carried.keys())
    sizes = {name: 4 * graph.nodes[graph.inputs[name]].size for name in fed}
    step_bytes = sum(sizes.values())
    steps = min(FEED_STEPS_MAX, FEED_BYTES_MAX // step_bytes) if step_bytes else FEED_STEPS_MAX
    feed = []
    for name, size in sizes.items():
        feed.append(FeedSlot(name, offset))
        offset += -(-size * steps // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    arena = _pages(offset)
    return SharedPlan(tuple(feed), steps, arena, arena + _pages(ARENA_BYTES_MAX))


def _pages(size: int) -> int:
    return -(-size // _PAGE_BYTES) * _PAGE_BYTES


def encode_offsets(graph: Graph, layout: CachedProgram) -> bytes:
    """Return the offsets of a compiled graph's tensors as they stand in the head."""
    offsets = [layout.inputs[name].offset for name in sorted(graph.inputs)]
    offsets += [layout.outputs[name].offset for name in sorted(graph.outputs)]
    return struct.pack(f"<{len(offsets)}Q", *offsets)


def offsets_bytes(graph: Graph) -> int:
    """Return the length of `encode_offsets`."""
    return _OFFSET_BYTES * (len(graph.inputs) + len(graph.outputs))


def decode_layout_untrusted(graph: Graph, data: bytes, arena_bytes: int) -> CachedProgram:
    """Return where tensors lie in a worker's arena, all of them inside it and aligned. Raises PeerError."""
    if not 0 < arena_bytes <= ARENA_BYTES_MAX:
        raise PeerError(f"an arena of {arena_bytes} bytes, the limit is {ARENA_BYTES_MAX}")
    if len(data) != offsets_bytes(graph):
        raise PeerError(f"{len(data)} bytes of offsets, not {offsets_bytes(graph)}")
    offsets = iter(struct.unpack(f"<{len(data) // _OFFSET_BYTES}Q", data))
    inputs, outputs = (
        {name: _slot_untrusted(graph, named[name], next(offsets), arena_bytes) for name in sorted(named)}
        for named in (graph.inputs, graph.outputs)
    )
    return CachedProgram(wasm=b"", native=b"", inputs=inputs, outputs=outputs, arena_bytes=arena_bytes)


def _slot_untrusted(graph: Graph, index: int, offset: int, arena_bytes: int) -> CachedSlot:
    node = graph.nodes[index]
    if offset % ALIGNMENT_BYTES or offset + 4 * math.prod(node.shape) > arena_bytes:
        raise PeerError(f"a tensor of shape {node.shape} at offset {offset} of an arena of {arena_bytes} bytes")
    return CachedSlot(offset, node.shape, node.dtype.value)
