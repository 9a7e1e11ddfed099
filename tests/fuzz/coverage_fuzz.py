"""Coverage-guided fuzzing of every decoder with atheris (libFuzzer), which is no dependency of the package.

    make fuzz SECONDS=20                                        # every target so long, in an environment of its own
    python tests/fuzz/coverage_fuzz.py --seconds 60 --only consensus.messages.receive_untrusted

A run fails when a decoder raises anything but PeerError, hangs, or grows the process by more than 64 MB in one frame.
The frame that did it is written to the current directory by libFuzzer, as crash-..., and printed as hex.
"""

import argparse
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import atheris

CHILD = "--child"
"""Names the target that a process of its own fuzzes; only there is the package instrumented."""

with atheris.instrument_imports(include=["synaptic_mesh"] if CHILD in sys.argv else ["nothing"]):
    from frames import hostile
    from targets import targets

    from synaptic_mesh.base.errors import PeerError

GROWTH_KIB_MAX = 64 << 10
"""By how much the largest resident size of the process may grow while one frame is decoded."""
FRAME_S_MAX = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz the targets one after another, each in a process of its own; print the table."""
    parser = argparse.ArgumentParser(description="Coverage-guided fuzzing of every decoder of outside bytes")
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    parser.add_argument("--only", nargs="+", help="names of targets")
    parser.add_argument(CHILD, help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args(arguments)
    if options.child:
        fuzz(options.child, rest)
    names = [name for name in targets() if not options.only or name in options.only]
    failed, total = [], 0
    for name in names:
        status, output = _start(name, options.seconds)
        executions = int((re.findall(r"stat::number_of_executed_units:\s*(\d+)", output) or ["0"])[-1])
        peak_mb = int((re.findall(r"stat::peak_rss_mb:\s*(\d+)", output) or ["0"])[-1])
        edges = int((re.findall(r" cov: (\d+)", output) or ["0"])[-1])
        total += executions
        print(f"{name:<66} {executions:>9} frames {edges:>6} edges {peak_mb:>5} MB peak", flush=True)
        if status:
            failed.append(name)
            print(output[-4_000:])
    print(f"{total} frames in {len(names)} targets; failed: {', '.join(failed) or 'none'}")
    return int(bool(failed))


def _start(name: str, seconds: int) -> tuple[int, str]:
    with tempfile.TemporaryDirectory() as directory:
        for number, seed in enumerate(targets()[name].seeds):
            (Path(directory) / str(number)).write_bytes(seed)
        settings = [f"-max_total_time={seconds}", "-print_final_stats=1", f"-timeout={FRAME_S_MAX}", "-rss_limit_mb=0"]
        settings.append(f"-max_len={min(targets()[name].bytes_max, 1 << 16)}")
        command = [sys.executable, __file__, CHILD, name, *settings, directory]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        return done.returncode, done.stdout + done.stderr


def fuzz(name: str, settings: Sequence[str]) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    target = targets()[name]

    def run(frame: bytes) -> None:
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            target.run(frame)
        except PeerError:
            return
        finally:
            grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
            if grown_kib > GROWTH_KIB_MAX:
                raise MemoryError(f"{grown_kib} KiB more for a frame of {len(frame)} bytes: {frame[:64].hex()}")

    def mutate(frame: bytes, size_max: int, seed: int) -> bytes:
        if seed % 2:
            return bytes(atheris.Mutate(frame, size_max))
        return hostile(Random(seed), (frame, *target.seeds), size_max)

    for seed in target.seeds:
        run(seed)
    atheris.Setup([sys.argv[0], *settings], run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
