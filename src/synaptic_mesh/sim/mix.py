"""What happened in many runs: sums that add up over ranges of seeds, and the table of the mix.

A range of seeds gives one `Sums`; the sums of two ranges added are those of both. So ten thousand seeds can be run in
pieces, on several days or machines, and printed as one.
"""

from collections.abc import Iterable
from functools import reduce

import msgspec

from synaptic_mesh.sim.scenario import Outcome

KINDS = (
    "delay",
    "loss",
    "duplication",
    "reordering",
    "partition",
    "crash",
    "restart",
    "torn write",
    "lost write",
    "lost fsync",
    "equivocating",
    "withholding",
    "silent voting",
    "amnesiac",
    "garbage",
    "jump forcing",
    "twins",
    "stored rounds",
)
"""Kinds of faults that a mix must have in a tenth of its seeds or more. A kind counts in a seed when it happened."""
SHARE_MIN_PERCENT = 10
SHARES_SEEDS_MIN = 1_000
"""Fewer seeds than this may miss a kind by chance."""


class Sums(msgspec.Struct, frozen=True):
    """Sums over the seeds of `ranges`."""

    ranges: tuple[tuple[int, int], ...] = ()  # first seed, and the one after the last
    seeds: int = 0
    failed: tuple[int, ...] = ()  # the seeds
    sizes: dict[str, int] = {}  # seeds by number of validators
    faulty: dict[str, int] = {}  # seeds by number of faulty validators
    seen: dict[str, int] = {}  # seeds in which a kind of fault happened
    rounds: int = 0
    rounds_min: int = 1 << 62
    commits: int = 0
    new_commits_min: int = 1 << 62  # after the healing
    indirect_seeds: int = 0  # seeds with decisions through an anchor
    skip_seeds: int = 0
    evidence_seeds: int = 0
    excused_seeds: int = 0
    open_rounds_max: int = 0
    messages: int = 0
    virtual_ms: int = 0
    cpu_ms: int = 0
    cpu_ms_max: int = 0


def sum_of(outcome: Outcome, cpu_ms: int) -> Sums:
    """Return the sums over one seed."""
    return Sums(
        ranges=((outcome.seed, outcome.seed + 1),),
        seeds=1,
        failed=(outcome.seed,) if outcome.failure else (),
        sizes={str(outcome.nodes): 1},
        faulty={str(outcome.faulty): 1},
        seen={kind: int(count > 0) for kind, count in outcome.seen.items()},
        rounds=outcome.rounds,
        rounds_min=outcome.rounds,
        commits=outcome.commits,
        new_commits_min=outcome.new_commits,
        indirect_seeds=int(outcome.indirect > 0),
        skip_seeds=int(outcome.skips > 0),
        evidence_seeds=int(outcome.evidence > 0),
        excused_seeds=int(outcome.excused > 0),
        open_rounds_max=outcome.open_rounds_max,
        messages=outcome.messages,
        virtual_ms=outcome.virtual_ms,
        cpu_ms=cpu_ms,
        cpu_ms_max=cpu_ms,
    )


def add(a: Sums, b: Sums) -> Sums:
    """Return the sums over the seeds of both."""
    changes: dict[str, object] = {"ranges": _join((*a.ranges, *b.ranges)), "failed": tuple(sorted(a.failed + b.failed))}
    for name in Sums.__struct_fields__:
        ours, theirs = getattr(a, name), getattr(b, name)
        if isinstance(ours, dict):
            changes[name] = {key: ours.get(key, 0) + theirs.get(key, 0) for key in sorted(ours.keys() | theirs.keys())}
        elif name.endswith("_min"):
            changes[name] = min(ours, theirs)
        elif name.endswith("_max"):
            changes[name] = max(ours, theirs)
        elif isinstance(ours, int):
            changes[name] = ours + theirs
    return Sums(**changes)  # type: ignore[arg-type]


def total(sums: Iterable[Sums]) -> Sums:
    """Return the sums over all."""
    return reduce(add, sums, Sums())


def missing_kinds(sums: Sums) -> list[str]:
    """The kinds that happened in too few of the seeds; none when there are too few seeds to say so."""
    if sums.seeds < SHARES_SEEDS_MIN:
        return []
    return [kind for kind in KINDS if 100 * sums.seen.get(kind, 0) < SHARE_MIN_PERCENT * sums.seeds]


def describe_mix(sums: Sums) -> list[str]:
    """The table of the mix, for a reader."""
    lines = [f"{'happened in':<16}{'seeds':>7}{'share':>8}"]
    for kind in (*KINDS, *sorted(sums.seen.keys() - set(KINDS))):
        count = sums.seen.get(kind, 0)
        lines.append(f"{kind:<16}{count:>7}{100 * count / max(1, sums.seeds):>7.1f}%")
    sizes = ", ".join(
        f"{count} of n = {size}" for size, count in sorted(sums.sizes.items(), key=lambda item: int(item[0]))
    )
    faulty = ", ".join(f"{count} with {number}" for number, count in sorted(sums.faulty.items()))
    mean_s = sums.cpu_ms / 1_000 / max(1, sums.seeds)
    return [
        *lines,
        f"committees: {sizes}; faulty validators: {faulty}",
        (
            f"decided through an anchor in {sums.indirect_seeds} seeds, skipped leaders in {sums.skip_seeds},"
            f" equivocation proved in {sums.evidence_seeds}"
        ),
        (
            f"rounds {sums.rounds_min} at least, {sums.rounds} in all; commits {sums.commits};"
            f" new commits after healing {sums.new_commits_min} at least"
        ),
        (
            f"rounds above the gc round {sums.open_rounds_max} at most; {sums.messages} messages in"
            f" {sums.virtual_ms // 1_000} virtual seconds"
        ),
        f"cost: {sums.cpu_ms / 1_000:.0f} s of CPU, {mean_s:.2f} s a seed, the most {sums.cpu_ms_max / 1_000:.2f} s",
        f"{sums.seeds - len(sums.failed)} of {sums.seeds} seeds kept every promise",
    ]


def _join(ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Ranges in order, neighbours put together."""
    joined: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if joined and joined[-1][1] == first:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((first, end))
    return tuple(joined)
