"""A validator of the ledger benchmark in a process of its own: `python -m synaptic_mesh.bench.ledger_node DIR`.

It is the node that operators run. A line on standard input asks for a status line on standard output; the end of
standard input, or SIGTERM, ends it in order with a last one.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from synaptic_mesh.base.errors import MeshError
from synaptic_mesh.bench.ledger_usage import cpu_s, rss_mb
from synaptic_mesh.node.messages import CommitExecuted, Dropped, Effect
from synaptic_mesh.node.open import open_node
from synaptic_mesh.transport.process_end import end_process

INPUT_BYTES = 4_096


class LedgerNode:
    """Runs the node and answers about it."""

    def __init__(self, directory: Path) -> None:
        self._opened = open_node(directory, self._observe)
        self._transactions = 0
        self._direct = 0
        self._commits = 0
        self._dropped: dict[str, int] = {}

    async def run(self) -> None:
        """Run until the input ends or SIGTERM comes."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._opened.node.stop)
        loop.add_reader(sys.stdin.fileno(), self._look_at_input)
        await self._opened.node.run(lambda: say({"kind": "up", "peer": self._opened.key.peer_id.hex()}))
        say(self._status("end"))

    def _observe(self, effect: Effect) -> None:
        if isinstance(effect, CommitExecuted):
            self._transactions += effect.transactions
            self._commits += 1
            self._direct += effect.direct
        elif isinstance(effect, Dropped):
            reason = effect.reason[:80]
            if reason in self._dropped or len(self._dropped) < 100:
                self._dropped[reason] = self._dropped.get(reason, 0) + 1

    def _look_at_input(self) -> None:
        if os.read(sys.stdin.fileno(), INPUT_BYTES):
            say(self._status("status"))
            return
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        self._opened.node.stop()

    def _status(self, kind: str) -> dict[str, Any]:
        ledger = self._opened.node.assembly.ledger
        return {
            "kind": kind,
            "rss_mb": rss_mb(),
            "cpu_s": cpu_s(),
            "transactions": self._transactions,
            "commits": self._commits,
            "direct": self._direct,
            "commit_index": ledger.commit_index,
            "state_root": ledger.state_root().hex(),
            "supply": str(ledger.supply()),
            "dropped": self._dropped,
            "drops": self._opened.node.network.counters.drops,
            "sent_mb": round(self._opened.node.network.counters.control_sent_bytes / 1e6, 3),
        }


def say(line: dict[str, Any]) -> None:
    """Write one line of JSON for whoever started this process."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Run the validator in the directory named; return its exit status."""
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(LedgerNode(Path(arguments[0])).run())
    except MeshError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    end_process(main(sys.argv[1:]))
