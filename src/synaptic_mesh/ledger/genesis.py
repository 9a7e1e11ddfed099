"""Genesis: what everybody agrees on before the first block.

It is a canonical file; its digest is the network's id, which every signature binds. So two nodes that differ in one
byte of it are in different networks.
"""

from collections.abc import Iterable

from synaptic_mesh.base.codec import Record, decode_untrusted, encode
from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.base.errors import LocalError, PeerError
from synaptic_mesh.base.ids import DIGEST_BYTES, PEER_ID_BYTES, NetworkId, PeerId, short
from synaptic_mesh.identity.committee import COMMITTEE_SIZE_MAX, POST_QUANTUM_KEY_BYTES, Committee, committee_of
from synaptic_mesh.ledger.account_table import Account
from synaptic_mesh.ledger.amounts import SUPPLY_MAX
from synaptic_mesh.ledger.economics import Economics, check_economics

PROTOCOL_VERSION = 3
"""3: signed checkpoints. 2: fees, rewards, unbonding and punishment of equivocation; options of consensus; accounts
hashed in pages.
"""
GENESIS_BYTES_MAX = 8 << 20
GENESIS_ACCOUNTS_MAX = 1 << 16
ADDRESSES_MAX = 8
"""Network addresses of one validator."""
TEXT_CHARS_MAX = 256
"""Characters in an address or in the label."""
ISSUER_BYTES_MAX = 8 << 10
TWO_DELAY_VALIDATORS_MIN = 6
"""5f + 1 with f = 1."""
CHECKPOINT_COMMITS_MAX = 1 << 20


class GenesisValidator(Record):
    """A member of the first committee. Its `stake` is voting stake: part of its account, locked for the epoch, beyond
    the reach of jobs. `issuer` is the certificate (bytes, may be empty) under which its transport identity is issued.
    `post_quantum_key` is its key for hybrid signatures; empty where the network has none.
    """

    peer: bytes
    stake: int
    addresses: tuple[str, ...] = ()
    issuer: bytes = b""
    post_quantum_key: bytes = b""


class GenesisAccount(Record):
    """Money that exists from the start. `stake` is free to stand for a worker's updates. A validator that also works or
    sponsors has an entry here too.
    """

    peer: bytes
    balance: int
    stake: int = 0


class Constants(Record):
    """Rules of jobs that are numbers. Jobs choose their own amounts and deadlines in the manifest."""

    progress_step_ms_max: int = 2_000
    """Progress time advances at most this much at one commit, so an outage expires no deadline."""
    missed_steps_max: int = 3
    """A worker that misses this many of its assignments in a row leaves the job."""
    silence_fee_divisor: int = 100
    """A worker's silence costs its stake per update divided by this. Small: it may be its network's fault."""
    slash_share_divisor: int = 2
    """The auditors who proved an update false share its slashed stake divided by this."""


class ConsensusOptions(Record):
    """What all validators must do alike to agree on one order."""

    hybrid_signatures: bool = False
    """Headers carry an ML-DSA-65 signature beside Ed25519, and both must be valid."""
    wave_rounds: int = 3
    """3: the order survives lies of less than a third of stake; 2: of less than a fifth, a message delay earlier, and
    only with six validators or more.
    """
    checkpoint_commits: int = 32
    """Validators sign the state after every so many commits: about once a second with rounds of 30 ms."""


class Genesis(Record):
    """See the module's docstring. Validators and accounts ascend by peer id."""

    version: int
    semantics_id: bytes
    epoch: int
    created: str
    """A label for people, e.g. a date; it makes networks with equal members different."""
    validators: tuple[GenesisValidator, ...]
    accounts: tuple[GenesisAccount, ...]
    constants: Constants
    economics: Economics
    consensus: ConsensusOptions


