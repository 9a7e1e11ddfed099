"""The simulator's shell: replay one seed with its story, or run many and print what happened in how many of them.

    python -m synaptic_mesh.sim.run --seed 7            # one seed: plan, faults, restarts, outcome
    python -m synaptic_mesh.sim.run --seed 7 --trace    # the same with every commit and skip
    python -m synaptic_mesh.sim.run --seeds 0:1000 --processes 2
    python -m synaptic_mesh.sim.run --seeds 0:10000 --processes 2 --keep sums.jsonl    # goes on where it stopped
    python -m synaptic_mesh.sim.run --sum a.jsonl b.jsonl                              # ranges put together

With --json the last line is the sums as JSON (`mix.Sums`). Exit status 1 when a seed failed or a kind of fault is
missing from the mix. This is the one file of the simulator that reads a clock, to state its own cost.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import msgspec

from synaptic_mesh.sim.mix import SHARE_MIN_PERCENT, Sums, describe_mix, missing_kinds, sum_of, total
from synaptic_mesh.sim.plan import Plan, Settings, draw_plan, storm
from synaptic_mesh.sim.scenario import Outcome, run_seed

__all__ = ["Outcome", "Settings", "main", "run_seed"]

CHUNK_SEEDS = 20
"""Seeds handed to a process at a time, and kept in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m synaptic_mesh.sim.run", description="Seeded consensus simulation")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="replay this seed and tell its story")
    which.add_argument("--seeds", type=_span, metavar="A:B", help="run seeds A..B-1 and print the mix")
    which.add_argument("--sum", type=Path, nargs="+", metavar="FILE", help="add up what --keep has written")
    parser.add_argument("--processes", type=int, default=1, help="processes for --seeds")
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="with --seeds: append sums, and leave out what is there"
    )
    parser.add_argument("--trace", action="store_true", help="with --seed: also every commit and skip")
    parser.add_argument("--json", action="store_true", help="print the outcome or the sums as JSON instead of a table")
    parser.add_argument("--nodes", type=int, default=0, help="validators; 0: drawn from the seed")
    parser.add_argument("--byzantine", type=int, default=-1, help="faulty validators; -1: drawn from the seed")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--storm", action="store_true", help="hunt for forks: heavy reordering, a liar with two faces")
    parser.add_argument("--commit", default="", help="git commit of this code, named in failures")
    options = parser.parse_args(arguments)
    if options.sum is not None:
        return _report(total(sums for path in options.sum for sums in _read(path)), options)
    settings = msgspec.structs.replace(storm() if options.storm else Settings(), rounds_min=options.rounds)
    if options.nodes:
        settings = msgspec.structs.replace(settings, node_count=options.nodes)
    if options.byzantine >= 0:
        settings = msgspec.structs.replace(settings, byzantine_count=options.byzantine)
    if options.seed is not None:
        return _replay(options.seed, settings, options)
    return _run_many(options.seeds, settings, options)


def _span(text: str) -> range:
    first, _, last = text.partition(":")
    try:
        span = range(int(first), int(last))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not A:B with two numbers") from None
    if not span:
        raise argparse.ArgumentTypeError(f"{text!r} holds no seed: B must be above A")
    return span


def _replay(seed: int, settings: Settings, options: argparse.Namespace) -> int:
    def trace(now_ms: int, text: str) -> None:
        if options.trace or not text.startswith("  "):
            print(f"{now_ms:8d} ms  {text}")

    if not options.json:
        print(*describe_plan(draw_plan(seed, settings)), sep="\n")
    started = time.process_time()
    outcome = run_seed(seed, settings, None if options.json else trace)
    if options.json:
        print(msgspec.json.encode(outcome).decode())
    else:
        print(*describe_outcome(outcome), sep="\n")
        print(f"cost        {time.process_time() - started:.2f} s of CPU")
    _print_failure(outcome, options.commit)
    return int(bool(outcome.failure))


def _run_many(seeds: range, settings: Settings, options: argparse.Namespace) -> int:
    kept = [sums for sums in _read(options.keep) if _is_within(sums, seeds)] if options.keep else []
    done = {seed for sums in kept for first, end in sums.ranges for seed in range(first, end)}
    chunks = [
        range(first, min(first + CHUNK_SEEDS, seeds.stop)) for first in range(seeds.start, seeds.stop, CHUNK_SEEDS)
    ]
    left = [chunk for chunk in chunks if not done.issuperset(chunk)]
    for failed, sums in _sums(left, settings, options.processes):
        for outcome in failed:
            _print_failure(outcome, options.commit)
        kept.append(sums)
        if options.keep:
            with options.keep.open("ab") as file:
                file.write(msgspec.json.encode(sums) + b"\n")
        if sys.stderr.isatty():
            print(f"\r{sum(sums.seeds for sums in kept)} of {len(seeds)}", end="", file=sys.stderr)
    return _report(total(kept), options)


