"""Answers: who may see which own block."""

from consensus_mesh import Mesh

from synaptic_mesh.consensus.messages import Blocks, Effect, RoundsRequest, Send
from synaptic_mesh.consensus.serving import WITHHELD_MAX


def running() -> Mesh:
    mesh = Mesh(4)
    mesh.start()
    return mesh.run(500)


def sent(effects: list[Effect]) -> tuple[bytes, ...]:
    (send,) = effects
    assert isinstance(send, Send)
    assert isinstance(send.message, Blocks)
    return send.message.blocks


def test_a_withheld_block_is_sent_to_those_alone_who_name_it() -> None:
    mesh = running()
    serving, own = mesh.cores[0].serving, mesh.cores[0].dag.slot(1, 0)[0].block
    assert own.encoded in sent(serving.rounds(mesh.peers[1], RoundsRequest(1), 500))
    serving.withhold(own.digest)
    assert own.encoded not in sent(serving.rounds(mesh.peers[1], RoundsRequest(1), 500))
    assert serving.pushed(mesh.peers[1], [own], 500) == []
    assert sent(serving.named(mesh.peers[1], (own.ref,), 500)) == (own.encoded,)


def test_a_block_in_doubt_is_shown_when_the_doubt_is_over() -> None:
    mesh = running()
    serving, own = mesh.cores[0].serving, mesh.cores[0].dag.slot(1, 0)[0].block
    serving.in_doubt = own.digest
    assert serving.pushed(mesh.peers[1], [own], 500) == []
    serving.in_doubt = b""
    assert sent(serving.pushed(mesh.peers[1], [own], 500)) == (own.encoded,)


def test_only_so_many_blocks_are_withheld() -> None:
    serving = running().cores[0].serving
    for number in range(WITHHELD_MAX + 10):
        serving.withhold(b"%d" % number)
    assert not serving.is_shown(b"%d" % (WITHHELD_MAX + 9))
    assert serving.is_shown(b"0")
