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
    clients: tuple[PeerId, ...] = ()
    """Those of the members that only submit: they may speak to this node, not to everyone, and ask it for no blobs."""
    first: tuple[PeerId, ...] = ()
    """Peers whose frames wait in a room of their own and are handled first: validators."""
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
        "access_control": access_rules(settings, network, me),
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


ANYONE = PeerId(b"")
"""Stands for every peer in a key."""


def control_key(network: NetworkId, peer: PeerId, sender: PeerId) -> str:
    """Where `sender` publishes control frames for one peer. The access rules let nobody use another's name."""
    return f"mesh/{network.hex()}/{_name(peer)}/control/{_name(sender)}"


def broadcast_key(network: NetworkId, sender: PeerId) -> str:
    """Where `sender` publishes control frames for everyone."""
    return f"mesh/{network.hex()}/all/control/{_name(sender)}"


def bulk_key(network: NetworkId, peer: PeerId, sender: PeerId) -> str:
    """Where one peer answers the requests of `sender`."""
    return f"mesh/{network.hex()}/{_name(peer)}/bulk/{_name(sender)}"


def alive_key(network: NetworkId, peer: PeerId) -> str:
    """The token a peer holds while it listens; declared last, so whoever sees it can be heard."""
    return f"mesh/{network.hex()}/{_name(peer)}/alive"


def client_key(network: NetworkId, peer: PeerId) -> str:
    """The token a client holds instead."""
    return f"mesh/{network.hex()}/{_name(peer)}/client"


def access_rules(settings: ZenohSettings, network: NetworkId, me: PeerId) -> dict[str, Any]:
    """Default deny. A peer may announce, listen and speak under its own name only, to this node and to everyone.

    Every key is listed: a `**` outside the rules would be denied without a word.
    """
    tokens = [alive_key(network, ANYONE), client_key(network, ANYONE)]
    lanes = [control_key(network, ANYONE, ANYONE), bulk_key(network, ANYONE, ANYONE)]
    rules = [
        _rule("watch", "ingress", ["liveliness_query", "declare_liveliness_subscriber"], tokens),
        _rule("out", "egress", _ALL_MESSAGES, [*lanes, *tokens]),
    ]
    subjects: list[dict[str, Any]] = []
    policies: list[dict[str, Any]] = []
    members = settings.members
    for peer in [ANYONE] if members is None else [peer for peer in sorted(set(members)) if peer != me]:
        name = peer.hex() or "anyone"
        own = _rules_of_client(name, network, me, peer)
        if peer not in settings.clients:
            own += _rules_of_node(name, network, me, peer)
        rules += own
        subject: dict[str, Any] = {"id": name, "link_protocols": ["tls"]}
        if peer:
            subject["cert_common_names"] = [name]
        subjects.append(subject)
        policies.append({"rules": ["watch", "out", *[rule["id"] for rule in own]], "subjects": [name]})
    enabled: dict[str, Any] = {"enabled": True, "default_permission": "deny"}
    return enabled | {"rules": rules, "subjects": subjects, "policies": policies} if subjects else enabled


def _rules_of_client(name: str, network: NetworkId, me: PeerId, peer: PeerId) -> list[dict[str, Any]]:
    """What every member may do: speak to this node, and hear what is for it."""
    return [
        _rule(f"speak-{name}", "ingress", ["put"], [control_key(network, me, peer)]),
        _rule(f"hear-{name}", "ingress", ["declare_subscriber"], [control_key(network, peer, ANYONE)]),
        _rule(f"client-{name}", "ingress", ["liveliness_token"], [client_key(network, peer)]),
    ]


def _rules_of_node(name: str, network: NetworkId, me: PeerId, peer: PeerId) -> list[dict[str, Any]]:
    """What a node may do besides: speak to everyone and hear that, ask and answer, count as linked."""
    return [
        _rule(f"speak-all-{name}", "ingress", ["put"], [broadcast_key(network, peer)]),
        _rule(f"hear-all-{name}", "ingress", ["declare_subscriber"], [broadcast_key(network, ANYONE)]),
        _rule(f"ask-{name}", "ingress", ["query"], [bulk_key(network, me, peer)]),
        _rule(f"answer-{name}", "ingress", ["declare_queryable", "reply"], [bulk_key(network, peer, ANYONE)]),
        _rule(f"alive-{name}", "ingress", ["liveliness_token"], [alive_key(network, peer)]),
    ]


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


def _name(peer: PeerId) -> str:
    return peer.hex() or "*"


def options_json(options: dict[str, Any]) -> dict[str, str]:
    """The same with values as JSON text, as zenoh takes them."""
    return {path: json.dumps(value) for path, value in options.items()}
