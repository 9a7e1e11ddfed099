import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import PeerError, ResourceError
from synaptic_mesh.base.ids import Digest, PeerId
from synaptic_mesh.base.seeds import derive_random
from synaptic_mesh.transport import exchange
from synaptic_mesh.transport.exchange import BlobFetcher, BlobServer
from synaptic_mesh.transport.network import Counters

A, B, C = (PeerId(bytes([number]) * 32) for number in (1, 2, 3))
BLOB = derive_random(3, "blob").randbytes(10_500)
DIGEST = blob_digest(BLOB)
Answer = Callable[[bytes], Awaitable[bytes]]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "CHUNK_BYTES", 1_000)
    monkeypatch.setattr(exchange, "STALL_MS", 1)


def server(data: bytes | None = BLOB) -> BlobServer:
    made = BlobServer(Counters())
    made.source = lambda digest: data if digest == DIGEST else None
    return made


def answering(data: bytes | None = BLOB) -> Answer:
    made = server(data)
    return lambda question: made.answer_untrusted(A, question)


async def silent(_question: bytes) -> bytes:
    silence: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    return await silence


async def broken(_question: bytes) -> bytes:
    raise ResourceError("is not linked")


def fetch(holders: dict[PeerId, Answer], asked: Counter[PeerId] | None = None) -> bytes:
    async def whole() -> bytes:
        async def ask(peer: PeerId, question: bytes) -> bytes:
            if asked is not None:
                asked[peer] += 1
            return await holders[peer](question)

        async with asyncio.timeout(20):
            return await BlobFetcher(ask, Counters()).fetch(DIGEST, len(BLOB), list(holders))

    return asyncio.run(whole())


def test_holders_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "STALL_MS", 10_000)  # a busy machine is no silent holder
    asked: Counter[PeerId] = Counter()
    assert fetch({A: answering(), B: answering()}, asked) == BLOB
    assert min(asked.values()) > 1
    assert asked.total() == 2 + 11  # a manifest from each, every chunk once


def test_a_silent_holder_does_not_hold_up_the_others() -> None:
    assert fetch({A: silent, B: answering()}) == BLOB


def test_a_holder_that_falls_silent_after_its_manifest_does_not_either() -> None:
    good = answering()

    async def manifest_only(question: bytes) -> bytes:
        return await (good if b"manifest" in question else silent)(question)

    assert fetch({A: manifest_only, B: answering()}) == BLOB


def test_a_holder_that_breaks_hands_its_chunks_to_the_others() -> None:
    good, answers = answering(), iter(range(3))

    async def breaks(question: bytes) -> bytes:
        return await (good if next(answers, None) is not None else broken)(question)

    assert fetch({A: breaks, B: answering()}) == BLOB


def test_a_consistent_lie_is_convicted_by_the_whole() -> None:
    lie = bytes(len(BLOB))
    assert fetch({A: answering(lie), B: answering(lie), C: answering()}) == BLOB
    with pytest.raises(ResourceError, match="manifest of another blob"):
        fetch({A: answering(lie)})


def test_every_reason_is_named() -> None:
    with pytest.raises(
        ResourceError, match=r"01010101: does not serve it; 02020202: is not linked; 03030303: .*length"
    ):
        fetch({A: answering(None), B: broken, C: answering(BLOB[:5_000])})


def test_credits_bound_what_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "CREDITS", 3)
    monkeypatch.setattr(exchange, "STALL_MS", 60_000)  # nobody here is silent: a busy machine must not look so
    flying: Counter[PeerId] = Counter()
    most: Counter[str] = Counter()
    good = answering()

    def counted(peer: PeerId) -> Answer:
        async def answer(question: bytes) -> bytes:
            flying[peer] += 1
            most["holder"] = max(most["holder"], flying[peer])
            most["all"] = max(most["all"], flying.total())
            try:
                return await good(question)
            finally:
                flying[peer] -= 1

        return answer

    assert fetch({peer: counted(peer) for peer in (A, B, C)}) == BLOB
    assert most == {"holder": exchange.CREDITS_PER_HOLDER, "all": 3}


def test_one_peer_cannot_ask_without_end() -> None:
    async def whole() -> None:
        made = server()
        question = encode(exchange.WantChunk(DIGEST, 0))
        answers = await asyncio.gather(
            *(made.answer_untrusted(A, question) for _ in range(exchange.ANSWERS_PER_PEER_MAX + 5)),
            return_exceptions=True,
        )
        assert sum(isinstance(answer, PeerError) for answer in answers) == 5
        assert await made.answer_untrusted(A, question) == BLOB[:1_000]

    asyncio.run(whole())


@pytest.mark.parametrize("index", [-1, 11, 1 << 40])
def test_chunks_outside_the_blob_are_refused(index: int) -> None:
    question = encode(exchange.WantChunk(DIGEST, index))
    assert asyncio.run(server().answer_untrusted(A, question)) == b""


def test_questions_must_name_a_digest() -> None:
    with pytest.raises(PeerError):
        asyncio.run(server().answer_untrusted(A, encode(exchange.WantManifest(Digest(b"x")))))


def test_silent_holders_do_not_stop_other_fetches() -> None:
    async def play() -> bytes:
        async def ask(peer: PeerId, question: bytes) -> bytes:
            return await (answering()(question) if peer == A else silent(question))

        fetcher = BlobFetcher(ask, Counters())
        quiet = [PeerId(bytes([number]) * 32) for number in range(10, 10 + exchange.CREDITS)]
        hung = [asyncio.create_task(fetcher.fetch(DIGEST, len(BLOB), [peer])) for peer in quiet]
        try:
            async with asyncio.timeout(20):
                return await fetcher.fetch(DIGEST, len(BLOB), [A])
        finally:
            for task in hung:
                task.cancel()
            await asyncio.gather(*hung, return_exceptions=True)

    assert asyncio.run(play()) == BLOB
