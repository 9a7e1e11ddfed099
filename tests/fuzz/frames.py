"""Bytes that a hostile peer may send, made from valid frames: changed bytes, changed structure, and bombs.

Everything is a function of a `Random`, so one integer replays a frame.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

EDGES = (
    0,
    1,
    127,
    128,
    255,
    256,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)
HUGE_LENGTHS = (
    b"\xdd\xff\xff\xff\xff",
    b"\xdc\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
)
"""An array, a short array, bytes, text and a map that say they are much longer than the frame."""
DEPTHS = (10, 200, 5_000)


def hostile(random: Random, seeds: tuple[bytes, ...], bytes_max: int) -> bytes:
    """Return one frame of at most `bytes_max` bytes."""
    seed = random.choice(seeds) if seeds else b""
    make = random.choice(
        (_random_bytes, _flip, _flip, _cut, _splice, _restructure, _restructure, _restructure, _nest, _lengthen)
    )
    return make(random, seed)[:bytes_max]


def bombs(seeds: tuple[bytes, ...], bytes_max: int) -> list[bytes]:
    """Frames of the largest size whose decoded form could be many times as large."""
    fillers = (b"\x00", b"\xc0", b"\xc4\x00", b"\x90", b"\x91", b"\xa0", b"\x80", b"\xff")
    found = []
    for filler in fillers:
        count = max(1, (bytes_max - 5) // len(filler))
        found.append(b"\xdd" + count.to_bytes(4, "big") + filler * count)
    for seed in seeds[:3]:
        tree = _parse(seed)
        for path in _paths(tree)[:40]:
            if isinstance(_at(tree, path), list):
                items = _at(tree, path)
                for element in (b"", 0, [], *items[:1]):
                    size = len(msgspec.msgpack.encode(element))
                    count = max(0, (bytes_max - len(seed) - 8) // size)
                    found.append(msgspec.msgpack.encode(_replaced(tree, path, [element] * count)))
    return [bomb for bomb in found if len(bomb) <= bytes_max]


def _random_bytes(random: Random, _seed: bytes) -> bytes:
    return random.randbytes(random.choice((0, 1, 2, 10, 100, 1_000)))


def _flip(random: Random, seed: bytes) -> bytes:
    changed = bytearray(seed)
    for _ in range(random.choice((1, 1, 2, 5)) if changed else 0):
        changed[random.randrange(len(changed))] = random.choice((random.randrange(256), 0, 255, 0x90, 0xC0, 0xC4, 0xDD))
    return bytes(changed)


def _cut(random: Random, seed: bytes) -> bytes:
    at = random.randint(0, len(seed))
    return seed[:at] + random.choice((b"", b"\x00", seed, random.randbytes(3)))


def _splice(random: Random, seed: bytes) -> bytes:
    a, b = sorted(random.randint(0, len(seed)) for _ in range(2))
    at = random.randint(0, len(seed))
    return seed[:at] + seed[a:b] + seed[at:]


def _nest(random: Random, seed: bytes) -> bytes:
    depth = random.choice(DEPTHS)
    return random.choice((b"\x91" * depth, b"\x81\xa1a" * depth, b"[" * depth, b'{"a":' * depth)) + seed[:100]


def _lengthen(random: Random, seed: bytes) -> bytes:
    at = random.randint(0, len(seed))
    return seed[:at] + random.choice(HUGE_LENGTHS) + seed[at:]


def _restructure(random: Random, seed: bytes) -> bytes:
    """Change values of a MessagePack or JSON tree; what is neither is flipped instead."""
    tree = _parse(seed)
    if tree is None:
        return _flip(random, seed)
    for _ in range(random.choice((1, 1, 2, 4))):
        paths = _paths(tree)
        path = random.choice(paths)
        tree = _replaced(tree, path, _odd_value(random, _at(tree, path)))
    is_json = seed[:1] in (b"{", b"[")
    try:
        return msgspec.json.encode(tree) if is_json else msgspec.msgpack.encode(tree)
    except (OverflowError, RecursionError, ValueError, TypeError):
        return _flip(random, seed)


def _odd_value(random: Random, value: Any) -> Any:
    choices: list[Callable[[], Any]] = [
        lambda: None,
        lambda: random.choice(EDGES),
        lambda: -random.choice(EDGES[:-2]),
        lambda: random.choice((0.5, float("inf"), 1e308)),
        lambda: "",
        lambda: "\x00text\U0010ffff",
        lambda: b"",
        lambda: random.randbytes(random.choice((1, 31, 32, 33, 64, 5_000))),
        list,
        lambda: [value],
        lambda: [value] * random.choice((2, 17, 1_100)),
        dict,
        lambda: random.choice((True, False)),
    ]
    if isinstance(value, list) and value:
        choices += [
            lambda: value[1:],
            lambda: value[:-1],
            lambda: value[::-1],
            lambda: [*value, random.choice(value)],
            lambda: value * random.choice((2, 50)),
        ]
    if isinstance(value, bytes) and value:
        choices += [
            lambda: _flip(random, value),
            lambda: value[:-1],
            lambda: value + b"\x00",
            lambda: _restructure(random, value),
        ] * 2
    if isinstance(value, int):
        choices += [lambda: value + random.choice((-1, 1, 2))] * 3
    return random.choice(choices)()


def _parse(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data) if data[:1] in (b"{", b"[") else msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError):
        return None


Path = tuple[Any, ...]


def _paths(tree: Any) -> list[Path]:
    """The paths of all values of a tree, the outermost first, at most a thousand."""
    paths: list[Path] = [()]
    for path in paths:
        value = _at(tree, path)
        keys = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
        paths += [(*path, key) for key in keys]
        if len(paths) > 1_000:
            break
    return paths


def _at(tree: Any, path: Path) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _replaced(tree: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    if isinstance(tree, dict):
        return {**tree, path[0]: _replaced(tree[path[0]], path[1:], value)}
    return [_replaced(each, path[1:], value) if index == path[0] else each for index, each in enumerate(tree)]
