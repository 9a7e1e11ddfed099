"""What the main job's nodes have reported so far: a fold over their journal lines, for the display and the report."""

from collections import deque
from collections.abc import Mapping
from typing import Any

RATE_WINDOW_MS = 5_000
"""Commits per second are counted over this long."""


class NodeView:
    """The latest facts about one node."""

    def __init__(self, name: str, role: str) -> None:
        self.name = name
        self.role = role
        self.peer = ""
        self.up = False
        self.commit_index = 0
        self.state_roots: dict[int, str] = {}
        self.job: Mapping[str, Any] = {}
        self.accounts: Mapping[str, Mapping[str, str]] = {}
        self.summary: Mapping[str, Any] | None = None
        self.dropped: dict[str, int] = {}

    @property
    def finished(self) -> bool:
        """Whether this node's ledger has closed the job, one way or the other."""
        return self.job.get("status") in {"finished", "aborted"}


class Tracker:
    """All nodes of one run, by name. `take` folds in one journal line."""

    def __init__(self, roles: Mapping[str, str]) -> None:
        self.nodes = {name: NodeView(name, role) for name, role in roles.items()}
        self.steps: dict[int, Mapping[str, Any]] = {}
        self.caught: dict[tuple[str, int], Mapping[str, Any]] = {}
        self.notices: deque[str] = deque(maxlen=200)
        self.failures: list[str] = []
        self._commit_times: deque[int] = deque()

    def take(self, name: str, line: Mapping[str, Any]) -> None:
        """Fold in one line of node `name`."""
        node = self.nodes[name]
        kind = line.get("kind")
        if kind == "up":
            node.up, node.peer = True, str(line["peer"])
        elif kind == "commit":
            self._take_commit(node, line)
        elif kind == "job":
            node.job = line
        elif kind == "accounts":
            node.accounts = line["accounts"]
        elif kind == "step":
            self.steps.setdefault(int(line["step"]), line)
        elif kind == "slashed":
            self.caught.setdefault((str(line["worker"]), int(line["step"])), line)
        elif kind == "dropped":
            node.dropped[str(line["reason"])] = node.dropped.get(str(line["reason"]), 0) + 1
        elif kind == "summary":
            node.summary = line
        elif kind == "failure":
            self.failures.append(f"{name}: {line['text']}")
        elif kind in {"notice", "attempt_failed", "fee", "worker", "equivocation", "dissent", "double_vote"}:
            self._take_notice(name, line)

    def _take_notice(self, name: str, line: Mapping[str, Any]) -> None:
        """What a ledger says is the same on every node, so it is kept once; what a node says of itself names it."""
        text = str(line.get("text") or line.get("reason") or line["kind"])
        if "worker" in line:
            worker = str(line["worker"])
            who = next((node.name for node in self.nodes.values() if node.peer == worker), worker[:8])
            text = f"{who}: {text}"
        elif line["kind"] == "notice":
            text = f"{name}: {text}"
        if text not in self.notices:
            self.notices.append(text)

    def _take_commit(self, node: NodeView, line: Mapping[str, Any]) -> None:
        node.commit_index = int(line["index"])
        node.state_roots[node.commit_index] = str(line["state_root"])
        if node is next(iter(self.nodes.values())):
            self._commit_times.append(int(line["time_ms"]))
            while self._commit_times[0] < self._commit_times[-1] - RATE_WINDOW_MS:
                self._commit_times.popleft()

    @property
    def commits_per_s(self) -> float:
        """Commits per second at the first node, over the last few seconds."""
        if len(self._commit_times) < 2:
            return 0.0
        span_ms = self._commit_times[-1] - self._commit_times[0]
        return 1000.0 * (len(self._commit_times) - 1) / span_ms if span_ms else 0.0

    @property
    def all_finished(self) -> bool:
        """Whether every node's ledger has closed the job."""
        return all(node.finished for node in self.nodes.values())

    def disagreement(self) -> str | None:
        """Return a sentence if two nodes computed different state roots for one commit, else None."""
        seen: dict[int, tuple[str, str]] = {}
        for node in self.nodes.values():
            for index, root in node.state_roots.items():
                name, other = seen.setdefault(index, (node.name, root))
                if other != root:
                    return f"commit {index}: {name} has state root {other[:16]}, {node.name} has {root[:16]}"
        return None

    def common_commit(self) -> int:
        """Return the highest commit that every node has executed (0: none)."""
        return min((node.commit_index for node in self.nodes.values()), default=0)
