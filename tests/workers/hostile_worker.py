"""Stands where a worker process stands (`workers.native_child`) and misbehaves in the way its first argument names.

It knows the records by their numbers alone, as a program that took a worker over would. `ready` answers as a worker
whose tensors all lie at the start of an arena of 4 KiB.
"""

import os
import struct
import sys

ANSWER = struct.Struct("<IIQQII224s")
MAGIC, READY, DONE, REFUSED, UNQUALIFIED = 0x31574D53, 1, 2, 3, 4
REQUEST_BYTES = 24


def answer(kind: int, number: int, value: int = 0, flags: int = 0, text: bytes = b"") -> bytes:
    """Return the bytes of an answer."""
    return ANSWER.pack(MAGIC, kind, number, value, flags, len(text), text)


def resize(memory: int) -> bytes:
    """Try to take memory away under the node, and to add some; say what came of it."""
    said = []
    for size in (0, 1 << 40):
        try:
            os.ftruncate(memory, size)
            said.append(b"done")
        except OSError as error:
            said.append(os.strerror(error.errno).encode())
    return b", ".join(said)


def play(how: str, memory: int, answers: int) -> None:
    """Misbehave."""
    starts = {
        "dies": b"",
        "garbage": bytes(range(256)),
        "short": answer(READY, 0, 4096)[:100],
        "flood": b"\xff" * 5_000,
        "early": answer(DONE, 1, 1),
        "arena": answer(READY, 0, 1 << 40),
        "refuses": answer(REFUSED, 0, text=b"no such operation here"),
        "unqualified": answer(UNQUALIFIED, 0, text=b"LLVM rounds differently here"),
        "resizes": answer(REFUSED, 0, text=resize(memory)) if how == "resizes" else b"",
    }
    if how in starts:
        os.write(answers, starts[how])
        return
    if how == "silent":
        os.read(0, 1)
    offsets = {"outside": 4096, "crooked": 12}.get(how, 0)
    os.pwrite(memory, struct.pack("<4Q", *[offsets] * 4), 0)
    os.write(answers, answer(READY, 0, 4096))
    number = 0
    while len(data := os.read(0, REQUEST_BYTES)) == REQUEST_BYTES:
        _, _, number, steps = struct.unpack("<IIQQ", data)
        replies = {
            "nonsense": bytes(256),
            "wrong number": answer(DONE, number + 1, steps),
            "more steps": answer(DONE, number, steps + 1),
            "no reason": answer(DONE, number, steps - 1),
            "strange flags": answer(DONE, number, 0, 1 << 20),
            "ready again": answer(READY, number, 4096),
            "talks": ANSWER.pack(MAGIC, DONE, number, steps, 0, 5, b"hello"),
            "obeys": answer(DONE, number, steps),
        }
        while how == "spins":
            pass
        if how in replies:
            os.write(answers, replies[how])


if __name__ == "__main__":
    play(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
