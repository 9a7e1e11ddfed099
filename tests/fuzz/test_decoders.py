"""No bytes from outside raise anything but PeerError, and none make a decoder hold more than 64 MB.

The long run with coverage is `make fuzz` (atheris). Decoders are found by reflection: one without a target fails here.
"""

import ast
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from frames import bombs, hostile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import THROUGH, Target, targets

from synaptic_mesh.base.errors import PeerError

SOURCE = Path(__file__).parent.parent.parent / "src" / "synaptic_mesh"
MEMORY_BYTES_MAX = 64 << 20
"""What one frame may make a decoder hold at any moment, the frame itself left out."""
EXAMPLES = 40


def decoders() -> Iterator[str]:
    """Module and qualified name of every function of the package that ends in `_untrusted`."""
    for path in sorted(SOURCE.rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for node in ast.parse(path.read_text()).body:
            inner = node.body if isinstance(node, ast.ClassDef) else [node]
            owner = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
            for each in inner:
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name.endswith("_untrusted"):
                    yield f"{module}.{owner}{each.name}"


def test_every_decoder_is_fuzzed_and_nothing_else_is_named() -> None:
    known = {name.split(" ")[0] for name in targets()} | THROUGH.keys()
    found = set(decoders())
    assert found - known == set(), "give it a target in tests/fuzz/targets.py"
    assert {name for name in known - found if not name.endswith("Assembly.handle")} == set()
    assert set(THROUGH.values()) <= targets().keys()


def run(target: Target, frame: bytes) -> bool:
    """Whether the decoder accepts the frame; anything but PeerError goes through."""
    said = ""
    try:
        target.run(frame)
    except PeerError as error:
        said = str(error)
    assert len(said) < 600, "a peer chose how much is said about its bytes"
    return not said


@pytest.mark.parametrize("name", targets())
def test_hostile_frames_raise_peer_errors_only(name: str) -> None:
    target = targets()[name]

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, (1 << 64) - 1))
    def fuzz(number: int) -> None:
        run(target, hostile(Random(number), target.seeds, target.bytes_max))

    fuzz()


@pytest.mark.parametrize("name", targets())
def test_random_bytes_raise_peer_errors_only(name: str) -> None:
    target = targets()[name]

    @settings(max_examples=EXAMPLES // 2, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=300))
    def fuzz(frame: bytes) -> None:
        run(target, frame)

    fuzz()


def held_bytes(target: Target, bytes_max: int) -> int:
    """The most memory that a bomb of this size makes the decoder hold."""
    run(target, target.seeds[0])  # what is allocated once is not the frame's doing
    most = 0
    for frame in bombs(target.seeds, bytes_max):
        tracemalloc.start()
        try:
            run(target, frame)
            most = max(most, tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return most


@pytest.mark.slow
@pytest.mark.parametrize("name", targets())
def test_the_largest_messages_stay_within_the_memory(name: str) -> None:
    assert held_bytes(targets()[name], targets()[name].bytes_max) < MEMORY_BYTES_MAX


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, each in targets().items() if each.frame_bytes_max > each.bytes_max])
def test_the_largest_frames_stay_within_the_memory(name: str) -> None:
    assert held_bytes(targets()[name], targets()[name].frame_bytes_max) < MEMORY_BYTES_MAX


def test_the_seeds_are_valid_where_they_should_be() -> None:
    """Frames that are refused at once lead nowhere: of almost every target one seed is accepted."""
    refused = {name for name, target in targets().items() if not any(run(target, seed) for seed in target.seeds)}
    assert refused == {
        "training.model_file.decode_model_untrusted",
        "training.model_file.decode_model_untrusted text",
        "training.safetensors.decode_safetensors_untrusted header",
        "facade.network_file._decode_untrusted",
        "facade.network_file._decode_untrusted text",
    }


@pytest.mark.long
@pytest.mark.parametrize("name", targets())
def test_many_hostile_frames(name: str) -> None:
    target = targets()[name]
    for number in range(5_000):
        run(target, hostile(Random(number), target.seeds, target.bytes_max))
