"""The simulator's shell: replay one seed with its story, or run many and print what happened in how many of them.

    python -m synaptic_mesh.sim.run --seed 7            # one seed: plan, faults, restarts, outcome
    python -m synaptic_mesh.sim.run --seed 7 --trace    # the same with every commit and skip
    python -m synaptic_mesh.sim.run --seeds 0:1000 --processes 2

Exit status 1 when a seed failed. This is the one file of the simulator that reads a clock, to state its own cost.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import msgspec

from synaptic_mesh.sim.faults import FaultKind
from synaptic_mesh.sim.scenario import Outcome, Plan, Settings, draw_plan, run_seed, storm

__all__ = ["Outcome", "Settings", "main", "run_seed"]

CHUNK_SEEDS = 5
"""Seeds handed to a process at a time."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m synaptic_mesh.sim.run", description="Seeded consensus simulation")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="replay this seed and tell its story")
    which.add_argument("--seeds", type=_span, metavar="A:B", help="run seeds A..B-1 and print the mix")
    parser.add_argument("--processes", type=int, default=1, help="processes for --seeds")
    parser.add_argument("--trace", action="store_true", help="with --seed: also every commit and skip")
    parser.add_argument("--json", action="store_true", help="print outcomes as JSON lines instead of tables")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--byzantine", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--storm", action="store_true", help="hunt for forks: heavy reordering, a liar with two faces")
    parser.add_argument("--commit", default="", help="git commit of this code, named in failures")
    options = parser.parse_args(arguments)
    settings = msgspec.structs.replace(
        storm() if options.storm else Settings(),
        node_count=options.nodes,
        byzantine_count=options.byzantine,
        rounds_min=options.rounds,
    )
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
    started, costs_s, outcomes = time.perf_counter(), [], []
    for outcome, cost_s in _outcomes(seeds, settings, options.processes):
        outcomes.append(outcome)
        costs_s.append(cost_s)
        if options.json:
            print(msgspec.json.encode(outcome).decode(), flush=True)
        _print_failure(outcome, options.commit)
        if sys.stderr.isatty():
            print(f"\r{len(outcomes)} of {len(seeds)}", end="", file=sys.stderr)
    failed = sum(bool(outcome.failure) for outcome in outcomes)
    if not options.json:
        print(*describe_mix(outcomes), sep="\n")
        cpu_s, wall_s = sum(costs_s), time.perf_counter() - started
        mean_s = cpu_s / len(costs_s)
        print(
            f"cost: {cpu_s:.0f} s of CPU, {mean_s:.2f} s a seed, the most {max(costs_s):.2f} s; {wall_s:.0f} s in all"
        )
        print(f"{len(outcomes) - failed} of {len(outcomes)} seeds kept every promise")
    return int(failed > 0)


def _outcomes(seeds: range, settings: Settings, processes: int) -> Iterator[tuple[Outcome, float]]:
    """Yield the outcomes in the order of their seeds, each with its seconds of CPU."""
    work = partial(_timed, settings=settings)
    if processes <= 1:
        yield from map(work, seeds)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(work, seeds, chunksize=CHUNK_SEEDS)


def _timed(seed: int, settings: Settings) -> tuple[Outcome, float]:
    started = time.process_time()
    outcome = run_seed(seed, settings)
    return outcome, time.process_time() - started


def _print_failure(outcome: Outcome, commit: str) -> None:
    if outcome.failure:
        at = f" at commit {commit}" if commit else ""
        print(f"FAILED seed {outcome.seed}{at}: {outcome.failure}\n  replay: make sim SEED={outcome.seed}", flush=True)


def describe_plan(plan: Plan) -> list[str]:
    """What the seed decided, for a reader."""
    habits = [
        f"node {index}: "
        + ", ".join(f"{name} {value}" for name, value in msgspec.structs.asdict(habit).items() if value)
        for index, habit in zip(plan.byzantine, plan.behaviours, strict=True)
    ]
    link, disk = plan.link, plan.disk
    return [
        f"honest      {', '.join(map(str, plan.honest))}; clocks off by {plan.skews_ms} ms",
        f"byzantine   {'; '.join(habits) or 'nobody'}",
        (
            f"links       {link.base_ms}+{link.spread_ms} ms, {link.tail_ppm} ppm {link.tail_factor} times as long,"
            f" some {link.asymmetry_ms} ms slower, loss {link.loss_ppm} ppm, twice {link.duplicate_ppm} ppm"
            f"{', in order' if link.fifo else ''}; noticed within {plan.detect_ms} ms"
        ),
        f"disks       fsync {disk.base_ms}+{disk.spread_ms} ms",
        (
            f"consensus   gc depth {plan.gc_depth} rounds, adverts every {plan.advert_ms} ms,"
            f" leader timeout {plan.leader_timeout_ms} ms, at least {plan.min_round_delay_ms} ms a round"
        ),
        *(f"fault       {fault.describe()}" for fault in plan.faults),
    ]


def describe_outcome(outcome: Outcome) -> list[str]:
    """The run in numbers, for a reader."""
    return [
        f"rounds      {outcome.rounds} on every honest node, in {outcome.virtual_ms} virtual ms",
        (
            f"commits     {outcome.commits}, {outcome.new_commits} on every honest node after healing;"
            f" told {outcome.direct} times directly"
        ),
        f"decisions   {outcome.skips} skips, {outcome.indirect} indirect commits and skips",
        (
            f"seen        {outcome.evidence} proofs of equivocation, {outcome.restarts} restarts"
            f" ({outcome.torn} with a torn record), {outcome.replayed} commits told again"
        ),
        f"messages    {outcome.messages} sent, {outcome.lost} lost; {outcome.events} events",
        f"last commit {outcome.last_commit[:16]}, fingerprint {outcome.fingerprint[:16]}",
    ]


def describe_mix(outcomes: Sequence[Outcome]) -> list[str]:
    """How many of the runs had each thing in them, with the median and the most over those that had it."""
    columns = {
        "skips": [outcome.skips for outcome in outcomes],
        "indirect decisions": [outcome.indirect for outcome in outcomes],
        "restarts": [outcome.restarts for outcome in outcomes],
        "seen equivocations": [outcome.evidence for outcome in outcomes],
        "torn records": [outcome.torn for outcome in outcomes],
        "replayed commits": [outcome.replayed for outcome in outcomes],
        "lost messages": [outcome.lost for outcome in outcomes],
        **{f"fault {kind.name.lower()}": [outcome.faults[kind] for outcome in outcomes] for kind in FaultKind},
    }
    lines = [f"{'in a run of the mix':<22}{'seeds':>7}{'share':>8}{'median':>8}{'most':>8}"]
    for name, values in columns.items():
        present = sorted(value for value in values if value)
        median = present[len(present) // 2] if present else 0
        share = 100 * len(present) / len(values)
        lines.append(f"{name:<22}{len(present):>7}{share:>7.1f}%{median:>8}{max(values):>8}")
    rounds, commits = [o.rounds for o in outcomes], [o.new_commits for o in outcomes]
    shares = sorted(100 * o.commits // max(1, o.rounds) for o in outcomes)
    lines.append(f"rounds {min(rounds)} to {max(rounds)}, new commits after healing {min(commits)} to {max(commits)}")
    lines.append(f"commits per 100 rounds: {shares[0]} at least, {shares[len(shares) // 2]} in the median")
    return lines


if __name__ == "__main__":
    sys.exit(main())
