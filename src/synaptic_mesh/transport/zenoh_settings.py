"""What zenoh is told, and why. Each value answers a trap that was met in a test."""

import base64
import json
from typing import Any

import msgspec

from synaptic_mesh.base.ids import NetworkId, PeerId
from synaptic_mesh.identity.certificates import Credentials

MESSAGE_BYTES_MAX = 64 << 20
"""Above it a message vanishes while the link stays; the default of 1 GiB lets one peer fill the memory."""
LEASE_MS = 2_000
"""A peer that is suspended, not dead, is noticed after this time; the default is 10 s."""
QUEUE_BATCHES = 16
"""Batches of 64 KiB in the control queue of a link, the most zenoh allows: 1 MiB, so that a large control message fits.
"""
DROP_WAIT_US = 100_000
"""How long the sending thread waits for room before it drops a frame. At the default of 1 ms half of a burst of 2,000
was lost, at 5 ms still some when the receiving process was busy. A link that stays full is waited for only once."""
DROP_WAIT_FRAGMENTS_US = 500_000
"""The same for a message of several batches, in all."""
CONNECT_RETRY_MS = 200
CONNECT_RETRY_MS_MAX = 2_000


class ZenohSettings(msgspec.Struct, frozen=True):
    """Where one node listens, whom it calls, and what it presents."""

    listen: tuple[str, ...]
    """Endpoints "host:port", at least one but for a client; port 0 is not allowed since peers must know it."""
    connect: tuple[str, ...]
    """Endpoints of the others. A link is made once whichever side calls first; own endpoints in the list are skipped.
    """
    credentials: Credentials
    members: tuple[PeerId, ...] | None = None
    """Peers that may do anything on a link, by the name in their certificate. None: every peer with a valid
    certificate.
    """
    is_client: bool = False
    """Only submits and follows: it hears no broadcasts, serves nothing, and nobody counts it among the nodes."""
    gossip: bool = False
    """Learn further endpoints from peers. Off: the list above is complete."""
    close_timeout_s: float = 3.0
    """After this time a session that does not close is left to the process's end (upstream has open hangs on exit)."""


def zenoh_options(settings: ZenohSettings, network: NetworkId, me: PeerId) -> dict[str, Any]:
    """Return zenoh's configuration as path -> value."""
    own = set(settings.listen)
    return {
        "mode": "peer",
        "id": me[:16].hex().lstrip("0"),  # zenoh writes ids without leading zeros
        "listen/endpoints": [f"tls/{endpoint}" for endpoint in settings.listen],
        "listen/exit_on_failure": True,
        "connect/endpoints": [f"tls/{endpoint}" for endpoint in settings.connect if endpoint not in own],
        "connect/timeout_ms": -1,  # call until somebody answers; 0 would mean one call each, and no further
        "connect/exit_on_failure": False,
        "open/return_conditions/connect_scouted": False,  # do not wait for answers: links are watched
        "connect/retry": {
            "period_init_ms": CONNECT_RETRY_MS,
            "period_max_ms": CONNECT_RETRY_MS_MAX,
            "period_increase_factor": 2,
        },
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": settings.gossip,
        "transport/link/protocols": ["tls"],
        "transport/link/tx/lease": LEASE_MS,
        "transport/link/tx/queue/size/real_time": QUEUE_BATCHES,
        "transport/link/tx/queue/congestion_control/drop": {
            "wait_before_drop": DROP_WAIT_US,
            "max_wait_before_drop_fragments": DROP_WAIT_FRAGMENTS_US,
        },
        "transport/link/rx/max_message_size": MESSAGE_BYTES_MAX,
        "transport/link/tls": tls_options(settings.credentials),
        "transport/shared_memory/enabled": False,  # a peer could change bytes after they were checked
        "access_control": access_rules(settings.members, network, me),
    }


