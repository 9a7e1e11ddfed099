"""One node of the main job, in a process of its own: `python -m synaptic_mesh.demo.child DIR [--liar] [--attached]`.

Standard output carries the journal, one JSON object per line; SIGTERM ends the node in order, after a summary line.
With `--attached` the end of standard input does the same: whoever started the node holds the other end of that pipe, so
a node never outlives them, however they end.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from synaptic_mesh.base.errors import MeshError
from synaptic_mesh.collab.strategy import Strategy
from synaptic_mesh.demo.liar import Liar
from synaptic_mesh.ledger.events import Paid, Slashed, StepCommitted
from synaptic_mesh.ledger.jobs import JobState
from synaptic_mesh.ledger.transactions import SubmitJob
from synaptic_mesh.node.assembly import is_over
from synaptic_mesh.node.journal import describe, disclosure
from synaptic_mesh.node.messages import Dropped, Effect, JobNote, LedgerNote, Submit
from synaptic_mesh.node.open import OpenNode, open_node
from synaptic_mesh.node.recorder import JobRecorder
from synaptic_mesh.node.run_directory import RECORD_NAME
from synaptic_mesh.transport.process_end import end_process

INPUT_BYTES = 4_096
DROPS_SHOWN_MAX = 100
"""Dropped messages with a journal line of their own; the summary counts all of them. A peer can send any number."""


class Child:
    """Prints what a node does, and writes the run that it sponsors when the job is over."""

    def __init__(self, directory: Path, strategy: Strategy | None, *, attached: bool = False) -> None:
        self._directory = directory
        self._attached = attached
        self._is_heard = True
        self._dropped = 0
        self._opened: OpenNode = open_node(directory, self._observe, strategy)
        self._recorder = JobRecorder(self._opened.genesis)
        self._over: set[bytes] = set()

    async def run(self) -> None:
        """Run the node until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._opened.node.stop)
        if self._attached:
            loop.add_reader(sys.stdin.fileno(), self._look_at_input)
        await self._opened.node.run(self._started)
        self._print(self._summary())

    def _look_at_input(self) -> None:
        """Nothing is ever said on standard input; its end means that whoever started this node has gone."""
        if not os.read(sys.stdin.fileno(), INPUT_BYTES):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._opened.node.stop()

    def _started(self) -> None:
        self._print({"kind": "up", "peer": self._opened.key.peer_id.hex()})
        if self._opened.job is not None:
            self._print({"kind": "notice", "text": disclosure(self._opened.job)})
            self._opened.node.submit(Submit(SubmitJob(self._opened.job)))

    def _observe(self, effect: Effect) -> None:
        self._recorder.observe(effect)
        self._dropped += isinstance(effect, Dropped)
        line = describe(effect)
        if line is not None and not (isinstance(effect, Dropped) and self._dropped > DROPS_SHOWN_MAX):
            self._print(line)
        if isinstance(effect, LedgerNote) and isinstance(effect.event, StepCommitted | Paid | Slashed):
            self._print({"kind": "accounts", "accounts": self._accounts()})
        if isinstance(effect, JobNote) and is_over(effect.state) and effect.state.job not in self._over:
            self._over.add(effect.state.job)
            self._write_run(effect.state)

    def _write_run(self, state: JobState) -> None:
        run = self._directory / "run"
        if self._opened.job is None or not state.steps or (run / RECORD_NAME).exists():
            return
        try:
            model = self._recorder.write(state.job, run, self._opened.get_blob)
        except MeshError as error:  # a full disk or a damaged blob: the others still need this node
            self._print({"kind": "failure", "text": f"the run cannot be written: {error}"})
            return
        self._print({"kind": "recorded", "run": str(run), "model": str(model)})

    def _accounts(self) -> dict[str, Any]:
        ledger = self._opened.node.assembly.ledger
        return {
            peer.hex(): {"balance": str(account.balance), "stake": str(account.stake), "locked": str(account.locked)}
            for peer in ledger.accounts()
            for account in (ledger.account(peer),)
        }

    def _summary(self) -> dict[str, Any]:
        ledger = self._opened.node.assembly.ledger
        counters = self._opened.node.network.counters
        jobs = [describe_outcome(state) for state in ledger.jobs()]
        return {
            "kind": "summary",
            "commit_index": ledger.commit_index,
            "state_root": ledger.state_root().hex(),
            "checkpoint_index": self._opened.node.assembly.certifier.certified_index,
            "supply": str(ledger.recounted_supply()),
            "treasury": str(ledger.treasury),
            "accounts": self._accounts(),
            "jobs": jobs,
            "control_bytes": counters.control_sent_bytes,
            "blob_bytes": counters.blob_sent_bytes,
            "drops": counters.drops,
            "messages_dropped": self._dropped,
        }

    def _print(self, line: Any) -> None:
        if not self._is_heard:
            return
        stamped = {"time_ms": self._opened.node.now_ms(), **line}
        try:
            sys.stdout.write(json.dumps(stamped, allow_nan=True) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # nobody reads the journal any more
            self._is_heard = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self._opened.node.stop()


def describe_outcome(state: JobState) -> dict[str, Any]:
    """Return what became of a job, for the summary line."""
    return {
        "job": state.job.hex(),
        "status": state.status.value,
        "root": state.root.hex(),
        "steps": len(state.steps),
        "paid": {peer.hex(): str(amount) for peer, amount in state.paid},
        "caught": [
            {
                "worker": caught.worker.hex(),
                "step": caught.step,
                "attempt": caught.attempt,
                "caught_by": [peer.hex() for peer in caught.caught_by],
                "slashed": str(caught.slashed),
            }
            for caught in state.caught
        ],
        "metrics": list(state.steps[-1].metrics) if state.steps else [],
        "update_bytes": sum(blob.size for step in state.steps for _, blob in step.included),
        "update_bytes_each": state.steps[-1].included[0][1].size if state.steps else 0,
    }


def main(arguments: list[str]) -> int:
    """Run the node that the arguments name; return its exit status."""
    directory = Path(arguments[0])
    strategy = Liar() if "--liar" in arguments[1:] else None
    attached = "--attached" in arguments[1:]
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Child(directory, strategy, attached=attached).run())
    except MeshError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{error.filename or 'the journal'} cannot be read or written: {error.strerror or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    end_process(main(sys.argv[1:]))
