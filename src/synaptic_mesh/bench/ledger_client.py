"""A load of the ledger benchmark in a process of its own: `python -m synaptic_mesh.bench.ledger_client DIR NUMBER`.

NUMBER counts the clients from 0. Each line on standard input is one load as JSON; the answer is a line "ready" once
everything is signed, and after the next line of input a line with what happened. Signing comes first because it is the
users' work, spread over their machines.

The load is open: transactions are due at equal distances whether earlier ones are through or not, and latency counts
from the moment at which one was due, so a stall is paid by everything that it delays.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from synaptic_mesh.base.errors import MeshError, ResourceError
from synaptic_mesh.base.ids import PeerId
from synaptic_mesh.base.seeds import derive_random
from synaptic_mesh.bench.ledger_network import ACCOUNTS, account_seed, sender_indices
from synaptic_mesh.bench.ledger_node import say
from synaptic_mesh.bench.ledger_usage import cpu_s
from synaptic_mesh.identity.keys import KeyPair
from synaptic_mesh.ledger.signing import sign_transaction
from synaptic_mesh.ledger.transactions import Transaction, Transfer, TransferMany
from synaptic_mesh.ledger.transfers import pack_transfers
from synaptic_mesh.node.client import MeshClient, make_client
from synaptic_mesh.node.directory import read_node
from synaptic_mesh.node.submitter import Finished
from synaptic_mesh.storage.incarnation import next_incarnation
from synaptic_mesh.transport.process_end import end_process

TICK_S = 0.01
LINK_S = 20.0
DRAIN_S = 60.0
SAMPLES = 50_000
"""Latencies reported of one load, evenly chosen."""


class Load(msgspec.Struct, frozen=True):
    """What this process is to offer: signatures a second for some seconds."""

    transfers_per_signature: int
    signatures_per_s: float
    seconds: float
    warm_s: float
    """From the start: latencies and commits before it do not count."""


class Sender:
    """One account whose transactions go through one validator, in the order of its nonces."""

    def __init__(self, key: KeyPair, validator: PeerId, nonce: int) -> None:
        self.key = key
        self.validator = validator
        self.nonce = nonce


class LoadClient:
    """Offers loads one after the other over the same links."""

    def __init__(self, directory: Path, number: int) -> None:
        self._number = number
        self._client: MeshClient = make_client(read_node(directory), next_incarnation(directory / "incarnation"))
        self._client.on_finished = self._finished
        self._random = derive_random(number, "bench/ledger/client")
        self._receivers = [KeyPair(account_seed(index)).peer_id for index in range(ACCOUNTS)]
        self._senders: list[Sender] = []
        self._due: dict[tuple[PeerId, int], float] = {}
        self._latencies: list[float] = []
        self._executed: list[tuple[float, int]] = []
        self._refused: dict[str, int] = {}
        self._start = self._warm_until = 0.0

    async def run(self) -> None:
        """Link, then play loads until the input ends."""
        lines = await read_lines()
        try:
            await self._client.start()
            await self._find_senders()
            say({"kind": "up"})
            while line := await lines.readline():
                load = msgspec.json.decode(line, type=Load)
                signed = self._sign(load)
                say({"kind": "ready", "signatures": len(signed)})
                await lines.readline()
                say(await self._play(load, signed))
        finally:
            await self._client.close()

    async def _find_senders(self) -> None:
        committee = self._client.committee
        deadline = time.monotonic() + LINK_S
        while len(self._client.validators()) < committee.size:
            if time.monotonic() > deadline:
                raise ResourceError(f"only {len(self._client.validators())} validators are linked after {LINK_S} s")
            await asyncio.sleep(TICK_S)
        lines: list[list[Sender]] = []
        for position, validator in enumerate(committee.peers):
            keys = [KeyPair(account_seed(index)) for index in sender_indices(self._number, position)]
            states = await self._client.accounts([key.peer_id for key in keys])
            lines.append([Sender(key, validator, s.nonce) for key, s in zip(keys, states, strict=True)])
        self._senders = [sender for turn in zip(*lines, strict=True) for sender in turn]  # each validator in turn

    def _sign(self, load: Load) -> list[tuple[PeerId, bytes]]:
        count = round(load.signatures_per_s * load.seconds)
        return [self._signed(self._senders[n % len(self._senders)], load.transfers_per_signature) for n in range(count)]

    def _signed(self, sender: Sender, transfers: int) -> tuple[PeerId, bytes]:
        pairs = [(receiver, 1) for receiver in self._random.choices(self._receivers, k=transfers)]
        action = Transfer(*pairs[0]) if transfers == 1 else TransferMany(pack_transfers(pairs))
        client = self._client
        transaction = Transaction(client.network_id, client.committee.epoch, sender.key.peer_id, sender.nonce, action)
        sender.nonce += 1
        return sender.validator, sign_transaction(sender.key, transaction)

    async def _play(self, load: Load, signed: Sequence[tuple[PeerId, bytes]]) -> dict[str, Any]:
        self._latencies, self._executed, self._refused = [], [], {}
        clock, used_s = time.monotonic, cpu_s()
        self._start = start = clock()
        self._warm_until = start + load.warm_s
        distance_s = 1 / load.signatures_per_s
        offered, late_s = 0, 0.0
        while offered < len(signed):
            now = clock()
            due = min(int((now - start) / distance_s) + 1, len(signed))
            for n in range(offered, due):
                validator, data = signed[n]
                self._due[validator, self._client.push(validator, data)] = start + n * distance_s
            if due > offered:
                late_s = max(late_s, now - start - offered * distance_s)
                for validator in self._client.committee.peers:
                    self._client.flush(validator)
            offered = due
            await asyncio.sleep(TICK_S)
        deadline = clock() + DRAIN_S
        while self._client.waiting_count():
            if clock() > deadline:
                raise ResourceError(f"{self._client.waiting_count()} transactions have no outcome after {DRAIN_S} s")
            await asyncio.sleep(TICK_S)
        return self._result(load, late_s, cpu_s() - used_s)

    def _result(self, load: Load, late_s: float, used_s: float) -> dict[str, Any]:
        chosen = self._latencies[:: len(self._latencies) // SAMPLES + 1]
        window = [count for at, count in self._executed if load.warm_s <= at < load.seconds]
        return {
            "kind": "done",
            "committed": sum(window),
            "window_s": load.seconds - load.warm_s,
            "latencies_ms": [round(value * 1e3, 2) for value in chosen],
            "refused": self._refused,
            "late_ms": round(late_s * 1e3, 1),
            "cpu_s": used_s,
        }

    def _finished(self, validator: PeerId, finished: Sequence[Finished]) -> None:
        now = time.monotonic()
        accepted = 0
        for each in finished:
            due = self._due.pop((validator, each.number))
            if each.reason:
                self._refused[each.reason[:60]] = self._refused.get(each.reason[:60], 0) + 1
                continue
            accepted += 1
            if due >= self._warm_until:
                self._latencies.append(now - due)
        self._executed.append((now - self._start, accepted))


async def read_lines() -> asyncio.StreamReader:
    """Return standard input as a stream."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def main(arguments: list[str]) -> int:
    """Run the client in the directory named; return its exit status."""
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(LoadClient(Path(arguments[0]), int(arguments[1])).run())
    except MeshError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    end_process(main(sys.argv[1:]))
