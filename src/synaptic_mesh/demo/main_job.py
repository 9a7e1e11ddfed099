"""Runs the main job: starts the processes, watches them, stops them, and judges which promises held."""

import asyncio
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.demo.processes import NodeProcess, stop_all
from synaptic_mesh.demo.scenario import LIAR, Scenario, write_scenario
from synaptic_mesh.demo.tracker import NodeView, Tracker
from synaptic_mesh.node.journal import describe_metrics
from synaptic_mesh.storage.directory import disk_errors

JOB_TIMEOUT_S = 300.0
"""A job of the default length takes well under a minute; a mesh that needs longer than this has lost progress."""
REFRESH_S = 0.2

OnRefresh = Callable[[Tracker], None]


class Outcome(msgspec.Struct, frozen=True):
    """What came out, as it is printed; `broken` lists the promises that did not hold."""

    result: dict[str, Any]
    broken: list[str]


def run_main_job(directory: Path, seed: int, outer_steps: int, on_refresh: OnRefresh) -> Outcome:
    """Run the job in `directory` (created by the caller) and return what came out.

    Raises ResourceError when a process dies or the job does not end in time, LocalError for bad arguments.
    """
    started_s = time.monotonic()
    nodes = directory / "nodes"
    scenario = write_scenario(nodes, seed, outer_steps, time.time_ns() // 1_000_000)
    tracker = Tracker({member.name: member.role for member in scenario.members})
    with disk_errors(directory):
        asyncio.run(_play(scenario, tracker, on_refresh))
        wall_s = time.monotonic() - started_s
        _keep_run(scenario.members[0].directory / "run", directory)
    return judge(scenario, tracker, directory, wall_s)


async def _play(scenario: Scenario, tracker: Tracker, on_refresh: OnRefresh) -> None:
    processes = [
        NodeProcess(member.name, member.directory, ("--liar",) if member.name == LIAR else (), tracker.take)
        for member in scenario.members
    ]
    runs = [asyncio.ensure_future(process.run()) for process in processes]
    try:
        async with asyncio.timeout(JOB_TIMEOUT_S):
            while not tracker.all_finished:
                on_refresh(tracker)
                done, _ = await asyncio.wait(runs, timeout=REFRESH_S, return_when=asyncio.FIRST_COMPLETED)
                for ended in done:
                    ended.result()
                    raise ResourceError("a node ended before the job was over")
    except TimeoutError:
        raise ResourceError(
            f"the job did not end within {JOB_TIMEOUT_S:.0f} s; the journals are in its nodes"
        ) from None
    finally:
        in_time = await stop_all(processes, asyncio.gather(*runs, return_exceptions=True))
        if not in_time:
            tracker.failures.append("a node did not stop within its time and was killed")
        on_refresh(tracker)
    for ended in runs:
        ended.result()


def _keep_run(made: Path, directory: Path) -> None:
    """Move what the sponsor wrote (record, blobs, model) from its node directory to the run directory."""
    if not made.is_dir():
        raise ResourceError(f"the sponsor wrote no run to {made}: see its journal")
    for item in sorted(made.iterdir()):
        shutil.move(item, directory / item.name)


def judge(scenario: Scenario, tracker: Tracker, directory: Path, wall_s: float) -> Outcome:
    """Compare what the nodes reported with what was promised."""
    views = list(tracker.nodes.values())
    outcomes = {view.name: _outcome(view, scenario) for view in views}
    first = outcomes[views[0].name]
    supplies = {str(view.summary["supply"]) for view in views if view.summary is not None}
    roots = {str(outcome.get("root")) for outcome in outcomes.values()}
    liar = next(member for member in scenario.members if member.name == LIAR)
    broken = list(tracker.failures)
    _expect(broken, all(outcomes.values()), "a node gave no account of the job")
    _expect(broken, first.get("status") == "finished", f"the job ended as {first.get('status')}")
    _expect(broken, len(roots) == 1, f"nodes hold {len(roots)} different roots")
    _expect(broken, tracker.disagreement() is None, tracker.disagreement() or "")
    _expect(broken, supplies == {str(scenario.supply)}, f"supply was {scenario.supply}, is {sorted(supplies)}")
    caught = list(first.get("caught", []))
    _expect(broken, [c["worker"] for c in caught] == [liar.key.peer_id.hex()], f"caught {len(caught)} workers")
    figures = describe_metrics(scenario.manifest.task, tuple(first["metrics"])) if first.get("metrics") else {}
    result = {
        "test_accuracy": figures.get("accuracy"),
        "test_rows": figures.get("rows"),
        "test_loss": figures.get("loss"),
        "outer_steps": first.get("steps"),
        "params_root": first.get("root"),
        "roots_agree": len(roots) == 1 and tracker.disagreement() is None,
        "supply_before": str(scenario.supply),
        "supply_after": supplies.pop() if len(supplies) == 1 else None,
        "liars": [
            {
                "id": c["worker"],
                "caught_at": c["step"],
                "caught_by": c["caught_by"],
                "slashed": c["slashed"],
            }
            for c in caught
        ],
        "peers": [
            {
                "id": member.key.peer_id.hex(),
                "name": member.name,
                "role": member.role,
                "paid": first.get("paid", {}).get(member.key.peer_id.hex(), "0"),
            }
            for member in scenario.members
        ],
        "commits": tracker.common_commit(),
        "checkpoint_commit": min((int(view.summary["checkpoint_index"]) for view in views if view.summary), default=0),
        "update_bytes": first.get("update_bytes"),
        "wire_bytes": sum(_wire_bytes(view) for view in views),
        "wall_s": round(wall_s, 3),
        "seed": scenario.manifest.seed,
        "run": str(directory),
        "model": str(directory / "model.safetensors"),
        "broken_promises": broken,
    }
    return Outcome(result, broken)


def _outcome(view: NodeView, scenario: Scenario) -> Mapping[str, Any]:
    jobs = view.summary["jobs"] if view.summary is not None else []
    return next((job for job in jobs if job["job"] == scenario.job.hex()), {})


def _wire_bytes(view: NodeView) -> int:
    return int(view.summary["control_bytes"]) + int(view.summary["blob_bytes"]) if view.summary is not None else 0


def _expect(broken: list[str], holds: bool, sentence: str) -> None:
    if not holds:
        broken.append(sentence)
