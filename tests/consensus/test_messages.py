"""The border: bytes from a peer become one event, or a PeerError."""

import pytest

from synaptic_mesh.base.errors import PeerError
from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.consensus.block import VerifiedBlock
from synaptic_mesh.consensus.drawing import dag
from synaptic_mesh.consensus.messages import (
    Advert,
    Blocks,
    BlocksReceived,
    BlocksRequest,
    Message,
    MessageReceived,
    OwnRoundAnswer,
    OwnRoundAnswered,
    OwnRoundRequest,
    RoundsRequest,
    encode_message,
    receive_untrusted,
)

PEER = PeerId(bytes([5]) * 32)
BLOCK = dag("A1:[*]")["A1"].block


def verify(data: bytes) -> VerifiedBlock:
    if data != BLOCK.encoded:
        raise PeerError("V5: wrong")
    return BLOCK


@pytest.mark.parametrize(
    "message", [BlocksRequest((BLOCK.ref,)), RoundsRequest(7), Advert(3, 1, 2), OwnRoundRequest((1 << 63) - 1)]
)
def test_messages_without_blocks_come_through(message: Message) -> None:
    assert receive_untrusted(PEER, encode_message(message), verify) == MessageReceived(PEER, message)  # type: ignore[arg-type]


def test_blocks_are_verified_on_the_way() -> None:
    data = encode_message(Blocks((BLOCK.encoded, BLOCK.encoded)))
    assert receive_untrusted(PEER, data, verify) == BlocksReceived(PEER, (BLOCK, BLOCK))
    answer = encode_message(OwnRoundAnswer(4, BLOCK.encoded))
    assert receive_untrusted(PEER, answer, verify) == OwnRoundAnswered(PEER, 4, BLOCK)
    nothing = encode_message(OwnRoundAnswer(4, b""))
    assert receive_untrusted(PEER, nothing, verify) == OwnRoundAnswered(PEER, 4, None)


def test_one_bad_block_spoils_the_message() -> None:
    with pytest.raises(PeerError, match="V5"):
        receive_untrusted(PEER, encode_message(Blocks((BLOCK.encoded, b"bad"))), verify)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x92\xa5other\x01", b"\x94\xa6advert\xff\x01\x01", bytes(100)])
def test_anything_else_is_a_peer_error(data: bytes) -> None:
    with pytest.raises(PeerError):
        receive_untrusted(PEER, data, verify)
