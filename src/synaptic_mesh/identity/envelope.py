"""Signed envelopes: the only proof of who sent a message, whatever carried it.

A message is a header and a payload. The header is the canonical `Envelope` record; its signature covers every field,
and through `payload_digest` the payload, so relays, gateways and TLS issuers can neither forge nor alter nor redirect.
An envelope is bound to one network and to one recipient (or to everyone, when `recipient` is empty).

Replay: the sender numbers its messages (incarnation, counter). The incarnation grows at every start of its process and
is kept in a file, the counter grows with every message. A receiver keeps per sender the highest incarnation, the
highest counter and a bit for each of the last `REPLAY_WINDOW` counters (RFC 4303 section 3.4.3), so messages may
overtake one another and each is taken once. Windows live in memory: after its own restart a receiver takes an old
message once more, which the protocols above must tolerate.

Checks run from cheap to dear: sizes and form, network, recipient, whether the sender is welcome, window, payload hash,
signature.
"""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from synaptic_mesh.base.codec import Record, decode_untrusted, encode
from synaptic_mesh.base.digests import blob_digest
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.ids import DIGEST_BYTES, PEER_ID_BYTES, SIGNATURE_BYTES, Digest, NetworkId, PeerId, short
from synaptic_mesh.identity.keys import KeyPair, verify_signature

ENVELOPE_VERSION = 1
ENVELOPE_DOMAIN = "envelope/v1"
HEADER_BYTES_MAX = 400
"""Largest encoded header; ours have about 250 bytes."""
PAYLOAD_BYTES_MAX = 1 << 20
"""Largest payload of a control message. Anything larger is announced by digest and pulled as a blob."""
TOPIC_CHARACTERS_MAX = 32
TOPIC_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")
REPLAY_WINDOW = 4_096
"""Counters below the highest one that may still arrive."""
SENDERS_MAX = 4_096
"""Senders with a replay window; each takes about 1 KB."""
EVERYONE = PeerId(b"")
"""Recipient of a broadcast."""


class Reason(StrEnum):
    """Why a message was dropped. Shells count per reason."""

    OVERSIZED = "oversized"
    MALFORMED = "malformed"
    VERSION = "version"
    NETWORK = "network"
    RECIPIENT = "recipient"
    STRANGER = "stranger"
    STALE = "stale"
    REPLAYED = "replayed"
    PAYLOAD = "payload"
    SIGNATURE = "signature"
    SENDERS = "senders"


class EnvelopeRejected(PeerError):
    """A message that is not acceptable; `reason` says why in one word."""

    def __init__(self, reason: Reason, message: str, peer: bytes | None = None) -> None:
        super().__init__(message, peer)
        self.reason = reason


class Claim(Record):
    """What the sender signs: the canonical bytes of these fields, in the domain `ENVELOPE_DOMAIN`."""

    version: int
    network: NetworkId
    sender: PeerId
    recipient: PeerId
    incarnation: int
    counter: int
    topic: str
    payload_digest: Digest


class Envelope(Record):
    """The header of one message: a claim and its signature."""

    claim: Claim
    signature: bytes


class Opened(msgspec.Struct, frozen=True):
    """A message that its sender signed, for this network and this recipient, seen for the first time."""

    sender: PeerId
    topic: str
    payload: bytes
    direct: bool
    """True if it was addressed to this peer alone."""


class Sealer:
    """Numbers and signs the messages of one peer, for one process lifetime (one incarnation)."""

    def __init__(self, key: KeyPair, network: NetworkId, incarnation: int) -> None:
        if not 0 <= incarnation < 1 << 63:
            raise LocalError(f"incarnation {incarnation} is out of range")
        self.key = key
        self.network = network
        self.incarnation = incarnation
        self._counter = 0

    def seal(self, topic: str, payload: bytes, recipient: PeerId = EVERYONE) -> bytes:
        """Return the header for `payload`. Raises LocalError for a topic or size that no receiver would take."""
        check_topic(topic)
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise LocalError(
                f"message of {len(payload)} bytes on {topic!r} is over the limit of {PAYLOAD_BYTES_MAX}: "
                "announce its digest and let peers fetch it as a blob"
            )
        self._counter += 1
        claim = Claim(
            ENVELOPE_VERSION,
            self.network,
            self.key.peer_id,
            recipient,
            self.incarnation,
            self._counter,
            topic,
            blob_digest(payload),
        )
        return encode(Envelope(claim, self.key.sign(ENVELOPE_DOMAIN, encode(claim))))


