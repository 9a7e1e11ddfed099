"""Real nodes for attacks: the written network of the main job, each node a process whose journal is read here."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from synaptic_mesh.demo.scenario import LIAR, Member, Scenario

WAIT_S = 60.0
LOOK_S = 0.02


class NodeUnderAttack:
    """One child process. `lines` is its journal so far, over all of its lives."""

    def __init__(self, member: Member) -> None:
        self._begin(member.name, member.directory)

    @classmethod
    def of(cls, name: str, directory: Path) -> "NodeUnderAttack":
        """Start a node from a directory that belongs to no scenario."""
        node = cls.__new__(cls)
        node._begin(name, directory)
        return node

    def _begin(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.lines: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self.start()

    def start(self) -> None:
        """Start the node, again if it had ended."""
        command = [sys.executable, "-m", "synaptic_mesh.demo.child", str(self.directory), "--attached"]
        self._errors = (self.directory / "stderr.txt").open("wb")
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._errors)
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        for data in process.stdout:
            with self._changed:
                self.lines.append(json.loads(data))
                self._changed.notify_all()

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a line of the journal; fail when it does not come."""
        seen = 0
        with self._changed:
            while True:
                for line in self.lines[seen:]:
                    if condition(line):
                        return line
                seen = len(self.lines)
                assert self._changed.wait(WAIT_S), f"{self.name} is silent: {self.stderr()}"

    def wait_for_kind(self, kind: str) -> dict[str, Any]:
        """Wait for a line of this kind."""
        return self.wait_for(lambda line: line["kind"] == kind)

    def kill(self) -> None:
        """SIGKILL: no good-bye, no flush."""
        self.process.kill()
        self._end()

    def stop(self) -> int:
        """End the node by closing its standard input; return its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self._end()

    def _end(self) -> int:
        status = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        for pipe in (self.process.stdin, self.process.stdout, self._errors):
            assert pipe is not None
            pipe.close()
        return status

    def stderr(self) -> str:
        """What the node complained about in this life."""
        return (self.directory / "stderr.txt").read_text(errors="replace")

    @property
    def resident_bytes(self) -> int:
        """Memory that the process holds now (Linux)."""
        text = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(text.split()[1]) * 4_096


@contextmanager
def running(scenario: Scenario, *, without: str = LIAR) -> Iterator[dict[str, NodeUnderAttack]]:
    """Run every node of the scenario but one (whose place an attacker takes); kill what is left afterwards."""
    nodes = {member.name: NodeUnderAttack(member) for member in scenario.members if member.name != without}
    try:
        yield nodes
    finally:
        for node in nodes.values():
            if node.process.poll() is None:
                node.kill()


def over(line: dict[str, Any]) -> bool:
    """Whether a journal line says that the job is over."""
    return line["kind"] == "job" and line["status"] in {"finished", "aborted"}


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that no journal tells."""
    pause = threading.Event()
    for _ in range(int(WAIT_S / LOOK_S)):
        if condition():
            return
        pause.wait(LOOK_S)
    raise AssertionError(f"not within {WAIT_S:.0f} s: {what}")
