"""`synaptic doctor`: what this machine offers, and whether it can be trusted with exact work."""

import os
import platform
import shutil
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from synaptic_mesh.base.errors import MeshError
from synaptic_mesh.cli.output import Exit, console, emit
from synaptic_mesh.engine.golden import semantics_id
from synaptic_mesh.node.backends import BACKENDS, EXTRAS, is_installed, open_backend

PACKAGES = ("numpy", "wasmtime", "eclipse-zenoh", "pynacl", "cryptography", "blake3", "msgspec", "lmdb", "uvloop")
FSYNC_TRIALS = 11
FREE_BYTES_MIN = 1 << 30
YEAR_MIN = 2025
"""A clock before the first release is wrong; blocks carry wall-clock time and certificates have dates."""


def run(as_json: bool) -> int:
    """Check and print; return PROMISE_FAILED when something needs the user's attention."""
    result = examine()
    emit("doctor", result, as_json)
    if not as_json:
        console(False).print(report(result))
    return Exit.OK if not result["problems"] else Exit.PROMISE_FAILED


def examine() -> dict[str, Any]:
    """Return everything found; `problems` holds a sentence for each thing to mend."""
    problems: list[str] = []
    result = {
        "version": metadata.version("synaptic-mesh"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": {name: package_version(name, problems) for name in PACKAGES},
        "semantics_id": semantics_id().hex(),
        "backends": {name: backend_trust(name, problems) for name in BACKENDS},
        "disk": examine_disk(problems),
        "clock": examine_clock(problems),
        "node_js": shutil.which("node"),
    }
    return result | {"problems": problems}


def package_version(name: str, problems: list[str]) -> str | None:
    """Return an installed version, or None with a problem noted."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        problems.append(f"package {name} is not installed: run make install")
        return None


def backend_trust(name: str, problems: list[str]) -> dict[str, Any]:
    """Return the trust class that a backend earned here, and how long the golden vectors took. One whose package is not
    installed is no problem: it is an extra."""
    if not is_installed(name):
        return {"installed": False, "trust": None, "golden_ms": None}
    started_s = time.perf_counter()
    try:
        trust = open_backend(name, on_demand=False).trust.value
    except MeshError as error:
        problems.append(str(error))
        return {"installed": True, "trust": None, "golden_ms": None}
    return {"installed": True, "trust": trust, "golden_ms": round(1_000 * (time.perf_counter() - started_s), 1)}


def examine_disk(problems: list[str]) -> dict[str, Any]:
    """Return free bytes here and the median time of a 4 KiB write with fsync."""
    free = shutil.disk_usage(Path.cwd()).free
    if free < FREE_BYTES_MIN:
        problems.append(f"only {free >> 20} MiB are free in {Path.cwd()}: runs and logs need more")
    times_ms = []
    try:
        with tempfile.TemporaryFile(dir=Path.cwd()) as file:
            for _ in range(FSYNC_TRIALS):
                started_s = time.perf_counter()
                file.write(bytes(4_096))
                file.flush()
                os.fsync(file.fileno())
                times_ms.append(1_000 * (time.perf_counter() - started_s))
    except OSError as error:
        problems.append(f"cannot write in {Path.cwd()}: {error.strerror}")
        return {"free_bytes": free, "fsync_ms_p50": None}
    return {"free_bytes": free, "fsync_ms_p50": round(median(times_ms), 3)}


def examine_clock(problems: list[str]) -> dict[str, Any]:
    """Return wall-clock time and the resolution of the monotonic clock."""
    now = time.gmtime()
    if now.tm_year < YEAR_MIN:
        problems.append(f"the clock says {now.tm_year}: set it, certificates and blocks carry dates")
    resolution_ns = round(1e9 * time.get_clock_info("monotonic").resolution)
    return {"utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", now), "monotonic_resolution_ns": resolution_ns}


def report(result: dict[str, Any]) -> Table:
    """Return the findings for people."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("synaptic-mesh", f"{result['version']} on Python {result['python']} ({sys.executable})")
    table.add_row("machine", f"{result['platform']}, {result['cores']} cores")
    table.add_row("packages", ", ".join(f"{name} {version}" for name, version in result["packages"].items()))
    table.add_row("semantics", result["semantics_id"])
    for name, found in result["backends"].items():
        trust = f"{found['trust']}: golden vectors passed in {found['golden_ms']} ms"
        if not found["trust"]:
            trust = "not usable" if found["installed"] else f"not installed (pip install {EXTRAS[name]})"
        table.add_row(f"backend {name}", trust)
    fsync = result["disk"]["fsync_ms_p50"]
    table.add_row("disk", f"{result['disk']['free_bytes'] >> 30} GiB free, fsync median {fsync} ms")
    table.add_row("clock", f"{result['clock']['utc']}, monotonic to {result['clock']['monotonic_resolution_ns']} ns")
    table.add_row("Node.js", result["node_js"] or "not found: only the cross-check of WebAssembly in tests needs it")
    for problem in result["problems"]:
        table.add_row("PROBLEM", problem, style="red")
    if not result["problems"]:
        table.add_row("", "nothing needs mending")
    return table
