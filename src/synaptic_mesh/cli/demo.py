"""`synaptic demo`: the main job, live."""

from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from synaptic_mesh.cli.output import Exit, console, emit
from synaptic_mesh.demo.main_job import Outcome, run_main_job
from synaptic_mesh.demo.tracker import NodeView, Tracker
from synaptic_mesh.ledger.amounts import format_amount
from synaptic_mesh.node.run_directory import claim_directory, new_run_directory

RUNS = Path("runs")


class Display:
    """The live view: one progress line, one row per node, what has happened."""

    def __init__(self, outer_steps: int) -> None:
        self.progress = Progress(
            TextColumn("outer step"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._task = self.progress.add_task("", total=outer_steps)

    def update(self, tracker: Tracker) -> RenderableType:
        """Return the view of what has been reported."""
        job = next(iter(tracker.nodes.values())).job
        status = str(job.get("status", "starting five processes"))
        facts = [f"{status}, phase {job['phase']}" if status == "running" else status]
        if job.get("loss") is not None:
            facts.append(f"test loss {job['loss']:.4f}")
        if "accuracy" in job:
            facts.append(f"test accuracy {100 * job['accuracy']:.1f} %")
        facts.append(f"{tracker.commits_per_s:.0f} commits/s")
        self.progress.update(self._task, completed=len(tracker.steps))
        return Group(self.progress, Text(", ".join(facts)), nodes_table(tracker), *events_text(tracker), Text())


def nodes_table(tracker: Tracker) -> Table:
    """Return one row per node: role, newest commit, balance, stake."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("node", "role", "id", "commit", "balance rUv", "stake rUv"):
        table.add_column(title, justify="left" if title in {"node", "role", "id"} else "right")
    for view in tracker.nodes.values():
        account = account_of(tracker, view)
        table.add_row(
            view.name,
            view.role,
            view.peer[:8] or "...",
            str(view.commit_index or ""),
            format_amount(int(account["balance"])) if account else "",
            format_amount(int(account["stake"])) if account else "",
        )
    return table


def account_of(tracker: Tracker, view: NodeView) -> dict[str, str] | None:
    """Return the account of a node as the first node's ledger has it."""
    accounts = next(iter(tracker.nodes.values())).accounts
    found = accounts.get(view.peer)
    return dict(found) if found else None


def events_text(tracker: Tracker) -> list[Text]:
    """Return what has happened, newest last."""
    names = {view.peer: view.name for view in tracker.nodes.values() if view.peer}
    lines = []
    for (worker, step), line in sorted(tracker.caught.items(), key=lambda item: item[0][1]):
        auditors = ", ".join(names.get(peer, peer[:8]) for peer in line["caught_by"])
        slashed = format_amount(int(line["slashed"]))
        who = names.get(worker, worker[:8])
        lines.append(Text(f"outer step {step}: {who} caught by {auditors}; {slashed} rUv slashed", style="yellow"))
    lines += [Text(notice, style="dim") for notice in list(tracker.notices)[-3:]]
    return lines


def run(seed: int, outer_steps: int, directory: Path | None, as_json: bool) -> int:
    """Run the main job; return the exit code."""
    directory = directory or new_run_directory(RUNS, "demo")
    claim_directory(directory)
    terminal = console(as_json)
    display = Display(outer_steps)
    with Live(display.progress, console=terminal, refresh_per_second=5, transient=False) as live:
        outcome = run_main_job(directory, seed, outer_steps, lambda tracker: live.update(display.update(tracker)))
    emit("demo", outcome.result, as_json)
    if not as_json:
        terminal.print(report(outcome))
    return Exit.PROMISE_FAILED if outcome.broken else Exit.OK


def report(outcome: Outcome) -> RenderableType:
    """Return the summary for people."""
    result = outcome.result
    names = {peer["id"]: peer["name"] for peer in result["peers"]}
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    if result["test_accuracy"] is not None:
        rows = result["test_rows"]
        table.add_row("test accuracy", f"{100 * result['test_accuracy']:.2f} % of {rows} rows no worker was assigned")
    for peer in result["peers"]:
        table.add_row(f"paid to {peer['name']}", f"{format_amount(int(peer['paid']))} rUv")
    for liar in result["liars"]:
        auditors = ", ".join(names.get(peer, peer[:8]) for peer in liar["caught_by"])
        slashed = format_amount(int(liar["slashed"]))
        table.add_row(
            "liar",
            f"{names.get(liar['id'])} caught at outer step {liar['caught_at']} by {auditors}; {slashed} rUv slashed",
        )
    table.add_row("root", str(result["params_root"]))
    table.add_row("", f"{'the same' if result['roots_agree'] else 'NOT the same'} on all nodes")
    unchanged = result["supply_before"] == result["supply_after"]
    supply = format_amount(int(result["supply_before"]))
    table.add_row("supply", f"{supply} rUv, {'unchanged' if unchanged else 'CHANGED'}")
    table.add_row("traffic", f"{result['update_bytes']:,} bytes of updates, {result['wire_bytes']:,} bytes sent in all")
    table.add_row(
        "wall time", f"{result['wall_s']:.1f} s for {result['outer_steps']} outer steps, {result['commits']} commits"
    )
    table.add_row("model", result["model"])
    table.add_row("run record", f"{result['run']} (check it: synaptic verify {result['run']})")
    for sentence in outcome.broken:
        table.add_row("BROKEN", sentence)
    return table
