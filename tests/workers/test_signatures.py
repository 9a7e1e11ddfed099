"""Signatures checked by child processes: the same answers as in this process, in the order of the questions."""

import asyncio
import io

import pytest

from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.identity.keys import KeyPair, signed_digest
from synaptic_mesh.workers import signatures as module
from synaptic_mesh.workers.signatures import (
    COUNT,
    ROW_BYTES,
    ROWS_MAX,
    SignatureChecker,
    check_rows,
    serve,
    signature_row,
)

KEYS = [KeyPair(bytes([number + 1]) * 32) for number in range(3)]


def row(number: int, *, is_valid: bool = True) -> bytes:
    key, message = KEYS[number % len(KEYS)], b"%d" % number
    signature = key.sign("test", message if is_valid else message + b"x")
    return signature_row(key.peer_id, signature, signed_digest("test", message))


PATTERN = [number % 5 != 0 and number % 7 != 3 for number in range(40)]
ROWS = b"".join(row(number, is_valid=is_valid) for number, is_valid in enumerate(PATTERN))


def test_each_row_is_judged_by_itself() -> None:
    assert check_rows(ROWS) == bytes(PATTERN)
    assert check_rows(b"") == b""


@pytest.mark.parametrize("lengths", [(31, 64, 32), (32, 63, 33), (33, 63, 32), (32, 64, 0)])
def test_wrong_lengths_make_a_row_that_no_signature_fits(lengths: tuple[int, int, int]) -> None:
    made = signature_row(*[bytes(length) for length in lengths])
    assert len(made) == ROW_BYTES
    assert check_rows(made) == b"\0"


def test_the_child_answers_batch_by_batch_and_ends_with_its_input() -> None:
    batch = COUNT.pack(2) + ROWS[: 2 * ROW_BYTES]
    sink = io.BytesIO()
    serve(io.BytesIO(batch + COUNT.pack(0) + batch + batch[:-1]), sink)
    answer = COUNT.pack(2) + bytes(PATTERN[:2])
    assert sink.getvalue() == answer + COUNT.pack(0) + answer


@pytest.mark.process
def test_children_answer_in_the_order_of_the_questions() -> None:
    async def play() -> None:
        checker = SignatureChecker(2)
        try:
            long = ROWS * (2 * ROWS_MAX // len(PATTERN))
            answers = await asyncio.gather(checker.check(ROWS), checker.check(b""), checker.check(long))
            assert answers[0] == bytes(PATTERN)
            assert answers[1] == b""
            assert answers[2] == bytes(PATTERN) * (2 * ROWS_MAX // len(PATTERN))
        finally:
            await checker.close()
            await checker.close()
        with pytest.raises(ResourceError, match="not running"):
            await checker.check(ROWS)

    asyncio.run(play())


@pytest.mark.process
def test_whoever_waits_for_a_child_that_died_is_told() -> None:
    async def play() -> None:
        checker = SignatureChecker(1)
        await checker.check(ROWS)
        asking = asyncio.create_task(checker.check(ROWS * 50))
        await asyncio.sleep(0)
        (child,) = checker._children
        assert child._process is not None
        child._process.kill()
        with pytest.raises(ResourceError, match="has ended"):
            await asking
        with pytest.raises(ResourceError, match="has ended"):
            await checker.check(ROWS)
        await checker.close()

    asyncio.run(play())


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_ROWS_MAX", 39)
    with pytest.raises(ResourceError, match="too slow"):
        asyncio.run(SignatureChecker().check(ROWS))