def _read(path: Path) -> list[Sums]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [msgspec.json.decode(line, type=Sums) for line in lines]


def _is_within(sums: Sums, seeds: range) -> bool:
    return all(seeds.start <= first and end <= seeds.stop for first, end in sums.ranges)


def _report(sums: Sums, options: argparse.Namespace) -> int:
    missing = missing_kinds(sums)
    if options.json:
        print(msgspec.json.encode(sums).decode())
    else:
        print(*describe_mix(sums), sep="\n")
    if sums.failed:
        print("failed:", *sums.failed, file=sys.stderr)
    if missing:
        print(f"in fewer than {SHARE_MIN_PERCENT} % of the seeds: {', '.join(missing)}", file=sys.stderr)
    return int(bool(sums.failed) or bool(missing))


def _sums(chunks: list[range], settings: Settings, processes: int) -> Iterator[tuple[list[Outcome], Sums]]:
    """Yield the failed outcomes and the sums of each chunk, in order."""
    work = partial(_run_chunk, settings=settings)
    if processes <= 1:
        yield from map(work, chunks)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(work, chunks)


def _run_chunk(chunk: range, settings: Settings) -> tuple[list[Outcome], Sums]:
    failed: list[Outcome] = []
    sums: list[Sums] = []
    for seed in chunk:
        started = time.process_time()
        outcome = run_seed(seed, settings)
        sums.append(sum_of(outcome, int(1_000 * (time.process_time() - started))))
        if outcome.failure:
            failed.append(outcome)
    return failed, total(sums)


def _print_failure(outcome: Outcome, commit: str) -> None:
    if outcome.failure:
        at = f" at commit {commit}" if commit else ""
        print(f"FAILED seed {outcome.seed}{at}: {outcome.failure}\n  replay: make sim SEED={outcome.seed}", flush=True)


def describe_plan(plan: Plan) -> list[str]:
    """What the seed decided, for a reader."""
    faulty = []
    for index, role in plan.roles.items():
        habits = msgspec.structs.asdict(plan.behaviours[index]) if index in plan.behaviours else {}
        said = ", ".join(f"{name} {value}" for name, value in habits.items() if value)
        faulty.append(f"node {index} {role.name.lower()}{': ' if said else ''}{said}")
    link, disk = plan.link, plan.disk
    return [
        f"honest      {', '.join(map(str, plan.honest))}; stakes {plan.stakes}; clocks off by {plan.skews_ms} ms",
        f"faulty      {'; '.join(faulty) or 'nobody'}",
        (
            f"links       {link.base_ms}+{link.spread_ms} ms, {link.tail_ppm} ppm {link.tail_factor} times as long,"
            f" some {link.asymmetry_ms} ms slower, loss {link.loss_ppm} ppm, twice {link.duplicate_ppm} ppm"
            f"{', in order' if link.fifo else ''}; noticed within {plan.detect_ms} ms"
        ),
        f"disks       fsync {disk.base_ms}+{disk.spread_ms} ms",
        (
            f"consensus   {2 if plan.is_two_delay else 3} message delays, gc depth {plan.gc_depth} rounds,"
            f" adverts every {plan.advert_ms} ms,"
            f" leader timeout {plan.leader_timeout_ms} ms, at least {plan.min_round_delay_ms} ms a round,"
            f" {plan.history_blocks_max} old blocks in memory"
        ),
        *(f"fault       {fault.describe()}" for fault in plan.faults),
    ]


def describe_outcome(outcome: Outcome) -> list[str]:
    """The run in numbers, for a reader."""
    seen = ", ".join(f"{name} {count}" for name, count in outcome.seen.items() if count)
    return [
        f"rounds      {outcome.rounds} on every honest node, in {outcome.virtual_ms} virtual ms",
        (
            f"commits     {outcome.commits}, {outcome.new_commits} on every honest node after healing;"
            f" told {outcome.direct} times directly, {outcome.replayed} times again after a restart"
        ),
        f"decisions   {outcome.skips} skips, {outcome.indirect} indirect commits and skips",
        f"happened    {seen}",
        f"evidence    {outcome.evidence} proofs of equivocation; {outcome.excused} validators excused",
        f"messages    {outcome.messages} sent; {outcome.events} events",
        f"last commit {outcome.last_commit[:16]}, fingerprint {outcome.fingerprint[:16]}",
    ]


if __name__ == "__main__":
    sys.exit(main())