def tls_options(credentials: Credentials) -> dict[str, Any]:
    """Mutual TLS against the bundle. Names are peers, not hosts, so they are checked on the link, not against an
    address.
    """
    certificate, private_key, bundle = (
        base64.b64encode(part).decode()
        for part in (credentials.certificate, credentials.private_key, credentials.bundle)
    )
    return {
        "root_ca_certificate_base64": bundle,
        "listen_certificate_base64": certificate,
        "listen_private_key_base64": private_key,
        "connect_certificate_base64": certificate,
        "connect_private_key_base64": private_key,
        "enable_mtls": True,
        "verify_name_on_connect": False,
        "close_link_on_expiration": True,
    }


def control_key(network: NetworkId, peer: PeerId) -> str:
    """Where the control frames for one peer are published."""
    return f"mesh/{network.hex()}/{peer.hex()}/control"


def broadcast_key(network: NetworkId) -> str:
    """Where the control frames for everyone are published."""
    return f"mesh/{network.hex()}/all/control"


def bulk_key(network: NetworkId, peer: PeerId) -> str:
    """Where one peer answers requests."""
    return f"mesh/{network.hex()}/{peer.hex()}/bulk"


def alive_key(network: NetworkId, peer: PeerId) -> str:
    """The token a peer holds while it listens; declared last, so whoever sees it can be heard."""
    return f"mesh/{network.hex()}/{peer.hex()}/alive"


def client_key(network: NetworkId, peer: PeerId) -> str:
    """The token a client holds instead."""
    return f"mesh/{network.hex()}/{peer.hex()}/client"


def access_rules(members: tuple[PeerId, ...] | None, network: NetworkId, me: PeerId) -> dict[str, Any]:
    """Default deny. A peer may announce and listen under its own name only, and speak to this node and to everyone.

    Every key is listed: a `**` outside the rules would be denied without a word.
    """
    wildcard = PeerId(b"")
    named = [wildcard] if members is None else [peer for peer in sorted(set(members)) if peer != me]
    tokens = [_any(network, kind) for kind in ("alive", "client")]
    rules: list[dict[str, Any]] = [
        _rule("in", "ingress", ["put"], [control_key(network, me), broadcast_key(network)]),
        _rule("ask", "ingress", ["query"], [bulk_key(network, me)]),
        _rule("watch", "ingress", ["liveliness_query", "declare_liveliness_subscriber"], tokens),
        _rule("out", "egress", _ALL_MESSAGES, [_any(network, "control"), _any(network, "bulk"), *tokens]),
    ]
    subjects: list[dict[str, Any]] = []
    policies: list[dict[str, Any]] = []
    for peer in named:
        name = peer.hex() or "anyone"
        own = [_own(network, peer, kind) for kind in ("control", "bulk", "alive", "client")]
        listens = ["declare_subscriber", "declare_queryable", "reply", "liveliness_token"]
        rules.append(_rule(f"own-{name}", "ingress", listens, [*own, broadcast_key(network)]))
        subject: dict[str, Any] = {"id": name, "link_protocols": ["tls"]}
        if peer:
            subject["cert_common_names"] = [name]
        subjects.append(subject)
        policies.append({"rules": ["in", "ask", "watch", "out", f"own-{name}"], "subjects": [name]})
    enabled: dict[str, Any] = {"enabled": True, "default_permission": "deny"}
    return enabled | {"rules": rules, "subjects": subjects, "policies": policies} if named else enabled


_ALL_MESSAGES = [
    "put",
    "declare_subscriber",
    "query",
    "reply",
    "declare_queryable",
    "liveliness_token",
    "liveliness_query",
    "declare_liveliness_subscriber",
]


def _rule(name: str, flow: str, messages: list[str], keys: list[str]) -> dict[str, Any]:
    return {"id": name, "permission": "allow", "flows": [flow], "messages": messages, "key_exprs": keys}


def _any(network: NetworkId, kind: str) -> str:
    return f"mesh/{network.hex()}/*/{kind}"


def _own(network: NetworkId, peer: PeerId, kind: str) -> str:
    return f"mesh/{network.hex()}/{peer.hex()}/{kind}" if peer else _any(network, kind)


def options_json(options: dict[str, Any]) -> dict[str, str]:
    """The same with values as JSON text, as zenoh takes them."""
    return {path: json.dumps(value) for path, value in options.items()}
