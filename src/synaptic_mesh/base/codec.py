"""Canonical bytes: MessagePack through msgspec, with one legal encoding for every value.

Structs that are hashed, signed or sent are `Record`s: frozen, encoded as arrays in field order, tagged where they are
members of a union. `decode_untrusted` accepts only bytes that encode back to themselves, so two different byte
strings never mean the same value and a digest of the bytes is a digest of the value. Integers must fit in 64 bits;
floats have no place in a Record that enters consensus.
"""

from typing import Any, TypeVar, dataclass_transform

import msgspec

from synaptic_mesh.base.errors import PeerError

FRAME_BYTES_MAX = 4 << 20
"""Largest encoded message that is decoded at all: four times what the envelope lets through, since a frame of the
smallest values takes eight times its size as objects. Bulk data travels as blobs.
"""


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of every struct that is hashed, signed or sent."""


T = TypeVar("T")
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def encode(value: object) -> bytes:
    """Return the canonical bytes of a Record (or of plain containers of them; dict keys are sorted)."""
    return _encoder.encode(value)


def decode_untrusted(kind: type[T], data: bytes | memoryview, bytes_max: int = FRAME_BYTES_MAX) -> T:
    """Decode bytes that came from a peer or a disk into `kind`.

    `kind` may be a union of tagged Records (typed `Any` by the checker: pass it with a cast).
    Raises PeerError when the bytes are too many, malformed, of another type, or not in canonical form.
    """
    if len(data) > bytes_max:
        raise PeerError(f"message of {len(data)} bytes is over the limit of {bytes_max}")
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        value = decoder.decode(data)
        canonical = _encoder.encode(value)
    except (msgspec.MsgspecError, RecursionError, ValueError, OverflowError, UnicodeError) as error:
        raise PeerError(f"cannot decode {getattr(kind, '__name__', kind)}: {error}") from None
    if canonical != data:
        raise PeerError(f"{getattr(kind, '__name__', kind)} is not in canonical form")
    return value  # type: ignore[no-any-return]
