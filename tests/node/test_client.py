"""A client against a mesh of one over links in memory: the same node, ledger and log as anywhere."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from synaptic_mesh.base.codec import encode
from synaptic_mesh.base.errors import LocalError, ResourceError
from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.base.seeds import derive_bytes
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.identity.certificates import Credentials
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.account_proof import AccountProof
from synaptic_mesh.ledger.genesis import ConsensusOptions, GenesisAccount, GenesisValidator, genesis_of, network_id
from synaptic_mesh.ledger.signing import sign_transaction
from synaptic_mesh.ledger.transactions import Stake, Transaction, Transfer
from synaptic_mesh.ledger.transfers import TRANSFERS_MAX
from synaptic_mesh.node import client as client_module
from synaptic_mesh.node import proofs
from synaptic_mesh.node.client import MeshClient, Receipt
from synaptic_mesh.node.directory import NodeFiles
from synaptic_mesh.node.messages import QUESTION_ACCOUNTS_MAX
from synaptic_mesh.node.open import assemble
from synaptic_mesh.node.settings import NodeSettings, single
from synaptic_mesh.node.submitter import Finished
from synaptic_mesh.transport.memory import MemoryHub
from synaptic_mesh.transport.mesh import MeshNetwork

VALIDATOR, RICH, POOR, NEW = (KeyPair(derive_bytes(3, "client", name)) for name in ("validator", "rich", "poor", "new"))
RICHES = 10**15
GENESIS = genesis_of(
    semantics_id(),
    "test of clients",
    [GenesisValidator(VALIDATOR.peer_id, 1_000)],
    [GenesisAccount(RICH.peer_id, RICHES), GenesisAccount(POOR.peer_id, 10**9)],
    consensus=ConsensusOptions(checkpoint_commits=2),
)
PATIENCE_S = 20.0
Play = Callable[[MeshClient], Awaitable[None]]


def play(directory: Path, key: KeyPair, scenario: Play, *, is_up: bool = True) -> None:
    """Run `scenario` with a client of `key`, linked to the validator if that is up."""

    async def whole() -> None:
        hub = MemoryHub()
        files = NodeFiles(
            NodeSettings(listen="", works=False, signature_processes=0, pacing=single()),
            VALIDATOR,
            GENESIS,
            Credentials(b"", b"", b""),
            None,
        )
        network = MeshNetwork(hub.attach(VALIDATOR.peer_id), VALIDATOR, network_id(GENESIS), 1)
        node = assemble(directory, files, network, 1, lambda _: None).node
        links = hub.attach(key.peer_id, is_client=True)
        client = MeshClient(key, GENESIS, MeshNetwork(links, key, network_id(GENESIS), 1))
        started = asyncio.Event()
        running = asyncio.create_task(node.run(started.set)) if is_up else None
        try:
            async with asyncio.timeout(PATIENCE_S):
                if running is not None:
                    await started.wait()
                    await client.start()
                await scenario(client)
        finally:
            await client.close()
            node.stop()
            if running is not None:
                await running

    asyncio.run(whole())


def test_money_moves_and_the_receipt_says_so(tmp_path: Path) -> None:
    async def scenario(client: MeshClient) -> None:
        first = await client.transfer([(NEW.peer_id, 5)])
        assert first == Receipt(0, first.commit, "", (VALIDATOR.peer_id,))
        assert first.commit > 0
        second = await client.transfer([(NEW.peer_id, 7), (POOR.peer_id, 2)])
        assert second.nonce == 1
        assert second.commit > first.commit
        await client.submit(Stake(100))
        new, poor, rich = await client.accounts([NEW.peer_id, POOR.peer_id, RICH.peer_id])
        assert (new.balance, poor.balance, rich.stake, rich.nonce) == (12, 10**9 + 2, 100, 3)
        assert RICHES - rich.balance - 114 >= 0  # the rest are fees
        (unknown,) = await client.accounts([bytes(32)])
        assert (unknown.balance, unknown.nonce) == (0, 0)

    play(tmp_path, RICH, scenario)


def test_a_balance_is_proved_and_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(client: MeshClient) -> None:
        paid = await client.transfer([(NEW.peer_id, 5)])
        found = await client.proved_account(RICH.peer_id)
        while found.checkpoint.index < paid.commit:
            found = await client.proved_account(RICH.peer_id)
        assert found.account.nonce == 1
        assert found.account.balance == (await client.accounts([RICH.peer_id]))[0].balance
        assert (await client.proved_account(NEW.peer_id)).account.balance == 5
        monkeypatch.setattr(client_module, "QUESTIONS_MAX", 2)
        with pytest.raises(ResourceError, match="it was not open at the newest checkpoint"):
            await client.proved_account(bytes(32))
        monkeypatch.setattr(proofs, "encode", richer)
        with pytest.raises(ResourceError, match="the proof leads to another state root"):
            await client.proved_account(RICH.peer_id)

    play(tmp_path, RICH, scenario)


def richer(value: object) -> bytes:
    """A node that proves balances of its own making."""
    if isinstance(value, AccountProof):
        value = replace(value, page=value.page[:32] + b"\x7f" + value.page[33:])
    return encode(value)


def test_who_cannot_pay_hears_why_and_can_go_on(tmp_path: Path) -> None:
    async def scenario(client: MeshClient) -> None:
        with pytest.raises(LocalError, match=r"not taken.*balance"):
            await client.transfer([(NEW.peer_id, 10**12)])
        receipt = await client.transfer([(NEW.peer_id, 1)])
        assert receipt.nonce == 0

    play(tmp_path, POOR, scenario)


@pytest.mark.parametrize(
    ("transfers", "what"),
    [
        ([], "0 transfers"),
        ([(NEW.peer_id, 0)], "amount 0"),
        ([(b"short", 1)], "receiver has 5 bytes"),
        ([(NEW.peer_id, 1)] * (TRANSFERS_MAX + 1), "4097 transfers"),
    ],
)
def test_what_no_ledger_takes_is_refused_before_it_is_signed(
    tmp_path: Path, transfers: list[tuple[bytes, int]], what: str
) -> None:
    async def scenario(client: MeshClient) -> None:
        with pytest.raises(LocalError, match=what):
            await client.transfer(transfers)
        with pytest.raises(LocalError, match="in one question"):
            await client.accounts([bytes(32)] * (QUESTION_ACCOUNTS_MAX + 1))

    play(tmp_path, RICH, scenario)


def test_many_of_one_sender_run_in_order(tmp_path: Path) -> None:
    count = 300

    async def scenario(client: MeshClient) -> None:
        heard: list[Finished] = []
        done = asyncio.Event()

        def note(validator: PeerId, finished: object) -> None:
            assert validator == VALIDATOR.peer_id
            heard.extend(finished)  # type: ignore[arg-type]
            if len(heard) == count:
                done.set()

        client.on_finished = note
        for nonce in range(count):
            transaction = Transaction(client.network_id, 0, RICH.peer_id, nonce, Transfer(NEW.peer_id, 1))
            client.push(VALIDATOR.peer_id, sign_transaction(RICH, transaction))
        client.flush(VALIDATOR.peer_id)
        await done.wait()
        assert [each.number for each in heard] == list(range(count))
        assert not any(each.reason for each in heard)
        assert client.waiting_count() == 0
        (new,) = await client.accounts([NEW.peer_id])
        assert new.balance == count

    play(tmp_path, RICH, scenario)


def test_without_validators_the_sentence_says_so(tmp_path: Path) -> None:
    async def scenario(client: MeshClient) -> None:
        with pytest.raises(ResourceError, match="did not answer within 0 s"):
            await client.start(50)
        with pytest.raises(ResourceError, match="no validator is linked"):
            await client.transfer([(NEW.peer_id, 1)])

    play(tmp_path, RICH, scenario, is_up=False)