class Opener:
    """Checks the messages that reach one peer, and remembers which it has seen."""

    def __init__(self, network: NetworkId, me: PeerId, is_welcome: Callable[[PeerId], bool]) -> None:
        self.network = network
        self.me = me
        self._is_welcome = is_welcome
        self._windows: dict[PeerId, ReplayWindow] = {}

    def open_untrusted(self, header: bytes, payload: bytes) -> Opened:
        """Return the message. Raises EnvelopeRejected (a PeerError) with the reason, then remembers nothing of it."""
        claim, signature = self._decode_untrusted(header, payload)
        self._check_address(claim)
        window = self._windows.get(claim.sender)
        if window is not None:
            window.check(claim)
        elif len(self._windows) >= SENDERS_MAX:
            raise EnvelopeRejected(Reason.SENDERS, f"more than {SENDERS_MAX} senders", claim.sender)
        if blob_digest(payload) != claim.payload_digest:
            raise EnvelopeRejected(Reason.PAYLOAD, "payload does not match its digest", claim.sender)
        if not verify_signature(claim.sender, ENVELOPE_DOMAIN, encode(claim), signature):
            raise EnvelopeRejected(Reason.SIGNATURE, f"signature is not by {short(claim.sender)}", claim.sender)
        if window is None:
            window = self._windows[claim.sender] = ReplayWindow()
        window.take(claim)
        return Opened(claim.sender, claim.topic, payload, bool(claim.recipient))

    def forget(self, peer: PeerId) -> None:
        """Drop the window of a peer that is no longer welcome."""
        self._windows.pop(peer, None)

    def _decode_untrusted(self, header: bytes, payload: bytes) -> tuple[Claim, bytes]:
        if len(header) > HEADER_BYTES_MAX or len(payload) > PAYLOAD_BYTES_MAX:
            raise EnvelopeRejected(Reason.OVERSIZED, f"header of {len(header)}, payload of {len(payload)} bytes")
        try:
            envelope = decode_untrusted(Envelope, header, HEADER_BYTES_MAX)
        except PeerError as error:
            raise EnvelopeRejected(Reason.MALFORMED, str(error)) from None
        claim = envelope.claim
        lengths_fit = (
            len(claim.network) == DIGEST_BYTES
            and len(claim.sender) == PEER_ID_BYTES
            and len(claim.recipient) in (0, PEER_ID_BYTES)
            and len(claim.payload_digest) == DIGEST_BYTES
            and len(envelope.signature) == SIGNATURE_BYTES
        )
        in_range = 0 <= claim.incarnation < 1 << 63 and 0 < claim.counter < 1 << 63
        if not (lengths_fit and in_range and is_topic(claim.topic)):
            raise EnvelopeRejected(Reason.MALFORMED, "a field of the envelope is out of range")
        return claim, envelope.signature

    def _check_address(self, claim: Claim) -> None:
        if claim.version != ENVELOPE_VERSION:
            raise EnvelopeRejected(Reason.VERSION, f"envelope version {claim.version}", claim.sender)
        if claim.network != self.network:
            raise EnvelopeRejected(Reason.NETWORK, f"message of network {short(claim.network)}", claim.sender)
        if claim.recipient not in (EVERYONE, self.me):
            raise EnvelopeRejected(Reason.RECIPIENT, f"message for {short(claim.recipient)}", claim.sender)
        if claim.sender == self.me or not self._is_welcome(claim.sender):
            raise EnvelopeRejected(Reason.STRANGER, f"message from {short(claim.sender)}", claim.sender)


class ReplayWindow:
    """Which counters of one sender's newest incarnation were seen."""

    __slots__ = ("_highest", "_incarnation", "_seen")

    def __init__(self) -> None:
        self._incarnation = -1
        self._highest = 0
        self._seen = 0  # bit i: counter highest - i was taken

    def check(self, claim: Claim) -> None:
        """Raise EnvelopeRejected if the message is from an older incarnation, below the window, or was taken before."""
        if claim.incarnation > self._incarnation:
            return
        age = self._highest - claim.counter
        if claim.incarnation < self._incarnation or age >= REPLAY_WINDOW:
            raise EnvelopeRejected(
                Reason.STALE, f"message {claim.incarnation}/{claim.counter} is too old", claim.sender
            )
        if age >= 0 and self._seen >> age & 1:
            raise EnvelopeRejected(Reason.REPLAYED, f"message {claim.incarnation}/{claim.counter} again", claim.sender)

    def take(self, claim: Claim) -> None:
        """Remember a message that passed every check."""
        if claim.incarnation > self._incarnation:
            self._incarnation, self._highest, self._seen = claim.incarnation, claim.counter, 1
        elif claim.counter > self._highest:
            shift = min(claim.counter - self._highest, REPLAY_WINDOW)
            self._seen = (self._seen << shift | 1) & ((1 << REPLAY_WINDOW) - 1)
            self._highest = claim.counter
        else:
            self._seen |= 1 << self._highest - claim.counter


def is_topic(topic: str) -> bool:
    """Answer whether `topic` is 1 to 32 of a-z 0-9 _ . -"""
    return 0 < len(topic) <= TOPIC_CHARACTERS_MAX and TOPIC_CHARACTERS.issuperset(topic)


def check_topic(topic: str) -> None:
    """Raise LocalError unless `topic` can be sent."""
    if not is_topic(topic):
        raise LocalError(f"topic {topic!r} must be 1 to {TOPIC_CHARACTERS_MAX} of a-z 0-9 _ . -")