def genesis_of(
    semantics_id: bytes,
    created: str,
    validators: Iterable[GenesisValidator],
    accounts: Iterable[GenesisAccount] = (),
    *,
    epoch: int = 0,
    constants: Constants | None = None,
    economics: Economics | None = None,
    consensus: ConsensusOptions | None = None,
) -> Genesis:
    """Return a checked genesis with its members in order. Raises LocalError."""
    genesis = Genesis(
        PROTOCOL_VERSION,
        semantics_id,
        epoch,
        created,
        tuple(sorted(validators, key=lambda validator: validator.peer)),
        tuple(sorted(accounts, key=lambda account: account.peer)),
        constants or Constants(),
        economics or Economics(),
        consensus or ConsensusOptions(),
    )
    check_genesis(genesis)
    return genesis


def network_id(genesis: Genesis) -> NetworkId:
    """Return the id of the network: the digest of the canonical genesis."""
    return NetworkId(hash_bytes("SM/genesis/v1", encode(genesis)))


def save_genesis(genesis: Genesis) -> bytes:
    """Return the bytes of the genesis file."""
    return encode(genesis)


def load_genesis_untrusted(data: bytes) -> Genesis:
    """Return the genesis that a file holds. Raises PeerError if it is malformed, of another version, or breaks a rule
    of check_genesis.
    """
    _check_version_untrusted(data)
    genesis = decode_untrusted(Genesis, data, GENESIS_BYTES_MAX)
    try:
        check_genesis(genesis)
    except LocalError as error:
        raise PeerError(str(error)) from None
    return genesis


def _check_version_untrusted(data: bytes) -> None:
    """Raise PeerError when the file is a genesis of another version, whose fields this program does not know: it is a
    MessagePack array of 1 to 15 elements, the first of them a small integer.
    """
    if len(data) > 1 and 0x91 <= data[0] <= 0x9F and data[1] < 0x80 and data[1] != PROTOCOL_VERSION:
        raise PeerError(_other_version(data[1]))


def _other_version(version: int) -> str:
    return (
        f"genesis has protocol version {version}, this program speaks {PROTOCOL_VERSION}: begin a new network, or run "
        f"the program that made this one"
    )


def check_genesis(genesis: Genesis) -> None:
    """Raise LocalError, naming the value, unless a ledger and a committee can start from this genesis."""
    if genesis.version != PROTOCOL_VERSION:
        raise LocalError(_other_version(genesis.version))
    if len(genesis.semantics_id) != DIGEST_BYTES:
        raise LocalError(f"semantics_id has {len(genesis.semantics_id)} bytes, it needs {DIGEST_BYTES}")
    if not 0 <= genesis.epoch < 1 << 63:
        raise LocalError(f"epoch {genesis.epoch} is not between 0 and 2^63 - 1")
    _check_text(genesis.created, "the label `created`")
    _check_members(genesis)
    _check_consensus(genesis)
    _check_constants(genesis.constants)
    supply = 0
    for name, amount in _amounts(genesis):
        if not 0 <= amount <= SUPPLY_MAX:
            raise LocalError(f"{name} is {amount}, amounts in genesis are between 0 and 2^62 - 1 units")
        supply += amount
    if supply > SUPPLY_MAX:
        raise LocalError(f"supply {supply} is over 2^62 - 1 units: give the accounts less")
    check_economics(genesis.economics, supply)


def genesis_committee(genesis: Genesis) -> Committee:
    """Return the committee of the first epoch, with keys for hybrid signatures where the network wants them."""
    stakes = {PeerId(entry.peer): entry.stake for entry in genesis.validators}
    return committee_of(genesis.epoch, stakes, {PeerId(e.peer): e.post_quantum_key for e in genesis.validators})


def genesis_accounts(genesis: Genesis) -> dict[bytes, Account]:
    """Return every account at the start: voting stake is locked stake."""
    accounts = {entry.peer: Account(entry.balance, entry.stake) for entry in genesis.accounts}
    for entry in genesis.validators:
        own = accounts.get(entry.peer, Account())
        accounts[entry.peer] = Account(own.balance, own.stake + entry.stake, entry.stake)
    return accounts


def _check_members(genesis: Genesis) -> None:
    if not 1 <= len(genesis.validators) <= COMMITTEE_SIZE_MAX:
        raise LocalError(f"genesis has {len(genesis.validators)} validators, it needs 1 to {COMMITTEE_SIZE_MAX}")
    if len(genesis.accounts) > GENESIS_ACCOUNTS_MAX:
        raise LocalError(f"genesis has {len(genesis.accounts)} accounts, at most {GENESIS_ACCOUNTS_MAX} are allowed")
    _check_ascending([entry.peer for entry in genesis.validators], "validator")
    _check_ascending([entry.peer for entry in genesis.accounts], "account")
    for entry in genesis.validators:
        if entry.stake < 1:
            raise LocalError(f"validator {short(entry.peer)} has stake {entry.stake}, it must be positive")
        if len(entry.addresses) > ADDRESSES_MAX:
            raise LocalError(
                f"validator {short(entry.peer)} has {len(entry.addresses)} addresses, over {ADDRESSES_MAX}"
            )
        for address in entry.addresses:
            _check_text(address, f"an address of validator {short(entry.peer)}")
        if len(entry.issuer) > ISSUER_BYTES_MAX:
            raise LocalError(f"issuer of validator {short(entry.peer)} has {len(entry.issuer)} bytes, too many")
        size, needed = len(entry.post_quantum_key), POST_QUANTUM_KEY_BYTES if genesis.consensus.hybrid_signatures else 0
        if size != needed:
            raise LocalError(
                f"validator {short(entry.peer)} has a post-quantum key of {size} bytes, this network needs {needed}"
            )


def _check_consensus(genesis: Genesis) -> None:
    wave_rounds, size = genesis.consensus.wave_rounds, len(genesis.validators)
    if wave_rounds not in (2, 3):
        raise LocalError(f"wave_rounds of the consensus options is {wave_rounds}; it must be 2 or 3")
    commits = genesis.consensus.checkpoint_commits
    if not 1 <= commits <= CHECKPOINT_COMMITS_MAX:
        raise LocalError(
            f"checkpoint_commits of the consensus options is {commits}; it must be between 1 and "
            f"{CHECKPOINT_COMMITS_MAX}"
        )
    if wave_rounds == 2 and size < TWO_DELAY_VALIDATORS_MIN:
        raise LocalError(
            f"waves of 2 rounds need {TWO_DELAY_VALIDATORS_MIN} validators or more, genesis has {size}: use waves of 3"
        )


def _check_ascending(peers: list[bytes], what: str) -> None:
    previous = b""
    for peer in peers:
        if len(peer) != PEER_ID_BYTES:
            raise LocalError(f"{what} id {peer[:4].hex()} has {len(peer)} bytes, it needs {PEER_ID_BYTES}")
        if peer == previous:
            raise LocalError(f"{what} {short(peer)} is named twice: remove one entry")
        if peer < previous:
            raise LocalError(f"{what} {short(peer)} is out of order: sort by peer id")
        previous = peer


def _check_constants(constants: Constants) -> None:
    bounds = {
        "progress_step_ms_max": (constants.progress_step_ms_max, 1, 60_000),
        "missed_steps_max": (constants.missed_steps_max, 1, 1_000),
        "silence_fee_divisor": (constants.silence_fee_divisor, 1, 1 << 32),
        "slash_share_divisor": (constants.slash_share_divisor, 1, 1 << 32),
    }
    for name, (value, low, high) in bounds.items():
        if not low <= value <= high:
            raise LocalError(f"constant {name} is {value}, it must be between {low} and {high}")


def _check_text(text: str, what: str) -> None:
    if len(text) > TEXT_CHARS_MAX:
        raise LocalError(f"{what} has {len(text)} characters, at most {TEXT_CHARS_MAX} are allowed")


def _amounts(genesis: Genesis) -> Iterable[tuple[str, int]]:
    for validator in genesis.validators:
        yield f"stake of validator {short(validator.peer)}", validator.stake
    for account in genesis.accounts:
        yield f"balance of account {short(account.peer)}", account.balance
        yield f"stake of account {short(account.peer)}", account.stake
